"""PDUs against bytes made by hand from PS3.8 section 9.3, and bytes that DCMTK 3.6.7 sent."""

import struct
from collections.abc import Iterator

import pytest

from dcmstore.errors import LocalError, PeerError
from dcmstore.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    MAX_ASSOCIATE_LENGTH,
    P_DATA_TF,
    PDATA_HEADER,
    PDU,
    PDU_HEADER,
    PDV_HEADER,
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
    check_header,
    decode,
    encode,
)

APPLICATION = "1.2.840.10008.3.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def uid(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


FIXED = struct.pack(">H2x16s16s32x", 1, b"YOU".ljust(16), b"ME".ljust(16))
APPLICATION_ITEM = item(0x10, APPLICATION.encode())
VERIFICATION_ITEM = item(
    0x20, b"\1\0\0\0" + item(0x30, VERIFICATION.encode()) + item(0x40, IMPLICIT.encode())
)
ACCEPTED_ITEM = item(0x21, b"\1\0\0\0" + item(0x40, IMPLICIT.encode()))
MAX_LENGTH_ITEM = item(0x51, struct.pack(">I", 16384))


def request(*more: bytes) -> bytes:
    """The body of a good request, with these user information sub-items added."""
    user = item(0x50, MAX_LENGTH_ITEM + b"".join(more))
    return FIXED + APPLICATION_ITEM + VERIFICATION_ITEM + user


# What `storescu --required --user u --password pw -aet ME -aec YOU` sends for a CT image.
STORESCU_REQUEST = bytes.fromhex(
    "010000000135"
    "00010000"
    "594f55202020202020202020202020204d452020202020202020202020202020"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "10000015312e322e3834302e31303030382e332e312e312e31"
    "200000380100ff00"
    "30000019312e322e3834302e31303030382e352e312e342e312e312e32"
    "40000013312e322e3834302e31303030382e312e322e31"
    "2000004d0300ff00"
    "30000019312e322e3834302e31303030382e352e312e342e312e312e32"
    "40000013312e322e3834302e31303030382e312e322e32"
    "40000011312e322e3834302e31303030382e312e32"
    "50000047"
    "5100000400004000"
    "5200001b312e322e3237362e302e373233303031302e332e302e332e362e37"
    "5500000f4f464649535f44434d544b5f333637"
    "58000009020000017500027077"
)
# What `storescp` answers to Verification in implicit and an unknown class in explicit VR.
STORESCP_ACCEPT = bytes.fromhex(
    "0200000000d5"
    "00010000"
    "594f55202020202020202020202020204d452020202020202020202020202020"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "10000015312e322e3834302e31303030382e332e312e312e31"
    "210000190100000040000011312e322e3834302e31303030382e312e32"
    "210000190300030040000011312e322e3834302e31303030382e312e32"
    "5000003a"
    "5100000400004000"
    "5200001b312e322e3237362e302e373233303031302e332e302e332e362e37"
    "5500000f4f464649535f44434d544b5f333637"
)
FULL_REQUEST = (
    FIXED
    + item(0x10, b"1.2.3")
    + item(0x20, b"\7\0\xff\0" + item(0x30, CT.encode()) + item(0x40, IMPLICIT.encode()))
    + item(
        0x50,
        item(0x51, b"\0\1\0\0")
        + item(0x52, b"1.2.4")
        + item(0x54, uid(CT) + b"\1\0")
        + item(0x54, uid("1.2") + b"\0\1")
        + item(0x55, b"VERSION")
        + item(0x56, uid(CT) + b"\1\2\3")
        + item(0x58, b"\5\1\0\3jwt\0\0"),
    )
)
FULL_ACCEPT = (
    FIXED
    + item(0x10, b"1.2.3")
    + item(0x21, b"\7\0\0\0" + item(0x40, IMPLICIT.encode()))
    + item(0x21, b"\x09\0\4\0" + item(0x40, b""))
    + item(
        0x50,
        item(0x51, b"\0\1\0\0")
        + item(0x52, b"1.2.4")
        + item(0x54, uid(CT) + b"\1\1")
        + item(0x55, b"VERSION")
        + item(0x56, uid(CT) + b"\1")
        + item(0x59, b"\0\2ok"),
    )
)


