"""The password of the private key: given, asked for once, or not to be had."""

import os
from collections.abc import Callable


class NoPassphraseError(Exception):
    """There is nobody to ask; the text says so in one line."""


class Passphrase:
    """Tells OpenSSL the password when it wants one (a callback of ``SSLContext.load_cert_chain``).

    ``given`` is the password; if that is None, ``ask`` finds it out, and it is remembered.
    """

    def __init__(self, given: bytes | None, ask: Callable[[], bytes]) -> None:
        self._known = given
        self._ask: Callable[[], bytes] | None = ask

    def __call__(self) -> bytes:
        """Return the password. Raises NoPassphraseError."""
        if self._known is None:
            if self._ask is None:
                raise NoPassphraseError("the private key has a password now, which is not known")
            self._known = self._ask()
        return self._known

    def never_ask_again(self) -> None:
        """From now on there is nobody at the terminal, or there are others to be served."""
        self._ask = None


def ask() -> bytes:
    """Ask for a password on the terminal. Raises NoPassphraseError."""
    try:
        # Nothing but a terminal is asked; standard input may be anything.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise NoPassphraseError(
            "the private key has a password, and there is no terminal to ask for it"
        ) from None
    import getpass  # few keys have one

    try:
        return os.fsencode(getpass.getpass("Enter PEM pass phrase:"))
    except EOFError:
        raise NoPassphraseError("no password was typed for the private key") from None
