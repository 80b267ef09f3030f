"""What both programs spell out in their logs, line by line against the reference's.

Known differences are not provoked, or set right before the comparison: who we are, passwords,
and what of a command that the daemon refuses is shown.
"""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import senders, wire
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.receivers import OURS, REFERENCE
from harness.scripted import Message, Proposal, ScriptedReceiver, answer_store

LEVELS = [
    pytest.param(("-d",), id="debug"),
    pytest.param(("-v", "+v"), id="verbose-pc"),
    pytest.param(("-d", "+v"), id="debug-verbose-pc"),
    pytest.param(("-v",), id="verbose"),
]
CONTEXTS: tuple[wire.Context, ...] = (
    (1, wire.CT, (wire.IMPLICIT, wire.EXPLICIT)),
    (3, wire.MR, (wire.JPEG_LOSSLESS,)),
    (5, wire.FIND, (wire.IMPLICIT,)),
    (7, "1.2.3.4.5", (wire.EXPLICIT, "1.2.3.4.6")),
    (255, wire.VERIFICATION, (wire.IMPLICIT,)),
)
# The messages carry UIDs that are not those of their data sets, which only this mode bears.
PLAIN = ("+B", "--fork")

_HEADINGS = ("D: Parameters:", "D: Request Parameters:", "D: Association Parameters Negotiated:")
_BEGIN = re.compile(r".: =+ (BEGIN A-ASSOCIATE|INCOMING DIMSE|OUTGOING DIMSE)")
_END = re.compile(r".: =+ END ")
_FIRST_RESPONDING = re.compile(
    r"(BEGIN A-ASSOCIATE-RQ.*?Responding Application Name: )[^\n]*", re.DOTALL
)
_SAME_SYNTAX = re.compile(r"I: Converting transfer syntax: (.*) -> \1")


def sized(content: bytes) -> bytes:
    """Return the content behind its 16-bit length."""
    return struct.pack(">H", len(content)) + content


def role(sop_class: str, scu: int, scp: int) -> bytes:
    """Return a role selection item (54H)."""
    return wire.item(0x54, sized(sop_class.encode()) + bytes((scu, scp)))


def extended(sop_class: str, info: bytes) -> bytes:
    """Return an extended negotiation item (56H)."""
    return wire.item(0x56, sized(sop_class.encode()) + info)


def identity(kind: int, wanted: int, primary: bytes) -> bytes:
    """Return a user identity item (58H)."""
    return wire.item(0x58, bytes((kind, wanted)) + sized(primary) + sized(b""))


def comparable(log: str) -> list[str]:
    """Keep messages and dumps, without the reference's notes about its inside."""
    kept = []
    inside = False
    for line in log.splitlines():
        inside = inside or bool(_BEGIN.match(line))
        if (inside or line[:2] != "D:" or line in _HEADINGS) and not _SAME_SYNTAX.match(line):
            line = re.sub(r"(Our Implementation .*: +)\S+$", r"\1OWN", line)
            kept.append(re.sub(r"\(pid: \d+\)", "(pid: N)", line))
        inside = inside and not _END.match(line)
    return kept


def negotiation(extra: bytes) -> Callable[[Peer], None]:
    """Return a conversation about nothing but these items of user information."""

    def converse(peer: Peer) -> None:
        peer.associate(*CONTEXTS, extra=extra)
        peer.release()

    return converse


def messages(peer: Peer) -> None:
    """Send one message of every kind that the receiver takes."""
    peer.associate(*CONTEXTS, extra=wire.item(0x55, b"MODALITY 1"))
    for request in REQUESTS:
        peer.send_command(request)
        peer.send_data(small().data)
        assert peer.response()[wire.STATUS] == 0
    assert peer.store(small("1.2.3.4.5", "1.2.9"), 65535) == 0
    peer.echo(8, 255)
    peer.release()


def response_unasked_for(peer: Peer) -> None:
    """Send what no acceptor expects, and no dump leaves anything out of."""
    peer.associate(*CONTEXTS)
    peer.send_command(wire.store_rsp(wire.CT, "1.2.3", 5, 0xA700))
    peer.expect_abort()


def nothing_accepted(peer: Peer) -> None:
    """Propose what the receiver takes nothing of."""
    peer.associate(CONTEXTS[2], called=b"OTHER")
    peer.release()


