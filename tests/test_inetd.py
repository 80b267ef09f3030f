"""The entries for inetd.conf under Debian's inetd, and that for xinetd under xinetd."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import objects, senders
from harness.cmdlines import run
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    children_of,
    command_line,
    free_port,
    is_alive,
    is_listening,
    wait_until,
)

from storescpd.options import PROGRAM as OPTIONS

ROOT = Path(__file__).parents[1]
INETD = ROOT / "inetd"
SEARCHED = f"/usr/sbin:/usr/bin:{ROOT}/.venv/xinetd/usr/sbin"

# How inetd finds the program: by path, with an environment that has been emptied.
PROGRAM = f"#!{sys.executable}\nimport sys\nfrom storescpd.main import main\nsys.exit(main())\n"


def superserver(name: str) -> str:
    path = shutil.which(name, path=SEARCHED)
    if path is None and os.geteuid() == 0:
        pytest.fail(f"{name} is missing; tests/install-peers installs it")
    if path is None:
        pytest.skip(f"{name} is missing, and only root can install it")
    return path


def entry(mode: str) -> list[str]:
    """The fields of the line of inetd.conf for ``mode``, commented out or not."""
    (line,) = [
        line.lstrip("#")
        for line in (INETD / "inetd.conf").read_text().splitlines()
        if re.match(rf"#?\d+\tstream\ttcp\t{mode}\.", line)
    ]
    return line.split("\t")


def xinetd_settings() -> dict[str, str]:
    text = (INETD / "xinetd").read_text()
    return dict(re.findall(r"^\t(\w+)\s*= (.*)$", text, re.MULTILINE))


class Service(NamedTuple):
    """A daemon behind a superserver: where it is called, where it stores, and who starts it."""

    port: int
    folder: Path
    pid: int

    def daemons(self) -> list[int]:
        return children_of(self.pid)

    def stored(self) -> int:
        return len(list(self.folder.iterdir()))


class Installed:
    """The program as a superserver finds it, with a configuration of the test's own."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "received"
        self.folder.mkdir()
        self.program = tmp_path / "storescpd"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        self.port = free_port()
        self.user = pwd.getpwuid(os.geteuid()).pw_name
        self._conf = tmp_path / "storescpd.conf"
        self._conf.write_text(
            (ROOT / "etc" / "storescpd.conf")
            .read_text()
            .replace("/var/lib/storescpd", str(self.folder))
        )

    def arguments(self, shipped: str) -> str:
        """Shipped arguments, but for the file that they name and for how long they wait."""
        found = shipped.replace("/etc/storescpd/storescpd.conf", str(self._conf))
        return found.replace("--idle-exit 600", "--idle-exit 1")


@contextlib.contextmanager
def running(command: list[str], installed: Installed) -> Iterator[Service]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(installed.port), f"{command[0]} listens")
        yield Service(installed.port, installed.folder, process.pid)
    finally:
        left = children_of(process.pid)
        process.terminate()
        process.wait(30)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_until(lambda pid=pid: not is_alive(pid), f"{pid} ends")  # type: ignore[misc]


def under_inetd(tmp_path: Path, mode: str) -> contextlib.AbstractContextManager[Service]:
    program = superserver("inetd")
    installed = Installed(tmp_path)
    fields = entry(mode)
    fields[0] = str(installed.port)
    fields[4] = installed.user
    fields[5] = str(installed.program)
    fields[6] = installed.arguments(fields[6])
    (tmp_path / "inetd.conf").write_text("\t".join(fields) + "\n")
    return running([program, "-i", str(tmp_path / "inetd.conf")], installed)


