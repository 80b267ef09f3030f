"""Conversations made at random: nearly valid ones, with lies in the fields that matter."""

import random
import socket
import struct
from collections.abc import Sequence

from harness import wire

from dcmstore import pdu

_BUFFER = 1 << 20
_MOST = 150_000  # bytes; less than such a buffer takes without anybody reading


def said_at_once(data: bytes) -> tuple[socket.socket, socket.socket]:
    """Return our end of a connection, and the end of a peer that has said this and no more."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    theirs.sendall(data[:_MOST])
    theirs.shutdown(socket.SHUT_WR)
    return ours, theirs


_LENGTHS = (0, 1, 2, 3, 4, 0x7F, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


class Breeder:
    """Makes what a peer may send; the same seed makes the same."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def rarely(self, odds: int = 12) -> bool:
        """Return True once in so many times."""
        return self.chance.randrange(odds) == 0

    def request(self) -> bytes:
        """Return an A-ASSOCIATE-RQ."""
        chance = self.chance
        contexts = [(1, wire.CT, (wire.EXPLICIT,)), (3, wire.MR, (wire.IMPLICIT,))]
        if self.rarely():
            contexts += [(chance.randrange(256), "1.2", ("1.2.3",))] * chance.randrange(40)
        titles = [chance.choice((b"A", b"", b"\x1b[1m", b"\0", b"x" * 16)) for _ in "12"]
        return self.damaged(
            wire.associate_rq(
                contexts,
                called=titles[0],
                calling=titles[1],
                max_pdu=chance.choice((0, 13, 14, 100, 16384, 0xFFFFFFFF, None)),
                version=chance.choice((1, 1, 1, 1, 1, 3, 0, 0xFFFF)),
            )
        )

    def acceptance(self) -> bytes:
        """Return an A-ASSOCIATE-AC."""
        result = 0 if not self.rarely() else self.chance.randrange(5)
        results = (pdu.ContextResult(1, result, wire.EXPLICIT),)
        return self.damaged(pdu.encode(pdu.AssociateAccept("A", "B", results, 16384, "1.2.3", "")))

    def command(self) -> bytes:
        """Return a command set."""
        chance = self.chance
        instance = chance.choice(("1.2.3", "..", "1/2", "\n", "", "1" * 64, "1" * 65))
        kind = chance.randrange(6)
        if kind < 3:
            command = wire.store_rq(wire.CT, instance, chance.randrange(65536))
        elif kind == 3:
            command = wire.echo_rq(chance.randrange(65536))
        elif kind == 4:
            command = wire.store_rsp(wire.CT, instance, 1, 0)
        else:
            command = wire.command_set(
                {
                    wire.SOP_CLASS: wire.CT,
                    wire.FIELD: chance.choice((0x20, 0x21, 0x30, 0x8030, 0x0FFF, 1)),
                    wire.MESSAGE_ID: 1,
                    wire.DATA_SET_TYPE: chance.choice((0, 1, 0x0101)),
                }
            )
        if self.rarely():
            command = command[: chance.randrange(len(command) + 1) & ~1]
        return command

    def message(self) -> bytes:
        """Return a command and, mostly, a data set, cut into values and PDUs at random."""
        chance = self.chance
        context = chance.choice((1, 1, 1, 3, 5)) if self.rarely() else 1
        data = chance.randbytes(chance.choice((0, 2, 10, 200, 3000)))
        values = self.values(context, self.command(), True)
        if not self.rarely():
            values += self.values(context, data, False)
        pdus = []
        while values:
            count = chance.choice((1, 1, 1, 2, 5, 40))
            pdus.append(self.damaged(wire.p_data(*values[:count])))
            values = values[count:]
        return b"".join(pdus)

    def values(self, context: int, data: bytes, command: bool) -> list[bytes]:
        """Return a message's part cut into presentation data values."""
        size = self.chance.choice((2, 10, 100, 3000))
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        if self.rarely():
            pieces.insert(self.chance.randrange(len(pieces) + 1), b"")
        found = [
            wire.pdv(
                context if not self.rarely(100) else self.chance.choice((1, 3, 3, 7)),
                piece,
                command=command != self.rarely(200),
                last=(number == len(pieces)) != self.rarely(200),
            )
            for number, piece in enumerate(pieces, 1)
        ]
        if self.rarely(30):
            at = self.chance.randrange(len(found))
            found[at] = struct.pack(">L", self.chance.choice(_LENGTHS)) + found[at][4:]
        return found

    def damaged(self, one: bytes) -> bytes:
        """Return a PDU, seldom with a length that lies, and seldom with other bytes changed."""
        if self.rarely(40):
            one = one[:2] + struct.pack(">L", self.chance.choice(_LENGTHS)) + one[6:]
        if self.rarely(15):
            changed = bytearray(one)
            for _ in range(self.chance.randint(1, 3)):
                changed[self.chance.randrange(len(changed))] = self.chance.randrange(256)
            one = bytes(changed)
        return one

    def ending(self) -> bytes:
        """Return what may come last."""
        return self.chance.choice(
            (
                b"",
                wire.release_rq(),
                wire.release_rp(),
                wire.abort(),
                wire.abort(2, 6),
                self.request(),
                self.chance.randbytes(self.chance.randrange(30)),
            )
        )

    def conversation(self, beginning: Sequence[bytes]) -> bytes:
        """Return all that a peer sends, from one of the beginnings on."""
        parts = [self.chance.choice(beginning)]
        parts += [self.message() for _ in range(self.chance.randrange(4))]
        parts += [self.ending() for _ in range(self.chance.choice((0, 1, 1, 1, 2)))]
        whole = b"".join(parts)
        return whole[: self.chance.randrange(len(whole) + 1)] if self.rarely(8) else whole

    def to_acceptor(self) -> bytes:
        """Return what a requestor sends."""
        beginnings = [self.request()] * 15 + [b"", self.message()]
        return self.conversation(beginnings)

    def to_requestor(self) -> bytes:
        """Return what an acceptor sends."""
        beginnings = [self.acceptance()] * 15 + [b"", wire.associate_rj(1, 1, 1)]
        return self.conversation(beginnings)
