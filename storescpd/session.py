"""One association from its request to its end, on a connected socket: the same code whether
the socket came from the master, from inetd, or was accepted in this process.
"""

import logging
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from dcmstore import command, negotiation, pdu
from dcmstore.command import EchoRequest, StoreRequest
from dcmstore.connection import UNEXPECTED_PDU, Closed, Command, Connection, Data
from dcmstore.dataset import DataSetError
from dcmstore.errors import AssociationError, LocalError, PeerError
from dcmstore.text import printable
from dcmstore.transport import PEER_GONE, Interrupted, Link, TimedOut
from storescpd import roles, title
from storescpd.normal import NormalIncoming
from storescpd.signals import Stop
from storescpd.storage import Incoming, StoreOptions, log_class

if TYPE_CHECKING:
    from dcmstore.tls import Endpoint
    from storescpd.events import Events

log = logging.getLogger("dcmtk.apps.storescp")
net_log = logging.getLogger("dcmtk.dcmnet")
progress_log = logging.getLogger("dcmtk.apps.storescp.progress")

_STANDARD_OUTPUT = 1
_BAD_COMMAND = PeerError("0006:0201", "DIMSE Bad command type")


class Switches(NamedTuple):
    """What makes a daemon a difficult peer, for tests of senders; times in seconds."""

    sleep_after: int
    sleep_during: int
    abort_after: bool
    abort_during: bool


class Service(NamedTuple):
    """What this daemon does for every association; times in seconds, None for ever.

    A ``resident`` process goes on after the association. ``events``, ``switches`` and ``tls`` are
    None if there are none.
    """

    program: str
    policy: negotiation.Policy
    store: StoreOptions
    socket_timeout: float | None
    acse_timeout: float
    dimse_timeout: float | None
    own_title: str
    grace: float
    in_child: bool
    resident: bool
    verbose_pc: bool
    events: "Events | None" = None
    switches: Switches | None = None
    tls: "Endpoint | None" = None


class _AbortOrdered(Exception):
    """The command line wants the association aborted here."""


def serve(connection: socket.socket, peer: str, service: Service) -> None:
    """Serve one association on the socket, and close it; what the peer does wrong is logged."""
    make_link = Link if service.tls is None else service.tls.link
    link = make_link(
        connection,
        Connection(acceptor=True, max_pdu=service.policy.max_pdu),
        service.socket_timeout,
    )
    grace = 0.0 if service.in_child else service.grace
    with Stop(grace, link.interrupt, resident=service.resident):
        try:
            Session(link, peer, service).run()
        except Exception as error:
            # A fault of ours ends this association, never the daemon.
            log.critical("internal error, association with %s ended: %r", peer, error)
            log.debug("where it happened:", exc_info=True)
        finally:
            link.close()


