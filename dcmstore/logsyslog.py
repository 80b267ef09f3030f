"""The system log as a destination of messages: that of this machine, or another one's over UDP.

The local one gets what syslog(3) would send, and the other one RFC 5424. syslog(3) itself is not
used, since it waits for ever when the system log hangs.
"""

import logging
import os
import socket
import time

from dcmstore.logappenders import Appender, Setting
from dcmstore.logcomplaints import Sink, reason
from dcmstore.logoutlets import Datagrams, encoded
from dcmstore.logpattern import formatted_time
from dcmstore.logproperties import Properties

_DEVICE = "/dev/log"
_PORT = 514

_FACILITIES = {
    "kern": 0,
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "lpr": 6,
    "news": 7,
    "uucp": 8,
    "cron": 9,
    "authpriv": 10,
    "ftp": 11,
    **{f"local{number}": 16 + number for number in range(8)},
}

# RFC 5424, table 2: what is critical, an error, a warning, informational; 7 is for debugging.
_SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class SysLogAppender(Appender):
    """The system log of this machine, or of ``host``; each line of a message by itself."""

    recovers = False

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__(properties, setting)
        self._ident = properties.text("ident") or setting.program
        facility = properties.text("facility") or "user"
        if facility.lower() not in _FACILITIES:
            setting.complaints.error(f"Unknown syslog facility: {facility}")
        self._facility = _FACILITIES.get(facility.lower(), _FACILITIES["user"])
        self._host = properties.text("host")
        self._port = properties.number("port", _PORT)
        self._datagrams: Datagrams | None = None
        self.reopen()

    def reopen(self) -> None:
        """Ask for the address of the host, if it is not known."""
        self.mend("put")
        if self._datagrams is not None:
            return
        if not self._host:
            self._datagrams = Datagrams(socket.AF_UNIX, _DEVICE)
            return
        try:
            self._datagrams = Datagrams.to_host(self._host, self._port)
        except OSError as error:
            self.fail(
                self.trouble(f"Cannot connect to server {self._host}: {reason(error)}"), "host"
            )
        else:
            self.mend("host")

    def put(self, record: logging.LogRecord) -> None:
        """Send a message. Raises OSError."""
        if self._datagrams is None:
            return
        priority = self._facility << 3 | _severity(record.levelno)
        if self._host:
            now = formatted_time(record.created, "%Y-%m-%dT%H:%M:%S.%qZ", utc=True)
            sender = f"{os.uname().nodename} {self._ident} {record.process}"
            head = f"<{priority}>1 {now} {sender} {record.name} - "
        else:
            head = _local_head(priority, self._ident, record.created)
        for line in _lines(self.format(record)):
            self._datagrams.send(encoded(head + line))


def console(ident: str) -> Sink:
    """Return what sends to the system log, facility daemon, what a console would have got."""
    datagrams = Datagrams(socket.AF_UNIX, _DEVICE)

    def send(level: int, text: str) -> None:
        head = _local_head(_FACILITIES["daemon"] << 3 | _severity(level), ident, time.time())
        for line in _lines(text):
            datagrams.send(encoded(head + line))

    return send


def _severity(level: int) -> int:
    return next((to for least, to in _SEVERITIES if level >= least), 7)


def _local_head(priority: int, ident: str, seconds: float) -> str:
    now = time.strftime("%b %e %H:%M:%S", time.localtime(seconds))
    return f"<{priority}>{now} {ident}[{os.getpid()}]: "


def _lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")
