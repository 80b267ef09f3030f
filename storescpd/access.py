"""Host access control by tcp wrappers (``--access-control``): libwrap through ctypes.

The rules are the system's: /etc/hosts.allow and /etc/hosts.deny, in the language of
hosts_access(5) and hosts_options(5). The check may ask DNS and run commands, so it belongs
in the child, before the first byte of the peer is read.

libwrap reports what it finds wrong only while it looks for a match, and only to syslog.
"""

import logging
import os
import select
import signal
import socket
from typing import NoReturn

from storescpd import accesstables
from storescpd.signals import STOP_SIGNALS, Breakable

log = logging.getLogger("dcmtk.apps.storescp")

LIBRARY = "libwrap.so.0"

# Keys of request_init(3), from tcpd.h.
_RQ_FILE = 1
_RQ_DAEMON = 2
_RQ_CLIENT_NAME = 4
_RQ_CLIENT_ADDR = 5
_RQ_SERVER_NAME = 7
_UNKNOWN = b"unknown"

# struct request_info takes less than 1 kB; request_init clears what it uses of this.
_REQUEST_SIZE = 4096

# How long a resident process waits for a decision. The resolver's own limits come to about
# a minute (two lookups), RFC 931's to ten seconds; only a hanging `spawn` takes longer.
_DECISION_LIMIT = 90.0

# libwrap waits for the commands it runs, and those expect the signals of a fresh process. It can
# be blocked for long, and no handler in Python runs before it returns.
_DEFAULT_SIGNALS = (signal.SIGCHLD, signal.SIGPIPE, *STOP_SIGNALS)

# What a helper writes to its pipe.
_PERMITTED = b"+"
_REFUSED = b"-"


class AccessError(Exception):
    """Access control was asked for and is not to be had; the text is one line."""


class Wrappers:
    """The decisions of libwrap for one daemon name.

    ``daemon`` is the name that rules are written for. Without ``lookup`` neither side's host
    name is asked for and every peer's name is "unknown" to the rules. ``resident`` is for a
    process that serves more than one connection (see `permits`).
    Raises AccessError if the library is not installed.
    """

    def __init__(self, daemon: str, lookup: bool, *, resident: bool = False) -> None:
        # Both only cost those who ask for access control.
        import ctypes
        import syslog

        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise AccessError(
                f"access control needs {LIBRARY} (Debian package libwrap0): {error}"
            ) from error
        self._daemon = os.fsencode(daemon)
        self._lookup = lookup
        self._resident = resident
        self._replaced: set[int] = set()
        # The library logs by syslog(3) and leaves the name to its program.
        syslog.openlog(daemon, syslog.LOG_PID, syslog.LOG_DAEMON)

    def check_tables(self) -> list[str]:
        """What in the two tables lets peers in or keeps them out against appearances.

        To be called as the user that will serve: a hosts.deny that this user cannot read
        lets everybody in. One line of text for each finding.
        """
        return accesstables.check(self._table("hosts_allow_table"), self._table("hosts_deny_table"))

    def permits(self, connection: socket.socket | int, address: str) -> bool:
        """Whether the rules let the peer of ``connection`` in; ``address`` is its number.

        A rule may act on the process: ``twist`` replaces it; ``nice``, ``umask`` and ``setenv``
        change it for good. That is right in a process of one connection, which
        then does not come back from here. A resident process would be lost to its next
        peers, so there a helper process asks: ``twist`` replaces the helper, and what the
        rule changes ends with the helper. Raises Stopped if it is to end before there is an answer.
        """
        fd = connection if isinstance(connection, int) else connection.fileno()
        if self._resident:
            return self._ask_helper(fd, address)
        return self._ask(fd, address)

    def _ask(self, fd: int, address: str) -> bool:
        import ctypes

        request = ctypes.create_string_buffer(_REQUEST_SIZE)
        facts: list[int | bytes] = [_RQ_FILE, fd, _RQ_DAEMON, self._daemon]
        number = address.removeprefix("::ffff:")
        if ":" not in number:
            # Without this, what rules and commands see of an IPv4 peer would depend on
            # whether the listener is a dual-stack one. IPv6 numbers stay libwrap's own
            # affair, since it adds their scope.
            facts += [_RQ_CLIENT_ADDR, number.encode()]
        if not self._lookup:
            facts += [_RQ_CLIENT_NAME, _UNKNOWN, _RQ_SERVER_NAME, _UNKNOWN]
        self._library.request_init(request, *facts, 0)
        self._library.sock_host(request)
        saved = [(one, signal.signal(one, signal.SIG_DFL)) for one in _DEFAULT_SIGNALS]
        try:
            return bool(self._library.hosts_access(request))
        finally:
            for number_of_signal, handler in saved:
                signal.signal(number_of_signal, handler)

    def _ask_helper(self, fd: int, address: str) -> bool:
        self._replaced = {pid for pid in self._replaced if not _reap(pid, os.WNOHANG)}
        answer, question = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._help(question, fd, address)
        os.close(question)
        poller = select.poll()
        poller.register(answer, select.POLLIN)
        with open(answer, "rb", buffering=0) as pipe:
            decided = False
            try:
                with Breakable():
                    decided = bool(poller.poll(_DECISION_LIMIT * 1000))
            finally:
                if not decided:
                    os.kill(pid, signal.SIGKILL)
                    _reap(pid, 0)
            if not decided:
                log.warning(
                    "access control took more than %g seconds, %s refused", _DECISION_LIMIT, address
                )
                return False
            decision = pipe.read(1)
        if decision:
            _reap(pid, 0)
        else:
            # Nothing but the end of the pipe: `twist` has replaced the helper, which now
            # lives as long as the command does.
            self._replaced.add(pid)
        return decision == _PERMITTED

    def _help(self, question: int, fd: int, address: str) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for one in (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(one, signal.SIG_DFL)
            os.write(question, _PERMITTED if self._ask(fd, address) else _REFUSED)
        except Exception as error:
            log.error("access control failed, %s refused: %s", address, error)
        os._exit(0)

    def _table(self, variable: str) -> str:
        import ctypes

        path = ctypes.c_char_p.in_dll(self._library, variable).value
        return os.fsdecode(path or b"")


def _reap(pid: int, options: int) -> bool:
    """Whether the helper has ended, in the manner of waitpid(2)."""
    try:
        return os.waitpid(pid, options)[0] == pid
    except ChildProcessError:  # whoever reaps all children was quicker
        return True
