"""DIMSE command sets to and from small records (PS3.7 sections 6.3, 9.3 and annex E).

A command set is always implicit VR little endian. Unknown elements, repetitions of an element, a
wrong or missing command group length, and whatever follows the first two bytes of a number are
ignored on decoding.
"""

import logging
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from dcmstore.errors import PeerError

log = logging.getLogger("dcmtk.dcmdata")

C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
NO_DATA_SET = 0x0101

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

MAX_UID = 64
_TITLE_LENGTH = 16
MAX_COMMAND = 1 << 16
"""Bytes that all the fragments of one command set may have together."""

_ELEMENT = Struct("<HHI")
_US = Struct("<H")
_US_ELEMENT = Struct("<HHIH")
_FOUR_NUMBERS = Struct("<" + "HHIH" * 4)
_GROUP_LENGTH = Struct("<HHII")
# A usual C-STORE request up to its SOP class, and from there to its SOP instance.
_TO_CLASS = Struct("<8s4x4sI")
_TO_INSTANCE = Struct("<10s8sH8sH8sH4sI")

# Element numbers of group 0000.
_SOP_CLASS, _FIELD, _MESSAGE_ID, _REPLY_TO = 0x0002, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATA_SET_TYPE, _STATUS, _SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
_MOVE_TITLE, _MOVE_ID = 0x1030, 0x1031
OFFENDING_ELEMENT, ERROR_COMMENT, ERROR_ID = 0x0901, 0x0902, 0x0903
_DETAILS = frozenset((OFFENDING_ELEMENT, ERROR_COMMENT, ERROR_ID))
_NAMES = {
    _SOP_CLASS: "AffectedSOPClassUID",
    _FIELD: "CommandField",
    _MESSAGE_ID: "MessageID",
    _REPLY_TO: "MessageIDBeingRespondedTo",
    _PRIORITY: "Priority",
    _DATA_SET_TYPE: "CommandDataSetType",
    _STATUS: "Status",
    _SOP_INSTANCE: "AffectedSOPInstanceUID",
}


_START_MARKS = (_ELEMENT.pack(0, 0, 4), _ELEMENT.pack(0, _SOP_CLASS, 0)[:4])
_STORE_MARKS = (
    _US_ELEMENT.pack(0, _FIELD, 2, C_STORE_RQ),
    _ELEMENT.pack(0, _MESSAGE_ID, 2),
    _ELEMENT.pack(0, _PRIORITY, 2),
    _ELEMENT.pack(0, _DATA_SET_TYPE, 2),
    _ELEMENT.pack(0, _SOP_INSTANCE, 0)[:4],
)


class StoreRequest(NamedTuple):
    """C-STORE-RQ (PS3.7 section 9.3.1.1).

    One that comes from a C-MOVE names who asked for that, and its message ID there, if the
    sender says so; neither is ever sent.
    """

    message_id: int
    sop_class: str
    sop_instance: str
    priority: int = 0
    has_data: bool = True
    move_originator: str = ""
    move_originator_id: int | None = None


class StoreResponse(NamedTuple):
    """C-STORE-RSP (PS3.7 section 9.3.1.2); ``message_id`` is the one responded to.

    ``details`` are the elements that explain the status, ascending, and their values as they
    came (PS3.7 annex C). They are never sent.
    """

    message_id: int
    status: int
    sop_class: str = ""
    sop_instance: str = ""
    has_data: bool = False
    details: tuple[tuple[int, bytes], ...] = ()


class EchoRequest(NamedTuple):
    """C-ECHO-RQ (PS3.7 section 9.3.5.1)."""

    message_id: int
    sop_class: str
    has_data: bool = False


class EchoResponse(NamedTuple):
    """C-ECHO-RSP (PS3.7 section 9.3.5.2); ``message_id`` is the one responded to."""

    message_id: int
    status: int
    sop_class: str = ""
    has_data: bool = False


class OtherCommand(NamedTuple):
    """Any other command; only its field says what it is."""

    field: int
    has_data: bool


