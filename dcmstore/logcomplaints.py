"""What logging itself has to complain of. This goes past all loggers, since they may be at fault.

The lines have the form of log4cplus: ``log4cplus:ERROR text``.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from dcmstore.logoutlets import Stream, encoded

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2

Sink = Callable[[int, str], None]
"""Takes a level, and whole lines of it; raises OSError."""


class Complaints:
    """Where complaints go, and how many there were.

    ``quiet`` holds them back, ``chatty`` tells of what goes well, too, on standard output.
    """

    def __init__(self) -> None:
        self.count = 0
        self.quiet = False
        self.chatty = False
        self.sink: Sink = console(_STANDARD_ERROR)

    def error(self, text: str) -> None:
        """Something is lost."""
        self._tell(logging.ERROR, f"log4cplus:ERROR {text}\n")

    def warn(self, text: str) -> None:
        """Something is not as the file has it."""
        self._tell(logging.WARNING, f"log4cplus:WARN {text}\n")

    def debug(self, text: str) -> None:
        """Something was done."""
        if self.chatty:
            _send(console(_STANDARD_OUTPUT), logging.DEBUG, f"log4cplus: {text}\n")

    def _tell(self, level: int, text: str) -> None:
        self.count += 1
        if not self.quiet:
            _send(self.sink, level, text)


def console(fd: int) -> Sink:
    """What writes to standard output or standard error."""
    stream = Stream(fd)
    return lambda _level, text: stream.write(encoded(text))


def reason(error: Exception) -> str:
    """What went wrong, in words."""
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__


def _send(sink: Sink, level: int, text: str) -> None:
    # There is no better place to complain to.
    with suppress(OSError):
        sink(level, text)
