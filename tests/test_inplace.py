"""Data sets written over themselves: only where that is safe, and to the bytes they should have."""

import errno
import mmap
import os
import tracemalloc
from array import array
from random import Random

import pytest
from harness.datasets import IDENTITY, PIXEL_DATA, element
from hypothesis import given
from hypothesis import strategies as st
from test_encoding_hypothesis import DATA_SETS, OPTIONS, QUICK, Element, encode

from dcmstore import encoding, inplace, outflow, uids
from dcmstore.dataset import Findings, OutputOptions, Plan
from dcmstore.elements import inspect

EXPLICIT, BIG = uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG
LARGE = 1 << 16


def planned(literals: int, *pieces: tuple[int, int, int, int]) -> Plan:
    """Return a plan with so many new bytes; what those are does not matter."""
    numbers = array("Q", [number for piece in pieces for number in piece])
    length = literals + sum(end - start for _, start, end, _ in pieces)
    return Plan(bytearray(range(literals)), numbers, length)


def carrying_out(layout: Plan) -> Findings:
    return Findings("", "", "", b"", b"", False, False, ("a test",), (), "", layout)


def written_over(content: bytes, start: int, found: Findings) -> bytes:
    """Write what was found over a file, from an offset on, and return the file."""
    fd = os.memfd_create("target")
    try:
        outflow.write_all(fd, content)
        os.lseek(fd, start, os.SEEK_SET)
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data:
            encoding.write(data, 0, len(data), found, EXPLICIT, OutputOptions(), fd, fd)
        os.ftruncate(fd, os.lseek(fd, 0, os.SEEK_CUR))
        return os.pread(fd, 1 << 24, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("layout", "fits"),
    [
        pytest.param(planned(100), True, id="nothing but new bytes"),
        pytest.param(planned(8, (8, 108, 1000, 1)), True, id="stays"),
        pytest.param(planned(4, (4, 108, 1000, 1)), True, id="moves ahead"),
        pytest.param(planned(9, (9, 108, 1000, 1)), False, id="moves back"),
        pytest.param(planned(9, (0, 108, 1000, 1)), True, id="new bytes come later"),
        pytest.param(planned(0, (0, 100, 200, 1), (0, 199, 300, 1)), False, id="repeats a byte"),
        pytest.param(planned(0, (0, 100, 200, 1), (0, 201, 300, 1)), True, id="drops a byte"),
        pytest.param(planned(0, (0, 200, 300, 1), (0, 100, 200, 1)), False, id="changes order"),
        pytest.param(planned(0, (0, 400, 450, 1), (0, 150, 250, 1)), True, id="fills a gap"),
        pytest.param(planned(0, (0, 100, 200, 2), (0, 200, 400, 8)), True, id="swaps"),
        pytest.param(planned(1, (1, 100, 200, 2)), False, id="swaps what moves back"),
        pytest.param(planned(0, (0, 102, 102 + 4 * LARGE, 2)), True, id="swaps much, ahead"),
        pytest.param(planned(1, (1, 100, 100 + 4 * LARGE, 4)), False, id="swaps much, back"),
        pytest.param(planned(0, (0, 100, 100 + LARGE, 1)), True, id="large one stays"),
        pytest.param(planned(0, (0, 101, 101 + LARGE, 1)), False, id="large one moves ahead"),
        pytest.param(planned(0, (0, 101, 100 + LARGE, 1)), True, id="just not large"),
        pytest.param(planned(0, (0, 0, 9999, 0)), True, id="zeros come from nowhere"),
        pytest.param(planned(0, (0, 0, 2, 0), (0, 101, 200, 1)), False, id="zeros push"),
    ],
)
def test_what_fits(layout: Plan, fits: bool) -> None:
    """The new form starts at offset 100."""
    assert inplace.fits(layout, 100) == fits


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, Plan]:
    """Draw where the output starts, and a plan of which most parts can go where they are to."""
    start = at = draw(st.integers(0, 20))
    literals, pieces = 0, []
    for _ in range(draw(st.integers(0, 8))):
        new, word = draw(st.integers(0, 12)), draw(st.sampled_from((0, 1, 1, 2, 4, 8)))
        literals, at = literals + new, at + new
        length = draw(st.integers(1, 6)) * 8 if word > 1 else draw(st.integers(1, 40))
        source = max(0, at + draw(st.integers(-1, 12) | st.just(0)))
        pieces.append((literals, source, source + length, word))
        at += length
    return start, planned(literals + draw(st.integers(0, 12)), *pieces)


