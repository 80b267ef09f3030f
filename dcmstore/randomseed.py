"""Seeds for OpenSSL's generator of random numbers, besides what the kernel gives it."""

import logging
import os
import ssl

log = logging.getLogger("dcmtk.dcmtls")

_SIZE = 1024


def add(path: str) -> None:
    """Add the begin of a file to the generator's state; one that cannot be read does no harm."""
    try:
        with open(path, "rb") as stream:
            # Counted as nothing, since nobody knows who else has it.
            ssl.RAND_add(stream.read(_SIZE), 0.0)
    except OSError as error:
        log.debug("cannot read random seed file '%s': %s", path, error.strerror)


def write(path: str) -> None:
    """Write a new seed to a file, for its owner only."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "wb") as stream:
            stream.write(ssl.RAND_bytes(_SIZE))
    except OSError as error:
        log.warning("000b:0008 Failed to write random seed file '%s': %s", path, error.strerror)
