"""What a master does before it forks: it rehearses, and leaves out the hooks of threads."""

import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness.peer import Peer
from harness.processes import command_line
from harness.receivers import OURS

from dcmstore import cmdline, command, connection, pdu
from storescpd import service
from storescpd.options import PROGRAM
from storescpd.rehearsal import rehearse


def configured(folder: Path, *options: str) -> service.Configured:
    argv = ["storescpd", "--fork", *options, "-od", str(folder), "11112"]
    parsed = cmdline.parse(PROGRAM, argv, {}, port_needed=True)
    return service.Configured(parsed, "storescpd")


class Audience:
    """Hears what is answered in rehearsals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ears: list[socket.socket] = []
        self._socketpair = socket.socketpair
        monkeypatch.setattr(socket, "socketpair", self._listen_in)

    def _listen_in(self) -> tuple[socket.socket, socket.socket]:
        ours, its = self._socketpair()
        self._ears.append(its.dup())
        return ours, its

    def answers(self) -> list[list[connection.ReceivedEvent]]:
        """Return what each association was told, from the acceptance on."""
        return [self._heard(ear) for ear in self._ears]

    def _heard(self, ear: socket.socket) -> list[connection.ReceivedEvent]:
        with ear, ear.makefile("rb") as stream:
            said = stream.read()
        peer = connection.Connection(acceptor=False, max_pdu=16384)
        peer.request(pdu.AssociateRequest("A", "B", (), 16384, "", ""))
        peer.room()[: len(said)] = said
        peer.received(len(said))
        heard = []
        while (event := peer.next_event()) is not None:
            heard.append(event)
            if isinstance(event, pdu.AssociateAccept):
                continue
            if len(heard) == 4:
                peer.release()
        return heard


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("+B",),
        ("+tb",),
        ("--ignore",),
        ("--refuse",),
        ("--reject",),
        ("--implicit",),
        ("-ss", "XY", "-tos", "1"),
        ("-xcr", "touch here"),
        ("--abort-during",),
        ("-pdu", "4096"),
    ],
    ids=" ".join,
)
def test_everything_works_in_the_rehearsal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    folder, spool = tmp_path / "out", tmp_path / "spool"
    folder.mkdir()
    spool.mkdir()
    monkeypatch.setenv("TMPDIR", str(spool))
    monkeypatch.chdir(tmp_path)
    service_ = configured(folder, *options).service
    audience = Audience(monkeypatch)
    rehearse(service_)
    associations = audience.answers()
    assert len(associations) >= 8  # fewer, and no code is specialised
    for accept, *responses, last in associations:
        assert isinstance(accept, pdu.AssociateAccept)
        assert [context.result for context in accept.contexts] == [0, 0]
        assert isinstance(last, pdu.ReleaseReply)
        commands = [one.command for one in responses if isinstance(one, connection.Command)]
        assert [type(one) for one in commands] == [
            command.EchoResponse,
            command.StoreResponse,
            command.StoreResponse,
        ]
        assert [getattr(one, "status", None) for one in commands] == [0, 0, 0]
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["out", "spool"]


def test_nothing_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    service_ = configured(tmp_path).service
    for level in (logging.INFO, logging.DEBUG):
        with caplog.at_level(level, "dcmtk"):
            rehearse(service_)
            log = logging.getLogger("dcmtk.apps.storescp")
            assert log.isEnabledFor(level)  # and from now on it is said again
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_without_a_place_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    audience = Audience(monkeypatch)
    rehearse(configured(tmp_path).service)
    assert all(len(heard) == 5 for heard in audience.answers())


@pytest.mark.parametrize("level", ["-v", "-d"])
def test_a_daemon_shows_nothing_of_it(start_receiver: StartReceiver, level: str) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", level)
    assert "EHEARSAL" not in receiver.log().upper()
    assert "[listening" in command_line(receiver.pid)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.echo()
        peer.release()
    receiver.wait_for_log("Association Release")
    assert receiver.log().count("Association Release") == 1


_HOOKS = """
import {first}
import logging, os, threading
lock = threading._active_limbo_lock
ran = []
os.register_at_fork(after_in_child=lambda: ran.append(1))
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, b"%d %d" % (threading._active_limbo_lock is not lock, len(ran)))
    os._exit(0)
os.wait()
print(os.read(read, 9).decode())
"""


@pytest.mark.parametrize(("first", "hooks"), [("storescpd", "0 1"), ("threading", "1 1")])
def test_hooks_of_threads(first: str, hooks: str) -> None:
    """The program forks without them; those that are registered later run as everywhere."""
    done = subprocess.run(
        [sys.executable, "-c", _HOOKS.format(first=first)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() == hooks
