"""An association from its request to its end: files in, an exit status out.

While the peer digests an object, the next file is already opened and looked at: what is wrong
with a file may be known before its turn, but is never said before it.
"""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dcmstore import command, negotiation, pdu
from dcmstore.command import StoreRequest, StoreResponse
from dcmstore.connection import PEER_RELEASES, Closed, Command, Data, ReceivedEvent
from dcmstore.dataset import OutputOptions
from dcmstore.errors import AssociationError, LocalError, PeerError
from dcmstore.states import State
from dcmstore.transport import PEER_GONE, Link, TimedOut
from storescu import progress, report
from storescu.preparing import Prepared, Preparer, not_sent

if TYPE_CHECKING:  # few runs invent anything
    from storescu.invent import Inventor

log = logging.getLogger("dcmtk.apps.storescu")
net_log = logging.getLogger("dcmtk.dcmnet")
data_log = logging.getLogger("dcmtk.dcmdata")

PEER_LOST = 10
"""Exit status: the peer ended the association while it owed a response."""

_SMALLEST_LIMIT, _STATED_INSTEAD = 24, 4084
_CLOSED = Closed()
_NOTHING = ("", None)
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
    inventor: "Inventor | None" = None


class Refused(Exception):
    """The peer takes no association, or none that objects could be sent on; says why."""


