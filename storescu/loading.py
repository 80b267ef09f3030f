"""One file to be sent: where its data set lies, how it is encoded, and what it says."""

import errno
import mmap
import os
from collections.abc import Callable, Iterator

from dcmstore import elements, part10, plainscan, uids
from dcmstore.dataset import CutValue, DataSetError, Encoded, Findings, OutputOptions
from dcmstore.fragments import Buffer
from storescu.inputfile import AT_ONCE, HEAD, InputFile

_ENDS = "I/O suspension or premature end of stream"
# The reference's codes for what its parser says.
_CONDITIONS = {
    "Invalid tag": "0001:0001",
    "Invalid VR": "0001:0003",
    "End of stream": "0001:0005",
    _ENDS: "0001:000a",
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
_SMALLEST_HEADER = 8
_LONGEST_READ = 4096
"""Values up to this size (bytes) the reference reads with their header, and skips longer ones:
it then notices that a file ends, and not that a value is cut."""

Look = Callable[[Encoded, int, str, OutputOptions], Findings]
"""What looks at a data set, as `elements.inspect` does."""


class BadFile(Exception):
    """The file cannot be sent; ``condition`` is the reference's, ``text`` says why."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text


class Loaded:
    """The data set of a file: where it begins, its encoding, and what was found in it.

    One that is deflated in the file is inflated here.
    """

    def __init__(
        self,
        file: InputFile,
        start: int,
        transfer_syntax: str,
        content: bytes | memoryview | None = None,
    ) -> None:
        self.start = start
        self.transfer_syntax = transfer_syntax
        self.findings: Findings
        self._file: InputFile | None = file
        self._content: bytes | memoryview | None = None
        self._body: memoryview | None = None
        if content is not None:
            self._have(content)

    def look(self, look: Look, output: OutputOptions) -> Findings:
        """Return what a look at the data set finds. Raises BadFile."""
        try:
            return look(self._all(), self.start, self.transfer_syntax, output)
        except OSError as error:
            raise _unreadable(error) from None
        except CutValue as error:
            skipped = error.length > _LONGEST_READ and self.transfer_syntax != uids.DEFLATED
            raise _bad(_ENDS if skipped or not error.present else error.text) from None
        except DataSetError as error:
            raise _bad(error.text) from None

    def _have(self, content: bytes | memoryview) -> bytes | memoryview:
        """Look at a file in memory from now on, and send it from there."""
        self._content, self._body, self._file = content, memoryview(content), None
        return content

    def _all(self) -> bytes | memoryview:
        if self._content is None:
            assert self._file is not None
            if self._file.size <= AT_ONCE:
                return self._have(self._file.content())
            self._content = self._file.outline(self.start, self.transfer_syntax)
        return self._content

    def body(self) -> memoryview:
        """Return all of the file as it is to be sent. Raises BadFile.

        If there is something to ``read`` with, nobody but the kernel may touch it.
        """
        if self._body is None:
            assert self._file is not None
            try:
                self._body = self._file.mapping()
            except OSError as error:
                raise _unreadable(error) from None
        return self._body

    @property
    def read(self) -> Callable[[int, int], bytes] | None:
        """What returns a part of the body that has to be touched. Raises LocalError."""
        return None if self._file is None else self._file.part


def load(path: str, readmode: str, output: OutputOptions) -> Loaded:
    """Open a file and look at its data set; ``readmode`` is the option's name without dashes.

    Nearly always its beginning tells all. Raises BadFile.
    """
    try:
        file = InputFile(path)
        head = file.head()
        transfer_syntax, start = _header(file, head, readmode)
        if transfer_syntax == uids.DEFLATED:
            loaded = Loaded(file, 0, transfer_syntax, _inflated(file.fileno(), start))
        elif len(head) >= file.size:
            loaded = Loaded(file, start, transfer_syntax, head)
        else:
            loaded = Loaded(file, start, transfer_syntax)
            if plainscan.eligible(transfer_syntax, output):
                found = plainscan.scan(head, start, file.size, transfer_syntax, output)
                if found is not None:
                    loaded.findings = found
                    return loaded
    except OSError as error:
        raise _unreadable(error) from None
    except part10.NotDicomError as error:
        raise _bad(str(error)) from None
    except DataSetError as error:
        raise _bad(error.text) from None
    loaded.findings = loaded.look(elements.inspect, output)
    if loaded.findings.reasons and _LEFTOVER in loaded.findings.reasons:
        raise _bad(_ENDS)
    return loaded


def _header(file: InputFile, head: bytes, readmode: str) -> part10.Part10:
    """Return where the data set begins. Raises NotDicomError, and OSError."""
    if len(head) < file.size:
        try:
            found = _find_data_set(memoryview(head), readmode)
            if len(head) - found.start >= _SMALLEST_HEADER:
                return found
        except part10.NotDicomError:
            # What it wants may follow.
            pass
        head = file.beginning(part10.MAX_META + HEAD)
    return _find_data_set(memoryview(head), readmode)


def _find_data_set(data: memoryview, readmode: str) -> part10.Part10:
    if readmode == "read-dataset":
        return part10.read_data_set(data)
    return part10.read_file(data, meta_required=readmode == "read-file-only")


def released(lists: Iterator[list[Buffer]], data: memoryview) -> Iterator[list[Buffer]]:
    """Pass on what is sent of a file; if that is large, let go of its pages time and again.

    They stay in the page cache; only this process no longer has them, however large the file.
    """
    if len(data) <= AT_ONCE or not isinstance(data.obj, mmap.mmap):
        return lists
    return _released(lists, data.obj)


def _released(lists: Iterator[list[Buffer]], mapping: mmap.mmap) -> Iterator[list[Buffer]]:
    sent = 0
    for buffers in lists:
        yield buffers
        sent += sum(map(len, buffers))
        if sent > AT_ONCE:
            mapping.madvise(mmap.MADV_DONTNEED)
            sent = 0


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
