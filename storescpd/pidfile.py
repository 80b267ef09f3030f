"""The pid file of a daemon: tells who runs, and keeps a second one from starting."""

import fcntl
import os
import stat
from types import TracebackType

from storescpd.daemon import DaemonError

_LONGEST_NUMBER = 20


class PidFile:
    """A file with the daemon's process id, which is valid as long as it is locked.

    Two locks, for they differ in whom they belong to:

    1. A record lock (fcntl(2)) belongs to the process. It ends with the master however that
       dies, and children that still finish their associations do not keep it. It does not
       survive the forks of `daemon.detach`.
    2. A flock(2) belongs to the open file. It is held from `claim` to `rewrite`, across
       those forks.

    A file that nobody has locked is stale and is taken over. Raises DaemonError with one
    clear line where the file is held by another process, or is no pid file at all.
    """

    def __init__(self, path: str) -> None:
        # The daemon changes its folder in between.
        self._path = os.path.abspath(path)
        self._fd = -1
        self._owner = 0

    def __enter__(self) -> "PidFile":
        self.claim()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def fileno(self) -> int:
        """The descriptor that must survive `daemon.detach`."""
        return self._fd

    def check(self) -> None:
        """Tell by DaemonError whether `claim` could work, be the file held or not."""
        parent = os.path.dirname(self._path)
        if not os.path.isdir(parent):
            raise DaemonError(f"no directory for pid file {self._path}")
        if os.path.lexists(self._path):
            fd = self._open()
            try:
                self._refuse_other_content(fd)
            finally:
                os.close(fd)
        elif not os.access(parent, os.W_OK | os.X_OK):
            raise DaemonError(f"directory of pid file is not writeable: {parent}")

    def claim(self) -> None:
        """Lock the file and write this process's id; before detaching, to report to a person."""
        while self._fd == -1:
            fd = self._open()
            try:
                self._lock(fd)
                # The one who held it may have removed the file while this one waited to open it.
                if self._is_current(fd):
                    self._refuse_other_content(fd)
                    self._fd = fd
            finally:
                if self._fd == -1:
                    os.close(fd)
        try:
            self._write()
        except DaemonError:
            self.release()
            raise

    def rewrite(self) -> None:
        """Write the id of the process that `daemon.detach` has made; also without detaching."""
        # The other lock is held, so that this waits for the process which has claimed the file.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        self._write()
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def release(self) -> None:
        """Remove the file. Does nothing in a child of the process that has claimed it."""
        if self._owner != os.getpid():
            return
        self._owner = 0
        try:
            os.unlink(self._path)
        except PermissionError:
            # Without privileges the folder may be closed to us. The open file is not, and
            # an empty one names no process.
            os.ftruncate(self._fd, 0)
        except FileNotFoundError:
            pass
        os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        try:
            # A folder of the daemon's user may hold what that user put there: no link to
            # another file is followed, and no device or pipe waited for.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(self._path, flags, 0o644)
        except OSError as error:
            reason = "a symbolic link" if os.path.islink(self._path) else error.strerror
            raise DaemonError(f"cannot open pid file {self._path}: {reason}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise DaemonError(f"not a pid file: {self._path}")
        return fd

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, BlockingIOError | PermissionError):
                raise DaemonError(f"cannot lock pid file {self._path}: {error.strerror}") from error
            content = os.pread(fd, _LONGEST_NUMBER, 0).strip()
            holder = f"process {content.decode()}" if content.isdigit() else "another process"
            raise DaemonError(f"already running: {self._path} is held by {holder}") from error

    def _is_current(self, fd: int) -> bool:
        try:
            named = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(fd))

    def _refuse_other_content(self, fd: int) -> None:
        content = os.pread(fd, _LONGEST_NUMBER + 1, 0)
        if len(content) > _LONGEST_NUMBER or (content.strip() and not content.strip().isdigit()):
            raise DaemonError(f"not a pid file: {self._path}")

    def _write(self) -> None:
        self._owner = os.getpid()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % self._owner, 0)
        except OSError as error:
            raise DaemonError(f"cannot write pid file {self._path}: {error.strerror}") from error
