"""The items inside A-ASSOCIATE PDUs to and from bytes (PS3.8 9.3 and annex D, PS3.7 annex D.3).

Text is Latin-1, one character a byte, so that decoding never fails; a NUL ends UIDs and names.
Fields that are absent decode as 0 or ``""``, and empty fields are not encoded.
Decoding raises PeerError, encoding ValueError (TooLongError where users can bring it about) or
struct.error for what a field cannot hold.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from dcmstore.errors import PeerError

APPLICATION_CONTEXT_ITEM = 0x10
PROPOSED_CONTEXT_ITEM = 0x20
ANSWERED_CONTEXT_ITEM = 0x21
USER_INFORMATION_ITEM = 0x50

_ABSTRACT_SYNTAX = 0x30
_TRANSFER_SYNTAX = 0x40
_MAX_LENGTH = 0x51
_IMPLEMENTATION_CLASS = 0x52
_ROLE = 0x54
_IMPLEMENTATION_VERSION = 0x55
_EXTENDED = 0x56
_USER_IDENTITY = 0x58
_USER_IDENTITY_RESPONSE = 0x59

_ITEM = Struct(">BxH")
_CONTEXT = Struct(">BxHBxBx")
_SHORT = Struct(">H")
_LONG = Struct(">I")
# The header of a user identity item, type and response flag, and two lengths.
_IDENTITY_OVERHEAD = 4 + 2 + 2 * 2
_NAME_LENGTH = 64

MAX_FIELD = 0xFFFF
"""Bytes that a field or an item may have at most behind its 16-bit length."""


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


class UserIdentity(NamedTuple):
    """Who asks (PS3.7 annex D.3.3.7): kind 1 name, 2 name and code, 3 Kerberos, 4 SAML, 5 JWT."""

    kind: int
    response_requested: bool
    primary: bytes
    secondary: bytes


class UserInformation(NamedTuple):
    """What a user information item says; the last two belong to a request and to its answer."""

    max_length: int
    implementation_class: str
    implementation_version: str
    roles: tuple[RoleSelection, ...]
    extended: tuple[ExtendedNegotiation, ...]
    user_identity: UserIdentity | None
    user_identity_response: bytes | None


class TooLongError(ValueError):
    """The user information does not fit into its item; says how long it would be."""


def bad_length(what: str, got: int, needed: int) -> PeerError:
    """Return the error for a length that what holds it, or what it holds, contradicts."""
    return PeerError("0006:0308", f"DUL Illegal {what}: {got} bytes, {needed} needed")


def split(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """Cut the items that fill ``data`` from offset ``at`` into types and contents."""
    end = len(data)
    header = _ITEM.unpack_from
    while at < end:
        if end - at < 4:
            raise bad_length("item header", end - at, 4)
        kind, length = header(data, at)
        at += 4
        after = at + length
        if after > end:
            raise bad_length(f"item of type {kind:02x}", end - at, length)
        yield kind, data[at:after]
        at = after


def join(kind: int, content: bytes) -> bytes:
    """Return one item."""
    return _ITEM.pack(kind, len(content)) + content


def decode_name(raw: bytes) -> str:
    """Return a UID or an implementation version name, up to the first NUL.

    A blank at the end stays, as it does in the reference: there is no such UID.
    """
    if len(raw) > _NAME_LENGTH:
        raise PeerError(
            "0006:0308", f"DUL Illegal UID or name: {len(raw)} bytes, at most {_NAME_LENGTH}"
        )
    return raw.partition(b"\0")[0].decode("latin-1")


def encode_name(text: str) -> bytes:
    """Return a UID or an implementation version name as it travels: without padding."""
    raw = text.encode("latin-1")
    if len(raw) > _NAME_LENGTH:
        raise ValueError(f"UID or name of {len(raw)} bytes, at most {_NAME_LENGTH}")
    return raw


def decode_proposed(data: bytes) -> PresentationContext:
    """Return the presentation context that this content of an item proposes."""
    if len(data) < 4:
        raise bad_length("presentation context", len(data), 4)
    abstract_syntax = ""
    transfer_syntaxes = []
    for kind, content in split(data, 4):
        if kind == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(decode_name(content))
        elif kind == _ABSTRACT_SYNTAX:
            abstract_syntax = decode_name(content)
    if not transfer_syntaxes:
        raise PeerError(
            "0006:0315",
            f"DUL Presentation Context translation failure: {data[0]} has no transfer syntax",
        )
    return PresentationContext(data[0], abstract_syntax, tuple(transfer_syntaxes))


def decode_answered(data: bytes) -> ContextResult:
    """Return the answer to a presentation context that this content of an item gives."""
    if len(data) < 4:
        raise bad_length("presentation context", len(data), 4)
    transfer_syntaxes = [
        decode_name(content) for kind, content in split(data, 4) if kind == _TRANSFER_SYNTAX
    ]
    context_id, result = data[0], data[2]
    if result == 0 and len(transfer_syntaxes) != 1:
        raise PeerError(
            "0006:0318",
            f"DUL Illegal number of transfer syntaxes for context {context_id}:"
            f" {len(transfer_syntaxes)}",
        )
    return ContextResult(context_id, result, transfer_syntaxes[0] if transfer_syntaxes else "")


def encode_proposed(contexts: Iterable[PresentationContext]) -> bytes:
    """Return the items that propose these presentation contexts."""
    parts = []
    for context_id, abstract_syntax, transfer_syntaxes in contexts:
        syntaxes = join(_ABSTRACT_SYNTAX, encode_name(abstract_syntax)) + b"".join(
            [join(_TRANSFER_SYNTAX, encode_name(uid)) for uid in transfer_syntaxes]
        )
        # The 0xFF is reserved, and zero in the standard; DCMTK sends it, and peers are used to it.
        header = _CONTEXT.pack(PROPOSED_CONTEXT_ITEM, 4 + len(syntaxes), context_id, 0xFF)
        parts.append(header + syntaxes)
    return b"".join(parts)


def encode_answered(results: Iterable[ContextResult]) -> bytes:
    """Return the items that answer presentation contexts so."""
    parts = []
    known: dict[str, bytes] = {}
    for context_id, result, transfer_syntax in results:
        syntax = known.get(transfer_syntax)
        if syntax is None:
            syntax = known[transfer_syntax] = join(_TRANSFER_SYNTAX, encode_name(transfer_syntax))
        header = _CONTEXT.pack(ANSWERED_CONTEXT_ITEM, 4 + len(syntax), context_id, result)
        parts.append(header + syntax)
    return b"".join(parts)


def decode_user_information(data: bytes) -> UserInformation:
    """Return what the content of a user information item says; other sub-items are skipped.

    Those of the asynchronous window and of common extended negotiation mean nothing here,
    whatever is in them.
    """
    max_length = 0
    implementation_class = implementation_version = ""
    user_identity = response = None
    roles = []
    extended = []
    for kind, content in split(data):
        fields = _Fields(kind, content)
        if kind == _MAX_LENGTH:
            max_length = fields.long()
        elif kind == _IMPLEMENTATION_CLASS:
            implementation_class = decode_name(content)
        elif kind == _ROLE:
            roles.append(RoleSelection(fields.uid(), fields.byte() != 0, fields.byte() != 0))
        elif kind == _IMPLEMENTATION_VERSION:
            implementation_version = decode_name(content)
        elif kind == _EXTENDED:
            extended.append(ExtendedNegotiation(fields.uid(), fields.rest()))
        elif kind == _USER_IDENTITY:
            user_identity = UserIdentity(
                fields.byte(), fields.byte() != 0, fields.sized(), fields.sized()
            )
        elif kind == _USER_IDENTITY_RESPONSE:
            response = fields.sized()
    return UserInformation(
        max_length,
        implementation_class,
        implementation_version,
        tuple(roles),
        tuple(extended),
        user_identity,
        response,
    )


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
            raise bad_length(f"item of type {self._kind:02x}", len(self._data), after)
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
        return decode_name(self.sized())

    def rest(self) -> bytes:
        return self._data[self._at :]


def encode_user_information(user: UserInformation) -> bytes:
    """Return the user information item; its sub-items stand in the order of their types."""
    items = [join(_MAX_LENGTH, _LONG.pack(user.max_length))]
    if user.implementation_class:
        items.append(join(_IMPLEMENTATION_CLASS, encode_name(user.implementation_class)))
    for sop_class, scu, scp in user.roles:
        items.append(join(_ROLE, _sized(encode_name(sop_class)) + bytes((scu, scp))))
    if user.implementation_version:
        items.append(join(_IMPLEMENTATION_VERSION, encode_name(user.implementation_version)))
    for sop_class, info in user.extended:
        items.append(join(_EXTENDED, _sized(encode_name(sop_class)) + info))
    if user.user_identity is not None:
        kind, wanted, primary, secondary = user.user_identity
        total = sum(map(len, items)) + _IDENTITY_OVERHEAD + len(primary) + len(secondary)
        if total > MAX_FIELD:
            # Only here is a field filled by what a user has somewhere.
            raise TooLongError(
                f"Total length of user items ({total} bytes) exceeds upper limit of"
                f" {MAX_FIELD} bytes"
            )
        content = bytes((kind, wanted)) + _sized(primary) + _sized(secondary)
        items.append(join(_USER_IDENTITY, content))
    if user.user_identity_response is not None:
        items.append(join(_USER_IDENTITY_RESPONSE, _sized(user.user_identity_response)))
    return join(USER_INFORMATION_ITEM, b"".join(items))


def _sized(content: bytes) -> bytes:
    return _SHORT.pack(len(content)) + content
