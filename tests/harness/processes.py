"""Look at processes and listening sockets through /proc, and wait for things to become true."""

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 5.0  # seconds that any wait may last; a test never asserts on time itself

_LISTEN = "0A"  # TCP_LISTEN in the st column of /proc/net/tcp


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Poll ``condition`` until it is true; raise AssertionError naming ``what`` otherwise."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(0.01)


def is_listening(port: int) -> bool:
    """Tell whether a TCP socket listens on ``port``, without connecting to it."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                return True
    return False


def free_port() -> int:
    """Return a port that nobody uses, from below the range of outgoing connections."""
    for _ in range(100):
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        if not is_listening(port):
            return port
    raise AssertionError("no free TCP port found")


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command name: state, ppid, pgrp, session."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children_of(pid: int) -> list[int]:
    """Return the living (not zombie) children of a process."""
    found = []
    for candidate in _pids():
        stat = _stat(candidate)
        if stat and int(stat[1]) == pid and stat[0] not in "ZX":
            found.append(candidate)
    return found


def session_members(session: int) -> list[int]:
    """Return the living processes of a session; a daemon is started as leader of its own."""
    found = []
    for candidate in _pids():
        stat = _stat(candidate)
        if stat and int(stat[3]) == session and stat[0] not in "ZX":
            found.append(candidate)
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX"


def is_zombie(pid: int) -> bool:
    """Tell whether a process has ended without having been reaped."""
    stat = _stat(pid)
    return stat is not None and stat[0] == "Z"


def signals_pending(pid: int) -> bool:
    """Tell whether a process has signals to take."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = [line.split()[1] for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(int(mask, 16) for mask in masks)


def command_line(pid: int) -> str:
    """Return what ps shows for a process."""
    line = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ")
    return os.fsdecode(line.replace(b"\0", b" "))


def signal_session(session: int, number: signal.Signals) -> None:
    """Signal every living member of a session that this test run started."""
    for pid in session_members(session):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
