"""The log of a process that has no standard error worth the name: syslog(3), facility daemon."""

import logging
import syslog

from dcmstore.logs import Console

_PRIORITIES = (
    (logging.CRITICAL, syslog.LOG_CRIT),
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
)


class Syslog(logging.Handler):
    """Sends each line of a message by itself, under the name that openlog(3) was given."""

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; where nobody takes it, nobody can be told."""
        priority = next(
            (to for level, to in _PRIORITIES if record.levelno >= level), syslog.LOG_DEBUG
        )
        # syslog(3) takes neither NUL nor what is no UTF-8, and both may come from a peer.
        text = self.format(record).replace("\0", "?").encode(errors="replace").decode()
        for line in text.split("\n"):
            syslog.syslog(priority, line)


def say(program: str, text: str) -> None:
    """Send one line by itself, before there is a log."""
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_ERR, text)


def redirect(program: str) -> None:
    """Send to syslog what goes to standard error."""
    syslog.openlog(program, syslog.LOG_PID, syslog.LOG_DAEMON)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, Console | Syslog):
            root.removeHandler(handler)
    root.addHandler(Syslog())
