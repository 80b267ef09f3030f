"""The file of --log-config: its form, and what becomes of the loggers."""

import logging
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.logconfigs import Told, make_appender, say
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcmstore import logconfig, logproperties, logs
from dcmstore.arguments import UsageError
from dcmstore.logconfig import LogConfig
from dcmstore.logpattern import formatted_time
from dcmstore.logproperties import Properties

ROOT = "log4cplus.rootLogger = INFO\n"


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root, last = logging.getLogger(), logging.lastResort
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.lastResort = last
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith(("dcmtk", "log4cplus-test")):
            logger.setLevel(logging.NOTSET)
            logger.handlers.clear()
            logger.propagate = True


def read(folder: Path, text: str | bytes, told: Told | None = None) -> Properties:
    path = folder / "log.cfg"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return logproperties.read(str(path), "program", told or Told())


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a=b", "a", "b"),
        (" \ta \t = \t b c \t\r", "a", "b c"),
        ("a = b = c", "a", "b = c"),
        ("a==", "a", "="),
        ("a =", "a", ""),
        ("a b = c", "a b", "c"),
        ("a = # b", "a", "# b"),
        ("a = b\\", "a", "b\\"),
        ('a = "b"', "a", '"b"'),
        ("a = b\0c", "a", "bc"),
        ("ä = ö", "ä", "ö"),
        ("a = 1\na = 2", "a", "2"),
    ],
)
def test_lines(tmp_path: Path, line: str, key: str, value: str) -> None:
    properties = read(tmp_path, f"{ROOT}{line}\nlast = line")
    assert properties.text(key) == value
    assert properties.text("last") == "line"


@pytest.mark.parametrize("line", ["a", "#a=b", "  #a=b", "", "a: b"])
def test_lines_without_a_setting(tmp_path: Path, line: str) -> None:
    names = read(tmp_path, f"{ROOT}{line}\n").names()
    assert set(names) == {"log4cplus.rootLogger", "appname", "date", "time", "pid", "hostname"}


def test_values_of_kinds() -> None:
    words = {"true": True, "FALSE": False, "1": True, "0": False, "-3": True, "0x": False}
    for word, flag in words.items():
        assert Properties({"k": word}).flag("k", not flag) is flag
    for word in ("yes", "", "t", "x1"):
        assert Properties({"k": word}).flag("k", True)
        assert not Properties({"k": word}).flag("k", False)
    assert not Properties({}).flag("k", False)
    for word, number in {
        "12": 12,
        " 7x": 7,
        "-1": -1,
        "x": 5,
        "": 5,
        "9" * 30: int("9" * 18),
    }.items():
        assert Properties({"k": word}).number("k", 5) == number


@pytest.mark.parametrize(
    ("word", "number"),
    [
        *(("OFF", logs.OFF), ("fatal", logging.CRITICAL), ("Error", logging.ERROR)),
        *(("WARN", logging.WARNING), ("INFO", logging.INFO), ("DEBUG", logging.DEBUG)),
        *(("TRACE", logs.TRACE), ("ALL", logs.TRACE), ("WARNING", None), ("", None), ("5", None)),
    ],
)
def test_levels(word: str, number: int | None) -> None:
    assert logproperties.level(word) == number


# Whatever a file says, the answer is one of these: it is refused with a sentence, or it holds.


def attempt(folder: Path, content: bytes) -> None:
    path = folder / "log.cfg"
    path.write_bytes(content)
    try:
        config = LogConfig(str(path), "program")
    except UsageError:
        return
    config.complaints.sink = lambda _level, _text: None
    config.attach(rehearsed=True)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    attempt(tmp_path, content)
    attempt(tmp_path, ROOT.encode() + content)


_KEYS = st.sampled_from(
    [
        *("rootLogger", "logger.dcmtk", "logger.dcmtk.apps", "logger.", "logger.root"),
        *("additivity.dcmtk", "additivity.", "appender.a", "appender.", "configDebug", "quietMode"),
        *(
            f"appender.a{end}"
            for end in (
                *(".Threshold", ".layout", ".layout.ConversionPattern", ".layout.Pattern"),
                *(".layout.DateFormat", ".layout.FormatEachLine", ".File", ".Append"),
                *(".MaxFileSize", ".MaxBackupIndex", ".Schedule", ".UseLockFile", ".LockFile"),
                *(
                    ".filters.1",
                    ".filters.2",
                    ".filters.1.LogLevelToMatch",
                    ".filters.1.LogLevelMin",
                ),
                *(".filters.1.StringToMatch", ".facility", ".ident", ".Appender", ".ReopenDelay"),
            )
        ),
    ]
)
_VALUES = st.one_of(
    st.sampled_from(
        [
            *("INFO, a", "OFF", "BLAH, a", ",", "INHERITED, a", "true", "0", "-1", "10MB", "1e9"),
            *(f"log4cplus::{kind}" for kind in ("ConsoleAppender", "FileAppender", "NullAppender")),
            *(
                f"log4cplus::{kind}Appender"
                for kind in ("RollingFile", "DailyRollingFile", "Async")
            ),
            *(f"log4cplus::{kind}Layout" for kind in ("Simple", "TTCC", "Pattern")),
            *(
                f"log4cplus::spi::{kind}Filter"
                for kind in ("DenyAll", "LogLevelMatch", "StringMatch")
            ),
            *("${log4cplus.appender.a}", "${appname}", "${x", "/", "x" * 300, "a/../b", "\x80"),
        ]
    ),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=30),
    st.text("%.-{}0123456789cdDXmnpqQ$ ", max_size=30),
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_KEYS, _VALUES), max_size=12))
def test_any_settings(tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    text = "".join(f"log4cplus.{key} = {value}\n" for key, value in lines)
    attempt(tmp_path, (ROOT + text).encode())


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text("%.-{}0123456789" + string.ascii_letters + "$ \t", max_size=40),
        st.text(max_size=20),
    ),
    st.text(max_size=40),
)
def test_any_pattern(tmp_path: Path, pattern: str, message: str) -> None:
    told = Told()
    properties: dict[str, object] = {"layout.ConversionPattern": pattern}
    appender = make_appender("FileAppender", tmp_path, told, File="x.log", **properties)  # type: ignore[arg-type]
    told.lines.clear()
    say(appender, message)
    appender.close()
    assert told.lines == []


