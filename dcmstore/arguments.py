"""Arguments split into options with their values, and parameters.

Nothing is judged here but whether an option exists and has all its values.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from dcmstore.optiontable import Option, Program

CONF = "--conf"
"""The option that names a configuration file (see `conffile`)."""

_SECRET = "password"  # the values of this name are not for the log
_HIDDEN = "***"

# Separators are blanks; text up to an opening quote belongs to what is quoted.
# Compiled when needed: few runs have a command file.
_IN_COMMAND_FILE = r"""([^ \t\r\n"']*)(?:"([^"]*)("|\Z)|'([^']*)('|\Z))|([^ \t\r\n"']+)"""


class UsageError(Exception):
    """The command line cannot be obeyed; the text is for the user. Hooks may raise it."""

    def at(self, where: str) -> "UsageError":
        """The same complaint about what stands at ``where``, if that is not the command line."""
        return UsageError(f"{where}: {self}") if where else self


class Occurrence(NamedTuple):
    """An option on the command line; ``position`` grows from left to right.

    ``where`` is the file and the line that it comes from, or empty.
    """

    position: int
    option: Option
    values: tuple[str, ...]
    where: str = ""


class CommandLine:
    """Arguments split into options with their values, and parameters.

    ``places`` are where the parameters come from, as in `Occurrence`.
    """

    def __init__(self, program: Program) -> None:
        self._names: dict[str, Option] = {}
        self.blocks: dict[str, list[Option]] = {}
        for row in program.rows():
            self._names[row.long] = row
            if row.short:
                self._names[row.short] = row
            if row.block:
                self.blocks.setdefault(row.block, []).append(row)
        self.occurrences: list[Occurrence] = []
        self.last: dict[str, Occurrence] = {}
        self.parameters: list[str] = []
        self.places: list[str] = []
        self.shown: list[str] = []  # the arguments, names made long and passwords hidden

    def add(self, arguments: Iterable[str], where: str = "") -> None:
        """Append arguments. Raises UsageError at the first unknown option or missing value."""
        rest = iter(arguments)
        for argument in rest:
            if not _is_option(argument):
                self.parameters.append(argument)
                self.places.append(where)
                self.shown.append(argument)
                continue
            option = self._names.get(argument)
            if option is None:
                raise UsageError(f"Unknown option {argument}")
            values = tuple(value for _, value in zip(option.values, rest, strict=False))
            if len(values) < len(option.values):
                raise UsageError(f"Missing value for option {option.long}")
            self.take(option, values, where)

    def take(self, option: Option, values: tuple[str, ...], where: str) -> None:
        """Append an option."""
        occurrence = Occurrence(len(self.occurrences), option, values, where)
        self.occurrences.append(occurrence)
        self.last[option.long] = occurrence
        self.shown.append(option.long)
        for value, text in zip(option.values, values, strict=True):
            self.shown.append(_HIDDEN if value.name == _SECRET else text)

    def winner(self, block: str) -> Option | None:
        """The rightmost option of a block, or the block's default."""
        rows = self.blocks[block]
        given = [self.last[row.long] for row in rows if row.long in self.last]
        if given:
            return max(given, key=lambda occurrence: occurrence.position).option
        return next((row for row in rows if row.default is True), None)

    def in_effect(self, option: Option) -> bool:
        """Whether an option was given, or is a default, and nothing displaced it."""
        if option.block:
            return self.winner(option.block) is option
        return option.long in self.last


def _is_option(argument: str) -> bool:
    return len(argument) > 1 and argument[0] in "-+" and argument[1] not in "0123456789"


def expand(arguments: Sequence[str]) -> Iterator[str]:
    """Put the contents of command files in the place of ``@NAME``; one level deep.

    Raises UsageError if one cannot be read.
    """
    for argument in arguments:
        if len(argument) > 1 and argument[0] == "@":
            yield from _read_command_file(argument[1:])
        else:
            yield argument


def _read_command_file(name: str) -> Iterator[str]:
    try:
        with open(name, "rb") as file:
            text = os.fsdecode(file.read())
    except (OSError, ValueError):  # a name that holds NUL is a ValueError
        raise UsageError(f"Cannot open command file '{name}'") from None
    if "\0" in text:  # which no argument can hold
        raise UsageError(f"NUL character in command file '{name}'")
    for match in re.finditer(_IN_COMMAND_FILE, text):
        before, double, double_end, single, single_end, plain = match.groups("")
        argument = before + double + single + plain
        if argument or double_end or single_end:
            yield argument