def test_plans_over_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said to fit is the same afterwards as in another file."""
    monkeypatch.setattr(inplace, "_LARGE", 16)
    monkeypatch.setattr(encoding, "_CHUNK", 16)
    fitting = []

    @QUICK
    @given(layouts(), st.randoms(use_true_random=False))
    def check(drawn: tuple[int, Plan], dice: Random) -> None:
        start, layout = drawn
        content = dice.randbytes(1000)
        if not inplace.fits(layout, start):
            return
        fitting.append(layout)
        expected = content[:start] + b"".join(encoding.parts(content, layout))
        assert written_over(content, start, carrying_out(layout)) == expected

    check()
    assert fitting, "none of them fits"


def test_data_sets_over_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with plans as they are made, in all forms that can be asked for."""
    monkeypatch.setattr(inplace, "_LARGE", 16)
    monkeypatch.setattr(encoding, "_CHUNK", 16)
    for module in ("layout", "elementlayout"):
        monkeypatch.setattr(f"dcmstore.{module}.INLINE", 2)
    fitting = []

    @QUICK
    @given(DATA_SETS, st.booleans(), st.sampled_from((EXPLICIT, BIG)), OPTIONS, st.integers(0, 20))
    def check(
        elements: list[Element], undefined: bool, syntax: str, output: OutputOptions, shorter: int
    ) -> None:
        header = bytes(20)
        data = encode(elements, ">" if syntax == BIG else "<", undefined)
        content = bytes(len(header) + shorter) + data
        found = inspect(content, len(header) + shorter, syntax, output)
        if found.plan is None or not inplace.fits(found.plan, len(header)):
            return
        fitting.append(elements)
        expected = b"".join(encoding.parts(content, found.plan))
        assert written_over(content, len(header), found)[len(header) :] == expected

    check()
    assert fitting, "none of them fits"


def image(vr: str, size: int) -> bytes:
    return IDENTITY + element(PIXEL_DATA, vr, bytes(range(256)) * (size // 256))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the size of whatever is written from now on."""
    sizes: list[int] = []
    real = os.write

    def write(fd: int, part: memoryview) -> int:
        sizes.append(len(part))
        return real(fd, part)

    monkeypatch.setattr(os, "write", write)
    return sizes


def test_large_values_that_stay_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    data = image("OB", 1 << 20)
    found = inspect(data, 0, EXPLICIT, OutputOptions(BIG))
    assert found.plan is not None
    expected = b"".join(encoding.parts(data, found.plan))
    assert expected[-(1 << 20) :] == data[-(1 << 20) :]
    sizes = counted(monkeypatch)
    assert written_over(data, 0, found) == expected
    assert sum(sizes) < len(data) + 500, "the file is made, and little is written to it"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(image("OW", 16 << 20), id="one value"),
        pytest.param(
            b"".join(element(0x00091000 + n, "OB", bytes(n)) for n in range(1000, 3000)),
            id="many values",
        ),
    ],
)
def test_memory_stays_constant(data: bytes) -> None:
    found = inspect(data, 0, EXPLICIT, OutputOptions(BIG))
    assert found.plan is not None
    fd = os.memfd_create("target")
    outflow.write_all(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    tracemalloc.start()
    try:
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            encoding.write(mapped, 0, len(data), found, EXPLICIT, OutputOptions(BIG), fd, fd)
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[:] == b"".join(encoding.parts(data, found.plan))
    os.close(fd)


@pytest.mark.parametrize("word", [2, 4, 8])
def test_words_are_read_as_far_as_they_go(word: int) -> None:
    fd = os.memfd_create("words")
    size = LARGE + 24
    outflow.write_all(fd, bytes(5) + bytes(range(8)) * (size // 8))
    swapped = b"".join(map(bytes, inplace.swapped_in_file(fd, 5, 5 + size, word)))
    one = b"".join(bytes(range(at, at + word))[::-1] for at in range(0, 8, word))
    assert swapped == one * (size // 8)
    with pytest.raises(OSError, match="shorter") as caught:
        list(inplace.swapped_in_file(fd, 5, 5 + size + word, word))
    assert caught.value.errno == errno.EIO
    os.close(fd)
