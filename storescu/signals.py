"""Signals that end the sender: the first one ends the association, then they do as always."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal has come in that ends the program, before there was anything to end in form."""


class Interruptible:
    """Where the first signal is obeyed in form; those ignored, as by nohup(1), stay so.

    ``number`` is the signal's, 0 if there was none. It raises ``Stopped`` until ``cut`` is
    set; from then on that is called, and has to bring the program to its end.
    """

    def __init__(self) -> None:
        self.number = 0
        self.cut: Callable[[], None] | None = None
        handlers = ((number, signal.getsignal(number)) for number in _NUMBERS)
        self._old = {number: old for number, old in handlers if old is not signal.SIG_IGN}

    def __enter__(self) -> Self:
        for number in self._old:
            signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        for other in self._old:
            signal.signal(other, signal.SIG_DFL)
        self.number = number
        if self.cut is None:
            raise Stopped
        self.cut()


def die_of(number: int) -> int:
    """End the process by a signal, as its parent is to see; return what shells make of that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
