"""The daemon as a process: its start and its end, of which an inetd association has one each."""

import gc
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run storescpd with the arguments of the process; return its exit status."""
    # Imports are most of a short run. They leave no garbage behind, and nothing that would have
    # to be looked through later.
    gc.disable()
    from storescpd.run import run

    gc.freeze()
    gc.enable()
    return run(sys.argv if argv is None else argv)
