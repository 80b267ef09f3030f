"""Association negotiation profiles: which contexts, roles and items a peer may negotiate.

A profile file is a tree of three levels. ``[[NAME]]`` starts a super-section, ``[NAME]`` a list
or a profile inside it, and ``Keyword = value`` is an entry. Lists refer to each other by name:
a profile names a list of contexts, a context names a list of transfer syntaxes. The whole file
is checked when it is loaded, also the parts that the chosen profile does not use.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dcmstore.errors import LocalError
from dcmstore.uids import by_name

TRANSFER_SYNTAXES = "TRANSFERSYNTAXES"
CONTEXTS = "PRESENTATIONCONTEXTS"
ROLES = "SCPSCUROLESELECTION"
EXTENDED = "EXTENDEDNEGOTIATION"
PROFILES = "PROFILES"

EXTENDED_MAX = 1024  # bytes of application information in one extended negotiation item
ROLE_NAMES = ("SCU", "SCP", "BOTH")

_INSIGNIFICANT = re.compile(r"[^A-Z0-9_-]")
_COMMENT = re.compile(r"^#.*", re.MULTILINE)
_SPACE = re.compile(r"\s*", re.ASCII)
_OPENING = re.compile(r"(?:\[\s*)+", re.ASCII)
_UID = re.compile(r"[0-9.]+")

Entries = dict[str, str]
Sections = list[tuple[str, Entries]]
Context = tuple[str, tuple[str, ...]]


class ProfileError(LocalError):
    """A profile file cannot be used; ``condition`` is ``MMMM:CCCC``, ``text`` the reason."""


class Profile(NamedTuple):
    """What one profile negotiates.

    ``contexts`` holds (abstract syntax, transfer syntaxes) in the order of the file; ``roles``
    maps an abstract syntax to ``SCU``, ``SCP`` or ``BOTH``; ``extended`` maps one to the service
    class application information of PS3.7 annex D.3.3.5.
    """

    contexts: tuple[Context, ...]
    roles: dict[str, str]
    extended: dict[str, bytes]

    @property
    def has_duplicates(self) -> bool:
        """Tell whether an abstract syntax is listed twice, which an acceptor cannot use."""
        return len({abstract for abstract, _ in self.contexts}) != len(self.contexts)


class Profiles:
    """The profiles of one file by name; blanks and case of a name do not matter."""

    def __init__(self, profiles: dict[str, Profile]) -> None:
        self._profiles = profiles

    def __contains__(self, name: str) -> bool:
        return _reference(name) in self._profiles

    def __iter__(self) -> Iterator[str]:
        return iter(self._profiles)

    def __getitem__(self, name: str) -> Profile:
        """Return a profile; raise ProfileError if the file has none of that name."""
        key = _reference(name)
        if key not in self._profiles:
            raise ProfileError("0006:0426", f"profile key undefined: {key}")
        return self._profiles[key]

    def acceptor(self, name: str) -> Profile:
        """Return a profile that an acceptor can use; raise ProfileError with the text for it."""
        key = _reference(name)
        if key not in self._profiles:
            raise ProfileError("0006:0426", f"unknown configuration profile name: {key}")
        if self._profiles[key].has_duplicates:
            text = f"profile '{key}' is not valid for SCP use, duplicate abstract syntaxes found"
            raise ProfileError("0006:0427", text)
        return self._profiles[key]


def load(path: str, limit_contexts: int | None = None) -> Profiles:
    """Read and check a profile file.

    ``limit_contexts`` is the longest context list allowed: 128 for a requestor, whose contexts
    need odd numbers below 256 (PS3.8 section 9.3.2.2), none for an acceptor.
    Raise ProfileError with the first fault found.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline=None) as file:
            text = file.read()
    except OSError as error:
        raise ProfileError("0006:0412", f"unable to open configuration file: {path}") from error
    return Profiles(_Reader(_parse(text), limit_contexts).profiles())


def _significant(name: str) -> str:
    """Return a section name or keyword as it is compared."""
    return _INSIGNIFICANT.sub("", name.upper())


def _reference(value: str) -> str:
    """Return a value that names a list or profile as it is compared."""
    return "".join(value.split()).upper()


