"""Options from a configuration file, with which the command line may disagree.

One option with its values to a line, or one parameter, as on the command line. ``#`` at the
start of a word begins a comment. Quotes of both kinds and a backslash keep characters from
being special; there is nothing special within single quotes but their end.
"""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence

from dcmstore.arguments import CONF, CommandLine, Occurrence, UsageError
from dcmstore.optiontable import Option, Program

_BLANKS = " \t\r\f\v"
_PIECE = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^ \t\r\f\v'"\\]+)""")
_ESCAPE = re.compile(r"\\(.)")

# What ends the program is asked for by a person, not by a file.
_FOR_PERSONS = (CONF, "--check-config")


def merge(program: Program, line: CommandLine, arguments: Sequence[str]) -> CommandLine:
    """The command line ``arguments``, split in ``line`` already, behind what its file says.

    Raises UsageError, which names the file and its line.
    """
    path = line.last[CONF].values[0]
    file = CommandLine(program)
    for where, words in _lines(path):
        try:
            _add(file, words, where)
        except UsageError as error:
            raise error.at(where) from None
    merged = CommandLine(program)
    for occurrence in _remaining(file, line):
        merged.take(occurrence.option, occurrence.values, occurrence.where)
    if not line.parameters:
        for text, where in zip(file.parameters, file.places, strict=True):
            merged.add([text], where)
    merged.add(arguments)
    return merged


def _remaining(file: CommandLine, line: CommandLine) -> list[Occurrence]:
    """The file's options but for those that the command line overrides or excludes.

    An option that is only allowed beside such a one goes with it.
    """
    given = set(line.last)
    blocks = {one.option.block for one in line.occurrences if one.option.block}
    everything = given.union(file.last)
    overridden = given.union(*(_excluded_by(one.option, everything) for one in line.occurrences))
    kept = [
        one
        for one in file.occurrences
        if one.option.long not in overridden
        and one.option.block not in blocks
        and given.isdisjoint(_excluded_by(one.option, everything))
    ]
    while True:
        present = given.union(one.option.long for one in kept)
        gone = set(file.last) - present
        left = [
            one
            for one in kept
            if not any(
                gone.intersection(check.others) and not present.intersection(check.others)
                for check in one.option.checks
                if check.only
            )
        ]
        if len(left) == len(kept):
            return kept
        kept = left


def _excluded_by(option: Option, given: set[str]) -> set[str]:
    return {
        other
        for check in option.checks
        if not check.only and check.unless not in given
        for other in check.others
    }


def _add(file: CommandLine, words: list[str], where: str) -> None:
    before = len(file.occurrences) + len(file.parameters)
    file.add(words, where)
    if len(file.occurrences) + len(file.parameters) != before + 1:
        raise UsageError("more than one option or parameter")
    option = file.occurrences[-1].option if file.occurrences else None
    if option is not None and (option.exclusive or option.long in _FOR_PERSONS):
        raise UsageError(f"{option.long} not allowed in a configuration file")


def _lines(path: str) -> Iterator[tuple[str, list[str]]]:
    try:
        with open(path, "rb") as file:
            # What some editors put in front of UTF-8 cannot be seen, and is no option.
            text = os.fsdecode(file.read().removeprefix(BOM_UTF8))
    except (OSError, ValueError) as error:  # a name that holds NUL is a ValueError
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"Cannot read configuration file '{path}': {reason}") from None
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path}:{number}"
        try:
            # No name of a file, a user or a host can hold it, and no argument of a command line.
            if "\0" in line:
                raise UsageError("NUL character")
            words = list(_words(line))
        except UsageError as error:
            raise error.at(where) from None
        if words:
            yield where, words


def _words(line: str) -> Iterator[str]:
    at = 0
    while (at := _skip_blanks(line, at)) < len(line) and line[at] != "#":
        word = ""
        while at < len(line) and line[at] not in _BLANKS:
            match = _PIECE.match(line, at)
            if match is None:
                raise UsageError("unfinished quotation")
            single, double, escaped, plain = match.groups("")
            word += single + _ESCAPE.sub(r"\1", double) + escaped + plain
            at = match.end()
        yield word


def _skip_blanks(line: str, at: int) -> int:
    while at < len(line) and line[at] in _BLANKS:
        at += 1
    return at
