"""What holds for a whole level: order of tags, group lengths, padding.

A level is the main data set or one item of a sequence.
"""

from typing import Final, NamedTuple

from dcmstore import vr
from dcmstore.dataset import Encoded, OutputOptions
from dcmstore.headers import LAYOUTS, name, syntax_of
from dcmstore.layout import MEMORY_LIMIT, Layout, TooLarge
from dcmstore.walk import SEQUENCE, Event, Walk

PADDING: Final = 0xFFFCFFFC
MOST_MOVED: Final = 1 << 23
"""Parts that may be moved to put levels in order, which takes some ten seconds; 256 bytes count as
one, too. What is in an inner level moves with each one around it: thousands of times, in data sets
made to hurt."""
_RECORD_COST: Final = 200
_CHUNK: Final = 1 << 16

Best = dict[int, tuple[int, bytes]]
"""For each SOP UID the tag under which a level holds the first one, and its value."""


class Disorder(Exception):
    """Tags do not ascend: the plan has to be made with records of the elements."""


class Record(NamedTuple):
    """One element of a level whose order is not yet settled."""

    tag: int
    literal: int
    piece: int
    size: int
    group_length: Event | None


class Level:
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
        "pending_group",
        "pending_value",
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
        # A group length that is written if elements of its group follow, and its value.
        self.pending_group = -1
        self.pending_value = -1
        # The padding element of the source, if it has the form in which it would be written.
        self.padding: Event | None = None
        self.best: Best = {}
        self.records: list[Record] = []
        self.seen: set[int] = set()


