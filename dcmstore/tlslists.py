"""What ``--list-ciphers`` and ``--list-profiles`` print."""

from collections.abc import Iterator
from typing import NoReturn

from dcmstore import ciphersuites, helptext
from dcmstore.optiontable import Program
from dcmstore.tlsprofiles import DEFAULT, PROFILES, usable


def show(option: str, program: Program, name: str, identifier: str) -> NoReturn:
    """Print the list that an option asks for, and end the program.

    It lists what this machine's TLS library has.
    """
    lines = _ciphers() if option == "list-ciphers" else _profiles()
    helptext.show("\n".join([*helptext.header(program, name, identifier), *lines]))


def _ciphers() -> Iterator[str]:
    available = ciphersuites.available()
    yield ""
    yield "Supported TLS ciphersuites are:"
    for name in ciphersuites.OPENSSL_NAMES:
        if name in available:
            yield f"  {ciphersuites.PREFIX}{name}"


def _profiles() -> Iterator[str]:
    import ssl

    available = ciphersuites.available()
    yield f"Cryptographic algorithms implemented by: {ssl.OPENSSL_VERSION}"
    yield ""
    yield "Supported TLS Secure Transport Connection Profiles are:"
    for option, profile in PROFILES.items():
        if usable(profile, available):
            remark = " (retired)" if profile.retired else ""
            yield f"- {profile.name}{' (default)' if option == DEFAULT else remark}"