def rejected(peer: Peer) -> None:
    """Ask for another application."""
    peer.send(wire.associate_rq(CONTEXTS, application_context="1.2.3"))
    peer.expect_reject(1, 1, 2)


REQUESTS = (
    wire.store_rq(wire.CT, "1.2.1", 1),
    wire.store_rq(wire.CT, "1.2.2", 2, e0700=1),
    wire.store_rq(wire.CT, "1.2.3", 3, e0700=2, e1030=b"MOVER ", e1031=99),
)
ROLES = b"".join(
    (
        role(wire.CT, 1, 1),
        role(wire.MR, 0, 1),
        role(wire.FIND, 1, 0),
        extended(wire.CT, bytes((2, 0, 0xFF))),
        extended("1.2.3.4.7", b""),
    )
)
CONVERSATIONS: tuple[tuple[Callable[[Peer], None], str], ...] = (
    (negotiation(ROLES), "Association Release"),
    *((negotiation(identity(n, n & 1, b"joe")), "Association Release") for n in (1, 3, 4, 5)),
    (messages, "Association Release"),
    (nothing_accepted, "Association Release"),
    (response_unasked_for, "DIMSE failure"),
    (rejected, "Association Rejected"),
)


@pytest.mark.parametrize("options", LEVELS)
def test_daemon(start_receiver: StartReceiver, options: tuple[str, ...]) -> None:
    ours, theirs = (start_receiver(flavour, *options, *PLAIN) for flavour in (OURS, REFERENCE))
    marks = ours.mark(), theirs.mark()
    for converse, last_words in CONVERSATIONS:
        for receiver in (ours, theirs):
            mark = receiver.mark()
            with Peer.connect(receiver.port) as peer:
                converse(peer)
            receiver.wait_for_log(last_words, since=mark)
    said = comparable(ours.log(marks[0]))
    assert said == comparable(theirs.log(marks[1]))
    assert any("A-ASSOCIATE-AC" in line for line in said) == (options != ("-v",))
    assert any("INCOMING DIMSE" in line for line in said) == ("-d" in options)


def answer(proposal: Proposal, results: tuple[int, ...]) -> bytes:
    """Return an A-ASSOCIATE-AC with one of these results for each context, as far as they go."""
    head = struct.pack(">HH16s16s32s", 1, 0, b"OTHER".ljust(16), proposal.calling, b"")
    body = wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
    for (number, _, syntaxes), result in zip(proposal.contexts, results, strict=False):
        content = struct.pack(">BBBB", number, 0, result, 0)
        body += wire.item(0x21, content + wire.item(0x40, syntaxes[0].encode()))
    user = b"".join(
        (
            wire.item(0x51, struct.pack(">L", 32768)),
            wire.item(0x52, b"1.2.3.4"),
            role(wire.CT, 0, 0),
            wire.item(0x55, b"ARCHIVE 1"),
            extended(wire.CT, b"\1\2"),
        )
    )
    return wire.pdu(wire.ASSOCIATE_AC, head + body + wire.item(0x50, user))


def sender_log(
    flavour: str,
    files: list[Path],
    options: tuple[str, ...],
    results: tuple[int, ...],
    statuses: tuple[int, ...],
) -> list[str]:
    """Return what a sender says when its contexts and its files are answered so."""
    with ScriptedReceiver() as receiver:
        process = senders.start(flavour, receiver.port, files, *options)
        peer = receiver.accept()
        peer.send(answer(Proposal(peer.expect(wire.ASSOCIATE_RQ)), results))
        for status in statuses:
            answer_store(peer, Message(peer), status)
        if statuses:
            peer.expect(wire.RELEASE_RQ)
            peer.send(wire.release_rp())
        peer.socket.close()
        log = senders.finish(process).stderr
        # Version 3.6.7 of the reference names who responds before anybody has, 3.7.0 does not.
        return comparable(_FIRST_RESPONDING.sub(r"\1", log, count=1))


