"""Lays out a data set in which some elements of the main level have other values.

All else stays in its place in the source, pixel data above all. What the reference does not
change, because of its value representation or of the value that it has, stays, too.
"""

from collections.abc import Mapping
from struct import Struct, error
from typing import Final, NamedTuple

from dcmstore import vr
from dcmstore.dataset import Encoded, Findings, OutputOptions
from dcmstore.encoding_plan import OpenSequence, Planner, examine
from dcmstore.levels import Level
from dcmstore.values import padded_uid, text_end
from dcmstore.walk import Event, Walk

# Bytes that a value may have at most to be replaced, even if there are several in it: what
# PS3.5 section 6.2 calls the maximum, in characters. Other VRs have none.
_LONGEST: Final = {
    vr.number(name): length
    for length, names in (
        (2, b"US SS"),
        (4, b"AS AT FL SL UL"),
        (8, b"FD SV UV"),
        (10, b"DA"),
        (12, b"IS"),
        (16, b"AE CS DS SH TM"),
        (26, b"DT"),
        (64, b"LO PN UI"),
        (1024, b"ST"),
        (10240, b"LT"),
    )
    for name in names.split()
}
# How numbers are written that the values are where the VR is binary.
_INTEGERS: Final = {
    vr.number(name): code
    for name, code in zip(b"US SS UL SL UV SV OL OV".split(), "HhIiQqIQ", strict=True)
}
_FLOATS: Final = {
    vr.number(name): code for name, code in zip(b"FL FD OF OD".split(), "fdfd", strict=True)
}
_LONGEST_LOOKED_AT: Final = 1 << 16


class Refusal(NamedTuple):
    """Why an element keeps its value: what failed, and the reason."""

    what: str
    reason: str


NOT_THERE: Final = Refusal("cannot find", "Tag not found")
_UNFIT: Final = "cannot put string in attribute"


class Replacer(Planner):
    """Plans a data set with ``values`` for the tags that its main level has.

    ``refusals`` tells of those that are not put in; it is complete after ``run``.
    """

    def __init__(
        self,
        data: Encoded,
        walk: Walk,
        source_syntax: str,
        output: OutputOptions,
        sort: bool,
        values: Mapping[int, str],
    ) -> None:
        super().__init__(data, walk, source_syntax, output, sort)
        self.values = values
        self.refusals = dict.fromkeys(values, NOT_THERE)
        self._waiting = set(values)
        self._new: dict[int, bytes] = {}
        self._depth = 0

    def element(self, event: Event) -> int:
        """Lay out an element, with its new value if it has one, and return its size."""
        _, tag, number, _, start, end = event
        if self._depth or tag not in self._waiting:
            return super().element(event)
        # Of a repeated tag the first one counts.
        self._waiting.remove(tag)
        text = self.values[tag]
        longest = _LONGEST.get(number)
        if longest is not None and self._length(number, start, end) > longest:
            name = vr.NAMES[number].decode()
            reason = f"value too large (max {longest}) for {name} value: {text}"
            self.refusals[tag] = Refusal("INTERNAL ERROR", reason)
            return super().element(event)
        written = number
        if self.target.explicit and vr.NEW[number] and not self.output.new_vr:
            written = vr.OB
        value = _encoded(number, text, self.target.big and written != vr.OB)
        if value is None:
            self.refusals[tag] = Refusal(_UNFIT, "Corrupted data")
            return super().element(event)
        if number == vr.UI:
            self.cleaned(tag, start, end)  # which may have a word to say about the old value
        del self.refusals[tag]
        self._new[tag] = padded_uid(value) if number == vr.UI else value
        self.differs("new value for", tag)
        size = self.header(tag, written, len(value)) + len(value)
        self.literal(value)
        return size

    def _length(self, number: int, start: int, end: int) -> int:
        """Return how long a value is without what is not written of it, padded to even length."""
        if number == vr.UI and end - start <= _LONGEST_LOOKED_AT:
            return len(padded_uid(bytes(self.data[start:end])))
        if vr.TEXT[number]:
            end = text_end(self.data, start, end)
        return end - start + (end - start & 1)

    def open_sequence(self, event: Event, repeated: bool, discarded: bool) -> OpenSequence:
        """Lay out the beginning of a sequence; whatever its tag, it stays what it is."""
        tag = event[1]
        if not self._depth and tag in self._waiting:
            self._waiting.remove(tag)
            self.refusals[tag] = Refusal(_UNFIT, "Illegal call, perhaps wrong parameters")
        self._depth += 1
        return super().open_sequence(event, repeated, discarded)

    def close_sequence(self, sequence: OpenSequence, event: Event) -> int:
        """Lay out the end of a sequence and return its size."""
        self._depth -= 1
        return super().close_sequence(sequence, event)

    def findings(self, main: Level) -> Findings:
        """Return what the pass found, new values among it."""
        for tag, value in self._new.items():
            if tag in main.best and main.best[tag][0] == tag:
                main.best[tag] = (tag, value)
            if tag in self.found:
                self.found[tag] = value
        return super().findings(main)


def replace(
    data: Encoded,
    start: int,
    end: int,
    transfer_syntax: str,
    output: OutputOptions,
    values: Mapping[int, str],
) -> tuple[Findings, dict[int, Refusal]]:
    """Walk a data set and lay it out anew, with new ``values`` by tag, all of them ASCII.

    Returns what was found, and why tags keep the value they had, if they do. Raises
    DataSetError as :func:`dcmstore.encoding_plan.examine` does.
    """
    planner: Replacer | None = None

    def make_planner(
        data: Encoded, walk: Walk, source_syntax: str, output: OutputOptions, sort: bool
    ) -> Replacer:
        nonlocal planner
        planner = Replacer(data, walk, source_syntax, output, sort, values)
        return planner

    found = examine(data, start, end, transfer_syntax, output, make_planner)
    assert planner is not None
    return found, planner.refusals


def _encoded(number: int, text: str, big: bool) -> bytes | None:
    """Return a value as a VR has it, padded; None if it cannot have it."""
    if vr.TEXT[number] or number == vr.UI:
        value = text.encode("ascii")
        return value + (b" " if vr.TEXT[number] else b"\0") * (len(value) & 1)
    if not text.isdigit():
        return None
    order = ">" if big else "<"
    try:
        if number in _INTEGERS:
            return Struct(order + _INTEGERS[number]).pack(int(text))
        if number in _FLOATS:
            return Struct(order + _FLOATS[number]).pack(float(text))
    except error:
        # More than the VR can count.
        return None
    return None
