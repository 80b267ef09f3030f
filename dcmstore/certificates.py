"""What has to be known of X.509 certificates (RFC 5280 section 4, RFC 3279, RFC 5480)."""

from typing import NamedTuple

from dcmstore import der
from dcmstore.der import MalformedError, Value

# Signature algorithms: their usual names, and what they hash with. RFC 3279, 4055, 5758, 8410.
_SIGNATURES = {
    "1.2.840.113549.1.1.2": ("RSA-MD2", "MD2"),
    "1.2.840.113549.1.1.3": ("RSA-MD4", "MD4"),
    "1.2.840.113549.1.1.4": ("RSA-MD5", "MD5"),
    "1.3.14.3.2.3": ("RSA-MD5", "MD5"),
    "1.2.840.113549.1.1.5": ("RSA-SHA1", "SHA1"),
    "1.3.14.3.2.29": ("RSA-SHA1", "SHA1"),
    "1.2.840.113549.1.1.14": ("RSA-SHA224", "SHA224"),
    "1.2.840.113549.1.1.11": ("RSA-SHA256", "SHA256"),
    "1.2.840.113549.1.1.12": ("RSA-SHA384", "SHA384"),
    "1.2.840.113549.1.1.13": ("RSA-SHA512", "SHA512"),
    "1.2.840.10040.4.3": ("DSA-SHA1", "SHA1"),
    "2.16.840.1.101.3.4.3.1": ("DSA-SHA224", "SHA224"),
    "2.16.840.1.101.3.4.3.2": ("DSA-SHA256", "SHA256"),
    "1.2.840.10045.4.1": ("ECDSA-SHA1", "SHA1"),
    "1.2.840.10045.4.3.1": ("ECDSA-SHA224", "SHA224"),
    "1.2.840.10045.4.3.2": ("ECDSA-SHA256", "SHA256"),
    "1.2.840.10045.4.3.3": ("ECDSA-SHA384", "SHA384"),
    "1.2.840.10045.4.3.4": ("ECDSA-SHA512", "SHA512"),
    "1.3.101.112": ("Ed25519", "SHA512"),
    "1.3.101.113": ("Ed448", "SHAKE256"),
}
_RSA_PSS = "1.2.840.113549.1.1.10"
_PSS_HASHES = {
    "1.3.14.3.2.26": "SHA1",
    "2.16.840.1.101.3.4.2.4": "SHA224",
    "2.16.840.1.101.3.4.2.1": "SHA256",
    "2.16.840.1.101.3.4.2.2": "SHA384",
    "2.16.840.1.101.3.4.2.3": "SHA512",
}

RSA, DSA, EC = "RSA", "DSA", "EC"
_KEYS = {
    "1.2.840.113549.1.1.1": RSA,
    _RSA_PSS: RSA,
    "1.2.840.10040.4.1": DSA,
    "1.2.840.10045.2.1": EC,
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}

_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LARGEST_PRIME_FIELD = 521  # of the common curves the only one that is no multiple of 8 bits


class Certificate(NamedTuple):
    """A certificate; texts are as its issuer wrote them.

    ``subject`` and ``issuer`` are like ``/C=DE/O=Clinic/CN=ct1``; times are like ``Nov 26
    11:04:51 2026 GMT``. ``bits`` is the length of the key, ``hash`` what the signature hashes
    with, for example ``SHA256``; 0 and empty if that is not known.
    """

    version: int
    serial: int
    signature: str
    hash: str
    issuer: str
    not_before: str
    not_after: str
    subject: str
    key: str
    bits: int


def parse(data: bytes) -> Certificate:
    """Read a certificate in DER, whatever may follow it. Raises MalformedError."""
    try:
        return _certificate(der.first(data))
    except (IndexError, ValueError):
        raise MalformedError("parts are missing, or are none that belong there") from None


