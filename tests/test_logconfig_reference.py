"""Logging configurations: what the reference makes of them, ours does, too."""

import random
import string
from pathlib import Path

import pytest
from harness.logconfigs import (
    CONSOLE,
    FILE,
    PATTERN,
    ROLLING,
    SAID,
    comparable,
    send_in_vain,
)
from harness.receivers import OURS

INFO = "log4cplus.rootLogger = INFO, c\n"
BOTH = (
    CONSOLE
    + "log4cplus.appender.e = log4cplus::ConsoleAppender\n"
    + ("log4cplus.appender.e.logToStdErr = true\n")
)
OWN = "log4cplus.logger.dcmtk.apps.storescu = "
ADDITIVITY = "log4cplus.additivity.dcmtk.apps.storescu = "
FLAGS = ("true", "True", "TRUE", "1", "2", "-1", "false", "FALSE", "0", "yes", "no", "")


def appender(*lines: str) -> str:
    """Return properties of the console appender, at level info."""
    return INFO + CONSOLE + "".join(f"log4cplus.appender.c.{line}\n" for line in lines)


def filters(*each: str) -> str:
    """Return filters of the console appender, each with its properties behind semicolons."""
    lines = []
    for number, one in enumerate(each, 1):
        kind, *properties = one.split(";")
        lines.append(f"filters.{number} = log4cplus::spi::{kind}")
        lines += [f"filters.{number}.{each}" for each in properties]
    return appender(*lines)


def rolling(size: int, *lines: str) -> str:
    """Return a rolling appender; the file has so many bytes before."""
    return f"#{size}\nlog4cplus.rootLogger = INFO, f\n{ROLLING}" + "".join(
        f"log4cplus.appender.f.{line}\n" for line in lines
    )


# Faults of the file, which end the program, and its form.
FORMS = [
    "",
    "# log4cplus.rootLogger = INFO, c\n",
    "  # log4cplus.rootLogger = INFO, c\n",
    "no setting\n",
    "a = b\n",
    "log4cplus.x = b\n",
    "log4cplus.rootlogger = INFO, c\n" + CONSOLE,
    "log4cplus.rootLogger:INFO, c\n" + CONSOLE,
    "log4cplus.rootLogger =\n",
    "log4cplus.rootLogger = INFO\n",
    "log4cplus.rootLogger = FATAL\n",
    "log4cplus.rootLogger = INFO, c\n",
    "log4cplus.rootLogger = info,c\n" + CONSOLE,
    "log4cplus.rootLogger = IN FO,  c  ,\n" + CONSOLE,
    "log4cplus.rootLogger = INFO, c, c, , d\n" + CONSOLE,
    " \t log4cplus.rootLogger \t=\t INFO, c \t \r\n" + CONSOLE,
    "log4cplus.rootLogger = INFO, c \\\n" + CONSOLE,
    INFO + "log4cplus.rootLogger = FATAL, c\n" + CONSOLE,
    INFO + "=5\n=\n!x\n;y = z\nlog4cplus.unknown = 1\n" + CONSOLE,
    INFO + "log4cplus.appender. = log4cplus::ConsoleAppender\n" + CONSOLE,
    INFO + "log4cplus.appender.c.d = log4cplus::NoAppender\n" + CONSOLE,
    INFO + "log4cplus.quietMode = true\n",
    "log4cplus.rootLogger = FATAL, c, d\nlog4cplus.quietMode = true\n" + CONSOLE,
]

LEVELS = [
    CONSOLE + f"log4cplus.rootLogger = {root}, c\n" + settings
    for root, settings in [
        *((root, "") for root in ("OFF", "Fatal", "ERROR", "WARN", "INFO")),
        *(
            ("INFO", OWN + f"{level}\n")
            for level in ("BLAH", "INHERITED", "inherited", "FATAL", "NOT_SET")
        ),
        ("INFO", OWN + "\n"),
        ("OFF", OWN + "INFO\n"),
        ("OFF", "log4cplus.logger.dcmtk = INFO\n"),
        ("OFF", "log4cplus.logger.dcmtk.apps = INFO\nlog4cplus.logger.dcmtk = OFF\n"),
        ("INFO", "log4cplus.logger.root = FATAL\n"),
        ("INFO", "log4cplus.logger.b = INFO, q\nlog4cplus.logger.a = INFO, p\n"),
    ]
]

