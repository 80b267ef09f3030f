"""The master: accepts connections and forks a child for each; it knows no DICOM.

It never blocks on a peer: whatever can wait for one (host lookup, access control, the
association itself) happens in the child, which leaves ``serve`` with the connected socket.
From there on it is where inetd would have put it.
"""

import errno
import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from storescpd import title
from storescpd.signals import MASTER_SIGNALS, SignalPipe

log = logging.getLogger("dcmtk.apps.storescp")

# Shortages that pass; the master waits and tries again, it neither spins nor dies.
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN))
_SHORTAGE_PAUSE = 1.0
_SHORTAGE_LOG_INTERVAL = 60.0
_KILL_DELAY = 5.0


class Master:
    """One listening process.

    All its state is here: the listeners, the children by process id with their peers, and
    how far a stop has gone. ``limit`` None means no limit; ``grace`` is what associations get
    to finish after SIGTERM, in seconds; ``reload`` is called for SIGHUP.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        *,
        program: str,
        limit: int | None,
        grace: float,
        reload: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._program = program
        self._limit = limit
        self._grace = grace
        self._reload = reload
        self._names = ", ".join(_name(listener) for listener in listeners)
        self._children: dict[int, str] = {}
        self._served = 0
        self._started = time.monotonic()
        self._stopping = False
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._paused_until: float | None = None
        self._shortage_logged = -_SHORTAGE_LOG_INTERVAL
        self._full_logged = False
        self._signals = SignalPipe()

    def serve(self) -> socket.socket | None:
        """Accept and fork until told to stop.

        Returns the connected socket in each child, and None once in the master, when no
        listener and no child is left.
        """
        self._show()
        while not (self._stopping and not self._children):
            ready = self._wait()
            if self._signals.fd in ready:
                self._handle_signals()
            for listener in self._listeners:
                if listener.fileno() in ready and self._may_accept():
                    connection = self._accept(listener)
                    if connection is not None and self._fork(connection):
                        return connection
            self._enforce_stop()
        self._signals.close()
        return None

    def accept_one(self, idle: float | None = None) -> socket.socket | None:
        """Return the next connection in this very process (``--single-process``).

        None when told to stop, or when ``idle`` seconds passed without a connection; then
        ``stopping`` tells which.
        """
        self._show()
        self._signals.attach()
        deadline = None if idle is None else time.monotonic() + idle
        while not self._stopping:
            ready = self._wait(deadline)
            if self._signals.fd in ready:
                self._handle_signals()
            for listener in self._listeners:
                if listener.fileno() in ready:
                    connection = self._accept(listener)
                    if connection is not None:
                        self._served += 1
                        return connection
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    @property
    def stopping(self) -> bool:
        """Whether a signal has told the master to stop."""
        return self._stopping

    def _may_accept(self) -> bool:
        return (
            not self._stopping
            and self._paused_until is None
            and (self._limit is None or len(self._children) < self._limit)
        )

    def _wait(self, deadline: float | None = None) -> set[int]:
        """Wait for a signal, a connection (where one may be accepted), or the next due time."""
        now = time.monotonic()
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None
        poller = select.poll()
        poller.register(self._signals.fd, select.POLLIN)
        if self._may_accept():
            self._full_logged = False
            for listener in self._listeners:
                poller.register(listener, select.POLLIN)
        elif not self._stopping and self._paused_until is None and not self._full_logged:
            # Peers wait in the kernel's backlog; they are not turned away.
            self._full_logged = True
            log.info(
                "Maximum number of associations reached, waiting for child process to terminate"
            )
        due = [
            at
            for at in (self._paused_until, self._terminate_at, self._kill_at, deadline)
            if at is not None
        ]
        timeout = None if not due else max(0.0, min(due) - now) * 1000 + 1
        return {fd for fd, _ in poller.poll(timeout)}

    def _accept(self, listener: socket.socket) -> socket.socket | None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        except OSError as error:
            # Errors of the network that are already pending on the new connection end it only.
            if error.errno in _SHORTAGES:
                self._pause("accept a connection", error)
            else:
                log.error("cannot accept a connection: %s", error.strerror)
            return None
        connection.setblocking(True)
        return connection

    def _fork(self, connection: socket.socket) -> bool:
        """Fork a child for the connection; True in the child."""
        # A signal between fork and the child's own handlers would reach the master's pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, MASTER_SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)
            connection.close()
            self._pause("fork", error)
            return False
        if pid == 0:
            self._signals.close()
            for listener in self._listeners:
                listener.close()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)
            return True
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)
        self._children[pid] = peer_name(connection)
        self._served += 1
        connection.close()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("child %d serves %s (%s)", pid, self._children[pid], self._count())
        self._show()
        return False

    def _pause(self, action: str, error: OSError) -> None:
        now = time.monotonic()
        self._paused_until = now + _SHORTAGE_PAUSE
        if now - self._shortage_logged >= _SHORTAGE_LOG_INTERVAL:
            self._shortage_logged = now
            log.error("cannot %s: %s; trying again", action, error.strerror)

    def _handle_signals(self) -> None:
        for number in self._signals.read():
            match number:
                case signal.SIGCHLD:
                    self._reap()
                case signal.SIGTERM:
                    self._stop(at_once=self._stopping)
                case signal.SIGINT:
                    self._stop(at_once=True)
                case signal.SIGHUP:
                    self._reload()
                case signal.SIGUSR1:
                    self._report()

    def _stop(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if not self._stopping:
            self._stopping = True
            for listener in self._listeners:
                listener.close()
            self._listeners = []
            log.info("stopping, %s associations left", self._count())
        self._terminate_at = now if at_once else now + self._grace

    def _enforce_stop(self) -> None:
        now = time.monotonic()
        if self._terminate_at is not None and now >= self._terminate_at:
            # A child told to terminate aborts its association; one that cannot is killed.
            self._terminate_at = None
            self._kill_at = now + _KILL_DELAY
            self._signal_children(signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + _KILL_DELAY
            self._signal_children(signal.SIGKILL)

    def _signal_children(self, number: signal.Signals) -> None:
        for pid in self._children:
            # Not reaped yet, so the number still belongs to our child.
            os.kill(pid, number)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            peer = self._children.pop(pid, None)
            if peer is not None:
                self._log_end(pid, peer, status)
        self._show()

    def _log_end(self, pid: int, peer: str, status: int) -> None:
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            log.error("child %d for %s was killed by %s (%s)", pid, peer, name, self._count())
        elif os.WEXITSTATUS(status):
            log.error(
                "child %d for %s failed with exit status %d (%s)",
                pid,
                peer,
                os.WEXITSTATUS(status),
                self._count(),
            )
        else:
            log.debug("child %d for %s has ended (%s)", pid, peer, self._count())

    def _report(self) -> None:
        """Log the status line that SIGUSR1 asks for, whatever the log level."""
        text = (
            f"status: listening {self._names}, {self._count()} associations,"
            f" {self._served} served in {time.monotonic() - self._started:.0f} s"
        )
        log.handle(log.makeRecord(log.name, logging.INFO, "", 0, text, (), None))

    def _count(self) -> str:
        return f"{len(self._children)}/{self._limit}" if self._limit else str(len(self._children))

    def _show(self) -> None:
        title.master(self._program, self._names, len(self._children), self._limit)


def peer_name(connection: socket.socket) -> str:
    """Return the numeric address of the other end, ``unknown`` if it has gone or has none."""
    try:
        address = connection.getpeername()
    except OSError:
        return "unknown"
    return str(address[0]) if isinstance(address, tuple) else "local"


def _name(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "*"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
