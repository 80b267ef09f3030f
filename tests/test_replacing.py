"""New values in the main level of a data set: against one that is encoded with them at once."""

import struct

import pytest
from harness.datasets import (
    IDENTITY,
    PIXEL_DATA,
    TEXT,
    bare,
    element,
    fragments,
    item,
    mutated,
    open_item,
    open_sequence,
    sequence,
    wild,
)
from hypothesis import given
from hypothesis import strategies as st
from test_encoding_hypothesis import DATA_SETS, OPTIONS, QUICK, SYNTAXES, Element, encode, written

from dcmstore import encoding, replacing, uids
from dcmstore.dataset import DataSetError, OutputOptions
from dcmstore.replacing import NOT_THERE, Refusal
from dcmstore.walk import ELEMENT, FRAGMENTS, FRAGMENTS_END, SEQUENCE, SEQUENCE_END, Walk

LITTLE, BIG, IMPLICIT = uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG, uids.IMPLICIT_LITTLE
NAME, ID, NUMBER = 0x00100010, 0x00100020, 0x00200013
CORRUPTED = Refusal("cannot put string in attribute", "Corrupted data")
ILLEGAL = Refusal("cannot put string in attribute", "Illegal call, perhaps wrong parameters")


def replaced(
    data: bytes, values: dict[int, str], syntax: str = LITTLE, output: OutputOptions | None = None
) -> tuple[bytes, dict[int, Refusal]]:
    """Return a data set with these values, and what was refused."""
    output, source = output or OutputOptions(), memoryview(data)
    found, refusals = replacing.replace(source, 0, len(data), syntax, output, values)
    assert found.unwritable == ""
    parts = encoding.encoded(source, 0, len(data), found, syntax, output)
    return b"".join(parts), refusals


# Text and UIDs of both forms of header, which take whatever they are given.
TAKES_ALL = st.sampled_from(("LO", "PN", "SH", "UI", "UT", "UC"))
NEW = st.text("AB1^_.", max_size=70)


@QUICK
@given(DATA_SETS, st.data(), st.booleans(), SYNTAXES, OPTIONS)
def test_as_if_it_had_been_so(
    elements: list[Element],
    data: st.DataObject,
    undefined: bool,
    syntax: str,
    output: OutputOptions,
) -> None:
    """Whatever the output options: lengths, group lengths, padding and byte order are right."""
    order = ">" if syntax == BIG else "<"
    chosen = data.draw(st.sets(st.sampled_from(range(len(elements)))))
    values: dict[int, str] = {}
    before, after = list(elements), list(elements)
    for index in chosen:
        tag, vr = elements[index].tag, data.draw(TAKES_ALL)
        pad = b"\0" if vr == "UI" else b" "
        values[tag] = data.draw(NEW)
        raw = values[tag].encode()
        before[index] = Element(tag, vr, b"1." if vr == "UI" else b"ab")
        after[index] = Element(tag, vr, raw + pad * (len(raw) % 2))
    source = encode(before, order, undefined)
    expected = written(encode(after, order, undefined), syntax, output)
    assert replaced(source, values, syntax, output) == (expected, {})


def main_level(data: bytes, syntax: str) -> dict[int, bytes]:
    """Return the elements of the main level but for group lengths, with all that is in them."""
    found: dict[int, bytes] = {}
    depth = begin = holder = 0
    for kind, tag, _, at, start, end in Walk(memoryview(data), 0, len(data), syntax).events():
        if kind in (SEQUENCE, FRAGMENTS):
            if not depth:
                begin, holder = at, tag
            depth += 1
        elif kind in (SEQUENCE_END, FRAGMENTS_END):
            depth -= 1
            if not depth:
                found[holder] = data[begin:end]
        elif kind == ELEMENT and not depth and tag & 0xFFFF:
            found[tag] = data[start:end]
    return found


@QUICK
@given(st.integers(0, 1 << 32), st.integers(0, 1 << 32), st.booleans())
def test_wild_data_sets(seed: int, dice: int, damaged: bool) -> None:
    """Out of order, repeated, nested, broken: only what was asked for is another value."""
    syntax, data = wild(seed)
    data = mutated(data, dice) if damaged else data
    values = {NAME: "NEW^NAME", ID: "X", 0x0020000D: "2.25.1", 0x00080008: "A"}
    try:
        plain = written(data, syntax, OutputOptions())
        once, refusals = replaced(data, values, syntax)
        before, after = main_level(plain, syntax), main_level(once, syntax)
    except (DataSetError, AssertionError, encoding.EncodingError):
        # It cannot be read, or not be read again, as with odd values of OW.
        return
    assert list(before) == list(after)
    for tag in before:
        if tag in values and tag not in refusals:
            assert after[tag].rstrip(b" \0") == values[tag].encode()
        else:
            assert after[tag] == before[tag]
    assert {tag for tag in values if tag not in before} <= refusals.keys()