ADDITIVE = [
    BOTH + "log4cplus.rootLogger = INFO, c\n" + settings
    for settings in [
        OWN + "FATAL, e\n",
        OWN + ", e\n",
        OWN + "INFO, c\n",
        *(OWN + "INFO, e\n" + ADDITIVITY + f"{flag}\n" for flag in FLAGS),
        ADDITIVITY + "false\n",
        "log4cplus.additivity.root = false\n",
    ]
]

APPENDERS = [
    INFO + f"log4cplus.appender.c = {kind}\n"
    for kind in (
        *("", "ConsoleAppender", "log4cplus::NoAppender", "log4cplus::consoleappender"),
        *("log4cplus::NullAppender", "log4cplus::ConsoleAppender"),
    )
]
APPENDERS += [appender(f"logToStdErr = {flag}") for flag in FLAGS]
APPENDERS += [
    appender(line)
    for line in (
        "logToStderr = true",
        *(
            f"Threshold = {level}"
            for level in ("WARN", " fatal ", "OFF", "ALL", "BLAH", "INHERITED", "")
        ),
        "threshold = FATAL",
        "UseLockFile = true",
    )
]
APPENDERS += [appender("UseLockFile = true", "LockFile = x.lock")]
APPENDERS += [
    INFO + "".join(f"log4cplus.appender.c{line}\n" for line in lines)
    for lines in [
        (" = log4cplus::AsyncAppender", ".Appender = log4cplus::NoAppender"),
        (
            " = log4cplus::AsyncAppender",
            ".Appender = log4cplus::ConsoleAppender",
            ".Appender.Threshold = FATAL",
            ".Appender.layout = log4cplus::TTCCLayout",
            ".QueueLimit = 10",
        ),
        (
            " = log4cplus::AsyncAppender",
            ".Appender = log4cplus::ConsoleAppender",
            ".Threshold = FATAL",
            ".layout = log4cplus::TTCCLayout",
        ),
    ]
]

FILES = [
    "log4cplus.rootLogger = INFO, f\nlog4cplus.appender.f = log4cplus::FileAppender\n" + settings
    for settings in [
        "",
        "log4cplus.appender.f.File =\n",
        "log4cplus.appender.f.File = no/x.log\n",
        "log4cplus.appender.f.File = /\n",
        "log4cplus.appender.f.File = /dev/full\n",
        "log4cplus.appender.f.File = /dev/stderr\n",
        "log4cplus.appender.f.layout = log4cplus::NoLayout\nlog4cplus.appender.f.File = no/x\n",
    ]
]
FILES += [
    "log4cplus.rootLogger = INFO, f\n" + FILE + settings
    for settings in [
        *(f"log4cplus.appender.f.Append = {flag}\n" for flag in FLAGS),
        "log4cplus.appender.f.UseLockFile = true\n",
        "log4cplus.appender.f.UseLockFile = true\nlog4cplus.appender.f.LockFile = my.lock\n",
        "log4cplus.appender.f.LockFile = my.lock\n",
        "log4cplus.appender.f.ImmediateFlush = false\nlog4cplus.appender.f.BufferSize = 10\n",
    ]
]
FILES += [
    "log4cplus.rootLogger = FATAL, f\nlog4cplus.logger.dcmtk = INFO\n"
    "log4cplus.appender.f = log4cplus::FileAppender\nlog4cplus.appender.f.File = /dev/full\n"
]

