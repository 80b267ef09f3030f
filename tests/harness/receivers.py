"""Start and stop storage SCPs: the daemon under test, or the reference in its place."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from harness.processes import (
    PATIENCE,
    children_of,
    command_line,
    free_port,
    is_listening,
    session_members,
    signal_session,
    wait_until,
)

OURS = "storescpd"
REFERENCE = "dcmtk"

# Two programs of the reference wait for each other's delayed acknowledgements, 80 ms an object.
WITHOUT_NAGLE = {"TCP_NODELAY": "1"}


def dcmtk(program: str) -> str:
    """Return the path of a DCMTK program of the distribution; AssertionError if there is none."""
    path = shutil.which(program, path="/usr/bin:/usr/local/bin")
    assert path, f"{program} is missing: install the package dcmtk"
    return path


def dcmtk_is_installed() -> bool:
    """Tell whether both reference programs are there."""
    return all(
        shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescp", "dcmdump")
    )


def dcmtk_version() -> tuple[int, ...]:
    """Return the version of the reference: Debian 12 has (3, 6, 7), Debian 13 (3, 6, 9)."""
    said = subprocess.run([dcmtk("storescp"), "--version"], capture_output=True, text=True).stdout
    found = re.search(r" v(\d+)\.(\d+)\.(\d+)", said)
    assert found, said
    return tuple(map(int, found.groups()))


def argv(flavour: str) -> list[str]:
    """Return how a receiver of this flavour is called, without options."""
    return [sys.executable, "-m", "storescpd"] if flavour == OURS else [dcmtk("storescp")]


class Receiver:
    """A running storage SCP: its folder, its port, and all that it said on stderr.

    It is started as leader of a session, which is how leftover children are found.
    """

    def __init__(
        self,
        flavour: str,
        scratch: Path,
        *options: str,
        folder: Path | None = None,
        port: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.flavour = flavour
        self.scratch = scratch
        self.folder = folder or scratch / "received"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.seen = 0  # how much of the log a test has dealt with
        self._log = scratch / "stderr"
        self._stdout = scratch / "stdout"
        command = [*argv(flavour), *options, "-od", str(self.folder), str(self.port)]
        with self._log.open("ab") as log, self._stdout.open("ab") as stdout:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=log,
                cwd=scratch,
                env={**os.environ, **WITHOUT_NAGLE, **(environment or {})},
                start_new_session=True,
            )
        try:
            wait_until(
                lambda: self._is_ready() or self.process.poll() is not None,
                f"{' '.join(command)} is ready",
            )
            assert self.process.poll() is None, f"ended at once: {self.log()}"
        except AssertionError:
            self.kill()
            raise

    def _is_ready(self) -> bool:
        # Ours changes its title when all of its start-up is behind it.
        return is_listening(self.port) and (
            self.flavour != OURS or ": master [" in command_line(self.pid)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self.stop()
        else:
            self.kill()

    @property
    def pid(self) -> int:
        """Process id of the master."""
        return self.process.pid

    def log(self, since: int = 0) -> str:
        """Return what was written to stderr, from an earlier ``mark`` on."""
        return self._log.read_bytes()[since:].decode("utf-8", "replace")

    def stdout(self) -> str:
        """Return what was written to stdout."""
        return self._stdout.read_text()

    def mark(self) -> int:
        """Return where the log ends now."""
        return self._log.stat().st_size

    def wait_for_log(self, *texts: str, since: int = 0) -> str:
        """Wait until every text stands in the log, and return the log."""
        for text in texts:
            try:
                wait_until(lambda text=text: text in self.log(since), text)  # type: ignore[misc]
            except AssertionError as error:
                raise AssertionError(f"{error} in the log:\n{self.log(since)}") from None
        return self.log(since)

    def children(self) -> list[int]:
        """Return the living children."""
        return children_of(self.pid)

    def serving(self) -> list[int]:
        """Return the children that have a connection; ours may have a spare one beside them."""
        found = []
        for pid in self.children():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                title = command_line(pid)
                if ": waiting for a connection" not in title and ": master [" not in title:
                    found.append(pid)
        return found

    def wait_for_children(self, count: int) -> list[int]:
        """Wait until so many children serve (or for 0: none lives); return their process ids."""
        some = self.serving if count else self.children
        wait_until(lambda: len(some()) == count, f"{count} children of {self.pid}")
        return some()

    def names(self) -> list[str]:
        """Return all names below the folder, hidden and partial ones included."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if not path.is_dir()
        )

    def stored(self, sop_instance: str) -> bytes:
        """Return the content of the one file that holds this instance, by its default name."""
        names = [name for name in self.names() if name.endswith("." + sop_instance)]
        assert len(names) == 1, f"{sop_instance} is not stored once: {self.names()}"
        return (self.folder / names[0]).read_bytes()

    def holds(self, sop_instance: str) -> bool:
        """Tell whether anything in the folder carries this instance's name."""
        whole = re.compile(re.escape(sop_instance) + r"(?!\d)")
        return any(whole.search(name) for name in self.names())

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the master, and only the master."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the master to end, and return its exit code (negative: a signal)."""
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End the daemon with TERM; nothing may be left of it, and no traceback in its log."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        code = self.wait()
        if self.flavour == OURS:
            assert code in (0, -signal.SIGKILL), f"exit code {code} after TERM: {self.log()}"
            wait_until(lambda: not session_members(self.pid), f"children of {self.pid} are gone")
        else:
            signal_session(self.pid, signal.SIGTERM)
        assert_no_traceback(self.log())

    def kill(self) -> None:
        """End everything that belongs to the daemon, whatever state it is in."""
        signal_session(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)


def assert_no_traceback(text: str) -> None:
    """Fail if a Python traceback stands in something that a program said."""
    assert "Traceback" not in text, text
    assert "Exception ignored" not in text, text
