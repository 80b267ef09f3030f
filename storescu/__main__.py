"""Runs the program as ``python -m storescu``."""

import sys

from storescu.main import main

sys.exit(main())
