"""A data set whose final form is known before its pixel data have come in.

They come last, nearly always, and their length is known from their header: so the form of all
that precedes them can be laid out at once, and they are written in theirs as they come. Should
the data set go on behind them, or break off, what came is made of what was written.
"""

import os
from collections.abc import Iterator
from struct import error as StructError
from typing import Any, Final

from dcmstore import encoding, inplace, pixels, uids, vr
from dcmstore.dataset import DataSetError, Findings, OutputOptions, Plan
from dcmstore.encoding_plan import Planner, examine
from dcmstore.values import swapped_words
from dcmstore.walk import ELEMENT
from storescpd.temporary import Temporary

_SMALLEST: Final = 1 << 14
"""Bytes of pixel data that are worth it; fewer might become part of what is laid out."""
_CHUNK: Final = 1 << 16


class Foreseen:
    """The final form of a data set that is coming in; see :func:`foresee`.

    ``findings`` are those of the data set if ``complete`` is true at its end. Its pixel data begin
    at ``start``.
    """

    def __init__(self, findings: Findings, head: bytes, length: int) -> None:
        """``head`` precedes the pixel data, which have ``length`` bytes."""
        assert findings.plan is not None
        self.findings = findings
        self.start = len(head)
        self._head = head
        self._left = length
        self._plan = findings.plan
        self._word = self._plan.pieces[-1]
        self._written = 0

    @property
    def complete(self) -> bool:
        """Whether as many bytes have come in as there should be."""
        return not self._left

    def opening(self) -> bytes:
        """Return what is written before the pixel data."""
        before, start = self._plan.pieces[-4:-2]
        ahead = Plan(self._plan.literals[:before], self._plan.pieces[:-4], 0)
        return b"".join((*encoding.parts(self._head, ahead), self._head[start:]))

    def next(self, views: list[memoryview]) -> Iterator[list[memoryview]] | None:
        """Return the next bytes of the pixel data in their final form, in parts to be written.

        None if they are too many; none of them is taken then.
        """
        size = sum(map(len, views))
        if size > self._left:
            return None
        self._left -= size
        self._written += size
        return iter((views,)) if self._word == 1 else self._swapped(views)

    def _swapped(self, views: list[memoryview]) -> Iterator[list[memoryview]]:
        group: list[memoryview] = []
        size = 0
        for view in views:
            group.append(view)
            size += len(view)
            if size >= _CHUNK:
                # Not more at a time: malloc(3) would give the memory back, to be cleared anew.
                yield [swapped_words(b"".join(group), self._word)]
                group, size = [], 0
        if group:
            yield [swapped_words(b"".join(group), self._word)]

    def restore(self, old: Temporary, new: Temporary) -> None:
        """Append what has come in to a file, made from the one that it was written to.

        Raises OSError.
        """
        new.write((self._head,))
        end = os.fstat(old.fd).st_size
        start = end - self._written
        if self._word == 1:
            new.copy_from(old.fd, start, self._written)
            return
        for part in inplace.swapped_in_file(old.fd, start, end, self._word):
            new.write((part,))


def foresee(first: bytes, transfer_syntax: str, output: OutputOptions) -> Foreseen | None:
    """Foresee the form of a data set from its first bytes.

    None if these do not tell, and for what is to be deflated or filled up.
    """
    place = pixels.find(first, transfer_syntax)
    if place is None or output.padding is not None or output.transfer_syntax == uids.DEFLATED:
        return None
    start, end = place
    if end - start < _SMALLEST:
        return None
    head = first[:start]
    planner: list[Planner] = []

    def make(*arguments: Any) -> Planner:
        planner[:] = [Planner(*arguments)]
        return planner[0]

    try:
        found = examine(head, 0, end, transfer_syntax, output, make)
    except (DataSetError, IndexError, StructError):
        return None
    # Odd lengths, which would have fragments end inside a word, are warned of.
    if found.plan is None or found.warnings or planner[0].sort:
        return None
    kind, _, number, _, begin, stop = planner[0].last
    # These are the values that nothing but their place and length is asked of.
    if kind != ELEMENT or number not in (vr.OB, vr.OW) or (begin, stop) != (start, end):
        return None
    before, _, stop, word = found.plan.pieces[-4:]
    if stop != end or before != len(found.plan.literals) or word not in (1, 2):
        return None
    return Foreseen(found, head, end - start)
