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
from typing import NamedTuple

from storescpd import addresses, spare, title
from storescpd.children import Children
from storescpd.notify import Notifier
from storescpd.signals import MASTER_SIGNALS, SignalPipe
from storescpd.spare import Accepted, Rush, Spare
from storescpd.throttle import Throttle

log = logging.getLogger("dcmtk.apps.storescp")

# Shortages that pass; the master waits and tries again, it neither spins nor dies.
_SHORTAGES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN))
_SHORTAGE_PAUSE = 1.0
_SHORTAGE_LOG_INTERVAL = 60.0
_KILL_DELAY = 5.0
_STATUS_INTERVAL = 1.0
_LONGEST_WAIT = 86_400.0  # poll(2) takes less than 25 days, and there are options for more

# More peers than these at a time are not even told that they are rejected.
_MOST_REJECTING = 16


class Settings(NamedTuple):
    """How a master works; times in seconds, None for no limit.

    ``limit`` and ``per_peer`` are numbers of associations. Peers above ``limit`` wait, or are
    rejected where ``reject`` says so. Associations get ``grace`` to finish after SIGTERM.
    The master ends when nobody was there for ``idle``.
    """

    program: str
    limit: int | None = None
    per_peer: int | None = None
    reject: bool = False
    grace: float = 30.0
    idle: float | None = None


