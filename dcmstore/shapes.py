"""Data sets that differ from earlier ones by their values only, as in a series.

Whether a data set has the form that the options ask for (:mod:`dcmstore.plainscan`) depends on
all bytes but the values, and on how texts and UIDs end. Where the former are those of a data set
that was found plain, the latter is left to look at: a few operations on the whole instead of some
on each element.
"""

from struct import Struct

from dcmstore import plainscan
from dcmstore.dataset import Findings, OutputOptions

LONGEST = 1 << 14
"""Bytes of a data set, or of its beginning, that are looked at."""
_MOST = 32
_LONGEST_HEAD = 1 << 12

# Two bytes at the end of a text that no text may end with: it would lose some of them.
_BAD_ENDS = frozenset((b"  ", b"\0 ", *(bytes((byte, 0)) for byte in range(256))))
_BETWEEN = b"\\"


class Shape:
    """All that data sets of one length have in common, made from one and its values."""

    def __init__(self, data: bytes, values: list[plainscan.Value], found: Findings) -> None:
        mask = bytearray(b"\xff") * len(data)
        for _, start, end, _, _ in values:
            # The last one may go on.
            end = min(end, len(data))
            mask[start:end] = bytes(end - start)
        self._head = mask.rfind(b"\xff") + 1
        self._mask = int.from_bytes(mask[: self._head], "little")
        self._fixed = int.from_bytes(data[: self._head], "little") & self._mask
        texts, uids = [], []
        for _, start, end, kind, _ in values:
            if kind == plainscan.UID:
                uids.append((start, end))
            elif kind < 0:
                texts.append((end - 2, end))
        self._ends = _parts(texts)
        self._uids = _parts(uids)
        self._separators = _BETWEEN * max(len(uids), 1)
        places = {tag: slice(start, end) for tag, start, end, _, depth in values if not depth}
        self._reported = [places.get(tag, slice(0)) for tag in plainscan.REPORTED]
        self._found = found

    def findings(self, data: bytes) -> Findings | None:
        """Return the findings of a data set of the same length, None if its shape is another."""
        if int.from_bytes(data[: self._head], "little") & self._mask != self._fixed:
            return None
        if not _BAD_ENDS.isdisjoint(self._ends.unpack_from(data)):
            return None
        uids = _BETWEEN.join(self._uids.unpack_from(data)) + _BETWEEN
        # Nothing but a NUL at the end of each.
        if uids.translate(None, plainscan.UID_BYTES + b"\0") != self._separators:
            return None
        if uids.count(b"\0") != uids.count(b"\0" + _BETWEEN):
            return None
        values = [data[place] for place in self._reported]
        return plainscan.findings(values, self._found.has_pixel_data, self._found.encapsulated)


def _parts(places: list[tuple[int, int]]) -> Struct:
    """Return what takes these parts out of the whole."""
    form, done = "", 0
    for start, end in places:
        form += f"{start - done}x{end - start}s"
        done = end
    return Struct(form)


# What is known of a key instead of a shape: many come but once, and long heads are not worth it.
_ONCE, _UNFIT = 1, 2
# By lengths, syntax and options.
_shapes: dict[tuple[int, int, str, OutputOptions], Shape | int] = {}


def scan(data: bytes, end: int, transfer_syntax: str, output: OutputOptions) -> Findings | None:
    """Return what :func:`plainscan.scan` does for a data set of ``end`` bytes.

    ``data`` is all of it or its beginning, ``LONGEST`` bytes at most.
    """
    key = (len(data), end, transfer_syntax, output)
    known = _shapes.get(key)
    if type(known) is Shape:
        found = known.findings(data)
        if found is not None:
            return found
    if not plainscan.eligible(transfer_syntax, output):
        return None
    values: list[plainscan.Value] = []
    wanted = values if known == _ONCE else None
    found = plainscan.scan(data, 0, end, transfer_syntax, output, wanted)
    if found is None or found.encapsulated:
        return found
    if known is None:
        if len(_shapes) == _MOST:
            del _shapes[next(iter(_shapes))]
        _shapes[key] = _ONCE
    elif known == _ONCE:
        _, start, stop, _, _ = values[-1]
        head = start if stop >= len(data) else len(data)
        _shapes[key] = _UNFIT if head > _LONGEST_HEAD else Shape(data, values, found)
    return found
