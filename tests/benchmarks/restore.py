#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a restore takes, and what clients of the database see of it: psql, pg_restore, and pg_safe_restore.

The rows run in turn, round after round, on a server of its own that is removed in the end:

  R1  gunzip | psql into a new database, then ANALYZE           R4  pg_safe_restore with one job
  R3  pg_restore with a job per core, then ANALYZE              R5  pg_safe_restore with a job per core

R4 and R5 do more: they compare rows, privileges and settings, and change the names. R1 and R3 leave all of that to the
operator. Clients and a watch on the memory cost time, so they have runs of their own, in which no time is taken:

  gap     as R5, while clients of the live database go on asking
  memory  as R5, while the memory of the module's processes is watched

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import loading
import measuring
from loading import LIVE, MODULE, Data
from postgres_servers import MAINTENANCE
from shapes import SHAPES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from measuring import Run

CONTROL = "bench_control"
ARCHIVE = "/var/lib/postgresql/bench.dump"
SAMPLE = 0.05
MARK = "USDX_BENCHMARK"
SECONDS = "seconds"
PAIRS = (("R3", "R1"), ("R4", "R1"), ("R5", "R1"), ("R4", "R3"), ("R5", "R3"))


# --- the rows ---------------------------------------------------------------------------------------------------------


def by_psql(data: Data, _options: argparse.Namespace, run: Run) -> None:
    """R1: what the runbook types, into a new database."""
    server = data.server
    inside = ["docker", "exec", "--interactive", "--user", "postgres", server.container]
    load = [*inside, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", server.user, "-d", CONTROL]
    with into_control(data, run):
        with subprocess.Popen(["gunzip", "--stdout", str(data.backup)], stdout=subprocess.PIPE) as unpacked:
            subprocess.run(load, stdin=unpacked.stdout, stdout=subprocess.DEVNULL, check=True)
        server.execute(CONTROL, "ANALYZE")


def by_pg_restore(data: Data, options: argparse.Namespace, run: Run) -> None:
    """R3: the same data from the custom format, in parallel; the archive is in the container already."""
    with into_control(data, run):
        data.server.pg_restore(b"", f"--jobs={options.jobs}", "--exit-on-error", f"--dbname={CONTROL}", ARCHIVE)
        data.server.execute(CONTROL, "ANALYZE")


@contextlib.contextmanager
def into_control(data: Data, run: Run) -> Iterator[None]:
    """Let the block fill an empty database, and take the time."""
    data.fresh(CONTROL)
    with wal(data, run):
        began = time.monotonic()
        yield
        run.figures[SECONDS] = round(time.monotonic() - began, 2)
    data.check_rows(CONTROL)


def by_module(data: Data, run: Run, jobs: int) -> float:
    """Bring the backup into the place of a live database that has the schema only; return the seconds."""
    seconds, result = data.call(jobs=jobs, state="restored")
    data.check_rows(LIVE)
    run.told |= {name: result[name] for name in ("phases_seconds", "cutover", "rows_total")}
    return seconds


def timed(data: Data, run: Run, jobs: int) -> None:
    """R4, R5: our module, and nothing else."""
    live(data)
    with wal(data, run):
        run.figures[SECONDS] = by_module(data, run, jobs)


def with_clients(data: Data, options: argparse.Namespace, run: Run) -> None:
    """Measure what clients see."""
    live(data)
    with loading.clients(run, data.server, options.clients):
        by_module(data, run, options.jobs)


def with_memory(data: Data, options: argparse.Namespace, run: Run) -> None:
    """Measure the memory."""
    live(data)
    with memory() as peak:
        by_module(data, run, options.jobs)
    run.figures["memory, MB"] = round(peak[0] / 1e6, 1)


def live(data: Data) -> None:
    """Make a live database with the schema only."""
    data.fresh(LIVE)
    data.server.psql(LIVE, data.server.pg_dump(data.source, "--schema-only"))


@contextlib.contextmanager
def wal(data: Data, run: Run) -> Iterator[None]:
    """Note how much log the server wrote in the block."""
    before = data.server.value(MAINTENANCE, "SELECT pg_current_wal_insert_lsn()")
    yield
    written = f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')"
    run.figures["WAL, MB"] = round(float(data.server.value(MAINTENANCE, written)) / 1e6)


ROWS: dict[str, tuple[str, Callable[[Data, argparse.Namespace, Run], None]]] = {
    "R1": ("gunzip \\| psql, ANALYZE", by_psql),
    "R3": ("pg_restore, a job per core, ANALYZE", by_pg_restore),
    "R4": (f"{MODULE}, 1 job", lambda data, _options, run: timed(data, run, 1)),
    "R5": (f"{MODULE}, a job per core", lambda data, options, run: timed(data, run, options.jobs)),
    "gap": ("as R5, with clients", with_clients),
    "memory": ("as R5, watched", with_memory),
}


# --- memory -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def memory() -> Iterator[list[int]]:
    """Watch the module's processes until the block is left; the one number is their highest memory, in bytes.

    The module runs as a job that outlives Ansible, so it is no child of ours: its environment tells that it is ours.
    """
    mark = secrets.token_hex(8)
    os.environ[MARK] = mark
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE):
            peak[0] = max(peak[0], module_memory(f"{MARK}={mark}".encode()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
        del os.environ[MARK]


def module_memory(mark: bytes) -> int:
    """Return the proportional memory of the module's processes now; Ansible's own on the controller do not count."""
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                total += proportional(folder) if runs_module(folder, mark) else 0
    return total


def runs_module(folder: Path, mark: bytes) -> bool:
    """Say whether this is a Python that runs a module, with this mark in its environment."""
    words = (folder / "cmdline").read_bytes().split(b"\0")
    # With pipelining the interpreter reads the module, or its small program, from its standard input.
    python = b"python" in words[0] and (words[1] in (b"", b"-") or b"AnsiballZ_" in words[1])
    return python and mark in (folder / "environ").read_bytes().split(b"\0")


def proportional(folder: Path) -> int:
    """Return the proportional set size of a process in bytes."""
    for line in (folder / "smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


# --- command line -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = loading.parser(str(__doc__), rounds=3)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the database (%(default)s)")
    parser.add_argument(
        "--shape",
        choices=list(SHAPES),
        default="mixed",
        help="what the database holds: " + ", ".join(f"{name}, {shape.text}" for name, shape in SHAPES.items()),
    )
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="which run (all)")
    return parser.parse_args()


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()
    before: dict[str, Any] = loading.machine(options)
    with (
        loading.running_server(options.postgres) as server,
        loading.data_of(server, options.megabytes, options.shape) as data,
    ):
        server.inside("pg_dump", "-U", server.user, "-d", data.source, "--format=custom", f"--file={ARCHIVE}")
        runs = loading.measure_all(options.rows, options.rounds, lambda run: ROWS[run.row][1](data, options, run))
        before |= data.sizes
    rows = {row: text for row, (text, _measure) in ROWS.items()}
    ratios = measuring.ratios_of(runs, PAIRS, SECONDS)
    return measuring.report(runs, rows, ratios, before, options.output)


if __name__ == "__main__":
    sys.exit(loading.run_benchmark(main))
