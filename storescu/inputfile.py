"""One input file: read where this process looks at it, mapped where only the kernel does.

Others may make the file shorter at any time. Whoever touches a page of a mapping that the file
has lost is ended by SIGBUS (mmap(2)); for the kernel, in a send or a read, that is an error
like others.
"""

import mmap
import os

from dcmstore import vr
from dcmstore.errors import LocalError

READ_WHOLE = 1 << 20
"""Files up to this size (bytes) are read: mapping so little costs more than it saves."""
HEAD = 1 << 16
"""Bytes that are read of others at first: nearly always all that stands before pixel data."""
AT_ONCE = 1 << 23
"""Up to this size (bytes) others are read as a whole where their beginning is not enough, and
mapped with all their pages where it is; pages of larger ones come and go as they are sent."""
_WORTH_SKIPPING = 1 << 12
"""Values from this size (bytes) are not read only to look at the data set around them."""
_AHEAD = 1 << 12
"""Bytes that are read at a time, from where an element begins."""
_NEEDED = 1 << 7
"""Bytes that the walk may look at before it tells of an element: its header, and the beginnings
of values that decide about what follows."""
_LAST = 8
"""Bytes at the end of a value that are read always: whoever turns the byte order looks at those
that do not fill a word."""


class ShorterError(OSError):
    """The file has lost its end since it was opened."""

    def __init__(self) -> None:
        super().__init__(None, "File has become shorter")


class InputFile:
    """A file that stays open as long as this is referred to; ``size`` is in bytes."""

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def head(self) -> bytes:
        """Return the whole of a small file, or the beginning of a large one. Raises OSError."""
        # Files of proc(5) say that they are empty.
        return self._start(HEAD if self.size > READ_WHOLE else max(self.size, HEAD))

    def content(self) -> bytes:
        """Return all of the file. Raises OSError."""
        return self._start(self.size)

    def beginning(self, length: int) -> bytes:
        """Return so many bytes, or all there are. Raises OSError."""
        return os.pread(self._fd, length, 0)

    def _start(self, length: int) -> bytes:
        data = self.beginning(length)
        if len(data) < min(length, self.size):
            raise ShorterError
        return data

    def part(self, start: int, end: int) -> bytes:
        """Return bytes that pass through this process on their way. Raises LocalError."""
        try:
            data = os.pread(self._fd, end - start, start)
        except OSError:
            data = b""
        if len(data) < end - start:
            raise LocalError("0006:020e", "DIMSE Failed to send message")
        return data

    def mapping(self) -> memoryview:
        """Return the file for the kernel to read, and for nobody else. Raises OSError."""
        flags = mmap.MAP_SHARED
        if self.size <= AT_ONCE:
            flags |= getattr(mmap, "MAP_POPULATE", 0)
        try:
            return memoryview(mmap.mmap(self._fd, self.size, flags=flags, prot=mmap.PROT_READ))
        except ValueError:
            # Python has compared the sizes.
            raise ShorterError from None

    def outline(self, start: int, transfer_syntax: str) -> memoryview:
        """Return a copy for those who look at the data set that begins at ``start``.

        It has holes where large values are that are neither text nor UIDs, but for their last
        bytes: whoever does more than look at elements finds zeros there. Raises OSError, and
        DataSetError.
        """
        from dcmstore import walk  # few runs have a file that is large and not just as it is sent

        fd = os.memfd_create("storescu", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, self.size)
            copy = memoryview(mmap.mmap(fd, self.size))
        finally:
            os.close(fd)
        opening = (walk.SEQUENCE, walk.ITEM, walk.FRAGMENTS)
        done = self._read_into(copy, start, start + _AHEAD)
        for event in walk.Walk(copy, start, self.size, transfer_syntax).events():
            kind, _, number, _, begin, end = event
            value = kind == walk.FRAGMENT or (kind == walk.ELEMENT and _is_bulk(number))
            if value and end - begin >= _WORTH_SKIPPING:
                done = max(done, end - _LAST)
            following = begin if kind in opening else end
            if following + _NEEDED > done:
                done = self._read_into(copy, done, following + _AHEAD)
        return copy.toreadonly()

    def _read_into(self, target: memoryview, start: int, end: int) -> int:
        """Read part of the file to the same place in memory; return where it ends."""
        end = min(end, self.size)
        while start < end:
            count = os.preadv(self._fd, [target[start:end]], start)
            if not count:
                raise ShorterError
            start += count
        return end


def _is_bulk(number: int) -> bool:
    """Tell whether nobody looks into values of a VR."""
    return not vr.TEXT[number] and number != vr.UI
