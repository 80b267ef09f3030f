"""Processor time and memory of processes, as /proc tells them (proc(5))."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE_INTERVAL = 0.002  # seconds


class Memory(NamedTuple):
    """Largest values seen, in bytes; of one process, and of all processes of the tree together."""

    pss: int
    anonymous: int
    tree: int


def descendants(pid: int) -> list[int]:
    """Children of the process and theirs, zombies included, parents before children."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        try:
            lists = [path.read_text() for path in Path(f"/proc/{parent}/task").glob("*/children")]
        except (FileNotFoundError, ProcessLookupError):  # it ended since it was listed
            continue
        children = [int(word) for text in lists for word in text.split()]
        found += children
        waiting += children
    return found


def ticks(pid: int) -> int:
    """User and system time of the process and of the children it waited for, in clock ticks."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])


def tree_cpu(pid: int) -> float:
    """Seconds of processor time that the process and its descendants have used.

    A child that is just being reaped would be counted twice or not at all, so this waits (for a
    second at most) until two readings agree, which also lets a child finish its farewell.
    """
    last, deadline = -1, time.monotonic() + 1
    while True:
        now = sum(ticks(each) for each in [pid, *descendants(pid)])
        if now == last or time.monotonic() > deadline:
            return now / TICK
        last = now
        time.sleep(0.03)


def proportional(pid: int) -> tuple[int, int]:
    """Pss and Pss_Anon of a process in bytes; zeros when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    sizes = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    return int(sizes.get("Pss", 0)) * 1024, int(sizes.get("Pss_Anon", 0)) * 1024


class Sampler:
    """Watches the memory of some processes from a thread while the ``with`` block runs.

    Costs the watched processes time: not for runs whose time is measured.
    """

    def __init__(self, processes: Callable[[], list[int]]) -> None:
        self.processes = processes
        self.peak: Memory | None = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self) -> None:
        while not self.stop.wait(SAMPLE_INTERVAL):
            sizes = [size for size in map(proportional, self.processes()) if size[0]]
            if not sizes:
                continue
            now = Memory(
                max(pss for pss, _ in sizes),
                max(anonymous for _, anonymous in sizes),
                sum(pss for pss, _ in sizes),
            )
            self.peak = Memory(*map(max, zip(self.peak or now, now, strict=True)))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop.set()
        self.thread.join()
