"""Temporaries: whole objects or none, with and without O_TMPFILE."""

import errno
import fcntl
import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storescpd import temporary
from storescpd.temporary import Folder, Temporary

NAME = "CT.1.2.3"
CONTENT = bytes(range(256)) * 100


@pytest.fixture(params=[True, False], ids=["nameless", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """A folder on a file system with O_TMPFILE, and one that makes do without."""
    opened = Folder(str(tmp_path))
    assert opened.nameless
    opened.nameless = request.param
    yield opened
    assert opened.nameless == request.param, "the file system of the tests has O_TMPFILE"
    opened.close()


def names(folder: Folder) -> list[str]:
    return sorted(os.listdir(folder.fd))


def visible(folder: Folder) -> list[str]:
    """What a reader sees who passes over hidden files."""
    return [name for name in names(folder) if not name.startswith(".")]


def written(folder: Folder, content: bytes = CONTENT) -> Temporary:
    file = Temporary(folder)
    file.write([content])
    return file


def content(folder: Folder, name: str = NAME) -> bytes:
    return Path(folder.join(name)).read_bytes()


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    gc.collect()  # what earlier tests have left open is not closed in between
    before = len(open_fds())
    yield
    assert len(open_fds()) == before


# One object


def test_nothing_is_seen_before_it_is_published(folder: Folder) -> None:
    file = written(folder)
    assert visible(folder) == []
    assert file.publish(NAME) is False
    assert names(folder) == [NAME]
    assert content(folder) == CONTENT
    file.discard()  # again
    assert names(folder) == [NAME]


def test_discarded(folder: Folder) -> None:
    file = written(folder)
    file.discard()
    file.discard()
    assert names(folder) == []


def test_mode_follows_the_umask(folder: Folder) -> None:
    old = os.umask(0o027)
    try:
        written(folder).publish(NAME)
    finally:
        os.umask(old)
    assert os.stat(folder.join(NAME)).st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("count", [1, 2, 500])
def test_gathered_writes(folder: Folder, count: int) -> None:
    buffers: list[bytes | memoryview] = [b"", memoryview(CONTENT), CONTENT[:7]]
    file = Temporary(folder)
    file.write((buffers * count)[:1000])
    file.write([b"end"])
    file.publish(NAME)
    assert content(folder) == b"".join((buffers * count)[:1000]) + b"end"


def test_system_that_takes_little_at_a_time(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "writev", lambda fd, parts: real_write(fd, b"".join(parts)[:5]))
    monkeypatch.setattr(os, "write", lambda fd, part: real_write(fd, bytes(part)[:3]))
    file = Temporary(folder)
    file.write([b"ab", b"", memoryview(b"cdefg"), b"hijklmnop"])
    file.publish(NAME)
    assert content(folder) == b"abcdefghijklmnop"


@pytest.mark.parametrize("second", [b"", b"new", CONTENT + b"longer"])
def test_written_over(folder: Folder, second: bytes) -> None:
    file = written(folder)
    file.begin_anew()
    file.write([second[:2], second[2:]])
    file.end_here()
    file.publish(NAME)
    assert content(folder) == second


# Names that are taken


def test_existing_file_is_replaced_at_once(folder: Folder) -> None:
    """Who has the old one open goes on reading the old one."""
    written(folder, b"old").publish(NAME)
    with open(folder.join(NAME), "rb") as reader:
        assert written(folder, b"new").publish(NAME) is True
        assert reader.read() == b"old"
    assert names(folder) == [NAME]
    assert content(folder) == b"new"


def test_symbolic_link_is_replaced_and_not_followed(folder: Folder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / NAME).symlink_to(victim)
    assert written(folder).publish(NAME) is True
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / NAME).is_symlink()
    assert content(folder) == CONTENT


def test_dangling_link_is_replaced(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to(tmp_path / "nowhere")
    written(folder).publish(NAME)
    assert names(folder) == [NAME]
    assert content(folder) == CONTENT


def test_directory_is_in_the_way(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(IsADirectoryError):
        written(folder).publish(NAME)
    assert names(folder) == [NAME]
    assert (tmp_path / NAME).is_dir()


def test_name_too_long(folder: Folder) -> None:
    with pytest.raises(OSError, match="File name too long"):
        written(folder).publish("x" * 300)
    assert names(folder) == []


def test_new_name(folder: Folder) -> None:
    written(folder, b"first").publish_new(NAME)
    file = written(folder, b"second")
    with pytest.raises(FileExistsError):
        file.publish_new(NAME)
    file.publish_new(NAME + "_1")
    assert content(folder) == b"first"
    assert content(folder, NAME + "_1") == b"second"
    assert names(folder) == [NAME, NAME + "_1"]


def test_new_name_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(os, "link", link)
    folder = Folder(str(tmp_path))
    folder.nameless = False
    written(folder, b"first").publish_new(NAME)
    file = written(folder, b"second")
    with pytest.raises(FileExistsError):
        file.publish_new(NAME)
    file.discard()
    assert names(folder) == [NAME]
    assert content(folder) == b"first"
    folder.close()


# Folders


def test_folder_that_moves_away_takes_its_objects_along(folder: Folder, tmp_path: Path) -> None:
    """Names are looked up in the open folder, whatever its path means by now."""
    file = written(folder)
    inner = tmp_path / "inner"
    inner.mkdir()
    below = Folder("inner", folder)
    assert below.path == str(inner)
    inner.rename(tmp_path / "renamed")
    file.move(below)
    file.publish(NAME)
    assert (tmp_path / "renamed" / NAME).read_bytes() == CONTENT
    assert names(folder) == ["renamed"]
    below.close()


def test_temporary_names_are_where_leftovers_are_looked_for(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would ever remove one from the folder of a study, were the process killed."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / NAME).touch()
    below = Folder("inner", folder)
    seen: list[list[str]] = []
    rename = os.rename

    def look_and_rename(source: str, target: str, **fds: int) -> None:
        seen.append(os.listdir(inner))
        rename(source, target, **fds)

    monkeypatch.setattr(os, "rename", look_and_rename)
    file = written(folder)
    file.move(below)
    assert file.publish(NAME) is True
    assert seen == [[NAME]]
    assert content(below) == CONTENT
    assert visible(folder) == names(folder) == ["inner"]
    below.close()


def test_move_to_another_file_system(folder: Folder) -> None:
    if os.stat("/dev/shm").st_dev == os.fstat(folder.fd).st_dev:
        pytest.skip("all is one file system here")
    path = Path("/dev/shm", f"storescpd-test-{os.getpid()}")
    path.mkdir()
    try:
        other = Folder(str(path))
        other.nameless = folder.nameless
        file = written(folder)
        file.move(other)
        assert names(folder) == []
        file.publish(NAME)
        assert content(other) == CONTENT
        assert names(other) == [NAME]
        other.close()
    finally:
        for entry in path.iterdir():
            entry.unlink()
        path.rmdir()


@pytest.mark.parametrize("path", ["missing", "file"])
def test_no_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=path):
        Folder(str(tmp_path / path))


def test_file_system_without_tmpfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, and not for every object."""
    real_open = os.open
    asked = 0

    def open_file(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal asked
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            asked += 1
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real_open(path, flags, mode, dir_fd=dir_fd)

    folder = Folder(str(tmp_path))
    monkeypatch.setattr(os, "open", open_file)
    for number in range(3):
        written(folder).publish(f"{NAME}.{number}")
    assert asked == 1
    assert len(names(folder)) == 3
    folder.close()


def test_folder_that_was_removed(folder: Folder) -> None:
    nameless = folder.nameless
    os.rmdir(folder.path)
    with pytest.raises(FileNotFoundError):
        written(folder).publish(NAME)
    folder.nameless = nameless  # as the fixture wants to see it


def test_folder_is_looked_up_anew(tmp_path: Path) -> None:
    """It stays the old one as long as nothing can be opened in its place."""
    current, first, second = tmp_path / "current", tmp_path / "1", tmp_path / "2"
    current.symlink_to(first)
    first.mkdir()
    second.mkdir()
    folder = Folder(str(current))
    old_fd = folder.fd
    folder.look_up()
    assert folder.fd == old_fd
    current.unlink()
    with pytest.raises(FileNotFoundError):
        folder.look_up()
    written(folder).publish(NAME)
    current.symlink_to(second)
    folder.look_up()
    written(folder).publish(NAME)
    assert os.listdir(first) == os.listdir(second) == [NAME]
    folder.close()


def test_without_proc_files_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nameless file could get none there, as in a bare chroot."""
    monkeypatch.setattr(temporary, "_OPEN_FILES", "/proc/not/there")
    folder = Folder(str(tmp_path))
    file = written(folder)
    assert len(names(folder)) == 1
    file.publish(NAME)
    assert content(folder) == CONTENT
    folder.close()


# Disks that are full


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "tiny"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("nameless", [True, False])
def test_full_disk(tiny_disk: Path, nameless: bool) -> None:
    folder = Folder(str(tiny_disk))
    folder.nameless = nameless
    file = Temporary(folder)
    with pytest.raises(OSError, match="No space left") as caught:
        file.write([bytes(40_000), bytes(40_000), bytes(40_000)])
    assert caught.value.errno == errno.ENOSPC
    file.discard()
    assert names(folder) == []
    written(folder, bytes(30_000)).publish(NAME)  # there is room again
    file = written(folder, bytes(20_000))
    source = os.open(tiny_disk / NAME, os.O_RDONLY)
    with pytest.raises(OSError, match="No space left"):
        file.copy_from(source, 0, 30_000)
    os.close(source)
    file.discard()
    assert names(folder) == [NAME]
    folder.close()


# Leftovers


def test_leftovers_are_removed_unless_in_use(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.nameless = False
    for name in (".storescpd-1-1.part", ".storescpd-.part", ".storescpd-x.part"):
        (tmp_path / name).touch()
    kept = [".other.part", ".storescpd-1-1", "storescpd-1.part", NAME]
    for name in kept:
        (tmp_path / name).touch()
    in_use = written(folder)
    assert folder.remove_leftovers() == 3
    assert len(names(folder)) == len(kept) + 1
    in_use.publish("CT.4")
    assert names(folder) == sorted([*kept, "CT.4"])
    assert folder.remove_leftovers() == 0
    folder.close()


def test_leftovers_that_are_no_files(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    victim = tmp_path / "victim"
    victim.touch()
    os.mkfifo(tmp_path / ".storescpd-1.part")
    (tmp_path / ".storescpd-2.part").symlink_to(victim)
    (tmp_path / ".storescpd-3.part").mkdir()
    assert folder.remove_leftovers() == 0
    assert victim.exists()
    folder.close()


def test_file_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another daemon starts just between the creation of a file and its lock."""
    folder, other = Folder(str(tmp_path)), Folder(str(tmp_path))
    folder.nameless = False
    real_flock = fcntl.flock
    ours: list[int] = []

    def flock(fd: int, operation: int) -> None:
        if not ours:
            ours.append(fd)
            assert other.remove_leftovers() == 1
        real_flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    file = written(folder)
    assert len(names(folder)) == 1
    assert other.remove_leftovers() == 0
    file.publish(NAME)
    assert content(folder) == CONTENT
    folder.close()
    other.close()


def test_replacement_is_not_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another daemon starts while a nameless file takes the place of another."""
    folder, other = Folder(str(tmp_path)), Folder(str(tmp_path))
    written(folder, b"old").publish(NAME)
    real_rename = os.rename

    def rename(source: str, target: str, **fds: int) -> None:
        assert other.remove_leftovers() == 0
        real_rename(source, target, **fds)

    monkeypatch.setattr(os, "rename", rename)
    assert written(folder).publish(NAME) is True
    assert content(folder) == CONTENT
    folder.close()
    other.close()


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are stored there as anywhere; only leftovers stay."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    folder = Folder(str(tmp_path))
    folder.nameless = False
    monkeypatch.setattr(fcntl, "flock", flock)
    file = written(folder)
    assert folder.remove_leftovers() == 0
    file.publish(NAME)
    assert content(folder) == CONTENT
    folder.close()


def test_names_do_not_repeat_in_forked_processes(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    folder.nameless = False
    parent = Temporary(folder)
    pid = os.fork()
    if pid == 0:
        Temporary(folder)
        os._exit(0)  # killed before it could tidy up
    os.waitpid(pid, 0)
    assert len(names(folder)) == 2
    assert folder.remove_leftovers() == 1
    parent.discard()
    assert names(folder) == []
    folder.close()


# Copies


@pytest.mark.parametrize(
    "error", [None, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM]
)
@pytest.mark.parametrize(("start", "count"), [(0, 25600), (1, 25599), (100, 0), (255, 2)])
def test_copy(
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    error: int | None,
    start: int,
    count: int,
) -> None:
    """In the kernel, in whichever way it can."""
    if error is not None:

        def refuse(*_: object, **__: object) -> int:
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    source = written(folder)
    file = written(folder, b"head")
    file.copy_from(source.fd, start, count)
    file.write([b"tail"])
    file.publish(NAME)
    source.discard()
    assert content(folder) == b"head" + CONTENT[start : start + count] + b"tail"


def test_copy_that_ends_half_way(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real_copy = os.copy_file_range
    calls = 0

    def copy(source: int, target: int, count: int, *offsets: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.EXDEV, "no more")
        return real_copy(source, target, min(count, 1000), *offsets)

    monkeypatch.setattr(os, "copy_file_range", copy)
    source, file = written(folder), Temporary(folder)
    file.copy_from(source.fd, 3, 20_000)
    assert calls == 3
    file.publish(NAME)
    source.discard()
    assert content(folder) == CONTENT[3:20_003]


@pytest.mark.parametrize("fallback", [False, True])
def test_copy_of_a_file_that_became_shorter(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, fallback: bool
) -> None:
    if fallback:

        def refuse(*_: object, **__: object) -> int:
            raise OSError(errno.ENOSYS, "old kernel")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    source, file = written(folder), Temporary(folder)
    with pytest.raises(OSError, match="shorter"):
        file.copy_from(source.fd, 0, len(CONTENT) + 1)
    file.discard()
    source.discard()
    assert names(folder) == []


def test_copy_error_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "copy_file_range", full)
    source, file = written(folder), Temporary(folder)
    with pytest.raises(OSError, match="full"):
        file.copy_from(source.fd, 0, 10)
    file.discard()
    source.discard()


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("exists", [False, True])
def test_synced_folder_has_bytes_and_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool, exists: bool
) -> None:
    calls: list[str] = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def noted(*arguments: object, **options: object) -> object:
            calls.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, noted)

    folder = Folder(str(tmp_path), synced=True)
    folder.nameless = folder.nameless and nameless
    if exists:
        (tmp_path / "CT.1").write_bytes(b"old")
    file = Temporary(folder)
    file.write([b"new"])
    for name in ("fdatasync", "link", "rename", "fsync"):
        note(name)
    assert file.publish("CT.1") is exists
    # The bytes before the name, and the name before the answer.
    assert calls[0] == "fdatasync"
    assert calls[-1] == "fsync"
    assert set(calls[1:-1]) <= {"link", "rename"}
    assert (tmp_path / "CT.1").read_bytes() == b"new"
    below = Folder(".", folder)
    assert below.synced
    below.close()
    folder.close()


def test_nothing_is_synced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise AssertionError("synced")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)
    folder = Folder(str(tmp_path))
    file = Temporary(folder)
    file.write([b"new"])
    assert file.publish("CT.1") is False
    folder.close()