def _parse(text: str) -> dict[str, Sections]:
    """Return the sections of each super-section, in order and with their names repeated."""
    text = _COMMENT.sub("", text)
    tree: dict[str, Sections] = {}
    sections: Sections | None = None
    entries: Entries | None = None
    place = 0
    while (place := _space(text, place).end()) < len(text):
        if opening := _OPENING.match(text, place):
            brackets = opening.group().count("[")
            name, place = _until(text, opening.end(), "]")
            for _ in range(brackets - 1):
                _, place = _until(text, place, "]")
            if brackets > 1:
                sections, entries = [], None
                # The first super-section of a name is the one that counts.
                tree.setdefault(_significant(name), sections)
            elif sections is not None:
                entries = {}
                sections.append((_significant(name), entries))
            continue
        keyword, place = _until(text, place, "=")
        value, place = _value(text, place)
        if entries is not None:
            entries.setdefault(_significant(keyword), value)
    return tree


def _space(text: str, place: int) -> re.Match[str]:
    match = _SPACE.match(text, place)
    assert match is not None  # the pattern matches nothing, too
    return match


def _until(text: str, place: int, mark: str) -> tuple[str, int]:
    """Return what comes before the next mark, and the place after it."""
    end = text.find(mark, place)
    if end < 0:
        return text[place:], len(text)
    return text[place:end], end + 1


def _value(text: str, place: int) -> tuple[str, int]:
    """Return the value that starts here, and the place after it; indented lines continue it."""
    lines: list[str] = []
    while True:
        line, place = _until(text, place, "\n")
        lines.append(line.lstrip(" \t"))
        indent = _space(text, place)
        if indent.end() == len(text) or not indent.group().endswith((" ", "\t")):
            return "\n".join(filter(None, lines)), place
        place = indent.end()


