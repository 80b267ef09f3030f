"""Process titles, as ps(1) shows them."""

from contextlib import suppress
from functools import cache, lru_cache
from typing import Protocol

from dcmstore.text import printable


class _SetTitle(Protocol):
    def __call__(self, title: str) -> None: ...


@cache
def _setter() -> _SetTitle:
    from setproctitle import setproctitle

    return setproctitle


def prepare() -> None:
    """Find the place of the titles, to be called before the environment changes.

    setproctitle finds it by way of the first variable, and gives up without a word if that is
    not where the kernel has put it.
    """
    from setproctitle import getproctitle

    # The place is found by then, and the command line in it need not be UTF-8.
    with suppress(UnicodeDecodeError):
        getproctitle()


def master(program: str, listening: str, children: int, limit: int | None) -> None:
    """Show where the master listens and how many associations are served."""
    count = f"{children}/{limit}" if limit else str(children)
    _setter()(f"{program}: master [listening {listening}, {count} associations]")


def spare(program: str) -> None:
    """Show a child that was forked ahead of its connection."""
    _setter()(f"{program}: waiting for a connection")


def waiting(program: str, peer: str) -> None:
    """Show a process that has a connection and no association yet."""
    _setter()(f"{program}: {peer} [connected]")


def association(
    program: str, calling: str, peer: str, called: str, objects: int, received: int
) -> None:
    """Show whom a process serves, the objects stored and the bytes received so far."""
    ends = _ends(program, calling, peer, called)
    _setter()(f"{ends} [{objects} objects, {received / 1e6:.1f} MB]")


@lru_cache(maxsize=1)
def _ends(program: str, calling: str, peer: str, called: str) -> str:
    # AE titles come from the network; a terminal that shows them must not obey them.
    return f"{program}: {printable(calling)}@{peer} -> {printable(called)}"
