"""What the registered UIDs mean: symbolic names, transfer syntaxes, SOP classes, file prefixes.

And new ones, which are registered nowhere.
"""

from functools import cache
from typing import NamedTuple

from dcmstore.uidtable import ROWS

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))


class Uid(NamedTuple):
    """One registered UID; the indices count from 1, and 0 means: not in that list."""

    uid: str
    symbolic: str
    kind: str
    accepted_index: int
    proposed_index: int
    non_patient: bool
    prefix: str


@cache
def _by_uid() -> dict[str, Uid]:
    table: dict[str, Uid] = {}
    for row in ROWS:
        # A UID may be listed under a second name; the first one is used for output.
        table.setdefault(row[0], Uid(*row))
    return table


@cache
def _by_name() -> dict[str, str]:
    names = {row[1]: row[0] for row in ROWS}
    names["LocalEndianExplicit"] = EXPLICIT_LITTLE
    names["OppositeEndianExplicit"] = EXPLICIT_BIG
    return names


def lookup(uid: str) -> Uid | None:
    """Return the row of a registered UID, or None."""
    return _by_uid().get(uid)


def symbolic(uid: str) -> str | None:
    """Return the symbolic name that dumps and profiles use, or None if the UID is unknown."""
    row = _by_uid().get(uid)
    return row.symbolic if row else None


def by_name(name: str) -> str | None:
    """Return the UID of a symbolic name (case matters), or None."""
    return _by_name().get(name)


def is_transfer_syntax(uid: str) -> bool:
    """Tell whether the UID is a registered transfer syntax."""
    row = _by_uid().get(uid)
    return row is not None and row.kind == "T"


def is_storage(uid: str) -> bool:
    """Tell whether the UID is a storage SOP class, with or without a patient."""
    row = _by_uid().get(uid)
    return row is not None and row.kind == "S"


def is_encapsulated(transfer_syntax: str) -> bool:
    """Tell whether pixel data travels in fragments (PS3.5 annex A.4)."""
    return transfer_syntax not in NATIVE


def file_prefix(sop_class: str) -> str | None:
    """Return the prefix that names files of this class (``CT``), or None."""
    row = _by_uid().get(sop_class)
    return row.prefix or None if row else None


@cache
def accepted_storage_classes() -> tuple[str, ...]:
    """Return the storage SOP classes that the daemon accepts by default, in order."""
    rows = sorted((r for r in _by_uid().values() if r.accepted_index), key=lambda r: r[3])
    return tuple(r.uid for r in rows)


@cache
def proposed_storage_classes() -> tuple[str, ...]:
    """Return the storage SOP classes that the sender proposes by default, in order."""
    rows = sorted((r for r in _by_uid().values() if r.proposed_index), key=lambda r: r[4])
    return tuple(r.uid for r in rows)


def new_uid(entropy: bytes) -> str:
    """Return a UID derived from a random UUID (PS3.5 annex B.2); ``entropy`` is 16 random bytes."""
    if len(entropy) != 16:
        raise ValueError("a UUID takes 16 bytes")
    number = int.from_bytes(entropy, "big")
    number = number & ~(0xF << 76) | 4 << 76  # version 4: random (RFC 9562 section 5.4)
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return f"2.25.{number}"
