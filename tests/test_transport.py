"""The socket below an association: deadlines, interruptions, resets and partial sends.

No test measures time: what is asserted is which of two ends comes first. The longer one is
longer than a test may last.
"""

import mmap
import signal
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest
from harness import wire
from harness.processes import PATIENCE

from dcmstore import pdu
from dcmstore.connection import Closed, Command, Connection, Data, ReceivedEvent
from dcmstore.errors import LocalError, PeerError
from dcmstore.transport import PEER_GONE, Interrupted, Link, TimedOut

REQUEST = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
ACCEPT = pdu.AssociateAccept(
    "A", "B", (pdu.ContextResult(1, 0, wire.EXPLICIT),), 131072, "1.2", "V"
)
ECHO = wire.p_data(wire.pdv(1, wire.echo_rq(), command=True))
SHORT, LONG = 0.1, 600.0
BULK = 20_000_000  # more than any socket buffers


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
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


Pair = tuple[socket.socket, socket.socket]


def link_on(ours: socket.socket, timeout: float | None = LONG) -> Link:
    return Link(ours, Connection(acceptor=True, max_pdu=131072), timeout)


def established(pair: Pair, timeout: float | None = LONG) -> Link:
    ours, theirs = pair
    link = link_on(ours, timeout)
    theirs.sendall(REQUEST)
    assert isinstance(next(link.events()), pdu.AssociateRequest)
    link.send(link.connection.accept(ACCEPT))
    link.expect_anything()
    assert theirs.recv(65536)[:1] == b"\2"
    return link


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


def next_of(link: Link) -> ReceivedEvent | TimedOut:
    return next(link.events())


# Deadlines


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    link = link_on(pair[0])
    link.expect_answer_within(SHORT, LONG)
    assert next_of(link) == TimedOut()


@pytest.mark.parametrize("limits", [(SHORT, LONG), (LONG, SHORT)], ids=["header", "body"])
def test_drip_ends_at_the_deadline(pair: Pair, limits: tuple[float, float]) -> None:
    """Every receive brings something, and still it ends."""
    ours, theirs = pair
    link = link_on(ours)
    if limits[0] == SHORT:
        # A header that never ends would be over at six bytes, so it drips slowly.
        drip = Dripping(theirs, b"")
        theirs.sendall(REQUEST[:3])
    else:
        drip = Dripping(theirs, wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))] * 128))
    link.expect_answer_within(*limits)
    assert next_of(link) == TimedOut()
    assert drip.stop() or limits[0] == SHORT
    assert isinstance(link.connection.next_event(), type(None))


def test_the_body_has_its_own_time(pair: Pair) -> None:
    """Once its header is here, the time for that does not count any more."""
    ours, theirs = pair
    link = link_on(ours)
    theirs.sendall(REQUEST[:10])
    drip = Dripping(theirs, REQUEST[10:60])
    link.expect_answer_within(SHORT, LONG)

    def send_rest() -> None:
        drip.join(PATIENCE)
        theirs.sendall(REQUEST[60:])

    threading.Thread(target=send_rest).start()
    assert isinstance(next_of(link), pdu.AssociateRequest)
    assert not drip.stop()


def test_each_receive_has_the_sockets_time(pair: Pair) -> None:
    """An idle association is closed after the time-out, one that drips is not."""
    _, theirs = pair
    link = established(pair, SHORT)
    events = link.events()
    drip = Dripping(theirs, ECHO)
    assert isinstance(next(events), Command)  # takes many times as long as one receive may
    assert not drip.stop()
    assert next(events) == Closed()


def test_patience(pair: Pair) -> None:
    _, theirs = pair
    link = established(pair)
    events = link.events()
    link.set_patience(SHORT)
    assert next(events) == TimedOut()
    assert next(events) == TimedOut()
    theirs.sendall(ECHO)
    assert isinstance(next(events), Command)
    assert next(events) == TimedOut()
    link.set_patience(None)
    threading.Timer(2 * SHORT, lambda: theirs.sendall(ECHO)).start()
    assert isinstance(next(events), Command)


