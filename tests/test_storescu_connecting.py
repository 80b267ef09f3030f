"""How the sender comes by its connection, and what it says where there is none to be had."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import senders, wire
from harness.conversation import lines
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.processes import PATIENCE, free_port, wait_until
from harness.receivers import OURS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_part10(tmp_path, small())


def test_connection_refused(flavour: str, file: Path) -> None:
    done = senders.send(flavour, free_port(), [file], "-v")
    assert (done.code, lines(done)[-1]) == (
        1,
        "F: Association Request Failed: 0006:031c TCP Initialization Error: Connection refused",
    )


def test_unknown_host(flavour: str, file: Path) -> None:
    process = senders.start(flavour, 1, [file], host="no.such.host.invalid")
    done = senders.finish(process)
    assert (done.code, lines(done)) == (
        1,
        [
            "F: Association Request Failed:"
            " 0006:0320 Attempt to connect to unknown host: no.such.host.invalid"
        ],
    )


def fill_queue(listener: socket.socket, stack: ExitStack) -> list[socket.socket]:
    """Connect more often than a listener without a backlog bears; the first of them succeeds."""
    fillers = [stack.enter_context(socket.socket()) for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    return fillers


def connecting_to(port: int) -> int:
    """Return how many sockets of this host wait for a connection to a local port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(line.split()[2:4] == [f"0100007F:{port:04X}", "02"] for line in lines)


def test_connection_that_does_not_come_about(flavour: str, file: Path) -> None:
    """A full queue of connections looks like a host that is not there."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        fill_queue(listener, stack)
        done = senders.send(flavour, listener.getsockname()[1], [file], "-to", "1")
    assert done.code == 1
    expected = "F: Association Request Failed: 0006:031c TCP Initialization Error: "
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_connection_that_may_take_50_days(file: Path) -> None:
    """In the reference 4294968 seconds are 704 milliseconds; the kernel tries again after 1000."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        listener.settimeout(PATIENCE)
        port = listener.getsockname()[1]
        fillers = fill_queue(listener, stack)
        process = senders.start(OURS, port, [file], "-to", "4294968")
        try:
            wait_until(lambda: connecting_to(port) == len(fillers), "the sender tries to connect")
            for filler in fillers:
                filler.close()
            listener.accept()[0].close()
            with Peer(listener.accept()[0]) as peer:
                peer.expect(wire.ASSOCIATE_RQ)
        finally:
            senders.finish(process)


@pytest.mark.parametrize(("option", "host"), [("-i6", "::1"), ("-i0", "::1"), ("-i0", "127.0.0.1")])
def test_ip_protocols(file: Path, option: str, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        process = senders.start(OURS, listener.getsockname()[1], [file], option, host=host)
        connected, _ = listener.accept()
        with Peer(connected) as peer:
            peer.expect(wire.ASSOCIATE_RQ)
            peer.send(wire.associate_rj(1, 1, 1))
            peer.expect_closed()
    assert senders.finish(process).code == 1
