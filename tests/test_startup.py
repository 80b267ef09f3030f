"""Starting: what is imported, and how bad options, folders and ports are told."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.objects import small, write_part10
from harness.peer import Peer, store_one
from harness.processes import PATIENCE, free_port, is_listening, wait_until
from harness.receivers import OURS, Receiver, argv, assert_no_traceback
from harness.scripted import ScriptedReceiver, serve

import dcmstore

# What costs time or memory that every inetd association would pay.
HEAVY = {
    "pydicom",
    "pynetdicom",
    "numpy",
    "ssl",
    "dataclasses",
    "inspect",
    "asyncio",
    "subprocess",
    "pathlib",
    "importlib.metadata",
    "importlib.resources",
}
# Of ours, what nobody needs without TLS.
TLS = {
    f"dcmstore.{path.stem}"
    for pattern in ("tls*", "cert*", "cipher*", "keyfiles*", "libssl*", "clienthello*", "der*")
    for path in Path(dcmstore.__file__).parent.glob(f"{pattern}.py")
}

_RUN = """
import sys
import logging  # which brings some of them in newer versions of Python
before = set(sys.modules)
sys.argv = sys.argv[2:]
from {package}.main import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
finally:
    with open({out!r}, "w") as stream:
        stream.write("\\n".join(sorted(set(sys.modules) - before)))
sys.exit(code)
"""


def _command(package: str, out: Path, *arguments: str) -> list[str]:
    script = _RUN.format(package=package, out=str(out))
    return [sys.executable, "-c", script, "--", package, *arguments]


def _imported(out: Path) -> set[str]:
    names = set(out.read_text().split())
    assert "dcmstore.connection" in names, "the list is not what it should be"
    return names


@pytest.mark.parametrize("mode", ["-B", "+B"])
def test_imports_of_an_inetd_run(tmp_path: Path, mode: str) -> None:
    ours, theirs = socket.socketpair()
    folder = tmp_path / "received"
    folder.mkdir()
    command = _command("storescpd", tmp_path / "modules", "--inetd", mode, "-od", str(folder))
    process = subprocess.Popen(command, stdin=theirs.fileno())
    theirs.close()
    with Peer(ours) as peer:
        peer.associate()
        peer.echo(1)
        assert peer.store(small(), 2) == 0
        peer.release()
    assert process.wait(PATIENCE) == 0
    assert len(list(folder.iterdir())) == 1
    assert _imported(tmp_path / "modules") & (HEAVY | TLS) == set()


@pytest.mark.parametrize("own", [(), ("-R",), ("+C",)])
def test_imports_of_a_sender_run(tmp_path: Path, own: tuple[str, ...]) -> None:
    path = write_part10(tmp_path, small())
    with ScriptedReceiver() as receiver:
        arguments = (*own, "127.0.0.1", str(receiver.port), str(path))
        process = subprocess.Popen(_command("storescu", tmp_path / "modules", *arguments))
        with receiver.accept() as peer:
            (message,) = serve(peer, [0])
    assert process.wait(PATIENCE) == 0
    assert message.data == small(sop_instance=path.stem).data
    assert _imported(tmp_path / "modules") & (HEAVY | TLS) == set()


@pytest.mark.parametrize("package", ["storescpd", "storescu"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_imports_of_help(tmp_path: Path, package: str, option: str) -> None:
    command = _command(package, tmp_path / "modules", option)
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    assert done.stdout
    assert set((tmp_path / "modules").read_text().split()) & {"pydicom", "pynetdicom"} == set()


def run(command: list[str], *arguments: str) -> tuple[int, str]:
    """Run a receiver that must end at once; return its exit code and stderr."""
    done = subprocess.run(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd="/",
    )
    stderr = done.stderr.decode()
    assert_no_traceback(stderr)
    return done.returncode, stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-v",), "error: Missing parameter port"),
        (("0",), "error: Invalid parameter value 0 (underflow)"),
        (("65536",), "error: Invalid parameter value 65536 (overflow)"),
        (("-5",), "error: Invalid parameter value -5 (overflow)"),
        (("http",), "error: Invalid parameter value http"),
        (("104", "105"), "error: Too many parameters"),
        (("--no-such-option", "11112"), "error: Unknown option --no-such-option"),
        (("11112", "-ta"), "error: Missing value for option --acse-timeout"),
        (("-ta", "0", "11112"), "error: Invalid value for option --acse-timeout (underflow: 0)"),
        (("-pdu", "4095", "11112"), "(underflow: 4095)"),
        (("-pdu", "131073", "11112"), "(overflow: 131073)"),
        (("+B", "+te", "11112"), "--write-xfer-little not allowed with --bit-preserving"),
        (("-od", "/no/such/folder", "11112"), "specified output directory does not exist"),
        (("-od", "/etc/passwd", "11112"), "specified output directory does not exist"),
        (("-xf", "/no/such/file", "Default", "11112"), "cannot read config file: "),
        (("@/no/such/file",), "error: Cannot open command file '/no/such/file'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_call(flavour: str, arguments: tuple[str, ...], message: str) -> None:
    code, stderr = run(argv(flavour), *arguments)
    assert code == 1
    assert message in stderr
    lines = [line for line in stderr.splitlines() if line.startswith(("error: ", "F: ", "E: "))]
    assert len(lines) == 1, "one clear message"


def test_no_arguments_show_the_usage(flavour: str) -> None:
    done = subprocess.run(argv(flavour), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0
    assert b"usage: " in done.stdout
    assert done.stderr == b""


IN_USE = "E: cannot create network: 0006:031c TCP Initialization Error: Address already in use\n"


def test_address_in_use(flavour: str, tmp_path: Path) -> None:
    with Receiver(flavour, tmp_path) as receiver:
        assert run(argv(flavour), "-od", "/tmp", str(receiver.port)) == (1, IN_USE)


@pytest.mark.parametrize("option", ["-i4", "-i6", "-i0"])
def test_address_of_a_family_in_use(tmp_path: Path, option: str) -> None:
    with Receiver(OURS, tmp_path, option) as receiver:
        assert run(argv(OURS), option, "-od", "/tmp", str(receiver.port)) == (1, IN_USE)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter and only root can write to."""
    with tempfile.TemporaryDirectory(prefix="storescpd-test-") as name:
        os.chmod(name, 0o755 if os.geteuid() == 0 else 0o555)
        yield Path(name)