class Session:
    """The life of one association; ``run`` is all there is to call."""

    def __init__(self, link: Link, peer: str, service: Service) -> None:
        self._link = link
        self._connection = link.connection
        self._peer = peer
        self._service = service
        self._events = service.events
        self._switches = service.switches
        self._incoming_class = Incoming if service.store.bit_preserving else NormalIncoming
        self._incoming: Incoming | None = None
        self._request: StoreRequest | None = None
        self._request_context = 0
        self._calling = self._called = ""
        self._established = False
        self._limit = 0
        self._objects = 0
        self._bytes = 0
        # Whether a data set may take another time to come than the next command.
        self._timed = service.dimse_timeout is not None or service.events is not None
        self._dots = progress_log.isEnabledFor(logging.INFO) and not progress_log.isEnabledFor(
            logging.DEBUG
        )
        self._debug = log.isEnabledFor(logging.DEBUG)
        level = logging.INFO if service.verbose_pc else logging.DEBUG
        # Of the dumps of association parameters; 0 if nobody wants to read them.
        self._parameter_level = level if log.isEnabledFor(level) else 0

    def run(self) -> None:
        """Serve until the association ends, in whatever way."""
        service = self._service
        title.waiting(service.program, self._peer)
        self._link.expect_answer_within(service.acse_timeout, service.socket_timeout)
        try:
            self._link.open()
            self._serve()
        except Interrupted:
            log.info("aborting the association, the daemon has been told to stop")
            self._part(self._connection.abort())
        except _AbortOrdered:
            log.info("ABORT initiated (due to command line options)")
            self._part(self._connection.abort())
        except DataSetError as error:
            net_log.warning(
                "DIMSE Warning: (%s,%s): DIMSE receiveDataSetInMemory: dset->read() Failed (%s)",
                printable(self._calling),
                printable(self._called),
                error.text,
            )
            failure = PeerError("0006:020d", "DIMSE Failed to receive message")
            log.error("Store SCP Failed: %s", failure)
            self._abort(failure)
        except AssociationError as error:
            self._fail(error)
        finally:
            self._drop()

    def _serve(self) -> None:
        for event in self._link.events():
            match event:
                case Data(context_id, views, last):
                    self._take(context_id, views, last)
                case Command(context_id, StoreRequest() as request):
                    self._begin(context_id, request)
                case Command(context_id, EchoRequest() as request):
                    self._echo(context_id, request)
                case Command(context_id, other):
                    self._refuse(context_id, other)
                    return
                case pdu.AssociateRequest():
                    if not self._negotiate(event):
                        return
                case pdu.ReleaseRequest():
                    log.info("Association Release")
                    self._part(self._connection.release_reply())
                    return
                case TimedOut():
                    if not self._time_out():
                        return
                case pdu.Abort() | Closed():
                    self._ended()
                    return
                case _:
                    raise LocalError("0006:0106", f"unexpected event {type(event).__name__}")

    # The association

    def _negotiate(self, request: pdu.AssociateRequest) -> bool:
        service = self._service
        self._link.expect_anything()
        if service.in_child:
            log.info("Association Received in child process (pid: %d)", os.getpid())
        else:
            log.info("Association Received")
        if self._parameter_level:
            from dcmstore import dumps

            dump = dumps.received_request(request, service.policy.max_pdu)
            log.log(self._parameter_level, "%s", dump)
        self._calling, self._called = request.calling, request.called
        answer = negotiation.answer(request, service.policy)
        if answer is None:
            log.debug("association request without presentation contexts, dropped")
            return False
        if isinstance(answer, negotiation.Rejection):
            log.info("%s", printable(answer.reason))
            self._part(self._connection.reject(answer.pdu))
            return False
        if service.policy.profile is not None:
            roles.tell(answer)
        self._link.send(self._connection.accept(answer))
        self._established = True
        self._limit = negotiation.send_limit(request.max_length)
        log.info("Association Acknowledged (Max Send PDV: %d)", self._limit)
        if not self._connection.accepted:
            log.info("    (but no valid presentation contexts)")
        if self._parameter_level:
            log.log(self._parameter_level, "%s", dumps.sent_accept(request, answer))
        self._show()
        if self._events is not None:
            self._events.meet(self._calling, self._called, self._peer)
            self._link.set_patience(self._until_idle())
        return True

    def _ended(self) -> None:
        if not self._established:
            log.info("Association Received")
        else:
            if self._request is not None:
                log.error(
                    "Store SCP Failed: 0006:0317 Peer aborted Association (or never connected)"
                )
            log.info("Association Aborted")

    def _time_out(self) -> bool:
        """Act on silence; False ends the session."""
        if not self._established:
            log.error("Receiving Association failed: 0006:031a DUL network read timeout")
            return False
        if self._request is None:
            # It was the end of a study that has been waited for.
            if self._events is not None:
                self._events.idle()
            self._link.set_patience(self._until_idle())
            return True
        log.error(
            "Store SCP Failed: 0006:0207 DIMSE No data available (timeout in non-blocking mode)"
        )
        # The association stays; what comes next is read as a command.
        self._drop()
        self._request = None
        self._connection.abandon_data()
        self._link.set_patience(self._until_idle())
        return True

    def _until_idle(self) -> float | None:
        """Return how long to wait for the next command before a study ends, None if none does.

        The time-out of the socket holds as well.
        """
        wait = None if self._events is None else self._events.wait()
        limit = self._service.socket_timeout
        return None if wait is None or (limit is not None and wait >= limit) else wait

    def _fail(self, error: AssociationError) -> None:
        if not self._established:
            if error.condition == UNEXPECTED_PDU:
                log.info("Association Received")
                log.debug("%s", error)
            else:
                log.error("Receiving Association failed: %s", error)
            self._part(self._connection.farewell)
            return
        if self._request is not None:
            log.error("Store SCP Failed: %s", error)
        if error.condition == PEER_GONE:
            log.info("Association Aborted")
            return
        self._abort(error)

    def _abort(self, error: AssociationError) -> None:
        log.error("DIMSE failure (aborting association): %s", error)
        self._part(self._connection.farewell or self._connection.abort())

    def _part(self, farewell: bytes) -> None:
        """Send the last PDU, if there is one to send, and let the peer close first."""
        if not farewell:
            return
        try:
            self._link.send(farewell)
        except PeerError as error:
            # It has gone before us.
            net_log.debug("%s", error)
            return
        self._link.wait_for_close(self._service.acse_timeout)

    # The messages

    def _refuse(self, context_id: int, other: command.CommandSet) -> None:
        field = {command.StoreResponse: 0x8001, command.EchoResponse: 0x8030}.get(type(other))
        if isinstance(other, command.OtherCommand):
            field = other.field
        log.error(
            "Expected C-ECHO or C-STORE request but received DIMSE command 0x%04x", field or 0
        )
        if self._debug:
            self._dump(context_id, other)
        self._abort(_BAD_COMMAND)

    def _echo(self, context_id: int, request: EchoRequest) -> None:
        if self._debug:
            log.info("Received Echo Request")
            self._dump(context_id, request)
        else:
            log.info("Received Echo Request (MsgID %d)", request.message_id)
        self._respond(
            context_id,
            command.EchoResponse(request.message_id, command.SUCCESS, request.sop_class),
        )
        if self._events is not None:
            self._events.served()
            self._link.set_patience(self._until_idle())

    def _begin(self, context_id: int, request: StoreRequest) -> None:
        if self._debug:
            log.info("Received Store Request")
            self._dump(context_id, request)
        elif log.isEnabledFor(logging.INFO):
            log.info(
                "Received Store Request (MsgID %d, %s)",
                request.message_id,
                log_class(request.sop_class),
            )
        self._request, self._request_context = request, context_id
        if self._switches is not None:
            self._link.pause(self._switches.sleep_during)
        if self._dots:
            _print("RECV: ")
        if self._timed:
            self._link.set_patience(self._service.dimse_timeout)

    def _take(self, context_id: int, views: list[memoryview], last: bool) -> None:
        request = self._request
        assert request is not None
        if self._switches is not None:
            self._obey(self._switches, len(views), last)
        if self._dots:
            _print("." * len(views) + ("\n" if last else ""))
        incoming = self._incoming
        if incoming is None:
            # A request alone makes no file.
            incoming = self._incoming = self._incoming_class(
                self._service.store,
                request,
                self._connection.accepted[context_id],
                self._calling,
            )
        incoming.write(views, last)
        if not last:
            return
        status = incoming.finish()
        self._incoming = self._request = None
        self._objects += 1
        self._bytes += incoming.received
        self._respond(
            self._request_context,
            command.StoreResponse(
                request.message_id, status, request.sop_class, request.sop_instance
            ),
        )
        if self._events is not None:
            self._events.received(request, incoming)
        if self._timed:
            self._link.set_patience(self._until_idle())
        if self._objects < 64 or not self._objects % 16:
            self._show()
        if self._switches is not None:
            self._link.pause(self._switches.sleep_after)

    def _obey(self, switches: Switches, parts: int, last: bool) -> None:
        """Sleep at each part of an object and at its end, or abort, as the command line wants."""
        if switches.abort_during:
            raise _AbortOrdered
        self._link.pause(switches.sleep_during * parts)
        if last:
            if switches.abort_after:
                raise _AbortOrdered
            self._link.pause(switches.sleep_during)

    def _respond(self, context_id: int, response: command.CommandSet) -> None:
        self._link.send(self._connection.message(context_id, command.encode(response), self._limit))

    def _dump(self, context_id: int, received: command.CommandSet) -> None:
        from dcmstore import dumps

        log.debug("%s", dumps.incoming(context_id, received))

    def _drop(self) -> None:
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None

    def _show(self) -> None:
        title.association(
            self._service.program,
            self._calling,
            self._peer,
            self._called,
            self._objects,
            self._bytes,
        )


def _print(dots: str) -> None:
    # That nobody looks any more, or that the disk is full, is no reason not to receive.
    with suppress(OSError):
        os.write(_STANDARD_OUTPUT, dots.encode())
