"""Where connections come from: our own listeners, systemd's, inetd's, or fd 0 itself.

Every listener returned here is a non-blocking TCP socket that is closed on exec, so the
master may poll it without ever waiting on a peer that went away between poll and accept.
"""

import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TypeAlias, cast

from dcmstore.transport import set_buffer_length

BACKLOG = 128
SYSTEMD_FIRST_FD = 3
INITIALIZATION_ERROR = "0006:031c"

# What bind(2) takes: host and port, and for IPv6 the flow label and the scope.
SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class SocketError(Exception):
    """No usable socket; the text is one line for the administrator."""


class ListenError(SocketError):
    """A listener could not be made; the text is the reference's condition and reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{INITIALIZATION_ERROR} TCP Initialization Error: {reason}")


class PrivilegeError(SocketError):
    """A port that this process may not listen on (CAP_NET_BIND_SERVICE, capabilities(7))."""

    def __init__(self, port: int) -> None:
        super().__init__(f"cannot listen on port {port}, insufficient privileges")


class DescriptorError(SocketError):
    """Standard input could not be taken over (the reference exits 99)."""


def listen(port: int, family: str, addresses: list[str]) -> list[socket.socket]:
    """Bind and listen on ``port``; one socket per distinct address, in the order given.

    ``family`` is ``ipv4``, ``ipv6`` or ``ip-auto``. Without ``addresses`` the wildcard is
    bound: ``ip-auto`` then gives one dual-stack socket, or an IPv4 one where the kernel
    has no IPv6. Given addresses (numbers or host names) must be of that family.
    All or nothing: raises ListenError or PrivilegeError, with no socket left open.
    """
    listeners: list[socket.socket] = []
    try:
        if addresses:
            for bind_family, sockaddr in resolve(port, family, addresses):
                listeners.append(_bound(bind_family, sockaddr))
        else:
            listeners.append(_wildcard(port, family))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def offered_by_systemd(environ: Mapping[str, str] | None = None) -> bool:
    """Whether `adopt_systemd` would find listeners, or complain."""
    environ = os.environ if environ is None else environ
    return environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS") != "0"


def adopt_systemd(
    environ: MutableMapping[str, str] | None = None,
) -> list[socket.socket]:
    """Take over the listeners that systemd passed to this process; none gives ``[]``.

    sd_listen_fds(3): descriptors 3 and up, counted by LISTEN_FDS and meant for LISTEN_PID.
    The three variables are removed, so that no child believes they are meant for it.
    Must run before the process detaches. Raises SocketError for anything but listening TCP sockets.
    """
    environ = os.environ if environ is None else environ
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if not pid.isdecimal() or int(pid) != os.getpid():
        return []
    if not count.isdecimal():
        raise SocketError(f"LISTEN_FDS is not a number: {count!r}")
    listeners: list[socket.socket] = []
    try:
        # Each step opens a socket object or raises, so a count from a broken
        # environment ends at the first descriptor that is not open.
        for fd in range(SYSTEMD_FIRST_FD, SYSTEMD_FIRST_FD + int(count)):
            listeners.append(_listener_at(fd, f"descriptor {fd} from systemd"))
    except SocketError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def adopt_inetd_wait() -> socket.socket:
    """Take over the listener that inetd's ``wait`` mode leaves on standard input.

    Standard input, output and error are the null device afterwards (see `_take_stdin`).
    Raises DescriptorError if fd 0 is closed, SocketError if it is no listening TCP socket.
    """
    return _listener_at(_take_stdin(), "standard input")


def stdin_connection() -> socket.socket:
    """Take over the accepted connection on standard input (inetd ``nowait``, systemd Accept=yes).

    The socket is blocking. Standard input, output and error are the null device afterwards
    (see `_take_stdin`). Raises DescriptorError if fd 0 is closed, SocketError if it is no
    connected stream socket.
    """
    fd = _take_stdin()
    connection = _socket_at(fd, "standard input")
    try:
        if connection.type != socket.SOCK_STREAM:
            raise SocketError("standard input is not a stream socket")
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise SocketError("standard input is a listening socket, not a connection")
        connection.getpeername()
        connection.setblocking(True)
    except OSError as error:
        connection.close()
        raise SocketError(f"standard input is not connected: {error.strerror}") from error
    except SocketError:
        connection.close()
        raise
    return connection


def stderr_is_the_peer() -> bool:
    """Whether what is printed goes to the socket on standard input, as inetd leaves it."""
    status = os.fstat(0)
    return stat.S_ISSOCK(status.st_mode) and os.path.samestat(status, os.fstat(2))


def resolve(port: int, family: str, addresses: list[str]) -> Iterator[tuple[int, SocketAddress]]:
    """Yield the families and socket addresses of ``addresses``, each once. Raises ListenError."""
    families = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "ip-auto": socket.AF_UNSPEC}
    seen = set()
    for address in addresses:
        try:
            found = socket.getaddrinfo(
                address, port, families[family], socket.SOCK_STREAM, 0, socket.AI_PASSIVE
            )
        except OSError as error:
            raise ListenError(f"{error.strerror}: {address}") from error
        except UnicodeError as error:
            raise ListenError(f"not a host name: {address}") from error
        for bind_family, _, _, _, sockaddr in found:
            if sockaddr not in seen:
                seen.add(sockaddr)
                # typeshed adds tuple[int, bytes], for a Python built without IPv6.
                yield bind_family, cast(SocketAddress, sockaddr)


def _wildcard(port: int, family: str) -> socket.socket:
    if family == "ipv4":
        return _bound(socket.AF_INET, ("", port))
    if family == "ip-auto" and not _kernel_has_ipv6():
        return _bound(socket.AF_INET, ("", port))
    return _bound(socket.AF_INET6, ("::", port), dual_stack=family == "ip-auto")


def _kernel_has_ipv6() -> bool:
    """Whether an IPv6 socket can be bound here: the module and the sysctl can each forbid it."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _bound(family: int, sockaddr: SocketAddress, *, dual_stack: bool = False) -> socket.socket:
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(str(error.strerror)) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        set_buffer_length(listener)
        listener.bind(sockaddr)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except PermissionError as error:
        listener.close()
        raise PrivilegeError(sockaddr[1]) from error
    except OSError as error:
        listener.close()
        where = "" if sockaddr[0] in ("", "::") else f" ({sockaddr[0]} port {sockaddr[1]})"
        raise ListenError(f"{error.strerror}{where}") from error
    return listener


