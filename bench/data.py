"""Objects to send: valid Part 10 files, explicit VR little endian, all SOP Instance UIDs distinct.

The encoder is the bench's own, so that no code under test makes the input it is measured with.
"""

import random
import struct
import uuid
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MULTIFRAME_WORD_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"

LONG_FORM = frozenset(
    {"OB", "OW", "SQ"}
)  # PS3.5 section 7.1.2: 32-bit length after two reserved bytes

Elements = dict[int, tuple[str, str | int | bytes]]


def uid(name: str) -> str:
    """A UID under the UUID root (PS3.5 section B.2), the same for the same name on every run."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, 'bench/' + name).int}"


def value_bytes(vr: str, value: str | int | bytes) -> bytes:
    """The value field, padded to an even length (PS3.5 section 6.2)."""
    if isinstance(value, int):
        return struct.pack("<HH" if vr == "AT" else "<H", *halves(vr, value))
    raw = value if isinstance(value, bytes) else value.encode("ascii")
    return raw + (b"\0" if vr in {"UI", "OB"} else b" ") * (len(raw) % 2)


def halves(vr: str, value: int) -> tuple[int, ...]:
    """An attribute tag is two 16-bit numbers, a US is one."""
    return (value >> 16, value & 0xFFFF) if vr == "AT" else (value,)


def header(tag: int, vr: str, length: int) -> bytes:
    """Tag, VR and length of an explicit VR little endian element (PS3.5 section 7.1.2)."""
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode("ascii"))
    return start + struct.pack("<xxI" if vr in LONG_FORM else "<H", length)


def encode(elements: Elements) -> bytes:
    """The elements in ascending order of their tags."""
    parts = []
    for tag in sorted(elements):
        vr, value = elements[tag]
        raw = value_bytes(vr, value)
        parts.append(header(tag, vr, len(raw)) + raw)
    return b"".join(parts)


def file_meta(sop_class: str, instance: str) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 section 7.1)."""
    group = encode(
        {
            0x00020001: ("OB", b"\0\1"),
            0x00020002: ("UI", sop_class),
            0x00020003: ("UI", instance),
            0x00020010: ("UI", EXPLICIT_LITTLE),
            0x00020012: ("UI", uid("implementation")),
            0x00020013: ("SH", "BENCH"),
        }
    )
    length = header(0x00020000, "UL", 4) + struct.pack("<I", len(group))
    return bytes(128) + b"DICM" + length + group


def common(sop_class: str, instance: str, modality: str, number: int) -> Elements:
    """Patient, study, series and SOP common attributes, as every image here has them."""
    return {
        0x00080005: ("CS", "ISO_IR 100"),
        0x00080016: ("UI", sop_class),
        0x00080018: ("UI", instance),
        0x00080020: ("DA", "20240229"),
        0x00080030: ("TM", "120000"),
        0x00080050: ("SH", ""),
        0x00080060: ("CS", modality),
        0x00080070: ("LO", "Bench"),
        0x00080090: ("PN", ""),
        0x00100010: ("PN", "Bench^Object"),
        0x00100020: ("LO", "BENCH"),
        0x00100030: ("DA", ""),
        0x00100040: ("CS", "O"),
        0x0020000D: ("UI", uid("study")),
        0x0020000E: ("UI", uid("series/" + modality)),
        0x00200010: ("SH", "1"),
        0x00200011: ("IS", "1"),
        0x00200013: ("IS", str(number)),
        0x00200020: ("CS", ""),
    }


def pixels(rows: int, columns: int, bits: int) -> Elements:
    """The attributes that describe unsigned grey pixels."""
    return {
        0x00280002: ("US", 1),
        0x00280004: ("CS", "MONOCHROME2"),
        0x00280010: ("US", rows),
        0x00280011: ("US", columns),
        0x00280100: ("US", bits),
        0x00280101: ("US", bits),
        0x00280102: ("US", bits - 1),
        0x00280103: ("US", 0),
    }


def ct_image(number: int) -> tuple[str, str, Elements]:
    """SOP class, instance and attributes of one 512 x 512 CT slice (PS3.3 section A.3)."""
    instance = uid(f"ct/{number}")
    special: Elements = {
        0x00080008: ("CS", "ORIGINAL\\PRIMARY\\AXIAL"),
        0x00180050: ("DS", "1"),
        0x00180060: ("DS", "120"),
        0x00185100: ("CS", "HFS"),
        0x00200012: ("IS", "1"),
        0x00200032: ("DS", f"-250\\-250\\{number}"),
        0x00200037: ("DS", "1\\0\\0\\0\\1\\0"),
        0x00200052: ("UI", uid("frame of reference")),
        0x00201040: ("LO", ""),
        0x00280030: ("DS", "1\\1"),
        0x00281052: ("DS", "-1024"),
        0x00281053: ("DS", "1"),
    }
    return (
        CT_IMAGE,
        instance,
        common(CT_IMAGE, instance, "CT", number) | pixels(512, 512, 16) | special,
    )


def small_image(number: int) -> tuple[str, str, Elements]:
    """A 48 x 64 secondary capture (PS3.3 section A.8.1): about 4 KiB with its attributes."""
    instance = uid(f"small/{number}")
    special: Elements = {0x00080008: ("CS", "DERIVED\\SECONDARY"), 0x00080064: ("CS", "WSD")}
    return (
        SECONDARY_CAPTURE,
        instance,
        common(SECONDARY_CAPTURE, instance, "OT", number) | pixels(48, 64, 8) | special,
    )