def test_nothing_to_replace_changes_nothing() -> None:
    data = IDENTITY + element(NAME, "PN", "AB")
    found, refusals = replacing.replace(
        memoryview(data), 0, len(data), LITTLE, OutputOptions(), {ID: "X"}
    )
    assert (found.reasons, refusals) == ((), {ID: NOT_THERE})


def test_pixel_data_stay_where_they_are() -> None:
    """Only the changed elements are new bytes; the rest are pieces of the source."""
    pixels = element(PIXEL_DATA, "OW", bytes(1 << 20))
    source = IDENTITY + element(NAME, "PN", "AB") + pixels
    found, _ = replacing.replace(
        memoryview(source), 0, len(source), LITTLE, OutputOptions(), {NAME: "X"}
    )
    assert found.plan is not None
    assert len(found.plan.literals) < 200
    assert found.plan.length == len(source)


NESTED = sequence(item(IDENTITY + element(NAME, "PN", "IN"))) + element(NAME, "PN", "OUT ")


def test_items_are_left_alone() -> None:
    """The reference looks at the main level only; what surrounds the value keeps its form."""
    new = {NAME: "NEW"}
    expected = NESTED[: -len(element(NAME, "PN", "OUT "))] + element(NAME, "PN", "NEW ")
    assert replaced(NESTED, new) == (expected, {})
    opened = open_sequence(open_item(element(NAME, "PN", "IN")))
    closed = sequence(item(element(NAME, "PN", "IN")))
    assert replaced(opened, new) == (closed, {NAME: NOT_THERE})


def test_first_of_a_repeated_tag_counts() -> None:
    one, two = element(NAME, "PN", "ONE "), element(NAME, "UN", "TWO ")
    assert replaced(one + two, {NAME: "NEW"}) == (element(NAME, "PN", "NEW "), {})
    assert replaced(two + one, {NAME: "NEW"}) == (two, {NAME: CORRUPTED})
    late = element(ID, "LO", "1 ") + one + element(NAME, "PN", "XX")
    assert replaced(late, {NAME: "N", ID: "I"}) == (
        element(NAME, "PN", "N ") + element(ID, "LO", "I "),
        {},
    )


def test_group_lengths_follow() -> None:
    def group(number: int, content: bytes) -> bytes:
        return element(number << 16, "UL", struct.pack("<L", len(content))) + content

    source = group(0x08, IDENTITY) + group(0x10, element(NAME, "PN", "A "))
    expected = group(0x08, IDENTITY) + group(0x10, element(NAME, "PN", "A^MUCH^LONGER^NAME"))
    assert replaced(source, {NAME: "A^MUCH^LONGER^NAME"}) == (expected, {})


LIMITS = {
    16: ("AE", "CS", "DS", "SH", "TM"),
    4: ("AS",),
    10: ("DA",),
    26: ("DT",),
    12: ("IS",),
    64: ("LO", "PN", "UI"),
    1024: ("ST",),
    10240: ("LT",),
}


@pytest.mark.parametrize(
    ("vr", "limit"), [(vr, limit) for limit, vrs in LIMITS.items() for vr in vrs]
)
def test_values_that_are_too_long_stay(vr: str, limit: int) -> None:
    """It is the old value that counts; blanks at its end do not."""
    fits, longer = "1" * limit, "1" * (limit + 2)
    pad = "\0" if vr == "UI" else " "
    new = element(NUMBER, vr, "7" + pad)
    assert replaced(element(NUMBER, vr, fits), {NUMBER: "7"}) == (new, {})
    assert replaced(element(NUMBER, vr, fits + pad * 2), {NUMBER: "7"}) == (new, {})
    reason = f"value too large (max {limit}) for {vr} value: 7"
    assert replaced(element(NUMBER, vr, longer), {NUMBER: "7"}) == (
        element(NUMBER, vr, longer),
        {NUMBER: Refusal("INTERNAL ERROR", reason)},
    )
    odd = replaced(element(NUMBER, vr, "1" * (limit + 1)), {NUMBER: "7"})
    assert odd[1] == {NUMBER: Refusal("INTERNAL ERROR", reason)}


@pytest.mark.parametrize("vr", ["UC", "UR", "UT"])
def test_texts_without_a_limit(vr: str) -> None:
    long = element(NUMBER, vr, "1" * 70000)
    assert replaced(long, {NUMBER: "7"}) == (element(NUMBER, vr, "7 "), {})
    old = replaced(long, {NUMBER: "7"}, output=OutputOptions(new_vr=False))
    assert old == (element(NUMBER, "OB", "7 "), {})


NUMBERS = list(zip("US SS UL SL UV SV OL OV FL FD OF OD".split(), "HhIiQqIQfdfd", strict=True))


