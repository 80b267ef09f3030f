"""One message in many shapes: values cut and packed into PDUs in every legal way (PS3.8)."""

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer
from harness.receivers import OURS

QUICK = ("-v", "--fork", "-ta", "1", "-dhl")
BIT_PRESERVING = (*QUICK, "+B")

PDV = tuple[bytes, bool, bool]


def _cuts(thing_data: bytes, command: bytes) -> list[tuple[str, list[list[PDV]], bool]]:
    """Ways of putting one message into PDUs, and whether the reference can read them."""
    half = len(thing_data) // 2 // 2 * 2
    third = len(thing_data) // 3 // 2 * 2
    data = thing_data
    return [
        ("command-and-data", [[(command, True, True), (data, False, True)]], True),
        (
            "two-equal-values",
            [[(command, True, True)], [(data[:half], False, False), (data[half:], False, True)]],
            True,
        ),
        (
            "three-unequal-values",
            [
                [
                    (command, True, True),
                    (data[:third], False, False),
                    (data[third:], False, True),
                ]
            ],
            False,
        ),
        (
            "many-small-values",
            [
                [
                    (command[:10], True, False),
                    (command[10:40], True, False),
                    (command[40:], True, True),
                    *((data[n : n + 6], False, False) for n in range(0, third // 6 * 6, 6)),
                    (data[third // 6 * 6 :], False, True),
                ]
            ],
            False,
        ),
        (
            "empty-values",
            [
                [(b"", True, False)],
                [(command, True, True)],
                [(data, False, False)],
                [(b"", False, True)],
            ],
            True,
        ),
        (
            "command-in-pieces",
            [
                [(command[:2], True, False)],
                [(command[2:20], True, False)],
                [(command[20:], True, True)],
                [(data, False, True)],
            ],
            True,
        ),
    ]


NAMES = [name for name, _, _ in _cuts(b"", b"")]


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_values_and_pdus(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...], number: int
) -> None:
    thing = small(pixels=600)
    command = wire.store_rq(thing.sop_class, thing.sop_instance)
    _, message, reference_reads_it = _cuts(thing.data, command)[number]
    if flavour != OURS and not reference_reads_it:
        return  # it aborts: a known defect, nothing to show
    receiver = shared_receiver(flavour, *mode)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        for values in message:
            peer.send(
                wire.p_data(
                    *(wire.pdv(1, data, command=kind, last=last) for data, kind, last in values)
                )
            )
        assert peer.response()[wire.STATUS] == 0
        peer.release()
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data


def test_largest_pdus(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *BIT_PRESERVING, "-pdu", "131072")
    thing = small(pixels=400_000)
    with Peer.connect(receiver.port) as peer:
        assert peer.associate().max_pdu == 131072
        assert peer.store(thing, fragment=131066) == 0
        peer.release()
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data


@pytest.mark.parametrize(
    "ending",
    [pytest.param(wire.abort(0, 0), id="abort"), pytest.param(b"", id="close")],
)
@pytest.mark.parametrize("inside", [False, True], ids=["between-messages", "inside-an-object"])
def test_peer_that_goes_away(
    flavour: str, shared_receiver: StartReceiver, ending: bytes, inside: bool
) -> None:
    receiver = shared_receiver(flavour, *BIT_PRESERVING)
    mark = receiver.mark()
    thing = small(pixels=1000)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        if inside:
            peer.begin_store(thing, 500)
        peer.send(ending)
    texts = ["Association Aborted"] + ["Store SCP Failed: "] * inside
    receiver.wait_for_log(*texts, since=mark)
    assert not receiver.holds(thing.sop_instance)
