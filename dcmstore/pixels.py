"""Where a data set's pixel data begin, as far as its first bytes tell.

They come last, nearly always: then the data set's length is known as soon as their header is here.
"""

from typing import Final, Literal, NamedTuple

from dcmstore import uids

FIRST: Final = 1 << 16
"""Bytes of a data set in which its pixel data must begin."""
_UNDEFINED: Final = 0xFFFFFFFF
# The bytes before the length of pixel data that are not encapsulated.
_LITTLE: Final[tuple[bytes, ...]] = (b"\xe0\x7f\x10\0OW\0\0", b"\xe0\x7f\x10\0OB\0\0")
_BIG: Final[tuple[bytes, ...]] = (b"\x7f\xe0\0\x10OW\0\0", b"\x7f\xe0\0\x10OB\0\0")
_IMPLICIT: Final[tuple[bytes, ...]] = (b"\xe0\x7f\x10\0",)


class Place(NamedTuple):
    """Offsets in a data set: where its pixel data seem to begin and end."""

    start: int
    end: int


def find(first: bytes, transfer_syntax: str) -> Place | None:
    """Return the place of pixel data whose header is in the first bytes of a data set.

    It is a guess: other values may look like that, and pixel data need not be the last.
    """
    order: Literal["little", "big"] = "little"
    marks = _LITTLE
    if transfer_syntax == uids.EXPLICIT_BIG:
        order, marks = "big", _BIG
    elif transfer_syntax == uids.IMPLICIT_LITTLE:
        marks = _IMPLICIT
    for mark in marks:
        at = first.rfind(mark, 0, FIRST)
        start = at + len(mark) + 4
        if at >= 0 and start <= len(first):
            length = int.from_bytes(first[start - 4 : start], order)
            return None if length == _UNDEFINED else Place(start, start + length)
    return None
