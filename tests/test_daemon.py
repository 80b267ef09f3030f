"""Detaching, pid files and privileges, in real processes."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storescpd import daemon
from storescpd.daemon import DaemonError, check_identity
from storescpd.pidfile import PidFile

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")

PASSWD = """root:x:0:0:root:/root:/bin/sh
storescpd:x:4242:4242::/var/lib/storescpd:/usr/sbin/nologin
"""
GROUP = """root:x:0:
storescpd:x:4242:
pacs:x:4343:storescpd
archive:x:4344:storescpd
other:x:4345:
"""

# Shown by the processes under test: who they are as the kernel sees it.
SHOW_IDS = """
import os
for line in open("/proc/self/status"):
    if line.startswith(("Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:")):
        print(*line.split())
"""


def run(script: str, *arguments: str, prefix: list[str] | None = None) -> list[str]:
    """Run a script to its end; the lines that it printed."""
    command = [*(prefix or []), sys.executable, "-c", script, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.splitlines()


@pytest.fixture
def users(tmp_path: Path) -> list[str]:
    """A prefix for commands that makes PASSWD and GROUP the system's users."""
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)
    mounts = f"mount --bind {tmp_path}/passwd /etc/passwd; mount --bind {tmp_path}/group /etc/group"
    return ["unshare", "-m", "sh", "-ec", f'{mounts}; exec "$0" "$@"']


DROP = (
    """
import socket, sys
from storescpd import daemon
user, group = (None if one == "-" else one for one in sys.argv[1:])
daemon.drop_privileges(daemon.check_identity(user, group))
"""
    + SHOW_IDS
    + """
print(*(os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")))
for regain in (os.setuid, os.seteuid, os.setgid):
    try:
        regain(0)
        print(regain.__name__, "gave root back")
    except PermissionError:
        pass
"""
)


@root_only
def test_user_brings_all_its_groups_and_no_capability(users: list[str]) -> None:
    assert run(DROP, "storescpd", "-", prefix=users) == [
        "Uid: 4242 4242 4242 4242",
        "Gid: 4242 4242 4242 4242",
        "Groups: 4242 4343 4344",
        "CapPrm: 0000000000000000",
        "CapEff: 0000000000000000",
        "/var/lib/storescpd storescpd storescpd",
    ]


@root_only
def test_group_takes_the_place_of_the_primary_one(users: list[str]) -> None:
    by_name = run(DROP, "storescpd", "other", prefix=users)
    assert by_name[:3] == [
        "Uid: 4242 4242 4242 4242",
        "Gid: 4345 4345 4345 4345",
        "Groups: 4343 4344 4345",
    ]
    assert run(DROP, "4242", "4345", prefix=users) == by_name


@root_only
def test_group_alone(users: list[str]) -> None:
    lines = run(DROP, "-", "pacs", prefix=users)
    assert lines[:3] == ["Uid: 0 0 0 0", "Gid: 4343 4343 4343 4343", "Groups: 4343"]


def test_nothing_asked_for_changes_nothing() -> None:
    assert run(DROP, "-", "-")[:5] == run(SHOW_IDS)


def test_becoming_oneself_needs_no_privilege() -> None:
    identity = check_identity(None, None)
    daemon.drop_privileges(identity)
    assert identity.uid == os.geteuid()
    assert identity.groups == frozenset((os.getegid(), *os.getgroups()))


@root_only
def test_becoming_oneself_without_a_list_of_groups(users: list[str]) -> None:
    """As a container starts it."""
    script = """
import os
from storescpd import daemon
os.setgroups([])
os.setgid(4345)
os.setuid(4242)
daemon.drop_privileges(daemon.check_identity(None, "other"))
print(os.getgroups())
"""
    assert run(script, prefix=users) == ["[]"]


