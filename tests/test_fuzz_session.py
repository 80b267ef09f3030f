"""Keep the fuzz target of a whole association alive."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import setproctitle
from fuzz.conversations import Breeder
from fuzz.fuzz_session import Target
from harness import wire
from harness.objects import small

from storescpd import session

MODES = [("-d",), ("-v", "--bit-preserving"), ("-v", "--store-unparseable", "+xa")]


@pytest.fixture(autouse=True)
def _restored_process() -> Iterator[None]:
    """An association changes the title of its process, and a start how it logs."""
    name = setproctitle.getproctitle()
    root = logging.getLogger()
    level, handlers, raises = root.level, root.handlers[:], logging.raiseExceptions
    yield
    setproctitle.setproctitle(name)
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.raiseExceptions = raises


@pytest.fixture
def folder(tmp_path: Path) -> str:
    path = tmp_path / "received"
    path.mkdir()
    return str(path)


def messages(target: Target) -> list[str]:
    return [record.getMessage() for record in target.lines.records]


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_conversations_made_at_random(folder: str, options: tuple[str, ...]) -> None:
    target = Target(folder, *options)
    seen = set()
    for number in range(400):
        target.fuzz_one(Breeder(number).to_acceptor())
        seen |= {text.partition(" ")[0] for text in messages(target)}
    assert {"Association", "Receiving", "DIMSE", "Expected", "Store", "Received"} <= seen


def test_a_valid_one_is_stored(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thing = small()
    looked_at: list[str] = []
    real_unlink = os.unlink

    def unlink(path: str) -> None:
        looked_at.append(path)
        real_unlink(path)

    monkeypatch.setattr(os, "unlink", unlink)
    Target(folder, "-v").fuzz_one(
        wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])
        + wire.p_data(wire.pdv(1, wire.store_rq(thing.sop_class, thing.sop_instance), command=True))
        + wire.p_data(wire.pdv(1, thing.data))
        + wire.release_rq()
    )
    assert looked_at == [os.path.join(folder, f"CT.{thing.sop_instance}")]


REQUEST = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])


def test_the_target_notices_an_internal_error(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError("raised")

    target = Target(folder, "-v")
    monkeypatch.setattr(session.Session, "_negotiate", broken)
    with pytest.raises(AssertionError, match=r"internal error.*raised"):
        target.fuzz_one(REQUEST)


def test_the_target_notices_forged_lines(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(folder, "-v")
    monkeypatch.setattr(session.Session, "_negotiate", lambda *_: session.log.info("a\x1bb"))
    with pytest.raises(AssertionError):
        target.fuzz_one(REQUEST)


@pytest.mark.parametrize("name", [".storescpd-1.part", "é", "CT.1.2"])
def test_the_target_notices_what_is_left(folder: str, name: str) -> None:
    target = Target(folder, "-v")
    Path(folder, name).write_bytes(b"half")
    with pytest.raises(AssertionError):
        target.fuzz_one(REQUEST)


def test_the_target_notices_a_descriptor(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(folder, "-v")
    fds: list[int] = []

    def leaking(*_: object) -> bool:
        fds.append(os.open("/dev/null", os.O_RDONLY))
        return False

    monkeypatch.setattr(session.Session, "_negotiate", leaking)
    with pytest.raises(AssertionError, match="descriptor"):
        target.fuzz_one(REQUEST)
    os.close(fds[0])
