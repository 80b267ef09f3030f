"""One object on its way to disk: a nameless temporary, its bytes, its name, or nothing at all.

A reader of the folder sees a whole object or none. A killed process leaves nothing behind where
the file system knows O_TMPFILE, elsewhere a dot-named ``.part`` that ``remove_leftovers`` finds.
"""

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress

from dcmstore.outflow import copy_range

_PREFIX, _SUFFIX = ".storescpd-", ".part"
# EPERM is what ext4 says of a folder that was removed; a file with a name gets the true reason.
_NO_TMPFILE = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL, errno.EPERM))
_OPEN_FILES = "/proc/self/fd"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))


class Folder:
    """A folder for objects, held open, so that names are looked up below it and nowhere else."""

    def __init__(self, path: str, parent: "Folder | None" = None, *, synced: bool = False) -> None:
        """Open the folder; a path below ``parent`` starts there. Raises OSError.

        ``synced``, which a parent hands on: objects shall outlast a power failure.
        """
        self.path = path if parent is None else parent.join(path)
        self.synced: bool = synced or (parent is not None and parent.synced)
        self.fd: int = os.open(path, _FOLDER_FLAGS, dir_fd=None if parent is None else parent.fd)
        # Until the file system says that it has no O_TMPFILE; such a file gets its name by way
        # of /proc, which need not be there.
        self.nameless = os.path.isdir(_OPEN_FILES)

    def is_in_place(self) -> bool:
        """Whether the path still leads to this folder."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError:
            return False

    def look_up(self) -> None:
        """Turn to the folder that the path leads to by now, if that is another one.

        Somebody may have moved the old one away, or mounted a file system here. Raises OSError if
        no other one can be opened: then it stays the old one.
        """
        if self.is_in_place():
            return
        fd = os.open(self.path, _FOLDER_FLAGS)
        self.close()
        self.fd = fd
        self.nameless = os.path.isdir(_OPEN_FILES)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def sync(self) -> None:
        """Have the names in the folder on the disk, if it is synced. Raises OSError."""
        if self.synced:
            os.fsync(self.fd)

    def join(self, name: str) -> str:
        """Return the path of a file in the folder, for messages."""
        return os.path.join(self.path, name)

    def remove_leftovers(self) -> int:
        """Remove temporaries of processes that were killed; return how many.

        A temporary in use is locked by its writer, so several daemons may share a folder.
        """
        count = 0
        for name in os.listdir(self.fd):
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                count += self._remove_leftover(name)
        return count

    def _remove_leftover(self, name: str) -> int:
        try:
            # A pipe of that name must not hold the start up.
            flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(name, flags, dir_fd=self.fd)
        except OSError:
            # Gone already, or not ours to touch.
            return 0
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=self.fd)
        except OSError:
            return 0
        finally:
            os.close(fd)
        return 1


class Temporary:
    """A file that is being written and has no name yet, or only one that readers pass over."""

    def __init__(self, folder: Folder) -> None:
        """Create the file in the folder. Raises OSError."""
        self.folder = folder
        # Where its temporary name is, if it gets one: leftovers are looked for in the folder that
        # objects begin in, and not in those that they are moved to.
        self._home = folder
        self._name = ""
        if folder.nameless:
            try:
                self.fd = os.open(
                    ".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666, dir_fd=folder.fd
                )
                return
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
                folder.nameless = False
        self._open_named()

    def _open_named(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            name = _temporary_name()
            self.fd = os.open(name, flags, 0o666, dir_fd=self._home.fd)
            if _lock(self.fd) and os.fstat(self.fd).st_nlink:
                self._name = name
                return
            # Another daemon that starts just now has taken it for a leftover.
            os.close(self.fd)

    def write(self, buffers: Sequence[bytes | memoryview]) -> None:
        """Write the buffers behind what was written last, all of them. Raises OSError."""
        total = sum(map(len, buffers))
        written = os.writev(self.fd, buffers)
        if written < total:
            self._write_rest(buffers, written)

    def _write_rest(self, buffers: Sequence[bytes | memoryview], written: int) -> None:
        # A disk that fills up takes a part first, and gives its reason to the next call.
        for buffer in buffers:
            rest = memoryview(buffer)[min(written, len(buffer)) :]
            written = max(0, written - len(buffer))
            while len(rest):
                rest = rest[os.write(self.fd, rest) :]

    def begin_anew(self) -> None:
        """Write from the start again, over what is there. Raises OSError."""
        os.lseek(self.fd, 0, os.SEEK_SET)

    def end_here(self) -> None:
        """Cut off what is left behind the last byte written. Raises OSError."""
        os.ftruncate(self.fd, os.lseek(self.fd, 0, os.SEEK_CUR))

    def copy_from(self, source_fd: int, start: int, count: int) -> None:
        """Append ``count`` bytes of another file, in the kernel. Raises OSError."""
        copied = copy_range(source_fd, self.fd, start, count)
        while copied < count:
            done = os.sendfile(self.fd, source_fd, start + copied, count - copied)
            if done == 0:
                raise OSError(errno.EIO, "file is shorter than it was")
            copied += done

    def publish(self, name: str) -> bool:
        """Give the file its name; the object exists from here on. Raises OSError.

        Returns whether a file of that name was replaced. The file is closed in any case.
        """
        folder = self.folder
        try:
            self._sync()
            if not self._name:
                try:
                    self._link(name, folder)
                    folder.sync()
                    return False
                except FileExistsError:
                    temporary = _temporary_name()
                    _lock(self.fd)  # or a daemon that starts just now takes it for a leftover
                    self._link(temporary, self._home)
                    self._name = temporary
            replaced = _exists(name, folder.fd)
            os.rename(self._name, name, src_dir_fd=self._home.fd, dst_dir_fd=folder.fd)
            self._name = ""
            folder.sync()
            return replaced
        finally:
            self.discard()

    def publish_new(self, name: str) -> None:
        """Give the file a name that no file has, whoever else is after it; then close it.

        Raises FileExistsError, after which another name may be tried, and OSError.
        """
        self._sync()
        if self._name:
            self._reserve(name)
        else:
            self._link(name, self.folder)
        self.folder.sync()
        self.discard()

    def move(self, folder: Folder) -> None:
        """Publish into another folder, on whatever file system it is. Raises OSError."""
        if os.fstat(folder.fd).st_dev != os.fstat(self._home.fd).st_dev:
            other = Temporary(folder)
            try:
                other.copy_from(self.fd, 0, os.fstat(self.fd).st_size)
            except OSError:
                other.discard()
                raise
            self.discard()
            self.fd, self._name, self._home = other.fd, other._name, folder
        self.folder = folder

    def _sync(self) -> None:
        if self.folder.synced:
            os.fdatasync(self.fd)

    def _link(self, name: str, folder: Folder) -> None:
        # linkat(2) by way of /proc, the one that needs no privilege.
        os.link(f"{_OPEN_FILES}/{self.fd}", name, dst_dir_fd=folder.fd, follow_symlinks=True)

    def _reserve(self, name: str) -> None:
        """Take a name with the temporary one."""
        home_fd, folder_fd = self._home.fd, self.folder.fd
        try:
            os.link(self._name, name, src_dir_fd=home_fd, dst_dir_fd=folder_fd)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        # No hard links here: for a moment there is an empty file.
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder_fd))
        try:
            os.rename(self._name, name, src_dir_fd=home_fd, dst_dir_fd=folder_fd)
        except OSError:
            os.unlink(name, dir_fd=folder_fd)
            raise
        self._name = ""

    def discard(self) -> None:
        """Close the file; what has no name by now is gone. May be called again."""
        if self.fd < 0:
            return
        fd, name = self.fd, self._name
        self.fd, self._name = -1, ""
        try:
            if name:
                # If somebody tidied up already, all the better.
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._home.fd)
        finally:
            os.close(fd)


def scratch_path() -> str:
    """Return the folder for files that are never kept (TMPDIR in environ(7))."""
    return os.environ.get("TMPDIR") or "/tmp"


def _temporary_name() -> str:
    # Process ids repeat: in time, and between machines and containers that share a folder.
    return f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"


def _lock(fd: int) -> bool:
    """Lock a file of ours; False if another process has locked it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # There are no locks here, so nobody can tell leftovers from files in use, or removes any.
        return True
    return True


def _exists(name: str, folder_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
