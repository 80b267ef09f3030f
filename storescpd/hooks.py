"""Commands of the administrator that follow an object or the end of a study.

They are run by ``/bin/sh -c`` (storescp(1), ``--exec-on-reception``, ``--exec-on-eostudy``).
What peers say reaches a command line only through an allow-list, so it cannot mean anything
to the shell: everything else becomes ``_``. The same facts, unchanged, are in the environment,
which no shell parses: ``STORESCPD_PATH``, ``_FILE``, ``_CALLING_AET``, ``_CALLED_AET``,
``_PEER``, ``_SOP_CLASS``, ``_SOP_INSTANCE`` and ``_STUDY``.

``#p`` and ``#f`` are different: with another character they would name another file. They are
inserted as they are, blanks included, so that both ``cd "#p"`` and ``cd #p`` do what they always
did. What peers say is in file names through an allow-list already; the rest is the administrator's.
If it has a character that a shell could act on, with or without quotes, it is not inserted: the
command is not run, and the log says that the variable takes anything.
"""

import errno
import logging
import os
import re
import signal
import string
import time
from contextlib import suppress
from typing import NamedTuple

from dcmstore.text import printable
from storescpd.signals import Breakable, Stopped

log = logging.getLogger("dcmtk.apps.storescp")

SHELL = "/bin/sh"
# Commands that run at the same time before reception waits for one of them to end. Peers decide
# how many objects there are; this is what they can make of it.
RUNNING_MAX = 1024
VARIABLE_MAX = 1024  # characters of a fact that a peer sent

_PATIENCE = 0.02  # seconds between two looks at running commands when there are too many
_HARMLESS_PATH = re.compile(r"[\w/.,:@%+ -]*")
_TITLE = frozenset(string.ascii_letters + string.digits + " -.:@")
_HOST = frozenset(string.ascii_letters + string.digits + "-.:_")
_PLACES = {"#p": "STORESCPD_PATH", "#f": "STORESCPD_FILE"}
_VARIABLES = {"calling": "CALLING_AET", "called": "CALLED_AET"}
_DEFAULT_SIGNALS = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Facts(NamedTuple):
    """What a command may know.

    ``path`` and ``file`` are None if nothing is kept (``--ignore``): the placeholders stay. An
    empty ``file`` is an object that never got a name, for want of a Study Instance UID.
    """

    path: str | None
    file: str | None
    calling: str
    called: str
    peer: str
    sop_class: str | None = None
    sop_instance: str | None = None
    study: str | None = None


class UnsafePathError(Exception):
    """A path or file name ``text`` holds what a shell could act on; ``mark`` stands for it."""

    def __init__(self, mark: str, text: str) -> None:
        super().__init__(text)
        self.mark = mark
        self.text = text


class Hooks:
    """The two commands of a daemon, and those of their processes that are still running."""

    def __init__(self, on_reception: str | None, on_eostudy: str | None, wait: bool) -> None:
        """``wait`` for each command to end, instead of leaving it behind to be reaped."""
        self._on_reception = on_reception
        self._on_eostudy = on_eostudy
        self._wait = wait
        self._running: set[int] = set()

    def received(self, facts: Facts) -> None:
        """Run the command that follows each object; what goes wrong is logged."""
        if self._on_reception is None or facts.file == "":
            return
        warnings: list[str] = []
        self._run("--exec-on-reception", self._on_reception, facts, warnings)
        for warning in warnings:
            log.warning("%s", warning)

    def study_ended(self, facts: Facts) -> None:
        """Run the command that follows the end of a study; it is told of no file."""
        if self._on_eostudy is not None:
            self._run("--exec-on-eostudy", self._on_eostudy, facts._replace(file=None), [])

    def reap(self) -> int:
        """Collect the commands that have ended; return how many still run. Never blocks."""
        for pid in tuple(self._running):
            self._collect(pid)
        return len(self._running)

    def _run(self, option: str, template: str, facts: Facts, warnings: list[str]) -> None:
        self._make_room()
        try:
            pid = _spawn(substitute(template, facts, warnings), environment(facts))
        except UnsafePathError as error:
            log.error(
                "command of %s not run, a shell could act on characters of %s;"
                ' in place of %s, "$%s" may hold anything',
                option,
                printable(error.text),
                error.mark,
                _PLACES[error.mark],
            )
            return
        except OSError as error:
            log.error("cannot run command of %s: %s", option, error.strerror)
            return
        self._running.add(pid)
        if self._wait:
            self._wait_for(pid)

    def _make_room(self) -> None:
        with suppress(Stopped):
            while self.reap() >= RUNNING_MAX:
                with Breakable():
                    time.sleep(_PATIENCE)

    def _wait_for(self, pid: int) -> None:
        """Wait for a command to end, unless we are to end before: then it is left behind."""
        # Somebody who waits for any child may have collected it.
        with suppress(Stopped, ChildProcessError), Breakable():
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        self._collect(pid)

    def _collect(self, pid: int) -> None:
        try:
            ended, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            # Somebody who waits for any child has collected it.
            self._running.discard(pid)
            return
        if ended:
            self._running.discard(pid)
            code = os.waitstatus_to_exitcode(status)
            reason = f"by signal {-code}" if code < 0 else f"with status {code}"
            log.debug("command in process %d ended %s", pid, reason)


