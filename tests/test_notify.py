"""What the service manager hears, on a notify socket of our own."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storescpd.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    name = f"\0storescpd-test-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name)
        listening.settimeout(10)
        yield listening


def environ(manager: socket.socket, **more: str) -> dict[str, str]:
    name = manager.getsockname()
    shown = "@" + name[1:].decode() if isinstance(name, bytes) else name
    return {"NOTIFY_SOCKET": shown, "PATH": "/bin", **more}


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_life_of_a_daemon(manager: socket.socket) -> None:
    notifier = Notifier(environ(manager))
    notifier.ready("listening on *:11112")
    assert heard(manager) == ["READY=1", "STATUS=listening on *:11112"]
    notifier.status("3 associations")
    assert heard(manager) == ["STATUS=3 associations"]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    reloading, stamp = heard(manager)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert reloading == "RELOADING=1"
    assert before <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= after
    notifier.watchdog()
    assert heard(manager) == ["WATCHDOG=1"]
    notifier.stopping("1 association left")
    assert heard(manager) == ["STOPPING=1", "STATUS=1 association left"]


def test_text_cannot_forge_a_field_or_grow(manager: socket.socket) -> None:
    notifier = Notifier(environ(manager))
    notifier.status("CT01\nSTOPPING=1\r\n\udcff" + "x" * 100_000)
    (line,) = heard(manager)
    assert line.startswith("STATUS=CT01 STOPPING=1 ?xxx")
    assert len(line) == len("STATUS=") + 512


def test_variables_are_gone_afterwards(manager: socket.socket) -> None:
    variables = environ(manager, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(os.getpid()))
    assert Notifier(variables).watchdog_interval == 1.0
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
    ],
)
def test_watchdog(variables: dict[str, str], interval: float | None) -> None:
    assert Notifier(dict(variables)).watchdog_interval == interval


def test_without_a_manager_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({})
    notifier.ready("listening")
    notifier.watchdog()
    assert caplog.messages == []


def test_manager_that_is_gone_is_reported_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({"NOTIFY_SOCKET": f"{tmp_path}/gone"}).ready("listening")
    assert caplog.messages == [
        "cannot notify the service manager: [Errno 2] No such file or directory"
    ]


def test_manager_that_does_not_read_is_not_waited_for(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("storescpd.notify._SEND_TIMEOUT", 0.05)
    notifier = Notifier(environ(manager))
    for _ in range(100_000):
        notifier.watchdog()
        if caplog.messages:
            break
    assert "cannot notify the service manager" in caplog.messages[0]


def test_process_environment_is_the_default(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ(manager).items():
        monkeypatch.setenv(name, value)
    Notifier().ready("listening")
    assert "READY=1" in heard(manager)
    assert "NOTIFY_SOCKET" not in os.environ
