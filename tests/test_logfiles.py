"""Log files that several processes write, that are rolled, moved away and cannot be written."""

import fcntl
import os
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from harness.logconfigs import Told, make_appender, say, send_in_vain
from harness.processes import wait_until
from harness.receivers import REFERENCE

from dcmstore import loglocks, logoutlets
from dcmstore.logappenders import Appender
from dcmstore.loglocks import Lock
from dcmstore.logoutlets import Writability

MakeAppender = Callable[..., Appender]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def make(tmp_path: Path, told: Told) -> MakeAppender:
    """Make an appender for ``x.log``, which shows nothing but messages."""

    def made(kind: str, *, rehearsed: bool = False, **properties: object) -> Appender:
        values = {"File": "x.log", **properties}
        return make_appender(kind, tmp_path, told, rehearsed=rehearsed, **values)

    return made


def in_processes(count: int, work: Callable[[int], None]) -> None:
    """Do the work in so many processes at once."""
    gate, opened = os.pipe()
    pids = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                os.close(opened)
                os.read(gate, 1)
                work(number)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(gate)
    os.close(opened)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * count


KINDS = ("FileAppender", "RollingFileAppender", "DailyRollingFileAppender")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("opened", ["before", "after"])
def test_many_processes(
    tmp_path: Path, make: MakeAppender, told: Told, kind: str, locked: bool, opened: str
) -> None:
    """Each line is there once and whole, whether they have forked from one or are strangers."""
    count, lines = 6, 400

    def appender() -> Appender:
        return make(kind, MaxFileSize="200KB", MaxBackupIndex=50, UseLockFile=locked, Append=True)

    inherited = appender()

    def work(number: int) -> None:
        mine = inherited if opened == "before" else appender()
        for line in range(lines):
            say(mine, f"{number} {line} " + chr(ord("a") + number) * (line % 300 + 100))
        assert not told.lines

    in_processes(count, work)
    found = {}
    for path in tmp_path.glob("x.log*"):
        for text in path.read_text().splitlines():
            number, line, rest = text.split(" ")
            assert rest == chr(ord("a") + int(number)) * (int(line) % 300 + 100)
            assert (number, line) not in found
            found[number, line] = path.name
    assert len(found) == count * lines
    if kind == "RollingFileAppender":
        sizes = [path.stat().st_size for path in tmp_path.glob("x.log.[0-9]*")]
        assert len(sizes) == 2
        # Nobody went on with a file that another one had rolled.
        assert all(200 * 1024 < size <= 200 * 1024 + 420 for size in sizes)
        # Youngest first, and what one process wrote is in order.
        order = ["x.log.2", "x.log.1", "x.log"]
        for number in map(str, range(count)):
            places = [order.index(found[number, str(line)]) for line in range(lines)]
            assert places == sorted(places)
    else:
        assert set(found.values()) == {"x.log"}


@pytest.mark.parametrize("locked", [False, True])
def test_many_processes_find_that_the_day_is_over(
    tmp_path: Path, make: MakeAppender, told: Told, locked: bool
) -> None:
    appender = make("DailyRollingFileAppender", UseLockFile=locked)
    say(appender, "yesterday")
    yesterday = time.time() - 86400
    os.utime(tmp_path / "x.log", (yesterday, yesterday))

    def work(number: int) -> None:
        for line in range(50):
            say(appender, f"{number} {line}")
        assert not told.lines

    in_processes(8, work)
    rolled = tmp_path / time.strftime("x.log.%Y-%m-%d", time.localtime(yesterday))
    assert {path.name for path in tmp_path.iterdir()} - {"x.log.lock"} == {"x.log", rolled.name}
    assert rolled.read_text() == "yesterday\n"
    assert len(set((tmp_path / "x.log").read_text().splitlines())) == 400


SCHEDULES = {
    "MONTHLY": "%Y-%m",
    "WEEKLY": "%Y-%W",
    "DAILY": "%Y-%m-%d",
    "TWICE_DAILY": "%Y-%m-%d-%p",
    "HOURLY": "%Y-%m-%d-%H",
    "MINUTELY": "%Y-%m-%d-%H-%M",
    "daily": "%Y-%m-%d",
}


