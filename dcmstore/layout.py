"""The bytes of a data set to be written: new ones, and places of those that stay.

Lengths that are not yet known are put in later, which is why new bytes lie in one buffer.
"""

from array import array
from struct import Struct
from typing import Final

from dcmstore import vr
from dcmstore.dataset import Encoded, Plan
from dcmstore.headers import Syntax, name

MEMORY_LIMIT: Final = 1 << 27
"""A layout may take this many bytes; only data sets made to hurt need more."""
INLINE: Final = 512
"""Unchanged parts up to this many bytes are copied into the literals."""


# By whether the order is big endian: with a length of 16 bits, and of 32.
_EXPLICIT_HEADS: Final = tuple(
    (Struct(order + "HH2sH").pack, Struct(order + "HH2sHI").pack) for order in "<>"
)


class TooLarge(Exception):
    """The layout has reached its limit."""


class Layout:
    """Output under construction from ``data``, in the header layout ``target``.

    ``because`` collects, by kind, the first place where the output differs from the source.
    """

    def __init__(self, data: Encoded, target: Syntax) -> None:
        self.data = data
        self.target = target
        self.literals = bytearray()
        self.pieces = array("Q")
        self.because: dict[str, str] = {}
        self.explicit = target.explicit
        self._head = target.head.pack
        self._short_head, self._long_head = _EXPLICIT_HEADS[target.big]
        self._run_start = self._run_end = -1

    def plan(self, length: int) -> Plan:
        """Return what was laid out."""
        self.flush()
        return Plan(self.literals, self.pieces, length)

    def copy(self, start: int, end: int) -> None:
        """Take a part of the source as it is."""
        if start == self._run_end:
            self._run_end = end
        else:
            self.flush()
            self._run_start, self._run_end = start, end

    def flush(self) -> None:
        """Close the run of unchanged bytes."""
        start, end = self._run_start, self._run_end
        if end > start:
            if end - start <= INLINE:
                self.literals += self.data[start:end]
            else:
                self.pieces.extend((len(self.literals), start, end, 1))
        self._run_start = self._run_end = -1

    def zeros(self, length: int) -> None:
        """Put zero bytes."""
        if length <= INLINE:
            self.literal(bytes(length))
        else:
            self.flush()
            self.pieces.extend((len(self.literals), 0, length, 0))

    def swap(self, start: int, end: int, word: int) -> None:
        """Take whole words of the source with the order of their bytes reversed."""
        self.flush()
        self.pieces.extend((len(self.literals), start, end, word))

    def literal(self, value: bytes) -> None:
        """Put new bytes behind what is there."""
        if self._run_end >= 0:
            self.flush()
        self.literals += value
        if len(self.literals) > MEMORY_LIMIT:
            raise TooLarge

    def header(self, tag: int, number: int, length: int, value: bytes = b"") -> int:
        """Put an element header and return its size; the length comes last in it.

        ``value`` is put behind it, and does not count.
        """
        if not self.explicit:
            self.literal(self._head(tag >> 16, tag & 0xFFFF, length) + value)
            return 8
        vr_name = vr.NAMES[number]
        if vr.LONG[number]:
            self.literal(self._long_head(tag >> 16, tag & 0xFFFF, vr_name, 0, length) + value)
            return 12
        self.literal(self._short_head(tag >> 16, tag & 0xFFFF, vr_name, length) + value)
        return 8

    def mark(self, tag: int, length: int = 0) -> None:
        """Put the header of an item or a delimiter."""
        self.literal(self._head(tag >> 16, tag & 0xFFFF, length))

    def differs(self, kind: str, tag: int) -> None:
        """Note why the output is not the input, once for each kind of reason."""
        if kind not in self.because:
            self.because[kind] = f"{kind} {name(tag)}"

    def remove(self, start: int, end: int) -> None:
        """Take literals out again, with no piece standing between them."""
        del self.literals[start:end]
        for index in range(len(self.pieces) - 4, -1, -4):
            if self.pieces[index] < end:
                break
            self.pieces[index] -= end - start

    def truncate(self, literal: int, piece: int) -> None:
        """Take everything out again that came after a place in literals and pieces."""
        self.flush()
        del self.literals[literal:], self.pieces[piece:]
