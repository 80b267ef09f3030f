"""Log servers and the system log: what they are sent, and what it costs when they are away."""

import contextlib
import logging
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

import pytest
from harness.logconfigs import SAID, Told, make_appender, say, send_in_vain
from harness.processes import PATIENCE, free_port, wait_until
from harness.receivers import OURS
from harness.syslogd import Syslogd

from dcmstore import logoutlets, logremote, logsyslog
from dcmstore.logappenders import Appender

ROOT = "log4cplus.rootLogger = INFO, f\n"


class Event(NamedTuple):
    """A message as a server of log4cplus takes it apart."""

    server: str
    logger: str
    level: int
    context: str
    text: str
    thread: str
    seconds: int
    microseconds: int
    file: str
    line: int
    function: str


def events(data: bytes) -> list[Event]:
    """Take what came in apart; AssertionError unless it is whole messages of version 3."""
    found = []
    while data:
        (length,) = struct.unpack_from(">I", data)
        body, data = data[4 : 4 + length], data[4 + length :]
        assert len(body) == length
        assert body[:2] == b"\x03\x01"
        values: list[str | int] = []
        at = 2
        for kind in Event.__annotations__.values():
            (number,) = struct.unpack_from(">i", body, at)
            at += 4
            if kind is str:
                values.append(body[at : at + number].decode())
                at += number
            else:
                values.append(number)
        assert at == length
        found.append(Event(*values))  # type: ignore[arg-type]
    return found


