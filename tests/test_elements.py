"""What a walk over a received data set finds, warns of and refuses."""

import mmap
import os
import struct
import zlib
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from harness import corpus, wire
from harness.datasets import (
    BINARY,
    IDENTITY,
    PIXEL_DATA,
    SEQUENCE_END,
    TEXT,
    UNDEFINED,
    bare,
    element,
    fragments,
    item,
    open_item,
    open_sequence,
    sequence,
    wild,
)

from dcmstore import plainscan, uids
from dcmstore.dataset import DataSetError, Findings, OutputOptions, TooDeep
from dcmstore.elements import inflate, inspect
from dcmstore.encoding_plan import examine
from dcmstore.walk import MAX_DEPTH, MAX_WARNINGS

PN, LO = element(0x00100010, "PN", "AB"), element(0x00100020, "LO", "CD")
STUDY = element(0x0020000D, "UI", "1.2.3.4\0")
DEFAULT = OutputOptions()


def look(
    data: bytes, syntax: str = uids.EXPLICIT_LITTLE, output: OutputOptions = DEFAULT
) -> Findings:
    return inspect(memoryview(data), 0, syntax, output)


def refusal(data: bytes, syntax: str = uids.EXPLICIT_LITTLE) -> str:
    with pytest.raises(DataSetError) as caught:
        look(data, syntax)
    return caught.value.text


def test_what_is_found() -> None:
    data = (
        element(0x00080005, "CS", "ISO_IR 100")
        + IDENTITY
        + element(0x00100010, "PN", "DOE^JAN ")
        + STUDY
        + element(PIXEL_DATA, "OW", b"abcd")
    )
    found = look(data)
    assert found.sop_class == wire.CT
    assert found.sop_instance == "1.2.3"
    assert found.study_instance == "1.2.3.4"
    assert found.patient_name == b"DOE^JAN"
    assert found.character_set == b"ISO_IR 100"
    assert found.has_pixel_data
    assert not found.encapsulated
    assert found.unwritable == ""


def test_nothing_is_found_in_nothing() -> None:
    found = look(PN[:4])
    assert found[:7] == ("", "", "", b"", b"", False, False)
    assert found.reasons == ("leftover bytes at the end",)


@pytest.mark.parametrize(
    "syntax", [uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG, uids.IMPLICIT_LITTLE, uids.DEFLATED]
)
def test_every_encoding(syntax: str) -> None:
    rows: list[tuple[int, str, bytes | str]] = [
        (0x00080016, "UI", wire.CT + "\0"),
        (0x00080018, "UI", "1.2.3\0"),
        (0x00100010, "PN", "AB"),
        (0x0020000D, "UI", "1.2.3.4\0"),
        (0x00280010, "US", b"\1\1"),
    ]
    if syntax == uids.IMPLICIT_LITTLE:
        data = b"".join(bare(tag, value) for tag, _, value in rows)
    else:
        order = ">" if syntax == uids.EXPLICIT_BIG else "<"
        data = b"".join(element(tag, vr, value, None, order) for tag, vr, value in rows)
    found = look(data, syntax)
    assert (found.sop_class, found.sop_instance) == (wire.CT, "1.2.3")
    assert found.study_instance == "1.2.3.4"
    assert found.reasons == found.warnings == ()


def test_only_a_part_of_the_bytes_is_looked_at() -> None:
    data = b"head" + PN + LO + b"tail"
    assert inspect(memoryview(data), 4, uids.EXPLICIT_LITTLE, DEFAULT, len(data) - 4).reasons == ()


def test_a_mapped_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100) + IDENTITY + PN)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        plain = inspect(data, 100, uids.EXPLICIT_LITTLE, DEFAULT)
        changed = inspect(data, 100, uids.EXPLICIT_LITTLE, DEFAULT._replace(lengths="undefined"))
    assert plain == changed
    assert plain.sop_instance == "1.2.3"


