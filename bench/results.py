"""Runs the rows, the suites taking turns, and keeps what comes of it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import NamedTuple

from bench.measure import Memory
from bench.peers import BenchError, Suite
from bench.rows import NODELAY, PEERS, Counts, Row
from bench.trials import Sample, Setup

Say = Callable[[str], None]
ENOUGH = 5.0  # seconds of timed runs in a row, after which it is not repeated more than asked
MORE = 3  # times as often as asked, at most


class Side(NamedTuple):
    """What one suite did in a row: operations in each timed run, and a value for each run."""

    suite: str
    operations: int
    values: list[float]
    cpu: float  # seconds for each operation, over all timed runs
    memory: Memory | None

    @property
    def median(self) -> float:
        return median(self.values)


class Result(NamedTuple):
    """One row with one kind of peers; an error instead of sides when it measured nothing."""

    row: Row
    peers: str
    sides: tuple[Side, Side] | None
    error: str

    @property
    def ratio(self) -> float | None:
        return self.sides[0].median / self.sides[1].median if self.sides else None

    @property
    def target(self) -> float | None:
        return self.row.targets[PEERS.index(self.peers)]

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is as good as its target; None when there is none."""
        if self.ratio is None or self.target is None:
            return None
        return self.ratio <= self.target if self.row.unit == "ms" else self.ratio >= self.target

    @property
    def memory_kept(self) -> bool | None:
        """Whether our child stayed under the memory limit; None when there is none."""
        limit = self.row.memory_limit
        if limit is None or not self.sides or not (memory := self.sides[0].memory):
            return None
        return memory.anonymous < limit


def value(unit: str, sample: Sample) -> float:
    """The sample in the unit of its row; a MB is a million bytes."""
    if unit == "ms":
        return sample.seconds / sample.operations * 1000
    if unit == "MB/s":
        return sample.payload / sample.seconds / 1e6
    return sample.operations / sample.seconds


def choose(counts: Counts, warm: Sample, nodelay: bool) -> int:
    """How many operations of each sender a timed run has, after the warm-up run."""
    stalls = not nodelay and warm.seconds / counts.warm > counts.stall
    return counts.few if stalls else counts.full


def side(row: Row, suite: Suite, samples: list[Sample], warm: Sample) -> Side:
    """The samples of one suite, summed up."""
    return Side(
        suite.name,
        samples[0].operations,
        [value(row.unit, sample) for sample in samples],
        sum(sample.cpu for sample in samples) / sum(sample.operations for sample in samples),
        warm.memory,
    )


def spent(samples: tuple[list[Sample], list[Sample]]) -> float:
    """Seconds that the timed runs of both sides have taken."""
    return sum(sample.seconds for runs in samples for sample in runs)


def measure(
    row: Row, setup: Setup, suites: tuple[Suite, Suite], repeat: int, say: Say
) -> tuple[Side, Side]:
    """Warm both suites up, then let them take turns, the first one changing each time.

    Short runs are repeated more often: what else the machine does shows more in them.
    ``say`` is told what happens. Raises BenchError when a run fails.
    """
    with ExitStack() as stack:
        trials = [stack.enter_context(row.start(setup, suite)) for suite in suites]
        warm = []
        for suite, trial in zip(suites, trials, strict=True):
            say(f"{suite.name} warms up")
            warm.append(trial.warm_up(row.counts.warm))
        samples: tuple[list[Sample], list[Sample]] = ([], [])
        turn = 0
        while turn < repeat or (turn < MORE * repeat and spent(samples) < ENOUGH):
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                say(f"{suites[which].name}, run {turn + 1}")
                count = choose(row.counts, warm[which], setup.nodelay)
                samples[which].append(trials[which].run(count))
            turn += 1
    return side(row, suites[0], samples[0], warm[0]), side(row, suites[1], samples[1], warm[1])


def results(
    jobs: list[tuple[Row, str]], base: Setup, suites: tuple[Suite, Suite], repeat: int, say: Say
) -> Iterator[Result]:
    """The results of the rows, one by one; the others run on after one that fails."""
    for number, (row, peers) in enumerate(jobs, 1):
        setup = base._replace(nodelay=peers == NODELAY)
        title = f"[{number}/{len(jobs)}] {row.name}, {peers}: "
        try:
            sides = measure(row, setup, suites, repeat, partial(announce, say, title))
        except (BenchError, OSError) as error:
            yield Result(row, peers, None, str(error))
        else:
            yield Result(row, peers, sides, "")


def announce(say: Say, title: str, text: str) -> None:
    """Say what happens, and in which row."""
    say(title + text)