FIRST = len(f"INFO - {SAID[0]}\n")
ROLLINGS = [
    rolling(0),
    rolling(0, "Append = false"),
    rolling(10 * 2**20),
    rolling(10 * 2**20 - FIRST),
    rolling(200 * 1024 - FIRST, "MaxFileSize = 200KB"),
    rolling(200 * 1024 - FIRST + 1, "MaxFileSize = 200KB"),
    rolling(200 * 1024, "MaxFileSize = 100"),
    rolling(200 * 1024, "MaxFileSize = blah"),
    rolling(200 * 1024, "MaxFileSize = 2GB"),
    rolling(300 * 1024, "MaxFileSize = 300kb"),
    rolling(300 * 1024, "MaxFileSize = 300 KB"),
    rolling(2**20, "MaxFileSize = 1MB"),
    rolling(400_000, "MaxFileSize = 400000"),
    *(rolling(2**18, "MaxFileSize = 1", f"MaxBackupIndex = {n}") for n in ("0", "-1", "x", "3")),
    rolling(2**18, "MaxFileSize = 1", "UseLockFile = true"),
]

LAYOUTS = [
    appender(*lines)
    for lines in [
        *((f"layout = {kind}",) for kind in ("", "SimpleLayout", "log4cplus::NoLayout")),
        *(
            (f"layout = log4cplus::{kind}",)
            for kind in ("SimpleLayout", "TTCCLayout", "PatternLayout")
        ),
        ("layout = log4cplus::TTCCLayout", "layout.Use_gmtime = true"),
        ("layout = log4cplus::TTCCLayout", "layout.DateFormat = %Y %j"),
        ("layout = log4cplus::PatternLayout", "layout.ConversionPattern ="),
        ("layout = log4cplus::PatternLayout", "layout.Pattern = %m%n"),
        (
            "layout = log4cplus::PatternLayout",
            "layout.Pattern = %m%n",
            "layout.ConversionPattern = %p%n",
        ),
        ("layout.ConversionPattern = %p%n",),
    ]
]
LAYOUTS += [
    INFO + CONSOLE + PATTERN + f"[%p %m]%n\nlog4cplus.appender.c.layout.FormatEachLine = {flag}\n"
    for flag in FLAGS
]

FILTERS = [
    filters("DenyAllFilter"),
    filters("NoFilter"),
    filters("NoFilter", "DenyAllFilter"),
    *(
        filters(f"LogLevelMatchFilter;LogLevelToMatch = INFO;AcceptOnMatch = {flag}", *others)
        for flag in FLAGS
        for others in ((), ("DenyAllFilter",))
    ),
    *(
        filters(f"LogLevelMatchFilter;LogLevelToMatch = {level}")
        for level in ("info", "BLAH", "ALL", "")
    ),
    filters("LogLevelMatchFilter", "DenyAllFilter"),
    *(
        filters("LogLevelRangeFilter;" + properties, *others)
        for properties in (
            "LogLevelMin = INFO;LogLevelMax = WARN",
            "LogLevelMin = INFO;LogLevelMax = WARN;AcceptOnMatch = true",
            "LogLevelMin = WARN",
            "LogLevelMax = WARN",
            "LogLevelMin = FATAL;LogLevelMax = INFO",
            "LogLevelMin = BLAH;LogLevelMax = BLAH",
            "LogLevelMin = OFF",
            "LogLevelMax = ALL",
        )
        for others in ((), ("DenyAllFilter",))
    ),
    filters("StringMatchFilter"),
    filters("StringMatchFilter;StringToMatch ="),
    # Words with a blank between them: a single word may be in the path of the program.
    filters("StringMatchFilter;StringToMatch = checking input"),
    filters("StringMatchFilter;StringToMatch = Checking input"),
    filters("StringMatchFilter;StringToMatch =  input files  "),
    filters("StringMatchFilter;StringToMatch = checking input;AcceptOnMatch = true"),
    filters(
        "StringMatchFilter;StringToMatch = checking input;AcceptOnMatch = true", "DenyAllFilter"
    ),
    *(
        appender(f"{name} = log4cplus::spi::DenyAllFilter")
        for name in ("filters.0", "filters.01", "filters.2", "filters", "Filters.1")
    ),
    appender("filters.1 =", "filters.2 = log4cplus::spi::DenyAllFilter"),
]

