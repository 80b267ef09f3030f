"""Logging configurations in daemons: rotated files, children, users, and destinations that fail."""

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import senders, wire
from harness.objects import small, write_part10
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_alive,
    is_listening,
    signals_pending,
    wait_until,
)
from harness.receivers import OURS, Receiver, argv, assert_no_traceback
from harness.syslogd import Syslogd

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


def to_file(name: str = "x.log", kind: str = "FileAppender", root: str = "INFO") -> str:
    """Return a configuration that writes a file, each line with process, level and logger."""
    return f"log4cplus.rootLogger = {root}, f\n" + "".join(
        f"log4cplus.appender.f{line}\n"
        for line in (
            f" = log4cplus::{kind}",
            f".File = {name}",
            ".Append = true",
            ".MaxFileSize = 200KB",
            ".MaxBackupIndex = 100",
            ".layout = log4cplus::PatternLayout",
            ".layout.ConversionPattern = %i %p %c{1}: %m%n",
        )
    )


LINE = re.compile(r"\d+ (INFO|WARN|ERROR) (storescp|dcmnet): .+")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file that holds the configuration; receivers run in a folder beside it."""
    return tmp_path / "log.cfg"


def store(receiver: Receiver, count: int = 1) -> None:
    """Store some objects in one association."""
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        for number in range(count):
            assert peer.store(small(), number + 1) == 0
        peer.release()


def reload(pid: int) -> None:
    """Send HUP, and wait until it was taken."""
    os.kill(pid, signal.SIGHUP)
    wait_until(lambda: not signals_pending(pid), "HUP is taken")
    os.kill(pid, signal.SIGUSR1)


def wait_for(path: Path, *texts: str) -> str:
    """Wait until a file holds all of that; return its content."""
    for text in texts:
        wait_until(lambda text=text: path.exists() and text in path.read_text(), text)  # type: ignore[misc]
    return path.read_text()


# What is shown, as by the reference


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ("log4cplus.rootLogger = INFO, f\n", True),
        ("log4cplus.rootLogger = DEBUG, f\n", False),
        ("log4cplus.rootLogger = WARN, f\n", False),
        ("log4cplus.rootLogger = WARN, f\nlog4cplus.logger.dcmtk.apps.{}.progress = INFO\n", True),
        (
            "log4cplus.rootLogger = INFO, f\nlog4cplus.logger.dcmtk.apps.{}.progress = DEBUG\n",
            False,
        ),
        ("log4cplus.rootLogger = DEBUG, f\nlog4cplus.logger.dcmtk.apps.{}.progress = INFO\n", True),
        ("log4cplus.rootLogger = OFF, f\nlog4cplus.logger.dcmtk = INFO\n", True),
    ],
)
def test_dots(
    tmp_path: Path,
    config: Path,
    flavour: str,
    start_receiver: StartReceiver,
    settings: str,
    shown: bool,
) -> None:
    """They are shown at level info of the progress logger alone, whatever goes where."""
    config.write_text(
        settings.format("storescp") + "log4cplus.appender.f = log4cplus::NullAppender"
    )
    receiver = start_receiver(flavour, "-lc", str(config), "--fork", "-dhl")
    store(receiver)
    receiver.wait_for_children(0)
    wait_until(lambda: receiver.stdout() == ("RECV: .\n" if shown else ""), "dots")
    config.write_text(
        settings.format("storescu") + "log4cplus.appender.f = log4cplus::NullAppender"
    )
    path = write_part10(tmp_path, small())
    sent = senders.send(flavour, receiver.port, [path], "-lc", str(config))
    assert (sent.stdout, sent.stderr) == ("XMIT: .\n" if shown else "", "")


# Lines of an association whose text is the same in both programs.
@pytest.mark.parametrize(
    "lines",
    [
        ("rootLogger = INFO, f",),
        ("rootLogger = ERROR, f",),
        ("rootLogger = INFO, f", "appender.f.Threshold = ERROR"),
        ("rootLogger = ERROR, f", "logger.dcmtk.apps = INFO"),
        (
            "rootLogger = INFO, f",
            "appender.f.filters.1 = log4cplus::spi::StringMatchFilter",
            "appender.f.filters.1.StringToMatch = Association",
        ),
    ],
    ids=lambda _: "",
)
def test_receiver_writes_what_the_reference_writes(
    config: Path, reference: str, start_receiver: StartReceiver, lines: tuple[str, ...]
) -> None:
    config.write_text(
        to_file() + "".join(f"log4cplus.{line}\n" for line in (*lines, "appender.f.Append = false"))
    )
    contents = []
    for flavour in (OURS, reference):
        receiver = start_receiver(flavour, "-lc", str(config), "--single-process", "-dhl")
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.echo()
            assert peer.store(small(sop_instance="1.2.3"), 2) == 0
            peer.release()
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.send_command(wire.store_rsp(wire.CT, "1.2.3", 1, 0))
            peer.expect_abort()
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.release()
        receiver.stop()
        text = (receiver.scratch / "x.log").read_text()
        text = re.sub(r"^\d+ |/\S*/received", "", text, flags=re.MULTILINE)
        contents.append(
            [
                line
                for line in text.splitlines()
                if "DIMSE command" not in line and "stop" not in line
            ]
        )
    assert contents[0] == contents[1]


# Many processes, one file


@pytest.mark.parametrize(
    "kind", ["FileAppender", "RollingFileAppender", "DailyRollingFileAppender"]
)
def test_children_share_a_file(
    tmp_path: Path, config: Path, start_receiver: StartReceiver, kind: str
) -> None:
    senders_at_once, objects = 6, 120
    config.write_text(to_file(kind=kind))
    receiver = start_receiver(OURS, "-lc", str(config), "--fork", "-dhl")
    files = [write_part10(tmp_path, small()) for _ in range(objects)]
    processes = [senders.start(OURS, receiver.port, files) for _ in range(senders_at_once)]
    assert [senders.finish(process).code for process in processes] == [0] * senders_at_once
    receiver.wait_for_children(0)
    assert receiver.log() == ""
    names = [path.name for path in receiver.scratch.glob("x.log*")]
    assert len(names) == (2 if kind == "RollingFileAppender" else 1), "it has been rolled"
    lines = [line for name in names for line in (receiver.scratch / name).read_text().splitlines()]
    assert all(LINE.fullmatch(line) for line in lines)
    by_process: dict[str, int] = {}
    for line in lines:
        process, _, text = line.partition(" ")
        if "Received Store Request" in text:
            by_process[process] = by_process.get(process, 0) + 1
    assert list(by_process.values()) == [objects] * senders_at_once
    assert sum("Association Release" in line for line in lines) == senders_at_once


# SIGHUP


def test_rotation_with_children(config: Path, start_receiver: StartReceiver) -> None:
    """As logrotate does it: rename, then HUP. Who serves a peer goes on with the old file."""
    config.write_text(to_file())
    receiver = start_receiver(OURS, "-lc", str(config), "--fork", "-dhl")
    log, old = receiver.scratch / "x.log", receiver.scratch / "x.log.1"
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (child,) = receiver.wait_for_children(1)
        log.rename(old)
        reload(receiver.pid)
        wait_for(log, "status: ")
        store(receiver)
        peer.echo()
        peer.release()
    receiver.wait_for_children(0)
    assert f"{child} INFO storescp: Received Echo Request" in old.read_text()
    assert f"{child} INFO storescp: Association Release" in old.read_text()
    assert str(child) not in log.read_text()
    assert "Received Store Request" in log.read_text()
    assert receiver.log() == ""


def test_rotation_in_one_process(config: Path, start_receiver: StartReceiver) -> None:
    config.write_text(to_file())
    receiver = start_receiver(OURS, "-lc", str(config), "-dhl")
    log, old = receiver.scratch / "x.log", receiver.scratch / "x.log.1"
    store(receiver)
    wait_for(log, "Association Release")
    log.rename(old)
    store(receiver)
    wait_until(lambda: old.read_text().count("Association Release") == 2, "it is in the old one")
    reload(receiver.pid)
    wait_for(log, "status: ")
    store(receiver)
    wait_for(log, "Association Release")
    assert old.read_text().count("Association Release") == 2


def test_rotation_finds_no_folder(config: Path, start_receiver: StartReceiver) -> None:
    """Then the old file is better than none."""
    config.write_text(to_file("logs/x.log"))
    receiver = start_receiver(OURS, "-lc", str(config), "-dhl")
    assert receiver.log() == (
        "log4cplus:ERROR Unable to open file: logs/x.log: No such file or directory\n"
    )
    (receiver.scratch / "logs").mkdir()
    reload(receiver.pid)
    wait_for(receiver.scratch / "logs" / "x.log", "status: ")
    (receiver.scratch / "logs").rename(receiver.scratch / "moved")
    reload(receiver.pid)
    wait_until(
        lambda: (receiver.scratch / "moved" / "x.log").read_text().count("status: ") == 2,
        "the old file is written on",
    )
    assert receiver.log().count("Unable to open file") == 2


# Detached, and as another user


def run(*arguments: str, cwd: Path, prefix: list[str] | None = None) -> tuple[int, str]:
    """Run a daemon that must end, or detach, at once; return its exit code and stderr."""
    done = subprocess.run(
        [*(prefix or []), *argv(OURS), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
    )
    assert_no_traceback(done.stderr)
    return done.returncode, done.stderr


@root_only
def test_detached(tmp_path: Path, config: Path) -> None:
    """Names count from where it was started; what is for a terminal goes to syslog."""
    config.write_text(
        to_file().replace(", f\n", ", f, c, d\n")
        + "log4cplus.appender.c = log4cplus::ConsoleAppender\n"
        "log4cplus.appender.c.Threshold = WARN\n"
        "log4cplus.appender.d = log4cplus::FileAppender\n"
        "log4cplus.appender.d.File = logs/y.log\n"
    )
    (tmp_path / "received").mkdir()
    (tmp_path / "logs").mkdir()
    port = free_port()
    with Syslogd(tmp_path) as syslogd:
        options = ("-lc", "log.cfg", "-od", "received", "--fork", "-dhl")
        result = run(
            *("--daemon", "--pid-file", "pid", *options, str(port)),
            cwd=tmp_path,
            prefix=syslogd.prefix,
        )
        assert result == (0, "")
        pid = int((tmp_path / "pid").read_text())
        try:
            log, old = tmp_path / "x.log", tmp_path / "old"
            for _ in range(2):
                with Peer.connect(port) as peer:
                    peer.associate()
                    assert peer.store(small(sop_instance="1.2.3")) == 0
                    peer.release()
            wait_for(log, "Association Release", "overwriting")
            facility, severity, program, _, text = syslogd.message()
            assert (facility, severity, program) == (3, 4, "storescpd")
            assert text.startswith("WARN - DICOM file already exists, overwriting: ")
            log.rename(old)
            (tmp_path / "logs").rename(tmp_path / "moved")
            reload(pid)
            facility, severity, _, _, text = syslogd.message()
            assert (facility, severity) == (3, 3)
            assert text == (
                "log4cplus:ERROR Unable to open file: logs/y.log: No such file or directory"
            )
            wait_for(log, "status: ")
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_alive(pid), "it ends")
    assert "stopping" in log.read_text()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="storescpd-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


# The interpreter may lie where only root can read, so what is needed late is imported early.
IMPORTS = "encodings.idna, setproctitle, storescpd.main"


def start_as_nobody(folder: Path, *options: str) -> "subprocess.Popen[bytes]":
    call = f"import sys, {IMPORTS}; sys.argv[0] = 'storescpd'; sys.exit(storescpd.main.main())"
    with (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, "-c", call, "--user", "nobody", *options, "-od", "received"],
            cwd=folder,
            stderr=stderr,
            stdout=subprocess.DEVNULL,
        )


@root_only
def test_log_of_another_user(public_folder: Path) -> None:
    """Files belong to the user that the daemon becomes, so that it can open and roll them anew."""
    nobody = pwd.getpwnam("nobody")
    for name in ("received", "logs"):
        (public_folder / name).mkdir()
        os.chown(public_folder / name, nobody.pw_uid, nobody.pw_gid)
    (public_folder / "log.cfg").write_text(to_file("logs/x.log"))
    log = public_folder / "logs" / "x.log"
    port = free_port()
    daemon = start_as_nobody(public_folder, "-lc", "log.cfg", "--fork", "+B", "-dhl", str(port))
    try:
        wait_until(lambda: ": master [" in command_line(daemon.pid), "it listens")
        assert log.stat().st_uid == nobody.pw_uid
        for number in range(3):
            log.rename(public_folder / "logs" / f"old{number}")
            reload(daemon.pid)
            wait_for(log, "status: ")
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
    assert (public_folder / "stderr").read_text() == ""


@root_only
def test_root_is_not_led_to_another_file(public_folder: Path) -> None:
    """Whom a folder belongs to can put a link to anything there."""
    nobody = pwd.getpwnam("nobody")
    for name in ("received", "logs"):
        (public_folder / name).mkdir()
        os.chown(public_folder / name, nobody.pw_uid, nobody.pw_gid)
    secret = public_folder / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    (public_folder / "logs" / "x.log").symlink_to(secret)
    (public_folder / "log.cfg").write_text(to_file("logs/x.log"))
    port = free_port()
    daemon = start_as_nobody(public_folder, "-lc", "log.cfg", "+B", "-dhl", str(port))
    try:
        wait_until(lambda: ": master [" in command_line(daemon.pid), "it listens")
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE) == 0
    assert secret.read_text() == "secret\n"
    assert (stat.S_IMODE(secret.stat().st_mode), secret.stat().st_uid) == (0o600, 0)
    assert (public_folder / "stderr").read_text() == (
        "log4cplus:ERROR Unable to open file: logs/x.log: Permission denied\n"
    )


@root_only
@pytest.mark.parametrize("root", ["INFO", "OFF"])
def test_faults_before_the_user_is_changed(public_folder: Path, root: str) -> None:
    """They are told on standard error, since there is no file yet."""
    (public_folder / "log.cfg").write_text(to_file(root=root) + "log4cplus.logger.dcmtk = INFO\n")
    (public_folder / "received").mkdir()
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        daemon = start_as_nobody(public_folder, "-lc", "log.cfg", "+v", port)
        assert daemon.wait(PATIENCE) == 1
    told = (public_folder / "stderr").read_text()
    assert told.startswith("E: cannot create network: ")
    assert told.count("\n") == 1
    assert not (public_folder / "x.log").exists()


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_permissions(config: Path, start_receiver: StartReceiver, mode: str) -> None:
    """They are those of --umask, also after a rotation."""
    config.write_text(to_file())
    receiver = start_receiver(OURS, "-lc", str(config), "--umask", "027", mode, "-dhl")
    log = receiver.scratch / "x.log"
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    log.chmod(0o600)
    reload(receiver.pid)
    wait_for(log, "status: ")
    log.rename(receiver.scratch / "old")
    reload(receiver.pid)
    wait_for(log, "status: ")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


# --check-config, --conf, inetd


def test_check_config_leaves_log_files_alone(tmp_path: Path, config: Path) -> None:
    config.write_text(to_file() + "log4cplus.appender.f.Append = false\n")
    (tmp_path / "x.log").write_text("kept\n")
    command = ("--check-config", "-lc", "log.cfg", "-od", ".", "104")
    assert run(*command, cwd=tmp_path) == (0, "")
    assert (tmp_path / "x.log").read_text() == "kept\n"
    config.write_text(to_file("new.log"))
    assert run(*command, cwd=tmp_path) == (0, "")
    assert not (tmp_path / "new.log").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (to_file("no/x.log"), "Unable to open file: no/x.log: No such file or directory"),
        (to_file(kind="No"), "Cannot find AppenderFactory: log4cplus::No"),
        (to_file() + "log4cplus.appender.f.layout.ConversionPattern = %z\n", "Unexpected char [z]"),
    ],
)
def test_check_config_tells_of_faults(tmp_path: Path, config: Path, text: str, told: str) -> None:
    config.write_text(text)
    code, stderr = run("--check-config", "-lc", "log.cfg", "-od", ".", "104", cwd=tmp_path)
    assert code == 1
    assert told in stderr.splitlines()[0]
    assert stderr.endswith("F: mistakes in log configuration file: log.cfg\n")


def test_faults_of_the_file_and_the_place_that_names_it(tmp_path: Path, config: Path) -> None:
    config.write_text("nothing\n")
    (tmp_path / "storescpd.conf").write_text("-od .\n--log-config log.cfg\n")
    code, stderr = run("--conf", "storescpd.conf", "104", cwd=tmp_path)
    assert code == 1
    assert stderr.endswith(
        "error: storescpd.conf:2: Specified --log-config file does not contain any settings\n"
    )


def test_inetd(tmp_path: Path, config: Path) -> None:
    """The peer hears nothing but DICOM, on whatever descriptor it is."""
    config.write_text(
        to_file().replace(", f\n", ", f, c, e, none\n")
        + "log4cplus.appender.c = log4cplus::ConsoleAppender\n"
        "log4cplus.appender.e = log4cplus::ConsoleAppender\n"
        "log4cplus.appender.e.logToStdErr = true\n"
    )
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [*argv(OURS), "--inetd", "-lc", "log.cfg", "-od", "."],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=theirs.fileno(),
        cwd=tmp_path,
    )
    theirs.close()
    with Peer(ours) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        peer.release()
    assert process.wait(PATIENCE) == 0
    assert "storescp: storing DICOM file: " in (tmp_path / "x.log").read_text()


# What fails later


def failing(kind: str, *lines: str) -> str:
    return "log4cplus.rootLogger = DEBUG, f\n" + "".join(
        f"log4cplus.appender.f{line}\n" for line in (f" = log4cplus::{kind}", *lines)
    )


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
@pytest.mark.parametrize(
    "text",
    [
        failing("FileAppender", ".File = /dev/full"),
        failing("FileAppender", ".File = no/x.log"),
        failing("FileAppender", ".File = ../fifo"),
        failing("RollingFileAppender", ".File = /dev/full"),
        failing("Log4jUdpAppender", ".host = 127.0.0.1", ".port = 1"),
        failing("SysLogAppender", ".host = 127.0.0.1", ".port = 1"),
        failing("SocketAppender", ".host = 127.0.0.1", ".port = 1"),
        failing("SocketAppender", ".host = host.invalid"),
        failing("ConsoleAppender", ".layout = log4cplus::No"),
        "log4cplus.rootLogger = INFO\n",
    ],
    ids=lambda _: "",
)
def test_associations_do_not_suffer(
    config: Path, start_receiver: StartReceiver, mode: str, text: str
) -> None:
    config.write_text(text)
    os.mkfifo(config.parent / "fifo")
    receiver = start_receiver(OURS, "-lc", str(config), mode, "-dhl")
    for _ in range(2):
        store(receiver, 3)
    assert len(receiver.names()) == 6
    if "Console" not in text:
        complaints = receiver.log().splitlines()
        assert complaints
        assert all(line.startswith("log4cplus:ERROR ") for line in complaints)
        assert len(complaints) <= 6, "each process tells it once"


def test_server_that_hangs(config: Path, start_receiver: StartReceiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config.write_text(failing("SocketAppender", ".host = 127.0.0.1", f".port = {port}"))
        receiver = start_receiver(OURS, "-lc", str(config), "--single-process", "-dhl")
        store(receiver, 400)
    assert len(receiver.names()) == 400


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_console_that_nobody_reads(tmp_path: Path, config: Path, stream: str, mode: str) -> None:
    """The pipe is full soon."""
    flag = str(stream == "stderr").lower()
    config.write_text(failing("ConsoleAppender", f".logToStdErr = {flag}"))
    (tmp_path / "received").mkdir()
    port = free_port()
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [*argv(OURS), "-lc", "log.cfg", mode, "-dhl", "-od", "received", str(port)],
        cwd=tmp_path,
        stdout=writer if stream == "stdout" else subprocess.DEVNULL,
        stderr=writer if stream == "stderr" else subprocess.DEVNULL,
    )
    os.close(writer)
    try:
        wait_until(lambda: is_listening(port), "it listens")
        with Peer.connect(port) as peer:
            peer.associate()
            for number in range(150):
                assert peer.store(small(), number + 1) == 0
            peer.release()
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(reader)
    assert len(list((tmp_path / "received").iterdir())) == 150


# What it costs who does not use it

_MODULES = """
import sys
from {0}.main import main
sys.argv = {1!r}
try:
    main()
except SystemExit:
    pass
print(*sorted(sys.modules))
"""


def modules(package: str, folder: Path, *options: str) -> set[str]:
    script = _MODULES.format(package, [package, *options])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["storescpd", "storescu"])
def test_nothing_is_imported_without_the_option(tmp_path: Path, config: Path, package: str) -> None:
    config.write_text("log4cplus.rootLogger = OFF\n")
    end = {"storescpd": ("-od", "no", "104"), "storescu": ("h", "1", "no")}[package]
    without = modules(package, tmp_path, *end)
    with_it = modules(package, tmp_path, "-lc", "log.cfg", *end)
    ours = {name for name in with_it - without if name.startswith(("dcmstore", "storesc"))}
    assert "dcmstore.logconfig" in ours
    assert {name for name in without if name.startswith("dcmstore.log")} == {"dcmstore.logs"}
    heavy = {"logging.handlers", "queue", "pathlib", "inspect", "dataclasses", "ssl", "subprocess"}
    assert not (with_it - without) & heavy
