"""The options that the reference does not have, each on a real process."""

import os
import pwd
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer
from harness.processes import (
    PATIENCE,
    command_line,
    free_port,
    is_alive,
    is_listening,
    wait_until,
)
from harness.receivers import OURS, argv, assert_no_traceback
from harness.syslogd import Syslogd

DAEMON, ERROR, WARNING, INFO, CRITICAL = 3, 3, 4, 6, 2  # of syslog(3)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")


def run(
    *arguments: str,
    cwd: Path | str = "/",
    prefix: list[str] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> tuple[int, str]:
    """Run a daemon that must end, or detach, at once; return its exit code and stderr."""
    done = subprocess.run(
        [*(prefix or []), *argv(OURS), *arguments],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
        cwd=cwd,
    )
    assert_no_traceback(done.stderr)
    return done.returncode, done.stderr


def stores(port: int, host: str = "127.0.0.1") -> None:
    """Store one object."""
    with Peer(socket.create_connection((host, port), PATIENCE)) as peer:
        peer.associate()
        assert peer.store(small()) == 0
        peer.release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "received").mkdir()
    return tmp_path / "received"


def end(pid: int) -> None:
    """Stop a daemon that is no child of this process."""
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), f"{pid} ends")


class Detached:
    """A daemon that has detached; it is found by its pid file."""

    def __init__(self, tmp_path: Path, *options: str, prefix: list[str] | None = None) -> None:
        self.port = free_port()
        self.pid_file = tmp_path / "pid"
        self.result = run(
            *("--daemon", "--pid-file", "pid", "-dhl", *options, str(self.port)),
            cwd=tmp_path,
            prefix=prefix,
        )
        self.pid = int(self.pid_file.read_text()) if self.result[0] == 0 else 0


@pytest.fixture
def syslogd(tmp_path: Path) -> Iterator[Syslogd]:
    with Syslogd(tmp_path) as log:
        yield log


# --daemon, --pid-file, --chdir, --syslog


def test_daemon(tmp_path: Path, folder: Path, syslogd: Syslogd) -> None:
    daemon = Detached(tmp_path, "-v", "--fork", "-od", "received", prefix=syslogd.prefix)
    assert daemon.result == (0, "")
    assert is_listening(daemon.port), "the command returns when the port is open"
    try:
        wait_until(lambda: ": master [listening " in command_line(daemon.pid), "the title")
        fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
        parent, group, terminal = int(fields[1]), int(fields[2]), int(fields[4])
        assert parent != os.getpid()
        assert group != os.getpgrp()
        assert terminal == 0
        assert os.readlink(f"/proc/{daemon.pid}/cwd") == "/"
        for fd in range(3):
            assert os.readlink(f"/proc/{daemon.pid}/fd/{fd}") == "/dev/null"
        stores(daemon.port)
        assert len(list(folder.iterdir())) == 1
        facility, severity, program, pid, text = syslogd.message()
        assert (facility, severity, program) == (DAEMON, INFO, "storescpd")
        assert text == f"Association Received in child process (pid: {pid})"
        os.kill(daemon.pid, signal.SIGHUP)
        stores(daemon.port)
    finally:
        end(daemon.pid)
    assert not daemon.pid_file.exists()


def test_daemon_in_one_process(tmp_path: Path, folder: Path) -> None:
    daemon = Detached(tmp_path, "-od", "received", "--umask", "077")
    assert daemon.result == (0, "")
    stores(daemon.port)
    end(daemon.pid)
    (stored,) = folder.iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600


