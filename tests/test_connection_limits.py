"""The protocol machine against peers that break the rules: what it says, and how soon."""

import struct

import pytest
from harness import wire
from harness.machine import (
    MAX_PDU,
    Failure,
    Part,
    acceptor,
    drain,
    feed,
    put,
    requestor,
)

from dcmstore import command, pdu
from dcmstore.command import MAX_COMMAND
from dcmstore.connection import Closed, Command, Connection, Data
from dcmstore.errors import LocalError
from dcmstore.states import State

CONTEXTS = [(1, wire.CT, (wire.EXPLICIT,)), (3, wire.MR, (wire.IMPLICIT,))]
REQUEST = wire.associate_rq(CONTEXTS)
STORE = wire.store_rq(wire.CT, "1.2.3", 5)
STORED = command.StoreRequest(5, wire.CT, "1.2.3")
USER_ABORT, PROVIDER_ABORT = wire.abort(0, 0), wire.abort(2, 2)
OURS = pdu.AssociateRequest(
    "CALLED", "CALLING", (pdu.PresentationContext(1, wire.CT, (wire.EXPLICIT,)),), MAX_PDU, "1", ""
)
ACCEPTANCE = pdu.encode(
    pdu.AssociateAccept("A", "B", (pdu.ContextResult(1, 0, wire.EXPLICIT),), MAX_PDU, "1", "")
)


def established(max_pdu: int = MAX_PDU) -> Connection:
    connection = acceptor(max_pdu)
    feed(connection, [REQUEST])
    assert connection.state is State.Sta6
    return connection


def as_command(raw: bytes, context: int = 1, *, last: bool = True) -> bytes:
    return wire.p_data(wire.pdv(context, raw, command=True, last=last))


def as_data(raw: bytes, context: int = 1, *, last: bool = False) -> bytes:
    return wire.p_data(wire.pdv(context, raw, last=last))


def failure_of(connection: Connection, data: bytes) -> Failure:
    """Feed the bytes one by one: the failure must come with the last of them, or before."""
    *_, failure = feed(connection, [data[at : at + 1] for at in range(len(data))])
    assert isinstance(failure, Failure)
    assert connection.state is State.Sta13
    assert connection.farewell == failure.farewell
    assert connection.abort() == b""
    return failure


def header(kind: int, length: int) -> bytes:
    return struct.pack(">BxL", kind, length)


# Lengths are judged with the header, before there is a body


@pytest.mark.parametrize("most", [4096, MAX_PDU, 131072])
@pytest.mark.parametrize("excess", [1, 2, 0xFFFFFFFF])
def test_data_longer_than_agreed(most: int, excess: int) -> None:
    length = min(most + excess, 0xFFFFFFFF)
    connection = established(most)
    assert feed(connection, [as_command(STORE)]) == [Command(1, STORED)]
    failure = failure_of(connection, header(wire.P_DATA, length))
    assert failure.condition == "0006:0308"
    assert failure.text == f"DUL Illegal PDU Length {length}.  Max expected {most}"
    assert failure.farewell == USER_ABORT


def test_data_longer_than_agreed_behind_plain_data() -> None:
    """The short way through bulk data judges lengths, too."""
    connection = established(4096)
    plain = as_data(bytes(4090))
    sent = as_command(STORE) + plain * 3 + header(wire.P_DATA, 4098) + bytes(4098)
    *found, failure = feed(connection, [sent])
    assert found == [Command(1, STORED), Part(1, bytes(3 * 4090), False)]
    assert isinstance(failure, Failure)
    assert failure.condition == "0006:0308"


@pytest.mark.parametrize("length", [4096])
def test_data_just_as_long_as_agreed(length: int) -> None:
    connection = established(length)
    feed(connection, [as_command(STORE)])
    assert feed(connection, [as_data(bytes(length - 6))]) == [Part(1, bytes(length - 6), False)]


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 24, 0xFFFFFFFF])
def test_request_over_a_mebibyte(length: int) -> None:
    failure = failure_of(acceptor(), header(wire.ASSOCIATE_RQ, length))
    assert failure == Failure("0006:0437", "A-ASSOCIATE PDU too large", b"")