NOBODY = 65534
# The interpreter itself may lie where only root can read, so ours changes user when it is loaded.
_DROP_ROOT = (
    "import os, sys, setproctitle, storescpd.run, storescpd.main as program;"
    "storescpd.run.preload();"
    f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY});"
    "sys.argv[0] = 'storescpd'; sys.exit(program.main())"
)


def unprivileged(flavour: str) -> list[str]:
    """Return how to call a receiver that does not run as root."""
    if os.geteuid() != 0:
        return argv(flavour)
    if flavour == OURS:
        return [sys.executable, "-c", _DROP_ROOT]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *argv(flavour)]


def test_folder_that_is_not_writeable(flavour: str, public_folder: Path) -> None:
    code, stderr = run(unprivileged(flavour), "-od", str(public_folder), str(free_port()))
    assert code == 1
    assert stderr.startswith("F: specified output directory is not writeable")
    assert len(stderr.splitlines()) == 1


def test_privileged_port(flavour: str) -> None:
    code, stderr = run(unprivileged(flavour), "-od", "/tmp", "104")
    assert code == 1
    assert stderr == "F: cannot listen on port 104, insufficient privileges\n"


def test_ignore_needs_no_writeable_folder(public_folder: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*unprivileged(OURS), "--ignore", "+B", "-od", str(public_folder), str(port)], cwd="/"
    )
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
        store_one(port)
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert list(public_folder.iterdir()) == []


def test_quiet_suppresses_option_errors_but_not_fatal_ones(flavour: str) -> None:
    code, stderr = run(argv(flavour), "-q", "-ta", "0", "11112")
    assert (code, stderr) == (1, "")
    code, stderr = run(argv(flavour), "-q", "-od", "/no/such/folder", "11112")
    assert code == 1
    assert stderr.startswith("F: specified output directory does not exist")


def test_start_is_silent(flavour: str, tmp_path: Path) -> None:
    with Receiver(flavour, tmp_path, "-v") as receiver:
        assert receiver.log() == ""


HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.mark.parametrize(
    ("option", "served"),
    [
        ("-i4", [socket.AF_INET]),
        ("-i6", [socket.AF_INET6]),
        ("-i0", [socket.AF_INET, socket.AF_INET6]),
    ],
)
def test_address_families(tmp_path: Path, option: str, served: list[socket.AddressFamily]) -> None:
    with Receiver(OURS, tmp_path, option, "--fork") as receiver:
        for family, host in HOSTS.items():
            with socket.socket(family) as link:
                link.settimeout(PATIENCE)
                if family not in served:
                    with pytest.raises(ConnectionRefusedError):
                        link.connect((host, receiver.port))
                    continue
                link.connect((host, receiver.port))
                peer = Peer(link)
                peer.associate()
                peer.release()


@pytest.mark.parametrize("full", [False, True])
def test_end_of_a_process(full: bool) -> None:
    """What was printed is out before the process ends, or it says that it is not."""
    code = "from dcmstore.ending import leave; print('last words'); leave(3)"
    with open("/dev/full", "wb") as device:
        ended = subprocess.run(
            [sys.executable, "-c", code],
            stdout=device if full else subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
    if full:
        assert ended.returncode not in (0, 3)
        assert b"No space left on device" in ended.stderr
    else:
        assert (ended.returncode, ended.stdout) == (3, b"last words\n")


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)], ids=str)
def test_end_without_an_output(closed: tuple[int, ...]) -> None:
    """Who closes standard output or error wants nothing written there, and no failure."""
    descriptors = " ".join(f"{fd}>&-" for fd in closed)
    code = "from dcmstore.ending import leave; leave(3)"
    command = ["sh", "-c", f'exec "$@" {descriptors}', "sh", sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"", b"")
