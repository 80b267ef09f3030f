"""How data sets are written: expected bytes from the standard and from DCMTK 3.7.0's rules."""

import errno
import mmap
import os
import shutil
import struct
import subprocess
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import wire
from harness.datasets import (
    IDENTITY,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    bare,
    element,
    fragments,
    item,
    open_item,
    open_sequence,
    sequence,
)
from harness.objects import Object, part10, split_part10

from dcmstore import layout, outflow, uids
from dcmstore.dataset import OutputOptions
from dcmstore.elements import inspect
from dcmstore.encoding import EncodingError, encoded, parts, rewrite, write

PN, LO = element(0x00100010, "PN", "AB"), element(0x00100020, "LO", "CD")
DEFAULT = OutputOptions()
EXPLICIT, IMPLICIT, BIG = uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE, uids.EXPLICIT_BIG


def written(data: bytes, syntax: str = EXPLICIT, output: OutputOptions = DEFAULT) -> bytes:
    """Return what a data set becomes, by the quick way and by the thorough one."""
    found = inspect(memoryview(data), 0, syntax, output)
    quick = b"".join(encoded(memoryview(data), 0, len(data), found, syntax, output))
    target = os.memfd_create("target")
    try:
        rewrite(memoryview(data), 0, len(data), syntax, output, target)
        slow = os.pread(target, 1 << 24, 0)
    finally:
        os.close(target)
    assert quick == slow
    return slow


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("AB", "AB"),
        ("ABC", "ABC "),
        ("AB  ", "AB"),
        ("AB \0", "AB"),
        ("A\0", "A "),
        ("A\0B\0", "A\0B "),
        ("ABC\0\0\0", "ABC "),
        ("    ", ""),
        ("\0\0", ""),
        (" ", ""),
        (" A B ", " A B"),
        ("A \\ B\\ ", "A \\ B\\"),
        ("AB\n\t", "AB\n\t"),
        (" " * 2001, ""),
        ("A" + " " * 2001, "A "),
    ],
)
@pytest.mark.parametrize("vr", ["AE", "CS", "DS", "LO", "LT", "PN", "UC", "UR", "UT"])
def test_text_values(vr: str, value: str, expected: str) -> None:
    """The reference of this version strips NULs, too, and pads with a space."""
    if len(expected) % 2:
        expected += " "
    assert written(element(0x00100010, vr, value)) == element(0x00100010, vr, expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.2", "1.2\0"),
        ("1.2\0", "1.2\0"),
        ("1.23\0\0", "1.23"),
        (" 1. 2 ", "1.2\0"),
        ("1\n2\t3\v4\f5\r6", "123456"),
        ("1\0002\0", "1\0002\0"),
        ("    ", ""),
    ],
)
def test_uid_values(value: str, expected: str) -> None:
    assert written(element(0x0020000D, "UI", value)) == element(0x0020000D, "UI", expected)


@pytest.mark.parametrize("vr", ["OB", "UN", "US", "FD", "OF", "SV", "AT"])
def test_odd_binary_values(vr: str) -> None:
    assert written(element(0x00100010, vr, b"abc")) == element(0x00100010, vr, b"abc\0")


def test_odd_words_stay_odd() -> None:
    assert written(element(0x00281201, "OW", b"abc")) == element(0x00281201, "OW", b"abc")


SWAPS = [
    ("US", b"ab", b"ba"),
    ("SS", b"abcd", b"badc"),
    ("AT", b"abcd", b"badc"),
    ("OW", b"abcdef", b"badcfe"),
    ("UL", b"abcd", b"dcba"),
    ("SL", b"abcdefgh", b"dcbahgfe"),
    ("FL", b"abcd", b"dcba"),
    ("OF", b"abcd", b"dcba"),
    ("OL", b"abcd", b"dcba"),
    ("FD", b"abcdefgh", b"hgfedcba"),
    ("OD", b"abcdefgh", b"hgfedcba"),
    ("OV", b"abcdefgh", b"hgfedcba"),
    ("SV", b"abcdefgh", b"hgfedcba"),
    ("UV", b"abcdefgh", b"hgfedcba"),
    ("OB", b"abcd", b"abcd"),
    ("UN", b"abcd", b"abcd"),
    ("LO", b"abcd", b"abcd"),
    ("FD", b"abcdef", b"abcdef"),
    ("UL", b"abcdef", b"dcbaef"),
    ("US", b"abc", b"ba\0c"),
]


