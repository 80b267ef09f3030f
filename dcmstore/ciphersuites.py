"""The ciphersuites of TLS 1.2 and older that can be named, by both of their names.

IANA's names are those of the TLS Cipher Suites registry, without ``TLS_`` in front here; OpenSSL's
are those of openssl-ciphers(1).
"""

from collections.abc import Iterable, Mapping

# The ranking, weakest first: a server takes the last one that both sides know.
_TABLE = """
RSA_WITH_NULL_SHA                       NULL-SHA
RSA_WITH_3DES_EDE_CBC_SHA               DES-CBC3-SHA
RSA_WITH_AES_128_CBC_SHA                AES128-SHA
RSA_WITH_CAMELLIA_128_CBC_SHA           CAMELLIA128-SHA
RSA_WITH_AES_128_CBC_SHA256             AES128-SHA256
RSA_WITH_AES_128_GCM_SHA256             AES128-GCM-SHA256
RSA_WITH_CAMELLIA_256_CBC_SHA           CAMELLIA256-SHA
RSA_WITH_AES_256_CBC_SHA                AES256-SHA
RSA_WITH_AES_256_CBC_SHA256             AES256-SHA256
RSA_WITH_AES_256_GCM_SHA384             AES256-GCM-SHA384
DHE_DSS_WITH_AES_128_CBC_SHA            DHE-DSS-AES128-SHA
DHE_DSS_WITH_CAMELLIA_128_CBC_SHA       DHE-DSS-CAMELLIA128-SHA
DHE_RSA_WITH_AES_128_CBC_SHA            DHE-RSA-AES128-SHA
DHE_RSA_WITH_CAMELLIA_128_CBC_SHA       DHE-RSA-CAMELLIA128-SHA
DHE_DSS_WITH_AES_128_CBC_SHA256         DHE-DSS-AES128-SHA256
DHE_RSA_WITH_AES_128_CBC_SHA256         DHE-RSA-AES128-SHA256
DHE_DSS_WITH_AES_128_GCM_SHA256         DHE-DSS-AES128-GCM-SHA256
DHE_RSA_WITH_AES_128_GCM_SHA256         DHE-RSA-AES128-GCM-SHA256
ECDHE_ECDSA_WITH_AES_128_CBC_SHA        ECDHE-ECDSA-AES128-SHA
ECDHE_RSA_WITH_AES_128_CBC_SHA          ECDHE-RSA-AES128-SHA
ECDHE_ECDSA_WITH_AES_128_CBC_SHA256     ECDHE-ECDSA-AES128-SHA256
ECDHE_RSA_WITH_AES_128_CBC_SHA256       ECDHE-RSA-AES128-SHA256
ECDHE_ECDSA_WITH_AES_128_CCM            ECDHE-ECDSA-AES128-CCM
ECDHE_ECDSA_WITH_AES_128_CCM_8          ECDHE-ECDSA-AES128-CCM8
ECDHE_ECDSA_WITH_AES_128_GCM_SHA256     ECDHE-ECDSA-AES128-GCM-SHA256
ECDHE_RSA_WITH_AES_128_GCM_SHA256       ECDHE-RSA-AES128-GCM-SHA256
DHE_DSS_WITH_AES_256_CBC_SHA            DHE-DSS-AES256-SHA
DHE_RSA_WITH_AES_256_CBC_SHA            DHE-RSA-AES256-SHA
DHE_DSS_WITH_CAMELLIA_256_CBC_SHA       DHE-DSS-CAMELLIA256-SHA
DHE_RSA_WITH_CAMELLIA_256_CBC_SHA       DHE-RSA-CAMELLIA256-SHA
DHE_RSA_WITH_CHACHA20_POLY1305_SHA256   DHE-RSA-CHACHA20-POLY1305
DHE_DSS_WITH_AES_256_CBC_SHA256         DHE-DSS-AES256-SHA256
DHE_RSA_WITH_AES_256_CBC_SHA256         DHE-RSA-AES256-SHA256
DHE_DSS_WITH_AES_256_GCM_SHA384         DHE-DSS-AES256-GCM-SHA384
DHE_RSA_WITH_AES_256_GCM_SHA384         DHE-RSA-AES256-GCM-SHA384
ECDHE_ECDSA_WITH_AES_256_CBC_SHA        ECDHE-ECDSA-AES256-SHA
ECDHE_RSA_WITH_AES_256_CBC_SHA          ECDHE-RSA-AES256-SHA
ECDHE_ECDSA_WITH_AES_256_CBC_SHA384     ECDHE-ECDSA-AES256-SHA384
ECDHE_RSA_WITH_AES_256_CBC_SHA384       ECDHE-RSA-AES256-SHA384
ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 ECDHE-ECDSA-CHACHA20-POLY1305
ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 ECDHE-RSA-CHACHA20-POLY1305
ECDHE_ECDSA_WITH_AES_256_CCM            ECDHE-ECDSA-AES256-CCM
ECDHE_ECDSA_WITH_AES_256_CCM_8          ECDHE-ECDSA-AES256-CCM8
ECDHE_ECDSA_WITH_AES_256_GCM_SHA384     ECDHE-ECDSA-AES256-GCM-SHA384
ECDHE_RSA_WITH_AES_256_GCM_SHA384       ECDHE-RSA-AES256-GCM-SHA384
"""

PREFIX = "TLS_"

OPENSSL_NAMES: Mapping[str, str] = dict(line.split() for line in _TABLE.split("\n") if line)
"""From IANA's name to OpenSSL's, weakest first."""

_RANKS = {name: rank for rank, name in enumerate(OPENSSL_NAMES)}


def strongest_first(names: Iterable[str]) -> list[str]:
    """Return the suites in the order in which a server prefers them."""
    return sorted(names, key=_RANKS.__getitem__, reverse=True)


def does_not_encrypt(name: str) -> bool:
    """Whether everybody on the way can read what a suite protects."""
    return "_WITH_NULL_" in name


def uses_sha1(name: str) -> bool:
    """Whether records are authenticated with SHA-1."""
    return name.endswith("_SHA")


def discouraged(name: str, *, strictly: bool) -> list[str]:
    """Return what RFC 9325 (sections 4.1 and 4.2) has against a suite, or nothing.

    Not ``strictly``, static keys are the only objection.
    """
    reasons = []
    if name.startswith("RSA_"):
        reasons.append("RSA key transport")
    if strictly and name.startswith("DHE_"):
        reasons.append("Diffie-Hellman over finite fields")
    if strictly and "_CBC_" in name:
        reasons.append("CBC mode")
    return reasons


def available() -> frozenset[str]:
    """Return the suites that the TLS library has."""
    import ssl  # whoever parses a command line without TLS does not need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    there = {cipher["name"] for cipher in context.get_ciphers()}
    return frozenset(name for name, openssl in OPENSSL_NAMES.items() if openssl in there)


def cipher_string(names: Iterable[str]) -> str:
    """Return what ``SSLContext.set_ciphers`` takes for these suites, in their order.

    The library's own idea of what is too weak is switched off: the profiles have another.
    """
    return ":".join([*(OPENSSL_NAMES[name] for name in names), "@SECLEVEL=0"])
