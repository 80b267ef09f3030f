"""Reads any encoded data set into a stream of events, and says what is wrong with it.

The rules are those of the reference's parser, which takes more than PS3.5 allows; a data set
that it would refuse ends the walk with :class:`~dcmstore.dataset.DataSetError`. Nothing
recurses: open sequences are frames on a list, and no length is trusted before it is compared
with what holds the element.
"""

from collections.abc import Generator
from typing import Final, NamedTuple

from dcmstore import dictionary, uids, vr
from dcmstore.dataset import CutValue, DataSetError, Encoded, TooDeep
from dcmstore.headers import (
    IMPLICIT,
    ITEM_DELIMITER,
    ITEM_TAG,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED,
    Syntax,
    name,
    syntax_of,
)
from dcmstore.openitem import NO_VALUE, TELLING, OpenItem

# What an event tells. The first four begin an element.
ELEMENT: Final = 0
"""A value as it stands between start and end."""
LITTLE_ELEMENT: Final = 1
"""The same, in little endian order whatever the transfer syntax."""
SEQUENCE: Final = 2
"""A sequence opens; end is where it should close, or FOREVER; the number is a layout's."""
FRAGMENTS: Final = 3
"""Encapsulated pixel data opens: FRAGMENT events follow, then FRAGMENTS_END."""
ITEM: Final = 4
"""An item opens; end is where it should close, or FOREVER."""
ITEM_END: Final = 5
"""An item closes; start to end are the bytes of its delimiter, if it has one."""
SEQUENCE_END: Final = 6
"""A sequence closes; likewise."""
FRAGMENT: Final = 7
FRAGMENTS_END: Final = 8

Event = tuple[int, int, int, int, int, int]
"""(kind, tag, VR number, at, start, end).

``at`` is the offset of the header, or -1 if an encoder would not write that header for this
VR and these bytes; ``start`` and ``end`` delimit the value.
"""

MAX_DEPTH: Final = 4096
"""Sequences may be nested this deep; what is deeper is refused."""
MAX_WARNINGS: Final = 200
"""Warnings beyond this number are only counted."""

_DELIMITERS_GROUP: Final = ITEM_TAG >> 16
_DELIMITERS: Final = frozenset((ITEM_TAG, ITEM_DELIMITER, SEQUENCE_DELIMITER))
FOREVER: Final = 1 << 62
# The bits of a length that a warning is due for: the value is odd, or no whole words.
_MASK: Final = tuple(max(size, 2) - 1 for size in vr.WORD)
_LONG: Final = vr.LONG

NO_REPRESENTATION: Final = "Pixel representation not found"
_ITEM_END_MISSING: Final = "Item Delimitation Item missing"
_SEQUENCE_END_MISSING: Final = "Sequence Delimitation Item missing"
_TOO_LONG: Final = "Length of element larger than explicit length of surrounding item"
_INVALID_TAG: Final = "Invalid tag"
_INVALID_VR: Final = "Invalid VR"
_CORRUPTED: Final = "Corrupted data"
_ILLEGAL_UNDEFINED: Final = (
    "Illegal element with OB or OW Value Representation and undefined length encountered"
)
_DEFINED_PIXEL_DATA: Final = (
    "Pixel data in top level dataset in compressed Transfer Syntax uses explicit length"
)


class _Sequence(NamedTuple):
    """An open sequence: its end (or FOREVER), layout, tag, and the item that holds it."""

    limit: int
    syntax: Syntax
    tag: int
    holder: OpenItem
    outer: Syntax


