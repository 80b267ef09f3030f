"""The systemd units, by systemd's own tools, and the daemon under the limits that they set."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from harness import objects, senders
from harness.pki import Pki
from harness.processes import free_port, is_listening, wait_until

SYSTEMD = Path(__file__).parents[1] / "systemd"
SERVICES = ["storescpd.service", "storescpd-inetd@.service"]
SOCKETS = ["storescpd.socket", "storescpd-inetd.socket"]
MOST_EXPOSURE = 1.5


@pytest.fixture(autouse=True)
def _systemd() -> None:
    if shutil.which("systemd-analyze"):
        return
    if os.geteuid() == 0:
        pytest.fail("the package systemd is missing; tests/install-peers installs it")
    pytest.skip("systemd-analyze (package systemd) is missing, and only root can install it")


def settings(unit: str) -> dict[str, list[str]]:
    """Every setting of a unit file with all its values, in order."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Za-z0-9]+", name):
            found.setdefault(name, []).append(value)
    return found


def test_verify(tmp_path: Path) -> None:
    """As installed, but for the program, which need not be on this machine."""
    for unit in (*SERVICES, *SOCKETS):
        text = (SYSTEMD / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/usr/bin/storescpd ", "/usr/bin/true "))
    run = subprocess.run(
        [
            "systemd-analyze",
            "verify",
            "--man=no",
            *(tmp_path / unit for unit in SERVICES + SOCKETS),
        ],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(unit: str) -> None:
    run = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", SYSTEMD / unit],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Overall exposure level .*: ([0-9.]+)", run.stdout)
    assert found, run.stdout
    assert float(found[1]) <= MOST_EXPOSURE


def test_only_the_service_that_binds_keeps_a_capability() -> None:
    standalone, instance = (settings(unit) for unit in SERVICES)
    assert standalone["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    assert standalone["CapabilityBoundingSet"] == ["CAP_NET_BIND_SERVICE"]
    # The capability would be one over a namespace that has no ports.
    assert "PrivateUsers" not in standalone
    assert "AmbientCapabilities" not in instance
    assert instance["CapabilityBoundingSet"] == [""]
    assert instance["PrivateUsers"] == ["yes"]


def test_both_services_are_confined_alike() -> None:
    own = {
        *("Description", "After", "CollectMode", "WantedBy"),
        *("Type", "NotifyAccess", "ExecStart", "ExecReload", "KillMode", "WatchdogSec"),
        *("Restart", "RestartSec", "OOMPolicy"),
        *("StandardInput", "StandardOutput", "StandardError"),
        *("AmbientCapabilities", "CapabilityBoundingSet", "PrivateUsers"),
    }
    standalone, instance = (settings(unit) for unit in SERVICES)
    shared = {name: value for name, value in standalone.items() if name not in own}
    assert shared == {name: value for name, value in instance.items() if name not in own}
    assert shared["StateDirectory"] == ["storescpd"]
    assert shared["NoExecPaths"] == ["/var/lib/storescpd"]


def test_nothing_is_printed_to_the_peer() -> None:
    instance = settings("storescpd-inetd@.service")
    assert instance["StandardInput"] == ["socket"]
    # Left out, both would be the socket too.
    assert instance["StandardOutput"] == instance["StandardError"] == ["journal"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make users and their folders")
def test_user_and_folders(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    for _ in range(2):  # both are run again at each upgrade
        subprocess.run(
            ["systemd-sysusers", f"--root={root}", SYSTEMD / "sysusers.d/storescpd.conf"],
            check=True,
            capture_output=True,
        )
        subprocess.run(
            [
                *("systemd-tmpfiles", "--create", f"--root={root}"),
                SYSTEMD / "tmpfiles.d/storescpd.conf",
            ],
            check=True,
        )
    (entry,) = [
        line.split(":")
        for line in (root / "etc/passwd").read_text().splitlines()
        if line.startswith("storescpd:")
    ]
    uid, gid, _, home, shell = entry[2:]
    assert home == "/var/lib/storescpd"
    assert shell.endswith("/nologin")
    for folder, mode, owner in (
        ("etc/storescpd/hooks", 0o755, (0, 0)),
        ("run/storescpd", 0o755, (int(uid), int(gid))),
        ("var/lib/storescpd", 0o750, (int(uid), int(gid))),
        ("var/log/storescpd", 0o750, (int(uid), int(gid))),
    ):
        status = (root / folder).stat()
        assert (status.st_mode & 0o777, (status.st_uid, status.st_gid)) == (mode, owner)


# Runs a program under what systemd makes of SystemCallFilter=, MemoryDenyWriteExecute= and
# RestrictAddressFamilies=: seccomp(2) filters, here by libseccomp, which systemd itself uses.
# argv: allowed system calls and address families, each separated by commas, then the program.
CONFINE = """
import ctypes, os, socket, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int),
                ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
ALLOW, EPERM = 0x7FFF0000, 0x00050001
EQUAL, MASKED_EQUAL = 4, 7
WRITE_EXEC, EXEC = 6, 4
def begin(action):
    return ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(action)))
def rule(context, action, name, *compare):
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        library.seccomp_rule_add_array(
            context, ctypes.c_uint32(action), number, len(compare), (Compare * 3)(*compare))
def load(context):
    assert library.seccomp_load(context) == 0
calls, families, *program = sys.argv[1:]
memory = begin(ALLOW)
rule(memory, EPERM, "mmap", Compare(2, MASKED_EQUAL, WRITE_EXEC, WRITE_EXEC))
rule(memory, EPERM, "mprotect", Compare(2, MASKED_EQUAL, EXEC, EXEC))
sockets = begin(ALLOW)
numbers = sorted(int(getattr(socket, name)) for name in families.split(","))
for family in set(range(48)) - set(numbers):
    rule(sockets, EPERM, "socket", Compare(0, EQUAL, family, 0))
allowed = begin(EPERM)
for name in calls.split(","):
    rule(allowed, ALLOW, name)
for context in (memory, sockets, allowed):
    load(context)
os.execv(program[0], program)
"""


def expand(group: str, table: dict[str, list[str]]) -> set[str]:
    members: set[str] = set()
    for member in table[group]:
        members |= expand(member, table) if member.startswith("@") else {member}
    return members


def allowed_system_calls(unit: str) -> set[str]:
    listing = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    table: dict[str, list[str]] = {}
    for line in listing.splitlines():
        word = line.strip()
        if line.startswith("@"):
            members = table.setdefault(word, [])
        elif word and not word.startswith("#") and line.startswith(" "):
            members.append(word)
    # systemd adds these to every list of what is allowed, or nothing could be started.
    allowed = expand("@default", table)
    for value in settings(unit)["SystemCallFilter"]:
        groups = value.lstrip("~").split()
        for group in groups:
            if value.startswith("~"):
                allowed -= expand(group, table) - expand("@default", table)
            else:
                allowed |= expand(group, table)
    return allowed


def confinement(unit: str) -> list[str]:
    """A prefix for commands that confines them as ``unit`` does."""
    assert settings(unit)["MemoryDenyWriteExecute"] == ["yes"]
    families = settings(unit)["RestrictAddressFamilies"][0].split()
    calls = sorted(allowed_system_calls(unit))
    return [sys.executable, "-c", CONFINE, ",".join(calls), ",".join(families)]


@pytest.mark.parametrize("unit", SERVICES)
def test_confinement_confines(unit: str, tmp_path: Path) -> None:
    """Else the tests below would prove nothing."""
    script = """
import mmap, os, socket
for attempt in (
    lambda: os.chroot("/"),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
    lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    lambda: os.mkdir("made"),
):
    try:
        attempt()
        print("done")
    except PermissionError:
        print("refused")
"""
    output = subprocess.run(
        [*confinement(unit), sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.split() == ["refused"] * 4 + ["done"]


def daemon_command(unit: str, *arguments: str) -> list[str]:
    return [*confinement(unit), sys.executable, "-m", "storescpd", *arguments]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return objects.write_part10(tmp_path, objects.small())


@pytest.mark.parametrize("with_tls", [False, True])
def test_confined_daemon_stores(
    reference: str, tmp_path: Path, image: Path, pki: Pki, with_tls: bool
) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    port = free_port()
    receives = pki.server_options() if with_tls else ()
    sends = pki.client_options() if with_tls else ()
    options = ("--fork", *receives, "-od", str(folder), str(port))
    with (tmp_path / "log").open("w") as log:
        command = daemon_command("storescpd.service", *options)
        daemon = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        wait_until(lambda: is_listening(port) or daemon.poll() is not None, "the daemon listens")
        sent = senders.send(reference, port, [image], *sends)
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0, (tmp_path / "log").read_text()
    assert sent.code == 0, sent.stderr + (tmp_path / "log").read_text()
    assert len(list(folder.iterdir())) == 1
    assert (tmp_path / "log").read_text() == ""


def test_confined_instance_stores(reference: str, tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = senders.start(reference, listener.getsockname()[1], [image])
        connection = listener.accept()[0]
    with connection:
        command = daemon_command("storescpd-inetd@.service", "--inetd", "-od", str(folder))
        daemon = subprocess.Popen(command, stdin=connection.fileno(), cwd=tmp_path)
    assert senders.finish(sender).code == 0
    assert daemon.wait(30) == 0
    assert len(list(folder.iterdir())) == 1


def test_confined_process_can_ask_tcp_wrappers() -> None:
    # ctypes makes functions at run time, which needs executable memory in some builds.
    script = "from storescpd.access import Wrappers; print(Wrappers('storescpd', True)._daemon)"
    command = [*confinement("storescpd.service"), sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"b'storescpd'\n"
