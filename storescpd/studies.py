"""End of study: which study is being received, when it is over, and what its files are then called.

DICOM storage knows no end of a study. It is taken to be over when an object of another study
has come in, or when nothing has come in for a while (storescp(1), ``--eostudy-timeout``).
"""

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

# A sender needs a moment between two objects. With a time-out of 0 taken by the letter, nearly
# every object would be a study of its own.
SHORTEST_TIMEOUT = 1.0

_NUMBERED = re.compile(r"..([0-9]{6,})", re.DOTALL)


class Finished(NamedTuple):
    """A study that is over: its UID, its folder, and the files to rename in storage order."""

    study: str
    folder: str
    names: tuple[str, ...]


class Studies:
    """Keeps track of the one study that is open.

    For each object the caller asks for its ``folder``, or lets a study ``begin``; tells what was
    ``stored``; and after the response takes what has ``ended``. Between commands and associations
    it waits for at most ``wait`` seconds, and says when that was in vain (``idle``).
    """

    def __init__(self, timeout: float | None, remember: bool) -> None:
        """``timeout`` is in seconds, None for none; names are kept only to ``remember`` them."""
        self._timeout = None if timeout is None else max(timeout, SHORTEST_TIMEOUT)
        self._remember = remember
        self._open: tuple[str, str] | None = None
        # A dictionary for its order: a name that is stored twice is one file.
        self._names: dict[str, None] = {}
        self._ended: list[Finished] = []
        self._deadline: float | None = None

    def folder(self, study: str) -> str | None:
        """Return the folder for an object of the study; None if that study is not the open one."""
        if self._open is not None and self._open[0] == study:
            return self._open[1]
        return None

    def begin(self, study: str, folder: str) -> None:
        """Open a study, which ends the one that was open; unless that is the same in its folder.

        Then only the folder has been made anew, and the study goes on.
        """
        if self._open != (study, folder):
            self._close()
            self._open = (study, folder)

    def stored(self, name: str) -> None:
        """Remember the file as one of the open study."""
        if self._remember:
            self._names[name] = None

    def ended(self) -> list[Finished]:
        """Return the studies that ended since the last call, oldest first."""
        ended, self._ended = self._ended, []
        return ended

    def touch(self, now: float) -> None:
        """A command has been served: the time-out starts anew. ``now`` is a monotonic clock."""
        if self._timeout is not None and self._open is not None:
            self._deadline = now + self._timeout

    def wait(self, now: float) -> float | None:
        """Return the seconds left of the time-out, None to wait for ever: no study is open."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - now)

    def idle(self, now: float) -> None:
        """Nothing has come in until ``now``: the open study ends if its time is up.

        It is forgotten, so that one more object of it opens it anew.
        """
        if self._deadline is not None and now >= self._deadline:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._ended.append(Finished(*self._open, tuple(self._names)))
        self._open = self._deadline = None
        self._names = {}


def numbered(names: Iterable[str], present: Iterable[str], time_names: bool) -> dict[str, str]:
    """Return the new name, ``XXNNNNNN``, for each name of a finished study.

    XX is what the modality prefix starts with; it is in front, or behind the time stamp of
    ``--timenames``. NNNNNN counts from 1, or on from the highest number among the names
    ``present`` in the folder: a study that is continued must not lose what it had.
    """
    matches = (_NUMBERED.fullmatch(name) for name in present)
    number = max((int(match[1]) for match in matches if match), default=0)
    renamed = {}
    for name in names:
        number += 1
        prefix = name.partition(".")[2] if time_names else name
        renamed[name] = f"{prefix[:2]}{number:06d}"
    return renamed


def rename(finished: Finished, time_names: bool) -> list[str]:
    """Rename the files of a finished study (``--rename-on-eostudy``); return what to warn of.

    What is in the way under a new name stays; only this process numbers files in the folder, as
    the option excludes ``--fork``.
    """
    try:
        present = os.listdir(finished.folder)
    except OSError as error:
        return [f"cannot rename files in '{finished.folder}': {error.strerror}"]
    warnings = []
    for old, new in numbered(finished.names, present, time_names).items():
        source = os.path.join(finished.folder, old)
        target = os.path.join(finished.folder, new)
        try:
            if os.path.lexists(target):
                raise FileExistsError
            os.rename(source, target)
        except OSError:
            warnings.append(f"cannot rename file '{source}' to '{target}'")
    return warnings
