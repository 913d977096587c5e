#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a restore takes, and what clients of the database see of it: psql, pg_restore, and pg_safe_restore.

The rows run in turn, round after round, on a server of its own that is removed in the end:

  R1  gunzip | psql into a new database, then ANALYZE           R4  pg_safe_restore with one job
  R3  pg_restore with a job per core, then ANALYZE              R5  pg_safe_restore with a job per core

R4 and R5 do more: they read the backup twice, compare rows, privileges and settings, and change the names while clients
go on asking. R1 and R3 leave all of that to the operator.

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
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
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import database_probe  # noqa: E402 - lies in a folder that is no package
import dump_zoo  # noqa: E402
import harness  # noqa: E402
import postgres_servers as servers  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE, CONTROL, LIVE = "bench_source", "bench_control", "bench_live"
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "wal_level": "replica",
    "checkpoint_timeout": "30min",
    "maintenance_work_mem": "64MB",
}
MODULE = "pg_safe_restore"
ARCHIVE = "/var/lib/postgresql/bench.dump"
SAMPLE = 0.05
PAIRS = (("R3", "R1"), ("R4", "R1"), ("R5", "R1"), ("R5", "R3"))


@dataclass(frozen=True)
class Ground:
    """What all rows restore from and to."""

    server: servers.Server
    backup: Path
    jobs: int
    clients: int


@dataclass
class Measured:
    """One run."""

    variant: str
    round: int
    seconds: float = 0.0
    failed: str = ""
    wal_mb: float = 0.0
    longest_gap_ms: float | None = None
    refused: int | None = None
    broken: int | None = None
    errors: dict[str, int] = field(default_factory=dict)
    memory_mb: float | None = None
    told: dict[str, Any] = field(default_factory=dict)


# --- the rows ---------------------------------------------------------------------------------------------------------


