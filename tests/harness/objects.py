"""Small data sets and files made by hand, so that every byte of them is known."""

import itertools
import os
import struct
from pathlib import Path
from typing import NamedTuple

from harness import wire

_LONG_FORM = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
_TEXT = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UT")
_numbers = itertools.count(1)


def new_uid() -> str:
    """Return an instance UID that no other test of this run uses."""
    return f"1.2.826.0.1.3680043.10.1.{os.getpid()}.{next(_numbers)}"


def explicit(tag: int, vr: str, value: bytes | str, *, order: str = "<") -> bytes:
    """Return one explicit VR element, padded to even length; ``tag`` is 0xGGGGEEEE."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    data += (b" " if vr in _TEXT else b"\0") * (len(data) % 2)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in _LONG_FORM:
        return head + struct.pack(order + "HL", 0, len(data)) + data
    return head + struct.pack(order + "H", len(data)) + data


def implicit(tag: int, value: bytes | str, *, pad: bytes = b" ") -> bytes:
    """Return one implicit VR little endian element, padded to even length."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    data += pad * (len(data) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(data)) + data


class Object(NamedTuple):
    """A composite object: its identity and its encoded data set."""

    sop_class: str
    sop_instance: str
    syntax: str
    data: bytes


def small(
    sop_class: str = wire.CT,
    sop_instance: str | None = None,
    *,
    pixels: int = 64,
    study: str = "1.2.3.99.1",
    patient: str = "DOE^JANE",
    leave_out: tuple[int, ...] = (),
    data_class: str | None = None,
    data_instance: str | None = None,
) -> Object:
    """Return an explicit VR little endian object in normal form.

    ``data_class`` and ``data_instance`` let the data set say something else than the request;
    ``leave_out`` drops elements; ``pixels`` is the length of the pixel data, bytes.
    """
    instance = sop_instance or new_uid()
    elements: list[tuple[int, str, str | bytes]] = [
        (0x00080016, "UI", data_class or sop_class),
        (0x00080018, "UI", data_instance or instance),
        (0x00080020, "DA", "20240131"),
        (0x00080060, "CS", "CT"),
        (0x00100010, "PN", patient),
        (0x00100020, "LO", "4711"),
        (0x0020000D, "UI", study),
        (0x0020000E, "UI", study + ".1"),
        (0x00200013, "IS", "1"),
        (0x00280010, "US", struct.pack("<H", 8)),
        (0x00280100, "US", struct.pack("<H", 16)),
        (0x7FE00010, "OW", bytes(range(256)) * (pixels // 256) + bytes(pixels % 256)),
    ]
    data = b"".join(explicit(*row) for row in elements if row[0] not in leave_out)
    return Object(sop_class, instance, wire.EXPLICIT, data)


def part10(thing: Object, *, preamble: bool = True) -> bytes:
    """Return the object as a file of PS3.10, with a smallest possible meta header."""
    meta = b"".join(
        (
            explicit(0x00020001, "OB", b"\0\1"),
            explicit(0x00020002, "UI", thing.sop_class),
            explicit(0x00020003, "UI", thing.sop_instance),
            explicit(0x00020010, "UI", thing.syntax),
            explicit(0x00020012, "UI", "1.2.3.4"),
        )
    )
    head = bytes(128) + b"DICM" if preamble else b""
    return head + explicit(0x00020000, "UL", struct.pack("<L", len(meta))) + meta + thing.data


def write_part10(folder: Path, thing: Object, name: str | None = None) -> Path:
    """Write the object to ``folder`` and return the file's path."""
    path = folder / (name or thing.sop_instance + ".dcm")
    path.write_bytes(part10(thing))
    return path


class Stored(NamedTuple):
    """A PS3.10 file taken apart: meta elements (number to raw value) and data set bytes."""

    meta: dict[int, bytes]
    data: bytes


def split_part10(content: bytes) -> Stored:
    """Split a file into meta elements and data set, trusting no group length."""
    assert content[128:132] == b"DICM", "no preamble and DICM in front"
    position = 132
    meta: dict[int, bytes] = {}
    while content[position : position + 2] == b"\x02\x00":
        number = int.from_bytes(content[position + 2 : position + 4], "little")
        vr = content[position + 4 : position + 6].decode()
        if vr in _LONG_FORM:
            length = int.from_bytes(content[position + 8 : position + 12], "little")
            start = position + 12
        else:
            length = int.from_bytes(content[position + 6 : position + 8], "little")
            start = position + 8
        meta[number] = content[start : start + length]
        position = start + length
    return Stored(meta, content[position:])
