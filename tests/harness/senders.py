"""Run senders: storescu under test, the reference's storescu, or pynetdicom."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pynetdicom import AE, _config
from pynetdicom.association import Association

from harness.processes import wait_until
from harness.receivers import OURS, WITHOUT_NAGLE, assert_no_traceback, dcmtk

TIME_LIMIT = 60.0  # seconds, after which a sender has certainly hung


class Sent:
    """What a sender's run left: exit code, stdout and stderr."""

    def __init__(self, process: "subprocess.CompletedProcess[bytes]") -> None:
        self.code = process.returncode
        self.stdout = process.stdout.decode("utf-8", "replace")
        self.stderr = process.stderr.decode("utf-8", "replace")
        assert_no_traceback(self.stderr)


def argv(flavour: str) -> list[str]:
    """Return how a sender of this flavour is called, without options."""
    return [sys.executable, "-m", "storescu"] if flavour == OURS else [dcmtk("storescu")]


def run(
    flavour: str,
    *arguments: str,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> Sent:
    """Run a sender with these arguments to its end."""
    return Sent(
        subprocess.run(
            [*argv(flavour), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=cwd,
            env={**os.environ, **WITHOUT_NAGLE, **(environment or {})},
            timeout=TIME_LIMIT,
            check=False,
        )
    )


def send(flavour: str, port: int, files: Iterable[Path | str], *options: str) -> Sent:
    """Send files to a receiver on the loopback interface."""
    return run(flavour, *options, "127.0.0.1", str(port), *map(str, files))


def start(
    flavour: str,
    port: int,
    files: Iterable[Path | str],
    *options: str,
    host: str = "127.0.0.1",
    environment: dict[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a sender that the test answers by hand; its caller waits for it."""
    return subprocess.Popen(
        [*argv(flavour), *options, host, str(port), *map(str, files)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )


def finish(process: "subprocess.Popen[bytes]") -> Sent:
    """Wait for a started sender and return what it left."""
    stdout, stderr = process.communicate(timeout=TIME_LIMIT)
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout or b"", stderr)
    return Sent(done)


class _StayPaused(threading.Event):
    """A checkpoint that never lets pynetdicom's reactor go on.

    Its ``send_c_store`` lets the reactor go at its end and stops it at its next beginning. When
    that is sooner than the reactor's thread gets to run, the reactor takes the next response,
    throws it away, and the caller waits for it in vain: fast receivers show this now and then.
    """

    def set(self) -> None:
        """Do nothing."""

    def clear(self) -> None:
        """Do nothing."""


@contextmanager
def _paused_reactor(association: Association) -> Iterator[None]:
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    time.sleep(0.02)  # a reactor that was just let go is on its way round once more
    wait_until(lambda: association._is_paused, "pynetdicom's reactor pauses")
    association._reactor_checkpoint = _StayPaused()
    yield
    association._reactor_checkpoint = checkpoint
    checkpoint.set()


def pynetdicom_send(
    port: int, files: Sequence[Path], contexts: dict[str, list[str]]
) -> list[int | None]:
    """Send files as they are, their data set bytes untouched; None where no response came.

    An association that the receiver aborts is followed by another for the files that are left.
    """
    entity = AE(ae_title="PYNETDICOM")
    for sop_class, syntaxes in contexts.items():
        entity.add_requested_context(sop_class, syntaxes)
    statuses: list[int | None] = []
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        while len(statuses) < len(files):
            association = entity.associate("127.0.0.1", port)
            assert association.is_established, "pynetdicom was not let in"
            with _paused_reactor(association):
                for path in files[len(statuses) :]:
                    answer = association.send_c_store(path)
                    statuses.append(int(answer.Status) if "Status" in answer else None)
                    if statuses[-1] is None:
                        break
            association.release()
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = False
    return statuses
