"""The command line of both programs: option tables in, parsed options out.

The grammar is the reference's, not getopt's: values are taken as they stand (``-aet -v``
sets a title), ``+`` begins options too, the rightmost of a block of options wins, and
checks run in the order of the tables rather than of the command line.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from dcmstore import __version__, logs
from dcmstore.arguments import CONF, CommandLine, Occurrence, UsageError, expand
from dcmstore.optiontable import (
    KEYWORD,
    OCTAL,
    STRING,
    UNSIGNED,
    VERBOSE_MODE,
    Option,
    Program,
    Value,
    as_attribute,
)

net_log = logging.getLogger("dcmtk.dcmnet")

__all__ = ["Hook", "Options", "UsageError", "identifier", "parse", "program_name"]


class Options(SimpleNamespace):
    """The parsed options.

    An option's attribute is its long name with underscores: a bool without values, the
    value, a tuple of two, or a list if it may be repeated. A block's attribute holds the
    name of the option that won. Parameters stand under their own names, and ``log_level``
    is the level after ``-q``, ``-v`` and ``-d``.
    """


# Called with the options evaluated so far, right after the option it is filed under (the
# long name without dashes) was accepted; not called when the option was not given.
Hook = Callable[[Options], object]

_BLANKS = " \t\n\v\f\r"
_DIGITS = "0123456789"


def parse(
    program: Program,
    argv: Sequence[str],
    hooks: Mapping[str, Hook] | None = None,
    *,
    port_needed: bool = True,
    report: Callable[[str], None] | None = None,
) -> Options:
    """Evaluate a command line; ``argv[0]`` is the name the program was called by.

    ``port_needed`` is false for a program that listens already. ``report`` takes the place of
    standard error for the one line that says what is wrong.
    Ends the program (SystemExit) with status 0 after ``--help`` and the like, and with
    status 1 after it reported an error.
    """
    name = program_name(program, argv[0])
    hooks = hooks or {}
    try:
        arguments = list(expand(argv[1:]))
        if not arguments:
            _show_help(program, name)
        line = CommandLine(program)
        line.add(arguments)
        _obey_exclusive(program, name, line)
        if CONF in line.last:
            from dcmstore import conffile

            line = conffile.merge(program, line, arguments)
        options = _Evaluation(program, name, argv[0], line, hooks, port_needed).run()
    except UsageError as error:
        if report is not None:
            report(f"error: {error}")
        elif sys.stderr is not None:
            title = f"{name}: {program.title}"
            print(f"{identifier(name)}\n\n{title}\nerror: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    return options


def program_name(program: Program, called: str) -> str:
    """The name the program was called by, if it is one that the program has."""
    name = os.path.basename(called)
    return name if name in program.names else program.names[0]


def identifier(name: str) -> str:
    """The line that opens help, errors and debug logs."""
    return f"$storescpd: {name} v{__version__} $"


def _obey_exclusive(program: Program, name: str, line: CommandLine) -> None:
    given = [item.option for item in line.occurrences if item.option.exclusive]
    if not given:
        return
    option = min(given, key=lambda option: option.exclusive)
    if option.name == "help":
        _show_help(program, name)
    if option.name == "version":
        _show_version(program, name)
    from dcmstore import tlslists

    tlslists.show(option.name, program, name, identifier(name))


def _show_help(program: Program, name: str) -> NoReturn:
    from dcmstore import helptext  # only this run needs it

    helptext.show(helptext.usage(program, name, identifier(name)))


def _show_version(program: Program, name: str) -> NoReturn:
    from dcmstore import helptext

    helptext.show(helptext.version(program, name, identifier(name)))


def _defaults(program: Program) -> Options:
    options = Options(log_level="warn")
    for row in program.rows():
        if row.block:
            block = as_attribute(row.block)
            if row.default is True or not hasattr(options, block):
                setattr(options, block, row.name if row.default is True else None)
        if row.values or not row.block:
            default = [] if row.repeatable else row.default if row.values else False
            # --log-level was set above: its attribute is what all logging options amount to
            options.__dict__.setdefault(row.attribute, default)
    for parameter in program.parameters:
        setattr(options, parameter.attribute, [] if parameter.repeated else None)
    return options


class _Evaluation:
    """Checks options and converts values, stage by stage."""

    def __init__(
        self,
        program: Program,
        name: str,
        called: str,
        line: CommandLine,
        hooks: Mapping[str, Hook],
        port_needed: bool,
    ) -> None:
        self.program = program
        self.name = name
        self.called = called
        self.line = line
        self.hooks = hooks
        self.port_needed = port_needed
        self.options = _defaults(program)
        self.logger = logging.getLogger(program.logger)
        self.rows = {row.long: row for row in program.rows()}
        self.quiet = False

    def run(self) -> Options:
        """All stages. Raises UsageError, or SystemExit(1) where quiet mode hides its text."""
        self._count_parameters()
        actions = {
            "port": self._evaluate_port,
            "logging": self._set_up_logging,
            "identify": self._identify,
        }
        try:
            for stage in self.program.stages:
                self._evaluate_rows(stage)
                if stage in actions:
                    actions[stage]()
        except UsageError:
            if self.quiet:
                raise SystemExit(1) from None
            raise
        return self.options

    def _count_parameters(self) -> None:
        given = self.line.parameters
        expected = self.program.parameters
        for parameter in expected[len(given) :]:
            if not parameter.optional:
                raise UsageError(f"Missing parameter {parameter.name}")
        if len(given) > len(expected) and not expected[-1].repeated:
            raise UsageError("Too many parameters").at(self.line.places[len(expected)])
        for index, parameter in enumerate(expected):
            value = given[index:] if parameter.repeated else given[index : index + 1]
            if value:
                setattr(
                    self.options, parameter.attribute, value if parameter.repeated else value[0]
                )

    def _evaluate_rows(self, stage: str) -> None:
        done = set()
        for section in self.program.sections:
            for row in section.rows:
                if (row.stage or section.stage) != stage:
                    continue
                if not row.block:
                    self._evaluate((row,))
                elif row.block not in done:
                    done.add(row.block)
                    self._evaluate(self.line.blocks[row.block])

    def _evaluate(self, block: Sequence[Option]) -> None:
        """An option by itself, or a block of them.

        An option of a block takes part only if it stands to the right of the one that took
        part before it, so one that loses to a later row of the table is still checked.
        """
        found: Occurrence | None = None
        value: Any = None
        for row in block:
            occurrence = self.line.last.get(row.long)
            if occurrence and (found is None or occurrence.position > found.position):
                found = occurrence
                try:
                    self._check(row)
                except UsageError as error:
                    raise error.at(occurrence.where) from None
                value = self._convert(row)
        if found is None:
            return
        option = found.option
        if option.block:
            setattr(self.options, as_attribute(option.block), option.name)
        if option.values or not option.block:
            setattr(self.options, option.attribute, value)
        if option.name in self.hooks:
            try:
                self.hooks[option.name](self.options)
            except UsageError as error:
                raise error.at(found.where) from None

    def _check(self, option: Option) -> None:
        for check in option.checks:
            if check.unless and self._is_given(check.unless):
                continue
            test = self._is_given if check.anywhere else self._is_in_effect
            if any(map(test, check.others)) != check.only:
                raise UsageError(check.sentence(option.long))

    def _is_given(self, other: str) -> bool:
        return other in self.line.last

    def _is_in_effect(self, other: str) -> bool:
        if other == VERBOSE_MODE:
            return self.logger.isEnabledFor(logging.INFO)
        return self.line.in_effect(self.rows[other])

    def _convert(self, option: Option) -> Any:
        if not option.values:
            return True
        if option.repeatable:
            return [
                _convert_values(occurrence)
                for occurrence in self.line.occurrences
                if occurrence.option is option
            ]
        return _convert_values(self.line.last[option.long])

    def _evaluate_port(self) -> None:
        """The port parameter: required except where there is a socket, 1..65535 (RFC 793)."""
        options = self.options
        if getattr(options, "inetd", False) or getattr(options, "inetd_wait", False):
            options.port = None
            return
        if options.port is None:
            if self.port_needed:
                raise UsageError("Missing parameter port")
            return
        for parameter, text, where in zip(
            self.program.parameters, self.line.parameters, self.line.places, strict=False
        ):
            if parameter.name == "port":
                try:
                    options.port = _port(text)
                except UsageError as error:
                    raise error.at(where) from None

    def _set_up_logging(self) -> None:
        words = {"quiet": "fatal", "verbose": "info", "debug": "debug"}
        if self.options.verbosity:
            self.options.log_level = words[self.options.verbosity]
        if self.options.log_config is None:
            logs.set_up(self.options)
        self.quiet = not logging.getLogger().isEnabledFor(logging.ERROR)
        if self.options.arguments:
            shown = "".join(f"'{argument}' " for argument in self.line.shown if argument)
            text = f"calling '{self.called}' with {len(self.line.shown)} arguments: {shown}\n"
            # Handed to the handlers directly, since it is to be seen at every level.
            root = logging.getLogger()
            root.handle(root.makeRecord(root.name, logging.INFO, "", -1, text, (), None))

    def _identify(self) -> None:
        self.logger.debug("%s\n", identifier(self.name))


def _convert_values(occurrence: Occurrence) -> Any:
    option = occurrence.option
    try:
        values = tuple(
            _convert_value(option.long, value, text)
            for value, text in zip(option.values, occurrence.values, strict=True)
        )
    except UsageError as error:
        raise error.at(occurrence.where) from None
    return values if len(values) > 1 else values[0]


def _convert_value(long: str, value: Value, text: str) -> str | int:
    if value.kind == STRING:
        return text
    if value.kind == KEYWORD:
        if text.lower() not in value.words:
            raise UsageError(f"Invalid {value.name} for {long} option")
        return text.lower()
    if not text:
        raise UsageError(f"Invalid value for option {long}")
    number = _octal(text) if value.kind == OCTAL else _number(text)
    if number is None or (value.kind == UNSIGNED and text.lstrip(_BLANKS)[0] == "-"):
        raise UsageError(f"Invalid value for option {long} ({text})")
    if number < value.low:
        raise UsageError(f"Invalid value for option {long} (underflow: {text})")
    if number > value.high:
        raise UsageError(f"Invalid value for option {long} (overflow: {text})")
    rounded = number - number % value.multiple
    if value.rounding_warning and rounded != number:
        net_log.warning(value.rounding_warning, number, rounded)
    return rounded


def _port(text: str) -> int:
    port = _number(text)
    if port is None:
        raise UsageError(f"Invalid parameter value {text}")
    if port < 0 or port > 65535:  # the reference reads -5 as a huge number
        raise UsageError(f"Invalid parameter value {text} (overflow)")
    if port == 0:
        raise UsageError(f"Invalid parameter value {text} (underflow)")
    return port


def _octal(text: str) -> int | None:
    return int(text, 8) if text.strip("01234567") == "" else None


def _number(text: str) -> int | None:
    """The decimal number that a text begins with; of a huge one no more than 20 digits."""
    text = text.lstrip(_BLANKS)
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    digits = unsigned[: len(unsigned) - len(unsigned.lstrip(_DIGITS))]
    if not digits:
        return None
    number = int(digits.lstrip("0")[:20] or "0")
    return -number if text[0] == "-" else number
