"""A verification client that costs little: whole associations from bytes made beforehand."""

import socket
import struct
from typing import NamedTuple

from bench.data import CT_IMAGE, EXPLICIT_LITTLE, SECONDARY_CAPTURE
from bench.peers import HOST, BenchError

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
STORAGE = (CT_IMAGE, SECONDARY_CAPTURE, "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.4")

ASSOCIATE_AC, P_DATA_TF, RELEASE_RP = 2, 4, 6
REPLY_TIMEOUT = 10.0  # seconds
SUCCESS = struct.pack("<HHIH", 0, 0x0900, 2, 0)  # the Status element of a C-ECHO-RSP, PS3.7 9.3.5.2


def item(kind: int, body: bytes) -> bytes:
    """A variable item of an associate PDU (PS3.8 section 9.3.2)."""
    return struct.pack(">BxH", kind, len(body)) + body


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU with its header (PS3.8 section 9.3.1)."""
    return struct.pack(">BxI", kind, len(body)) + body


def associate_request(contexts: int) -> bytes:
    """A-ASSOCIATE-RQ: verification in context 1, storage in all that follow."""
    body = struct.pack(">Hxx16s16s32x", 1, b"ANY-SCP".ljust(16), b"BENCH".ljust(16))
    body += item(0x10, APPLICATION_CONTEXT.encode())
    for index in range(contexts):
        abstract = STORAGE[index % len(STORAGE)] if index else VERIFICATION
        syntaxes = b"".join(item(0x40, s.encode()) for s in (EXPLICIT_LITTLE, IMPLICIT_LITTLE))
        context = struct.pack(">Bxxx", 2 * index + 1) + item(0x30, abstract.encode()) + syntaxes
        body += item(0x20, context)
    user = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"2.25.1") + item(0x55, b"BENCH")
    return pdu(1, body + item(0x50, user))


def echo_request() -> bytes:
    """P-DATA-TF with a C-ECHO-RQ (PS3.7 section 9.3.5.1) in context 1."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    command = element(0x0002, VERIFICATION.encode() + b"\0")
    command += element(0x0100, b"\x30\0") + element(0x0110, b"\1\0") + element(0x0800, b"\1\1")
    command = element(0x0000, struct.pack("<I", len(command))) + command
    return pdu(4, struct.pack(">IBB", len(command) + 2, 1, 3) + command)


class Client(NamedTuple):
    """What to send, and how many contexts the peer must accept."""

    contexts: int
    request: bytes
    echo: bytes
    release: bytes

    def verify(self, port: int) -> None:
        """One association over a new connection: associate, C-ECHO, release, close.

        Raises BenchError when the peer answers anything but success.
        """
        with socket.create_connection((HOST, port), REPLY_TIMEOUT) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.converse(connection)

    def converse(self, connection: socket.socket) -> None:
        """The same over a connection that exists and stays open."""
        connection.sendall(self.request)
        accepted = receive(connection, ASSOCIATE_AC)
        # The result of a context is the byte after its identifier and a reserved one.
        if accepted.count(b"\0\0\0\x40\0") < self.contexts:
            raise BenchError(f"the peer accepted fewer than {self.contexts} contexts")
        connection.sendall(self.echo)
        if SUCCESS not in receive(connection, P_DATA_TF):
            raise BenchError("C-ECHO did not succeed")
        connection.sendall(self.release)
        receive(connection, RELEASE_RP)


def client(contexts: int) -> Client:
    """A client that proposes so many presentation contexts (1 to 128)."""
    return Client(contexts, associate_request(contexts), echo_request(), pdu(5, bytes(4)))


def receive(connection: socket.socket, kind: int) -> bytes:
    """One whole PDU, header and body, however many segments it comes in.

    Raises BenchError when it is of another kind or the peer hangs up.
    """
    data = b""
    wanted = 6
    while len(data) < wanted:
        part = connection.recv(65536)
        if not part:
            raise BenchError("the peer closed the connection")
        data += part
        if len(data) >= 6:
            wanted = 6 + struct.unpack_from(">I", data, 2)[0]
    if data[0] != kind or len(data) > wanted:
        raise BenchError(f"PDU of type {data[0]} where {kind} is due")
    return data
