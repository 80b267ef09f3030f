"""Invented identities: how they are counted, and what the sender does with them."""

import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pydicom
import pytest
from conftest import StartReceiver
from harness import corpus, senders, wire
from harness.compare import data_difference
from harness.conversation import converse, lines
from harness.objects import Object, explicit, small, write_part10
from harness.receivers import OURS, REFERENCE
from harness.scripted import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dcmstore import uids
from dcmstore.dataset import OutputOptions
from storescu import invent, preparing
from storescu.loading import load

NOW = 1_764_150_000.9
TAGS = {
    "PatientName": 0x00100010,
    "PatientID": 0x00100020,
    "StudyInstanceUID": 0x0020000D,
    "StudyID": 0x00200010,
    "SeriesInstanceUID": 0x0020000E,
    "SeriesNumber": 0x00200011,
    "SOPInstanceUID": 0x00080018,
    "ImageNumber": 0x00200013,
}
UID_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Told(NamedTuple):
    """What a sender says that it has invented for one object."""

    counters: str
    values: dict[str, str]
    complaints: list[str]

    def by_tag(self) -> dict[int, str]:
        return {TAGS[name]: value for name, value in self.values.items()}


def told(log: str) -> list[Told]:
    """Read what a sender has invented out of its log."""
    found: list[Told] = []
    for line in log.splitlines():
        if match := re.fullmatch(r"I: Inventing Identifying Information \((.*)\):", line):
            found.append(Told(match[1], {}, []))
        elif match := re.fullmatch(r"I:   (\w+)=(.*)", line):
            found[-1].values[match[1]] = match[2]
        elif line.startswith("E: updateStringAttributeValue: "):
            found[-1].complaints.append(line)
    return found


def whole(sop_class: str = wire.CT, **more: int) -> Object:
    """Return an object with all that can be invented."""
    thing = small(sop_class, leave_out=(0x00200013,), **more)  # type: ignore[arg-type]
    at = thing.data.index(b"\x28\0\x10\0US")
    study = b"".join(
        explicit(tag, vr, value)
        for tag, vr, value in (
            (0x00200010, "SH", "17"),
            (0x00200011, "IS", "4"),
            (0x00200013, "IS", "5"),
        )
    )
    return thing._replace(data=thing.data[:at] + study + thing.data[at:])


# Counting


def identities(sizes: tuple[int, int, int]) -> Iterator[tuple[str, dict[str, str]]]:
    """Invent, and return counters and values by name."""
    number = itertools.count()
    inventor = invent.Inventor(
        invent.Sizes(*sizes), lambda: NOW, lambda size: next(number).to_bytes(size, "big")
    )
    while True:
        identity = inventor.next()
        values = {name: identity.values[tag] for name, tag in TAGS.items()}
        yield identity.counters, values


def test_first_identity() -> None:
    counters, values = next(identities((100, 50, 25)))
    uid = [f"2.25.{(4 << 76 | 2 << 62) + number}" for number in range(3)]
    assert counters == "pa0, st0, se0, im0"
    assert values == {
        "PatientName": "OFFIS^TEST_PN_17641500000",
        "PatientID": "PID_17641500000",
        "StudyInstanceUID": uid[1],
        "StudyID": "SID_17641500000",
        "SeriesInstanceUID": uid[0],
        "SeriesNumber": "0",
        "SOPInstanceUID": uid[2],
        "ImageNumber": "0",
    }


SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None)
@given(SIZES, st.integers(1, 120))
def test_objects_fill_series_studies_and_patients(sizes: tuple[int, int, int], count: int) -> None:
    """As many of each as there should be, and no object in a place of its own."""
    per_series, per_study, per_patient = sizes
    found = list(itertools.islice(identities(sizes), count))
    assert len({values["SOPInstanceUID"] for _, values in found}) == count
    for index, (counters, values) in enumerate(found):
        series = index // per_series
        study, patient = series // per_study, series // per_study // per_patient
        assert counters == (
            f"pa{patient}, st{study % per_patient}, se{series % per_study}, im{index % per_series}"
        )
        assert values["ImageNumber"] == str(index % per_series)
        assert values["PatientID"] == f"PID_1764150000{patient}"
        assert values["PatientName"] == f"OFFIS^TEST_PN_1764150000{patient}"
        # The number of a series is made before the study that it opens, and so on.
        number = per_study if series and series % per_study == 0 else series % per_study
        assert values["SeriesNumber"] == str(number)
        number = per_patient if study and study % per_patient == 0 else study % per_patient
        assert values["StudyID"] == f"SID_1764150000{number}"
    of_study: dict[str, set[str]] = {}
    for _, values in found:
        of_study.setdefault(values["SeriesInstanceUID"], set()).add(values["StudyInstanceUID"])
    assert all(len(studies) == 1 for studies in of_study.values())
    assert len(of_study) == -(-count // per_series)


def test_uids_are_unique_and_valid() -> None:
    inventor = invent.Inventor(invent.Sizes(2, 2, 2))
    made = [inventor.next().values for _ in range(500)]
    instances = {values[0x00080018] for values in made}
    series = {values[0x0020000E] for values in made}
    studies = {values[0x0020000D] for values in made}
    assert (len(instances), len(series), len(studies)) == (500, 250, 125)
    everything = instances | series | studies
    assert len(everything) == 875
    assert all(UID(uid).is_valid for uid in everything)


# On the wire


def values_in(data: bytes) -> dict[str, str]:
    """Return the values of the elements concerned that an explicit VR data set has."""
    found = {}
    for name, tag in TAGS.items():
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        at = data.find(head)
        if at >= 0:
            (length,) = struct.unpack_from("<H", data, at + 6)
            found[name] = data[at + 8 : at + 8 + length].decode().rstrip(" \0")
    return found


def normal(values: dict[str, str]) -> dict[str, str]:
    """Return values without what differs between runs, and between us and the reference."""
    kinds: dict[str, str] = {}
    for name, value in values.items():
        if name in UID_NAMES:
            assert UID(value).is_valid
            kinds[name] = "UID"
        else:
            kinds[name] = re.sub(r"_\d{10}(\d+)$", r"_SECONDS\1", value)
    return kinds


@pytest.mark.parametrize(
    ("options", "counters"),
    [
        (("+II",), ["pa0, st0, se0, im0", "pa0, st0, se0, im1", "pa0, st0, se0, im2"]),
        (("+IR", "1"), ["pa0, st0, se0, im0", "pa0, st0, se1, im0", "pa0, st0, se2, im0"]),
        (("+IR", "2"), ["pa0, st0, se0, im0", "pa0, st0, se0, im1", "pa0, st0, se1, im0"]),
        (("+IS", "1"), ["pa0, st0, se0, im0", "pa0, st0, se0, im1", "pa0, st0, se0, im2"]),
        (
            ("+IR", "1", "+IS", "1"),
            ["pa0, st0, se0, im0", "pa0, st1, se0, im0", "pa0, st2, se0, im0"],
        ),
        (
            ("+IR", "1", "+IS", "1", "+IP", "1"),
            ["pa0, st0, se0, im0", "pa1, st0, se0, im0", "pa2, st0, se0, im0"],
        ),
        (("+IP", "2"), ["pa0, st0, se0, im0", "pa0, st0, se0, im1", "pa0, st0, se0, im2"]),
    ],
)
def test_counters(
    flavour: str, tmp_path: Path, options: tuple[str, ...], counters: list[str]
) -> None:
    """Each option implies the first, and both senders count alike."""
    paths = [write_part10(tmp_path, whole()) for _ in range(3)]
    before = [path.read_bytes() for path in paths]
    messages, done = converse(flavour, paths, "-v", *options, statuses=[0, 0, 0])
    assert done.code == 0, done.stderr
    found = told(done.stderr)
    assert [one.counters for one in found] == counters
    for message, one in zip(messages, found, strict=True):
        assert message.data is not None
        assert values_in(message.data) == one.values
        assert message.command[wire.SOP_INSTANCE] == one.values["SOPInstanceUID"]
        assert one.complaints == []
    assert [path.read_bytes() for path in paths] == before, "files stay as they are"


def test_same_values_as_the_reference(tmp_path: Path, reference: str) -> None:
    """But for time and UIDs, object by object, through series, studies and patients."""
    paths = [write_part10(tmp_path, whole()) for _ in range(2)]
    own = ("-v", "--repeat", "12", "+IR", "2", "+IS", "2", "+IP", "2")
    both = []
    for flavour in (OURS, reference):
        messages, done = converse(flavour, paths, *own, statuses=[0] * 24)
        assert done.code == 0, done.stderr
        found = [normal(values_in(message.data or b"")) for message in messages]
        both.append((found, [one.counters for one in told(done.stderr)]))
        assert found == [normal(one.values) for one in told(done.stderr)]
        in_place = {values_in(message.data or b"")["SOPInstanceUID"] for message in messages}
        assert len(in_place) == 24, "each repetition is another object"
    assert both[0] == both[1]


def test_log_lines(flavour: str, tmp_path: Path) -> None:
    """Where they stand, and what is said of elements that are not there."""
    path = write_part10(tmp_path, small(leave_out=(0x00100010, 0x0020000D)))
    _, done = converse(flavour, [path], "-v", "+II", statuses=[0])
    said = lines(done)
    at = said.index(f"I: Sending file: {path}")
    assert said[at + 1] == "I: Inventing Identifying Information (pa0, st0, se0, im0):"
    assert [line.partition("=")[0] for line in said[at + 2 : at + 10]] == [
        f"I:   {name}" for name in TAGS
    ]
    assert said[at + 10 :] == [
        "E: updateStringAttributeValue: cannot find: PatientName (0010,0010): Tag not found",
        "E: updateStringAttributeValue: cannot find: StudyInstanceUID (0020,000d): Tag not found",
        "E: updateStringAttributeValue: cannot find: StudyID (0020,0010): Tag not found",
        "E: updateStringAttributeValue: cannot find: SeriesNumber (0020,0011): Tag not found",
        "I: Sending Store Request (MsgID 1, CT)",
        "I: Received Store Response (Success)",
        "I: Releasing Association",
    ]
    assert done.code == 0
    _, quiet = converse(flavour, [path], "+II", statuses=[0])
    assert lines(quiet) == said[at + 10 : at + 14]


def test_a_bad_file_takes_no_identity(flavour: str, tmp_path: Path) -> None:
    """One that is read and then not sent does, since it has been given one."""
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"no object")
    strange = write_part10(tmp_path, whole("1.2.3.4"))
    nameless = write_part10(tmp_path, small(leave_out=(0x00080016,)))
    good = write_part10(tmp_path, whole())
    paths = [bad, good, strange, nameless, good]
    messages, done = converse(flavour, paths, "-nh", "-v", "+II", "+rn", statuses=[0])
    found = told(done.stderr)
    assert [one.counters[-1] for one in found] == ["0", "1", "2"]
    assert len(messages) == 1
    assert done.code == 0
    assert "No presentation context for" in done.stderr
    assert "No SOP Class or Instance UID in file" in done.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bad"] * 3 + [".done"]


