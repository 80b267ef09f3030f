"""Where messages go: what all appenders of a logging configuration have in common.

An appender is a handler of `logging` that nothing can go wrong with: what does is told, once until
it goes well again, and costs a message.
"""

import logging
import os
from typing import NamedTuple

from dcmstore import logfilters, loglayouts
from dcmstore.logcomplaints import Complaints, Sink, console, reason
from dcmstore.loglocks import Lock, open_lock_file, release
from dcmstore.logproperties import Properties

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


class Setting(NamedTuple):
    """What appenders must know besides their properties.

    ``folder`` is where names of files begin; ``rehearsed`` keeps them from opening anything.
    """

    program: str
    folder: str
    complaints: Complaints
    rehearsed: bool = False


class Appender(logging.Handler):
    """A handler with layout, threshold and filters; for those that ``put`` a message somewhere.

    ``recovers`` is false where a message that has gone well says nothing of the next one.
    """

    recovers = True

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__()
        self.setting = setting
        self.setFormatter(loglayouts.make(properties, setting.complaints))
        self.setLevel(properties.level("Threshold") or logging.NOTSET)
        self.addFilter(logfilters.make(properties, setting.complaints))
        self._broken: set[str] = set()
        self.locked = False  # whether this process has the lock file to itself
        self._lock_fd = -1
        self._turn = Lock()
        lock_file = self.lock_file(properties)
        if lock_file and not setting.rehearsed:
            self._open_lock_file(os.path.join(setting.folder, lock_file))

    def put(self, record: logging.LogRecord) -> None:
        """Send a message on its way. Raises OSError."""
        raise NotImplementedError

    def reopen(self) -> None:
        """Open again what may have another file, or another peer, behind its name by now."""

    def lock_file(self, properties: Properties) -> str | None:
        """The name of the file that is locked for each message."""
        return properties.text("LockFile") if properties.flag("UseLockFile", False) else None

    def trouble(self, why: str) -> str:
        """What is to be told when ``put`` fails."""
        return f"{type(self).__name__}::append()- {why}"

    def emit(self, record: logging.LogRecord) -> None:
        """Put a message where it belongs; never raises."""
        self.locked = self._lock_fd >= 0 and self._turn.acquire(self._lock_fd)
        try:
            self.put(record)
            if self.recovers:
                self.mend("put")
        except Exception as error:
            # No message is worth an association.
            self.fail(self.trouble(reason(error)), "put")
        finally:
            if self.locked:
                release(self._lock_fd)

    def fail(self, text: str, what: str) -> None:
        """Tell what has gone wrong, once until ``mend`` is called for that."""
        if what not in self._broken:
            self._broken.add(what)
            self.setting.complaints.error(text)

    def mend(self, what: str) -> None:
        """Note that something goes well."""
        self._broken.discard(what)

    def _open_lock_file(self, path: str) -> None:
        try:
            self._lock_fd = open_lock_file(path)
        except OSError as error:
            self.setting.complaints.error(f"could not open or create file {path}: {reason(error)}")


class NullAppender(Appender):
    """Nowhere."""

    def put(self, record: logging.LogRecord) -> None:
        """Forget a message."""


class ConsoleAppender(Appender):
    """Standard output, or standard error with ``logToStdErr``.

    ``sink`` may be replaced where these lead nowhere.
    """

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__(properties, setting)
        stderr = properties.flag("logToStdErr", False)
        self.sink: Sink = console(_STANDARD_ERROR if stderr else _STANDARD_OUTPUT)

    def put(self, record: logging.LogRecord) -> None:
        """Write a message. Raises OSError."""
        self.sink(record.levelno, self.format(record))
