"""Messages cut into PDUs: nothing lost, nothing too long, however the parts lie."""

import itertools

import pytest
from harness import wire
from hypothesis import given, settings
from hypothesis import strategies as st

from dcmstore import fragments
from dcmstore.fragments import MOST_BUFFERS, Buffer, command_pdus, data_pdus

QUICK = settings(deadline=None, max_examples=200)
LIMITS = st.integers(1, 300).map(lambda half: 2 * half)
PARTS = st.lists(st.binary(max_size=700), max_size=12)
SEEN_AS: list[type[Buffer]] = [bytes, memoryview]


def values_of(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Take PDUs apart that hold one value each."""
    found = []
    while stream:
        assert stream[:2] == b"\4\0"
        end = 6 + int.from_bytes(stream[2:6], "big")
        assert len(stream) >= end, "PDU is cut"
        found += wire.pdvs(stream[6:end])
        assert found[-1][2] == stream[12:end], "more than one value"
        stream = stream[end:]
    return found


def check(values: list[tuple[int, int, bytes]], payload: bytes, limit: int, bit: int) -> None:
    """Every value but the last is full, the last one has its bit, and all of it is there."""
    assert b"".join(data for _, _, data in values) == payload
    assert [context for context, _, _ in values] == [7] * len(values)
    assert [control for _, control, _ in values] == [bit] * (len(values) - 1) + [bit | 2]
    assert all(len(data) == limit for _, _, data in values[:-1])
    last = values[-1][2]
    assert len(last) <= limit
    assert len(last) % 2 == 0
    assert last or len(values) == 1


@QUICK
@given(st.binary(min_size=1, max_size=1000).map(lambda half: half * 2), LIMITS)
def test_commands(payload: bytes, limit: int) -> None:
    check(values_of(command_pdus(7, payload, limit)), payload, limit, 1)


@QUICK
@given(PARTS, LIMITS, st.sampled_from(SEEN_AS), st.binary(max_size=20))
def test_data(parts: list[bytes], limit: int, seen_as: type[Buffer], first: bytes) -> None:
    lists = list(data_pdus(7, map(seen_as, parts), limit, first))
    stream = b"".join(itertools.chain.from_iterable(lists))
    assert stream.startswith(first)
    data = b"".join(parts)
    check(values_of(stream[len(first) :]), data + bytes(len(data) & 1), limit, 0)
    for one in lists[1:]:
        values_of(b"".join(one))  # a list ends where a PDU does


@QUICK
@given(PARTS, LIMITS)
def test_parts_may_come_from_a_generator_that_reuses_nothing(
    parts: list[bytes], limit: int
) -> None:
    one = list(data_pdus(7, iter(parts), limit))
    other = list(data_pdus(7, [b"".join(parts)], limit))
    assert b"".join(map(b"".join, one)) == b"".join(map(b"".join, other))


@pytest.mark.parametrize("limit", [2, 100, 131060])
@pytest.mark.parametrize("parts", [[], [b""], [b"", b"", b""]])
def test_empty_data_set(parts: list[bytes], limit: int) -> None:
    assert list(data_pdus(1, parts, limit)) == [[wire.p_data(wire.pdv(1, b""))]]


@pytest.mark.parametrize("count", [0, 2, 98, 100, 102, 200])
def test_values_around_the_limit(count: int) -> None:
    (buffers,) = data_pdus(1, [bytes(count)], 100)
    sizes = [len(data) for _, _, data in values_of(b"".join(buffers))]
    assert sizes == {0: [0], 2: [2], 98: [98], 100: [100], 102: [100, 2], 200: [100, 100]}[count]


@pytest.mark.parametrize(
    ("parts", "limit"),
    [
        ([bytes(2)] * 5000, 100_000),
        ([bytes(2)] * 5000, 2),
        ([bytes(1)] * 5000, 4),
        ([bytes(1), bytes(131059)] * 50, 131060),
        ([bytes(10_000_000)], 100),
        ([bytes(3)] * 300 + [bytes(100_000)] * 30, 1000),
    ],
)
def test_lists_are_bounded(parts: list[bytes], limit: int) -> None:
    """No list takes more buffers than sendmsg(2) does, or more bytes than should pile up."""
    most, total = 0, 0
    for buffers in data_pdus(1, parts, limit):
        most = max(most, len(buffers))
        size = sum(map(len, buffers))
        assert size <= (1 << 20) + 2 * limit + 12 * MOST_BUFFERS
        total += sum(len(data) for _, _, data in values_of(b"".join(buffers)))
    assert most <= 1024
    assert total == sum(map(len, parts))


def test_nothing_is_copied() -> None:
    """A large part goes out as slices of itself."""
    part = memoryview(bytes(1000))
    (buffers,) = data_pdus(1, [part], 300)
    slices = [buffer for buffer in buffers if isinstance(buffer, memoryview)]
    assert [len(one) for one in slices] == [300, 300, 300, 100]
    assert all(one.obj is part.obj for one in slices)


def test_parts_are_asked_for_only_when_needed() -> None:
    """What is made on the way is sent on the way."""
    made = 0

    def making() -> "itertools.chain[bytes]":
        nonlocal made

        def one(_: int) -> bytes:
            nonlocal made
            made += 1
            return bytes(100_000)

        return itertools.chain(map(one, range(100)))

    lists = data_pdus(1, making(), 10_000)
    next(lists)
    assert made <= 12
    assert fragments.MOST_BUFFERS == 512
