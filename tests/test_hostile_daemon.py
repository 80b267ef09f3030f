"""Peers that know the protocol and mean harm: they get no more than their share of a daemon."""

import os
import re
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer, byte_by_byte, whole
from harness.processes import command_line, is_zombie, wait_until
from harness.receivers import OURS, Receiver
from test_hostile_peers import unharmed

QUICK = ("-v", "--fork", "-ta", "1", "--socket-timeout", "2", "-dhl", "--max-pdu", "131072")
VERIFICATION = (1, wire.VERIFICATION, (wire.IMPLICIT,))


@pytest.fixture
def receiver(shared_receiver: StartReceiver) -> Iterator[Receiver]:
    """The module's daemon, which the test must leave unharmed."""
    with unharmed(shared_receiver(OURS, *QUICK)) as daemon:
        yield daemon


def anonymous(pid: int) -> int:
    """Memory that a process has for itself, KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


def all_serving(receiver: Receiver) -> list[int]:
    """Return the children that serve a peer; another one may be waiting for the next."""
    found = []
    for pid in receiver.children():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            title = command_line(pid)
            if "[" in title and ": master [" not in title:
                found.append(pid)
    return found


def is_served(receiver: Receiver) -> bool:
    return bool(all_serving(receiver))


def serving(receiver: Receiver) -> int:
    """Return the one child that serves a peer."""
    found: list[int] = []

    def is_alone() -> bool:
        found[:] = all_serving(receiver)
        return len(found) == 1

    wait_until(is_alone, "one child serves")
    return found[0]


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


# Requests


def contexts(count: int, abstract: str, syntaxes: tuple[str, ...]) -> list[wire.Context]:
    return [((2 * number + 1) % 256, abstract, syntaxes) for number in range(count)]


@pytest.mark.parametrize(
    "proposed",
    [
        pytest.param(contexts(13_000, wire.CT, (wire.EXPLICIT,)), id="13000-contexts"),
        pytest.param(contexts(52_000, "1", ("1",)), id="52000-small-contexts"),
        pytest.param(contexts(60_000, "", ("",)), id="60000-empty-contexts"),
        pytest.param(contexts(80, wire.CT, ("1",) * 2500), id="200000-transfer-syntaxes"),
    ],
)
def test_request_of_nearly_a_mebibyte(receiver: Receiver, proposed: list[wire.Context]) -> None:
    request = wire.associate_rq(proposed)
    assert 750_000 < len(request) <= (1 << 20) + 6
    with Peer.connect(receiver.port) as peer:
        peer.send(request)
        answer = peer.expect(wire.ASSOCIATE_AC)
        child = serving(receiver)
        assert anonymous(child) < 60_000
    # One item for each ID, in their order.
    at, found = 68 + 4 + len(wire.APPLICATION_CONTEXT), []
    while answer[at] == 0x21:
        found.append(answer[at + 4])
        at += 4 + int.from_bytes(answer[at + 2 : at + 4], "big")
    assert found == list(dict.fromkeys(number for number, _, _ in proposed))


ANNOUNCED: dict[int | None, bool] = {
    **dict.fromkeys((None, 0, 14, 15, 2147483647, 2147483648, 4294967295), True),
    **dict.fromkeys((1, 2, 12, 13), False),
}


def test_announced_maxima(receiver: Receiver) -> None:
    """A peer that takes less than a header and two bytes can be told nothing but the end."""
    for announced, works in ANNOUNCED.items():
        with Peer.connect(receiver.port) as peer:
            peer.associate(VERIFICATION, max_pdu=announced)
            if works:
                peer.echo()
                peer.release()
            else:
                peer.send_command(wire.echo_rq())
                peer.expect_abort(0, 0)


EVIL = [
    b"1.2\nE: forged",
    b"1.2\rE: forged",
    b"1\x1b[31m2",
    b"\x9b31m",
    b"\x1b]0;owned\x07",
    b"1.2\0.4\0",
    b"\xa0\xad\xe9\xff",
    b"..",
    b".hidden",
    b"/" * 64,
    b"%s%n%(x)s{}",
    b"",
]


def sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def evil_request(evil: bytes) -> bytes:
    """Return a request with the same evil text wherever there is room for text."""
    title = evil[:16].ljust(16)
    good = wire.context_item((1, wire.CT, (wire.EXPLICIT,)))
    bad = struct.pack(">BBBB", 3, 0, 0, 0) + wire.item(0x30, evil) + wire.item(0x40, evil)
    user = b"".join(
        (
            wire.item(0x51, struct.pack(">L", 16384)),
            wire.item(0x52, evil),
            wire.item(0x54, sized(evil) + b"\1\1"),
            wire.item(0x55, evil),
            wire.item(0x56, sized(evil) + evil),
            wire.item(0x57, sized(evil) + sized(evil) + sized(sized(evil))),
            wire.item(0x58, b"\2\1" + sized(evil) + sized(evil)),
        )
    )
    return wire.pdu(
        wire.ASSOCIATE_RQ,
        struct.pack(">HH16s16s32s", 1, 0, title, title, b"")
        + wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
        + good
        + wire.item(0x20, bad)
        + wire.item(0x50, user),
    )


def test_evil_text_everywhere(shared_receiver: StartReceiver) -> None:
    """The log at its most talkative, the process title and the folder stay as they should be."""
    options = (*QUICK, "-d", "--verbose-pc", "--bit-preserving")
    with unharmed(shared_receiver(OURS, *options)) as receiver:
        mark = receiver.mark()
        for evil in EVIL:
            speak_evil(receiver, evil)
        receiver.wait_for_children(0)
        for line in receiver.log(mark).splitlines():
            assert line.isprintable()
            assert line[:3] in ("F: ", "E: ", "W: ", "I: ", "D: ")
            assert not line.startswith("E: forged")
        assert receiver.names()
        for name in receiver.names():
            assert re.fullmatch(r"UNKNOWN\.[A-Za-z0-9_-][A-Za-z0-9._-]*", name)


def speak_evil(receiver: Receiver, evil: bytes) -> None:
    even = evil + b"\0" * (len(evil) % 2)
    with Peer.connect(receiver.port) as peer:
        peer.send(evil_request(evil))
        peer.expect(wire.ASSOCIATE_AC)
        title = command_line(serving(receiver))
        assert title.isprintable()
        peer.send_command(wire.store_rq(None, None, e0002=even, e1000=even, e1031=1))
        peer.send_data(small().data)
        answer = peer.receive()
        assert answer is not None
        assert answer.kind in (wire.P_DATA, wire.ABORT)
    with Peer.connect(receiver.port) as peer:
        name = evil.decode("latin-1")
        peer.send(wire.associate_rq([VERIFICATION], application_context=name))
        assert peer.receive() is not None
    wait_until(lambda: not is_served(receiver), "both have ended")


# Time


def still_open(peer: Peer) -> bool:
    """Tell, after a moment, whether the connection is open; nothing may have come in."""
    peer.socket.settimeout(0.1)
    try:
        data = peer.socket.recv(1)
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False
    assert not data
    return False


@pytest.mark.parametrize("sent", [3, 30], ids=["header", "body"])
def test_slow_request(receiver: Receiver, sent: int) -> None:
    """Bytes that drip in keep nothing alive."""
    request = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(request[:sent])
        sent_all = False
        while still_open(peer):
            assert not sent_all, "it has waited for all of it"
            sent_all = sent == len(request) - 1
            peer.send(request[sent : sent + 1])
            sent += 1
    receiver.wait_for_log("0006:031a DUL network read timeout", since=mark)


@pytest.mark.parametrize("last", ["release", "reject", "abort"])
def test_flood_after_the_end(receiver: Receiver, last: str) -> None:
    """What is read until the peer closes is not read for ever."""
    with Peer.connect(receiver.port) as peer:
        if last == "reject":
            peer.send(
                wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))], application_context="1.2")
            )
            peer.expect(wire.ASSOCIATE_RJ)
        else:
            peer.associate()
            peer.send(wire.release_rq() if last == "release" else wire.pdu(0x2A, bytes(4)))
            peer.expect(wire.RELEASE_RP if last == "release" else wire.ABORT)
        flood = b"\4\0\0\1\0\0" * 1000
        peer.socket.settimeout(0.2)
        wait_until(lambda: not _goes_on(peer, flood), "the connection is closed")
    receiver.wait_for_children(0)


def _goes_on(peer: Peer, flood: bytes) -> bool:
    try:
        peer.socket.sendall(flood)
    except OSError:
        return False
    return True


def test_peer_that_reads_no_answers(receiver: Receiver) -> None:
    """Answers pile up in the kernel until a send blocks, and that ends with the time-out."""
    mark = receiver.mark()
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        plain.connect(("127.0.0.1", receiver.port))
        peer = Peer(plain)
        # The smallest fragments there are: much to send for little received.
        peer.associate(VERIFICATION, max_pdu=14)
        child = serving(receiver)
        before = anonymous(child)
        plain.settimeout(0.2)
        flood = wire.p_data(wire.pdv(1, wire.echo_rq(), command=True)) * 200
        wait_until(lambda: not _goes_on(peer, flood), "it takes no more")
        assert anonymous(child) - before < 4000
        wait_until(lambda: child not in receiver.children(), "the send has timed out")
    receiver.wait_for_log("Association Aborted", since=mark)


def test_half_open_connections_give_way(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, "--max-associations", "3")
    idle = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(9)]
    try:
        receiver.wait_for_children(3)
        with Peer.connect(receiver.port) as peer:
            peer.socket.settimeout(30)
            peer.associate()
            assert len(receiver.children()) <= 3
            assert descriptors(receiver.pid) < 12
            peer.release()
    finally:
        for one in idle:
            one.close()
    receiver.wait_for_children(0)


# Messages


def test_echo_that_announces_a_data_set(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate(VERIFICATION)
        peer.send_command(
            wire.command_set(
                {
                    wire.SOP_CLASS: wire.VERIFICATION,
                    wire.FIELD: wire.C_ECHO_RQ,
                    wire.MESSAGE_ID: 1,
                    wire.DATA_SET_TYPE: 1,
                }
            )
        )
        peer.send_data(bytes(10))
        peer.expect_abort(0, 0)
    log = receiver.wait_for_log("0006:0203 DIMSE Badly formed message", since=mark)
    assert "internal error" not in log


def conversation() -> bytes:
    thing = small(pixels=100)
    command = wire.store_rq(thing.sop_class, thing.sop_instance)
    parts = [thing.data[at : at + 64] for at in range(0, len(thing.data), 64)]
    return (
        wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
        + wire.p_data(wire.pdv(1, command, command=True))
        + b"".join(wire.p_data(wire.pdv(1, part, last=part is parts[-1])) for part in parts)
    )


@pytest.mark.parametrize("mode", ["-B", "+B"])
@pytest.mark.parametrize("how", ["close", "reset", "abort"])
def test_nothing_is_left_wherever_it_ends(
    start_receiver: StartReceiver, how: str, mode: str
) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", mode)
    sent = conversation()
    starts = []
    at = 0
    while at < len(sent):
        starts.append(at)
        at += 6 + int.from_bytes(sent[at + 2 : at + 6], "big")
    cuts = starts if how == "abort" else range(0, len(sent) - 1, 19)
    for end in cuts:
        with Peer.connect(receiver.port) as peer:
            peer.send(sent[:end])
            if how == "abort":
                peer.send(wire.abort())
            elif how == "reset":
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Peer.connect(receiver.port) as peer:  # behind all of them
        peer.associate()
        peer.release()
    receiver.wait_for_children(0)
    assert receiver.names() == []
    receiver.stop()


# Growth


def test_many_associations_leave_nothing(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")

    def some(count: int) -> None:
        for number in range(count):
            with Peer.connect(receiver.port, byte_by_byte if number % 50 == 0 else whole) as peer:
                peer.associate(VERIFICATION)
                peer.echo()
                peer.release()
        receiver.wait_for_children(0)

    some(50)
    before = descriptors(receiver.pid), resident(receiver.pid)
    some(150)
    assert descriptors(receiver.pid) == before[0]
    assert resident(receiver.pid) - before[1] < 1000, "KiB more"
    wait_until(lambda: not zombies_of(receiver.pid), "all children have been waited for")


def zombies_of(pid: int) -> list[int]:
    everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [one for one in everybody if is_zombie(one) and parent(one) == pid]


def resident(pid: int) -> int:
    """Resident memory of a process, KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("mode", ["-B", "+B"])
def test_many_objects_leave_nothing(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", mode)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        child = serving(receiver)

        def some(count: int) -> None:
            for number in range(count):
                thing = small(sop_instance=f"1.2.{number % 40}.{number % 7}", pixels=32)
                assert peer.store(thing, number % 65536) == 0

        some(500)
        before = descriptors(child), anonymous(child)
        some(1500)
        assert descriptors(child) == before[0]
        assert anonymous(child) - before[1] < 1000, "KiB more"
        peer.release()


@pytest.mark.parametrize("number", [signal.SIGRTMIN + 1, signal.SIGRTMAX])
def test_child_killed_by_a_real_time_signal(receiver: Receiver, number: int) -> None:
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        child = serving(receiver)
        os.kill(child, number)
        peer.expect_closed()
    receiver.wait_for_log(f"child {child} for 127.0.0.1 was killed by ", since=mark)
