"""Runs the program as ``python -m storescpd``."""

import sys

from storescpd.main import main

sys.exit(main())
