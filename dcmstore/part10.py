"""The file meta header of PS3.10 section 7.1: written for received objects, read for sent ones."""

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, uids, vr

PREAMBLE = bytes(128) + b"DICM"

_SHORT = Struct("<HHHH")
_LENGTH = Struct("<I")
_ELEMENT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_GROUP_LENGTH = Struct("<HH2sHI")
_LONG_CODES = frozenset(code for code, number in vr.BY_LITTLE.items() if vr.LONG[number])
_LONGEST_SHORT = 0xFFFF
MAX_META = 1 << 20
"""Bytes of a file in which its meta header has to end."""


class NotDicomError(ValueError):
    """The bytes are not what the reading mode asks for; the text says why."""


class Part10(NamedTuple):
    """How the data set of a file is encoded, and where it starts."""

    transfer_syntax: str
    start: int


def meta_header(sop_class: str, sop_instance: str, transfer_syntax: str, calling: str) -> bytes:
    """Return preamble, prefix and file meta information of an object received from ``calling``."""
    instance = _element(0x0003, b"UI", sop_instance, b"\0")
    head, tail = _around_instance(sop_class, transfer_syntax, calling)
    length = len(head) + len(instance) + len(tail)
    return b"".join((PREAMBLE, _GROUP_LENGTH.pack(2, 0, b"UL", 4, length), head, instance, tail))


@lru_cache(maxsize=64)
def _around_instance(sop_class: str, transfer_syntax: str, calling: str) -> tuple[bytes, bytes]:
    """Return the elements before and after the SOP Instance UID: the same for a whole series."""
    head = _LONG.pack(2, 1, b"OB", 0, 2) + b"\0\1" + _element(0x0002, b"UI", sop_class, b"\0")
    tail = (
        _element(0x0010, b"UI", transfer_syntax, b"\0")
        + _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0")
        + _element(0x0013, b"SH", IMPLEMENTATION_VERSION, b" ")
        + _element(0x0016, b"AE", calling.strip(" "), b" ")
    )
    return head, tail


def read_file(data: memoryview, *, meta_required: bool = False) -> Part10:
    """Find the data set in the bytes of a file.

    With the prefix ``DICM`` or a meta header without preamble the file says its transfer syntax.
    Where nothing is said, or nothing known, the encoding is guessed from the data set, unless
    ``meta_required``. Raises NotDicomError.
    """
    start = 132 if bytes(data[128:132]) == b"DICM" else 0
    transfer_syntax, end = _read_meta(data, start)
    if uids.is_transfer_syntax(transfer_syntax):
        return Part10(transfer_syntax, end)
    if meta_required:
        raise NotDicomError("File meta information header missing")
    return read_data_set(data, end)


def read_data_set(data: memoryview, start: int = 0) -> Part10:
    """Guess the encoding of a data set from its first element. Raises NotDicomError."""
    if len(data) == start:
        raise NotDicomError("End of stream")
    if len(data) - start < _SHORT.size:
        raise NotDicomError("I/O suspension or premature end of stream")
    group, _, code, _ = _SHORT.unpack_from(data, start)
    if code not in vr.BY_LITTLE:
        return Part10(uids.IMPLICIT_LITTLE, start)
    # Groups are small numbers, whoever reads them the right way round.
    little = group <= (group >> 8 | (group & 0xFF) << 8)
    return Part10(uids.EXPLICIT_LITTLE if little else uids.EXPLICIT_BIG, start)


def _read_meta(data: memoryview, start: int) -> tuple[str, int]:
    """Return the transfer syntax, or "", and where the elements of group 0002 end.

    What the group length says is not asked: it is wrong too often.
    """
    transfer_syntax = ""
    at, end = start, min(len(data), start + MAX_META)
    explicit = end - at >= 8 and _SHORT.unpack_from(data, at)[2] in vr.BY_LITTLE
    while end - at >= 8:
        group, element, code, length = _SHORT.unpack_from(data, at)
        if group != 2:
            break
        at += 8
        if not explicit:
            length = length << 16 | code
        elif code in _LONG_CODES:
            if end - at < 4:
                raise NotDicomError("I/O suspension or premature end of stream")
            (length,) = _LENGTH.unpack_from(data, at)
            at += 4
        if length > end - at:
            raise NotDicomError("I/O suspension or premature end of stream")
        if element == 0x0010:
            value = bytes(data[at : at + length])
            transfer_syntax = value.replace(b" ", b"").rstrip(b"\0").decode("latin-1")
        at += length
    return transfer_syntax, at


def _element(element: int, name: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("latin-1", "replace")
    if len(value) & 1:
        value += pad
    if len(value) > _LONGEST_SHORT:
        # No UID is that long, but what a data set has in its place may be.
        return _LONG.pack(2, element, b"UN", 0, len(value)) + value
    return _ELEMENT.pack(2, element, name, len(value)) + value