# What becomes of the loggers


def configured(folder: Path, text: str) -> LogConfig:
    (folder / "log.cfg").write_text(text)
    return LogConfig(str(folder / "log.cfg"), "program")


LOGGERS = (
    "log4cplus.rootLogger = ERROR, a\nlog4cplus.appender.a = log4cplus::NullAppender\n"
    "log4cplus.logger.dcmtk.apps = INFO\nlog4cplus.logger.dcmtk.dcmnet = TRACE\n"
    "log4cplus.additivity.dcmtk.dcmnet = false\n"
)


def test_before_there_are_appenders(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Levels hold, and warnings are seen."""
    config = configured(tmp_path, LOGGERS)
    log = logging.getLogger("dcmtk.apps.storescp")
    assert log.isEnabledFor(logging.INFO)
    assert logging.getLogger("dcmtk.dcmnet").isEnabledFor(logs.TRACE)
    assert not logging.getLogger("dcmtk.dcmdata").isEnabledFor(logging.WARNING)
    log.info("not seen")
    log.warning("seen")
    assert capfd.readouterr().err == "W: seen\n"
    config.attach()
    log.error("gone")
    assert capfd.readouterr().err == ""
    assert len(config.appenders) == 1


def test_rehearsal_leaves_the_console(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configured(tmp_path, LOGGERS).attach(rehearsed=True)
    logging.getLogger("dcmtk.dcmnet").error("seen")
    assert capfd.readouterr().err == "E: seen\n"


def test_handlers_of_others_stay(tmp_path: Path) -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    configured(tmp_path, LOGGERS).attach()
    assert other in logging.getLogger().handlers


def test_setting_up_again_does_not_double_messages(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = LOGGERS.replace("Null", "Console")
    for _ in range(2):
        logconfig.set_up(str(_written(tmp_path, text)), "program")
    logging.getLogger("dcmtk.apps").warning("once")
    assert capfd.readouterr().out == "WARN - once\n"


def _written(folder: Path, text: str) -> Path:
    (folder / "log.cfg").write_text(text)
    return folder / "log.cfg"


def test_a_layout_that_cannot_be_had_costs_a_message(tmp_path: Path) -> None:
    """Nothing that happens on the way of a message reaches who has sent it."""
    told = Told()
    appender = make_appender("FileAppender", tmp_path, told, File="x.log")

    class Bad(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            raise RuntimeError("bad")

    good = appender.formatter
    appender.setFormatter(Bad())
    for _ in range(3):
        say(appender, "lost")
    appender.setFormatter(good)
    say(appender, "there")
    assert told.lines == ["log4cplus:ERROR file is not open: x.log: bad\n"]
    assert (tmp_path / "x.log").read_text() == "there\n"


def test_exceptions_are_spelled_out(tmp_path: Path) -> None:
    appender = make_appender("FileAppender", tmp_path, Told(), File="x.log")
    log = logging.getLogger("log4cplus-test")
    log.setLevel(logging.DEBUG)
    log.addHandler(appender)
    log.propagate = False
    try:
        raise ValueError("fault")
    except ValueError:
        log.debug("where it happened:", exc_info=True)
    lines = (tmp_path / "x.log").read_text().splitlines()
    assert lines[0] == "where it happened:"
    assert lines[-1] == "ValueError: fault"


def test_text_that_is_no_unicode(tmp_path: Path) -> None:
    """As in names of files."""
    appender = make_appender("FileAppender", tmp_path, Told(), File="x.log")
    say(appender, "\udcff ä")
    assert (tmp_path / "x.log").read_bytes() == b"\\udcff \xc3\xa4\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "00.000|000.000"),
        (1.9999999, "02.000|000.000"),
        (5.0009999, "05.001|001.000"),
        (59.123456, "59.123|123.456"),
    ],
)
def test_fractions_of_seconds(seconds: float, text: str) -> None:
    assert formatted_time(seconds, "%S.%q|%Q", utc=True) == text
