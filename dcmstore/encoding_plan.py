"""Lays out what a data set shall look like, without writing it.

One pass over the walk's events makes the plan; the lengths of sequences, items and groups are
put into it when they are known. Where tags are out of order, a second pass notes where each
element begins, and every level is put together again when it ends.
"""

from collections.abc import Callable
from typing import Final

from dcmstore import uids, vr
from dcmstore.dataset import DEFAULT_LEVEL, Encoded, Findings, OutputOptions
from dcmstore.elementlayout import Elements
from dcmstore.headers import (
    ITEM_DELIMITER,
    ITEM_TAG,
    LAYOUTS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    UNDEFINED,
)
from dcmstore.layout import TooLarge
from dcmstore.levels import PADDING, Best, Disorder, Level
from dcmstore.values import padded_uid
from dcmstore.walk import (
    FOREVER,
    FRAGMENTS,
    FRAGMENTS_END,
    ITEM,
    ITEM_END,
    NO_REPRESENTATION,
    SEQUENCE,
    SEQUENCE_END,
    Event,
    Walk,
)

NO_ELEMENTS: Final = "Illegal call, perhaps wrong parameters"
TOO_LARGE: Final = "Data set takes too much memory or time to be written in another form"

_FILE_HEADER: Final = 132
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_STUDY, _NAME, _CHARACTER_SET = 0x0020000D, 0x00100010, 0x00080005
_SOP_UIDS: Final = frozenset((_SOP_CLASS, _SOP_INSTANCE))
_SOUGHT: Final = _SOP_UIDS | {_STUDY, _NAME, _CHARACTER_SET, PIXEL_DATA}
_PADDING_GROUP: Final = PADDING >> 16
_LONGEST_SOUGHT: Final = 1 << 16


class OpenSequence:
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


