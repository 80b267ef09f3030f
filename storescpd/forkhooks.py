"""Keeps what Python does in every forked process for the sake of threads out of this program.

The modules threading and logging have hooks for that (os.register_at_fork). In a program without
threads they find nothing to do, but the memory that they touch on the way is copied for each child:
a quarter of the time that it takes to fork one. On a system that has no such hooks the two
modules do without, and such a system they are shown here.
"""

import os


def leave_out() -> None:
    """Import the modules with hooks, without them; to be called before anything imports them."""
    register = os.register_at_fork
    del os.register_at_fork
    try:
        import logging  # noqa: F401
        import threading  # noqa: F401
    finally:
        os.register_at_fork = register