@pytest.mark.parametrize(
    ("user", "group", "complaint"),
    [
        ("nosuchuser", None, "unknown user: nosuchuser"),
        ("4000000000", None, "unknown user: 4000000000"),
        ("99999999999999999999", None, "unknown user: 99999999999999999999"),
        ("", None, "unknown user: "),
        (None, "nosuchgroup", "unknown group: nosuchgroup"),
        ("root", "99999999999999999999", "unknown group: 99999999999999999999"),
    ],
)
def test_unknown_names_are_one_clear_error(
    user: str | None, group: str | None, complaint: str
) -> None:
    with pytest.raises(DaemonError) as caught:
        check_identity(user, group)
    assert str(caught.value) == complaint


@root_only
def test_without_privileges_the_error_comes_before_anything_is_done(users: list[str]) -> None:
    script = """
import os
from storescpd import daemon
os.setuid(4242)
try:
    daemon.check_identity("root", "pacs")
except daemon.DaemonError as error:
    print(error)
"""
    assert run(script, prefix=users) == ["only root can change to user root group pacs"]


@root_only
@pytest.mark.parametrize(
    ("sabotage", "complaint"),
    [
        # What a library call that leaves the saved id behind would do.
        ("os.setresuid = lambda r, e, s: set_ids(e, e, 0)", "did not become user storescpd"),
        ("os.setresgid = lambda r, e, s: set_gids(e, e, 0)", "did not become user storescpd"),
        ("os.setgroups = lambda groups: None", "did not become user storescpd"),
        # Even if the ids look right.
        (
            "os.setresuid = lambda r, e, s: set_ids(e, e, 0) if e else set_ids(r, e, s)\n"
            "os.getresuid = lambda: (4242, 4242, 4242)",
            "became user storescpd, but root can be had back",
        ),
    ],
)
def test_incomplete_drop_is_noticed(users: list[str], sabotage: str, complaint: str) -> None:
    script = f"""
import os
from storescpd import daemon
set_ids, set_gids = os.setresuid, os.setresgid
identity = daemon.check_identity("storescpd", None)
{sabotage}
try:
    daemon.drop_privileges(identity)
except daemon.DaemonError as error:
    print(error)
"""
    assert run(script, prefix=users) == [complaint]


DETACH = """
import os, resource, socket, sys
from storescpd import daemon
folder, chdir = sys.argv[1:]
kept = socket.create_server(("127.0.0.1", 0))
lost = open("/etc/hosts")
report = open(folder + "/report", "x")
tell = daemon.detach([kept.fileno(), report.fileno()], 0o027, chdir)
tell()
umask = os.umask(0)
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
others = {int(fd) for fd in os.listdir("/proc/self/fd")} - {0, 1, 2}
others = {fd for fd in others if is_open(fd)}  # not the one that listed them
standard = {os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}
print("pid", os.getpid(), file=report)
print("leads a session", os.getsid(0) == os.getpid(), file=report)
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    print("no terminal", file=report)
print("standard", *standard, file=report)
print("others", others == {kept.fileno(), report.fileno()}, file=report)
print("still listens", bool(kept.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)), file=report)
print(f"umask {umask:03o} in {os.getcwd()}", file=report)
print("core", resource.getrlimit(resource.RLIMIT_CORE), file=report)
report.flush()
os.rename(folder + "/report", folder + "/done")
"""


def wait_for(path: Path) -> list[str]:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
    return path.read_text().splitlines()


def test_detach(tmp_path: Path) -> None:
    assert run(DETACH, str(tmp_path), str(tmp_path)) == []  # the first process has exited with 0
    pid, *facts = wait_for(tmp_path / "done")
    assert int(pid.split()[1]) != os.getpid()
    assert facts == [
        # Not the leader: such a process could get a terminal again by opening one.
        "leads a session False",
        "no terminal",
        "standard /dev/null",
        "others True",
        "still listens True",
        f"umask 027 in {tmp_path}",
        "core (0, 0)",
    ]


