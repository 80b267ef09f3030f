"""How messages look in a log: the layouts of a logging configuration."""

import logging
from collections.abc import Callable, Mapping

from dcmstore.logcomplaints import Complaints
from dcmstore.logpattern import compile_pattern, formatted_time
from dcmstore.logproperties import Properties
from dcmstore.logs import level_name


class SimpleLayout(logging.Formatter):
    """``LEVEL - message``."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as it is written, with the newline at its end."""
        return f"{level_name(record.levelno)} - {super().format(record)}\n"


class TTCCLayout(logging.Formatter):
    """``MILLISECONDS [THREAD] LEVEL LOGGER <> - message``, or a date in the first place."""

    def __init__(self, date: str, *, utc: bool) -> None:
        super().__init__()
        self._date = date
        self._utc = utc

    def format(self, record: logging.LogRecord) -> str:
        """The message as it is written, with the newline at its end."""
        when = str(int(record.relativeCreated))
        if self._date:
            when = formatted_time(record.created, self._date, utc=self._utc)
        head = f"{when} [{record.thread}] {level_name(record.levelno)} {record.name}"
        return f"{head} <> - {super().format(record)}\n"


class PatternLayout(logging.Formatter):
    """What a conversion pattern makes of the message, or of each line of it."""

    def __init__(self, pattern: str, complaints: Complaints, *, each_line: bool) -> None:
        super().__init__()
        self._convert = compile_pattern(pattern, complaints)
        self._each_line = each_line

    def format(self, record: logging.LogRecord) -> str:
        """The message as it is written."""
        message = super().format(record)
        lines = message.split("\n") if self._each_line else [message]
        return "".join([self._convert(record, line) for line in lines])


def make(properties: Properties, complaints: Complaints) -> logging.Formatter:
    """Return the layout that an appender's properties ask for; what is wrong is told."""
    if "layout" not in properties:
        return SimpleLayout()
    kind = properties.text("layout")
    factory = _FACTORIES.get(kind)
    if factory is None:
        complaints.error(f'Cannot find LayoutFactory: "{kind}"')
        return SimpleLayout()
    return factory(properties.subset("layout."), complaints)


def _simple(_properties: Properties, _complaints: Complaints) -> logging.Formatter:
    return SimpleLayout()


def _ttcc(properties: Properties, _complaints: Complaints) -> logging.Formatter:
    return TTCCLayout(properties.text("DateFormat"), utc=properties.flag("Use_gmtime", False))


def _pattern(properties: Properties, complaints: Complaints) -> logging.Formatter:
    pattern = properties.text("ConversionPattern")
    if "Pattern" in properties:
        complaints.warn(
            'PatternLayout- the "Pattern" property has been deprecated.'
            '  Use "ConversionPattern" instead.'
        )
        pattern = pattern or properties.text("Pattern")
    elif "ConversionPattern" not in properties:
        complaints.error("ConversionPattern not specified in properties")
        complaints.error(
            "Error while creating Layout: ConversionPattern not specified in properties"
        )
        return SimpleLayout()
    if not pattern:
        complaints.warn("PatternLayout pattern is empty.  Using default...")
    return PatternLayout(
        pattern or "%m", complaints, each_line=properties.flag("FormatEachLine", True)
    )


_FACTORIES: Mapping[str, Callable[[Properties, Complaints], logging.Formatter]] = {
    "log4cplus::SimpleLayout": _simple,
    "log4cplus::TTCCLayout": _ttcc,
    "log4cplus::PatternLayout": _pattern,
}
