"""Messages cut into the P-DATA-TF PDUs that carry them (PS3.8 section 9.3.5 and annex E).

Going out, there is one presentation data value a PDU, and ``limit`` is the most bytes of the
message in each, even. Coming in, there may be any number of any size; fragments of a data set are
gathered here: these loops are what a large object's bytes run through.
"""

import mmap
from collections.abc import Iterable, Iterator

from dcmstore import pdu

MOST_BUFFERS = 512
"""Buffers that go together, in or out, and those of one PDU more; IOV_MAX is 1024 on Linux."""
_MOST_BYTES = 1 << 20
"""Bytes that go out together: parts that are made on the way do not pile up."""

Buffer = bytes | memoryview


def command_pdus(context_id: int, command_set: bytes, limit: int) -> bytes:
    """Return the PDUs of a command set."""
    if len(command_set) <= limit:
        return _fragment(context_id, pdu.COMMAND | pdu.LAST, command_set)
    pieces = []
    for at in range(0, len(command_set), limit):
        last = pdu.LAST if at + limit >= len(command_set) else 0
        pieces.append(_fragment(context_id, pdu.COMMAND | last, command_set[at : at + limit]))
    return b"".join(pieces)


def data_pdus(
    context_id: int, parts: Iterable[Buffer], limit: int, first: bytes = b""
) -> Iterator[list[Buffer]]:
    """Yield the PDUs of a data set as lists of buffers to send gathered, copying nothing.

    The data set is ``parts`` one after the other, and a NUL where that is odd, as it is with an
    odd value of words: fragments are even. ``first`` (the command's PDUs) goes ahead of it in
    the same list. A list ends where a PDU does.
    """
    full = pdu.PDATA_HEADER.pack(pdu.P_DATA_TF, limit + 6, limit + 2, context_id, 0)
    buffers: list[Buffer] = [first] if first else []
    waiting: list[Buffer] = []  # what is left over for the next PDU, and its size
    size = total = 0
    for part in parts:
        at, end = 0, len(part)
        while end - at > limit - size:
            after = at + limit - size
            buffers.append(full)
            if waiting:
                buffers += waiting
                waiting = []
                size = 0
            if after > at:
                buffers.append(part[at:after])
            at = after
            total += limit
            if len(buffers) >= MOST_BUFFERS or total >= _MOST_BYTES:
                yield buffers
                buffers = []
                total = 0
        if end > at:
            waiting.append(part[at:] if at else part)
            size += end - at
            if len(waiting) >= MOST_BUFFERS // 2:
                waiting = [b"".join(waiting)]
    if size & 1:
        waiting.append(b"\0")
        size += 1
    buffers.append(pdu.PDATA_HEADER.pack(pdu.P_DATA_TF, size + 6, size + 2, context_id, pdu.LAST))
    buffers += waiting
    yield buffers


def _fragment(context_id: int, control: int, data: bytes) -> bytes:
    size = len(data)
    return pdu.PDATA_HEADER.pack(pdu.P_DATA_TF, size + 6, size + 2, context_id, control) + data


def gather_values(
    buffer: mmap.mmap,
    view: memoryview,
    at: int,
    end: int,
    context_id: int,
    views: list[memoryview],
) -> tuple[int, bool]:
    """Add the data set's fragments in the rest of a PDU, ``at`` to ``end``, to ``views``.

    Returns where it stopped, and whether the last fragment was among them. It stops at whatever
    is not a well-formed fragment on this context, too.
    """
    unpack = pdu.PDV_HEADER.unpack_from
    last = 0
    while not last and end - at >= 6 and len(views) < MOST_BUFFERS:
        length, value_context, control = unpack(buffer, at)
        after = at + 4 + length
        if (
            after > end
            or value_context != context_id
            or control & pdu.COMMAND
            or length & 1
            or length < 2
        ):
            break
        views.append(view[at + 6 : after])
        at = after
        last = control & pdu.LAST
    return at, bool(last)


def gather_pdus(
    buffer: mmap.mmap,
    view: memoryview,
    at: int,
    end: int,
    context_id: int,
    views: list[memoryview],
    longest: int,
) -> tuple[int, bool]:
    """Add the fragments of whole PDUs that hold one each, as ``gather_values`` does.

    ``longest`` is the longest body that such a PDU may have.
    """
    unpack = pdu.PDATA_HEADER.unpack_from
    last = 0
    while not last and end - at >= 12 and len(views) < MOST_BUFFERS:
        pdu_type, length, value_length, value_context, control = unpack(buffer, at)
        after = at + 6 + length
        if (
            after > end
            or pdu_type != pdu.P_DATA_TF
            or value_length != length - 4
            or length > longest
            or value_context != context_id
            or control & pdu.COMMAND
            or length & 1
            or length < 6
        ):
            break
        views.append(view[at + 12 : after])
        at = after
        last = control & pdu.LAST
    return at, bool(last)
