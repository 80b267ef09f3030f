"""Writes a data set in the form that the output options ask for, in constant memory.

:func:`dcmstore.elements.inspect` lays the output out; here it goes to a file:
small parts gathered, large values copied in the kernel where it can do that.
"""

import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from dcmstore import inplace, uids
from dcmstore.dataset import Encoded, Findings, OutputOptions, Plan
from dcmstore.encoding_plan import examine
from dcmstore.outflow import copy_range, write_all, write_gathered
from dcmstore.values import swapped_words

_CHUNK: Final = 1 << 16
"""Bytes that are made at a time. Half of what malloc(3) gives back to the system at once, to be
cleared and mapped anew for the next chunk."""
_GATHER: Final = 256
"""Parts handed over in one system call; IOV_MAX is at least 1024 on Linux."""
_KERNEL_COPY: Final = 1 << 16
"""Parts from this size (bytes) are copied by the kernel."""


Read = Callable[[int, int], bytes]
"""What returns the part of the source between two offsets, where it is not to be touched."""
Swap = Callable[[int, int, int], Iterator[memoryview]]
"""What yields the part between two offsets, its words of so many bytes reversed."""


class EncodingError(Exception):
    """The data set cannot be written under the output options; ``text`` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def parts(data: Encoded, layout: Plan) -> Iterator[memoryview]:
    """Yield the bytes of a planned data set in order; the parts stay as they are."""
    for _, part in _parts(data, layout):
        yield part


def _parts(
    data: Encoded, layout: Plan, swap: Swap | None = None
) -> Iterator[tuple[int, memoryview]]:
    """Yield each part with its offset in the source, -1 if it does not stand there."""
    source = memoryview(data)
    swap = swap or partial(_swapped, lambda begin, stop: source[begin:stop])
    literals = memoryview(layout.literals)
    pieces = layout.pieces
    done = 0
    for place in range(0, len(pieces), 4):
        before, start, end, word = pieces[place : place + 4]
        if before > done:
            yield -1, literals[done:before]
            done = before
        if word == 1:
            yield start, source[start:end]
        elif word:
            for part in swap(start, end, word):
                yield -1, part
        else:
            for begin in range(start, end, _CHUNK):
                yield -1, memoryview(bytes(min(end - begin, _CHUNK)))
    if done < len(literals):
        yield -1, literals[done:]


def _swapped(
    read: Callable[[int, int], bytes | memoryview], start: int, end: int, word: int
) -> Iterator[memoryview]:
    for begin in range(start, end, _CHUNK):
        yield swapped_words(read(begin, min(end, begin + _CHUNK)), word)


def rewrite(
    data: Encoded,
    start: int,
    end: int,
    source_syntax: str,
    output: OutputOptions,
    target_fd: int,
    source_fd: int | None = None,
) -> Findings:
    """Write the data set in ``data[start:end]`` under the output options, at the file's offset.

    ``source_syntax`` is what it is encoded in; deflated data is given inflated. ``source_fd``
    is the file that ``data`` maps from its first byte, if there is one. Raises DataSetError
    if the data set cannot be parsed, EncodingError if it cannot be written in this form, and
    OSError as writing does. Returns what was found; ``plan`` was carried out.
    """
    found = examine(data, start, end, source_syntax, output)
    write(data, start, end, found, source_syntax, output, target_fd, source_fd)
    return found


def write(
    data: Encoded,
    start: int,
    end: int,
    found: Findings,
    source_syntax: str,
    output: OutputOptions,
    target_fd: int,
    source_fd: int | None = None,
) -> int:
    """Write a data set as its findings plan it; see :func:`rewrite`. Return the number of bytes.

    The target may be the source itself, for a plan that :func:`dcmstore.inplace.fits` there.
    """
    layout = _layout(start, end, found)
    deflating = (output.transfer_syntax or source_syntax) == uids.DEFLATED
    try:
        if deflating:
            stream = _deflated(parts(data, layout), output.compression_level)
            return sum(write_all(target_fd, part) for part in stream)
        if target_fd == source_fd:
            swap = partial(inplace.swapped_in_file, source_fd)
            inplace.write_over(_parts(data, layout, swap), target_fd)
        else:
            _write_parts(_parts(data, layout), target_fd, source_fd)
    except OSError as error:
        # Its traceback would hold views of the mapping, which then could not be closed.
        raise error.with_traceback(None) from None
    return layout.length


def encoded(
    data: Encoded,
    start: int,
    end: int,
    found: Findings,
    source_syntax: str,
    output: OutputOptions,
    read: Read | None = None,
) -> Iterator[memoryview | bytes]:
    """Return what :func:`write` would write, part by part, for where it does not go to a file.

    With ``read`` nothing looks into ``data``: large parts of it are passed on unseen, never more
    than one beside other parts so small that somebody might put them together.
    """
    swap = None if read is None else partial(_swapped, read)
    stream = _parts(data, _layout(start, end, found), swap)
    deflating = (output.transfer_syntax or source_syntax) == uids.DEFLATED
    chosen = (
        (part for _, part in stream) if read is None else _read(stream, read, everything=deflating)
    )
    return _deflated(chosen, output.compression_level) if deflating else chosen


def _read(
    stream: Iterator[tuple[int, memoryview]], read: Read, *, everything: bool
) -> Iterator[memoryview | bytes]:
    """Yield parts that can be looked into, but for the large ones unless ``everything`` is."""
    small = bytearray()
    for offset, part in stream:
        if len(part) < _CHUNK:
            small += part if offset < 0 else read(offset, offset + len(part))
            if len(small) < _CHUNK:
                continue
        if small:
            yield bytes(small)
            small.clear()
        if len(part) < _CHUNK:
            continue
        if offset < 0 or not everything:
            yield part
            continue
        end = offset + len(part)
        for begin in range(offset, end, _CHUNK):
            yield read(begin, min(end, begin + _CHUNK))
    if small:
        yield bytes(small)


def _layout(start: int, end: int, found: Findings) -> Plan:
    if found.unwritable:
        raise EncodingError(found.unwritable)
    if found.plan is None:
        # Nothing changes: the whole source is one piece.
        return Plan(bytearray(), array("Q", (0, start, end, 1)), end - start)
    return found.plan


def _deflated(stream: Iterator[memoryview | bytes], level: int) -> Iterator[bytes]:
    """Compress without a zlib header (PS3.5 annex A.5), and pad to an even length."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for part in stream:
        for begin in range(0, len(part), _CHUNK):
            chunk = deflater.compress(part[begin : begin + _CHUNK])
            size += len(chunk)
            yield chunk
    chunk = deflater.flush()
    yield chunk + b"\0" if (size + len(chunk)) & 1 else chunk


def _write_parts(
    stream: Iterator[tuple[int, memoryview]], target_fd: int, source_fd: int | None
) -> None:
    """Gather small parts into few system calls, and let the kernel copy the large ones."""
    gathered: list[memoryview] = []
    for offset, part in stream:
        if source_fd is not None and offset >= 0 and len(part) >= _KERNEL_COPY:
            write_gathered(target_fd, gathered)
            gathered = []
            copied = copy_range(source_fd, target_fd, offset, len(part))
            if copied < len(part):
                write_all(target_fd, part[copied:])
            continue
        gathered.append(part)
        if len(gathered) == _GATHER or len(part) >= _CHUNK:
            write_gathered(target_fd, gathered)
            gathered = []
    write_gathered(target_fd, gathered)
