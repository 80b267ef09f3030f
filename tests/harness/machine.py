"""Drive a ``Connection`` without a socket: bytes in by pieces, events out as plain values."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from dcmstore import negotiation, pdu
from dcmstore.connection import Closed, Command, Connection, Data
from dcmstore.errors import PeerError

MAX_PDU = 16384


class Part(NamedTuple):
    """The bytes of one or more ``Data`` events in a row."""

    context_id: int
    data: bytes
    last: bool


class Failure(NamedTuple):
    """The PeerError that ended it, and the farewell that the peer is owed."""

    condition: str
    text: str
    farewell: bytes


Seen = (
    pdu.AssociateRequest
    | pdu.AssociateAccept
    | pdu.AssociateReject
    | pdu.ReleaseRequest
    | pdu.ReleaseReply
    | pdu.Abort
    | Command
    | Closed
    | Part
    | Failure
)
Answer = Callable[[Connection, Seen], None]

ENDS = (pdu.AssociateReject, pdu.ReleaseReply, pdu.Abort, Closed, Failure)
"""What nothing follows: nobody asks a connection for more behind one of these."""


def acceptor(max_pdu: int = MAX_PDU) -> Connection:
    """Return the accepting side of a transport connection that has just been made."""
    return Connection(acceptor=True, max_pdu=max_pdu)


def requestor(request: pdu.AssociateRequest, max_pdu: int = MAX_PDU) -> Connection:
    """Return the requesting side, its request sent."""
    connection = Connection(acceptor=False, max_pdu=max_pdu)
    connection.request(request)
    return connection


def accept_all(connection: Connection, seen: Seen) -> None:
    """Answer as a daemon does that accepts the first transfer syntax of everything."""
    if isinstance(seen, pdu.AssociateRequest):
        results = tuple(
            pdu.ContextResult(one.id, negotiation.ACCEPTED, one.transfer_syntaxes[0])
            for one in seen.contexts
        )
        connection.accept(
            pdu.AssociateAccept(seen.called, seen.calling, results, MAX_PDU, "1.2", "V")
        )
    elif isinstance(seen, pdu.ReleaseRequest):
        connection.release_reply()


def put(connection: Connection, data: bytes) -> int:
    """Put as many bytes into the room as there is, as one receive does; return their number."""
    room = connection.room()
    count = min(len(room), len(data))
    assert count, "no room for more"
    room[:count] = data[:count]
    connection.received(count)
    return count


def drain(connection: Connection, answer: Answer = accept_all) -> list[Seen]:
    """Return all events that the bytes which are here give, and answer them on the way."""
    found: list[Seen] = []
    while True:
        try:
            event = connection.next_event()
        except PeerError as error:
            found.append(Failure(error.condition, error.text, connection.farewell))
            return found
        if event is None:
            return found
        seen: Seen = event if not isinstance(event, Data) else _part(event)
        found.append(seen)
        if isinstance(seen, ENDS):
            return found
        answer(connection, seen)


def _part(event: Data) -> Part:
    return Part(event.context_id, b"".join(event.views), event.last)


def feed(
    connection: Connection,
    pieces: Iterable[bytes],
    *,
    close: bool = False,
    answer: Answer = accept_all,
) -> list[Seen]:
    """Feed the pieces one receive after the other, then the end of input if asked for.

    Parts of a data set that follow each other come back as one. Stops at an end.
    """
    found: list[Seen] = []
    for piece in pieces:
        while piece:
            piece = piece[put(connection, piece) :]
            found += drain(connection, answer)
            if found and isinstance(found[-1], ENDS):
                return joined(found)
    if close:
        connection.received(0)
        found += drain(connection, answer)
    return joined(found)


def joined(events: Iterable[Seen]) -> list[Seen]:
    """Return the events with neighbouring parts of one data set made one."""
    found: list[Seen] = []
    for event in events:
        before = found[-1] if found else None
        if isinstance(event, Part) and isinstance(before, Part) and not before.last:
            assert event.context_id == before.context_id
            found[-1] = Part(event.context_id, before.data + event.data, event.last)
        else:
            found.append(event)
    return found
