"""The security profiles (PS3.15 annex B): which versions of TLS and which ciphersuites."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from dcmstore import ciphersuites
from dcmstore.ciphersuites import PREFIX

log = logging.getLogger("dcmtk.dcmtls")

# TLS versions, as they stand in ssl.TLSVersion (and on the wire).
TLS_1_0, TLS_1_2, TLS_1_3 = 0x0301, 0x0303, 0x0304

_GCM = (
    "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
)
_GCM_MODIFIED = (
    "ECDHE_ECDSA_WITH_AES_128_CCM",
    "ECDHE_ECDSA_WITH_AES_128_CCM_8",
    "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE_ECDSA_WITH_AES_256_CCM",
    "ECDHE_ECDSA_WITH_AES_256_CCM_8",
    "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
)
_BCP_195 = (
    "ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "DHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "DHE_RSA_WITH_AES_256_GCM_SHA384",
)
_AES = "RSA_WITH_AES_128_CBC_SHA"
_TRIPLE_DES = "RSA_WITH_3DES_EDE_CBC_SHA"
_NULL = "RSA_WITH_NULL_SHA"

_ALL_OF_1_3 = (
    "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
    ":TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256"
)


class Profile(NamedTuple):
    """A security profile.

    ``suites`` are in the order in which a client offers them; those in ``optional`` may be missing
    from the library. ``suites_1_3`` is for OpenSSL; if empty, its own list holds.
    """

    name: str
    oldest: int
    newest: int
    suites: tuple[str, ...]
    optional: tuple[str, ...] = ()
    suites_1_3: str = ""
    retired: bool = False


DEFAULT = "profile-8996"
MODIFIED = "profile-8996-mod"
EXTENDED = "profile-bcp195-ex"
NULL = "profile-null"

PROFILES = {
    # No suite of these two goes with a version older than 1.2.
    DEFAULT: Profile("BCP 195 RFC 8996 TLS Profile", TLS_1_0, TLS_1_3, _GCM),
    MODIFIED: Profile(
        "Modified BCP 195 RFC 8996 TLS Profile",
        TLS_1_0,
        TLS_1_3,
        _GCM_MODIFIED,
        suites_1_3=_ALL_OF_1_3,
    ),
    "profile-bcp195-nd": Profile(
        "Non-downgrading BCP 195 TLS Profile", TLS_1_2, TLS_1_3, _BCP_195, retired=True
    ),
    "profile-bcp195": Profile(
        "BCP 195 TLS Profile",
        TLS_1_0,
        TLS_1_3,
        (*_BCP_195, _AES, _TRIPLE_DES),
        optional=(_TRIPLE_DES,),
        retired=True,
    ),
    EXTENDED: Profile(
        "Extended BCP 195 TLS Profile",
        TLS_1_2,
        TLS_1_2,
        (
            *_BCP_195,
            "ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ),
        retired=True,
    ),
    "profile-basic": Profile(
        "Basic TLS Secure Transport Connection Profile",
        TLS_1_0,
        TLS_1_2,
        (_TRIPLE_DES,),
        retired=True,
    ),
    "profile-aes": Profile(
        "AES TLS Secure Transport Connection Profile",
        TLS_1_0,
        TLS_1_2,
        (_AES, _TRIPLE_DES),
        optional=(_TRIPLE_DES,),
        retired=True,
    ),
    NULL: Profile(
        "Authenticated unencrypted communication", TLS_1_0, TLS_1_2, (_NULL,), retired=True
    ),
}
"""By the names of the options, without their dashes."""


class SuiteError(Exception):
    """A ciphersuite that cannot be had; the text is the reference's condition and reason."""


def usable(profile: Profile, available: frozenset[str]) -> bool:
    """Whether the library has what a profile cannot do without."""
    return all(name in available or name in profile.optional for name in profile.suites)


def suites(option: str, extra: Sequence[str], available: frozenset[str]) -> list[str]:
    """Return the suites of a profile and those asked for besides, as a client offers them.

    ``option`` is the profile's name among ``PROFILES``, ``extra`` are names with ``TLS_`` in
    front, ``available`` is what the library has. Says what speaks against them. Raises SuiteError.
    """
    profile = PROFILES[option]
    found = []
    for name in profile.suites:
        if name in available:
            found.append(name)
        elif name in profile.optional:
            log.warning(
                "Ciphersuite '%s' not supported by the OpenSSL library"
                " used to compile this application, ignoring it",
                PREFIX + name,
            )
        else:
            raise _unsupported(PREFIX + name)
    for full in extra:
        name = full.removeprefix(PREFIX)
        if name == full or name not in ciphersuites.OPENSSL_NAMES:
            raise _unknown(full)
        if name not in available:
            raise _unsupported(full)
        _judge(name, option)
        if name not in found:
            found.append(name)
    return found


def _judge(name: str, option: str) -> None:
    """Say what a profile has against a suite. Raises SuiteError if it does not go with it."""
    if option == NULL:
        return
    profile, full = PROFILES[option].name, PREFIX + name
    if option in (MODIFIED, EXTENDED):
        raise _forbidden(f"Additional ciphersuites not permitted with security profile '{profile}'")
    if ciphersuites.does_not_encrypt(name):
        raise _forbidden(
            f"Unencrypted ciphersuite '{full}' not permitted with security profile '{profile}'"
        )
    if option == DEFAULT and ciphersuites.uses_sha1(name):
        raise _forbidden(
            f"Ciphersuite '{full}' using SHA-1 MAC not permitted with security profile '{profile}'"
        )
    for what in ciphersuites.discouraged(name, strictly=option == DEFAULT):
        log.warning(
            "Ciphersuite '%s' uses %s."
            " RFC 9325 recommends that such cipher suites should not be used.",
            full,
            what,
        )


def _forbidden(objection: str) -> SuiteError:
    log.critical("%s", objection)
    return SuiteError("000b:000a Ciphersuite not allowed in current DICOM security profile")


def _unsupported(name: str) -> SuiteError:
    log.critical(
        "Ciphersuite '%s' not supported by the OpenSSL library used to compile this application.",
        name,
    )
    return _unknown(name)


def _unknown(name: str) -> SuiteError:
    return SuiteError(f"000b:0003 Unknown or invalid ciphersuite: {name}")
