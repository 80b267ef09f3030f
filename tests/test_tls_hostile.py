"""Peers that do not speak TLS, or badly: one clear line, no longer than the deadline, no harm."""

import random
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import badrecords, senders, wire
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.pki import Pki
from harness.processes import PATIENCE, wait_until
from harness.receivers import OURS, Receiver
from harness.scripted import ScriptedReceiver

QUICK = ("-v", "--fork", "-ta", "2", "-dhl")

LATE = "0006:031a DUL network read timeout (in the TLS handshake)"
CUT = "000b:0926 TLS error: unexpected eof while reading"


def raw(receiver: Receiver) -> socket.socket:
    """Connect without TLS."""
    return socket.create_connection(("127.0.0.1", receiver.port), PATIENCE)


def secured(pki: Pki, receiver: Receiver) -> Peer:
    """Connect as a client that is known."""
    return Peer(pki.client_context().wrap_socket(raw(receiver)))


def closes(link: socket.socket, patience: float = PATIENCE) -> None:
    """The other side closes, whatever it says before that."""
    link.settimeout(patience)
    try:
        while link.recv(4096):
            continue
    except ConnectionResetError:
        return


@pytest.fixture
def receiver(shared_receiver: StartReceiver, pki: Pki) -> Iterator[Receiver]:
    """The module's daemon, which must live on, keep no child, and show no fault of its own."""
    daemon = shared_receiver(OURS, *QUICK, *pki.server_options())
    mark = daemon.mark()
    yield daemon
    with secured(pki, daemon) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        peer.release()
    daemon.wait_for_children(0)
    log = daemon.log(mark)
    assert "Traceback" not in log
    assert "internal error" not in log


@contextmanager
def told(receiver: Receiver, expected: str) -> Iterator[None]:
    """What is done inside makes the receiver log this error, and no other line of its kind."""
    mark = receiver.mark()
    yield
    log = receiver.wait_for_log(f"E: Receiving Association failed: {expected}\n", since=mark)
    lines = [line for line in log.splitlines() if line.startswith(("F: ", "E: ", "W: "))]
    assert len(lines) == 1


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    link = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        link.do_handshake()
    return outgoing.read()


STRANGERS = [
    pytest.param(
        wire.associate_rq(((1, wire.CT, (wire.EXPLICIT,)),)),
        "000b:090b TLS error: wrong version number (the peer speaks DICOM without TLS)",
        id="dicom",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n",
        "000b:089c TLS error: http request (the peer speaks another protocol: an HTTP request)",
        id="http",
    ),
    pytest.param(
        b"SSH-2.0-OpenSSH_9.2\r\n",
        "000b:090b TLS error: wrong version number"
        " (the peer speaks another protocol: an SSH client)",
        id="ssh",
    ),
    pytest.param(bytes(100), "000b:090b TLS error: wrong version number", id="zeroes"),
    pytest.param(b"\xff" * 5000, "000b:090b TLS error: wrong version number", id="ones"),
    pytest.param(b"\x16\x03\x01\xff\xff", badrecords.TOO_LONG, id="huge"),
]


@pytest.mark.parametrize(("sent", "expected"), STRANGERS)
def test_strangers_are_named(receiver: Receiver, sent: bytes, expected: str) -> None:
    with told(receiver, expected), raw(receiver) as link:
        link.sendall(sent)
        closes(link)


@pytest.mark.parametrize("sent", [b"", b"\x16", HELLO, client_hello()])
def test_silence_ends_with_the_deadline(receiver: Receiver, sent: bytes) -> None:
    with told(receiver, LATE), raw(receiver) as link:
        link.sendall(sent)
        closes(link)


@pytest.mark.parametrize("sent", [b"\x16", HELLO, client_hello()])
def test_close_within_the_handshake(receiver: Receiver, sent: bytes) -> None:
    with told(receiver, CUT), raw(receiver) as link:
        link.sendall(sent)
        link.shutdown(socket.SHUT_WR)
        closes(link)


