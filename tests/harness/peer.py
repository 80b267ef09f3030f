"""A scripted peer on a raw socket: it sends what it is told, right or wrong, and reads replies."""

import random
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Self

from harness import wire
from harness.objects import Object, small
from harness.processes import PATIENCE

Cut = Callable[[bytes], Iterator[bytes]]

_CLOSED_BY_PEER = (ConnectionResetError, BrokenPipeError)


def whole(data: bytes) -> Iterator[bytes]:
    """Send everything in one piece."""
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """Send every byte in a piece of its own."""
    for number in range(len(data)):
        yield data[number : number + 1]


def random_cuts(seed: int) -> Cut:
    """Send pieces of 1 to 40 bytes, the same ones for the same seed."""

    def cut(data: bytes) -> Iterator[bytes]:
        dice = random.Random(seed)
        while data:
            length = dice.randint(1, 40)
            yield data[:length]
            data = data[length:]

    return cut


class Peer:
    """One TCP connection, or one end of a socket pair, driven by the test."""

    def __init__(self, connected: socket.socket, cut: Cut = whole) -> None:
        self.socket = connected
        self.cut = cut
        self._buffer = b""
        connected.settimeout(PATIENCE)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def connect(cls, port: int, cut: Cut = whole) -> Self:
        """Connect to a receiver on the loopback interface."""
        return cls(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE), cut)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, cut as told; a connection that is gone meanwhile is no error here."""
        try:
            for piece in self.cut(data):
                self.socket.sendall(piece)
        except _CLOSED_BY_PEER:
            return

    def _read(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        return data

    def receive(self) -> wire.Pdu | None:
        """Return the next PDU, or None when the other side has closed the connection.

        Bytes that are no PDU, such as stray text, raise AssertionError.
        """
        head = self._read(6)
        if head is None:
            assert not self._buffer, f"connection closed behind {self._buffer!r}"
            return None
        kind, _, length = struct.unpack(">BBL", head)
        assert 1 <= kind <= 7, f"no PDU: {head!r}"
        body = self._read(length)
        assert body is not None, "connection closed in the middle of a PDU"
        return wire.Pdu(kind, body)

    def unread(self, received: wire.Pdu) -> None:
        """Put a PDU back, to be received again."""
        self._buffer = wire.pdu(*received) + self._buffer

    def expect(self, kind: int) -> bytes:
        """Return the body of the next PDU, which must be of this type."""
        received = self.receive()
        assert received is not None, f"connection closed instead of PDU type {kind}"
        assert received.kind == kind, (
            f"PDU type {received.kind} instead of {kind}: {received.body!r}"
        )
        return received.body

    def expect_closed(self) -> None:
        """The other side closes the connection without another PDU."""
        received = self.receive()
        assert received is None, f"PDU {received} instead of a plain close"

    def expect_abort(self, source: int = 0, reason: int = 0) -> None:
        """The next PDU is an A-ABORT with this source and reason."""
        body = self.expect(wire.ABORT)
        assert body[2:] == bytes((source, reason)), f"A-ABORT {body!r}"

    def expect_reject(self, result: int, source: int, reason: int) -> None:
        """The next PDU is an A-ASSOCIATE-RJ with these three values."""
        body = self.expect(wire.ASSOCIATE_RJ)
        assert body[1:] == bytes((result, source, reason)), f"A-ASSOCIATE-RJ {body!r}"

    def nothing_arrives(self, seconds: float) -> bool:
        """Tell whether the other side stays silent, and connected, for so long."""
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        assert data, "connection closed"
        return False

    def associate(self, *contexts: wire.Context, **options: object) -> wire.Reply:
        """Request an association and return the acceptance; the default is CT in explicit VR."""
        proposed = contexts or ((1, wire.CT, (wire.EXPLICIT,)),)
        self.send(wire.associate_rq(proposed, **options))  # type: ignore[arg-type]
        return wire.parse_ac(self.expect(wire.ASSOCIATE_AC))

    def send_command(self, command: bytes, context: int = 1) -> None:
        """Send a command set in one PDU."""
        self.send(wire.p_data(wire.pdv(context, command, command=True)))

    def send_data(
        self, data: bytes, context: int = 1, *, fragment: int = 8192, last: bool = True
    ) -> None:
        """Send data set bytes, one PDV in a PDU; ``last`` False leaves the data set open."""
        pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)] or [b""]
        for number, piece in enumerate(pieces, 1):
            self.send(wire.p_data(wire.pdv(context, piece, last=last and number == len(pieces))))

    def response(self, context: int = 1) -> dict[int, int | str | bytes]:
        """Read a response command set, however it is fragmented."""
        collected, last = b"", False
        while not last:
            for number, control, data in wire.pdvs(self.expect(wire.P_DATA)):
                assert number == context, "response on another presentation context"
                assert control & 1, "data set where a response is expected"
                assert not last, "bytes behind the last fragment of the response"
                collected += data
                last = bool(control & 2)
        return wire.parse_command(collected)

    def store(
        self,
        thing: Object,
        message_id: int = 1,
        context: int = 1,
        *,
        fragment: int = 8192,
    ) -> int:
        """Send an object and return the status of the response."""
        self.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, message_id), context)
        self.send_data(thing.data, context, fragment=fragment)
        response = self.response(context)
        assert response[wire.FIELD] == wire.C_STORE_RSP
        assert response[wire.RESPONDED_ID] == message_id
        status = response[wire.STATUS]
        assert isinstance(status, int)
        return status

    def begin_store(self, thing: Object, sent: int, message_id: int = 1) -> None:
        """Send the request and the first ``sent`` bytes of the object, and leave it at that."""
        self.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, message_id))
        self.send_data(thing.data[:sent], last=False)

    def echo(self, message_id: int = 1, context: int = 1) -> dict[int, int | str | bytes]:
        """Send a C-ECHO-RQ and return the response."""
        self.send_command(wire.echo_rq(message_id), context)
        response = self.response(context)
        assert response[wire.FIELD] == wire.C_ECHO_RSP
        assert response[wire.RESPONDED_ID] == message_id
        assert response[wire.STATUS] == 0
        return response

    def release(self) -> None:
        """Release the association and close the connection as the requestor does."""
        self.send(wire.release_rq())
        self.expect(wire.RELEASE_RP)
        self.socket.close()


def store_one(port: int) -> None:
    """Have a receiver store a small object, in an association of its own."""
    with Peer.connect(port) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        peer.release()