def test_folder_that_cannot_be_entered_is_told_before_detaching(tmp_path: Path) -> None:
    script = "from storescpd import daemon\n" + (
        f"try:\n  daemon.detach([], 0o022, {str(tmp_path / 'missing')!r})\n"
        "except daemon.DaemonError as error:\n  print(error)\n"
    )
    (line,) = run(script)
    assert line == f"cannot change to directory {tmp_path}/missing: No such file or directory"


def test_first_process_waits_for_the_end_of_the_start() -> None:
    script = """
import time
from storescpd import daemon
tell = daemon.detach([], 0o022, "/")
time.sleep(0.3)
{end}
"""
    for end, code in (("tell()", 0), ("raise SystemExit", 1)):
        process = subprocess.Popen([sys.executable, "-c", script.format(end=end)])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        assert process.wait(30) == code


def test_closed_standard_descriptors_are_filled(tmp_path: Path) -> None:
    script = f"""
import os, sys
from storescpd import daemon
daemon.open_standard_fds()
print("to nowhere")
with open({str(tmp_path / "report")!r}, "w") as report:
    print(report.fileno(), *(os.readlink(f"/proc/self/fd/{{fd}}") for fd in (0, 1, 2)), file=report)
daemon.detach([], 0o022, "/")()
open({str(tmp_path / "done")!r}, "x")
"""
    subprocess.run(["sh", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, script], check=True)
    assert wait_for(tmp_path / "done") == []
    (line,) = (tmp_path / "report").read_text().splitlines()
    assert line == "3 /dev/null /dev/null /dev/null"


def test_open_standard_descriptors_are_left_alone() -> None:
    script = "from storescpd import daemon\ndaemon.open_standard_fds()\nprint('here')"
    assert run(script) == ["here"]


