"""How values change on their way out: padding, blanks, byte order (PS3.5 sections 6.2 and 7.3)."""

from array import array

from dcmstore.dataset import Encoded

CODES = {2: "H", 4: "I", 8: "Q"}
"""Type codes of :mod:`array` for words of so many bytes."""

_TAIL = 256
_BLANKS = b" \0"
_SPACES = b" \t\n\v\f\r"


def text_end(data: Encoded, start: int, end: int) -> int:
    """Return where a text value ends if its trailing blanks and NULs are left out."""
    while end > start:
        begin = max(start, end - _TAIL)
        kept = bytes(data[begin:end]).rstrip(_BLANKS)
        if kept:
            return begin + len(kept)
        end = begin
    return start


def without_spaces(value: bytes) -> bytes:
    """Return a value without any white space of ASCII, wherever it stands."""
    return value.translate(None, _SPACES)


def padded_uid(value: bytes) -> bytes:
    """Return a UID value without white space and trailing NULs, padded to even length."""
    kept = without_spaces(value).rstrip(b"\0")
    return kept + b"\0" if len(kept) & 1 else kept


def swapped(value: bytes, word: int) -> bytes:
    """Return the value with the bytes of each word of 2, 4 or 8 in the opposite order.

    Bytes after the last whole word stay where they are.
    """
    if len(value) == word:
        return value[::-1]
    whole = len(value) - len(value) % word
    words = array(CODES[word], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]


def swapped_words(chunk: bytes | memoryview, word: int) -> memoryview:
    """Return a copy of whole words of 2, 4 or 8 bytes in the opposite byte order."""
    words = array(CODES[word])
    words.frombytes(chunk)
    words.byteswap()
    return memoryview(words).cast("B")
