"""Who the sender says it is: the user identity of its request (PS3.7 annex D.3.3.7)."""

import logging
import os

from dcmstore.cmdline import Options
from dcmstore.items import MAX_FIELD
from dcmstore.pdu import UserIdentity

log = logging.getLogger("dcmtk.apps.storescu")

_NAME, _NAME_AND_PASSWORD = 1, 2
_TOKENS = {"kerberos": 3, "saml": 4, "jwt": 5}


class NoToken(Exception):
    """The file that holds what identifies the user is of no use; the text says why."""


def wanted(options: Options) -> UserIdentity | None:
    """Return the identity that the options ask for, None without any. Raises NoToken.

    Names and passwords are taken byte for byte as they were typed. Of a file that is too long
    for its field the beginning is taken.
    """
    kind = options.identity
    if kind is None:
        return None
    answer = options.pos_response
    if kind == "user":
        name = os.fsencode(options.user)
        if options.identity_password is None:
            return UserIdentity(_NAME, answer, name, b"")
        password = b"" if options.identity_password == "empty-password" else options.password
        return UserIdentity(_NAME_AND_PASSWORD, answer, name, os.fsencode(password))
    return UserIdentity(_TOKENS[kind], answer, _read(getattr(options, kind)), b"")


def is_unanswered(asked: UserIdentity, response: bytes | None) -> bool:
    """Tell whether a request for a positive response is unanswered, where that matters.

    A server may have nothing to say to whoever shows a ticket, an assertion or a token.
    """
    by_name = asked.kind in (_NAME, _NAME_AND_PASSWORD)
    return asked.response_requested and by_name and response is None


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NoToken(f"Unable to open Kerberos, SAML or JWT file: {reason}") from None
    content = b""
    try:
        # A pipe gives its content in parts.
        while len(content) <= MAX_FIELD and (part := os.read(fd, MAX_FIELD + 1 - len(content))):
            content += part
    except OSError as error:
        raise _unreadable(error.strerror or str(error)) from None
    finally:
        os.close(fd)
    if not content:
        raise _unreadable("File empty?")
    if len(content) > MAX_FIELD:
        log.info(
            "Kerberos, SAML or JWT file is larger than 65535 bytes,"
            " bytes after that position are ignored"
        )
    return content[:MAX_FIELD]


def _unreadable(reason: str) -> NoToken:
    return NoToken(f"Unable to read Kerberos, SAML or JWT info from file: {reason}")
