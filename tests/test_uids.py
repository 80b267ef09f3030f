"""The UID table against itself, pydicom's dictionary, and the names that people use."""

import uuid

import pytest
from harness import wire
from hypothesis import given
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, AllTransferSyntaxes

from dcmstore import uids
from dcmstore.uidtable import ROWS


def test_rows_are_well_formed() -> None:
    for uid, symbolic, kind, accepted, proposed, _, prefix in ROWS:
        assert UID(uid).is_valid, uid
        assert symbolic.isprintable()
        assert symbolic
        assert " " not in symbolic
        assert len(kind) == 1
        assert accepted >= 0
        assert proposed >= 0
        assert prefix == prefix.strip()


def test_indices_count_without_gaps() -> None:
    # A second name of a UID has the index of the first.
    for column in (3, 4):
        found = sorted({row[0]: row[column] for row in ROWS if row[column]}.values())
        assert found == list(range(1, len(found) + 1))
    assert len(set(uids.accepted_storage_classes())) == len(uids.accepted_storage_classes()) == 202
    assert 0 < len(set(uids.proposed_storage_classes())) <= 128


def test_symbolic_names_lead_back() -> None:
    for row in ROWS:
        assert uids.by_name(row[1]) == row[0]
        name = uids.symbolic(row[0])
        assert name is not None
        assert uids.by_name(name) == row[0]


def test_transfer_syntaxes_are_pydicoms() -> None:
    """Private ones and those that are newer than pydicom apart, both know the same."""
    ours = {row[0] for row in ROWS if uids.is_transfer_syntax(row[0])}
    theirs = {uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    assert {str(uid) for uid in AllTransferSyntaxes} <= ours
    assert not {uid for uid in ours if uid in UID_dictionary} - theirs


def test_storage_classes_are_pydicoms() -> None:
    for uid in uids.accepted_storage_classes():
        entry = UID_dictionary.get(uid)
        assert entry is None or entry[1] == "SOP Class", uid


@pytest.mark.parametrize(
    ("uid", "symbolic", "prefix"),
    [
        (wire.CT, "CTImageStorage", "CT"),
        (wire.MR, "MRImageStorage", "MR"),
        (wire.SECONDARY_CAPTURE, "SecondaryCaptureImageStorage", "SC"),
        (wire.VERIFICATION, "VerificationSOPClass", None),
        (wire.EXPLICIT, "LittleEndianExplicit", None),
        (wire.IMPLICIT, "LittleEndianImplicit", None),
        (wire.BIG, "BigEndianExplicit", None),
    ],
)
def test_well_known(uid: str, symbolic: str, prefix: str | None) -> None:
    assert uids.symbolic(uid) == symbolic
    assert uids.by_name(symbolic) == uid
    assert uids.file_prefix(uid) == prefix
    row = uids.lookup(uid)
    assert row is not None
    assert row.uid == uid


@pytest.mark.parametrize("uid", ["", "1", "1.2.3", wire.CT + ".", wire.CT + "\0", " " + wire.CT])
def test_unknown(uid: str) -> None:
    assert uids.lookup(uid) is None
    assert uids.symbolic(uid) is None
    assert uids.by_name(uid) is None
    assert uids.file_prefix(uid) is None
    assert not uids.is_storage(uid)
    assert not uids.is_transfer_syntax(uid)


def test_names_of_byte_orders() -> None:
    assert uids.by_name("LocalEndianExplicit") == wire.EXPLICIT
    assert uids.by_name("OppositeEndianExplicit") == wire.BIG
    assert uids.by_name("ctimagestorage") is None


def test_kinds() -> None:
    assert uids.is_storage(wire.CT)
    assert uids.is_storage(wire.HANGING_PROTOCOL)
    assert not uids.is_storage(wire.VERIFICATION)
    assert not uids.is_storage(wire.FIND)
    assert not uids.is_storage(wire.EXPLICIT)
    assert not uids.is_transfer_syntax(wire.CT)


def test_encapsulated() -> None:
    for syntax in (wire.IMPLICIT, wire.EXPLICIT, wire.BIG, wire.DEFLATED):
        assert not uids.is_encapsulated(syntax)
    for syntax in (wire.RLE, wire.JPEG_BASELINE, wire.J2K_LOSSY):
        assert uids.is_encapsulated(syntax)


def test_prefixes_make_file_names() -> None:
    for uid in uids.accepted_storage_classes():
        prefix = uids.file_prefix(uid)
        assert prefix is None or (prefix.replace("_", "").isalnum() and prefix.isascii()), uid


@given(st.binary(min_size=16, max_size=16))
def test_new_uids_are_what_uuid_makes_of_the_bytes(entropy: bytes) -> None:
    uid = uids.new_uid(entropy)
    assert uid == f"2.25.{uuid.UUID(bytes=entropy, version=4).int}"
    assert UID(uid).is_valid


@pytest.mark.parametrize("entropy", [b"", bytes(15), bytes(17)])
def test_new_uids_take_a_whole_uuid(entropy: bytes) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        uids.new_uid(entropy)
