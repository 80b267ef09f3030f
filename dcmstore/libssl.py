"""What Python's ssl cannot say to OpenSSL, said through its configuration (config(5)).

A section that is called the system's default holds for each TLS context made from then on. It is
read from memory, by the library that Python's ssl is linked with. Where that library is built
into the interpreter, or is not OpenSSL, its own defaults stay.
"""

import ctypes
import logging
import os
import ssl

log = logging.getLogger("dcmtk.dcmtls")

# In order of preference. Names are those of `SSLContext.set_ecdh_curve`.
_CURVES = (
    *("prime256v1", "secp256k1", "secp384r1", "secp521r1"),
    *("sect283k1", "sect283r1", "sect409k1", "sect409r1", "sect571k1", "sect571r1"),
    *("brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1"),
)

# Of the reference version 3.6.7 takes the last two, and 3.7.0 does not: a receiver may have such a
# certificate, and its own sender would be turned away.
_SIGNATURES = ":".join(
    (
        *(
            f"{key}+{hashed}"
            for key in ("RSA", "RSA-PSS", "DSA", "ECDSA")
            for hashed in ("SHA256", "SHA384", "SHA512")
        ),
        "ed25519",
        "ed448",
    )
)


def set_defaults(*, client: bool, suites_1_3: str) -> bool:
    """Set curves, for a client signature algorithms, and if not empty the suites of TLS 1.3.

    They hold for contexts made from now on. Returns whether that could be done.
    """
    lines = [f"Groups = {':'.join(_known_curves())}"]
    if client:
        lines.append(f"SignatureAlgorithms = {_SIGNATURES}")
    if suites_1_3:
        lines.append(f"Ciphersuites = {suites_1_3}")
    text = "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = ours\n[ours]\n"
    done = _configure((text + "\n".join(lines) + "\n").encode())
    if not done:
        log.debug("this build of Python does not let its TLS library be configured")
    return done


def _known_curves() -> list[str]:
    """Return the curves that the library has; one that it has not spoils the whole list."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known = []
    for name in _CURVES:
        try:
            context.set_ecdh_curve(name)
        except (ValueError, ssl.SSLError):
            continue
        known.append(name)
    return known


def _configure(text: bytes) -> bool:
    """Have OpenSSL read a configuration (CONF_modules_load_file(3)); 1 says that it did."""
    import _ssl

    fd = os.memfd_create("openssl.cnf", os.MFD_CLOEXEC)
    try:
        os.write(fd, text)
        # Searched by way of Python's module, a name is found in the very library that it uses.
        library = ctypes.CDLL(_ssl.__file__)
        load = library.CONF_modules_load_file
        load.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong)
        load.restype = ctypes.c_int
        return bool(load(f"/proc/self/fd/{fd}".encode(), None, 0) == 1)
    except (AttributeError, OSError):
        # Built in: no file of its own, or no such name in it.
        return False
    finally:
        os.close(fd)
