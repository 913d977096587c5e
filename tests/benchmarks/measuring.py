# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all benchmarks share: runs in turn, what is computed from them, and the report.

A benchmark gives an ordered list of rows and a function that measures one of them once. The rows run in turn, round
after round, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

UNKNOWN = "unknown"
LONGEST_REASON = 300


class MeasuringError(Exception):
    """A run that does not count; the message says why."""


@dataclass
class Run:
    """One measurement of one row: figures by the name of their column, and what else is worth keeping."""

    row: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    failed: str = ""

    def __str__(self) -> str:
        """Return the run in a line."""
        if self.failed:
            return f"round {self.round}: {self.row} FAILED: {self.failed}"
        figures = ", ".join(f"{name} {value:g}" for name, value in self.figures.items())
        return f"round {self.round}: {self.row}: {figures} {json.dumps(self.told)}"


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_all(
    rows: Sequence[str], rounds: int, measure: Callable[[Run], None], failures: tuple[type[Exception], ...] = ()
) -> list[Run]:
    """Measure the rows in turn; what was measured is kept when a round is interrupted.

    A run that ends with one of ``failures``, with a failed command or with a failed assertion is noted and not counted.
    """
    known: tuple[type[Exception], ...] = (MeasuringError, subprocess.SubprocessError, AssertionError, *failures)
    runs: list[Run] = []
    try:
        for number in range(1, rounds + 1):
            for row in rows:
                runs.append(_measured(Run(row, number), measure, known))
                print(runs[-1], flush=True)
    except KeyboardInterrupt:
        print("interrupted: this is what was measured so far")
    return runs


def _measured(run: Run, measure: Callable[[Run], None], failures: tuple[type[Exception], ...]) -> Run:
    """Measure once; a failure is noted and not counted."""
    run.told["load_average"] = load_average()
    try:
        measure(run)
    except failures as error:
        run.failed = str(error) or type(error).__name__
    return run


def longest_silence(requests: Sequence[Mapping[str, Any]]) -> float:
    """Return the longest time between two good answers, in seconds, given what the probe of the demo prints.

    The first request and the end of the last count as answers: nobody knows what would have come before and after.
    """
    if not requests:
        raise MeasuringError("nobody asked")
    ends: list[float] = [one["offset_ms"] + one["ms"] for one in requests]
    good = [end for end, one in zip(ends, requests) if one["ok"]]
    moments: list[float] = sorted([requests[0]["offset_ms"], *good, max(ends)])
    longest = max(later - sooner for sooner, later in zip(moments, moments[1:]))
    return round(longest / 1000, 2)


