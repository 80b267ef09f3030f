"""The master: limits, stops under load, shortages, and access control in its children."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small, split_part10
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_listening,
    signals_pending,
    wait_until,
)
from harness.receivers import OURS

from storescpd.throttle import Throttle

LIMIT_EXCEEDED = (2, 3, 2)
REQUEST = wire.associate_rq([(1, wire.CT, (wire.EXPLICIT,))])


def connect_from(port: int, address: str) -> Peer:
    """A connection from one of the loopback addresses."""
    return Peer(socket.create_connection(("127.0.0.1", port), PATIENCE, (address, 0)))


# Stops


class Load(threading.Thread):
    """A sender that stores object after object, until the other side ends the association."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, bytes] = {}
        self.end = "nothing"
        self.refused = False
        self._peer = Peer.connect(port)
        self._peer.associate()

    def run(self) -> None:
        peer = self._peer
        with peer:
            while True:
                thing = small(pixels=30_000)
                peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, 1))
                peer.send_data(thing.data)
                answer = peer.receive()
                if answer is None or answer.kind != wire.P_DATA:
                    self.end = "close" if answer is None else f"PDU {answer.kind}"
                    return
                peer.unread(answer)
                if peer.response()[wire.STATUS] != 0:
                    self.refused = True
                self.acknowledged[thing.sop_instance] = thing.data


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGTERM, signal.SIGINT)])
def test_stop_under_load(start_receiver: StartReceiver, signals: tuple[signal.Signals]) -> None:
    """Whatever was acknowledged is there, nothing else is, and every peer is told the end."""
    grace = "1" if len(signals) == 1 else "60"
    receiver = start_receiver(OURS, "--fork", "--grace-period", grace, "-dhl", "+B")
    load = [Load(receiver.port) for _ in range(6)]
    for one in load:
        one.start()
    wait_until(lambda: all(one.acknowledged for one in load), "all peers store")
    for number in signals:
        before = sum(len(one.acknowledged) for one in load)
        receiver.send_signal(number)
        if number is signal.SIGTERM:
            wait_until(lambda: not is_listening(receiver.port), "it stops listening")
            wait_until(
                lambda before=before: sum(len(one.acknowledged) for one in load) > before + 6,  # type: ignore[misc]
                "associations go on",
            )
    for one in load:
        one.join(PATIENCE)
    assert [one.end for one in load] == [f"PDU {wire.ABORT}"] * len(load)
    assert receiver.wait() == 0
    assert not any(one.refused for one in load)
    acknowledged = {uid: data for one in load for uid, data in one.acknowledged.items()}
    names = set(receiver.names())
    for uid, data in acknowledged.items():
        name = f"CT.{uid}"
        assert name in names
        assert split_part10((receiver.folder / name).read_bytes()).data == data
    # At most one object of each peer can be stored without its acknowledgement.
    assert len(names) <= len(acknowledged) + len(load)


def test_children_that_only_wait_for_a_close_do_not_hold_a_stop_up(
    start_receiver: StartReceiver,
) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl", "-ta", "60")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send(wire.release_rq())
        peer.expect(wire.RELEASE_RP)
        receiver.send_signal(signal.SIGINT)
        assert receiver.wait() == 0
    assert receiver.log() == ""


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_stop_while_the_peer_takes_nothing(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, mode, "-dhl", "-ts", "0")
    with Peer.connect(receiver.port) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        peer.associate()
        with contextlib.suppress(TimeoutError):
            peer.socket.settimeout(0.5)
            while True:  # answers fill up the way back, until requests are not read either
                peer.socket.sendall(wire.p_data(wire.pdv(1, wire.echo_rq(1), command=True)) * 100)
        receiver.send_signal(signal.SIGINT)
        assert receiver.wait() == 0


# Limits


