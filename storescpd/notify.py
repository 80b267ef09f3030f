"""Tells a service manager how the daemon is doing: sd_notify(3) without its library.

The protocol is one datagram of ``NAME=value`` lines to the socket named in NOTIFY_SOCKET.
Nothing happens where that is not set, so callers need not ask.
"""

import logging
import os
import socket
import time
from collections.abc import MutableMapping

log = logging.getLogger("dcmtk.apps.storescp")

# The manager reads all the time; should it not, the master does not wait with it.
_SEND_TIMEOUT = 1.0
_STATUS_LIMIT = 512


class Notifier:
    """What one process tells its manager, by the three variables of its environment.

    The variables are removed, so that hook commands cannot speak for the daemon.
    ``watchdog_interval`` is how often to call `watchdog`, in seconds: half of what the
    manager allows (sd_watchdog_enabled(3)), or None if it does not watch this process.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        name = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        period = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        self.watchdog_interval: float | None = None
        if period.isdecimal() and int(period) > 0 and pid in ("", str(os.getpid())):
            self.watchdog_interval = int(period) / 2_000_000

    @property
    def active(self) -> bool:
        """Whether there is a manager that listens."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        """Start-up, or a reload, is complete."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """Show one line of text in ``systemctl status``."""
        self._send(_status(status))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` says when that is done."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The daemon has begun to stop; associations may still be finishing."""
        self._send("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        """The main loop still turns."""
        self._send("WATCHDOG=1")

    def forgo_watchdog(self) -> None:
        """Ask not to be watched: this process serves peers itself and may be busy for long."""
        self._send("WATCHDOG_USEC=0")

    def _send(self, *fields: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.settimeout(_SEND_TIMEOUT)
                manager.sendto("\n".join(fields).encode(errors="replace"), self._address)
        except OSError as error:
            log.warning("cannot notify the service manager: %s", error)


def _status(text: str) -> str:
    # A newline would begin another field, and parts of the text may come from a peer.
    return "STATUS=" + " ".join(text.split())[:_STATUS_LIMIT]