CLASS, INSTANCE = element(0x00080016, "UI", "1.7\0"), element(0x00080018, "UI", "1.8\0")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(sequence(item(CLASS + INSTANCE)), ("1.7", "1.8"), id="in an item"),
        pytest.param(
            sequence(item(sequence(item(b"") + item(CLASS)))) + sequence(item(INSTANCE), 0x81150),
            ("1.7", "1.8"),
            id="in different depths",
        ),
        pytest.param(
            element(0x00080006, "SQ", item(CLASS)) + element(0x00080016, "UI", "1.9\0") + INSTANCE,
            ("1.7", "1.8"),
            id="in a sequence that comes first",
        ),
        pytest.param(
            CLASS + INSTANCE + sequence(item(element(0x00080018, "UI", "1.9\0"))),
            ("1.7", "1.8"),
            id="in the data set first",
        ),
        pytest.param(
            sequence(item(element(0x00080018, "UI", "1.9\0"))) + INSTANCE + CLASS,
            ("1.7", "1.8"),
            id="the order is that of the output",
        ),
        pytest.param(
            INSTANCE + sequence(b"") + sequence(item(CLASS)), ("", "1.8"), id="in what is dropped"
        ),
        pytest.param(
            CLASS + element(0x00080018, "UI", " 1 .8\0"), ("1.7", "1.8"), id="with blanks"
        ),
        pytest.param(CLASS + element(0x00080018, "SH", " 1 .8 "), ("1.7", " 1 .8"), id="text"),
        pytest.param(CLASS + element(0x00080018, "UI", "1.8\0.9"), ("1.7", "1.8"), id="NUL inside"),
        pytest.param(CLASS + element(0x00080018, "UN", "1.8\0"), ("1.7", ""), id="not as text"),
    ],
)
def test_sop_uids_are_the_first_in_depth_first_order(
    data: bytes, expected: tuple[str, str]
) -> None:
    found = look(data)
    assert (found.sop_class, found.sop_instance) == expected


def test_other_values_stand_in_the_data_set_itself() -> None:
    found = look(IDENTITY + sequence(item(PN + STUDY)))
    assert (found.study_instance, found.patient_name) == ("", b"")
    found = look(IDENTITY + element(0x0020000D, "UI", "1.2\\1.3\0"))
    assert found.study_instance == "1.2"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LO + PN, "tag order at (0010,0010)"),
        (PN + PN, "repetition of (0010,0010)"),
        (element(0x00100010, "PN", "AB  "), "trailing blanks in (0010,0010)"),
        (element(0x00100010, "PN", "AB\0\0"), "trailing blanks in (0010,0010)"),
        (element(0x00100010, "PN", "A\0"), "trailing blanks in (0010,0010)"),
        (element(0x00100010, "PN", "  "), "trailing blanks in (0010,0010)"),
        (element(0x00100010, "PN", "A"), "odd length of (0010,0010)"),
        (element(0x00281201, "OL", b"a"), "odd length of (0028,1201)"),
        (element(0x0020000D, "UI", "1. 2\0\0"), "blanks in (0020,000d)"),
        (element(0x0020000D, "UI", "1.23\0\0"), "padding of (0020,000d)"),
        (element(0x0020000D, "UI", "1.2"), "padding of (0020,000d)"),
        (open_sequence(b""), "undefined length of (0008,1140)"),
        (sequence(open_item(b"")), "undefined length of (0008,1140)"),
        (sequence(item(PN, 30)) + LO, "wrong length of (0008,1140)"),
        (element(0x00100000, "UL", b"abcd") + PN, "wrong group length in (0010,0000)"),
        (element(0x00100000, "US", b"abcd") + PN, "VR of group length (0010,0000)"),
        (element(0x00100000, "IS", "10") + PN, "VR of group length (0010,0000)"),
        (element(0x00100000, "UL", b"") + PN, "form of group length (0010,0000)"),
        (element(0xFFFCFFFC, "OB", b"ab"), "padding element (fffc,fffc)"),
        (element(0x00100010, "z-", "AB"), "header of (0010,0010)"),
        (b"\x10\0\x10\0UT\1\0\0\0\0\0", "header of (0010,0010)"),
        (element(0x91010, "UN", SEQUENCE_END, UNDEFINED), "header of (0009,1010)"),
        (PN + b"1234", "leftover bytes at the end"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    found = look(IDENTITY + data)
    assert reason in found.reasons
    assert found.plan is not None
    assert look(IDENTITY + PN + LO).reasons == ()


@pytest.mark.parametrize(
    ("data", "changes", "reason"),
    [
        (PN, {"group_length": "create"}, "no group length before (0010,0010)"),
        (
            element(0x00100000, "UL", b"\x0a\0\0\0") + PN,
            {"group_length": "remove"},
            "group length (0010,0000)",
        ),
        (sequence(b""), {"lengths": "undefined"}, "defined length of (0008,1140)"),
        (PN, {"padding": (64, 0)}, "padding element (fffc,fffc)"),
        (element(0x00100010, "UT", "AB"), {"new_vr": False}, "VR of (0010,0010)"),
        (PN, {"transfer_syntax": uids.IMPLICIT_LITTLE}, "another transfer syntax"),
    ],
)
def test_reasons_that_options_give(data: bytes, changes: dict[str, object], reason: str) -> None:
    assert look(data).reasons == ()
    assert reason in look(data, output=DEFAULT._replace(**changes)).reasons  # type: ignore[arg-type]


def test_each_kind_of_reason_is_given_once() -> None:
    blanks = b"".join(element(tag, "LO", "    ") for tag in range(0x00091001, 0x00091020))
    assert look(blanks).reasons == ("trailing blanks in (0009,1001)",)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (open_sequence(open_item(PN) + open_item(b"")) + LO, {"lengths": "undefined"}),
        (element(0x00100000, "UL", b"\x0a\0\0\0") + PN, {"group_length": "create"}),
        (element(0x00100000, "UL", b"\x0a\0\0\0") + PN, {}),
        (PN + LO + element(0xFFFCFFFC, "OB", bytes(32)), {"padding": (64, 0), "meta_length": 60}),
    ],
)
def test_bytes_that_are_what_the_options_ask_for(data: bytes, options: dict[str, object]) -> None:
    found = look(data, output=DEFAULT._replace(**options))  # type: ignore[arg-type]
    assert found.reasons == ()
    assert found.plan is None