def referring_image(number: int, elements: int) -> tuple[str, str, Elements]:
    """A small image with that many elements, most of them in the items of a sequence."""
    sop_class, instance, attributes = small_image(number)
    instance = uid(f"referring/{elements}/{number}")
    items = [
        encode({0x00081150: ("UI", CT_IMAGE), 0x00081155: ("UI", uid(f"ct/{item}"))})
        for item in range((elements - len(attributes)) // 2)
    ]
    # Referenced Image Sequence (PS3.3 section C.7.6.1); items as in PS3.5 section 7.5.1.
    value = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in items)
    special: Elements = {0x00080018: ("UI", instance), 0x00081140: ("SQ", value)}
    return sop_class, instance, attributes | special


def multiframe(frames: int) -> tuple[str, str, Elements]:
    """A multi-frame grayscale word secondary capture (PS3.3 section A.8.4) of 512 KiB frames."""
    instance = uid(f"multi-frame/{frames}")
    special: Elements = {
        0x00080008: ("CS", "DERIVED\\SECONDARY"),
        0x00080064: ("CS", "WSD"),
        0x00181063: ("DS", "40"),
        0x00280008: ("IS", str(frames)),
        0x00280009: ("AT", 0x00181063),
        0x00280301: ("CS", "NO"),
        0x00281052: ("DS", "0"),
        0x00281053: ("DS", "1"),
        0x00281054: ("LO", "US"),
        0x20500020: ("CS", "IDENTITY"),
    }
    return (
        MULTIFRAME_WORD_CAPTURE,
        instance,
        common(MULTIFRAME_WORD_CAPTURE, instance, "OT", 1) | pixels(512, 512, 16) | special,
    )


def write_object(
    path: Path, made: tuple[str, str, Elements], vr: str, frame: bytes, frames: int = 1
) -> None:
    """One file whose pixel data is the frame, repeated."""
    sop_class, instance, elements = made
    with path.open("xb") as file:
        file.write(file_meta(sop_class, instance))
        file.write(encode(elements))
        file.write(header(0x7FE00010, vr, len(frame) * frames))
        for _ in range(frames):
            file.write(frame)


class Objects(NamedTuple):
    """Files of one kind, and the bytes of pixel data that each of them holds."""

    folder: Path
    files: list[Path]
    payload: int

    def folders(self, number: int, each: int) -> list[Path]:
        """That many folders with that many of the files each, no file in two of them.

        Raises ValueError when there are not enough files.
        """
        if number * each > len(self.files):
            raise ValueError(f"{number} x {each} objects wanted of {len(self.files)}")
        made = []
        for index in range(number):
            folder = self.folder / f"{each}" / f"{index}"
            made.append(folder)
            if not folder.exists():
                folder.mkdir(parents=True)
                for file in self.files[index * each : (index + 1) * each]:
                    (folder / file.name).hardlink_to(file)
        return made


class Sizes(NamedTuple):
    """How many objects of each kind exist, and the 512 KiB frames of the large one.

    There are ``many`` objects with many elements, and as many with few as there are CT slices.
    """

    ct: int
    small: int
    frames: int
    many: int


class Data:
    """The objects of a run, each kind written when a row first asks for it."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.folder = folder
        self.sizes = sizes
        self.noise = random.Random(1)

    def make_folder(self, name: str) -> Path:
        folder = self.folder / name
        (folder / "all").mkdir(parents=True)
        return folder

    @cached_property
    def ct(self) -> Objects:
        """CT slices of 512 KiB."""
        folder, frame = self.make_folder("ct"), self.noise.randbytes(512 * 512 * 2)
        files = [folder / "all" / f"{n}.dcm" for n in range(self.sizes.ct)]
        for number, file in enumerate(files):
            write_object(file, ct_image(number), "OW", frame)
        return Objects(folder, files, len(frame))

    @cached_property
    def small(self) -> Objects:
        """Secondary captures of 4 KiB."""
        folder, frame = self.make_folder("small"), self.noise.randbytes(48 * 64)
        files = [folder / "all" / f"{n}.dcm" for n in range(self.sizes.small)]
        for number, file in enumerate(files):
            write_object(file, small_image(number), "OB", frame)
        return Objects(folder, files, len(frame))

    @cached_property
    def few_elements(self) -> Objects:
        """Small images of 100 elements."""
        return self._referring("few", self.sizes.ct, 100)

    @cached_property
    def many_elements(self) -> Objects:
        """Small images of 10,000 elements."""
        return self._referring("many", self.sizes.many, 10_000)

    def _referring(self, name: str, count: int, elements: int) -> Objects:
        folder, frame = self.make_folder(name), self.noise.randbytes(48 * 64)
        files = [folder / "all" / f"{n}.dcm" for n in range(count)]
        for number, file in enumerate(files):
            write_object(file, referring_image(number, elements), "OB", frame)
        return Objects(folder, files, len(frame))

    @cached_property
    def large(self) -> Objects:
        """One multi-frame object: 512 MiB when it has 1024 frames."""
        folder, frame = self.make_folder("large"), self.noise.randbytes(512 * 512 * 2)
        frames = self.sizes.frames
        file = folder / "all" / "0.dcm"
        write_object(file, multiframe(frames), "OW", frame, frames)
        return Objects(folder, [file], len(frame) * frames)
