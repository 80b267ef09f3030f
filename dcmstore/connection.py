"""One association without its socket: bytes in, events out (PS3.8 section 9.2, PS3.7 annex F).

The owner puts received bytes where ``room`` says, tells ``received`` how many there are, and
asks ``next_event`` until it returns None, which means: more bytes are needed. What this side
says is returned as bytes for the owner to send.

Received bytes stay in one buffer that is used again and again, larger than any PDU that is read.
A ``Data`` event shows slices of it, valid until the next event.
"""

import mmap
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dcmstore import command, fragments, pdu, strangers
from dcmstore.command import CommandSet
from dcmstore.errors import LocalError, PeerError
from dcmstore.fragments import Buffer
from dcmstore.states import (
    PDU_EVENTS,
    Action,
    Event,
    ImpossibleStepError,
    State,
    transition,
)

BUFFER_SIZE = 1 << 21
"""Bytes of the receive buffer. Only pages that bytes have come in are real; a bulk transfer
takes a third less processor time than with 256 KiB, since each receive takes more at once."""

UNEXPECTED_PDU = "0006:0303"
"""Condition: a PDU that exists came where the protocol has no place for it."""

PEER_RELEASES = "0006:0319"
"""Condition: the peer asks for the release where it is not its turn."""


class Command(NamedTuple):
    """A whole command set has come in on a presentation context."""

    context_id: int
    command: CommandSet


class Data(NamedTuple):
    """The next fragments of a data set, as many as are here; valid until the next event."""

    context_id: int
    views: list[memoryview]
    last: bool


class Closed(NamedTuple):
    """The peer closed the transport connection without a word."""


ReceivedEvent = (
    pdu.AssociateRequest
    | pdu.AssociateAccept
    | pdu.AssociateReject
    | Command
    | Data
    | pdu.ReleaseRequest
    | pdu.ReleaseReply
    | pdu.Abort
    | Closed
)

_NOT_READ = "0006:020c"  # condition: no message can be read any more

# Abort sources (PS3.8 table 9-26).
_USER, _PROVIDER = 0, 2
_UNEXPECTED = 2


