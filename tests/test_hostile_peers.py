"""Peers that are no DICOM peers, or bad ones: each gets one clear line, and the daemon lives on."""

import random
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer, store_one
from harness.processes import wait_until
from harness.receivers import OURS, Receiver

QUICK = ("-v", "--fork", "-ta", "1", "-dhl")


def expect_still_serving(receiver: Receiver) -> None:
    """An ordinary association works, and no child of an earlier one hangs about."""
    store_one(receiver.port)
    receiver.wait_for_children(0)


@contextmanager
def unharmed(daemon: Receiver) -> Iterator[Receiver]:
    """Whatever is done to it inside, it must go on and show no fault of its own."""
    mark = daemon.mark()
    yield daemon
    expect_still_serving(daemon)
    assert "Traceback" not in daemon.log(mark)
    assert "internal error" not in daemon.log(mark)


@pytest.fixture
def receiver(shared_receiver: StartReceiver) -> Iterator[Receiver]:
    """The module's daemon, which the test must leave unharmed."""
    with unharmed(shared_receiver(OURS, *QUICK)) as daemon:
        yield daemon


def errors(log: str) -> list[str]:
    """Return the lines of ERROR and above."""
    return [line for line in log.splitlines() if line.startswith(("E: ", "F: "))]


def client_hello() -> bytes:
    """Return what a TLS client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    link = context.wrap_bio(incoming, outgoing, server_hostname="archive.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        link.do_handshake()
    return outgoing.read()


STRANGERS = [
    pytest.param(b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n", "HTTP", id="http-get"),
    pytest.param(b"POST /studies HTTP/1.1\r\n\r\n", "HTTP", id="http-post"),
    pytest.param(client_hello(), "TLS", id="tls"),
]


@pytest.mark.parametrize(("sent", "named"), STRANGERS)
def test_strangers_are_named(receiver: Receiver, sent: bytes, named: str) -> None:
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(sent)
        peer.expect_closed()
    log = receiver.wait_for_log("Receiving Association failed: 0006:0321", since=mark)
    (line,) = errors(log)
    assert named in line


def test_silent_peer_is_named(receiver: Receiver) -> None:
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.expect_closed()
    log = receiver.wait_for_log("0006:031a DUL network read timeout", since=mark)
    assert len(errors(log)) == 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\r\n", id="newline"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(bytes(6), id="zeroes"),
        pytest.param(b"\xff" * 5000, id="ones"),
        pytest.param(b"\x01", id="one-byte"),
    ],
)
def test_other_strangers(receiver: Receiver, sent: bytes) -> None:
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(sent)
        peer.expect_closed()
    log = receiver.wait_for_log("Receiving Association failed: ", since=mark)
    assert len(errors(log)) == 1


def test_probe_that_only_connects_is_no_error(receiver: Receiver) -> None:
    """Monitoring programs do this all day."""
    receiver.wait_for_children(0)  # one that earlier tests made it fork ahead would be the first
    mark = receiver.mark()
    with Peer.connect(receiver.port):
        receiver.wait_for_children(1)
    receiver.wait_for_children(0)
    assert errors(receiver.log(mark)) == []


def test_reset_connections(receiver: Receiver) -> None:
    linger_not = struct.pack("ii", 1, 0)
    for stage in range(4):
        with Peer.connect(receiver.port) as peer:
            if stage >= 1:
                peer.associate()
            if stage >= 2:
                peer.begin_store(small(pixels=5000), 1000)
            if stage == 3:
                peer.send(b"\x04\x00")
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)


def test_slow_peer_of_one_byte_does_not_hold_others_up(receiver: Receiver) -> None:
    with Peer.connect(receiver.port) as slow:
        slow.send(b"\x01")
        expect_other = Peer.connect(receiver.port)
        expect_other.associate()
        assert expect_other.store(small()) == 0
        expect_other.release()


@pytest.mark.parametrize("claimed", [0x7FFFFFFF, 0xFFFFFFFF, (1 << 20) + 2])
@pytest.mark.parametrize("kind", [wire.P_DATA, wire.RELEASE_RQ, wire.ABORT, wire.ASSOCIATE_AC])
def test_claimed_length_takes_no_memory(receiver: Receiver, kind: int, claimed: int) -> None:
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (child,) = receiver.wait_for_children(1)
        before = _memory(child)
        peer.send(struct.pack(">BBL", kind, 0, claimed) + bytes(2000))
        received = peer.receive()
        assert received is None or received.kind == wire.ABORT
        peak = _memory(child)
        assert peak is None or before is None or peak - before < 20_000, "kilobytes more"


def _memory(pid: int) -> int | None:
    """Peak resident memory of a process, KiB; None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def test_memory_does_not_grow_with_the_object(receiver: Receiver) -> None:
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (child,) = receiver.wait_for_children(1)
        assert peer.store(small(), 1) == 0
        before = _memory(child)
        assert peer.store(small(pixels=30_000_000), 2, fragment=16000) == 0
        after = _memory(child)
        peer.release()
    assert before is not None
    assert after is not None
    # The mapped file itself counts as resident while it is looked through.
    assert after - before < 40_000, f"{after - before} KiB more"


