"""Processes: one child an association, how many at a time, and what a killed child leaves."""

import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer, store_one
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_alive,
    is_zombie,
    wait_until,
)
from harness.receivers import OURS, argv

FULL = "Maximum number of associations reached, waiting for child process to terminate"


def test_one_child_for_each_association(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, "-v", "--fork", "-dhl")
    peers: list[Peer] = []
    for number in range(1, 5):
        peers.append(Peer.connect(receiver.port))
        peers[-1].associate(calling=f"PEER{number}".encode())
        assert len(receiver.wait_for_children(number)) == number
    pids = receiver.serving()
    log = receiver.log()
    for pid in pids:
        assert f"Association Received in child process (pid: {pid})" in log
    objects = [small(pixels=3000) for _ in peers]
    for peer, thing in zip(peers, objects, strict=True):
        peer.begin_store(thing, 1000)  # all four are in the middle of an object at once
    for peer, thing in zip(reversed(peers), reversed(objects), strict=True):
        peer.send_data(thing.data[1000:])
        assert peer.response()[wire.STATUS] == 0
        peer.release()
    receiver.wait_for_children(0)
    for thing in objects:
        assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data
    assert is_alive(receiver.pid)


def test_children_are_reaped(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    for _ in range(5):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            (pid,) = receiver.wait_for_children(1)
            peer.release()
        wait_until(lambda pid=pid: not is_alive(pid), f"child {pid} ends")  # type: ignore[misc]
        wait_until(lambda pid=pid: not is_zombie(pid), f"child {pid} is reaped")  # type: ignore[misc]


def test_single_process_serves_one_after_another(
    flavour: str, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver(flavour, "-v", "--single-process", "-dhl")
    with Peer.connect(receiver.port) as first, Peer.connect(receiver.port) as second:
        first.associate()
        second.send(wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]))
        assert second.nothing_arrives(0.3)
        assert receiver.children() == []
        assert first.store(small()) == 0
        first.release()
        second.expect(wire.ASSOCIATE_AC)
        assert second.store(small()) == 0
        second.release()
    assert len(receiver.names()) == 2


def test_titles(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "--max-associations", "7", "-dhl")
    master = command_line(receiver.pid)
    assert master.startswith("storescpd: master ")
    assert str(receiver.port) in master
    assert "0/7" in master
    with Peer.connect(receiver.port) as peer:
        (child,) = receiver.wait_for_children(1)
        peer.associate(calling=b"CT01", called=b"ARCHIVE")
        wait_until(lambda: "CT01" in command_line(child), "the title names the peer")
        assert command_line(child).startswith("storescpd: CT01@127.0.0.1 -> ARCHIVE [0 objects")
        wait_until(lambda: "1/7" in command_line(receiver.pid), "the master counts")
        assert peer.store(small(pixels=2_000_000), fragment=16000) == 0
        wait_until(lambda: "[1 objects, 2.0 MB]" in command_line(child), "the title counts")
        peer.release()
    wait_until(lambda: "0/7" in command_line(receiver.pid), "the master counts down")


def test_title_of_a_single_process(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "-dhl")
    with Peer.connect(receiver.port) as peer:
        peer.associate(calling=b"CT01")
        wait_until(lambda: "CT01" in command_line(receiver.pid), "the title names the peer")
        peer.release()
    wait_until(lambda: "master [" in command_line(receiver.pid), "nobody is served any more")


def test_title_when_the_first_variable_of_the_environment_goes(tmp_path: Path) -> None:
    port = free_port()
    command = [*argv(OURS), "--fork", "+B", "-od", str(tmp_path), str(port)]
    environment = {"WATCHDOG_PID": "1"} | os.environ
    process = subprocess.Popen(command, env=environment)
    try:
        wait_until(lambda: f"master [listening *:{port}" in command_line(process.pid), "the title")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_command_line_that_is_not_utf8(tmp_path: Path) -> None:
    """A folder with a name in Latin-1 is as good as another."""
    folder = os.fsencode(tmp_path) + b"/\xfc"
    os.mkdir(folder)
    port = free_port()
    process = subprocess.Popen([*argv(OURS), "--fork", "-od", folder, str(port)])
    try:
        wait_until(lambda: f"master [listening *:{port}" in command_line(process.pid), "the title")
        store_one(port)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert len(os.listdir(folder)) == 1


