"""Locks between processes that write one log, which nobody waits for too long.

They are record locks (fcntl(2)): they belong to a process, also where it shares a descriptor with
those it was forked from, they end with it, and other programs that use log4cplus take them, too.
"""

import errno
import fcntl
import os
import time
from contextlib import suppress

from dcmstore.logoutlets import PATIENCE, Shared

_APART = 0.002  # seconds between one try and the next
_HELD = (errno.EAGAIN, errno.EACCES)  # POSIX leaves a system the choice


class Lock:
    """The right to write, where a second is enough to get it; a holder that hangs gets no other."""

    def __init__(self) -> None:
        self._stuck = Shared()

    def acquire(self, fd: int) -> bool:
        """Lock what the descriptor, which is open for writing, stands for; False if it is held.

        False also where there are no locks.
        """
        deadline = time.monotonic() + (0 if self._stuck.get() else PATIENCE)
        while True:
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _HELD or time.monotonic() >= deadline:
                    self._stuck.set(1)
                    return False
                time.sleep(_APART)
            else:
                self._stuck.set(0)
                return True


def release(fd: int) -> None:
    """Unlock it again, if it was locked."""
    # Where there are no locks, there is none to give back.
    with suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_UN)


def open_lock_file(path: str) -> int:
    """Open a file that is only there to be locked, and make it if need be. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