@pytest.mark.parametrize("options", LEVELS)
@pytest.mark.parametrize(
    "results",
    [
        pytest.param((4, 0), id="second"),
        pytest.param((0, 1), id="first"),
        pytest.param((3,), id="none"),
        pytest.param((2, 4), id="no-reason"),
    ],
)
def test_sender(
    tmp_path: Path, reference: str, options: tuple[str, ...], results: tuple[int, ...]
) -> None:
    files = [write_part10(tmp_path, small())]
    statuses = (0,) if 0 in results else ()
    own = (*options, "-R", "-xi" if results == (3,) else "-xb")
    said = sender_log(OURS, files, own, results, statuses)
    assert said == sender_log(reference, files, own, results, statuses)
    assert any("A-ASSOCIATE-AC" in line for line in said) == (options != ("-v",))
    assert any("OUTGOING DIMSE" in line for line in said) == ("-d" in options and bool(statuses))


@pytest.mark.parametrize("options", LEVELS)
@pytest.mark.parametrize(
    "own", ["-usr joe", "-usr joe -rsp", "-kt", "--saml", "--jwt", "--jwt -rsp"]
)
def test_sender_with_an_identity(
    tmp_path: Path, reference: str, options: tuple[str, ...], own: str
) -> None:
    """Passwords apart, which the reference shows; a missing answer ends the log early."""
    token = tmp_path / "token"
    token.write_bytes(b"ticket")
    first, *rest = own.split()
    named = [first, *rest] if first == "-usr" else [first, str(token), *rest]
    files = [write_part10(tmp_path, small())]
    statuses = () if own == "-usr joe -rsp" else (0,)
    said = sender_log(OURS, files, (*options, "-R", *named), (0,), statuses)
    assert said == sender_log(reference, files, (*options, "-R", *named), (0,), statuses)
    asked = [line for line in said if "Authentication mode" in line]
    assert len(asked) == (0 if options == ("-v",) else 2)


def test_statuses(tmp_path: Path, reference: str) -> None:
    statuses = (
        *(0x0000, 0x0001, 0x0002, 0x0100, 0x0107, 0x0110, 0x0116, 0x0122, 0x0124),
        *(0x0210, 0x0211, 0x0212, 0x02FF, 0x0300, 0xA000, 0xA700, 0xA7FF, 0xA801, 0xA900),
        *(0xA9FF, 0xB000, 0xB006, 0xB007, 0xBFFF, 0xC000, 0xCFFF, 0xD000, 0xFE00, 0xFE01),
        *(0xFF00, 0xFF01, 0xFF02),
    )
    files = [write_part10(tmp_path, small()) for _ in statuses]
    own = ("-d", "-R", "--no-halt")
    said = sender_log(OURS, files, own, (0,), statuses)
    assert said == sender_log(reference, files, own, (0,), statuses)
    assert len([line for line in said if "DIMSE Status" in line]) == len(statuses)


DETAILS: list[dict[int, int | str | bytes]] = [
    {0x0902: b"the disk is full"},
    {0x0901: struct.pack("<4H", 0x10, 0x10, 0x20, 0xD), 0x0902: b"these\\are\\bad ", 0x0903: 77},
    {0x0901: b"", 0x0902: b""},
    {0x0901: struct.pack("<20H", *range(20))},
    {0x0903: b"abcdef"},
    {0x0901: b"ab", 0x0902: b"x" * 64},
]


@pytest.mark.parametrize("details", DETAILS, ids=range(len(DETAILS)))
@pytest.mark.parametrize("options", [("-d",), ("-v",)])
def test_status_detail(
    tmp_path: Path,
    reference: str,
    options: tuple[str, ...],
    details: dict[int, int | str | bytes],
) -> None:
    """What a response says beside its status, which only those see who see all of it."""
    blocks = []
    for flavour in (OURS, reference):
        with ScriptedReceiver() as receiver:
            files = [write_part10(tmp_path, small("1.2.840.10008.5.1.4.1.1.2", "1.2.3"), "x")]
            process = senders.start(flavour, receiver.port, files, *options)
            peer = receiver.accept()
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            message = Message(peer)
            response = wire.parse_command(wire.store_rsp(wire.CT, "1.2.3", 1, 0xB000))
            del response[wire.GROUP_LENGTH]
            peer.send_command(wire.command_set(response | details), message.context)
            peer.expect(wire.RELEASE_RQ)
            peer.send(wire.release_rp())
            peer.socket.close()
            _, found, block = senders.finish(process).stderr.partition("D: Status Detail:")
        assert bool(found) == ("-d" in options)
        blocks.append(block)
    assert blocks[0] == blocks[1]
