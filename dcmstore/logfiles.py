"""Log files: plain ones, and those that begin anew when they are large or a time is over.

Several processes may write the same file: each message is appended in one piece. Of those that
roll a file one does it, while it holds a lock on the file itself (or on the lock file, if there is
one); the others notice that the name stands for another file by now, and go on with that.
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Iterable
from itertools import chain, pairwise

from dcmstore.logappenders import Appender, Setting
from dcmstore.logcomplaints import reason
from dcmstore.loglocks import release
from dcmstore.logoutlets import Stream, encoded
from dcmstore.logproperties import Properties

# A FIFO without a reader, or a terminal, must not hold the program up.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_TRIES = 10  # to lock a file that others are rolling at the same time
_ROLL_AGAIN = 60.0  # seconds, after a file could not be renamed

_SMALLEST = 200 * 1024
_LARGEST_DEFAULT = 10 * 1024 * 1024
_UNITS = {"KB": 1024, "MB": 1024 * 1024}

# The clock of st_mtime: by a finer one, what is written now would seem to be of an earlier period.
_CLOCK_REALTIME_COARSE = 5  # clock_gettime(2)

_SCHEDULES = {
    "MONTHLY": "%Y-%m",
    "WEEKLY": "%Y-%W",
    "DAILY": "%Y-%m-%d",
    "TWICE_DAILY": "%Y-%m-%d-%p",
    "HOURLY": "%Y-%m-%d-%H",
    "MINUTELY": "%Y-%m-%d-%H-%M",
}


class FileAppender(Appender):
    """A file, which is emptied first unless ``Append`` says otherwise."""

    appends = False

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__(properties, setting)
        self._fd = -1
        self._mode: int | None = None
        self._delay = properties.number("ReopenDelay", 1)
        self._next_try = 0.0
        self._name = properties.text("File")
        self._path = os.path.join(setting.folder, self._name)
        if not self._name:
            setting.complaints.error("Invalid filename")
        elif setting.rehearsed:
            self._look()
        else:
            appends = properties.flag("Append", self.appends)
            self._open(0 if appends else os.O_TRUNC)

    def put(self, record: logging.LogRecord) -> None:
        """Append a message. Raises OSError."""
        if self._name and (self._fd >= 0 or self._open_in_time()):
            self.append(encoded(self.format(record)))

    def append(self, data: bytes) -> None:
        """Append bytes. Raises OSError."""
        self._stream.write(data)

    def reopen(self) -> None:
        """Open what has the name now; if that fails, go on with what is open."""
        if self._name:
            self._open()

    def close(self) -> None:
        """Close the file; the handler is not used any more."""
        super().close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def lock_file(self, properties: Properties) -> str | None:
        """The name of the file that is locked for each message."""
        named, file = super().lock_file(properties), properties.text("File")
        return f"{file}.lock" if named == "" and file else named

    def trouble(self, why: str) -> str:
        """What is to be told when a message cannot be written."""
        return f"file is not open: {self._name}: {why}"

    def _open_in_time(self) -> bool:
        """Open the file, unless that has failed a moment ago; whether it has worked."""
        return time.monotonic() >= self._next_try and self._open()

    def _open(self, flags: int = 0) -> bool:
        try:
            fd = self._opened(flags)
        except OSError as error:
            self._next_try = time.monotonic() + self._delay
            self.fail(f"Unable to open file: {self._name}: {reason(error)}", "open")
            return False
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        self._stream = Stream(fd)
        self._mode = stat.S_IMODE(os.fstat(fd).st_mode)
        self.mend("open")
        self.setting.complaints.debug(f"Just opened file: {self._path}")
        return True

    def _opened(self, flags: int) -> int:
        """Open the file; one that takes the place of another gets the same permissions."""
        if self._mode is None:
            return os.open(self._path, _FLAGS | flags, 0o666)
        umask = os.umask(0)
        try:
            return os.open(self._path, _FLAGS | flags, self._mode & 0o666)
        finally:
            os.umask(umask)

    def _look(self) -> None:
        """Complain of what cannot be opened, without opening it."""
        folder = os.path.dirname(self._path)
        if os.path.isdir(self._path) or not os.path.isdir(folder):
            number = errno.ENOENT if not os.path.isdir(folder) else errno.EISDIR
            self.fail(f"Unable to open file: {self._name}: {os.strerror(number)}", "open")


class _Rolled(FileAppender):
    """A file that is renamed at times, by whichever process notices first that it is time."""

    appends = True
    default_backups = 1

    def __init__(self, properties: Properties, setting: Setting) -> None:
        self._backups = max(1, properties.number("MaxBackupIndex", self.default_backups))
        self._next_roll = 0.0
        super().__init__(properties, setting)

    def due_before(self) -> Iterable[str]:
        """The names of backups, youngest first, if the file is over before a message is written."""
        return ()

    def due_after(self) -> Iterable[str]:
        """The names of backups, youngest first, if the file is over when a message was written."""
        return ()

    def append(self, data: bytes) -> None:
        """Append bytes to what has the name now, and roll it if it is over. Raises OSError."""
        mine = self._begin()
        try:
            if mine:
                self._roll(self.due_before())
            self._stream.write(data)
            if mine:
                self._roll(self.due_after())
        finally:
            if not self.locked:
                release(self._fd)

    def _begin(self) -> bool:
        """Lock the file that has the name; False if that cannot be had, nor the file be rolled."""
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return False
        for _ in range(_TRIES):
            if not (self.locked or self._turn.acquire(self._fd)):
                return False
            if self._is_current():
                return True
            # Opening closes the old file, and so unlocks it.
            if not self._open_in_time():
                break
        return False

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def _roll(self, names: Iterable[str]) -> None:
        """Rename the file to the first of the names, and what has that name to the next."""
        old_names = [self._path]
        for name in names:
            old_names.append(name)
            if not os.path.lexists(name):
                break
        if len(old_names) == 1 or time.monotonic() < self._next_roll:
            return
        for old, new in reversed(list(pairwise(old_names))):
            try:
                os.rename(old, new)
            except OSError as error:
                self._next_roll = time.monotonic() + _ROLL_AGAIN
                self.fail(f"Failed to rename file from {old} to {new}: {reason(error)}", "roll")
                return
            self.setting.complaints.debug(f"Renamed file {old} to {new}")
        self.mend("roll")
        self._open()


class RollingFileAppender(_Rolled):
    """A file that becomes ``F.1`` when it is larger than ``MaxFileSize``, which becomes ``F.2``."""

    def __init__(self, properties: Properties, setting: Setting) -> None:
        size = properties.text("MaxFileSize").upper()
        most = properties.number("MaxFileSize", 0) * _UNITS.get(size[-2:], 1)
        self._most = max(_SMALLEST, most) if size else _LARGEST_DEFAULT
        super().__init__(properties, setting)

    def due_after(self) -> Iterable[str]:
        """The names of backups, youngest first, if the file is too large now."""
        if os.fstat(self._fd).st_size <= self._most:
            return ()
        return (f"{self._path}.{number}" for number in range(1, self._backups + 1))


class DailyRollingFileAppender(_Rolled):
    """A file that gets the name of its day, or another period, when that is over."""

    default_backups = 10

    def __init__(self, properties: Properties, setting: Setting) -> None:
        word = properties.text("Schedule", "DAILY")
        if word.upper() not in _SCHEDULES:
            setting.complaints.warn(
                f'DailyRollingFileAppender::ctor()- "Schedule" not valid: {word}'
            )
        self._period = _SCHEDULES.get(word.upper(), _SCHEDULES["DAILY"])
        super().__init__(properties, setting)

    def due_before(self) -> Iterable[str]:
        """The names of backups, youngest first, if the file has nothing of the present period."""
        status = os.fstat(self._fd)
        now = time.clock_gettime(_CLOCK_REALTIME_COARSE)
        if not status.st_size or status.st_mtime >= now:
            return ()
        period = self._backup(status.st_mtime)
        if period == self._backup(now):
            return ()
        numbered = (f"{period}.{number}" for number in range(1, self._backups + 1))
        return chain((period,), numbered)

    def _backup(self, seconds: float) -> str:
        when = time.localtime(seconds)
        if self._period == _SCHEDULES["WEEKLY"]:
            when = _sunday(when)
        return f"{self._path}.{time.strftime(self._period, when)}"


def _sunday(when: time.struct_time) -> time.struct_time:
    """Return the day that a week begins with, in the names of its backups, too."""
    days = (when.tm_wday + 1) % 7
    noon = (when.tm_year, when.tm_mon, when.tm_mday - days, 12, 0, 0, 0, 0, -1)
    return time.localtime(time.mktime(noon))
