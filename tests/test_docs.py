"""What the documents in the root folder say of files, commands, options, modules and limits."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import cmdlines, senders
from harness.objects import small, write_part10
from harness.pki import Pki
from harness.receivers import OURS

from bench.__main__ import parser as bench_parser
from dcmstore import command, connection, layout, levels, pdu, walk
from storescpd import hooks
from storescpd.options import PROGRAM as RECEIVER
from storescu.options import PROGRAM as SENDER

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(ROOT.glob("*.md"))
PROGRAMS = {"storescpd": RECEIVER, "storescu": SENDER}
PACKAGES = ("dcmstore", "storescpd", "storescu")

# Options of systemctl, mypy, the bench and pytest that the documents name.
FOREIGN = {"--now", "--strict", "--rows", "--list", "--repeat", "--self-check", "--bare"}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


def section(document: str, heading: str) -> str:
    """The text of a section, up to the next heading of its level or above."""
    text = (ROOT / document).read_text()
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found is not None, f"{document} has no section {heading}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def commands() -> Iterator[tuple[str, str]]:
    """Every line of the code blocks that begins with a program, by document."""
    for path in DOCUMENTS:
        for block in re.findall(r"^```\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if re.match(r"(make|man|mkdir|systemctl|\.venv/bin/\S+|storescpd) ?\S*", line):
                    yield path.name, line


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


COMMANDS = [
    pytest.param(line, id=f"{document}: {line}")
    for document, line in commands()
    if not line.startswith("storescpd: ")  # an entry of hosts.allow, or a process title
]


def test_there_are_documents_and_commands() -> None:
    assert {path.name for path in DOCUMENTS} == {
        *("ARCHITECTURE.md", "CONTRIBUTING.md", "NEWS.md", "README.md", "SECURITY.md"),
    }
    lines = [str(one.values[0]) for one in COMMANDS]
    assert {"make demo", "make check", "make bench"} <= set(lines)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str) -> None:
    """Each command is one that its program takes, and names files that are there."""
    program, *arguments = shlex.split(line, comments=True)
    program = program.removeprefix(".venv/bin/")
    if program in PROGRAMS:
        shipped = str(ROOT / "etc" / "storescpd.conf")
        arguments = [
            shipped if one == "/etc/storescpd/storescpd.conf" else one for one in arguments
        ]
        assert cmdlines.run(PROGRAMS[program], *arguments).accepted
    elif program == "make":
        assert set(arguments) <= targets()
    elif program == "man":
        assert arguments[0] == "-l"
        assert (ROOT / arguments[1]).is_file()
    elif program == "mkdir":
        assert arguments == ["received"]
    elif program == "systemctl":
        assert arguments[:2] == ["enable", "--now"]
        assert (ROOT / "systemd" / arguments[2]).is_file()
    elif program == "pytest":
        test = arguments[2] if arguments[1:2] == ["-k"] else ""
        assert test in (ROOT / arguments[0]).read_text()
    else:
        assert program == "python"
        if arguments[0] == "-m":
            assert arguments[1] == "bench"
            bench_parser().parse_args(arguments[2:])
        else:
            assert (ROOT / arguments[0]).is_file()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_options_are_known(path: Path) -> None:
    known = {row.long for program in PROGRAMS.values() for row in program.rows()}
    named = set(OPTION.findall(path.read_text()))
    assert named <= known | FOREIGN, named - known - FOREIGN


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links(path: Path) -> None:
    found = re.findall(r"\]\(([^)]+)\)", path.read_text())
    for target in found:
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_its_line(package: str) -> None:
    named = re.findall(r"^\| `(\w+)\.py` \|", section("ARCHITECTURE.md", package), re.MULTILINE)
    there = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__", "__main__"}
    assert len(named) == len(set(named))
    assert set(named) == there


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_modules_that_are_mentioned_exist(path: Path) -> None:
    there = {module.name for package in PACKAGES for module in (ROOT / package).glob("*.py")}
    for name in re.findall(r"(?:[\w.-]+/)*\w+\.py\b", path.read_text()):
        if "/" in name:
            assert (ROOT / name).is_file(), name
        else:
            assert name in there, name


def test_limits() -> None:
    """The table of bounds against the constants and defaults that it speaks of."""
    rows = {
        cells[0]: cells
        for line in section("SECURITY.md", "What bounds a peer").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3
    }
    defaults = {row.long: row.default for row in RECEIVER.rows()}
    assert rows["time to request an association"][2] == (
        f"{defaults['--acse-timeout']} s, {defaults['--socket-timeout']} s"
    )
    assert rows["silence in an association"][2] == f"{defaults['--socket-timeout']} s"
    assert rows["the daemon's stop"][2] == f"{defaults['--grace-period']} s"
    assert rows["data PDU"][2] == f"{defaults['--max-pdu']:,}"
    for what, number, text in (
        ("receive buffer", connection.BUFFER_SIZE, "2 MiB"),
        ("A-ASSOCIATE PDU", pdu.MAX_ASSOCIATE_LENGTH, "1 MiB"),
        ("command", command.MAX_COMMAND, "64 KiB"),
        ("nested sequences", walk.MAX_DEPTH, "4,096 levels"),
        ("plan of a data set to be encoded anew", layout.MEMORY_LIMIT, "128 MiB"),
        ("parts moved to put nested elements in order", levels.MOST_MOVED, "8,388,608"),
        ("warnings about a data set", walk.MAX_WARNINGS, "200"),
        ("commands running at a time", hooks.RUNNING_MAX, "1,024"),
    ):
        assert rows[what][1].startswith(text)
        unit = {"KiB": 1 << 10, "MiB": 1 << 20}.get(text.rpartition(" ")[2], 1)
        assert int(text.partition(" ")[0].replace(",", "")) * unit == number, what


def test_readme_is_what_the_package_says_of_itself() -> None:
    assert "\nlong_description = file: README.md\n" in (ROOT / "setup.cfg").read_text()


def test_tls_example(tmp_path: Path, start_receiver: StartReceiver, pki: Pki) -> None:
    """The commands of README make what the programs want, as printed."""
    assert pki.folder.is_dir(), "there is an openssl"
    make, use = re.findall(r"^```\n(.*?)^```$", section("README.md", "With TLS"), re.M | re.S)
    subprocess.run(["sh", "-euc", make], cwd=tmp_path, check=True, capture_output=True)
    _, receive, send = (shlex.split(line) for line in use.splitlines())
    (tmp_path / "received").mkdir()
    names = {path.name: str(path) for path in tmp_path.iterdir()}
    options = [names.get(word, word) for word in receive[1:-1]]
    del options[options.index("--output-directory") :]
    receiver = start_receiver(OURS, *options)
    path = write_part10(tmp_path, small())
    words = {**names, "image.dcm": str(path), "2762": str(receiver.port)}
    sent = senders.run(OURS, *(words.get(word, word) for word in send[1:]))
    assert (sent.code, sent.stderr) == (0, "")
    assert receiver.holds(path.stem)
