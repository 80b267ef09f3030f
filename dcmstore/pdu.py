"""The seven PDUs of the DICOM upper layer to and from bytes (PS3.8 section 9.3, annex D.3).

Text is Latin-1, one character a byte, so that decoding never fails; UIDs and AE titles lose their
padding. A length found in a PDU is only ever compared with the bytes that are there: it never
allocates. Fields that are absent decode as 0 or ``""``, and empty fields are not encoded.
"""

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from dcmstore.errors import LocalError, PeerError
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


class PresentationContext(NamedTuple):
    """A proposed presentation context (PS3.8 section 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class ContextResult(NamedTuple):
    """The answer to one (PS3.8 section 9.3.3.2); the transfer syntax counts if result is 0."""

    id: int
    result: int
    transfer_syntax: str


class RoleSelection(NamedTuple):
    """SCP/SCU role selection (PS3.7 annex D.3.3.4)."""

    sop_class: str
    scu: bool
    scp: bool


class ExtendedNegotiation(NamedTuple):
    """SOP class extended negotiation (PS3.7 annex D.3.3.5); ``info`` means what the class says."""

    sop_class: str
    info: bytes


class CommonExtendedNegotiation(NamedTuple):
    """SOP class common extended negotiation (PS3.7 annex D.3.3.6)."""

    sop_class: str
    service_class: str
    related: tuple[str, ...]


class UserIdentity(NamedTuple):
    """Who asks (PS3.7 annex D.3.3.7): kind 1 name, 2 name and code, 3 Kerberos, 4 SAML, 5 JWT."""

    kind: int
    response_requested: bool
    primary: bytes
    secondary: bytes


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
    async_window: tuple[int, int] | None = None
    roles: tuple[RoleSelection, ...] = ()
    extended: tuple[ExtendedNegotiation, ...] = ()
    common_extended: tuple[CommonExtendedNegotiation, ...] = ()
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
    async_window: tuple[int, int] | None = None
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

_ASSOCIATE = Struct(">H2x32s32x")
_ITEM = Struct(">BxH")
_CONTEXT = Struct(">BxHBxBx")
_TITLE_LENGTH = 16
_FIXED_LENGTH = 4
_NAME_LENGTH = 64


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
        if length != _FIXED_LENGTH:
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
    if pdu_type == A_ASSOCIATE_RJ:
        return AssociateReject(data[1], data[2], data[3])
    if pdu_type == A_RELEASE_RQ:
        return ReleaseRequest()
    if pdu_type == A_RELEASE_RP:
        return ReleaseReply()
    return Abort(data[2], data[3])


def _bad_length(what: str, got: int, needed: int) -> PeerError:
    return PeerError("0006:0308", f"DUL Illegal {what}: {got} bytes, {needed} needed")


def _values(data: bytes) -> tuple[PresentationDataValue, ...]:
    values = []
    at, end = 0, len(data)
    while at < end:
        if end - at < PDV_HEADER.size:
            raise _bad_length("PDV", end - at, PDV_HEADER.size)
        length, context_id, control = PDV_HEADER.unpack_from(data, at)
        after = at + 4 + length
        at += PDV_HEADER.size
        if not at <= after <= end:
            raise _bad_length("PDV", end - at + 2, max(length, 2))
        values.append(PresentationDataValue(context_id, control, data[at:after]))
        at = after
    if not values:
        raise PeerError("0006:0307", "DUL Illegal or ill-formed PDU: P-DATA without any PDV")
    return tuple(values)


def _items(data: bytes, at: int = 0) -> list[tuple[int, bytes]]:
    """Cut a sequence of items (PS3.8 section 9.3.1) into types and contents."""
    items = []
    end = len(data)
    header = _ITEM.unpack_from
    while at < end:
        if end - at < 4:
            raise _bad_length("item header", end - at, 4)
        kind, length = header(data, at)
        at += 4
        after = at + length
        if after > end:
            raise _bad_length(f"item of type {kind:02x}", end - at, length)
        items.append((kind, data[at:after]))
        at = after
    return items


def _name(raw: bytes) -> str:
    if len(raw) > _NAME_LENGTH:
        raise PeerError(
            "0006:0308", f"DUL Illegal UID or name: {len(raw)} bytes, at most {_NAME_LENGTH}"
        )
    return raw.rstrip(b"\0 ").decode("latin-1")


def _fixed_part(data: bytes) -> tuple[int, str, str, bytes]:
    """Return protocol version, called and calling title, and ``raw_titles``.

    A NUL ends a title: peers in C fill the field with whatever was in memory behind it.
    """
    if len(data) < _ASSOCIATE.size:
        raise _bad_length("associate PDU", len(data), _ASSOCIATE.size)
    version, raw = _ASSOCIATE.unpack_from(data)
    called, calling = (
        title.partition(b"\0")[0].rstrip(b" ").decode("latin-1")
        for title in (raw[:_TITLE_LENGTH], raw[_TITLE_LENGTH:])
    )
    return version, called, calling, raw if b"\0" in raw else b""


def _request(data: bytes) -> AssociateRequest:
    version, called, calling, raw_titles = _fixed_part(data)
    contexts = []
    application_context = ""
    user = _UserInformation()
    if version & 1:
        for kind, content in _items(data, _ASSOCIATE.size):
            if kind == 0x20:
                contexts.append(_proposed(content))
            elif kind == 0x10:
                application_context = _name(content)
            elif kind == 0x50:
                user.decode(content)
    return AssociateRequest(
        called,
        calling,
        tuple(contexts),
        user.max_length,
        user.implementation_class,
        user.implementation_version,
        application_context,
        version,
        user.async_window,
        tuple(user.roles),
        tuple(user.extended),
        tuple(user.common_extended),
        user.user_identity,
        raw_titles,
    )


def _accept(data: bytes) -> AssociateAccept:
    version, called, calling, raw_titles = _fixed_part(data)
    contexts = []
    application_context = ""
    user = _UserInformation()
    if version & 1:
        for kind, content in _items(data, _ASSOCIATE.size):
            if kind == 0x21:
                contexts.append(_answered(content))
            elif kind == 0x10:
                application_context = _name(content)
            elif kind == 0x50:
                user.decode(content)
    return AssociateAccept(
        called,
        calling,
        tuple(contexts),
        user.max_length,
        user.implementation_class,
        user.implementation_version,
        application_context,
        version,
        user.async_window,
        tuple(user.roles),
        tuple(user.extended),
        user.user_identity_response,
        raw_titles,
    )


def _proposed(data: bytes) -> PresentationContext:
    if len(data) < 4:
        raise _bad_length("presentation context", len(data), 4)
    abstract_syntax = ""
    transfer_syntaxes = []
    for kind, content in _items(data, 4):
        if kind == 0x40:
            transfer_syntaxes.append(_name(content))
        elif kind == 0x30:
            abstract_syntax = _name(content)
    if not transfer_syntaxes:
        raise PeerError(
            "0006:0315",
            f"DUL Presentation Context translation failure: {data[0]} has no transfer syntax",
        )
    return PresentationContext(data[0], abstract_syntax, tuple(transfer_syntaxes))


def _answered(data: bytes) -> ContextResult:
    if len(data) < 4:
        raise _bad_length("presentation context", len(data), 4)
    transfer_syntaxes = [_name(content) for kind, content in _items(data, 4) if kind == 0x40]
    context_id, result = data[0], data[2]
    if result == 0 and len(transfer_syntaxes) != 1:
        raise PeerError(
            "0006:0318",
            f"DUL Illegal number of transfer syntaxes for context {context_id}:"
            f" {len(transfer_syntaxes)}",
        )
    return ContextResult(context_id, result, transfer_syntaxes[0] if transfer_syntaxes else "")


class _UserInformation:
    """The sub-items of a user information item (PS3.8 annex D.1, PS3.7 annex D.3.3)."""

    def __init__(self) -> None:
        self.max_length = 0
        self.implementation_class = ""
        self.implementation_version = ""
        self.async_window: tuple[int, int] | None = None
        self.roles: list[RoleSelection] = []
        self.extended: list[ExtendedNegotiation] = []
        self.common_extended: list[CommonExtendedNegotiation] = []
        self.user_identity: UserIdentity | None = None
        self.user_identity_response: bytes | None = None

    def decode(self, data: bytes) -> None:
        for kind, content in _items(data):
            fields = _Fields(kind, content)
            if kind == 0x51:
                self.max_length = fields.long()
            elif kind == 0x52:
                self.implementation_class = _name(content)
            elif kind == 0x53:
                self.async_window = (fields.short(), fields.short())
            elif kind == 0x54:
                self.roles.append(
                    RoleSelection(fields.uid(), fields.byte() != 0, fields.byte() != 0)
                )
            elif kind == 0x55:
                self.implementation_version = _name(content)
            elif kind == 0x56:
                self.extended.append(ExtendedNegotiation(fields.uid(), fields.rest()))
            elif kind == 0x57:
                self.common_extended.append(
                    CommonExtendedNegotiation(fields.uid(), fields.uid(), fields.uids())
                )
            elif kind == 0x58:
                self.user_identity = UserIdentity(
                    fields.byte(), fields.byte() != 0, fields.sized(), fields.sized()
                )
            elif kind == 0x59:
                self.user_identity_response = fields.sized()


class _Fields:
    """Reads the fields of one user information sub-item, front to back."""

    def __init__(self, kind: int, data: bytes) -> None:
        self._kind = kind
        self._data = data
        self._at = 0

    def _take(self, length: int) -> bytes:
        at = self._at
        self._at = after = at + length
        if after > len(self._data):
            raise _bad_length(f"item of type {self._kind:02x}", len(self._data), after)
        return self._data[at:after]

    def byte(self) -> int:
        return self._take(1)[0]

    def short(self) -> int:
        return int.from_bytes(self._take(2), "big")

    def long(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def sized(self) -> bytes:
        """Read bytes that follow their own 16-bit length."""
        return self._take(self.short())

    def uid(self) -> str:
        return _name(self.sized())

    def uids(self) -> tuple[str, ...]:
        """Read UIDs, each behind its length, that follow the length of them all."""
        inner = _Fields(self._kind, self.sized())
        uids = []
        while inner._at < len(inner._data):
            uids.append(inner.uid())
        return tuple(uids)

    def rest(self) -> bytes:
        return self._data[self._at :]


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
    except (StructError, ValueError) as problem:
        raise LocalError("0006:030c", f"DUL Illegal service parameter: {problem}") from problem


def _pdu(pdu_type: int, body: bytes) -> bytes:
    return PDU_HEADER.pack(pdu_type, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _text(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) > _NAME_LENGTH:
        raise ValueError(f"UID or name of {len(raw)} bytes, at most {_NAME_LENGTH}")
    return raw


def _encode_value(value: PresentationDataValue) -> bytes:
    return PDV_HEADER.pack(len(value.data) + 2, value.context_id, value.control) + value.data


def _encode_fixed_part(pdu: AssociateRequest | AssociateAccept) -> bytes:
    titles = pdu.raw_titles or b"".join(
        title.encode("latin-1")[:_TITLE_LENGTH].ljust(_TITLE_LENGTH)
        for title in (pdu.called, pdu.calling)
    )
    return _ASSOCIATE.pack(pdu.protocol_version, titles) + _item(
        0x10, _text(pdu.application_context)
    )


def _encode_request(pdu: AssociateRequest) -> bytes:
    parts = [_encode_fixed_part(pdu)]
    for context in pdu.contexts:
        syntaxes = _item(0x30, _text(context.abstract_syntax)) + b"".join(
            [_item(0x40, _text(uid)) for uid in context.transfer_syntaxes]
        )
        # Reserved, and zero in the standard; the reference sends 0xFF, and peers are used to it.
        parts.append(_CONTEXT.pack(0x20, 4 + len(syntaxes), context.id, 0xFF) + syntaxes)
    user = _encode_common_user_items(pdu)
    user += [_item(0x57, _encode_common_extended(item)) for item in pdu.common_extended]
    identity = pdu.user_identity
    if identity is not None:
        flags = bytes((identity.kind, identity.response_requested))
        user.append(_item(0x58, flags + _sized(identity.primary) + _sized(identity.secondary)))
    parts.append(_item(0x50, b"".join(user)))
    return b"".join(parts)


def _encode_accept(pdu: AssociateAccept) -> bytes:
    parts = [_encode_fixed_part(pdu)]
    known: dict[str, bytes] = {}
    for context_id, result, transfer_syntax in pdu.contexts:
        syntax = known.get(transfer_syntax)
        if syntax is None:
            syntax = known[transfer_syntax] = _item(0x40, _text(transfer_syntax))
        parts.append(_CONTEXT.pack(0x21, 4 + len(syntax), context_id, result) + syntax)
    user = _encode_common_user_items(pdu)
    if pdu.user_identity_response is not None:
        user.append(_item(0x59, _sized(pdu.user_identity_response)))
    parts.append(_item(0x50, b"".join(user)))
    return b"".join(parts)


def _encode_common_user_items(pdu: AssociateRequest | AssociateAccept) -> list[bytes]:
    items = [_item(0x51, pdu.max_length.to_bytes(4, "big"))]
    if pdu.implementation_class:
        items.append(_item(0x52, _text(pdu.implementation_class)))
    if pdu.async_window is not None:
        items.append(_item(0x53, b"".join(n.to_bytes(2, "big") for n in pdu.async_window)))
    for sop_class, scu, scp in pdu.roles:
        items.append(_item(0x54, _sized(_text(sop_class)) + bytes((scu, scp))))
    if pdu.implementation_version:
        items.append(_item(0x55, _text(pdu.implementation_version)))
    for sop_class, info in pdu.extended:
        items.append(_item(0x56, _sized(_text(sop_class)) + info))
    return items


def _encode_common_extended(item: CommonExtendedNegotiation) -> bytes:
    related = b"".join([_sized(_text(uid)) for uid in item.related])
    return _sized(_text(item.sop_class)) + _sized(_text(item.service_class)) + _sized(related)
