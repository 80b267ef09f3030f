"""Command sets: known bytes, pynetdicom's codec both ways, and everything that can be wrong."""

import struct
from io import BytesIO
from typing import Any, cast

import pytest
from harness import wire
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pynetdicom import dimse_messages
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode as their_decode
from pynetdicom.dsutils import encode as their_encode

from dcmstore import command
from dcmstore.command import (
    CommandSet,
    EchoRequest,
    EchoResponse,
    OtherCommand,
    StoreRequest,
    StoreResponse,
    decode,
    encode,
)
from dcmstore.errors import PeerError

QUICK = settings(deadline=None, max_examples=100)

UIDS = st.from_regex(r"\A[12](\.(0|[1-9][0-9]{0,8})){1,6}\Z")
SHORTS = st.integers(0, 0xFFFF)
CLASS, INSTANCE = wire.CT, "1.2.3.45"

STORE_RQ = wire.store_rq(CLASS, INSTANCE, 7)
STORE_RSP = wire.store_rsp(CLASS, INSTANCE, 7, 0xA700)
ECHO_RQ = wire.echo_rq(9)
ECHO_RSP = wire.command_set(
    {
        wire.SOP_CLASS: wire.VERIFICATION,
        wire.FIELD: wire.C_ECHO_RSP,
        wire.RESPONDED_ID: 9,
        wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        wire.STATUS: 0,
    }
)
FIND_RQ = wire.command_set({wire.FIELD: wire.C_FIND_RQ, wire.DATA_SET_TYPE: 1})

GOLDEN: list[tuple[CommandSet, bytes]] = [
    (StoreRequest(7, CLASS, INSTANCE), STORE_RQ),
    (StoreRequest(7, CLASS, INSTANCE, priority=2), wire.store_rq(CLASS, INSTANCE, 7, e0700=2)),
    (StoreResponse(7, 0xA700, CLASS, INSTANCE), STORE_RSP),
    (EchoRequest(9, wire.VERIFICATION), ECHO_RQ),
    (EchoResponse(9, 0, wire.VERIFICATION), ECHO_RSP),
    (OtherCommand(wire.C_FIND_RQ, True), FIND_RQ),
    (
        OtherCommand(wire.C_CANCEL_RQ, False),
        wire.command_set({wire.FIELD: wire.C_CANCEL_RQ, wire.DATA_SET_TYPE: wire.NO_DATA_SET}),
    ),
]
VALID = [raw for _, raw in GOLDEN]


def elements_of(raw: bytes) -> dict[int, bytes]:
    """Split a command set into element numbers and raw values."""
    found = {}
    while raw:
        _, number, length = struct.unpack_from("<HHL", raw)
        found[number] = raw[8 : 8 + length]
        raw = raw[8 + length :]
    return found


def joined(elements: dict[int, bytes]) -> bytes:
    return b"".join(wire.element(number, value) for number, value in elements.items())


def test_what_explains_a_status_is_kept_as_it_came() -> None:
    """Only that: what has no business in a response is ignored like anything unknown."""
    raw = wire.command_set(
        wire.parse_command(STORE_RSP)
        | {0x0903: b"ab", 0x0901: b"\x10\0\x10\0", 0x0902: b"x ", 0x0904: b"zz"},
        group_length=None,
    )
    received = decode(raw)
    assert received == StoreResponse(
        7,
        0xA700,
        CLASS,
        INSTANCE,
        False,
        ((0x0901, b"\x10\0\x10\0"), (0x0902, b"x "), (0x0903, b"ab")),
    )
    assert encode(received) == STORE_RSP


@pytest.mark.parametrize(("record", "raw"), GOLDEN)
def test_known_bytes(record: CommandSet, raw: bytes) -> None:
    assert encode(record) == raw
    assert decode(raw) == record
    assert decode(memoryview(raw)) == record


