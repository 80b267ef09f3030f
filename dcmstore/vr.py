"""Value representations as small numbers, and what encoders must know of them (PS3.5 6.2)."""

from typing import Final

NAMES: Final = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"),
    *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST"),
    *(b"SV", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR", b"US", b"UT", b"UV"),
)
_NUMBERS: Final = {name: number for number, name in enumerate(NAMES)}

LO: Final = _NUMBERS[b"LO"]
OB: Final = _NUMBERS[b"OB"]
OW: Final = _NUMBERS[b"OW"]
SQ: Final = _NUMBERS[b"SQ"]
SS: Final = _NUMBERS[b"SS"]
UI: Final = _NUMBERS[b"UI"]
UL: Final = _NUMBERS[b"UL"]
UN: Final = _NUMBERS[b"UN"]
US: Final = _NUMBERS[b"US"]


def number(name: bytes) -> int:
    """Return the number of a two-letter name; KeyError if the standard has no such VR."""
    return _NUMBERS[name]


def _flags(names: bytes) -> tuple[bool, ...]:
    return tuple(name in names.split() for name in NAMES)


def _words() -> tuple[int, ...]:
    sizes = {2: b"US SS OW AT", 4: b"UL SL FL OF OL", 8: b"FD OD OV SV UV"}
    by_name = {name: size for size, names in sizes.items() for name in names.split()}
    return tuple(by_name.get(name, 1) for name in NAMES)


# Indexed by number. TEXT values lose trailing blanks and are padded with a space; all others
# are padded with a NUL. LONG headers have two reserved bytes and a 32-bit length. NEW ones
# postdate 1993 and are what --disable-new-vr writes as OB. WORD is the unit of byte swapping.
TEXT: Final = _flags(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT")
LONG: Final = _flags(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV")
NEW: Final = _flags(b"OD OF OL OV SV UC UN UR UT UV")
WORD: Final = _words()

# The two bytes of an explicit VR as the integer that struct reads, for either byte order.
BY_LITTLE: Final = {int.from_bytes(name, "little"): n for n, name in enumerate(NAMES)}
BY_BIG: Final = {int.from_bytes(name, "big"): n for n, name in enumerate(NAMES)}