def backup(schedule: str, when: float) -> str:
    """Return the name of what was written at that time. Weeks begin on Sundays."""
    day = datetime.fromtimestamp(when)
    if schedule == "WEEKLY":
        day -= timedelta(days=day.isoweekday() % 7)
    return day.strftime(f"x.log.{SCHEDULES[schedule]}")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(tmp_path: Path, make: MakeAppender, told: Told, schedule: str) -> None:
    appender = make("DailyRollingFileAppender", Schedule=schedule)
    for age in (50, 40, 0):
        say(appender, f"{age} days ago")
        when = time.time() - age * 86400
        os.utime(tmp_path / "x.log", (when, when))
        name = backup(schedule, when)
        if age:
            say(appender, "after that")
            assert (tmp_path / name).read_text().endswith(f"{age} days ago\n")
            assert (tmp_path / "x.log").read_text() == "after that\n"
    say(appender, "the same period")
    assert (tmp_path / "x.log").read_text() == "after that\n0 days ago\nthe same period\n"
    assert not told.lines


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_of_the_reference(tmp_path: Path, reference: str, schedule: str) -> None:
    """It renames the file when it ends, too, which tells the names."""
    config = (
        "log4cplus.rootLogger = INFO, f\nlog4cplus.appender.f.File = x.log\n"
        "log4cplus.appender.f = log4cplus::DailyRollingFileAppender\n"
        f"log4cplus.appender.f.Schedule = {schedule}\n"
    )
    before = time.time()
    left = send_in_vain(reference, tmp_path, config)
    assert {backup(schedule, before), backup(schedule, time.time())} & set(left.files)


@pytest.mark.parametrize(
    ("last", "week"),
    [
        ("2026-11-21", "2026-45"),
        ("2026-11-22", "2026-46"),
        ("2026-11-23", "2026-46"),
        ("2026-11-28", "2026-46"),
        ("2026-11-29", "2026-47"),
        ("2026-01-01", "2025-51"),
        ("2026-01-04", "2026-00"),
    ],
)
def test_weeks(
    tmp_path: Path, make: MakeAppender, monkeypatch: pytest.MonkeyPatch, last: str, week: str
) -> None:
    """The reference, when shown these days, names its files so."""
    appender = make("DailyRollingFileAppender", Schedule="WEEKLY")
    say(appender, "then")
    when = datetime.fromisoformat(f"{last}T23:59:59").timestamp()
    os.utime(tmp_path / "x.log", (when, when))
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: when + 9 * 86400)
    say(appender, "now")
    assert (tmp_path / f"x.log.{week}").read_text() == "then\n"


def test_unknown_schedule(tmp_path: Path, flavour: str) -> None:
    config = (
        "log4cplus.rootLogger = INFO, f\nlog4cplus.appender.f.File = x.log\n"
        "log4cplus.appender.f = log4cplus::DailyRollingFileAppender\n"
        "log4cplus.appender.f.Schedule = blah\n"
    )
    left = send_in_vain(flavour, tmp_path, config)
    assert left.err == (
        'log4cplus:WARN DailyRollingFileAppender::ctor()- "Schedule" not valid: blah\n'
    )


def test_file_is_not_rolled_when_the_program_ends(tmp_path: Path) -> None:
    config = (
        "log4cplus.rootLogger = INFO, f\nlog4cplus.appender.f.File = x.log\n"
        "log4cplus.appender.f = log4cplus::DailyRollingFileAppender\n"
    )
    for runs in (1, 2):
        left = send_in_vain("storescpd", tmp_path, config)
        assert list(left.files) == ["x.log"]
        assert left.files["x.log"].count("\n") == 3 * runs


def test_backups_of_one_day_are_numbered(tmp_path: Path, make: MakeAppender, told: Told) -> None:
    appender = make("DailyRollingFileAppender", MaxBackupIndex=2)
    yesterday = time.time() - 86400
    for number in range(5):
        say(appender, str(number))
        os.utime(tmp_path / "x.log", (yesterday, yesterday))
    say(appender, "end")
    name = time.strftime("x.log.%Y-%m-%d", time.localtime(yesterday))
    contents = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert contents == {"x.log": "end\n", name: "4\n", f"{name}.1": "3\n", f"{name}.2": "2\n"}
    assert not told.lines


def test_backups_with_a_gap(tmp_path: Path, make: MakeAppender) -> None:
    """A process that was killed while it renamed files costs no other one."""
    (tmp_path / "x.log").write_text("x" * 300_000)
    (tmp_path / "x.log.1").write_text("1")
    (tmp_path / "x.log.3").write_text("3")
    say(make("RollingFileAppender", MaxFileSize="200KB", MaxBackupIndex=5), "end")
    assert (tmp_path / "x.log.1").read_text() == "x" * 300_000 + "end\n"
    assert (tmp_path / "x.log.2").read_text() == "1"
    assert (tmp_path / "x.log.3").read_text() == "3"


