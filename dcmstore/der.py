"""ASN.1 values in DER, read where they lie (ITU-T X.690 sections 8 and 10)."""

from collections.abc import Iterator
from typing import NamedTuple

INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
BMP_STRING = 0x1E
UTF8_STRING = 0x0C
SEQUENCE = 0x30
SET = 0x31
CONTEXT_0 = 0xA0

_LONGEST_IDENTIFIER = 64  # bytes; those in use have a dozen


class MalformedError(Exception):
    """The bytes are not what they should be."""


class Value(NamedTuple):
    """One value: the first byte of its tag (no other has a longer one here), and its content."""

    tag: int
    content: bytes

    def expect(self, tag: int) -> bytes:
        """Return the content of a value of this kind. Raises MalformedError for another."""
        if self.tag != tag:
            raise MalformedError(f"tag {self.tag:#04x} where {tag:#04x} belongs")
        return self.content

    def inside(self, tag: int = SEQUENCE) -> list["Value"]:
        """Return the values inside of a constructed one. Raises MalformedError."""
        return list(values(self.expect(tag)))


def values(data: bytes) -> Iterator[Value]:
    """Yield the values that follow each other in ``data``. Raises MalformedError."""
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise MalformedError("a value ends in its header")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 4 or at + size > len(data):
                raise MalformedError("a length that cannot be")
            length = int.from_bytes(data[at : at + size], "big")
            at += size
        if length > len(data) - at:
            raise MalformedError("a value is longer than what holds it")
        yield Value(tag, data[at : at + length])
        at += length


def first(data: bytes) -> Value:
    """Return the value that ``data`` begins with. Raises MalformedError."""
    for value in values(data):
        return value
    raise MalformedError("nothing where a value belongs")


def object_identifier(content: bytes) -> str:
    """Return an object identifier in dots, for example ``2.5.4.3``. Raises MalformedError."""
    if not content or content[-1] & 0x80 or len(content) > _LONGEST_IDENTIFIER:
        raise MalformedError("an object identifier that cannot be")
    parts, part = [], 0
    for byte in content:
        part = part << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(part)
            part = 0
    first = min(parts[0] // 40, 2)
    return ".".join(map(str, (first, parts[0] - 40 * first, *parts[1:])))


def bit_length(integer: bytes) -> int:
    """Return how many bits a positive integer has that is the content of an INTEGER."""
    return int.from_bytes(integer, "big").bit_length()
