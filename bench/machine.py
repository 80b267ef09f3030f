"""What the numbers were measured on."""

import os
import platform
import subprocess
import time
from pathlib import Path

from bench.peers import Suite, version

Facts = dict[str, str | int | float | list[float]]


def field(path: str, name: str) -> str:
    """The value of the first ``name: value`` line of a file of /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, text = line.partition(":")
        if key.strip() == name:
            return text.strip()
    return ""


def file_system(folder: Path) -> str:
    """The type of the file system that holds the folder: the longest mount point above it."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, name = line.split()[:3]
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, name
    return kind


def commit() -> str:
    """The commit of the source tree, or nothing outside one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
        )
    except FileNotFoundError:  # no git here
        return ""
    return done.stdout.strip()


def facts(scratch: Path, suites: tuple[Suite, Suite]) -> Facts:
    """The machine, the programs and the folder they write to."""
    found: Facts = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": commit(),
        "processor": field("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": len(os.sched_getaffinity(0)),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": [round(load, 2) for load in os.getloadavg()],
        "folder": f"{scratch} ({file_system(scratch)})",
    }
    for suite in suites:
        for program in filter(None, (suite.storescp, suite.storescu)):
            found[program] = version(program)
    return found
