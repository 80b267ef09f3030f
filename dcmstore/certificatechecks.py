"""Which certificates are too weak, for a security profile or for any (RFC 9325 section 4.5)."""

from collections.abc import Iterator
from typing import NamedTuple

from dcmstore.certificates import DSA, EC, RSA, Certificate
from dcmstore.tlsprofiles import DEFAULT, MODIFIED

_BROKEN = ("MD2", "MD4", "MD5")
_WEAK = ("SHA1", "SHA224")
_RSA_BITS = 2048
_EC_BITS = 224
_EC_BITS_MODIFIED = 256


class Weakness(NamedTuple):
    """What speaks against a certificate; ``refused`` says that it may not be used."""

    refused: bool
    text: str


def weaknesses(
    certificate: Certificate, what: str, profile: str, *, ours: bool, of_server: bool
) -> Iterator[Weakness]:
    """Yield what speaks against a certificate.

    ``what`` is the certificate in words, ``profile`` the name of the option; ``ours`` says that it
    is this side's own, ``of_server`` that the server shows it as its own (and no issuer's).
    """
    modified = profile == MODIFIED
    if certificate.hash in _BROKEN:
        yield Weakness(True, f"Weak certificate hash key: {what} uses '{certificate.signature}'.")
    elif certificate.hash in _WEAK:
        yield Weakness(
            modified,
            f"Certificate hash key not SHA-256: RFC 9325 {_verb(modified)} the use of SHA-256"
            f" for {certificate.key} certificates, but {what} uses '{certificate.signature}'.",
        )
    if certificate.key == RSA and certificate.bits < _RSA_BITS:
        refused = modified or (profile == DEFAULT and of_server)
        keys = "server RSA keys" if refused and of_server else "RSA keys"
        yield _short(certificate, what, refused, _RSA_BITS, keys)
    elif certificate.key == EC and certificate.bits < (_EC_BITS_MODIFIED if modified else _EC_BITS):
        least = _EC_BITS_MODIFIED if modified else _EC_BITS
        yield _short(certificate, what, modified, least, "EC keys")
    elif certificate.key == DSA and ours:
        refused = profile in (DEFAULT, MODIFIED)
        yield Weakness(
            refused,
            f"DSA public key: RFC 9325 {_verb(refused)} RSA or EC keys,"
            f" but the key in {what} is a DSA key.",
        )


def _short(certificate: Certificate, what: str, refused: bool, least: int, keys: str) -> Weakness:
    return Weakness(
        refused,
        f"Key length of {certificate.key} public key too short: RFC 9325 {_verb(refused)}"
        f" at least {least} bits for {keys}, but the key in {what}"
        f" is only {certificate.bits} bits.",
    )


def _verb(refused: bool) -> str:
    return "requires" if refused else "recommends"
