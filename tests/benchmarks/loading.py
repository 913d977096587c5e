# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks of a restore share: a server with data and backups, and clients of it."""

from __future__ import annotations

import contextlib
import gzip
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measuring
from shapes import SHAPES

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import database_probe
import harness
import postgres_servers as servers

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from measuring import Run

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


@dataclass(frozen=True)
class Data:
    """A database to restore, and its backup."""

    server: servers.Server
    source: str
    backup: Path
    sizes: dict[str, int]
    proof: str

    def fresh(self, name: str, options: str = "TEMPLATE template0") -> None:
        """Leave this empty database, the sources, and nothing else; and a checkpoint."""
        for one in self.server.databases("bench_"):
            self.server.drop_database(one)
        self.server.create_database(name, options)
        self.server.execute(servers.MAINTENANCE, "CHECKPOINT")

    def call(self, **options: Any) -> tuple[float, dict[str, Any]]:
        """Call the module as operators do; return its seconds, with the start and end of Ansible, and its result."""
        given = self.server.login | {"db": LIVE, "backup": str(self.backup)} | options
        began = time.monotonic()
        outcome = harness.through_ansible(MODULE, given)
        seconds = round(time.monotonic() - began, 2)
        if outcome.failed:
            raise servers.ServerError(f"{outcome.result.get('msg')} {outcome.result.get('next_step', '')}")
        return seconds, outcome.result

    def check_rows(self, database: str) -> None:
        """Fail unless the rows are there."""
        rows, wanted = (self.server.value(one, self.proof) for one in (database, self.source))
        if rows != wanted:
            raise servers.ServerError(f"{rows} instead of {wanted}: {self.proof}")


@contextlib.contextmanager
def running_server(version: int) -> Iterator[servers.Server]:
    """Give a server of its own, that would survive a crash; remove it after."""
    with servers.running_server(version, crash_safe=True, settings=SETTINGS) as server:
        yield server


@contextlib.contextmanager
def data_of(server: servers.Server, megabytes: int, shape: str = "mixed") -> Iterator[Data]:
    """Give a database of this size and its backup; the server keeps the database, the backup is removed after."""
    source = server.create_database(f"{_SOURCE}{megabytes}")
    SHAPES[shape].fill(server, source, megabytes)
    size = int(server.value(source, "SELECT pg_database_size(current_database())"))
    text = server.pg_dump(source)
    with tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder:
        backup = Path(folder, "bench.sql.gz")
        backup.write_bytes(gzip.compress(text, 6))
        sizes = {"database_mb": size, "dump_mb": len(text), "gzip_mb": backup.stat().st_size}
        del text
        yield Data(server, source, backup, {name: value // 10**6 for name, value in sizes.items()}, SHAPES[shape].proof)


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
    """Measure the rows in turn."""
    return measuring.measure_all(rows, rounds, measure, (servers.ServerError,))


# --- command line -----------------------------------------------------------------------------------------------------


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the numbers depend on, before anything runs."""
    asked = {name: value for name, value in vars(options).items() if name not in ("output", "rows")}
    return measuring.machine(**asked, **SETTINGS)


def parser(text: str, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark of a restore has."""
    made = measuring.parser_with_output(text, rounds)
    made.add_argument("--postgres", type=int, choices=servers.VERSIONS, default=17, help="its version (%(default)s)")
    made.add_argument(
        "--jobs", type=measuring.above_zero, default=os.cpu_count(), help="of a load (cores, %(default)s)"
    )
    made.add_argument(
        "--clients", type=measuring.above_zero, default=1, help="that connect again and again (%(default)s)"
    )
    return made


def run_benchmark(main: Callable[[], int]) -> int:
    """Return the exit code of a benchmark; 1 when there was no server to measure."""
    try:
        return main()
    except servers.ServerError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
