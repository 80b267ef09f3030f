"""The seven PDUs of the DICOM upper layer to and from bytes (PS3.8 section 9.3, annex D.3).

Text is Latin-1, one character a byte, so that decoding never fails; AE titles lose their padding,
and a NUL ends any text. A length found in a PDU is only ever compared with the bytes that are
there: it never allocates. Fields that are absent decode as 0 or ``""``, and empty fields are not
encoded.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import NamedTuple, TypeVar

from dcmstore.errors import LocalError, PeerError
from dcmstore.items import (
    ANSWERED_CONTEXT_ITEM,
    APPLICATION_CONTEXT_ITEM,
    PROPOSED_CONTEXT_ITEM,
    USER_INFORMATION_ITEM,
    TooLongError,
    UserInformation,
    bad_length,
    decode_answered,
    decode_name,
    decode_proposed,
    decode_user_information,
    encode_answered,
    encode_name,
    encode_proposed,
    encode_user_information,
    join,
    split,
)
from dcmstore.items import ContextResult as ContextResult
from dcmstore.items import ExtendedNegotiation as ExtendedNegotiation
from dcmstore.items import PresentationContext as PresentationContext
from dcmstore.items import RoleSelection as RoleSelection
from dcmstore.items import UserIdentity as UserIdentity
from dcmstore.uids import APPLICATION_CONTEXT

A_ASSOCIATE_RQ = 1
A_ASSOCIATE_AC = 2
A_ASSOCIATE_RJ = 3
P_DATA_TF = 4
A_RELEASE_RQ = 5
A_RELEASE_RP = 6
A_ABORT = 7

MAX_ASSOCIATE_LENGTH = 1 << 20
"""Longest body of an A-ASSOCIATE-RQ or -AC that is looked at, in bytes."""

PDU_HEADER = Struct(">BxI")
"""PDU type, length of the body that follows (PS3.8 section 9.3.1)."""
PDV_HEADER = Struct(">IBB")
"""Length of what follows it, presentation context ID, message control header (annex E.2)."""
PDATA_HEADER = Struct(">BxIIBB")
"""``PDU_HEADER`` and ``PDV_HEADER`` of a P-DATA-TF PDU that holds one PDV."""

LAST = 0x02
"""Bit of the message control header: the last fragment (PS3.8 annex E.2)."""
COMMAND = 0x01
"""Bit of the message control header: a fragment of the command, not of the data set."""


class AssociateRequest(NamedTuple):
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2).

    ``max_length`` is the longest P-DATA-TF body that the sender takes, 0 for any. If bit 0 of
    ``protocol_version`` is not set, only the titles were decoded. ``raw_titles`` is empty, or the
    32 bytes of the called and the calling title where they are padded with more than spaces at
    the end: they go into the answer unchanged.
    """

    called: str
    calling: str
    contexts: tuple[PresentationContext, ...]
    max_length: int
    implementation_class: str
    implementation_version: str
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    user_identity: UserIdentity | None = None
    raw_titles: bytes = b""


