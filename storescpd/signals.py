"""Signals as something a loop can read, and the stop that a serving process obeys.

Handlers only record. The master's loop reads the numbers from a descriptor; a process that
serves an association is blocked in a receive, so there the record is the end of its input.

What SIGTERM and SIGINT mean changes with what a process does, but their handler stays the same:
in a child that has just been forked, signal.signal() would cost a tenth of a short association.
"""

import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType

MASTER_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PIPE_SIZE = 65_536  # bytes; what a pipe holds, see pipe(7)


class SignalPipe:
    """Received signals, readable on ``fd`` (signal.set_wakeup_fd writes their numbers there)."""

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        _orders.append(_leave_to_reader)
        _handle(STOP_SIGNALS)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, _pass)
        # As in _handle.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)

    def read(self) -> list[int]:
        """Return the numbers of the signals that came in, oldest first; never blocks.

        As with pending signals (signal(7)), several of a number are one, or whoever sends SIGHUP
        faster than files are read would be obeyed long after. A second SIGTERM means more.
        """
        _unread.clear()
        try:
            numbers = os.read(self.fd, _PIPE_SIZE)
        except BlockingIOError:
            return []
        signals: list[int] = []
        for number in numbers:
            if number in STOP_SIGNALS or number not in signals:
                signals.append(number)
        return signals

    def close(self) -> None:
        """Close the pipe, in a child: it can be ended, and is not told what a master is told."""
        signal.set_wakeup_fd(-1)
        _orders.pop()
        _unread.clear()
        _due.clear()
        os.close(self.fd)
        os.close(self._write_end)


class Stop:
    """The order to stop, as a process that serves an association receives it.

    SIGTERM allows the association ``grace`` seconds (none in a forked child: its master has
    waited already), SIGINT or a second SIGTERM none; then the handler calls ``cut``. When the
    association is over, the signals mean again what they did before, unless this is a process that
    ends now (``resident`` is false): it shall not be killed on its last steps.
    """

    def __init__(self, grace: float, cut: Callable[[], None], *, resident: bool) -> None:
        self.requested = False
        self._grace = grace
        self._cut = cut
        self._resident = resident

    def __enter__(self) -> "Stop":
        _due.clear()
        _orders.append(self._record)
        _handle((*STOP_SIGNALS, signal.SIGALRM) if self._grace > 0 else STOP_SIGNALS)
        # What came after the last look into the pipe means this association, too.
        for number in tuple(_unread):
            self._record(number)
        return self

    def __exit__(self, *_: object) -> None:
        if self._grace > 0:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self._resident:
            _orders.pop()

    def _record(self, number: int) -> None:
        gentle = number == signal.SIGTERM and self._grace > 0 and not self.requested
        self.requested = True
        if gentle:
            # It may have come, and been noted as one that waits for nothing, just before us.
            _due.clear()
            signal.setitimer(signal.ITIMER_REAL, self._grace)
        else:
            _due.append(number)
            self._cut()


class Stopped(BaseException):
    """A stop signal has come in where nothing goes on until something else has been done."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Breakable:
    """Where a stop that waits for nothing raises ``Stopped`` at once.

    So it is at a question to the user, and at the wait for a command, which may take for ever.
    """

    def __enter__(self) -> None:
        self._order = _orders[-1]
        _orders.append(self._stop)
        _handle(STOP_SIGNALS)
        self._break()

    def __exit__(self, *_: object) -> None:
        if _orders[-1] == self._stop:
            _orders.pop()

    def _stop(self, number: int) -> None:
        if self._order is die_of:
            _due.append(number)
        else:
            self._order(number)
        self._break()

    def _break(self) -> None:
        if _due:
            _orders.pop()  # also if this comes before all of __enter__ is done
            raise Stopped(_due[-1])


def die_of(number: int) -> None:
    """End as if there were no handler."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _leave_to_reader(number: int) -> None:
    """Do little: the number is in the pipe, and gets there only if there is a Python handler."""
    _unread.append(number)
    _due.append(number)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """Nothing but a Python handler, for the same reason."""


# What is done at a stop signal; the last order holds.
_orders: list[Callable[[int], None]] = [die_of]
_handled: set[int] = set()
_unread: list[int] = []
"""Stop signals that nobody has read from the pipe yet."""
_due: list[int] = []
"""Stop signals that do not, or not any longer, wait for anything."""


def _obey(number: int, _frame: FrameType | None) -> None:
    _orders[-1](number)


def _handle(numbers: Iterable[int]) -> None:
    for number in numbers:
        if number not in _handled:
            signal.signal(number, _obey)
            _handled.add(number)
            # Whoever has started us may have blocked it (step 3 in daemon(7)).
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
