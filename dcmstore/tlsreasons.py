"""What the TLS library says when something fails, as the reference's conditions and words."""

import os
import ssl

from dcmstore.errors import PeerError

# Reasons of its part for TLS, as sslerr.h of OpenSSL numbers them; they do not change.
_NUMBERS = {
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY": 291,
    "BAD_EXTENSION": 110,
    "BAD_PACKET": 240,
    "BAD_RECORD_TYPE": 443,
    "BAD_SIGNATURE": 123,
    "CALLBACK_FAILED": 234,
    "CCS_RECEIVED_EARLY": 133,
    "CERTIFICATE_VERIFY_FAILED": 134,
    "DATA_LENGTH_TOO_LONG": 146,
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": 281,
    "DH_KEY_TOO_SMALL": 394,
    "DIGEST_CHECK_FAILED": 149,
    "EE_KEY_TOO_SMALL": 399,
    "EXCESSIVE_MESSAGE_SIZE": 152,
    "HTTPS_PROXY_REQUEST": 155,
    "HTTP_REQUEST": 156,
    "INAPPROPRIATE_FALLBACK": 373,
    "INVALID_ALERT": 205,
    "LENGTH_MISMATCH": 159,
    "NO_APPLICATION_PROTOCOL": 235,
    "NO_CIPHERS_AVAILABLE": 181,
    "NO_PROTOCOLS_AVAILABLE": 191,
    "NO_RENEGOTIATION": 339,
    "NO_SHARED_CIPHER": 193,
    "NO_SHARED_SIGNATURE_ALGORITHMS": 376,
    "NO_SUITABLE_GROUPS": 295,
    "NO_SUITABLE_KEY_SHARE": 101,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": 118,
    "PACKET_LENGTH_TOO_LONG": 198,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": 199,
    "RECORD_LAYER_FAILURE": 313,
    "RECORD_TOO_SMALL": 298,
    "TOO_MANY_WARN_ALERTS": 409,
    "UNEXPECTED_EOF_WHILE_READING": 294,
    "UNEXPECTED_MESSAGE": 244,
    "UNKNOWN_PROTOCOL": 252,
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": 338,
    "UNSUPPORTED_PROTOCOL": 258,
    "VERSION_TOO_LOW": 396,
    "WRONG_CIPHER_RETURNED": 261,
    "WRONG_SIGNATURE_TYPE": 370,
    "WRONG_SSL_VERSION": 266,
    "WRONG_VERSION_NUMBER": 267,
}
# An alert that came in is a reason, too: a thousand more than its number (RFC 8446 section 6).
_ALERTS = {
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": 10,
    "SSLV3_ALERT_BAD_RECORD_MAC": 20,
    "TLSV1_ALERT_DECRYPTION_FAILED": 21,
    "TLSV1_ALERT_RECORD_OVERFLOW": 22,
    "SSLV3_ALERT_DECOMPRESSION_FAILURE": 30,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": 40,
    "SSLV3_ALERT_NO_CERTIFICATE": 41,
    "SSLV3_ALERT_BAD_CERTIFICATE": 42,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": 43,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": 44,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": 45,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": 46,
    "SSLV3_ALERT_ILLEGAL_PARAMETER": 47,
    "TLSV1_ALERT_UNKNOWN_CA": 48,
    "TLSV1_ALERT_ACCESS_DENIED": 49,
    "TLSV1_ALERT_DECODE_ERROR": 50,
    "TLSV1_ALERT_DECRYPT_ERROR": 51,
    "TLSV1_ALERT_EXPORT_RESTRICTION": 60,
    "TLSV1_ALERT_PROTOCOL_VERSION": 70,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": 71,
    "TLSV1_ALERT_INTERNAL_ERROR": 80,
    "TLSV1_ALERT_INAPPROPRIATE_FALLBACK": 86,
    "TLSV1_ALERT_USER_CANCELLED": 90,
    "TLSV1_ALERT_NO_RENEGOTIATION": 100,
    "TLSV13_ALERT_MISSING_EXTENSION": 109,
    "TLSV1_UNSUPPORTED_EXTENSION": 110,
    "TLSV1_CERTIFICATE_UNOBTAINABLE": 111,
    "TLSV1_UNRECOGNIZED_NAME": 112,
    "TLSV1_BAD_CERTIFICATE_STATUS_RESPONSE": 113,
    "TLSV1_BAD_CERTIFICATE_HASH_VALUE": 114,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": 116,
}

_BASE = 0x800

# From OpenSSL 3.2 on the reason itself stands in an error before, which Python does not show.
_VAGUE = {"RECORD_LAYER_FAILURE": "a record is damaged, or too long"}

# How OpenSSL packs errors of its own (err.h): the number of the part above 23 bits of reason.
_LIBRARIES = {"PEM": 9, "X509": 11, "SSL": 20}
_SYSTEM = 0x80000000  # and those of errno(3)


def error(name: str, more: str = "") -> PeerError:
    """Return what a reason of the TLS library means for the association.

    ``name`` is as ``ssl.SSLError.reason`` has it; ``more`` is added in parentheses.
    """
    number = 1000 + _ALERTS[name] if name in _ALERTS else _NUMBERS.get(name, 0)
    text = name.lower().replace("_", " ")
    return PeerError(f"000b:{_BASE + number:04x}", f"TLS error: {text}{more and f' ({more})'}")


def failure(cause: ssl.SSLError, more: str = "") -> PeerError:
    """Return what an error of the TLS library means for the association."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        more = cause.verify_message
    name = cause.reason or _words(cause).upper().replace(" ", "_")
    return error(name, more or _VAGUE.get(name, ""))


def of_file(cause: OSError) -> str:
    """Return the line that tells why a file cannot be used."""
    number = cause.errno or 0
    if isinstance(cause, ssl.SSLError):
        library = _LIBRARIES.get(cause.library, 0)
        return _line(library << 23 | number & 0x7FFFFF, _words(cause))
    return _line(_SYSTEM | number, os.strerror(number))


def _line(number: int, reason: str) -> str:
    return f"OpenSSL error {number:08x}: {reason}"


def _words(cause: ssl.SSLError) -> str:
    """Return the reason without what Python puts around it: ``[SSL: NAME] reason (_ssl.c:1)``."""
    return str(cause.args[-1]).rpartition("] ")[2].partition(" (_ssl.c")[0]
