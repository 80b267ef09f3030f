"""What senders get wrong in messages, and the reference and ours let pass."""

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer

QUICK = ("-v", "--fork", "-ta", "1", "-dhl")
BIT_PRESERVING = (*QUICK, "+B")


@pytest.mark.parametrize(
    ("mode", "status"), [(QUICK, 0xA900), (BIT_PRESERVING, 0)], ids=["normal", "bit-preserving"]
)
def test_request_without_a_class(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...], status: int
) -> None:
    receiver = shared_receiver(flavour, *mode)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing._replace(sop_class="")) == status
        peer.release()
    assert f"UNKNOWN.{thing.sop_instance}" in receiver.names()


def test_blanks_in_uids(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        instance = f" {thing.sop_instance} "
        peer.send_command(wire.store_rq(thing.sop_class + "  ", instance))
        peer.send_data(thing.data)
        assert peer.response()[wire.STATUS] == 0
        peer.release()
    warned = receiver.wait_for_log("Association Release", since=mark)
    for name in ("AffectedSOPClassUID (0000,0002)", "AffectedSOPInstanceUID (0000,1000)"):
        assert (
            f"W: DcmUniqueIdentifier: Element {name} contains one or more space characters,"
            " which were removed\n"
        ) in warned


def test_numbers_of_four_bytes(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    long = {f"e{n:04x}": bytes((1, 0, 0, 0)) for n in (0x0100, 0x0110, 0x0700, 0x0800)}
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, **long))  # type: ignore[arg-type]
        peer.send_data(thing.data)
        response = peer.response()
        assert (response[wire.RESPONDED_ID], response[wire.STATUS]) == (1, 0)
        peer.release()


@pytest.mark.parametrize("length", [0, 2, 8, 100])
def test_lengths_of_the_last_pdu(flavour: str, shared_receiver: StartReceiver, length: int) -> None:
    """A release or an abort is told by its type."""
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(wire.pdu(wire.RELEASE_RQ, bytes(length)))
        peer.expect(wire.RELEASE_RP)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(wire.pdu(wire.ABORT, bytes(length)))
        peer.expect_closed()
    assert "E: " not in receiver.wait_for_log("Association Aborted", since=mark)
