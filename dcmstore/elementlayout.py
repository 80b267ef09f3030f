"""What becomes of a single element: its VR, its padding, its byte order."""

from typing import Final

from dcmstore import vr
from dcmstore.headers import name
from dcmstore.layout import INLINE
from dcmstore.levels import Levels
from dcmstore.values import padded_uid, swapped, text_end
from dcmstore.walk import LITTLE_ELEMENT, Event

_BLANKS: Final = b" \0"
_LONGEST_UIDS: Final = 1 << 20
"""Bytes of UIDs that are looked into, which takes memory; no element has more of them."""


class Elements(Levels):
    """Levels to which elements can be added under the output options."""

    def element(self, event: Event) -> int:
        """Lay out an element and return its size."""
        kind, tag, number, at, start, end = event
        stop, tail = end, b""
        length = end - start
        value: bytes | None = None
        if vr.TEXT[number]:
            if length:
                last = self.data[end - 1]
                if length & 1 or not last or (last == 0x20 and self.data[end - 2] in _BLANKS):
                    stop, tail = self.trimmed(tag, start, end)
                    length = stop - start + len(tail)
        elif number == vr.UI and length <= _LONGEST_UIDS:
            if length:
                value = self.cleaned(tag, start, end)
                if value is not None:
                    length = len(value)
        elif length & 1 and number != vr.OW:
            # The reference takes it for granted that OW comes in whole words.
            tail = b"\0"
            length += 1
            self.differs("odd length of", tag)
        written = number
        if self.explicit:
            if vr.NEW[number] and not self.output.new_vr:
                written = vr.OB
            if length > 0xFFFF and not vr.LONG[written]:
                written = vr.UN if self.output.new_vr else vr.OB
        if (
            self.copyable
            and at >= 0
            and written == number
            and value is None
            and stop == end
            and not tail
        ):
            self.copy(at, end)
            return end - at
        if at < 0:
            self.differs("header of", tag)
        if written != number:
            self.differs("VR of", tag)
        if value is not None:
            return self.header(tag, written, length, value) + length
        word = vr.WORD[number]
        if word > 1:
            source_big = self.source_big and kind != LITTLE_ELEMENT
            target_big = self.target.big and written not in (vr.OB, vr.UN)
            if source_big == target_big:
                word = 1
        if stop - start <= INLINE:
            value = bytes(self.data[start:stop]) + tail
            if word > 1:
                value = swapped(value, word)
            return self.header(tag, written, length, value) + length
        size = self.header(tag, written, length) + length
        if word > 1:
            self.swap_value(start, stop, word, tail)
            return size
        self.copy(start, stop)
        if tail:
            self.literal(tail)
        return size

    def trimmed(self, tag: int, start: int, end: int) -> tuple[int, bytes]:
        """Return where a text value ends without its trailing blanks, and the padding it needs."""
        stop, tail = text_end(self.data, start, end), b""
        if (stop - start) & 1:
            if stop < end and self.data[stop] == 0x20:
                stop += 1
            else:
                tail = b" "
        self.differs("odd length of" if stop == end else "trailing blanks in", tag)
        return stop, tail

    def cleaned(self, tag: int, start: int, end: int) -> bytes | None:
        """Return a UID value as it is written, or None if it need not change; it is not empty."""
        value = bytes(self.data[start:end])
        if value.split(None, 1) != [value]:
            self.walk.warn(
                f"DcmUniqueIdentifier: Element {name(tag)} contains one or more space "
                "characters, which were removed"
            )
            self.differs("blanks in", tag)
        elif len(value) & 1 or value[-2:] == b"\0\0":
            self.differs("padding of", tag)
        else:
            return None
        return padded_uid(value)

    def swap_value(self, start: int, end: int, word: int, tail: bytes) -> None:
        """Take a long value with its byte order reversed; the padding is swapped with it."""
        whole = end - (end - start) % word
        self.swap(start, whole, word)
        if whole < end or tail:
            self.literal(swapped(bytes(self.data[whole:end]) + tail, word))
