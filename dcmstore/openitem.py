"""What a data set says about the value representations of elements further on.

Some elements of the dictionary have several (PS3.6 section 6), and those of private ones depend on
who reserved their block (PS3.5 section 7.8).
"""

from typing import Final

from dcmstore import dictionary
from dcmstore.dataset import Encoded

_PIXEL_REPRESENTATION: Final = 0x00280103
_WAVEFORM_BITS_ALLOCATED: Final = 0x54001004
TELLING: Final = frozenset((_PIXEL_REPRESENTATION, _WAVEFORM_BITS_ALLOCATED))
"""The elements to :meth:`OpenItem.remember`."""
NO_VALUE: Final = -1
"""What is remembered of an element without a value."""
_LONGEST_CREATOR: Final = 64


class OpenItem:
    """What an open item (or the data set) has told about the elements that follow in it."""

    __slots__ = ("bits", "creators", "limit", "sign", "start")

    def __init__(self, start: int, limit: int) -> None:
        self.start = start
        self.limit = limit
        self.sign: int | None = None
        self.bits: int | None = None
        self.creators: dict[int, str] | None = None

    def remember(self, tag: int, data: Encoded, start: int, end: int) -> None:
        """Note a value that decides about VRs further on; the first of its tag counts."""
        value = int.from_bytes(bytes(data[start : min(end, start + 2)]), "little")
        if end == start:
            value = NO_VALUE
        if tag == _PIXEL_REPRESENTATION:
            self.sign = value if self.sign is None else self.sign
        else:
            self.bits = value if self.bits is None else self.bits

    def remember_creator(self, tag: int, data: Encoded, start: int, end: int) -> None:
        """Note who reserved a block of private elements, if a dictionary knows any of them."""
        if end - start <= _LONGEST_CREATOR and dictionary.has_private_tags():
            creator = bytes(data[start:end]).decode("latin-1").strip(" \0")
            if self.creators is None:
                self.creators = {}
            self.creators.setdefault(tag, creator)

    def creator(self, tag: int) -> str | None:
        """Return the private creator that reserved the block of a tag, if there is one."""
        if self.creators is None:
            return None
        return self.creators.get(tag & 0xFFFF0000 | (tag >> 8) & 0xFF)