@pytest.mark.parametrize("length", [(1 << 20) + 1, 0xFFFFFFFF])
def test_acceptance_over_a_mebibyte(length: int) -> None:
    failure = failure_of(requestor(OURS), header(wire.ASSOCIATE_AC, length))
    assert (failure.condition, failure.farewell) == ("0006:0437", b"")


@pytest.mark.parametrize("kind", [wire.RELEASE_RQ, wire.RELEASE_RP, wire.ABORT, wire.ASSOCIATE_RJ])
@pytest.mark.parametrize("length", [4097, 0xFFFFFFFF])
def test_short_pdus_are_not_long(kind: int, length: int) -> None:
    failure = failure_of(established(), header(kind, length))
    assert failure.condition == "0006:0308"
    assert failure.farewell == USER_ABORT


@pytest.mark.parametrize("kind", [0, 8, 0x2A, 0xFF])
def test_unknown_types(kind: int) -> None:
    first = failure_of(acceptor(), header(kind, 4))
    assert first == Failure("0006:0321", f"Unrecognized PDU type: {kind:02x}", b"")
    later = failure_of(established(), header(kind, 4))
    assert later.condition == "0006:020c"
    assert later.farewell == USER_ABORT


@pytest.mark.parametrize(
    ("sent", "hint"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "a TLS handshake"),
        (b"GET / HTTP/1.1", "an HTTP request"),
        (b"OPTIONS * HTTP/1.1", "an HTTP request"),
        (b"PRI * HTTP/2.0", "an HTTP/2 request"),
        (b"SSH-2.0-OpenSSH", "an SSH client"),
        (b"EHLO mail", "an SMTP client"),
        (b"\x03\x00\x00\x13\x0e\xe0", ""),
        (b"Hello, world", ""),
    ],
)
def test_strangers(sent: bytes, hint: str) -> None:
    failure = failure_of(acceptor(), sent)
    assert failure.farewell == b""
    assert failure.text.endswith(f"(the peer speaks another protocol: {hint})") == bool(hint)


# What a message may be