CommandSet = StoreRequest | StoreResponse | EchoRequest | EchoResponse | OtherCommand


def decode(data: bytes | memoryview) -> CommandSet:
    """Return the record of a whole command set.

    Raises PeerError when an element runs out of the set, or a mandatory one is missing or bad.
    """
    data = bytes(data)
    usual = _usual_store_request(data)
    if usual is not None:
        return usual
    elements: dict[int, bytes] = {}
    at, end = 0, len(data)
    unpack = _ELEMENT.unpack_from
    while end - at >= 8:
        group, element, length = unpack(data, at)
        at += 8
        if length > end - at:
            raise PeerError("0006:020b", "DIMSE Command Parse Failed: Element exceeds the command")
        if group == 0:
            elements.setdefault(element, data[at : at + length])
        at += length
    field = _number(elements, _FIELD)
    has_data = _number(elements, _DATA_SET_TYPE) != NO_DATA_SET
    if field == C_STORE_RQ:
        sop_class = _uid(elements, _SOP_CLASS)
        message_id = _number(elements, _MESSAGE_ID)
        priority = _number(elements, _PRIORITY)
        sop_instance = _uid(elements, _SOP_INSTANCE)
        if not has_data or not sop_instance:
            raise _badly_formed()
        request = StoreRequest(message_id, sop_class, sop_instance, priority)
        return _moved(request, elements) if _MOVE_TITLE in elements else request
    if field == C_ECHO_RQ:
        sop_class = _uid(elements, _SOP_CLASS)
        message_id = _number(elements, _MESSAGE_ID)
        if has_data:
            raise _badly_formed()
        return EchoRequest(message_id, sop_class)
    if field == C_STORE_RSP:
        return StoreResponse(
            _number(elements, _REPLY_TO),
            _number(elements, _STATUS),
            _uid(elements, _SOP_CLASS) if _SOP_CLASS in elements else "",
            _uid(elements, _SOP_INSTANCE) if _SOP_INSTANCE in elements else "",
            has_data,
            () if _DETAILS.isdisjoint(elements) else _details(elements),
        )
    if field == C_ECHO_RSP:
        return EchoResponse(
            _number(elements, _REPLY_TO),
            _number(elements, _STATUS),
            _uid(elements, _SOP_CLASS) if _SOP_CLASS in elements else "",
            has_data,
        )
    return OtherCommand(field, has_data)


def _usual_store_request(data: bytes) -> StoreRequest | None:
    """Return a C-STORE request with the elements that PS3.7 wants, and no others, in order.

    On the hot path nearly every command is one; None for all others, and for what has a fault.
    """
    if len(data) < _TO_CLASS.size:
        return None
    start, tag, length = _TO_CLASS.unpack_from(data)
    at = _TO_CLASS.size + length
    instance = at + _TO_INSTANCE.size
    if (start, tag) != _START_MARKS or instance > len(data):
        return None
    marks = _TO_INSTANCE.unpack_from(data, at)
    field, head, message_id, priority_head, priority, type_head, data_set, tag, length = marks
    if (field, head, priority_head, type_head, tag) != _STORE_MARKS or data_set == NO_DATA_SET:
        return None
    sop_class, sop_instance = _ended(data[_TO_CLASS.size : at]), _ended(data[instance:])
    if b" " in sop_class or b" " in sop_instance:
        return None
    if instance + length != len(data) or not (0 < len(sop_class) <= MAX_UID):
        return None
    if not 0 < len(sop_instance) <= MAX_UID:
        return None
    return StoreRequest(
        message_id, sop_class.decode("latin-1"), sop_instance.decode("latin-1"), priority
    )


