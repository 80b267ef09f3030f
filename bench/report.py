"""The results as tables for a person and as JSON for a program."""

import json
from collections.abc import Callable
from pathlib import Path

from bench.machine import Facts
from bench.results import Result, Side

Paint = Callable[[str, bool], str]


def plain(text: str, good: bool) -> str:
    """Leave the text as it is."""
    return text


def coloured(text: str, good: bool) -> str:
    """Green or red on a terminal."""
    return f"\033[{32 if good else 31}m{text}\033[0m"


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their longest cell, the first two to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [head, rule, *lines]
    ]


def number(value: float | None) -> str:
    """Three significant digits or whole numbers."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def target(result: Result) -> str:
    if result.target is None:
        return "-"
    return f"{'<=' if result.row.unit == 'ms' else '>='} {result.target:g}x"


def verdict(reached: bool | None) -> str:
    return {True: "pass", False: "MISS", None: "-"}[reached]


def speed_line(result: Result) -> tuple[str, ...]:
    """Medians, ratio and target of one result."""
    start = (result.row.name, result.peers)
    if not result.sides:
        return (*start, "failed", "", result.row.unit, "", "", target(result), "FAIL")
    ours, theirs = result.sides
    return (
        *start,
        number(ours.median),
        number(theirs.median),
        result.row.unit,
        f"{ours.operations}/{theirs.operations}",
        f"{number(result.ratio)}x",
        target(result),
        verdict(result.reached),
    )


def memory_cell(side: Side) -> str:
    """Peak Pss and its anonymous part in MB, of the largest process."""
    if side.memory is None:
        return "-"
    return f"{side.memory.pss / 1e6:.1f} ({side.memory.anonymous / 1e6:.1f})"


def resource_line(result: Result) -> tuple[str, ...]:
    """Processor time and memory of one result."""
    assert result.sides
    ours, theirs = result.sides
    limit = result.row.memory_limit
    return (
        result.row.name,
        result.peers,
        number(ours.cpu * 1000),
        number(theirs.cpu * 1000),
        memory_cell(ours),
        memory_cell(theirs),
        f"< {limit / 1e6:g}" if limit else "-",
        verdict(result.memory_kept),
    )


def text(results: list[Result], paint: Paint) -> str:
    """Two tables (speed; processor time and memory), and what went wrong."""
    measured = [result for result in results if result.sides]
    names = [side.suite for side in measured[0].sides or ()] if measured else ["ours", "DCMTK"]
    head = ("row", "DCMTK", *names, "unit", "n", "ratio", "target", "")
    lines = table(head, [speed_line(result) for result in results])
    out = [painted(line, paint) for line in lines]
    head = ("row", "DCMTK", *(f"{name} ms/op" for name in names))
    head += (*(f"{name} MB (anon)" for name in names), "limit", "")
    out += ["", "Processor time and peak Pss of the program under test:"]
    out += [
        painted(line, paint) for line in table(head, [resource_line(each) for each in measured])
    ]
    out += [f"{r.row.name}, {r.peers}: {r.error}" for r in results if not r.sides]
    return "\n".join(out)


def painted(line: str, paint: Paint) -> str:
    """The line with its verdict, which comes last, in colour."""
    start, _, last = line.rpartition(" ")
    if last in {"pass", "MISS", "FAIL"}:
        return f"{start} {paint(last, last == 'pass')}"
    return line


def side_record(side: Side) -> dict[str, object]:
    memory = side.memory
    return {
        "suite": side.suite,
        "operations": side.operations,
        "values": side.values,
        "median": side.median,
        "cpu_seconds_per_operation": side.cpu,
        "peak_pss_bytes": memory and memory.pss,
        "peak_pss_anonymous_bytes": memory and memory.anonymous,
        "peak_pss_of_all_bytes": memory and memory.tree,
    }


def write_json(path: Path, facts: Facts, results: list[Result]) -> None:
    """Everything that was measured, every run of it.

    Raises OSError when the file cannot be written.
    """
    rows = [
        {
            "row": result.row.name,
            "dcmtk": result.peers,
            "unit": result.row.unit,
            "sides": [side_record(side) for side in result.sides or ()],
            "ratio": result.ratio,
            "target": result.target,
            "reached": result.reached,
            "memory_limit_bytes": result.row.memory_limit,
            "memory_kept": result.memory_kept,
            "error": result.error,
        }
        for result in results
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": facts, "results": rows}, indent=1) + "\n")