def test_object_without_a_name_of_its_own(flavour: str, tmp_path: Path) -> None:
    """Nothing is added to an object, so it cannot be sent still."""
    path = write_part10(tmp_path, small(leave_out=(0x00080018,)))
    messages, done = converse(flavour, [path], "+II")
    assert (done.code, messages) == (1, [])
    assert lines(done)[-2] == f"E: No SOP Class or Instance UID in file: {path}"


def test_required_asks_for_the_class_of_the_file(flavour: str, tmp_path: Path) -> None:
    path = write_part10(tmp_path, whole(wire.MR))
    (message,), done = converse(flavour, [path], "+II", "-R", statuses=[0])
    assert done.code == 0, done.stderr
    assert message.command[wire.SOP_CLASS] == wire.MR
    assert message.command[wire.SOP_INSTANCE] != path.stem


@pytest.mark.parametrize("option", ["-xe", "-xb", "-xi", "-xd"])
@pytest.mark.parametrize("size", [64, 100_000])
def test_conversions(tmp_path: Path, flavour: str, option: str, size: int) -> None:
    """In every native transfer syntax pydicom finds what the log tells."""
    path = write_part10(tmp_path, whole(pixels=size))
    (message,), done = converse(flavour, [path], option, "+C", "+II", "-v", statuses=[0])
    assert done.code == 0, done.stderr
    (one,) = told(done.stderr)
    data = message.data or b""
    if option == "-xd":
        data = zlib.decompress(data, -15)
    found = read_dataset(BytesIO(data), option == "-xi", option != "-xb")
    original = pydicom.dcmread(path)
    for name, value in one.values.items():
        keyword = "InstanceNumber" if name == "ImageNumber" else name
        assert str(found[keyword].value) == value
        del found[keyword], original[keyword]
    if option == "-xb":
        found.PixelData = swapped(found.PixelData)
    assert found == original


def swapped(words: bytes) -> bytes:
    return b"".join(words[at + 1 : at + 2] + words[at : at + 1] for at in range(0, len(words), 2))


# Byte for byte


class Replaced(NamedTuple):
    """A file with the values that the reference invented for it, as we would send it."""

    data: bytes
    sop_instance: str
    complaints: list[str]


def as_we_send(path: Path, one: Told, syntax: str, caplog: pytest.LogCaptureFixture) -> Replaced:
    """Give a file this identity and encode it, as the sender does."""
    loaded = load(str(path), "read-file", OutputOptions())
    identity = invent.Identity(one.counters, one.by_tag())
    loaded.findings = loaded.look(identity.give, OutputOptions())
    parts = list(preparing.encoded(loaded, syntax, OutputOptions(), identity.give))
    caplog.clear()
    identity.tell()
    said = [f"E: {record.message}" for record in caplog.records if record.levelname == "ERROR"]
    sop_instance = loaded.findings.sop_instance
    return Replaced(b"".join(parts), sop_instance, said)


