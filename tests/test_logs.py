"""Log levels and the console."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from dcmstore import logs

log = logging.getLogger("dcmtk.apps.test")


@pytest.fixture(autouse=True)
def _restored_root() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def say_everything(text: str = "text") -> None:
    for level in (logs.TRACE, logging.DEBUG, logging.INFO):
        log.log(level, "%s", text)
    log.warning(text)
    log.error(text)
    log.critical(text)


@pytest.mark.parametrize(
    ("level", "letters"),
    [
        ("off", ""),
        ("fatal", "F"),
        ("error", "EF"),
        ("warn", "WEF"),
        ("info", "IWEF"),
        ("debug", "DIWEF"),
        ("trace", "TDIWEF"),
        ("all", "TDIWEF"),
    ],
)
def test_levels(level: str, letters: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(SimpleNamespace(log_level=level))
    say_everything()
    captured = capsys.readouterr()
    assert captured.err == "".join(f"{letter}: text\n" for letter in letters)
    assert captured.out == ""


def test_every_line_has_the_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(SimpleNamespace(log_level="warn"))
    log.error("one\n\nthree\n")
    assert capsys.readouterr().err == "E: one\nE: \nE: three\nE: \n"


def test_setting_up_again_does_not_double_messages(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(SimpleNamespace(log_level="error"))
    logs.set_up(SimpleNamespace(log_level="warn"))
    log.warning("once")
    assert capsys.readouterr().err == "W: once\n"


def test_other_handlers_stay() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    logs.set_up(SimpleNamespace(log_level="warn"))
    assert other in logging.getLogger().handlers


def test_level_names() -> None:
    names = {level: logs.level_name(level) for level in (1, 5, 10, 19, 20, 30, 40, 50, 60)}
    assert list(names.values()) == [
        *("TRACE", "TRACE", "DEBUG", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "FATAL")
    ]
