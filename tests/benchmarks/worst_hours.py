#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the first stage of a security incident takes, and what dead receivers of messages cost a rollback.

  contain   from the command until no container of the application runs and the page of maintenance is served
  nobody    application_bug.yml, with nobody to tell
  notifiers the same, with three notifiers and a status page that do not answer
  dead      the same, and Alertmanager and Grafana do not answer either

The rows run in turn, round after round, on a demo of its own that is removed in the end. It is a benchmark, not a test:
whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "demo")]
import demo as stack  # noqa: E402 - these lie in folders that are no packages
import receivers  # noqa: E402
import rollback  # noqa: E402
from harness import free_port  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = {
    "contain": "security_incident.yml -e stage=contain",
    "nobody": "application_bug.yml, nobody to tell",
    "notifiers": "application_bug.yml, notifiers and status page dead",
    "dead": "application_bug.yml, Alertmanager and Grafana dead, too",
}
LIMIT = 120.0
POLL = 0.1
SERVICE_UNAVAILABLE = 503
OF_NOTIFIERS = ("rollback_notifiers", "rollback_status_page")


@dataclass(frozen=True)
class Timed:
    """One run: its row and round, seconds until it was done, exit code, and the last lines of one that failed."""

    row: str
    round: int
    seconds: float | None
    rc: int
    last_lines: list[str]


@contextlib.contextmanager
def dead() -> Iterator[dict[str, Any]]:
    """Give the variables of an inventory whose every receiver refuses, or accepts and says nothing."""
    with receivers.hanging_receiver() as hanging, receivers.hanging_receiver() as second:
        ports, everybody = (hanging, second, free_port()), ["team", "users", "stakeholders"]
        url = f"http://127.0.0.1:{hanging}"
        yield {
            "rollback_notifiers": [
                {"name": str(port), "url": f"json://127.0.0.1:{port}/", "audiences": everybody} for port in ports
            ],
            "rollback_status_page": {"provider": "statuspage", "page": "page1", "token": "none", "api_url": url},
            "rollback_alertmanager_url": url,
            "rollback_alert_silence": {"matchers": [{"name": "service", "value": "usdx-wexel"}]},
            "rollback_grafana": {"url": f"http://127.0.0.1:{free_port()}", "token": "none"},
        }


def contained(demo: stack.Demo) -> bool:
    """Tell whether no container of the application runs and users get the page of maintenance."""
    running = stack.docker("ps", "--format", '{{.Label "com.docker.compose.service"}}', *stack.of_project(demo.project))
    return not set(running) & set(rollback.APPLICATION) and stack.ask(f"{demo.url}/")[0] == SERVICE_UNAVAILABLE


def contain(demo: stack.Demo) -> tuple[float | None, int, list[str]]:
    """Type the first stage; return when it had its effect, its exit code, and its last lines if it failed."""
    argv = [*rollback.PLAYBOOK, "security_incident.yml", "-e", "stage=contain", "-e", "reason=benchmark"]
    began, seconds = time.monotonic(), None
    with tempfile.TemporaryFile("w+") as screen:
        child = subprocess.Popen(
            argv, cwd=ROOT, env=rollback.environment(demo), stdin=subprocess.DEVNULL, stdout=screen, stderr=screen
        )
        while seconds is None and time.monotonic() - began < LIMIT:
            if contained(demo):
                seconds = round(time.monotonic() - began, 2)
            time.sleep(POLL)
        rc = child.wait(LIMIT)
        screen.seek(0)
        return seconds, rc, screen.read().splitlines()[-30:] if rc else []


def roll_back(demo: stack.Demo, variables: dict[str, Any]) -> tuple[float, int, list[str]]:
    """Roll back with these variables; return its seconds, its exit code, and its last lines if it failed."""
    argv = [*rollback.PLAYBOOK, "application_bug.yml", "-e", f"version={rollback.GOOD}", "-e", json.dumps(variables)]
    began = time.monotonic()
    rc, last_lines = rollback.carry_out(demo, [argv])
    return round(time.monotonic() - began, 2), rc, last_lines


def measure(options: argparse.Namespace, row: str, number: int) -> Timed:
    """Measure one row once, on a demo that is made anew."""
    demo = rollback.bring_up(options)
    if row == "contain":
        return Timed(row, number, *contain(demo))
    with dead() as variables:
        of_row = {"nobody": (), "notifiers": OF_NOTIFIERS, "dead": tuple(variables)}[row]
        return Timed(row, number, *roll_back(demo, {name: variables[name] for name in of_row}))


def report(measured: list[Timed], before: dict[str, Any]) -> None:
    """Print the table."""
    found = {
        row: [one.seconds for one in measured if one.row == row and not one.rc and one.seconds is not None]
        for row in ROWS
    }
    stack.say("\n| row | runs | seconds, median (least to most) |\n| --- | --- | --- |")
    for row, words in ROWS.items():
        stack.say(f"| {row}, {words} | {len(found[row])} | {rollback.spread(found[row])} |")
    stack.say("Machine: " + ", ".join(f"{name} {value}" for name, value in before.items()))


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the rows in turn and print the table; return all of it."""
    measured: list[Timed] = []
    before = rollback.machine()
    for number in range(1, options.rounds + 1):
        for row in ROWS:
            measured.append(measure(options, row, number))
            stack.say(f"round {number}: {row} {measured[-1].seconds} s, exit code {measured[-1].rc}")
            stack.say("\n".join(measured[-1].last_lines))
    report(measured, before)
    return {"machine": before, "runs": [asdict(one) for one in measured]}


def main() -> int:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each row runs (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="write everything that was measured to this file, as JSON")
    options = parser.parse_args()
    options.project, options.directory = "usdx-bench-hours", ROOT / ".cache" / "bench-hours"
    return rollback.on_a_demo(options, lambda: measure_all(options))


if __name__ == "__main__":
    sys.exit(main())