def test_another_compression_level_deflates_anew() -> None:
    assert look(PN, uids.DEFLATED).reasons == ()
    found = look(PN, uids.DEFLATED, DEFAULT._replace(compression_level=9))
    assert found.reasons == ("compression level 9",)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (element(0x00100010, "PN", "AB", 10), "Invalid stream"),
        (PN + element(0x00100020, "LO", "", 2), "Invalid stream"),
        (element(0x00100010, "\0\0", ""), "Invalid VR"),
        (element(0x00100010, "L\x7f", ""), "Invalid VR"),
        (bytes(8), "Invalid VR"),
        (PN + bytes(12), "Invalid VR"),
        (item(b""), "Invalid tag"),
        (bare(0xFFFEE00D, b""), "Invalid tag"),
        (SEQUENCE_END, "Item Delimitation Item missing"),
        (
            sequence(item(PN, 9)),
            "Length of element larger than explicit length of surrounding item",
        ),
        (element(0x00081140, "SQ", item(PN), UNDEFINED), "Sequence Delimitation Item missing"),
        (sequence(PN), "Sequence Delimitation Item missing"),
        (element(0x00100010, "UT", "", UNDEFINED), "Corrupted data"),
        (
            element(0x00091010, "OB", "", UNDEFINED),
            "Illegal element with OB or OW Value Representation and undefined length encountered",
        ),
    ],
)
def test_refusals(data: bytes, text: str) -> None:
    assert refusal(IDENTITY + data) == text


def test_refusals_of_encapsulated_data() -> None:
    assert refusal(element(PIXEL_DATA, "OB", b"abcd"), wire.JPEG_BASELINE) == (
        "Pixel data in top level dataset in compressed Transfer Syntax uses explicit length"
    )
    assert (
        refusal(fragments(b"", end=b""), wire.JPEG_BASELINE) == "Sequence Delimitation Item missing"
    )
    assert refusal(fragments(b"", end=item(b"a", 2)), wire.JPEG_BASELINE) == "Invalid stream"


