"""The daemon as a service: sockets from systemd, and what the service manager hears."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import objects, senders, wire
from harness.cmdlines import run
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_listening,
    session_members,
    signal_session,
    wait_until,
)
from harness.receivers import assert_no_traceback

from storescpd.options import PROGRAM

ROOT = Path(__file__).parents[1]
UNITS = ["storescpd.service", "storescpd-inetd@.service"]


def exec_start(unit: str) -> list[str]:
    (line,) = re.findall(r"^ExecStart=(.*)$", (ROOT / "systemd" / unit).read_text(), re.MULTILINE)
    program, *arguments = line.split()
    assert program == "/usr/bin/storescpd"
    assert arguments[-2:] == ["--conf", "/etc/storescpd/storescpd.conf"]
    return list(arguments)


def configured(unit: str, tmp_path: Path, *more: str) -> list[str]:
    """The command of a unit, with the shipped configuration for a folder below ``tmp_path``."""
    folder = tmp_path / "received"
    folder.mkdir(exist_ok=True)
    conf = tmp_path / "storescpd.conf"
    text = (ROOT / "etc" / "storescpd.conf").read_text()
    conf.write_text(text.replace("/var/lib/storescpd", str(folder)))
    return [*daemon(), *exec_start(unit)[:-1], str(conf), *more]


def daemon() -> list[str]:
    return [sys.executable, "-m", "storescpd"]


# The units


@pytest.mark.parametrize("unit", UNITS)
def test_configuration_is_accepted(tmp_path: Path, unit: str) -> None:
    command = configured(unit, tmp_path, "--check-config")
    assert run(PROGRAM, *command[3:]).accepted
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# Sockets from systemd


def activator() -> str:
    path = shutil.which("systemd-socket-activate")
    if path is None and os.geteuid() == 0:
        pytest.fail("the package systemd is missing; tests/install-peers installs it")
    if path is None:
        pytest.skip("the package systemd is missing, and only root can install it")
    return path


@contextlib.contextmanager
def activated(
    tmp_path: Path, command: list[str], *options: str
) -> Iterator["tuple[int, subprocess.Popen[bytes]]"]:
    """Let systemd-socket-activate listen; the port, and the process that becomes the daemon."""
    port = free_port()
    log = tmp_path / "log"
    variables = [f"--setenv={name}" for name in ("PATH", "PYTHONPATH") if name in os.environ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [activator(), f"--listen=127.0.0.1:{port}", *variables, *options, *command],
            stderr=stream,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
        yield port, process
    finally:
        signal_session(process.pid, signal.SIGTERM)
        process.wait(PATIENCE)
        wait_until(lambda: not session_members(process.pid), "nobody is left")
        assert_no_traceback(log.read_text())


def send(port: int, reference: str, tmp_path: Path) -> None:
    sent = senders.send(reference, port, [objects.write_part10(tmp_path, objects.small())])
    assert sent.code == 0, sent.stderr


def stored(tmp_path: Path) -> int:
    return len(list((tmp_path / "received").iterdir()))


def test_listener_from_systemd(reference: str, tmp_path: Path) -> None:
    command = configured("storescpd.service", tmp_path)
    with activated(tmp_path, command) as (port, process):
        send(port, reference, tmp_path)
        assert command_line(process.pid).startswith("storescpd: master [listening 127.0.0.1:")
        assert f":{port}," in command_line(process.pid), "the port of the file is ignored"
        send(port, reference, tmp_path)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert stored(tmp_path) == 2


def test_listener_from_systemd_needs_no_port(reference: str, tmp_path: Path) -> None:
    (tmp_path / "received").mkdir()
    command = [*daemon(), "--idle-exit", "1", "-od", str(tmp_path / "received")]
    with activated(tmp_path, command) as (port, process):
        send(port, reference, tmp_path)
        assert process.wait(PATIENCE) == 0, "it ends when it is idle"
    assert stored(tmp_path) == 1


def test_connections_from_systemd(reference: str, tmp_path: Path) -> None:
    command = configured("storescpd-inetd@.service", tmp_path)
    with activated(tmp_path, command, "--accept", "--inetd") as (port, _):
        send(port, reference, tmp_path)
        with Peer.connect(port) as one, Peer.connect(port) as another:
            one.associate()
            another.associate()
            assert another.store(objects.small()) == 0
            one.release()
            another.release()
    assert stored(tmp_path) == 2


def test_variables_of_others_are_not_believed(tmp_path: Path) -> None:
    """LISTEN_PID names another process: these sockets, and thus no port, are not for us."""
    environment = os.environ | {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    command = [*daemon(), "-od", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("error: Missing parameter port\n")


# What the service manager hears


class Manager:
    """A daemon, and the socket on which it talks to its service manager."""

    def __init__(self, tmp_path: Path, *options: str, watchdog: bool = False) -> None:
        (tmp_path / "received").mkdir()
        self.port = free_port()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(tmp_path / "notify"))
        self._socket.settimeout(PATIENCE)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        if watchdog:
            environment["WATCHDOG_USEC"] = "200000"
        command = [*daemon(), *options, "-dhl", "-od", str(tmp_path / "received"), str(self.port)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def hear(self) -> dict[str, str]:
        """The fields of the next message."""
        lines = self._socket.recv(4096).decode().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def hear_until(self, name: str, text: str) -> dict[str, str]:
        """The first message that has a field with this text in it."""
        for _ in range(100):
            fields = self.hear()
            if text in fields.get(name, ""):
                return fields
        raise AssertionError(f"{name}={text} was not heard")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        _, stderr = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, stderr) == (0, b"")
        self._socket.close()


@contextlib.contextmanager
def managed(tmp_path: Path, *options: str, watchdog: bool = False) -> Iterator[Manager]:
    manager = Manager(tmp_path, *options, watchdog=watchdog)
    try:
        yield manager
    finally:
        manager.stop()


def test_life_of_a_service(tmp_path: Path) -> None:
    with managed(tmp_path, "--fork", "--max-associations", "9") as manager:
        fields = manager.hear()
        assert fields["READY"] == "1"
        assert fields["STATUS"] == f"listening *:{manager.port}, 0/9 associations"
        assert is_listening(manager.port), "who is told READY may connect"
        with Peer.connect(manager.port) as peer:
            peer.associate()
            manager.hear_until("STATUS", "1/9 associations")
            os.kill(manager.process.pid, signal.SIGHUP)
            reloading = manager.hear()
            assert reloading["RELOADING"] == "1"
            assert int(reloading["MONOTONIC_USEC"]) > 0
            ready = manager.hear()
            assert ready["READY"] == "1"
            assert "1/9 associations" in ready["STATUS"]
            os.kill(manager.process.pid, signal.SIGTERM)
            stopping = manager.hear_until("STOPPING", "1")
            assert stopping["STATUS"] == "stopping, 1/9 associations left"
            peer.echo()
            peer.release()


def test_status_is_sent_now_and_then_only(tmp_path: Path) -> None:
    with managed(tmp_path, "--fork") as manager:
        manager.hear_until("READY", "1")
        for _ in range(60):
            with Peer.connect(manager.port) as peer:
                peer.associate()
                peer.release()
        with Peer.connect(manager.port) as last:
            last.associate()
            heard = 1
            while "1 associations" not in manager.hear().get("STATUS", ""):
                heard += 1
            assert heard < 30
            last.release()
        manager.hear_until("STATUS", "0 associations")


def test_watchdog(tmp_path: Path) -> None:
    with managed(tmp_path, "--fork", watchdog=True) as manager:
        manager.hear_until("READY", "1")
        with Peer.connect(manager.port) as peer:
            peer.associate()
            for _ in range(5):
                manager.hear_until("WATCHDOG", "1")
            os.kill(manager.process.pid, signal.SIGTERM)
            manager.hear_until("STOPPING", "1")
            manager.hear_until("WATCHDOG", "1")
            peer.release()


def test_no_watchdog_for_a_process_that_is_busy_with_a_peer(tmp_path: Path) -> None:
    with managed(tmp_path, "--single-process", watchdog=True) as manager:
        assert manager.hear()["READY"] == "1"
        assert manager.hear() == {"WATCHDOG_USEC": "0"}
        with Peer.connect(manager.port) as peer:
            peer.send(wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]))
            peer.expect(wire.ASSOCIATE_AC)
            peer.release()


def test_no_ready_without_a_listener(tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(tmp_path / "notify"))
        notify.setblocking(False)
        command = [*daemon(), "-od", str(tmp_path), str(taken.getsockname()[1])]
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        done = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == 1
        with notify, pytest.raises(BlockingIOError):
            notify.recv(1)