def test_reject_at_the_limit(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(
        OURS, "-v", "--fork", "--max-associations", "2", "--on-limit", "reject", "-dhl"
    )
    first, second = Peer.connect(receiver.port), Peer.connect(receiver.port)
    first.associate()
    second.associate()
    for _ in range(3):
        with Peer.connect(receiver.port) as third:
            third.send(REQUEST)
            third.expect_reject(*LIMIT_EXCEEDED)
            third.socket.shutdown(socket.SHUT_WR)
            third.expect_closed()
    log = receiver.wait_for_log("127.0.0.1 rejected, limit reached (2/2)")
    assert "Association Rejected: Local Limit Exceeded" in log
    first.echo()
    first.release()
    wait_until(lambda: "1/2" in command_line(receiver.pid), "the master counts down")
    with Peer.connect(receiver.port) as third:
        third.associate()
        third.release()
    second.release()
    receiver.wait_for_children(0)
    mark = receiver.mark()
    receiver.send_signal(signal.SIGUSR1)
    assert "0/2 associations, 3 served, 3 rejected" in receiver.wait_for_log("status", since=mark)


def test_rejections_are_bounded_and_use_up_no_association(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(
        OURS, "--fork", "--max-associations", "1", "--on-limit", "reject", "-dhl"
    )
    first = Peer.connect(receiver.port)
    first.associate()
    silent = [Peer.connect(receiver.port) for _ in range(16)]  # they are waited for
    with Peer.connect(receiver.port) as one_more:
        one_more.send(REQUEST)
        one_more.expect_closed()
    first.release()
    wait_until(lambda: "0/1" in command_line(receiver.pid), "the master counts down")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        silent[0].send(REQUEST)
        silent[0].expect_reject(*LIMIT_EXCEEDED)
        peer.release()
    for one in silent:
        one.socket.close()
    receiver.wait_for_children(0)


def test_silent_peers_are_rejected_for_a_short_time_only(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(
        OURS, "--fork", "--max-associations", "1", "--on-limit", "reject", "-dhl", "-ta", "1"
    )
    first = Peer.connect(receiver.port)
    first.associate()
    with Peer.connect(receiver.port) as silent:
        silent.expect_closed()
    first.release()


def test_a_limit_for_each_peer(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "--max-associations-per-peer", "2", "-i0", "-dhl")
    greedy = [connect_from(receiver.port, "127.0.0.2") for _ in range(2)]
    for peer in greedy:
        peer.associate()
    with connect_from(receiver.port, "127.0.0.2") as third:
        third.send(REQUEST)
        third.expect_reject(*LIMIT_EXCEEDED)
    receiver.wait_for_log("127.0.0.2 rejected, it has 2 associations already")
    with connect_from(receiver.port, "127.0.0.3") as other:
        other.associate()
        other.release()
    greedy[0].release()
    wait_until(lambda: " 1 associations" in command_line(receiver.pid), "the master counts down")
    with connect_from(receiver.port, "127.0.0.2") as third:
        third.associate()
        third.release()
    greedy[1].release()


def test_throttle(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    throttle = Throttle(burst=2, interval=60)
    for number in range(5):
        throttle.warn("event %d", number)
    assert caplog.messages == ["event 0", "event 1"]
    now = 60.0
    throttle.warn("event %d", 5)
    assert caplog.messages[2:] == [
        "3 more messages of the following kind were held back",
        "event 5",
    ]
    now = 120.0
    throttle.warn("event %d", 6)
    assert caplog.messages[4:] == ["event 6"]


# Idle


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_idle_exit(start_receiver: StartReceiver, mode: str) -> None:
    receiver = start_receiver(OURS, mode, "--idle-exit", "1", "-dhl")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.nothing_arrives(1.5)
        peer.echo()
        assert receiver.process.poll() is None
        peer.release()
    assert receiver.wait() == 0


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
@pytest.mark.parametrize("option", ["--idle-exit", "--grace-period"])
def test_times_longer_than_the_kernel_waits(
    start_receiver: StartReceiver, option: str, mode: str
) -> None:
    receiver = start_receiver(OURS, mode, option, str(2**31 - 1), "-dhl")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        receiver.send_signal(signal.SIGTERM)
        wait_until(lambda: not signals_pending(receiver.pid), "TERM is taken")
        if mode == "--fork":
            wait_until(lambda: not is_listening(receiver.port), "it stops listening")
        if option == "--grace-period":
            peer.echo()
            peer.release()
        else:
            receiver.send_signal(signal.SIGTERM)
    assert receiver.wait() == 0


# Access control

# Makes libwrap read other tables. argv: their folder, then the daemon's own arguments.
WITH_TABLES = """
import ctypes, os, sys
folder = sys.argv.pop(1)
library = ctypes.CDLL("libwrap.so.0")
paths = {name: os.fsencode(f"{folder}/hosts.{name}") for name in ("allow", "deny")}
for name, path in paths.items():
    ctypes.c_char_p.in_dll(library, f"hosts_{name}_table").value = path
from storescpd.main import main
sys.argv[0] = "storescpd"
sys.exit(main())
"""


def with_tables(tables: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-c", WITH_TABLES, str(tables), *arguments]


class Guarded:
    """A daemon with access control by tables of its own."""

    def __init__(self, tmp_path: Path, allow: str, deny: str, *options: str) -> None:
        (tmp_path / "hosts.allow").write_text(allow)
        (tmp_path / "hosts.deny").write_text(deny)
        self.port = free_port()
        self._log = tmp_path / "stderr"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                with_tables(
                    tmp_path, "+ac", "-dhl", *options, "-od", str(tmp_path), str(self.port)
                ),
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        wait_until(lambda: is_listening(self.port) or self.process.poll() is not None, "listens")

    def log(self) -> str:
        return self._log.read_text()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.log()


@contextlib.contextmanager
def guarded(tmp_path: Path, allow: str, deny: str, *options: str) -> Iterator[Guarded]:
    daemon = Guarded(tmp_path, allow, deny, *options)
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_access_control(tmp_path: Path, mode: str) -> None:
    allow = "storescpd: 127.0.0.2\n"
    with guarded(tmp_path, allow, "ALL: ALL\n", mode) as daemon:
        for _ in range(2):
            with connect_from(daemon.port, "127.0.0.3") as peer:
                peer.send(REQUEST)
                peer.expect_closed()
            with connect_from(daemon.port, "127.0.0.2") as peer:
                peer.associate()
                peer.echo()
                peer.release()
        wait_until(lambda: daemon.log().count("\n") == 2, "both denials are logged")
        assert daemon.log() == "W: access denied to 127.0.0.3\n" * 2
        daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "status" in daemon.log(), "the status")
        assert "0 rejected, 2 denied in " in daemon.log()


def test_stop_while_a_rule_takes_its_time(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    rule = f"ALL: ALL: spawn echo asked >{tmp_path}/asked; read x <{fifo}\n"
    with guarded(tmp_path, rule, "") as daemon, Peer.connect(daemon.port) as peer:
        wait_until((tmp_path / "asked").exists, "the command of the rule runs")
        daemon.stop()
        peer.expect_closed()
        assert "access denied" not in daemon.log()
        fifo.write_text("go on\n")


def test_denials_do_not_fill_the_log(tmp_path: Path) -> None:
    with guarded(tmp_path, "", "ALL: ALL\n", "--fork") as daemon:
        for _ in range(25):
            with connect_from(daemon.port, "127.0.0.3") as peer:
                peer.expect_closed()

        def status() -> str:
            daemon.process.send_signal(signal.SIGUSR1)
            return daemon.log()

        wait_until(lambda: "25 denied" in status(), "all are counted")
        assert daemon.log().count("access denied") == 10


def test_rules_are_asked_about_the_name_the_daemon_is_called_by(tmp_path: Path) -> None:
    with (
        guarded(tmp_path, "", "storescp: ALL\n", "--fork") as daemon,
        connect_from(daemon.port, "127.0.0.3") as peer,
    ):
        peer.associate()
        peer.release()


def test_denied_peer_under_inetd(tmp_path: Path) -> None:
    (tmp_path / "hosts.allow").write_text("")
    (tmp_path / "hosts.deny").write_text("ALL: 127.0.0.3\n")
    for address, denied in (("127.0.0.3", True), ("127.0.0.2", False)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = connect_from(listener.getsockname()[1], address)
            connection, _ = listener.accept()
        # The journal, which is left in place, takes what the log says.
        reader, writer = os.pipe()
        status = os.fstat(writer)
        journal = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with connection:
            process = subprocess.Popen(
                with_tables(tmp_path, "+ac", "-dhl", "--inetd", "-od", str(tmp_path)),
                stdin=connection.fileno(),
                stderr=writer,
                env=os.environ | journal,
            )
        os.close(writer)
        with peer, open(reader) as log:
            if denied:
                peer.send(REQUEST)
                peer.expect_closed()
            else:
                peer.associate()
                peer.release()
            assert log.read() == ("W: access denied to 127.0.0.3\n" if denied else "")
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_twist_talks_to_the_peer_in_place_of_the_daemon(tmp_path: Path, mode: str) -> None:
    with guarded(tmp_path, "ALL: 127.0.0.3: twist echo sorry\n", "", mode) as daemon:
        with connect_from(daemon.port, "127.0.0.3") as peer:
            assert peer.socket.recv(100) == b"sorry\n"
        with connect_from(daemon.port, "127.0.0.2") as peer:
            peer.associate()
            peer.release()


def test_doubtful_tables_are_told_at_start(tmp_path: Path) -> None:
    with guarded(tmp_path, "", "", "--fork") as daemon:
        wait_until(lambda: daemon.log(), "a warning")
        assert daemon.log() == f"W: {tmp_path}/hosts.deny has no rules: every host is let in\n"


# Shortages


def test_few_descriptors(tmp_path: Path) -> None:
    """Started with hardly any, it serves as many as it can, and the others when it can."""
    port = free_port()
    process = subprocess.Popen(
        [
            *("prlimit", "--nofile=12", sys.executable, "-m", "storescpd", "--fork", "-dhl"),
            *("-od", str(tmp_path), str(port)),
        ],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    peers = [Peer.connect(port) for _ in range(20)]
    for peer in peers:
        peer.associate()
        assert peer.store(small()) == 0
    for peer in peers:
        peer.release()
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, b"")


@pytest.mark.parametrize("files", range(5, 12))
def test_too_few_descriptors_to_start(tmp_path: Path, files: int) -> None:
    """Wherever they run out, one line says so."""
    command = [sys.executable, "-m", "storescpd", "--idle-exit", "1", "-od", str(tmp_path)]
    done = subprocess.run(
        ["prlimit", f"--nofile={files}", *command, str(free_port())],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=60,
    )
    if done.returncode == 0:
        assert (files > 8, done.stderr) == (True, "")
    else:
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "Too many open files" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user with few processes")
def test_no_more_processes(tmp_path: Path) -> None:
    """fork(2) that fails costs a connection; the master waits, and goes on."""
    port = free_port()
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    script = (
        "import os, resource, sys, storescpd.main as m;"
        "resource.setrlimit(resource.RLIMIT_NPROC, (3, 3));"
        "sys.argv[0] = 'storescpd'; sys.exit(m.main())"
    )
    arguments = ["-dhl", "--fork", "--user", "64999", "+B", "-od", str(tmp_path), str(port)]
    passwd = tmp_path / "passwd"
    passwd.write_text(Path("/etc/passwd").read_text() + "few:x:64999:65534::/:/bin/false\n")
    mount = ["sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd)]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["unshare", "-m", *mount, sys.executable, "-c", script, *arguments], stderr=stream
        )
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
        first, second = Peer.connect(port), Peer.connect(port)
        first.associate()
        second.associate()
        with Peer.connect(port) as third:
            third.expect_closed()
        wait_until(lambda: "cannot fork" in log.read_text(), "it says so")
        first.echo()
        first.release()
        second.release()
        wait_until(lambda: _can_associate(port), "it goes on")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()


def _can_associate(port: int) -> bool:
    with Peer.connect(port) as peer:
        peer.send(REQUEST)
        answer = peer.receive()
        return answer is not None and answer.kind == wire.ASSOCIATE_AC


def test_reset_connections_are_no_news(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, "--fork", "-dhl")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", receiver.port)) as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.release()
    receiver.wait_for_children(0)
    assert receiver.log() == ""
