"""Encoded data sets by the thousand: builders for wrong ones, and a generator of wild ones.

Everything here is written by hand and shares no code with the programs under test.
"""

import random
import struct
from typing import NamedTuple

from harness import wire

UNDEFINED = 0xFFFFFFFF
LONG_FORM = frozenset(
    ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
)
TEXT = tuple("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())
BINARY = tuple("AT FD FL OB OD OF OL OV OW SL SS SV UL UN US UV".split())

# Tags and what their VR is where the encoding does not say; None: no dictionary knows them.
TAGS: dict[int, str | None] = {
    0x00080000: "UL",
    0x00080005: "CS",
    0x00080008: "CS",
    0x00080060: "CS",
    0x00080120: "UR",
    0x00081111: "SQ",
    0x00081140: "SQ",
    0x00081190: "UR",
    0x00090000: "UL",
    0x00090010: "LO",
    0x00091001: None,
    0x00091010: None,
    0x00100000: "UL",
    0x00100010: "PN",
    0x00100020: "LO",
    0x00101010: "AS",
    0x00104000: "LT",
    0x00111010: None,
    0x00180050: "DS",
    0x0018605A: "FL",
    0x00186011: "SQ",
    0x00189810: "US",
    0x0020000D: "UI",
    0x00209165: "AT",
    0x00280000: "UL",
    0x00280010: "US",
    0x00280103: "US",
    0x00280106: "US",
    0x00280120: "US",
    0x00281101: "US",
    0x00281201: "OW",
    0x00283002: "US",
    0x00283006: "OW",
    0x00400275: "SQ",
    0x00409211: "US",
    0x00420011: "OB",
    0x50003000: "OB",
    0x54000100: "SQ",
    0x54001004: "US",
    0x5400100A: "OB",
    0x54001010: "OB",
    0x60000010: "US",
    0x60003000: "OW",
    0x00660016: "OF",
    0x7FE00010: "OW",
    0xFFFCFFFC: "OB",
}
PIXEL_DATA = 0x7FE00010
_DEEPEST = 4


def element(
    tag: int, vr: str, value: bytes | str, length: int | None = None, order: str = "<"
) -> bytes:
    """Return an explicit VR element, its value as it is; ``length`` overrides the right one."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    size = len(data) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    return head + struct.pack(order + ("HI" if vr in LONG_FORM else "H"), *_long(vr), size) + data


def _long(vr: str) -> tuple[int, ...]:
    return (0,) if vr in LONG_FORM else ()


def bare(tag: int, value: bytes | str, length: int | None = None, order: str = "<") -> bytes:
    """Return an element without VR: implicit ones, items and delimiters."""
    data = value.encode("latin-1") if isinstance(value, str) else value
    size = len(data) if length is None else length
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, size) + data


def item(content: bytes, length: int | None = None, order: str = "<") -> bytes:
    """Return an item; ``length`` overrides the right one."""
    return bare(0xFFFEE000, content, length, order)


def open_item(content: bytes, order: str = "<") -> bytes:
    """Return an item of undefined length with its delimiter."""
    return item(content, UNDEFINED, order) + bare(0xFFFEE00D, b"", order=order)


ITEM_END = bare(0xFFFEE00D, b"")
SEQUENCE_END = bare(0xFFFEE0DD, b"")


def sequence(content: bytes, tag: int = 0x00081140, length: int | None = None) -> bytes:
    """Return an explicit VR little endian sequence; ``length`` overrides the right one."""
    return element(tag, "SQ", content, length)


def open_sequence(content: bytes, tag: int = 0x00081140) -> bytes:
    """Return a sequence of undefined length with its delimiter."""
    return element(tag, "SQ", content, UNDEFINED) + SEQUENCE_END


def fragments(*values: bytes, vr: str = "OB", end: bytes = SEQUENCE_END) -> bytes:
    """Return encapsulated Pixel Data with these fragments."""
    return element(PIXEL_DATA, vr, b"".join(map(item, values)) + end, UNDEFINED)


IDENTITY = element(0x00080016, "UI", wire.CT + "\0") + element(0x00080018, "UI", "1.2.3\0")


class Wild(NamedTuple):
    """A generated data set and its transfer syntax."""

    syntax: str
    data: bytes


class _Generator:
    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.syntax = self.dice.choice(
            (wire.EXPLICIT, wire.EXPLICIT, wire.IMPLICIT, wire.BIG, wire.JPEG_BASELINE)
        )
        self.order = ">" if self.syntax == wire.BIG else "<"
        # How often a level is in order. Large values only where nothing repeats: the reference
        # loses its place in a repeated element that arrives in several fragments.
        self.orderly = self.dice.choice((1.0, 0.7, 0.0))

    def data_set(self) -> bytes:
        rounds = 1 if self.orderly == 1 else self.dice.choice((1, 2, 4))
        return b"".join(self.level(self.syntax, self.order, 0) for _ in range(rounds))

    def level(self, syntax: str, order: str, depth: int) -> bytes:
        tags = self.dice.choices(list(TAGS), k=self.dice.choice((0, 1, 2, 3, 5, 8)))
        if self.dice.random() < self.orderly:
            tags = sorted(set(tags))
        return b"".join(self.element(tag, syntax, order, depth) for tag in tags)

    def header(self, tag: int, vr: str, length: int, syntax: str, order: str) -> bytes:
        if syntax == wire.IMPLICIT:
            return bare(tag, b"", length, order)
        return element(tag, vr, b"", length, order)

    def element(self, tag: int, syntax: str, order: str, depth: int) -> bytes:
        dice = self.dice
        vr = TAGS[tag] or "UN"
        explicit = syntax != wire.IMPLICIT
        if tag == PIXEL_DATA:
            vr = dice.choice(("OB", "OW")) if explicit else "OW"
        elif explicit and tag & 0xFFFF and dice.random() < 0.15:
            vr = dice.choice((*TEXT, *BINARY, "UI"))
        if tag == PIXEL_DATA and syntax == wire.JPEG_BASELINE and depth == 0:
            values = [dice.randbytes(dice.choice((0, 2, 4, 7))) for _ in range(dice.randrange(3))]
            return fragments(*values, vr=vr)
        if vr == "SQ":
            return self.sequence(tag, syntax, order, depth) if depth < _DEEPEST else b""
        if vr == "UN" and depth < _DEEPEST and dice.random() < 0.4:
            content = self.items(wire.IMPLICIT, "<", depth)
            return self.header(tag, "UN", UNDEFINED, syntax, order) + content + SEQUENCE_END
        value = dice.randbytes(4) if not tag & 0xFFFF else self.value(vr, tag)
        if explicit and vr not in LONG_FORM:
            value = value[:65534]
        if tag == PIXEL_DATA and vr == "OB" and order == ">":
            # The reference swaps the bytes of odd OB pixel data on its way to implicit VR.
            value = value[: len(value) & ~1]
        return self.header(tag, vr, len(value), syntax, order) + value

    def sequence(self, tag: int, syntax: str, order: str, depth: int) -> bytes:
        content = self.items(syntax, order, depth)
        if self.dice.random() < 0.5:
            return self.header(tag, "SQ", len(content), syntax, order) + content
        end = bare(0xFFFEE0DD, b"", order=order)
        return self.header(tag, "SQ", UNDEFINED, syntax, order) + content + end

    def items(self, syntax: str, order: str, depth: int) -> bytes:
        found = b""
        for _ in range(self.dice.choice((0, 1, 1, 2))):
            content = self.level(syntax, order, depth + 1)
            found += (item if self.dice.random() < 0.5 else open_item)(content, order=order)
        return found

    def value(self, vr: str, tag: int) -> bytes:
        dice = self.dice
        length = dice.choice((0, 1, 2, 2, 3, 4, 4, 6, 8, 16, 17, 64, dice.choice((2, 600))))
        large = self.orderly == 1 and dice.random() < 0.015
        if vr == "UI":
            text = "".join(dice.choices("12. ", k=length))
            return (text + dice.choice(("", "\0", "\0\0"))).encode()
        if vr in TEXT:
            text = "".join(dice.choices("AB1 \\", k=length))
            if dice.random() < 0.5:
                text = text.rstrip(" ")
            if large:
                text = "A" * dice.choice((65534, 65536, 70000))
            # DCMTK 3.6.7 pads odd text with a NUL, 3.7.0 with a space: leave none odd.
            return (text + " " * (len(text) % 2)).encode()
        return dice.randbytes(dice.choice((65534, 65535, 65536, 70000)) if large else length)


def wild(seed: int) -> Wild:
    """Return the data set of a seed: out of order, odd, nested, in any of five syntaxes."""
    generator = _Generator(seed)
    return Wild(generator.syntax, generator.data_set())


def mutated(data: bytes, seed: int) -> bytes:
    """Return a copy with bytes changed, cut out, put in, or its end cut off."""
    dice = random.Random(seed)
    result = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        if not result:
            break
        at = dice.randrange(len(result))
        match dice.randrange(5):
            case 0:
                result[at] = dice.randrange(256)
            case 1:
                del result[at : at + dice.choice((1, 2, 4, 8))]
            case 2:
                result[at:at] = dice.randbytes(dice.choice((1, 2, 4)))
            case 3:
                del result[at:]
            case 4:
                result[at] = dice.choice((0, 2, 4, 8, 0x20, 0xFF))
    return bytes(result)
