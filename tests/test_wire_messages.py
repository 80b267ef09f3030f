"""The message layer on the wire: responses, and what aborts an association (PS3.7, PS3.8)."""

import struct
from collections.abc import Callable

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer
from harness.receivers import OURS

QUICK = ("-v", "--fork", "-ta", "1", "-dhl")
BIT_PRESERVING = (*QUICK, "+B")


def test_echo_response(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.echo_rq(513, wire.MR))  # on a CT context: the class is only echoed
        response = peer.response()
        peer.release()
    length = response.pop(wire.GROUP_LENGTH)
    assert response == {
        wire.SOP_CLASS: wire.MR,
        wire.FIELD: wire.C_ECHO_RSP,
        wire.RESPONDED_ID: 513,
        wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        wire.STATUS: 0,
    }
    assert list(response) == sorted(response)
    assert isinstance(length, int)
    receiver.wait_for_log("Received Echo Request (MsgID 513)", "Association Release", since=mark)


def test_store_response(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, 77))
        peer.send_data(thing.data)
        response = peer.response()
        peer.release()
    response.pop(wire.GROUP_LENGTH)
    assert response == {
        wire.SOP_CLASS: thing.sop_class,
        wire.FIELD: wire.C_STORE_RSP,
        wire.RESPONDED_ID: 77,
        wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        wire.STATUS: 0,
        wire.SOP_INSTANCE: thing.sop_instance,
    }
    receiver.wait_for_log("Received Store Request (MsgID 77, CT)", since=mark)


def test_responses_are_cut_to_what_the_peer_receives(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.associate(max_pdu=64)
        peer.send_command(wire.echo_rq())
        sizes, last = [], False
        while not last:
            body = peer.expect(wire.P_DATA)
            (only,) = wire.pdvs(body)  # one value in each PDU
            sizes.append(len(only[2]))
            last = bool(only[1] & 2)
            assert len(body) <= 64
        assert len(sizes) > 1
        assert max(sizes) <= 64 - 12
        peer.release()


@pytest.mark.parametrize("peer_max", [1, 12])
def test_peer_that_receives_next_to_nothing(
    flavour: str, shared_receiver: StartReceiver, peer_max: int
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.associate(max_pdu=peer_max)
        peer.send_command(wire.echo_rq())
        peer.expect_abort(0, 0)


Send = Callable[[Peer], None]
THING = small()


def _raw(*pdus: bytes) -> Send:
    return lambda peer: peer.send(b"".join(pdus))


def _command(command: bytes, context: int = 1) -> bytes:
    return wire.p_data(wire.pdv(context, command, command=True))


def _store_rq(**changes: object) -> bytes:
    return wire.store_rq(THING.sop_class, THING.sop_instance, **changes)  # type: ignore[arg-type]


def _response() -> bytes:
    return wire.store_rsp(THING.sop_class, THING.sop_instance, 1, 0)


FIND_RQ = wire.command_set(
    {
        wire.SOP_CLASS: wire.FIND,
        wire.FIELD: wire.C_FIND_RQ,
        wire.MESSAGE_ID: 1,
        wire.PRIORITY: 0,
        wire.DATA_SET_TYPE: 1,
    }
)
CANCEL_RQ = wire.command_set(
    {
        wire.FIELD: wire.C_CANCEL_RQ,
        wire.RESPONDED_ID: 1,
        wire.DATA_SET_TYPE: wire.NO_DATA_SET,
    }
)
LONG_UID = "1." + "2" * 63

ABORTED = [
    pytest.param(_raw(_command(FIND_RQ)), "DIMSE command 0x0020", "0006:0201", id="find"),
    pytest.param(_raw(_command(CANCEL_RQ)), "DIMSE command 0x0fff", "0006:0201", id="cancel"),
    pytest.param(_raw(_command(_response())), "DIMSE command 0x8001", "0006:0201", id="response"),
    pytest.param(
        _raw(_command(_store_rq(e0800=wire.NO_DATA_SET))), "", "0006:0203", id="store-without-data"
    ),
    pytest.param(
        _raw(_command(_store_rq(without=[wire.PRIORITY]))),
        "Priority",
        "0006:020b",
        id="no-priority",
    ),
    pytest.param(
        _raw(_command(_store_rq(without=[wire.MESSAGE_ID]))), "", "0006:020b", id="no-message-id"
    ),
    pytest.param(
        _raw(_command(_store_rq(without=[wire.SOP_CLASS]))), "", "0006:020b", id="no-class"
    ),
    pytest.param(
        _raw(_command(_store_rq(e0002=LONG_UID))), "", "0006:020b", id="class-of-65-characters"
    ),
    pytest.param(
        _raw(_command(_store_rq(e1000=LONG_UID))), "", "0006:020b", id="instance-of-65-characters"
    ),
    pytest.param(_raw(_command(_store_rq(e1000=""))), "", "0006:0203", id="empty-instance"),
    pytest.param(_raw(_command(wire.echo_rq(), 3)), "", "0006:0101", id="refused-context"),
    pytest.param(_raw(_command(wire.echo_rq(), 99)), "", "0006:0101", id="unknown-context"),
    pytest.param(
        _raw(_command(_store_rq()), wire.p_data(wire.pdv(1, THING.data[:101], last=False))),
        "Odd Fragment Length",
        "0006:020d",
        id="odd-fragment",
    ),
    pytest.param(
        _raw(
            _command(_store_rq()),
            wire.p_data(wire.pdv(1, THING.data[:100], last=False)),
            wire.p_data(wire.pdv(5, THING.data[100:])),
        ),
        "",
        "0006:0206",
        id="data-set-on-two-contexts",
    ),
    pytest.param(
        _raw(_command(_store_rq()), wire.p_data(wire.pdv(5, THING.data))),
        "",
        "0006:0206",
        id="data-set-on-another-context",
    ),
    pytest.param(
        _raw(
            wire.p_data(wire.pdv(1, _store_rq()[:50], command=True, last=False)),
            wire.p_data(wire.pdv(5, _store_rq()[50:], command=True)),
        ),
        "",
        "0006:0206",
        id="command-on-two-contexts",
    ),
    pytest.param(
        _raw(wire.p_data(wire.pdv(1, THING.data))), "", "0006:020d", id="data-without-command"
    ),
    pytest.param(
        _raw(
            _command(_store_rq()),
            wire.p_data(wire.pdv(1, THING.data[:100], last=False)),
            _command(wire.echo_rq(2)),
        ),
        "",
        "0006:020",  # 020f in version 3.6.7 of the reference, 020d in 3.7.0
        id="command-inside-data",
    ),
    pytest.param(_raw(wire.pdu(0x2A, bytes(4))), "", "0006:020c", id="unknown-pdu-type"),
]


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
@pytest.mark.parametrize(("send", "text", "condition"), ABORTED)
def test_errors_that_abort(
    flavour: str,
    shared_receiver: StartReceiver,
    mode: tuple[str, ...],
    send: Send,
    text: str,
    condition: str,
) -> None:
    receiver = shared_receiver(flavour, *mode)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate(
            (1, wire.CT, (wire.EXPLICIT,)),
            (3, wire.FIND, (wire.EXPLICIT,)),
            (5, wire.MR, (wire.EXPLICIT,)),
        )
        send(peer)
        peer.expect_abort(0, 0)
    receiver.wait_for_log(
        "DIMSE failure (aborting association): ", condition, *([text] if text else []), since=mark
    )
    assert not receiver.holds(THING.sop_instance)


def test_second_association_request(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))]))
        peer.expect_abort(2, 2)
    receiver.wait_for_log("DIMSE failure (aborting association): ", "0006:020c", since=mark)


