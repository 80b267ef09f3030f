"""The processes that serve peers, as their master keeps count of them."""

import os
import signal
from typing import NamedTuple

from storescpd.spare import Spare

EXIT_DENIED = 77
"""Exit status of a child whose peer the access control did not let in (sysexits(3))."""


class Ended(NamedTuple):
    """A child that has ended: its number, its peer, and its status as waitpid(2) gives it."""

    pid: int
    peer: str
    status: int

    def complaint(self) -> str | None:
        """What went wrong with the child, in words; None if nothing did."""
        if os.WIFSIGNALED(self.status):
            how = f"was killed by {_signal_name(os.WTERMSIG(self.status))}"
        elif code := os.WEXITSTATUS(self.status):
            how = f"failed with exit status {code}"
        else:
            return None
        return f"child {self.pid} for {self.peer} {how}"

    @property
    def denied(self) -> bool:
        """Whether access control turned the peer away."""
        return os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status) == EXIT_DENIED


class Children:
    """The children by process id, each with its peer.

    Those that serve an association and those that only reject one are counted apart: the
    rejections must not use up what is meant for associations. ``spare`` has no peer yet.
    """

    def __init__(self) -> None:
        self.spare: Spare | None = None
        self._leaving: set[int] = set()  # spares that were let go
        self.serving: dict[int, str] = {}
        self.rejecting: dict[int, str] = {}

    def __bool__(self) -> bool:
        return bool(self.serving or self.rejecting)

    def of_peer(self, peer: str) -> int:
        """How many associations of a peer are being served."""
        return sum(one == peer for one in self.serving.values())

    def reap(self) -> list[Ended]:
        """Collect those that have ended; never blocks."""
        ended = []
        while self or self.spare is not None or self._leaving:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if self.spare is not None and pid == self.spare.pid:
                self.dismiss_spare()
            self._leaving.discard(pid)
            peer = self.serving.pop(pid, None) or self.rejecting.pop(pid, None)
            if peer is not None:
                ended.append(Ended(pid, peer, status))
        return ended

    def take_spare(self) -> Spare | None:
        """Return the waiting child, which is not spare any more."""
        spare, self.spare = self.spare, None
        return spare

    def dismiss_spare(self) -> None:
        """Let the waiting child go, if there is one."""
        spare = self.take_spare()
        if spare is not None:
            spare.dismiss()
            self._leaving.add(spare.pid)

    def see_off(self) -> None:
        """Wait for the spares that were let go: whoever waits for the master waits for all."""
        self.dismiss_spare()
        for pid in self._leaving:
            # It has nothing to finish, and shall not keep us.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._leaving.clear()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of them."""
        for pid in (*self.serving, *self.rejecting):
            # Not reaped yet, so the number still belongs to our child.
            os.kill(pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # One of the real-time signals, which have only numbers.
        return f"signal {number}"
