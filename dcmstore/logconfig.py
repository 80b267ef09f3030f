"""Loggers as the file of ``--log-config`` has them, on Python's `logging`.

The form of the file, and what is told of mistakes in it, are those of log4cplus;
storescpd-logging(5) describes them.
"""

import logging
import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace

from dcmstore import logs
from dcmstore.arguments import UsageError
from dcmstore.logappenders import Appender, ConsoleAppender, NullAppender, Setting
from dcmstore.logcomplaints import Complaints
from dcmstore.logfiles import DailyRollingFileAppender, FileAppender, RollingFileAppender
from dcmstore.logproperties import PREFIX, ROOT, Properties, level, read
from dcmstore.logremote import Log4jUdpAppender, SocketAppender
from dcmstore.logsyslog import SysLogAppender

Factory = Callable[[Properties, Setting], Appender]


class LogConfig:
    """What a file says of the loggers.

    ``appenders`` are there after ``attach``. Until then messages go to the console, from warnings
    on, while the levels hold already.
    """

    def __init__(self, path: str, program: str) -> None:
        """Read a file for a program; relative names in it begin at the present folder.

        Raises UsageError for a file that sets up no logging, or none at any level.
        """
        self.complaints = Complaints()
        self.appenders: list[Appender] = []
        self._setting = Setting(program, os.getcwd(), self.complaints)
        properties = read(path, program, self.complaints)
        own = properties.subset(PREFIX)
        self.complaints.chatty = own.flag("configDebug", False)
        self.complaints.quiet = own.flag("quietMode", False)
        self._appenders = own.subset("appender.")
        self._additivity = own.subset("additivity.")
        loggers = own.subset("logger.")
        # By these two names Python would take the root logger.
        names = [name for name in loggers.names() if name not in ("", "root")]
        self._loggers = [("", properties.text(ROOT))] + [
            (name, loggers.text(name)) for name in names
        ]
        self._set_levels(properties.text(ROOT))

    def attach(self, *, rehearsed: bool = False) -> None:
        """Make the appenders, and give them to their loggers; what is wrong is told.

        With ``rehearsed`` nothing is opened, and messages go on to the console.
        """
        setting = self._setting._replace(rehearsed=rehearsed)
        if rehearsed:
            self.complaints.quiet = False
        made = {}
        for name in self._appenders.names():
            if "." not in name:
                appender = make(
                    self._appenders.text(name), self._appenders.subset(name + "."), setting
                )
                if appender is not None:
                    made[name] = appender
        for name, text in self._loggers:
            if not text:
                self.complaints.error(
                    "PropertyConfigurator::configureLogger()-"
                    f' Invalid config string(Logger = {name or "root"}): ""'
                )
                if not name:
                    _console_takes(logging.NOTSET)
                continue
            chosen = []
            for wanted in words(text)[1:]:
                if wanted in made:
                    chosen.append(made[wanted])
                else:
                    self.complaints.error(
                        f"PropertyConfigurator::configureLogger()- Invalid appender: {wanted}"
                    )
            if not rehearsed:
                _give(logging.getLogger(name), chosen)
        if rehearsed:
            return
        for name in self._additivity.names():
            if name != "root":
                logging.getLogger(name).propagate = self._additivity.flag(name, True)
        self.appenders = list(made.values())
        logging.lastResort = _Nobody(self.complaints)
        # Quiet mode, as for command lines: who logs no errors is told of none.
        self.complaints.quiet = not logging.getLogger().isEnabledFor(logging.ERROR)

    def reopen(self) -> None:
        """Open files anew, where others may have been put in their place, and connections."""
        for appender in self.appenders:
            appender.reopen()

    def consoles(self) -> list[ConsoleAppender]:
        """The appenders that write to standard output and standard error."""
        return [one for one in self.appenders if isinstance(one, ConsoleAppender)]

    def _set_levels(self, root: str) -> None:
        # Without a word about the root logger it stays as it is before options are read.
        word = words(root)[0] if root else "INFO"
        number = level(word)
        if number is None:
            raise UsageError(
                f"Specified --log-config file sets no valid level for log4cplus.rootLogger: {word}"
            )
        logs.set_up(SimpleNamespace(log_level="info"))
        _console_takes(logging.WARNING)
        for name, text in self._loggers[1:]:
            logging.getLogger(name).setLevel(
                (level(words(text)[0]) if text else None) or logging.NOTSET
            )
        logging.getLogger().setLevel(number)


def set_up(path: str, program: str) -> LogConfig:
    """Read a file and do as it says. Raises UsageError."""
    config = LogConfig(path, program)
    config.attach()
    return config


def make(kind: str, properties: Properties, setting: Setting) -> Appender | None:
    """Make an appender; None for a kind that there is not, which is told."""
    if kind == "log4cplus::AsyncAppender":
        return _asynchronous(properties, setting)
    factory = _FACTORIES.get(kind)
    if factory is None:
        setting.complaints.error(
            f"PropertyConfigurator::configureAppenders()- Cannot find AppenderFactory: {kind}"
        )
        return None
    return factory(properties, setting)


def words(text: str) -> list[str]:
    """Return the level and the appenders that a logger's line names."""
    first, *others = "".join(text.split()).split(",")
    return [first, *(one for one in others if one)]


def _asynchronous(properties: Properties, setting: Setting) -> Appender:
    """Return the appender that the asynchronous one has behind it, or nowhere if there is none.

    There is no thread to write while others go on, and nothing needs one: no appender waits long.
    """
    kind = properties.text("Appender")
    factory = _FACTORIES.get(kind)
    own = properties.subset("Appender.")
    if factory is not None:
        return factory(own, setting)
    setting.complaints.error(
        f"AsyncAppender::AsyncAppender() - Cannot find AppenderFactory: {kind}"
        if kind
        else "Unspecified appender for AsyncAppender."
    )
    return NullAppender(own, setting)


def _give(logger: logging.Logger, appenders: list[Appender]) -> None:
    for handler in logger.handlers[:]:
        if isinstance(handler, logs.Console | Appender):
            logger.removeHandler(handler)
    for appender in appenders:
        logger.addHandler(appender)


def _console_takes(number: int) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logs.Console):
            handler.setLevel(number)


class _Nobody(logging.Handler):
    """Stands in where a message finds no appender at all, and says so once."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__()
        self._complaints = complaints
        self._told = False

    def emit(self, record: logging.LogRecord) -> None:
        """Drop a message."""
        if self._told:
            return
        self._told = True
        self._complaints.error(f"No appenders could be found for logger ({record.name}).")
        self._complaints.error("Please initialize the log4cplus system properly.")


_FACTORIES: Mapping[str, Factory] = {
    "log4cplus::ConsoleAppender": ConsoleAppender,
    "log4cplus::NullAppender": NullAppender,
    "log4cplus::FileAppender": FileAppender,
    "log4cplus::RollingFileAppender": RollingFileAppender,
    "log4cplus::DailyRollingFileAppender": DailyRollingFileAppender,
    "log4cplus::SysLogAppender": SysLogAppender,
    "log4cplus::SocketAppender": SocketAppender,
    "log4cplus::Log4jUdpAppender": Log4jUdpAppender,
}