def test_without_a_timeout_it_waits(pair: Pair) -> None:
    _, theirs = pair
    link = established(pair, None)
    threading.Timer(2 * SHORT, lambda: theirs.sendall(ECHO)).start()
    assert isinstance(next_of(link), Command)


# Ends


def test_close_is_an_event_and_the_last(pair: Pair) -> None:
    link = established(pair)
    pair[1].close()
    assert list(link.events()) == [Closed()]


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_reset_is_a_close(pair: Pair) -> None:
    link = established(pair)
    pair[1].sendall(ECHO)
    reset(pair[1])
    # What a reset throws away is up to the kernel.
    *_, last = link.events()
    assert last == Closed()


def test_send_to_a_peer_that_has_gone(pair: Pair) -> None:
    link = established(pair)
    reset(pair[1])
    with pytest.raises(PeerError) as caught:
        link.send(bytes(BULK))
    assert caught.value.condition == PEER_GONE
    with pytest.raises(PeerError):
        link.send_gathered([[ECHO, memoryview(ECHO)]])


def test_send_to_a_peer_that_reads_nothing(pair: Pair) -> None:
    """Neither way of sending blocks for ever."""
    link = established(pair, SHORT)
    with pytest.raises(PeerError) as caught:
        link.send(bytes(BULK))
    assert caught.value.condition == PEER_GONE
    with pytest.raises(PeerError) as caught:
        link.send_gathered([[bytes(BULK), bytes(BULK)]])
    assert caught.value.condition == PEER_GONE
    assert link.mid_pdu


class Sink(threading.Thread):
    """Reads slowly, so that sends are partial, and keeps it all."""

    def __init__(self, source: socket.socket) -> None:
        super().__init__(daemon=True)
        self._source = source
        self.taken = bytearray()
        self.start()

    def run(self) -> None:
        while data := self._source.recv(100_003):
            self.taken += data
            time.sleep(0.0005)


def test_partial_sends_lose_nothing(pair: Pair) -> None:
    ours, theirs = pair
    link = established(pair)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    sink = Sink(theirs)
    block = bytes(range(251)) * 1000
    lists: list[list[bytes | memoryview]] = [
        [block, memoryview(block)[:at], b"", block[at:]] for at in range(0, 20_000, 1999)
    ]
    link.send_gathered(lists)
    assert not link.mid_pdu
    ours.shutdown(socket.SHUT_WR)
    sink.join(4 * PATIENCE)
    assert bytes(sink.taken) == block * (2 * len(lists))


def test_a_file_that_became_shorter_is_our_fault(pair: Pair) -> None:
    link = established(pair)
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 16)
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        file.truncate(0)
        with pytest.raises(LocalError) as caught:
            link.send_gathered([[view[:4096]]])
    assert caught.value.condition == "0006:020e"


# Interruptions


def later(action: object) -> threading.Timer:
    """Do something while the main thread waits in a system call."""
    assert callable(action)
    timer = threading.Timer(SHORT, action)
    timer.daemon = True
    timer.start()
    return timer


@pytest.fixture
def signalled() -> Iterator[list[Link]]:
    """Interrupt the link in the list when SIGUSR2 comes."""
    links: list[Link] = []

    def interrupt(*_: object) -> None:
        for link in links:
            link.interrupt()

    old = signal.signal(signal.SIGUSR2, interrupt)
    yield links
    signal.signal(signal.SIGUSR2, old)


def raise_usr2() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)


@pytest.mark.parametrize("timeout", [LONG, None])
def test_signal_ends_a_receive(pair: Pair, signalled: list[Link], timeout: float | None) -> None:
    link = established(pair, timeout)
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        next_of(link)
    # There is something to be said yet.
    link.send(link.connection.abort())
    assert pair[1].recv(100) == wire.abort()


@pytest.mark.parametrize("timeout", [LONG, None])
def test_signal_ends_a_send(pair: Pair, signalled: list[Link], timeout: float | None) -> None:
    link = established(pair, timeout)
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        link.send_gathered([[bytes(BULK)]])
    assert link.mid_pdu
    with pytest.raises(Interrupted):
        next_of(link)