@pytest.mark.parametrize(("vr", "value", "swapped"), SWAPS)
@pytest.mark.parametrize("times", [1, 1000, 500_000], ids=["small", "inline", "large"])
def test_byte_order(vr: str, value: bytes, swapped: bytes, times: int) -> None:
    """Small values and large ones take different ways through the plan."""
    if times > 1 and (vr not in ("OW", "OF", "OD", "OV", "OB", "UN") or len(value) % 4):
        times = 1
    little = element(0x00091001, vr, value * times)
    big = element(0x00091001, vr, swapped * times, order=">")
    assert written(little, EXPLICIT, DEFAULT._replace(transfer_syntax=BIG)) == big
    if len(value) % 2 == 0:
        assert written(big, BIG, DEFAULT._replace(transfer_syntax=EXPLICIT)) == little


@pytest.mark.parametrize("vr", ["OD", "OF", "OL", "OV", "SV", "UC", "UN", "UR", "UT", "UV"])
def test_new_vrs_disabled(vr: str) -> None:
    """They become OB, whose bytes are little endian even in big endian."""
    data = element(0x00091001, vr, b"ABCDEFGH")
    for syntax, order in ((EXPLICIT, "<"), (BIG, ">")):
        output = DEFAULT._replace(transfer_syntax=syntax, new_vr=False)
        assert written(data, output=output) == element(0x00091001, "OB", b"ABCDEFGH", order=order)
    assert written(PN + LO, output=DEFAULT._replace(new_vr=False)) == PN + LO


