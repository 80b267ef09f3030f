"""Which files are sent, in which order, and what is said about those that are not."""

import os
import resource
from pathlib import Path

import pytest
from harness import senders
from harness.conversation import converse, lines
from harness.objects import small, write_part10
from harness.receivers import OURS

from storescu.inputs import collect

SENT = "I: Sending file: "
CLOSED_PORT = 1


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two folders of files, one of them hidden, one in the other."""
    top = tmp_path / "tree"
    (top / "sub" / "deep").mkdir(parents=True)
    for name in ("one.dcm", "two.img", ".hidden"):
        write_part10(top, small(), name)
    write_part10(top / "sub", small(), "three.dcm")
    write_part10(top / "sub" / "deep", small(), "four.dcm")
    return top


def sent_files(flavour: str, parameters: list[str], *options: str) -> list[str]:
    """Return the paths that a sender says it sends."""
    _, done = converse(flavour, parameters, "-v", *options, statuses=[0] * 20)
    assert done.code == 0, done.stderr
    return [line[len(SENT) :] for line in done.stderr.splitlines() if line.startswith(SENT)]


def test_named_files_in_their_order_and_twice(flavour: str, tree: Path) -> None:
    names = [str(tree / name) for name in ("two.img", "one.dcm", "two.img")]
    assert sent_files(flavour, names) == names


def test_directory_in_the_system_s_order(flavour: str, tree: Path) -> None:
    expected = [f"{tree}/{entry.name}" for entry in os.scandir(tree) if entry.is_file()]
    assert len(expected) == 3
    assert sent_files(flavour, [str(tree)], "+sd") == expected
    assert sent_files(flavour, [f"{tree}/"], "+sd") == expected


def test_sub_directories_where_they_are_met(flavour: str, tree: Path) -> None:
    expected: list[str] = []

    def walk(folder: str) -> None:
        for entry in os.scandir(folder):
            if entry.is_dir():
                walk(entry.path)
            else:
                expected.append(entry.path)

    walk(str(tree))
    assert len(expected) == 5
    assert sent_files(flavour, [str(tree)], "+sd", "+r") == expected


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.dcm", {"one.dcm", "three.dcm", "four.dcm"}),
        ("[!t]*.dcm", {"one.dcm", "four.dcm"}),
        ("*", {"one.dcm", "two.img", ".hidden", "three.dcm", "four.dcm"}),
        ("???.[[:alpha:]]mg", {"two.img"}),
        ("", {"one.dcm", "two.img", ".hidden", "three.dcm", "four.dcm"}),
    ],
)
def test_pattern_holds_for_bare_names(
    flavour: str, tree: Path, pattern: str, names: set[str]
) -> None:
    found = sent_files(flavour, [str(tree)], "+sd", "+r", "+sp", pattern)
    assert {os.path.basename(path) for path in found} == names


def test_pattern_does_not_hold_for_named_files(flavour: str, tree: Path) -> None:
    named = str(tree / "two.img")
    found = sent_files(flavour, [named, str(tree / "sub")], "+sd", "+sp", "*.dcm")
    assert found == [named, str(tree / "sub" / "three.dcm")]


@pytest.mark.parametrize("pattern", ["sub/*", "SUB", "*.DCM"])
def test_pattern_that_matches_nothing(flavour: str, tree: Path, pattern: str) -> None:
    done = senders.send(flavour, CLOSED_PORT, [tree], "+sd", "+r", "+sp", pattern, "-nh")
    assert (done.code, done.stderr) == (1, "F: no input files to be sent\n")


def test_escapes_in_patterns(tmp_path: Path) -> None:
    (tmp_path / "a*").touch()
    (tmp_path / "ab").touch()
    assert collect([str(tmp_path)], True, False, r"a\*") == [f"{tmp_path}/a*"]


def test_directory_without_the_option(flavour: str, tree: Path) -> None:
    done = senders.send(flavour, CLOSED_PORT, [tree])
    assert done.code == 1
    assert lines(done) == [
        f"W: ignoring directory because option --scan-directories is not set: {tree}",
        "F: no input files to be sent",
    ]


@pytest.mark.parametrize("options", [(), ("-v",), ("-v", "-R"), ("-v", "+sd")])
def test_missing_file(flavour: str, tree: Path, options: tuple[str, ...]) -> None:
    done = senders.send(flavour, CLOSED_PORT, [tree / "one.dcm", tree / "gone"], *options)
    assert done.code == 1
    expected = [f"F: cannot access file: {tree}/gone"]
    if "+sd" in options:
        expected.insert(0, "I: determining input files ...")
    if options:
        expected.insert(-1, "I: checking input files ...")
    assert lines(done) == expected


def test_missing_file_is_minded_less(flavour: str, tree: Path) -> None:
    messages, done = converse(flavour, [tree / "gone", tree / "one.dcm"], "--no-halt", statuses=[0])
    assert (done.code, len(messages)) == (0, 1)
    assert done.stderr == f"W: cannot access file: {tree}/gone, ignoring file\n"


def test_association_without_any_file(flavour: str, tree: Path) -> None:
    """With --no-halt it is opened and released although nothing is left to be sent."""
    messages, done = converse(flavour, [tree / "gone"], "--no-halt", "-v")
    assert (done.code, messages) == (0, [])
    assert lines(done)[-1] == "I: Releasing Association"


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    """The reference would wait for somebody to write into the pipe."""
    os.mkfifo(tmp_path / "pipe")
    done = senders.send(OURS, CLOSED_PORT, [tmp_path / "pipe"])
    assert (done.code, done.stderr) == (1, f"F: cannot access file: {tmp_path}/pipe\n")
    done = senders.send(OURS, CLOSED_PORT, [tmp_path], "+sd")
    assert (done.code, done.stderr) == (1, f"F: cannot access file: {tmp_path}/pipe\n")


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_link_that_leads_nowhere(flavour: str, tree: Path, target: str) -> None:
    """Also to itself."""
    (tree / "link").symlink_to(target)
    done = senders.send(flavour, CLOSED_PORT, [tree], "+sd", "+r", "+sp", "l*")
    assert (done.code, done.stderr) == (1, f"F: cannot access file: {tree}/link\n")
    _, done = converse(flavour, [tree], "+sd", "-nh", statuses=[0] * 3)
    assert (done.code, done.stderr) == (0, f"W: cannot access file: {tree}/link, ignoring file\n")


@pytest.mark.parametrize(
    ("parameter", "path"),
    [
        (".", "link"),
        ("./", "link"),
        ("./.", "././link"),
        ("../tree", "../tree/link"),
        ("../tree//", "../tree/link"),
    ],
)
def test_how_paths_are_written(
    flavour: str, tree: Path, parameter: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    Path("link").symlink_to("nowhere")
    done = senders.send(flavour, CLOSED_PORT, [parameter], "+sd", "+sp", "l*")
    assert (done.code, done.stderr) == (1, f"F: cannot access file: {path}\n")


def test_directory_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir
    (tmp_path / "closed").mkdir()
    (tmp_path / "file").touch()

    def scandir(path: str) -> "os._ScandirIterator[str]":
        if path.endswith("closed"):
            raise PermissionError
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = collect([str(tmp_path)], True, True, None)
    assert sorted(found) == [f"{tmp_path}/closed", f"{tmp_path}/file"]


def test_link_that_leads_back(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "sub" / "aside").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "two").touch()
    found = sorted(collect([str(tmp_path)], True, True, None))
    assert found == [f"{tmp_path}/{name}" for name in ("file", "other/two", "sub/aside/two")]


def test_deep_tree(tmp_path: Path) -> None:
    """Deeper than a process may have descriptors."""
    folder = tmp_path.joinpath(*["d"] * 400)
    folder.mkdir(parents=True)
    (folder / "file").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 100, hard))
    try:
        assert collect([str(tmp_path)], True, True, None) == [str(folder / "file")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
