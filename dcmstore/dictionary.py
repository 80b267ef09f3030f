"""What VR a tag has where the encoding does not say: pydicom's dictionary and others.

The others are DCMTK's dictionary files, as ``DCMDICTPATH`` names them.
Nothing of pydicom is imported before the first lookup; a process that forks calls
:func:`preload` first, so that its children find the table ready.
"""

import marshal
import os
import re
from typing import NamedTuple, NoReturn

from dcmstore import vr

# Two pseudo representations that the data set itself resolves.
PIXEL_SIGN = -1
"""US or SS, as Pixel Representation (0028,0103) says."""
WAVEFORM_BITS = -2
"""OB or OW, as Waveform Bits Allocated (5400,1004) says."""

# PS3.6 leaves these to the context; what stands here is what a reader of implicit VR takes.
_SIGNED = (
    *(0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280120, 0x00280121, 0x00283002),
    *(0x00189810, 0x00409211, 0x00409216, 0x00603004, 0x00603006),
)
_WAVEFORM = (0x54001010, 0x5400100A, 0x54000110, 0x54000112)
_WORDS = (0x7FE00010, 0x00283006, 0x00281200)
_CHOICES = {"US or SS": b"US", "OB or OW": b"OB", "US or SS or OW": b"OW", "US or OW": b"OW"}
_OVERLAY_DATA = 0x60003000
# PS3.7's Current Frame Functional Groups Sequence, of which pydicom does not know.
_CURRENT_FRAME = 0x00060001


class DictionaryError(Exception):
    """There is no dictionary; the text is one line."""


class PrivateTag(NamedTuple):
    """Identifies a private element: group, element (block bits cleared if shifting), creator."""

    group: int
    element: int
    creator: str


class _Mask(NamedTuple):
    """Repeating elements as PS3.6 writes them: the tag's bits under the mask are the value."""

    mask: int
    value: int
    vr: int


class _Range(NamedTuple):
    """Repeating elements as DCMTK's files write them: bounds, and which numbers between them.

    These are e(ven), o(dd) or u(nrestricted).
    """

    groups: tuple[int, int, str]
    elements: tuple[int, int, str]
    vr: int


class _Tables:
    """The process's dictionary: exact tags, repeating ones, private ones."""

    def __init__(self) -> None:
        self.exact: dict[int, int] = {}
        self.ranges: list[_Range] = []
        self.masks: list[_Mask] = []
        self.private: dict[PrivateTag, int] = {}


def _from_pydicom(tables: _Tables) -> None:
    from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

    for tag, entry in DicomDictionary.items():
        name = entry[0]
        if name != "NONE":
            tables.exact[tag] = vr.number(_CHOICES.get(name) or name.encode())
    for pattern, entry in RepeatersDictionary.items():
        mask = int("".join("0" if digit == "x" else "F" for digit in pattern), 16)
        number = vr.number(_CHOICES.get(entry[0]) or entry[0].encode())
        tables.masks.append(_Mask(mask, int(pattern.replace("x", "0"), 16), number))
    tables.exact.update(dict.fromkeys(_SIGNED, PIXEL_SIGN))
    tables.exact.update(dict.fromkeys(_WAVEFORM, WAVEFORM_BITS))
    tables.exact.update(dict.fromkeys(_WORDS, vr.OW))
    tables.masks.insert(0, _Mask(0xFF00FFFF, _OVERLAY_DATA, vr.OW))
    tables.exact[_CURRENT_FRAME] = vr.SQ


_shared = _Tables()
_built = False


def _tables() -> _Tables:
    global _built
    if not _built:
        _from_pydicom(_shared)
        _built = True
    return _shared


def _hand_over(writer: int) -> NoReturn:
    """Write the table, or what keeps us from it, to the pipe, and end the process."""
    status = 1
    try:
        with open(writer, "wb") as pipe:
            try:
                _from_pydicom(_shared)
                marshal.dump((_shared.exact, [tuple(mask) for mask in _shared.masks]), pipe)
                status = 0
            except Exception as error:
                pipe.write((str(error) or type(error).__name__).encode())
    finally:
        os._exit(status)


