"""What follows an object when its sender has been answered: commands, and the end of a study."""

import logging
import socket
import time
from collections.abc import Callable

from dcmstore.command import StoreRequest
from storescpd.hooks import Facts, Hooks
from storescpd.storage import Incoming
from storescpd.studies import Finished, Studies, rename

log = logging.getLogger("dcmtk.apps.storescp")

Clock = Callable[[], float]


class Events:
    """The events of a process, from one association to the next.

    Tell it whom it deals with (``meet``), of each object (``received``), of other commands
    (``served``), and of silence (``idle``), for which ``wait`` says how long it takes.
    """

    def __init__(
        self,
        hooks: Hooks | None,
        studies: Studies | None,
        *,
        renames: bool,
        time_names: bool,
        looks_up: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        """``studies`` is there if objects are sorted; ``looks_up`` allows to ask for host names."""
        self._hooks = hooks
        self._studies = studies
        self._renames = renames
        self._time_names = time_names
        self._looks_up = looks_up
        self._clock = clock
        self._calling = self._called = ""
        self._address = "unknown"
        self._host: str | None = None

    def meet(self, calling: str, called: str, address: str) -> None:
        """An association has begun; what happens from now on is told of it."""
        self._calling, self._called = calling, called
        if address != self._address:
            self._address, self._host = address, None

    def received(self, request: StoreRequest, incoming: Incoming) -> None:
        """An object's sender has been answered."""
        if self._hooks is not None:
            self._hooks.received(
                self._facts(
                    path=incoming.folder,
                    file=None if incoming.folder is None else incoming.name,
                    sop_class=request.sop_class,
                    sop_instance=request.sop_instance,
                    study=incoming.study,
                )
            )
        self._end_studies()
        self.served()

    def served(self) -> None:
        """A command has been served, so time begins to run anew."""
        if self._studies is not None:
            self._studies.touch(self._clock())

    def wait(self) -> float | None:
        """Return for how many seconds from now to wait before ``idle``; None for ever."""
        return None if self._studies is None else self._studies.wait(self._clock())

    def idle(self) -> None:
        """Nothing has come in until now."""
        if self._studies is not None:
            self._studies.idle(self._clock())
            self._end_studies()

    def _end_studies(self) -> None:
        if self._studies is not None:
            for finished in self._studies.ended():
                self._end_study(finished)

    def _end_study(self, finished: Finished) -> None:
        if self._renames:
            for warning in rename(finished, self._time_names):
                log.warning("%s", warning)
        if self._hooks is not None:
            self._hooks.study_ended(
                self._facts(path=finished.folder, file=None, study=finished.study)
            )

    def _facts(
        self,
        path: str | None,
        file: str | None,
        study: str | None,
        sop_class: str | None = None,
        sop_instance: str | None = None,
    ) -> Facts:
        return Facts(
            path=path,
            file=file,
            calling=self._calling,
            called=self._called,
            peer=self._peer(),
            sop_class=sop_class,
            sop_instance=sop_instance,
            study=study,
        )

    def _peer(self) -> str:
        """The peer's host name up to its first dot, its address if it has none."""
        if not self._looks_up:
            return self._address
        if self._host is None:
            self._host = host_name(self._address)
        return self._host


def host_name(address: str) -> str:
    """Return the name of a host without its domain, or the address as it is. May ask DNS."""
    try:
        name, _ = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
    except (OSError, UnicodeError):
        # There is no name, or no address, or nobody to ask.
        return address
    return name.partition(".")[0] or address