@pytest.mark.parametrize("kind", KINDS)
def test_reopening(tmp_path: Path, make: MakeAppender, told: Told, kind: str) -> None:
    """The new file has the permissions of the old one, and nothing in it is lost."""
    appender = make(kind, Append=False)
    (tmp_path / "x.log").chmod(0o640)
    appender.reopen()
    say(appender, "before")
    (tmp_path / "x.log").rename(tmp_path / "x.old")
    umask = os.umask(0o077)
    try:
        appender.reopen()
        say(appender, "after")
        appender.reopen()
        say(appender, "again")
    finally:
        os.umask(umask)
    assert (tmp_path / "x.old").read_text() == "before\n"
    assert (tmp_path / "x.log").read_text() == "after\nagain\n"
    assert stat.S_IMODE((tmp_path / "x.log").stat().st_mode) == 0o640
    assert not told.lines


def test_reopening_what_cannot_be_opened(tmp_path: Path, make: MakeAppender, told: Told) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    appender = make("FileAppender", File="folder/x.log")
    folder.rename(tmp_path / "elsewhere")
    appender.reopen()
    say(appender, "still there")
    appender.reopen()
    assert (tmp_path / "elsewhere" / "x.log").read_text() == "still there\n"
    complaint = "log4cplus:ERROR Unable to open file: folder/x.log: No such file or directory\n"
    assert told.lines == [complaint]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_rolled_file_follows_its_name(tmp_path: Path, make: MakeAppender, kind: str) -> None:
    appender = make(kind)
    say(appender, "before")
    (tmp_path / "x.log").rename(tmp_path / "x.old")
    say(appender, "after")
    assert (tmp_path / "x.old").read_text() == "before\n"
    assert (tmp_path / "x.log").read_text() == "after\n"


