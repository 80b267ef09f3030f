"""User identity: item 58 as it travels, its answer, and what is wrong with the files it is in."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import senders, wire
from harness.conversation import converse, lines, scripted
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.processes import free_port
from harness.receivers import OURS, REFERENCE
from harness.scripted import Proposal, ScriptedReceiver, serve_accepted
from harness.senders import Sent

UNANSWERED = [
    "E: User Identity Negotiation failed: Positive response requested but none received",
    "F: 0006:0108 ASC User Identification Negotiation failed",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_part10(tmp_path, small())


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(bytes(range(256)))
    return path


def identity_item(kind: int, wanted: int, primary: bytes, secondary: bytes = b"") -> bytes:
    """Return the content of a user identity item (PS3.7 table D.3-14)."""
    fields = [len(field).to_bytes(2, "big") + field for field in (primary, secondary)]
    return bytes((kind, wanted)) + b"".join(fields)


def shown(flavour: str, file: Path, *options: str) -> list[bytes]:
    """Return the user identity items that a sender shows."""
    found: list[bytes] = []

    def script(peer: Peer, proposal: Proposal) -> None:
        kinds = [kind for kind, _ in proposal.user_items]
        assert kinds == sorted(kinds), "in the order of their types"
        found.extend(content for kind, content in proposal.user_items if kind == 0x58)
        peer.send(wire.associate_rj(1, 1, 1))
        peer.expect_closed()

    scripted(flavour, [file], *options, script=script)
    return found


NAMES = [
    ((), None),
    (("-usr", "joe"), identity_item(1, 0, b"joe")),
    (("-usr", ""), identity_item(1, 0, b"")),
    (("-usr", "joe", "-pwd", "s3cret"), identity_item(2, 0, b"joe", b"s3cret")),
    (("-usr", "joe", "-pwd", ""), identity_item(2, 0, b"joe")),
    (("-usr", "joe", "-epw"), identity_item(2, 0, b"joe")),
    (("-usr", "joe", "-epw", "-pwd", "x"), identity_item(2, 0, b"joe", b"x")),
    (("-usr", "joe", "-rsp"), identity_item(1, 1, b"joe")),
    (("-rsp", "-pwd", "x", "-usr", "joe"), identity_item(2, 1, b"joe", b"x")),
    (("-usr", "jürgen", "-pwd", "ä€"), identity_item(2, 0, "jürgen".encode(), "ä€".encode())),
]


@pytest.mark.parametrize(("options", "expected"), NAMES, ids=[" ".join(o) for o, _ in NAMES])
def test_names(flavour: str, file: Path, options: tuple[str, ...], expected: bytes | None) -> None:
    assert shown(flavour, file, *options) == ([] if expected is None else [expected])


@pytest.mark.parametrize("wanted", [0, 1])
@pytest.mark.parametrize(("option", "kind"), [("-kt", 3), ("--saml", 4), ("--jwt", 5)])
def test_tokens(flavour: str, file: Path, token: Path, option: str, kind: int, wanted: int) -> None:
    options = (option, str(token), *(["-rsp"] if wanted else []))
    assert shown(flavour, file, *options) == [identity_item(kind, wanted, token.read_bytes())]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-usr", "joe", "--jwt", "{token}"), 5),
        (("--jwt", "{token}", "-usr", "joe"), 1),
        (("--saml", "/no/such/file", "-kt", "{token}"), 3),
        (("-usr", "a", "-usr", "b"), 1),
    ],
)
def test_rightmost_counts(
    flavour: str, file: Path, token: Path, options: tuple[str, ...], kind: int
) -> None:
    named = [option.format(token=token) for option in options]
    (item,) = shown(flavour, file, *named)
    assert item[0] == kind
    assert (item[2:6] == b"\0\1b\0") == (options[0:2] == ("-usr", "a"))


def test_with_a_profile(flavour: str, file: Path, tmp_path: Path) -> None:
    """The identity stands beside roles and extended negotiation of a profile."""
    profile = tmp_path / "profile.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[U]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[C]\nPresentationContext1 = CTImageStorage\\U\n"
        "[[SCPSCURoleSelection]]\n[R]\nRole1 = CTImageStorage\\BOTH\n"
        "[[ExtendedNegotiation]]\n[E]\nExtendedNegotiation1 = CTImageStorage\\0201\n"
        "[[Profiles]]\n[P]\nPresentationContexts = C\nSCPSCURoleSelection = R\n"
        "ExtendedNegotiation = E\n"
    )
    kinds: list[int] = []

    def script(peer: Peer, proposal: Proposal) -> None:
        kinds.extend(kind for kind, _ in proposal.user_items)
        peer.send(proposal.accept_all())
        serve_accepted(peer, [0])

    done = scripted(flavour, [file], "-xf", str(profile), "p", "-usr", "joe", script=script)
    assert done.code == 0, done.stderr
    assert kinds == [0x51, 0x52, 0x54, 0x55, 0x56, 0x58]


@contextmanager
def pipe_with(content: bytes) -> Iterator[Path]:
    """A named pipe that gives its content in two parts."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", buffering=0) as pipe:
            for part in (content[:5], content[5:]):
                pipe.write(part)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{reader}")
    finally:
        os.close(reader)
        writing.join()


