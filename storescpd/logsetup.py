"""The loggers of ``--log-config`` in a process that changes user, loses its terminal, and stays.

Files are opened by the user that the daemon becomes: it must be able to open them anew later, and
root is not to be led to another file by links in a folder of that user.
"""

import os
from typing import TYPE_CHECKING

from dcmstore import cmdline

if TYPE_CHECKING:
    from dcmstore.logconfig import LogConfig


class LogSetup:
    """The loggers at each step of the start; does nothing without ``--log-config``."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._config: LogConfig | None = None
        self._umask: int | None = None
        self._held = False

    def configure(self, options: cmdline.Options) -> None:
        """Read the file, and open what it names unless that has to wait. Raises UsageError."""
        from dcmstore import logconfig  # few runs need it

        self._config = logconfig.LogConfig(options.log_config, self._program)
        self._umask = options.umask
        changes_user = options.user is not None or options.group is not None
        self._held = changes_user and os.geteuid() == 0
        if options.check_config:
            self._config.attach(rehearsed=True)
            self._held = False
        elif not self._held:
            self._attach(self._config)

    @property
    def faults(self) -> int:
        """How many faults the file was found to have."""
        return 0 if self._config is None else self._config.complaints.count

    def user_is_changed(self) -> None:
        """Open what had to wait for that."""
        if self._config is not None and self._held:
            self._attach(self._config)

    def terminal_is_gone(self) -> None:
        """Send to syslog what would go to standard output and error, complaints above all."""
        if self._config is None:
            return
        from dcmstore import logsyslog

        sink = logsyslog.console(self._program)
        self._config.complaints.sink = sink
        for appender in self._config.consoles():
            appender.sink = sink

    def reopen(self) -> None:
        """Open files anew, where others may have been put in their place."""
        if self._config is not None:
            self._config.reopen()

    def _attach(self, config: "LogConfig") -> None:
        """Open files with the permissions of ``--umask``, which holds for others only later."""
        if self._umask is None:
            config.attach()
            return
        old = os.umask(self._umask)
        config.attach()
        os.umask(old)
