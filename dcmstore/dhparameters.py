"""The group that a server offers for ephemeral Diffie-Hellman over finite fields."""

import logging
import re
import ssl

from dcmstore import der, keyfiles
from dcmstore.der import MalformedError

log = logging.getLogger("dcmtk.dcmtls")

_PARAMETERS = re.compile(rb"-----BEGIN (?:X9\.42 |)DH PARAMETERS-----([^-]*)-----END ")
_BITS = 2048
# The group ffdhe2048 (RFC 7919 appendix A.1).
FFDHE_2048 = b"""-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


def load(path: str, *, strict: bool) -> bytes:
    """Read parameters from a file, as PEM; the usual ones after having said why those are no good.

    ``strict`` refuses a group that is too short, instead of saying so.
    """
    try:
        pem = keyfiles.read(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with keyfiles.as_file(pem) as name:
            context.load_dh_params(name)
        prime = der.first(keyfiles.decoded(_PARAMETERS, pem)).inside()[0]
        bits = der.bit_length(prime.expect(der.INTEGER))
    except (OSError, MalformedError, IndexError):
        bits = 0
    if 0 < bits < _BITS:
        log.warning(
            "Key length of Diffie-Hellman parameter file too short: RFC 9325 %s at least %d bits,"
            " but the key in file '%s' is only %d bits.",
            "requires" if strict else "recommends",
            _BITS,
            path,
            bits,
        )
        bits = 0 if strict else bits
    if not bits:
        log.warning("unable to load temporary DH parameter file '%s', ignoring", path)
        return FFDHE_2048
    return pem
