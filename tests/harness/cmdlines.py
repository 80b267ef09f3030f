"""Run command lines: through our parser, and through the reference's programs."""

import contextlib
import io
import logging
import os
import subprocess
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from dcmstore import cmdline, logs
from dcmstore.optiontable import (
    INTEGER,
    KEYWORD,
    STRING,
    UNSIGNED,
    VERBOSE_MODE,
    Option,
    Program,
    Value,
)
from harness.receivers import dcmtk


class Outcome(NamedTuple):
    """How a command line ended: no status means that it was accepted."""

    options: cmdline.Options | None
    status: int | None
    out: str
    err: str

    @property
    def accepted(self) -> cmdline.Options:
        """The parsed options; AssertionError with the program's complaint if there are none."""
        assert self.options is not None, self.err or self.out
        return self.options

    @property
    def error(self) -> str:
        """The text behind ``error:``, or nothing."""
        return error_text(self.err)


def error_text(err: str) -> str:
    """The text behind ``error:`` in what a program said."""
    found = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(found) < 2, err
    return found[0].removeprefix("error: ") if found else ""


def run(
    program: Program,
    *arguments: str,
    called: str | None = None,
    hooks: Mapping[str, cmdline.Hook] | None = None,
) -> Outcome:
    """Parse in this process, and leave the root logger as it was."""
    out, err = io.StringIO(), io.StringIO()
    options = status = None
    root = logging.getLogger()
    level = root.level
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            options = cmdline.parse(program, [called or program.names[0], *arguments], hooks)
        except SystemExit as exit_:
            status = cast(int, exit_.code)
        finally:
            root.setLevel(level)
            for handler in root.handlers[:]:
                if isinstance(handler, logs.Console):
                    root.removeHandler(handler)
    return Outcome(options, status, out.getvalue(), err.getvalue())


def sample(row: Option) -> list[str]:
    """Values that the option accepts."""
    if row.long == "--conf":
        return [os.devnull]
    return [_sample(value) for value in row.values]


def _sample(value: Value) -> str:
    if value.kind == STRING:
        return "-x"
    if value.kind == KEYWORD:
        return "INFO" if "info" in value.words else value.words[-1].upper()
    return str(value.low + value.multiple)


def companions(program: Program, row: Option) -> list[str]:
    """Arguments without which the option is refused."""
    rows = {other.long: other for other in program.rows()}
    found = []
    for check in row.checks:
        if check.only and check.others[0] == VERBOSE_MODE:
            found.append("-v")
        elif check.only:
            other = rows[check.others[0]]
            found += [*companions(program, other), other.long, *sample(other)]
    return found


def table(program: Program) -> list[str]:
    """Short and long name, number of values, block, and a star for its default, of each row.

    Rows that the reference does not have are left out.
    """
    return [
        f"{row.short or '-'} {row.long} {len(row.values)} {row.block or '-'} "
        + ("*" if row.default is True else "-")
        for section in program.sections
        for row in section.rows
        if not section.ours
    ]


def limits(program: Program) -> list[tuple[list[str], str]]:
    """Arguments just within and just beyond each range, with the error that is due, or none."""
    return list(_limits(program))


def _limits(program: Program) -> Iterator[tuple[list[str], str]]:
    for row in program.rows():
        for index, value in enumerate(row.values):
            if value.kind not in (INTEGER, UNSIGNED):
                continue
            high = value.high - value.high % value.multiple
            cases = {value.low: "", high: "", value.high + 1: "overflow: "}
            if value.low - 1 < 0 and value.kind == UNSIGNED:
                cases[value.low - 1] = "-"
            else:
                cases[value.low - 1] = "underflow: "
            for number, problem in cases.items():
                texts = sample(row)
                texts[index] = str(number)
                shown = f"{problem.rstrip('-')}{number}"
                error = f"Invalid value for option {row.long} ({shown})" if problem else ""
                yield [*companions(program, row), row.long, *texts], error


def run_reference(program: str, *arguments: str, directory: str) -> tuple[int, str]:
    """Exit status and error text of the reference, given a command line that it refuses."""
    done = subprocess.run(
        [dcmtk(program), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        cwd=directory,
        check=False,
    )
    return done.returncode, error_text(done.stderr)
