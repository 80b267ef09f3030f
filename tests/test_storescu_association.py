"""How associations of the sender begin and end: texts, PDUs and exit codes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import wire
from harness.conversation import converse, lines, scripted
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.receivers import OURS
from harness.scripted import Message, Proposal, answer_store, serve_accepted

GONE = "0006:0317 Peer aborted Association (or never connected)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_part10(tmp_path, small())


def until_request(peer: Peer, proposal: Proposal) -> Message:
    """Accept, and read the first C-STORE request with its data set."""
    peer.send(proposal.accept_all())
    return Message(peer)


# Before there is an association


@pytest.mark.parametrize(
    ("reject", "result", "source", "reason"),
    [
        ((1, 1, 1), "Rejected Permanent", "Service User", "No Reason"),
        ((1, 1, 2), "Rejected Permanent", "Service User", "App Context Name Not Supported"),
        ((1, 1, 3), "Rejected Permanent", "Service User", "Calling AE Title Not Recognized"),
        ((1, 1, 7), "Rejected Permanent", "Service User", "Called AE Title Not Recognized"),
        ((1, 2, 1), "Rejected Permanent", "Service Provider (ACSE Related)", "No Reason"),
        (
            (1, 2, 2),
            "Rejected Permanent",
            "Service Provider (ACSE Related)",
            "Protocol Version Not Supported",
        ),
        (
            (2, 3, 1),
            "Rejected Transient",
            "Service Provider (Presentation Related)",
            "Temporary Congestion",
        ),
        (
            (2, 3, 2),
            "Rejected Transient",
            "Service Provider (Presentation Related)",
            "Local Limit Exceeded",
        ),
    ],
)
def test_rejected(
    flavour: str, file: Path, reject: tuple[int, int, int], result: str, source: str, reason: str
) -> None:
    def script(peer: Peer, _: Proposal) -> None:
        peer.send(wire.associate_rj(*reject))
        peer.expect_closed()

    done = scripted(flavour, [file], script=script)
    assert (done.code, lines(done)) == (
        1,
        [
            "F: Association Rejected:",
            f"F: Result: {result}, Source: {source}",
            f"F: Reason: {reason}",
        ],
    )


def test_rejected_for_no_reason_that_exists(file: Path) -> None:
    done = scripted(OURS, [file], script=lambda peer, _: peer.send(wire.associate_rj(9, 9, 9)))
    assert (done.code, lines(done)[1:]) == (
        1,
        ["F: Result: UNKNOWN, Source: UNKNOWN", "F: Reason: UNKNOWN"],
    )


def close(peer: Peer, _: Proposal) -> None:
    peer.socket.close()


def abort(peer: Peer, _: Proposal) -> None:
    peer.send(wire.abort())
    peer.expect_closed()


def stay_silent(peer: Peer, _: Proposal) -> None:
    peer.expect_closed()


def babble(peer: Peer, _: Proposal) -> None:
    peer.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (close, GONE),
        (abort, GONE),
        (stay_silent, "0006:031a DUL network read timeout"),
        (babble, "0006:0321 Unrecognized PDU type: 48"),
    ],
)
def test_no_answer_to_the_request(
    flavour: str, file: Path, script: Callable[[Peer, Proposal], None], reason: str
) -> None:
    done = scripted(flavour, [file], "-ta", "1", script=script)
    assert done.code == 1
    assert lines(done) == [f"F: Association Request Failed: {reason}"]


def test_another_answer_to_the_request(file: Path) -> None:
    """The protocol machine asks for an abort (PS3.8 table 9-10, Evt12 in Sta5)."""

    def script(peer: Peer, _: Proposal) -> None:
        peer.send(wire.release_rq())
        peer.expect_abort(2, 2)
        peer.expect_closed()

    done = scripted(OURS, [file], script=script)
    assert done.code == 1
    assert len(lines(done)) == 1


def test_nothing_accepted(flavour: str, file: Path) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept({}))
        peer.expect_closed()

    done = scripted(flavour, [file], script=script)
    assert (done.code, lines(done)) == (1, ["F: No Acceptable Presentation Contexts"])


# While a response is awaited


def test_peer_closes(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)

    done = scripted(flavour, [file, file], "-v", script=script)
    if flavour == OURS:  # the reference's code is what happens to lie in memory
        assert done.code == 10
    assert lines(done)[-3:] == [
        f"E: Store Failed, file: {file}:",
        f"E: {GONE}",
        "I: Peer Aborted Association",
    ]


def test_peer_aborts(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)
        peer.send(wire.abort())
        peer.expect_closed()

    done = scripted(flavour, [file, file], "-v", script=script)
    if flavour == OURS:
        assert done.code == 10
    assert lines(done)[-1] == "I: Peer Aborted Association"


def test_peer_wants_to_release(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)
        peer.send(wire.release_rq())
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file, file], "-v", script=script)
    if flavour == OURS:
        assert done.code == 10
    assert lines(done)[-4:] == [
        f"E: Store Failed, file: {file}:",
        "E: 0006:0319 DUL Peer Requested Release",
        "E: Protocol Error: Peer requested release (Aborting)",
        "I: Aborting Association",
    ]


def test_silence_of_the_socket(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)
        peer.expect_closed()

    done = scripted(flavour, [file, file], "-v", "-ts", "1", script=script)
    if flavour == OURS:
        assert done.code == 10
    assert lines(done)[-2:] == [f"E: {GONE}", "I: Peer Aborted Association"]


@pytest.mark.parametrize("drip", [False, True])
def test_silence_of_the_message_service(file: Path, flavour: str, drip: bool) -> None:
    """The time-out is for the whole response; the reference waits for what has begun."""
    flavour = OURS if drip else flavour

    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)
        if drip:
            peer.send(b"\4\0\0\0")
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file, file], "-v", "-td", "1", script=script)
    reason = "0006:0207 DIMSE No data available (timeout in non-blocking mode)"
    assert done.code == 1
    assert lines(done)[-4:] == [
        f"E: Store Failed, file: {file}:",
        f"E: {reason}",
        f"E: Store SCU Failed: {reason}",
        "I: Aborting Association",
    ]


def other_message(peer: Peer, message: Message) -> None:
    command = wire.store_rsp(wire.CT, "1.2.3", 77, 0)
    peer.send_command(command, message.context)


def other_command(peer: Peer, message: Message) -> None:
    peer.send_command(wire.echo_rq(1), message.context)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (other_message, "0006:0211 DIMSE: Unexpected Response MsgId: 77 (expected: 1)"),
        (other_command, "0006:0211 DIMSE: Unexpected Response Command Field: 0x30"),
    ],
)
def test_unexpected_message(
    file: Path, flavour: str, answer: Callable[[Peer, Message], None], reason: str
) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        answer(peer, until_request(peer, proposal))
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file, file], script=script)
    assert done.code == 1
    assert lines(done) == [
        f"E: Store Failed, file: {file}:",
        f"E: {reason}",
        f"E: Store SCU Failed: {reason}",
    ]


def send_response_with_data(peer: Peer, message: Message) -> None:
    """Say that all is well, and that a data set follows."""
    elements = wire.parse_command(wire.store_rsp(wire.CT, "1.2.3", 1, 0))
    elements.pop(wire.GROUP_LENGTH)
    elements[wire.DATA_SET_TYPE] = 1
    peer.send_command(wire.command_set(elements), message.context)


BADLY_FORMED = [
    "W: DIMSE Warning: (STORESCU,ANY-SCP): C-Store RSP: DataSetType != NULL",
    "E: Store Failed, file: {}:",
    "E: 0006:0203 DIMSE Badly formed message",
    "E: Store SCU Failed: 0006:0203 DIMSE Badly formed message",
]


def test_response_with_data(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        send_response_with_data(peer, until_request(peer, proposal))
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file, file], script=script)
    assert (done.code, lines(done)) == (1, [line.format(file) for line in BADLY_FORMED])


def test_response_with_data_is_minded_less(file: Path) -> None:
    """What the next object is answered counts again; the reference takes the data for that."""

    def script(peer: Peer, proposal: Proposal) -> None:
        message = until_request(peer, proposal)
        send_response_with_data(peer, message)
        peer.send_data(b"\x10\0\x10\0PN\2\0A ", message.context)
        serve_accepted(peer, [0])

    done = scripted(OURS, [file, file], "-nh", script=script)
    assert (done.code, lines(done)) == (0, [line.format(file) for line in BADLY_FORMED[:-1]])


def test_no_message_at_all(file: Path, flavour: str) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)
        peer.send(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file, file], script=script)
    assert done.code == 1
    assert lines(done)[:2] == [
        f"E: Store Failed, file: {file}:",
        "E: 0006:020d DIMSE Failed to receive message",
    ]
    assert "Unrecognized PDU type: 48" in done.stderr


def test_peer_that_leaves_in_the_middle_of_an_object(tmp_path: Path) -> None:
    path = write_part10(tmp_path, small(pixels=20_000_000))

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept_all())
        peer.expect(wire.P_DATA)
        peer.socket.close()

    done = scripted(OURS, [path], "-v", script=script)
    assert done.code == 10
    assert lines(done)[-2:] == [f"E: {GONE}", "I: Peer Aborted Association"]


# The end


def test_release(file: Path, flavour: str) -> None:
    messages, done = converse(flavour, [file], "-v", statuses=[0])
    assert (len(messages), done.code) == (1, 0)
    assert lines(done) == [
        "I: checking input files ...",
        "I: Requesting Association",
        "I: Association Accepted (Max Send PDV: 16372)",
        f"I: Sending file: {file}",
        "I: Sending Store Request (MsgID 1, CT)",
        "I: Received Store Response (Success)",
        "I: Releasing Association",
    ]


def test_quiet_success(file: Path, flavour: str) -> None:
    _, done = converse(flavour, [file], statuses=[0])
    assert (done.code, done.stdout, done.stderr) == (0, "", "")


def test_odd_sizes_of_pdus(file: Path, flavour: str) -> None:
    _, done = converse(flavour, [file], "-pdu", "4097", "--max-send-pdu", "4099", statuses=[0])
    warning = "W: ASSOC: PDV receive length 4097 is odd (using 4096)"
    assert (done.code, lines(done)) == (0, [warning])


@pytest.mark.parametrize("status", [0, 0xA700])
def test_abort_instead_of_release(file: Path, flavour: str, status: int) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        answer_store(peer, until_request(peer, proposal), status)
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file], "-v", "--abort", script=script)
    assert (done.code, lines(done)[-1]) == (status >> 8, "I: Aborting Association")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda peer: peer.socket.close(), GONE),
        (lambda peer: peer.send(wire.abort()), GONE),
        (lambda peer: peer.send(wire.release_rq()), "0006:0319 DUL Peer Requested Release"),
        (lambda peer: peer.expect_closed(), "0006:031a DUL network read timeout"),
    ],
    ids=["close", "abort", "release", "silence"],
)
def test_release_that_fails(
    file: Path, flavour: str, answer: Callable[[Peer], None], reason: str
) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        answer_store(peer, until_request(peer, proposal), 0)
        peer.expect(wire.RELEASE_RQ)
        answer(peer)

    done = scripted(flavour, [file], "-ta", "1", script=script)
    assert (done.code, lines(done)) == (1, [f"E: Association Release Failed: {reason}"])


@pytest.mark.parametrize("length", [0, 8])
def test_length_of_the_answer_to_a_release(file: Path, flavour: str, length: int) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        answer_store(peer, until_request(peer, proposal), 0)
        peer.expect(wire.RELEASE_RQ)
        peer.send(wire.pdu(wire.RELEASE_RP, bytes(length)))

    done = scripted(flavour, [file], script=script)
    assert (done.code, lines(done)) == (0, [])


def test_files_on_an_association_that_is_gone(file: Path, flavour: str) -> None:
    """--no-halt tries them all, and only the release tells the exit code."""

    def script(peer: Peer, proposal: Proposal) -> None:
        until_request(peer, proposal)

    done = scripted(flavour, [file, file, file], "-nh", script=script)
    assert done.code == 1
    failed = [line for line in lines(done) if line == f"E: Store Failed, file: {file}:"]
    assert len(failed) == 3
    assert "E: Association Release Failed: 0006:0303 DUL " in lines(done)[-1]