def work_of_others(*journals: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds of a run that were work of Docker, Postgres and the release, as its journals tell.

    There is a journal per host. A step waits for all hosts at once, so the host counts that it waited for longest.
    """
    longest: dict[str, float] = {}
    for journal in journals:
        waited: dict[str, float] = {}
        for line in journal:
            if line["event"] == "step_finished":
                waited[line["step"]] = waited.get(line["step"], 0) + _seconds(line["facts"])
        longest = {step: max(longest.get(step, 0), waited.get(step, 0)) for step in {**longest, **waited}}
    return float(sum(longest.values()))


def _seconds(facts: Mapping[str, Any]) -> float:
    """Return what a step waited for; of a database also that its backup was read for the plan."""
    phases = [one.get("phases_seconds", {}) for one in (facts, facts.get("preview", {}), facts.get("loaded", {}))]
    return float(facts.get("seconds", 0) + sum(sum(one.values()) for one in phases))


def load_average() -> float:
    """Return how many processes wanted to run in the last minute."""
    return round(os.getloadavg()[0], 1)


def machine(**more: Any) -> dict[str, Any]:
    """Return what the numbers depend on, before anything runs."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": memory(),
        "load_average": load_average(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": _printed("docker", "version", "--format", "{{.Server.Version}}"),
        "compose": _printed("docker", "compose", "version", "--short"),
        **more,
    }


def memory() -> float:
    """Return the memory of the machine in GB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _printed(*argv: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    return done.stdout.strip() or UNKNOWN


# --- what is computed -------------------------------------------------------------------------------------------------


def values(runs: Sequence[Run], row: str, name: str) -> list[float]:
    """Return one figure of all runs of a row that did not fail."""
    return [run.figures[name] for run in runs if run.row == row and not run.failed and name in run.figures]


def median(runs: Sequence[Run], row: str, name: str) -> float | None:
    """Return the median of one figure of a row, or nothing where it was not measured."""
    found = values(runs, row, name)
    return statistics.median(found) if found else None


def ratio(runs: Sequence[Run], above: str, below: str, name: str) -> float | None:
    """Return the median of one figure of a row divided by that of another one; nothing where one is not known or 0."""
    left, right = (median(runs, row, name) for row in (above, below))
    return round(left / right, 2) if left is not None and right else None


def ratios_of(runs: Sequence[Run], pairs: Sequence[tuple[str, str]], name: str) -> dict[str, float | None]:
    """Return the ratios of one figure for pairs of rows."""
    return {f"{above}/{below}": ratio(runs, above, below, name) for above, below in pairs}


def spread(found: Sequence[float]) -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(found):g} ({min(found):g} to {max(found):g})" if found else "-"


# --- the report -------------------------------------------------------------------------------------------------------


def lines_of(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]


def table(runs: Sequence[Run], rows: Mapping[str, str]) -> list[str]:
    """Return the table, as Markdown: a line per row with its explanation, a column per figure."""
    names = list(dict.fromkeys(name for run in runs for name in run.figures))
    body = []
    for row in dict.fromkeys(run.row for run in runs):
        done = sum(run.row == row and not run.failed for run in runs)
        body.append([f"{row}, {rows[row]}", str(done), *(spread(values(runs, row, name)) for name in names)])
    return lines_of(["row", "runs", *names], body)


def ratio_table(runs: Sequence[Run], bases: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Return the ratios of these figures, as Markdown: a line per row, each against its own base."""
    body = []
    for row in dict.fromkeys(run.row for run in runs):
        if row in bases and bases[row] != row:
            found = [ratio(runs, row, bases[row], name) for name in names]
            body.append([f"{row} / {bases[row]}", *("-" if one is None else f"{one:g}" for one in found)])
    return lines_of(["ratio", *names], body)


def failures(runs: Sequence[Run]) -> list[str]:
    """Return a line for each row that failed: how often, and why the first time."""
    told = []
    for row in dict.fromkeys(run.row for run in runs if run.failed):
        reasons = [run.failed for run in runs if run.row == row and run.failed]
        first = " ".join(reasons[0].split())[:LONGEST_REASON]
        told.append(f"- {row} failed in {len(reasons)} of {sum(run.row == row for run in runs)} runs: {first}")
    return told


def as_data(runs: Sequence[Run], facts: Mapping[str, Any], ratios: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that was measured."""
    return {"machine": dict(facts), "ratios": dict(ratios), "runs": [asdict(run) for run in runs]}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write data for other programs."""
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def exit_code(runs: Sequence[Run]) -> int:
    """Return 1 when nothing could be measured; the numbers do not matter."""
    return 0 if any(not run.failed for run in runs) else 1


def report(
    runs: Sequence[Run],
    rows: Mapping[str, str],
    ratios: Mapping[str, float | None],
    before: Mapping[str, Any],
    output: Path | None,
) -> int:
    """Print the table and the ratios, keep all of it if asked; return the exit code."""
    facts = {**before, "load_average_after": load_average()}
    print("\nMedians, in brackets the least and the most.\n")
    print("\n".join([*table(runs, rows), *failures(runs)]))
    if ratios:
        print("\nRatios of the medians: " + ", ".join(f"{name} = {value}" for name, value in ratios.items()))
    print("Machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
    if output:
        write_json(output, as_data(runs, facts, ratios))
    return exit_code(runs)


# --- command line -----------------------------------------------------------------------------------------------------


def parser(text: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the option that every benchmark has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=above_zero, default=rounds, help="how often each row runs (%(default)s)")
    return made


def parser_with_output(text: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser for a benchmark that ends with ``report``."""
    made = parser(text, rounds)
    made.add_argument("--output", type=Path, help="write everything that was measured to this file, as JSON")
    return made


def above_zero(text: str) -> int:
    """Return the number; ``ValueError`` makes it an error of the command line."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)
