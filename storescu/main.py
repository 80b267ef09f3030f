"""The sender as a process: memory, signals, and what it exits with.

Exit statuses: 0, everything is stored (or --no-halt does not mind); 1, nothing could be sent,
or a file or the association failed; 10, the peer ended the association while it owed a
response; 128 and more (167, 169, 192 to 207, 254), the high byte of a failure status.
SIGINT, SIGTERM and SIGHUP abort the association, and then end the process as they always do,
so that a shell reports 130, 143 or 129.
"""

import gc
import sys
from collections.abc import Sequence

from storescu.signals import Interruptible, Stopped, die_of


def main(argv: Sequence[str] | None = None) -> int:
    """Run storescu with the arguments of the process; return its exit status."""
    signals = Interruptible()
    try:
        with signals:
            # Imports are most of a short run. They leave no garbage behind, and nothing that
            # would have to be looked through later, least of all at exit.
            gc.disable()
            from storescu.run import run

            gc.freeze()
            gc.enable()
            status = run(sys.argv if argv is None else argv, signals)
    except Stopped:  # which may come in on the way out, too
        status = 1
    return die_of(signals.number) if signals.number else status