def test_bytes_by_hand() -> None:
    """Once without any help of the harness."""
    assert encode(EchoRequest(0x1234, "1.2.3")) == bytes.fromhex(
        "00000000 04000000 2c000000"
        "00000200 06000000 312e322e3300"
        "00000001 02000000 3000"
        "00001001 02000000 3412"
        "00000008 02000000 0101"
    )


@pytest.mark.parametrize("raw", [STORE_RQ, wire.store_rq("1.2.3", "1.2.34", 1)])
def test_a_changed_byte_anywhere(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way to decode a usual request finds what the general one finds."""
    changed = [
        raw[:place] + bytes((byte,)) + raw[place + 1 :]
        for place in range(len(raw))
        for byte in range(256)
    ]
    changed += [raw[:end] for end in range(len(raw))] + [raw + b"\0", raw + raw]
    quick = [outcome(each) for each in changed]
    monkeypatch.setattr(command, "_usual_store_request", lambda _: None)
    assert quick == [outcome(each) for each in changed]


# Against pynetdicom


def to_them(raw: bytes) -> Any:
    """Return pynetdicom's primitive of a command set, by way of its message classes."""
    data_set = their_decode(BytesIO(raw), True, True)
    message = {
        0x0001: dimse_messages.C_STORE_RQ,
        0x8001: dimse_messages.C_STORE_RSP,
        0x0030: dimse_messages.C_ECHO_RQ,
        0x8030: dimse_messages.C_ECHO_RSP,
    }[data_set.CommandField]()
    message.command_set = data_set
    return message.message_to_primitive()


def from_them(message: Any, primitive: Any, has_data: bool) -> bytes:
    """Return the bytes that pynetdicom makes of a primitive."""
    if has_data:
        primitive.DataSet = BytesIO(b"\x08\x00\x05\x00\x00\x00\x00\x00")
    message.primitive_to_message(primitive)
    return cast(bytes, their_encode(message.command_set, True, True))


@QUICK
@given(SHORTS, UIDS, UIDS, st.integers(0, 2))
def test_store_request_both_ways(number: int, sop_class: str, instance: str, level: int) -> None:
    record = StoreRequest(number, sop_class, instance, level)
    read = to_them(encode(record))
    assert (read.MessageID, read.AffectedSOPClassUID) == (number, sop_class)
    assert (read.AffectedSOPInstanceUID, read.Priority) == (instance, level)
    theirs = C_STORE()
    theirs.MessageID, theirs.Priority = number, level
    theirs.AffectedSOPClassUID, theirs.AffectedSOPInstanceUID = sop_class, instance
    raw = from_them(dimse_messages.C_STORE_RQ(), theirs, True)
    assert decode(raw) == record
    assert elements_of(encode(record)).keys() == elements_of(raw).keys()


@QUICK
@given(SHORTS, UIDS, UIDS, st.text("ABC_ 12", min_size=1, max_size=16).filter(str.strip), SHORTS)
def test_move_originator(
    number: int, sop_class: str, instance: str, title: str, move_id: int
) -> None:
    theirs = C_STORE()
    theirs.MessageID, theirs.Priority = number, 0
    theirs.AffectedSOPClassUID, theirs.AffectedSOPInstanceUID = sop_class, instance
    theirs.MoveOriginatorApplicationEntityTitle = title
    theirs.MoveOriginatorMessageID = move_id
    raw = from_them(dimse_messages.C_STORE_RQ(), theirs, True)
    received = decode(raw)
    assert received == StoreRequest(
        number,
        sop_class,
        instance,
        move_originator=title.strip(),
        move_originator_id=move_id,
    )
    # What a move said is not passed on.
    assert decode(encode(received)) == StoreRequest(number, sop_class, instance)


@QUICK
@given(SHORTS, UIDS, UIDS, st.sampled_from([0, 0xA700, 0xA900, 0xB000, 0xC000, 0x0111]))
def test_store_response_both_ways(number: int, sop_class: str, instance: str, status: int) -> None:
    record = StoreResponse(number, status, sop_class, instance)
    read = to_them(encode(record))
    assert (read.MessageIDBeingRespondedTo, read.Status) == (number, status)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (sop_class, instance)
    theirs = C_STORE()
    theirs.MessageIDBeingRespondedTo, theirs.Status = number, status
    theirs.AffectedSOPClassUID, theirs.AffectedSOPInstanceUID = sop_class, instance
    raw = from_them(dimse_messages.C_STORE_RSP(), theirs, False)
    assert decode(raw) == record
    assert encode(record) == raw


@QUICK
@given(SHORTS, UIDS, st.sampled_from([0, 0x0122, 0x0210]))
def test_echo_both_ways(number: int, sop_class: str, status: int) -> None:
    request, response = EchoRequest(number, sop_class), EchoResponse(number, status, sop_class)
    assert to_them(encode(request)).MessageID == number
    read = to_them(encode(response))
    assert (read.MessageIDBeingRespondedTo, read.Status) == (number, status)
    theirs = C_ECHO()
    theirs.MessageID, theirs.AffectedSOPClassUID = number, sop_class
    assert from_them(dimse_messages.C_ECHO_RQ(), theirs, False) == encode(request)
    theirs = C_ECHO()
    theirs.MessageIDBeingRespondedTo, theirs.Status = number, status
    theirs.AffectedSOPClassUID = sop_class
    assert from_them(dimse_messages.C_ECHO_RSP(), theirs, False) == encode(response)


# What may be wrong, and is taken


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("wrong", [b"", bytes(2), bytes(4), b"\xff" * 4, bytes(40), None])
def test_group_length_is_ignored(raw: bytes, wrong: bytes | None) -> None:
    elements = elements_of(raw)
    del elements[wire.GROUP_LENGTH]
    front = b"" if wrong is None else wire.element(wire.GROUP_LENGTH, wrong)
    assert decode(front + joined(elements)) == decode(raw)


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
def test_order_does_not_matter(raw: bytes) -> None:
    elements = dict(reversed(elements_of(raw).items()))
    assert decode(joined(elements)) == decode(raw)


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("group", [0x0002, 0x0008, 0x0100, 0xFFFE])
def test_other_groups_are_ignored(raw: bytes, group: int) -> None:
    """Even where their elements have the numbers that count in group 0000."""
    foreign = b"".join(
        struct.pack("<HHL", group, number, len(value)) + value[::-1]
        for number, value in elements_of(raw).items()
    )
    assert decode(foreign + raw + foreign) == decode(raw)


def test_unknown_elements_of_group_0000_are_ignored() -> None:
    more = wire.element(0x0001, b"abcd") + wire.element(0x5110, b"") + wire.element(0xFFFF, b"x")
    assert decode(more + STORE_RQ + more) == decode(STORE_RQ)


@pytest.mark.parametrize("count", range(8))
def test_less_than_an_element_at_the_end_is_ignored(count: int) -> None:
    assert decode(STORE_RQ + b"\xff" * count) == decode(STORE_RQ)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"1.2.3", "1.2.3"),
        (b"1.2.3\0", "1.2.3"),
        (b"1.2.3\0\0\0", "1.2.3"),
        (b"1.2.3 ", "1.2.3"),
        (b" 1. 2.3 ", "1.2.3"),
        (b"1.2\0.3", "1.2"),
        (b"\xe9/..", "é/.."),
        (b"1" * 64, "1" * 64),
        (b"1" * 64 + b"\0 ", "1" * 64),
    ],
)
def test_padding_of_uids(sent: bytes, meant: str) -> None:
    received = decode(wire.store_rq(None, None, e0002=sent, e1000=sent))
    assert isinstance(received, StoreRequest)
    assert (received.sop_class, received.sop_instance) == (meant, meant)


