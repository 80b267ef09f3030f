"""Lays out what a data set shall look like, without writing it.

A plan is a buffer of literal bytes (headers, small or changed values) and a list of pieces of
the source that stand between them. One pass over the walk's events makes it; the lengths of
sequences, items and groups are put into the literals when they are known. Where tags are out
of order, a second pass notes where each element begins, and every level is put together again
when it ends.
"""

from array import array
from mmap import mmap
from struct import Struct
from typing import Final, NamedTuple

from dcmstore import uids, vr
from dcmstore.dataset import Findings, OutputOptions, Plan
from dcmstore.values import padded_uid, swapped, text_end
from dcmstore.walk import (
    FOREVER,
    FRAGMENTS,
    FRAGMENTS_END,
    ITEM,
    ITEM_DELIMITER,
    ITEM_END,
    ITEM_TAG,
    LAYOUTS,
    LITTLE_ELEMENT,
    NO_REPRESENTATION,
    PIXEL_DATA,
    SEQUENCE,
    SEQUENCE_DELIMITER,
    SEQUENCE_END,
    UNDEFINED,
    Event,
    Walk,
    name,
    syntax_of,
)

MEMORY_LIMIT: Final = 1 << 29
"""A plan may take this many bytes; only data sets made to hurt need more."""
_INLINE: Final = 512
"""Unchanged parts up to this many bytes are copied into the literals."""
_RECORD_COST: Final = 200
_FILE_HEADER: Final = 132
_CHUNK: Final = 1 << 16
_BLANKS: Final = b" \0"

_PADDING: Final = 0xFFFCFFFC
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_STUDY, _NAME, _CHARACTER_SET = 0x0020000D, 0x00100010, 0x00080005
_SOP_UIDS: Final = frozenset((_SOP_CLASS, _SOP_INSTANCE))
_SOUGHT: Final = _SOP_UIDS | {_STUDY, _NAME, _CHARACTER_SET}
_LONGEST_SOUGHT: Final = 1 << 16
NO_ELEMENTS: Final = "Illegal call, perhaps wrong parameters"
TOO_LARGE: Final = "Data set needs too much memory to be written in another form"

_Best = dict[int, tuple[int, bytes]]
"""For each SOP UID the tag under which a level holds the first one, and its value."""


class _Disorder(Exception):
    """Tags do not ascend: the plan has to be made the other way."""


class _TooLarge(Exception):
    """The plan has reached its limit."""


class _Record(NamedTuple):
    """One element of a level whose order is not yet settled."""

    tag: int
    literal: int
    piece: int
    size: int
    group_length: Event | None


class _Level:
    """The data set or an item, while its elements are laid out."""

    __slots__ = (
        "at",
        "best",
        "declared",
        "group",
        "group_at",
        "group_base",
        "group_value",
        "last",
        "literal",
        "padding",
        "piece",
        "records",
        "seen",
        "size",
    )

    def __init__(self, at: int, declared: int, literal: int, piece: int) -> None:
        # Where the length stands in the literals (-1: nowhere), and the end that is declared.
        self.at = at
        self.declared = declared
        # Where the content begins in the plan, and how many bytes it has so far.
        self.literal = literal
        self.piece = piece
        self.size = 0
        self.last = -1
        # The open group: its number, where its length stands in the literals (-1: nowhere),
        # the size of the level behind that length, and what the source says (-1: nothing).
        self.group = -1
        self.group_at = -1
        self.group_base = 0
        self.group_value = -1
        # The padding element of the source, if it has the form in which it would be written.
        self.padding: Event | None = None
        self.best: _Best = {}
        self.records: list[_Record] = []
        self.seen: set[int] = set()


class _Sequence:
    """An open sequence: its places in source and plan, and its size so far."""

    __slots__ = (
        "at",
        "big",
        "copyable",
        "declared",
        "discarded",
        "dropped",
        "header",
        "literal",
        "piece",
        "size",
        "tag",
    )

    def __init__(self, tag: int, declared: int, dropped: bool, discarded: bool) -> None:
        self.tag = tag
        self.declared = declared
        # Repeats a tag: another sequence counts. Or does not appear in the output at all.
        self.dropped = dropped
        self.discarded = discarded
        self.at = -1
        self.header = 0
        self.size = 0
        self.literal = 0
        self.piece = 0
        self.big = False
        self.copyable = False