def test_connection_is_closed_when_the_peer_keeps_it_after_an_abort(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(_command(FIND_RQ))
        peer.expect_abort(0, 0)
        peer.expect_closed()


def test_pdu_longer_than_agreed(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK, "-pdu", "4096")
    mark = receiver.mark()
    thing = small(pixels=6000)
    with Peer.connect(receiver.port) as peer:
        assert peer.associate().max_pdu == 4096
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send(wire.p_data(wire.pdv(1, thing.data[:6124], last=False)))
        peer.expect_abort(0, 0)
    receiver.wait_for_log("Illegal PDU Length 6130", "4096", since=mark)
    assert not receiver.holds(thing.sop_instance)


@pytest.mark.parametrize(
    ("length", "content"),
    [
        pytest.param(0, b"", id="no-value"),
        pytest.param(3, b"\0\0\0", id="shorter-than-a-value-header"),
        pytest.param(8, struct.pack(">LBB", 500, 1, 3) + b"ab", id="value-longer-than-its-pdu"),
        pytest.param(6, struct.pack(">LBB", 0, 1, 3), id="value-of-length-0"),
        pytest.param(6, struct.pack(">LBB", 1, 1, 3), id="value-of-length-1"),
        pytest.param(6, struct.pack(">LBB", 0xFFFFFFFE, 1, 3), id="value-of-4-gigabytes"),
    ],
)
def test_malformed_p_data(shared_receiver: StartReceiver, length: int, content: bytes) -> None:
    receiver = shared_receiver(OURS, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BBL", wire.P_DATA, 0, length) + content)
        peer.send(wire.release_rq())
        received = peer.receive()
        assert received is None or received.kind in (wire.ABORT, wire.RELEASE_RP)
    log = receiver.wait_for_log("Association", since=mark)
    assert "Traceback" not in log
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.echo()
        peer.release()


TOLERATED = [
    pytest.param({"group_length": None}, id="no-group-length"),
    pytest.param({"group_length": 4}, id="wrong-group-length"),
    pytest.param({"e0700": 0x1234}, id="strange-priority"),
    pytest.param({"e0010": b"junk", "e4321": b"1234"}, id="unknown-elements"),
    pytest.param({"e1030": b"MOVER ", "e1031": 5}, id="move-originator"),
    pytest.param({"e0800": 0x0000}, id="data-set-type-0"),
    pytest.param({"e0800": 0xFEFE}, id="data-set-type-fefe"),
]


@pytest.mark.parametrize("changes", TOLERATED)
def test_tolerated_commands(
    flavour: str, shared_receiver: StartReceiver, changes: dict[str, object]
) -> None:
    receiver = shared_receiver(flavour, *BIT_PRESERVING)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        command = wire.store_rq(
            thing.sop_class,
            thing.sop_instance,
            **changes,  # type: ignore[arg-type]
        )
        peer.send_command(command)
        peer.send_data(thing.data)
        assert peer.response()[wire.STATUS] == 0
        peer.release()
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data


def test_of_a_repeated_element_the_first_counts(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *BIT_PRESERVING)
    thing, other = small(), small()
    repeated = wire.store_rq(None, other.sop_instance, message_id=9, group_length=None)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance) + repeated)
        peer.send_data(thing.data)
        response = peer.response()
        assert response[wire.STATUS] == 0
        assert response[wire.RESPONDED_ID] == 1
        peer.release()
    assert receiver.stored(thing.sop_instance).startswith(bytes(128) + b"DICM")


def test_class_is_not_compared_with_the_context(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate((1, wire.VERIFICATION, (wire.EXPLICIT,)))
        assert peer.store(thing) == 0
        peer.release()
    assert receiver.stored(thing.sop_instance)
