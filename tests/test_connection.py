"""The protocol machine: whole conversations on both sides, however their bytes are cut."""

import random

import pytest
from harness import wire
from harness.machine import (
    ENDS,
    MAX_PDU,
    Failure,
    Part,
    Seen,
    accept_all,
    acceptor,
    drain,
    feed,
    joined,
    put,
    requestor,
)
from harness.peer import Cut, byte_by_byte, random_cuts, whole

from dcmstore import command, pdu
from dcmstore.connection import BUFFER_SIZE, Closed, Command, Connection, Data
from dcmstore.errors import LocalError
from dcmstore.negotiation import send_limit
from dcmstore.states import State

CONTEXTS = [(1, wire.CT, (wire.EXPLICIT,)), (3, wire.MR, (wire.IMPLICIT,))]
REQUEST = wire.associate_rq(CONTEXTS)
STORE = wire.store_rq(wire.CT, "1.2.3", 5)
STORED = command.StoreRequest(5, wire.CT, "1.2.3")
ECHO = wire.echo_rq(6)
ECHOED = command.EchoRequest(6, wire.VERIFICATION)
DATA = bytes(range(256)) * 40

OUR_REQUEST = pdu.AssociateRequest(
    "STORESCP",
    "US",
    (
        pdu.PresentationContext(1, wire.CT, (wire.EXPLICIT,)),
        pdu.PresentationContext(3, wire.MR, (wire.IMPLICIT, wire.EXPLICIT)),
    ),
    MAX_PDU,
    "1.2.3.4",
    "V",
)
ACCEPTANCE = pdu.encode(
    pdu.AssociateAccept(
        "STORESCP",
        "US",
        (pdu.ContextResult(1, 0, wire.EXPLICIT), pdu.ContextResult(3, 4, wire.IMPLICIT)),
        MAX_PDU,
        "1.2.3.4",
        "V",
    )
)
REFUSAL = wire.associate_rj(1, 1, 7)


def as_command(raw: bytes, context: int = 1, size: int = MAX_PDU - 6) -> bytes:
    """Return a command set in PDUs of at most ``size`` bytes of it each."""
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    return b"".join(
        wire.p_data(wire.pdv(context, piece, command=True, last=number == len(pieces)))
        for number, piece in enumerate(pieces, 1)
    )


