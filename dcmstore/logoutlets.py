"""Ways out for log lines, on which nothing waits for ever."""

import mmap
import os
import select
import socket
import stat
from struct import Struct
from typing import cast

PATIENCE = 1.0
"""Seconds to wait for one that takes nothing; it is not waited for again as long as it does not."""

SocketAddress = str | tuple[str, int] | tuple[str, int, int, int]
"""Of a socket in the file system, and in IPv4 and IPv6."""

PIPE_BUF = select.PIPE_BUF

_NUMBER = Struct("d")


def encoded(text: str) -> bytes:
    """Return the bytes of a text, whatever is in it."""
    return text.encode(errors="backslashreplace")


class Shared:
    """A number that this process and those forked from it have in common; 0 at first.

    Each child of a daemon writes the same logs: what one has waited for in vain, the next one
    need not wait for again.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBER.size)

    def get(self) -> float:
        """Return the number."""
        number: float = _NUMBER.unpack_from(self._memory)[0]
        return number

    def set(self, number: float) -> None:
        """Change it for all."""
        _NUMBER.pack_into(self._memory, 0, number)


class Writability:
    """Waits until a descriptor can be written to, with patience for once."""

    def __init__(self) -> None:
        self._stuck = Shared()

    def wait(self, fd: int) -> None:
        """Raises TimeoutError if the descriptor takes nothing."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        if not poll.poll(0 if self._stuck.get() else PATIENCE * 1000):
            self._stuck.set(1)
            raise TimeoutError("it takes nothing")
        self._stuck.set(0)


class Stream:
    """A descriptor to write to, which may be blocking, since others have it, too.

    A file gets each text in one piece, so that lines of several processes do not mix (see
    O_APPEND in open(2)). Anything else gets whole lines, as many as it can take at once.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._writability = Writability()
        self._torn = False

    def write(self, data: bytes) -> None:
        """Write all of it; raises OSError. What is left of a line then ends before the next one."""
        whole = stat.S_ISREG(os.fstat(self.fd).st_mode)
        left = b"\n" + data if self._torn else data
        while left:
            if not whole:
                self._writability.wait(self.fd)
            done = os.write(self.fd, left if whole else _piece(left))
            left = left[done:]
            self._torn = bool(left)


def _piece(data: bytes) -> bytes:
    """Return what a pipe or a socket that can be written to takes without blocking."""
    piece = data[:PIPE_BUF]
    lines = piece.rfind(b"\n") + 1
    return piece[:lines] if lines and len(data) > PIPE_BUF else piece


class Datagrams:
    """A socket for messages that arrive whole, or not at all."""

    def __init__(self, family: int, address: SocketAddress) -> None:
        self._family = family
        self._address = address
        self._socket: socket.socket | None = None
        self._writability = Writability()

    @classmethod
    def to_host(cls, host: str, port: int) -> "Datagrams":
        """UDP to a host, which is looked up. Raises OSError."""
        family, address = look_up(host, port, socket.SOCK_DGRAM)
        return cls(family, address)

    def send(self, data: bytes) -> None:
        """Send a message. Raises OSError, for UDP also if an earlier one was not taken."""
        if self._socket is None:
            self._socket = self._connected()
        try:
            self._send(self._socket, data)
        except ConnectionError:
            if self._family != socket.AF_UNIX:
                raise
            # The system log has been started anew.
            self._socket.close()
            self._socket = None
            self._socket = self._connected()
            self._send(self._socket, data)

    def _connected(self) -> socket.socket:
        new = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            new.connect(self._address)
        except OSError:
            new.close()
            raise
        return new

    def _send(self, link: socket.socket, data: bytes) -> None:
        try:
            link.send(data)
        except BlockingIOError:
            self._writability.wait(link.fileno())
            link.send(data)


def look_up(host: str, port: int, kind: socket.SocketKind) -> tuple[int, SocketAddress]:
    """Return the first address family and address of a host. Raises OSError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except (UnicodeError, OverflowError) as error:
        raise OSError(str(error)) from error
    # typeshed adds tuple[int, bytes], for a Python built without IPv6.
    return family, cast(SocketAddress, address)
