"""A link with TLS between it and the socket: what holds for any link, and what is TLS's own.

No test measures time: what is asserted is which of two ends comes first.
"""

import contextlib
import mmap
import signal
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator

import pytest
from harness import badrecords, wire
from harness.pki import Pki
from harness.processes import PATIENCE

from dcmstore import pdu, tlsreasons
from dcmstore.connection import Closed, Command, Connection, Data, ReceivedEvent
from dcmstore.errors import LocalError, PeerError
from dcmstore.tlslink import TlsLink
from dcmstore.tlssocket import NOTHING_YET, TlsSocket
from dcmstore.transport import PEER_GONE, Interrupted, TimedOut

REQUEST = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
ACCEPT = pdu.AssociateAccept(
    "A", "B", (pdu.ContextResult(1, 0, wire.EXPLICIT),), 131072, "1.2", "V"
)
ECHO = wire.p_data(wire.pdv(1, wire.echo_rq(), command=True))
SHORT, LONG = 0.1, 600.0
BULK = 20_000_000  # more than any socket buffers

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets: ours, and the peer's."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
    theirs.settimeout(PATIENCE)
    with ours, theirs:
        yield ours, theirs


def nothing(*_: object) -> None:
    """Examine nobody, and mind no end."""


def link_on(ours: socket.socket, pki: Pki, timeout: float | None = LONG) -> TlsLink:
    secured = TlsSocket(ours, pki.server_context(), server_side=True)
    connection = Connection(acceptor=True, max_pdu=131072)
    return TlsLink(secured, connection, timeout, nothing, nothing)


