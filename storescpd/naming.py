"""Names of files and folders for received objects (storescp(1), "NOTES" on file names).

Everything here is pure: the clock and the random bytes are handed in, nothing is opened, and
warnings come back as text for the caller to log. Whatever a peer sent enters a name only
through an allow-list, one character at a time, so that no name leaves its folder, hides
behind a leading dot, or means anything to a shell. What the administrator configured (prefix,
extension) is kept as it is, apart from ``/`` and NUL where a single component is wanted.
"""

import re
import time
from functools import lru_cache
from typing import NamedTuple

from dcmstore.text import printable
from dcmstore.uids import file_prefix, new_uid

NAME_MAX = 255  # bytes in one component, on every file system worth storing images on
UNKNOWN_CLASS = "UNKNOWN"
ANONYMOUS = "ANONYMOUS"

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")

# Latin-1 letters 0xC0 to 0xDE as plain ASCII; 0xE0 to 0xFE are the same letters in lower case.
_LATIN1_CAPITALS = (
    "A A A A Ae A A C E E E E I I I I D N O O O O Oe _ O U U U Ue Y _".split()  # À to Þ
)
_LATIN1_SHARP_S = 0xDF
_LATIN1_Y_DIAERESIS = 0xFF


class Folder(NamedTuple):
    """The name of a study's folder, and what to warn of."""

    name: str
    warnings: tuple[str, ...] = ()


def reduce(text: str) -> str:
    """Return the text with every character outside ``A-Z a-z 0-9 . - _`` replaced by ``_``."""
    return _UNUSUAL.sub("_", text)


def component(text: str, room: int = NAME_MAX) -> str:
    """Return one path component made of a peer's text.

    It is ASCII, at most ``room`` (but at least 1) bytes long, and never empty, ``.``, ``..`` or
    hidden behind a leading dot.
    """
    name = reduce(text[: max(room, 1)])
    if not name or name.startswith("."):
        return "_" + name[1:]
    return name


def class_prefix(sop_class: str) -> str:
    """Return what starts the name of a file of this SOP class."""
    return file_prefix(sop_class) or UNKNOWN_CLASS


def object_name(sop_class: str, sop_instance: str, extension: str) -> tuple[str, bool]:
    """Return ``PREFIX.SOPINSTANCEUID`` with the extension, and whether the UID had to change.

    A UID that PS3.5 section 9.1 allows never changes. A longer one is cut so that the name fits
    into ``NAME_MAX`` bytes; an extension that alone does not fit is for the file system to refuse.
    """
    head, tail, room = _around_instance(sop_class, extension)
    name = component(sop_instance, room)
    return head + name + tail, name != sop_instance


@lru_cache(maxsize=64)
def _around_instance(sop_class: str, extension: str) -> tuple[str, str, int]:
    """Return what stands before and after the instance UID, and the bytes that it may have."""
    head = class_prefix(sop_class) + "."
    tail = _one_component(extension)
    return head, tail, NAME_MAX - len(head) - _size(tail)


def replaced_warning(sop_instance: str) -> str:
    """Return the warning that belongs to a UID that ``object_name`` had to change."""
    return (
        f'Unusual characters in SOP Instance UID "{printable(sop_instance)}",'
        f' file is named after "{component(sop_instance)}" instead'
    )


def unique_name(sop_class: str, extension: str, entropy: bytes) -> str:
    """Return ``PREFIX.X.NEWUID`` with the extension (``--unique-filenames``)."""
    return f"{class_prefix(sop_class)}.X.{new_uid(entropy)}{_one_component(extension)}"


class TimeNames:
    """Names of the form ``YYYYMMDDhhmmssmmm[_NNNN].PREFIX`` (``--timenames``).

    Names repeat within a millisecond; then a serial number from 0000 tells them apart. Another
    process may have taken a name, too: calling again with the same arguments gives the next one.
    """

    def __init__(self) -> None:
        self._last: tuple[str, str, str] | None = None
        self._serial = 0

    def next(self, now: float, sop_class: str, extension: str, folder: str = "") -> str:
        """Return the name for an object that arrives ``now`` (seconds of the epoch)."""
        stamp = time_stamp(now)
        prefix = class_prefix(sop_class)
        wanted = (stamp, prefix, folder)
        tail = f".{prefix}{_one_component(extension)}"
        if wanted != self._last:
            self._last = wanted
            self._serial = 0
            return stamp + tail
        serial = self._serial
        self._serial += 1
        return f"{stamp}_{serial:04d}{tail}"


def time_stamp(now: float, separator: str = "") -> str:
    """Return local time as ``YYYYMMDDhhmmssmmm``, the separator between date and time."""
    seconds, milliseconds = divmod(int(now * 1000), 1000)
    clock = time.strftime(f"%Y%m%d{separator}%H%M%S", time.localtime(seconds))
    return f"{clock}{milliseconds:03d}"


def run_folder(prefix: str, now: float) -> Folder:
    """Return ``PREFIX_YYYYMMDD_hhmmssmmm`` (``--sort-conc-studies``).

    The prefix is the administrator's and stays untouched: one that holds a ``/`` names a folder
    inside another folder, which must be there.
    """
    return Folder(_joined(prefix, time_stamp(now, "_")))


def study_folder(prefix: str, study: str) -> Folder:
    """Return ``PREFIX_STUDYUID`` as one component (``--sort-on-study-uid``).

    The study is its Study Instance UID without padding.
    """
    head = _one_component(prefix)
    name = component(study, NAME_MAX - _size(_joined(head, "")))
    if name == study:
        return Folder(_joined(head, name))
    warning = (
        f'Unusual characters in Study Instance UID "{printable(study[:NAME_MAX])}",'
        f' folder is named after "{name}" instead'
    )
    return Folder(_joined(head, name), (warning,))


def patient_folder(patient: bytes, charset: str, now: float) -> Folder:
    """Return ``NAME_YYYYMMDD_hhmmssmmm`` (``--sort-on-patientname``).

    ``patient`` is the encoded value of (0010,0010), ``charset`` that of Specific Character Set
    (0008,0005), empty if absent. The name is taken for Latin-1 whatever the character set.
    """
    stamp = time_stamp(now, "_")
    first = patient.split(b"\\", 1)[0].rstrip(b" \0")[:NAME_MAX]
    if not first:
        warning = (
            "element PatientName (0010,0010) absent or empty in data set,"
            f" using '{ANONYMOUS}' instead"
        )
        return Folder(_joined(ANONYMOUS, stamp), (warning,))
    name = "".join(map(_latin1_as_ascii, first))[: NAME_MAX - len(stamp) - 1]
    if first.isascii() or charset in ("", "ISO_IR 100"):
        return Folder(_joined(name, stamp))
    warning = (
        f"Patient name not in Latin-1 (charset: {printable(charset[:NAME_MAX])}),"
        " ASCII dir name may be broken"
    )
    return Folder(_joined(name, stamp), (warning,))


def _latin1_as_ascii(byte: int) -> str:
    if byte < 0x80:
        return chr(byte) if chr(byte).isalnum() else "_"
    if byte < 0xC0:
        return "_"
    if byte == _LATIN1_SHARP_S:
        return "ss"
    if byte == _LATIN1_Y_DIAERESIS:
        return "y"
    if byte < 0xE0:
        return _LATIN1_CAPITALS[byte - 0xC0]
    return _LATIN1_CAPITALS[byte - 0xE0].lower()


def _joined(prefix: str, rest: str) -> str:
    return f"{prefix}_{rest}" if prefix else rest


def _one_component(configured: str) -> str:
    return configured.replace("/", "_").replace("\0", "_")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))