def by_psql(ground: Ground, _one: Measured) -> None:
    """R1: what the runbook types, into a new database."""
    inside = ["docker", "exec", "--interactive", "--user", "postgres", ground.server.container]
    load = [*inside, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", ground.server.user, "-d", CONTROL]
    with subprocess.Popen(["gunzip", "--stdout", str(ground.backup)], stdout=subprocess.PIPE) as unpacked:
        subprocess.run(load, stdin=unpacked.stdout, stdout=subprocess.DEVNULL, check=True)
    ground.server.execute(CONTROL, "ANALYZE")


def by_pg_restore(ground: Ground, _one: Measured) -> None:
    """R3: the same data from the custom format, in parallel; the archive is in the container already."""
    ground.server.pg_restore(b"", f"--jobs={ground.jobs}", "--exit-on-error", f"--dbname={CONTROL}", ARCHIVE)
    ground.server.execute(CONTROL, "ANALYZE")


def by_module(ground: Ground, one: Measured, jobs: int) -> None:
    """R4, R5: our module, with clients of the live database, and a watch on its memory."""
    options = ground.server.login | {"db": LIVE, "backup": str(ground.backup), "jobs": jobs, "state": "restored"}
    with database_probe.probing(ground.server, LIVE, looping=ground.clients, holding=1) as seen, memory() as peak:
        began = time.monotonic()
        outcome = harness.call_module(MODULE, options)
        one.seconds = round(time.monotonic() - began, 2)
    one.memory_mb = round(peak[0] / 1e6, 1)
    one.longest_gap_ms, one.refused, one.broken, one.errors = (
        seen.longest_gap_ms, seen.refused, seen.broken, seen.errors,
    )  # fmt: skip
    one.told = {
        name: outcome.result[name] for name in ("phases_seconds", "cutover", "rows_total") if name in outcome.result
    }
    if outcome.failed:
        raise servers.ServerError(f"{outcome.result.get('msg')} {outcome.result.get('next_step', '')}")


ROWS: dict[str, tuple[str, Callable[[Ground, Measured], None]]] = {
    "R1": ("gunzip \\| psql, ANALYZE", by_psql),
    "R3": ("pg_restore, a job per core, ANALYZE", by_pg_restore),
    "R4": (f"{MODULE}, 1 job", lambda ground, one: by_module(ground, one, 1)),
    "R5": (f"{MODULE}, a job per core", lambda ground, one: by_module(ground, one, ground.jobs)),
}
OURS = ("R4", "R5")


# --- memory -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def memory() -> Iterator[list[int]]:
    """Watch the module's processes until the block is left; the one number is their highest memory, in bytes."""
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE):
            peak[0] = max(peak[0], module_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def module_memory() -> int:
    """Return the proportional memory of the module's processes now; Ansible's own on the controller do not count."""
    parents: dict[int, int] = {}
    ours: set[int] = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_bytes().split(b"\0")
                # With pipelining the interpreter reads the module from its standard input, so it has no arguments.
                if b"python" in words[0] and (not words[1] or b"AnsiballZ_" in words[1]):
                    ours.add(int(folder.name))
    own = [pid for pid in parents if ours & set(ancestors(pid, parents)) and os.getpid() in ancestors(pid, parents)]
    return sum(proportional(pid) for pid in own)


def ancestors(pid: int, parents: dict[int, int]) -> list[int]:
    """Return the process and all above it."""
    line = [pid]
    while (above := parents.get(line[-1], 0)) and above not in line:
        line.append(above)
    return line


def proportional(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


# --- one run ----------------------------------------------------------------------------------------------------------


def prepare(ground: Ground, variant: str) -> None:
    """Leave what the row begins with: an empty database, or a live one with the schema only; and a checkpoint."""
    for name in ground.server.databases("bench_"):
        if name != SOURCE:
            ground.server.drop_database(name)
    if variant in OURS:
        ground.server.create_database(LIVE)
        ground.server.psql(LIVE, ground.server.pg_dump(SOURCE, "--schema-only"))
    else:
        ground.server.create_database(CONTROL)
    ground.server.execute(servers.MAINTENANCE, "CHECKPOINT")


def measure(ground: Ground, variant: str, number: int) -> Measured:
    """Restore once, and check that the rows are there."""
    one = Measured(variant, number)
    prepare(ground, variant)
    wal = ground.server.value(servers.MAINTENANCE, "SELECT pg_current_wal_insert_lsn()")
    began = time.monotonic()
    try:
        ROWS[variant][1](ground, one)
        one.seconds = one.seconds or round(time.monotonic() - began, 2)
        query = "SELECT count(*) FROM events"
        rows, wanted = (ground.server.value(db, query) for db in (LIVE if variant in OURS else CONTROL, SOURCE))
        one.failed = "" if rows == wanted else f"{rows} rows instead of {wanted}"
    except (servers.ServerError, subprocess.CalledProcessError, AssertionError) as error:
        one.failed = str(error)
    written = f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{wal}')"
    one.wal_mb = round(float(ground.server.value(servers.MAINTENANCE, written)) / 1e6)
    return one


def line_of(one: Measured) -> str:
    """Return one run in a line."""
    if one.failed:
        return f"{one.variant} FAILED: {one.failed}"
    seen = ""
    if one.variant in OURS:
        seen = f", longest gap {one.longest_gap_ms} ms, {one.refused} refused, {one.broken} broken {one.errors}"
        seen += f", memory {one.memory_mb} MB, {json.dumps(one.told)}"
    return f"{one.variant} {one.seconds} s, {one.wal_mb:g} MB of WAL{seen}"


# --- all runs ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def prepared(options: argparse.Namespace) -> Iterator[tuple[Ground, dict[str, Any]]]:
    """Give a server with data of the size that was asked for, and its dumps; remove all of it after."""
    with (
        tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder,
        servers.running_server(options.version, crash_safe=True, settings=SETTINGS) as server,
    ):
        server.create_database(SOURCE)
        size = dump_zoo.scale_database(server, SOURCE, options.megabytes)
        backup = Path(folder, "bench.sql.gz")
        text = server.pg_dump(SOURCE)
        backup.write_bytes(gzip.compress(text, 6))
        server.inside("pg_dump", "-U", server.user, "-d", SOURCE, "--format=custom", f"--file={ARCHIVE}")
        data = {"database_mb": size // 10**6, "dump_mb": len(text) // 10**6, "gzip_mb": backup.stat().st_size // 10**6}
        yield Ground(server, backup, options.jobs, options.clients), data


def measure_all(ground: Ground, options: argparse.Namespace) -> list[Measured]:
    """Measure the rows in turn; what was measured is kept when a round is interrupted."""
    measured: list[Measured] = []
    try:
        for number in range(1, options.rounds + 1):
            for variant in options.variants:
                measured.append(measure(ground, variant, number))
                print(f"round {number}: {line_of(measured[-1])}", flush=True)
    except KeyboardInterrupt:
        print("interrupted: this is what was measured so far")
    return measured


# --- the report -------------------------------------------------------------------------------------------------------


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the numbers depend on."""
    version = servers.docker("version", "--format", "{{.Server.Version}}").stdout.decode().strip()
    return {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": version,
        "postgres": options.version,
        "jobs": options.jobs,
        "clients": options.clients,
        **SETTINGS,
    }


def spread(values: list[float]) -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(values):g} ({min(values):g} to {max(values):g})" if values else ""


def values_of(measured: list[Measured], variant: str, name: str) -> list[float]:
    """Return one figure of all runs of a row that restored everything."""
    runs = [asdict(one) for one in measured if one.variant == variant and not one.failed]
    return [one[name] for one in runs if one[name] is not None]


def table(measured: list[Measured]) -> list[str]:
    """Return the table, as Markdown."""
    figures = ("seconds", "wal_mb", "longest_gap_ms", "refused", "broken", "memory_mb")
    lines = [
        "| row | runs | seconds | WAL, MB | longest gap of a client, ms | refused | broken | memory, MB |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for variant in dict.fromkeys(one.variant for one in measured):
        runs = len(values_of(measured, variant, "seconds"))
        columns = [spread(values_of(measured, variant, name)) for name in figures]
        lines.append(f"| {variant}, {ROWS[variant][0]} | {runs} | {' | '.join(columns)} |")
    return lines


def ratios(measured: list[Measured]) -> dict[str, float | None]:
    """Return the time of one row divided by that of another: less than 1 is faster."""
    found: dict[str, float | None] = {}
    for above, below in PAIRS:
        left, right = (values_of(measured, variant, "seconds") for variant in (above, below))
        found[f"{above}/{below}"] = (
            round(statistics.median(left) / statistics.median(right), 2) if left and right else None
        )
    return found


def report(measured: list[Measured], before: dict[str, Any]) -> dict[str, Any]:
    """Print the tables; return all of it."""
    after = round(os.getloadavg()[0], 1)
    found = ratios(measured)
    print("\nMedians, in brackets the least and the most.\n")
    print("\n".join(table(measured)))
    print("\nSeconds, ratio of the medians: " + ", ".join(f"{name} = {value}" for name, value in found.items()))
    print("Machine: " + ", ".join(f"{name} {value}" for name, value in before.items()) + f" (load after: {after})")
    return {
        "machine": before | {"load_average_after": after},
        "ratios": found,
        "runs": [asdict(one) for one in measured],
    }


# --- command line -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the database (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row runs (default: %(default)s)")
    parser.add_argument("--version", type=int, choices=servers.VERSIONS, default=17, help="of Postgres (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="of R3 and R5 (default: cores, %(default)s)")
    parser.add_argument("--clients", type=int, default=1, help="that connect again and again (default: %(default)s)")
    parser.add_argument(
        "--variants", nargs="+", choices=list(ROWS), default=list(ROWS), help="which run (default: all)"
    )
    parser.add_argument("--output", type=Path, help="write everything that was measured to this file, as JSON")
    options = parser.parse_args()
    if min(options.rounds, options.megabytes, options.jobs, options.clients) < 1:
        parser.error("--rounds, --megabytes, --jobs and --clients are numbers above 0")
    return options


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()
    before = machine(options)
    try:
        with prepared(options) as (ground, data):
            print(", ".join(f"{name} {value}" for name, value in data.items()), flush=True)
            measured = measure_all(ground, options)
    except servers.ServerError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    found = report(measured, before | data)
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0 if any(not one.failed for one in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
