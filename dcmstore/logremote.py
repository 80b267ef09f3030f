"""Log servers as destinations of messages: log4cplus' protocol over TCP, log4j's XML over UDP.

A server that is away costs a moment once, and then messages, until it is there again.
"""

import logging
import os
import socket
import time
from struct import Struct

from dcmstore.logappenders import Appender, Setting
from dcmstore.logcomplaints import reason
from dcmstore.logoutlets import (
    PATIENCE,
    Datagrams,
    Shared,
    SocketAddress,
    Writability,
    encoded,
    look_up,
)
from dcmstore.logproperties import Properties
from dcmstore.logs import level_name

_SOCKET_PORT = 9998
_UDP_PORT = 5000
_RECONNECT = 30.0  # seconds, after which a server that was away is tried again

# What log4cplus sends: a version, the size of a character, then strings and numbers.
_HEAD = b"\x03\x01"
_LENGTH = Struct(">I")
_NUMBER = Struct(">i")
_LEVELS = {
    "FATAL": 50000,
    "ERROR": 40000,
    "WARN": 30000,
    "INFO": 20000,
    "DEBUG": 10000,
    "TRACE": 0,
}

_XML = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "'": "&apos;", '"': "&quot;"}
_XML_TABLE = {
    **{number: f"&#x{number:02x};" for number in (*range(32), 127)},
    **{ord(character): text for character, text in _XML.items()},
}


class SocketAppender(Appender):
    """A log server of log4cplus, by TCP."""

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__(properties, setting)
        self._host = properties.text("host") or "localhost"
        self._port = properties.number("port", _SOCKET_PORT)
        self._name = properties.text("ServerName")
        self._address: tuple[int, SocketAddress] | None = None
        self._socket: socket.socket | None = None
        self._pid = 0  # of the process that has connected the socket
        self._next_try = Shared()
        self._writability = Writability()
        self.reopen()

    def reopen(self) -> None:
        """Ask for the server's address, if it is not known, and connect anew."""
        self._drop()
        self._next_try.set(0)
        try:
            if self._address is None:
                self._address = look_up(self._host, self._port, socket.SOCK_STREAM)
            if not self.setting.rehearsed:
                self._connect()
            self.mend("put")
        except OSError as error:
            self.fail(self.trouble(reason(error)), "put")

    def put(self, record: logging.LogRecord) -> None:
        """Send a message. Raises OSError."""
        data = message(record, self._name, _PLAIN.format(record))
        if self._pid != os.getpid():
            # What several processes sent through one connection would mix.
            self._drop()
        fresh = self._socket is None
        link = self._connect()
        if link is None:
            return
        try:
            self._send(link, data)
        except ConnectionError:
            self._drop()
            if fresh:
                raise
            # The server has been started anew.
            link = self._connect()
            if link is not None:
                self._send(link, data)

    def trouble(self, why: str) -> str:
        """What is to be told when a message cannot be sent."""
        return super().trouble(f"Cannot connect to server {self._host}:{self._port}: {why}")

    def _connect(self) -> socket.socket | None:
        """Return the connection, None if there is none and none is tried. Raises OSError."""
        if self._socket is not None or self._address is None:
            return self._socket
        if time.monotonic() < self._next_try.get():
            return None
        family, address = self._address
        self._pid = os.getpid()
        new = socket.socket(family, socket.SOCK_STREAM)
        try:
            new.settimeout(PATIENCE)
            new.connect(address)
            new.setblocking(False)
        except OSError:
            new.close()
            self._next_try.set(time.monotonic() + _RECONNECT)
            raise
        self._next_try.set(0)
        self._socket = new
        return new

    def _send(self, link: socket.socket, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[link.send(left) :]
                except BlockingIOError:
                    self._writability.wait(link.fileno())
        except OSError as error:
            # Part of a message may be out, so nothing can follow it.
            self._drop()
            if isinstance(error, TimeoutError):
                self._next_try.set(time.monotonic() + _RECONNECT)
            raise

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Log4jUdpAppender(Appender):
    """A log server that takes log4j's XML, a message in each datagram."""

    recovers = False

    def __init__(self, properties: Properties, setting: Setting) -> None:
        super().__init__(properties, setting)
        self._host = properties.text("host") or "localhost"
        self._port = properties.number("port", _UDP_PORT)
        self._datagrams: Datagrams | None = None
        self.reopen()

    def reopen(self) -> None:
        """Ask for the server's address, if it is not known."""
        self.mend("put")
        if self._datagrams is not None:
            return
        try:
            self._datagrams = Datagrams.to_host(self._host, self._port)
        except OSError as error:
            self.fail(super().trouble(f"Cannot connect to server: {reason(error)}"), "host")
        else:
            self.mend("host")

    def put(self, record: logging.LogRecord) -> None:
        """Send a message. Raises OSError."""
        if self._datagrams is not None:
            self._datagrams.send(encoded(event(record, self.format(record))))

    def trouble(self, why: str) -> str:
        """What is to be told when a message cannot be sent."""
        return super().trouble(f"Cannot write to server: {why}")


_PLAIN = logging.Formatter()


def message(record: logging.LogRecord, server: str, text: str) -> bytes:
    """Return a message as log4cplus sends it: its length, then what is known of it."""
    seconds, microseconds = divmod(round(record.created * 1_000_000), 1_000_000)
    body = b"".join(
        (
            _HEAD,
            _string(server),
            _string(record.name),
            _NUMBER.pack(_LEVELS[level_name(record.levelno)]),
            _string(""),  # the nested diagnostic context
            _string(text),
            _string(str(record.thread)),
            _LENGTH.pack(seconds),
            _LENGTH.pack(microseconds),
            _string(record.pathname),
            _NUMBER.pack(record.lineno),
            _string(record.funcName or ""),
        )
    )
    return _LENGTH.pack(len(body)) + body


def event(record: logging.LogRecord, text: str) -> str:
    """Return a message as log4j's XML layout has it."""
    return (
        f'<log4j:event logger="{_escaped(record.name)}" level="{level_name(record.levelno)}"'
        f' timestamp="{int(record.created * 1000)}" thread="{record.thread}">'
        f"<log4j:message>{_escaped(text)}</log4j:message><log4j:NDC></log4j:NDC>"
        f'<log4j:locationInfo class="" file="{_escaped(record.pathname)}"'
        f' method="{_escaped(record.funcName or "")}" line="{record.lineno}"/></log4j:event>'
    )


def _string(text: str) -> bytes:
    data = encoded(text)
    return _LENGTH.pack(len(data)) + data


def _escaped(text: str) -> str:
    return text.translate(_XML_TABLE)