def encode(command: CommandSet) -> bytes:
    """Return the bytes of a command set, its elements in ascending order (PS3.7 section 6.3.1)."""
    match command:
        case StoreRequest(message_id, sop_class, sop_instance, priority):
            body = (
                _uid_element(_SOP_CLASS, sop_class)
                + _number_element(_FIELD, C_STORE_RQ)
                + _number_element(_MESSAGE_ID, message_id)
                + _number_element(_PRIORITY, priority)
                + _number_element(_DATA_SET_TYPE, 1)
                + _uid_element(_SOP_INSTANCE, sop_instance)
            )
        case StoreResponse(message_id, status, sop_class, sop_instance):
            body = b"".join(
                (
                    _class_element(sop_class),
                    _response(C_STORE_RSP, message_id, status),
                    _uid_element(_SOP_INSTANCE, sop_instance),
                )
            )
        case EchoRequest(message_id, sop_class):
            body = (
                _uid_element(_SOP_CLASS, sop_class)
                + _number_element(_FIELD, C_ECHO_RQ)
                + _number_element(_MESSAGE_ID, message_id)
                + _number_element(_DATA_SET_TYPE, NO_DATA_SET)
            )
        case EchoResponse(message_id, status, sop_class):
            body = _uid_element(_SOP_CLASS, sop_class) + _response(C_ECHO_RSP, message_id, status)
        case OtherCommand(field, has_data):
            body = _number_element(_FIELD, field) + _number_element(
                _DATA_SET_TYPE, 1 if has_data else NO_DATA_SET
            )
    return _GROUP_LENGTH.pack(0, 0, 4, len(body)) + body


def _response(field: int, message_id: int, status: int) -> bytes:
    """Return the four numbers that stand together in every response."""
    return _FOUR_NUMBERS.pack(
        *(0, _FIELD, 2, field),
        *(0, _REPLY_TO, 2, message_id),
        *(0, _DATA_SET_TYPE, 2, NO_DATA_SET),
        *(0, _STATUS, 2, status),
    )


def _badly_formed() -> PeerError:
    return PeerError("0006:0203", "DIMSE Badly formed message")


def _failed(element: int) -> PeerError:
    return PeerError(
        "0006:020b", f"DIMSE Command Parse Failed: Element: (0000,{element:04x}) {_NAMES[element]}"
    )


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element)
    if value is None or len(value) < _US.size:
        raise _failed(element)
    number: int = _US.unpack_from(value)[0]
    return number


def _uid(elements: dict[int, bytes], element: int) -> str:
    value = elements.get(element)
    if value is None:
        raise _failed(element)
    uid = _ended(value)
    if b" " in uid:
        # Some devices put blanks behind a UID, or into it, where they are no part of it.
        log.warning(
            "DcmUniqueIdentifier: Element %s (0000,%04x) contains one or more space characters,"
            " which were removed",
            _NAMES[element],
            element,
        )
        uid = uid.replace(b" ", b"")
    if len(uid) > MAX_UID:
        raise _failed(element)
    return uid.decode("latin-1")


def _ended(uid: bytes) -> bytes:
    # What is behind a NUL may be what was left in a buffer.
    return uid.partition(b"\0")[0]


def _details(elements: dict[int, bytes]) -> tuple[tuple[int, bytes], ...]:
    return tuple((element, elements[element]) for element in sorted(_DETAILS & elements.keys()))


def _moved(request: StoreRequest, elements: dict[int, bytes]) -> StoreRequest:
    # What is wrong here does not matter: it is for the log only.
    title = elements[_MOVE_TITLE][:_TITLE_LENGTH].strip(b" \0").decode("latin-1")
    number = elements.get(_MOVE_ID, b"")
    move_id = int.from_bytes(number, "little") if len(number) == 2 else None
    return request._replace(move_originator=title, move_originator_id=move_id)


def _number_element(element: int, value: int) -> bytes:
    return _US_ELEMENT.pack(0, element, 2, value)


@lru_cache(maxsize=64)
def _class_element(sop_class: str) -> bytes:
    """Return the element of a SOP class: there are few in an association."""
    return _uid_element(_SOP_CLASS, sop_class)


def _uid_element(element: int, uid: str) -> bytes:
    value = uid.encode("latin-1")
    if len(value) & 1:
        value += b"\0"
    return _ELEMENT.pack(0, element, len(value)) + value
