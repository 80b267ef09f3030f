"""The daemon receives every object of the corpus, from pynetdicom and from the reference."""

from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import corpus, senders
from harness.compare import data_difference, file_difference, folder_differences
from harness.corpus import Entry
from harness.objects import split_part10
from harness.receivers import OURS, REFERENCE, Receiver

SYNTAXES = [pytest.param(syntax, id=syntax) for syntax in corpus.by_syntax()]


def contexts(group: tuple[Entry, ...] | list[Entry]) -> dict[str, list[str]]:
    """Return what to propose, or accept, for these objects: class to their one syntax."""
    return {entry.sop_class: [entry.syntax] for entry in group}


def profile(folder: Path, syntax: str) -> tuple[str, str, str]:
    """Return the option that makes sender or receiver take exactly the classes of this syntax."""
    path = corpus.write_profile(folder / "profile.cfg", contexts(corpus.by_syntax()[syntax]))
    return ("-xf", str(path), "Default")


def empty(receiver: Receiver) -> None:
    """Remove what a round left."""
    for name in receiver.names():
        (receiver.folder / name).unlink()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_bit_preserving_from_pynetdicom(
    start_receiver: StartReceiver, tmp_path: Path, flavour: str, syntax: str
) -> None:
    receiver = start_receiver(flavour, "--fork", "+B", *profile(tmp_path, syntax))
    group = corpus.by_syntax()[syntax]
    for batch in corpus.rounds(group):
        files = [entry.even_copy(tmp_path) for entry in batch]
        statuses = senders.pynetdicom_send(receiver.port, files, contexts(group))
        assert statuses == [0] * len(batch)
        assert len(receiver.names()) == len(batch)
        for entry in batch:
            stored = split_part10(receiver.stored(entry.meta_instance))
            assert data_difference(stored.data, entry.even_data) is None, entry.path.name
            assert stored.meta[0x02].rstrip(b"\0").decode() == entry.sop_class
            assert stored.meta[0x03].rstrip(b"\0").decode() == entry.meta_instance
            assert stored.meta[0x10].rstrip(b"\0").decode() == entry.syntax
            assert stored.meta[0x16] == b"PYNETDICOM"
        empty(receiver)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_bit_preserving_from_the_reference(
    start_receiver: StartReceiver, tmp_path: Path, syntax: str
) -> None:
    own = profile(tmp_path, syntax)
    ours = start_receiver(OURS, "--fork", "+B", *own)
    theirs = start_receiver(REFERENCE, "--fork", "+B", *own)
    for batch in corpus.rounds(corpus.by_syntax()[syntax]):
        files = [entry.path for entry in batch]
        for receiver in (ours, theirs):
            senders.send(REFERENCE, receiver.port, files, *own, "--no-halt")
        assert theirs.names()
        assert folder_differences(ours.folder, theirs.folder) == []
        empty(ours)
        empty(theirs)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_normal_mode(start_receiver: StartReceiver, tmp_path: Path, syntax: str) -> None:
    """What the reference would store comes out, be the object in normal form already or not."""
    own = profile(tmp_path, syntax)
    ours = start_receiver(OURS, "--fork", *own)
    theirs = start_receiver(REFERENCE, "--fork", *own)
    wrong = []
    in_normal_form = 0
    for batch in corpus.rounds(corpus.by_syntax()[syntax]):
        files = [entry.even_copy(tmp_path) for entry in batch]
        statuses, expected_statuses = (
            senders.pynetdicom_send(receiver.port, files, contexts(batch))
            for receiver in (ours, theirs)
        )
        for entry, status, expected in zip(batch, statuses, expected_statuses, strict=True):
            if status != expected:
                wrong.append(f"{entry.path.name}: status {status}, expected {expected}")
            elif expected is not None and theirs.holds(entry.meta_instance):
                reference = theirs.stored(entry.meta_instance)
                difference = file_difference(ours.stored(entry.meta_instance), reference)
                form = "in normal form" if split_part10(reference).data == entry.data else "else"
                in_normal_form += form == "in normal form"
                if difference:
                    wrong.append(f"{entry.path.name} ({form}): {difference}")
        empty(ours)
        empty(theirs)
    assert wrong == []