class Sender:
    """One association on a connected link: ``request`` it, then ``send``, which ends it."""

    # Once there is an association:
    _preparer: Preparer
    _titles: tuple[str, str]  # calling, called

    def __init__(self, link: Link, service: Service) -> None:
        self._link = link
        self._connection = link.connection
        self._events = link.events()
        self._service = service
        self._limit = 0
        self._message_id = 0
        self._incomplete = False  # a message has ended before its data set
        self._ahead: tuple[str, Prepared | None] = _NOTHING
        self._dots = progress.wanted()
        self._debug = log.isEnabledFor(logging.DEBUG)

    def request(self, request: pdu.AssociateRequest) -> None:
        """Negotiate the association. Raises AssociationError, Refused and Interrupted."""
        service = self._service
        self._link.expect_answer_within(service.acse_timeout, service.socket_timeout)
        self._link.open()
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
        level = service.parameter_level
        if log.isEnabledFor(level):
            from dcmstore import dumps

            log.log(level, "%s", dumps.received_accept(request, answer))
        accepted = self._connection.accepted
        if not accepted:
            raise Refused("No Acceptable Presentation Contexts")
        if request.user_identity is not None:
            _check_identity(request.user_identity, answer.user_identity_response)
        contexts: dict[str, list[tuple[int, str]]] = {}
        for context_id, sop_class, _ in request.contexts:
            if context_id in accepted:
                contexts.setdefault(sop_class, []).append((context_id, accepted[context_id]))
        self._limit = negotiation.send_limit(answer.max_length, service.max_send_pdu)
        self._titles = (request.calling, request.called)
        self._preparer = Preparer(
            self._connection,
            contexts,
            self._limit,
            self._titles,
            service.readmode,
            service.output,
            service.prefer_deflated,
            service.inventor,
        )
        log.info("Association Accepted (Max Send PDV: %d)", _stated_limit(answer.max_length))

    def send(self, paths: Sequence[str]) -> int:
        """Send the files, end the association, and return the program's exit status.

        Raises Interrupted when the link was.
        """
        service = self._service
        result: int | AssociationError = report.SUCCESS
        for place, path in enumerate(paths, 1):
            following = paths[place] if place < len(paths) else None
            result, stored = self._send_file(path, following)
            if service.rename:
                _rename(path, ".done" if stored else ".bad")
            if service.halt and not stored:
                break
        if not service.halt:
            result = report.SUCCESS
        if isinstance(result, AssociationError):
            return self._give_up(result)
        ended = self.abort() if service.abort else self._release()
        return report.exit_code(result) if ended else 1

    def abort(self) -> bool:
        """Abort the association, and let the peer close first; return whether it was there."""
        log.info("Aborting Association")
        return self._part(self._connection.farewell or self._connection.abort())

    # One object

    def _send_file(self, path: str, following: str | None) -> tuple[int | AssociationError, bool]:
        """Send a file as often as asked for; return the last result, and whether all were good.

        ``following`` is the path of the next file, which can be looked at meanwhile.
        """
        service = self._service
        if service.rename and following == path:
            # By the time of its turn it has another name.
            following = None
        stored = True
        for left in range(service.repeat - 1, -1, -1):
            result = self._attempt(path, path if left else following)
            if isinstance(result, AssociationError):
                return result, False
            stored = stored and report.is_stored(result)
            if service.halt and not stored:
                break
        return result, stored

    def _attempt(self, path: str, following: str | None) -> int | AssociationError:
        """Send a file once; return the status, or why there is none."""
        self._message_id = message_id = self._message_id + 1 & 0xFFFF
        log.info("Sending file: %s", path)
        prepared = self._take_prepared(path, message_id)
        for text in prepared.warnings:
            data_log.warning("%s", text)
        if prepared.identity is not None:
            prepared.identity.tell()
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
            if following is not None:
                ahead = self._preparer.prepare(following, message_id + 1 & 0xFFFF)
                self._ahead = (following, ahead)
            return self._response(message_id)
        except AssociationError as error:
            log.error("Store Failed, file: %s:\n%s", path, error)
            return error

    def _take_prepared(self, path: str, message_id: int) -> Prepared:
        known, prepared = self._ahead
        self._ahead = _NOTHING
        if prepared is None or known != path:
            return self._preparer.prepare(path, message_id)
        return prepared

    def _transmit(self, prepared: Prepared) -> None:
        if self._connection.state is not State.Sta6 or self._is_cut_off():
            # With --no-halt files are tried although the association is gone.
            raise not_sent()
        try:
            if not self._dots:
                if prepared.problem is None:
                    self._link.send_gathered(prepared.lists)
                    return
            else:
                dots = progress.Dots()
                if prepared.problem is None:
                    lists = dots.watch(prepared.lists, self._limit, prepared.ahead)
                    self._link.send_gathered(lists)
                    dots.end()
                    return
        except LocalError:
            # The file has become shorter; what is missing of it cannot be made up for.
            self._incomplete = True
            raise
        if prepared.caution:
            net_log.warning("%s", prepared.caution)
        raise prepared.problem

    def _is_cut_off(self) -> bool:
        """Tell whether the peer would take all that follows for the rest of something else."""
        return self._link.mid_pdu or self._incomplete

    def _response(self, message_id: int) -> int:
        """Wait for the response to a request, and return its status."""
        service = self._service
        if service.dimse_timeout is not None:
            self._link.expect_answer_within(service.dimse_timeout, service.socket_timeout)
        try:
            event = self._next_event()
            while isinstance(event, Data):
                # It belongs to an earlier response, which was turned down.
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
            if response.has_data:
                net_log.warning(
                    "DIMSE Warning: (%s,%s): C-Store RSP: DataSetType != NULL", *self._titles
                )
                raise LocalError("0006:0203", "DIMSE Badly formed message")
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
            if response.details:
                log.debug("%s", dumps.status_detail(response))
        elif log.isEnabledFor(logging.INFO):
            log.info("Received Store Response (%s)", report.status(response.status))

    def _next_event(self) -> ReceivedEvent | TimedOut:
        return next(self._events, _CLOSED)

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
            self.abort()
            return PEER_LOST
        log.error("Store SCU Failed: %s", problem)
        self.abort()
        return 1

    def _release(self) -> bool:
        log.info("Releasing Association")
        try:
            if self._is_cut_off():
                raise not_sent()
            self._link.send(self._connection.release())
            if isinstance(self._answer(), pdu.ReleaseReply):
                return True
            raise _GONE
        except AssociationError as error:
            log.error("Association Release Failed: %s", error)
        self._part(self._connection.abort() if self._incomplete else self._connection.farewell)
        return False

    def _part(self, last: bytes) -> bool:
        """Send the last PDU of all, if there is one; return whether the peer was still there."""
        if not last or self._link.mid_pdu:
            # In the middle of another it would be taken for data; closing says the same.
            return True
        try:
            self._link.send(last)
        except PeerError as error:
            log.error("Association Abort Failed: %s", error)
            return False
        self._link.wait_for_close(self._service.acse_timeout)
        return True


def _field(received: command.CommandSet) -> int:
    """Return the command field of a command that is no C-STORE-RSP."""
    if isinstance(received, command.OtherCommand):
        return received.field
    if isinstance(received, StoreRequest):
        return command.C_STORE_RQ
    return command.C_ECHO_RQ if isinstance(received, command.EchoRequest) else command.C_ECHO_RSP


def _check_identity(asked: pdu.UserIdentity, response: bytes | None) -> None:
    from storescu import identity  # few runs need it

    if identity.is_unanswered(asked, response):
        log.error("User Identity Negotiation failed: Positive response requested but none received")
        raise Refused("0006:0108 ASC User Identification Negotiation failed")


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