def test_command_without_end() -> None:
    connection = established()
    fragment = as_command(bytes(1000), last=False)
    for _ in range(MAX_COMMAND // 1000):
        assert feed(connection, [fragment]) == []
    failure = failure_of(connection, fragment)
    assert failure.condition == "0006:020b"
    assert "command is too long" in failure.text
    assert failure.farewell == USER_ABORT


@pytest.mark.parametrize("size", [MAX_COMMAND + 2, 131066])
def test_command_too_long_in_one_value(size: int) -> None:
    """What is too much in pieces is too much at once."""
    filler = wire.element(0x5110, bytes(size - len(STORE) - 8))
    failure = failure_of_whole(established(131072), as_command(STORE + filler))
    assert failure.condition == "0006:020b"
    assert "command is too long" in failure.text


def failure_of_whole(connection: Connection, data: bytes) -> Failure:
    *_, failure = feed(connection, [data])
    assert isinstance(failure, Failure)
    return failure


@pytest.mark.parametrize("pieces", [1, 2, 100])
def test_command_just_as_long_as_it_may_be(pieces: int) -> None:
    whole = STORE + wire.element(0x5110, bytes(MAX_COMMAND - len(STORE) - 8))
    assert len(whole) == MAX_COMMAND
    size = -(-len(whole) // pieces + 1) & ~1
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    sent = b"".join(as_command(part, last=part is parts[-1]) for part in parts)
    assert feed(established(131072), [sent]) == [Command(1, STORED)]


@pytest.mark.parametrize("size", [0, 2])
def test_tiny_values_are_gathered(size: int) -> None:
    """Each event costs its owner a system call, so a peer must not cause one with few bytes."""
    connection = established(131072)
    feed(connection, [as_command(STORE)])
    count = 131072 // (6 + size)
    put(connection, wire.p_data(*[wire.pdv(1, b"ab"[:size], last=False)] * count))
    events = values = 0
    while (event := connection.next_event()) is not None:
        assert isinstance(event, Data)
        assert len(event.views) <= 1023, "too many for writev(2)"
        events += 1
        values += len(event.views)
    assert values == count
    assert events <= count // 500 + 1


def test_empty_command_fragments_without_end_take_no_memory() -> None:
    connection = established()
    for _ in range(1000):
        assert feed(connection, [as_command(b"", last=False)]) == []
    assert feed(connection, [as_command(STORE)]) == [Command(1, STORED)]


BROKEN = {
    "context-not-accepted": (as_command(STORE, 5), "0006:0101", "presentation context"),
    "context-zero": (as_command(STORE, 0), "0006:0101", "presentation context"),
    "data-of-no-context": (as_command(STORE) + as_data(b"ab", 7), "0006:0101", "context"),
    "command-on-two": (
        as_command(STORE[:20], last=False) + as_command(STORE[20:], 3),
        "0006:0206",
        "command on two",
    ),
    "data-on-another": (
        as_command(STORE) + as_data(b"ab", 3),
        "0006:0206",
        "Command and Data Differ",
    ),
    "data-on-two": (
        as_command(STORE) + as_data(b"ab") + as_data(b"cd", 3),
        "0006:0206",
        "Command and Data Differ",
    ),
    "data-on-two-in-one-pdu": (
        as_command(STORE) + wire.p_data(wire.pdv(1, b"ab", last=False), wire.pdv(3, b"cd")),
        "0006:0206",
        "Command and Data Differ",
    ),
    "data-first": (as_data(b"abcd"), "0006:020d", "where a command is expected"),
    "data-behind-data": (
        as_command(STORE) + as_data(b"ab", last=True) + as_data(b"cd"),
        "0006:020d",
        "where a command is expected",
    ),
    "data-behind-echo": (
        as_command(wire.echo_rq()) + as_data(b"ab"),
        "0006:020d",
        "where a command is expected",
    ),
    "data-inside-command": (
        as_command(STORE[:20], last=False) + as_data(b"ab"),
        "0006:020d",
        "where a command is expected",
    ),
    "command-inside-data": (
        as_command(STORE) + as_data(b"ab") + as_command(STORE),
        "0006:020d",
        "inside a data set",
    ),
    "odd-command": (as_command(STORE[:21], last=False), "0006:020d", "Odd Fragment Length: 21"),
    "odd-data": (as_command(STORE) + as_data(b"abc"), "0006:020d", "Odd Fragment Length: 3"),
    "odd-data-behind-plain": (
        as_command(STORE) + as_data(b"ab") * 3 + as_data(b"c"),
        "0006:020d",
        "Odd Fragment Length: 1",
    ),
    "no-value": (wire.p_data(), "0006:0309", "without a presentation data value"),
    "no-value-behind-plain": (
        as_command(STORE) + as_data(b"ab") + wire.p_data(),
        "0006:0309",
        "without a presentation data value",
    ),
    "value-of-zero": (wire.pdu(4, bytes(6)), "0006:0309", "exceeds"),
    "value-of-one": (wire.pdu(4, b"\0\0\0\1\1\3"), "0006:0309", "exceeds"),
    "value-too-long": (wire.pdu(4, b"\0\0\0\4\1\3a"), "0006:0309", "exceeds"),
    "value-of-four-gibibytes": (wire.pdu(4, b"\xff\xff\xff\xff\1\3ab"), "0006:0309", "exceeds"),
    "half-a-value-header": (wire.pdu(4, bytes(5)), "0006:0309", "without a header"),
    "odd-data-in-one-pdu": (
        as_command(STORE)
        + wire.p_data(*[wire.pdv(1, b"ab", last=False)] * 3, wire.pdv(1, b"abc", last=False)),
        "0006:020d",
        "Odd Fragment Length: 3",
    ),
    "command-inside-data-in-one-pdu": (
        as_command(STORE)
        + wire.p_data(*[wire.pdv(1, b"ab", last=False)] * 3, wire.pdv(1, STORE, command=True)),
        "0006:020d",
        "inside a data set",
    ),
    "data-behind-data-in-one-pdu": (
        as_command(STORE) + wire.p_data(*[wire.pdv(1, b"ab")] * 2),
        "0006:020d",
        "where a command is expected",
    ),
    "third-value-too-long": (
        as_command(STORE) + wire.pdu(4, wire.pdv(1, b"ab", last=False) * 2 + b"\0\0\0\3\1\0"),
        "0006:0309",
        "exceeds",
    ),
    "third-value-of-one": (
        as_command(STORE)
        + wire.pdu(4, wire.pdv(1, b"ab", last=False) * 2 + b"\0\0\0\1\1\0" + bytes(8)),
        "0006:0309",
        "exceeds",
    ),
    "junk-behind-a-value": (
        as_command(STORE) + wire.pdu(4, wire.pdv(1, b"ab", last=False) + b"\0\0\0"),
        "0006:0309",
        "without a header",
    ),
    "command-cut": (as_command(STORE[:-3]), "0006:020d", "Odd"),
    "command-of-nothing": (as_command(b""), "0006:020b", "CommandField"),
    "element-too-long": (as_command(STORE[:-2]), "0006:020b", "exceeds the command"),
}


@pytest.mark.parametrize(("sent", "condition", "text"), BROKEN.values(), ids=BROKEN)
def test_broken_messages(sent: bytes, condition: str, text: str) -> None:
    failure = failure_of(established(), sent)
    assert failure.condition == condition
    assert text in failure.text
    assert failure.farewell == USER_ABORT
    assert failure_of_whole(established(), sent) == failure


def test_only_accepted_contexts_count() -> None:
    connection = acceptor()
    results = (
        pdu.ContextResult(1, 0, wire.EXPLICIT),
        pdu.ContextResult(3, 4, wire.IMPLICIT),
        pdu.ContextResult(1, 0, wire.BIG),
    )
    put(connection, REQUEST)
    connection.next_event()
    connection.accept(pdu.AssociateAccept("A", "B", results, MAX_PDU, "1", ""))
    assert connection.accepted == {1: wire.EXPLICIT}  # of two the first counts
    assert failure_of(connection, as_command(STORE, 3)).condition == "0006:0101"


# A data set that is given up


def test_a_new_command_after_data_was_abandoned() -> None:
    connection = established()
    feed(connection, [as_command(STORE) + as_data(b"ab")])
    connection.abandon_data()
    found = feed(connection, [as_command(STORE, 3), as_data(b"cd", 3, last=True)])
    assert found == [Command(3, STORED), Part(3, b"cd", True)]


def test_late_rest_of_abandoned_data() -> None:
    connection = established()
    feed(connection, [as_command(STORE) + as_data(b"ab")])
    connection.abandon_data()
    failure = failure_of(connection, as_data(b"cd", last=True))
    assert failure.condition == "0006:020d"


# PDUs that come at the wrong time


SHORT = {
    wire.ASSOCIATE_RQ: REQUEST,
    wire.ASSOCIATE_AC: ACCEPTANCE,
    wire.ASSOCIATE_RJ: wire.associate_rj(1, 1, 1),
    wire.P_DATA: as_command(STORE),
    wire.RELEASE_RQ: wire.release_rq(),
    wire.RELEASE_RP: wire.release_rp(),
}


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6])
def test_first_pdu_of_another_type(kind: int) -> None:
    failure = failure_of(acceptor(), SHORT[kind])
    assert failure == Failure("0006:0303", f"unexpected PDU of type {kind:02x}", USER_ABORT)


