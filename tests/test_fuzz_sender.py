"""Keep the fuzz target of a whole association of the sender alive."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.fuzz_sender import FORGED, Answers, Target
from harness import wire

from dcmstore import pdu
from storescu import sender

MODES = [("-d",), ("-v", "--no-halt", "--repeat", "2"), ("-d", "--verbose-pc", "+II", "--abort")]


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """The command line of a target says how the whole process logs."""
    root = logging.getLogger()
    level, handlers, raises = root.level, root.handlers[:], logging.raiseExceptions
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.raiseExceptions = raises


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_conversations_made_at_random(folder: str, options: tuple[str, ...]) -> None:
    target = Target(folder, *options)
    statuses, said = set(), set()
    for number in range(400):
        statuses.add(target.fuzz_one(Answers(number).to_requestor()))
        said |= {record.getMessage().partition(" ")[0] for record in target.lines.records}
    assert 1 in statuses
    assert {"Association", "Received", "Sending", "Converting", "Store"} <= said


def accepted(syntax: str = wire.EXPLICIT) -> bytes:
    results = (pdu.ContextResult(1, 0, syntax),)
    return pdu.encode(pdu.AssociateAccept("A", "B", results, 16384, "1.2.3", ""))


def test_a_valid_one_is_sent(folder: str) -> None:
    responses = b"".join(
        wire.p_data(wire.pdv(1, wire.store_rsp(wire.CT, "1.2.3", number, 0), command=True))
        for number in (1, 2, 3)
    )
    assert Target(folder, "-v").fuzz_one(accepted() + responses + wire.release_rp()) == 0


@pytest.mark.parametrize("syntax", ["1.2.3\x1b[2J", f"1.2.3\n{FORGED}"])
def test_an_accepted_transfer_syntax_forges_no_lines(folder: str, syntax: str) -> None:
    target = Target(folder, "-v")
    target.fuzz_one(accepted(syntax))
    assert any("Converting" in record.getMessage() for record in target.lines.records)


@pytest.mark.parametrize("text", ["a\x1bb", f"a\n{FORGED}"])
def test_the_target_notices_forged_lines(
    folder: str, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    target = Target(folder, "-v")
    monkeypatch.setattr(sender.Sender, "_release", lambda _: sender.log.info(text))
    monkeypatch.setattr(sender.Sender, "_send_file", lambda *_: (0, True))
    with pytest.raises(AssertionError):
        target.fuzz_one(accepted())


def test_the_target_notices_other_exceptions(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError("raised")

    monkeypatch.setattr(sender.Sender, "_response", broken)
    with pytest.raises(IndexError, match="raised"):
        Target(folder, "-v").fuzz_one(accepted())


def test_the_target_notices_a_descriptor(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fds: list[int] = []
    monkeypatch.setattr(sender, "_rename", lambda *_: fds.append(os.open("/dev/null", os.O_RDONLY)))
    with pytest.raises(AssertionError, match="descriptor"):
        Target(folder, "-v", "--rename").fuzz_one(accepted())
    for fd in fds:
        os.close(fd)
