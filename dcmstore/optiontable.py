"""What an option table is made of.

Each program writes its options down once, in sections of rows; the parser
(`cmdline`), the help (`helptext`) and the tests of the man pages read them there.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

STRING = "string"
INTEGER = "integer"
UNSIGNED = "unsigned"  # an integer that may not be typed with a minus sign
KEYWORD = "keyword"
OCTAL = "octal"  # an unsigned integer of base 8, as umask(1) takes it

INT_MAX = 2**31 - 1


class Value(NamedTuple):
    """One value of an option. ``low`` and ``high`` are inclusive and hold for numbers."""

    name: str
    kind: str = STRING
    low: int = 0
    high: int = INT_MAX
    multiple: int = 1  # what is typed is rounded down to a multiple of this
    rounding_warning: str = ""  # logged with what was typed, and what it was rounded to
    words: tuple[str, ...] = ()  # of a keyword, in lower case


class Check(NamedTuple):
    """A condition on other options, tested when the option that carries it is evaluated.

    ``only`` true: one of ``others`` must be in effect, else none of them may be.
    An option is in effect when it was given, or is its block's default, and no other
    of its block displaced it; with ``anywhere`` it is enough that it was given. The option
    ``unless``, if given, waives the condition.
    """

    only: bool
    others: tuple[str, ...]
    message: str = ""  # when the usual sentence will not do
    anywhere: bool = False
    unless: str = ""

    def sentence(self, long: str) -> str:
        """What is said when the option ``long`` fails this check."""
        *front, last = self.others
        listed = f"{', '.join(front)} or {last}" if front else last
        return self.message or f"{long} {'only' if self.only else 'not'} allowed with {listed}"


def only_with(*others: str, message: str = "") -> Check:
    """One of these must be in effect."""
    return Check(True, others, message)


def not_with(*others: str, message: str = "", anywhere: bool = False, unless: str = "") -> Check:
    """None of these may be in effect."""
    return Check(False, others, message, anywhere, unless)


# Stands among the others of a check: messages of level INFO are shown.
VERBOSE_MODE = "verbose mode"


class Option(NamedTuple):
    """One row. ``default`` of an option without values is True where it is its block's default.

    Of the options of a block (a name) the rightmost given wins.
    """

    short: str
    long: str
    help: str
    values: tuple[Value, ...] = ()
    default: Any = None
    default_text: str = ""  # for the help, where str(default) does not say it
    block: str = ""
    checks: tuple[Check, ...] = ()
    stage: str = ""  # where it differs from the section's
    repeatable: bool = False
    exclusive: int = 0  # ends the program before anything is evaluated; 1 goes before 2

    @property
    def name(self) -> str:
        """The long name without its dashes."""
        return self.long[2:]

    @property
    def attribute(self) -> str:
        """Where the parsed options keep the option."""
        return as_attribute(self.name)


def as_attribute(name: str) -> str:
    """The attribute of the parsed options that belongs to an option or a block."""
    return name.replace("-", "_")


class Section(NamedTuple):
    """Rows under one heading of the help. ``ours`` marks those the reference has not."""

    group: str
    title: str  # of the sub-group, or empty
    stage: str
    rows: tuple[Option, ...]
    ours: bool = False


class Parameter(NamedTuple):
    """What stands on the command line without being an option."""

    name: str
    help: str
    optional: bool = False
    repeated: bool = False

    @property
    def attribute(self) -> str:
        """Where the parsed options keep the parameter."""
        return as_attribute(self.name)


class Program(NamedTuple):
    """All that a program's command line is. ``stages`` is the order of evaluation."""

    names: tuple[str, ...]  # those it is installed under, the usual one first
    title: str
    logger: str
    parameters: tuple[Parameter, ...]
    sections: tuple[Section, ...]
    stages: tuple[str, ...]
    long_width: int  # of the help's column of long names
    libraries: tuple[str, ...]  # what --version lists: distributions, zlib, openssl, libwrap

    def rows(self) -> Iterator[Option]:
        """The options in table order."""
        for section in self.sections:
            yield from section.rows
