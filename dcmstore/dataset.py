"""What the reader and the writers of data sets say to each other: options, findings, errors."""

from array import array
from mmap import mmap
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    Pieces = array[int]
else:
    Pieces = array  # cannot be subscripted; in quotes it would cost every start a compilation

DEFAULT_LEVEL: Final = 6
"""zlib's level for deflated output; another one is a reason to deflate anew."""

Encoded = bytes | memoryview | mmap
"""What holds an encoded data set; bytes are read quickest, mappings need no copy."""

GroupLength = Literal["recalc", "create", "remove"]
Lengths = Literal["explicit", "undefined"]


class OutputOptions(NamedTuple):
    """How a data set shall be written.

    ``transfer_syntax`` is a UID, or None for that of the input. ``padding`` is the pair of
    --padding-create (file pad, item pad; bytes), None removes padding; ``meta_length`` is the
    length in bytes of the file meta header elements, which file padding counts in.
    """

    transfer_syntax: str | None = None
    group_length: GroupLength = "recalc"
    lengths: Lengths = "explicit"
    padding: tuple[int, int] | None = None
    new_vr: bool = True
    convert_un: bool = False
    compression_level: int = DEFAULT_LEVEL
    meta_length: int = 0


class Plan(NamedTuple):
    """The layout of a data set to be written.

    ``literals`` are the bytes that are new. ``pieces`` holds four numbers for each part that
    comes from elsewhere: the offset in the literals that it stands before, start and end in
    the source, and the word size (bytes) to swap it by; 1 means as it is, and 0 that many
    zero bytes instead of the source. ``length`` is that of the whole, before any deflating.
    """

    literals: bytearray
    pieces: Pieces
    length: int


class Findings(NamedTuple):
    """What a walk over a data set found.

    Texts are as in the data set but for surrounding padding; "" or b"" if absent.
    ``sop_class`` and ``sop_instance`` are the first in depth-first order, the others stand in
    the main data set. ``reasons`` has one text for each kind of difference between the bytes
    and what the options ask for: empty means that the bytes can stay. ``unwritable`` says why
    the options cannot be fulfilled, or is empty. ``plan`` is there if ``reasons`` are, unless
    nothing can be written.
    """

    sop_class: str
    sop_instance: str
    study_instance: str
    patient_name: bytes
    character_set: bytes
    has_pixel_data: bool
    encapsulated: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    unwritable: str
    plan: Plan | None = None


class DataSetError(Exception):
    """The bytes are no data set in the transfer syntax; ``text`` says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class CutValue(DataSetError):
    """A value ends with the data: ``present`` bytes of ``length`` are there."""

    def __init__(self, length: int, present: int) -> None:
        super().__init__("Invalid stream")
        self.length = length
        self.present = present


class TooDeep(DataSetError):
    """Sequences are nested deeper than the reader follows."""