class Planner:
    """Makes the plan of one data set; see :func:`plan`."""

    def __init__(
        self,
        data: memoryview | mmap,
        walk: Walk,
        source_syntax: str,
        output: OutputOptions,
        sort: bool,
    ) -> None:
        self.data = data
        self.walk = walk
        self.sort = sort
        self.output = output
        self.source_syntax = source_syntax
        self.target_syntax = output.transfer_syntax or source_syntax
        self.target = syntax_of(self.target_syntax)
        order = ">" if self.target.big else "<"
        self.short_head = Struct(order + "HH2sH")
        self.long_head = Struct(order + "HH2sHI")
        # One odd pad size and the reference leaves padding and group lengths as they are.
        padding = output.padding
        self.untouched = padding is not None and (padding[0] | padding[1]) & 1 != 0
        self.undefined = output.lengths == "undefined"
        self.literals = bytearray()
        self.pieces = array("Q")
        self.run_start = self.run_end = 0
        self.copyable = self.target is walk.syntax
        self.source_big = walk.syntax.big
        self.because: dict[str, str] = {}
        self.found: dict[int, bytes] = {}
        self.has_pixel_data = self.encapsulated = self.fragments_inside = False
        self.file_pad, self.item_pad = padding or (0, 0)
        self.record_count = 0

    # Putting bytes into the plan.

    def copy(self, start: int, end: int) -> None:
        """Take a part of the source as it is."""
        if start == self.run_end:
            self.run_end = end
        else:
            self.flush()
            self.run_start, self.run_end = start, end

    def flush(self) -> None:
        """Close the run of unchanged bytes."""
        start, end = self.run_start, self.run_end
        if end > start:
            if end - start <= _INLINE:
                self.literals += self.data[start:end]
            else:
                self.pieces.extend((len(self.literals), start, end, 1))
        self.run_start = self.run_end = -1

    def literal(self, value: bytes) -> None:
        """Put new bytes behind what is there."""
        if self.run_end > 0:
            self.flush()
        self.literals += value
        if len(self.literals) > MEMORY_LIMIT:
            raise _TooLarge

    def header(self, tag: int, number: int, length: int) -> int:
        """Put an element header and return its size; the length comes last in it."""
        if not self.target.explicit:
            self.literal(self.target.head.pack(tag >> 16, tag & 0xFFFF, length))
            return 8
        vr_name = vr.NAMES[number]
        if vr.LONG[number]:
            self.literal(self.long_head.pack(tag >> 16, tag & 0xFFFF, vr_name, 0, length))
            return 12
        self.literal(self.short_head.pack(tag >> 16, tag & 0xFFFF, vr_name, length))
        return 8

    def mark(self, tag: int, length: int = 0) -> None:
        """Put the header of an item or a delimiter."""
        self.literal(self.target.head.pack(tag >> 16, tag & 0xFFFF, length))

    def differs(self, kind: str, tag: int) -> None:
        """Note why the output is not the input, once for each kind of reason."""
        if kind not in self.because:
            self.because[kind] = f"{kind} {name(tag)}"

    # Group lengths.

    def open_group(self, level: _Level, tag: int) -> None:
        """Begin the group of a tag, whose first element it is on this level."""
        self.close_group(level)
        level.group = tag >> 16
        if self.output.group_length == "create" and tag & 0xFFFF and not self.untouched:
            self.differs("no group length before", tag)
            self.put_group_length(level, tag & 0xFFFF0000, -1)

    def put_group_length(self, level: _Level, tag: int, value: int) -> None:
        """Put a group length to be filled in later; ``value`` is the source's, -1 for none."""
        level.size += self.header(tag, vr.UL, 4) + 4
        level.group_at = len(self.literals)
        level.group_base = level.size
        level.group_value = value
        self.literal(bytes(4))

    def close_group(self, level: _Level) -> None:
        """Fill in the length of the open group, if it has one."""
        at = level.group_at
        if at < 0:
            return
        size = level.size - level.group_base
        tag = level.group << 16
        level.group_at = -1
        if size >= 1 << 32:
            self.differs("group length too large for", tag)
            self.remove(at - 8, at + 4)
            level.size -= 12
            return
        if level.group_value not in (-1, size):
            self.differs("wrong group length in", tag)
        self.target.length32.pack_into(self.literals, at, size)

    def remove(self, start: int, end: int) -> None:
        """Take literals out again, with no piece standing between them."""
        del self.literals[start:end]
        for index in range(len(self.pieces) - 4, -1, -4):
            if self.pieces[index] < end:
                break
            self.pieces[index] -= end - start

    def group_length(self, level: _Level, event: Event) -> None:
        """Lay out a group length that the source has."""
        _, tag, number, at, start, end = event
        if self.output.group_length == "remove":
            self.differs("group length", tag)
            return
        value = -1
        if number != vr.UL:
            self.walk.warn("DcmItem: Group Length with VR other than UL found, corrected")
            self.differs("VR of group length", tag)
        elif end - start not in (0, 4):
            # The reference cannot correct it either.
            level.size += self.element(event)
            return
        elif end - start != 4 or at < 0:
            self.differs("form of group length", tag)
        else:
            layout = LAYOUTS[2 if self.source_big else 1]
            (value,) = layout.length32.unpack_from(self.data, start)
        self.put_group_length(level, tag, value)

    # Elements.

    def element(self, event: Event) -> int:
        """Lay out an element and return its size."""
        kind, tag, number, at, start, end = event
        data = self.data
        stop, tail = end, b""
        value: bytes | None = None
        if vr.TEXT[number]:
            if end > start and (data[end - 1] in _BLANKS or (end - start) & 1):
                stop = text_end(data, start, end)
                if (stop - start) & 1:
                    if stop < end and data[stop] == 0x20:
                        stop += 1
                    else:
                        tail = b" "
                if stop != end:
                    self.differs("trailing blanks in", tag)
                elif tail:
                    self.differs("odd length of", tag)
        elif number == vr.UI:
            value = bytes(data[start : min(end, start + MEMORY_LIMIT)])
            kept = padded_uid(value)
            if kept == value:
                value = None
            else:
                self.differs("blanks or padding in UID", tag)
                value = kept
        elif (end - start) & 1:
            tail = b"\0"
            self.differs("odd length of", tag)
        length = stop - start + len(tail) if value is None else len(value)
        written = number
        if self.target.explicit:
            if vr.NEW[number] and not self.output.new_vr:
                written = vr.OB
            if length > 0xFFFF and not vr.LONG[written]:
                written = vr.UN if self.output.new_vr else vr.OB
        if (
            at >= 0
            and self.copyable
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
        size = self.header(tag, written, length) + length
        if value is not None:
            self.literal(value)
            return size
        source_big = self.source_big and kind != LITTLE_ELEMENT
        target_big = self.target.big and written not in (vr.OB, vr.UN)
        word = vr.WORD[number]
        if word > 1 and source_big != target_big:
            self.swap(start, stop, word, tail)
            return size
        self.copy(start, stop)
        if tail:
            self.literal(tail)
        return size

    def swap(self, start: int, end: int, word: int, tail: bytes) -> None:
        """Take a value with its byte order reversed; the padding is swapped with it."""
        if end - start <= _INLINE:
            self.literal(swapped(bytes(self.data[start:end]) + tail, word))
            return
        whole = end - (end - start) % word
        self.flush()
        self.pieces.extend((len(self.literals), start, whole, word))
        if whole < end or tail:
            self.literal(swapped(bytes(self.data[whole:end]) + tail, word))

    def note(self, level: _Level, main: bool, event: Event) -> None:
        """Keep the value of an element that the findings report."""
        _, tag, number, _, start, end = event
        value = b""
        if vr.TEXT[number] or number == vr.UI:
            value = bytes(self.data[start : min(end, start + _LONGEST_SOUGHT)])
        if tag in _SOP_UIDS:
            if tag not in level.best or tag < level.best[tag][0]:
                level.best[tag] = (tag, value)
        elif main:
            self.found.setdefault(tag, value)

    def out_of_order(self, level: _Level, tag: int) -> bool:
        """Say what is wrong with a tag that does not ascend; tell whether it is a repetition."""
        if not self.sort:
            raise _Disorder
        if tag in level.seen:
            self.walk.warn(
                f"DcmItem: Element {name(tag)} found twice in one data set or item, "
                "ignoring second entry"
            )
            self.differs("repetition of", tag)
            return True
        self.walk.warn(f"DcmItem: Dataset not in ascending tag order, at element {name(tag)}")
        self.differs("tag order at", tag)
        return False

    # Levels.

    def close_level(self, level: _Level, pad: int, before: int) -> None:
        """Finish the content of an item or the data set; ``before`` bytes come before it."""
        if self.sort:
            self.put_together(level)
        if pad and not self.untouched:
            self.pad(level, pad, before)
        elif level.padding is not None:
            self.differs("padding element", _PADDING)
        self.close_group(level)

    def pad(self, level: _Level, pad: int, before: int) -> None:
        """Add a padding element that makes the size a multiple of ``pad``."""
        header = 12 if self.target.explicit else 8
        missing = pad - (before + level.size) % pad
        if missing == pad:
            if level.padding is not None:
                self.differs("padding element", _PADDING)
            return
        while missing < header:
            missing += pad
        length = missing - header
        old = level.padding
        same = False
        if old is not None:
            _, _, number, at, start, end = old
            same = at >= 0 and number == vr.OB and end - start == length and self.copyable
            same = same and level.last == _PADDING
            same = same and _all_zero(self.data, start, end)
        if not same:
            self.differs("padding element", _PADDING)
        if level.group != _PADDING >> 16:
            self.close_group(level)
        self.header(_PADDING, vr.OB, length)
        if length <= _INLINE:
            self.literal(bytes(length))
        else:
            self.pieces.extend((len(self.literals), 0, length, 0))
        level.size += missing

    def put_together(self, level: _Level) -> None:
        """Bring the elements of a level into ascending order, the first of each tag only."""
        self.flush()
        literals, pieces, records = self.literals, self.pieces, level.records
        base, first = level.literal, level.piece
        ends = _Record(0, len(literals), len(pieces), level.size, None)
        records.append(ends)
        old, old_pieces = bytes(literals[base:]), pieces[first:]
        del literals[base:], pieces[first:]
        level.size = 0
        last = -1
        for index in sorted(range(len(records) - 1), key=lambda i: records[i].tag):
            tag, literal, piece, size, group_length = records[index]
            if tag == last:
                continue
            last = tag
            if tag >> 16 != level.group:
                self.open_group(level, tag)
            if group_length is not None:
                self.group_length(level, group_length)
                self.flush()
                continue
            following = records[index + 1]
            shift = len(literals) - literal
            literals += old[literal - base : following.literal - base]
            for place in range(piece - first, following.piece - first, 4):
                before, *part = old_pieces[place : place + 4]
                pieces.extend((before + shift, *part))
            level.size += following.size - size
        self.record_count -= len(records) - 1
        level.records = []
        level.seen = set()

    # The walk.

    def run(self) -> _Level:
        """Lay out the whole data set, and return its level; nothing follows where it broke off."""
        level = main = _Level(-1, FOREVER, 0, 0)
        levels: list[_Level] = []
        sequences: list[_Sequence] = []
        sort = self.sort
        for event in self.walk.events():
            kind, tag, number, _, _, _ = event
            if kind <= FRAGMENTS:
                repeated = False
                if tag > level.last:
                    level.last = tag
                else:
                    repeated = self.out_of_order(level, tag)
                padding = tag == _PADDING and not self.untouched
                if sort:
                    self.record(level, event, padding)
                elif tag >> 16 != level.group and not padding:
                    self.open_group(level, tag)
                if kind == SEQUENCE:
                    sequences.append(self.open_sequence(event, repeated, padding))
                    continue
                if tag in _SOUGHT and not repeated:
                    self.note(level, not levels, event)
                if tag == PIXEL_DATA and not levels and number in (vr.OB, vr.OW):
                    self.has_pixel_data = True
                    self.encapsulated = kind == FRAGMENTS
                self.fragments_inside |= kind == FRAGMENTS
                if kind == FRAGMENTS:
                    level.size += self.open_fragments(event)
                elif padding:
                    self.drop_padding(level, event)
                elif tag & 0xFFFF or self.untouched:
                    level.size += self.element(event)
                elif not sort:
                    self.group_length(level, event)
            elif kind == ITEM:
                levels.append(level)
                level = self.open_item(sequences[-1], event)
            elif kind == ITEM_END:
                sequence, inner, level = sequences[-1], level, levels.pop()
                self.close_level(inner, self.item_pad, 0)
                sequence.size += self.close_item(sequence, inner, event)
                if not sequence.dropped:
                    _adopt(level.best, inner.best, sequence.tag)
            elif kind == SEQUENCE_END:
                level.size += self.close_sequence(sequences.pop(), event)
            else:
                level.size += self.fragment(event)
        if not self.walk.unwritable:
            self.close_level(main, self.file_pad, _FILE_HEADER + self.output.meta_length)
            self.flush()
            if self.walk.leftover:
                self.because["leftover bytes"] = "leftover bytes at the end"
        return main

    def record(self, level: _Level, event: Event, padding: bool) -> None:
        """Note where an element of an unsettled level begins in the plan."""
        kind, tag = event[:2]
        level.seen.add(tag)
        self.record_count += 1
        if self.record_count * _RECORD_COST > MEMORY_LIMIT:
            raise _TooLarge
        if padding:
            return
        self.flush()
        is_group_length = not tag & 0xFFFF and kind <= LITTLE_ELEMENT and not self.untouched
        late = event if is_group_length else None
        place = len(self.literals), len(self.pieces)
        level.records.append(_Record(tag, *place, level.size, late))

    def drop_padding(self, level: _Level, event: Event) -> None:
        """Leave a padding element out, for now or for good."""
        if level.padding is None:
            level.padding = event
        else:
            self.differs("padding element", _PADDING)

    def open_sequence(self, event: Event, repeated: bool, discarded: bool) -> _Sequence:
        """Lay out the beginning of a sequence."""
        _, tag, layout, at, start, declared = event
        sequence = _Sequence(tag, declared, repeated or discarded, discarded)
        self.flush()
        sequence.literal, sequence.piece = len(self.literals), len(self.pieces)
        sequence.copyable, sequence.big = self.copyable, self.source_big
        if at < 0:
            self.differs("header of", tag)
        if self.undefined and declared == FOREVER and at >= 0 and self.copyable:
            self.copy(at, start)
            sequence.header = start - at
        else:
            length = UNDEFINED if self.undefined else 0
            sequence.header = self.header(tag, vr.SQ, length)
            sequence.at = len(self.literals) - 4
            self.compare_length(tag, declared)
        if discarded:
            self.differs("padding element", tag)
        self.copyable = self.copyable and LAYOUTS[layout] is self.target
        self.source_big = LAYOUTS[layout].big
        return sequence

    def compare_length(self, tag: int, declared: int) -> None:
        """Note a difference between the kinds of length of source and output."""
        if self.undefined and declared != FOREVER:
            self.differs("defined length of", tag)
        elif not self.undefined and declared == FOREVER:
            self.differs("undefined length of", tag)

    def open_item(self, sequence: _Sequence, event: Event) -> _Level:
        """Lay out the beginning of an item."""
        _, _, _, at, start, declared = event
        place = -1
        if self.undefined and declared == FOREVER and self.copyable:
            self.copy(at, start)
        else:
            self.mark(ITEM_TAG, UNDEFINED if self.undefined else 0)
            place = len(self.literals) - 4
            self.compare_length(sequence.tag, declared)
        self.flush()
        return _Level(place, declared, len(self.literals), len(self.pieces))

    def close_item(self, sequence: _Sequence, level: _Level, event: Event) -> int:
        """Lay out the end of an item and return its size, header and delimiter included."""
        return (
            8
            + level.size
            + self.close(sequence.tag, level.at, level.size, level.declared, ITEM_DELIMITER, event)
        )

    def close_sequence(self, sequence: _Sequence, event: Event) -> int:
        """Lay out the end of a sequence and return its size."""
        size = sequence.header + sequence.size
        size += self.close(
            sequence.tag, sequence.at, sequence.size, sequence.declared, SEQUENCE_DELIMITER, event
        )
        self.copyable, self.source_big = sequence.copyable, sequence.big
        if sequence.discarded:
            self.flush()
            del self.literals[sequence.literal :], self.pieces[sequence.piece :]
            return 0
        return size

    def close(
        self, tag: int, place: int, size: int, declared: int, delimiter: int, event: Event
    ) -> int:
        """Fill in a length, or put a delimiter and return its size."""
        _, _, _, exact, start, end = event
        if declared == FOREVER:
            if start == end or exact < 0:
                self.differs("delimiter of", tag)
        elif start != declared or start != end:
            self.differs("wrong length of", tag)
        if not self.undefined and size < UNDEFINED:
            self.target.length32.pack_into(self.literals, place, size)
            return 0
        if not self.undefined:
            # What does not fit into 32 bits has to be delimited.
            self.target.length32.pack_into(self.literals, place, UNDEFINED)
        if self.undefined and start != end and exact >= 0 and self.copyable:
            self.copy(start, end)
        else:
            self.mark(delimiter)
        return 8

    def open_fragments(self, event: Event) -> int:
        """Lay out the header of encapsulated pixel data, which is always OB."""
        _, tag, number, at, start, _ = event
        if number == vr.OB and at >= 0 and self.copyable:
            self.copy(at, start)
            return start - at
        self.differs("header of", tag)
        return self.header(tag, vr.OB, UNDEFINED)

    def fragment(self, event: Event) -> int:
        """Lay out one fragment or the delimiter behind the last; return its size."""
        kind, tag, _, at, start, end = event
        if kind == FRAGMENTS_END:
            if at >= 0 and self.copyable:
                self.copy(start, end)
            else:
                self.differs("delimiter of", tag)
                self.mark(SEQUENCE_DELIMITER)
            return 8
        length = end - start
        if self.copyable and not length & 1:
            self.copy(at, end)
            return 8 + length
        if length & 1:
            self.differs("odd fragment in", tag)
        self.mark(ITEM_TAG, length + (length & 1))
        self.copy(start, end)
        if length & 1:
            self.literal(b"\0")
        return 8 + length + (length & 1)

    # The outcome.

    def obstacle(self) -> str:
        """Return why the data set cannot be written under the target syntax, or ""."""
        if self.walk.unwritable:
            return self.walk.unwritable
        if self.walk.start == self.walk.end:
            return NO_ELEMENTS
        if self.source_syntax == self.target_syntax:
            return ""
        ends = self.source_syntax, self.target_syntax
        if self.has_pixel_data and any(map(uids.is_encapsulated, ends)):
            return NO_REPRESENTATION
        return NO_REPRESENTATION if self.fragments_inside else ""

    def findings(self, main: _Level) -> Findings:
        """Return what the pass found, the plan included if it is needed."""
        obstacle = self.obstacle()
        if self.source_syntax != self.target_syntax:
            self.because["transfer syntax"] = "another transfer syntax"
        sought = {tag: value for tag, (_, value) in main.best.items()} | self.found
        plan = None
        if self.because and not obstacle:
            plan = Plan(self.literals, self.pieces, main.size)
        return Findings(
            sop_class=_uid(sought.get(_SOP_CLASS, b"")),
            sop_instance=_uid(sought.get(_SOP_INSTANCE, b"")),
            study_instance=_uid(sought.get(_STUDY, b"").partition(b"\\")[0]),
            patient_name=sought.get(_NAME, b"").rstrip(b" \0"),
            character_set=sought.get(_CHARACTER_SET, b"").rstrip(b" \0"),
            has_pixel_data=self.has_pixel_data,
            encapsulated=self.encapsulated,
            reasons=tuple(self.because.values()),
            warnings=tuple(self.walk.warnings),
            unwritable=obstacle,
            plan=plan,
        )


def _uid(value: bytes) -> str:
    return padded_uid(value).rstrip(b"\0").decode("latin-1")


def _adopt(best: _Best, inner: _Best, holder: int) -> None:
    """Let a level know the UIDs that an item of its sequence ``holder`` has."""
    for tag, (_, value) in inner.items():
        if tag not in best or holder < best[tag][0]:
            best[tag] = (holder, value)


def _all_zero(data: memoryview | mmap, start: int, end: int) -> bool:
    for begin in range(start, end, _CHUNK):
        part = bytes(data[begin : min(end, begin + _CHUNK)])
        if part.count(0) != len(part):
            return False
    return True


def examine(
    data: memoryview | mmap, start: int, end: int, transfer_syntax: str, output: OutputOptions
) -> Findings:
    """Walk a data set and lay it out anew.

    Deflated data has to be inflated before. Raises DataSetError if it cannot be parsed.
    """
    for sort in (False, True):
        walk = Walk(data, start, end, transfer_syntax, output.convert_un)
        planner = Planner(data, walk, transfer_syntax, output, sort)
        try:
            return planner.findings(planner.run())
        except _Disorder:
            continue
        except _TooLarge:
            break
    return Findings("", "", "", b"", b"", False, False, (), (), TOO_LARGE)