class Levels(Layout):
    """A layout that knows what to do at the edges of groups and levels.

    With ``sort`` every element is recorded, and levels are put together when they end.
    """

    # Used with ``sort`` only, and kept out of objects whose attributes are counted (see Planner).
    _record_count = 0
    _moved = 0

    def __init__(
        self,
        data: Encoded,
        walk: Walk,
        target_syntax: str,
        output: OutputOptions,
        sort: bool,
    ) -> None:
        super().__init__(data, syntax_of(target_syntax))
        self.walk = walk
        self.output = output
        self.sort = sort
        # One odd pad size and the reference leaves padding and group lengths as they are.
        pads = output.padding or (0, 0)
        self.untouched = (pads[0] | pads[1]) & 1 != 0
        self.file_pad, self.item_pad = (0, 0) if self.untouched else pads
        self.creating = output.group_length == "create" and not self.untouched
        # If headers of the elements being read could be copied, and their byte order.
        self.copyable = self.target is walk.syntax
        self.source_big = walk.syntax.big

    # Group lengths.

    def open_group(self, level: Level, tag: int) -> None:
        """Begin the group of a tag, whose first element on this level it is."""
        if level.group_at >= 0:
            self.close_group(level)
        level.group = tag >> 16
        value = -1
        if level.pending_group >= 0:
            if level.pending_group == level.group:
                value = level.pending_value
            self.drop_pending(level, level.group)
        if self.creating and tag & 0xFFFF:
            if value < 0:
                self.differs("no group length before", tag)
            self.put_group_length(level, tag & 0xFFFF0000, value)

    def drop_pending(self, level: Level, group: int) -> None:
        """Forget the group length that waits, perhaps for elements of another group than this."""
        if level.pending_group != group:
            self.differs("group length without a group", level.pending_group << 16)
        level.pending_group = -1

    def put_group_length(self, level: Level, tag: int, value: int) -> None:
        """Put a group length to be filled in later; ``value`` is the source's, -1 for none."""
        level.size += self.header(tag, vr.UL, 4) + 4
        level.group_at = len(self.literals)
        level.group_base = level.size
        level.group_value = value
        self.literal(bytes(4))

    def close_group(self, level: Level) -> None:
        """Fill in the length of the open group, which has one."""
        at = level.group_at
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

    def group_length(self, level: Level, event: Event) -> None:
        """Lay out a group length that the source has.

        One of another form than UL with one value becomes that (the reference leaves some of
        those in the last group of a level as they are).
        """
        kind, tag, number, at, start, end = event
        mode = self.output.group_length
        if mode == "remove":
            self.differs("group length", tag)
            return
        value = -1
        if kind == SEQUENCE or number != vr.UL:
            self.differs("VR of group length", tag)
            if mode == "recalc":
                self.walk.warn("DcmItem: Group Length with VR other than UL found, corrected")
        elif end - start != 4 or at < 0:
            self.differs("form of group length", tag)
        else:
            (value,) = LAYOUTS[2 if self.source_big else 1].length32.unpack_from(self.data, start)
        if mode == "recalc":
            self.put_group_length(level, tag, value)
        else:
            level.pending_group, level.pending_value = level.group, value
            level.group = -1

    # Levels.

    def close_level(self, level: Level, pad: int, before: int) -> None:
        """Finish the content of an item or the data set; ``before`` bytes come before it."""
        if self.sort:
            self.put_together(level)
        if level.pending_group >= 0:
            self.drop_pending(level, -1)
        if pad:
            self.pad(level, pad, before)
        elif level.padding is not None:
            self.differs("padding element", PADDING)
        if level.group_at >= 0:
            self.close_group(level)

    def pad(self, level: Level, pad: int, before: int) -> None:
        """Add a padding element that makes the size a multiple of ``pad``."""
        header = 12 if self.target.explicit else 8
        missing = pad - (before + level.size) % pad
        if missing == pad:
            if level.padding is not None:
                self.differs("padding element", PADDING)
            return
        while missing < header:
            missing += pad
        # Odd content, which only OW can bring about, makes an odd difference.
        missing += missing & 1
        length = missing - header
        old = level.padding
        same = False
        if old is not None:
            _, _, number, at, start, end = old
            same = at >= 0 and number == vr.OB and end - start == length and self.copyable
            same = same and level.last == PADDING
            same = same and _all_zero(self.data, start, end)
        if not same:
            self.differs("padding element", PADDING)
        if level.group != PADDING >> 16 and level.group_at >= 0:
            self.close_group(level)
        self.header(PADDING, vr.OB, length)
        self.zeros(length)
        level.size += missing

    def put_together(self, level: Level) -> None:
        """Bring the elements of a level into ascending order, the first of each tag only."""
        self.flush()
        literals, pieces, records = self.literals, self.pieces, level.records
        base, first = level.literal, level.piece
        self._moved += (len(pieces) - first) // 4 + (len(literals) - base) // 256
        if self._moved > MOST_MOVED:
            raise TooLarge
        ends = Record(0, len(literals), len(pieces), level.size, None)
        records.append(ends)
        old, old_pieces = bytes(memoryview(literals)[base:]), pieces[first:]
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
        self._record_count -= len(records) - 1
        level.records = []
        level.seen = set()

    def out_of_order(self, level: Level, tag: int) -> bool:
        """Say what is wrong with a tag that does not ascend; tell whether it is a repetition."""
        if not self.sort:
            raise Disorder
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

    def record(self, level: Level, event: Event, padding: bool) -> None:
        """Note where an element of an unsettled level begins in the plan."""
        kind, tag = event[:2]
        level.seen.add(tag)
        self._record_count += 1
        if self._record_count * _RECORD_COST > MEMORY_LIMIT:
            raise TooLarge
        if padding:
            return
        self.flush()
        is_group_length = not tag & 0xFFFF and kind <= SEQUENCE and not self.untouched
        late = event if is_group_length else None
        place = len(self.literals), len(self.pieces)
        level.records.append(Record(tag, *place, level.size, late))

    def drop_padding(self, level: Level, event: Event) -> None:
        """Leave a padding element out, for now or for good."""
        if level.padding is None:
            level.padding = event
        else:
            self.differs("padding element", PADDING)


def _all_zero(data: Encoded, start: int, end: int) -> bool:
    for begin in range(start, end, _CHUNK):
        part = bytes(data[begin : min(end, begin + _CHUNK)])
        if part.count(0) != len(part):
            return False
    return True
