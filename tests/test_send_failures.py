"""What the sender says, and with what code it ends, when something goes wrong."""

import socket
import struct
from pathlib import Path

import pytest
from harness import senders, wire
from harness.objects import part10, small, write_part10
from harness.peer import Peer
from harness.processes import free_port
from harness.receivers import OURS
from harness.scripted import Message, Proposal, ScriptedReceiver, answer_store, serve
from harness.senders import Sent

FAILED = "Association Request Failed: "


def one_message(sent: Sent) -> str:
    """Return the lines of level ERROR and above; nothing else may stand on stderr."""
    lines = sent.stderr.splitlines()
    assert all(line.startswith(("F: ", "E: ", "W: ")) for line in lines), sent.stderr
    return "\n".join(line for line in lines if not line.startswith("W: "))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good file."""
    return write_part10(tmp_path, small())


STATUSES = [
    (0x0000, 0),
    (0x0001, 0),
    (0x0107, 0),
    (0x0116, 0),
    (0xB000, 0),
    (0xB006, 0),
    (0xB007, 0),
    (0xB123, 0),
    (0xA700, 167),
    (0xA701, 167),
    (0xA900, 169),
    (0xC000, 192),
    (0xCFFF, 207),
    (0x0110, 1),
    (0x0122, 1),
    (0xFE00, 254),
]


@pytest.mark.parametrize(("status", "code"), STATUSES, ids=lambda value: f"{value:04x}")
@pytest.mark.parametrize("own", [(), ("--no-halt",)], ids=["halt", "no-halt"])
def test_statuses(
    flavour: str, tmp_path: Path, own: tuple[str, ...], status: int, code: int
) -> None:
    files = [write_part10(tmp_path, small()) for _ in range(2)]
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, files, *own)
        with receiver.accept() as peer:
            messages = serve(peer, [status, 0])
        sent = senders.finish(process)
    halts = code != 0 and not own
    assert len(messages) == (1 if halts else 2)
    assert sent.code == (0 if own else code)


def _reject(peer: Peer) -> None:
    peer.expect(wire.ASSOCIATE_RQ)
    peer.send(wire.associate_rj(1, 1, 7))


def _reject_for_now(peer: Peer) -> None:
    peer.expect(wire.ASSOCIATE_RQ)
    peer.send(wire.associate_rj(2, 3, 2))


def _abort(peer: Peer) -> None:
    peer.expect(wire.ASSOCIATE_RQ)
    peer.send(wire.abort(2, 0))


def _close(peer: Peer) -> None:
    peer.expect(wire.ASSOCIATE_RQ)


def _accept_nothing(peer: Peer) -> None:
    proposal = Proposal(peer.expect(wire.ASSOCIATE_RQ))
    peer.send(proposal.accept({}))
    peer.expect_closed()


REFUSALS = [
    pytest.param(
        _reject,
        ["Association Rejected", "Rejected Permanent", "Service User", "Called AE Title Not"],
        id="reject",
    ),
    pytest.param(
        _reject_for_now,
        ["Rejected Transient", "Presentation Related", "Local Limit Exceeded"],
        id="reject-transient",
    ),
    pytest.param(_abort, [FAILED + "0006:0317"], id="abort"),
    pytest.param(_close, [FAILED + "0006:0317"], id="close"),
    pytest.param(_accept_nothing, ["No Acceptable Presentation Contexts"], id="no-context"),
]


@pytest.mark.parametrize(("answer", "texts"), REFUSALS)
def test_refusing_peers(flavour: str, file: Path, answer: object, texts: list[str]) -> None:
    assert callable(answer)
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, [file])
        with receiver.accept() as peer:
            answer(peer)
        sent = senders.finish(process)
    assert sent.code == 1
    message = one_message(sent)
    for text in texts:
        assert text in message


def test_nobody_listens(flavour: str, file: Path) -> None:
    sent = senders.send(flavour, free_port(), [file])
    assert sent.code == 1
    assert FAILED + "0006:031c TCP Initialization Error: Connection refused" in one_message(sent)


def test_peer_without_answer(flavour: str, file: Path) -> None:
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, [file], "-ta", "1")
        with receiver.accept() as peer:
            peer.expect(wire.ASSOCIATE_RQ)
            sent = senders.finish(process)
    assert sent.code == 1
    assert FAILED + "0006:031a DUL network read timeout" in one_message(sent)


def test_no_response_in_time(flavour: str, file: Path) -> None:
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, [file], "-td", "1", "-ta", "2")
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            Message(peer)
            peer.expect_abort(0, 0)
        sent = senders.finish(process)
    assert sent.code == 1
    message = one_message(sent)
    assert f"Store Failed, file: {file}:" in message
    assert "0006:0207" in message


@pytest.mark.parametrize(
    "last_words",
    [
        pytest.param(wire.abort(0, 0), id="abort"),
        pytest.param(b"", id="close"),
        pytest.param(wire.release_rq(), id="release"),
    ],
)
def test_peer_that_leaves_a_response_out(file: Path, last_words: bytes) -> None:
    # The reference ends with an uninitialised status here; 10 is what it intends.
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [file], "-v")
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            Message(peer)
            peer.send(last_words)
            if last_words == wire.release_rq():
                peer.expect_abort(0, 0)
        sent = senders.finish(process)
    assert sent.code == 10
    assert "Peer" in sent.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "Bad DICOM file: ", id="empty"),
        pytest.param(b"no DICOM at all, but long enough to look at\n" * 20, "", id="text"),
        pytest.param(part10(small())[:-10], "Bad DICOM file: ", id="cut-short"),
        pytest.param(part10(small())[:140], "Bad DICOM file: ", id="cut-in-the-header"),
        pytest.param(b"\xff" * 4000, "", id="ones"),
    ],
)
@pytest.mark.parametrize("own", [(), ("--no-halt",)], ids=["halt", "no-halt"])
def test_bad_files(
    flavour: str, tmp_path: Path, own: tuple[str, ...], content: bytes, reason: str
) -> None:
    bad, good = tmp_path / "bad", write_part10(tmp_path, small())
    bad.write_bytes(content)
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, [bad, good], *own)
        with receiver.accept() as peer:
            messages = serve(peer, [0])
        sent = senders.finish(process)
    assert len(messages) == (1 if own else 0)
    assert sent.code == (0 if own else 1)
    message = one_message(sent)
    assert str(bad) in message
    assert reason in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("127.0.0.1", "0", "x"), "error: Invalid parameter value 0 (underflow)"),
        (("127.0.0.1", "65536", "x"), "error: Invalid parameter value 65536 (overflow)"),
        (("127.0.0.1", "11112", "/no/such/file"), "F: cannot access file: /no/such/file"),
        (("127.0.0.1", "11112", "/tmp"), "F: no input files to be sent"),
        (("127.0.0.1", "11112"), "error: Missing parameter dcmfile-in"),
        (("127.0.0.1",), "error: Missing parameter port"),
        (("--bogus", "127.0.0.1", "11112", "x"), "error: Unknown option --bogus"),
        (("-ta", "0", "127.0.0.1", "11112", "x"), "--acse-timeout (underflow: 0)"),
        (
            ("-xf", "/no/such/file", "Default", "127.0.0.1", "11112", "x"),
            "E: reading config file: ",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_call(flavour: str, arguments: tuple[str, ...], message: str) -> None:
    sent = senders.run(flavour, *arguments)
    assert sent.code == 1
    assert message in sent.stderr
    lines = [line for line in sent.stderr.splitlines() if line[:3] in ("F: ", "E: ", "err")]
    assert len(lines) == 1, "one clear message"


def test_unknown_host(file: Path) -> None:
    sent = senders.run(OURS, "no.such.host.invalid", "11112", str(file))
    assert sent.code == 1
    assert FAILED + "0006:0320 Attempt to connect to unknown host" in one_message(sent)


def test_all_files_missing_with_no_halt(flavour: str) -> None:
    """An association is opened and released without anything being sent."""
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, ["/no/such/file"], "--no-halt")
        with receiver.accept() as peer:
            assert serve(peer, []) == []
        sent = senders.finish(process)
    assert sent.code == 0
    assert "cannot access file: /no/such/file, ignoring file" in sent.stderr


def test_garbage_instead_of_an_acceptance(file: Path) -> None:
    head = struct.pack(">HH16s16s32s", 1, 0, b"A", b"B", b"")
    answers = [
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        wire.pdu(wire.ASSOCIATE_AC, b"short"),
        wire.pdu(wire.ASSOCIATE_AC, head + struct.pack(">BBH", 0x21, 0, 0x7000)),
        struct.pack(">BBL", wire.ASSOCIATE_AC, 0, 0x7FFFFFFF),
        wire.pdu(0x2A, bytes(4)),
        wire.release_rp(),
    ]
    for answer in answers:
        with ScriptedReceiver() as receiver:
            process = senders.start(OURS, receiver.port, [file], "-ta", "2")
            with receiver.accept() as peer:
                peer.expect(wire.ASSOCIATE_RQ)
                peer.send(answer)
                peer.socket.shutdown(socket.SHUT_WR)
                sent = senders.finish(process)
        assert sent.code == 1
        assert one_message(sent).count(FAILED) == 1


@pytest.mark.parametrize("syntax", ["", "1.2.3", wire.CT])
def test_accepted_in_a_transfer_syntax_that_is_none(
    flavour: str, tmp_path: Path, syntax: str
) -> None:
    """Nobody knows how a data set would look in it, even one without pixel data."""
    file = write_part10(tmp_path, small(leave_out=(0x7FE00010,)))
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, [file])
        with receiver.accept() as peer:
            proposal = Proposal(peer.expect(wire.ASSOCIATE_RQ))
            peer.send(proposal.accept({number: syntax for number, *_ in proposal.contexts}))
            peer.expect_abort()
        sent = senders.finish(process)
    assert sent.code == 1
    assert f"0006:0212 DIMSE Unsupported transfer syntax: {syntax}" in sent.stderr


@pytest.mark.parametrize("wrong", ["message-id", "command", "context", "status"])
def test_garbage_instead_of_a_response(file: Path, wrong: str) -> None:
    with ScriptedReceiver() as receiver:
        process = senders.start(OURS, receiver.port, [file], "-ta", "2")
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            message = Message(peer)
            if wrong == "message-id":
                peer.send_command(wire.store_rsp(wire.CT, "1.2", 77, 0), message.context)
            elif wrong == "command":
                peer.send_command(wire.echo_rq(), message.context)
            elif wrong == "context":
                message.context = 254
                answer_store(peer, message, 0)
            else:
                command = {wire.FIELD: wire.C_STORE_RSP, wire.RESPONDED_ID: 1}
                body = wire.command_set({**command, wire.DATA_SET_TYPE: wire.NO_DATA_SET})
                peer.send_command(body, message.context)
            received = peer.receive()
            assert received is None or received.kind == wire.ABORT
        sent = senders.finish(process)
    assert sent.code == 1
    assert one_message(sent)


def test_request_on_the_wire(flavour: str, tmp_path: Path) -> None:
    """Titles, contexts, message ids, fragment sizes and data set bytes of an ordinary run."""
    things = [small(pixels=20_000), small()]
    files = [write_part10(tmp_path, thing) for thing in things]
    with ScriptedReceiver() as receiver:
        process = senders.start(
            flavour, receiver.port, files, "-aet", "ME", "-aec", "THEM", "-R", "-pdu", "5000"
        )
        with receiver.accept() as peer:
            proposal = Proposal(peer.expect(wire.ASSOCIATE_RQ))
            peer.send(proposal.accept_all(max_pdu=4096))
            messages = []
            for number in (1, 2):
                message = Message(peer)
                messages.append(message)
                assert message.command[wire.MESSAGE_ID] == number
                answer_store(peer, message, 0)
            peer.expect(wire.RELEASE_RQ)
            peer.send(wire.release_rp())
            peer.expect_closed()
        sent = senders.finish(process)
    assert sent.code == 0
    assert sent.stderr == ""
    assert (proposal.called, proposal.calling) == (b"THEM".ljust(16), b"ME".ljust(16))
    assert proposal.contexts == [
        (1, wire.CT, [wire.EXPLICIT]),
        (3, wire.CT, [wire.BIG, wire.IMPLICIT]),
    ]
    assert [kind for kind, _ in proposal.user_items] == [0x51, 0x52, 0x55]
    assert int.from_bytes(dict(proposal.user_items)[0x51], "big") == 5000
    for thing, message in zip(things, messages, strict=True):
        assert message.context == 1
        assert message.data == thing.data
        assert max(message.fragments) <= 4096 - 12
        assert message.command[wire.SOP_INSTANCE] == thing.sop_instance
        assert message.command[wire.PRIORITY] == 0
        assert message.command[wire.DATA_SET_TYPE] == 1
