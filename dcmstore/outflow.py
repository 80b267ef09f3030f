"""Ways of getting bytes into a file: all of them, gathered, or copied by the kernel."""

import errno
import os

# What copy_file_range(2) says where it does not serve a pair of files.
_NOT_HERE = frozenset(
    (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
)


def write_all(fd: int, part: bytes | bytearray | memoryview) -> int:
    """Write every byte, however often the system takes only some; return their number."""
    view = memoryview(part)
    size = len(view)
    while view:
        view = view[os.write(fd, view) :]
    return size


def write_gathered(fd: int, gathered: list[memoryview]) -> None:
    """Write all parts with as few system calls as the system allows."""
    while gathered:
        written = os.writev(fd, gathered)
        first = 0
        while first < len(gathered) and written >= len(gathered[first]):
            written -= len(gathered[first])
            first += 1
        gathered = gathered[first:]
        if gathered:
            gathered[0] = gathered[0][written:]


def copy_range(source_fd: int, target_fd: int, offset: int, count: int) -> int:
    """Copy from an offset of one file to the position of another, inside the kernel.

    Returns how many bytes were copied, which is less than ``count`` if the kernel or a file
    system cannot do it: the rest is the caller's.
    """
    copied = 0
    while copied < count:
        try:
            done = os.copy_file_range(source_fd, target_fd, count - copied, offset + copied)
        except OSError as error:
            if error.errno in _NOT_HERE:
                break
            raise
        if not done:
            break
        copied += done
    return copied
