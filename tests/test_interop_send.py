"""The sender sends every object of the corpus: to the reference, pynetdicom and our daemon."""

import zlib
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from conftest import StartReceiver
from harness import corpus, senders, wire
from harness.compare import data_difference, folder_differences
from harness.corpus import Entry
from harness.objects import small, split_part10, write_part10
from harness.pynetdicom_scp import PynetdicomReceiver
from harness.receivers import OURS, REFERENCE, Receiver
from pydicom.filereader import read_dataset

SYNTAXES = [pytest.param(syntax, id=syntax) for syntax in corpus.by_syntax()]


def contexts(group: tuple[Entry, ...]) -> dict[str, list[str]]:
    """Return the classes of a group, each with the group's syntax."""
    return {entry.sop_class: [entry.syntax] for entry in group}


def profile(folder: Path, syntax: str) -> tuple[str, str, str]:
    """Return the option that makes sender or receiver take exactly the classes of this syntax."""
    path = corpus.write_profile(folder / "profile.cfg", contexts(corpus.by_syntax()[syntax]))
    return ("-xf", str(path), "Default")


def empty(*receivers: Receiver) -> None:
    """Remove what a round left."""
    for receiver in receivers:
        for name in receiver.names():
            (receiver.folder / name).unlink()


@pytest.mark.parametrize("receiving", [OURS, REFERENCE])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_like_the_reference(
    start_receiver: StartReceiver, tmp_path: Path, receiving: str, syntax: str
) -> None:
    """Both senders put the same bytes on the wire, as a bit-preserving receiver shows."""
    own = profile(tmp_path, syntax)
    ours = start_receiver(receiving, "--fork", "+B", *own)
    theirs = start_receiver(receiving, "--fork", "+B", *own)
    wrong = []
    for batch in corpus.rounds(corpus.by_syntax()[syntax]):
        files = [entry.path for entry in batch]
        senders.send(OURS, ours.port, files, *own, "--no-halt")
        senders.send(REFERENCE, theirs.port, files, *own, "--no-halt")
        wrong += folder_differences(ours.folder, theirs.folder)
        empty(ours, theirs)
    assert wrong == []


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_to_pynetdicom(tmp_path: Path, reference: str, syntax: str) -> None:
    """pynetdicom receives from ours what it receives from the reference, in the same order."""
    group = corpus.by_syntax()[syntax]
    files = [entry.path for entry in group]
    own = profile(tmp_path, syntax)
    received = {}
    for flavour in (OURS, reference):
        with PynetdicomReceiver(contexts(group)) as receiver:
            done = senders.send(flavour, receiver.port, files, *own, "--no-halt")
            assert done.code == 0, done.stderr
        received[flavour] = receiver.received
    ours, theirs = received[OURS], received[reference]
    # A file that is cut short or broken inside is sent by neither.
    assert len(theirs) >= len(group) - 2
    assert [one[:3] for one in ours] == [one[:3] for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert data_difference(one.data, other.data) is None, one.sop_instance


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("-xe", wire.EXPLICIT),
        ("-xb", wire.BIG),
        ("-xi", wire.IMPLICIT),
        ("-xd", wire.DEFLATED),
    ],
)
@pytest.mark.parametrize("sending", [OURS, REFERENCE])
def test_conversion_between_native_syntaxes(
    tmp_path: Path, sending: str, option: str, syntax: str
) -> None:
    """An explicit VR little endian file, sent in each native syntax."""
    thing = small(pixels=512)
    path = write_part10(tmp_path, thing)
    with PynetdicomReceiver({wire.CT: [syntax]}) as receiver:
        done = senders.send(sending, receiver.port, [path], option)
    assert done.code == 0, done.stderr
    (one,) = receiver.received
    assert one.syntax == syntax
    data = one.data
    if syntax == wire.DEFLATED:
        data = zlib.decompress(data, -15)
    if syntax in (wire.EXPLICIT, wire.DEFLATED):
        assert data_difference(data, thing.data) is None
    else:
        implicit, little = syntax == wire.IMPLICIT, syntax != wire.BIG
        found = read_dataset(BytesIO(data), implicit, little)
        original = pydicom.dcmread(path)
        assert found.PatientName == original.PatientName
        assert found.BitsAllocated == 16
        assert len(found.PixelData) == len(original.PixelData)
        assert (found.PixelData == original.PixelData) == little


def test_encapsulated_files_need_a_context_of_their_syntax(
    start_receiver: StartReceiver, flavour: str
) -> None:
    receiver = start_receiver(OURS, "+xa")
    (entry, *_) = corpus.by_syntax()[wire.JPEG_BASELINE]
    sent = senders.send(flavour, receiver.port, [entry.path], "-xy")
    assert sent.code == 0, sent.stderr
    assert receiver.holds(entry.sop_instance)
    refused = senders.send(flavour, receiver.port, [entry.path], "-xe")
    assert refused.code == 1
    assert "unable to convert dataset from" in refused.stderr


def test_required_contexts_and_no_profile(
    start_receiver: StartReceiver, reference: str, flavour: str
) -> None:
    """Plain calls as scripts make them: -R, +C, scanned folders."""
    del reference
    receiver = start_receiver(OURS, "--fork", "+B")
    group = [
        entry
        for batch in corpus.rounds(corpus.by_syntax()[wire.EXPLICIT])[:1]
        for entry in batch
        if entry.sop_class in (wire.CT, wire.MR)
    ][:10]
    for options in (("-R",), ("+C",), ("-R", "+C"), ()):
        done = senders.send(flavour, receiver.port, [entry.path for entry in group], *options)
        assert done.code == 0, done.stderr
        assert len(receiver.names()) == len(group)
        for entry in group:
            stored = split_part10(receiver.stored(entry.sop_instance))
            assert stored.meta[0x10].rstrip(b"\0").decode() == wire.EXPLICIT
        empty(receiver)


def test_scanned_folder(start_receiver: StartReceiver, tmp_path: Path, flavour: str) -> None:
    receiver = start_receiver(OURS, "--fork")
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    outer = [small() for _ in range(3)]
    deeper = [small() for _ in range(2)]
    for thing in outer:
        write_part10(tmp_path / "tree", thing)
    for thing in deeper:
        write_part10(inner, thing)
    tree = [tmp_path / "tree"]
    assert senders.send(flavour, receiver.port, tree, "+sd").code == 0
    assert len(receiver.names()) == 3
    assert senders.send(flavour, receiver.port, tree, "+sd", "+r").code == 0
    assert len(receiver.names()) == 5
    empty(receiver)
    pattern = outer[0].sop_instance + "*"
    assert senders.send(flavour, receiver.port, tree, "+sd", "+r", "+sp", pattern).code == 0
    assert [name.partition(".")[2] for name in receiver.names()] == [outer[0].sop_instance]
    ignored = senders.send(flavour, receiver.port, tree)
    assert ignored.code == 1
    assert "no input files to be sent" in ignored.stderr
