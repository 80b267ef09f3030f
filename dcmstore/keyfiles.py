"""Private keys, certificates and revocation lists: from their files into TLS contexts.

All of them become PEM (RFC 7468) in memory, from where contexts can be made again and again,
whatever has happened to the files or to the right to read them meanwhile.
"""

import base64
import contextlib
import errno
import logging
import os
import re
import ssl
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dcmstore import der, tlsreasons
from dcmstore.der import MalformedError
from dcmstore.passphrase import NoPassphraseError, Passphrase

log = logging.getLogger("dcmtk.dcmtls")

_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 |TRUSTED |)CERTIFICATE-----([^-]*)-----END ")
_KEY_LABEL = re.compile(b"-----BEGIN ([A-Z ]*)PRIVATE KEY-----")
_LIST = re.compile(rb"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----")

_MOST = 1 << 24  # bytes of a file
_PIECE = 1 << 16

# OpenSSL's errors about private keys that Python's ssl does not pass on.
_NO_START_LINE = "OpenSSL error 0480006c: no start line"
_BAD_DECRYPT = "OpenSSL error 1c800064: bad decrypt"
_UNSUPPORTED = "OpenSSL error 1e08010c: unsupported"

# What SSL_CTX_use_PrivateKey and SSL_CTX_check_private_key say of a key that is good, and belongs
# to another certificate.
_MISMATCHES = frozenset(("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"))

# A certificate whose key nobody has: no private key can be loaded without one.
_NOBODYS = b"""-----BEGIN CERTIFICATE-----
MIIBCzCBsgIBATAKBggqhkjOPQQDAjARMQ8wDQYDVQQDDAZub2JvZHkwIBcNMjYx
MTI2MTExODI4WhgPMjEyNjExMDIxMTE4MjhaMBExDzANBgNVBAMMBm5vYm9keTBZ
MBMGByqGSM49AgEGCCqGSM49AwEHA0IABLKpvBh+SitjuUOF08SuKKsvwCjDBqXU
25df8XA0z2I/MFiVIoxRDCV7Afm0521lQgebhvEX2aCmlvmRz81Bh1UwCgYIKoZI
zj0EAwIDSAAwRQIhANkbrC5aE9FQZdPRLX+k1Lx4MzEl5Zl8qcqOt4e4NPWyAiAS
bE91U/JkrcirLMTjbgQ6frGX0RiAfUAavtgWN51GQw==
-----END CERTIFICATE-----
"""


class KeyFileError(Exception):
    """A file cannot be used; the text is the reference's line."""


class Files(NamedTuple):
    """What the files hold, as PEM; ``key`` and ``chain`` are empty for a client without them.

    ``chain`` begins with the certificate that belongs to the key. ``trusted`` and ``revoked`` are
    certificates and revocation lists, an item for each file; ``folders`` are directories that
    openssl-rehash(1) has prepared.
    """

    key: bytes
    chain: bytes
    trusted: tuple[bytes, ...]
    revoked: tuple[bytes, ...]
    folders: tuple[str, ...]

    def certificate(self) -> bytes:
        """Return this side's certificate, in DER. Raises MalformedError."""
        return decoded(_CERTIFICATE, self.chain)


class Names(NamedTuple):
    """The files' names, and whether they hold DER; ``key`` and ``chain`` may be empty."""

    key: str
    chain: str
    trusted: Sequence[str]
    revoked: Sequence[str]
    folders: Sequence[str]
    der: bool


