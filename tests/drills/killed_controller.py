#!/usr/bin/env python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The drill of the killed controller: SIGKILL at random moments of a run, then one resume or one undo.

After a resume the stack must be as it is after a run that nobody killed; after an undo exactly as before the run. It is
looked at from outside: Docker, Git, the files, the catalog and the rows of the database.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import cut_off  # noqa: E402 - lies in a folder that is no package
import snapshot  # noqa: E402

PLAYBOOKS = {
    "application_bug": ["application_bug.yml", "-e", "version=v1.0.2"],
    "database_migration": ["database_migration.yml", "-e", "version=v1.0.2", "-e", "accept_data_loss=true"],
}
# The application writes to the other tables all the time; their rows must not get less.
STABLE = ("users", "wexels")
HALF = 0.5
ROW_SUM = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"


@dataclass(frozen=True)
class Kill:
    """When a run is killed: so many seconds after its journal was opened, or when a step has begun; and what then.

    Before its journal is opened a run only plans. ``group`` kills its modules with it, ``resume`` goes on with the run
    before it is undone.
    """

    group: bool
    resume: bool
    moment: float = 0.0
    step: str = ""

    def due(self, state_directory: Path) -> Callable[[float], bool]:
        """Return what tells when it is time."""
        if self.step:
            return cut_off.when_begun(state_directory, self.step)
        return cut_off.when_open_for(state_directory, self.moment)


@dataclass
class Drill:
    """One stack that is rolled back, killed, and looked at, again and again."""

    directory: Path
    scenario: str
    inventory: str = "inventories/demo"

    @property
    def state_directory(self) -> Path:
        """Where the journals are."""
        return self.directory / "state"

    @property
    def project(self) -> str:
        """The Compose project."""
        return str(json.loads((self.directory / "demo.json").read_text(encoding="utf-8"))["project"])

    def play(self, argv: list[str], **more: Any) -> cut_off.Typed:
        """Type a playbook on this stack."""
        return cut_off.type_playbook(["-i", self.inventory, *argv], USDX_DEMO_DIRECTORY=str(self.directory), **more)

    def look(self) -> dict[str, Any]:
        """Return what must be the same: code, files, services and their images, database and its stable rows."""
        checkout = self.directory / "project"
        containers = {
            one["service"]: [one["image"], one["status"], one["health"]]
            for one in snapshot.containers().values()
            if one["project"] == self.project
        }
        (database,) = snapshot.sql(self.project, "SELECT oid FROM pg_database WHERE datname = 'usdx_wexel'")
        return {
            "head": snapshot.lines("git", "rev-parse", "HEAD", cwd=checkout),
            "branch": subprocess.run(
                ["git", "symbolic-ref", "--quiet", "HEAD"], cwd=checkout, check=False, capture_output=True, text=True
            ).stdout,
            "status": snapshot.lines("git", "status", "--porcelain", cwd=checkout),
            "tree": snapshot.tree(checkout),
            "containers": containers,
            "database": database,
            "schema": snapshot.sql(self.project, "SELECT version_num FROM alembic_version"),
            **{table: snapshot.sql(self.project, ROW_SUM.format(table)) for table in STABLE},
        }

    def rows(self) -> int:
        """Return the number of rows that the application adds to."""
        return int(snapshot.sql(self.project, "SELECT count(*) FROM events")[0])

    def last_run(self) -> str:
        """Return the id of the newest run; empty when there is none."""
        return max(cut_off.journals(self.state_directory), default="")

    def acted(self, run_id: str) -> bool:
        """Tell whether a run has stopped anything yet."""
        journal = cut_off.journals(self.state_directory).get(run_id)
        begun = {event.get("step") for event in cut_off.events(journal)} if journal else set()
        return "stop_services" in begun


def differences(wanted: dict[str, Any], seen: dict[str, Any], but: tuple[str, ...] = ()) -> list[str]:
    """Return what is not the same, in words."""
    return [
        f"{key}: {seen[key]} instead of {wanted[key]}" for key in wanted if key not in but and wanted[key] != seen[key]
    ]


