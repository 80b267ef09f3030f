"""Build and take apart PDUs and command sets by hand (PS3.8 section 9.3, PS3.7 annex E).

Nothing here shares code with the programs under test, and everything can be built wrong.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root Query/Retrieve: known, no storage
HANGING_PROTOCOL = "1.2.840.10008.5.1.4.38.1"  # a storage class without a patient
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JLS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JLS_LOSSY = "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS = "1.2.840.10008.1.2.4.90"
J2K_LOSSY = "1.2.840.10008.1.2.4.91"
RLE = "1.2.840.10008.1.2.5"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ = 1, 2, 3
P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = 4, 5, 6, 7

C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001
C_FIND_RQ, C_CANCEL_RQ = 0x0020, 0x0FFF
C_ECHO_RQ, C_ECHO_RSP = 0x0030, 0x8030
NO_DATA_SET = 0x0101

GROUP_LENGTH, SOP_CLASS, FIELD, MESSAGE_ID, RESPONDED_ID = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
PRIORITY, DATA_SET_TYPE, STATUS, SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000

_UIDS = frozenset((SOP_CLASS, SOP_INSTANCE, 0x0003, 0x1001))
_TEXTS = frozenset((0x1030, 0x0902))
_LONGS = frozenset((GROUP_LENGTH,))

Context = tuple[int, str, Sequence[str]]


class Pdu(NamedTuple):
    """One PDU as received: its type and what follows the length field."""

    kind: int
    body: bytes


class Reply(NamedTuple):
    """An A-ASSOCIATE-AC taken apart; contexts are (id, result, transfer syntax) in their order."""

    version: int
    called: bytes
    calling: bytes
    application_context: str
    contexts: list[tuple[int, int, str]]
    user_items: list[tuple[int, bytes]]

    @property
    def max_pdu(self) -> int:
        """Maximum length the other side receives, bytes."""
        (body,) = [body for kind, body in self.user_items if kind == 0x51]
        return int.from_bytes(body, "big")


def pdu(kind: int, body: bytes) -> bytes:
    """Return a PDU with a right length field."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def item(kind: int, body: bytes) -> bytes:
    """Return an item or sub-item with a right length field."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def context_item(context: Context) -> bytes:
    """Return a proposed presentation context (item 20H)."""
    number, abstract, syntaxes = context
    body = struct.pack(">BBBB", number, 0, 0xFF, 0) + item(0x30, abstract.encode())
    return item(0x20, body + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes))


def associate_rq(
    contexts: Iterable[Context],
    *,
    called: bytes = b"STORESCP",
    calling: bytes = b"WIRE",
    application_context: str | None = APPLICATION_CONTEXT,
    version: int = 1,
    max_pdu: int | None = 16384,
    implementation: str | None = "1.2.3.4",
    extra: bytes = b"",
) -> bytes:
    """Return an A-ASSOCIATE-RQ; ``extra`` is appended to the user information."""
    head = struct.pack(">HH16s16s32s", version, 0, called.ljust(16), calling.ljust(16), b"")
    user = b"" if max_pdu is None else item(0x51, struct.pack(">L", max_pdu))
    if implementation is not None:
        user += item(0x52, implementation.encode())
    body = b"" if application_context is None else item(0x10, application_context.encode())
    body += b"".join(context_item(context) for context in contexts) + item(0x50, user + extra)
    return pdu(ASSOCIATE_RQ, head + body)


def items(data: bytes) -> list[tuple[int, bytes]]:
    """Split a run of items; raise AssertionError if the lengths do not add up."""
    found = []
    while data:
        kind, _, length = struct.unpack_from(">BBH", data)
        assert len(data) >= 4 + length, "item is longer than what holds it"
        found.append((kind, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def parse_ac(body: bytes) -> Reply:
    """Take an A-ASSOCIATE-AC body apart."""
    version, _, called, calling, _ = struct.unpack_from(">HH16s16s32s", body)
    name = ""
    contexts: list[tuple[int, int, str]] = []
    user: list[tuple[int, bytes]] = []
    for kind, content in items(body[68:]):
        if kind == 0x10:
            name = content.decode()
        elif kind == 0x21:
            syntaxes = [sub.decode() for sub_kind, sub in items(content[4:]) if sub_kind == 0x40]
            assert len(syntaxes) == 1, "one transfer syntax per accepted context"
            contexts.append((content[0], content[2], syntaxes[0].rstrip("\0")))
        elif kind == 0x50:
            user = items(content)
        else:
            raise AssertionError(f"unexpected item {kind:02x} in A-ASSOCIATE-AC")
    return Reply(version, called, calling, name, contexts, user)


def pdv(context: int, data: bytes, *, command: bool = False, last: bool = True) -> bytes:
    """Return a presentation data value item (PS3.8 section 9.3.5.1)."""
    return struct.pack(">LBB", len(data) + 2, context, command | last << 1) + data


def p_data(*values: bytes) -> bytes:
    """Return a P-DATA-TF PDU that holds these presentation data values."""
    return pdu(P_DATA, b"".join(values))


def pdvs(body: bytes) -> list[tuple[int, int, bytes]]:
    """Split a P-DATA-TF body into (context id, control header, data)."""
    found = []
    while body:
        length, context, control = struct.unpack_from(">LBB", body)
        assert len(body) >= 4 + length, "PDV is longer than its PDU"
        found.append((context, control, body[6 : 4 + length]))
        body = body[4 + length :]
    return found


def release_rq() -> bytes:
    """Return an A-RELEASE-RQ."""
    return pdu(RELEASE_RQ, bytes(4))


def release_rp() -> bytes:
    """Return an A-RELEASE-RP."""
    return pdu(RELEASE_RP, bytes(4))


def abort(source: int = 0, reason: int = 0) -> bytes:
    """Return an A-ABORT."""
    return pdu(ABORT, bytes((0, 0, source, reason)))


def associate_rj(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ."""
    return pdu(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def element(number: int, value: int | str | bytes) -> bytes:
    """Return a command element (0000,number): implicit VR little endian."""
    if isinstance(value, int):
        data = struct.pack("<L" if number in _LONGS else "<H", value)
    elif isinstance(value, str):
        data = value.encode()
        data += (b"\0" if number in _UIDS else b" ") * (len(data) % 2)
    else:
        data = value
    return struct.pack("<HHL", 0, number, len(data)) + data


def command_set(elements: dict[int, int | str | bytes], *, group_length: int | None = -1) -> bytes:
    """Return a command set; ``group_length``: -1 computes it, None leaves it out."""
    body = b"".join(element(number, value) for number, value in sorted(elements.items()))
    if group_length is None:
        return body
    return element(GROUP_LENGTH, len(body) if group_length == -1 else group_length) + body


def store_rq(
    sop_class: str | None,
    sop_instance: str | None,
    message_id: int | None = 1,
    *,
    without: Iterable[int] = (),
    group_length: int | None = -1,
    **more: int | str | bytes,
) -> bytes:
    """Return a C-STORE-RQ command set; ``more`` holds elements as ``e0800=0x0101``."""
    elements: dict[int, int | str | bytes] = {FIELD: C_STORE_RQ, PRIORITY: 0, DATA_SET_TYPE: 1}
    if sop_class is not None:
        elements[SOP_CLASS] = sop_class
    if sop_instance is not None:
        elements[SOP_INSTANCE] = sop_instance
    if message_id is not None:
        elements[MESSAGE_ID] = message_id
    elements.update({int(name[1:], 16): value for name, value in more.items()})
    for number in without:
        del elements[number]
    return command_set(elements, group_length=group_length)


def echo_rq(message_id: int = 1, sop_class: str = VERIFICATION) -> bytes:
    """Return a C-ECHO-RQ command set."""
    return command_set(
        {
            SOP_CLASS: sop_class,
            FIELD: C_ECHO_RQ,
            MESSAGE_ID: message_id,
            DATA_SET_TYPE: NO_DATA_SET,
        }
    )


def store_rsp(sop_class: str, sop_instance: str, message_id: int, status: int) -> bytes:
    """Return a C-STORE-RSP command set."""
    return command_set(
        {
            SOP_CLASS: sop_class,
            FIELD: C_STORE_RSP,
            RESPONDED_ID: message_id,
            DATA_SET_TYPE: NO_DATA_SET,
            STATUS: status,
            SOP_INSTANCE: sop_instance,
        }
    )


def parse_command(data: bytes) -> dict[int, int | str | bytes]:
    """Take a command set apart: element number to value, in the order of the wire."""
    found: dict[int, int | str | bytes] = {}
    while data:
        group, number, length = struct.unpack_from("<HHL", data)
        assert group == 0, "element outside group 0000 in a command set"
        raw = data[8 : 8 + length]
        assert len(raw) == length, "command element is cut short"
        assert length % 2 == 0, "command element of odd length"
        value: int | str | bytes = raw
        if number in _UIDS:
            value = raw.rstrip(b"\0").decode()
        elif number in _TEXTS:
            value = raw.decode().strip()
        elif length in (2, 4):
            value = int.from_bytes(raw, "little")
        found[number] = value
        data = data[8 + length :]
    return found