@pytest.mark.parametrize("kind", KINDS)
def test_folder_that_is_gone(
    tmp_path: Path, make: MakeAppender, told: Told, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The file is written on, by all processes."""
    monkeypatch.setattr(loglocks, "PATIENCE", 0.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    appender = make(kind, File="folder/x.log")
    folder.rename(tmp_path / "elsewhere")
    for _ in range(3):
        say(appender, "still there")
    log = tmp_path / "elsewhere" / "x.log"
    # Before the file is read here: to close it gives up all locks that this process has on it.
    in_processes(1, lambda _: _lock_is_free(log))
    in_processes(3, lambda number: say(appender, str(number)))
    assert sorted(log.read_text().splitlines()) == ["0", "1", "2", *["still there"] * 3]
    folder.mkdir()
    appender.reopen()
    say(appender, "new")
    assert (folder / "x.log").read_text() == "new\n"
    assert len(told.lines) == (0 if kind == "FileAppender" else 1)


def _lock_is_free(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    assert loglocks.Lock().acquire(fd)


def test_file_that_can_be_opened_later(tmp_path: Path, make: MakeAppender, told: Told) -> None:
    appender = make("FileAppender", File="folder/x.log", ReopenDelay=0)
    for text in ("lost", "lost, too"):
        say(appender, text)
    (tmp_path / "folder").mkdir()
    say(appender, "there")
    assert (tmp_path / "folder" / "x.log").read_text() == "there\n"
    assert len(told.lines) == 1


def test_file_is_not_tried_for_each_message(tmp_path: Path, make: MakeAppender) -> None:
    appender = make("FileAppender", File="folder/x.log", ReopenDelay=3600)
    (tmp_path / "folder").mkdir()
    say(appender, "lost")
    assert not list((tmp_path / "folder").iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_full_disk(tmp_path: Path, make: MakeAppender, told: Told, kind: str) -> None:
    """It is told once, and what was left of a line does not disturb the next one."""
    appender = make(kind, File="x.log")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        say(appender, "first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        for text in ("second", "third", "fourth"):
            say(appender, text)
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        say(appender, "fifth")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, old[1]))
        say(appender, "sixth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (tmp_path / "x.log").read_text() == "first\nseco\nfifth\n"
    assert told.lines == ["log4cplus:ERROR file is not open: x.log: File too large\n"] * 2


def test_file_that_cannot_be_renamed(tmp_path: Path, make: MakeAppender, told: Told) -> None:
    """Messages go on into the file as it is."""
    (tmp_path / "x.log").write_text("x" * 300_000)
    (tmp_path / "x.log.1").mkdir()
    appender = make("RollingFileAppender", MaxFileSize="200KB")
    for text in ("one", "two"):
        say(appender, text)
    assert (tmp_path / "x.log").read_text().endswith("xone\ntwo\n")
    (line,) = told.lines
    assert "Failed to rename file from" in line
    assert "Is a directory" in line


def test_lock_that_another_process_keeps(
    tmp_path: Path, make: MakeAppender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, but not for ever, and nothing is lost."""
    monkeypatch.setattr(loglocks, "PATIENCE", 0.05)
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ours)
        fd = os.open(tmp_path / "x.log.lock", os.O_RDWR | os.O_CREAT)
        loglocks.Lock().acquire(fd)
        os.write(theirs, b"+")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(ours, 1)
        appender = make("FileAppender", UseLockFile=True)
        for number in range(5):
            say(appender, str(number))
        assert (tmp_path / "x.log").read_text() == "0\n1\n2\n3\n4\n"
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_fifo(
    tmp_path: Path, make: MakeAppender, told: Told, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Without a reader, and with one that does not read."""
    monkeypatch.setattr(logoutlets, "PATIENCE", 0.05)
    os.mkfifo(tmp_path / "x.log")
    appender = make(kind, ReopenDelay=0)
    say(appender, "lost")
    reader = os.open(tmp_path / "x.log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        say(appender, "read")
        assert os.read(reader, 100) == b"read\n"
        for _ in range(100):
            say(appender, "x" * 1000)
        while os.read(reader, 100_000):
            if not _readable(reader):
                break
        say(appender, "again")
        assert os.read(reader, 100).endswith(b"again\n")
    finally:
        os.close(reader)
    assert told.lines == [
        "log4cplus:ERROR Unable to open file: x.log: No such device or address\n",
        "log4cplus:ERROR file is not open: x.log: it takes nothing\n",
    ]


def _readable(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 0)[0])


def test_rehearsal_touches_nothing(tmp_path: Path, make: MakeAppender, told: Told) -> None:
    (tmp_path / "x.log").write_text("kept\n")
    for kind in KINDS:
        make(kind, rehearsed=True, Append=False, UseLockFile=True)
        make(kind, rehearsed=True, File="no/x.log")
        make(kind, rehearsed=True, File=".")
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]
    assert (tmp_path / "x.log").read_text() == "kept\n"
    assert told.lines == [
        "log4cplus:ERROR Unable to open file: no/x.log: No such file or directory\n",
        "log4cplus:ERROR Unable to open file: .: Is a directory\n",
    ] * len(KINDS)


def test_the_reference_shares_a_file_by_the_lock_file(tmp_path: Path, reference: str) -> None:
    """Both programs append to one file at once, each while it holds the lock."""
    config = (
        "log4cplus.rootLogger = INFO, f\nlog4cplus.appender.f = log4cplus::RollingFileAppender\n"
        "log4cplus.appender.f.File = x.log\nlog4cplus.appender.f.UseLockFile = true\n"
    )
    (tmp_path / "log.cfg").write_text(config)
    hold = (
        "import sys; from dcmstore import loglocks;"
        "held = loglocks.Lock().acquire(loglocks.open_lock_file('x.log.lock'));"
        "print(held, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"True\n"
        waiting = subprocess.Popen(
            ["/usr/bin/storescu", "-lc", "log.cfg", "127.0.0.1", "1", "log.cfg"], cwd=tmp_path
        )
        wait_until(lambda: _waits_for_lock(waiting.pid), "the reference waits for our lock")
        assert not (tmp_path / "x.log").exists()
        holder.stdin.close()
        waiting.wait(10)
    assert reference == REFERENCE
    assert (tmp_path / "x.log").read_text()


def _waits_for_lock(pid: int) -> bool:
    return bool(re.search(rf"-> POSIX .* {pid} ", Path("/proc/locks").read_text()))


# What one process has waited for in vain


def in_a_child(work: Callable[[], object]) -> None:
    """Do something in a forked process, and wait for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_a_stuck_pipe_is_waited_for_by_one_process(tmp_path: Path) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    fill(writer)
    writability = Writability()

    def wait() -> None:
        with suppress(TimeoutError):
            writability.wait(writer)

    assert seconds(lambda: in_a_child(wait)) > 0.9
    assert seconds(lambda: in_a_child(wait)) < 0.7
    assert seconds(wait) < 0.5
    os.read(reader, 1 << 20)
    in_a_child(wait)  # it can be written to again, and that is known, too
    fill(writer)
    assert seconds(wait) > 0.9
    os.close(reader)
    os.close(writer)


def test_a_stuck_lock_is_waited_for_by_one_process(tmp_path: Path) -> None:
    holder = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.lockf(holder, fcntl.LOCK_EX)
    lock = Lock()

    def try_it() -> None:
        lock.acquire(os.open(tmp_path / "lock", os.O_RDWR))

    assert seconds(lambda: in_a_child(try_it)) > 0.9
    assert seconds(lambda: in_a_child(try_it)) < 0.7
    os.close(holder)


def fill(pipe: int) -> None:
    """Write until nothing more goes in."""
    with suppress(BlockingIOError):
        while True:
            os.write(pipe, bytes(4096))


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.monotonic()
    work()
    return time.monotonic() - start