@pytest.mark.parametrize(("vr", "code"), NUMBERS)
@pytest.mark.parametrize("syntax", [LITTLE, BIG])
def test_numbers(vr: str, code: str, syntax: str) -> None:
    order = ">" if syntax == BIG else "<"
    old, new = struct.pack(order + code, 1), struct.pack(order + code, 300)
    source = element(NUMBER, vr, old, order=order)
    expected = element(NUMBER, vr, new, order=order)
    assert replaced(source, {NUMBER: "300"}, syntax) == (expected, {})
    assert replaced(source, {NUMBER: "PID_300"}, syntax) == (source, {NUMBER: CORRUPTED})
    assert replaced(source, {NUMBER: "2.25.7"}, syntax) == (source, {NUMBER: CORRUPTED})
    target = {LITTLE: BIG, BIG: LITTLE}[syntax]
    turned = struct.pack(("<" if syntax == BIG else ">") + code, 300)
    assert replaced(source, {NUMBER: "300"}, syntax, OutputOptions(target)) == (
        element(NUMBER, vr, turned, order="<" if syntax == BIG else ">"),
        {},
    )
    more = element(NUMBER, vr, old * 2, order=order)
    _, refusals = replaced(more, {NUMBER: "300"}, syntax)
    assert bool(refusals) == (vr[0] != "O"), "several numbers are too long as well"


def test_old_vrs_of_numbers_are_little_endian() -> None:
    """OB is never swapped, whatever became OB."""
    source = element(NUMBER, "OL", b"\0\0\0\1", order=">")
    output = OutputOptions(new_vr=False)
    assert replaced(source, {NUMBER: "300"}, BIG, output) == (
        element(NUMBER, "OB", struct.pack("<I", 300), order=">"),
        {},
    )


def test_number_that_is_too_large() -> None:
    source = element(NUMBER, "US", b"ab")
    assert replaced(source, {NUMBER: "65536"}) == (source, {NUMBER: CORRUPTED})
    assert replaced(source, {NUMBER: "65535"}) == (element(NUMBER, "US", b"\xff\xff"), {})


@pytest.mark.parametrize("vr", ["OB", "OW", "UN", "AT"])
def test_bytes_are_no_numbers(vr: str) -> None:
    source = element(NUMBER, vr, b"abcd")
    assert replaced(source, {NUMBER: "1"}) == (source, {NUMBER: CORRUPTED})


def test_sequences_stay_sequences() -> None:
    source = sequence(item(element(ID, "LO", "AB")), NAME)
    assert replaced(source, {NAME: "X", ID: "Y"}) == (source, {NAME: ILLEGAL, ID: NOT_THERE})
    unknown = element(NAME, "UN", item(bare(ID, "AB")) + bare(0xFFFEE0DD, b""), 0xFFFFFFFF)
    assert replaced(unknown, {NAME: "X"})[1] == {NAME: ILLEGAL}


@pytest.mark.parametrize("vr", [vr for vr in TEXT if vr not in ("UC", "UR", "UT")])
def test_implicit_vr_has_it_from_the_dictionary(vr: str) -> None:
    data, _ = replaced(bare(NAME, "AB"), {NAME: "NEW"}, IMPLICIT)
    assert data == bare(NAME, "NEW ")
    explicit, _ = replaced(element(NAME, vr, "AB"), {NAME: "NEW"}, output=OutputOptions(IMPLICIT))
    assert explicit == data


def test_encapsulated() -> None:
    jpeg = "1.2.840.10008.1.2.4.50"
    rest = fragments(b"", b"abcd" * 200)
    source = element(NAME, "PN", "AB") + rest
    assert replaced(source, {NAME: "NEW"}, jpeg) == (element(NAME, "PN", "NEW ") + rest, {})


def test_findings_tell_of_the_new_values() -> None:
    study = element(0x0020000D, "UI", "1.2\0")
    source = memoryview(IDENTITY + element(NAME, "PN", "AB") + study)
    values = {0x00080018: "2.25.77", 0x0020000D: "2.25.88", NAME: "NEW"}
    found, _ = replacing.replace(source, 0, len(source), LITTLE, OutputOptions(), values)
    assert found.sop_instance == "2.25.77"
    assert found.study_instance == "2.25.88"
    assert found.patient_name == b"NEW"


def test_instance_of_an_item_is_not_the_new_one() -> None:
    """What a request names is what stands first in the data set, depth first."""
    first = sequence(item(IDENTITY), 0x00080012)
    source = memoryview(first + element(0x00080018, "UI", "1.9\0"))
    values = {0x00080018: "2.25.77"}
    found, refusals = replacing.replace(source, 0, len(source), LITTLE, OutputOptions(), values)
    assert (found.sop_instance, refusals) == ("1.2.3", {})


def test_warnings_about_the_old_value_are_kept() -> None:
    source = memoryview(element(0x0020000D, "UI", "1 .2"))
    found, _ = replacing.replace(source, 0, 12, LITTLE, OutputOptions(), {0x0020000D: "2.25.1"})
    assert len(found.warnings) == 1
    assert "contains one or more space characters" in found.warnings[0]
    long = memoryview(element(0x0020000D, "UI", "1" * 60 + " 1111111"))
    found, refusals = replacing.replace(
        long, 0, len(long), LITTLE, OutputOptions(), {0x0020000D: "2.25.1"}
    )
    assert (len(found.warnings), len(refusals)) == (1, 1)