class Connection:
    """The protocol machine of one association, on either side.

    ``state`` is that of PS3.8 section 9.2; ``accepted`` maps the accepted presentation context
    IDs to their transfer syntaxes, once negotiated. When ``next_event`` has raised PeerError,
    ``farewell`` holds the PDU that the peer is owed before the connection is closed, or nothing.
    """

    def __init__(self, *, acceptor: bool, max_pdu: int) -> None:
        self.state = State.Sta1
        self._requestor = not acceptor
        self.accepted: dict[int, str] = {}
        self.farewell = b""
        self._max_pdu = max_pdu
        # Mapped memory costs only the pages that are used; a bytearray is cleared first.
        self._buffer = mmap.mmap(-1, BUFFER_SIZE, flags=mmap.MAP_PRIVATE)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._pdu_end = 0  # of the P-DATA-TF PDU whose values are being delivered; 0: none
        self._peer_closed = False
        self._command = bytearray()
        self._command_context = 0
        self._data_context = 0  # of the data set that is coming in, which is its command's
        self._in_data = False
        self._step(Event.Evt5 if acceptor else Event.Evt1)

    # What comes in

    def room(self) -> memoryview:
        """Return where to put received bytes; invalidates the view of the last ``Data`` event."""
        start, end = self._start, self._end
        if start == end:
            self._start = self._end = start = end = 0
        elif start and (len(self._buffer) - end) * 2 < len(self._buffer):
            # Half the buffer or less is left: move the part of a PDU that is here to the front.
            self._view[: end - start] = self._view[start:end]
            self._start, self._end = 0, end - start
            start, end = self._start, self._end
        return self._view[end:]

    def received(self, count: int) -> None:
        """Say that ``count`` bytes were put into ``room``; 0 says that the peer has closed."""
        if count == 0:
            self._peer_closed = True
        self._end += count

    @property
    def mid_pdu(self) -> bool:
        """Whether at least the header of a PDU is here that has not come in whole."""
        return self._end - self._start >= 6

    def next_event(self) -> ReceivedEvent | None:
        """Return what the received bytes say next, or None if that takes more of them.

        Raises PeerError when the peer broke the protocol; see ``farewell`` then.
        """
        try:
            while True:
                if self._pdu_end:
                    event = self._next_value()
                    if event is not None:
                        return event
                    continue
                start, end = self._start, self._end
                if end - start < 6:
                    return self._starved() if self._peer_closed else None
                pdu_type, length = pdu.PDU_HEADER.unpack_from(self._buffer, start)
                if pdu_type != pdu.P_DATA_TF or length > self._max_pdu:
                    self._check_header(pdu_type, length)
                if end - start - 6 < length:
                    return self._starved() if self._peer_closed else None
                self._start = start + 6
                if pdu_type == pdu.P_DATA_TF and self.state is State.Sta6:
                    self._pdu_end = start + 6 + length
                    if length == 0:
                        raise _malformed("PDU without a presentation data value")
                    continue
                self._start += length
                control = self._control(pdu_type, self._view[start + 6 : start + 6 + length])
                if control is not None:
                    return control
        except PeerError:
            # After this nothing of the connection can be trusted; what remains is to say so.
            if self.state is State.Sta6 and not self.farewell:
                self.farewell = pdu.encode(pdu.Abort(_USER, 0))
            self.state = State.Sta13
            raise

    def abandon_data(self) -> None:
        """Expect a command next although a data set is under way (its time has run out)."""
        self._in_data = False

    # What goes out

    def request(self, request: pdu.AssociateRequest) -> bytes:
        """Return the A-ASSOCIATE-RQ, for a transport connection that has just been made."""
        self._step(Event.Evt2)
        return pdu.encode(request)

    def accept(self, accept: pdu.AssociateAccept) -> bytes:
        """Return the A-ASSOCIATE-AC that answers the request."""
        self._step(Event.Evt7)
        self._note_accepted(accept)
        return pdu.encode(accept)

    def reject(self, reject: pdu.AssociateReject) -> bytes:
        """Return the A-ASSOCIATE-RJ that answers the request."""
        self._step(Event.Evt8)
        return pdu.encode(reject)

    def release(self) -> bytes:
        """Return the A-RELEASE-RQ that asks for an orderly end."""
        self._step(Event.Evt11)
        return pdu.encode(pdu.ReleaseRequest())

    def release_reply(self) -> bytes:
        """Return the A-RELEASE-RP that answers the peer's request."""
        self._step(Event.Evt14)
        return pdu.encode(pdu.ReleaseReply())

    def abort(self) -> bytes:
        """Return the A-ABORT of a service user, or nothing if the peer would not expect one."""
        if self.state in (State.Sta1, State.Sta2, State.Sta4, State.Sta13):
            return b""
        self._step(Event.Evt15)
        return pdu.encode(pdu.Abort(_USER, 0))

    def message(self, context_id: int, command_set: bytes, limit: int) -> bytes:
        """Return the PDUs of a command, with ``limit`` bytes of it at most in each.

        Raises LocalError if the peer takes so little that nothing can be said.
        """
        self._may_send(limit)
        return fragments.command_pdus(context_id, command_set, limit)

    def data(
        self, context_id: int, parts: Iterable[Buffer], limit: int, first: bytes = b""
    ) -> Iterator[list[Buffer]]:
        """Return the PDUs of a data set, ``parts`` one after the other, behind those of ``first``.

        They come as lists of buffers to send gathered. Raises LocalError as ``message``.
        """
        self._may_send(limit)
        return fragments.data_pdus(context_id, parts, limit, first)

    # Inside

    def _step(self, event: Event, *, acceptable: bool = True) -> Action:
        try:
            action, self.state = transition(
                self.state, event, requestor=self._requestor, acceptable=acceptable
            )
        except ImpossibleStepError as error:
            raise LocalError(UNEXPECTED_PDU, f"DUL {error}") from None
        return action

    def _may_send(self, limit: int) -> None:
        if self.state is not State.Sta6:
            raise LocalError("0006:0106", "association is not established")
        if limit <= 0:
            raise LocalError("0006:0109", "maximum PDU length of the peer is too small")

    def _note_accepted(self, accept: pdu.AssociateAccept) -> None:
        for context in accept.contexts:
            if context.result == 0:
                # Of two contexts with one ID the first counts.
                self.accepted.setdefault(context.id, context.transfer_syntax)

    def _starved(self) -> Closed:
        if self.state is State.Sta2 and self._end > self._start:
            raise PeerError("0006:0310", "DUL network closed")
        if self.state is not State.Sta1:
            self._step(Event.Evt17)
        self._start = self._end = 0
        return Closed()

    def _check_header(self, pdu_type: int, length: int) -> None:
        try:
            pdu.check_header(pdu_type, length, self._max_pdu)
        except PeerError as error:
            if pdu_type in PDU_EVENTS:
                raise
            if self.state in (State.Sta2, State.Sta5):
                protocol = strangers.guess(bytes(self._view[self._start : self._start + 6]))
                hint = f" (the peer speaks another protocol: {protocol})" if protocol else ""
                raise PeerError(error.condition, error.text + hint) from None
            raise PeerError(_NOT_READ, f"DIMSE Read PDV failed: {error.text}") from None

    def _control(self, pdu_type: int, body: memoryview) -> ReceivedEvent | None:
        """Act on a PDU other than P-DATA-TF in an association; None for one to be ignored."""
        if self.state is State.Sta2 and pdu_type == pdu.A_ASSOCIATE_RQ:
            return self._requested(body)
        action = self._step(PDU_EVENTS[pdu_type])
        match action:
            case Action.AA_1:
                self.farewell = pdu.encode(pdu.Abort(_USER, 0))
                raise PeerError(UNEXPECTED_PDU, f"unexpected PDU of type {pdu_type:02x}")
            case Action.AA_8:
                self.farewell = pdu.encode(pdu.Abort(_PROVIDER, _UNEXPECTED))
                raise PeerError(
                    _NOT_READ, f"DIMSE Read PDV failed: unexpected PDU of type {pdu_type:02x}"
                )
            case Action.AR_8:
                raise PeerError(PEER_RELEASES, "DUL Peer Requested Release")
            case Action.AA_6 | Action.AA_7 | Action.AR_6:
                # AR-6: data that crosses our release request, and nobody waits for it any more.
                return None
        received = pdu.decode(pdu_type, body)
        assert not isinstance(received, pdu.PData)
        if isinstance(received, pdu.AssociateAccept):
            self._note_accepted(received)
        return received

    def _requested(self, body: memoryview) -> pdu.AssociateRequest:
        received = pdu.decode(pdu.A_ASSOCIATE_RQ, body)
        assert isinstance(received, pdu.AssociateRequest)
        acceptable = bool(received.protocol_version & 1)
        self._step(Event.Evt6, acceptable=acceptable)
        if not acceptable:
            self.farewell = pdu.encode(pdu.AssociateReject(1, 2, 2))
            raise PeerError(
                "0006:0322",
                f"DUL Unsupported peer protocol {received.protocol_version:04x};"
                " expected 0001 in parseAssociate",
            )
        return received

    def _next_value(self) -> Command | Data | None:
        """Take the next presentation data value of the PDU; None for an unfinished command."""
        at, pdu_end = self._start, self._pdu_end
        if pdu_end - at < 6:
            raise _malformed("presentation data value without a header")
        length, context_id, control = pdu.PDV_HEADER.unpack_from(self._buffer, at)
        value_end = at + 4 + length
        if length < 2 or value_end > pdu_end:
            raise _malformed("presentation data value exceeds its PDU")
        self._start = value_end
        if value_end == pdu_end:
            self._pdu_end = 0
        if length & 1:
            raise PeerError("0006:020d", f"DIMSE: Odd Fragment Length: {length - 2}")
        if context_id not in self.accepted:
            raise PeerError("0006:0101", "ASC Bad presentation context ID")
        if control & pdu.COMMAND:
            if self._in_data:
                raise PeerError("0006:020d", "DIMSE: command fragment inside a data set")
            return self._command_fragment(
                context_id, self._view[at + 6 : value_end], bool(control & pdu.LAST)
            )
        if not self._in_data:
            raise PeerError("0006:020d", "DIMSE: data set fragment where a command is expected")
        if context_id != self._data_context:
            raise PeerError("0006:0206", "DIMSE: Presentation Contexts of Command and Data Differ")
        views = [self._view[at + 6 : value_end]]
        last = bool(control & pdu.LAST)
        if not last:
            last = self._more_data(context_id, views)
        if last:
            self._in_data = False
        return Data(context_id, views, last)

    def _more_data(self, context_id: int, views: list[memoryview]) -> bool:
        """Add the plain fragments that are here too to ``views``; True if the last is among them.

        Whatever is not plain waits for the next event.
        """
        buffer, view = self._buffer, self._view
        last = False
        if self._pdu_end:
            self._start, last = fragments.gather_values(
                buffer, view, self._start, self._pdu_end, context_id, views
            )
            if self._start < self._pdu_end:
                return last
            self._pdu_end = 0
        if not last:
            self._start, last = fragments.gather_pdus(
                buffer, view, self._start, self._end, context_id, views, self._max_pdu
            )
        return last

    def _command_fragment(
        self, context_id: int, fragment: memoryview, last: bool
    ) -> Command | None:
        if self._command and context_id != self._command_context:
            raise PeerError("0006:0206", "DIMSE: command on two presentation contexts")
        if len(self._command) + len(fragment) > command.MAX_COMMAND:
            raise PeerError("0006:020b", "DIMSE Command Parse Failed: command is too long")
        if not last:
            self._command_context = context_id
            self._command += fragment
            return None
        if self._command:
            whole = bytes(self._command) + fragment
            self._command.clear()
        else:
            whole = bytes(fragment)
        received = command.decode(whole)
        self._in_data = received.has_data
        self._data_context = context_id
        return Command(context_id, received)


def _malformed(what: str) -> PeerError:
    return PeerError("0006:0309", f"DUL Illegal PDU: {what}")