@pytest.mark.parametrize("size", [65533, 65534, 65535, 65536])
def test_values_too_long_for_16_bits(size: int) -> None:
    value = b"\1\2" * (size // 2) + b"\3" * (size % 2)
    data = bare(0x00280010, value)
    padded = value + b"\0" * (size % 2)
    vr = "US" if size <= 65534 else "UN"
    assert written(data, IMPLICIT, DEFAULT._replace(transfer_syntax=EXPLICIT)) == element(
        0x00280010, vr, padded
    )
    old = DEFAULT._replace(transfer_syntax=EXPLICIT, new_vr=False)
    vr = "US" if size <= 65534 else "OB"
    assert written(data, IMPLICIT, old) == element(0x00280010, vr, padded)
    big = written(data, IMPLICIT, DEFAULT._replace(transfer_syntax=BIG))
    assert (big[12:] == padded) == (size > 65534)


def test_trailing_blanks_do_not_make_a_text_long() -> None:
    data = bare(0x00100010, "A" * 65534 + " " * 100)
    output = DEFAULT._replace(transfer_syntax=EXPLICIT)
    assert written(data, IMPLICIT, output) == element(0x00100010, "PN", "A" * 65534)


def test_lengths_of_sequences_and_items() -> None:
    closed = sequence(item(PN) + item(b"")) + sequence(b"", 0x00081150)
    opened = open_sequence(open_item(PN) + open_item(b"")) + open_sequence(b"", 0x00081150)
    undefined = DEFAULT._replace(lengths="undefined")
    assert written(closed) == written(opened) == closed
    assert written(closed, output=undefined) == written(opened, output=undefined) == opened


def test_group_lengths() -> None:
    def group(number: int, size: int) -> bytes:
        return element(number << 16, "UL", struct.pack("<I", size))

    inner = item(PN + LO)
    bare_set = IDENTITY + sequence(inner) + element(0x00090010, "LO", "AB") + PN
    counted = (
        group(8, len(IDENTITY) + 12 + 8 + 12 + len(PN + LO))
        + IDENTITY
        + sequence(item(group(0x10, len(PN + LO)) + PN + LO))
        + group(9, 10)
        + element(0x00090010, "LO", "AB")
        + group(0x10, len(PN))
        + PN
    )
    create = DEFAULT._replace(group_length="create")
    remove = DEFAULT._replace(group_length="remove")
    assert written(bare_set, output=create) == counted
    assert written(counted, output=create) == counted
    assert written(counted, output=remove) == bare_set
    wrong = counted.replace(group(9, 10), group(9, 11))
    assert written(wrong) == counted


def test_padding() -> None:
    output = DEFAULT._replace(padding=(64, 32), meta_length=100)
    data = IDENTITY + sequence(item(PN)) + LO
    result = written(data, output=output)
    assert (132 + 100 + len(result)) % 64 == 0
    inner = item(PN + element(0xFFFCFFFC, "OB", bytes(32 - len(PN) - 12)))
    begin = IDENTITY + sequence(inner) + LO
    assert result == begin + element(0xFFFCFFFC, "OB", bytes(len(result) - len(begin) - 12))
    assert written(result, output=output) == result
    assert written(result) == data
    # A large pad is made of zeros that nobody keeps in memory.
    output = DEFAULT._replace(padding=(1 << 20, 0), meta_length=100)
    assert 232 + len(written(data, output=output)) == 1 << 20
    # Where the header does not fit into what is missing, one more multiple is added.
    for size in range(0, 40, 2):
        value = element(0x00104000, "LT", "A" * size)
        assert len(written(value, output=DEFAULT._replace(padding=(16, 0)))) % 16 == -132 % 16


def test_one_odd_pad_size_and_nothing_is_touched() -> None:
    data = element(0x00080000, "UL", b"abcd") + IDENTITY + element(0xFFFCFFFC, "OB", b"xx")
    for padding in ((33, 2), (2, 33)):
        for group_length in ("recalc", "create", "remove"):
            output = DEFAULT._replace(padding=padding, group_length=group_length)
            assert written(data, output=output) == data


def test_odd_fragments() -> None:
    data = fragments(b"", b"abc", b"de")
    assert written(data, wire.JPEG_BASELINE) == fragments(b"", b"abc\0", b"de")


def test_converted_un_of_undefined_length() -> None:
    inner = bare(0x00280010, b"\1\2") + bare(0x00091001, "AB")
    data = element(0x00091010, "UN", item(inner) + SEQUENCE_END, UNDEFINED)
    explicit = element(0x00280010, "US", b"\1\2") + element(0x00091001, "UN", "AB")
    explicit = element(0x00091001, "UN", "AB") + element(0x00280010, "US", b"\1\2")
    assert written(data) == sequence(item(explicit), 0x00091010)


def test_without_pixel_data_an_encapsulated_syntax_is_as_good_as_any(tmp_path: Path) -> None:
    """The reference's converter writes such a data set in explicit VR little endian."""
    data = IDENTITY + open_sequence(open_item(PN)) + LO
    explicit = IDENTITY + sequence(item(PN)) + LO
    for target, option in ((EXPLICIT, "+te"), (IMPLICIT, "+ti"), (BIG, "+tb")):
        output = DEFAULT._replace(transfer_syntax=target)
        result = written(data, wire.JPEG_BASELINE, output)
        if target == EXPLICIT:
            assert result == explicit
        if converter := shutil.which("dcmconv"):
            source, copy = tmp_path / "source", tmp_path / "copy"
            source.write_bytes(part10(Object(wire.CT, "1.2.3", wire.JPEG_BASELINE, data)))
            subprocess.run([converter, option, source, copy], check=True)
            assert result == split_part10(copy.read_bytes()).data
    output = DEFAULT._replace(transfer_syntax=wire.JPEG_BASELINE)
    assert written(data, EXPLICIT, output) == explicit


def test_deflated() -> None:
    content = IDENTITY + open_sequence(open_item(PN)) + element(PIXEL_DATA, "OW", bytes(300_000))
    expected = IDENTITY + sequence(item(PN)) + element(PIXEL_DATA, "OW", bytes(300_000))
    sizes = []
    for level in (0, 1, 6, 9):
        output = DEFAULT._replace(transfer_syntax=uids.DEFLATED, compression_level=level)
        stream = written(content, EXPLICIT, output)
        assert len(stream) % 2 == 0
        inflater = zlib.decompressobj(wbits=-15)
        assert inflater.decompress(stream) == expected
        assert inflater.unused_data in (b"", b"\0")
        sizes.append(len(stream))
    assert sizes[0] > len(expected) > sizes[1] > sizes[3]
    assert written(content, uids.DEFLATED) == written(
        content, EXPLICIT, DEFAULT._replace(transfer_syntax=uids.DEFLATED)
    )


def test_what_cannot_be_written() -> None:
    target = os.memfd_create("target")
    data = memoryview(fragments(b"", b"ab"))
    output = DEFAULT._replace(transfer_syntax=EXPLICIT)
    with pytest.raises(EncodingError, match="Pixel representation not found"):
        rewrite(data, 0, len(data), wire.JPEG_BASELINE, output, target)
    assert os.fstat(target).st_size == 0
    os.close(target)


@pytest.mark.parametrize("output", [DEFAULT, DEFAULT._replace(lengths="undefined")])
def test_deep_nesting(output: OutputOptions) -> None:
    """2,000 levels, out of order on each: no recursion, no quadratic time worth a name."""
    data = PN
    for _ in range(2000):
        data = LO + element(0x00081140, "SQ", b"", UNDEFINED) + item(data, UNDEFINED)
    data += (bare(0xFFFEE00D, b"") + SEQUENCE_END) * 2000
    result = written(data, output=output)
    assert written(result, output=output) == result
    closed = PN
    for _ in range(2000):
        closed = sequence(item(closed)) + LO
    assert written(result) == closed


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[mmap.mmap]:
    """A mapped data set of over 4 GiB, of which only the headers take room on the disk."""
    half = 0x80000010
    path = tmp_path / "sparse"
    with path.open("w+b") as file:
        file.write(element(0x00090000, "UL", b"abcd"))
        file.write(element(0x00091000, "SQ", b"", UNDEFINED) + item(b"", UNDEFINED))
        for element_number in (0x00111001, 0x00111002):
            file.write(element(element_number, "OB", b"", half))
            file.seek(half, os.SEEK_CUR)
        file.write(bare(0xFFFEE00D, b"") + SEQUENCE_END)
        for tag in (0x7FE00010, 0x7FE00020):
            file.write(element(tag, "OW", b"", half))
            file.seek(half, os.SEEK_CUR)
        file.write(element(0xFFFC0010, "LO", "AB"))
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def test_more_than_32_bits(sparse: mmap.mmap) -> None:
    """Sequence and item become undefined, and the groups have no length (PS3.5 section 7.2)."""
    output = DEFAULT._replace(group_length="create")
    found = inspect(sparse, 0, EXPLICIT, output)
    assert found.plan is not None
    pieces = [bytes(part) if len(part) < 1000 else len(part) for part in parts(sparse, found.plan)]
    two = 2 * (12 + 0x80000010)
    assert pieces == [
        element(0x00091000, "SQ", item(b"", UNDEFINED), UNDEFINED),
        two,
        bare(0xFFFEE00D, b"") + SEQUENCE_END,
        two,
        element(0xFFFC0000, "UL", struct.pack("<I", 10)) + element(0xFFFC0010, "LO", "AB"),
    ]
    assert found.plan.length == sum(n if isinstance(n, int) else len(n) for n in pieces)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_sequence(b"".join(open_item(PN) for _ in range(3000)))
    assert inspect(memoryview(data), 0, EXPLICIT, DEFAULT).unwritable == ""
    shuffled = b"".join(element(0x00090000 | n, "LO", "AB") for n in range(0xF000, 0x1000, -8))
    monkeypatch.setattr(layout, "MEMORY_LIMIT", 20_000)
    monkeypatch.setattr("dcmstore.levels.MEMORY_LIMIT", 20_000)
    wide = bare(0x0020000D, " 1" * 20_000)
    for large, syntax in ((data, EXPLICIT), (shuffled, EXPLICIT), (wide, IMPLICIT)):
        found = inspect(memoryview(large), 0, syntax, DEFAULT)
        assert "too much memory" in found.unwritable
        assert found.plan is None


@pytest.mark.parametrize("size", [20, 600], ids=["literals", "pieces"])
def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What is nested deeply moves with each level that is put in order."""
    monkeypatch.setattr("dcmstore.levels.MOST_MOVED", 1000)
    content = b"".join(element(0x00090010 + n, "LT", "A" * size) for n in range(30, 0, -1))
    for depth, bearable in ((10, True), (100, False)):
        data = content
        for _ in range(depth):
            data = open_sequence(open_item(data)) + LO + PN
        found = inspect(memoryview(data), 0, EXPLICIT, DEFAULT)
        assert found.unwritable == "" if bearable else "or time" in found.unwritable


@pytest.mark.parametrize("output", [DEFAULT, DEFAULT._replace(transfer_syntax=EXPLICIT)])
@pytest.mark.parametrize("tag", [0x00080018, 0x00100010, 0x0020000D])
def test_memory_does_not_grow_with_texts(tag: int, output: OutputOptions) -> None:
    length = 32 << 20
    head = struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
    with mmap.mmap(-1, len(head) + length) as data:
        data[: len(head)] = head
        for at in range(len(head), len(data), 1 << 20):
            data[at : at + (1 << 20)] = b"1" * (1 << 20)
        inspect(data, 0, IMPLICIT, output)  # loads the dictionary
        tracemalloc.start()
        try:
            found = inspect(data, 0, IMPLICIT, output)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
    assert not found.unwritable
    assert "1" * 1000 in (found.sop_instance + found.study_instance + found.patient_name.decode())


def test_pixel_data_that_are_not_written_are_none() -> None:
    data = element(PIXEL_DATA, "PN", "AB") + element(PIXEL_DATA, "OW", "abcd")
    assert written(data) == element(PIXEL_DATA, "PN", "AB")
    assert not inspect(memoryview(data), 0, EXPLICIT, DEFAULT).has_pixel_data


def test_an_endless_uid_is_only_padded() -> None:
    uid = "1 " * (1 << 20) + "1"
    data = bare(0x0020000D, uid[: 1 << 19]) + bare(0x00200052, uid)
    assert written(data, IMPLICIT) == (
        bare(0x0020000D, "1" * (1 << 18)) + bare(0x00200052, uid + "\0")
    )


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[int, mmap.mmap]]:
    """A file with pixel data of 40 MB that has to be rewritten."""
    path = tmp_path / "large"
    pixels = bytes(range(256)) * 160_000
    path.write_bytes(open_sequence(open_item(PN)) + element(PIXEL_DATA, "OW", pixels))
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        yield file.fileno(), data


@pytest.mark.parametrize("target_syntax", [EXPLICIT, BIG, uids.DEFLATED])
def test_memory_stays_constant(
    large: tuple[int, mmap.mmap], tmp_path: Path, target_syntax: str
) -> None:
    _, data = large
    output = DEFAULT._replace(transfer_syntax=target_syntax, compression_level=1)
    with (tmp_path / "target").open("wb") as target:
        tracemalloc.start()
        try:
            rewrite(data, 0, len(data), EXPLICIT, output, target.fileno())
            assert tracemalloc.get_traced_memory()[1] < 2 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("way", ["kernel", "kernel refuses", "kernel stops", "mapping"])
def test_ways_of_copying(
    large: tuple[int, mmap.mmap], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    fd, data = large
    calls = []
    real = os.copy_file_range

    def copy(source: int, target: int, count: int, offset: int) -> int:
        calls.append(count)
        if way == "kernel refuses":
            raise OSError(errno.EXDEV, "other file system")
        if way == "kernel stops":
            return 0 if len(calls) > 1 else real(source, target, 100_000, offset)
        return real(source, target, count, offset)

    monkeypatch.setattr(os, "copy_file_range", copy)
    path = tmp_path / "target"
    with path.open("wb") as target:
        target.write(b"head")
        target.flush()
        source = None if way == "mapping" else fd
        rewrite(data, 0, len(data), EXPLICIT, DEFAULT, target.fileno(), source)
    assert path.read_bytes() == b"head" + sequence(item(PN)) + data[len(data) - 40_960_012 :]
    assert bool(calls) == (way != "mapping")


def test_a_full_disk_leaves_the_mapping_free(large: tuple[int, mmap.mmap]) -> None:
    """The caller can close its mapping while it handles the error."""
    fd, _ = large
    for source in (fd, None):
        data = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        with open("/dev/full", "wb", buffering=0) as target:
            with pytest.raises(OSError, match="No space left") as caught:
                rewrite(data, 0, len(data), EXPLICIT, DEFAULT, target.fileno(), source)
            data.close()
            assert caught.value.errno == errno.ENOSPC


def test_short_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes a few bytes at a time gets them all."""
    taken = bytearray()

    def writev(fd: int, buffers: list[memoryview]) -> int:
        part = b"".join(buffers)[:7]
        taken.extend(part)
        return len(part)

    def write_some(fd: int, view: memoryview) -> int:
        taken.extend(view[:5])
        return len(view[:5])

    monkeypatch.setattr(os, "writev", writev)
    monkeypatch.setattr(os, "write", write_some)
    views = [memoryview(b"one"), memoryview(b""), memoryview(b"twenty-three"), memoryview(b"4")]
    outflow.write_gathered(1, views)
    assert taken == b"onetwenty-three4"
    assert outflow.write_all(1, b"something longer") == 16
    assert taken == b"onetwenty-three4something longer"


def test_findings_can_be_written_later() -> None:
    data = memoryview(IDENTITY + open_sequence(open_item(PN)))
    found = inspect(data, 0, EXPLICIT, DEFAULT)
    target = os.memfd_create("target")
    size = write(data, 0, len(data), found, EXPLICIT, DEFAULT, target)
    assert os.pread(target, 1000, 0) == IDENTITY + sequence(item(PN))
    assert size == os.fstat(target).st_size
    os.close(target)
