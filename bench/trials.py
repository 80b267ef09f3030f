"""How a row is measured: each trial sets one suite up once and then runs it as often as asked."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from bench import certificates, echo
from bench.data import Data, Objects
from bench.measure import Memory, Sampler, descendants, tree_cpu
from bench.peers import HOST, RUN_TIMEOUT, BenchError, Suite, run, server, wait


class Setup(NamedTuple):
    """What the trials of a row share: scratch folder, objects, DCMTK, and its TCP_NODELAY."""

    scratch: Path
    data: Data
    dcmtk: Suite
    nodelay: bool

    def folder(self, name: str) -> Path:
        """An empty folder for what a receiver writes."""
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        empty(folder)
        return folder

    def log(self, suite: Suite) -> Path:
        """Where the programs of a suite may complain."""
        return self.scratch / f"{suite.name}.log"

    def tls(self, name: str) -> list[str]:
        """Options of a program that speaks TLS, with a certificate of this name."""
        return certificates.options(self.scratch / "tls", name)

    def server(self, suite: Suite, arguments: list[str]) -> AbstractContextManager[tuple[int, int]]:
        """A forking receiver; see `bench.peers.server`."""
        command = [suite.storescp, "--fork", *arguments]
        return server(command, suite.environment(self.nodelay), self.log(suite))


class Sample(NamedTuple):
    """One run: operations done, payload bytes moved, and seconds taken.

    The processor time (seconds) and memory are those of the program under test, not of its peer;
    memory is looked at only in warm-up runs.
    """

    operations: int
    payload: int
    seconds: float
    cpu: float
    memory: Memory | None


class Trial(Protocol):
    """One suite set up for one row."""

    def warm_up(self, count: int) -> Sample:
        """A run that also checks what timed runs cannot, and samples memory."""

    def run(self, count: int) -> Sample:
        """A timed run of so many operations (of each sender, where there are several)."""


def empty(folder: Path) -> None:
    """Remove what is in the folder, but not the folder: a receiver may hold it open."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def check_arrived(folder: Path, count: int, payload: int) -> None:
    """Raise BenchError unless the folder holds so many files of at least the payload's size."""
    sizes = [entry.stat().st_size for entry in os.scandir(folder)]
    if len(sizes) != count or any(size < payload for size in sizes):
        whole = sum(size >= payload for size in sizes)
        raise BenchError(f"{whole} of {count} objects arrived ({len(sizes)} files)")


def send_command(suite: Suite, options: list[str], port: int, folder: Path) -> list[str]:
    """Send all files of a folder."""
    return [suite.storescu, *options, "+sd", HOST, str(port), str(folder)]


class ReceiveTrial:
    """The receiver is under test; DCMTK's storescu sends."""

    def __init__(
        self,
        setup: Setup,
        objects: Objects,
        senders: int,
        options: list[str],
        pid: int,
        port: int,
        out: Path,
    ) -> None:
        self.setup = setup
        self.objects = objects
        self.senders = senders
        self.options = options
        self.pid = pid
        self.port = port
        self.out = out
        self.cpu = tree_cpu(pid)

    def warm_up(self, count: int) -> Sample:
        with Sampler(partial(descendants, self.pid)) as sampler:
            sample = self.run(count)
        return sample._replace(memory=sampler.peak)

    def run(self, count: int) -> Sample:
        dcmtk, total = self.setup.dcmtk, count * self.senders
        folders = self.objects.folders(self.senders, count)
        commands = [send_command(dcmtk, self.options, self.port, folder) for folder in folders]
        done = run(commands, dcmtk.environment(self.setup.nodelay), self.setup.log(dcmtk))
        before, self.cpu = self.cpu, tree_cpu(self.pid)
        check_arrived(self.out, total, self.objects.payload)
        empty(self.out)
        return Sample(total, total * self.objects.payload, done.seconds, self.cpu - before, None)


@contextlib.contextmanager
def receiving(
    setup: Setup,
    suite: Suite,
    objects: Objects,
    arguments: list[str],
    senders: int,
    *,
    secured: bool = False,
) -> Iterator[Trial]:
    """Objects into a receiver of the suite, from one or more senders at the same time."""
    out = setup.folder(f"out-{suite.name}")
    receives = setup.tls("receiver") if secured else []
    sends = setup.tls("sender") if secured else []
    with setup.server(suite, [*receives, *arguments, "-od", str(out)]) as (pid, port):
        yield ReceiveTrial(setup, objects, senders, sends, pid, port, out)


