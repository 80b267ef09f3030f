"""Conversion patterns: lines of a log as the administrator wants them, such as ``%D %5p: %m%n``.

storescpd-logging(5) lists the conversions. What is no conversion stands for itself.
"""

import logging
import os
import re
import time
from collections.abc import Callable

from dcmstore.logcomplaints import Complaints
from dcmstore.logs import level_name

DATE = "%Y-%m-%d %H:%M:%S"

Conversion = Callable[[logging.LogRecord, str], str]
"""Makes a text of a record and of a line of its message."""

_SPECIFICATION = re.compile(r"%(-*)([0-9]*)(\.?)([0-9]*)(.?)", re.DOTALL)
_NUMBER = re.compile(r"\s*([0-9]{1,9})")
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_WITH_OPTION = "cdDX"
_WIDEST = 10000


def compile_pattern(pattern: str, complaints: Complaints) -> Conversion:
    """Return what the pattern makes of a record and a line of its message."""
    pieces = _pieces(pattern, complaints)
    return lambda record, line: "".join([piece(record, line) for piece in pieces])


def formatted_time(seconds: float, form: str, *, utc: bool) -> str:
    """A time since the epoch, by strftime(3), with ``%q`` for milliseconds and ``%Q`` for more."""
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    milliseconds = f"{microseconds // 1000:03}"
    special = {
        "q": milliseconds,
        "Q": f"{milliseconds}.{microseconds % 1000:03}",
        "s": str(whole),
    }
    spelt = _DIRECTIVE.sub(lambda found: special.get(found[1], found[0]), form)
    return time.strftime(spelt, time.gmtime(whole) if utc else time.localtime(whole))


def _pieces(pattern: str, complaints: Complaints) -> list[Conversion]:
    pieces: list[Conversion] = []
    at = 0
    while at < len(pattern):
        end = pattern.find("%", at)
        if end == at:
            piece, at = _conversion(pattern, at, complaints)
            pieces.append(piece)
        else:
            end = len(pattern) if end < 0 else end
            pieces.append(_literal(pattern[at:end]))
            at = end
    return pieces


def _conversion(pattern: str, at: int, complaints: Complaints) -> tuple[Conversion, int]:
    """Return the conversion that begins at a percent sign, and where it ends."""
    if pattern.startswith("%%", at):
        return _literal("%"), at + 2
    specification = _SPECIFICATION.match(pattern, at)
    assert specification is not None
    minus, least, dot, most, kind = specification.groups()
    end = specification.end()
    make = _KINDS.get(kind)
    if make is None or (dot and not most):
        if kind and dot and not most:
            complaints.error(
                f"Error occurred in position {end}.\n"
                f' Was expecting digit, instead got char "{kind}".'
            )
        elif kind:
            complaints.error(f"Unexpected char [{kind}] at position {end} in conversion pattern.")
        return _literal(specification[0]), end
    option = ""
    if kind in _WITH_OPTION and pattern.startswith("{", end):
        close = pattern.find("}", end)
        if close < 0:
            complaints.error(f"No matching '}}' found in conversion pattern string \"{pattern}\"")
            end = len(pattern)
        else:
            option, end = pattern[end + 1 : close], close + 1
    convert = make(option)
    if not (least or dot):
        return convert, end
    width = min(int(least or 0), _WIDEST)
    return _fitted(convert, bool(minus), width, int(most) if dot else None), end


def _fitted(convert: Conversion, left: bool, least: int, most: int | None) -> Conversion:
    """The same with blanks in front, or behind it, or with too much in front cut off."""

    def fit(record: logging.LogRecord, line: str) -> str:
        text = convert(record, line)
        if most is not None and len(text) > most:
            return text[len(text) - most :]
        return text.ljust(least) if left else text.rjust(least)

    return fit


def _literal(text: str) -> Conversion:
    return lambda _record, _line: text


def _logger(option: str) -> Conversion:
    number = _NUMBER.match(option)
    last = int(number[1]) if number else 0
    if not last:
        return lambda record, _line: record.name
    return lambda record, _line: ".".join(record.name.split(".")[-last:])


def _date(option: str, *, utc: bool) -> Conversion:
    form = option or DATE
    return lambda record, _line: formatted_time(record.created, form, utc=utc)


def _host(_option: str) -> Conversion:
    return _literal(os.uname().nodename)


def _full_host(_option: str) -> Conversion:
    import socket

    # DNS may have to be asked, and then only once.
    name = os.uname().nodename
    try:
        found = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
    except OSError:
        return _literal(name)
    return _literal(found[0][3] or name)


def _simple(convert: Callable[[logging.LogRecord], object]) -> Callable[[str], Conversion]:
    return lambda _option: lambda record, _line: str(convert(record))


_KINDS: dict[str, Callable[[str], Conversion]] = {
    "m": lambda _option: lambda _record, line: line,
    "n": lambda _option: _literal("\n"),
    "p": _simple(lambda record: level_name(record.levelno)),
    "P": _simple(lambda record: level_name(record.levelno)[0]),
    "c": _logger,
    "d": lambda option: _date(option, utc=True),
    "D": lambda option: _date(option, utc=False),
    "r": _simple(lambda record: int(record.relativeCreated)),
    "i": _simple(lambda record: record.process),
    "t": _simple(lambda record: record.thread),
    "T": _simple(lambda record: record.process),  # the number of a process's first thread
    "h": _host,
    "H": _full_host,
    "x": lambda _option: _literal(""),
    "X": lambda _option: _literal(""),
    "F": _simple(lambda record: record.pathname),
    "b": _simple(lambda record: record.filename),
    "L": _simple(lambda record: record.lineno),
    "l": _simple(lambda record: f"{record.pathname}:{record.lineno}"),
    "M": _simple(lambda record: record.funcName),
}