def test_daemon_leaves_inherited_descriptors_alone(tmp_path: Path, folder: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    port = free_port()
    command = [*argv(OURS), "--daemon", "--pid-file", "pid", "-od", str(folder), str(port)]
    subprocess.run(command, cwd=tmp_path, pass_fds=[writer], check=True)
    os.close(writer)
    assert os.read(reader, 1) == b"", "whoever waits for the pipe's end waits for the daemon"
    os.close(reader)
    end(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("options", [("--chdir", "elsewhere"), ("--chdir", "elsewhere", "--fork")])
def test_chdir(tmp_path: Path, folder: Path, options: tuple[str, ...]) -> None:
    """Names on the command line mean the folder the daemon was started in."""
    (tmp_path / "elsewhere").mkdir()
    daemon = Detached(tmp_path, "-od", "received", *options)
    assert daemon.result == (0, "")
    assert os.readlink(f"/proc/{daemon.pid}/cwd") == str(tmp_path / "elsewhere")
    stores(daemon.port)
    end(daemon.pid)
    assert len(list(folder.iterdir())) == 1


def test_chdir_and_the_default_folder(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    port = free_port()
    process = subprocess.Popen(
        [*argv(OURS), "-v", "--chdir", "../elsewhere", str(port)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    stores(port)
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert len(list(folder.iterdir())) == 1
    assert f"storing DICOM file: {folder}/CT." in stderr, "paths are told in full"


def test_what_is_wrong_is_told_before_detaching(tmp_path: Path, folder: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--daemon", "--pid-file", "pid", "-od", "received", str(port), cwd=tmp_path)
    assert done == (
        1,
        "E: cannot create network: 0006:031c TCP Initialization Error: Address already in use\n",
    )
    assert not (tmp_path / "pid").exists()


def test_pid_file(tmp_path: Path, start_receiver: StartReceiver) -> None:
    path = tmp_path / "pid"
    receiver = start_receiver(OURS, "--fork", "--pid-file", str(path))
    assert path.read_text() == f"{receiver.pid}\n"
    done = run("--pid-file", str(path), "-od", "/tmp", str(free_port()))
    assert done == (1, f"F: already running: {path} is held by process {receiver.pid}\n")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        (child,) = receiver.wait_for_children(1)
        peer.release()
        wait_until(lambda: not is_alive(child), "the child ends")
    assert path.read_text() == f"{receiver.pid}\n", "children leave it alone"
    receiver.stop()
    assert not path.exists()


def test_pid_file_of_a_killed_daemon_is_taken_over(
    tmp_path: Path, start_receiver: StartReceiver
) -> None:
    path = tmp_path / "pid"
    killed = start_receiver(OURS, "--pid-file", str(path))
    killed.kill()
    receiver = start_receiver(OURS, "--pid-file", str(path))
    assert path.read_text() == f"{receiver.pid}\n"


def test_syslog(tmp_path: Path, folder: Path, syslogd: Syslogd) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*syslogd.prefix, *argv(OURS), "--syslog", "--fork", "-od", str(folder), str(port)],
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    with Peer.connect(port) as peer:
        peer.associate()
        peer.send_command(wire.store_rsp(wire.CT, "1.2", 1, 0))
        peer.expect_abort(0, 0)
    texts = []
    for _ in range(2):
        facility, severity, program, pid, text = syslogd.message()
        assert (facility, severity, program) == (DAEMON, ERROR, "storescpd")
        assert pid != process.pid, "the child speaks for itself"
        texts.append(text)
    assert "Expected C-ECHO or C-STORE request" in texts[0]
    process.terminate()
    _, stderr = process.communicate(timeout=PATIENCE)
    assert stderr == b""


def test_syslog_tells_why_an_inetd_run_failed(tmp_path: Path, syslogd: Syslogd) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        missing = str(tmp_path / "missing")
        code, stderr = run(
            *("--inetd", "--syslog", "-od", missing),
            stdin=theirs.fileno(),
            prefix=syslogd.prefix,
        )
    assert (code, stderr) == (1, "")
    _, severity, _, _, text = syslogd.message()
    assert (severity, text) == (CRITICAL, f"specified output directory does not exist: {missing}")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--inetd", "-ta", "0"), "Invalid value for option --acse-timeout (underflow: 0)"),
        (("--inetd", "--conf", "/none"), "Cannot read configuration file '/none': No such file"),
        (("--inetd-wait", "--what"), "Unknown option --what"),
    ],
)
def test_wrong_options_under_inetd_are_told_to_syslog_and_not_to_the_peer(
    syslogd: Syslogd, options: tuple[str, ...], fault: str
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [*syslogd.prefix, *argv(OURS), *options]
        fd = theirs.fileno()
        done = subprocess.run(command, stdin=fd, stdout=fd, stderr=fd, timeout=30, check=False)
        assert done.returncode == 1
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    _, severity, program, _, text = syslogd.message()
    assert (severity, program) == (ERROR, "storescpd")
    assert text.startswith(f"error: {fault}")


def test_syslog_takes_each_line_by_itself_and_any_character(folder: Path, syslogd: Syslogd) -> None:
    script = (
        "import logging; from storescpd import syslog; syslog.redirect('storescpd');"
        "logging.getLogger().setLevel(1); log = logging.getLogger('dcmtk.apps.storescp');"
        "log.warning('one\\ntwo %s \\0 \\udcff 100%%', 'three'); log.log(5, 'four');"
    )
    prefix = [*syslogd.prefix, sys.executable, "-c"]
    subprocess.run(
        [*prefix, "import logging; logging.getLogger().setLevel(1);" + script], check=True
    )
    found = [(severity, text) for _, severity, _, _, text in (syslogd.message() for _ in range(3))]
    assert found == [(WARNING, "one"), (WARNING, "two three ? ? 100%"), (7, "four")]


# --user, --group


def free_privileged_port() -> int:
    for _ in range(100):
        port = random.randrange(600, 1000)
        if not is_listening(port):
            return port
    raise AssertionError("no free port below 1024")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the user nobody can reach and write to."""
    path = Path(f"/tmp/storescpd-test-{os.getpid()}")
    path.mkdir()
    path.chmod(0o777)
    yield path
    for one in path.iterdir():
        one.unlink()
    path.rmdir()


# The interpreter of a virtual environment may lie where only root can read.
IMPORTS = "storescpd.main, storescpd.syslog, setproctitle, dcmstore.dumps, pydicom._dicom_dict"


@root_only
def test_user(open_folder: Path, tmp_path: Path) -> None:
    port = free_privileged_port()
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", f"import sys, {IMPORTS}; sys.exit(storescpd.main.main())"),
                *("--fork", "--user", "nobody", "--pid-file", str(tmp_path / "pid"), "+B"),
                *("--umask", "027", "-od", str(open_folder), str(port)),
            ],
            stderr=stream,
        )
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, log.read_text())
        wait_until(lambda: "master" in command_line(process.pid), "the start is over")
        uid = pwd.getpwnam("nobody").pw_uid
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
        stores(port)
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0, log.read_text()
    assert log.read_text() == ""
    (stored,) = open_folder.iterdir()
    assert (stored.stat().st_uid, stored.stat().st_mode & 0o777) == (uid, 0o640)
    # Its folder is root's, so the file cannot be removed; an empty one names no process.
    assert not (tmp_path / "pid").exists() or (tmp_path / "pid").read_text() == ""


@root_only
def test_folder_is_judged_as_the_user(open_folder: Path) -> None:
    open_folder.chmod(0o755)
    done = run("--user", "nobody", "-od", str(open_folder), str(free_port()))
    assert done == (1, f"F: specified output directory is not writeable: {open_folder}\n")


@pytest.mark.parametrize("option", ["--user", "--group"])
def test_unknown_user(option: str) -> None:
    done = run(option, "nosuchname", "-od", "/tmp", str(free_port()))
    assert done == (1, f"F: unknown {option[2:]}: nosuchname\n")


# --bind, --umask, --conf


def test_bind(tmp_path: Path, start_receiver: StartReceiver) -> None:
    options = ("--bind", "127.0.0.2", "--bind", "::1", "--bind", "127.0.0.2", "-i0", "--fork")
    receiver = start_receiver(OURS, *options, "-dhl")
    assert f"127.0.0.2:{receiver.port}, [::1]:{receiver.port}" in command_line(receiver.pid)
    for host in ("127.0.0.2", "::1"):
        stores(receiver.port, host)
    for host in ("127.0.0.1", "127.0.0.3"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, receiver.port), PATIENCE)
    assert len(receiver.names()) == 2


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("198.51.100.1", "Cannot assign requested address (198.51.100.1 port "),
        ("no.such.host.invalid", "no.such.host.invalid"),
        ("::1", "::1"),
    ],
)
def test_bind_to_what_is_not_ours(address: str, reason: str) -> None:
    code, stderr = run("--bind", address, "-od", "/tmp", str(free_port()))
    assert code == 1
    assert stderr.startswith("E: cannot create network: 0006:031c TCP Initialization Error: ")
    assert reason in stderr


@pytest.mark.parametrize(("mask", "mode"), [("022", 0o644), ("0", 0o666), ("0277", 0o400)])
def test_umask(start_receiver: StartReceiver, mask: str, mode: int) -> None:
    receiver = start_receiver(OURS, "--umask", mask, "-dhl")
    stores(receiver.port)
    (name,) = receiver.names()
    assert (receiver.folder / name).stat().st_mode & 0o777 == mode


def test_conf(tmp_path: Path, start_receiver: StartReceiver) -> None:
    conf = tmp_path / "storescpd.conf"
    conf.write_text("--fork # always\n-v\n-aet 'CONFIGURED'\n--output-directory /nowhere\n104\n")
    receiver = start_receiver(OURS, "--conf", str(conf), "-dhl")
    stores(receiver.port)
    assert "in child process" in receiver.log()
    assert len(receiver.names()) == 1, "the command line wins over the file"


def test_conf_error(tmp_path: Path) -> None:
    conf = tmp_path / "storescpd.conf"
    conf.write_text("-v\n--forck\n")
    code, stderr = run("--conf", str(conf), "104")
    assert code == 1
    assert stderr.endswith(f"error: {conf}:2: Unknown option --forck\n")


# --check-config


def test_check_config_finds_nothing_and_does_nothing(
    tmp_path: Path, start_receiver: StartReceiver
) -> None:
    pid_file = tmp_path / "pid"
    receiver = start_receiver(OURS, "--pid-file", str(pid_file))
    leftover = receiver.folder / ".storescpd-1-1.part"
    leftover.touch()
    same = ("--pid-file", str(pid_file), "-od", str(receiver.folder), str(receiver.port))
    for options in (
        same,
        ("--daemon", "--fork", "--max-associations", "5", *same),
        ("--syslog", "--umask", "022", "--chdir", "/", "--bind", "localhost", *same),
        ("--inetd", "-od", str(receiver.folder)),
        ("--inetd-wait", "--fork", "--idle-exit", "9", "-od", str(receiver.folder)),
        ("--user", str(os.geteuid()), "--group", str(os.getegid()), *same),
    ):
        assert run("--check-config", *options) == (0, ""), options
    assert pid_file.read_text() == f"{receiver.pid}\n"
    assert leftover.exists()


def test_check_config_without_a_pid_file_makes_none(tmp_path: Path) -> None:
    options = ("--check-config", "--pid-file", str(tmp_path / "pid"), "-od", str(tmp_path), "104")
    assert run(*options) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            ("-od", "/no/such/folder"),
            "F: specified output directory does not exist: /no/such/folder",
        ),
        (("-od", "/etc/passwd"), "F: specified output directory does not exist: /etc/passwd"),
        (("--pid-file", "/no/such/folder/pid"), "F: no directory for pid file /no/such/folder/pid"),
        (("--pid-file", "/etc/passwd"), "F: not a pid file: /etc/passwd"),
        (("--pid-file", "/tmp"), "F: cannot open pid file /tmp: Is a directory"),
        (("--pid-file", "/dev/null"), "F: not a pid file: /dev/null"),
        (("--user", "nosuchuser"), "F: unknown user: nosuchuser"),
        (("--group", "nosuchgroup"), "F: unknown group: nosuchgroup"),
        (("--chdir", "/no/such/folder"), "F: cannot change to directory /no/such/folder: No such"),
        (("--bind", "::1"), "E: cannot create network: 0006:031c TCP Initialization Error: "),
        (("--ignore", "-B"), None),
        (("-ta", "0"), "error: Invalid value for option --acse-timeout (underflow: 0)"),
        (("--conf", "/no/such/file"), "error: Cannot read configuration file '/no/such/file': No"),
    ],
)
def test_check_config_names_the_fault(
    tmp_path: Path, options: tuple[str, ...], fault: str | None
) -> None:
    code, stderr = run("--check-config", "-od", "/tmp", *options, "11112")
    if fault is None:
        assert (code, stderr) == (0, "")
        return
    assert code == 1
    assert stderr.splitlines()[-1].startswith(fault)
    assert sum(line.startswith(("F:", "E:", "error:")) for line in stderr.splitlines()) == 1


@root_only
def test_check_config_looks_at_the_tables_of_access_control(tmp_path: Path) -> None:
    (tmp_path / "deny").write_text("ALL: ALL")
    prefix = ["unshare", "-m", "sh", "-ec", 'mount --bind "$0" /etc/hosts.deny && exec "$@"']
    prefix.append(str(tmp_path / "deny"))
    created = not Path("/etc/hosts.deny").exists()
    if created:
        Path("/etc/hosts.deny").touch()
    options = ("--check-config", "-od", "/tmp", "11112")
    try:
        code, stderr = run(*options, "+ac", prefix=prefix)
        assert code == 1
        assert stderr.startswith("F: /etc/hosts.deny, line 1: no newline at the end;")
        assert run(*options, prefix=prefix) == (0, ""), "without access control nobody cares"
        (tmp_path / "deny").write_text("ALL: ALL\n")
        assert run(*options, "+ac", prefix=prefix) == (0, "")
    finally:
        if created:
            Path("/etc/hosts.deny").unlink()


def test_check_config_leaves_standard_input_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert run("--check-config", "--inetd", "-od", "/tmp", stdin=theirs.fileno()) == (0, "")
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


# --grace-period (its use under load is tested with the master)


def test_no_grace_at_all(start_receiver: StartReceiver) -> None:
    for mode in ("--fork", "--single-process"):
        receiver = start_receiver(OURS, mode, "--grace-period", "0", "-dhl")
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            receiver.send_signal(signal.SIGTERM)
            peer.expect_abort(0, 0)
        assert receiver.wait() == 0


def test_standard_descriptors_that_are_closed(tmp_path: Path, folder: Path) -> None:
    """A socket that took the place of one of them would get what is printed."""
    port = free_port()
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            'exec "$@" <&- >&- 2>&-',
            "-",
            *argv(OURS),
            "-v",
            "-od",
            str(folder),
            str(port),
        ]
    )
    wait_until(lambda: is_listening(port) or process.poll() is not None, "it listens")
    for fd in range(3):
        assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
    stores(port)
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_closed_standard_input_under_inetd() -> None:
    command = ["sh", "-c", 'exec "$@" <&-', "-", *argv(OURS), "--inetd", "-od", "/tmp"]
    assert subprocess.run(command, timeout=30, check=False).returncode == 99


@root_only
def test_the_kernel_says_who_may_listen_on_low_ports() -> None:
    port = free_privileged_port()
    prefix = ["setpriv", "--bounding-set", "-net_bind_service"]
    done = run("-od", "/tmp", str(port), prefix=prefix)
    assert done == (1, f"F: cannot listen on port {port}, insufficient privileges\n")