def framed(pdu_type: int, body: bytes) -> bytes:
    return struct.pack(">BxI", pdu_type, len(body)) + body


GOLDEN: dict[str, tuple[bytes, PDU]] = {
    "request of storescu": (
        STORESCU_REQUEST,
        AssociateRequest(
            "YOU",
            "ME",
            (
                PresentationContext(1, CT, (EXPLICIT,)),
                PresentationContext(3, CT, (BIG, IMPLICIT)),
            ),
            16384,
            "1.2.276.0.7230010.3.0.3.6.7",
            "OFFIS_DCMTK_367",
            user_identity=UserIdentity(2, False, b"u", b"pw"),
        ),
    ),
    "request with everything": (
        framed(1, FULL_REQUEST),
        AssociateRequest(
            "YOU",
            "ME",
            (PresentationContext(7, CT, (IMPLICIT,)),),
            65536,
            "1.2.4",
            "VERSION",
            application_context="1.2.3",
            roles=(RoleSelection(CT, True, False), RoleSelection("1.2", False, True)),
            extended=(ExtendedNegotiation(CT, b"\1\2\3"),),
            user_identity=UserIdentity(5, True, b"jwt", b""),
        ),
    ),
    "acceptance of storescp": (
        STORESCP_ACCEPT,
        AssociateAccept(
            "YOU",
            "ME",
            (ContextResult(1, 0, IMPLICIT), ContextResult(3, 3, IMPLICIT)),
            16384,
            "1.2.276.0.7230010.3.0.3.6.7",
            "OFFIS_DCMTK_367",
        ),
    ),
    "acceptance with everything": (
        framed(2, FULL_ACCEPT),
        AssociateAccept(
            "YOU",
            "ME",
            (ContextResult(7, 0, IMPLICIT), ContextResult(9, 4, "")),
            65536,
            "1.2.4",
            "VERSION",
            application_context="1.2.3",
            roles=(RoleSelection(CT, True, True),),
            extended=(ExtendedNegotiation(CT, b"\1"),),
            user_identity_response=b"ok",
        ),
    ),
    "rejection of storescp": (bytes.fromhex("03000000000400010102"), AssociateReject(1, 1, 2)),
    "data": (
        bytes.fromhex("04000000000f 00000004 01 03 6162 00000003 05 02 63"),
        PData((PresentationDataValue(1, 3, b"ab"), PresentationDataValue(5, 2, b"c"))),
    ),
    "empty data value": (
        bytes.fromhex("040000000006 00000002 01 02"),
        PData((PresentationDataValue(1, 2, b""),)),
    ),
    "release": (bytes.fromhex("05000000000400000000"), ReleaseRequest()),
    "release reply of storescp": (bytes.fromhex("06000000000400000000"), ReleaseReply()),
    "abort": (bytes.fromhex("07000000000400000206"), Abort(2, 6)),
}


@pytest.fixture(params=GOLDEN, ids=lambda name: name.replace(" ", "-"))
def golden(request: pytest.FixtureRequest) -> tuple[bytes, PDU]:
    return GOLDEN[request.param]


def test_golden_bytes_decode(golden: tuple[bytes, PDU]) -> None:
    raw, expected = golden
    pdu_type, length = PDU_HEADER.unpack_from(raw)
    assert length == len(raw) - PDU_HEADER.size
    for body in (raw[PDU_HEADER.size :], memoryview(raw)[PDU_HEADER.size :]):
        decoded = decode(pdu_type, body)
        assert decoded == expected
        assert type(decoded) is type(expected)


def test_golden_bytes_encode(golden: tuple[bytes, PDU]) -> None:
    raw, pdu = golden
    assert encode(pdu) == raw


def test_every_pdu_is_true(golden: tuple[bytes, PDU]) -> None:
    """A release PDU has no fields, and an empty tuple is false."""
    assert golden[1]


def test_a_decoded_pdu_outlives_its_buffer(golden: tuple[bytes, PDU]) -> None:
    raw, expected = golden
    buffer = bytearray(raw)
    decoded = decode(raw[0], memoryview(buffer)[PDU_HEADER.size :])
    buffer[:] = bytes(len(buffer))
    assert decoded == expected