class Walk:
    """One pass over ``data[start:end]``; iterate over :meth:`events` once.

    ``warnings`` and ``unwritable`` (why the data set cannot be written, or "") are complete
    when the iteration is. Deflated data sets have to be inflated before.
    """

    def __init__(
        self,
        data: Encoded,
        start: int,
        end: int,
        transfer_syntax: str,
        convert_un: bool = False,
    ) -> None:
        self.data = data
        self.end = end
        self.start = start
        self.encapsulated = uids.is_encapsulated(transfer_syntax)
        self.syntax = syntax_of(transfer_syntax)
        self.convert_un = convert_un
        self.warnings: list[str] = []
        self._unheard = 0
        self.unwritable = ""
        self.leftover = 0
        # Explicit VR needs the dictionary only where UN is converted.
        needed = convert_un or not self.syntax.explicit
        self._exact_tags = dictionary.exact_tags() if needed else {}

    def warn(self, text: str) -> None:
        """Note something that the reference logs as a warning."""
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)
        else:
            self._unheard += 1

    def heard(self) -> tuple[str, ...]:
        """Return the warnings, with a word about those that were only counted."""
        more = (f"{self._unheard} more warnings about this data set",) if self._unheard else ()
        return (*self.warnings, *more)

    def events(self) -> Generator[Event, None, None]:
        """Yield the data set's events in stream order.

        Raises DataSetError where the reference gives up reading. Where less than a header is
        left at the end of the data, all that is open closes silently.
        """
        data, end = self.data, self.end
        encapsulated, convert_un = self.encapsulated, self.convert_un
        syntax, item, pos = self.syntax, OpenItem(self.start, FOREVER), self.start
        known_syntax: Syntax | None = None
        stack: list[_Sequence] = []
        while True:
            # Elements of the innermost item, until it ends or a sequence opens.
            if syntax is not known_syntax:
                known_syntax = syntax
                explicit, get_number = syntax.explicit, syntax.numbers.get
                head, length32 = syntax.head.unpack_from, syntax.length32.unpack_from
                short_head = syntax.short_head.unpack_from
            limit = item.limit
            bounded = limit != FOREVER
            stop = limit if limit < end else end
            opened: _Sequence | None = None
            delimiter = 0
            cut = False
            at = pos
            while pos < stop:
                at = pos
                if end - pos < 8:
                    cut = True
                    break
                kind = ELEMENT
                if explicit:
                    group, element, code, length = short_head(data, pos)
                    tag = group << 16 | element
                    if group == _DELIMITERS_GROUP and tag in _DELIMITERS:
                        delimiter = tag
                        break
                    number = get_number(code, -1)
                    convert = convert_un and number == vr.UN
                    if number < 0:
                        at = -1
                        number, is_long = self._unknown_vr(tag, pos)
                    else:
                        is_long = _LONG[number]
                    start = pos + 8
                    if is_long:
                        if end - pos < 12:
                            cut = True
                            break
                        if length:
                            at = -1
                        (length,) = length32(data, start)
                        start = pos + 12
                    if convert and length != UNDEFINED:
                        known = self._dictionary_vr(item, tag)
                        if known is not None:
                            number, kind, at = known, LITTLE_ELEMENT, -1
                else:
                    group, element, length = head(data, pos)
                    tag = group << 16 | element
                    if group == _DELIMITERS_GROUP and tag in _DELIMITERS:
                        delimiter = tag
                        break
                    start = pos + 8
                    known = self._dictionary_vr(item, tag)
                    number = vr.UN if known is None else known
                if group == 2:
                    self.warn(f"DcmItem: Invalid Element {name(tag)} found in data set")
                if bounded and start + length > limit:
                    self._check_room(item, start, length)
                odd = length & _MASK[number]
                if odd:
                    self._warn_length(tag, number, length)
                if number == vr.SQ or (odd and length == UNDEFINED):
                    if number not in (vr.SQ, vr.UN):
                        if tag != PIXEL_DATA or number not in (vr.OB, vr.OW):
                            raise DataSetError(
                                _ILLEGAL_UNDEFINED if number in (vr.OB, vr.OW) else _CORRUPTED
                            )
                        if not encapsulated:
                            # Without fragments there is nothing that could be written.
                            self.unwritable = NO_REPRESENTATION
                            return
                        pos = yield from self._fragments(tag, number, at, start)
                        continue
                    if len(stack) >= MAX_DEPTH:
                        raise TooDeep(f"Sequences nested deeper than {MAX_DEPTH} levels")
                    inner = syntax
                    if number == vr.UN:
                        self.warn(
                            f"Found element {name(tag)} with VR UN and undefined length, reading "
                            "a sequence with transfer syntax LittleEndianImplicit (CP-246)"
                        )
                        inner, at = IMPLICIT, -1 if explicit else at
                    elif kind == LITTLE_ELEMENT:
                        inner = IMPLICIT
                    ends = FOREVER if length == UNDEFINED else start + length
                    opened = _Sequence(ends, inner, tag, item, syntax)
                    yield SEQUENCE, tag, inner.number, at, start, ends
                    pos = start
                    break
                if encapsulated and tag == PIXEL_DATA and not stack:
                    raise DataSetError(_DEFINED_PIXEL_DATA)
                pos = start + length
                if pos > end:
                    raise CutValue(length, end - start)
                if explicit:
                    # A converted UN of ambiguous VR is not looked at in its context.
                    if convert_un and group & 1 and 0x10 <= element <= 0xFF:
                        item.remember_creator(tag, data, start, pos)
                elif tag in TELLING:
                    item.remember(tag, data, start, pos)
                elif group & 1 and 0x10 <= element <= 0xFF:
                    item.remember_creator(tag, data, start, pos)
                yield kind, tag, number, at, start, pos
            if opened is not None:
                stack.append(opened)
            elif not stack:
                if delimiter:
                    raise DataSetError(
                        _ITEM_END_MISSING if delimiter == SEQUENCE_DELIMITER else _INVALID_TAG
                    )
                self.leftover = end - pos
                return
            else:
                if delimiter:
                    if delimiter != ITEM_DELIMITER:
                        raise DataSetError(
                            _ITEM_END_MISSING if delimiter == SEQUENCE_DELIMITER else _INVALID_TAG
                        )
                    pos += 8
                    exact = -1 if length32(data, at + 4)[0] else at
                    yield ITEM_END, ITEM_DELIMITER, 0, exact, at, pos
                else:
                    yield ITEM_END, ITEM_DELIMITER, 0, pos, pos, pos
            # Between items: another one opens, or sequences close.
            while stack:
                sequence_end, inner, sequence_tag, holder, outer = stack[-1]
                at = pos
                exact = pos
                if not cut and pos < sequence_end:
                    if pos >= end:
                        raise DataSetError(_SEQUENCE_END_MISSING)
                    if end - pos < 8:
                        cut = True
                    else:
                        group, element, length = inner.head.unpack_from(data, pos)
                        pos += 8
                        tag = group << 16 | element
                        if tag == ITEM_TAG:
                            ends = FOREVER if length == UNDEFINED else pos + length
                            if length & 1 and length != UNDEFINED:
                                self._warn_odd_item(sequence_tag)
                            yield ITEM, tag, 0, at, pos, ends
                            item, syntax = OpenItem(pos, ends), inner
                            break
                        if tag != SEQUENCE_DELIMITER:
                            raise DataSetError(_SEQUENCE_END_MISSING)
                        if length:
                            exact = -1
                yield SEQUENCE_END, sequence_tag, 0, exact, at, pos
                stack.pop()
                item, syntax = holder, outer
                if item.limit > pos and not cut:
                    break
                if stack:
                    yield ITEM_END, ITEM_DELIMITER, 0, pos, pos, pos

    def _fragments(self, tag: int, number: int, at: int, pos: int) -> Generator[Event, None, int]:
        """Yield the fragments after a Pixel Data header; return where they end."""
        data, end = self.data, self.end
        head = self.syntax.head.unpack_from
        yield FRAGMENTS, tag, number, at, pos, pos
        while True:
            if pos >= end:
                raise DataSetError(_SEQUENCE_END_MISSING)
            if end - pos < 8:
                yield FRAGMENTS_END, tag, 0, -1, pos, pos
                return pos
            at = pos
            group, element, length = head(data, pos)
            pos += 8
            found = group << 16 | element
            if found == SEQUENCE_DELIMITER:
                yield FRAGMENTS_END, tag, 0, -1 if length else at, at, pos
                return pos
            if found != ITEM_TAG:
                raise DataSetError(_SEQUENCE_END_MISSING)
            if length > end - pos:
                raise CutValue(length, end - pos)
            if length & 1:
                self._warn_odd_item(tag)
            yield FRAGMENT, tag, 0, at, pos, pos + length
            pos += length

    def _unknown_vr(self, tag: int, at: int) -> tuple[int, bool]:
        """Return the VR number to take for one the standard has not, and if it is long."""
        code = bytes(self.data[at + 4 : at + 6])
        text = code.decode("latin-1")
        if not all(0x20 <= byte < 0x7F for byte in code):
            raise DataSetError(_INVALID_VR)
        is_long = all(0x41 <= byte <= 0x5A for byte in code)
        self.warn(
            f"DcmItem: Non-standard VR '{text}' ({code[0]:02x}\\{code[1]:02x}) encountered while "
            f"parsing element {name(tag)}, assuming {4 if is_long else 2} byte length field"
        )
        if code == b"OX" and tag == PIXEL_DATA:
            self.warn(
                "DcmItem: Non-standard VR 'OX' is known to be wrongly used for PixelData "
                f"{name(tag)}, setting VR to 'OW'"
            )
            return vr.OW, True
        return vr.UN, is_long

    def _dictionary_vr(self, item: OpenItem, tag: int) -> int | None:
        """Return the VR that the dictionary and the item's earlier elements give a tag."""
        number = self._exact_tags.get(tag)
        if number is None:
            number = dictionary.lookup(tag, item.creator(tag))
        if number == dictionary.PIXEL_SIGN:
            return vr.SS if item.sign == 1 else vr.US
        if number == dictionary.WAVEFORM_BITS:
            return vr.OB if item.bits in (None, 8, NO_VALUE) else vr.OW
        return number

    def _check_room(self, item: OpenItem, start: int, length: int) -> None:
        """Say what is wrong with an element that passes the defined end of the item around it."""
        if start > item.limit:
            self.warn(
                f"DcmItem: Explicit item length ({item.limit - item.start} bytes) too large for "
                "the elements contained in the item"
            )
        elif length != UNDEFINED and length > item.limit - start:
            raise DataSetError(_TOO_LONG)

    def _warn_length(self, tag: int, number: int, length: int) -> None:
        if length == UNDEFINED:
            return
        if vr.WORD[number] > 1 and length & (vr.WORD[number] - 1):
            self.warn(
                f"DcmItem: Length of element {name(tag)} is not a multiple of "
                f"{vr.WORD[number]} (VR={vr.NAMES[number].decode()})"
            )
        if length & 1:
            self.warn(f"DcmItem: Length of element {name(tag)} is odd")

    def _warn_odd_item(self, tag: int) -> None:
        self.warn(f"DcmSequenceOfItems: Length of item in sequence {name(tag)} is odd")
