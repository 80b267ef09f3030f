"""Writes a data set over itself: its new form, into the file that holds the old one.

Most of what a second file costs is getting its pages; here they are there already.
"""

import errno
import os
from array import array
from collections.abc import Iterator
from typing import Final

from dcmstore.dataset import Plan
from dcmstore.outflow import write_all
from dcmstore.values import CODES

_LARGE: Final = 1 << 16
"""Bytes that are gathered, or read and written at a time; unchanged parts from this size stay."""


def fits(layout: Plan, start: int) -> bool:
    """Tell whether a data set can be written over its source, from offset ``start`` of the file.

    Parts are written in order, so none covers what has yet to be read if each ends up where its
    source is, or before it. A large one that does not change has to stay where it is: the kernel
    copies it only from one file to another.
    """
    base = start  # of what is written before a part, the new bytes left out
    numbers = iter(layout.pieces)
    for before, begin, end, word in zip(numbers, numbers, numbers, numbers, strict=True):
        back = begin - (base + before)
        if word and (back < 0 or (back and word == 1 and end - begin >= _LARGE)):
            return False
        base += end - begin
    return True


def write_over(stream: Iterator[tuple[int, memoryview]], fd: int) -> None:
    """Write the parts of a plan that :func:`fits`, at the file's offset. Raises OSError.

    Each comes with its offset in the file, or with -1 if its bytes do not stand there, and is done
    with before the next is asked for.
    """
    small = bytearray()
    for offset, part in stream:
        large = len(part) >= _LARGE
        if not large:
            # A copy: what it is a view of may be overwritten before it is written itself.
            small += part
        if large or len(small) >= _LARGE:
            write_all(fd, small)
            small.clear()
        if large and offset < 0:
            write_all(fd, part)
        elif large:
            # It stands there already.
            os.lseek(fd, len(part), os.SEEK_CUR)
    write_all(fd, small)


def swapped_in_file(fd: int, start: int, end: int, word: int) -> Iterator[memoryview]:
    """Yield what lies between two offsets of a file with the bytes of each word reversed.

    Each part is valid until the next. Reading takes less time than the page faults of a mapping,
    and one buffer less than malloc(3), which may give back the memory of each part. Raises OSError.
    """
    words = array(CODES[word], bytes(min(end - start, _LARGE)))
    buffer = memoryview(words).cast("B")
    for begin in range(start, end, _LARGE):
        part = buffer[: end - begin]
        if os.preadv(fd, (part,), begin) < len(part):
            raise OSError(errno.EIO, "file is shorter than it was")
        words.byteswap()
        yield part
