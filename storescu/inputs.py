"""The files named on the command line, or found in directories named there."""

import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger("dcmtk.apps.storescu")

Wanted = Callable[[str], bool]


def collect(parameters: Iterable[str], scan: bool, recurse: bool, pattern: str | None) -> list[str]:
    """Return the paths to send, in the order of the parameters and, in directories, of the system.

    ``pattern`` is one of fnmatch(3), held against the bare names of the files found; an empty one
    is none.
    """
    wanted = _matcher(pattern) if pattern else _everything
    paths: list[str] = []
    for parameter in parameters:
        if not os.path.isdir(parameter):
            paths.append(parameter)
        elif scan:
            top = parameter.rstrip("/") or "/"
            found = _files_below(top, recurse, wanted)
            # Written as the reference writes them.
            paths += (path.removeprefix("./") for path in found) if top == "." else found
        else:
            log.warning(
                "ignoring directory because option --scan-directories is not set: %s", parameter
            )
    return paths


def _files_below(top: str, recurse: bool, wanted: Wanted) -> Iterator[str]:
    """Yield all in a directory that is none itself, so that nothing is left out unnoticed.

    A directory that cannot be read counts as a file that cannot be.
    """
    levels: list[tuple[Iterator[os.DirEntry[str]], tuple[int, int]]] = []
    folder: str | None = top
    while True:
        if folder is not None:
            try:
                with os.scandir(folder) as listing:
                    entries = list(listing)
                status = os.stat(folder)
            except OSError:
                yield folder
            else:
                levels.append((iter(entries), (status.st_dev, status.st_ino)))
        if not levels:
            return
        folder = None
        for entry in levels[-1][0]:
            if not _is_folder(entry):
                if wanted(entry.name):
                    yield entry.path
            elif recurse and not _is_ancestor(entry, levels):
                folder = entry.path
                break
        else:
            levels.pop()


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that cannot be followed, perhaps because it leads to itself.
        return False


def _is_ancestor(
    entry: "os.DirEntry[str]", levels: Sequence[tuple[object, tuple[int, int]]]
) -> bool:
    """Tell whether a symbolic link leads back into where we came from."""
    if not entry.is_symlink():
        return False
    status = entry.stat()
    return (status.st_dev, status.st_ino) in [identity for _, identity in levels]


def _everything(_name: str) -> bool:
    return True


def _matcher(pattern: str) -> Wanted:
    # Python's own fnmatch knows neither escapes nor character classes.
    import ctypes

    match = ctypes.CDLL(None).fnmatch
    raw = os.fsencode(pattern)
    return lambda name: match(raw, os.fsencode(name), 0) == 0


def accessible(paths: Iterable[str], halt: bool) -> list[str] | None:
    """Return the paths that are regular files; None, after saying why, if that ends the program."""
    kept = []
    for path in paths:
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError):
            regular = False
        if regular:
            kept.append(path)
        elif ignored(halt, f"cannot access file: {path}"):
            continue
        else:
            return None
    return kept


def ignored(halt: bool, problem: str) -> bool:
    """Say what is wrong with an input file; return whether to go on without it."""
    if halt:
        log.critical("%s", problem)
        return False
    log.warning("%s, ignoring file", problem)
    return True
