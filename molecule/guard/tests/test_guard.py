# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a guard a rollback builds nothing and loads nothing, whatever the deployment did to the names of images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from stack import APPLICATION_SERVICES, KEEP_SERVICES, Stack

SERVICES = set(APPLICATION_SERVICES)


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.replace("    - ", " ").replace("'", "").split())


def runs_of(stack: Stack, scenario: str) -> list[dict[str, dict[str, Any]]]:
    """Return what each step of the runs of a scenario has put on record, oldest run first."""
    found = []
    for path in sorted((stack.directory / "state" / "runs").glob("*/journal.jsonl")):
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if events[0]["facts"]["scenario"] == scenario:
            assert events[-1]["facts"]["outcome"] == "succeeded", path
            found.append({one["step"]: one["facts"] for one in events if one["event"] == "step_finished"})
    return found


def images_at(stack: Stack, moment: str) -> dict[str, str]:
    """Return the id of the image that each application service ran at a moment."""
    running = stack.containers(stack.seen(moment) if moment else stack.now)
    return {name: running[name]["image"] for name in APPLICATION_SERVICES}


def test_the_plan_and_a_refused_guard_change_nothing(stack: Stack) -> None:
    code, words = words_of(stack, 0)
    assert code == 0, words
    assert "Back up the database: usdx_wexel to " in words
    assert "Open, to be done by a person: Code review completed" in words
    Stack.of_scenario(moment="refused").assert_nothing_changed()


def test_a_guard_that_cannot_back_up_fails(stack: Stack) -> None:
    code, words = words_of(stack, 1)
    assert code == 2
    assert "Refused before anything changed." in words
    assert "No backup was written" in words


def test_a_guard_keeps_backs_up_and_proves(stack: Stack) -> None:
    code, words = words_of(stack, 2)
    assert code == 0, words
    assert "READY: a rollback to v1.0.2" in words
    assert "Open, to be done by a person: Rollback plan prepared" in words
    assert "Done by Ann: Code review completed" in words
    (guard,) = runs_of(stack, "guard")
    commit = stack.facts["tags"]["v1.0.2"]
    assert guard["keep_release"]["images"] == images_at(stack, "before")
    assert {one["pin"] for one in guard["keep_release"]["services"].values()} == {
        f"usdx-rollback/{stack.project}/{name}:{commit[:12]}" for name in SERVICES
    }
    backup = guard["back_up_database"]
    sidecar = json.loads(Path(backup["sidecar"]).read_text(encoding="utf-8"))
    assert (sidecar["release"], sidecar["commit"], sidecar["sha256"]) == ("v1.0.2", commit, backup["sha256"])
    assert any(line.startswith(f"{backup['side_database']}|") for line in stack.seen("guarded")["databases"])


def test_a_guard_touches_nothing_that_runs(stack: Stack) -> None:
    guarded, before = stack.seen("guarded"), stack.before
    assert stack.containers(guarded) == stack.containers(before)
    for part in ("tree", "repository"):
        assert guarded[part] == before[part], part


def test_after_a_guard_the_deployment_is_followed_up(stack: Stack) -> None:
    code, words = words_of(stack, 3)
    assert code == 0, words
    assert "Manual check: Rollback plan prepared" in words
    assert "Manual check: Code review completed" not in words
    assert all(name in words for name in ("Deploy to staging first", "Regular backups verified"))
    assert "Post-mortem" not in words


def test_ready_names_every_reason_and_fails(stack: Stack) -> None:
    code, words = words_of(stack, 4)
    assert code == 2
    assert "NOT READY: a rollback to v1.0.2" in words
    assert "for 2 reasons: (1) prepare_database: " in words
    assert "/proc/no-backups-here" in words
    assert "(2) switch_release: " in words
    assert "/proc/no-such-file" in words


def test_ready_says_so_in_one_line(stack: Stack) -> None:
    code, words = words_of(stack, 5)
    assert code == 0, words
    assert "READY: a rollback to v1.0.2" in words
    assert "nothing is built, every image is here" in words
    assert "loaded and proved already" in words
    assert "changed=0" in words


def test_ready_changes_nothing_and_leaves_no_lock(stack: Stack) -> None:
    deployed, asked = stack.seen("deployed"), stack.seen("asked")
    assert stack.containers(asked) == stack.containers(deployed)
    for part in ("tree", "repository", "databases", "state", "leavings"):
        assert asked[part] == deployed[part], part
    assert stack.ours(asked["images"]) == stack.ours(deployed["images"])
    assert "lock.json" not in asked["state"]


def test_the_deployment_replaced_what_ran(stack: Stack) -> None:
    """Without this the tests of the rollback would prove nothing."""
    deployed, before = images_at(stack, "deployed"), images_at(stack, "before")
    assert all(deployed[name] != before[name] for name in ("indexer", "webapp"))


def test_the_rollback_builds_nothing(stack: Stack) -> None:
    code, words = words_of(stack, 6)
    assert code == 0, words
    (rollback,) = runs_of(stack, "rollback")
    prepared = rollback["prepare_release"]
    assert {name: one["action"] for name, one in prepared["services"].items()} == dict.fromkeys(SERVICES, "reuse")
    assert prepared["images"] == images_at(stack, "before") == images_at(stack, "")
    stack.assert_release_answers("v1.0.2")
    deployed, now = stack.containers(stack.seen("deployed")), stack.containers(stack.now)
    for name in KEEP_SERVICES:  # the deployment made the database's container anew, the rollback touches none
        assert {**deployed[name], "health": "healthy"} == {**now[name], "health": "healthy"}


def test_the_rollback_of_the_database_is_a_change_of_names(stack: Stack) -> None:
    (guard,), (rollback,) = runs_of(stack, "guard"), runs_of(stack, "rollback")
    prepared = rollback["prepare_database"]
    assert prepared["decision"] == "restore"
    assert prepared["backup"]["path"] == guard["back_up_database"]["path"]
    assert prepared["loaded"]["reused"] is True
    side = next(
        line
        for line in stack.seen("deployed")["databases"]
        if line.startswith(guard["back_up_database"]["side_database"])
    )
    assert stack.database_id(stack.now) == side.split("|")[1]


@pytest.mark.parametrize("place", ["state", "controller"])
def test_no_secret_is_on_record(stack: Stack, place: str) -> None:
    settings = (stack.directory / "project" / ".env").read_text(encoding="utf-8")
    password = settings.partition("POSTGRES_PASSWORD=")[2].split()[0]
    assert len(password) > 10
    files = [Path(top, name) for top, _names, names in os.walk(stack.directory / place) for name in names]
    assert files
    assert [path for path in files if password in path.read_text(encoding="utf-8", errors="replace")] == []
