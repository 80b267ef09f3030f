"""The programs under test and their peers: where they are, started, waited for, ended by pid."""

import compileall
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.measure import descendants

HOST = "127.0.0.1"
START_TIMEOUT = 15.0  # seconds until a server must listen
RUN_TIMEOUT = 180.0  # seconds until a run of senders must be over
STOP_TIMEOUT = 5.0  # seconds between SIGTERM and SIGKILL
LISTEN = "0A"  # state column of /proc/net/tcp


class BenchError(Exception):
    """A run that measures nothing: a program is missing, failed, or lost objects."""


class Suite(NamedTuple):
    """A receiver and a sender of one make. DCMTK's read TCP_NODELAY from their environment."""

    name: str
    storescp: str
    storescu: str
    dcmtk: bool

    def environment(self, nodelay: bool) -> dict[str, str]:
        """What the programs of this suite are started with."""
        # Installed programs find their bytecode beside them; so do these.
        unwanted = ("TCP_NODELAY", "PYTHONDONTWRITEBYTECODE")
        variables = {name: value for name, value in os.environ.items() if name not in unwanted}
        if nodelay and self.dcmtk:
            variables["TCP_NODELAY"] = "1"
        return variables


def our_suite() -> Suite:
    """The console scripts next to the interpreter that runs the bench.

    Raises BenchError when they are not there.
    """
    folder = Path(sys.executable).parent
    suite = Suite("storescpd", str(folder / "storescpd"), str(folder / "storescu"), False)
    for program in (suite.storescp, suite.storescu):
        if not os.access(program, os.X_OK):
            raise BenchError(f"{program} is not installed")
    # As an installer would; a start from sources that have just changed takes twice as long.
    top = Path(__file__).parent.parent
    for package in ("dcmstore", "storescpd", "storescu"):
        compileall.compile_dir(top / package, quiet=2)
    return suite


def dcmtk_suite() -> Suite:
    """DCMTK's programs on the PATH, past ours and pynetdicom's of the same names.

    Raises BenchError when there are none.
    """
    return Suite("DCMTK", dcmtk_program("storescp"), dcmtk_program("storescu"), True)


def bare_suite(folder: Path) -> Suite:
    """A receiver that stores what comes and checks nothing, built in the folder; it has no sender.

    Raises BenchError when there is no C compiler to build it.
    """
    program = folder / "bare"
    source = Path(__file__).with_name("bare.c")
    try:
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchError(f"the bare receiver cannot be built: {error}") from error
    return Suite("bare", str(program), "", False)


def dcmtk_program(name: str) -> str:
    for folder in os.get_exec_path():
        program = shutil.which(name, path=folder)
        if program and version(program).startswith("$dcmtk:"):
            return program
    raise BenchError(f"no {name} of DCMTK on the PATH (Debian package dcmtk)")


def version(program: str) -> str:
    """First line of what ``--version`` prints, or what went wrong."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=START_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return f"ended with {done.returncode}: {done.stderr.strip().rpartition(chr(10))[2]}"
    return done.stdout.strip().partition("\n")[0]


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Whether a socket listens on the port; unlike a connection, the question leaves no trace."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6 has no tcp6
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == LISTEN:
                    return True
    return False


def at_rest(pid: int) -> bool:
    """Whether the process sleeps and has no child: a server that listens may still prepare."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] == "S" and not descendants(pid)


def tail(log: Path) -> str:
    """The last lines that a program wrote, for an error message."""
    lines = log.read_text(errors="replace").strip().splitlines()[-4:]
    return "; ".join(lines) or "no output"


@contextlib.contextmanager
def server(command: list[str], environment: dict[str, str], log: Path) -> Iterator[tuple[int, int]]:
    """Run a receiver on a free port, added to the command; yields its pid and the port.

    Raises BenchError when it does not come to listen, at rest.
    """
    port = free_port()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, str(port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not (listening(port) and at_rest(process.pid)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{command[0]} does not listen: {tail(log)}")
            time.sleep(0.01)
        yield process.pid, port
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and the children it has, each by its pid."""
    children = descendants(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline = time.monotonic() + STOP_TIMEOUT
    for pid in children:
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Finished(NamedTuple):
    """Seconds of wall time, first start to last exit, and of processor time of all of them."""

    seconds: float
    cpu: float


def run(
    commands: list[list[str]],
    environment: dict[str, str],
    log: Path,
    watch: Callable[[list[int]], None] = lambda pids: None,
) -> Finished:
    """Run programs at the same time until all of them have ended; ``watch`` is told their pids.

    Raises BenchError when one fails or takes too long.
    """
    running: list[subprocess.Popen[bytes]] = []
    cpu, bad = 0.0, 0
    with log.open("ab") as output:
        start = time.perf_counter()
        try:
            for command in commands:
                running.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                    )
                )
            watch([process.pid for process in running])
            for process in running:
                cpu += wait(process, start + RUN_TIMEOUT)
                bad = bad or process.returncode
            seconds = time.perf_counter() - start
        finally:
            for process in running:
                if process.returncode is None:
                    process.kill()
                    process.wait()
    if bad:
        raise BenchError(f"{commands[0][0]} ended with {bad}: {tail(log)}")
    return Finished(seconds, cpu)


def wait(process: subprocess.Popen[bytes], deadline: float) -> float:
    """Wait for the end of a child; its processor time in seconds, from wait4(2).

    ``Popen.wait`` with a time limit polls and would round the times measured here.
    Raises BenchError when the deadline (of ``time.perf_counter``) passes.
    """
    descriptor = os.pidfd_open(process.pid)
    try:
        left = max(0.0, deadline - time.perf_counter())
        if not select.select([descriptor], [], [], left)[0]:
            raise BenchError(f"{process.args!r} still runs after {RUN_TIMEOUT:.0f} s")
    finally:
        os.close(descriptor)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime
