"""What the sender proposes, PDU by PDU beside the reference's."""

from pathlib import Path

import pytest
from harness import senders, wire
from harness.conversation import lines, scripted
from harness.objects import part10, small, write_part10
from harness.peer import Peer
from harness.receivers import OURS
from harness.scripted import Proposal, ScriptedReceiver

from dcmstore import uids
from storescu import proposals
from storescu.options import PROGRAM

LEE, BEE, LEI = wire.EXPLICIT, wire.BIG, wire.IMPLICIT
JPEG = "1.2.840.10008.1.2.4."
OPTIONS = {
    "-x=": (LEE, BEE, LEI),
    "-xe": (LEE, BEE, LEI),
    "-xb": (BEE, LEE, LEI),
    "-xi": (LEI,),
    "-xs": (JPEG + "70", LEE, BEE, LEI),
    "-xy": (JPEG + "50", LEE, BEE, LEI),
    "-xx": (JPEG + "51", LEE, BEE, LEI),
    "-xv": (JPEG + "90", LEE, BEE, LEI),
    "-xw": (JPEG + "91", LEE, BEE, LEI),
    "-xt": (JPEG + "80", LEE, BEE, LEI),
    "-xu": (JPEG + "81", LEE, BEE, LEI),
    "-xr": (wire.RLE, LEE, BEE, LEI),
    "-xd": (wire.DEFLATED, LEE, BEE, LEI),
    "-xm": (JPEG + "100",),
    "-xh": (JPEG + "101",),
    "-xn": (JPEG + "102",),
    "-xl": (JPEG + "103",),
    "-x2": (JPEG + "104",),
    "-x3": (JPEG + "105",),
    "-xo": (JPEG + "106",),
    "-x4": (JPEG + "107",),
    "-x5": (JPEG + "108",),
}


def proposal(flavour: str, files: list[Path], *options: str) -> Proposal:
    """Return what a sender proposes; it is turned away."""
    seen: list[Proposal] = []

    def refuse(peer: Peer, proposed: Proposal) -> None:
        seen.append(proposed)
        peer.send(wire.associate_rj(1, 1, 1))

    assert scripted(flavour, files, *options, script=refuse).code == 1
    return seen[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_part10(tmp_path, small())


def test_every_option_is_here() -> None:
    rows = {row.short: row.name for row in PROGRAM.rows() if row.block == "propose"}
    assert set(rows) == set(OPTIONS)
    for short, (preferred, *fallback) in OPTIONS.items():
        assert proposals.transfer_syntaxes(rows[short]) == (preferred, tuple(fallback))


@pytest.mark.parametrize("option", OPTIONS)
def test_transfer_syntaxes(flavour: str, file: Path, option: str) -> None:
    preferred, *fallback = OPTIONS[option]
    split = [(1, wire.CT, [preferred])] + ([(3, wire.CT, fallback)] if fallback else [])
    assert proposal(flavour, [file], option, "-R").contexts == split
    combined = [(1, wire.CT, [preferred, *fallback])]
    assert proposal(flavour, [file], option, "-R", "+C").contexts == combined


@pytest.mark.parametrize("options", [(), ("-xb",), ("-xi",), ("+C",), ("-xv", "+C")])
def test_all_classes_as_the_reference(reference: str, file: Path, options: tuple[str, ...]) -> None:
    ours, theirs = proposal(OURS, [file], *options), proposal(reference, [file], *options)
    assert ours.contexts == theirs.contexts
    classes = list(dict.fromkeys(abstract for _, abstract, _ in ours.contexts))
    assert classes == list(uids.proposed_storage_classes())
    assert len(classes) == 64
    assert ours.contexts[-1][0] == (255 if not options or options == ("-xb",) else 127)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-pdu", "4096"),
        ("-pdu", "5001"),
        ("-pdu", "131072"),
        ("-aet", "SENDER", "-aec", "RECEIVER"),
        ("-aet", " A B ", "-aec", "LONGER THAN SIXTEEN"),
        ("-aet", "RÖNTGEN", "-aec", "日本日本日本"),
    ],
)
def test_titles_and_lengths_as_the_reference(
    reference: str, file: Path, options: tuple[str, ...]
) -> None:
    ours, theirs = proposal(OURS, [file], *options), proposal(reference, [file], *options)
    assert (ours.called, ours.calling) == (theirs.called, theirs.calling)
    assert [kind for kind, _ in ours.user_items] == [kind for kind, _ in theirs.user_items]
    assert ours.user_items[0] == theirs.user_items[0]  # the maximum length


def test_required_classes_come_from_the_data_sets(flavour: str, tmp_path: Path) -> None:
    """In the order of the files, each once; what the meta header says does not count."""
    files = [
        write_part10(tmp_path, small(wire.MR), "1"),
        write_part10(tmp_path, small(wire.CT, data_class=wire.SECONDARY_CAPTURE), "2"),
        write_part10(tmp_path, small(wire.MR), "3"),
        write_part10(tmp_path, small(wire.CT), "4"),
    ]
    found = proposal(flavour, files, "-R", "-xi").contexts
    assert [abstract for _, abstract, _ in found] == [wire.MR, wire.SECONDARY_CAPTURE, wire.CT]


def classes_of_all_kinds(tmp_path: Path, count: int) -> list[Path]:
    """Return files of so many SOP classes."""
    return [
        write_part10(tmp_path, small(sop_class), f"{number:03}")
        for number, sop_class in enumerate(uids.proposed_storage_classes()[:64])
        if number < count
    ] + [
        write_part10(tmp_path, small(wire.HANGING_PROTOCOL), f"9{number}")
        for number in range(count - 64)
    ]


def test_too_many_contexts(flavour: str, tmp_path: Path) -> None:
    files = classes_of_all_kinds(tmp_path, 65)
    done = senders.send(flavour, 1, files, "-R")
    assert done.code == 1
    assert lines(done) == [
        "E: Too many presentation contexts",
        "F: 0006:0101 ASC Bad presentation context ID",
    ]
    assert len(proposal(flavour, files, "-R", "+C").contexts) == 65
    assert len(proposal(flavour, files[:64], "-R").contexts) == 128


@pytest.mark.parametrize(
    ("options", "which"),
    [(("-aet",), "Calling"), (("-aec",), "Called"), (("-aet", "-aec"), "Called")],
    ids=["calling", "called", "both"],
)
def test_empty_title(flavour: str, file: Path, options: tuple[str, ...], which: str) -> None:
    own = [part for option in options for part in (option, "")]
    with ScriptedReceiver() as receiver:  # the reference connects before it looks
        done = senders.send(flavour, receiver.port, [file], *own)
    text = f"Illegal service parameter: {which} AP Title"
    assert (done.code, lines(done)) == (
        1,
        [f"E: {text}", f"F: Association Request Failed: 0006:030c {text}"],
    )


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (part10(small(leave_out=(0x00080016,))), "missing SOP class (or instance) in file: {}"),
        (part10(small(leave_out=(0x00080018,))), "missing SOP class (or instance) in file: {}"),
        (b"no DICOM", "missing SOP class (or instance) in file: {}"),
        (b"", "missing SOP class (or instance) in file: {}"),
        (part10(small("1.2.3.4")), "unknown storage SOP class in file: {}: 1.2.3.4"),
        (part10(small(wire.FIND)), f"unknown storage SOP class in file: {{}}: {wire.FIND}"),
    ],
)
def test_what_requires_nothing(flavour: str, tmp_path: Path, thing: bytes, problem: str) -> None:
    bad, good = tmp_path / "bad", write_part10(tmp_path, small(), "good")
    bad.write_bytes(thing)
    text = problem.format(bad)
    done = senders.send(flavour, 1, [good, bad], "-R")
    assert (done.code, lines(done)) == (1, [f"F: {text}"])
    assert len(proposal(flavour, [bad, good], "-R", "-nh", "-xi").contexts) == 1
    with ScriptedReceiver() as receiver:
        done = senders.send(flavour, receiver.port, [bad], "-R", "-nh")
    assert done.code == 1
    assert lines(done) == [
        f"W: {text}, ignoring file",
        "F: Association Request Failed: 0006:0103 ASC Coding error in ASC_requestAssociation:"
        " missing presentation contexts",
    ]


def test_storage_classes_without_a_patient(flavour: str, tmp_path: Path) -> None:
    file = write_part10(tmp_path, small(wire.HANGING_PROTOCOL))
    assert proposal(flavour, [file], "-R", "-xi").contexts == [(1, wire.HANGING_PROTOCOL, [LEI])]