def _certificate(whole: Value) -> Certificate:
    signed, algorithm, _ = whole.inside()
    fields = signed.inside()
    version = 1
    if fields[0].tag == der.CONTEXT_0:
        version += int.from_bytes(fields[0].inside(der.CONTEXT_0)[0].expect(der.INTEGER), "big")
        del fields[0]
    serial, _, issuer, validity, subject, public_key = fields[:6]
    not_before, not_after = map(_time, validity.inside())
    signature, hashed = _signature(algorithm)
    key, bits = _key(public_key)
    return Certificate(
        version,
        int.from_bytes(serial.expect(der.INTEGER), "big", signed=True),
        signature,
        hashed,
        _name(issuer),
        not_before,
        not_after,
        _name(subject),
        key,
        bits,
    )


def _signature(algorithm: Value) -> tuple[str, str]:
    identifier, *parameters = algorithm.inside()
    oid = der.object_identifier(identifier.expect(der.OBJECT_IDENTIFIER))
    if oid != _RSA_PSS:
        return _SIGNATURES.get(oid, (oid, ""))
    hashed = "SHA1"  # by default (RFC 4055 section 3.1)
    for parameter in parameters[0].inside():
        if parameter.tag == der.CONTEXT_0:
            chosen = parameter.inside(der.CONTEXT_0)[0].inside()[0]
            hash_oid = der.object_identifier(chosen.expect(der.OBJECT_IDENTIFIER))
            hashed = _PSS_HASHES.get(hash_oid, "")
    return f"RSA-PSS-{hashed}", hashed


def _key(info: Value) -> tuple[str, int]:
    algorithm, bit_string = info.inside()
    identifier, *parameters = algorithm.inside()
    oid = der.object_identifier(identifier.expect(der.OBJECT_IDENTIFIER))
    key = _KEYS.get(oid, oid)
    content = bit_string.expect(der.BIT_STRING)[1:]
    if key == RSA:
        modulus = der.first(content).inside()[0]
        return key, der.bit_length(modulus.expect(der.INTEGER))
    if key == DSA:
        if not parameters or parameters[0].tag != der.SEQUENCE:
            # They are the issuer's (RFC 3279 section 2.3.2).
            return key, 0
        return key, der.bit_length(parameters[0].inside()[0].expect(der.INTEGER))
    if key == EC:
        # A point is one coordinate, or two and no sign (SEC 1 section 2.3.3).
        coordinate = len(content) - 1 if content[0] in (2, 3) else (len(content) - 1) // 2
        return key, min(coordinate * 8, _LARGEST_PRIME_FIELD)
    return key, len(content) * 8


def _name(name: Value) -> str:
    """Write a distinguished name in the order in which it stands there."""
    parts = []
    for relative in name.inside():
        for attribute in relative.inside(der.SET):
            kind, value = attribute.inside()
            oid = der.object_identifier(kind.expect(der.OBJECT_IDENTIFIER))
            parts.append(f"/{_NAMES.get(oid, oid)}={_text(value)}")
    return "".join(parts)


def _text(value: Value) -> str:
    if value.tag == der.UTF8_STRING:
        return value.content.decode("utf-8", "replace")
    if value.tag == der.BMP_STRING:
        return value.content.decode("utf-16-be", "replace")
    return value.content.decode("latin-1")


def _time(value: Value) -> str:
    digits = value.content.decode("latin-1")
    if value.tag == der.UTC_TIME:
        # Years from 50 on belong to the last century (RFC 5280 section 4.1.2.5.1).
        digits = ("20" if digits < "5" else "19") + digits
    elif value.tag != der.GENERALIZED_TIME:
        raise MalformedError("a time that is none")
    if not digits[:14].isdecimal() or not 1 <= int(digits[4:6]) <= 12:
        raise MalformedError("a time that is none")
    month = _MONTHS[int(digits[4:6]) - 1]
    clock = f"{digits[8:10]}:{digits[10:12]}:{digits[12:14]}"
    return f"{month} {int(digits[6:8]):2} {clock} {digits[:4]} GMT"
