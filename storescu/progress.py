"""Progress on standard output: a dot for each data set fragment that has been handed over."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator

from dcmstore.pdu import PDATA_HEADER

_log = logging.getLogger("dcmtk.apps.storescu.progress")
_STANDARD_OUTPUT = 1

Buffers = list[bytes | memoryview]


def wanted() -> bool:
    """Tell whether dots shall be shown: only at INFO, since other levels say more or less.

    If the program was started with standard output closed, its number is another file's by now,
    perhaps the connection's.
    """
    return sys.stdout is not None and _log.getEffectiveLevel() == logging.INFO


class Dots:
    """The line of one object: ``XMIT: ....`` and, once everything is sent, its end."""

    def __init__(self) -> None:
        self._write("XMIT: ")

    def watch(self, lists: Iterable[Buffers], limit: int, ahead: int) -> Iterator[Buffers]:
        """Pass lists of buffers on, and show those that have been sent when asked for more.

        ``limit`` is how many bytes of data a fragment has at most; ``ahead`` bytes in front of
        the first list are none of the data.
        """
        size = limit + PDATA_HEADER.size
        sent = -ahead
        for buffers in lists:
            yield buffers
            # All fragments but the last one are full, and a list ends with a fragment.
            before, sent = sent, sent + sum(map(len, buffers))
            self._write("." * (-(-sent // size) - max(0, -(-before // size))))

    def end(self) -> None:
        """End the line; a line whose object failed is left as it is."""
        self._write("\n")

    def _write(self, text: str) -> None:
        try:
            os.write(_STANDARD_OUTPUT, text.encode())
        except OSError as error:
            # Nobody looks any more; that is no reason not to send.
            _log.debug("%s", error)