def healthy(drill: Drill) -> None:
    """Wait until every container that has a health check has passed it: Docker asks only every few seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(one[2] in (None, "healthy") for one in drill.look()["containers"].values()):
            return
        time.sleep(0.5)


def undo(drill: Drill, run_id: str) -> list[str]:
    """Undo a run; return what went wrong."""
    done = drill.play(["undo.yml", "-e", f"run={run_id}", "-e", "accept_data_loss=true"])
    return [] if done.code == 0 else [f"undo ended with {done.code}:\n{done.screen[-3000:]}"]


def where(drill: Drill, run_id: str) -> str:
    """Return in which step a run was killed, in words."""
    journal = cut_off.journals(drill.state_directory).get(run_id)
    begun = [event["step"] for event in cut_off.events(journal) if event["event"] == "step_started"] if journal else []
    return begun[-1] if begun else "before its first step"


def recover(drill: Drill, kill: Kill, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Kill a run and recover by one command; return what went wrong. In the end the stack is as before."""
    former, rows = drill.last_run(), drill.rows()
    killed = drill.play(PLAYBOOKS[drill.scenario], kill_when=kill.due(drill.state_directory), whole_group=kill.group)
    run_id = drill.last_run()
    begun = run_id != former
    step = where(drill, run_id) if begun else "before its journal"
    print(
        f"  {'everything' if kill.group else 'the controller'} killed after {killed.seconds} s, {step}",
        end="; ",
        flush=True,
    )
    wrong = (
        []
        if killed.killed or killed.code == 0
        else [f"it ended by itself with {killed.code}:\n{killed.screen[-3000:]}"]
    )
    # There is nothing to undo of a run that has only planned and prepared; it is gone on with, as its lock demands.
    if begun and killed.killed and (kill.resume or not drill.acted(run_id)):
        done = drill.play(["resume.yml", "-e", f"run={run_id}"])
        wrong += [f"resume ended with {done.code}:\n{done.screen[-3000:]}"] if done.code else []
        healthy(drill)
        wrong += differences(after, drill.look(), but=("database",))
        print("resumed", end="; ", flush=True)
    if begun and drill.acted(run_id):
        wrong += undo(drill, run_id)
        print("undone", end="; ", flush=True)
    healthy(drill)
    wrong += differences(before, drill.look())
    lost = rows - drill.rows()
    wrong += [f"{lost} rows are lost"] if lost > 0 else []
    print("WRONG" if wrong else "as it must be", flush=True)
    return wrong


def rehearse(drill: Drill) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Let a run end that nobody kills, and undo it.

    Return the seconds in which its journal was open, and what the stack is before and after.
    """
    healthy(drill)
    before = drill.look()
    whole = drill.play(PLAYBOOKS[drill.scenario])
    if whole.code:
        sys.exit(whole.screen)
    healthy(drill)
    after = drill.look()
    run_id = drill.last_run()
    seconds = cut_off.events(cut_off.journals(drill.state_directory)[run_id])[-1]["elapsed"]
    wrong = undo(drill, run_id)
    healthy(drill)
    wrong += differences(before, drill.look())
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{drill.scenario}: a run that nobody kills takes {whole.seconds} s, {seconds:.1f} of it acting", flush=True)
    return seconds, before, after


def kills(options: argparse.Namespace, drill: Drill, seconds: float) -> Iterator[Kill]:
    """Yield the kills: one in each step, or at random moments; every other one is gone on with."""
    chosen = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    if options.each_step:
        journal = cut_off.journals(drill.state_directory)[min(cut_off.journals(drill.state_directory))]
        steps = [event["step"] for event in cut_off.events(journal) if event["event"] == "step_started"]
        for number, step in enumerate(steps):
            yield Kill(group=chosen.random() < HALF, resume=number % 2 == options.seed % 2, step=step)
        return
    for number in range(options.kills):
        moment = chosen.uniform(0, seconds)
        yield Kill(group=chosen.random() < HALF, resume=number % 2 == 0, moment=moment)


def carry_out(options: argparse.Namespace) -> int:
    """Kill as often as asked; return how often something was wrong."""
    drill = Drill(options.directory.resolve(), options.scenario)
    seconds, before, after = rehearse(drill)
    good = bad = 0
    for kill in kills(options, drill, seconds):
        print(f"{good + bad + 1}:", end="", flush=True)
        wrong = recover(drill, kill, before, after)
        print("\n".join(wrong), end="\n" if wrong else "", flush=True)
        bad += bool(wrong)
        good += not wrong
        if wrong and options.stop:
            break
    print(f"{good} passed, {bad} failed", flush=True)
    return bad


def main() -> int:
    """Read the command line and carry the drill out, on a stack of its own if none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, help="of a demo stack that runs v1.0.3 (default: one is made)")
    parser.add_argument("--scenario", choices=list(PLAYBOOKS), default="database_migration")
    parser.add_argument("--kills", type=int, default=40, help="at random moments (default: %(default)s)")
    parser.add_argument("--each-step", action="store_true", help="one kill in each step instead")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--stop", action="store_true", help="at the first that goes wrong")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    if options.directory:
        return 1 if carry_out(options) else 0
    options.directory = ROOT / ".cache" / f"drill-{options.scenario}"
    demo = [sys.executable, str(ROOT / "tests/demo/demo.py")]
    place = [f"--directory={options.directory}"]
    project = f"usdx-drill-{options.scenario.replace('_', '-')}"
    subprocess.run([*demo, "up", f"--project={project}", *place], check=True)
    try:
        return 1 if carry_out(options) else 0
    finally:
        subprocess.run([*demo, "down", *place], check=True)


if __name__ == "__main__":
    sys.exit(main())