TABLE = [
    pytest.param(config, id=f"{kind}{number}")
    for kind, configs in {
        "form": FORMS,
        "level": LEVELS,
        "additivity": ADDITIVE,
        "appender": APPENDERS,
        "file": FILES,
        "rolling": ROLLINGS,
        "layout": LAYOUTS,
        "filter": FILTERS,
    }.items()
    for number, config in enumerate(configs)
]


@pytest.mark.parametrize("config", TABLE)
def test_configuration(tmp_path: Path, reference: str, config: str) -> None:
    left = []
    for flavour in (OURS, reference):
        folder = tmp_path / flavour
        folder.mkdir()
        if config.startswith("#") and config[1].isdigit():
            (folder / "x.log").write_text("x" * int(config[1:].split("\n")[0]))
            for number in (1, 2):
                (folder / f"x.log.{number}").write_text(f"{number}\n")
        for options in ((), ("--arguments",)):
            left.append(comparable(send_in_vain(flavour, folder, config, *options)))
    assert left[:2] == left[2:]
    assert left[0].code == 1


@pytest.mark.parametrize(
    "level", ["BLAH", "INHERITED", "", "INFOc", "FATAL;c"], ids=lambda level: level or "empty"
)
def test_root_without_a_level(tmp_path: Path, reference: str, level: str) -> None:
    """The reference is aborted by its own exception; ours says what is wrong."""
    config = f"log4cplus.rootLogger = {level}, c\n{CONSOLE}"
    assert send_in_vain(reference, tmp_path, config).code == -6
    left = send_in_vain(OURS, tmp_path, config)
    assert left.code == 1
    assert left.out == ""
    assert left.err.splitlines()[-1] == (
        f"error: Specified --log-config file sets no valid level for log4cplus.rootLogger: {level}"
    )


