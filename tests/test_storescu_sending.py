"""How objects travel: messages, fragments, statuses, progress, and what becomes of the files."""

from pathlib import Path

import pytest
from harness import wire
from harness.conversation import converse, lines, scripted
from harness.datasets import element
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.receivers import OURS
from harness.scripted import Message, Proposal, serve_accepted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_part10(tmp_path, small())


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_part10(tmp_path, small(), f"{number}.dcm") for number in range(4)]


def test_request(file: Path, flavour: str) -> None:
    """The elements of the command, ascending, with a right group length."""
    (message,), _ = converse(flavour, [file], statuses=[0])
    expected = wire.parse_command(wire.store_rq(wire.CT, file.stem, 1))
    assert list(message.command.items()) == list(expected.items())
    assert message.data == small(sop_instance=file.stem).data


def sent_in_fragments(flavour: str, path: Path, peer_max: int, *options: str) -> list[int]:
    """Return the lengths of the data set fragments that a peer with this maximum gets."""
    messages: list[Message] = []

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept_all(peer_max))
        messages.extend(serve_accepted(peer, [0]))

    done = scripted(flavour, [path], *options, script=script)
    assert done.code == 0, done.stderr
    (message,) = messages
    assert message.data is not None
    assert message.data == path.read_bytes()[-len(message.data) :]
    return message.fragments


@pytest.mark.parametrize(
    ("peer_max", "options", "limit"),
    [
        (16384, (), 16372),
        (4096, (), 4084),
        (5001, (), 4988),
        (131072, (), 131060),
        (200000, (), 131060),
        (0, (), 131060),
        (0, ("--max-send-pdu", "8192"), 8180),
        (16384, ("--max-send-pdu", "4096"), 4084),
        (4096, ("--max-send-pdu", "16384"), 4084),
        (16384, ("-pdu", "4096"), 16372),
    ],
)
def test_fragments(
    flavour: str, tmp_path: Path, peer_max: int, options: tuple[str, ...], limit: int
) -> None:
    path = write_part10(tmp_path, small(pixels=300_000))
    command, *fragments = sent_in_fragments(flavour, path, peer_max, *options)
    assert command < 256
    assert set(fragments[:-1]) == {limit}
    assert 0 < fragments[-1] <= limit


@pytest.mark.parametrize("extra", [-2, 0, 2])
def test_fragments_that_just_fit(flavour: str, tmp_path: Path, extra: int) -> None:
    rest = len(small(pixels=0).data)
    path = write_part10(tmp_path, small(pixels=2 * 4084 - rest + extra))
    expected = {-2: [4084, 4082], 0: [4084, 4084], 2: [4084, 4084, 2]}[extra]
    assert sent_in_fragments(flavour, path, 4096)[1:] == expected


def test_odd_pixel_data(flavour: str, tmp_path: Path) -> None:
    """They are sent as they are, but receivers take no odd fragment."""
    thing = small(leave_out=(0x7FE00010,))
    thing = thing._replace(data=thing.data + element(0x7FE00010, "OW", bytes(4999)))
    path = write_part10(tmp_path, thing)
    (message,), done = converse(flavour, [path], "--max-send-pdu", "4096", statuses=[0])
    assert done.code == 0, done.stderr
    assert message.data == thing.data + b"\0"
    assert not any(length % 2 for length in message.fragments)


def test_large_object(tmp_path: Path) -> None:
    """More than one gathered send, in fragments of the smallest usual length."""
    path = write_part10(tmp_path, small(pixels=9_000_000))
    fragments = sent_in_fragments(OURS, path, 4096)[1:]
    assert sum(fragments) == len(small(sop_instance=path.stem, pixels=9_000_000).data)


def test_tiny_fragments(file: Path) -> None:
    """Even the command is cut."""
    messages: list[Message] = []

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept_all(20))
        messages.extend(serve_accepted(peer, [0]))

    done = scripted(OURS, [file], "-v", script=script)
    assert done.code == 0
    assert messages[0].data == small(sop_instance=file.stem).data
    assert set(messages[0].fragments[:-1]) <= {8, 6, 4, 2}
    assert "I: Association Accepted (Max Send PDV: 4084)" in lines(done)


