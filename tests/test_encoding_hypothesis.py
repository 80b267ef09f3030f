"""Generated data sets: what goes in comes out, in every form, and twice is once."""

import struct
from typing import NamedTuple

from harness.datasets import LONG_FORM, TEXT, UNDEFINED, bare, element
from hypothesis import given, settings
from hypothesis import strategies as st

from dcmstore import uids
from dcmstore.dataset import DataSetError, OutputOptions
from dcmstore.elements import inspect
from dcmstore.encoding import encoded
from dcmstore.walk import ELEMENT, ITEM, ITEM_END, SEQUENCE, SEQUENCE_END, Walk

QUICK = settings(deadline=None, max_examples=150)
SYNTAXES = st.sampled_from((uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG))


class Element(NamedTuple):
    """An element to be encoded: its value are bytes, or the items of a sequence."""

    tag: int
    vr: str
    value: "bytes | list[list[Element]]"


# Private elements are free of any dictionary, and even text ends in a letter.
TAGS = st.integers(0x00091001, 0x000910FF)
WORDS = {"US": 2, "AT": 4, "UL": 4, "FD": 8, "OW": 2, "OD": 8, "SV": 8, "OB": 2, "UN": 2}


def text(vr: str) -> st.SearchStrategy[Element]:
    values = st.text("AB1 \\", max_size=9).map(lambda value: value + "xy"[len(value) % 2 :])
    return st.builds(Element, TAGS, st.just(vr), values.map(str.encode))


def binary(vr: str, word: int) -> st.SearchStrategy[Element]:
    values = st.lists(st.binary(min_size=word, max_size=word), max_size=6).map(b"".join)
    return st.builds(Element, TAGS, st.just(vr), values)


LEAVES = st.one_of(*map(text, TEXT), *(binary(vr, word) for vr, word in WORDS.items()))


def levels(elements: st.SearchStrategy[Element]) -> st.SearchStrategy[list[Element]]:
    return st.lists(elements, max_size=5, unique_by=lambda one: one.tag).map(sorted)


ELEMENTS = st.recursive(
    LEAVES,
    lambda inner: st.builds(Element, TAGS, st.just("SQ"), st.lists(levels(inner), max_size=3)),
    max_leaves=12,
)
DATA_SETS = levels(ELEMENTS).filter(bool)
OPTIONS = st.builds(
    OutputOptions,
    transfer_syntax=st.none() | SYNTAXES,
    group_length=st.sampled_from(("recalc", "create", "remove")),
    lengths=st.sampled_from(("explicit", "undefined")),
    padding=st.none() | st.tuples(st.integers(0, 40), st.integers(0, 40)),
    new_vr=st.just(True),
    convert_un=st.just(False),
    compression_level=st.integers(0, 9),
    meta_length=st.integers(0, 200).map(lambda half: 2 * half),
)


def encode(elements: list[Element], order: str, undefined: bool) -> bytes:
    """Encode in explicit VR, without a line of the code under test."""
    result = b""
    for tag, vr, value in elements:
        if isinstance(value, bytes):
            result += element(tag, vr, value, order=order)
            continue
        content = b""
        for level in value:
            inner = encode(level, order, undefined)
            content += bare(0xFFFEE000, inner, UNDEFINED if undefined else None, order)
            content += bare(0xFFFEE00D, b"", order=order) if undefined else b""
        result += element(tag, vr, content, UNDEFINED if undefined else None, order)
        result += bare(0xFFFEE0DD, b"", order=order) if undefined else b""
    return result


def decode(data: bytes, syntax: str) -> list[tuple[object, ...]]:
    """List what a walk sees, without lengths: elements with their values, beginnings and ends."""
    seen: list[tuple[object, ...]] = []
    for kind, tag, number, _, start, end in Walk(memoryview(data), 0, len(data), syntax).events():
        seen.append((kind, tag, number, data[start:end] if kind == ELEMENT else b""))
    return seen


def written(data: bytes, syntax: str, output: OutputOptions) -> bytes:
    found = inspect(memoryview(data), 0, syntax, output)
    assert found.unwritable == ""
    return b"".join(encoded(memoryview(data), 0, len(data), found, syntax, output))


def expected_events(elements: list[Element]) -> list[tuple[int, int]]:
    found = []
    for tag, _, value in elements:
        if isinstance(value, bytes):
            found.append((ELEMENT, tag))
            continue
        found.append((SEQUENCE, tag))
        for level in value:
            found += [(ITEM, 0xFFFEE000), *expected_events(level), (ITEM_END, 0xFFFEE00D)]
        found.append((SEQUENCE_END, tag))
    return found


@QUICK
@given(DATA_SETS, st.booleans(), SYNTAXES)
def test_a_walk_sees_what_was_encoded(
    elements: list[Element], undefined: bool, syntax: str
) -> None:
    data = encode(elements, ">" if syntax == uids.EXPLICIT_BIG else "<", undefined)
    events = list(Walk(memoryview(data), 0, len(data), syntax).events())
    assert [event[:2] for event in events] == expected_events(elements)
    values = [data[start:end] for kind, *_, start, end in events if kind == ELEMENT]
    assert b"".join(values) == b"".join(leaf_values(elements))