def test_token_from_a_pipe(file: Path) -> None:
    """As shells make of <(command); the reference wants to know the size of the file."""
    with pipe_with(b"a token") as path:
        assert shown(OURS, file, "--jwt", str(path)) == [identity_item(5, 0, b"a token")]


@pytest.mark.parametrize("option", ["-kt", "--saml", "--jwt"])
def test_bad_files(flavour: str, file: Path, tmp_path: Path, option: str) -> None:
    """Told before anybody is asked for an association, but behind what is wrong with input."""
    (tmp_path / "empty").touch()
    for name, reason in (
        ("none", "open Kerberos, SAML or JWT file: No such file or directory"),
        ("empty", "read Kerberos, SAML or JWT info from file: File empty?"),
    ):
        done = refused(flavour, [file], option, str(tmp_path / name))
        assert lines(done) == ["I: checking input files ...", f"E: Unable to {reason}"]
        done = refused(flavour, ["/no/file"], option, str(tmp_path / name))
        assert lines(done)[-1] == "F: cannot access file: /no/file"


def refused(flavour: str, files: Iterable[Path | str], *options: str) -> Sent:
    """Run a sender that must end with status 1 before it connects."""
    done = senders.send(flavour, free_port(), files, "-v", *options)
    assert done.code == 1
    assert "Requesting Association" not in done.stderr
    return done


def test_file_before_profile(flavour: str, file: Path, tmp_path: Path) -> None:
    """A profile that is not in its file is told later."""
    profile = tmp_path / "profile.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[U]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[C]\nPresentationContext1 = CTImageStorage\\U\n"
        "[[Profiles]]\n[P]\nPresentationContexts = C\n"
    )
    done = refused(flavour, [file], "-xf", str(profile), "other", "--jwt", "/no/such/file")
    assert lines(done)[1:] == [
        "E: Unable to open Kerberos, SAML or JWT file: No such file or directory"
    ]
    done = refused(flavour, [file], "-xf", str(profile), "other", "-usr", "joe")
    assert lines(done)[1:] == ["F: 0006:0426 profile key undefined: OTHER"]


def test_directory_instead_of_a_file(file: Path, tmp_path: Path) -> None:
    done = refused(OURS, [file], "--jwt", str(tmp_path))
    assert lines(done)[-1] == (
        "E: Unable to read Kerberos, SAML or JWT info from file: Is a directory"
    )


TOO_LONG = "exceeds upper limit of 65535 bytes"


@pytest.mark.parametrize("size", [65535, 65536, 100_000])
def test_file_that_is_too_long(flavour: str, file: Path, tmp_path: Path, size: int) -> None:
    """What is left of it is still too long, since there are other user items."""
    token = tmp_path / "token"
    token.write_bytes(bytes(size))
    done = run_without_association(flavour, file, "-v", "--jwt", str(token))
    told = lines(done)
    cut = [line for line in told if line.startswith("I: Kerberos")]
    assert cut == (
        []
        if size == 65535
        else [
            "I: Kerberos, SAML or JWT file is larger than 65535 bytes,"
            " bytes after that position are ignored"
        ]
    )
    text = told[-1].removeprefix("F: Association Request Failed: 0006:0103 ")
    assert told[-3:-1] == ["I: Requesting Association", f"E: {text}"]
    assert text.startswith("Total length of user items (65")
    assert text.endswith(TOO_LONG)


def run_without_association(flavour: str, file: Path, *options: str) -> Sent:
    """Run a sender that must fail when it knows what it would ask for.

    The reference connects first, and then has nothing to say.
    """
    with ScriptedReceiver() as receiver:
        done = senders.send(flavour, receiver.port, [file], *options)
    assert done.code == 1
    return done


def test_longest_identity(flavour: str, file: Path, tmp_path: Path) -> None:
    """All that fits travels; the other items take about 70 bytes."""
    token = tmp_path / "token"
    token.write_bytes(b"t" * 65400)
    assert shown(flavour, file, "--jwt", str(token)) == [identity_item(5, 0, b"t" * 65400)]


