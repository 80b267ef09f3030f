"""The entry for inetd.conf under Debian's inetd, and that for xinetd beside it."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import objects, senders
from harness.processes import free_port, is_listening, wait_until

INETD = Path(__file__).parents[1] / "inetd"
SEARCHED = "/usr/sbin:/usr/bin"

# How inetd finds the program: by path, with an environment that has been emptied.
PROGRAM = f"#!{sys.executable}\nimport sys\nfrom storescpd.main import main\nsys.exit(main())\n"


@pytest.fixture
def inetd_program() -> str:
    path = shutil.which("inetd", path=SEARCHED)
    if path is None and os.geteuid() == 0:
        pytest.fail("the package openbsd-inetd is missing; tests/install-peers installs it")
    if path is None:
        pytest.skip("inetd (package openbsd-inetd) is missing, and only root can install it")
    return path


def entry(mode: str) -> list[str]:
    """The fields of the line for ``mode``, commented out or not."""
    (line,) = [
        line.lstrip("#")
        for line in (INETD / "inetd.conf").read_text().splitlines()
        if re.match(rf"#?\d+\tstream\ttcp\t{mode}\.", line)
    ]
    return line.split("\t")


@pytest.fixture
def served_by_inetd(inetd_program: str, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A port on which inetd starts the daemon for each association, and the daemon's folder."""
    folder = tmp_path / "received"
    folder.mkdir()
    program = tmp_path / "storescpd"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    port = free_port()
    fields = entry("nowait")
    fields[0] = str(port)
    fields[4] = pwd.getpwuid(os.geteuid()).pw_name
    fields[5] = str(program)
    fields[6] = re.sub(r"--conf \S+", f"-od {folder}", fields[6])
    (tmp_path / "inetd.conf").write_text("\t".join(fields) + "\n")
    inetd = subprocess.Popen([inetd_program, "-i", str(tmp_path / "inetd.conf")])
    try:
        wait_until(lambda: is_listening(port), "inetd listens")
        yield port, folder
    finally:
        inetd.terminate()
        inetd.wait(30)


def test_nowait_stores(reference: str, served_by_inetd: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = served_by_inetd
    for _ in range(2):
        sent = senders.send(reference, port, [objects.write_part10(tmp_path, objects.small())])
        assert sent.code == 0, sent.stderr
    assert len(list(folder.iterdir())) == 2


def test_all_entries_run_the_same() -> None:
    nowait, wait = entry("nowait"), entry("wait")
    assert nowait[0] == wait[0]
    assert nowait[4:6] == wait[4:6] == ["storescpd", "/usr/bin/storescpd"]
    text = (INETD / "xinetd").read_text()
    xinetd = dict(re.findall(r"^\t(\w+)\s*= (.*)$", text, re.MULTILINE))
    assert xinetd["port"] == nowait[0]
    assert [xinetd["user"], xinetd["server"]] == nowait[4:6]
    assert f"storescpd {xinetd['server_args']}" == nowait[6]
    assert (xinetd["wait"], xinetd["socket_type"], xinetd["protocol"]) == ("no", *nowait[1:3])


def test_services_are_those_of_iana() -> None:
    found = dict(re.findall(r"^(\S+)\t+(\S+)$", (INETD / "services").read_text(), re.MULTILINE))
    assert found == {"acr-nema": "104/tcp", "dicom": "11112/tcp", "dicom-tls": "2762/tcp"}
