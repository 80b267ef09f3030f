"""Compare stored files with each other and with what was sent, byte for byte."""

from pathlib import Path

from harness import wire
from harness.objects import split_part10

# Group length, implementation class UID and version name: they name who wrote the file.
WRITER = frozenset((0x0000, 0x0012, 0x0013))
# What instance UIDs begin with that the programs make up.
OUR_UIDS, THEIR_UIDS = b"2.25.", b"1.2.276.0.7230010.3.1.4."
DEFLATED = wire.DEFLATED.encode()


def data_difference(actual: bytes, expected: bytes) -> str | None:
    """Return None for equal bytes, or where and how they first differ."""
    if actual == expected:
        return None
    shorter = min(len(actual), len(expected))
    at = next((n for n in range(shorter) if actual[n] != expected[n]), shorter)
    start = max(0, at - 16)
    return (
        f"{len(actual)} bytes, expected {len(expected)}; first difference at {at}: "
        f"{actual[start : at + 24]!r}, expected {expected[start : at + 24]!r}"
    )


def file_difference(actual: bytes, expected: bytes) -> str | None:
    """Compare two files of PS3.10: meta elements except the writer's, then the data set."""
    one, other = split_part10(actual), split_part10(expected)
    if actual[:128] != expected[:128]:
        return "preambles differ"
    if list(one.meta) != list(other.meta):
        return f"meta elements {list(one.meta)}, expected {list(other.meta)}"
    for number, value in other.meta.items():
        if value.startswith(THEIR_UIDS) and one.meta[number].startswith(OUR_UIDS):
            # The data set has no instance UID, so both have made one up.
            continue
        if number not in WRITER and one.meta[number] != value:
            return f"(0002,{number:04x}) is {one.meta[number]!r}, expected {value!r}"
    data = other.data
    if other.meta.get(0x10) == DEFLATED and len(data) % 2:
        # Version 3.6.7 of the reference leaves a deflated data set odd, 3.7.0 does not.
        data += b"\0"
    return data_difference(one.data, data)


def folder_differences(actual: Path, expected: Path) -> list[str]:
    """Compare all files of two folders; a line for each file that differs or is missing."""
    names = {path.name for folder in (actual, expected) for path in folder.iterdir()}
    found = []
    for name in sorted(names):
        if not (actual / name).exists():
            found.append(f"{name} is missing")
        elif not (expected / name).exists():
            found.append(f"{name} should not be there")
        else:
            difference = file_difference(
                (actual / name).read_bytes(), (expected / name).read_bytes()
            )
            if difference:
                found.append(f"{name}: {difference}")
    return found