def test_cut_at_every_byte(golden: tuple[bytes, PDU]) -> None:
    """A body that ends early is refused, or is a smaller PDU, or only zeros are missing."""
    raw, whole = golden
    body = raw[PDU_HEADER.size :]
    for length in range(len(body)):
        try:
            decoded = decode(raw[0], body[:length])
        except PeerError:
            continue
        assert decoded != whole or not any(body[length:])
        assert type(decoded) is type(whole)


@pytest.mark.parametrize("junk", [b"\0", b"\xff" * 3, b"\xff" * 4, b"\x50\0\xff\xff", bytes(4)])
def test_junk_behind(golden: tuple[bytes, PDU], junk: bytes) -> None:
    """Only a well-formed unknown item may stand behind an A-ASSOCIATE PDU."""
    raw, whole = golden
    body = raw[PDU_HEADER.size :] + junk
    variable = (A_ASSOCIATE_RQ, A_ASSOCIATE_AC, P_DATA_TF)
    if raw[0] not in variable or (junk == bytes(4) and raw[0] != P_DATA_TF):
        assert decode(raw[0], body) == whole
    else:
        with pytest.raises(PeerError):
            decode(raw[0], body)


def wrong_lengths(raw: bytes) -> Iterator[bytes]:
    """Every byte in turn with its value one up, one down, at its least and at its most."""
    for at in range(PDU_HEADER.size, len(raw)):
        for value in {(raw[at] + 1) % 256, (raw[at] - 1) % 256, 0, 255} - {raw[at]}:
            yield raw[PDU_HEADER.size : at] + bytes((value,)) + raw[at + 1 :]


def test_every_byte_wrong(golden: tuple[bytes, PDU]) -> None:
    raw, whole = golden
    for body in wrong_lengths(raw):
        try:
            decoded = decode(raw[0], body)
        except PeerError:
            continue
        assert type(decoded) is type(whole)


@pytest.mark.parametrize("pdu_type", [0, 8, 0x2A, 255])
def test_unknown_type(pdu_type: int) -> None:
    for call in (lambda: decode(pdu_type, bytes(4)), lambda: check_header(pdu_type, 4)):
        with pytest.raises(PeerError) as caught:
            call()
        assert caught.value.condition == "0006:0321"
        assert caught.value.text == f"Unrecognized PDU type: {pdu_type:02x}"


@pytest.mark.parametrize("pdu_type", [A_ASSOCIATE_RQ, A_ASSOCIATE_AC])
def test_too_large_associate(pdu_type: int) -> None:
    check_header(pdu_type, MAX_ASSOCIATE_LENGTH)
    with pytest.raises(PeerError) as caught:
        check_header(pdu_type, MAX_ASSOCIATE_LENGTH + 1)
    assert (caught.value.condition, caught.value.text) == ("0006:0437", "A-ASSOCIATE PDU too large")
    with pytest.raises(PeerError, match="0006:0437"):
        decode(pdu_type, bytes(MAX_ASSOCIATE_LENGTH + 1))


def test_the_largest_request_is_fine() -> None:
    room = MAX_ASSOCIATE_LENGTH - len(request())
    body = request()
    while room:
        size = min(room, 60000)
        body += item(0x77, bytes(size - 4))
        room -= size
    assert len(body) == MAX_ASSOCIATE_LENGTH
    assert decode(A_ASSOCIATE_RQ, body) == decode(A_ASSOCIATE_RQ, request())


def test_too_long_data() -> None:
    check_header(P_DATA_TF, 4096, 4096)
    check_header(P_DATA_TF, 1 << 31)
    with pytest.raises(PeerError) as caught:
        check_header(P_DATA_TF, 6130, 4096)
    assert caught.value.condition == "0006:0308"
    assert caught.value.text == "DUL Illegal PDU Length 6130.  Max expected 4096"


