"""What a TLS client asks for in its first message (RFC 8446 section 4.1.2; RFC 6066, RFC 7301)."""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_RECORD = Struct(">BHH")  # content type, version, length
_HANDSHAKE_RECORD, _CLIENT_HELLO = 22, 1
_HEADER_SIZE = 4  # of a handshake message: its type and three bytes of length
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0

MOST = 1 << 17
"""Bytes of records that are looked at; what OpenSSL takes is hardly more."""


class Wishes(NamedTuple):
    """The name of the wanted server, empty if there is none, and the offered protocols."""

    server_name: str
    protocols: tuple[bytes, ...]


class Listener:
    """Overhears the first message of a connection, and leaves all judgement of it to OpenSSL."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._message = bytearray()
        self._at = 0
        self._done = False

    def hear(self, data: memoryview) -> Wishes | None:
        """Take the next bytes from the client; return what it wants once that is known.

        None later on, and for anything else than a client's first message.
        """
        if self._done:
            return None
        self._records += data
        self._unpack()
        size = int.from_bytes(self._message[1:_HEADER_SIZE], "big")
        if len(self._message) < _HEADER_SIZE or len(self._message) < _HEADER_SIZE + size:
            self._done = self._done or len(self._records) > MOST
            return None
        self._done = True
        if self._message[0] != _CLIENT_HELLO:
            return None
        return wishes(bytes(self._message[_HEADER_SIZE : _HEADER_SIZE + size]))

    def _unpack(self) -> None:
        records = self._records
        while len(records) - self._at >= _RECORD.size:
            kind, _, length = _RECORD.unpack_from(records, self._at)
            if kind != _HANDSHAKE_RECORD:
                self._done = True
                return
            start = self._at + _RECORD.size
            if len(records) - start < length:
                return
            self._message += records[start : start + length]
            self._at = start + length


def wishes(body: bytes) -> Wishes | None:
    """Read the body of a ClientHello; None if it is malformed."""
    server_name = b""
    protocols: tuple[bytes, ...] = ()
    try:
        for kind, data in _extensions(memoryview(body)):
            if kind == _SERVER_NAME:
                names, _ = _vector(data, 2)
                if names and names[0] == _HOST_NAME:
                    server_name = bytes(_vector(names[1:], 2)[0])
            elif kind == _ALPN:
                protocols = tuple(_items(_vector(data, 2)[0]))
    except ValueError:
        return None
    return Wishes(server_name.decode("latin-1"), protocols)


def _extensions(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    rest = body[2 + 32 :]  # the version and 32 random bytes
    for width in (1, 2, 1):  # session, ciphersuites, compressions
        _, rest = _vector(rest, width)
    if not rest:
        return
    rest, _ = _vector(rest, 2)
    while rest:
        kind = int.from_bytes(rest[:2], "big")
        data, rest = _vector(rest[2:], 2)
        yield kind, data


def _items(data: memoryview) -> Iterator[bytes]:
    while data:
        item, data = _vector(data, 1)
        yield bytes(item)


def _vector(data: memoryview, width: int) -> tuple[memoryview, memoryview]:
    """Split data behind a vector with a length of so many bytes in front. Raises ValueError."""
    end = width + int.from_bytes(data[:width], "big")
    if len(data) < width or len(data) < end:
        raise ValueError("a vector is longer than what holds it")
    return data[width:end], data[end:]
