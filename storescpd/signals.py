"""Signals as something a loop can read, and the stop that a serving process obeys.

Handlers only record. The master's loop reads the numbers from a descriptor; a process that
serves an association is blocked in a receive, so there the record is the end of its input.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType

MASTER_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


class SignalPipe:
    """Received signals, readable on ``fd`` (signal.set_wakeup_fd writes their numbers there)."""

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.attach()

    def attach(self) -> None:
        """Send the master's signals to the pipe, from now on."""
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in MASTER_SIGNALS:
            signal.signal(number, _ignore_here)

    def read(self) -> list[int]:
        """Return the numbers of the signals that came in, oldest first; never blocks."""
        try:
            return list(os.read(self.fd, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Close the pipe, in a child: it can be ended, and is not told what a master is told."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.close(self.fd)
        os.close(self._write_end)


class Stop:
    """The order to stop, as a process that serves an association receives it.

    SIGTERM allows the association ``grace`` seconds (none in a forked child: its master has
    waited already), SIGINT or a second SIGTERM none; then the handler calls ``cut``. A process
    with grace goes on when the association is over, and gets its old handlers back.
    """

    def __init__(self, grace: float, cut: Callable[[], None]) -> None:
        self.requested = False
        self._grace = grace
        self._cut = cut
        numbers = [signal.SIGTERM, signal.SIGINT]
        if grace > 0:
            numbers.append(signal.SIGALRM)
        self._old = {number: signal.signal(number, self._record) for number in numbers}

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        if self._grace > 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in self._old.items():
                signal.signal(number, handler)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        gentle = number == signal.SIGTERM and self._grace > 0 and not self.requested
        self.requested = True
        if gentle:
            signal.setitimer(signal.ITIMER_REAL, self._grace)
        else:
            self._cut()


def _ignore_here(_number: int, _frame: FrameType | None) -> None:
    """A signal needs some Python handler, or its number never reaches the wakeup descriptor."""
