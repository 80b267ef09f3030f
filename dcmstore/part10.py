"""The file meta header of PS3.10 section 7.1: written for received objects, read for sent ones."""

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, uids

PREAMBLE = bytes(128) + b"DICM"

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sHI")
_GROUP_LENGTH = Struct("<HH2sHI")
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"SQ", b"UT", b"UN", b"OD", b"OL", b"OV", b"UC", b"UR"))
_MAX_META = 1 << 20


class NotDicomError(ValueError):
    """The bytes are not what the reading mode asks for; the text says why."""


class Part10(NamedTuple):
    """Where the data set of a file starts, and how it is encoded."""

    transfer_syntax: str
    start: int
    meta_start: int
    sop_class: str = ""
    sop_instance: str = ""


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
    """Find meta header and data set in the bytes of a file.

    With the prefix ``DICM`` or a meta header without preamble the file says its transfer syntax;
    anything else is taken for a bare data set, whose encoding is guessed, unless
    ``meta_required``. Raises NotDicomError.
    """
    if bytes(data[128:132]) == b"DICM":
        return _read_meta(data, 132)
    if bytes(data[:2]) == b"\2\0" and bytes(data[4:6]).isalpha():
        return _read_meta(data, 0)
    if meta_required:
        raise NotDicomError("File meta information header missing")
    return read_data_set(data)


def read_data_set(data: memoryview) -> Part10:
    """Guess the encoding of a bare data set from its first element. Raises NotDicomError."""
    if len(data) == 0:
        raise NotDicomError("End of stream")
    if len(data) < 8:
        raise NotDicomError("I/O suspension or premature end of stream")
    head = bytes(data[:8])
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    little = int.from_bytes(head[:2], "little") <= int.from_bytes(head[:2], "big")
    if not explicit:
        return Part10(uids.IMPLICIT_LITTLE, 0, 0)
    return Part10(uids.EXPLICIT_LITTLE if little else uids.EXPLICIT_BIG, 0, 0)


def _read_meta(data: memoryview, start: int) -> Part10:
    at, end = start, min(len(data), start + _MAX_META)
    found: dict[int, str] = {}
    while end - at >= 8:
        group, element, vr, length = _SHORT.unpack_from(data, at)
        if group != 2:
            break
        size = 8
        if vr in _LONG_VRS:
            if end - at < 12:
                raise NotDicomError("I/O suspension or premature end of stream")
            length = _LONG.unpack_from(data, at)[4]
            size = 12
        if length > end - at - size:
            raise NotDicomError("I/O suspension or premature end of stream")
        if vr == b"UI":
            value = bytes(data[at + size : at + size + length])
            found[element] = value.replace(b" ", b"").rstrip(b"\0").decode("latin-1")
        at += size + length
    if at == start:
        raise NotDicomError("File meta information header missing")
    if 0x0010 not in found:
        raise NotDicomError("No Transfer Syntax UID (0002,0010) in the file meta information")
    return Part10(found[0x0010], at, start, found.get(0x0002, ""), found.get(0x0003, ""))


def _element(element: int, vr: bytes, text: str, pad: bytes) -> bytes:
    value = text.encode("latin-1", "replace")
    if len(value) & 1:
        value += pad
    return _SHORT.pack(2, element, vr, len(value)) + value