def test_peer_that_takes_nothing(flavour: str, file: Path) -> None:
    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept_all(12))
        peer.expect_abort(0, 0)

    done = scripted(flavour, [file], script=script)
    assert done.code == 1
    assert lines(done)[0] == "W: ASSOC: PDV send length 0 (using default)"
    assert f"E: Store Failed, file: {file}:" in lines(done)


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (0x0000, "Success", 0),
        (0xB000, "Warning: CoercionOfDataElements", 0),
        (0xB006, "Warning: ElementsDiscarded", 0),
        (0xB007, "Warning: DataSetDoesNotMatchSOPClass", 0),
        (0xB123, "Unknown Status: 0xb123", 0),
        (0x0001, "Unknown Status: 0x1", 0),
        (0x0107, "Unknown Status: 0x107", 0),
        (0x0116, "Unknown Status: 0x116", 0),
        (0x0122, "Refused: SOPClassNotSupported", 1),
        (0x0111, "Unknown Status: 0x111", 1),
        (0xA700, "Refused: OutOfResources", 167),
        (0xA7FF, "Refused: OutOfResources", 167),
        (0xA801, "Unknown Status: 0xa801", 168),
        (0xA900, "Error: DataSetDoesNotMatchSOPClass", 169),
        (0xC000, "Error: CannotUnderstand", 192),
        (0xCFFF, "Error: CannotUnderstand", 207),
        (0xFE00, "Unknown Status: 0xfe00", 254),
        (0xFF00, "Unknown Status: 0xff00", 255),
    ],
)
def test_statuses(flavour: str, files: list[Path], status: int, text: str, code: int) -> None:
    """A failure ends the transfer, but the association is released in due form."""
    messages, done = converse(flavour, files[:2], "-v", statuses=[status, 0])
    assert done.code == code
    assert len(messages) == (1 if code else 2)
    assert f"I: Received Store Response ({text})" in lines(done)
    assert lines(done)[-1] == "I: Releasing Association"
    messages, done = converse(flavour, files[:2], "--no-halt", statuses=[status, 0])
    assert (len(messages), done.code, done.stderr) == (2, 0, "")


@pytest.mark.parametrize("options", [("-v",), (), ("-d",), ("-q",)])
def test_progress(flavour: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    paths = [write_part10(tmp_path, small(pixels=pixels)) for pixels in (64, 100_000)]
    _, done = converse(flavour, paths, *options, statuses=[0, 0])
    assert done.stdout == ("XMIT: .\nXMIT: .......\n" if options == ("-v",) else "")


def test_progress_into_a_closed_pipe(file: Path) -> None:
    """Nobody who looks is no reason not to send."""
    _, done = converse(OURS, [file, file], "-v", statuses=[0, 0], close_stdout=True)
    assert done.code == 0, done.stderr


def test_message_ids_count_every_file(flavour: str, tmp_path: Path) -> None:
    """Files that fail before anything is sent, too; those are not repeated."""
    bad = tmp_path / "bad"
    bad.write_bytes(b"no object")
    paths = [write_part10(tmp_path, small()), bad, write_part10(tmp_path, small())]
    messages, done = converse(flavour, paths, "-nh", "--repeat", "2", statuses=[0] * 4)
    assert done.code == 0
    assert [message.command[wire.MESSAGE_ID] for message in messages] == [1, 2, 4, 5]


def test_repetitions(flavour: str, files: list[Path]) -> None:
    """Each file several times in a row; the first failure ends them."""
    messages, done = converse(flavour, files[:2], "--repeat", "3", statuses=[0] * 6)
    assert done.code == 0
    named = [message.command[wire.SOP_INSTANCE] for message in messages]
    assert named == [named[0]] * 3 + [named[3]] * 3
    assert named[0] != named[3]
    messages, done = converse(flavour, files[:2], "--repeat", "3", statuses=[0, 0xC000])
    assert (len(messages), done.code) == (2, 192)
    messages, _ = converse(flavour, files[:2], "--repeat", "2", "-nh", statuses=[0xC000] * 4)
    assert len(messages) == 4


def test_renamed(flavour: str, tmp_path: Path, files: list[Path]) -> None:
    """By the status, and by all that else may be wrong with a file."""
    files[1].write_bytes(b"no object")
    write_part10(tmp_path, small("1.2.3.4"), "2.dcm")
    (tmp_path / "3.dcm.bad").write_bytes(b"is overwritten")
    _, done = converse(flavour, files, "+rn", "-nh", "-d", statuses=[0xB000, 0xC000])
    assert done.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0.dcm.done",
        "1.dcm.bad",
        "2.dcm.bad",
        "3.dcm.bad",
    ]
    assert f"D: renamed file '{files[0]}' to '{files[0]}.done'" in lines(done)
    assert (tmp_path / "3.dcm.bad").stat().st_size > 100


def test_renamed_until_the_first_failure(flavour: str, files: list[Path]) -> None:
    _, done = converse(flavour, files, "+rn", statuses=[0, 0xA700])
    assert done.code == 167
    names = sorted(path.name for path in files[0].parent.iterdir())
    assert names == ["0.dcm.done", "1.dcm.bad", "2.dcm", "3.dcm"]


def test_that_cannot_be_renamed(flavour: str, file: Path) -> None:
    Path(f"{file}.done").mkdir()
    _, done = converse(flavour, [file], "+rn", statuses=[0])
    assert (done.code, lines(done)) == (
        0,
        [f"W: cannot rename file '{file}' to '{file}.done'"],
    )


def test_renamed_after_all_repetitions(files: list[Path]) -> None:
    """The reference renames after the first and then misses the file."""
    messages, done = converse(OURS, files[:2], "+rn", "--repeat", "2", statuses=[0] * 4)
    assert (len(messages), done.code) == (4, 0)
    assert Path(f"{files[0]}.done").exists()
    assert Path(f"{files[1]}.done").exists()


def test_same_file_twice_and_renamed(flavour: str, file: Path) -> None:
    """The second time it is not there any more, although it was when looked for."""
    messages, done = converse(flavour, [file, file], "+rn", statuses=[0, 0])
    assert (len(messages), done.code) == (1, 1)
    assert f"E: Bad DICOM file: {file}: No such file or directory" in lines(done)
