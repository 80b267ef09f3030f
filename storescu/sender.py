"""An association from its request to its end: files in, an exit status out.

While the peer digests an object, the next file is already opened and looked at: what is wrong
with a file may be known before its turn, but is never said before it.
"""

import itertools
import logging
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dcmstore import command, elements, encoding, negotiation, pdu, uids
from dcmstore.command import StoreRequest, StoreResponse
from dcmstore.connection import PEER_RELEASES, Buffer, Closed, Command, ReceivedEvent
from dcmstore.dataset import OutputOptions
from dcmstore.errors import AssociationError, LocalError, PeerError
from dcmstore.states import State
from dcmstore.transport import PEER_GONE, Link, TimedOut
from storescu import progress, report
from storescu.loading import BadFile, Loaded, load
from storescu.syntaxnames import long_name

log = logging.getLogger("dcmtk.apps.storescu")
net_log = logging.getLogger("dcmtk.dcmnet")
data_log = logging.getLogger("dcmtk.dcmdata")

PEER_LOST = 10
"""Exit status: the peer ended the association while it owed a response."""

_INTERRUPTED_PATIENCE = 1.0
_SMALLEST_LIMIT, _STATED_INSTEAD = 24, 4084
_GONE = PeerError(PEER_GONE, "Peer aborted Association (or never connected)")


class Service(NamedTuple):
    """How objects are read, sent and accounted for; times in seconds, None for ever."""

    readmode: str
    output: OutputOptions
    prefer_deflated: bool
    repeat: int
    halt: bool
    rename: bool
    abort: bool
    max_send_pdu: int
    socket_timeout: float | None
    acse_timeout: float
    dimse_timeout: float | None
    parameter_level: int  # of log messages that show all parameters of the association


class Prepared(NamedTuple):
    """A file that waits for its turn.

    Either ``complaint`` says what is wrong with it, or ``lists`` are what to send, or there is
    ``caution`` about why nothing can be sent; ``problem`` goes with all but the second.
    """

    problem: LocalError | None = None
    complaint: str = ""
    caution: str = ""
    warnings: tuple[str, ...] = ()
    sop_class: str = ""
    sop_instance: str = ""
    converting: str = ""
    ahead: int = 0  # bytes that go before those of the data set
    lists: Iterable[list[Buffer]] = ()


class Refused(Exception):
    """The peer takes no association, or none that objects could be sent on; says why."""