def test_titles_show_no_control_characters(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    with Peer.connect(receiver.port) as peer:
        peer.associate(calling=b"\x1b]0;owned\x07", called=b"A\nB")
        (child,) = receiver.wait_for_children(1)
        wait_until(lambda: "->" in command_line(child), "the title names the peer")
        assert command_line(child).isprintable()
        peer.release()


def test_peers_above_the_limit_wait_for_one_to_end(start_receiver: StartReceiver) -> None:
    # The reference has the option from 3.7.0 on, and resumes only after all children ended.
    receiver = start_receiver(OURS, "-v", "--fork", "--max-associations", "2", "-dhl")
    first, second = Peer.connect(receiver.port), Peer.connect(receiver.port)
    first.associate()
    second.associate()
    receiver.wait_for_log(FULL)
    with Peer.connect(receiver.port) as third, Peer.connect(receiver.port) as fourth:
        request = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
        third.send(request)
        fourth.send(request)
        assert third.nothing_arrives(0.3), "the limit is not kept"
        assert len(receiver.children()) == 2
        first.release()
        third.expect(wire.ASSOCIATE_AC)
        assert fourth.nothing_arrives(0.3), "the limit is not kept"
        second.echo()  # the other one is still served
        third.release()
        fourth.expect(wire.ASSOCIATE_AC)
        fourth.echo()
        second.echo(2)
        fourth.release()
    second.release()
    receiver.wait_for_children(0)


@pytest.mark.parametrize("mode", ["-B", "+B"])
def test_killed_child_leaves_nothing_partial(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, "-v", "--fork", "-dhl", mode)
    done, partial, other = (small(pixels=100_000) for _ in range(3))
    with Peer.connect(receiver.port) as victim:
        victim.associate()
        (pid,) = receiver.wait_for_children(1)
        bystander = Peer.connect(receiver.port)
        bystander.associate()
        assert victim.store(done) == 0
        victim.begin_store(partial, 60_000, message_id=2)
        bystander.begin_store(other, 60_000)
        wait_until(
            lambda: any("tmp" in link or "(deleted)" in link for link in _open_files(pid)),
            "the child writes its temporary",
        )
        os.kill(pid, signal.SIGKILL)
        victim.expect_closed()
        receiver.wait_for_log("SIGKILL")
        assert receiver.names() == [f"CT.{done.sop_instance}"]
        bystander.send_data(other.data[60_000:])
        assert bystander.response()[wire.STATUS] == 0
        bystander.release()
    assert split_part10(receiver.stored(other.sop_instance)).data == other.data
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(partial) == 0
        peer.release()


def _open_files(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]


def test_partial_object_has_no_name_yet(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "+B", "-dhl")
    thing = small(pixels=100_000)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (pid,) = receiver.wait_for_children(1)
        peer.begin_store(thing, 60_000)
        wait_until(
            lambda: any("(deleted)" in link for link in _open_files(pid)), "a nameless temporary"
        )
        assert receiver.names() == []
        peer.send_data(thing.data[60_000:])
        assert peer.response()[wire.STATUS] == 0
        assert receiver.names() == [f"CT.{thing.sop_instance}"]
        peer.release()


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_no_descriptor_is_left_behind(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, mode, "-dhl")

    def run() -> None:
        store_one(receiver.port)
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.begin_store(small(), 100)
        with Peer.connect(receiver.port) as peer:
            peer.send(b"GET / HTTP/1.0\r\n\r\n")
            peer.expect_closed()
        receiver.wait_for_children(0)

    run()
    with Peer.connect(receiver.port) as peer:  # in one process: the ones before are over
        peer.associate()
        peer.release()
    receiver.wait_for_children(0)
    before = len(_open_files(receiver.pid))
    run()
    run()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.release()
    receiver.wait_for_children(0)
    # The first count may have caught a connection on its way out.
    wait_until(lambda: len(_open_files(receiver.pid)) <= before, "descriptors are closed")


def test_shortage_of_descriptors_passes(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "-v", "--fork", "-dhl")
    count = len(_open_files(receiver.pid))
    soft, hard = resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, (count, hard))
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]))
        receiver.wait_for_log("cannot accept a connection")
        ticks = _processor_time(receiver.pid)
        assert peer.nothing_arrives(0.5)
        assert _processor_time(receiver.pid) - ticks < 20, "the master spins"
        resource.prlimit(receiver.pid, resource.RLIMIT_NOFILE, (soft, hard))
        peer.expect(wire.ASSOCIATE_AC)
        peer.release()


def _processor_time(pid: int) -> int:
    """Clock ticks (10 ms) that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
