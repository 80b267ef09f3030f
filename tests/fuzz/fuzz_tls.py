"""Fuzz target of dcmstore.clienthello and dcmstore.certificates.

Invariant: the first byte chooses one of the two, the rest is what a peer says. The first message of
a client is understood or not, however it is cut into pieces, and what of it is kept is bounded. A
certificate is read or malformed, and nothing else comes of it; what was read can be logged.

Run: python tests/fuzz/fuzz_tls.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import ssl
import sys
from pathlib import Path

from dcmstore import certificates, clienthello, tlsdetails
from dcmstore.certificates import Certificate
from dcmstore.clienthello import Listener, Wishes
from dcmstore.der import MalformedError

_HELLO, _CERTIFICATE = 0, 1
_PIECE = 13


def fuzz_one(data: bytes) -> None:
    """Hold the invariant against one input."""
    if not data:
        return
    said = data[1:]
    if data[0] & 1 == _HELLO:
        listener = Listener()
        whole = listener.hear(memoryview(said))
        assert whole is None or isinstance(whole, Wishes)
        assert len(listener._message) <= len(said)
        assert _in_pieces(said) == whole
        clienthello.wishes(said)
        return
    try:
        found = certificates.parse(said)
    except MalformedError:
        return
    assert isinstance(found, Certificate)
    assert found.bits >= 0
    shown = tlsdetails.details("TLSv1.3", "SUITE", 128, "PROFILE", found)
    assert all(line.isprintable() for line in shown.split("\n"))


def _in_pieces(said: bytes) -> Wishes | None:
    listener = Listener()
    for at in range(0, len(said), _PIECE):
        found = listener.hear(memoryview(said[at : at + _PIECE]))
        if found is not None:
            return found
    return None


def seeds(certificate: Path) -> list[bytes]:
    """Return a client's first message, and a certificate that a file holds in PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["dicom", "h2"])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="pacs.example.org")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        hello = outgoing.read()
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text())
    return [bytes((_HELLO,)) + hello, bytes((_CERTIFICATE,)) + der]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
