"""A child that is forked before there is a connection for it.

To fork and to take its first steps costs a child more time than a short association does. The
master pays that while it has nothing else to do: one child waits, and gets the next connection
over a socket of its own (SCM_RIGHTS, unix(7)). To the rest of the program it is a child like any
other.
"""

import socket
from typing import NamedTuple

_MESSAGE = 256
"""Bytes that hold a peer's address, and then some."""


# After so many connections that follow each other this fast, the next one finds a child forked
# ahead, until there was none for a while (seconds).
_APART = 0.05
_COUNT = 8
_OVER = 1.0


class Rush:
    """Whether connections follow each other so closely that forking ahead pays.

    ``until`` is when the rush will be over (monotonic seconds), None if there is none.
    """

    def __init__(self) -> None:
        self.until: float | None = None
        self._last = -_APART
        self._close = 0  # connections that followed one another closely

    def note(self, now: float) -> None:
        """Take notice of a connection."""
        self._close = self._close + 1 if now - self._last < _APART else 0
        self._last = now
        if self._close >= _COUNT:
            self.until = now + _OVER

    def is_over(self, now: float) -> bool:
        """Whether a rush is over; true only once."""
        if self.until is None or now < self.until:
            return False
        self.until = None
        return True


class Accepted(NamedTuple):
    """A connection to be served, or, with ``reject``, to be told that there are too many."""

    connection: socket.socket
    peer: str
    reject: bool = False


class Spare:
    """The waiting child, as its master sees it."""

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self._channel = channel

    def hand_over(self, accepted: Accepted) -> bool:
        """Give the child its connection; False if the child is gone."""
        message = f"{accepted.reject:d}{accepted.peer}".encode()
        try:
            socket.send_fds(self._channel, [message], [accepted.connection.fileno()])
        except OSError:
            return False
        finally:
            self.dismiss()
        return True

    def dismiss(self) -> None:
        """Let the child go: it ends if it has no connection."""
        self._channel.close()


def wait(channel: socket.socket) -> Accepted | None:
    """Wait in the child for a connection; None if there will be none."""
    with channel:
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE, 1)
    if not fds:
        return None
    return Accepted(socket.socket(fileno=fds[0]), message[1:].decode(), message[:1] == b"1")