# What depends on the time, the process or the source is compared elsewhere.
PATTERNS = [
    "%m%n",
    "%p|%P|%c|%c{1}|%c{2}|%c{9}|%c{0}|%c{-1}|%c{x}|%c{1x}|%c{ 1}|%c{}|%m",
    "%-6p|%6p|%.3p|%.2c|%-40.10c|%40c|%05p|%--5p|%3.2p|%-.2p|%.0m|%0.5m|%20.30m",
    "%x|%X|%X{a}|%X{}|%x{a}|%%|%%m|%m{5}|%p{1}|%h|%H",
    "%z%m %s %e %a %%q",
    *("%", "%5", "%-5", "%.", "%5.", "%m%", "100%"),
    *("%5.m%n", "%.xm%n", "%5.2.3p%n", "%5-p%n", "%5%]%n", "%-5%|%m%n", "%{a}%m%n"),
    *("%c{1%n", "abc%c{1%n", "%d{%n x", "[%5.m{1}]", "%-10n|"),
    r"a\n\t%m",
    "${appname}|${nix}|${hostname}|${}|${ appname }",
    "${A}|${B}|${C}|$${A}$|${A${B}}|${${B}}|${E}",
    "${A",
    "xx${A}yy${A",
    "é ü %m ß",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern(tmp_path: Path, reference: str, pattern: str) -> None:
    config = INFO + CONSOLE + PATTERN + pattern + "\nA = 1${B}\nB = 2\nE =\n"
    left = [
        comparable(send_in_vain(flavour, tmp_path, config, C="environment", E="", B="3"))
        for flavour in (OURS, reference)
    ]
    # The reference may look at a value twice, and complain twice.
    left = [one._replace(err="\n".join(dict.fromkeys(one.err.split("\n")))) for one in left]
    if pattern.startswith("%d"):
        left = [one._replace(out="") for one in left]
    assert left[0] == left[1]


def test_random_patterns(tmp_path: Path, reference: str) -> None:
    """A run of each program with a hundred patterns, each of which has a file of its own."""
    generator = random.Random(20)
    pieces = [*"%%%%%%.-{}0123[] ", *"mnpPcxXh", *string.ascii_letters, "{1}", "%m", "%-5.3"]
    # What differs between the programs, or from one moment to the next.
    pieces = [piece for piece in pieces if piece not in "dDritTFbLlM" or piece == "%"]
    names = [f"f{number:03}" for number in range(100)]
    config = f"log4cplus.rootLogger = INFO, {', '.join(names)}\n"
    for name in names:
        pattern = "".join(generator.choices(pieces, k=generator.randrange(1, 12)))
        config += (
            f"log4cplus.appender.{name} = log4cplus::FileAppender\n"
            f"log4cplus.appender.{name}.File = {name}\n"
            f"log4cplus.appender.{name}.layout = log4cplus::PatternLayout\n"
            f"log4cplus.appender.{name}.layout.ConversionPattern = <{pattern}>\n"
        )
    ours, theirs = (send_in_vain(flavour, tmp_path, config) for flavour in (OURS, reference))
    assert len(ours.files) == len(names)
    assert ours == theirs


def test_times(tmp_path: Path, reference: str) -> None:
    """Dates in Berlin and in UTC, with what log4cplus adds to strftime(3)."""
    pattern = "%D{%Y-%m-%d %H}|%d{%Y-%m-%d %H}|%d{%F|%Z}|%D{%%q %%Q %%%% %N}|%D{{a}}|%D{}"
    config = INFO + CONSOLE + PATTERN + pattern + "|%D{%q|%Q|%s}%n\n"
    for attempt in range(3):
        ours, theirs = (
            send_in_vain(flavour, tmp_path, config, TZ="Europe/Berlin").out.splitlines()
            for flavour in (OURS, reference)
        )
        if [line.rsplit("|", 3)[0] for line in ours] == [line.rsplit("|", 3)[0] for line in theirs]:
            break
        assert attempt < 2, f"{ours}\n{theirs}"  # a second may have passed between them
    for line in (*ours, *theirs):
        milliseconds, more, seconds = line.split("|")[-3:]
        assert len(milliseconds) == 3
        assert len(more) == 7
        assert more.startswith(milliseconds + ".")
        assert int(seconds) > 1_700_000_000


def test_names_that_are_always_there(tmp_path: Path, flavour: str) -> None:
    """They cannot be changed, neither by the file nor by the environment."""
    pattern = "${appname} ${date} ${time} ${pid} %i ${hostname} %h%n"
    config = INFO + CONSOLE + PATTERN + pattern + "\nappname = x\npid = x\n"
    (line, *_) = send_in_vain(flavour, tmp_path, config, date="x", time="x").out.splitlines()
    program, date, time, *others = line.split(" ")
    assert program == "storescu"
    assert len(date) == 8
    assert len(time) == 6
    assert others[0] == others[1]
    assert others[2] == others[3]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("k = rootLogger\nlog4cplus.${k} = INFO, c\n", "file does not set up log4cplus.rootLogger"),
        ("k = rootLogger\nlog4cplus.${k} = FATAL, c\n" + INFO, ""),
        (INFO + "k = appender\nlog4cplus.${k}.d = log4cplus::ConsoleAppender\n", ""),
        ("l = FATAL\nlog4cplus.rootLogger = ${l}, ${a}\na = c\n", ""),
    ],
)
def test_keys_that_are_put_together(
    tmp_path: Path, reference: str, config: str, expected: str
) -> None:
    ours, theirs = (
        comparable(send_in_vain(flavour, tmp_path, config + CONSOLE))
        for flavour in (OURS, reference)
    )
    assert ours == theirs
    assert expected in ours.err


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a = x${a}\n", "refers to itself."),
        ("a = ${b}\nb = ${a}\n", "refers to itself."),
        ("a = ${a}${a}${a}\n", "grows without end."),
    ],
)
def test_values_that_refer_to_themselves(tmp_path: Path, value: str, told: str) -> None:
    """The reference would never come to an end with these."""
    left = send_in_vain(OURS, tmp_path, INFO + CONSOLE + value)
    assert left.out.splitlines()[1:2] == ["INFO - Requesting Association"]
    assert told in left.err