class Client(threading.Thread):
    """The peer's end of the handshake, and then its socket."""

    def __init__(self, theirs: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self._theirs, self._tls = theirs, context
        self._secured: ssl.SSLSocket | None = None
        self.start()

    def run(self) -> None:
        self._secured = self._tls.wrap_socket(self._theirs, suppress_ragged_eofs=False)

    @property
    def socket(self) -> ssl.SSLSocket:
        """The socket, when hands are shaken."""
        self.join(PATIENCE)
        assert self._secured is not None
        return self._secured


Ends = tuple[TlsLink, ssl.SSLSocket]


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def ends(pair: Pair, pki: Pki, request: pytest.FixtureRequest) -> Iterator[Ends]:
    """An established association over TLS: our link, and the peer's socket."""
    context = pki.client_context()
    version = ssl.TLSVersion.TLSv1_2 if request.param == "TLSv1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    client = Client(pair[1], context)
    link = link_on(pair[0], pki)
    link.expect_answer_within(PATIENCE, LONG)
    link.open()
    theirs = client.socket
    assert theirs.version() == request.param
    theirs.sendall(REQUEST)
    assert isinstance(next_of(link), pdu.AssociateRequest)
    link.send(link.connection.accept(ACCEPT))
    link.expect_anything()
    assert theirs.recv(65536)[:1] == b"\2"
    with theirs:
        yield link, theirs


def next_of(link: TlsLink) -> ReceivedEvent | TimedOut:
    return next(link.events())


class Dripping(threading.Thread):
    """Sends bytes one by one, slowly, until told to stop or until nobody takes them."""

    def __init__(self, to: socket.socket, data: bytes) -> None:
        super().__init__(daemon=True)
        self._to = to
        self._left = data
        self._end = threading.Event()
        self.start()

    def run(self) -> None:
        while self._left and not self._end.wait(SHORT / 20):
            try:
                self._to.sendall(self._left[:1])
            except OSError:
                return
            self._left = self._left[1:]

    def stop(self) -> bytes:
        """Return what has not been sent."""
        self._end.set()
        self.join(PATIENCE)
        return self._left


class Sink(threading.Thread):
    """Reads all that comes, until the end."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        super().__init__(daemon=True)
        self._secured = secured
        self.taken = bytearray()
        self.start()

    def run(self) -> None:
        while data := self._secured.recv(1 << 16):
            self.taken += data


# The handshake


def test_silence_in_the_handshake(pair: Pair, pki: Pki) -> None:
    link = link_on(pair[0], pki)
    link.expect_answer_within(SHORT, LONG)
    with pytest.raises(PeerError, match="0006:031a"):
        link.open()


def test_signal_ends_the_handshake(pair: Pair, pki: Pki, signalled: list[TlsLink]) -> None:
    link = link_on(pair[0], pki)
    signalled.append(link)
    later(raise_usr2)
    link.expect_answer_within(LONG, LONG)
    with pytest.raises(Interrupted):
        link.open()


def test_signal_ends_a_handshake_that_cannot_be_sent(
    pair: Pair, pki: Pki, signalled: list[TlsLink]
) -> None:
    """The peer takes nothing of what the server has to say."""
    ours, _ = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    link = link_on(ours, pki)
    link._tls.take = lambda: bytes(BULK)  # type: ignore[method-assign]
    signalled.append(link)
    later(raise_usr2)
    link.expect_answer_within(LONG, LONG)
    with pytest.raises(Interrupted):
        link.open()


def test_refused_peer_reads_why(pair: Pair, pki: Pki) -> None:
    """Though it has sent something that nobody reads any more."""

    def examine(_: TlsSocket) -> None:
        raise PeerError("000b:0886", "not you")

    ours, theirs = pair
    client = Client(theirs, pki.client_context())
    secured = TlsSocket(ours, pki.server_context(), server_side=True)
    link = TlsLink(secured, Connection(acceptor=True, max_pdu=16384), LONG, examine, nothing)
    link.expect_answer_within(PATIENCE, LONG)
    spoken = threading.Timer(0, lambda: client.socket.sendall(REQUEST))
    spoken.start()
    with pytest.raises(PeerError, match="000b:0886"):
        link.open()
    link.close()
    spoken.join()
    assert client.socket.recv(100) == b"", "close_notify, and no reset"


# What comes in


def test_data_in_small_and_large_records(ends: Ends) -> None:
    link, theirs = ends
    store = wire.p_data(wire.pdv(1, wire.store_rq(wire.CT, "1.2.3"), command=True))
    block = bytes(range(256)) * 400
    said = store + wire.p_data(wire.pdv(1, block[:20_000], last=False))
    said += wire.p_data(wire.pdv(1, block[20_000:]))
    pieces = [said[at : at + 7] for at in range(0, 700, 7)] + [said[700:]]

    def speak() -> None:
        for piece in pieces:
            theirs.sendall(piece)

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    events = link.events()
    assert isinstance(next(events), Command)
    taken, last = b"", False
    while not last:
        event = next(events)
        assert isinstance(event, Data)
        taken += b"".join(event.views)
        last = event.last
    speaker.join(PATIENCE)
    assert taken == block


def test_silence_ends_at_the_deadline(ends: Ends) -> None:
    link, _ = ends
    link.expect_answer_within(SHORT, LONG)
    assert next_of(link) == TimedOut()


def test_drip_within_a_record_ends_at_the_deadline(ends: Ends, pair: Pair) -> None:
    """Every receive brings something, and nothing of it can be read."""
    link, theirs = ends
    drip = Dripping(socket.socket(fileno=theirs.detach()), b"\x17\x03\x03\x40\x00" + bytes(5000))
    link.expect_answer_within(SHORT, LONG)
    assert next_of(link) == TimedOut()
    assert drip.stop()


def test_patience(ends: Ends) -> None:
    link, _ = ends
    link.set_patience(SHORT)
    assert next_of(link) == TimedOut()


def test_goodbye_is_a_close(ends: Ends) -> None:
    """TCP goes on, but the peer has said that nothing more will come."""
    link, theirs = ends
    theirs.sendall(ECHO)
    say_goodbye(theirs)
    events = link.events()
    assert isinstance(next(events), Command)
    assert next(events) == Closed()
    link.close()
    assert has_ended(theirs), "ours comes, too"


def say_goodbye(secured: ssl.SSLSocket) -> None:
    """Send close_notify, and do not wait for that of the other side."""
    secured.setblocking(False)
    with contextlib.suppress(ssl.SSLError):
        secured.unwrap()
    secured.settimeout(PATIENCE)


def has_ended(secured: ssl.SSLSocket) -> bool:
    """Tell whether close_notify has come, for a side that has sent its own."""
    try:
        return secured.recv(100) == b""
    except ssl.SSLZeroReturnError:
        return True


def test_end_without_a_goodbye_is_a_close(ends: Ends) -> None:
    link, theirs = ends
    theirs.sendall(ECHO)
    socket.socket(fileno=theirs.detach()).shutdown(socket.SHUT_WR)
    events = link.events()
    assert isinstance(next(events), Command)
    assert next(events) == Closed()


def test_reset_is_a_close(ends: Ends) -> None:
    link, theirs = ends
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    socket.socket(fileno=theirs.detach()).close()
    assert next_of(link) == Closed()


def test_damage_is_a_close_behind_what_was_good(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    link, theirs = ends
    theirs.sendall(ECHO)
    plain = socket.socket(fileno=theirs.detach())
    plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    events = link.events()
    assert isinstance(next(events), Command)
    assert next(events) == Closed()
    assert badrecords.DAMAGED in caplog.text
    link.wait_for_close(SHORT)
    link.close()
    # An alert, which TLS 1.3 encrypts.
    assert plain.recv(100)[:1] in (b"\x15", b"\x17")
    plain.close()


def test_record_that_the_library_does_not_explain() -> None:
    cause = ssl.SSLError(ssl.SSL_ERROR_SSL, "[SSL] record layer failure (_ssl.c:2578)")
    cause.reason = "RECORD_LAYER_FAILURE"
    assert str(tlsreasons.failure(cause)) == badrecords.VAGUE


def test_small_rooms(pair: Pair, pki: Pki) -> None:
    """A record is larger than what the caller has room for; the rest waits, and is no new wait."""
    ours, theirs = pair
    client = Client(theirs, pki.client_context())
    secured = TlsSocket(ours, pki.server_context(), server_side=True)
    room = bytearray(7)
    while not secured.established:
        assert secured.recv_into(room) == NOTHING_YET
        ours.sendall(secured.take())
    client.socket.sendall(b"0123456789" * 10)
    taken = b""
    while len(taken) < 100:
        count = secured.recv_into(room)
        if count != NOTHING_YET:
            assert 0 < count <= 7
            taken += room[:count]
    assert taken == b"0123456789" * 10


# What goes out


def test_gathered_sends_lose_nothing(ends: Ends, pair: Pair) -> None:
    link, theirs = ends
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    sink = Sink(theirs)
    block = bytes(range(251)) * 1000
    lists: list[list[bytes | memoryview]] = [
        [block, memoryview(block)[:at], b"", block[at:]] for at in range(0, 20_000, 1999)
    ]
    link.send_gathered(lists)
    link.wait_for_close(SHORT)
    sink.join(4 * PATIENCE)
    assert not link.mid_pdu
    assert bytes(sink.taken) == block * (2 * len(lists))


def test_records_are_as_long_as_may_be(ends: Ends, pair: Pair) -> None:
    """Many small buffers leave as few full records, and not one by one."""
    link, theirs = ends
    plain = socket.socket(fileno=theirs.detach())
    plain.settimeout(PATIENCE)
    link.send_gathered([[bytes(1000)] * 100])
    lengths: list[int] = []
    while sum(lengths) < 100_000:
        head = plain.recv(5, socket.MSG_WAITALL)
        length = int.from_bytes(head[3:], "big")
        plain.recv(length, socket.MSG_WAITALL)
        lengths.append(length)
    assert len(lengths) == 7
    plain.close()


def test_a_file_that_became_shorter_is_our_fault(ends: Ends) -> None:
    """And costs an association, not the process, which SIGBUS would end."""
    link, _ = ends
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 16)
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        file.truncate(0)
        with pytest.raises(LocalError) as caught:
            link.send_gathered([[b"ahead", view[:4096]]])
    assert caught.value.condition == "0006:020e"


def test_send_to_a_peer_that_has_gone(ends: Ends) -> None:
    link, theirs = ends
    theirs.close()

    def speak_on() -> None:
        for _ in range(1000):
            link.send(ECHO)

    with pytest.raises(PeerError) as caught:
        speak_on()
    assert caught.value.condition == PEER_GONE
    link.close()


def test_send_to_a_peer_that_reads_nothing(pair: Pair, pki: Pki) -> None:
    client = Client(pair[1], pki.client_context())
    link = link_on(pair[0], pki, timeout=SHORT)
    link.expect_answer_within(PATIENCE, LONG)
    link.open()
    assert client.socket.version()
    with pytest.raises(PeerError) as caught:
        link.send_gathered([[bytes(BULK)]])
    assert caught.value.condition == PEER_GONE
    # A record has left in part: nothing may follow it, and nothing is waited for.
    link.close()


# Interruptions


def later(action: Callable[[], object]) -> threading.Timer:
    """Do something while the main thread waits in a system call."""
    timer = threading.Timer(SHORT, action)
    timer.daemon = True
    timer.start()
    return timer


@pytest.fixture
def signalled() -> Iterator[list[TlsLink]]:
    """Interrupt the link in the list when SIGUSR2 comes."""
    links: list[TlsLink] = []

    def interrupt(*_: object) -> None:
        for link in links:
            link.interrupt()

    old = signal.signal(signal.SIGUSR2, interrupt)
    yield links
    signal.signal(signal.SIGUSR2, old)


def raise_usr2() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)


def test_signal_ends_a_receive(ends: Ends, signalled: list[TlsLink]) -> None:
    link, theirs = ends
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        next_of(link)
    # There is something to be said yet.
    link.send(link.connection.abort())
    assert theirs.recv(100) == wire.abort()


def test_signal_ends_a_receive_within_a_record(ends: Ends, signalled: list[TlsLink]) -> None:
    link, theirs = ends
    plain = socket.socket(fileno=theirs.detach())
    plain.sendall(b"\x17\x03\x03\x40\x00" + bytes(1000))
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        next_of(link)
    plain.close()


def test_signal_ends_a_send(ends: Ends, signalled: list[TlsLink]) -> None:
    link, _ = ends
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        link.send_gathered([[bytes(BULK)]])
    assert link.mid_pdu
    with pytest.raises(Interrupted):
        next_of(link)


def test_signal_ends_the_wait_for_a_close(ends: Ends, signalled: list[TlsLink]) -> None:
    link, theirs = ends
    signalled.append(link)
    later(raise_usr2)
    link.wait_for_close(LONG)
    assert theirs.recv(100) == b""


# The end


def test_wait_for_close_reads_what_still_comes(ends: Ends) -> None:
    """Or the kernel would reset the connection, and take the last words from the peer."""
    link, theirs = ends
    link.send(link.connection.abort())
    theirs.sendall(ECHO * 1000)
    taken: list[bytes] = []

    def leave() -> None:
        taken.append(theirs.recv(100))
        say_goodbye(theirs)

    leaving = later(leave)
    link.wait_for_close(LONG)
    link.close()
    leaving.join()
    assert taken == [wire.abort()]
    assert has_ended(theirs)


def test_wait_for_close_ends_with_the_peer_s_goodbye(ends: Ends) -> None:
    """TCP stays open from there, as with peers that wait for us to close."""
    link, theirs = ends
    say_goodbye(theirs)
    link.wait_for_close(LONG)
    assert has_ended(theirs)


def test_wait_for_close_of_a_peer_that_stays(ends: Ends) -> None:
    link, _ = ends
    link.wait_for_close(SHORT)


def test_close_says_goodbye_and_does_not_wait(ends: Ends) -> None:
    link, theirs = ends
    link.close()
    # Without one this would be an error of TLS: anybody can end a TCP connection.
    assert theirs.recv(100) == b""


def test_close_of_a_peer_that_reads_nothing(ends: Ends, pair: Pair) -> None:
    link, _ = ends
    pair[0].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            pair[0].send(bytes(1 << 20))
    pair[0].setblocking(True)
    link.close()
