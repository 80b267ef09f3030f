"""A storage SCP played by the test: it answers a sender by hand, right or wrong."""

import socket
import struct
from collections.abc import Iterable
from typing import Self

from harness import wire
from harness.peer import Peer
from harness.processes import PATIENCE


class ScriptedReceiver:
    """A listening socket whose one connection the test answers by hand: a storage SCP of sorts."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.port: int = self.listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.listener.close()

    def accept(self) -> Peer:
        """Wait for the sender to connect."""
        connected, _ = self.listener.accept()
        return Peer(connected)


class Proposal:
    """An A-ASSOCIATE-RQ taken apart: titles, contexts in their order, user items."""

    def __init__(self, body: bytes) -> None:
        _, _, called, calling, _ = struct.unpack_from(">HH16s16s32s", body)
        self.called: bytes = called
        self.calling: bytes = calling
        self.contexts: list[tuple[int, str, list[str]]] = []
        self.user_items: list[tuple[int, bytes]] = []
        for kind, content in wire.items(body[68:]):
            if kind == 0x20:
                parts = wire.items(content[4:])
                abstract = [sub.decode() for sub_kind, sub in parts if sub_kind == 0x30]
                syntaxes = [sub.decode() for sub_kind, sub in parts if sub_kind == 0x40]
                self.contexts.append((content[0], abstract[0], syntaxes))
            elif kind == 0x50:
                self.user_items = wire.items(content)

    def accept_all(self, max_pdu: int = 16384) -> bytes:
        """Return an A-ASSOCIATE-AC that takes the first transfer syntax of every context."""
        return self.accept({number: syntaxes[0] for number, _, syntaxes in self.contexts}, max_pdu)

    def accept(self, chosen: dict[int, str], max_pdu: int = 16384) -> bytes:
        """Return an A-ASSOCIATE-AC: context id to accepted transfer syntax, all others refused."""
        head = struct.pack(">HH16s16s32s", 1, 0, self.called, self.calling, b"")
        body = wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
        for number, _, _ in self.contexts:
            syntax = chosen.get(number, wire.IMPLICIT)
            result = 0 if number in chosen else 3
            answer = struct.pack(">BBBB", number, 0, result, 0) + wire.item(0x40, syntax.encode())
            body += wire.item(0x21, answer)
        user = wire.item(0x51, struct.pack(">L", max_pdu)) + wire.item(0x52, b"1.2.3.4")
        return wire.pdu(wire.ASSOCIATE_AC, head + body + wire.item(0x50, user))


class Message:
    """One DIMSE message as received: context id, command elements, data set bytes or None."""

    def __init__(self, peer: Peer) -> None:
        self.context = 0
        self.fragments: list[int] = []
        command, data = b"", b""
        self.data: bytes | None = None
        self.command: dict[int, int | str | bytes] = {}
        done = False
        while not done:
            for number, control, piece in wire.pdvs(peer.expect(wire.P_DATA)):
                self.context = number
                self.fragments.append(len(piece))
                if control & 1:
                    command += piece
                else:
                    data += piece
                if control == 3:
                    self.command = wire.parse_command(command)
                    done = self.command[wire.DATA_SET_TYPE] == wire.NO_DATA_SET
                elif control == 2:
                    self.data, done = data, True


def serve(peer: Peer, statuses: Iterable[int]) -> list[Message]:
    """Accept everything and answer the C-STORE requests with these statuses, then the release."""
    proposal = Proposal(peer.expect(wire.ASSOCIATE_RQ))
    peer.send(proposal.accept_all())
    return serve_accepted(peer, statuses)


def serve_accepted(peer: Peer, statuses: Iterable[int]) -> list[Message]:
    """Answer the C-STORE requests on an association with these statuses, then the release."""
    answers = iter(statuses)
    messages: list[Message] = []
    while True:
        head = peer.receive()
        if head is None or head.kind == wire.ABORT:
            return messages
        if head.kind == wire.RELEASE_RQ:
            peer.send(wire.release_rp())
            return messages
        peer.unread(head)
        message = Message(peer)
        messages.append(message)
        answer_store(peer, message, next(answers))


def answer_store(peer: Peer, message: Message, status: int) -> None:
    """Send the C-STORE-RSP that belongs to a received request."""
    sop_class, instance = message.command[wire.SOP_CLASS], message.command[wire.SOP_INSTANCE]
    number = message.command[wire.MESSAGE_ID]
    assert isinstance(sop_class, str)
    assert isinstance(instance, str)
    assert isinstance(number, int)
    peer.send_command(wire.store_rsp(sop_class, instance, number, status), message.context)
