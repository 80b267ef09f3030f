"""A system log of the test's own, in place of /dev/log, for the programs that are started so."""

import os
import re
import socket
from pathlib import Path
from typing import Self

from harness.processes import PATIENCE

# A private /dev with what a daemon needs of it. argv: its folder, then the command.
_ENTER = """
for device in null urandom; do
    touch "$0/$device"
    mount --bind "/dev/$device" "$0/$device"
done
mount --rbind "$0" /dev
exec "$@"
"""

_MESSAGE = re.compile(rb"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d ([^\[]+)\[(\d+)\]: (.*)", re.DOTALL)


class Syslogd:
    """Collects what programs send to syslog(3) when they are started behind ``prefix``."""

    def __init__(self, folder: Path) -> None:
        self._dev = folder / "dev"
        self._dev.mkdir()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._dev / "log"))
        self._socket.settimeout(PATIENCE)
        unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        self.prefix = [*unshare, "sh", "-ec", _ENTER, str(self._dev)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def message(self) -> tuple[int, int, str, int, str]:
        """Wait for a message: its facility, severity, program, process id and text."""
        data = self._socket.recv(65536)
        match = _MESSAGE.fullmatch(data.rstrip(b"\0"))
        assert match, data
        priority, program, pid, text = match.groups()
        return int(priority) >> 3, int(priority) & 7, program.decode(), int(pid), text.decode()
