#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long users are without the application in a rollback: the runbook's own commands against the playbooks.

The variants run in turn, round after round, on a demo of its own that is removed in the end:

  A   the quick procedure of the runbook, its commands typed without any pause      B   rollback.yml
  A2  scenario 1 of the runbook, code only, no build                                B2  application_bug.yml

It is a benchmark, not a test: whatever the numbers, the exit code is 0. It is 1 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "demo"))
import demo as stack  # noqa: E402 - lies in a folder that is no package

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD, BAD = stack.GOOD, stack.BAD
STOP = ["docker", "compose", "stop", "webapp", "indexer", "nginx"]
CHECKOUT = ["git", "checkout", "--quiet", GOOD]
BUILD = ["docker", "compose", "build"]
START = ["docker", "compose", "up", "--detach"]
PLAYBOOK = [str(Path(sys.executable).parent / "ansible-playbook")]
VARIANTS: dict[str, tuple[str, list[list[str]]]] = {
    "A": (
        "runbook, quick procedure",
        [
            STOP,
            ["git", "fetch", "--tags"],
            CHECKOUT,
            ["git", "describe", "--tags"],
            ["docker", "compose", "build"],
            START,
        ],
    ),
    "B": ("rollback.yml", [[*PLAYBOOK, "rollback.yml", "--extra-vars", f"version={GOOD} database=skip"]]),
    "A2": ("runbook, scenario 1", [STOP, CHECKOUT, START]),
    "B2": ("application_bug.yml", [[*PLAYBOOK, "application_bug.yml", "--extra-vars", f"version={GOOD}"]]),
}
PAIRS = (("A", "B"), ("A2", "B2"))
APPLICATION = ("indexer", "nginx", "webapp")
SECONDS_OF_A_RUN = 900
SECONDS_BEFORE = 1.0
POLL = 0.25


@dataclass(frozen=True)
class Measured:
    """One run: what users saw, and what the operator waited for."""

    variant: str
    round: int
    outage_ms: float
    outages: int
    failed: int
    requests: int
    answers_s: float | None
    ends_s: float
    rc: int
    last_lines: list[str]


# --- one run ----------------------------------------------------------------------------------------------------------


@contextmanager
def witness(demo: stack.Demo, rate: float) -> Iterator[dict[str, Any]]:
    """Request steadily until the block is left; the summary of the probe is in the dictionary then."""
    with tempfile.TemporaryDirectory(prefix="usdx-bench-") as folder:
        end = Path(folder, "end")
        argv = [sys.executable, stack.__file__, "probe", "--url", f"{demo.url}/api/stats", "--until-file", end]
        argv += ["--rate", str(rate), "--timeout", "2"]
        probe = subprocess.Popen(
            [str(word) for word in argv], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        seen: dict[str, Any] = {}
        try:
            yield seen
        finally:
            end.touch()
            out, _nothing = probe.communicate(timeout=120)
        seen.update(json.loads(out.splitlines()[-1])["summary"])


def answers_everywhere(demo: stack.Demo) -> bool:
    """Tell whether every page works, the release names itself, and all application containers are healthy."""
    seen = stack.look(demo)
    healthy = [name for name in APPLICATION if "(healthy)" in seen["services"].get(name, "")]
    version = str(seen["health"].get("version", "")).lstrip("v")
    pages = all(status in stack.OK_STATUSES for status in seen["statuses"].values())
    return pages and version == GOOD.lstrip("v") and len(healthy) == len(APPLICATION)


class Watch(threading.Thread):
    """Notes when the release answers everywhere, while the commands still run."""

    def __init__(self, demo: stack.Demo) -> None:
        """Begin the clock; nothing is asked yet."""
        super().__init__(daemon=True)
        self.demo, self.began = demo, time.monotonic()
        self.ended = threading.Event()
        self.seconds: float | None = None

    def run(self) -> None:
        """Ask until it answers or nobody waits any more."""
        while not self.ended.is_set():
            if answers_everywhere(self.demo):
                self.seconds = round(time.monotonic() - self.began, 2)
                return
            self.ended.wait(POLL)


def environment(demo: stack.Demo) -> dict[str, str]:
    """Return the environment of the commands: the demo's, and where the inventory finds the demo."""
    return stack.environment() | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "USDX_DEMO_DIRECTORY": str(demo.directory),
        "ANSIBLE_NOCOLOR": "1",
    }


def carry_out(demo: stack.Demo, commands: list[list[str]]) -> tuple[int, list[str]]:
    """Run the commands one after the other, as the script of an operator would; return exit code and last lines."""
    for argv in commands:
        place = ROOT if argv[0] == PLAYBOOK[0] else demo.checkout
        done = subprocess.run(
            argv, cwd=place, env=environment(demo), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=SECONDS_OF_A_RUN,
        )  # fmt: skip
        if done.returncode:
            return done.returncode, done.stdout.splitlines()[-30:]
    return 0, []


def measure(demo: stack.Demo, variant: str, number: int, rate: float) -> Measured:
    """Roll the demo back by one variant, with a witness from before until after."""
    with witness(demo, rate) as seen:
        time.sleep(SECONDS_BEFORE)
        watch = Watch(demo)
        watch.start()
        rc, last_lines = carry_out(demo, VARIANTS[variant][1])
        ends = round(time.monotonic() - watch.began, 2)
        watch.join(timeout=30)
        watch.ended.set()
    return Measured(
        variant=variant, round=number, outage_ms=seen["longest_outage_ms"], outages=seen["outages"],
        failed=seen["failed"], requests=seen["requests"], answers_s=watch.seconds, ends_s=ends, rc=rc,
        last_lines=last_lines,
    )  # fmt: skip


