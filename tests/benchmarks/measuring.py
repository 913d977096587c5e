# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of a restore share: a server with data and backups, runs in turn, and the report of them.

A benchmark gives an ordered list of rows and a function that measures one of them once. The rows run in turn, round
after round, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import database_probe
import dump_zoo
import harness
import postgres_servers as servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "wal_level": "replica",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "64MB",
}
MODULE = "pg_safe_restore"
LIVE = "bench_live"
GAP = "gap of the cutover, ms"
_SOURCE = "source_"
_WHICH = "SELECT pg_relation_filepath('pg_class')"  # begins with the number of the database, and reads no pg_database
_FAILURES = (servers.ServerError, subprocess.CalledProcessError, AssertionError)


@dataclass(frozen=True)
class Data:
    """A database to restore, and its backup."""

    server: servers.Server
    source: str
    backup: Path
    sizes: dict[str, int]

    def fresh(self, name: str, options: str = "TEMPLATE template0") -> None:
        """Leave this empty database, the sources, and nothing else; and a checkpoint."""
        for one in self.server.databases("bench_"):
            self.server.drop_database(one)
        self.server.create_database(name, options)
        self.server.execute(servers.MAINTENANCE, "CHECKPOINT")

    def call(self, **options: Any) -> tuple[float, dict[str, Any]]:
        """Call the module for the live database; return its seconds, with the start of Ansible, and its result."""
        given = self.server.login | {"db": LIVE, "backup": str(self.backup)} | options
        began = time.monotonic()
        outcome = harness.call_module(MODULE, given)
        seconds = round(time.monotonic() - began, 2)
        if outcome.failed:
            raise servers.ServerError(f"{outcome.result.get('msg')} {outcome.result.get('next_step', '')}")
        return seconds, outcome.result

    def check_rows(self, database: str) -> None:
        """Fail unless the rows are there."""
        rows, wanted = (self.server.value(one, "SELECT count(*) FROM events") for one in (database, self.source))
        if rows != wanted:
            raise servers.ServerError(f"{rows} rows instead of {wanted}")


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


@contextlib.contextmanager
def running_server(version: int) -> Iterator[servers.Server]:
    """Give a server of its own, that would survive a crash; remove it after."""
    with servers.running_server(version, crash_safe=True, settings=SETTINGS) as server:
        yield server


