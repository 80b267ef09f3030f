"""Checks the tables of tcp wrappers, hosts.allow and hosts.deny, when the daemon starts.

The rules of the language are hosts_access(5)'s; what libwrap does with a line it cannot
read was found by asking Debian's (7.6.q): the rest of that table is ignored, which for
hosts.deny means that whoever comes so far is refused.
"""

import os
from typing import NamedTuple

# libwrap's buffer for one logical line, the newline included.
_LINE_LIMIT = 2047
_OPTIONS = frozenset(
    (
        *("aclexec", "allow", "banners", "deny", "group", "keepalive", "linger", "nice"),
        *("rfc931", "setenv", "severity", "spawn", "twist", "umask", "user"),
    )
)

# Debian's 7.6.q changes the user only in a dry run (that of tcpdmatch), never for a peer.
_WITHOUT_EFFECT = frozenset(("group", "user"))


def check(allow_path: str, deny_path: str) -> list[str]:
    """What lets peers in or keeps them out against appearances, one line for each finding.

    To be called as the user that will serve: libwrap takes a table that it may not read for
    an empty one.
    """
    allow = _read(allow_path, "the rest of the table is ignored")
    deny = _read(deny_path, "everybody who comes this far is refused")
    warnings = allow.warnings + deny.warnings
    if not (deny.rules or deny.warnings or allow.denies):
        warnings.append(f"{deny.path} has no rules: every host is let in")
    return warnings


class _Table(NamedTuple):
    path: str
    rules: int
    denies: bool
    warnings: list[str]


def _read(path: str, after_fault: str) -> _Table:
    """Read a table as libwrap does; ``after_fault`` is what a line it cannot read leads to."""
    warnings: list[str] = []
    rules = 0
    denies = False
    try:
        with open(path, "rb") as file:
            physical = file.readlines()
    except FileNotFoundError:
        return _Table(path, 0, False, [])
    except OSError as error:
        return _Table(
            path, 0, False, [f"{path} cannot be read, so nothing in it applies: {error.strerror}"]
        )
    logical = b""
    first = 1
    for number, line in enumerate(physical, 1):
        where = f"{path}, line {first}"
        logical += line
        if logical.endswith(b"\\\n") and number < len(physical):
            logical = logical[:-2]
            continue
        fault = _unreadable(logical)
        if fault:
            warnings.append(f"{where}: {fault}; from here on {after_fault}")
            break
        text = os.fsdecode(logical)
        if text.startswith("#") and number > first:
            warnings.append(f"{where}: the comment ends in a backslash and hides the next line")
        elif text.strip() and not text.startswith("#"):
            rules += 1
            fields = _split(text)
            denies = denies or "deny" in (_keyword(field) for field in fields[2:])
            warnings += [f"{where}: {problem}" for problem in _doubts(text, fields)]
        logical = b""
        first = number + 1
    return _Table(path, rules, denies, warnings)


def _unreadable(logical: bytes) -> str | None:
    if len(logical) > _LINE_LIMIT:
        return f"longer than {_LINE_LIMIT} bytes"
    if b"\0" in logical:
        return "a NUL byte"
    if not logical.endswith(b"\n") or logical.endswith(b"\\\n"):
        return "no newline at the end"
    return None


def _doubts(text: str, fields: list[str]) -> list[str]:
    if len(fields) < 2:
        return ["no colon, the line is skipped"]
    doubts = []
    if text.lstrip().startswith("#"):
        doubts.append("a comment starts in the first column, this is a rule")
    if not fields[0].strip() or not fields[1].strip():
        doubts.append("matches nobody (IPv6 addresses stand in square brackets)")
    doubts += [
        f"unknown option {field.strip()!r}, whoever matches is refused"
        for field in fields[2:]
        if _keyword(field) not in _OPTIONS
    ]
    doubts += [
        f"libwrap does not carry out {field.strip()!r}; --user and --group do"
        for field in fields[2:]
        if _keyword(field) in _WITHOUT_EFFECT
    ]
    return doubts


def _split(text: str) -> list[str]:
    """Split a rule at its colons, but for those in square brackets or behind a backslash.

    Brackets count only in the lists: options may hold commands with unpaired ones.
    """
    fields = [""]
    bracket = False
    previous = ""
    for character in text:
        if len(fields) < 3 and character in "[]":
            bracket = character == "["
        if character == ":" and not bracket and previous != "\\":
            fields.append("")
        else:
            fields[-1] += character
        previous = character
    return fields


def _keyword(option: str) -> str:
    words = option.replace("=", " ", 1).split(None, 1)
    return words[0].lower() if words else ""