@pytest.mark.parametrize(
    ("data", "syntax", "target", "text"),
    [
        (b"", wire.EXPLICIT, None, "Illegal call, perhaps wrong parameters"),
        (fragments(b"", b"ab"), wire.EXPLICIT, None, "Pixel representation not found"),
        (
            fragments(b"", b"ab"),
            wire.JPEG_BASELINE,
            wire.EXPLICIT,
            "Pixel representation not found",
        ),
        (fragments(b"", b"ab"), wire.JPEG_BASELINE, wire.RLE, "Pixel representation not found"),
        (
            element(PIXEL_DATA, "OB", b"ab"),
            wire.EXPLICIT,
            wire.RLE,
            "Pixel representation not found",
        ),
        (element(PIXEL_DATA, "OB", b"ab"), wire.EXPLICIT, wire.BIG, ""),
        (PN, wire.EXPLICIT, wire.RLE, ""),
        (PN, wire.RLE, wire.IMPLICIT, ""),
        (sequence(item(element(PIXEL_DATA, "OB", b"ab"))), wire.EXPLICIT, wire.RLE, ""),
    ],
)
def test_what_cannot_be_written(data: bytes, syntax: str, target: str | None, text: str) -> None:
    found = look(data, syntax, DEFAULT._replace(transfer_syntax=target))
    assert found.unwritable == text
    assert found.plan is None or not text


def test_findings_of_encapsulated_data() -> None:
    found = look(IDENTITY + fragments(b"", b"abcd"), wire.JPEG_BASELINE)
    assert found.has_pixel_data
    assert found.encapsulated
    assert found.reasons == ()


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        (LO + PN, "DcmItem: Dataset not in ascending tag order, at element (0010,0010)"),
        (
            PN + PN,
            "DcmItem: Element (0010,0010) found twice in one data set or item, "
            "ignoring second entry",
        ),
        (element(0x00100010, "PN", "A"), "DcmItem: Length of element (0010,0010) is odd"),
        (
            element(0x00280010, "UL", b"ab"),
            "DcmItem: Length of element (0028,0010) is not a multiple of 4 (VR=UL)",
        ),
        (
            element(0x00100010, "ZZ", b"\0\0\0\0\0\0"),
            "DcmItem: Non-standard VR 'ZZ' (5a\\5a) encountered while parsing element "
            "(0010,0010), assuming 4 byte length field",
        ),
        (
            element(0x00100010, "z-", "AB"),
            "DcmItem: Non-standard VR 'z-' (7a\\2d) encountered while parsing element "
            "(0010,0010), assuming 2 byte length field",
        ),
        (
            element(0x00100000, "US", b"ab"),
            "DcmItem: Group Length with VR other than UL found, corrected",
        ),
        (
            element(0x91010, "UN", SEQUENCE_END, UNDEFINED),
            "Found element (0009,1010) with VR UN and undefined length, reading a sequence with "
            "transfer syntax LittleEndianImplicit (CP-246)",
        ),
        (
            element(0x00020010, "UI", "1.2\0"),
            "DcmItem: Invalid Element (0002,0010) found in data set",
        ),
        (
            sequence(item(PN, 6)),
            "DcmItem: Explicit item length (6 bytes) too large for the elements contained in "
            "the item",
        ),
        (
            sequence(item(element(0x00281201, "OW", b"a"))),
            "DcmSequenceOfItems: Length of item in sequence (0008,1140) is odd",
        ),
        (
            element(0x0020000D, "UI", "1. 2"),
            "DcmUniqueIdentifier: Element (0020,000d) contains one or more space characters, "
            "which were removed",
        ),
    ],
)
def test_warnings(data: bytes, warning: str) -> None:
    assert warning in look(data).warnings
    assert look(PN + LO).warnings == ()


def test_warnings_are_bounded() -> None:
    odd = b"".join(element(0x00091000 + number, "LO", "A") for number in range(1000))
    *heard, last = look(odd).warnings
    assert len(heard) == MAX_WARNINGS
    assert last == f"{1000 - MAX_WARNINGS} more warnings about this data set"


def nested(depth: int, *, undefined: bool = False) -> bytes:
    head, tail = (element(0x00081140, "SQ", b"", UNDEFINED) + item(b"", UNDEFINED)), b""
    if undefined:
        tail = bare(0xFFFEE00D, b"") + SEQUENCE_END
        return head * depth + tail * depth
    size, levels = 0, []
    for _ in range(depth):
        levels.append(struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, size + 8) + item(b"", size))
        size += 20
    return b"".join(reversed(levels))