@pytest.mark.parametrize("kind", [1, 4, 5, 6])
def test_answer_of_another_type(kind: int) -> None:
    failure = failure_of(requestor(OURS), SHORT[kind])
    assert failure.condition == "0006:020c"
    assert failure.farewell == PROVIDER_ABORT


@pytest.mark.parametrize("kind", [1, 2, 3, 6])
def test_unexpected_inside_an_association(kind: int) -> None:
    failure = failure_of(established(), SHORT[kind])
    assert failure.condition == "0006:020c"
    assert failure.farewell == PROVIDER_ABORT


def test_release_collision() -> None:
    """The peer asks for the release while it is asked for it: told apart by its condition."""
    connection = requestor(OURS)
    feed(connection, [ACCEPTANCE], answer=lambda *_: None)
    connection.release()
    failure = failure_of(connection, wire.release_rq())
    assert failure == Failure("0006:0319", "DUL Peer Requested Release", b"")


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_unexpected_while_releasing(kind: int) -> None:
    connection = requestor(OURS)
    feed(connection, [ACCEPTANCE], answer=lambda *_: None)
    connection.release()
    failure = failure_of(connection, SHORT[kind])
    assert (failure.condition, failure.farewell) == ("0006:020c", PROVIDER_ABORT)


@pytest.mark.parametrize("version", [0, 2, 0xFFFE])
def test_another_protocol_version(version: int) -> None:
    failure = failure_of(acceptor(), wire.associate_rq(CONTEXTS, version=version))
    assert failure.condition == "0006:0322"
    assert f"{version:04x}" in failure.text
    assert failure.farewell == wire.associate_rj(1, 2, 2)


