"""Messages cut into the P-DATA-TF PDUs that carry them (PS3.8 section 9.3.5 and annex E).

One presentation data value a PDU. ``limit`` is the most bytes of the message in each, even.
"""

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

    The data set is ``parts`` one after the other; ``first`` (the command's PDUs) goes ahead
    of it in the same list. A list ends where a PDU does.
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
    buffers.append(pdu.PDATA_HEADER.pack(pdu.P_DATA_TF, size + 6, size + 2, context_id, pdu.LAST))
    buffers += waiting
    yield buffers


def _fragment(context_id: int, control: int, data: bytes) -> bytes:
    size = len(data)
    return pdu.PDATA_HEADER.pack(pdu.P_DATA_TF, size + 6, size + 2, context_id, control) + data
