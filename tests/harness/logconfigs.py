"""Run senders with logging configurations, and see what they leave."""

import logging
import re
import socket
from pathlib import Path
from typing import NamedTuple

from dcmstore import logconfig
from dcmstore.logappenders import Appender, Setting
from dcmstore.logcomplaints import Complaints
from dcmstore.logproperties import Properties
from harness import senders

CONSOLE = "log4cplus.appender.c = log4cplus::ConsoleAppender\n"
FILE = "log4cplus.appender.f = log4cplus::FileAppender\nlog4cplus.appender.f.File = x.log\n"
PATTERN = (
    "log4cplus.appender.c.layout = log4cplus::PatternLayout\n"
    "log4cplus.appender.c.layout.ConversionPattern = "
)
ROLLING = (
    "log4cplus.appender.f = log4cplus::RollingFileAppender\nlog4cplus.appender.f.File = x.log\n"
)

# A port where nobody can listen, since it is taken.
_taken = socket.socket()
_taken.bind(("127.0.0.1", 0))
_CLOSED = str(_taken.getsockname()[1])

# What a sender says at level info whose receiver is not there.
SAID = (
    "checking input files ...",
    "Requesting Association",
    "Association Request Failed: 0006:031c TCP Initialization Error: Connection refused",
)


class Left(NamedTuple):
    """Exit status, standard output and error, and the contents of files by their names."""

    code: int
    out: str
    err: str
    files: dict[str, str]


class Told(Complaints):
    """Complaints that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.sink = lambda _level, text: self.lines.append(text)


def make_appender(
    kind: str, folder: Path, told: Complaints, *, rehearsed: bool = False, **properties: object
) -> Appender:
    """Make an appender for this process, which shows nothing but messages."""
    values = {
        "layout": "log4cplus::PatternLayout",
        "layout.ConversionPattern": "%m%n",
        **{key: str(value) for key, value in properties.items()},
    }
    setting = Setting("program", str(folder), told, rehearsed)
    appender = logconfig.make(f"log4cplus::{kind}", Properties(values), setting)
    assert appender is not None
    return appender


def say(appender: Appender, text: str, level: int = logging.INFO) -> None:
    """Send a message to an appender."""
    appender.handle(logging.LogRecord("a.logger", level, "file", 1, text, None, None))


def send_in_vain(
    flavour: str, folder: Path, config: str, *options: str, **environment: str
) -> Left:
    """Run a sender to whom nobody listens, in ``folder``, where its files stay."""
    (folder / "log.cfg").write_text(config)
    (folder / "x.dcm").write_bytes(bytes(128) + b"DICM")
    sent = senders.run(
        flavour,
        "-lc",
        "log.cfg",
        *options,
        "127.0.0.1",
        _CLOSED,
        "x.dcm",
        cwd=folder,
        environment=environment,
    )
    files = {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("log.cfg", "x.dcm")
    }
    return Left(sent.code, sent.stdout, sent.stderr, files)


def comparable(left: Left) -> Left:
    """The same without what differs from one run, or one program, to the next."""
    files = {name: _comparable(text) for name, text in left.files.items()}
    return Left(left.code, _comparable(left.out), _comparable(left.err), files)


def _comparable(text: str) -> str:
    for expression, instead in (
        (r"\$\w+: (\w+) v[^$]*\$", r"$\1$"),
        (r"calling '[^']*'", "calling 'PROGRAM'"),
        (r"\b\d{15}\b", "THREAD"),
        (r"^\d+ \[THREAD\]", "MILLISECONDS [THREAD]"),
        # Where something could not be opened or written, ours says why.
        (r"(?m)^(log4cplus:ERROR .*?): (No such file|Is a|No space|Permission).*$", r"\1"),
    ):
        text = re.sub(expression, instead, text, flags=re.MULTILINE)
    return text
