"""Fuzz target of a whole association: storescpd.session on a socket.

Invariant: the input is all that a peer sends before it closes its side. The association ends by
itself, and not with an internal error. Every line of the log is printable. Files have whole
objects in them, and names that lead nowhere else; no descriptor is left open.

Run: python tests/fuzz/fuzz_session.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import logging
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from dcmstore import cmdline
from fuzz.conversations import Breeder, said_at_once
from storescpd import session
from storescpd.options import PROGRAM
from storescpd.service import Configured


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take one."""
        self.records.append(record)


class Target:
    """A receiver with these options, as it is after its start."""

    def __init__(self, folder: str, *options: str) -> None:
        argv = ["storescpd", *options, "-ta", "2", "-od", folder, "11112"]
        parsed = cmdline.parse(PROGRAM, argv, {})
        self.folder = folder
        self.service = Configured(parsed, "storescpd").service
        self.lines = Lines()

    def fuzz_one(self, data: bytes) -> None:
        """Hold the invariant against one input."""
        before = len(os.listdir("/proc/self/fd"))
        ours, theirs = said_at_once(data)
        self.lines.records.clear()
        logger = logging.getLogger("dcmtk")
        logger.addHandler(self.lines)
        try:
            session.serve(ours, "192.0.2.1", self.service)
        finally:
            logger.removeHandler(self.lines)
            theirs.close()
        for record in self.lines.records:
            text = record.getMessage()
            assert record.levelno < logging.CRITICAL, text
            for line in text.split("\n"):
                assert line.isprintable(), repr(line)
        for name in os.listdir(self.folder):
            assert name.isascii()
            assert name.isprintable()
            assert not name.startswith("."), f"{name} has been left behind"
            path = os.path.join(self.folder, name)
            with open(path, "rb") as file:
                assert file.read(132).endswith(b"DICM"), f"{name} is not whole"
            os.unlink(path)
        assert len(os.listdir("/proc/self/fd")) == before, "a descriptor has been left open"


def seeds() -> list[bytes]:
    """Return some conversations."""
    return [Breeder(number).to_acceptor() for number in range(20)]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    target = Target(tempfile.mkdtemp(), "-d")
    atheris.Setup(sys.argv, target.fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