def difference(
    message: Message, log: str, path: Path, syntax: str, caplog: pytest.LogCaptureFixture
) -> list[str]:
    """Compare what the reference sent with what we would, given its values."""
    (one,) = told(log)
    ours, theirs = as_we_send(path, one, syntax, caplog), message.data or b""
    if syntax == wire.DEFLATED:
        ours = ours._replace(data=zlib.decompress(ours.data, -15))
        theirs = zlib.decompress(theirs, -15)
    wrong = [data_difference(ours.data, theirs)]
    if ours.complaints != one.complaints:
        wrong.append(f"{ours.complaints}, expected {one.complaints}")
    if ours.sop_instance != message.command[wire.SOP_INSTANCE]:
        wrong.append(f"instance {ours.sop_instance}")
    return [f"{path.name}: {text}" for text in wrong if text]


@pytest.mark.parametrize("syntax", [pytest.param(uid, id=uid) for uid in corpus.by_syntax()])
def test_corpus_like_the_reference(
    tmp_path: Path, reference: str, syntax: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every file of the corpus in its own transfer syntax, with the reference's values."""
    group = corpus.by_syntax()[syntax]
    profile = corpus.write_profile(
        tmp_path / "profile.cfg", {entry.sop_class: [entry.syntax] for entry in group}
    )
    own = ("-v", "+II", "-xf", str(profile), "Default")
    wrong, compared = [], 0
    for entry in group:
        messages, done = converse(reference, [entry.path], *own, statuses=[0])
        for message in messages:  # none if the file is broken inside
            wrong += difference(message, done.stderr, entry.path, syntax, caplog)
            compared += 1
    assert wrong == []
    assert compared >= len(group) - 2


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("-xb", wire.BIG), ("-xi", wire.IMPLICIT), ("-xd", wire.DEFLATED), ("-xe", wire.EXPLICIT)],
)
def test_conversions_like_the_reference(
    reference: str, option: str, syntax: str, caplog: pytest.LogCaptureFixture
) -> None:
    group = [
        entry
        for native in sorted(uids.NATIVE)
        for entry in corpus.by_syntax().get(native, ())
        if len(entry.data) < 1 << 20
    ][::7]
    own = ("-v", "-R", "+C", "+II", option)
    wrong, compared = [], 0
    for entry in group:
        messages, done = converse(reference, [entry.path], *own, statuses=[0])
        for message in messages:
            wrong += difference(message, done.stderr, entry.path, syntax, caplog)
            compared += 1
    assert wrong == []
    assert compared > 8


# Real receivers


@pytest.mark.parametrize("receiving", [OURS, REFERENCE])
def test_receivers_store_each_as_an_object_of_its_own(
    start_receiver: StartReceiver, tmp_path: Path, receiving: str, flavour: str
) -> None:
    receiver = start_receiver(receiving, "+xa", "+B")
    paths = [write_part10(tmp_path, whole(pixels=100_000)) for _ in range(2)]
    own = ("+IR", "2", "+IS", "2", "--repeat", "4", "-v")
    done = senders.send(flavour, receiver.port, paths, *own)
    assert done.code == 0, done.stderr
    expected = [one.values for one in told(done.stderr)]
    assert len(expected) == 8
    stored = {}
    for path in receiver.folder.iterdir():
        found = pydicom.dcmread(path)
        stored[found.SOPInstanceUID] = found
    assert set(stored) == {values["SOPInstanceUID"] for values in expected}
    studies = {found.StudyInstanceUID for found in stored.values()}
    series = {found.SeriesInstanceUID for found in stored.values()}
    assert (len(studies), len(series)) == (2, 4)
    for values in expected:
        found = stored[values["SOPInstanceUID"]]
        assert found.PatientName == values["PatientName"]
        assert found.file_meta.MediaStorageSOPInstanceUID == values["SOPInstanceUID"]
        assert len(found.PixelData) == 100_000


def test_sorted_by_our_receiver(start_receiver: StartReceiver, tmp_path: Path) -> None:
    """Normal mode compares the data set with the request, and sorts by the new study."""
    receiver = start_receiver(OURS, "-su", "ST")
    path = write_part10(tmp_path, whole())
    own = ("+IR", "1", "+IS", "1", "--repeat", "3")
    assert senders.send(OURS, receiver.port, [path], *own).code == 0
    folders = {name.split("/")[0] for name in receiver.names()}
    assert len(receiver.names()) == len(folders) == 3
    assert all(folder.startswith("ST_2.25.") for folder in folders)
