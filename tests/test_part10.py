"""Files: where their data set starts and how it is encoded, said or guessed."""

import struct

import pydicom
import pytest
from harness import wire
from harness.objects import explicit, implicit, part10, small
from hypothesis import given
from hypothesis import strategies as st

from dcmstore.part10 import NotDicomError, Part10, meta_header, read_data_set, read_file

PREAMBLE = bytes(128) + b"DICM"
OBJECT = small()
DATA = OBJECT.data
VERSION = explicit(0x00020001, "OB", b"\0\1")
CLASS = explicit(0x00020002, "UI", OBJECT.sop_class)
INSTANCE = explicit(0x00020003, "UI", OBJECT.sop_instance)
SYNTAX = explicit(0x00020010, "UI", OBJECT.syntax)
META = VERSION + CLASS + INSTANCE + SYNTAX
BIG_DATA = explicit(0x00080016, "UI", OBJECT.sop_class, order=">")
IMPLICIT_DATA = implicit(0x00080016, OBJECT.sop_class, pad=b"\0")


def group_length(number: int) -> bytes:
    return explicit(0x00020000, "UL", struct.pack("<L", number))


def read(content: bytes, meta_required: bool = False) -> Part10:
    return read_file(memoryview(content), meta_required=meta_required)


@pytest.mark.parametrize("syntax", [wire.EXPLICIT, wire.JPEG_BASELINE, wire.DEFLATED])
@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("meta_required", [True, False])
def test_the_header_says_it(syntax: str, preamble: bool, meta_required: bool) -> None:
    content = part10(OBJECT._replace(syntax=syntax), preamble=preamble)
    found = read(content, meta_required)
    assert found.transfer_syntax == syntax
    assert content[found.start :] == DATA


@pytest.mark.parametrize("wrong", [0, 20, len(META) + 40, 0xFFFFFFFF])
def test_a_wrong_group_length_does_no_harm(wrong: int) -> None:
    content = PREAMBLE + group_length(wrong) + META + DATA
    assert read(content) == (wire.EXPLICIT, len(content) - len(DATA))


def test_no_group_length() -> None:
    assert read(PREAMBLE + META + DATA, True) == (wire.EXPLICIT, 132 + len(META))


def test_header_in_implicit_vr() -> None:
    meta = implicit(0x00020001, b"\0\1") + implicit(0x00020010, OBJECT.syntax, pad=b"\0")
    content = PREAMBLE + implicit(0x00020000, struct.pack("<L", len(meta))) + meta + DATA
    assert read(content, True) == (wire.EXPLICIT, len(content) - len(DATA))


def test_blanks_in_the_transfer_syntax() -> None:
    content = PREAMBLE + explicit(0x00020010, "UI", wire.EXPLICIT + " ") + DATA
    assert read(content).transfer_syntax == wire.EXPLICIT


@pytest.mark.parametrize(
    ("data", "syntax"),
    [(DATA, wire.EXPLICIT), (BIG_DATA, wire.BIG), (IMPLICIT_DATA, wire.IMPLICIT)],
    ids=["little", "big", "implicit"],
)
@pytest.mark.parametrize(
    "before",
    [
        b"",
        PREAMBLE,
        PREAMBLE + group_length(len(CLASS)) + CLASS,
        PREAMBLE + CLASS + explicit(0x00020010, "UI", "1.2.3.4.5"),
    ],
    ids=["nothing", "prefix", "no-syntax", "unknown-syntax"],
)
def test_guessed(before: bytes, data: bytes, syntax: str) -> None:
    content = before + data
    assert read(content) == (syntax, len(before))
    with pytest.raises(NotDicomError, match=r"^File meta information header missing$"):
        read(content, True)


def test_a_vr_that_is_none_is_a_length() -> None:
    data = explicit(0x00080005, "CS", "ISO_IR 100").replace(b"CS", b"ZZ", 1)
    assert read_data_set(memoryview(data)) == (wire.IMPLICIT, 0)


def test_a_file_taken_for_a_data_set() -> None:
    """With --read-dataset even the preamble is data."""
    assert read_data_set(memoryview(part10(OBJECT))) == (wire.IMPLICIT, 0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "End of stream"),
        (PREAMBLE, "End of stream"),
        (b"abc", "I/O suspension or premature end of stream"),
        (PREAMBLE + DATA[:7], "I/O suspension or premature end of stream"),
        (PREAMBLE + META[:-1], "I/O suspension or premature end of stream"),
        (PREAMBLE + VERSION[:9], "I/O suspension or premature end of stream"),
    ],
)
def test_too_short(content: bytes, reason: str) -> None:
    with pytest.raises(NotDicomError, match=f"^{reason}$"):
        read(content)


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes(tail: bytes, meta_required: bool) -> None:
    """Whatever a file holds, the answer lies inside it or is that it is none."""
    for content in (tail, PREAMBLE + tail, PREAMBLE + META + tail):
        try:
            found = read(content, meta_required)
        except NotDicomError:
            continue
        assert 0 <= found.start <= len(content)


@pytest.mark.parametrize("calling", ["", "A", "SIXTEEN LETTERS!", " LEADING"])
def test_what_is_written_can_be_read(calling: str) -> None:
    header = meta_header(OBJECT.sop_class, OBJECT.sop_instance, OBJECT.syntax, calling)
    assert read(header + DATA, True) == (OBJECT.syntax, len(header))


def test_what_is_written_is_what_pydicom_reads(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("part10") / "file"
    header = meta_header(OBJECT.sop_class, OBJECT.sop_instance, OBJECT.syntax, "CALLING")
    path.write_bytes(header + DATA)
    meta = pydicom.dcmread(path).file_meta
    assert meta.MediaStorageSOPInstanceUID == OBJECT.sop_instance
    assert meta.SourceApplicationEntityTitle == "CALLING"
    assert meta.FileMetaInformationGroupLength == len(header) - 144
