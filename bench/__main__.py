"""``python -m bench``: compare storescpd and storescu with DCMTK's storescp and storescu."""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from bench import machine, report
from bench.data import Data
from bench.peers import BenchError, bare_suite, dcmtk_suite, our_suite
from bench.results import Result, results
from bench.rows import FULL, PEERS, QUICK, rows
from bench.trials import Setup

MEMORY_FOLDER = Path("/dev/shm")
SPACE = 3 << 30  # bytes: the objects, and what two receivers write of them


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare storescpd and storescu with DCMTK's storescp and storescu.",
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="few and small objects, each run once: a check of the bench, not a measurement",
    )
    made.add_argument(
        "--rows",
        metavar="PATTERN",
        default="",
        help='only rows that the regular expression is found in, such as "send" or "CT.*installed"',
    )
    made.add_argument("--repeat", type=int, metavar="N", help="at least so many timed runs (3)")
    made.add_argument("--json", type=Path, metavar="FILE", help="(bench/out/TIME.json)")
    instead = made.add_mutually_exclusive_group()
    instead.add_argument(
        "--self-check",
        action="store_true",
        help="DCMTK on both sides: how far from 1 the ratios come without a cause",
    )
    instead.add_argument(
        "--bare",
        action="store_true",
        help="in our place a receiver in C that checks nothing: how far any receiver could come",
    )
    made.add_argument("--list", action="store_true", help="print the names of the rows and exit")
    return made


def scratch_parent() -> Path | None:
    """A folder in memory, where it has room; None for the usual temporary folder."""
    if MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > SPACE:
        return MEMORY_FOLDER
    return None


def say(text: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def interrupted(number: int, frame: FrameType | None) -> None:
    """End by way of every ``finally``, so that no server stays behind."""
    raise SystemExit(128 + number)


def main() -> int:
    """Exit status: 0 when all rows were measured, whatever their verdicts; 1 otherwise."""
    arguments = parser()
    options = arguments.parse_args()
    scale = QUICK if options.quick else FULL
    repeat = scale.repeat if options.repeat is None else options.repeat
    if repeat < 1:
        arguments.error("--repeat: at least 1")
    try:
        wanted = re.compile(options.rows, re.IGNORECASE)
    except re.error as error:
        arguments.error(f"--rows: {error}")
    jobs = [
        (row, peers)
        for row in rows(scale)
        for peers in PEERS
        if wanted.search(f"{row.name}, {peers}") and (row.bare or not options.bare)
    ]
    if not jobs:
        arguments.error(f"no row matches {options.rows}")
    if options.list:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # head(1) may have seen enough
        print("\n".join(f"{row.name}, {peers}" for row, peers in jobs))
        return 0
    signal.signal(signal.SIGTERM, interrupted)
    start = time.monotonic()
    done: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=scratch_parent()) as name:
        scratch = Path(name)
        try:
            dcmtk = dcmtk_suite()
            if options.bare:
                ours = bare_suite(scratch)
            else:
                ours = dcmtk._replace(name="DCMTK-too") if options.self_check else our_suite()
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        facts = machine.facts(scratch, (ours, dcmtk))
        setup = Setup(scratch, Data(scratch / "data", scale.sizes), dcmtk, False)
        done.extend(results(jobs, setup, (ours, dcmtk), repeat, say))
    say("")
    facts["seconds"] = round(time.monotonic() - start, 1)
    facts["load after"] = [round(load, 2) for load in os.getloadavg()]
    facts["scale"] = "quick: not a measurement" if options.quick else "full"
    path = options.json or Path(__file__).parent / "out" / time.strftime("%Y%m%dT%H%M%S.json")
    report.write_json(path, facts, done)
    for key, fact in facts.items():
        print(f"{key}: {fact}")
    print()
    print(report.text(done, report.coloured if sys.stdout.isatty() else report.plain))
    print(f"\n{path}")
    return int(any(not result.sides for result in done))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
