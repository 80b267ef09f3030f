"""The rows of the benchmark and their targets."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from bench.data import Data, Objects, Sizes
from bench.peers import Suite
from bench.trials import Setup, Trial, echoing, receiving, sending, superserving

MEMORY_LIMIT = 12_000_000  # bytes of anonymous memory of a child that receives the large object
THIRD = (1 / 3, 1 / 3)  # a rewrite may take three times as long as the reference's
NOTHING = (None, None)  # the row is there to be looked at
INSTALLED, NODELAY = "installed", "TCP_NODELAY=1"
PEERS = (INSTALLED, NODELAY)

Start = Callable[[Setup, Suite], AbstractContextManager[Trial]]
Pick = Callable[[Data], Objects]


class Counts(NamedTuple):
    """Operations of a run, per sender.

    ``warm`` of them warm up. A side that then takes over ``stall`` seconds for each, with DCMTK
    as installed, waits for delayed acknowledgements most of the time: ``few`` suffice to tell its
    rate, which the start of the sender then hardly changes. All others do ``full``.
    """

    warm: int
    few: int
    full: int
    stall: float


class Scale(NamedTuple):
    """How large a run of the bench is: the objects that exist, and how many are used at a time."""

    sizes: Sizes
    ct: Counts
    many: Counts
    small: Counts
    parallel: Counts
    echo: Counts
    inetd: Counts
    repeat: int


FULL = Scale(
    sizes=Sizes(ct=400, small=8000, frames=1024, many=40),
    ct=Counts(24, 40, 400, 0.02),
    many=Counts(8, 40, 40, 60),
    small=Counts(24, 24, 2000, 0.02),
    parallel=Counts(40, 24, 250, 0.06),
    echo=Counts(20, 40, 300, 0.02),
    inetd=Counts(3, 20, 20, 60),
    repeat=3,
)
QUICK = Scale(
    sizes=Sizes(ct=40, small=640, frames=128, many=8),
    ct=Counts(8, 8, 40, 0.035),
    many=Counts(2, 8, 8, 60),
    small=Counts(8, 8, 200, 0.035),
    parallel=Counts(6, 6, 20, 0.06),
    echo=Counts(5, 10, 50, 0.02),
    inetd=Counts(1, 5, 5, 60),
    repeat=1,
)
ONE = Counts(1, 1, 1, 60)


class Row(NamedTuple):
    """One comparison, measured once for each of PEERS.

    ``targets`` are what the ratio ours / DCMTK must reach for each of PEERS, or not exceed when
    the unit is a time; None asks for nothing. ``memory_limit`` (bytes of anonymous memory) holds
    for our receiving child. ``bare`` rows ask for no more than a bare receiver does.
    """

    name: str
    unit: str
    counts: Counts
    start: Start
    targets: tuple[float | None, float | None]
    memory_limit: int | None = None
    bare: bool = False


def receive(pick: Pick, senders: int, *modes: str, secured: bool = False) -> Start:
    """A trial of the receiver; the objects are made when it starts."""
    return lambda setup, suite: receiving(
        setup, suite, pick(setup.data), [*modes], senders, secured=secured
    )


def send(pick: Pick, *, secured: bool = False) -> Start:
    """A trial of the sender."""
    return lambda setup, suite: sending(setup, suite, pick(setup.data), secured=secured)


def ct(data: Data) -> Objects:
    return data.ct


def small(data: Data) -> Objects:
    return data.small


def large(data: Data) -> Objects:
    return data.large


def few(data: Data) -> Objects:
    return data.few_elements


def many(data: Data) -> Objects:
    return data.many_elements


def rows(scale: Scale) -> tuple[Row, ...]:
    """All rows; the first target of each is for DCMTK as installed, the second for NODELAY."""
    size = f"{scale.sizes.frames // 2} MiB"
    rate, speed, calls = "objects/s", "MB/s", "assoc/s"
    several, limit = scale.parallel, MEMORY_LIMIT
    return (
        Row("receive CT -B", rate, scale.ct, receive(ct, 1, "-B"), (30, 1.2), bare=True),
        Row("receive 4 KiB -B", rate, scale.small, receive(small, 1, "-B"), (100, 1), bare=True),
        Row(f"receive {size} -B", speed, ONE, receive(large, 1, "-B"), (3, 3), limit, bare=True),
        Row(
            f"receive {size} +B", speed, ONE, receive(large, 1, "+B"), (1.2, 1.2), limit, bare=True
        ),
        Row("rewrite 100 elements -e", rate, scale.ct, receive(few, 1, "-e"), THIRD),
        Row("rewrite 10,000 elements -e", rate, scale.many, receive(many, 1, "-e"), THIRD),
        Row("rewrite 10,000 elements +ti", rate, scale.many, receive(many, 1, "+ti"), THIRD),
        Row("rewrite CT +tb", rate, scale.ct, receive(ct, 1, "+tb"), (1, 1)),
        Row(f"rewrite {size} +tb", speed, ONE, receive(large, 1, "+tb"), (1, 1)),
        Row("send CT", rate, scale.ct, send(ct), (30, 1)),
        Row("send 4 KiB", rate, scale.small, send(small), (30, 1)),
        Row(f"send {size}", speed, ONE, send(large), (1.5, 1.5)),
        Row("receive CT over TLS", rate, scale.ct, receive(ct, 1, "-B", secured=True), NOTHING),
        Row("send CT over TLS", rate, scale.ct, send(ct, secured=True), NOTHING),
        Row(
            "C-ECHO, 1 context", calls, scale.echo, partial(echoing, contexts=1), (1, 1), bare=True
        ),
        Row(
            "C-ECHO, 128 contexts",
            calls,
            scale.echo,
            partial(echoing, contexts=128),
            (1, 1),
            bare=True,
        ),
        Row("inetd, one C-ECHO", "ms", scale.inetd, superserving, (1, None)),
        Row("1 sender, 4 KiB", rate, several, receive(small, 1, "-B"), NOTHING, bare=True),
        Row("8 senders, 4 KiB", rate, several, receive(small, 8, "-B"), (10, 1), bare=True),
        Row("32 senders, 4 KiB", rate, several, receive(small, 32, "-B"), (10, 1), bare=True),
    )