@pytest.mark.parametrize("value", [0x0000, 0x0001, 0x0100, 0x0102, 0xFFFF])
def test_any_other_data_set_type_means_data(value: int) -> None:
    """PS3.7 annex E.1: only 0101H means that there is none."""
    record = decode(wire.store_rq(CLASS, INSTANCE, e0800=value))
    assert isinstance(record, StoreRequest)
    assert record.has_data
    other = decode(wire.command_set({wire.FIELD: 0x0FFF, wire.DATA_SET_TYPE: value}))
    assert other == OtherCommand(0x0FFF, True)


@pytest.mark.parametrize("raw", [STORE_RSP, ECHO_RSP])
def test_responses_need_no_uids(raw: bytes) -> None:
    elements = elements_of(raw)
    for number in (wire.SOP_CLASS, wire.SOP_INSTANCE):
        elements.pop(number, None)
    received = decode(joined(elements))
    assert isinstance(received, StoreResponse | EchoResponse)
    assert received.sop_class == ""
    assert received.message_id == decode(raw)[0]


@pytest.mark.parametrize(
    ("sent", "title", "number"),
    [
        ({0x1030: b"PACS  "}, "PACS", None),
        ({0x1030: b"PACS", 0x1031: b"\5\0"}, "PACS", 5),
        ({0x1030: b"PACS", 0x1031: b"\5"}, "PACS", None),
        ({0x1030: b"PACS", 0x1031: b"\5\0\0\0"}, "PACS", None),
        ({0x1030: b"X" * 5000, 0x1031: b"\5\0"}, "X" * 16, 5),
        ({0x1030: b"\0\0"}, "", None),
        ({0x1031: b"\5\0"}, "", None),
    ],
)
def test_odd_move_originators_do_no_harm(
    sent: dict[int, bytes], title: str, number: int | None
) -> None:
    record = decode(STORE_RQ + joined(sent))
    assert isinstance(record, StoreRequest)
    assert (record.move_originator, record.move_originator_id) == (title, number)


