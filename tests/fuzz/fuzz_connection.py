"""Fuzz target of dcmstore.connection.

Invariant: the first byte says which side we are, how long PDUs may be and how the rest is cut;
the rest is what the peer sends before it closes. Whatever that is, it gives events, and at most
one PeerError, which is the last; nothing else is raised. Bytes that come one receive at a time
give the same as all at once. No more data comes out than went in, and the farewell is a PDU.

Run: python tests/fuzz/fuzz_connection.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import machine, wire
from harness.machine import Failure, Part, Seen

from dcmstore import pdu

LONGEST = 200_000
REQUEST = pdu.AssociateRequest(
    "CALLED",
    "CALLING",
    (
        pdu.PresentationContext(1, wire.CT, (wire.EXPLICIT,)),
        pdu.PresentationContext(3, wire.MR, (wire.IMPLICIT,)),
    ),
    16384,
    "1.2.3",
    "VERSION",
)
_MAXIMA = (4096, 16384, 131072, 20)


def fuzz_one(data: bytes) -> None:
    """Hold the invariant against one input."""
    if not data:
        return
    how, sent = data[0], data[1:LONGEST]
    whole = run(how, [sent])
    assert run(how, cut(sent, how)) == whole
    assert sum(len(seen.data) for seen in whole if isinstance(seen, Part)) <= len(sent)
    assert not any(isinstance(seen, machine.ENDS) for seen in whole[:-1])
    last = whole[-1]
    if isinstance(last, Failure):
        assert last.text.isprintable(), last.text
        if last.farewell:
            goodbye = pdu.decode(last.farewell[0], last.farewell[6:])
            assert isinstance(goodbye, pdu.Abort | pdu.AssociateReject)


def run(how: int, pieces: Iterable[bytes]) -> list[Seen]:
    """Return what the side that ``how`` names makes of the pieces, up to the end."""
    most = _MAXIMA[how >> 1 & 3]
    connection = machine.requestor(REQUEST, most) if how & 1 else machine.acceptor(most)
    return machine.feed(connection, pieces, close=True)


def cut(data: bytes, how: int) -> Iterator[bytes]:
    """Yield the data in pieces that the same ``how`` always gives."""
    chance = random.Random(how)
    at, most = 0, (1, 7, 40, 1500)[how >> 3 & 3]
    while at < len(data):
        size = chance.randint(1, most)
        yield data[at : at + size]
        at += size


def seeds() -> list[bytes]:
    """Return a conversation for each side."""
    store = wire.store_rq(wire.CT, "1.2.3")
    reply = wire.store_rsp(wire.CT, "1.2.3", 1, 0)
    values = [wire.pdv(1, bytes(20), last=False)] * 3
    acceptance = pdu.encode(
        pdu.AssociateAccept(
            "CALLED", "CALLING", (pdu.ContextResult(1, 0, wire.EXPLICIT),), 16384, "1.2.3", ""
        )
    )
    request = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,)), (3, wire.MR, (wire.IMPLICIT,))])
    message = (
        wire.p_data(wire.pdv(1, store[:40], command=True, last=False))
        + wire.p_data(wire.pdv(1, store[40:], command=True), wire.pdv(1, bytes(10), last=False))
        + wire.p_data(*values)
        + wire.p_data(values[0]) * 3
        + wire.p_data(wire.pdv(1, b""))
    )
    return [
        b"\x0a" + request + message * 2 + wire.release_rq(),
        b"\x1c" + request + wire.p_data(wire.pdv(3, wire.echo_rq(), command=True)) + wire.abort(),
        b"\x13" + acceptance + wire.p_data(wire.pdv(1, reply, command=True)) + wire.release_rq(),
        b"\x01" + wire.associate_rj(1, 1, 1),
    ]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