def _listener_at(fd: int, what: str) -> socket.socket:
    listener = _socket_at(fd, what)
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        reason = "not an internet socket"
    elif listener.type != socket.SOCK_STREAM:
        reason = "not a stream socket"
    elif not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        reason = "not a listening socket"
    else:
        listener.set_inheritable(False)
        listener.setblocking(False)
        return listener
    listener.close()
    raise SocketError(f"{what} is {reason}")


def _socket_at(fd: int, what: str) -> socket.socket:
    try:
        is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError as error:
        raise SocketError(f"{what} is not open: {error.strerror}") from error
    if not is_socket:
        raise SocketError(f"{what} is not a socket")
    return socket.socket(fileno=fd)


def _take_stdin() -> int:
    """Move fd 0 out of the way (close-on-exec) and put the null device on 0, 1 and 2.

    Under inetd all three are the peer's connection: a stray print would go out between two
    PDUs. Only a standard error that is the journal (systemd.exec(5), JOURNAL_STREAM) stays,
    since no peer reads it and the log would be lost. All three stay if 0 is no socket: then it
    was not inetd, and somebody wants to read what is wrong.
    """
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            raise SocketError("standard input is not a socket")
        fd = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, SYSTEMD_FIRST_FD)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            if standard != 2 or not _is_journal(standard):
                os.dup2(null, standard)
        if null > 2:
            os.close(null)
    except OSError as error:
        raise DescriptorError(f"cannot take over standard input: {error.strerror}") from error
    return fd


def _is_journal(fd: int) -> bool:
    journal = os.environ.get("JOURNAL_STREAM")
    if not journal:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return journal == f"{status.st_dev}:{status.st_ino}"