class Master:
    """One listening process.

    All its state is here: the listeners, the children, and how far a stop has gone.
    ``reload`` is called for SIGHUP.
    """

    def __init__(
        self,
        listeners: list[socket.socket],
        signals: SignalPipe,
        settings: Settings,
        notifier: Notifier,
        reload: Callable[[], None],
    ) -> None:
        self._listeners = listeners
        self._signals = signals
        self._settings = settings
        self._notifier = notifier
        self._reload = reload
        self._names = ", ".join(addresses.listening(listener) for listener in listeners)
        self._children = Children()
        self._served = self._rejected = self._denied = 0
        self._started = self._idle_since = time.monotonic()
        self._stopping = False
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self._paused_until: float | None = None
        self._status_at: float | None = None
        self._watchdog_at: float | None = None
        self._expiry_at: float | None = None
        self._status_sent = self._started
        self._rush = Rush()
        self._shortage_logged = -_SHORTAGE_LOG_INTERVAL
        self._full_logged = False
        self._denials = Throttle()
        self._rejections = Throttle()

    def start(self, *, watched: bool) -> None:
        """Show the world that the start is over; without ``watched`` there is no watchdog."""
        self._show()
        self._notifier.ready(self._status())
        self._status_at = None
        if self._notifier.watchdog_interval is None:
            return
        if watched:
            self._watchdog_at = time.monotonic()
        else:
            self._notifier.forgo_watchdog()

    def serve(self) -> Accepted | None:
        """Accept and fork until told to stop, or until idle for too long.

        Returns the connection in each child, and None once in the master, when no child is left.
        """
        while not (self._stopping and not self._children):
            if self._wants_spare():
                channel = self._fork_ahead()
                if channel is not None:
                    title.spare(self._settings.program)
                    return spare.wait(channel)
            ready = self._wait()
            if self._signals.fd in ready:
                self._handle_signals()
            for listener in self._listeners:
                if listener.fileno() in ready and self._may_accept():
                    accepted = self._accept(listener)
                    if accepted is not None and self._give_child(accepted):
                        return accepted
            if not ready and self._is_idle():
                break
            self._keep_time()
        self._children.see_off()
        return None

    def accept_one(
        self, wait: float | None = None, expired: Callable[[], None] | None = None
    ) -> Accepted | None:
        """Return the next connection in this very process (``--single-process``).

        None when told to stop, or when idle for too long. When nobody came for ``wait`` seconds,
        ``expired`` is called, once.
        """
        self._show()  # the title still names the last peer
        self._idle_since = time.monotonic()
        self._expiry_at = None if wait is None else self._idle_since + wait
        while not self._stopping:
            ready = self._wait()
            if self._signals.fd in ready:
                self._handle_signals()
            for listener in self._listeners:
                if listener.fileno() in ready:
                    accepted = self._accept(listener)
                    if accepted is not None:
                        self._served += 1
                        return accepted
            if expired is not None and self._has_expired():
                expired()
            if not ready and self._is_idle():
                break
            self._keep_time()
        return None

    def _has_expired(self) -> bool:
        """Whether the wait of `accept_one` is over; true only once."""
        if self._expiry_at is None or time.monotonic() < self._expiry_at:
            return False
        self._expiry_at = None
        return True

    def deny(self, peer: str) -> None:
        """Count and log a peer that access control turned away."""
        self._denied += 1
        self._denials.warn("access denied to %s", peer)

    def _may_accept(self) -> bool:
        return (
            not self._stopping
            and self._paused_until is None
            and (self._settings.reject or not self._is_full())
        )

    def _is_full(self) -> bool:
        limit = self._settings.limit
        return limit is not None and len(self._children.serving) >= limit

    def _is_idle(self) -> bool:
        idle_at = self._idle_at()
        return idle_at is not None and time.monotonic() >= idle_at

    def _idle_at(self) -> float | None:
        idle = self._settings.idle
        return None if idle is None or self._children else self._idle_since + idle

    def _wait(self) -> set[int]:
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
            for at in (
                self._paused_until,
                self._terminate_at,
                self._kill_at,
                self._status_at,
                self._watchdog_at,
                self._rush.until,
                self._expiry_at,
                self._idle_at(),
            )
            if at is not None
        ]
        timeout = None if not due else min(max(0.0, min(due) - now), _LONGEST_WAIT) * 1000 + 1
        return {fd for fd, _ in poller.poll(timeout)}

    def _accept(self, listener: socket.socket) -> Accepted | None:
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        except OSError as error:
            # Errors of the network that are already pending on the new connection end it only.
            if error.errno in _SHORTAGES:
                self._pause("accept a connection", error)
            else:
                log.error("cannot accept a connection: %s", error.strerror)
            return None
        peer = addresses.number(address)
        reject = self._is_too_many(peer)
        if reject and len(self._children.rejecting) >= _MOST_REJECTING:
            connection.close()
            self._rejected += 1
            return None
        connection.setblocking(True)
        return Accepted(connection, peer, reject)

    def _is_too_many(self, peer: str) -> bool:
        """Whether an association more is to be rejected; says so in the log."""
        if self._is_full():
            self._rejections.warn("%s rejected, limit reached (%s)", peer, self._count())
            return True
        per_peer = self._settings.per_peer
        if per_peer is not None and self._children.of_peer(peer) >= per_peer:
            self._rejections.warn("%s rejected, it has %d associations already", peer, per_peer)
            return True
        return False

    def _wants_spare(self) -> bool:
        return self._rush.until is not None and self._children.spare is None and self._may_accept()

    def _fork_ahead(self) -> socket.socket | None:
        """Fork a child for a connection to come; in the child, return where that will come from."""
        try:
            ours, its = socket.socketpair()
        except OSError as error:
            self._pause("fork ahead", error)
            return None
        pid = self._fork()
        if pid == 0:
            ours.close()
            return its
        its.close()
        if pid is None:
            ours.close()
        else:
            self._children.spare = Spare(pid, ours)
        return None

    def _fork(self) -> int | None:
        """Fork; None if that is not possible just now."""
        # A signal between fork and the child's own handlers would reach the master's pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, MASTER_SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:
            self._pause("fork", error)
            pid = None
        if pid == 0:
            self._signals.close()
            for listener in self._listeners:
                listener.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASTER_SIGNALS)
        return pid

    def _give_child(self, accepted: Accepted) -> bool:
        """Give the connection to the waiting child, or to a new one; True in a new child."""
        waiting = self._children.take_spare()
        if waiting is not None and waiting.hand_over(accepted):
            pid: int | None = waiting.pid
        else:
            pid = self._fork()
        if pid == 0:
            return True
        self._rush.note(time.monotonic())
        accepted.connection.close()
        if pid is None:
            return False
        if accepted.reject:
            self._children.rejecting[pid] = accepted.peer
            self._rejected += 1
            return False
        self._children.serving[pid] = accepted.peer
        self._served += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("child %d serves %s (%s)", pid, accepted.peer, self._count())
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
                    self._notifier.reloading()
                    self._reload()
                    self._children.dismiss_spare()  # it knows the old configuration
                    self._notifier.ready(self._status())
                case signal.SIGUSR1:
                    self._report()

    def _stop(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if not self._stopping:
            self._stopping = True
            self._children.dismiss_spare()
            for listener in self._listeners:
                listener.close()
            self._listeners = []
            log.info("stopping, %s associations left", self._count())
            self._notifier.stopping(f"stopping, {self._count()} associations left")
        self._terminate_at = now if at_once else now + self._settings.grace

    def _keep_time(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        if self._terminate_at is not None and now >= self._terminate_at:
            # A child told to terminate aborts its association; one that cannot is killed.
            self._terminate_at = None
            self._kill_at = now + _KILL_DELAY
            self._children.signal(signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + _KILL_DELAY
            self._children.signal(signal.SIGKILL)
        if self._rush.is_over(now):
            self._children.dismiss_spare()
        if self._status_at is not None and now >= self._status_at:
            self._status_at = None
            self._status_sent = now
            self._notifier.status(self._status())
        if self._watchdog_at is not None and now >= self._watchdog_at:
            assert self._notifier.watchdog_interval is not None
            self._watchdog_at = now + self._notifier.watchdog_interval
            self._notifier.watchdog()

    def _reap(self) -> None:
        for ended in self._children.reap():
            complaint = ended.complaint()
            if ended.denied:
                self.deny(ended.peer)
            elif complaint is not None:
                log.error("%s (%s)", complaint, self._count())
            elif log.isEnabledFor(logging.DEBUG):
                log.debug("child %d for %s has ended (%s)", ended.pid, ended.peer, self._count())
        if not self._children:
            self._idle_since = time.monotonic()
        self._show()

    def _report(self) -> None:
        """Log the status line that SIGUSR1 asks for, whatever the log level."""
        text = (
            f"status: {self._status()}, {self._served} served, {self._rejected} rejected,"
            f" {self._denied} denied in {time.monotonic() - self._started:.0f} s"
        )
        log.handle(log.makeRecord(log.name, logging.INFO, "", 0, text, (), None))

    def _status(self) -> str:
        if self._stopping:
            return f"stopping, {self._count()} associations left"
        return f"listening {self._names}, {self._count()} associations"

    def _count(self) -> str:
        count, limit = len(self._children.serving), self._settings.limit
        return f"{count}/{limit}" if limit else str(count)

    def _show(self) -> None:
        """Show the number of associations to ps(1), and to the service manager before long."""
        title.master(
            self._settings.program, self._names, len(self._children.serving), self._settings.limit
        )
        if self._notifier.active and self._status_at is None:
            self._status_at = self._status_sent + _STATUS_INTERVAL