def as_data(data: bytes, context: int = 1, size: int = MAX_PDU - 6, per_pdu: int = 1) -> bytes:
    """Return a data set in PDUs of ``per_pdu`` values of at most ``size`` bytes each."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    values = [
        wire.pdv(context, piece, last=number == len(pieces))
        for number, piece in enumerate(pieces, 1)
    ]
    return b"".join(
        wire.p_data(*values[at : at + per_pdu]) for at in range(0, len(values), per_pdu)
    )


OBJECT = as_command(STORE) + as_data(DATA)
REPLY = as_command(wire.store_rsp(wire.CT, "1.2.3", 5, 0))
REPLIED = command.StoreResponse(5, 0, wire.CT, "1.2.3")

# Bytes for an acceptor, and the events after that of the request.
ACCEPTOR_SCRIPTS: dict[str, tuple[bytes, list[Seen]]] = {
    "nothing": (b"", []),
    "release": (wire.release_rq(), [pdu.ReleaseRequest()]),
    "abort": (wire.abort(2, 1), [pdu.Abort(2, 1)]),
    "echo": (as_command(ECHO), [Command(1, ECHOED)]),
    "echo-in-pieces": (as_command(ECHO, size=10), [Command(1, ECHOED)]),
    "echo-in-empty-pieces": (
        wire.p_data(wire.pdv(1, b"", command=True, last=False)) * 3
        + wire.p_data(wire.pdv(1, ECHO, command=True, last=False))
        + wire.p_data(wire.pdv(1, b"", command=True)),
        [Command(1, ECHOED)],
    ),
    "store": (OBJECT, [Command(1, STORED), Part(1, DATA, True)]),
    "store-in-small-pieces": (
        as_command(STORE, size=8) + as_data(DATA, size=100),
        [Command(1, STORED), Part(1, DATA, True)],
    ),
    "store-with-values-gathered": (
        as_command(STORE) + as_data(DATA, size=100, per_pdu=7),
        [Command(1, STORED), Part(1, DATA, True)],
    ),
    "store-in-one-pdu": (
        wire.p_data(
            wire.pdv(1, STORE, command=True),
            wire.pdv(1, DATA[:10], last=False),
            wire.pdv(1, DATA[10:1000], last=False),
            wire.pdv(1, b"", last=False),
            wire.pdv(1, DATA[1000:1002]),
        ),
        [Command(1, STORED), Part(1, DATA[:1002], True)],
    ),
    "two-messages-in-one-pdu": (
        wire.p_data(
            wire.pdv(1, STORE, command=True),
            wire.pdv(1, DATA[:10]),
            wire.pdv(3, STORE, command=True),
            wire.pdv(3, DATA[:12]),
            wire.pdv(3, ECHO, command=True),
        ),
        [
            Command(1, STORED),
            Part(1, DATA[:10], True),
            Command(3, STORED),
            Part(3, DATA[:12], True),
            Command(3, ECHOED),
        ],
    ),
    "empty-data-set": (
        as_command(STORE) + wire.p_data(wire.pdv(1, b"")),
        [Command(1, STORED), Part(1, b"", True)],
    ),
    "two-stores-then-release": (
        OBJECT * 2 + wire.release_rq(),
        [
            Command(1, STORED),
            Part(1, DATA, True),
            Command(1, STORED),
            Part(1, DATA, True),
            pdu.ReleaseRequest(),
        ],
    ),
    "abort-inside-data": (
        as_command(STORE) + wire.p_data(wire.pdv(1, DATA[:10], last=False)) + wire.abort(),
        [Command(1, STORED), Part(1, DATA[:10], False), pdu.Abort(0, 0)],
    ),
    "release-inside-data": (
        as_command(STORE) + wire.p_data(wire.pdv(1, DATA[:10], last=False)) + wire.release_rq(),
        [Command(1, STORED), Part(1, DATA[:10], False), pdu.ReleaseRequest()],
    ),
}
# Bytes for a requestor that has sent its request, and all the events.
REQUESTOR_SCRIPTS: dict[str, tuple[bytes, list[Seen]]] = {
    "rejected": (REFUSAL, [pdu.AssociateReject(1, 1, 7)]),
    "aborted": (wire.abort(), [pdu.Abort(0, 0)]),
    "accepted": (ACCEPTANCE, []),
    "answered": (ACCEPTANCE + REPLY, [Command(1, REPLIED)]),
    "answered-in-pieces": (
        ACCEPTANCE + as_command(wire.store_rsp(wire.CT, "1.2.3", 5, 0), size=2),
        [Command(1, REPLIED)],
    ),
    "peer-releases": (ACCEPTANCE + wire.release_rq(), [pdu.ReleaseRequest()]),
    "peer-stores": (
        ACCEPTANCE + OBJECT,
        [Command(1, STORED), Part(1, DATA, True)],
    ),
}
CUTS: dict[str, Cut] = {
    "whole": whole,
    "bytes": byte_by_byte,
    **{f"random-{seed}": random_cuts(seed) for seed in range(6)},
}


def with_end(events: list[Seen]) -> list[Seen]:
    """Return the events and, if nothing else has ended it, the close behind them."""
    return events if events and isinstance(events[-1], ENDS) else [*events, Closed()]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", ACCEPTOR_SCRIPTS)
def test_acceptor(name: str, cut: Cut) -> None:
    script, expected = ACCEPTOR_SCRIPTS[name]
    first, *others = feed(acceptor(), cut(REQUEST + script), close=True)
    assert isinstance(first, pdu.AssociateRequest)
    assert (first.calling, first.called) == ("WIRE", "STORESCP")
    assert others == with_end(expected)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", REQUESTOR_SCRIPTS)
def test_requestor(name: str, cut: Cut) -> None:
    script, expected = REQUESTOR_SCRIPTS[name]
    connection = requestor(OUR_REQUEST)
    found = feed(connection, cut(script), close=True, answer=lambda *_: None)
    if script.startswith(ACCEPTANCE):
        accepted, *found = found
        assert accepted == pdu.decode(2, ACCEPTANCE[6:])
        assert connection.accepted == {1: wire.EXPLICIT}
    assert found == with_end(expected)


JUNK = {
    "zero-header": bytes(6),
    "unknown-type": b"\x2a\0\0\0\0\4abcd",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "huge": b"\4\0\xff\xff\xff\xff" + bytes(50),
    "second-request": REQUEST,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("name", ["nothing", "echo", "store", "store-with-values-gathered"])
def test_junk_behind_it_changes_nothing_before(name: str, junk: bytes, cut: Cut) -> None:
    script, expected = ACCEPTOR_SCRIPTS[name]
    _, *found, failure = feed(acceptor(), cut(REQUEST + script + junk), close=True)
    assert found == expected
    # Cut or not, it is the same failure.
    *_, reference = feed(acceptor(), [REQUEST + script + junk])
    assert failure == reference
    assert isinstance(failure, Failure)
    assert failure.condition == ("0006:0308" if junk is JUNK["huge"] else "0006:020c")


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("name", ["nothing", "echo", "store"])
def test_unfinished_header_behind_it_is_no_event(name: str, count: int) -> None:
    script, expected = ACCEPTOR_SCRIPTS[name]
    connection = acceptor()
    _, *found = feed(connection, [REQUEST + script + b"\x2a" * count])
    assert found == expected
    assert not connection.mid_pdu
    connection.received(0)
    assert drain(connection) == [Closed()]


def test_states_of_an_acceptor() -> None:
    connection = acceptor()
    states = [connection.state]
    put(connection, REQUEST)
    event = connection.next_event()
    assert isinstance(event, pdu.AssociateRequest)
    states.append(connection.state)
    accept_all(connection, event)
    states.append(connection.state)
    put(connection, wire.release_rq())
    assert connection.next_event() == pdu.ReleaseRequest()
    states.append(connection.state)
    assert connection.release_reply() == wire.release_rp()
    states.append(connection.state)
    connection.received(0)
    assert connection.next_event() == Closed()
    states.append(connection.state)
    assert [state.value for state in states] == [2, 3, 6, 8, 13, 1]


def test_states_of_a_requestor() -> None:
    connection = Connection(acceptor=False, max_pdu=MAX_PDU)
    states = [connection.state]
    assert connection.request(OUR_REQUEST) == pdu.encode(OUR_REQUEST)
    states.append(connection.state)
    put(connection, ACCEPTANCE)
    assert isinstance(connection.next_event(), pdu.AssociateAccept)
    states.append(connection.state)
    assert connection.release() == wire.release_rq()
    states.append(connection.state)
    put(connection, wire.release_rp())
    assert connection.next_event() == pdu.ReleaseReply()
    states.append(connection.state)
    assert [state.value for state in states] == [4, 5, 6, 7, 1]


def test_rejecting() -> None:
    connection = acceptor()
    put(connection, REQUEST)
    connection.next_event()
    assert connection.reject(pdu.AssociateReject(2, 3, 2)) == wire.associate_rj(2, 3, 2)
    assert connection.state is State.Sta13
    assert connection.abort() == b""
    # What comes from a peer that does not know yet is passed over.
    put(connection, OBJECT + wire.release_rq())
    connection.received(0)
    assert drain(connection) == [Closed()]


def test_data_that_crosses_our_release_is_passed_over() -> None:
    connection = requestor(OUR_REQUEST)
    put(connection, ACCEPTANCE)
    connection.next_event()
    connection.release()
    put(connection, OBJECT + wire.p_data(b"nonsense") + wire.release_rp())
    assert drain(connection) == [pdu.ReleaseReply()]


def test_what_cannot_be_said_now() -> None:
    connection = acceptor()
    for attempt in (
        lambda: connection.request(OUR_REQUEST),
        lambda: connection.reject(pdu.AssociateReject(1, 1, 1)),
        connection.release,
        connection.release_reply,
        lambda: connection.message(1, ECHO, 100),
        lambda: connection.data(1, [DATA], 100),
    ):
        with pytest.raises(LocalError):
            attempt()
    assert connection.abort() == b""  # no association, nothing to abort
    assert connection.state is State.Sta2
    feed(connection, [REQUEST])
    for limit in (0, -2):
        with pytest.raises(LocalError, match="too small"):
            connection.message(1, ECHO, limit)
        with pytest.raises(LocalError, match="too small"):
            connection.data(1, [DATA], limit)
    assert connection.abort() == wire.abort(0, 0)
    assert connection.abort() == b""  # once is enough


@pytest.mark.parametrize("limit", [2, 10, 100, send_limit(MAX_PDU), send_limit(0)])
def test_two_machines_understand_each_other(limit: int) -> None:
    ours, theirs = Connection(acceptor=False, max_pdu=1 << 17), acceptor(1 << 17)
    feed(theirs, [ours.request(OUR_REQUEST)])
    feed(ours, [ACCEPTANCE], answer=lambda *_: None)
    request = command.encode(STORED)
    said = [b"".join(part) for part in ours.data(1, [DATA], limit, ours.message(1, request, limit))]
    assert feed(theirs, said) == [Command(1, STORED), Part(1, DATA, True)]
    answer = theirs.message(1, command.encode(REPLIED), limit)
    assert feed(ours, [answer], answer=lambda *_: None) == [Command(1, REPLIED)]
    assert feed(theirs, [ours.release()]) == [pdu.ReleaseRequest()]


def test_views_hold_until_the_next_event() -> None:
    connection = acceptor()
    feed(connection, [REQUEST])
    put(connection, as_command(STORE) + as_data(DATA, size=100, per_pdu=3) + OBJECT)
    assert isinstance(connection.next_event(), Command)
    taken = b""
    while True:
        event = connection.next_event()
        assert isinstance(event, Data)
        before = [bytes(view) for view in event.views]
        # Nothing that is asked meanwhile touches them.
        assert connection.mid_pdu
        connection.message(1, ECHO, 100)
        assert [bytes(view) for view in event.views] == before
        taken += b"".join(before)
        if event.last:
            break
    assert taken == DATA
    assert isinstance(connection.next_event(), Command)


def sizes_of(chance: random.Random, total: int) -> list[int]:
    """Return even sizes of values, small and large ones mixed, of about ``total`` bytes."""
    found = []
    while total > 0:
        top = chance.choice((2, 64, 2000, 20000, 65000, 131066))
        found.append(chance.randrange(0, top + 1) & ~1)
        total -= found[-1] + 100
    return found


@pytest.mark.parametrize("seed", range(6))
def test_bytes_survive_the_buffer(seed: int) -> None:
    """PDUs of all sizes, more than the buffer holds, received in pieces of all sizes."""
    chance = random.Random(seed)
    payload = chance.randbytes(1 << 18) * 24
    connection = acceptor(131072)
    feed(connection, [REQUEST])
    sent = bytearray(as_command(STORE))
    at = 0
    for size in [*sizes_of(chance, 2 * BUFFER_SIZE), 131066, 131066]:
        sent += wire.p_data(wire.pdv(1, payload[at : at + size], last=False))
        at += size
    sent += wire.p_data(wire.pdv(1, b"")) + as_command(ECHO)
    taken = bytearray()
    found: list[Seen] = []
    stream, position = bytes(sent), 0
    while position < len(stream):
        wanted = chance.choice((1, 7, 1000, 16384, 131072, BUFFER_SIZE))
        position += put(connection, stream[position : position + wanted])
        while (event := connection.next_event()) is not None:
            if isinstance(event, Data):
                for view in event.views:
                    taken += view
                found.append(Part(1, b"", event.last))
            else:
                assert isinstance(event, Command)
                found.append(event)
    assert bytes(taken) == payload[:at]
    assert joined(found) == [Command(1, STORED), Part(1, b"", True), Command(1, ECHOED)]
    assert connection.state is State.Sta6


@pytest.mark.parametrize("size", [2, 130, 16384, 65536, 131064, 131066])
def test_room_is_never_short(size: int) -> None:
    """A receive finds room wherever the last PDU left off."""
    connection = acceptor(131072)
    feed(connection, [REQUEST, as_command(STORE)])
    one = wire.p_data(wire.pdv(1, bytes(size), last=False))
    stream = one * (2 * BUFFER_SIZE // len(one) + 2) if size > 1000 else one * 5000
    taken, at = 0, 0
    # Always a byte more than whole PDUs: something is left over each time.
    step = max(1, 100_000 // len(one)) * len(one) + 1
    while at < len(stream):
        at += put(connection, stream[at : at + step])
        taken += sum(len(seen.data) for seen in drain(connection) if isinstance(seen, Part))
    assert taken == stream.count(one) * size


def test_request_of_a_mebibyte_fits() -> None:
    filler = wire.item(0x77, bytes(65000)) * 16
    body = REQUEST[6:] + filler
    body += wire.item(0x77, bytes((1 << 20) - len(body) - 4))
    connection = acceptor()
    assert feed(connection, random_cuts(1)(wire.pdu(1, body)[:2000])) == []
    (request,) = feed(connection, [wire.pdu(1, body)[2000:]])
    assert isinstance(request, pdu.AssociateRequest)
    assert connection.state is State.Sta6
