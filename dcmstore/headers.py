"""How element headers are laid out in the three forms that there are (PS3.5 section 7.1)."""

from struct import Struct
from typing import Final, NamedTuple

from dcmstore import uids, vr

ITEM_TAG: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
PIXEL_DATA: Final = 0x7FE00010
UNDEFINED: Final = 0xFFFFFFFF
"""The length of what is delimited."""


def name(tag: int) -> str:
    """Return a tag as messages show it."""
    return f"({tag >> 16:04x},{tag & 0xFFFF:04x})"


class Syntax(NamedTuple):
    """How headers are laid out: the structs, and the VR numbers by the two bytes of a VR."""

    number: int
    explicit: bool
    big: bool
    head: Struct
    short_head: Struct
    length32: Struct
    numbers: dict[int, int]


def _syntax(number: int, explicit: bool, order: str, numbers: dict[int, int]) -> Syntax:
    head, length32 = Struct(order + "HHI"), Struct(order + "I")
    return Syntax(number, explicit, order == ">", head, Struct(order + "HHHH"), length32, numbers)


IMPLICIT: Final = _syntax(0, False, "<", {})
LITTLE: Final = _syntax(1, True, "<", vr.BY_LITTLE)
BIG: Final = _syntax(2, True, ">", vr.BY_BIG)
LAYOUTS: Final = (IMPLICIT, LITTLE, BIG)


def syntax_of(transfer_syntax: str) -> Syntax:
    """Return the header layout of a transfer syntax; all but three share one."""
    if transfer_syntax == uids.IMPLICIT_LITTLE:
        return IMPLICIT
    return BIG if transfer_syntax == uids.EXPLICIT_BIG else LITTLE