# --- all runs ---------------------------------------------------------------------------------------------------------


def bring_up(options: argparse.Namespace) -> stack.Demo:
    """Bring the demo to the bad release, whatever was there before, and wait until users are served."""
    asked = {
        "project": options.project,
        "directory": options.directory,
        "release": BAD,
        "port": None,
        "monitoring": False,
    }
    stack.up(argparse.Namespace(**asked))
    demo = stack.known(options.directory)
    stack.wait_for(f"{BAD} at {demo.url}/api/stats", lambda: stack.ask(f"{demo.url}/api/stats")[0] == 200)
    return demo


def measure_all(options: argparse.Namespace) -> list[Measured]:
    """Measure the variants in turn; what was measured is kept when a round is interrupted."""
    measured: list[Measured] = []
    try:
        for number in range(1, options.rounds + 1):
            for variant in options.variants:
                one = measure(bring_up(options), variant, number, options.rate)
                measured.append(one)
                stack.say(f"round {number}: {line_of(one)}")
    except KeyboardInterrupt:
        stack.say("interrupted: this is what was measured so far")
    return measured


def line_of(one: Measured) -> str:
    """Return one run in a line."""
    told = f"{one.variant:<3} outage {one.outage_ms:.0f} ms (longest of {one.outages}), "
    told += f"{one.failed} of {one.requests} requests failed, "
    told += f"{GOOD} answers after {one.answers_s} s, done after {one.ends_s} s"
    return told + (f"; exit code {one.rc}\n" + "\n".join(one.last_lines) if one.rc else "")


# --- the report -------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    return {
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "docker": stack.docker("version", "--format", "{{.Server.Version}}")[0],
        "compose": stack.docker("compose", "version", "--short")[0],
    }


def spread(values: list[float]) -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(values):g} ({min(values):g} to {max(values):g})" if values else "none"


def values_of(measured: list[Measured], variant: str, name: str) -> list[float]:
    """Return one figure of all runs of a variant that came to their end."""
    runs = [asdict(one) for one in measured if one.variant == variant and one.rc == 0]
    return [one[name] for one in runs if one[name] is not None]


def table(measured: list[Measured]) -> list[str]:
    """Return the table, as Markdown."""
    lines = [
        f"| variant | runs | outage, ms | failed requests | {GOOD} answers everywhere after, s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for variant, (title, _commands) in VARIANTS.items():
        columns = [spread(values_of(measured, variant, name)) for name in ("outage_ms", "failed", "answers_s")]
        runs = len(values_of(measured, variant, "outage_ms"))
        lines.append(f"| {variant}, {title} | {runs} | {' | '.join(columns)} |")
    return lines


def ratios(measured: list[Measured]) -> dict[str, float | None]:
    """Return the outage of each playbook divided by that of the runbook's commands: less than 1 is shorter."""
    found: dict[str, float | None] = {}
    for ours, theirs in ((b, a) for a, b in PAIRS):
        above, below = (values_of(measured, one, "outage_ms") for one in (ours, theirs))
        known = above and below and statistics.median(below) > 0
        found[f"{ours}/{theirs}"] = round(statistics.median(above) / statistics.median(below), 2) if known else None
    return found


def report(measured: list[Measured], before: dict[str, Any]) -> dict[str, Any]:
    """Print the tables; return all of it."""
    after = round(os.getloadavg()[0], 1)
    found = ratios(measured)
    stack.say("\nMedians, in brackets the least and the most.\n")
    stack.say("\n".join(table(measured)))
    stack.say("\nOutage, ratio of the medians: " + ", ".join(f"{name} = {value}" for name, value in found.items()))
    stack.say("Machine: " + ", ".join(f"{name} {value}" for name, value in before.items()) + f" (after: {after})")
    return {
        "machine": before | {"load_average_after": after},
        "ratios": found,
        "runs": [asdict(one) for one in measured],
    }


def on_a_demo(options: argparse.Namespace, work: Callable[[], dict[str, Any]]) -> int:
    """Keep what a benchmark found if asked, remove its demo whatever happens; return the exit code."""
    try:
        found = work()
        if options.output:
            options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except stack.DemoError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    finally:
        stack.down(argparse.Namespace(directory=options.directory, all=False))
    return 0 if found["runs"] else 1


# --- command line -----------------------------------------------------------------------------------------------------


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each variant runs (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=10, help="requests in a second (default: %(default)s)")
    parser.add_argument(
        "--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="which run (default: all)"
    )
    parser.add_argument("--output", type=Path, help="write everything that was measured to this file, as JSON")
    parser.add_argument("--project", default="usdx-bench", help="name of the Compose project (default: %(default)s)")
    parser.add_argument(
        "--directory", type=lambda text: Path(text).resolve(), default=ROOT / ".cache" / "bench",
        help="the demo's own folder (default: %(default)s)",
    )  # fmt: skip
    options = parser.parse_args()
    if options.rounds < 1 or options.rate <= 0:
        parser.error("--rounds and --rate are numbers above 0")
    return options


def main() -> int:
    """Measure, print, clean up."""
    options = arguments()

    def work() -> dict[str, Any]:
        before = machine()
        return report(measure_all(options), before)

    return on_a_demo(options, work)


if __name__ == "__main__":
    sys.exit(main())
