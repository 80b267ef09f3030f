"""PDUs both ways against pynetdicom's codec, and random bytes against ours."""

import struct
from typing import TypeVar

import pdu_oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from dcmstore.errors import PeerError
from dcmstore.pdu import (
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RQ,
    PDU,
    PDU_HEADER,
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ExtendedNegotiation,
    PData,
    PresentationContext,
    PresentationDataValue,
    ReleaseReply,
    ReleaseRequest,
    RoleSelection,
    UserIdentity,
    decode,
    encode,
)

Item = TypeVar("Item")

QUICK = settings(deadline=None, max_examples=100)


def any_role(role: RoleSelection) -> bool:
    return role.scu or role.scp


# What both codecs can express: pynetdicom refuses what the standard forbids, as neither role.
GRAPHIC = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\")
TITLES = st.text(GRAPHIC, min_size=1, max_size=16)
VERSIONS = st.text(GRAPHIC, min_size=1, max_size=16)
UIDS = st.from_regex(r"\A[12](\.(0|[1-9][0-9]{0,8})){1,6}\Z")
CONTEXT_IDS = st.integers(0, 127).map(lambda n: 2 * n + 1)
ONE = st.just(1)
NOTHING = st.just(b"")
LENGTHS = st.integers(0, 0xFFFFFFFF)
ROLES = st.builds(RoleSelection, UIDS, st.booleans(), st.booleans()).filter(any_role)
EXTENDED = st.builds(ExtendedNegotiation, UIDS, st.binary(min_size=1, max_size=20))


def several(strategy: st.SearchStrategy[Item]) -> st.SearchStrategy[tuple[Item, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


def _identity(kind: int, wanted: bool, primary: bytes, secondary: bytes) -> UserIdentity:
    return UserIdentity(kind, wanted, primary, secondary if kind == 2 else b"")


IDENTITIES = st.builds(
    _identity,
    st.integers(1, 5),
    st.booleans(),
    st.binary(min_size=1, max_size=40),
    st.binary(min_size=1, max_size=40),
)
CONTEXTS = st.builds(
    PresentationContext,
    CONTEXT_IDS,
    UIDS,
    st.lists(UIDS, min_size=1, max_size=4, unique=True).map(tuple),
)
REQUESTS = st.builds(
    AssociateRequest,
    TITLES,
    TITLES,
    st.lists(CONTEXTS, min_size=1, max_size=4).map(tuple),
    LENGTHS,
    UIDS,
    VERSIONS,
    application_context=UIDS,
    roles=several(ROLES),
    extended=several(EXTENDED),
    user_identity=st.none() | IDENTITIES,
    protocol_version=ONE,
    raw_titles=NOTHING,
)
ACCEPTS = st.builds(
    AssociateAccept,
    TITLES,
    TITLES,
    st.lists(
        st.builds(ContextResult, CONTEXT_IDS, st.integers(0, 4), UIDS), min_size=1, max_size=4
    ).map(tuple),
    LENGTHS,
    UIDS,
    VERSIONS,
    application_context=UIDS,
    roles=several(ROLES),
    extended=several(EXTENDED),
    user_identity_response=st.none() | st.binary(min_size=1, max_size=40),
    protocol_version=ONE,
    raw_titles=NOTHING,
)
SMALL: st.SearchStrategy[PDU] = st.one_of(
    st.builds(AssociateReject, st.integers(1, 2), st.integers(1, 3), st.integers(1, 2)),
    st.builds(Abort, st.sampled_from([0, 2]), st.sampled_from([0, 1, 2, 4, 5, 6])),
    st.just(ReleaseRequest()),
    st.just(ReleaseReply()),
    st.builds(
        PData,
        st.lists(
            st.builds(
                PresentationDataValue, CONTEXT_IDS, st.integers(0, 3), st.binary(max_size=50)
            ),
            min_size=1,
            max_size=4,
        ).map(tuple),
    ),
)
PDUS: st.SearchStrategy[PDU] = st.one_of(REQUESTS, ACCEPTS, SMALL)


# Bytes that reach the inner items: items within items, whose lengths may lie.
KINDS = st.sampled_from([0x10, 0x20, 0x21, 0x30, 0x40, *range(0x50, 0x5A), 0x99]) | st.integers(
    0, 255
)


@st.composite
def nested(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    content = draw(st.binary(max_size=6)) + b"".join(draw(st.lists(contents, max_size=3)))
    lie = draw(st.sampled_from([0, 0, 0, 0, 1, -1, 2, 60000]))
    return struct.pack(">BxH", draw(KINDS), max(0, len(content) + lie)) + content


BODIES = st.recursive(st.binary(max_size=40), nested, max_leaves=12)


def read(raw: bytes) -> PDU:
    pdu_type, length = PDU_HEADER.unpack_from(raw)
    assert length == len(raw) - PDU_HEADER.size
    return decode(pdu_type, raw[PDU_HEADER.size :])


@QUICK
@given(PDUS)
def test_what_we_write_pynetdicom_reads(pdu: PDU) -> None:
    assert pdu_oracle.read(encode(pdu)) == pdu


@QUICK
@given(PDUS)
def test_what_pynetdicom_writes_we_read(pdu: PDU) -> None:
    decoded = read(pdu_oracle.write(pdu))
    assert decoded == pdu
    assert type(decoded) is type(pdu)


@QUICK
@given(PDUS)
def test_reading_undoes_writing(pdu: PDU) -> None:
    raw = encode(pdu)
    assert read(raw) == pdu
    assert encode(read(raw)) == raw


@QUICK
@given(PDUS, st.data())
def test_cut_anywhere(pdu: PDU, data: st.DataObject) -> None:
    raw = encode(pdu)
    body = raw[PDU_HEADER.size : data.draw(st.integers(PDU_HEADER.size, len(raw) - 1))]
    _is_stable(raw[0], body)


@QUICK
@given(PDUS, st.data())
def test_a_few_bytes_wrong(pdu: PDU, data: st.DataObject) -> None:
    raw = bytearray(encode(pdu))
    for at in data.draw(st.lists(st.integers(PDU_HEADER.size, len(raw) - 1), max_size=4)):
        raw[at] = data.draw(st.integers(0, 255))
    _is_stable(raw[0], bytes(raw[PDU_HEADER.size :]))


@QUICK
@given(st.integers(0, 9), st.binary(max_size=200))
def test_random_bytes(pdu_type: int, body: bytes) -> None:
    _is_stable(pdu_type, body)


@QUICK
@given(st.sampled_from([A_ASSOCIATE_RQ, A_ASSOCIATE_AC]), BODIES)
def test_random_items(pdu_type: int, body: bytes) -> None:
    _is_stable(pdu_type, b"\0\1" + bytes(66) + body)


def _is_stable(pdu_type: int, body: bytes) -> None:
    """Whatever decodes, encodes; and what that gives decodes to the same."""
    try:
        first = decode(pdu_type, body)
    except PeerError:
        return
    assert read(encode(first)) == first