def substitute(template: str, facts: Facts, warnings: list[str]) -> str:
    """Return the command line with ``#p #f #a #c #r`` replaced, every occurrence of each.

    Adds a warning for each value that the allow-list changed. Raises UnsafePathError.
    """
    command = template
    # In this order: what a value leaves in front of later text may be a placeholder again.
    for mark, place in zip(_PLACES, (facts.path, facts.file), strict=True):
        if mark in command and place is not None:
            if not _HARMLESS_PATH.fullmatch(place):
                raise UnsafePathError(mark, place)
            command = command.replace(mark, place)
    for mark, what, value, reduced, form in (
        ("#a", "calling aetitle", facts.calling, _reduce_title, '"{}"'),
        ("#c", "called aetitle", facts.called, _reduce_title, '"{}"'),
        ("#r", "peer name", facts.peer, _reduce_host, "{}"),
    ):
        if mark not in command or value is None:
            continue
        safe = reduced(value)
        if safe != value:
            warnings.append(
                f"Sanitized unusual characters in {what},"
                f' converted from "{printable(value)}" to "{safe}".'
            )
        command = command.replace(mark, form.format(safe))
    return command


def environment(facts: Facts) -> dict[bytes, bytes]:
    """Return the daemon's environment and the facts that are known, as they are.

    They are without NUL; what a peer sent is cut after ``VARIABLE_MAX`` characters.
    """
    variables = dict(os.environb)
    for field, value in facts._asdict().items():
        name = b"STORESCPD_" + _VARIABLES.get(field, field.upper()).encode()
        variables.pop(name, None)
        if value is None:
            continue
        if field in ("path", "file"):
            variables[name] = os.fsencode(value)
        else:
            # Decoded as Latin-1 on arrival, so these are the bytes that the peer sent.
            clean = value[:VARIABLE_MAX].replace("\0", "")
            variables[name] = clean.encode("latin-1", "replace")
    return variables


def _reduce_title(title: str) -> str:
    return "".join(c if c in _TITLE else "_" for c in title)


def _reduce_host(host: str) -> str:
    # Names come from the peer's DNS; one that looks like an option is none.
    name = "".join(c if c in _HOST else "_" for c in host)
    return "_" + name[1:] if name.startswith("-") else name


def _spawn(command: str, variables: dict[bytes, bytes]) -> int:
    """Start the shell and return its process number. Raises OSError.

    It gets default signals, nothing to read, and no descriptor but the standard ones.
    """
    actions: list[tuple[int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    ]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited_descriptors()]
    return os.posix_spawn(
        SHELL,
        ("sh", "-c", command),
        variables,
        file_actions=actions,
        setsigmask=(),
        setsigdef=_DEFAULT_SIGNALS,
    )


def _inherited_descriptors() -> list[int]:
    # Python's own are closed on exec. One that was handed to us (a listener of the service
    # manager) need not be.
    inherited = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            try:
                if os.get_inheritable(fd):
                    inherited.append(fd)
            except OSError as error:
                # The one that listed the folder is gone by now.
                if error.errno != errno.EBADF:
                    raise
    return inherited
