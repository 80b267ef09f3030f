"""What makes a process a Unix daemon: detached, with a pid file, and without privileges.

The order for the caller: ``open_standard_fds``, ``check_identity``, ``PidFile.claim``, bind,
``drop_privileges``, ``detach``, ``PidFile.rewrite``. So everything that can
fail does so before the process leaves its terminal, and the ports and the pid file are had
while it still is root.
"""

import grp
import os
import pwd
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple


class DaemonError(Exception):
    """The process cannot become what was asked for; the text is one line."""


class Identity(NamedTuple):
    """Who a process runs as: numbers as in credentials(7), and the user's name and home."""

    uid: int
    gid: int
    groups: frozenset[int]
    name: str
    home: str


def check_identity(user: str | None, group: str | None) -> Identity:
    """Look up ``--user`` and ``--group``, each a name or a number; None leaves it as it is.

    A user brings the supplementary groups of the group database. ``group`` takes the place
    of the user's primary group. Raises DaemonError for an unknown one, or if this process
    may not become it.
    """
    current = _current_identity()
    if user is None and group is None:
        return current
    gid = None if group is None else _group_id(group)
    if user is None:
        assert gid is not None
        identity = current._replace(gid=gid, groups=frozenset([gid]))
    else:
        identity = _user_identity(user, gid)
    if identity[:3] != current[:3] and os.geteuid() != 0:
        wanted = " ".join(
            f"{what} {name}" for what, name in (("user", user), ("group", group)) if name
        )
        raise DaemonError(f"only root can change to {wanted}")
    return identity


def drop_privileges(identity: Identity) -> None:
    """Become ``identity`` for good: real, effective and saved ids, and supplementary groups.

    Afterwards tries to get root back, and raises DaemonError if that works (it does where
    CAP_SETUID survives setresuid(2)) or if any id is not what it should be. The environment
    names the new user, so that commands do not look for root's home.
    """
    if identity[:3] == _current_identity()[:3]:
        return
    try:
        os.setgroups(sorted(identity.groups))
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise DaemonError(f"cannot become user {identity.name}: {error.strerror}") from error
    if (
        os.getresuid() != (identity.uid,) * 3
        or os.getresgid() != (identity.gid,) * 3
        or frozenset(os.getgroups()) != identity.groups
    ):
        raise DaemonError(f"did not become user {identity.name}")
    if identity.uid != 0 and _regains_root():
        raise DaemonError(f"became user {identity.name}, but root can be had back")
    os.environ.update(HOME=identity.home, USER=identity.name, LOGNAME=identity.name)


def open_standard_fds() -> frozenset[int]:
    """Put the null device where standard input, output or error are closed; return where.

    To be called first of all: a socket that got one of these numbers would receive whatever
    is printed.
    """
    closed = set()
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        closed.add(fd)
        fd = os.dup(fd)
    os.close(fd)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
    return frozenset(closed)


def own_fds() -> list[int]:
    """The descriptors that this program has opened, and not inherited.

    Only these are closed on exec: Python sees to that (PEP 446), and so does whoever takes an
    inherited one over.
    """
    own = []
    for name in os.listdir("/proc/self/fd"):
        # The one for the listing is closed by now.
        with suppress(OSError):
            if not os.get_inheritable(int(name)):
                own.append(int(name))
    return own


def detach(keep_fds: list[int], umask: int, chdir: str) -> Callable[[], None]:
    """Leave the terminal; returns in the daemon.

    The calling process waits until what is returned was called, and exits with 0 then: whoever
    has started the daemon finds its pid file complete and its port open. It exits with 1 if the
    daemon ends before. Record locks of files in ``keep_fds`` are to be had again by the daemon.

    Every descriptor but ``keep_fds`` is closed and the standard ones are the null device.
    Core dumps are off from here on: they would hold patients' data. Raises DaemonError if
    ``chdir`` cannot be entered.
    """
    from daemon import DaemonContext

    try:
        os.chdir(chdir)
    except OSError as error:
        raise DaemonError(f"cannot change to directory {chdir}: {error.strerror}") from error
    started, report = os.pipe()
    if os.fork():
        signal.set_wakeup_fd(-1)
        for fd in (report, *keep_fds):
            os.close(fd)
        os._exit(0 if os.read(started, 1) else 1)
    DaemonContext(
        detach_process=True,
        files_preserve=[report, *keep_fds],
        umask=umask,
        working_directory=chdir,
        # The master sets handlers of its own; the default would end it by an exception.
        signal_map={},
    ).open()

    def tell() -> None:
        os.write(report, b"+")
        os.close(report)

    return tell


def _current_identity() -> Identity:
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        name, home = str(uid), "/"
    else:
        name, home = entry.pw_name, entry.pw_dir
    # Whether the list repeats the group itself makes no difference, and not everybody has it so.
    gid = os.getegid()
    return Identity(uid, gid, frozenset((gid, *os.getgroups())), name, home)


def _user_identity(user: str, gid: int | None) -> Identity:
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise DaemonError(f"unknown user: {user}") from None
    primary = entry.pw_gid if gid is None else gid
    groups = frozenset(os.getgrouplist(entry.pw_name, primary))
    return Identity(entry.pw_uid, primary, groups, entry.pw_name, entry.pw_dir)


def _group_id(group: str) -> int:
    try:
        return (grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)).gr_gid
    except (KeyError, OverflowError):
        raise DaemonError(f"unknown group: {group}") from None


def _regains_root() -> bool:
    """Whether this process can be root again by any of the ids that once were."""
    try:
        os.setresuid(-1, 0, -1)
    except PermissionError:
        pass
    else:
        return True
    try:
        os.setresgid(-1, 0, -1)
    except PermissionError:
        return False
    return True
