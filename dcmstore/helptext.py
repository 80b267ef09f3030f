"""What ``--help`` and ``--version`` print, laid out as the reference lays it out."""

import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from typing import NoReturn

from dcmstore.arguments import UsageError
from dcmstore.optiontable import (
    INT_MAX,
    KEYWORD,
    OCTAL,
    STRING,
    Option,
    Parameter,
    Program,
    Section,
)

_WIDTH = 79
_SHORT_WIDTH = 6  # in a group; a sub-group is indented by two more and its column is narrower


def show(text: str) -> NoReturn:
    """Write to standard output and end the program with status 0. Raises UsageError."""
    try:
        print(text, flush=True)
    except OSError as error:
        # The exit must not try that again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # The reader of a pipe (a pager, head) has seen enough.
        if not isinstance(error, BrokenPipeError):
            raise UsageError(f"Cannot write to standard output: {error.strerror}") from None
    raise SystemExit(0)


def usage(program: Program, name: str, identifier: str) -> str:
    """The text of ``--help``."""
    synopsis = " ".join(_synopsis(parameter) for parameter in program.parameters)
    lines = [
        identifier,
        "",
        f"{name}: {program.title}",
        f"usage: {name} [options] {synopsis}",
        "",
        "parameters:",
    ]
    column = 2 + _SHORT_WIDTH + 2 + program.long_width
    for parameter in program.parameters:
        lines += _entry(f"  {parameter.name}".ljust(column), parameter.help)
    lines.append("")
    group = ""
    for section in program.sections:
        if not section.rows:
            continue
        if section.group != group:
            group = section.group
            lines.append(f"{group}:")
        lines += _section(section, program.long_width)
    return "\n".join(lines)


def _synopsis(parameter: Parameter) -> str:
    text = parameter.name + ("..." if parameter.repeated else "")
    return f"[{text}]" if parameter.optional else text


def _section(section: Section, long_width: int) -> Iterator[str]:
    indent = "  "
    if section.title:
        yield f"  {section.title}:"
        indent = "    "
    short_width = _SHORT_WIDTH + 2 - len(indent)
    long_width = max(long_width, *(len(row.long) for row in section.rows))
    for row in section.rows:
        left = f"{indent}{row.short.ljust(short_width)}  {row.long.ljust(long_width)}"
        yield from _entry(left, *_description(row))


def _entry(left: str, *paragraphs: str) -> Iterator[str]:
    """Paragraphs to the right of ``left``, wrapped in their own column."""
    room = _WIDTH - len(left) - 2
    for paragraph in paragraphs:
        for line in textwrap.wrap(paragraph, room, break_on_hyphens=False):
            yield f"{left}  {line}"
            left = " " * len(left)


def _description(row: Option) -> Iterator[str]:
    if row.values:
        names = ", ".join(f"[{value.name[0]}]{value.name[1:]}" for value in row.values)
        yield f"{names}: {_kind(row)}{_default(row)}"
        yield row.help
    else:
        yield row.help + _default(row)


def _kind(row: Option) -> str:
    value = row.values[0]
    if value.kind == STRING:
        return "string"
    if value.kind == KEYWORD:
        return "keyword"
    if value.kind == OCTAL:
        return f"octal {value.low:o}..{value.high:o}"
    if value.high == INT_MAX:
        return "integer"
    return f"integer {value.low}..{value.high}"


def _default(row: Option) -> str:
    if row.default_text:
        return f" (default: {row.default_text})"
    if row.default is True:
        return " (default)"
    return "" if row.default is None else f" (default: {row.default})"


def header(program: Program, name: str, identifier: str) -> list[str]:
    """The lines on top of ``--version``, and of what lists something."""
    features = ["fork", "ipv6" if _has_ipv6() else "no-ipv6"]
    return [
        identifier,
        "",
        f"{name}: {program.title}",
        "",
        f"Host type: {platform.machine()}-{platform.system()}",
        f"Character encoding: {sys.getfilesystemencoding()}",
        f"Build options: {' '.join(features)}",
    ]


def version(program: Program, name: str, identifier: str) -> str:
    """The text of ``--version``."""
    lines = [
        *header(program, name, identifier),
        "",
        "External libraries used:",
        f"- Python, Version {platform.python_version()}",
    ]
    for library in program.libraries:
        found = _LIBRARIES[library]() if library in _LIBRARIES else _distribution(library)
        if found:
            lines.append(f"- {found}")
    return "\n".join(lines)


def _has_ipv6() -> bool:
    import socket

    return socket.has_ipv6


def _zlib() -> str:
    import zlib

    return f"ZLIB, Version {zlib.ZLIB_RUNTIME_VERSION}"


def _openssl() -> str:
    import ssl

    return ssl.OPENSSL_VERSION


def _libwrap() -> str:
    import ctypes

    try:
        ctypes.CDLL("libwrap.so.0")
    except OSError:  # not installed: then --access-control is refused at start
        return ""
    return "LIBWRAP"


def _distribution(name: str) -> str:
    from importlib import metadata

    return f"{name}, Version {metadata.version(name)}"


_LIBRARIES = {"zlib": _zlib, "openssl": _openssl, "libwrap": _libwrap}