def leaf_values(elements: list[Element]) -> list[bytes]:
    found: list[bytes] = []
    for _, _, value in elements:
        if isinstance(value, bytes):
            found.append(value)
        else:
            found += [leaf for level in value for leaf in leaf_values(level)]
    return found


@QUICK
@given(DATA_SETS, st.booleans(), st.booleans(), SYNTAXES)
def test_forms_of_lengths_lead_to_the_same(
    elements: list[Element], undefined: bool, target_undefined: bool, syntax: str
) -> None:
    order = ">" if syntax == uids.EXPLICIT_BIG else "<"
    data = encode(elements, order, undefined)
    output = OutputOptions(lengths="undefined" if target_undefined else "explicit")
    assert written(data, syntax, output) == encode(elements, order, target_undefined)


@QUICK
@given(DATA_SETS, st.booleans())
def test_there_and_back(elements: list[Element], undefined: bool) -> None:
    data = encode(elements, "<", undefined)
    big = written(data, uids.EXPLICIT_LITTLE, OutputOptions(uids.EXPLICIT_BIG))
    back = written(big, uids.EXPLICIT_BIG, OutputOptions(uids.EXPLICIT_LITTLE))
    assert back == encode(elements, "<", False)


@QUICK
@given(DATA_SETS, st.booleans(), OPTIONS)
def test_twice_is_once(elements: list[Element], undefined: bool, output: OutputOptions) -> None:
    data = encode(elements, "<", undefined)
    once = written(data, uids.EXPLICIT_LITTLE, output)
    target = output.transfer_syntax or uids.EXPLICIT_LITTLE
    assert inspect(memoryview(once), 0, target, output).reasons == ()
    assert written(once, target, output) == once


@QUICK
@given(DATA_SETS, st.booleans(), OPTIONS)
def test_output_options_can_be_taken_back(
    elements: list[Element], undefined: bool, output: OutputOptions
) -> None:
    """Group lengths and padding are additions: without them the same data set is left."""
    data = encode(elements, "<", undefined)
    once = written(data, uids.EXPLICIT_LITTLE, output)
    plain = OutputOptions(uids.EXPLICIT_LITTLE, group_length="remove")
    target = output.transfer_syntax or uids.EXPLICIT_LITTLE
    assert written(once, target, plain) == encode(elements, "<", False)


@QUICK
@given(DATA_SETS, st.integers(1, 20).map(lambda half: 2 * half), st.booleans())
def test_padding_makes_multiples(elements: list[Element], pad: int, undefined: bool) -> None:
    data = encode(elements, "<", False)
    lengths = "undefined" if undefined else "explicit"
    output = OutputOptions(lengths=lengths, padding=(pad, pad), meta_length=68)  # type: ignore[arg-type]
    once = written(data, uids.EXPLICIT_LITTLE, output)
    assert (132 + 68 + len(once)) % pad == 0
    begun: list[int] = []
    for kind, _, _, _, start, _ in Walk(
        memoryview(once), 0, len(once), uids.EXPLICIT_LITTLE
    ).events():
        if kind == ITEM:
            begun.append(start)
        elif kind == ITEM_END:
            assert (start - begun.pop()) % pad == 0


@QUICK
@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=4))
def test_any_order_is_brought_into_order(order: list[int], again: list[int]) -> None:
    """Of repeated elements the first one stays."""
    rows = [element(0x00091001 + number, "US", struct.pack("<H", number)) for number in range(6)]
    copies = [element(0x00091001 + number, "US", b"zz") for number in again]
    data = b"".join(rows[number] for number in order) + b"".join(copies)
    assert written(data, uids.EXPLICIT_LITTLE, OutputOptions()) == b"".join(rows)


@settings(deadline=None, max_examples=500)
@given(
    st.binary(max_size=80),
    st.sampled_from((*sorted(uids.NATIVE), "1.2.840.10008.1.2.4.50")),
    OPTIONS,
    st.booleans(),
    st.booleans(),
)
def test_random_bytes_raise_nothing_else(
    data: bytes, syntax: str, output: OutputOptions, new_vr: bool, convert_un: bool
) -> None:
    output = output._replace(new_vr=new_vr, convert_un=convert_un)
    try:
        found = inspect(memoryview(data), 0, syntax, output)
    except DataSetError:
        return
    if not found.unwritable:
        b"".join(encoded(memoryview(data), 0, len(data), found, syntax, output))


def test_every_vr_is_generated() -> None:
    """Text and binary VRs of both forms of header."""
    assert set(TEXT) & LONG_FORM
    assert set(WORDS) & LONG_FORM
    assert set(WORDS) - LONG_FORM