@pytest.mark.parametrize("pdu_type", [A_ASSOCIATE_RJ, A_RELEASE_RQ, A_RELEASE_RP, A_ABORT])
def test_length_of_fixed_pdus(pdu_type: int) -> None:
    """They all have 4 bytes; fewer are filled up with zeros, and more are not looked at."""
    whole = decode(pdu_type, bytes((0, 1, 2, 3)))
    assert decode(pdu_type, bytes((0, 1, 2, 3, 9))) == whole
    assert decode(pdu_type, bytes((0, 1, 2, 3)) + bytes(4092)) == whole
    assert decode(pdu_type, bytes((0, 1))) == decode(pdu_type, bytes((0, 1, 0, 0)))
    assert decode(pdu_type, b"") == decode(pdu_type, bytes(4))
    for length in (4097, 0xFFFFFFFF):
        with pytest.raises(PeerError, match="0006:0308"):
            check_header(pdu_type, length)


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
@pytest.mark.parametrize("pdu_type", [A_ASSOCIATE_RQ, A_ASSOCIATE_AC])
def test_unsupported_version_wants_an_answer(version: int, pdu_type: int) -> None:
    """The version stays readable, and what that version puts behind it does not matter."""
    body = struct.pack(">H", version) + FIXED[2:] + b"\xff" * 50
    decoded = decode(pdu_type, body)
    assert isinstance(decoded, AssociateRequest | AssociateAccept)
    assert decoded.protocol_version == version
    assert (decoded.called, decoded.calling, decoded.contexts) == ("YOU", "ME", ())


def test_version_three_is_fine() -> None:
    decoded = decode(A_ASSOCIATE_RQ, b"\0\3" + request()[2:])
    assert isinstance(decoded, AssociateRequest)
    assert decoded.protocol_version == 3
    assert decoded.contexts == (PresentationContext(1, VERIFICATION, (IMPLICIT,)),)


MALFORMED = {
    "short fixed part": (FIXED[:67], "0006:0308"),
    "item beyond the PDU": (FIXED + struct.pack(">BxH", 0x50, 100) + bytes(99), "0006:0308"),
    "half an item header": (request() + bytes(3), "0006:0308"),
    "sub-item beyond its item": (
        request() + item(0x50, struct.pack(">BxH", 0x52, 6) + b"1.2.3") + item(0x77, b"xxx"),
        "0006:0308",
    ),
    "context beyond its item": (
        FIXED + item(0x20, b"\1\0\0\0" + struct.pack(">BxH", 0x40, 6) + b"1.2.3") + item(0x77, b""),
        "0006:0308",
    ),
    "context without id": (FIXED + item(0x20, b"\1\0\0"), "0006:0308"),
    "context without transfer syntax": (
        FIXED + item(0x20, b"\1\0\0\0" + item(0x30, CT.encode())),
        "0006:0315",
    ),
    "long abstract syntax": (
        FIXED + item(0x20, b"\1\0\0\0" + item(0x30, b"1" * 65) + item(0x40, b"1")),
        "0006:0308",
    ),
    "long transfer syntax": (
        FIXED + item(0x20, b"\1\0\0\0" + item(0x30, b"1") + item(0x40, b"1" * 65)),
        "0006:0308",
    ),
    "long application context": (FIXED + item(0x10, b"1" * 65), "0006:0308"),
    "long implementation class": (request(item(0x52, b"1" * 65)), "0006:0308"),
    "long implementation version": (request(item(0x55, b"V" * 65)), "0006:0308"),
    "short maximum length": (request(item(0x51, bytes(3))), "0006:0308"),
    "role without flags": (request(item(0x54, uid(CT) + b"\1")), "0006:0308"),
    "role with a long UID": (request(item(0x54, uid("1" * 65) + b"\1\1")), "0006:0308"),
    "extended UID beyond": (request(item(0x56, b"\0\4" + b"1.2")), "0006:0308"),
    "identity without length": (request(item(0x58, b"\1\0\0")), "0006:0308"),
    "identity beyond": (request(item(0x58, b"\1\0\0\3ab\0\0")), "0006:0308"),
    "secondary field beyond": (request(item(0x58, b"\2\0\0\1a\0\2p")), "0006:0308"),
    "response beyond": (request(item(0x59, b"\0\3ok")), "0006:0308"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request(name: str) -> None:
    body, condition = MALFORMED[name]
    with pytest.raises(PeerError) as caught:
        decode(A_ASSOCIATE_RQ, body)
    assert caught.value.condition == condition
    assert caught.value.text


@pytest.mark.parametrize("syntaxes", [(), (IMPLICIT, EXPLICIT)])
def test_acceptance_needs_one_transfer_syntax(syntaxes: tuple[str, ...]) -> None:
    items = b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
    with pytest.raises(PeerError, match="0006:0318"):
        decode(A_ASSOCIATE_AC, FIXED + item(0x21, b"\1\0\0\0" + items))
    refused = decode(A_ASSOCIATE_AC, FIXED + item(0x21, b"\1\0\3\0" + items))
    assert isinstance(refused, AssociateAccept)
    assert refused.contexts == (ContextResult(1, 3, syntaxes[0] if syntaxes else ""),)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(5),
        struct.pack(">IBB", 1, 1, 3),
        struct.pack(">IBB", 0, 1, 3),
        struct.pack(">IBB", 3, 1, 3),
        struct.pack(">IBB", 0xFFFFFFFF, 1, 3) + bytes(100),
        struct.pack(">IBB", 2, 1, 3) + b"x",
    ],
    ids=["no-value", "no-header", "length-1", "length-0", "beyond", "4-GiB", "half-a-second"],
)
def test_malformed_data(body: bytes) -> None:
    with pytest.raises(PeerError, match=r"0006:030[78]"):
        decode(P_DATA_TF, body)