class _Reader:
    """Turns the tree of a file into profiles, checking it in the order of the super-sections."""

    def __init__(self, tree: dict[str, Sections], limit_contexts: int | None) -> None:
        self._tree = tree
        self._limit = limit_contexts
        self._transfer_syntaxes: dict[str, list[str]] = {}
        self._contexts: dict[str, list[Context]] = {}
        self._roles: dict[str, dict[str, str]] = {}
        self._extended: dict[str, dict[str, bytes]] = {}

    def profiles(self) -> dict[str, Profile]:
        for key, entries in self._mandatory(TRANSFER_SYNTAXES, "0006:041a"):
            self._read_transfer_syntaxes(key, entries)
        for key, entries in self._mandatory(CONTEXTS, "0006:041b"):
            self._read_contexts(key, entries)
        for key, entries in self._tree.get(ROLES, ()):
            self._read_roles(key, entries)
        for key, entries in self._tree.get(EXTENDED, ()):
            self._read_extended(key, entries)
        profiles: dict[str, Profile] = {}
        for key, entries in self._mandatory(PROFILES, "0006:0424"):
            profile = self._profile(key, entries)
            if key in profiles:
                raise ProfileError("0006:0406", f"two profiles defined for key: {key}")
            profiles[key] = profile
        return profiles

    def _mandatory(self, name: str, condition: str) -> Sections:
        if name not in self._tree:
            raise ProfileError(condition, f"cannot find section [[{name}]] in config file")
        return self._tree[name]

    def _read_transfer_syntaxes(self, key: str, entries: Entries) -> None:
        for _, value in _numbered(entries, "TRANSFERSYNTAX"):
            uid = _uid(value, "transfer", "0006:0400")
            self._transfer_syntaxes.setdefault(key, []).append(uid)

    def _read_contexts(self, key: str, entries: Entries) -> None:
        for keyword, value in _numbered(entries, "PRESENTATIONCONTEXT"):
            abstract, listed = _pair(keyword, value, "0006:041c")
            listed = _reference(listed)
            if listed not in self._transfer_syntaxes:
                raise ProfileError("0006:0407", f"transfer syntax key undefined: {listed}")
            uid = _uid(abstract, "abstract", "0006:0401")
            contexts = self._contexts.setdefault(key, [])
            if len(contexts) == self._limit:
                text = f"presentation context list too long (> {self._limit} entries): {key}"
                raise ProfileError("0006:0408", text)
            contexts.append((uid, tuple(self._transfer_syntaxes[listed])))

    def _read_roles(self, key: str, entries: Entries) -> None:
        for keyword, value in _numbered(entries, "ROLE"):
            abstract, role = _pair(keyword, value, "0006:041d")
            if role.upper() not in ROLE_NAMES:
                text = f"syntax error: unknown role key in entry {keyword} in config file"
                raise ProfileError("0006:041e", text)
            uid = _uid(abstract, "abstract", "0006:0402")
            roles = self._roles.setdefault(key, {})
            if uid in roles:
                text = f"role selection defined twice for abstract syntax UID: {abstract}"
                raise ProfileError("0006:0403", text)
            roles[uid] = role.upper()

    def _read_extended(self, key: str, entries: Entries) -> None:
        for keyword, value in _numbered(entries, "EXTENDEDNEGOTIATION"):
            abstract, digits = _pair(keyword, value, "0006:041f")
            information = _information(keyword, digits)
            uid = _uid(abstract, "abstract", "0006:0404")
            extended = self._extended.setdefault(key, {})
            if uid in extended:
                text = f"extended negotiation defined twice for abstract syntax UID: {abstract}"
                raise ProfileError("0006:0405", text)
            extended[uid] = information

    def _profile(self, name: str, entries: Entries) -> Profile:
        if CONTEXTS not in entries:
            text = f"no {CONTEXTS}  entry in section {name} in config file"
            raise ProfileError("0006:0425", text)
        contexts_key = _reference(entries[CONTEXTS])
        if contexts_key not in self._contexts:
            raise ProfileError("0006:0409", f"presentation context key undefined: {contexts_key}")
        contexts = self._contexts[contexts_key]
        roles: dict[str, str] = {}
        if ROLES in entries:
            key = _reference(entries[ROLES])
            if key not in self._roles:
                raise ProfileError("0006:040a", f"role selection key undefined: {key}")
            roles = self._roles[key]
            _check_listed(roles, key, contexts, contexts_key)
        extended: dict[str, bytes] = {}
        if EXTENDED in entries:
            key = _reference(entries[EXTENDED])
            if key not in self._extended:
                raise ProfileError("0006:040b", f"extended negotiation key undefined: {key}")
            extended = self._extended[key]
            _check_listed(extended, key, contexts, contexts_key)
        return Profile(tuple(contexts), roles, extended)


def _numbered(entries: Entries, stem: str) -> Iterator[tuple[str, str]]:
    """Yield the entries ``STEM1``, ``STEM2`` and so on, up to the first gap."""
    number = 1
    while (keyword := f"{stem}{number}") in entries:
        yield keyword, entries[keyword]
        number += 1


def _pair(keyword: str, value: str, condition: str) -> tuple[str, str]:
    left, backslash, right = value.partition("\\")
    if not backslash:
        text = f"syntax error: missing '\\' in entry {keyword} in config file"
        raise ProfileError(condition, text)
    return left, right


def _uid(value: str, kind: str, condition: str) -> str:
    uid = by_name(value) or by_name(value.removeprefix("=")) or value
    if not _UID.fullmatch(uid):
        raise ProfileError(condition, f"not a valid {kind} syntax UID: {value}")
    return uid


def _information(keyword: str, digits: str) -> bytes:
    if len(digits) > 2 * EXTENDED_MAX:
        text = (
            f"extended negotiation data too long, cannot handle > {EXTENDED_MAX} bytes"
            f" in entry {keyword} in config file"
        )
        raise ProfileError("0006:0422", text)
    if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", digits):
        text = f"parse error in extended negotiation data in entry {keyword} in config file"
        raise ProfileError("0006:0421", text)
    return bytes.fromhex(digits)


def _check_listed(
    uids: Iterable[str], key: str, contexts: Iterable[Context], contexts_key: str
) -> None:
    listed = {abstract for abstract, _ in contexts}
    for uid in uids:
        if uid not in listed:
            text = (
                f"abstract syntax defined in role selection list '{key}'"
                f" but not in presentation context list '{contexts_key}': {uid}"
            )
            raise ProfileError("0006:040c", text)