def test_name_that_is_too_long(file: Path) -> None:
    """The reference ends without a word."""
    done = run_without_association(OURS, file, "-usr", "u" * 70000)
    assert done.stderr.count(TOO_LONG) == 2


# The answer


def answer(proposal: Proposal, response: bytes | None, chosen: int | None = 1) -> bytes:
    """Return an A-ASSOCIATE-AC with a user identity response, or without one."""
    accept = proposal.accept(
        {number: syntaxes[0] for number, _, syntaxes in proposal.contexts if number == chosen}
    )
    if response is None:
        return accept
    extra = wire.item(0x59, len(response).to_bytes(2, "big") + response)
    body = accept[6:]
    at = 68
    while body[at] != 0x50:
        at += 4 + int.from_bytes(body[at + 2 : at + 4], "big")
    return wire.pdu(wire.ASSOCIATE_AC, body[:at] + wire.item(0x50, body[at + 4 :] + extra))


@pytest.mark.parametrize(
    ("options", "matters"),
    [
        (("-usr", "joe"), True),
        (("-usr", "joe", "-pwd", "x"), True),
        (("-usr", "joe", "-epw"), True),
        (("-kt", "{token}"), False),
        (("--saml", "{token}"), False),
        (("--jwt", "{token}"), False),
    ],
)
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("response", [None, b"", b"welcome"])
def test_response(
    flavour: str,
    file: Path,
    token: Path,
    options: tuple[str, ...],
    matters: bool,
    wanted: bool,
    response: bytes | None,
) -> None:
    ends = wanted and matters and response is None

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(answer(proposal, response))
        if ends:
            peer.expect_closed()
        else:
            assert len(serve_accepted(peer, [0])) == 1

    own = [option.format(token=token) for option in options] + (["-rsp"] if wanted else [])
    done = scripted(flavour, [file], "-R", *own, script=script)
    assert (done.code, lines(done)) == ((1, UNANSWERED) if ends else (0, []))


def test_no_context_is_told_before_no_response(flavour: str, file: Path) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(answer(proposal, None, chosen=None))
        peer.expect_closed()

    done = scripted(flavour, [file], "-R", "-usr", "joe", "-rsp", script=script)
    assert (done.code, lines(done)) == (1, ["F: No Acceptable Presentation Contexts"])


def test_no_halt_does_not_help(flavour: str, file: Path) -> None:
    """The exit code of the association is not that of its files."""

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(answer(proposal, None))
        peer.expect_closed()

    done = scripted(flavour, [file], "-nh", "-R", "-usr", "joe", "-rsp", script=script)
    assert (done.code, lines(done)) == (1, UNANSWERED)


def test_combined_with_other_options(flavour: str, file: Path) -> None:
    messages, done = converse(
        flavour,
        [file, "/no/such/file"],
        *("-R", "+C", "-nh", "--repeat", "2", "+rn", "-usr", "joe", "-pwd", "x"),
        statuses=[0, 0] if flavour == OURS else [0],
    )
    assert done.code == 0
    assert len(messages) == (2 if flavour == OURS else 1)
    assert Path(f"{file}.done").exists()


# Real receivers


@pytest.mark.parametrize("receiver_flavour", [OURS, REFERENCE])
def test_receivers_do_not_look_at_it(
    start_receiver: StartReceiver, file: Path, flavour: str, token: Path, receiver_flavour: str
) -> None:
    """Neither is it enforced, nor answered."""
    receiver = start_receiver(receiver_flavour, "-d")
    for own in (("-usr", "joe", "-pwd", "s3cret"), ("--jwt", str(token), "-rsp")):
        done = senders.send(flavour, receiver.port, [file], *own)
        assert done.code == 0, done.stderr
    done = senders.send(flavour, receiver.port, [file], "-usr", "joe", "-rsp")
    assert (done.code, lines(done)) == (1, UNANSWERED)
    receiver.wait_for_log("Association Aborted")
    log = receiver.log()
    assert "Username: [joe]" in log
    assert "JSON Web Token (not dumped) length: 256" in log
    assert ("s3cret" in log) == (receiver_flavour == REFERENCE)


@pytest.mark.parametrize("level", ["-v", "-d", "-ll trace"])
def test_password_is_not_logged(file: Path, level: str) -> None:
    messages, done = converse(
        OURS,
        [file],
        *(*level.split(), "+v", "--arguments", "-usr", "joe", "-pwd", "s3cret"),
        statuses=[0],
    )
    assert (len(messages), done.code) == (1, 0)
    assert "'--password' '***' " in done.stderr
    assert "Password: (not dumped)" in done.stderr
    assert "s3cret" not in done.stderr + done.stdout
