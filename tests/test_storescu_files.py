"""Files that can be sent in one reading mode or another, and what is wrong with the others."""

import glob
import os
import struct
import zlib
from pathlib import Path

import pytest
from harness import senders, wire
from harness.conversation import converse, lines, scripted
from harness.datasets import fragments
from harness.objects import Object, explicit, implicit, new_uid, part10, small, write_part10
from harness.peer import Peer
from harness.receivers import OURS
from harness.scripted import Message, Proposal, ScriptedReceiver, serve_accepted

THING = small()
FILE = part10(THING)
HEAD = FILE[: -len(THING.data)]
LONG, NOT_LONG = part10(small(pixels=4098)), part10(small(pixels=4096))
JPEG = small(leave_out=(0x7FE00010,))._replace(syntax=wire.JPEG_BASELINE)
JPEG = JPEG._replace(data=JPEG.data + fragments(b"", bytes(5000)))
DEFLATED = small(pixels=5000)._replace(syntax=wire.DEFLATED)
DEFLATED = DEFLATED._replace(data=zlib.compress(DEFLATED.data[:-1], wbits=-15))
UIDS = explicit(0x00080016, "UI", THING.sop_class) + explicit(0x00080018, "UI", THING.sop_instance)
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
SEQUENCE = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
REFERENCE_UID = explicit(0x00081150, "UI", "1.2.3.4.5.6.7.8")


@pytest.mark.parametrize(
    ("option", "content"),
    [
        ("+f", FILE),
        ("+f", part10(THING, preamble=False)),
        ("+f", THING.data),
        ("+f", bytes(128) + b"DICM" + THING.data),
        ("+fo", FILE),
        ("+fo", part10(THING, preamble=False)),
        ("-f", THING.data),
    ],
)
def test_readable(flavour: str, tmp_path: Path, option: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    (message,), done = converse(flavour, [path], option, statuses=[0])
    assert done.code == 0, done.stderr
    assert message.data == THING.data
    assert message.command[wire.SOP_INSTANCE] == THING.sop_instance


STREAM_ENDS = "000a I/O suspension or premature end of stream"
BAD = {
    "empty": ("+f", b"", "0005 End of stream"),
    "three bytes": ("+f", b"abc", STREAM_ENDS),
    "cut in the meta header": ("+f", FILE[:200], STREAM_ENDS),
    "cut in a value": ("+f", FILE[:-20], "0004 Invalid stream"),
    "cut behind a header": ("+f", FILE[:-64], STREAM_ENDS),
    "cut in a long value": ("+f", LONG[:-1], STREAM_ENDS),
    "cut in a value just not long": ("+f", NOT_LONG[:-1], "0004 Invalid stream"),
    "cut in a long fragment": ("+f", part10(JPEG)[:-20], STREAM_ENDS),
    "cut in a deflated value": ("+f", part10(DEFLATED), "0004 Invalid stream"),
    "cut in a header": ("+f", FILE[:-65], STREAM_ENDS),
    "bytes at the end": ("+f", FILE + b"abcde", STREAM_ENDS),
    "too long for its item": (
        "+f",
        HEAD + UIDS + SEQUENCE + ITEM[:4] + struct.pack("<L", 10) + REFERENCE_UID + SEQUENCE_END,
        "001b Length of element larger than explicit length of surrounding item",
    ),
    "open sequence": (
        "+f",
        HEAD + UIDS + SEQUENCE + ITEM + REFERENCE_UID,
        "0022 Sequence Delimitation Item missing",
    ),
    "open item": (
        "+f",
        HEAD + UIDS + SEQUENCE + ITEM + REFERENCE_UID + SEQUENCE_END,
        "0026 Item Delimitation Item missing",
    ),
    "item outside a sequence": ("+f", HEAD + UIDS + ITEM[:4] + bytes(4), "0001 Invalid tag"),
    "no header": ("+fo", THING.data, "001c File meta information header missing"),
    "text": ("+fo", b"text that is no object", "001c File meta information header missing"),
}


@pytest.mark.parametrize(("option", "content", "reason"), BAD.values(), ids=BAD)
def test_bad_file(flavour: str, tmp_path: Path, option: str, content: bytes, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    messages, done = converse(flavour, [path], "-v", option)
    assert (done.code, messages) == (1, [])
    assert lines(done)[-4:] == [
        f"I: Sending file: {path}",
        f"E: Bad DICOM file: {path}: {reason[5:]}",
        f"E: Store SCU Failed: 0001:{reason}",
        "I: Aborting Association",
    ]


def test_header_where_a_data_set_is_expected(flavour: str, tmp_path: Path) -> None:
    path = write_part10(tmp_path, THING)
    messages, done = converse(flavour, [path], "-f")
    assert (done.code, messages) == (1, [])
    assert lines(done)[0].startswith(f"E: Bad DICOM file: {path}: ")


@pytest.mark.parametrize("tag", [0x00080016, 0x00080018])
def test_data_set_without_a_name(flavour: str, tmp_path: Path, tag: int) -> None:
    path = write_part10(tmp_path, small(leave_out=(tag,)))
    messages, done = converse(flavour, [path])
    assert (done.code, messages) == (1, [])
    assert lines(done) == [
        f"E: No SOP Class or Instance UID in file: {path}",
        "E: Store SCU Failed: 0006:0202 DIMSE Inappropriate data for message",
    ]


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        ("1.2.3.4", "unknown SOP class"),
        (wire.FIND, "FINDStudyRootQueryRetrieveInformationModel"),
        (wire.HANGING_PROTOCOL, "HP"),
    ],
)
def test_class_that_is_not_proposed(
    flavour: str, tmp_path: Path, sop_class: str, name: str
) -> None:
    path = write_part10(tmp_path, small(sop_class))
    messages, done = converse(flavour, [path])
    assert (done.code, messages) == (1, [])
    assert lines(done) == [
        f"E: No presentation context for: ({name}) {sop_class}",
        "E: Store SCU Failed: 0006:0208 DIMSE No valid Presentation Context ID",
    ]