def under_xinetd(tmp_path: Path, mode: str) -> contextlib.AbstractContextManager[Service]:
    program = superserver("xinetd")
    installed = Installed(tmp_path)
    settings = xinetd_settings()
    changed = {
        "disable": "no",
        "port": str(installed.port),
        "user": installed.user,
        "group": str(os.getegid()),
        "server": str(installed.program),
        "server_args": installed.arguments(settings["server_args"]),
    }
    if mode == "wait":
        # As the comment on top of the file says.
        (instead,) = re.findall(r"wait = yes write (--[^.]*) in place", comment_of_xinetd())
        arguments = changed["server_args"].replace("--inetd", instead)
        changed |= {"wait": "yes", "server_args": installed.arguments(arguments)}
    text = (INETD / "xinetd").read_text()
    for name, value in changed.items():
        text = re.sub(rf"^(\t{name}\s*=) .*$", rf"\1 {value}", text, flags=re.MULTILINE)
    (tmp_path / "xinetd.conf").write_text(text)
    command = [program, "-dontfork", "-f", str(tmp_path / "xinetd.conf")]
    return running([*command, "-pidfile", str(tmp_path / "xinetd.pid")], installed)


def comment_of_xinetd() -> str:
    lines = (INETD / "xinetd").read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


Start = Callable[[Path, str], contextlib.AbstractContextManager[Service]]
both = pytest.mark.parametrize("start", [under_inetd, under_xinetd])


def send(service: Service, reference: str, tmp_path: Path) -> None:
    sent = senders.send(reference, service.port, [objects.write_part10(tmp_path, objects.small())])
    assert sent.code == 0, sent.stderr


@both
def test_nowait(reference: str, start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "nowait") as service:
        for number in (1, 2):
            send(service, reference, tmp_path)
            assert service.stored() == number
        with Peer.connect(service.port) as one, Peer.connect(service.port) as another:
            one.associate()
            another.associate()
            assert len(service.daemons()) == 2
            one.release()
            another.release()
        wait_until(lambda: not service.daemons(), "nothing runs any more")


@both
def test_wait(reference: str, start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "wait") as service:
        assert service.daemons() == []
        send(service, reference, tmp_path)
        (master,) = service.daemons()
        assert command_line(master).startswith("storescpd: master [listening ")
        with Peer.connect(service.port) as one, Peer.connect(service.port) as another:
            one.associate()
            another.associate()
            assert service.daemons() == [master], "the daemon forks by itself"
            one.release()
            another.release()
        send(service, reference, tmp_path)
        wait_until(lambda: not is_alive(master), "it ends when it is idle")
        send(service, reference, tmp_path)
        (successor,) = service.daemons()
        assert successor != master
        assert service.stored() == 3


def test_all_entries_run_the_same() -> None:
    nowait, wait = entry("nowait"), entry("wait")
    assert nowait[0] == wait[0]
    assert nowait[4:6] == wait[4:6] == ["storescpd", "/usr/bin/storescpd"]
    xinetd = xinetd_settings()
    assert xinetd["port"] == nowait[0]
    assert [xinetd["user"], xinetd["server"]] == nowait[4:6]
    assert f"storescpd {xinetd['server_args']}" == nowait[6]
    assert (xinetd["wait"], xinetd["socket_type"], xinetd["protocol"]) == ("no", *nowait[1:3])


@pytest.mark.parametrize(
    "arguments",
    [
        entry("nowait")[6].split()[1:],
        entry("wait")[6].split()[1:],
        xinetd_settings()["server_args"].split(),
    ],
)
def test_configuration_is_accepted(tmp_path: Path, arguments: list[str]) -> None:
    at = arguments.index("--conf") + 1
    assert arguments[at] == "/etc/storescpd/storescpd.conf"
    conf = tmp_path / "storescpd.conf"
    text = (ROOT / "etc" / "storescpd.conf").read_text()
    conf.write_text(text.replace("/var/lib/storescpd", str(tmp_path)))
    arguments[at] = str(conf)
    assert run(OPTIONS, *arguments).accepted.port is None
    command = [sys.executable, "-m", "storescpd", "--check-config", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_services_are_those_of_iana() -> None:
    found = dict(re.findall(r"^(\S+)\t+(\S+)$", (INETD / "services").read_text(), re.MULTILINE))
    assert found == {"acr-nema": "104/tcp", "dicom": "11112/tcp", "dicom-tls": "2762/tcp"}
