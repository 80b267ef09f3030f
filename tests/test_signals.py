"""Signals to a running daemon: TERM, INT, HUP, USR1, CHLD."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    free_port,
    is_listening,
    session_members,
    signal_session,
    signals_pending,
    wait_until,
)
from harness.receivers import OURS, Receiver, argv, assert_no_traceback

MODES = ["--fork", "--single-process"]


def open_association(receiver: Receiver) -> Peer:
    """Return a peer whose association is served."""
    peer = Peer.connect(receiver.port)
    peer.associate()
    return peer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("mode", MODES)
def test_idle_daemon_stops(
    start_receiver: StartReceiver, mode: str, number: signal.Signals
) -> None:
    receiver = start_receiver(OURS, mode)
    receiver.send_signal(number)
    assert receiver.wait() == 0
    assert not is_listening(receiver.port)
    assert receiver.log() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_during_start_up(tmp_path: Path, number: signal.Signals) -> None:
    """A daemon that listens already can be told to stop, however young it is."""
    port = free_port()
    command = [sys.executable, "-m", "storescpd", "--fork", "-od", str(tmp_path), str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert stderr == b""
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_before_there_is_anything_to_stop(
    flavour: str, tmp_path: Path, number: signal.Signals
) -> None:
    fifo = tmp_path / "options"
    os.mkfifo(fifo)
    process = subprocess.Popen([*argv(flavour), f"@{fifo}"], stderr=subprocess.PIPE)
    with fifo.open("wb"):  # the program is up and reads its command file
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE)[1] == b""
    assert process.returncode == -number


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_the_parent_has_blocked(
    start_receiver: StartReceiver, mode: str, number: signal.Signals
) -> None:
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [number])
    try:
        receiver = start_receiver(OURS, mode)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    receiver.send_signal(number)
    assert receiver.wait() == 0


@pytest.mark.parametrize("mode", MODES)
def test_term_lets_associations_finish(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, "-v", mode, "-dhl")
    thing, later = small(pixels=50_000), small()
    with open_association(receiver) as peer:
        peer.begin_store(thing, 20_000)
        receiver.send_signal(signal.SIGTERM)
        if mode == "--fork":
            wait_until(lambda: not is_listening(receiver.port), "it stops listening at once")
        peer.send_data(thing.data[20_000:])
        assert peer.response()[wire.STATUS] == 0
        assert peer.store(later, 2) == 0
        assert receiver.process.poll() is None
        peer.release()
    assert receiver.wait() == 0
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data
    assert receiver.holds(later.sop_instance)
    assert session_members(receiver.pid) == []


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGTERM, signal.SIGTERM)])
@pytest.mark.parametrize("mode", MODES)
def test_stop_at_once_aborts_associations(
    start_receiver: StartReceiver, mode: str, signals: tuple[signal.Signals, ...]
) -> None:
    receiver = start_receiver(OURS, "-v", mode, "-dhl", "-ta", "5")
    thing = small(pixels=50_000)
    with open_association(receiver) as peer:
        peer.begin_store(thing, 20_000)
        for number in signals:
            receiver.send_signal(number)
            # Two of a kind that are pending would become one.
            wait_until(lambda: not signals_pending(receiver.pid), "the signal is taken")
        peer.expect_abort(0, 0)
    assert receiver.wait() == 0
    assert receiver.names() == []
    wait_until(lambda: not session_members(receiver.pid), "nobody is left")


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int, Path]]:
    """A daemon whose period of grace is one second."""
    port = free_port()
    log = tmp_path / "stderr"
    (tmp_path / "out").mkdir()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "storescpd", "-v", "--fork", "--grace-period", "1"),
                *("-od", str(tmp_path / "out"), str(port)),
            ],
            stderr=stream,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    yield process, port, log
    signal_session(process.pid, signal.SIGKILL)
    process.wait()
    assert_no_traceback(log.read_text())


def test_grace_ends_with_an_abort(
    impatient: tuple["subprocess.Popen[bytes]", int, Path],
) -> None:
    process, port, log = impatient
    with Peer.connect(port) as peer:
        peer.associate()
        os.kill(process.pid, signal.SIGTERM)
        wait_until(lambda: not is_listening(port), "it stops listening at once")
        peer.echo()  # still served
        peer.expect_abort(0, 0)
    assert process.wait(PATIENCE) == 0
    assert "told to stop" in log.read_text()


@pytest.mark.parametrize("mode", MODES)
def test_hup_does_not_stop_it(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, "-v", mode, "-dhl")
    with open_association(receiver) as peer:
        receiver.send_signal(signal.SIGHUP)
        peer.echo()
        assert peer.store(small(), 2) == 0
        peer.release()
    receiver.send_signal(signal.SIGHUP)
    with open_association(receiver) as peer:
        peer.release()
    assert receiver.process.poll() is None


def test_usr1_logs_one_line_of_status(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "--max-associations", "9", "-dhl")
    assert receiver.log() == ""
    with open_association(receiver) as peer:
        receiver.send_signal(signal.SIGUSR1)
        log = receiver.wait_for_log("status")
        assert log.count("\n") == 1, log
        assert "1/9" in log
        assert str(receiver.port) in log
        peer.echo()
        peer.release()
    receiver.wait_for_children(0)
    mark = receiver.mark()
    receiver.send_signal(signal.SIGUSR1)
    log = receiver.wait_for_log("status", since=mark)
    assert log.count("\n") == 1, log
    assert "0/9" in log
    assert "1 served" in log


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_killed_child_is_named_with_its_signal(
    start_receiver: StartReceiver, number: signal.Signals
) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    with open_association(receiver) as peer:
        (child,) = receiver.wait_for_children(1)
        os.kill(child, number)
        peer.expect_closed()
    log = receiver.wait_for_log(number.name)
    assert str(child) in log
    assert "127.0.0.1" in log
    with open_association(receiver) as peer:
        peer.release()


def test_quiet_end_of_a_child_is_no_news(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    with open_association(receiver) as peer:
        peer.release()
    receiver.wait_for_children(0)
    assert receiver.log() == ""


def test_many_signals_at_once(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    with open_association(receiver) as peer:
        for _ in range(200):
            receiver.send_signal(signal.SIGHUP)
            receiver.send_signal(signal.SIGUSR1)
        peer.echo()
        peer.release()
    receiver.wait_for_children(0)
    with open_association(receiver) as peer:
        peer.release()


def test_signals_that_pile_up_count_as_one(start_receiver: StartReceiver) -> None:
    """Whoever sends them faster than they are acted upon does not keep the daemon busy for long."""
    receiver = start_receiver(OURS, "--single-process", "-dhl")
    with open_association(receiver) as peer:
        for _ in range(5):
            receiver.send_signal(signal.SIGUSR1)
            wait_until(lambda: not signals_pending(receiver.process.pid), "it takes the signal")
        peer.release()
    with open_association(receiver) as peer:
        peer.release()
    assert receiver.log().count("status") == 1


# What a stop signal means to a process that serves


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("code", "ending"),
    [
        # Told while it serves, or afterwards: on its last steps, or where life goes on.
        ("with Stop(0, cut, resident=False): kill()", "cut 0"),
        ("with Stop(0, cut, resident=False): pass\nkill()", "cut 0"),
        ("with Stop(0, cut, resident=True): kill()", "cut 0"),
        ("with Stop(0, cut, resident=True): pass\nkill()", "-"),
        ("pipe = SignalPipe()\nwith Stop(0, cut, resident=True): pass\nkill()", "0"),
        ("pipe = SignalPipe()\npipe.close()\nkill()", "-"),
        # Told while it waits for what may never come, or just before.
        ("with Stop(0, cut, resident=True): wait(kill)", "cut broken 0"),
        ("with Stop(0, cut, resident=True):\n kill()\n wait(pass_)", "cut broken 0"),
        ("with Stop(0, cut, resident=True):\n wait(pass_)\n kill()", "waited cut 0"),
        ("pipe = SignalPipe()\nwait(kill)\nwait(pass_)\nkill()", "broken broken 0"),
        ("pipe = SignalPipe()\nkill()\npipe.close()\nwait(pass_)", "waited 0"),
        ("wait(kill)", "broken 0"),
        # Told just before it serves.
        ("pipe = SignalPipe()\nkill()\nwith Stop(0, cut, resident=True): pass", "cut 0"),
        ("pipe = SignalPipe()\nkill()\npipe.read()\nwith Stop(0, cut, resident=True): pass", "0"),
        ("pipe = SignalPipe()\nkill()\npipe.close()\nwith Stop(0, cut, resident=False): pass", "0"),
    ],
)
def test_what_a_stop_signal_means(code: str, ending: str, number: signal.Signals) -> None:
    script = (
        "import os, sys\n"
        "from storescpd.signals import Breakable, SignalPipe, Stop, Stopped\n"
        f"def kill(): os.kill(os.getpid(), {int(number)})\n"
        "def cut(): sys.stdout.write('cut ')\n"
        "def pass_(): pass\n"
        "def wait(action):\n"
        "    try:\n"
        "        with Breakable(): action()\n"
        "    except Stopped: sys.stdout.write('broken ')\n"
        "    else: sys.stdout.write('waited ')\n"
        f"{code}\n"
        "sys.stdout.write('0')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == ("" if ending == "-" else ending)
    assert done.returncode == (-number if ending == "-" else 0)


def test_a_gentle_stop_waits_until_its_time_is_over() -> None:
    script = (
        "import os, signal\n"
        "from storescpd.signals import Breakable, Stop, Stopped\n"
        "with Stop(3600, lambda: print('cut'), resident=True):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    with Breakable(): print('waited')\n"
        "    try:\n"
        "        with Breakable(): os.kill(os.getpid(), signal.SIGALRM)\n"
        "    except Stopped: print('broken')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["waited", "cut", "broken"], "")


def test_a_grace_ends_although_the_parent_has_blocked_signals() -> None:
    script = (
        "import os, signal\n"
        "from storescpd.signals import Stop\n"
        "reader, writer = os.pipe()\n"
        "with Stop(0.05, lambda: os.write(writer, b'cut'), resident=True):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(os.read(reader, 10).decode())\n"
    )
    old = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGALRM))
    try:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    try:
        assert process.communicate(timeout=PATIENCE)[0] == b"cut\n"
    finally:
        process.kill()
