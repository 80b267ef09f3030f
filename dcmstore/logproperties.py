"""The file of ``--log-config``: keys and values in lines, and what stands in for ``${NAME}``.

The form is that of log4cplus; storescpd-logging(5) describes it.
"""

import os
import re
import time
from collections.abc import Iterable, Mapping

from dcmstore.arguments import UsageError
from dcmstore.logcomplaints import Complaints
from dcmstore.logs import LEVELS, TRACE

PREFIX = "log4cplus."
ROOT = PREFIX + "rootLogger"

_PLACE = re.compile(r"\$\{([^}]*)\}")
_NUMBER = re.compile(r"\s*([-+]?[0-9]{1,18})")

# A value that refers to itself would grow for ever.
_ROUNDS = 20
_LONGEST = 1 << 16


class Properties:
    """Keys and values."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str = "") -> str:
        """The value as it stands."""
        return self._values.get(key, default)

    def names(self) -> list[str]:
        """All keys, sorted: the order in which things are set up."""
        return sorted(self._values)

    def subset(self, prefix: str) -> "Properties":
        """What stands under keys that begin so, without that beginning."""
        return Properties(
            {
                key[len(prefix) :]: value
                for key, value in self._values.items()
                if key.startswith(prefix)
            }
        )

    def flag(self, key: str, default: bool) -> bool:
        """``true`` or ``false`` in any case, or a number; the default for anything else."""
        word = self.text(key).lower()
        if word in ("true", "false"):
            return word == "true"
        number = _NUMBER.match(word)
        return bool(int(number[1])) if number else default

    def number(self, key: str, default: int) -> int:
        """The number that the value begins with, or the default."""
        number = _NUMBER.match(self.text(key))
        return int(number[1]) if number else default

    def level(self, key: str) -> int | None:
        """The level of this name in any case, None if there is none."""
        return level(self.text(key))


def level(word: str) -> int | None:
    """The level of this name, None for any other word."""
    found = LEVELS.get(word.strip().lower())
    # Nothing is below TRACE, so here both words are the same level, as in the reference.
    return None if found is None else max(found, TRACE)


def read(path: str, program: str, complaints: Complaints) -> Properties:
    """Read a file, and put values into the places for them.

    Raises UsageError for a file that cannot be read, or does not set up any logging.
    """
    values = dict(_pairs(_content(path).split("\n")))
    if not values:
        raise UsageError("Specified --log-config file does not contain any settings")
    if not any(key.startswith(PREFIX) for key in values):
        raise UsageError("Specified --log-config file does not contain any valid settings")
    if ROOT not in values:
        raise UsageError("Specified --log-config file does not set up log4cplus.rootLogger")
    return Properties(_filled({**values, **_facts(program)}, complaints))


def _content(path: str) -> str:
    if not os.path.exists(path) or os.path.isdir(path):
        raise UsageError("Specified --log-config file does not exist")
    try:
        with open(path, "rb") as file:
            # No value can hold a NUL: names of files must not, nor formats of dates.
            return os.fsdecode(file.read().replace(b"\0", b""))
    except OSError:
        raise UsageError("Specified --log-config file cannot be read") from None


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        key, equals, value = line.partition("=")
        if equals and not key.lstrip().startswith("#"):
            yield key.strip(), value.strip()


def _facts(program: str) -> dict[str, str]:
    """The names that are always there, whatever the file says."""
    now = time.localtime()
    return {
        "appname": program,
        "date": time.strftime("%Y%m%d", now),
        "time": time.strftime("%H%M%S", now),
        "pid": str(os.getpid()),
        "hostname": os.uname().nodename,
    }


def _filled(values: Mapping[str, str], complaints: Complaints) -> dict[str, str]:
    whole = {key: _fill(value, values, complaints) for key, value in sorted(values.items())}
    for key in sorted(values):
        made = _fill(key, values, complaints)
        if made != key:
            # A key that is spelt out gives way to one that has been put together.
            whole[made] = whole.pop(key)
    return whole


def _fill(text: str, values: Mapping[str, str], complaints: Complaints) -> str:
    """Return the text with all names of values replaced that have one.

    What is wrong is told, and leaves the text as it was.
    """
    filled = text
    for _ in range(_ROUNDS):
        before = filled
        filled = _PLACE.sub(lambda place: _value(place, values), before)
        if filled == before:
            break
        if len(filled) > _LONGEST:
            complaints.error(f'"{text}" grows without end.')
            return text
    else:
        complaints.error(f'"{text}" refers to itself.')
        return text
    opened = _PLACE.sub(lambda place: "." * len(place[0]), filled).find("${")
    if opened >= 0:
        complaints.error(f'"{filled}" has no closing brace. Opening brace at position {opened}.')
        return text
    return filled


def _value(place: re.Match[str], values: Mapping[str, str]) -> str:
    return values.get(place[1]) or os.environ.get(place[1]) or place[0]