def preload() -> None:
    """Build the table now, so that processes forked later share it.

    Another process reads pydicom's dictionary and hands over the few hundred kilobytes that
    count: pydicom's 20 MB would make every later fork cost several times as much.
    Raises DictionaryError if that cannot be done.
    """
    global _built
    if _built:
        return
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _hand_over(writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        table = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status != 0:
        # As where memory is short; what it has written then is a part of the table, or nothing.
        killed = os.WIFSIGNALED(status)
        reason = f"killed by signal {os.WTERMSIG(status)}" if killed else table.decode()
        raise DictionaryError(f"cannot read pydicom's dictionary: {reason}")
    exact, masks = marshal.loads(table)
    _shared.exact.update(exact)
    _shared.masks.extend(_Mask(*row) for row in masks)
    _built = True


def exact_tags() -> dict[int, int]:
    """Return the tags that stand for themselves, with their VR numbers (or pseudo numbers).

    The dictionary is the live one: callers read it only.
    """
    return _tables().exact


def has_private_tags() -> bool:
    """Tell whether a loaded file describes private elements."""
    return bool(_tables().private)


def _within(value: int, bounds: tuple[int, int, str]) -> bool:
    low, high, step = bounds
    if not low <= value <= high:
        return False
    return step == "u" or value % 2 == (step == "o")


def _private(group: int, element: int, creator: str) -> int | None:
    private = _tables().private
    found = private.get(PrivateTag(group, element & 0xFF, creator))
    return found if found is not None else private.get(PrivateTag(group, element, creator))


def lookup(tag: int, creator: str | None = None) -> int | None:
    """Return the VR number of a tag, PIXEL_SIGN, WAVEFORM_BITS, or None if the tag is unknown.

    ``creator`` is the private creator that reserved the element's block, if any.
    """
    tables = _tables()
    found = tables.exact.get(tag)
    if found is not None:
        return found
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return vr.UL
    if group & 1:
        if 0x10 <= element <= 0xFF:
            return vr.LO
        return _private(group, element, creator) if creator is not None else None
    for groups, elements, number in tables.ranges:
        if _within(group, groups) and _within(element, elements):
            return number
    return next((number for mask, value, number in tables.masks if tag & mask == value), None)


_ENTRY = (
    r"\(\s*([0-9A-Fa-f]+)(?:-(?:([eou])-)?([0-9A-Fa-f]+))?\s*,"
    r'\s*(?:"([^"]*)"\s*,\s*)?'
    r"([0-9A-Fa-f]+)(?:-(?:([eou])-)?([0-9A-Fa-f]+))?\s*\)\s+(\w\w)\s"
)
# DCMTK's files name the ambiguous ones by pseudo representations of two lower-case letters.
_PSEUDO = {"ox": b"OB", "px": b"OW", "xs": b"US", "lt": b"OW", "up": b"UL"}


def _load(path: str, tables: _Tables) -> None:
    # Compiled only here: it takes longer than the import of the module.
    entry = re.compile(_ENTRY)
    with open(path, encoding="latin-1") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            match = entry.match(line)
            if match is None:
                raise ValueError(f"not a dictionary entry: {line.strip()[:60]!r}")
            _add(match, tables)


def _add(match: re.Match[str], tables: _Tables) -> None:
    low, group_step, high, creator, first, element_step, last, name = match.groups()
    group_low, element_low = int(low, 16), int(first, 16)
    groups = (group_low, int(high, 16) if high else group_low, group_step or "e")
    elements = (element_low, int(last, 16) if last else element_low, element_step or "u")
    if name == "na":
        return
    number = vr.number(_PSEUDO.get(name) or name.encode())
    if creator is not None:
        for group in range(groups[0], groups[1] + 1):
            if group & 1:
                for element in range(elements[0], elements[1] + 1):
                    tables.private[PrivateTag(group, element, creator)] = number
    elif high is None and last is None:
        # The table of the ambiguous tags is ours: a file names them in its own way.
        if name not in _PSEUDO or group_low << 16 | element_low not in tables.exact:
            tables.exact[group_low << 16 | element_low] = number
    elif name not in _PSEUDO:
        tables.ranges.insert(0, _Range(groups, elements, number))


def load_dictionaries(paths: list[str]) -> list[tuple[str, str]]:
    """Add DCMTK dictionary files, later ones winning; return (path, reason) of each failure."""
    failed: list[tuple[str, str]] = []
    for path in paths:
        try:
            _load(path, _tables())
        except (OSError, ValueError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            failed.append((path, reason or "unreadable"))
    return failed


def load_named(names: str) -> list[str]:
    """Add the dictionary files of a list like that of ``PATH``; return what to warn of.

    The list is that of the environment variable ``DCMDICTPATH``.
    """
    paths = [path for path in names.split(os.pathsep) if path]
    failed = load_dictionaries(paths)
    warnings = [f"cannot load data dictionary {path}: {reason}" for path, reason in failed]
    if paths and len(failed) == len(paths):
        warnings.append("no data dictionary loaded, check environment variable: DCMDICTPATH")
    return warnings