# What is refused

NUMBERS = {
    "store-rq": (STORE_RQ, [wire.FIELD, wire.MESSAGE_ID, wire.PRIORITY, wire.DATA_SET_TYPE]),
    "store-rsp": (STORE_RSP, [wire.FIELD, wire.RESPONDED_ID, wire.DATA_SET_TYPE, wire.STATUS]),
    "echo-rq": (ECHO_RQ, [wire.FIELD, wire.MESSAGE_ID, wire.DATA_SET_TYPE]),
    "echo-rsp": (ECHO_RSP, [wire.FIELD, wire.RESPONDED_ID, wire.DATA_SET_TYPE, wire.STATUS]),
    "other": (FIND_RQ, [wire.FIELD, wire.DATA_SET_TYPE]),
}
NAMES = {
    wire.SOP_CLASS: "AffectedSOPClassUID",
    wire.FIELD: "CommandField",
    wire.MESSAGE_ID: "MessageID",
    wire.RESPONDED_ID: "MessageIDBeingRespondedTo",
    wire.PRIORITY: "Priority",
    wire.DATA_SET_TYPE: "CommandDataSetType",
    wire.STATUS: "Status",
    wire.SOP_INSTANCE: "AffectedSOPInstanceUID",
}


def expect_failure(raw: bytes, element: int) -> None:
    with pytest.raises(PeerError) as caught:
        decode(raw)
    assert caught.value.condition == "0006:020b"
    assert caught.value.text == (
        f"DIMSE Command Parse Failed: Element: (0000,{element:04x}) {NAMES[element]}"
    )


@pytest.mark.parametrize(
    ("raw", "element"),
    [(raw, element) for raw, elements in NUMBERS.values() for element in elements],
)
@pytest.mark.parametrize("value", [None, b"", b"\1"], ids=["missing", "empty", "short"])
def test_numbers(raw: bytes, element: int, value: bytes | None) -> None:
    """Every mandatory number has to be there."""
    elements = elements_of(raw)
    if value is None:
        del elements[element]
    else:
        elements[element] = value
    expect_failure(joined(elements), element)


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("more", [b"\0", b"\0\0", b"\1\2", bytes(100)])
def test_numbers_that_are_too_long(raw: bytes, more: bytes) -> None:
    elements = elements_of(raw)
    for element in NAMES.keys() & elements.keys() - {wire.SOP_CLASS, wire.SOP_INSTANCE}:
        elements[element] += more
    assert decode(joined(elements)) == decode(raw)


