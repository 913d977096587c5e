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

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import measuring
import on_demo
from on_demo import GOOD, PLAYBOOK, ROOT, Command, stack

sys.path.insert(0, str(ROOT / "tests"))
import receivers
from harness import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measuring import Run

ROWS = {
    "contain": "`security_incident.yml -e stage=contain`",
    "nobody": "`application_bug.yml`, nobody to tell",
    "notifiers": "`application_bug.yml`, notifiers and status page dead",
    "dead": "`application_bug.yml`, Alertmanager and Grafana dead, too",
}
PROJECT, DIRECTORY = "usdx-bench-hours", ROOT / ".cache" / "bench-hours"
SECONDS = "seconds"
SERVICE_UNAVAILABLE = 503
OF_NOTIFIERS = ("rollback_notifiers", "rollback_status_page")


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


def uncontained(demo: stack.Demo) -> list[str]:
    """Return which containers of the application run, and what users get instead of the page of maintenance."""
    running = stack.docker("ps", "--format", '{{.Label "com.docker.compose.service"}}', *stack.of_project(demo.project))
    status, _body = stack.ask(f"{demo.url}/")
    still = [f"{service} runs" for service in running if service in on_demo.APPLICATION]
    return still + ([] if status == SERVICE_UNAVAILABLE else [f"users get {status}"])


def contain(demo: stack.Demo, run: Run) -> None:
    """Type the first stage, and note when it had its effect."""
    argv = [PLAYBOOK, "security_incident.yml", "-e", "stage=contain", "-e", "reason=benchmark"]
    with on_demo.watching(lambda: uncontained(demo)) as watch:
        on_demo.carry_out(demo, [Command("security_incident.yml", argv)])
        run.figures[SECONDS] = watch.seconds(patience=10)


def roll_back(demo: stack.Demo, variables: dict[str, Any], run: Run) -> None:
    """Roll back with these variables, and note how long it took."""
    argv = [PLAYBOOK, "application_bug.yml", "-e", f"version={GOOD}", "-e", json.dumps(variables)]
    began = time.monotonic()
    on_demo.carry_out(demo, [Command("application_bug.yml", argv)])
    run.figures[SECONDS] = round(time.monotonic() - began, 2)


def measure(run: Run) -> None:
    """Measure one row once, on a demo that is made anew."""
    demo = on_demo.bring_up(PROJECT, DIRECTORY)
    if run.row == "contain":
        contain(demo, run)
        return
    with dead() as variables:
        of_row = {"nobody": (), "notifiers": OF_NOTIFIERS, "dead": tuple(variables)}[run.row]
        roll_back(demo, {name: variables[name] for name in of_row}, run)


def main() -> int:
    """Measure, print, clean up."""
    options = measuring.parser_with_output(str(__doc__), rounds=3).parse_args()
    before = measuring.machine(rounds=options.rounds)

    def work() -> int:
        runs = measuring.measure_all(list(ROWS), options.rounds, measure, (stack.DemoError,))
        return measuring.report(runs, ROWS, {}, before, options.output)

    return on_demo.on_demos([DIRECTORY], work)


if __name__ == "__main__":
    sys.exit(main())