def test_nothing_is_sent_after_an_interruption(pair: Pair) -> None:
    link = established(pair)
    link.interrupt()
    with pytest.raises(Interrupted):
        link.send_gathered([[ECHO]])
    assert not link.mid_pdu
    link.send(link.connection.abort())
    assert pair[1].recv(100) == wire.abort()


def test_signal_ends_a_pause(pair: Pair, signalled: list[Link]) -> None:
    link = established(pair)
    signalled.append(link)
    later(raise_usr2)
    with pytest.raises(Interrupted):
        link.pause(LONG)


def test_signal_ends_the_wait_for_a_close(pair: Pair, signalled: list[Link]) -> None:
    link = established(pair)
    signalled.append(link)
    later(raise_usr2)
    link.wait_for_close(LONG)
    assert pair[1].recv(100) == b""  # it has been told, and is still there


def test_interruption_between_two_steps_of_a_wait(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of a handler's time-out and the loop's own one must not matter."""
    link = established(pair)
    original = link._set_timeout
    calls: list[float | None] = []

    def set_timeout(option: int, seconds: float | None) -> None:
        if option == socket.SO_RCVTIMEO and not calls:
            calls.append(seconds)
            link.interrupt()
        original(option, seconds)

    monkeypatch.setattr(link, "_set_timeout", set_timeout)
    link.wait_for_close(LONG)
    assert calls


def test_interruption_before_a_receive(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    link = established(pair)
    original = link._set_timeout
    calls: list[float | None] = []

    def set_timeout(option: int, seconds: float | None) -> None:
        if option == socket.SO_RCVTIMEO and not calls:
            calls.append(seconds)
            link.interrupt()
        original(option, seconds)

    link.set_patience(SHORT)
    monkeypatch.setattr(link, "_set_timeout", set_timeout)
    with pytest.raises(Interrupted):
        next_of(link)
    assert calls == [SHORT]


def test_interruption_by_a_thread(pair: Pair) -> None:
    """It cannot end a system call, but nothing is read after it."""
    link = established(pair)

    def act() -> None:
        link.interrupt()
        pair[1].sendall(ECHO)

    later(act)
    with pytest.raises(Interrupted):
        next_of(link)


def test_interruption_of_a_closed_link(pair: Pair) -> None:
    link = established(pair)
    link.close()
    link.interrupt()


def test_pause_without_interruption(pair: Pair) -> None:
    established(pair).pause(SHORT / 10)


def test_wait_for_close_reads_what_still_comes(pair: Pair) -> None:
    """Or the kernel would reset the connection, and take the last words from the peer."""
    _, theirs = pair
    link = established(pair)
    link.send(link.connection.abort())
    theirs.sendall(ECHO * 100)
    later(lambda: theirs.shutdown(socket.SHUT_WR))
    link.wait_for_close(LONG)
    link.close()
    assert theirs.recv(100) == wire.abort()
    assert theirs.recv(100) == b""


def test_wait_for_close_of_a_peer_that_stays(pair: Pair) -> None:
    link = established(pair)
    drip = Dripping(pair[1], bytes(100_000))
    link.wait_for_close(SHORT)
    assert drip.stop()


def test_data_comes_as_views(pair: Pair) -> None:
    _, theirs = pair
    link = established(pair)
    theirs.sendall(
        wire.p_data(wire.pdv(1, wire.store_rq(wire.CT, "1.2.3"), command=True))
        + wire.p_data(wire.pdv(1, b"abcd"))
    )
    events = link.events()
    assert isinstance(next(events), Command)
    event = next(events)
    assert isinstance(event, Data)
    assert (b"".join(event.views), event.last) == (b"abcd", True)


# Options of the socket


@pytest.mark.parametrize(
    ("value", "expected"), [(None, True), ("1", True), ("x", False), ("0", False), ("", False)]
)
def test_nodelay(monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool) -> None:
    monkeypatch.delenv("TCP_NODELAY", raising=False)
    if value is not None:
        monkeypatch.setenv("TCP_NODELAY", value)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as ours,
    ):
        link_on(ours)
        found = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert bool(found) == expected