class AssociateAccept(NamedTuple):
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3); fields as in the request that it answers."""

    called: str
    calling: str
    contexts: tuple[ContextResult, ...]
    max_length: int
    implementation_class: str
    implementation_version: str
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    user_identity_response: bytes | None = None
    raw_titles: bytes = b""


class AssociateReject(NamedTuple):
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""

    result: int
    source: int
    reason: int


class PresentationDataValue(NamedTuple):
    """One PDV (PS3.8 section 9.3.5.1); ``control`` holds the bits ``COMMAND`` and ``LAST``."""

    context_id: int
    control: int
    data: bytes


class PData(NamedTuple):
    """P-DATA-TF (PS3.8 section 9.3.5)."""

    values: tuple[PresentationDataValue, ...]


class ReleaseRequest(NamedTuple):
    """A-RELEASE-RQ (PS3.8 section 9.3.6)."""

    def __bool__(self) -> bool:
        """A tuple without fields, but a PDU all the same."""
        return True


class ReleaseReply(NamedTuple):
    """A-RELEASE-RP (PS3.8 section 9.3.7)."""

    def __bool__(self) -> bool:
        """A tuple without fields, but a PDU all the same."""
        return True


class Abort(NamedTuple):
    """A-ABORT (PS3.8 section 9.3.8): source 0 the user of the service, 2 its provider."""

    source: int
    reason: int


PDU = (
    AssociateRequest
    | AssociateAccept
    | AssociateReject
    | PData
    | ReleaseRequest
    | ReleaseReply
    | Abort
)

_Context = TypeVar("_Context")

_ASSOCIATE = Struct(">H2x32s32x")
_TITLE_LENGTH = 16
_FIXED_LENGTH = 4
_MAX_FIXED_LENGTH = 4096
_NO_USER_INFORMATION = UserInformation(0, "", "", (), (), None, None)


def check_header(pdu_type: int, length: int, max_length: int = 0) -> None:
    """Judge the header of a PDU before its body is read.

    ``max_length`` is the longest P-DATA-TF body that was negotiated, in bytes, 0 for any.
    Raises PeerError for a type that does not exist and for a length that no such PDU has.
    """
    if pdu_type == P_DATA_TF:
        if 0 < max_length < length:
            raise PeerError(
                "0006:0308", f"DUL Illegal PDU Length {length}.  Max expected {max_length}"
            )
    elif pdu_type in (A_ASSOCIATE_RQ, A_ASSOCIATE_AC):
        if length > MAX_ASSOCIATE_LENGTH:
            raise PeerError("0006:0437", "A-ASSOCIATE PDU too large")
    elif A_ASSOCIATE_RJ <= pdu_type <= A_ABORT:
        # Some peers get it wrong in PDUs that say it all by their type; what is too much is not
        # looked at, and what is missing counts as 0.
        if length > _MAX_FIXED_LENGTH:
            raise PeerError("0006:0308", f"DUL Illegal PDU Length {length}.  Expected 4")
    else:
        raise PeerError("0006:0321", f"Unrecognized PDU type: {pdu_type:02x}")


def decode(pdu_type: int, body: bytes | memoryview) -> PDU:
    """Return the PDU of this type whose bytes after the six of the header are ``body``.

    Raises PeerError, and nothing else, for bytes that are not such a PDU. A protocol version
    without bit 0 is not an error here: it wants an answer (PS3.8 section 9.3.4).
    """
    check_header(pdu_type, len(body))
    data = bytes(body)
    if pdu_type == P_DATA_TF:
        return PData(_values(data))
    if pdu_type == A_ASSOCIATE_RQ:
        return _request(data)
    if pdu_type == A_ASSOCIATE_AC:
        return _accept(data)
    data = data.ljust(_FIXED_LENGTH, b"\0")
    if pdu_type == A_ASSOCIATE_RJ:
        return AssociateReject(data[1], data[2], data[3])
    if pdu_type == A_RELEASE_RQ:
        return ReleaseRequest()
    if pdu_type == A_RELEASE_RP:
        return ReleaseReply()
    return Abort(data[2], data[3])


def _values(data: bytes) -> tuple[PresentationDataValue, ...]:
    values = []
    at, end = 0, len(data)
    while at < end:
        if end - at < PDV_HEADER.size:
            raise bad_length("PDV", end - at, PDV_HEADER.size)
        length, context_id, control = PDV_HEADER.unpack_from(data, at)
        after = at + 4 + length
        at += PDV_HEADER.size
        if not at <= after <= end:
            raise bad_length("PDV", end - at + 2, max(length, 2))
        values.append(PresentationDataValue(context_id, control, data[at:after]))
        at = after
    if not values:
        raise PeerError("0006:0307", "DUL Illegal or ill-formed PDU: P-DATA without any PDV")
    return tuple(values)


def _fixed_part(data: bytes) -> tuple[int, str, str, bytes]:
    """Return protocol version, called and calling title, and ``raw_titles``.

    A NUL ends a title: peers in C fill the field with whatever was in memory behind it.
    """
    if len(data) < _ASSOCIATE.size:
        raise bad_length("associate PDU", len(data), _ASSOCIATE.size)
    version, raw = _ASSOCIATE.unpack_from(data)
    called, calling = (
        title.partition(b"\0")[0].rstrip(b" ").decode("latin-1")
        for title in (raw[:_TITLE_LENGTH], raw[_TITLE_LENGTH:])
    )
    return version, called, calling, raw if b"\0" in raw else b""


def _variable_part(
    version: int, data: bytes, context_item: int, decode_context: Callable[[bytes], _Context]
) -> tuple[str, tuple[_Context, ...], UserInformation]:
    """Return application context, presentation contexts and user information."""
    if not version & 1:  # another protocol, where anything may follow the fixed part
        return "", (), _NO_USER_INFORMATION
    application_context = ""
    contexts = []
    user = _NO_USER_INFORMATION
    for kind, content in split(data, _ASSOCIATE.size):
        if kind == context_item:
            contexts.append(decode_context(content))
        elif kind == APPLICATION_CONTEXT_ITEM:
            application_context = decode_name(content)
        elif kind == USER_INFORMATION_ITEM:
            user = decode_user_information(content)
    return application_context, tuple(contexts), user


def _request(data: bytes) -> AssociateRequest:
    version, called, calling, raw_titles = _fixed_part(data)
    application_context, contexts, user = _variable_part(
        version, data, PROPOSED_CONTEXT_ITEM, decode_proposed
    )
    return AssociateRequest(
        called,
        calling,
        contexts,
        user.max_length,
        user.implementation_class,
        user.implementation_version,
        application_context,
        version,
        user.roles,
        user.extended,
        user.user_identity,
        raw_titles,
    )


def _accept(data: bytes) -> AssociateAccept:
    version, called, calling, raw_titles = _fixed_part(data)
    application_context, contexts, user = _variable_part(
        version, data, ANSWERED_CONTEXT_ITEM, decode_answered
    )
    return AssociateAccept(
        called,
        calling,
        contexts,
        user.max_length,
        user.implementation_class,
        user.implementation_version,
        application_context,
        version,
        user.roles,
        user.extended,
        user.user_identity_response,
        raw_titles,
    )


def encode(pdu: PDU) -> bytes:
    """Return the PDU as bytes, its header included.

    A title is cut to 16 characters. Raises LocalError for a value that its field cannot hold.
    """
    try:
        match pdu:
            case PData():
                return _pdu(P_DATA_TF, b"".join(map(_encode_value, pdu.values)))
            case AssociateRequest():
                return _pdu(A_ASSOCIATE_RQ, _encode_request(pdu))
            case AssociateAccept():
                return _pdu(A_ASSOCIATE_AC, _encode_accept(pdu))
            case AssociateReject():
                return _pdu(A_ASSOCIATE_RJ, bytes((0, *pdu)))
            case ReleaseRequest():
                return _pdu(A_RELEASE_RQ, bytes(4))
            case ReleaseReply():
                return _pdu(A_RELEASE_RP, bytes(4))
            case Abort():
                return _pdu(A_ABORT, bytes((0, 0, *pdu)))
    except TooLongError as problem:
        raise LocalError("0006:0103", str(problem)) from None
    except (StructError, ValueError) as problem:
        raise LocalError("0006:030c", f"DUL Illegal service parameter: {problem}") from problem


def _pdu(pdu_type: int, body: bytes) -> bytes:
    return PDU_HEADER.pack(pdu_type, len(body)) + body


def _encode_value(value: PresentationDataValue) -> bytes:
    return PDV_HEADER.pack(len(value.data) + 2, value.context_id, value.control) + value.data


def _encode_fixed_part(pdu: AssociateRequest | AssociateAccept) -> bytes:
    titles = pdu.raw_titles or b"".join(
        title.encode("latin-1")[:_TITLE_LENGTH].ljust(_TITLE_LENGTH)
        for title in (pdu.called, pdu.calling)
    )
    application_context = join(APPLICATION_CONTEXT_ITEM, encode_name(pdu.application_context))
    return _ASSOCIATE.pack(pdu.protocol_version, titles) + application_context


def _encode_request(pdu: AssociateRequest) -> bytes:
    user = UserInformation(
        pdu.max_length,
        pdu.implementation_class,
        pdu.implementation_version,
        pdu.roles,
        pdu.extended,
        pdu.user_identity,
        None,
    )
    return _encode_fixed_part(pdu) + encode_proposed(pdu.contexts) + encode_user_information(user)


def _encode_accept(pdu: AssociateAccept) -> bytes:
    user = UserInformation(
        pdu.max_length,
        pdu.implementation_class,
        pdu.implementation_version,
        pdu.roles,
        pdu.extended,
        None,
        pdu.user_identity_response,
    )
    return _encode_fixed_part(pdu) + encode_answered(pdu.contexts) + encode_user_information(user)
