"""Signals end the association first, and then the process as they always do."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from harness import senders, wire
from harness.objects import small, write_part10
from harness.processes import PATIENCE
from harness.receivers import OURS
from harness.scripted import Message, Proposal, ScriptedReceiver

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", ENDING)
def test_while_a_response_is_awaited(tmp_path: Path, number: signal.Signals) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path, path], "-v")
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            Message(peer)
            process.send_signal(number)
            peer.expect_abort(0, 0)
        done = senders.finish(process)
    assert done.code == -number
    assert done.stderr.splitlines()[-1] == "I: Aborting Association"


@pytest.mark.parametrize("number", ENDING)
def test_before_there_is_an_association(tmp_path: Path, number: signal.Signals) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path])
        with receiver.accept() as peer:
            peer.expect(wire.ASSOCIATE_RQ)
            process.send_signal(number)
            peer.expect_abort(0, 0)
        done = senders.finish(process)
    assert (done.code, done.stderr) == (-number, "")


def wait_until_stuck(pid: int, connected: socket.socket) -> None:
    """Wait until the sender sleeps and no more data come in: all buffers are full."""
    seen, looks = b"", 0
    while looks < 5:
        waiting = fcntl.ioctl(connected, termios.FIONREAD, bytes(4))
        sleeps = " S " in Path(f"/proc/{pid}/stat").read_text()
        looks = looks + 1 if sleeps and waiting == seen else 0
        seen = waiting
        time.sleep(0.1)


@pytest.mark.parametrize("reads_on", [True, False])
def test_in_the_middle_of_an_object(tmp_path: Path, reads_on: bool) -> None:
    """The abort comes between two PDUs; where the last one is cut, none comes at all."""
    path = write_part10(tmp_path, small(pixels=40_000_000))
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [path])
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            peer.socket.recv(1, socket.MSG_PEEK)
            if not reads_on:
                wait_until_stuck(process.pid, peer.socket)
            process.send_signal(signal.SIGTERM)
            if not reads_on:
                process.wait(PATIENCE)
            data = b"".join(iter(lambda: peer.socket.recv(1 << 20), b""))
        done = senders.finish(process)
    assert (done.code, done.stderr) == (-signal.SIGTERM, "")
    assert 0 < len(data) < 40_000_000
    at, kinds = 0, []
    while at < len(data):
        kinds.append(data[at])
        at += 6 + int.from_bytes(data[at + 2 : at + 6], "big")
    assert set(kinds[:-1]) == {wire.P_DATA}
    if reads_on or at == len(data):
        assert (kinds[-1], at) == (wire.ABORT, len(data))
    else:
        assert kinds[-1] == wire.P_DATA
        assert not data.endswith(wire.abort())


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    """As nohup(1) and a shell's background jobs have it."""
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        command = [*senders.argv(OURS), "127.0.0.1", str(receiver.port), str(path)]
        process = subprocess.Popen(
            ["sh", "-c", 'trap "" INT HUP; exec "$@"', "sh", *command], stderr=subprocess.PIPE
        )
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            message = Message(peer)
            os.kill(process.pid, signal.SIGINT)
            os.kill(process.pid, signal.SIGHUP)
            peer.send_command(
                wire.store_rsp(wire.CT, str(message.command[wire.SOP_INSTANCE]), 1, 0),
                message.context,
            )
            peer.expect(wire.RELEASE_RQ)
            peer.send(wire.release_rp())
        assert process.communicate(timeout=PATIENCE)[1] == b""
    assert process.returncode == 0


def test_before_anything_is_connected(tmp_path: Path) -> None:
    """There is nothing to end but the process."""
    path = write_part10(tmp_path, small())
    fifo = tmp_path / "files"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [*senders.argv(OURS), f"@{fifo}", "127.0.0.1", "1", str(path)], stderr=subprocess.PIPE
    )
    with fifo.open("wb"):  # the program is up and reads its command file
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE)[1] == b""
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("number", ENDING)
def test_on_the_last_steps(number: signal.Signals) -> None:
    script = (
        "import os\n"
        "from storescu import main\n"
        "class Late(main.Interruptible):\n"
        "    def __exit__(self, *error):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        super().__exit__(*error)\n"
        "main.Interruptible = Late\n"
        "main.main(['storescu', '--version'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == -number
