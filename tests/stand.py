# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A demo stack for drills: how it looks before and after a rollback, and playbooks that are typed on it."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import snapshot
from cut_off import Typed, when_begun
from drills.killed_controller import PLAYBOOKS, Drill, differences, healthy
from harness import REPOSITORY, command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIGRATE = PLAYBOOKS["database_migration"]
ACCEPTED = ["-e", "accept_data_loss=true"]
SECONDS = 240
GATE = 'touch "$0.begun"; until [ -e "$0.end" ]; do sleep 0.1; done'


@dataclass(frozen=True)
class Stand:
    """A stack, how it looks before and after a rollback, and how the first run and one typed meanwhile ended."""

    drill: Drill
    before: dict[str, Any]
    after: dict[str, Any]
    first: Typed
    meanwhile: Typed

    def expect(self, wanted: dict[str, Any], *but: str) -> None:
        """Fail unless the stack is, within a health check's time, as it was."""
        healthy(self.drill)
        assert differences(wanted, self.drill.look(), but=but) == []

    def expect_rolled_back(self) -> None:
        """Fail unless the release runs with its data; each run has a database of its own."""
        self.expect(self.after, "database")

    def type(self, *argv: str, act: Callable[[float], bool] | None = None) -> Typed:
        """Type a playbook; a run that hangs is killed, and that is a failure."""
        done = self.drill.play(list(argv), kill_when=act)
        assert done.seconds < SECONDS, done.screen
        return done

    def killed_in(self, step: str, *argv: str) -> str:
        """Kill a run in a step with all that it has started; return its id."""
        done = self.type(*argv, act=when_begun(self.drill.state_directory, step))
        assert done.killed, done.screen
        return self.drill.last_run()

    def good(self, *argv: str, act: Callable[[float], bool] | None = None) -> None:
        """Type a playbook that must succeed."""
        done = self.type(*argv, act=act)
        assert done.code == 0, done.screen

    def put_back(self, run_id: str) -> None:
        """Undo a run and see that all is as before."""
        self.good("undo.yml", "-e", f"run={run_id}", *ACCEPTED)
        self.expect(self.before)

    def databases(self) -> int:
        """Return how many databases of the application there are: the live one, kept ones, one that is loaded."""
        return int(
            snapshot.sql(self.drill.project, "SELECT count(*) FROM pg_database WHERE datname ~ '^usdx_wexel'")[0]
        )


def once(ready: Callable[[], bool], act: Callable[[], object]) -> Callable[[float], bool]:
    """Return what acts as soon as something holds, once, and kills nothing."""
    done: list[object] = []

    def look(_seconds: float) -> bool:
        if not done and ready():
            done.append(act() or True)
        return False

    return look


def words(done: Typed) -> str:
    """Return a screen in one line."""
    return " ".join(done.screen.split())


def gated(place: Path, variable: str) -> list[str]:
    """Return options with which a command of the project waits until ``place.end`` is there."""
    waits = {"argv": ["sh", "-c", GATE, str(place)], "name": "wait", "timeout": SECONDS}
    return ["-e", json.dumps({variable: [waits]})]


def at_gate(stand: Drill, place: Path, argv: list[str], typed: list[Typed]) -> Callable[[float], bool]:
    """Return what types another playbook while one waits, and lets that go on."""

    def type_meanwhile() -> None:
        typed.append(stand.play(argv))
        place.with_suffix(".end").touch()

    return once(place.with_suffix(".begun").exists, type_meanwhile)


@contextmanager
def standing(directory: Path, project: str) -> Iterator[Stand]:
    """Give a stack that was rolled back once, while another tried the same, and undone; it is removed afterwards."""
    demo = [sys.executable, str(REPOSITORY / "tests/demo/demo.py")]
    try:
        command(*demo, "up", "--project", project, "--directory", str(directory))
        drill = Drill(directory, "database_migration")
        healthy(drill)
        before, typed, place = drill.look(), list[Typed](), directory / "first"
        first = drill.play(
            [*MIGRATE, *gated(place, "rollback_announce_commands")], kill_when=at_gate(drill, place, MIGRATE, typed)
        )
        assert first.code == 0, first.screen
        healthy(drill)
        made = Stand(drill, before, drill.look(), first, typed[0])
        made.put_back(drill.last_run())
        yield made
    finally:
        command(*demo, "down", "--directory", str(directory))
        shutil.rmtree(directory, ignore_errors=True)