# Checks that come after the file has been read are silent where it allows no errors.
@pytest.mark.parametrize("level", ["INFO", "WARN", "ERROR", "FATAL", "OFF"])
@pytest.mark.parametrize("options", [("-ta", "0"), ("+v",), ("-xf", "/no", "x")])
def test_errors_of_later_options(
    tmp_path: Path, reference: str, level: str, options: tuple[str, ...]
) -> None:
    config = f"log4cplus.rootLogger = {level}, c\n{CONSOLE}"
    ours, theirs = (
        comparable(send_in_vain(flavour, tmp_path, config, *options))
        for flavour in (OURS, reference)
    )
    if "-xf" in options:  # the reason is worded otherwise
        assert (ours.code, bool(ours.out), ours.err) == (theirs.code, bool(theirs.out), theirs.err)
    elif options != ("+v",) or level != "INFO":
        assert ours == theirs


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no.cfg", "does not exist"),
        ("", "does not exist"),
        ("/", "does not exist"),
        ("log.cfg/x", "does not exist"),
        ("empty.cfg", "does not contain any settings"),
    ],
)
def test_file_that_cannot_be_had(tmp_path: Path, flavour: str, name: str, told: str) -> None:
    (tmp_path / "empty.cfg").touch()
    left = send_in_vain(flavour, tmp_path, INFO + CONSOLE, "-lc", name, "-ta", "0")
    assert left.code == 1
    assert left.err.splitlines()[-1] == f"error: Specified --log-config file {told}"


def test_order_of_checks(tmp_path: Path, flavour: str) -> None:
    """Checks on logging options come in the order of the table, whatever the command line's."""
    for options, told in (
        (("-lc", "no.cfg", "-ll", "info"), "--log-config not allowed with --log-level"),
        (("-lc", "no.cfg", "-v"), "--log-config not allowed with --verbose, --debug or --quiet"),
        (("-ta", "0", "-lc", "no.cfg"), "Specified --log-config file does not exist"),
        (("-ll", "blah", "-lc", "no.cfg"), "Invalid log level for --log-level option"),
    ):
        left = send_in_vain(flavour, tmp_path, INFO + CONSOLE, *options)
        assert (left.code, left.err.splitlines()[-1]) == (1, f"error: {told}")


@pytest.mark.parametrize("kind", ["FileAppender", "RollingFileAppender"])
def test_shipped_example(tmp_path: Path, reference: str, kind: str) -> None:
    """Both programs take it, as it is and with what is commented out in it."""
    text = (Path(__file__).parents[1] / "etc" / "logger.cfg").read_text()
    text = text.replace("/var/log/storescpd/", "").replace("%D{%Y-%m-%d %H:%M:%S.%q} %i ", "")
    if kind != "FileAppender":
        lines = text.split("\n")
        (at,) = [number for number, line in enumerate(lines) if f"::{kind}" in line]
        lines[at : at + 3] = [line.removeprefix("#") for line in lines[at : at + 3]]
        text = "\n".join(lines)
    left = []
    for flavour in (OURS, reference):
        (tmp_path / flavour).mkdir()
        left.append(comparable(send_in_vain(flavour, tmp_path / flavour, text)))
    assert left[0] == left[1]
    assert left[0].err == f"F: {SAID[2]}\n"
    assert left[0].files["storescu.log"].splitlines()[0] == f"INFO  {SAID[0]}"


def test_what_is_commented_out_in_the_shipped_example(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "etc" / "logger.cfg").read_text()
    text = text.replace("/var/log/storescpd/", "").replace("#log4cplus.", "log4cplus.")
    left = send_in_vain(OURS, tmp_path, text)
    assert left.err == f"F: {SAID[2]}\n"
    assert "storescu.log" in left.files