@pytest.mark.parametrize(
    ("raw", "element", "mandatory"),
    [
        (STORE_RQ, wire.SOP_CLASS, True),
        (STORE_RQ, wire.SOP_INSTANCE, True),
        (ECHO_RQ, wire.SOP_CLASS, True),
        (STORE_RSP, wire.SOP_CLASS, False),
        (STORE_RSP, wire.SOP_INSTANCE, False),
        (ECHO_RSP, wire.SOP_CLASS, False),
    ],
)
def test_uids(raw: bytes, element: int, mandatory: bool) -> None:
    elements = elements_of(raw)
    for value in (b"1" * 65, b"1" * 65 + b"\0", b"1" * 60000):
        expect_failure(joined({**elements, element: value}), element)
    if mandatory:
        del elements[element]
        expect_failure(joined(elements), element)


@pytest.mark.parametrize(
    "raw",
    [
        wire.store_rq(CLASS, INSTANCE, e0800=wire.NO_DATA_SET),
        wire.store_rq(CLASS, None, e1000=b""),
        wire.store_rq(CLASS, None, e1000=b"\0\0"),
        wire.store_rq(CLASS, None, e1000=b"  "),
        joined({**elements_of(ECHO_RQ), wire.DATA_SET_TYPE: b"\1\0"}),
    ],
)
def test_requests_that_make_no_sense(raw: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        decode(raw)
    assert caught.value.condition == "0006:0203"
    assert caught.value.text == "DIMSE Badly formed message"


def test_request_without_a_class() -> None:
    for empty in (b"", b"  ", b"\0\0"):
        assert decode(wire.store_rq(None, INSTANCE, e0002=empty)) == StoreRequest(1, "", INSTANCE)


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
@pytest.mark.parametrize("length", [1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
def test_element_beyond_the_end(raw: bytes, length: int) -> None:
    with pytest.raises(PeerError, match="Element exceeds the command") as caught:
        decode(raw + struct.pack("<HHL", 0, 0x0600, length))
    assert caught.value.condition == "0006:020b"


def test_nothing_at_all() -> None:
    expect_failure(b"", wire.FIELD)


@pytest.mark.parametrize("raw", VALID, ids=range(len(VALID)))
def test_cut_anywhere(raw: bytes) -> None:
    """A command set without its end is an error, or lacks what need not be there; no more."""
    whole = decode(raw)
    failed = 0
    for end in range(len(raw)):
        try:
            record = decode(raw[:end])
        except PeerError:
            failed += 1
        else:
            assert isinstance(whole, StoreResponse)
            assert record == whole._replace(sop_instance="")
    # Only what stands behind the last mandatory element may be lost: one UID element's header.
    assert failed == len(raw) - (8 if isinstance(whole, StoreResponse) else 0)


def outcome(raw: bytes) -> CommandSet | str:
    """Return the record, or the condition of the refusal."""
    try:
        return decode(raw)
    except PeerError as error:
        return error.condition


@QUICK
@given(st.binary(max_size=200))
@example(STORE_RQ)
def test_random_bytes_are_decoded_or_refused(raw: bytes) -> None:
    found = outcome(raw)
    if isinstance(found, str):
        assert found in ("0006:020b", "0006:0203")
    else:
        assert type(decode(encode(found))) is type(found)


@QUICK
@given(st.sampled_from(VALID), st.data())
def test_changed_bytes_are_decoded_or_refused(raw: bytes, data: st.DataObject) -> None:
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(bytes(changed))
    assert not isinstance(found, str) or found in ("0006:020b", "0006:0203")