class Sender:
    """One association on a connected link: ``request`` it, then ``send``, which ends it."""

    def __init__(self, link: Link, service: Service) -> None:
        self._link = link
        self._connection = link.connection
        self._events = link.events()
        self._service = service
        self._titles = ("", "")
        self._contexts: dict[str, list[tuple[int, str]]] = {}
        self._chosen: dict[tuple[str, str], tuple[int, str] | None] = {}
        self._limit = 0
        self._prepared: Prepared | None = None  # the file of the next attempt
        self._dots = progress.wanted()
        self._debug = log.isEnabledFor(logging.DEBUG)

    def request(self, request: pdu.AssociateRequest) -> None:
        """Negotiate the association. Raises AssociationError, and Refused."""
        self._titles = (request.calling, request.called)
        self._link.send(self._connection.request(request))
        try:
            answer = self._answer()
        except PeerError:
            self._part(self._connection.farewell)
            raise
        if isinstance(answer, pdu.AssociateReject):
            raise Refused(report.rejection(answer))
        if not isinstance(answer, pdu.AssociateAccept):
            raise _GONE
        level = self._service.parameter_level
        if log.isEnabledFor(level):
            from dcmstore import dumps

            log.log(level, "%s", dumps.received_accept(request, answer))
        accepted = self._connection.accepted
        if not accepted:
            raise Refused("No Acceptable Presentation Contexts")
        for context in request.contexts:
            if context.id in accepted:
                same_class = self._contexts.setdefault(context.abstract_syntax, [])
                same_class.append((context.id, accepted[context.id]))
        self._limit = negotiation.send_limit(answer.max_length, self._service.max_send_pdu)
        log.info("Association Accepted (Max Send PDV: %d)", _stated_limit(answer.max_length))

    def send(self, paths: Sequence[str]) -> int:
        """Send the files, end the association, and return the program's exit status."""
        service, repeat = self._service, self._service.repeat
        result: int | AssociationError = report.SUCCESS
        stored = True
        for number in range(len(paths) * repeat):
            path = paths[number // repeat]
            result = self._attempt(paths, number)
            stored = stored and isinstance(result, int) and report.is_stored(result)
            halted = service.halt and not stored
            if halted or number % repeat == repeat - 1:
                if service.rename:
                    _rename(path, ".done" if stored else ".bad")
                if halted:
                    break
                stored = True
        if not service.halt:
            result = report.SUCCESS
        if isinstance(result, AssociationError):
            return self._give_up(result)
        ended = self._abort() if service.abort else self._release()
        return report.exit_code(result) if ended else 1

    def interrupt(self) -> None:
        """End the association at once, in due form unless a message has been cut in two."""
        if not self._link.mid_message:
            self._abort(_INTERRUPTED_PATIENCE)

    # One object

    def _attempt(self, paths: Sequence[str], number: int) -> int | AssociationError:
        """Send the file of one attempt; return the status, or why there is none."""
        repeat = self._service.repeat
        path = paths[number // repeat]
        message_id = number + 1 & 0xFFFF
        log.info("Sending file: %s", path)
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            prepared = self._prepare(path, message_id)
        for text in prepared.warnings:
            data_log.warning("%s", text)
        if prepared.complaint:
            log.error("%s", prepared.complaint)
            assert prepared.problem is not None
            return prepared.problem
        if log.isEnabledFor(logging.INFO):
            if prepared.converting:
                log.info("%s", prepared.converting)
            modality = report.modality(prepared.sop_class)
            log.info("Sending Store Request (MsgID %d, %s)", message_id, modality)
            if self._debug:
                from dcmstore import dumps

                request = StoreRequest(message_id, prepared.sop_class, prepared.sop_instance)
                log.debug("%s", dumps.outgoing(request))
        try:
            self._transmit(prepared)
            number += 1
            if number < len(paths) * repeat:
                following = paths[number // repeat]
                if following != path or not self._service.rename:
                    self._prepared = self._prepare(following, number + 1 & 0xFFFF)
            status = self._response(message_id)
        except AssociationError as error:
            log.error("Store Failed, file: %s:\n%s", path, error)
            return error
        return status

    def _prepare(self, path: str, message_id: int) -> Prepared:
        """Do all for a file that can be done before its turn."""
        try:
            loaded = load(path, self._service.readmode, self._service.output)
        except BadFile as error:
            return Prepared(
                LocalError(error.condition, error.text), f"Bad DICOM file: {path}: {error.text}"
            )
        found = loaded.findings
        sop_class, sop_instance, warnings = found.sop_class, found.sop_instance, found.warnings
        if not sop_class or not sop_instance:
            return Prepared(
                LocalError("0006:0202", "DIMSE Inappropriate data for message"),
                f"No SOP Class or Instance UID in file: {path}",
                warnings=warnings,
            )
        own = loaded.transfer_syntax
        if self._service.prefer_deflated and own in uids.NATIVE:
            own = uids.DEFLATED
        chosen = self._choose(sop_class, own)
        if chosen is None:
            return Prepared(
                LocalError("0006:0208", "DIMSE No valid Presentation Context ID"),
                f"No presentation context for: ({report.sop_class(sop_class)}) {sop_class}",
                warnings=warnings,
            )
        context_id, syntax = chosen
        converting = ""
        if syntax != own:
            converting = f"Converting transfer syntax: {long_name(own)} -> {long_name(syntax)}"
        ready = Prepared(
            warnings=warnings,
            sop_class=sop_class,
            sop_instance=sop_instance,
            converting=converting,
        )
        request = command.encode(StoreRequest(message_id, sop_class, sop_instance))
        try:
            parts = encoded(loaded, syntax, self._service.output)
            first = self._connection.message(context_id, request, self._limit)
            lists = self._connection.data(context_id, parts, self._limit, first)
            # The first list, often the only one, is made now; the others while they are sent.
            lists = itertools.chain([next(lists)], lists)
        except encoding.EncodingError:
            calling, called = self._titles
            return ready._replace(
                problem=_not_sent(),
                caution=f"DIMSE Warning: ({calling},{called}): sendMessage: unable to convert"
                f" dataset from '{long_name(loaded.transfer_syntax)}' transfer syntax"
                f" to '{long_name(syntax)}'",
            )
        except LocalError as error:
            return ready._replace(problem=error)
        return ready._replace(ahead=len(first), lists=lists)

    def _choose(self, sop_class: str, own: str) -> tuple[int, str] | None:
        """Return ID and transfer syntax of the context for a class and a file's own syntax."""
        try:
            return self._chosen[sop_class, own]
        except KeyError:
            contexts = self._contexts.get(sop_class, [])
            chosen = min(contexts, key=lambda context: _distance(own, context[1]), default=None)
            self._chosen[sop_class, own] = chosen
            return chosen

    def _transmit(self, prepared: Prepared) -> None:
        if self._connection.state is not State.Sta6:
            # With --no-halt files are tried although the association is gone.
            raise _not_sent()
        if not self._dots:
            if prepared.problem is None:
                self._link.send_gathered(prepared.lists)
                return
        else:
            dots = progress.Dots()
            if prepared.problem is None:
                self._link.send_gathered(dots.watch(prepared.lists, self._limit, prepared.ahead))
                dots.end()
                return
        if prepared.caution:
            net_log.warning("%s", prepared.caution)
        raise prepared.problem

    def _response(self, message_id: int) -> int:
        """Wait for the response to a request, and return its status."""
        service = self._service
        if service.dimse_timeout is not None:
            self._link.expect_answer_within(service.dimse_timeout, service.socket_timeout)
        try:
            event = self._next_event()
        except PeerError as error:
            raise PeerError("0006:020d", f"DIMSE Failed to receive message\n{error}") from None
        if isinstance(event, Command):
            response = event.command
            if not isinstance(response, StoreResponse):
                field = _field(response)
                raise LocalError(
                    "0006:0211", f"DIMSE: Unexpected Response Command Field: {field:#x}"
                )
            if response.message_id != message_id:
                raise LocalError(
                    "0006:0211",
                    f"DIMSE: Unexpected Response MsgId: {response.message_id}"
                    f" (expected: {message_id})",
                )
            self._show_response(event.context_id, response)
            return response.status
        if isinstance(event, TimedOut):
            raise LocalError("0006:0207", "DIMSE No data available (timeout in non-blocking mode)")
        if isinstance(event, pdu.ReleaseRequest):
            raise PeerError(PEER_RELEASES, "DUL Peer Requested Release")
        raise _GONE

    def _show_response(self, context_id: int, response: StoreResponse) -> None:
        if self._debug:
            from dcmstore import dumps

            log.info("Received Store Response")
            log.debug("%s", dumps.incoming(context_id, response))
        elif log.isEnabledFor(logging.INFO):
            log.info("Received Store Response (%s)", report.status(response.status))

    def _next_event(self) -> ReceivedEvent | TimedOut:
        return next(self._events, Closed())

    def _answer(self) -> ReceivedEvent:
        """Wait for the answer to an association or release request."""
        service = self._service
        self._link.expect_answer_within(service.acse_timeout, service.socket_timeout)
        event = self._next_event()
        self._link.expect_anything()
        if isinstance(event, TimedOut):
            raise PeerError("0006:031a", "DUL network read timeout")
        return event

    # The end

    def _give_up(self, problem: AssociationError) -> int:
        """End the association because of a problem other than a status."""
        if problem.condition == PEER_GONE:
            log.info("Peer Aborted Association")
            return PEER_LOST
        if problem.condition == PEER_RELEASES:
            log.error("Protocol Error: Peer requested release (Aborting)")
            self._abort()
            return PEER_LOST
        log.error("Store SCU Failed: %s", problem)
        self._abort()
        return 1

    def _release(self) -> bool:
        log.info("Releasing Association")
        try:
            self._link.send(self._connection.release())
            if isinstance(self._answer(), pdu.ReleaseReply):
                return True
            raise _GONE
        except AssociationError as error:
            log.error("Association Release Failed: %s", error)
        self._part(self._connection.farewell)
        return False

    def _abort(self, patience: float | None = None) -> bool:
        """Abort, and give the peer so many seconds (the ACSE time-out) to close first."""
        log.info("Aborting Association")
        return self._part(self._connection.farewell or self._connection.abort(), patience)

    def _part(self, last: bytes, patience: float | None = None) -> bool:
        """Send the last PDU of all, if there is one; return whether the peer was still there."""
        if not last:
            return True
        try:
            self._link.send(last)
        except PeerError as error:
            log.error("Association Abort Failed: %s", error)
            return False
        self._link.wait_for_close(patience or self._service.acse_timeout)
        return True


def _not_sent() -> LocalError:
    return LocalError("0006:020e", "DIMSE Failed to send message")


def _field(received: command.CommandSet) -> int:
    """Return the command field of a command that is no C-STORE-RSP."""
    if isinstance(received, command.OtherCommand):
        return received.field
    if isinstance(received, StoreRequest):
        return command.C_STORE_RQ
    return command.C_ECHO_RQ if isinstance(received, command.EchoRequest) else command.C_ECHO_RSP


def encoded(loaded: Loaded, syntax: str, output: OutputOptions) -> Iterable[Buffer]:
    """Return the data set of a file, in parts, in the form in which it travels.

    Raises EncodingError if it cannot be written in this transfer syntax.
    """
    data, start, own, found = loaded
    if syntax == own and syntax != uids.DEFLATED and not found.reasons and not found.unwritable:
        return (data[start:],)
    if syntax != own:
        output = output._replace(transfer_syntax=syntax)
        found = elements.inspect(data, start, own, output)
    return encoding.encoded(data, start, len(data), found, own, output)


def _distance(own: str, accepted: str) -> int:
    """Rank an accepted transfer syntax for a file in another; the least is taken."""
    if accepted == own:
        return 0
    if accepted in (uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG):
        return 1
    return 2 if accepted == uids.IMPLICIT_LITTLE else 3


def _stated_limit(peer_max: int) -> int:
    """Return the fragment length to state; it is not that of --max-send-pdu."""
    limit = negotiation.send_limit(peer_max)
    if limit >= _SMALLEST_LIMIT:
        return limit
    if limit < 1:
        net_log.warning("ASSOC: PDV send length %d (using default)", limit)
    else:
        net_log.warning("ASSOC: PDV send length too small, using DUL to split larger PDVs.")
    return _STATED_INSTEAD


def _rename(path: str, suffix: str) -> None:
    try:
        os.rename(path, path + suffix)
    except OSError:
        log.warning("cannot rename file '%s' to '%s'", path, path + suffix)
    else:
        log.debug("renamed file '%s' to '%s'", path, path + suffix)
