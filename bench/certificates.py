"""Certificates for the rows over TLS, made by openssl(1); both suites use the same."""

import subprocess
from pathlib import Path

from bench.peers import BenchError

# The newest that Debian's DCMTK has, too. With it both sides agree on TLS 1.3 and AES-256-GCM.
PROFILE = "--profile-bcp195-nd"
_KEY = ("-newkey", "rsa:2048", "-nodes")


def options(folder: Path, name: str) -> list[str]:
    """Options of a receiver or sender that shows a certificate of this name, and wants one.

    Raises BenchError when there is no openssl.
    """
    authority = folder / "authority.pem"
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    if not authority.exists():
        folder.mkdir(exist_ok=True)
        subject = ("-subj", "/CN=bench", "-days", "2")
        made = ("-keyout", str(folder / "authority.key"), "-out", str(authority))
        _openssl("req", "-x509", *_KEY, *subject, *made)
    if not certificate.exists():
        request = folder / f"{name}.csr"
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        issuer = ("-CA", str(authority), "-CAkey", str(folder / "authority.key"), "-CAcreateserial")
        signed = ("-in", str(request), "-out", str(certificate), "-days", "2")
        _openssl("x509", "-req", *issuer, *signed)
    return ["+tls", str(key), str(certificate), "+cf", str(authority), PROFILE]


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True)
    except OSError as error:
        raise BenchError(f"no openssl: {error.strerror}") from error
    if done.returncode:
        raise BenchError(f"openssl {arguments[0]}: {done.stderr.strip()}")
