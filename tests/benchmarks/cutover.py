#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients see of a cutover when the backup was loaded before, and whether it grows with the database.

A live database and beside it the backup of it, loaded by pg_safe_restore with state=verified; nothing of that counts.
Then clients ask, and pg_safe_restore with state=restored changes the names. The sizes run in turn, round after round.

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import loading
import measuring
from loading import GAP, LIVE, MODULE, Data

if TYPE_CHECKING:
    import argparse

    from measuring import Run


def measure(data: Data, options: argparse.Namespace, run: Run) -> None:
    """Load, then change the names under the eyes of clients."""
    data.fresh(LIVE, f"TEMPLATE {data.source} STRATEGY file_copy")
    data.call(jobs=options.jobs, state="verified")
    with loading.clients(run, data.server, options.clients):
        seconds, result = data.call(state="restored")
    assert result["reused"] is True, "the database was loaded again"
    data.check_rows(LIVE)
    run.figures |= {f"{MODULE}, s": seconds, "cutover, ms": result["cutover"]["milliseconds"]}
    run.told |= {"cutover": result["cutover"], "phases_seconds": result["phases_seconds"]}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = loading.parser(str(__doc__), rounds=5)
    parser.add_argument(
        "--megabytes", type=int, nargs="+", default=[200, 1000], help="sizes of the database (%(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()
    before = loading.machine(options)
    with loading.running_server(options.postgres) as server, contextlib.ExitStack() as stack:
        data = {f"{size} MB": stack.enter_context(loading.data_of(server, size)) for size in options.megabytes}
        rows = {row: f"{one.sizes['gzip_mb']} MB of gzip" for row, one in data.items()}
        runs = loading.measure_all(list(rows), options.rounds, lambda run: measure(data[run.row], options, run))
    first, *larger = rows
    ratios = measuring.ratios_of(runs, [(row, first) for row in larger], GAP)
    return measuring.report(runs, rows, ratios, before, options.output)


if __name__ == "__main__":
    sys.exit(loading.run_benchmark(main))
