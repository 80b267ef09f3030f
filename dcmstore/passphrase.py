"""The password of the private key: given, asked for once, or not to be had."""

import os


class NoPassphraseError(Exception):
    """There is nobody to ask; the text says so in one line."""


class Passphrase:
    """Tells OpenSSL the password when it wants one (a callback of ``SSLContext.load_cert_chain``).

    ``given`` is the password; None is to be asked for on the terminal, and is then remembered.
    """

    def __init__(self, given: bytes | None) -> None:
        self._known = given
        self._may_ask = given is None

    def __call__(self) -> bytes:
        """Return the password. Raises NoPassphraseError."""
        if self._known is None:
            if not self._may_ask:
                raise NoPassphraseError("the private key has a password now, which is not known")
            self._known = _ask()
        return self._known

    def never_ask_again(self) -> None:
        """From now on there is nobody at the terminal, or there are others to be served."""
        self._may_ask = False


def _ask() -> bytes:
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
