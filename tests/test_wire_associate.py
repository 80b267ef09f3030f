"""Association requests on the wire: what is read, refused and accepted (PS3.8 section 9.3.2)."""

import struct

import pytest
from conftest import StartReceiver
from harness import wire
from harness.peer import Peer
from harness.receivers import OURS

NATIVE = (wire.IMPLICIT, wire.EXPLICIT, wire.BIG)
QUICK = ("-v", "--fork", "-ta", "1", "-dhl")  # silent peers do not wait long
CT_CONTEXT = (1, wire.CT, (wire.EXPLICIT,))


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        pytest.param(b"", "0006:031a", id="nothing"),
        pytest.param(b"\x01\x00\x00", "0006:031a", id="half-header"),
    ],
)
def test_silent_peer_is_closed_after_the_acse_timeout(
    flavour: str, shared_receiver: StartReceiver, sent: bytes, condition: str
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(sent)
        peer.expect_closed()
    receiver.wait_for_log("Receiving Association failed: " + condition, since=mark)


def test_peer_that_closes_inside_a_request(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([CT_CONTEXT])[:100])
    receiver.wait_for_log("Receiving Association failed: 0006:0310", since=mark)


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(wire.pdu(wire.ASSOCIATE_AC, bytes(68)), id="accept"),
        pytest.param(wire.associate_rj(1, 1, 1), id="reject"),
        pytest.param(wire.p_data(wire.pdv(1, wire.echo_rq(), command=True)), id="data"),
        pytest.param(wire.release_rq(), id="release"),
        pytest.param(wire.release_rp(), id="release-response"),
    ],
)
def test_first_pdu_of_another_type_is_aborted(
    flavour: str, shared_receiver: StartReceiver, first: bytes
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.send(first)
        peer.expect_abort(0, 0)


def test_first_pdu_of_unknown_type(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.pdu(0x2A, bytes(4)))
        peer.expect_closed()
    receiver.wait_for_log("0006:0321 Unrecognized PDU type: 2a", since=mark)


@pytest.mark.parametrize("version", [0, 2])
def test_protocol_version_without_bit_0(
    flavour: str, shared_receiver: StartReceiver, version: int
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([CT_CONTEXT], version=version))
        peer.expect_reject(1, 2, 2)
    receiver.wait_for_log("0006:0322", since=mark)


def test_what_ends_a_uid(flavour: str, shared_receiver: StartReceiver) -> None:
    """Where PS3.8 annex F has no padding, a NUL ends a UID, and a blank is part of it."""
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(
            (1, wire.CT + "\0", (wire.EXPLICIT + "\0",)),
            (3, wire.CT + "\0rest", (wire.EXPLICIT + "\0rest",)),
            (5, wire.CT + " ", (wire.EXPLICIT,)),
            (7, wire.CT, (wire.EXPLICIT + " ",)),
            application_context=wire.APPLICATION_CONTEXT + "\0rest",
        )
        assert [result for _, result, _ in reply.contexts] == [0, 0, 3, 4]
        peer.release()
    with Peer.connect(receiver.port) as peer:
        blank = wire.APPLICATION_CONTEXT + " "
        peer.send(wire.associate_rq([CT_CONTEXT], application_context=blank))
        peer.expect_reject(1, 1, 2)


@pytest.mark.parametrize("kind", [0x53, 0x57])
def test_malformed_item_that_means_nothing(
    flavour: str, shared_receiver: StartReceiver, kind: int
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(extra=wire.item(kind, b"\0"))
        assert reply.contexts == [(1, 0, wire.EXPLICIT)]
        peer.release()


def test_protocol_version_3(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        assert peer.associate(version=3).version == 1
        peer.release()


def _malformed() -> list[object]:
    good = wire.associate_rq([CT_CONTEXT])
    long_item = bytearray(good)
    struct.pack_into(">H", long_item, 6 + 68 + 2, 0x7000)  # the first item claims 28672 bytes
    long_context = bytearray(good)
    struct.pack_into(">H", long_context, good.index(wire.context_item(CT_CONTEXT)) + 2, 0x7000)
    inner = bytearray(good)
    at = good.index(b"\x30\x00")
    struct.pack_into(">H", inner, at + 2, 0x0700)
    return [
        pytest.param(bytes(long_item), id="item-beyond-the-pdu"),
        pytest.param(bytes(long_context), id="context-beyond-the-pdu"),
        pytest.param(bytes(inner), id="sub-item-beyond-its-item"),
        pytest.param(
            wire.associate_rq([(1, "1.2." + "3" * 70, (wire.EXPLICIT,))]), id="uid-of-74-bytes"
        ),
        pytest.param(wire.associate_rq([(1, wire.CT, ())]), id="context-without-syntax"),
        pytest.param(wire.pdu(wire.ASSOCIATE_RQ, bytes(20)), id="shorter-than-its-fixed-part"),
        pytest.param(
            struct.pack(">BBL", wire.ASSOCIATE_RQ, 0, 0x7FFFFFFF) + good[6:], id="two-gigabytes"
        ),
    ]


def expect_dropped(peer: Peer, flavour: str) -> None:
    """Ours closes the connection; version 3.6.7 of the reference may leave it to the peer."""
    if flavour == OURS:
        peer.expect_closed()


@pytest.mark.parametrize("request_pdu", _malformed())
def test_malformed_request_is_closed_without_answer(
    flavour: str, shared_receiver: StartReceiver, request_pdu: bytes
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(request_pdu)
        expect_dropped(peer, flavour)
        receiver.wait_for_log("Receiving Association failed: ", since=mark)


def test_request_over_one_mebibyte(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(struct.pack(">BBL", wire.ASSOCIATE_RQ, 0, (1 << 20) + 2))
        expect_dropped(peer, flavour)
        receiver.wait_for_log("A-ASSOCIATE PDU too large", "0006:0437", since=mark)


@pytest.mark.parametrize("contexts", [[], [(1, "9.9.9", (wire.EXPLICIT,))]])
def test_refuse_beats_everything(
    flavour: str, shared_receiver: StartReceiver, contexts: list[wire.Context]
) -> None:
    receiver = shared_receiver(flavour, *QUICK, "--refuse", "--reject")
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq(contexts, application_context="1.2.3", implementation=None))
        peer.expect_reject(1, 1, 1)
    receiver.wait_for_log("Refusing Association (forced via command line)", since=mark)


def test_request_without_contexts_gets_no_answer(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([], application_context="1.2.3"))
        expect_dropped(peer, flavour)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.release()


def test_application_context_beats_reject(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK, "--reject")
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([CT_CONTEXT], application_context="1.2.3", implementation=None))
        peer.expect_reject(1, 1, 2)
    receiver.wait_for_log("Association Rejected: Bad Application Context Name: 1.2.3", since=mark)


@pytest.mark.parametrize("implementation", [None, ""])
def test_reject_without_implementation_class(
    flavour: str, shared_receiver: StartReceiver, implementation: str | None
) -> None:
    receiver = shared_receiver(flavour, *QUICK, "--reject")
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.send(wire.associate_rq([CT_CONTEXT], implementation=implementation))
        peer.expect_reject(1, 1, 1)
    receiver.wait_for_log("Association Rejected: No Implementation Class UID provided", since=mark)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.release()


def test_association_without_any_accepted_context(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate((1, "9.9.9", (wire.EXPLICIT,)))
        assert reply.contexts == [(1, 3, wire.IMPLICIT)]
        peer.release()
    receiver.wait_for_log("(but no valid presentation contexts)", "Association Release", since=mark)


@pytest.mark.parametrize(
    ("peer_max", "shown"),
    [(16384, 16372), (0, 131060), (None, 131060), (1 << 20, 131060), (4096, 4084)],
)
def test_max_send_pdv_is_logged(
    flavour: str, shared_receiver: StartReceiver, peer_max: int | None, shown: int
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate(max_pdu=peer_max)
        peer.release()
    receiver.wait_for_log(f"Association Acknowledged (Max Send PDV: {shown})", since=mark)


def test_layout_of_the_acceptance(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK, "-pdu", "5001", "-aet", "OTHER")
    identity = wire.item(0x58, b"\x02\x01\x00\x04user\x00\x04pass")
    role = wire.item(0x54, struct.pack(">H", len(wire.CT)) + wire.CT.encode() + b"\x00\x01")
    window = wire.item(0x53, b"\x00\x05\x00\x05")
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(
            (7, wire.CT, (wire.EXPLICIT,)),
            (1, "9.9.9", (wire.EXPLICIT,)),
            (4, wire.MR, (wire.JPEG_BASELINE,)),
            (5, wire.VERIFICATION, (wire.IMPLICIT,)),
            called=b"NOT-MY-NAME",
            calling=b" spaced",
            extra=window + role + identity,
        )
        peer.release()
    assert reply.version == 1
    assert reply.called == b"NOT-MY-NAME     "
    assert reply.calling == b" spaced         "
    assert reply.application_context == wire.APPLICATION_CONTEXT
    assert reply.contexts == [
        (7, 0, wire.EXPLICIT),
        (1, 3, wire.IMPLICIT),
        (4, 4, wire.IMPLICIT),
        (5, 0, wire.IMPLICIT),
    ]
    assert [kind for kind, _ in reply.user_items] == [0x51, 0x52, 0x55]
    assert reply.max_pdu == 5000
    receiver.wait_for_log("W: ASSOC: PDV receive length 5001 is odd (using 5000)")


@pytest.mark.parametrize("empty", [b" ", b"\0"])
def test_empty_titles(shared_receiver: StartReceiver, empty: bytes) -> None:
    # The reference has no answer that it could send.
    receiver = shared_receiver(OURS, *QUICK)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(called=empty * 16, calling=empty * 16)
        assert (reply.called, reply.calling) == (empty * 16, empty * 16)
        peer.echo()
        peer.release()


def test_two_contexts_of_the_same_id_the_first_counts(shared_receiver: StartReceiver) -> None:
    # Versions 3.6.7 and 3.6.9 of the reference answer once, too, but as to one context with the
    # transfer syntaxes of both.
    receiver = shared_receiver(OURS, *QUICK)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate((1, wire.CT, (wire.BIG,)), (1, wire.CT, (wire.EXPLICIT,)))
        assert reply.contexts == [(1, 0, wire.BIG)]
        peer.echo()
        peer.release()


COMMON = [
    pytest.param(own, proposed, answer, id=f"{' '.join(own) or 'default'}-{number}")
    for number, (own, proposed, answer) in enumerate(
        [
            ((), (wire.IMPLICIT, wire.BIG, wire.EXPLICIT), wire.EXPLICIT),
            ((), (wire.IMPLICIT, wire.BIG), wire.BIG),
            ((), (wire.IMPLICIT,), wire.IMPLICIT),
            ((), (wire.DEFLATED, wire.JPEG_BASELINE), None),
            (("+x=",), NATIVE, wire.EXPLICIT),
            (("+xe",), NATIVE, wire.EXPLICIT),
            (("+xb",), NATIVE, wire.BIG),
            (("+xb",), (wire.IMPLICIT, wire.EXPLICIT), wire.EXPLICIT),
            (("+xi",), NATIVE, wire.IMPLICIT),
            (("+xi",), (wire.EXPLICIT, wire.BIG), None),
            (("+xs",), (*NATIVE, wire.JPEG_LOSSLESS), wire.JPEG_LOSSLESS),
            (("+xs",), NATIVE, wire.EXPLICIT),
            (("+xs",), (wire.JPEG_BASELINE,), None),
            (("+xy",), (*NATIVE, wire.JPEG_BASELINE), wire.JPEG_BASELINE),
            (("+xx",), (*NATIVE, wire.JPEG_EXTENDED), wire.JPEG_EXTENDED),
            (("+xv",), (*NATIVE, wire.J2K_LOSSLESS), wire.J2K_LOSSLESS),
            (("+xw",), (*NATIVE, wire.J2K_LOSSY), wire.J2K_LOSSY),
            (("+xt",), (*NATIVE, wire.JLS_LOSSLESS), wire.JLS_LOSSLESS),
            (("+xu",), (*NATIVE, wire.JLS_LOSSY), wire.JLS_LOSSY),
            (("+xm",), (*NATIVE, "1.2.840.10008.1.2.4.100"), "1.2.840.10008.1.2.4.100"),
            (("+xh",), (*NATIVE, "1.2.840.10008.1.2.4.101"), "1.2.840.10008.1.2.4.101"),
            (("+xn",), (*NATIVE, "1.2.840.10008.1.2.4.102"), "1.2.840.10008.1.2.4.102"),
            (("+xl",), (*NATIVE, "1.2.840.10008.1.2.4.103"), "1.2.840.10008.1.2.4.103"),
            (("+x2",), (*NATIVE, "1.2.840.10008.1.2.4.104"), "1.2.840.10008.1.2.4.104"),
            (("+x3",), (*NATIVE, "1.2.840.10008.1.2.4.105"), "1.2.840.10008.1.2.4.105"),
            (("+xo",), (*NATIVE, "1.2.840.10008.1.2.4.106"), "1.2.840.10008.1.2.4.106"),
            (("+x4",), (*NATIVE, "1.2.840.10008.1.2.4.107"), "1.2.840.10008.1.2.4.107"),
            (("+x5",), (*NATIVE, "1.2.840.10008.1.2.4.108"), "1.2.840.10008.1.2.4.108"),
            (("+xr",), (*NATIVE, wire.RLE), wire.RLE),
            (("+xd",), (*NATIVE, wire.DEFLATED), wire.DEFLATED),
            (("+xa",), (*NATIVE, wire.RLE, wire.JPEG_BASELINE, wire.J2K_LOSSY), wire.J2K_LOSSY),
            (("+xa",), (wire.IMPLICIT, wire.BIG, wire.EXPLICIT), wire.EXPLICIT),
            (("+xa",), ("1.2.3",), None),
        ]
    )
]


@pytest.mark.parametrize(("own", "proposed", "answer"), COMMON)
def test_preferred_transfer_syntax(
    flavour: str,
    start_receiver: StartReceiver,
    own: tuple[str, ...],
    proposed: tuple[str, ...],
    answer: str | None,
) -> None:
    receiver = start_receiver(flavour, *own)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate((1, wire.CT, proposed), (3, wire.VERIFICATION, proposed))
        expected = (0, answer) if answer else (4, wire.IMPLICIT)
        assert reply.contexts == [(1, *expected), (3, *expected)]
        peer.release()


def test_newer_syntaxes_are_in_the_list_of_all(start_receiver: StartReceiver) -> None:
    # HTJ2K, JPEG XL, SMPTE, JPIP deflated: the reference has them from 3.7.0 on.
    receiver = start_receiver(OURS, "--accept-all")
    last = ["4.201", "4.202", "4.203", "4.110", "4.111", "4.112", "8.1", "1.98", "4.100.1"]
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(
            *((2 * n + 1, wire.CT, (f"{wire.IMPLICIT}.{end}",)) for n, end in enumerate(last))
        )
        assert [result for _, result, _ in reply.contexts] == [0] * len(last)
        peer.release()


@pytest.mark.parametrize("own", [(), ("--promiscuous",)])
def test_abstract_syntaxes(
    flavour: str, shared_receiver: StartReceiver, own: tuple[str, ...]
) -> None:
    receiver = shared_receiver(flavour, *QUICK, *own)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(
            (1, wire.CT, NATIVE),
            (3, wire.VERIFICATION, NATIVE),
            (5, wire.FIND, NATIVE),
            (7, wire.HANGING_PROTOCOL, NATIVE),
            (9, "1.2.3.4.5", NATIVE),
            (11, "1.2.3.4.6", (wire.RLE,)),
        )
        peer.release()
    unknown = (0, 4) if own else (3, 3)
    assert [result for _, result, _ in reply.contexts] == [0, 0, 3, 3, *unknown]


def test_128_contexts(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate(*((n, wire.CT, NATIVE) for n in range(1, 256, 2)))
        assert [number for number, _, _ in reply.contexts] == list(range(1, 256, 2))
        assert {result for _, result, _ in reply.contexts} == {0}
        peer.echo(context=255)
        peer.release()
