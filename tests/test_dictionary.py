"""VR lookups, against the reference's own dictionary files."""

import glob
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.receivers import dcmtk_version
from pydicom.datadict import dictionary_has_tag

from dcmstore import dictionary, vr
from dcmstore.dataset import OutputOptions
from dcmstore.elements import inspect
from dcmstore.uids import EXPLICIT_LITTLE, IMPLICIT_LITTLE

# What these stand for is in our table of ambiguous tags, not in the files.
PSEUDO = frozenset(("xs", "ox", "px", "lt", "up", "na"))
# Letters of DCMTK's notation for groups that repeat.
SAMPLES = {"60": (0x6000, 0x6002, 0x60FE), "50": (0x5000, 0x501E), "7F": (0x7F00, 0x7FE2)}


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    """DCMTK's dictionary files by name; they come with the reference's library."""
    found = {Path(path).name: Path(path) for path in glob.glob("/usr/share/*dcmtk*/*.dic")}
    assert {"dicom.dic", "private.dic"} <= set(found), "the dictionaries of DCMTK are missing"
    return found


@pytest.fixture
def own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that this test alone loads files into."""
    monkeypatch.setattr(dictionary, "_shared", dictionary._Tables())
    monkeypatch.setattr(dictionary, "_built", False)


def vr_name(tag: int, creator: str | None = None) -> str | None:
    number = dictionary.lookup(tag, creator)
    if number is None:
        return None
    pseudo = {dictionary.PIXEL_SIGN: "US or SS", dictionary.WAVEFORM_BITS: "OB or OW"}
    return pseudo.get(number) or vr.NAMES[number].decode()


def test_every_tag_of_the_reference(reference: str, files: dict[str, Path]) -> None:
    # The dictionary of 3.6.9 has a hundred that are newer than pydicom, where ours comes from.
    some_are_new = dcmtk_version() > (3, 6, 7)
    wrong, count = [], 0
    for line in files["dicom.dic"].read_text("latin-1").splitlines():
        match = re.match(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)\t(\w\w)\t(\S+)", line, re.IGNORECASE)
        if not match or match[3] in PSEUDO:
            continue
        tag = int(match[1] + match[2], 16)
        found = vr_name(tag)
        if found is None and some_are_new and not dictionary_has_tag(tag):
            continue
        count += 1
        if found != match[3]:
            wrong.append(line)
    assert count > 4000
    assert wrong == []


def test_repeating_groups_of_the_reference(reference: str, files: dict[str, Path]) -> None:
    wrong, count = [], 0
    for line in files["dicom.dic"].read_text("latin-1").splitlines():
        match = re.match(r"\((60|50|7F)00-\w{4},(\w{4})\)\t(\w\w)\t", line)
        if not match or match[3] in PSEUDO:
            continue
        for group in SAMPLES[match[1]]:
            count += 1
            if vr_name(group << 16 | int(match[2], 16)) != match[3]:
                wrong.append(f"{group:04x}: {line}")
    assert count > 100
    assert wrong == []


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (0x7FE00010, "OW"),
        (0x60003000, "OW"),
        (0x601E3000, "OW"),
        (0x50003000, "OB"),
        (0x5000200C, "OB"),
        (0x7F000010, "OB"),
        (0x54001010, "OB or OW"),
        (0x54000110, "OB or OW"),
        (0x00280106, "US or SS"),
        (0x00409211, "US or SS"),
        (0x00281101, "US"),
        (0x00221452, "US"),
        (0x00283006, "OW"),
        (0x00281200, "OW"),
        (0x00143050, "OB"),
        (0x00041200, "UL"),
        (0x00280412, "LO"),
        (0x002031A0, "CS"),
        (0x00080000, "UL"),
        (0x00990000, "UL"),
        (0x00990010, "LO"),
        (0x009900FF, "LO"),
        (0x00991001, None),
        (0x00990001, None),
        (0x60013000, None),
        (0x0010FFFF, None),
        (0xFFFEE000, None),
    ],
)
def test_ambiguous_and_repeating_tags(tag: int, expected: str | None) -> None:
    assert vr_name(tag) == expected


def test_private_dictionary(own_tables: None, files: dict[str, Path]) -> None:
    creator = "SIEMENS CT VA0  COAD"
    assert vr_name(0x00191010, creator) is None
    assert dictionary.load_dictionaries([str(files["private.dic"])]) == []
    assert dictionary.has_private_tags()
    assert f'(0019,"{creator}",10)\tDS\t' in files["private.dic"].read_text("latin-1")
    # The creator's block is the element's high byte: any will do.
    assert vr_name(0x00191010, creator) == "DS"
    assert vr_name(0x0019AB10, creator) == "DS"
    assert vr_name(0x00191010, "SOMEBODY ELSE") is None
    assert vr_name(0x00191010) is None


def test_whole_dictionary_files_can_be_loaded(own_tables: None, files: dict[str, Path]) -> None:
    assert dictionary.load_dictionaries([str(path) for path in files.values()]) == []
    assert vr_name(0x00100010) == "PN"
    assert vr_name(0x60023000) == "OW"
    assert vr_name(0x00280106) == "US or SS"


def test_entries_replace_earlier_ones(own_tables: None, tmp_path: Path) -> None:
    path = tmp_path / "own.dic"
    path.write_text(
        "# comment\n\n(0010,0010)\tLO\tPatientName\t1\tOWN\n"
        "(7101-o-7103,0010-u-0011)\tUN\tIgnored\t1\tOWN\n"
        "(6000-60FF,7777)\tFD\tOverlayThing\t1\tOWN\n"
    )
    assert dictionary.load_dictionaries([str(path)]) == []
    assert vr_name(0x00100010) == "LO"
    assert vr_name(0x60047777) == "FD"
    assert vr_name(0x60057777) is None


def test_what_cannot_be_loaded_is_told(own_tables: None, tmp_path: Path) -> None:
    good, bad, odd = tmp_path / "good.dic", tmp_path / "bad.dic", tmp_path / "odd.dic"
    good.write_text("(0010,0011)\tSH\tSomething\t1\tOWN\n")
    bad.write_text("(0010,0010) no entry\n")
    odd.write_text("(0010,0010)\tQQ\tNoSuchVR\t1\tOWN\n")
    missing = str(tmp_path / "missing.dic")
    failed = dictionary.load_dictionaries([str(bad), missing, str(odd), str(good)])
    assert [path for path, _ in failed] == [str(bad), missing, str(odd)]
    assert all(reason for _, reason in failed)
    assert failed[1][1] == "No such file or directory"
    assert vr_name(0x00100011) == "SH"


def test_private_elements_get_their_vr(own_tables: None, tmp_path: Path) -> None:
    """A loaded private dictionary decides once the creator has come; the walk sees text."""
    path = tmp_path / "own.dic"
    path.write_text('(0009,"ACME",01)\tLO\tThing\t1\tOWN\n')
    data = b"\x09\0\x10\0\x04\0\0\0ACME" + b"\x09\0\x01\x10\x04\0\0\0AB  "
    assert inspect(memoryview(data), 0, IMPLICIT_LITTLE, OutputOptions()).reasons == ()
    assert dictionary.load_dictionaries([str(path)]) == []
    found = inspect(memoryview(data), 0, IMPLICIT_LITTLE, OutputOptions())
    assert found.reasons == ("trailing blanks in (0009,1001)",)
    # Before its creator the element is unknown.
    other = data[12:] + data[:12]
    found = inspect(memoryview(other), 0, IMPLICIT_LITTLE, OutputOptions())
    assert not any("blanks" in reason for reason in found.reasons)


PROGRAM = f"""
import sys
from dcmstore import dictionary
from dcmstore.dataset import OutputOptions
from dcmstore.elements import inspect
data = bytes.fromhex("10001000504e02004142")
inspect(memoryview(data), 0, "{EXPLICIT_LITTLE}", OutputOptions())
inspect(memoryview(data + data), 0, "{EXPLICIT_LITTLE}", OutputOptions())
print("pydicom" in sys.modules)
dictionary.preload()
print(dictionary.lookup(0x00100010), dictionary.lookup(0x60020010), dictionary.lookup(0x54001010))
print("pydicom" in sys.modules)
"""


def test_explicit_vr_needs_no_pydicom() -> None:
    """Nor does a preloading process keep it: a child reads it and hands the table over."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stderr == ""
    numbers = f"{vr.number(b'PN')} {vr.US} {dictionary.WAVEFORM_BITS}"
    assert done.stdout.splitlines() == ["False", numbers, "False"]


def test_reader_that_is_killed(own_tables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(writer: int) -> None:
        os.write(writer, b"\xe9 part of a table")
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(dictionary, "_hand_over", die)
    with pytest.raises(dictionary.DictionaryError, match=r": killed by signal 9$"):
        dictionary.preload()