def test_absent_items_decode_as_nothing() -> None:
    decoded = decode(A_ASSOCIATE_RQ, FIXED)
    assert decoded == AssociateRequest("YOU", "ME", (), 0, "", "", application_context="")
    empty = decode(A_ASSOCIATE_RQ, FIXED + item(0x50, item(0x52, b"") + item(0x55, b"\0 ")))
    assert empty == decoded


def test_unknown_items_are_skipped() -> None:
    unknown = item(0x99, b"whatever")
    context = item(
        0x20,
        b"\1\0\0\0"
        + unknown
        + item(0x40, IMPLICIT.encode())
        + item(0x30, VERIFICATION.encode())
        + unknown,
    )
    user = item(0x50, unknown + MAX_LENGTH_ITEM + unknown)
    body = FIXED + unknown + user + context + ACCEPTED_ITEM + APPLICATION_ITEM
    assert decode(A_ASSOCIATE_RQ, body) == decode(A_ASSOCIATE_RQ, request())


def test_context_without_abstract_syntax_is_left_to_negotiation() -> None:
    decoded = decode(A_ASSOCIATE_RQ, FIXED + item(0x20, b"\1\0\0\0" + item(0x40, b"1.2")))
    assert isinstance(decoded, AssociateRequest)
    assert decoded.contexts == (PresentationContext(1, "", ("1.2",)),)


@pytest.mark.parametrize("kind", [0x53, 0x57])
@pytest.mark.parametrize("content", [b"", b"\1", b"\0\x70" + CT.encode()])
def test_items_that_mean_nothing_here_are_not_looked_at(kind: int, content: bytes) -> None:
    assert decode(A_ASSOCIATE_RQ, request(item(kind, content))) == decode(A_ASSOCIATE_RQ, request())


def test_a_nul_ends_a_uid() -> None:
    for padding in (b"\0", b"\0\0 ", b"\0rest"):
        syntaxes = item(0x30, b"1.2.3" + padding) + item(0x40, b"1.2.4" + padding)
        decoded = decode(A_ASSOCIATE_RQ, FIXED + item(0x20, b"\1\0\0\0" + syntaxes))
        assert isinstance(decoded, AssociateRequest)
        assert decoded.contexts == (PresentationContext(1, "1.2.3", ("1.2.4",)),)