def test_reset_within_the_handshake(receiver: Receiver) -> None:
    expected = "000b:0017 OpenSSL I/O error (SSL_ERROR_SYSCALL)"
    with told(receiver, expected), raw(receiver) as link:
        link.sendall(HELLO)
        receiver.wait_for_children(1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_probe_that_only_connects_is_no_error(receiver: Receiver) -> None:
    """Monitoring programs do this all day."""
    receiver.wait_for_children(0)
    mark = receiver.mark()
    with raw(receiver):
        receiver.wait_for_children(1)
    receiver.wait_for_children(0)
    assert receiver.log(mark).splitlines() == ["I: Association Received"]


def cut_off(link: socket.socket, data: bytes) -> bool:
    """Send a byte now and then; tell whether the other side closed before the last one."""
    for at in range(len(data)):
        try:
            link.sendall(data[at : at + 1])
        except (BrokenPipeError, ConnectionResetError):
            return True
        time.sleep(0.05)
    return False


def test_dripping_does_not_prolong_the_deadline(receiver: Receiver) -> None:
    with told(receiver, LATE), raw(receiver) as link:
        # At that pace all of it would take ten seconds.
        assert cut_off(link, client_hello()[:200])


def test_dripping_within_a_record_does_not_prolong_the_deadline(
    receiver: Receiver, pki: Pki
) -> None:
    """The same behind the handshake, for a request that is one record."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = pki.client_context().wrap_bio(incoming, outgoing)
    with told(receiver, "0006:031a DUL network read timeout"), raw(receiver) as link:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                link.sendall(outgoing.read())
                incoming.write(link.recv(65536))
        link.sendall(outgoing.read())
        tls.write(wire.associate_rq(((1, wire.CT, (wire.EXPLICIT,)),)))
        assert cut_off(link, outgoing.read())


def test_a_client_that_reads_nothing(pki: Pki, start_receiver: StartReceiver) -> None:
    """What the handshake has to say does not fit into the buffers of a peer that takes nothing."""
    long = pki.folder / "long.chain"
    long.write_text(pki.server.certificate.read_text() + pki.other.certificate.read_text() * 90)
    receiver = start_receiver(
        *(OURS, *QUICK, "+tls", str(pki.server.key), str(long), "-ic"),
        environment={"TCP_BUFFER_LENGTH": "2304"},
    )
    with told(receiver, LATE), socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        link.connect(("127.0.0.1", receiver.port))
        link.sendall(client_hello())
        receiver.wait_for_log("Receiving Association failed")
    receiver.wait_for_children(0)


def test_slow_handshake_holds_nobody_up(receiver: Receiver, pki: Pki) -> None:
    with raw(receiver) as slow:
        slow.sendall(b"\x16")
        with secured(pki, receiver) as peer:
            peer.associate()
            assert peer.store(small()) == 0
            peer.release()


def test_single_process_gets_rid_of_a_silent_peer(pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "-ta", "1", *pki.server_options())
    with raw(receiver) as silent:
        with secured(pki, receiver) as peer:
            peer.associate()
            assert peer.store(small()) == 0
            peer.release()
        silent.setblocking(False)
        assert silent.recv(1) == b"", "it was closed before the other one was served"
    assert receiver.log() == f"E: Receiving Association failed: {LATE}\n"


def test_damage_in_the_stream(receiver: Receiver, pki: Pki) -> None:
    """A record that was tampered with ends the association; what came with it is dropped."""
    mark = receiver.mark()
    with secured(pki, receiver) as peer:
        peer.associate()
        thing = small(pixels=5000)
        peer.begin_store(thing, 1000)
        assert isinstance(peer.socket, ssl.SSLSocket)
        # Behind the back of TLS.
        plain = socket.socket(fileno=peer.socket.detach())
        with plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            closes(plain)
    log = receiver.wait_for_log("Association Aborted", since=mark)
    assert f"W: {badrecords.DAMAGED}" in log
    assert not receiver.holds(thing.sop_instance)


def test_end_without_a_goodbye(receiver: Receiver, pki: Pki) -> None:
    """TCP just ends: for a protocol that says when it is over, no more than an abort."""
    mark = receiver.mark()
    with secured(pki, receiver) as peer:
        peer.associate()
        thing = small(pixels=5000)
        peer.begin_store(thing, 1000)
    log = receiver.wait_for_log("Association Aborted", since=mark)
    assert "TLS error" not in log
    assert not receiver.holds(thing.sop_instance)


def test_rubbish_in_place_of_handshakes(receiver: Receiver) -> None:
    dice = random.Random(4711)
    hello = client_hello()
    for _ in range(40):
        data = bytearray(hello)
        for _ in range(dice.randint(1, 20)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        with raw(receiver) as link:
            link.sendall(data + bytes(dice.randrange(256) for _ in range(dice.randrange(50))))
            link.shutdown(socket.SHUT_WR)
            closes(link)


def test_changes_of_keys(pki: Pki, start_receiver: StartReceiver) -> None:
    """A client of TLS 1.3 may change keys at any time, and is answered (openssl's K command)."""
    receiver = start_receiver(OURS, "-v", "--fork", *pki.server_options())
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{receiver.port}"]
    command += ["-key", pki.client.files[0], "-cert", pki.client.files[1]]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    try:
        request = wire.associate_rq(((1, wire.VERIFICATION, (wire.IMPLICIT,)),))
        process.stdin.write(request)
        process.stdin.flush()
        receiver.wait_for_log("Association Acknowledged")
        for _ in range(3):
            process.stdin.write(b"K\n")
            process.stdin.flush()
            time.sleep(0.2)
        process.stdin.write(wire.release_rq())
        process.stdin.flush()
        receiver.wait_for_log("I: Association Release")
    finally:
        process.kill()
        process.wait()


# The sender's side


def test_server_without_tls(tmp_path: Path, pki: Pki, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork")
    path = write_part10(tmp_path, small())
    sent = senders.send(OURS, receiver.port, [path], *pki.client_options())
    (line,) = sent.stderr.splitlines()
    assert line.startswith("F: Association Request Failed: 000b:0")
    assert sent.code == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", CUT),
        (b"\x16\x03", CUT),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "000b:090b TLS error: wrong version number",
        ),
        (
            wire.pdu(wire.ABORT, bytes(4)),
            "000b:090b TLS error: wrong version number (the peer speaks DICOM without TLS)",
        ),
    ],
)
def test_answers_that_are_no_handshake(
    tmp_path: Path, pki: Pki, answer: bytes, expected: str
) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        sender = senders.start(OURS, receiver.port, [path], *pki.client_options())
        with receiver.listener.accept()[0] as connected:
            connected.settimeout(PATIENCE)
            connected.recv(4096)
            connected.sendall(answer)
        sent = senders.finish(sender)
    assert (sent.code, sent.stderr) == (1, f"F: Association Request Failed: {expected}\n")


def test_server_that_says_nothing(tmp_path: Path, pki: Pki) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        sender = senders.start(OURS, receiver.port, [path], "-ta", "1", *pki.client_options())
        with receiver.listener.accept()[0]:
            sent = senders.finish(sender)
    assert (sent.code, sent.stderr) == (1, f"F: Association Request Failed: {LATE}\n")


def test_no_child_is_left(receiver: Receiver) -> None:
    """Of all the peers above."""
    wait_until(lambda: not receiver.serving(), "all children have ended")
