"""Fuzz target of dcmstore.pdu.

Invariant: the first byte is a PDU type and the rest a body of less than 60,000 bytes. Decoding
ends in a PDU or in PeerError, nothing else. A PDU that was decoded can be encoded, and those
bytes decode to the same PDU; encoding that one again gives the same bytes.

Run: python tests/fuzz/fuzz_pdu.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import sys

from dcmstore.errors import PeerError
from dcmstore.pdu import (
    PDU,
    PDU_HEADER,
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ExtendedNegotiation,
    PData,
    PresentationContext,
    PresentationDataValue,
    ReleaseReply,
    ReleaseRequest,
    RoleSelection,
    UserIdentity,
    decode,
    encode,
)

LONGEST = 60_000  # longer ones may not fit again: items that were absent are written as empty


def fuzz_one(data: bytes) -> None:
    """Hold the invariant against one input."""
    if not data:
        return
    try:
        first = decode(data[0], data[1:LONGEST])
    except PeerError:
        return
    raw = encode(first)
    pdu_type, length = PDU_HEADER.unpack_from(raw)
    assert pdu_type == data[0]
    assert length == len(raw) - PDU_HEADER.size
    second = decode(pdu_type, raw[PDU_HEADER.size :])
    assert second == first
    assert encode(second) == raw


def seeds() -> list[bytes]:
    """Return one input for each PDU type, with every item in it."""
    roles = (RoleSelection("1.2.3", True, False),)
    extended = (ExtendedNegotiation("1.2.3", b"\1"),)
    pdus: tuple[PDU, ...] = (
        AssociateRequest(
            "CALLED",
            "CALLING",
            (PresentationContext(1, "1.2.3", ("1.2.4", "1.2.5")),),
            16384,
            "1.2.6",
            "VERSION",
            roles=roles,
            extended=extended,
            user_identity=UserIdentity(2, True, b"user", b"password"),
        ),
        AssociateAccept(
            "CALLED",
            "CALLING",
            (ContextResult(1, 0, "1.2.4"), ContextResult(3, 3, "")),
            16384,
            "1.2.6",
            "VERSION",
            roles=roles,
            extended=extended,
            user_identity_response=b"yes",
        ),
        AssociateReject(1, 1, 1),
        PData((PresentationDataValue(1, 3, b"command"), PresentationDataValue(1, 2, b"data"))),
        ReleaseRequest(),
        ReleaseReply(),
        Abort(2, 1),
    )
    return [raw[:1] + raw[PDU_HEADER.size :] for raw in map(encode, pdus)]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
