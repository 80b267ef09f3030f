"""Log levels, and the console that messages go to.

The levels are those of the reference: TRACE below DEBUG, and FATAL, which is CRITICAL here.
"""

import logging
import sys
from collections.abc import Mapping
from types import SimpleNamespace

TRACE = 5
FATAL = logging.CRITICAL
OFF = FATAL + 10
ALL = 1

# The words of --log-level, most silent first.
LEVELS: Mapping[str, int] = {
    "off": OFF,
    "fatal": FATAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
    "all": ALL,
}


def level_name(level: int) -> str:
    """The reference's name of the highest level that ``level`` reaches, for example ``WARN``."""
    for name in ("fatal", "error", "warn", "info", "debug"):
        if level >= LEVELS[name]:
            return name.upper()
    return "TRACE"


class LineFormatter(logging.Formatter):
    """Begins every line of a message with the letter of its level: ``W: ``."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, ready to be written with one call."""
        prefix = level_name(record.levelno)[0] + ": "
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


class Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Standard error, flushed after each message."""


def set_up(options: SimpleNamespace) -> None:
    """Send what reaches ``options.log_level`` to standard error.

    A console from an earlier call is replaced; handlers of others stay.
    """
    # A log that cannot be written (a full disk, a closed terminal) must not end an
    # association, and there is no better place to complain to.
    logging.raiseExceptions = False
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, Console):
            root.removeHandler(handler)
    console = Console(sys.stderr)
    console.setFormatter(LineFormatter())
    root.addHandler(console)
    root.setLevel(LEVELS[options.log_level])
