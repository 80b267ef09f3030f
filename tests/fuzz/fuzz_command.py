"""Fuzz target of dcmstore.command.

Invariant: any bytes are a command set or raise PeerError, nothing else. What was decoded holds
nothing longer than a field may be. A request or response can be encoded again, and those bytes
decode to the same record (but for what is never sent); encoding that one gives the same bytes.

Run: python tests/fuzz/fuzz_command.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import sys

from dcmstore.command import (
    MAX_UID,
    CommandSet,
    EchoRequest,
    EchoResponse,
    OtherCommand,
    StoreRequest,
    StoreResponse,
    decode,
    encode,
)
from dcmstore.errors import PeerError


def fuzz_one(data: bytes) -> None:
    """Hold the invariant against one input."""
    first = outcome(data)
    if isinstance(first, PeerError):
        assert first.condition in ("0006:0203", "0006:020b"), first
        assert str(first).isprintable(), "nothing of the peer's bytes stands in it"
        return
    for value in first:
        assert value is None or isinstance(value, int) or len(value) <= MAX_UID
        assert not isinstance(value, int) or 0 <= value <= 0xFFFF
    raw = encode(first)
    second = decode(raw)
    assert second == sendable(first)
    assert encode(second) == raw


def outcome(data: bytes) -> CommandSet | PeerError:
    """Return what decoding returns or raises."""
    try:
        return decode(data)
    except PeerError as error:
        return error


def sendable(record: CommandSet) -> CommandSet:
    """Return the record as it comes back: the rest is only ever received."""
    match record:
        case StoreRequest():
            return record._replace(move_originator="", move_originator_id=None)
        case StoreResponse() | EchoResponse():
            return record._replace(has_data=False)
    return record


def seeds() -> list[bytes]:
    """Return one command set of each kind."""
    records: tuple[CommandSet, ...] = (
        StoreRequest(1, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),
        StoreResponse(1, 0xA700, "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),
        EchoRequest(2, "1.2.840.10008.1.1"),
        EchoResponse(2, 0, "1.2.840.10008.1.1"),
        OtherCommand(0x0020, True),
    )
    moved = b"\0\0\x30\x10\4\0\0\0PACS" + b"\0\0\x31\x10\2\0\0\0\5\0"
    return [*map(encode, records), encode(records[0]) + moved]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