class Server:
    """A listener whose connections are read to their ends when asked for."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(PATIENCE)
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.close()

    def accept(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.settimeout(PATIENCE)
        return connection

    def read(self) -> bytes:
        with self.accept() as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))


def to(port: int, kind: str, *lines: str) -> str:
    settings = [f" = log4cplus::{kind}", ".host = 127.0.0.1", f".port = {port}", *lines]
    return ROOT + "".join(f"log4cplus.appender.f{line}\n" for line in settings)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE)
        yield receiver


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (logoutlets, logremote):
        monkeypatch.setattr(module, "PATIENCE", 0.05)


@pytest.mark.parametrize("lines", [(), (".ServerName = me",), (".Threshold = FATAL",)])
def test_log4cplus_server(tmp_path: Path, reference: str, lines: tuple[str, ...]) -> None:
    received = []
    with Server() as server:
        for flavour in (OURS, reference):
            config = to(server.port, "SocketAppender", *lines)
            left = send_in_vain(flavour, tmp_path, config, "--arguments")
            assert left.err == ""
            received.append(events(server.read()))
    assert len(received[0]) == (1 if ".Threshold = FATAL" in lines else 4)
    for ours, theirs in zip(*received, strict=True):
        assert ours[:4] == theirs[:4]
        assert ours.text.split("'")[-1] == theirs.text.split("'")[-1]
        assert len(ours.thread) == len(theirs.thread)
        assert abs(ours.seconds - theirs.seconds) < 60
        assert 0 <= ours.microseconds < 1_000_000
        assert bool(ours.file) == bool(theirs.file)
        assert (ours.line > 0) == (theirs.line > 0)
        assert bool(ours.function) == bool(theirs.function)


def test_log4j_server(tmp_path: Path, reference: str, datagrams: socket.socket) -> None:
    config = to(datagrams.getsockname()[1], "Log4jUdpAppender")
    received = []
    for flavour in (OURS, reference):
        assert send_in_vain(flavour, tmp_path, config, "--arguments").err == ""
        texts = [datagrams.recv(65536).decode() for _ in range(4)]
        texts = [re.sub(r"calling .*? with", "calling PROGRAM with", text) for text in texts]
        for name in ("timestamp", "thread", "file", "method", "line"):
            texts = [re.sub(rf'\b{name}="[^"]+"', f'{name}="..."', text) for text in texts]
        received.append(texts)
    assert received[0] == received[1]
    assert "&apos;--arguments&apos;" in received[0][0]


def test_log4j_escapes(tmp_path: Path, told: Told, datagrams: socket.socket) -> None:
    port = datagrams.getsockname()[1]
    say(make_appender("Log4jUdpAppender", tmp_path, told, host="127.0.0.1", port=port), "<&>\"'\1ä")
    text = datagrams.recv(65536).decode()
    assert "<log4j:message>&lt;&amp;&gt;&quot;&apos;&#x01;ä&#x0a;</log4j:message>" in text


@pytest.mark.parametrize(
    "lines",
    [
        (".ident = me",),
        (".ident = me", ".facility = local3"),
        (".ident = me", ".facility = DAEMON"),
        (".ident = me", ".facility = blah"),
        (
            ".ident = me",
            ".layout = log4cplus::PatternLayout",
            ".layout.ConversionPattern = %p|%m%n",
        ),
    ],
)
def test_remote_syslog(
    tmp_path: Path, reference: str, datagrams: socket.socket, lines: tuple[str, ...]
) -> None:
    """The reference has the newline of the layout in its messages, ours has not."""
    config = to(datagrams.getsockname()[1], "SysLogAppender", *lines)
    received = []
    for flavour in (OURS, reference):
        left = send_in_vain(flavour, tmp_path, config)
        texts = [datagrams.recv(65536).decode().removesuffix("\n") for _ in SAID]
        expression = r"(>1 )\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+ me )\d+ "
        assert all(re.search(expression, text) for text in texts)
        received.append((left.err, [re.sub(expression, r"\1\2", text) for text in texts]))
    assert received[0] == received[1]


def test_syslog_without_ident_has_the_program(
    tmp_path: Path, told: Told, datagrams: socket.socket
) -> None:
    port = datagrams.getsockname()[1]
    appender = make_appender("SysLogAppender", tmp_path, told, host="127.0.0.1", port=port)
    say(appender, "one\ntwo", logging.CRITICAL)
    for line in (b"one", b"two"):
        expected = rb"<10>1 \S+Z \S+ program %d a.logger - %s" % (os.getpid(), line)
        assert re.fullmatch(expected, datagrams.recv(100))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can have a /dev of its own")
@pytest.mark.parametrize(
    ("facility", "number"),
    [("", 1), ("user", 1), ("Daemon", 3), ("authpriv", 10), ("local7", 23), ("blah", 1)],
)
def test_local_syslog(tmp_path: Path, facility: str, number: int) -> None:
    lines = ["f = log4cplus::SysLogAppender", "f.ident = me"]
    if facility:
        lines.append(f"f.facility = {facility}")
    config = ROOT + "".join(f"log4cplus.appender.{line}\n" for line in lines)
    (tmp_path / "log.cfg").write_text(config)
    command = [sys.executable, "-m", "storescu", "-lc", "log.cfg", "--arguments", "h.invalid"]
    with Syslogd(tmp_path) as syslogd:
        done = subprocess.run(
            [*syslogd.prefix, *command, "1", "log.cfg"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        messages = [syslogd.message() for _ in range(4)]
    unknown = "log4cplus:ERROR Unknown syslog facility: blah\n"
    assert done.stderr == (unknown if facility == "blah" else "")
    assert {message[0] for message in messages} == {number}
    assert {message[2] for message in messages} == {"me"}
    assert [message[1] for message in messages] == [6, 6, 6, 2]
    assert messages[1][4] == f"INFO - {SAID[0]}"


def test_syslog_facilities_of_the_reference(
    tmp_path: Path, reference: str, datagrams: socket.socket
) -> None:
    port = datagrams.getsockname()[1]
    for word in (*logsyslog._FACILITIES, "security", "local8", "0"):
        config = to(port, "SysLogAppender", f".facility = {word}")
        known = send_in_vain(reference, tmp_path, config).err == ""
        assert known == (word in logsyslog._FACILITIES)


Sink = Callable[[], Appender]


def test_system_log_that_hangs_and_comes_back(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, hurried: None
) -> None:
    path = str(tmp_path / "log")
    monkeypatch.setattr(logsyslog, "_DEVICE", path)
    appender = make_appender("SysLogAppender", tmp_path, told)
    say(appender, "nobody there")
    with _unix(path) as log:
        say(appender, "hello")
        assert log.recv(1000).endswith(b": hello")
        for number in range(3000):
            say(appender, f"{number} " + "x" * 1000)
        log.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while log.recv(2000):
                pass
        say(appender, "still there")
        assert log.recv(2000).endswith(b"still there")
    os.unlink(path)
    say(appender, "gone")
    with _unix(path) as log:
        say(appender, "back")
        assert log.recv(2000).endswith(b"back")
    (line,) = told.lines
    assert line == "log4cplus:ERROR SysLogAppender::append()- No such file or directory\n"


def _unix(path: str) -> socket.socket:
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind(path)
    log.settimeout(PATIENCE)
    return log


@pytest.mark.parametrize("kind", ["SysLogAppender", "Log4jUdpAppender"])
def test_udp_that_nobody_takes(tmp_path: Path, told: Told, kind: str) -> None:
    appender = make_appender(kind, tmp_path, told, host="127.0.0.1", port=free_port())
    for _ in range(20):
        say(appender, "lost")
    (line,) = told.lines
    assert line.startswith(f"log4cplus:ERROR {kind}::append()- ")
    assert line.endswith("Connection refused\n")
    appender.reopen()
    for _ in range(3):
        say(appender, "lost")
    assert len(told.lines) == 2


@pytest.mark.parametrize("kind", ["SysLogAppender", "Log4jUdpAppender"])
def test_message_too_large_for_a_datagram(
    tmp_path: Path, told: Told, datagrams: socket.socket, kind: str
) -> None:
    port = datagrams.getsockname()[1]
    appender = make_appender(kind, tmp_path, told, host="127.0.0.1", port=port)
    say(appender, "x" * 70_000)
    say(appender, "small")
    assert b"small" in datagrams.recv(65536)
    (line,) = told.lines
    assert "Message too long" in line


@pytest.mark.parametrize("kind", ["SysLogAppender", "Log4jUdpAppender", "SocketAppender"])
def test_host_that_is_not_known(tmp_path: Path, told: Told, kind: str) -> None:
    appender = make_appender(kind, tmp_path, told, host="host.invalid", port=1)
    for _ in range(3):
        say(appender, "lost")
    (line,) = told.lines
    assert line.startswith(f"log4cplus:ERROR {kind}::append()- Cannot connect to server")
    appender = make_appender(kind, tmp_path, told, host="x" * 100, port=70_000_000)
    say(appender, "lost")
    assert len(told.lines) == 2


def texts(data: bytes) -> list[str]:
    return [event.text for event in events(data)]


def test_server_that_is_started_anew(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        appender = make_appender(
            "SocketAppender", tmp_path, told, host="127.0.0.1", port=server.port
        )
        link = server.accept()
        say(appender, "one")
        wait_until(lambda: select.select([link], [], [], 0)[0], "the message is there")
        assert texts(link.recv(1000)) == ["one"]
        link.close()
    say(appender, "lost, which cannot be known")
    say(appender, "lost")
    say(appender, "lost, and no connection is tried")
    with Server(server.port) as server:
        say(appender, "lost, since it is too early to try")
        monkeypatch.setattr(time, "monotonic", lambda: 2**40)
        say(appender, "two")
        appender.reopen()
        say(appender, "three")
        assert texts(server.read()) == ["two"]
        with server.accept() as link:
            assert texts(link.recv(1000)) == ["three"]
    assert len(told.lines) == 1
    assert told.lines[0].endswith("Connection refused\n")


def test_server_that_reads_nothing(tmp_path: Path, told: Told, hurried: None) -> None:
    with Server() as server:
        appender = make_appender(
            "SocketAppender", tmp_path, told, host="127.0.0.1", port=server.port
        )
        for _ in range(100):
            say(appender, "x" * 1_000_000)
        (line,) = told.lines
        assert line.endswith("it takes nothing\n")


def test_server_whose_queue_is_full(tmp_path: Path, told: Told, hurried: None) -> None:
    """No answer at all, as from a machine that is switched off."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        with contextlib.ExitStack() as waiting:
            for _ in range(4):
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            appender = make_appender("SocketAppender", tmp_path, told, host="127.0.0.1", port=port)
            for _ in range(1000):
                say(appender, "lost")
    (line,) = told.lines
    assert line.endswith("timed out\n")


def test_each_process_has_a_connection(tmp_path: Path, told: Told) -> None:
    with Server() as server:
        appender = make_appender(
            "SocketAppender", tmp_path, told, host="127.0.0.1", port=server.port
        )
        first = server.accept()
        for number in range(3):
            pid = os.fork()
            if not pid:
                for line in range(100):
                    say(appender, f"{number} {line} " + "x" * 1000)
                os._exit(0)
            expected = [f"{number} {line} " + "x" * 1000 for line in range(100)]
            assert texts(server.read()) == expected
            os.waitpid(pid, 0)
        say(appender, "master")
        assert texts(first.recv(1000)) == ["master"]
        first.close()


def test_rehearsal_connects_nowhere(tmp_path: Path, told: Told) -> None:
    with Server() as server:
        make_appender(
            "SocketAppender", tmp_path, told, rehearsed=True, host="127.0.0.1", port=server.port
        )
        make_appender("SocketAppender", tmp_path, told, rehearsed=True, host="host.invalid")
        server._listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert len(told.lines) == 1