def test_python_daemon_is_imported_only_to_detach() -> None:
    script = """
import sys
import logging  # which brings some of them in newer versions of Python
before = set(sys.modules)
import storescpd.daemon, storescpd.pidfile
heavy = {"daemon", "subprocess", "inspect", "pathlib", "dataclasses"}
print(*heavy & (set(sys.modules) - before))
"""
    # Not with the site's start-up files, which import as they please.
    prefix_free = [sys.executable, "-S", "-c", script]
    environment = os.environ | {"PYTHONPATH": str(Path(daemon.__file__).parents[1])}
    output = subprocess.run(
        prefix_free, stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    assert output.stdout.split() == []


# Claims a pid file like the daemon, detaches where told to, and stays until it is killed.
# A child, like one with an association to finish, stays as well.
HOLD = """
import os, signal, sys
from storescpd import daemon
from storescpd.pidfile import PidFile
path, how, ready = sys.argv[1:]
pidfile = PidFile(path)
pidfile.claim()
if how == "detached":
    tell = daemon.detach([pidfile.fileno()], 0o022, "/")
    pidfile.rewrite()
    tell()
else:
    pidfile.rewrite()
child = os.fork()
if child == 0:
    pidfile.release()
    signal.pause()
    os._exit(0)
with open(ready + ".new", "w") as report:
    print(os.getpid(), child, file=report)
os.rename(ready + ".new", ready)
signal.sigwait([signal.SIGTERM])
pidfile.release()
"""


class Holder:
    """A process that holds ``path``, and its child."""

    def __init__(self, path: Path, how: str) -> None:
        ready = path.with_suffix(".ready")
        script = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        self._process = subprocess.Popen(
            [sys.executable, "-c", script + HOLD, str(path), how, str(ready)]
        )
        (line,) = wait_for(ready)
        self.pid, self.child = (int(word) for word in line.split())
        ready.unlink()

    def stop(self, number: int) -> None:
        os.kill(self.pid, number)
        if self._process.pid == self.pid:
            self._process.wait()
        else:
            wait_until_gone(self.pid)

    def clean_up(self) -> None:
        for pid in (self.pid, self.child):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state in "ZX":
            return
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


@pytest.fixture(params=["foreground", "detached"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Holder]:
    one = Holder(tmp_path / "pid", request.param)
    yield one
    one.clean_up()


def test_pid_file_names_the_daemon_and_keeps_a_second_one_out(
    holder: Holder, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    assert path.read_text() == f"{holder.pid}\n"
    with pytest.raises(DaemonError) as caught:
        PidFile(str(path)).claim()
    assert str(caught.value) == f"already running: {path} is held by process {holder.pid}"
    assert path.read_text() == f"{holder.pid}\n"


def test_pid_file_is_removed_at_the_end_but_not_by_a_child(holder: Holder, tmp_path: Path) -> None:
    assert (tmp_path / "pid").exists()  # the child has released it, in vain
    holder.stop(signal.SIGTERM)
    assert not (tmp_path / "pid").exists()


def test_killed_daemon_leaves_a_stale_file_though_its_child_lives(
    holder: Holder, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    holder.stop(signal.SIGKILL)
    assert path.read_text() == f"{holder.pid}\n"
    os.kill(holder.child, 0)  # still there
    with PidFile(str(path)) as mine:
        mine.rewrite()
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_file_that_was_removed_while_it_was_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pid"
    opened = []

    def open_then_lose(self: PidFile) -> int:
        opened.append(original(self))
        if len(opened) == 1:
            path.unlink()
        return opened[-1]

    original = PidFile._open
    monkeypatch.setattr(PidFile, "_open", open_then_lose)
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert len(opened) == 2


def test_file_that_cannot_be_written_does_not_stay(tmp_path: Path) -> None:
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    pidfile = PidFile(f"{tmp_path}/pid")
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # like a full disk
    try:
        with pytest.raises(DaemonError, match=r"^cannot write pid file .*/pid: File too large$"):
            pidfile.claim()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert list(tmp_path.iterdir()) == []
    with pidfile:
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["", "\n", "999999\n", "4194304"])
def test_stale_content(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("content", ["root:x:0:0\n", "1" * 21, "12 34", "-1"])
def test_other_files_are_not_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises(DaemonError) as caught:
        PidFile(str(path)).claim()
    assert str(caught.value) == f"not a pid file: {path}"
    assert path.read_text() == content


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "pid").symlink_to(tmp_path / "victim")
    with pytest.raises(
        DaemonError, match=f"^cannot open pid file {tmp_path}/pid: a symbolic link$"
    ):
        PidFile(f"{tmp_path}/pid").claim()
    assert (tmp_path / "victim").read_text() == ""


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    with pytest.raises(DaemonError, match=r"^not a pid file: .*/pid$"):
        PidFile(f"{tmp_path}/pid").claim()


def test_missing_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        PidFile(f"{tmp_path}/missing/pid").claim()
    assert str(caught.value) == (
        f"cannot open pid file {tmp_path}/missing/pid: No such file or directory"
    )


def test_relative_path_is_that_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pidfile = PidFile("pid")
    pidfile.claim()
    monkeypatch.chdir("/")
    pidfile.release()
    assert list(tmp_path.iterdir()) == []


@root_only
def test_file_that_the_user_may_not_remove_is_emptied(users: list[str], tmp_path: Path) -> None:
    script = """
import sys
from storescpd import daemon
from storescpd.pidfile import PidFile
with PidFile(sys.argv[1]) as pidfile:
    daemon.drop_privileges(daemon.check_identity("storescpd", None))
    pidfile.rewrite()
    print(open(sys.argv[1]).read().strip().isdigit())
"""
    folder = tmp_path / "run"
    folder.mkdir()
    for parent in (folder, *list(folder.parents)[:3]):
        parent.chmod(0o755)
    assert run(script, str(folder / "pid"), prefix=users) == ["True"]
    assert (folder / "pid").read_text() == ""