def load(names: Names, passphrase: Passphrase, *, strict: bool) -> Files:
    """Read all files, and try what they hold.

    Raises KeyFileError for the private key and the certificate. Authorities and lists that are no
    good are left out, or raise it, too, where ``strict`` is set: whoever has others in use is
    better off with those.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    trusted = []
    for path in names.trusted:
        try:
            pem = _pem(path, "CERTIFICATE", names.der)
            _add(context, pem)
        except OSError as error:
            log.error("%s", tlsreasons.of_file(error))
            _leave_out(f"unable to load certificate file '{path}'", strict)
        else:
            trusted.append(pem)
    revoked = []
    for path in names.revoked:
        try:
            data = _pem(path, "X509 CRL", names.der)
            # A certificate that stands beside a list is not trusted for that.
            pem = b"\n".join(_LIST.findall(data))
            _add(context, pem or data)
            reason = "" if pem else _NO_START_LINE
        except OSError as error:
            reason = tlsreasons.of_file(error)
        if reason:
            log.error("%s", reason)
            _leave_out(f"unable to load CRL file '{path}'", strict)
        else:
            revoked.append(pem)
    folders = []
    for folder in names.folders:
        try:
            # It is not looked into before a peer's certificate needs it.
            context.load_verify_locations(capath=folder)
        except OSError as error:
            log.error("%s", tlsreasons.of_file(error))
            _leave_out(f"unable to load certificates from directory '{folder}'", strict)
        else:
            folders.append(folder)
    key = chain = b""
    if names.key:
        key = _load_key(context, names, passphrase)
        chain = _load_chain(context, names, key, passphrase)
    return Files(key, chain, tuple(trusted), tuple(revoked), tuple(folders))


def _leave_out(what: str, strict: bool) -> None:
    if strict:
        raise KeyFileError(what)
    log.warning("%s, ignoring", what)


def fill(context: ssl.SSLContext, files: Files, passphrase: Passphrase) -> None:
    """Put what the files hold into a context."""
    if files.key:
        _use(context, files.chain, files.key, passphrase)
    for pem in (*files.trusted, *files.revoked):
        _add(context, pem)
    for folder in files.folders:
        context.load_verify_locations(capath=folder)


def _load_key(context: ssl.SSLContext, names: Names, passphrase: Passphrase) -> bytes:
    pem = b""
    try:
        pem = _key_pem(names.key) if names.der else read(names.key)
        _use(context, _NOBODYS, pem, passphrase)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            return pem
        reason = _of_key(pem, error)
    except OSError as error:
        reason = tlsreasons.of_file(error)
    except MalformedError:
        reason = _UNSUPPORTED
    except (NoPassphraseError, ValueError) as error:
        reason = str(error)
    else:
        return pem
    log.error("%s", reason)
    raise KeyFileError(f"000b:0004 Unable to load private TLS key from '{names.key}'")


def _of_key(pem: bytes, error: ssl.SSLError) -> str:
    """Return what is wrong with a key; of that, Python's ssl keeps but the fact to itself."""
    label = _KEY_LABEL.search(pem)
    if not label:
        return _NO_START_LINE
    if b"ENCRYPTED" in label[1] or b"Proc-Type: 4,ENCRYPTED" in pem:
        return _BAD_DECRYPT
    return tlsreasons.of_file(error)


def _load_chain(context: ssl.SSLContext, names: Names, key: bytes, passphrase: Passphrase) -> bytes:
    pem = b""
    try:
        pem = _pem(names.chain, "CERTIFICATE", names.der)
        _use(context, pem, key, passphrase)
    except ssl.SSLError as error:
        if error.reason in _MISMATCHES:
            raise KeyFileError(
                f"000b:0006 Private key '{names.key}' and certificate '{names.chain}' do not match"
            ) from None
        found = _CERTIFICATE.search(pem)
        reason = tlsreasons.of_file(error) if found else _NO_START_LINE
    except OSError as error:
        reason = tlsreasons.of_file(error)
    else:
        return pem
    log.error("%s", reason)
    raise KeyFileError(f"000b:0005 Unable to load certificate from '{names.chain}'")


def _use(context: ssl.SSLContext, chain: bytes, key: bytes, passphrase: Passphrase) -> None:
    with as_file(chain) as chain_path, as_file(key) as key_path:
        context.load_cert_chain(chain_path, key_path, passphrase)


def _add(context: ssl.SSLContext, pem: bytes) -> None:
    with as_file(pem) as path:
        context.load_verify_locations(path)


@contextlib.contextmanager
def as_file(data: bytes) -> Iterator[str]:
    """Give bytes a name, for functions that take nothing else; but no place in a file system."""
    fd = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _pem(path: str, label: str, is_der: bool) -> bytes:
    data = read(path)
    return _encode(label, data) if is_der else data


def _encode(label: str, data: bytes) -> bytes:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n".encode()


def decoded(pattern: re.Pattern[bytes], pem: bytes) -> bytes:
    """Return what stands in the first block of PEM of a kind. Raises MalformedError."""
    found = pattern.search(pem)
    if not found:
        raise MalformedError("no block of that kind")
    try:
        return base64.b64decode(found[1])
    except ValueError:
        raise MalformedError("no base64") from None


def _key_pem(path: str) -> bytes:
    """Read a private key in DER, of which PEM wants the kind to be told. Raises MalformedError."""
    data = read(path)
    tags = [value.tag for value in der.first(data).inside()]
    if tags[:2] == [der.SEQUENCE, der.OCTET_STRING]:
        label = "ENCRYPTED PRIVATE KEY"  # PKCS #8 (RFC 5958)
    elif tags[:2] == [der.INTEGER, der.SEQUENCE]:
        label = "PRIVATE KEY"
    elif tags[:2] == [der.INTEGER, der.OCTET_STRING]:
        label = "EC PRIVATE KEY"  # RFC 5915
    elif tags == [der.INTEGER] * 9:
        label = "RSA PRIVATE KEY"  # PKCS #1 (RFC 8017 appendix A.1.2)
    elif tags == [der.INTEGER] * 6:
        label = "DSA PRIVATE KEY"
    else:
        raise MalformedError("not a private key")
    return _encode(label, data)


def read(path: str) -> bytes:
    """Read a file. Raises OSError, also for one that is too large to be what it should be."""
    data = b""
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            data += piece
            if len(data) > _MOST:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data
