"""Signals that end the sender: the first one ends the association, then they do as always."""

import os
import signal
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal has come in that ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruptible:
    """Where the first signal raises ``Interrupted``; those ignored, as by nohup(1), stay so."""

    def __init__(self) -> None:
        handlers = ((number, signal.getsignal(number)) for number in _NUMBERS)
        self._old = {number: old for number, old in handlers if old is not signal.SIG_IGN}

    def __enter__(self) -> None:
        for number in self._old:
            signal.signal(number, self._interrupt)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        for other in self._old:
            signal.signal(other, signal.SIG_DFL)
        raise Interrupted(number)


def die_of(number: int) -> int:
    """End the process by a signal, as its parent is to see; return what shells make of that."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
