"""The child that is forked ahead while connections follow each other, and only then."""

import contextlib
import os
import signal
import time

from conftest import StartReceiver
from harness.objects import small
from harness.peer import Peer
from harness.processes import command_line, is_alive, is_zombie, wait_until
from harness.receivers import OURS, Receiver

WAITING = "storescpd: waiting for a connection"


def spares(receiver: Receiver) -> list[int]:
    found = []
    for pid in receiver.children():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if WAITING in command_line(pid):
                found.append(pid)
    return found


def rush(receiver: Receiver, count: int = 12) -> None:
    for _ in range(count):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.echo()
            peer.release()


def wait_for_spare(receiver: Receiver) -> int:
    """Return the spare child of a rush that has just been, and goes on if it takes more."""
    found: list[int] = []

    def is_there() -> bool:
        if not spares(receiver):
            rush(receiver)
            time.sleep(0.1)
        found[:] = spares(receiver)
        return len(found) == 1

    wait_until(is_there, "a child waits for a connection")
    return found[0]


def test_waits_during_a_rush_and_goes_after_it(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    assert receiver.children() == []
    pid = wait_for_spare(receiver)
    receiver.wait_for_children(0)
    wait_until(lambda: not is_zombie(pid), "it is reaped")
    assert not is_alive(pid)


def test_a_few_connections_are_no_rush(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    rush(receiver, 5)
    receiver.wait_for_children(0)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert len(receiver.children()) == 1
        peer.release()


def test_serves_the_next_connection(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", "-v")
    pid = wait_for_spare(receiver)
    mark = receiver.mark()
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == 0
        peer.release()
    receiver.wait_for_log(f"Association Received in child process (pid: {pid})", since=mark)
    assert receiver.holds(thing.sop_instance)


def test_killed_one_costs_nobody_an_association(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    for _ in range(5):
        pid = wait_for_spare(receiver)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not is_alive(pid), "it is dead")  # type: ignore[misc]
        rush(receiver, 2)
    receiver.wait_for_children(0)
    assert is_alive(receiver.pid)


def test_does_not_count_as_an_association(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", "--max-associations", "1")
    wait_for_spare(receiver)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.echo()
        peer.release()


def test_knows_the_configuration_of_after_a_hup(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    pid = wait_for_spare(receiver)
    receiver.send_signal(signal.SIGHUP)
    wait_until(lambda: not is_alive(pid), "the child of before is gone")
    rush(receiver)


def test_is_gone_when_the_master_is(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    pid = wait_for_spare(receiver)
    receiver.send_signal(signal.SIGTERM)
    assert receiver.wait() == 0
    assert not is_alive(pid)
