"""Data sets of one shape: remembered, they are found to be what the scan finds them to be."""

import pytest
from harness import corpus
from harness.datasets import IDENTITY, element, item, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from dcmstore import plainscan, shapes, uids
from dcmstore.dataset import Findings, OutputOptions

DEFAULT = OutputOptions()
TEXTS = element(0x00100010, "PN", "Doe^Jane") + element(0x00100020, "LO", "1234")
NESTED = (
    IDENTITY
    + sequence(item(element(0x00081150, "UI", "1.2.3\0") + element(0x00081155, "UI", "1.23")))
    + TEXTS
    + element(0x0020000D, "UI", "1.2.3.4\0")
    + element(0x00280010, "US", b"\x10\0")
    + element(0x7FE00010, "OW", b"0 \0\0")
)


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_shapes", {})


def scanned(data: bytes, syntax: str, output: OutputOptions = DEFAULT) -> Findings | None:
    if not plainscan.eligible(syntax, output):
        return None
    return plainscan.scan(data, 0, len(data), syntax, output)


def plain() -> list[tuple[str, bytes]]:
    """Return short data sets that are plain, with their transfer syntaxes."""
    entries = [(entry.syntax, bytes(entry.data)) for entry in corpus.entries()]
    entries = [entry for entry in entries if len(entry[1]) <= shapes.LONGEST]
    found = [(syntax, data) for syntax, data in entries if scanned(data, syntax)]
    return [*found, (uids.EXPLICIT_LITTLE, NESTED)]


def remember(data: bytes, syntax: str) -> None:
    for _ in range(2):
        assert shapes.scan(data, len(data), syntax, DEFAULT) == scanned(data, syntax)


def test_the_third_of_a_shape_needs_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(NESTED, uids.EXPLICIT_LITTLE)
    monkeypatch.delattr(plainscan, "scan")
    other = NESTED.replace(b"Doe^Jane", b"Roe^John").replace(b"1.2.3.4\0", b"1.20.304")
    found = shapes.scan(other, len(other), uids.EXPLICIT_LITTLE, DEFAULT)
    assert found is not None
    assert (found.patient_name, found.study_instance) == (b"Roe^John", "1.20.304")
    assert found.has_pixel_data


def test_a_changed_byte_anywhere() -> None:
    """Whatever byte of a data set changes, the shape says what the scan says."""
    cases = plain()
    assert len(cases) > 10
    seen = {True: 0, False: 0}
    for syntax, data in cases:
        remember(data, syntax)
        for place in range(min(len(data), 2000)):
            for byte in {0, 32, ord("."), ord("\\"), data[place] ^ 1, data[place] ^ 0x20}:
                changed = data[:place] + bytes((byte,)) + data[place + 1 :]
                expected = scanned(changed, syntax)
                assert shapes.scan(changed, len(changed), syntax, DEFAULT) == expected, (
                    place,
                    byte,
                )
                seen[expected is not None] += 1
    assert min(seen.values()) > 1000


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_changed_values(data: st.DataObject) -> None:
    """Several values change at a time, their ends above all."""
    shapes._shapes.clear()
    remember(NESTED, uids.EXPLICIT_LITTLE)
    changed = bytearray(NESTED)
    values: list[plainscan.Value] = []
    plainscan.scan(NESTED, 0, len(NESTED), uids.EXPLICIT_LITTLE, DEFAULT, values)
    letters = st.sampled_from(b"19. \0\\A\xe4")
    for _, start, end, _, _ in data.draw(st.lists(st.sampled_from(values), max_size=4)):
        new = data.draw(st.lists(letters, min_size=end - start, max_size=end - start))
        changed[start:end] = bytes(new)
    once = bytes(changed)
    assert shapes.scan(once, len(once), uids.EXPLICIT_LITTLE, DEFAULT) == scanned(
        once, uids.EXPLICIT_LITTLE
    )


def test_options_and_syntaxes_are_kept_apart() -> None:
    remember(NESTED, uids.EXPLICIT_LITTLE)
    other = OutputOptions(transfer_syntax=uids.EXPLICIT_BIG)
    assert shapes.scan(NESTED, len(NESTED), uids.EXPLICIT_LITTLE, other) is None
    assert shapes.scan(NESTED, len(NESTED), uids.EXPLICIT_BIG, DEFAULT) is None


def test_few_shapes_are_remembered() -> None:
    for length in range(2, 400, 2):
        data = NESTED + element(0x7FE10010, "OB", bytes(length))
        remember(data, uids.EXPLICIT_LITTLE)
    assert len(shapes._shapes) <= 32


def test_a_beginning_is_enough() -> None:
    """Pixel data are passed over, here or not; nothing is said of a beginning that is too short."""
    for syntax, data in plain():
        expected, enough = scanned(data, syntax), 0
        for length in {2 * (len(data) // 4), len(data) - 2, *range(0, min(len(data), 1500), 7)}:
            for _ in range(3):
                found = shapes.scan(data[:length], len(data), syntax, DEFAULT)
                assert found in (None, expected)
            enough += found is not None
        assert enough or data is not NESTED
    begun = NESTED[:-4]
    for patient in (b"Doe^Jane", b"Roe^John", b"Doe^J   "):
        for end in (len(NESTED), len(NESTED) + 2, len(NESTED) - 4):
            other = begun.replace(b"Doe^Jane", patient)
            whole = other + bytes(end - len(other))
            found = shapes.scan(other, end, uids.EXPLICIT_LITTLE, DEFAULT)
            assert found == scanned(whole, uids.EXPLICIT_LITTLE)


def test_long_heads_are_not_remembered() -> None:
    items = sequence(b"".join([item(element(0x00081150, "UI", "1.2.3\0"))] * 300))
    data = IDENTITY + items + TEXTS
    assert len(data) > 4096
    for _ in range(3):
        found = shapes.scan(data, len(data), uids.EXPLICIT_LITTLE, DEFAULT)
        assert found == scanned(data, uids.EXPLICIT_LITTLE)
        assert found is not None
    assert list(shapes._shapes.values()) == [shapes._UNFIT]
