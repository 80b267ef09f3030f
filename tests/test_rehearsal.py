"""What a master does before it forks: it rehearses, and leaves out the hooks of threads."""

import errno
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from conftest import StartReceiver
from harness import corpus, wire
from harness.peer import Peer
from harness.processes import command_line
from harness.receivers import OURS

from dcmstore import cmdline, command, connection, pdu
from storescpd import rehearsal, service
from storescpd.master import Master
from storescpd.options import PROGRAM
from storescpd.run import _listen


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
            if len(heard) == 5:
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
        ("-xf", "profile.cfg", "Default"),
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
    corpus.write_profile(tmp_path / "profile.cfg", {wire.MR: [wire.EXPLICIT]})
    service_ = configured(folder, *options).service
    audience = Audience(monkeypatch)
    rehearsal.rehearse(service_)
    associations = audience.answers()
    assert len(associations) >= 8  # fewer, and no code is specialised
    for accept, *responses, last in associations:
        assert isinstance(accept, pdu.AssociateAccept)
        assert [context.result for context in accept.contexts] == [0, 0]
        assert isinstance(last, pdu.ReleaseReply)
        commands = [one.command for one in responses if isinstance(one, connection.Command)]
        assert [type(one) for one in commands] == [
            command.EchoResponse,
            *[command.StoreResponse] * 3,
        ]
        assert [getattr(one, "status", None) for one in commands] == [0] * 4
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["out", "profile.cfg", "spool"]


def test_nothing_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    service_ = configured(tmp_path).service
    for level in (logging.INFO, logging.DEBUG):
        with caplog.at_level(level, "dcmtk"):
            rehearsal.rehearse(service_)
            log = logging.getLogger("dcmtk.apps.storescp")
            assert log.isEnabledFor(level)  # and from now on it is said again
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_without_a_place_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    audience = Audience(monkeypatch)
    rehearsal.rehearse(configured(tmp_path).service)
    heard = audience.answers()
    assert len(heard) >= 8
    assert {len(one) for one in heard} == {6}


def test_without_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done without, and everything is as it was before."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    service_ = configured(tmp_path).service
    monkeypatch.setattr(socket, "socketpair", refuse)
    rehearsal.rehearse(service_)
    assert logging.root.manager.disable == 0


@pytest.mark.parametrize(("mode", "rehearsals"), [("--fork", 1), ("--single-process", 0)])
def test_who_forks_rehearses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, rehearsals: int
) -> None:
    """Before it is said that the daemon is ready."""
    events: list[str] = []

    class Idle:
        def start(self, *, watched: bool) -> None:
            events.append("ready")

        def serve(self) -> None:
            return None

        accept_one = serve

    monkeypatch.setattr(rehearsal, "rehearse", lambda service: events.append("rehearsal"))
    monkeypatch.setattr(gc, "freeze", lambda: None)
    _listen(cast(Master, Idle()), configured(tmp_path), None, fork=mode == "--fork")
    assert events == ["rehearsal"] * rehearsals + ["ready"]


def test_alarms_mean_what_they_did(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 100)
    rehearsal.rehearse(configured(tmp_path).service)
    assert signal.setitimer(signal.ITIMER_REAL, 0)[0] > 90
    assert signal.getsignal(signal.SIGALRM) is handler


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
handler = logging.StreamHandler()
inner = handler.lock
handler.acquire()
ran = []
os.register_at_fork(after_in_child=lambda: ran.append(1))
read, write = os.pipe()
if os.fork() == 0:
    # The hook of logging makes the locks of handlers new: then this one is free.
    facts = threading._active_limbo_lock is not lock, repr(inner).startswith("<unlocked"), len(ran)
    os.write(write, b"%d %d %d" % facts)
    os._exit(0)
os.wait()
print(os.read(read, 9).decode())
"""


@pytest.mark.parametrize(("first", "hooks"), [("storescpd", "0 0 1"), ("logging", "1 1 1")])
def test_hooks_of_threads(first: str, hooks: str) -> None:
    """The program forks without them; those that are registered later run as everywhere."""
    done = subprocess.run(
        [sys.executable, "-c", _HOOKS.format(first=first)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.strip() == hooks
