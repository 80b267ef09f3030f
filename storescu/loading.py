"""One file to be sent: its bytes as they lie in the file, and what its data set says."""

import errno
import mmap
import os
from collections.abc import Iterator
from typing import NamedTuple

from dcmstore import elements, part10, uids
from dcmstore.dataset import DataSetError, Findings, OutputOptions
from dcmstore.fragments import Buffer

_READ_WHOLE = 1 << 16
"""Files up to this size (bytes) are read: mapping so little costs more than it saves."""
_MAP_AT_ONCE = 1 << 23
"""Files up to this size (bytes) are mapped with all their pages; others as they are sent."""

# The reference's codes for what its parser says.
_CONDITIONS = {
    "Invalid tag": "0001:0001",
    "Invalid VR": "0001:0003",
    "End of stream": "0001:0005",
    "I/O suspension or premature end of stream": "0001:000a",
    "Length of element larger than explicit length of surrounding item": "0001:001b",
    "File meta information header missing": "0001:001c",
    "Sequence Delimitation Item missing": "0001:0022",
    "Item Delimitation Item missing": "0001:0026",
}
_INVALID_STREAM = "0001:0004"
# What a data set that came over a network may end with, and a whole file may not.
_LEFTOVER = "leftover bytes at the end"
_NOT_READABLE = "0001:0012"
_NO_TEMPORARY = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL))


class BadFile(Exception):
    """The file cannot be sent; ``condition`` is the reference's, ``text`` says why."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text


class Loaded(NamedTuple):
    """The data set of a file, inflated in ``data[start:]``, and what a walk over it found."""

    data: memoryview
    start: int
    transfer_syntax: str
    findings: Findings


def load(path: str, readmode: str, output: OutputOptions) -> Loaded:
    """Open a file and look at its data set; ``readmode`` is the option's name without dashes.

    Large files are not read but mapped: should one become shorter while it is in use, the
    process gets SIGBUS. Raises BadFile.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error) from None
    try:
        data = _contents(fd)
        if readmode == "read-dataset":
            header = part10.read_data_set(data)
        else:
            header = part10.read_file(data, meta_required=readmode == "read-file-only")
        transfer_syntax, start = header.transfer_syntax, header.start
        if transfer_syntax == uids.DEFLATED:
            data, start = _inflated(fd, start), 0
        findings = elements.inspect(data, start, transfer_syntax, output)
        if findings.reasons and _LEFTOVER in findings.reasons:
            raise DataSetError("I/O suspension or premature end of stream")
    except OSError as error:
        raise _unreadable(error) from None
    except part10.NotDicomError as error:
        raise _bad(str(error)) from None
    except DataSetError as error:
        raise _bad(error.text) from None
    finally:
        os.close(fd)
    return Loaded(data, start, transfer_syntax, findings)


def released(lists: Iterator[list[Buffer]], data: memoryview) -> Iterator[list[Buffer]]:
    """Pass on what is sent of a file; if that is large, let go of its pages time and again.

    They stay in the page cache; only this process no longer has them, however large the file.
    """
    if len(data) <= _MAP_AT_ONCE or not isinstance(data.obj, mmap.mmap):
        return lists
    return _released(lists, data.obj)


def _released(lists: Iterator[list[Buffer]], mapping: mmap.mmap) -> Iterator[list[Buffer]]:
    sent = 0
    for buffers in lists:
        yield buffers
        sent += sum(map(len, buffers))
        if sent > _MAP_AT_ONCE:
            mapping.madvise(mmap.MADV_DONTNEED)
            sent = 0


def _contents(fd: int) -> memoryview:
    size = os.fstat(fd).st_size
    if size <= _READ_WHOLE:
        data = os.read(fd, _READ_WHOLE)
        if len(data) >= size:
            return memoryview(data)
    flags = mmap.MAP_SHARED
    if size <= _MAP_AT_ONCE:
        flags |= getattr(mmap, "MAP_POPULATE", 0)
    return memoryview(mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ))


def _inflated(fd: int, start: int) -> memoryview:
    target = _temporary()
    try:
        size = elements.inflate(fd, start, target)
        return memoryview(mmap.mmap(target, size, prot=mmap.PROT_READ) if size else b"")
    finally:
        os.close(target)


def _temporary() -> int:
    """Open a file without a name where temporary files belong. Raises OSError."""
    folder = os.environ.get("TMPDIR") or "/tmp"
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _NO_TEMPORARY:
            raise
    name = os.path.join(folder, f".storescu-{os.getpid()}-{os.urandom(8).hex()}")
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(name)
    return fd


def _unreadable(error: OSError) -> BadFile:
    return BadFile(_NOT_READABLE, error.strerror or str(error))


def _bad(text: str) -> BadFile:
    return BadFile(_CONDITIONS.get(text, _INVALID_STREAM), text)