@pytest.mark.parametrize("undefined", [False, True])
def test_deep_nesting(undefined: bool) -> None:
    assert look(nested(2000, undefined=undefined)).unwritable == ""
    assert look(nested(MAX_DEPTH, undefined=undefined)).unwritable == ""
    with pytest.raises(TooDeep, match="nested deeper than 4096"):
        look(nested(MAX_DEPTH + 1, undefined=undefined))


def test_the_quick_scan_finds_what_the_slow_walk_finds() -> None:
    """Whatever the scan takes the walk takes too, with the same findings and no reason."""
    taken = 0
    cases = [(entry.syntax, entry.data) for entry in corpus.entries() if len(entry.data) < 1 << 20]
    cases += [(made.syntax, made.data) for made in map(wild, range(5000, 6000))]
    for syntax, data in cases:
        if syntax == uids.DEFLATED:
            data = zlib.decompressobj(-15).decompress(data)
        quick = plainscan.scan(memoryview(data), 0, len(data), syntax, DEFAULT)
        if quick is not None:
            taken += 1
            assert quick == examine(memoryview(data), 0, len(data), syntax, DEFAULT)
    assert taken > 60


@pytest.mark.parametrize("group_length", ["recalc", "remove"])
def test_no_vr_misleads_the_quick_scan(group_length: Literal["recalc", "remove"]) -> None:
    """Every VR in the place of another, where an element means something to the scan."""
    output = OutputOptions(group_length=group_length)
    plain = {
        0x00080005: element(0x00080005, "CS", "ISO_IR 100"),
        0x00080016: element(0x00080016, "UI", "1.2\0"),
        0x00080018: element(0x00080018, "UI", "1.2.3\0"),
        0x00100010: PN,
        0x00100020: LO,
        0x0020000D: STUDY,
    }
    taken = refused = 0
    for tag, name, value in product(
        (0x00080000, *plain, 0x00200000, 0x00270000),
        (*TEXT, *BINARY, "UI", "SQ"),
        ("", "12", "1 2 ", " 1.2", "1\\23", "1.2\0", "\x0c\0\0\0", "12345678"),
    ):
        elements = plain | {tag: element(tag, name, value)}
        data = b"".join(elements[tag] for tag in sorted(elements))
        quick = plainscan.scan(data, 0, len(data), uids.EXPLICIT_LITTLE, output)
        if quick is None:
            refused += 1
            continue
        taken += 1
        assert quick == examine(data, 0, len(data), uids.EXPLICIT_LITTLE, output), (name, value)
    assert min(taken, refused) > 100


@pytest.mark.parametrize("size", [0, 1, 10, 1 << 18, (1 << 18) + 1, 1 << 20])
def test_inflating(size: int, tmp_path: Path) -> None:
    content = os.urandom(size // 2) + bytes(size - size // 2)
    deflater = zlib.compressobj(wbits=-15)
    stream = deflater.compress(content) + deflater.flush()
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"head" + stream + bytes(1 + len(stream) % 2))
    with source.open("rb") as one, target.open("wb") as other:
        assert inflate(one.fileno(), 4, other.fileno()) == len(content)
    assert target.read_bytes() == content


def test_a_deflate_stream_that_breaks_off(tmp_path: Path) -> None:
    deflater = zlib.compressobj(wbits=-15)
    stream = deflater.compress(b"content" * 100) + deflater.flush(zlib.Z_SYNC_FLUSH)
    (tmp_path / "source").write_bytes(stream)
    with (tmp_path / "source").open("rb") as one, (tmp_path / "target").open("wb") as other:
        assert inflate(one.fileno(), 0, other.fileno()) == 700
    assert (tmp_path / "target").read_bytes() == b"content" * 100


def test_a_deflated_data_set_without_elements() -> None:
    assert look(b"", uids.DEFLATED).unwritable == ""


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (b"\xff\xff\xff\xff", "ZLib Error: invalid block type"),
        (zlib.compress(b"with a header"), "ZLib Error: invalid stored block lengths"),
    ],
)
def test_what_is_no_deflate_stream(stream: bytes, text: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(stream)
    with (
        source.open("rb") as one,
        (tmp_path / "target").open("wb") as other,
        pytest.raises(DataSetError, match=text),
    ):
        inflate(one.fileno(), 0, other.fileno())