def test_command_set_without_end(receiver: Receiver) -> None:
    """A command set has no length of its own; one that never ends must not fill the memory."""
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (child,) = receiver.wait_for_children(1)
        before = _memory(child)
        fragment = wire.p_data(wire.pdv(1, bytes(16000), command=True, last=False))
        for _ in range(4000):
            peer.send(fragment)
            if child not in receiver.children():
                break
        received = peer.receive()
        assert received is None or received.kind == wire.ABORT
        peak = _memory(child)
        assert peak is None or before is None or peak - before < 20_000, "kilobytes more"


NESTED = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"


@pytest.mark.parametrize("closed", [True, False])
def test_deeply_nested_sequences(receiver: Receiver, closed: bool) -> None:
    depth = 100_000
    thing = small()
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth if closed else b""
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send_data(thing.data[:-76] + NESTED * depth + ends, fragment=16000)
        received = peer.receive()
        assert received is not None
        assert received.kind in (wire.P_DATA, wire.ABORT)


HOSTILE_NAMES = [
    "../../../tmp/owned",
    "/etc/owned",
    "..",
    ".",
    "1.2\n3",
    "$(touch owned)",
    "`touch owned`",
    "1.2;touch owned",
    "-rf",
    "1.2.3\\..\\x",
    "\x1b[31m",
    "1.2.3\0.4",
    "é" * 20,
    " 1.2.3 ",
]


@pytest.mark.parametrize("mode", ["-B", "+B"])
@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=repr)
def test_hostile_instance_uids(shared_receiver: StartReceiver, name: str, mode: str) -> None:
    with unharmed(shared_receiver(OURS, *QUICK, mode)) as receiver:
        outside = set(receiver.folder.parent.iterdir())
        thing = small(sop_instance=name)
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.send_command(wire.store_rq(thing.sop_class, name))
            peer.send_data(thing.data)
            received = peer.receive()
            assert received is not None
            assert received.kind in (wire.P_DATA, wire.ABORT)
        assert set(receiver.folder.parent.iterdir()) == outside
        for stored in receiver.names():
            assert "/" not in stored
            assert stored.isprintable()
            assert stored.isascii()
            assert not set(stored) & set(";$`()\\ \n&|<>*?'\""), stored
        assert all(line.isprintable() for line in receiver.log().splitlines())


@pytest.mark.parametrize("title", [b"\x1b]0;x\x07", b"\n\rE: forged", b"\xff\xfe", b"", b"'$(id)'"])
def test_hostile_titles(shared_receiver: StartReceiver, title: bytes) -> None:
    with unharmed(shared_receiver(OURS, *QUICK, "+v")) as receiver:
        mark = receiver.mark()
        with Peer.connect(receiver.port) as peer:
            peer.send(
                wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))], calling=title, called=title)
            )
            received = peer.receive()
            assert received is None or received.kind in (wire.ASSOCIATE_AC, wire.ABORT)
        receiver.wait_for_children(0)
        log = receiver.log(mark)
        assert all(line.isprintable() for line in log.splitlines())
        assert "\nE: forged" not in log


@pytest.mark.parametrize("seed", range(8))
def test_damaged_conversations(receiver: Receiver, seed: int) -> None:
    """Bytes of a good conversation, some of them changed, cost at most the association."""
    dice = random.Random(seed)
    for _ in range(10):
        thing = small(pixels=200)
        good = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]) + b"".join(
            (
                wire.p_data(
                    wire.pdv(1, wire.store_rq(thing.sop_class, thing.sop_instance), command=True)
                ),
                wire.p_data(wire.pdv(1, thing.data)),
                wire.release_rq(),
            )
        )
        bad = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            bad[dice.randrange(len(bad))] = dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))
        with Peer.connect(receiver.port) as peer:
            peer.send(bytes(bad))
            peer.socket.shutdown(socket.SHUT_WR)
            while peer.receive() is not None:
                continue
    wait_until(lambda: not receiver.children(), "all have ended")
