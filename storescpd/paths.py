"""File names on the command line, which mean the folder that the daemon was started in."""

import os
from typing import Any

from dcmstore.optiontable import Program, Value

# What the option tables call the values that are file names.
_FILES = frozenset(("filename", "directory", "key file", "certificate file"))


def make_absolute(program: Program, options: Any) -> None:
    """Make all file names among the parsed options absolute."""
    for row in program.rows():
        value = getattr(options, row.attribute, None)
        if value is None or not any(one.name in _FILES for one in row.values):
            continue
        if row.repeatable:
            value = [_absolute(row.values, (one,))[0] for one in value]
        elif len(row.values) > 1:
            value = _absolute(row.values, value)
        else:
            (value,) = _absolute(row.values, (value,))
        setattr(options, row.attribute, value)


def _absolute(kinds: tuple[Value, ...], values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        os.path.abspath(value) if kind.name in _FILES else value
        for kind, value in zip(kinds, values, strict=True)
    )
