"""Fuzz target of a whole association of the sender: storescu.sender on a socket.

Invariant: the input is all that a receiver sends before it closes its side. The association ends
by itself, with an exit status and not with a traceback. Every line of the log is printable, and
none is forged. No descriptor is left open.

Run: python tests/fuzz/fuzz_sender.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import wire
from harness.objects import small, write_part10

from dcmstore import cmdline, pdu
from dcmstore.connection import Connection
from dcmstore.transport import Link
from fuzz.conversations import Breeder, said_at_once
from fuzz.fuzz_session import Lines
from storescu import proposals, run
from storescu.options import PROGRAM
from storescu.sender import Sender

FORGED = "FORGED"
"""What may stand in a line of the log, but never begin one."""
_EVIL = ("\x1b[2J", f"1.2\n{FORGED}", "", "9" * 64, "\x85\x9b")
_SYNTAXES = (wire.IMPLICIT, wire.BIG, wire.DEFLATED, wire.JPEG_BASELINE, "1.2.3")


class Answers(Breeder):
    """Makes what a receiver may say to a sender of three files."""

    def acceptance(self) -> bytes:
        """Return an A-ASSOCIATE-AC, often one that nobody would send who means well."""
        chance = self.chance
        results = []
        for number in chance.choice(((1,), (1,), (1, 3), (1, 1), (5,), (1, 2, 255, 0), ())):
            syntax = chance.choice(_SYNTAXES + _EVIL) if self.rarely(3) else wire.EXPLICIT
            result = chance.randrange(256) if self.rarely() else 0
            results.append(pdu.ContextResult(number, result, syntax))
        accept = pdu.AssociateAccept(
            chance.choice(_EVIL),
            chance.choice(_EVIL),
            tuple(results),
            chance.choice((0, 1, 7, 12, 13, 14, 15, 100, 16384, 0xFFFFFFFF)),
            chance.choice(_EVIL),
            chance.choice(_EVIL),
        )
        if self.rarely(4):
            accept = accept._replace(
                roles=(pdu.RoleSelection(chance.choice(_EVIL), scu=False, scp=True),),
                extended=(pdu.ExtendedNegotiation(chance.choice(_EVIL), b"\x1b[2J\n\xff"),),
                user_identity_response=chance.choice((None, b"", b"\x1b\0")),
            )
        return self.damaged(pdu.encode(accept))

    def command(self) -> bytes:
        """Return a command set, mostly a response to the first request or a later one."""
        chance = self.chance
        if self.rarely(6):
            return super().command()
        elements: dict[int, int | str | bytes] = {
            wire.FIELD: wire.C_STORE_RSP,
            wire.RESPONDED_ID: chance.choice((1, 1, 2, 3, 0, 65535)),
            wire.DATA_SET_TYPE: 1 if self.rarely() else wire.NO_DATA_SET,
            wire.STATUS: chance.choice((0, 0, 0, 0xB000, 0xA700, 0xFF00, 1)),
        }
        if self.rarely(3):
            elements[wire.SOP_CLASS] = chance.choice((wire.CT, *_EVIL))
            elements[wire.SOP_INSTANCE] = chance.choice(_EVIL)
        if self.rarely(3):
            elements[0x0902] = chance.choice(_EVIL)
        return wire.command_set(elements)


class Target:
    """A sender with these options that has three small files to send."""

    def __init__(self, folder: str, *options: str) -> None:
        self._paths = [str(write_part10(Path(folder), small())) for _ in range(3)]
        argv = ["storescu", *options, "-ta", "2", "-td", "2", "localhost", "104", *self._paths]
        parsed = cmdline.parse(PROGRAM, argv, {})
        self._service = run._service(parsed)
        self._max_pdu: int = parsed.max_pdu
        proposal = proposals.Proposal(
            proposals.contexts([wire.CT, wire.MR], parsed.propose, parsed.combine)
        )
        self._request = proposals.request(
            parsed.aetitle, parsed.call, proposal, self._max_pdu, None
        )
        self.lines = Lines()

    def fuzz_one(self, data: bytes) -> int:
        """Hold the invariant against one input; return the exit status."""
        before = len(os.listdir("/proc/self/fd"))
        ours, theirs = said_at_once(data)
        self.lines.records.clear()
        logger = logging.getLogger("dcmtk")
        logger.addHandler(self.lines)
        link = Link(ours, Connection(acceptor=False, max_pdu=self._max_pdu), 2.0)
        try:
            status = run._converse(Sender(link, self._service), self._request, self._paths)
        finally:
            link.close()
            theirs.close()
            logger.removeHandler(self.lines)
        assert 0 <= status <= 255
        for record in self.lines.records:
            for line in record.getMessage().split("\n"):
                assert line.isprintable(), repr(line)
                assert not line.startswith(FORGED), repr(record.getMessage())
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor has been left open"
        return status


def seeds() -> list[bytes]:
    """Return some conversations."""
    return [Answers(number).to_requestor() for number in range(20)]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    target = Target(tempfile.mkdtemp(), "-d")
    atheris.Setup(sys.argv, lambda data: void(target.fuzz_one(data)))
    atheris.Fuzz()


def void(_: object) -> None:
    """Return nothing, which is all that atheris takes."""


if __name__ == "__main__":
    main()
