"""What a TLS client asks for, overheard from its first bytes."""

import random
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmstore import clienthello
from dcmstore.clienthello import Listener, Wishes


def hello(name: str | None = None, *protocols: str) -> bytes:
    """Return what a client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if protocols:
        context.set_alpn_protocols(protocols)
    outgoing = ssl.MemoryBIO()
    link = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        link.do_handshake()
    return outgoing.read()


def heard(*pieces: bytes) -> Wishes | None:
    """Let a listener hear the pieces; all but the last must tell it nothing."""
    listener = Listener()
    for piece in pieces[:-1]:
        assert listener.hear(memoryview(piece)) is None
    return listener.hear(memoryview(pieces[-1]))


def test_nothing_is_asked_for() -> None:
    assert heard(hello()) == Wishes("", ())


def test_a_name_and_protocols() -> None:
    said = hello("pacs.example.org", "dicom", "h2")
    assert heard(said) == Wishes("pacs.example.org", (b"dicom", b"h2"))


def test_byte_by_byte() -> None:
    said = hello("pacs.example.org", "dicom")
    pieces = [said[at : at + 1] for at in range(len(said))]
    assert heard(*pieces) == Wishes("pacs.example.org", (b"dicom",))


def test_message_in_many_records() -> None:
    said = hello("pacs.example.org")
    body = said[5:]
    records = b"".join(b"\x16\x03\x01\x00\x01" + body[at : at + 1] for at in range(len(body)))
    assert heard(records) == Wishes("pacs.example.org", ())
    assert heard(b"\x16\x03\x01\x00\x00" + records) == Wishes("pacs.example.org", ())


def test_nothing_is_said_twice() -> None:
    listener = Listener()
    said = hello()
    assert listener.hear(memoryview(said)) is not None
    assert listener.hear(memoryview(said)) is None


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01\x00\x00\x00\x00\xcd" + bytes(205),
        b"\x15\x03\x01\x00\x02\x01\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",  # a ServerHello
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # an empty ClientHello
        b"",
    ],
)
def test_what_is_no_client_hello(said: bytes) -> None:
    assert heard(said) is None


def test_endless_messages_are_not_kept() -> None:
    listener = Listener()
    record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes(0x4000 - 4)
    for _ in range(20):
        assert listener.hear(memoryview(record)) is None
    assert len(listener._records) < clienthello.MOST + 2 * len(record)


def test_damaged_messages() -> None:
    said = hello("pacs.example.org", "dicom")
    dice = random.Random(4711)
    for length in range(len(said)):
        assert heard(said[:length]) is None
    for _ in range(2000):
        data = bytearray(said)
        data[dice.randrange(9, len(data))] = dice.randrange(256)
        heard(bytes(data))


@given(st.binary(max_size=200))
def test_rubbish(data: bytes) -> None:
    found = clienthello.wishes(data)
    assert found is None or isinstance(found, Wishes)