class SendTrial:
    """The sender is under test; DCMTK's storescp receives and throws away."""

    def __init__(
        self, setup: Setup, suite: Suite, objects: Objects, port: int, *, secured: bool
    ) -> None:
        self.setup = setup
        self.suite = suite
        self.objects = objects
        self.port = port
        self.options = setup.tls("sender") if secured else []
        self.receives = setup.tls("receiver") if secured else []

    def warm_up(self, count: int) -> Sample:
        """Sends to a receiver that keeps the objects, to see them arrive."""
        setup = self.setup
        out = setup.folder(f"out-{self.suite.name}")
        keeping = [*self.receives, "+B", "-od", str(out)]
        with setup.server(setup.dcmtk, keeping) as (_, port), ExitStack() as stack:
            samplers: list[Sampler] = []

            def watch(pids: list[int]) -> None:
                samplers.append(stack.enter_context(Sampler(lambda: pids)))

            sample = self.send(count, port, watch)
            stack.close()
            check_arrived(out, count, self.objects.payload)
            empty(out)
        return sample._replace(memory=samplers[0].peak)

    def run(self, count: int) -> Sample:
        return self.send(count, self.port, lambda pids: None)

    def send(self, count: int, port: int, watch: Callable[[list[int]], None]) -> Sample:
        (folder,) = self.objects.folders(1, count)
        command = send_command(self.suite, self.options, port, folder)
        environment = self.suite.environment(self.setup.nodelay)
        done = run([command], environment, self.setup.log(self.suite), watch)
        return Sample(count, count * self.objects.payload, done.seconds, done.cpu, None)


@contextlib.contextmanager
def sending(
    setup: Setup, suite: Suite, objects: Objects, *, secured: bool = False
) -> Iterator[Trial]:
    """Objects from the sender of the suite."""
    out = setup.folder(f"ignore-{suite.name}")
    receives = setup.tls("receiver") if secured else []
    with setup.server(setup.dcmtk, [*receives, "+B", "--ignore", "-od", str(out)]) as (_, port):
        yield SendTrial(setup, suite, objects, port, secured=secured)


class EchoTrial:
    """A forking receiver is under test; the bench's own client verifies it."""

    def __init__(self, client: echo.Client, pid: int, port: int) -> None:
        self.client = client
        self.pid = pid
        self.port = port
        self.cpu = tree_cpu(pid)

    def warm_up(self, count: int) -> Sample:
        with Sampler(partial(descendants, self.pid)) as sampler:
            sample = self.run(count)
        return sample._replace(memory=sampler.peak)

    def run(self, count: int) -> Sample:
        start = time.perf_counter()
        for _ in range(count):
            self.client.verify(self.port)
        seconds = time.perf_counter() - start
        before, self.cpu = self.cpu, tree_cpu(self.pid)
        return Sample(count, 0, seconds, self.cpu - before, None)


@contextlib.contextmanager
def echoing(setup: Setup, suite: Suite, contexts: int) -> Iterator[Trial]:
    """Verification associations, one after the other."""
    out = setup.folder(f"out-{suite.name}")
    with setup.server(suite, ["-od", str(out)]) as (pid, port):
        yield EchoTrial(echo.client(contexts), pid, port)


class InetdTrial:
    """A receiver started for a connection that already exists, as inetd(8) does with nowait."""

    def __init__(self, suite: Suite, nodelay: bool, out: Path) -> None:
        self.command = [suite.storescp, "--inetd", "-od", str(out)]
        self.environment = suite.environment(nodelay)
        self.client = echo.client(1)

    def warm_up(self, count: int) -> Sample:
        pids: list[int] = []
        with Sampler(lambda: pids[-1:]) as sampler:
            sample = self.serve(count, pids)
        return sample._replace(memory=sampler.peak)

    def run(self, count: int) -> Sample:
        return self.serve(count, [])

    def serve(self, count: int, pids: list[int]) -> Sample:
        """Start so many receivers, one after the other; adds their pids to the list."""
        seconds = cpu = 0.0
        for _ in range(count):
            with socket.create_server((HOST, 0)) as listener:
                connection = socket.create_connection(listener.getsockname(), echo.REPLY_TIMEOUT)
                accepted, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start = time.perf_counter()
            process = self.start(accepted)
            try:
                pids.append(process.pid)
                with connection:
                    self.client.converse(connection)
                cpu += wait(process, start + RUN_TIMEOUT)
                seconds += time.perf_counter() - start
            finally:
                if process.returncode is None:
                    process.kill()
                    process.wait()
            if process.returncode:
                raise BenchError(f"{self.command[0]} ended with {process.returncode}")
        return Sample(count, 0, seconds, cpu, None)

    def start(self, accepted: socket.socket) -> subprocess.Popen[bytes]:
        """A receiver with the connection as its standard input, output and error."""
        with accepted:
            return subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=accepted.fileno(),
                stdout=accepted.fileno(),
                stderr=accepted.fileno(),
            )


@contextlib.contextmanager
def superserving(setup: Setup, suite: Suite) -> Iterator[Trial]:
    """One verification association for each start of a receiver."""
    yield InetdTrial(suite, setup.nodelay, setup.folder(f"out-{suite.name}"))