def test_uids_come_from_the_data_set(flavour: str, tmp_path: Path) -> None:
    """Wherever in it they stand first, and without their padding."""
    item = explicit(0x00080016, "UI", wire.MR) + explicit(0x00080018, "UI", "1.2.3.4.5 ")
    nested = explicit(0x00081140, "SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item)
    thing = small(leave_out=(0x00080016, 0x00080018))
    head = len(explicit(0x00080020, "DA", "20240131") + explicit(0x00080060, "CS", "CT"))
    path = write_part10(
        tmp_path, thing._replace(data=thing.data[:head] + nested + thing.data[head:])
    )
    (message,), done = converse(flavour, [path], statuses=[0])
    assert done.code == 0, done.stderr
    assert message.command[wire.SOP_CLASS] == wire.MR
    assert message.command[wire.SOP_INSTANCE] == "1.2.3.4.5"


def test_uid_that_is_too_long(flavour: str, tmp_path: Path) -> None:
    """Requests name the beginning of it."""
    thing = small(sop_instance="1." * 33 + "17")
    path = write_part10(tmp_path, thing)
    (message,), done = converse(flavour, [path], statuses=[0])
    assert (done.code, done.stderr) == (0, "")
    assert message.command[wire.SOP_INSTANCE] == thing.sop_instance[:64]
    assert message.data == thing.data


@pytest.mark.parametrize("halt", [True, False])
def test_file_that_cannot_be_read(flavour: str, tmp_path: Path, halt: bool) -> None:
    """Root can read everything, so it goes away after it was checked."""
    path, good = (write_part10(tmp_path, small()) for _ in range(2))
    messages: list[Message] = []

    def script(peer: Peer, proposal: Proposal) -> None:
        path.unlink()
        peer.send(proposal.accept_all())
        messages.extend(serve_accepted(peer, [0]))

    done = scripted(flavour, [path, good], "-v", *([] if halt else ["-nh"]), script=script)
    assert done.code == (1 if halt else 0)
    text = f"E: Bad DICOM file: {path}: No such file or directory"
    assert text in lines(done)
    assert ("E: Store SCU Failed: 0001:0012 No such file or directory" in lines(done)) == halt
    # The number of the file that failed is used up.
    assert [message.command[wire.MESSAGE_ID] for message in messages] == ([] if halt else [2])


DIFFERENT = {
    "blanks": explicit(0x00100010, "PN", "A  "),
    "undefined lengths": SEQUENCE + ITEM + REFERENCE_UID + ITEM_END + SEQUENCE_END,
    "padding": explicit(0xFFFCFFFC, "OB", bytes(10)),
    "group length": explicit(0x00080000, "UL", struct.pack("<L", 1)),
}


@pytest.mark.parametrize("element", DIFFERENT.values(), ids=DIFFERENT)
def test_normalised_as_the_reference(reference: str, tmp_path: Path, element: bytes) -> None:
    """A data set that is not in the form that is sent is put into it on the way."""
    thing = small(leave_out=(0x00100010,))
    elements = [*split(thing.data), element]
    elements.sort(key=lambda raw: struct.unpack_from("<HH", raw))
    data = b"".join(elements)
    path = write_part10(tmp_path, thing._replace(data=data))
    sent = []
    for flavour in (OURS, reference):
        (message,), done = converse(flavour, [path], statuses=[0])
        assert done.code == 0, done.stderr
        sent.append(message.data)
    assert sent[0] == sent[1]
    assert sent[0] != data


def split(data: bytes) -> list[bytes]:
    """Cut an explicit VR data set without sequences into its elements."""
    elements = []
    while data:
        long = data[4:6] in (b"OB", b"OW", b"SQ")
        length = struct.unpack_from("<L", data, 8)[0] + 12 if long else data[6] + 256 * data[7] + 8
        elements.append(data[:length])
        data = data[length:]
    return elements


@pytest.mark.parametrize("option", ["-xe", "-xb", "-xi", "-xd"])
@pytest.mark.parametrize("size", [64, 100_000])
def test_converted_as_the_reference(reference: str, tmp_path: Path, option: str, size: int) -> None:
    """Native transfer syntaxes are converted on the way, in fragments of the same length."""
    path = write_part10(tmp_path, small(pixels=size))
    ours, done = converse(OURS, [path], option, "+C", "-v", statuses=[0])
    theirs, _ = converse(reference, [path], option, "+C", statuses=[0])
    assert done.code == 0
    assert [message.data for message in ours] == [message.data for message in theirs]
    assert ours[0].fragments == theirs[0].fragments
    log = "Converting transfer syntax: Little Endian Explicit -> "
    assert (log in done.stderr) == (option != "-xe")


def test_conversion_that_is_not_possible(flavour: str, tmp_path: Path) -> None:
    thing = small(leave_out=(0x7FE00010,))
    thing = thing._replace(data=thing.data + fragments(b"", b"abcd"), syntax=wire.JPEG_BASELINE)
    path = write_part10(tmp_path, thing)
    messages, done = converse(flavour, [path], "-aet", "ME", "-aec", "YOU")
    assert (done.code, messages) == (1, [])
    assert lines(done) == [
        "W: DIMSE Warning: (ME,YOU): sendMessage: unable to convert dataset from"
        " 'JPEG Baseline' transfer syntax to 'Little Endian Explicit'",
        f"E: Store Failed, file: {path}:",
        "E: 0006:020e DIMSE Failed to send message",
        "E: Store SCU Failed: 0006:020e DIMSE Failed to send message",
    ]
    (message,), done = converse(flavour, [path], "-xy", statuses=[0])
    assert done.code == 0
    assert message.data == thing.data


def in_big_endian() -> Object:
    """Return a small object in explicit VR big endian."""
    instance = new_uid()
    elements = ((0x00080016, "UI", wire.CT), (0x00080018, "UI", instance), (0x00100010, "PN", "A"))
    data = b"".join(explicit(*element, order=">") for element in elements)
    return Object(wire.CT, instance, wire.BIG, data)


def in_implicit_vr() -> Object:
    """Return a small object in implicit VR little endian."""
    instance = new_uid()
    data = implicit(0x00080016, wire.CT, pad=b"\0") + implicit(0x00080018, instance, pad=b"\0")
    return Object(wire.CT, instance, wire.IMPLICIT, data + implicit(0x00100010, "A"))


LITTLE, BIG, IMPLICIT = small(), in_big_endian(), in_implicit_vr()


@pytest.mark.parametrize(
    ("thing", "option", "context"),
    [
        (LITTLE, "-xe", 1),  # its own transfer syntax
        (LITTLE, "-xb", 3),
        (LITTLE, "-xy", 3),
        (LITTLE, "-xi", 1),  # the only one
        (BIG, "-xe", 3),
        (IMPLICIT, "-xb", 1),  # the lower of two that are as good
        (IMPLICIT, "-xy", 3),
    ],
)
def test_best_context_of_several(
    flavour: str, tmp_path: Path, thing: Object, option: str, context: int
) -> None:
    path = write_part10(tmp_path, thing)
    (message,), done = converse(flavour, [path], option, "-R", statuses=[0])
    assert done.code == 0, done.stderr
    assert message.context == context


@pytest.mark.parametrize("options", [(), ("-nh",)])
def test_large_file_that_shrinks_while_it_is_sent(tmp_path: Path, options: tuple[str]) -> None:
    """It ends the association, and not the process by a signal; nothing can follow it."""
    path = write_part10(tmp_path, small(pixels=50_000_000))
    other = write_part10(tmp_path, small())
    tail = b""

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(proposal.accept_all())
        peer.expect(wire.P_DATA)
        os.truncate(path, 1_000_000)
        nonlocal tail
        while data := peer.socket.recv(1 << 20):
            tail = (tail + data)[-1024:]

    done = scripted(OURS, [path, other], *options, script=script)
    reason = "0006:020e DIMSE Failed to send message"
    assert done.code == 1
    assert lines(done)[:2] == [f"E: Store Failed, file: {path}:", f"E: {reason}"]
    assert lines(done)[2:] == (
        [
            f"E: Store Failed, file: {other}:",
            f"E: {reason}",
            f"E: Association Release Failed: {reason}",
        ]
        if options
        else [f"E: Store SCU Failed: {reason}"]
    )
    assert not tail.endswith((wire.abort(), wire.release_rq()))
    assert other.stem.encode() not in tail


@pytest.mark.parametrize(
    ("option", "accepted", "told"),
    [
        ("-xd", wire.DEFLATED, "Little Endian Explicit -> Deflated Explicit VR Little Endian"),
        ("-xd", wire.EXPLICIT, ""),
        ("-xd", wire.IMPLICIT, "Little Endian Explicit -> Little Endian Implicit"),
        ("-xe", wire.EXPLICIT, ""),
        ("-xe", wire.BIG, "Little Endian Explicit -> Big Endian Explicit"),
    ],
)
def test_what_conversion_is_told(
    flavour: str, tmp_path: Path, option: str, accepted: str, told: str
) -> None:
    """From what the file is in; version 3.6.7 says so even where nothing changes."""
    path = write_part10(tmp_path, small())

    def script(peer: Peer, proposal: Proposal) -> None:
        peer.send(
            proposal.accept(
                {number: accepted for number, _, listed in proposal.contexts if accepted in listed}
            )
        )
        serve_accepted(peer, [0])

    done = scripted(flavour, [path], option, "-v", script=script)
    assert done.code == 0, done.stderr
    head = "I: Converting transfer syntax: "
    said = [line.removeprefix(head) for line in done.stderr.splitlines() if line.startswith(head)]
    if flavour == OURS:
        assert said == ([told] if told else [])
    elif told:
        assert said == [told]


@pytest.mark.parametrize("private", [True, False])
def test_dictionaries_of_the_environment(
    flavour: str, tmp_path: Path, reference: str, private: bool
) -> None:
    """A private element without a VR gets the one that the dictionary has."""
    (public,) = glob.glob("/usr/share/*dcmtk*/dicom.dic")
    names = [public, str(Path(public).with_name("private.dic"))][: 1 + private]
    thing = in_implicit_vr()
    data = thing.data[: -len(implicit(0x00100010, "A"))] + b"".join(
        (implicit(0x00190010, "SIEMENS CT VA0  COAD"), implicit(0x00191010, "1.5   "))
    )
    path = write_part10(tmp_path, thing._replace(data=data))
    with ScriptedReceiver() as receiver:
        process = senders.start(
            flavour, receiver.port, [path], "-xe", environment={"DCMDICTPATH": ":".join(names)}
        )
        with receiver.accept() as peer:
            peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
            (message,) = serve_accepted(peer, [0])
        done = senders.finish(process)
    assert (done.code, done.stderr) == (0, "")
    assert (b"\x19\0\x10\x10" + (b"DS" if private else b"UN")) in (message.data or b"")


def test_no_dictionary_at_all(flavour: str, tmp_path: Path) -> None:
    """It is told before the files are looked at, and does not matter where all VRs are known."""
    path = write_part10(tmp_path, small())
    done = senders.run(
        flavour,
        *("-v", "127.0.0.1", "1", str(path)),
        environment={"DCMDICTPATH": "/nonexistent/x.dic"},
    )
    told = done.stderr.splitlines()
    at = told.index("W: no data dictionary loaded, check environment variable: DCMDICTPATH")
    assert told[at + 1] == "I: checking input files ..."
    assert done.code == 1
