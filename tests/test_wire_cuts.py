"""The same bytes, cut differently by TCP, give the same replies and the same stored object."""

from typing import NamedTuple

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import Object, small
from harness.peer import Cut, Peer, byte_by_byte, random_cuts, whole
from harness.receivers import OURS, Receiver

QUICK = ("-v", "--fork", "-ta", "2", "-dhl")
CONTEXTS = [(1, wire.CT, (wire.EXPLICIT,)), (3, wire.VERIFICATION, (wire.IMPLICIT,))]


class Step(NamedTuple):
    """Bytes to send, and how many PDUs come back before the next step."""

    data: bytes
    replies: int


def _message(thing: Object) -> bytes:
    command = wire.store_rq(thing.sop_class, thing.sop_instance, 5)
    parts = [thing.data[at : at + 100] for at in range(0, len(thing.data), 100)]
    return wire.p_data(wire.pdv(1, command, command=True)) + b"".join(
        wire.p_data(wire.pdv(1, part, last=part is parts[-1])) for part in parts
    )


def _echo(number: int) -> bytes:
    return wire.p_data(wire.pdv(3, wire.echo_rq(number), command=True))


def _scenarios(thing: Object) -> dict[str, list[Step]]:
    request = Step(wire.associate_rq(CONTEXTS), 1)
    release = Step(wire.release_rq(), 1)
    store = Step(_message(thing), 1)
    return {
        "store": [request, store, release],
        "echo-store-echo": [request, Step(_echo(1), 1), store, Step(_echo(2), 1), release],
        "store-and-release-at-once": [request, Step(_message(thing) + wire.release_rq(), 2)],
        "two-stores-at-once": [request, Step(_message(thing) * 2, 2), release],
        "store-then-abort": [request, store, Step(wire.abort(), 0)],
        "rejected": [Step(wire.associate_rq(CONTEXTS, application_context="1.2.3"), 1)],
        "wrong-command": [
            request,
            Step(wire.p_data(wire.pdv(1, wire.store_rsp(wire.CT, "1.2", 1, 0), command=True)), 1),
        ],
    }


NAMES = list(_scenarios(small()))
CUTS: list[object] = [
    pytest.param(byte_by_byte, id="byte-by-byte"),
    *(pytest.param(random_cuts(seed), id=f"random-{seed}") for seed in range(4)),
]


def _play(receiver: Receiver, steps: list[Step], cut: Cut, junk: bytes = b"") -> list[wire.Pdu]:
    """Play a scenario and return all replies; ``junk`` follows the last step's bytes at once."""
    replies: list[wire.Pdu] = []
    with Peer.connect(receiver.port, cut) as peer:
        for step in steps:
            peer.send(step.data + (junk if step is steps[-1] else b""))
            for _ in range(step.replies):
                received = peer.receive()
                assert received is not None, f"closed after {replies}"
                replies.append(received)
    return replies


def _stored(receiver: Receiver, thing: Object) -> bytes | None:
    return receiver.stored(thing.sop_instance) if receiver.holds(thing.sop_instance) else None


def _forget(receiver: Receiver) -> None:
    for name in receiver.names():
        (receiver.folder / name).unlink()


@pytest.mark.parametrize("mode", ["-B", "+B"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cut", CUTS)
def test_cuts(flavour: str, shared_receiver: StartReceiver, mode: str, name: str, cut: Cut) -> None:
    receiver = shared_receiver(flavour, *QUICK, mode)
    thing = small(pixels=500)
    steps = _scenarios(thing)[name]
    _forget(receiver)
    replies = _play(receiver, steps, whole)
    content = _stored(receiver, thing)
    assert (content is not None) == ("store" in name)
    _forget(receiver)
    assert _play(receiver, steps, cut) == replies
    assert _stored(receiver, thing) == content


# Only ours: the reference resets a connection with bytes left over, and so loses its last reply.


@pytest.mark.parametrize("mode", ["-B", "+B"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "store-then-abort"])
@pytest.mark.parametrize("cut", [whole, byte_by_byte])
@pytest.mark.parametrize(
    "junk",
    [b"\0", b"\x2a" * 50, b"GET / HTTP/1.0\r\n\r\n", bytes(3000)],
    ids=["zero", "stars", "http", "zeroes"],
)
def test_trailing_junk(
    shared_receiver: StartReceiver, mode: str, name: str, cut: Cut, junk: bytes
) -> None:
    receiver = shared_receiver(OURS, *QUICK, mode)
    thing = small(pixels=500)
    steps = _scenarios(thing)[name]
    _forget(receiver)
    replies = _play(receiver, steps, whole)
    content = _stored(receiver, thing)
    _forget(receiver)
    assert _play(receiver, steps, cut, junk) == replies
    assert _stored(receiver, thing) == content


@pytest.mark.parametrize("mode", ["-B", "+B"])
def test_junk_behind_an_object_costs_the_association_but_not_the_object(
    shared_receiver: StartReceiver, mode: str
) -> None:
    receiver = shared_receiver(OURS, *QUICK, mode)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(_message(thing) + b"\x2a" * 60)
        assert peer.response()[wire.STATUS] == 0
        peer.expect_abort(0, 0)
    assert receiver.holds(thing.sop_instance)
