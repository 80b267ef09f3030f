"""A TLS connection spelled out for the log, as the reference does it."""

from dcmstore.certificates import Certificate
from dcmstore.text import printable

_WIDTH = 65
_LONGEST_SERIAL = 160
"""Bits of a serial number (RFC 5280 section 4.1.2.2). Python writes no endless one in decimal."""


def details(version: str, suite: str, bits: int, profile: str, peer: Certificate | None) -> str:
    """Return the lines about a connection; ``peer`` is a certificate that was verified."""
    lines = [
        " BEGIN TLS CONNECTION DETAILS ".center(_WIDTH, "="),
        "Transport connection: TLS over TCP/IP",
        f"  Protocol    : {version}",
        f"  Ciphersuite : {suite}, encryption: {bits} bits",
        f"  Profile     : {profile}",
    ]
    if peer is None:
        lines.append("Peer did not provide a certificate or certificate verification is disabled.")
    else:
        lines += (
            f"Peer X.509v{peer.version} Certificate",
            f"  Subject     : {printable(peer.subject)}",
            f"  Issued by   : {printable(peer.issuer)}",
            f"  Serial no.  : {_serial(peer.serial)}",
            f"  Validity    : not before {peer.not_before}, not after {peer.not_after}",
            f"  Public key  : {peer.key}, {peer.bits} bits",
            f"  Signature   : {peer.signature}",
        )
    lines.append(" END TLS CONNECTION DETAILS ".center(_WIDTH, "="))
    return "\n".join(lines)


def _serial(number: int) -> str:
    return str(number) if number.bit_length() <= _LONGEST_SERIAL else f"{number:#x}"