class Planner(Elements):
    """Makes the plan of one data set; see :func:`examine`.

    ``last`` is the last event, once the plan is made.
    """

    # Python finds attributes quicker in objects with less than 30 of their own.
    last: Event = (-1,) * 6

    def __init__(
        self,
        data: Encoded,
        walk: Walk,
        source_syntax: str,
        output: OutputOptions,
        sort: bool,
    ) -> None:
        self.source_syntax = source_syntax
        self.target_syntax = output.transfer_syntax or source_syntax
        super().__init__(data, walk, self.target_syntax, output, sort)
        self.undefined = output.lengths == "undefined"
        self.found: dict[int, bytes] = {}
        self.has_pixel_data = self.encapsulated = self.has_fragments = False

    # The walk.

    def run(self) -> Level:
        """Lay out the whole data set, and return its level; nothing follows where it broke off."""
        level = main = Level(-1, FOREVER, 0, 0)
        levels: list[Level] = []
        sequences: list[OpenSequence] = []
        sort, untouched = self.sort, self.untouched
        event = self.last
        for event in self.walk.events():
            kind, tag = event[0], event[1]
            if kind <= FRAGMENTS:
                repeated = False
                if tag > level.last:
                    level.last = tag
                else:
                    repeated = self.out_of_order(level, tag)
                group = tag >> 16
                padding = group == _PADDING_GROUP and tag == PADDING and not untouched
                if sort:
                    self.record(level, event, padding)
                elif group != level.group and not padding:
                    self.open_group(level, tag)
                if kind == SEQUENCE:
                    late = not tag & 0xFFFF and not untouched
                    if late and not sort:
                        self.group_length(level, event)
                    elif padding:
                        self.differs("padding element", tag)
                    sequences.append(self.open_sequence(event, repeated, padding or late))
                    continue
                if tag in _SOUGHT and not repeated:
                    self.note(level, not levels, event)
                if kind == FRAGMENTS:
                    self.has_fragments = True
                    level.size += self.open_fragments(event)
                elif padding:
                    self.drop_padding(level, event)
                elif tag & 0xFFFF or untouched:
                    level.size += self.element(event)
                elif not sort:
                    self.group_length(level, event)
            elif kind == ITEM:
                levels.append(level)
                level = self.open_item(sequences[-1], event)
            elif kind == ITEM_END:
                sequence, inner, level = sequences[-1], level, levels.pop()
                self.close_level(inner, self.item_pad, 0)
                sequence.size += 8 + inner.size
                sequence.size += self.close(
                    sequence.tag, inner.at, inner.size, inner.declared, ITEM_DELIMITER, event
                )
                if inner.best and not sequence.dropped:
                    _adopt(level.best, inner.best, sequence.tag)
            elif kind == SEQUENCE_END:
                level.size += self.close_sequence(sequences.pop(), event)
            else:
                level.size += self.fragment(event)
        self.last = event
        if not self.walk.unwritable:
            self.close_level(main, self.file_pad, _FILE_HEADER + self.output.meta_length)
            self.flush()
            if self.walk.leftover:
                self.because["leftover bytes"] = "leftover bytes at the end"
        return main

    def open_sequence(self, event: Event, repeated: bool, discarded: bool) -> OpenSequence:
        """Lay out the beginning of a sequence."""
        _, tag, layout, at, start, declared = event
        sequence = OpenSequence(tag, declared, repeated or discarded, discarded)
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
        self.copyable = self.copyable and LAYOUTS[layout] is self.target
        self.source_big = LAYOUTS[layout].big
        return sequence

    def compare_length(self, tag: int, declared: int) -> None:
        """Note a difference between the kinds of length of source and output."""
        if self.undefined and declared != FOREVER:
            self.differs("defined length of", tag)
        elif not self.undefined and declared == FOREVER:
            self.differs("undefined length of", tag)

    def open_item(self, sequence: OpenSequence, event: Event) -> Level:
        """Lay out the beginning of an item."""
        _, _, _, at, start, declared = event
        place = -1
        if self.undefined and declared == FOREVER and self.copyable:
            self.copy(at, start)
            self.flush()
        else:
            self.mark(ITEM_TAG, UNDEFINED if self.undefined else 0)
            place = len(self.literals) - 4
            self.compare_length(sequence.tag, declared)
        return Level(place, declared, len(self.literals), len(self.pieces))

    def close_sequence(self, sequence: OpenSequence, event: Event) -> int:
        """Lay out the end of a sequence and return its size."""
        size = sequence.header + sequence.size
        size += self.close(
            sequence.tag, sequence.at, sequence.size, sequence.declared, SEQUENCE_DELIMITER, event
        )
        self.copyable, self.source_big = sequence.copyable, sequence.big
        if sequence.discarded:
            self.truncate(sequence.literal, sequence.piece)
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

    def note(self, level: Level, main: bool, event: Event) -> None:
        """Keep what the findings report of an element."""
        kind, tag, number, _, start, end = event
        if tag == PIXEL_DATA:
            if main and number in (vr.OB, vr.OW):
                self.has_pixel_data = True
                self.encapsulated = kind == FRAGMENTS
            return
        value = b""
        if vr.TEXT[number] or number == vr.UI:
            value = bytes(self.data[start : min(end, start + _LONGEST_SOUGHT)])
        if number == vr.UI:
            # Blanks inside are no part of a UID, though they are of a text in its place.
            value = padded_uid(value)
        if tag in _SOP_UIDS:
            if tag not in level.best or tag < level.best[tag][0]:
                level.best[tag] = (tag, value)
        elif main:
            self.found.setdefault(tag, value)

    # The outcome.

    def obstacle(self) -> str:
        """Return why the data set cannot be written under the target syntax, or ""."""
        if self.walk.unwritable:
            return self.walk.unwritable
        if self.walk.start == self.walk.end and self.source_syntax != uids.DEFLATED:
            return NO_ELEMENTS
        if self.source_syntax == self.target_syntax:
            return ""
        ends = self.source_syntax, self.target_syntax
        if self.has_pixel_data and any(map(uids.is_encapsulated, ends)):
            return NO_REPRESENTATION
        return NO_REPRESENTATION if self.has_fragments else ""

    def findings(self, main: Level) -> Findings:
        """Return what the pass found, the plan included if it is needed."""
        obstacle, level = self.obstacle(), self.output.compression_level
        if self.source_syntax != self.target_syntax:
            self.because["transfer syntax"] = "another transfer syntax"
        elif self.target_syntax == uids.DEFLATED and level != DEFAULT_LEVEL:
            self.because["compression level"] = f"compression level {level}"
        sought = {tag: value for tag, (_, value) in main.best.items()} | self.found
        plan = None
        if self.because and not obstacle:
            plan = self.plan(main.size)
        return Findings(
            sop_class=_uid(sought.get(_SOP_CLASS, b"")),
            sop_instance=_uid(sought.get(_SOP_INSTANCE, b"")),
            study_instance=_uid(sought.get(_STUDY, b"").partition(b"\\")[0]),
            patient_name=sought.get(_NAME, b"").rstrip(b" \0"),
            character_set=sought.get(_CHARACTER_SET, b"").rstrip(b" \0"),
            has_pixel_data=self.has_pixel_data,
            encapsulated=self.encapsulated,
            reasons=tuple(self.because.values()),
            warnings=self.walk.heard(),
            unwritable=obstacle,
            plan=plan,
        )


def _uid(value: bytes) -> str:
    # What stands behind a NUL is written, but is no part of a UID.
    return value.partition(b"\0")[0].rstrip(b" ").decode("latin-1")


def _adopt(best: Best, inner: Best, holder: int) -> None:
    """Let a level know the UIDs that an item of its sequence ``holder`` has."""
    for tag, (_, value) in inner.items():
        if tag not in best or holder < best[tag][0]:
            best[tag] = (holder, value)


def examine(
    data: Encoded,
    start: int,
    end: int,
    transfer_syntax: str,
    output: OutputOptions,
    make_planner: Callable[[Encoded, Walk, str, OutputOptions, bool], Planner] = Planner,
) -> Findings:
    """Walk a data set and lay it out anew.

    Deflated data has to be inflated before. ``make_planner`` may make planners of another kind.
    Raises DataSetError if the data set cannot be parsed.
    """
    for sort in (False, True):
        walk = Walk(data, start, end, transfer_syntax, output.convert_un)
        planner = make_planner(data, walk, transfer_syntax, output, sort)
        try:
            return planner.findings(planner.run())
        except Disorder:
            continue
        except TooLarge:
            break
    return Findings("", "", "", b"", b"", False, False, (), (), TOO_LARGE)
