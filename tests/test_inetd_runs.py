"""The daemon as a child of inetd: one association on descriptor 0, and nothing but DICOM there."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer
from harness.processes import PATIENCE
from harness.receivers import OURS, REFERENCE, argv


class Inetd:
    """Start a receiver the way inetd does, with a connected socket as descriptors 0, 1 and 2."""

    def __init__(
        self,
        flavour: str,
        folder: Path,
        *options: str,
        family: str = "pair",
        stderr: int | None = None,
    ) -> None:
        if family == "pair":
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                ours = socket.create_connection(listener.getsockname())
                theirs, _ = listener.accept()
        self.process = subprocess.Popen(
            [*argv(flavour), "--inetd", *options, "-od", str(folder)],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=theirs.fileno() if stderr is None else stderr,
        )
        theirs.close()
        self.peer = Peer(ours)

    def wait(self) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.peer.socket.close()


VERBOSITY = [(), ("-v",), ("-d",), ("-ll", "trace"), ("-d", "+v")]


@pytest.mark.parametrize("verbosity", VERBOSITY, ids=" ".join)
@pytest.mark.parametrize(
    ("family", "flavour"),
    [("pair", OURS), ("tcp", OURS), ("tcp", REFERENCE)],  # the reference wants a TCP socket
)
def test_one_association(
    tmp_path: Path, reference: str, family: str, flavour: str, verbosity: tuple[str, ...]
) -> None:
    del reference
    thing = small(pixels=3000)
    inetd = Inetd(flavour, tmp_path, *verbosity, family=family)
    inetd.peer.associate()
    assert inetd.peer.store(thing) == 0
    inetd.peer.echo(2)
    inetd.peer.send(wire.release_rq())
    inetd.peer.expect(wire.RELEASE_RP)
    inetd.peer.socket.shutdown(socket.SHUT_WR)
    inetd.peer.expect_closed()  # and not a byte of a log before it
    assert inetd.wait() == 0
    (path,) = tmp_path.iterdir()
    assert split_part10(path.read_bytes()).data == thing.data


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="http"),
        pytest.param(wire.associate_rq([(1, wire.CT, ())]), id="malformed"),
    ],
)
def test_failed_association_is_no_failure_of_the_program(
    flavour: str, tmp_path: Path, sent: bytes
) -> None:
    inetd = Inetd(flavour, tmp_path, "-d", "-ta", "1", family="tcp")
    inetd.peer.send(sent)
    inetd.peer.socket.shutdown(socket.SHUT_WR)
    inetd.peer.expect_closed()
    assert inetd.wait() == 0


def test_aborted_association(flavour: str, tmp_path: Path) -> None:
    inetd = Inetd(flavour, tmp_path, "-d", family="tcp")
    inetd.peer.associate()
    inetd.peer.begin_store(small(pixels=1000), 500)
    inetd.peer.send(wire.abort())
    inetd.peer.expect_closed()
    assert inetd.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_port_is_ignored(flavour: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with (tmp_path / "stderr").open("wb") as stderr:
        inetd = Inetd(flavour, folder, "99", family="tcp", stderr=stderr.fileno())
    inetd.peer.associate()
    inetd.peer.release()
    assert inetd.wait() == 0
    assert (tmp_path / "stderr").read_text() == ""  # by then it is the null device


def _run(
    flavour: str, folder: Path, *options: str, closed: bool
) -> "subprocess.CompletedProcess[bytes]":
    command = [*argv(flavour), "--inetd", *options, "-od", str(folder)]
    if closed:
        # The shell closes descriptor 0; Python would open something else there.
        command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
    )


def test_closed_standard_input(flavour: str, tmp_path: Path) -> None:
    assert _run(flavour, tmp_path, closed=True).returncode == 99


def test_standard_input_that_is_no_socket(flavour: str, tmp_path: Path) -> None:
    done = _run(flavour, tmp_path, closed=False)
    assert done.returncode == 0
    assert done.stdout == b""
    if flavour == OURS:  # the reference has no standard error any more
        said = b"E: Receiving Association failed: standard input is not a socket\n"
        assert done.stderr == said


def test_listener_that_is_no_socket() -> None:
    done = subprocess.run(
        [*argv(OURS), "--inetd-wait"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == b"E: cannot create network: standard input is not a socket\n"


@pytest.mark.parametrize("option", ["--fork", "--exec-on-eostudy", "--rename-on-eostudy"])
def test_options_that_inetd_excludes(flavour: str, tmp_path: Path, option: str) -> None:
    value = ("x",) if option == "--exec-on-eostudy" else ()
    done = _run(flavour, tmp_path, option, *value, closed=False)
    assert done.returncode == 1


def test_nothing_reaches_the_peer_when_the_folder_is_missing(tmp_path: Path) -> None:
    inetd = Inetd(OURS, tmp_path / "missing", "-d")
    inetd.peer.expect_closed()
    assert inetd.wait() == 1


def test_environment_of_inetd(tmp_path: Path) -> None:
    """inetd gives programs next to no environment, and / as the working directory."""
    ours, theirs = socket.socketpair()
    path = os.environ.get("PYTHONPATH")  # where the package is run from without being installed
    process = subprocess.Popen(
        [sys.executable, "-m", "storescpd", "--inetd", "-od", str(tmp_path)],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=theirs.fileno(),
        env={"PATH": os.defpath} | ({"PYTHONPATH": path} if path else {}),
        cwd="/",
    )
    theirs.close()
    with Peer(ours) as peer:
        peer.associate()
        peer.echo()
        peer.release()
    assert process.wait(PATIENCE) == 0
