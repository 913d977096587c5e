#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rollback of the code of several hosts takes, compared with that of one.

Each host is a demo of its own on this machine, so its stack, its Ansible modules and the controller share the cores.
The rows are numbers of hosts. They run in turn, round after round, each on demos made anew. They are removed in the
end.

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import measuring
import on_demo
from on_demo import GOOD, PLAYBOOK, ROOT, Command, stack

if TYPE_CHECKING:
    import argparse

    from measuring import Run

PROJECT, DIRECTORY = "usdx-bench-hosts", ROOT / ".cache" / "bench-hosts"
VARIABLES = ROOT / "inventories" / "demo" / "group_vars"
ENDED, OWN, OTHERS = "command ended after, s", "own overhead, s", "waited for Docker and the release, s"


def names_of(hosts: int) -> list[str]:
    """Return the names of so many hosts; each is also the name of a Compose project."""
    return [f"{PROJECT}-{number}" for number in range(1, hosts + 1)]


def inventory(demos: dict[str, stack.Demo]) -> str:
    """Write an inventory of these hosts with the variables of the demo; return its path."""
    folder = DIRECTORY / "inventory"
    folder.mkdir(exist_ok=True)
    link = folder / "group_vars"
    if not link.is_symlink():
        link.symlink_to(VARIABLES)
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {"demo_directory": str(demo.directory)} for name, demo in demos.items()}
    path = folder / "hosts.json"
    path.write_text(json.dumps({"rollback_app": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
    return str(path)


def measure(run: Run) -> None:
    """Roll so many hosts back, each of which has the bad release."""
    names = names_of(int(run.row))
    demos = {name: on_demo.bring_up(name, DIRECTORY / name) for name in names}
    argv = [PLAYBOOK, "-i", inventory(demos), "application_bug.yml", "--forks", run.row, "-e", f"version={GOOD}"]
    began = time.monotonic()
    on_demo.carry_out(demos[names[0]], [Command("application_bug.yml", argv)])
    ended = time.monotonic() - began
    for name, demo in demos.items():
        if found := on_demo.complaints(demo):
            raise measuring.MeasuringError(f"{name} is not back: {', '.join(found)}")
    others = measuring.work_of_others(*(on_demo.journal_of(demo) for demo in demos.values()))
    run.figures |= {ENDED: round(ended, 2), OTHERS: round(others, 2), OWN: round(ended - others, 2)}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = measuring.parser_with_output(str(__doc__), rounds=3)
    parser.add_argument(
        "--hosts", type=measuring.above_zero, nargs="+", default=[1, 2, 5], help="numbers of hosts (%(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()
    before = measuring.machine(rounds=options.rounds)
    rows = {str(number): f"{number} host{'s' * (number > 1)}" for number in options.hosts}
    DIRECTORY.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        runs = measuring.measure_all(list(rows), options.rounds, measure, (stack.DemoError,))
        first, *others = rows
        pairs = [(row, first) for row in others]
        return measuring.report(runs, rows, measuring.ratios_of(runs, pairs, OWN), before, options.output)

    return on_demo.on_demos([DIRECTORY / name for name in names_of(max(options.hosts))], work)


if __name__ == "__main__":
    sys.exit(main())
