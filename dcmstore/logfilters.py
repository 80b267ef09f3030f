"""Which messages an appender takes: the filters of a logging configuration."""

import logging
from collections.abc import Callable, Mapping

from dcmstore.logcomplaints import Complaints
from dcmstore.logproperties import Properties

Decision = Callable[[logging.LogRecord], bool | None]
"""Tells whether a message is taken; None leaves that to the filters behind."""


def make(properties: Properties, complaints: Complaints) -> Callable[[logging.LogRecord], bool]:
    """Return what an appender's filters say together; what is wrong with one is told.

    They are numbered from 1; a number that is missing ends the list.
    """
    filters: list[Decision] = []
    number = 1
    while (name := f"filters.{number}") in properties:
        factory = _FACTORIES.get(properties.text(name))
        if factory is None:
            complaints.error(
                f"Appender::ctor()- Cannot find FilterFactory: {properties.text(name)}"
            )
        else:
            filters.append(factory(properties.subset(name + ".")))
        number += 1

    def takes(record: logging.LogRecord) -> bool:
        for decide in filters:
            decision = decide(record)
            if decision is not None:
                return decision
        return True

    return takes


def _deny_all(_properties: Properties) -> Decision:
    return lambda _record: False


def _level_match(properties: Properties) -> Decision:
    wanted = properties.level("LogLevelToMatch")
    accepts = properties.flag("AcceptOnMatch", False)
    return lambda record: accepts if record.levelno == wanted else None


def _level_range(properties: Properties) -> Decision:
    least, most = properties.level("LogLevelMin"), properties.level("LogLevelMax")
    inside = True if properties.flag("AcceptOnMatch", False) else None

    def decide(record: logging.LogRecord) -> bool | None:
        too_low = least is not None and record.levelno < least
        too_high = most is not None and record.levelno > most
        return False if too_low or too_high else inside

    return decide


def _string_match(properties: Properties) -> Decision:
    wanted = properties.text("StringToMatch")
    accepts = properties.flag("AcceptOnMatch", False)
    return lambda record: accepts if wanted and wanted in record.getMessage() else None


_FACTORIES: Mapping[str, Callable[[Properties], Decision]] = {
    "log4cplus::spi::DenyAllFilter": _deny_all,
    "log4cplus::spi::LogLevelMatchFilter": _level_match,
    "log4cplus::spi::LogLevelRangeFilter": _level_range,
    "log4cplus::spi::StringMatchFilter": _string_match,
}
