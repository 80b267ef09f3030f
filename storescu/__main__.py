"""Runs the program: as the command of an installation, or as ``python -m storescu``."""

from typing import NoReturn

from dcmstore.ending import leave, let_interrupt_kill
from storescu.main import main


def run() -> NoReturn:
    """Run storescu with the arguments of the process, and end the process."""
    let_interrupt_kill()
    leave(main())


if __name__ == "__main__":
    run()