@pytest.mark.parametrize(
    "body",
    [b"", bytes(10), REQUEST[6:-1], REQUEST[6:] + b"\x50", REQUEST[6:] + b"\x50\0\0\4"],
)
def test_malformed_request(body: bytes) -> None:
    """Not even a rejection: who sends that may not be a DICOM peer at all."""
    failure = failure_of(acceptor(), wire.pdu(1, body if len(body) != 10 else b"\0\1" + body))
    assert failure.farewell == b""
    assert failure.condition == "0006:0308"


def test_malformed_acceptance() -> None:
    failure = failure_of(requestor(OURS), wire.pdu(2, ACCEPTANCE[6:-1]))
    assert failure.condition == "0006:0308"
    assert failure.farewell == USER_ABORT


# Ends


@pytest.mark.parametrize("end", [1, 5, 6, 40, len(REQUEST) - 1])
def test_close_inside_the_request(end: int) -> None:
    *_, failure = feed(acceptor(), [REQUEST[:end]], close=True)
    assert failure == Failure("0006:0310", "DUL network closed", b"")


@pytest.mark.parametrize("end", [1, 6, 20])
def test_close_inside_a_later_pdu(end: int) -> None:
    connection = established()
    assert feed(connection, [as_command(STORE)[:end]], close=True) == [Closed()]
    assert connection.state is State.Sta1


@pytest.mark.parametrize("sent", [b"", ACCEPTANCE[:7]])
def test_close_instead_of_an_answer(sent: bytes) -> None:
    assert feed(requestor(OURS), [sent], close=True) == [Closed()]


@pytest.mark.parametrize("last", [wire.abort(), wire.release_rq() + wire.abort()])
def test_nothing_is_read_behind_an_abort(last: bytes) -> None:
    """Who asks for more after the end is told that there is nothing, whatever has come in."""
    connection = established()
    put(connection, last)
    while not isinstance(connection.next_event(), pdu.Abort):
        continue
    put(connection, as_command(STORE))
    with pytest.raises(LocalError):
        connection.next_event()


def test_mid_pdu() -> None:
    connection = acceptor()
    for at in range(len(REQUEST) - 1):
        put(connection, REQUEST[at : at + 1])
        assert drain(connection) == []
        assert connection.mid_pdu == (at >= 5)