@contextlib.contextmanager
def data_of(server: servers.Server, megabytes: int) -> Iterator[Data]:
    """Give a database of this size and its backup; the server keeps the database, the backup is removed after."""
    source = server.create_database(f"{_SOURCE}{megabytes}")
    size = dump_zoo.scale_database(server, source, megabytes)
    text = server.pg_dump(source)
    with tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder:
        backup = Path(folder, "bench.sql.gz")
        backup.write_bytes(gzip.compress(text, 6))
        sizes = {"database_mb": size, "dump_mb": len(text), "gzip_mb": backup.stat().st_size}
        del text
        yield Data(server, source, backup, {name: value // 10**6 for name, value in sizes.items()})


@contextlib.contextmanager
def clients(run: Run, server: servers.Server, looping: int) -> Iterator[None]:
    """Let clients ask for as long as the block runs, one of them on a session that it keeps; note what they saw.

    The answer tells the database, so the gap of the cutover is known apart from those of a busy machine.
    """
    with database_probe.probing(server, LIVE, looping=looping, holding=1, query=_WHICH) as seen:
        yield
    run.figures |= {
        GAP: seen.change_gap_ms,
        "longest gap, ms": seen.longest_gap_ms,
        "refused": seen.refused,
        "broken": seen.broken,
    }
    run.told["errors"] = seen.errors


def measure_all(rows: Sequence[str], rounds: int, measure: Callable[[Run], None]) -> list[Run]:
    """Measure the rows in turn; what was measured is kept when a round is interrupted."""
    runs: list[Run] = []
    try:
        for number in range(1, rounds + 1):
            for row in rows:
                runs.append(_measured(Run(row, number), measure))
                print(f"{runs[-1]}, load {load_average()}", flush=True)
    except KeyboardInterrupt:
        print("interrupted: this is what was measured so far")
    return runs


def _measured(run: Run, measure: Callable[[Run], None]) -> Run:
    """Measure once; a failure is noted and not counted."""
    try:
        measure(run)
    except _FAILURES as error:
        run.failed = str(error)
    return run


# --- the report -------------------------------------------------------------------------------------------------------


def load_average() -> float:
    """Return how many processes wanted to run in the last minute."""
    return round(os.getloadavg()[0], 1)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the numbers depend on, before anything runs."""
    version = servers.docker("version", "--format", "{{.Server.Version}}").stdout.decode().strip()
    asked = {name: value for name, value in vars(options).items() if name not in ("output", "rows")}
    return {
        "cores": os.cpu_count(),
        "load_average": load_average(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": version,
        **asked,
        **SETTINGS,
    }


def values(runs: list[Run], row: str, name: str) -> list[float]:
    """Return one figure of all runs of a row that did not fail."""
    return [run.figures[name] for run in runs if run.row == row and not run.failed and name in run.figures]


def ratios_of(runs: list[Run], pairs: Sequence[tuple[str, str]], name: str) -> dict[str, float | None]:
    """Return, for pairs of rows, the median of one figure divided by that of the other row."""
    found: dict[str, float | None] = {}
    for above, below in pairs:
        left, right = (values(runs, row, name) for row in (above, below))
        found[f"{above}/{below}"] = (
            round(statistics.median(left) / statistics.median(right), 2) if left and right else None
        )
    return found


def spread(found: list[float]) -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(found):g} ({min(found):g} to {max(found):g})" if found else "-"


def table(runs: list[Run], rows: Mapping[str, str]) -> list[str]:
    """Return the table, as Markdown: a line per row with its explanation, a column per figure."""
    names = list(dict.fromkeys(name for run in runs for name in run.figures))
    lines = [f"| row | runs | {' | '.join(names)} |", "| --- " * (len(names) + 2) + "|"]
    for row in dict.fromkeys(run.row for run in runs):
        done = sum(run.row == row and not run.failed for run in runs)
        columns = " | ".join(spread(values(runs, row, name)) for name in names)
        lines.append(f"| {row}, {rows[row]} | {done} | {columns} |")
    return lines


def report(
    runs: list[Run],
    rows: Mapping[str, str],
    ratios: Mapping[str, float | None],
    before: dict[str, Any],
    output: Path | None,
) -> int:
    """Print the table and the ratios, keep all of it if asked; return the exit code."""
    facts = before | {"load_average_after": load_average()}
    print("\nMedians, in brackets the least and the most.\n")
    print("\n".join(table(runs, rows)))
    print("\nRatios of the medians: " + ", ".join(f"{name} = {value}" for name, value in ratios.items()))
    print("Machine: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
    if output:
        found = {"machine": facts, "ratios": ratios, "runs": [asdict(run) for run in runs]}
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if any(not run.failed for run in runs) else 1


# --- command line -----------------------------------------------------------------------------------------------------


def parser(text: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark of a restore has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=_above_zero, default=rounds, help="how often each row runs (%(default)s)")
    made.add_argument("--postgres", type=int, choices=servers.VERSIONS, default=17, help="its version (%(default)s)")
    made.add_argument("--jobs", type=_above_zero, default=os.cpu_count(), help="of a load (cores, %(default)s)")
    made.add_argument("--clients", type=_above_zero, default=1, help="that connect again and again (%(default)s)")
    made.add_argument("--output", type=Path, help="write everything that was measured to this file, as JSON")
    return made


def _above_zero(text: str) -> int:
    """Return the number; ``ValueError`` makes it an error of the command line."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def run_benchmark(main: Callable[[], int]) -> int:
    """Return the exit code of a benchmark; 1 when there was no server to measure."""
    try:
        return main()
    except servers.ServerError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