@pytest.mark.parametrize(
    ("field", "title", "restored"),
    [
        (b"STORE           ", "STORE", True),
        (b"  STORE         ", "  STORE", True),
        (b"SIXTEEN CHARS 16", "SIXTEEN CHARS 16", True),
        (b"                ", "", True),
        (b"STORE\0\0\0\0\0\0\0\0\0\0\0", "STORE", False),
        (b"STORE  \0garbage!", "STORE", False),
        (b"M\xdcNCHEN \xff       ", "M\xdcNCHEN \xff", True),
    ],
)
def test_titles_are_read_and_echoed_as_received(field: bytes, title: str, restored: bool) -> None:
    assert len(field) == 16
    fixed = struct.pack(">H2x16s16s32x", 1, field, b"ME".ljust(16))
    decoded = decode(A_ASSOCIATE_RQ, fixed + VERIFICATION_ITEM)
    assert isinstance(decoded, AssociateRequest)
    assert decoded.called == title
    assert (decoded.raw_titles == b"") is restored
    answer = AssociateAccept(
        decoded.called, decoded.calling, (), 0, "", "", raw_titles=decoded.raw_titles
    )
    assert encode(answer)[10:42] == field + b"ME".ljust(16)


def test_long_titles_are_cut() -> None:
    raw = encode(AssociateRequest("0123456789ABCDEFG", " X", (), 0, "", ""))
    assert raw[10:42] == b"0123456789ABCDEF X              "


REQUEST = AssociateRequest("A", "B", (), 0, "", "")
ACCEPT = AssociateAccept("A", "B", (), 0, "", "")
UNFIT: list[PDU] = [
    REQUEST._replace(called="日本"),
    REQUEST._replace(implementation_class="1" * 65),
    REQUEST._replace(max_length=1 << 32),
    REQUEST._replace(max_length=-1),
    REQUEST._replace(contexts=(PresentationContext(256, "1", ("2",)),)),
    REQUEST._replace(contexts=(PresentationContext(1, "1" * 65, ("2",)),)),
    REQUEST._replace(contexts=(PresentationContext(1, "1", ("2" * 64,) * 1000),)),
    REQUEST._replace(user_identity=UserIdentity(300, False, b"", b"")),
    REQUEST._replace(extended=(ExtendedNegotiation("1", bytes(65535)),)),
    REQUEST._replace(extended=(ExtendedNegotiation("1", bytes(40000)),) * 2),
    REQUEST._replace(protocol_version=65536),
    ACCEPT._replace(contexts=(ContextResult(1, 256, "1"),)),
    ACCEPT._replace(user_identity_response=bytes(65536)),
    AssociateReject(1, 2, 256),
    Abort(-1, 0),
    PData((PresentationDataValue(256, 0, b""),)),
]


@pytest.mark.parametrize("pdu", UNFIT, ids=range(len(UNFIT)))
def test_what_no_field_holds_is_our_mistake(pdu: PDU) -> None:
    with pytest.raises(LocalError) as caught:
        encode(pdu)
    assert caught.value.condition == "0006:030c"
    assert caught.value.text


@pytest.mark.parametrize("size", [65518, 65535, 65536, 100_000])
@pytest.mark.parametrize("halves", [(1, 0), (0, 1), (0.5, 0.5)])
def test_user_identity_that_does_not_fit(size: int, halves: tuple[float, float]) -> None:
    """The maximum length, 8 bytes, and 10 more of the item itself go off the 65535."""

    def identity(length: int) -> UserIdentity:
        primary = int(length * halves[0])
        return UserIdentity(3, False, bytes(primary), bytes(length - primary))

    if size == 65518:
        fits = REQUEST._replace(user_identity=identity(size - 1))
        assert decoded_again(fits).user_identity == identity(size - 1)
    with pytest.raises(LocalError) as caught:
        encode(REQUEST._replace(user_identity=identity(size)))
    assert (caught.value.condition, caught.value.text) == (
        "0006:0103",
        f"Total length of user items ({size + 18} bytes) exceeds upper limit of 65535 bytes",
    )


def decoded_again(request: AssociateRequest) -> AssociateRequest:
    found = decode(A_ASSOCIATE_RQ, encode(request)[6:])
    assert isinstance(found, AssociateRequest)
    return found


def test_headers() -> None:
    data = encode(PData((PresentationDataValue(3, 2, b"abcd"),)))
    assert PDU_HEADER.unpack_from(data) == (P_DATA_TF, 10)
    assert PDV_HEADER.unpack_from(data, PDU_HEADER.size) == (6, 3, 2)
    assert PDATA_HEADER.size == PDU_HEADER.size + PDV_HEADER.size
    assert PDATA_HEADER.pack(P_DATA_TF, 10, 6, 3, 2) + b"abcd" == data
