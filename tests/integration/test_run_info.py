# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of a host through Ansible, from journals that the module run_journal wrote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from harness import call_module

ROLLBACK, LATER = "20261124T150405Z-3f9a", "20261124T160405Z-00ff"
CONTROLLER = {
    "user": "bob", "host": "laptop", "boot_id": "b", "process_namespace": "pid:[1]", "machine_id": "m", "pid": 7,
    "started": 9, "job": "",
}  # fmt: skip
LOCK = {
    "run_id": LATER, "project": "shop", "scenario": "rollback", "reason": "", "since": "2026-11-24T16:04:05.000+00:00",
    "journal_events": 0, "controller": CONTROLLER,
}  # fmt: skip


def write(state: Path, run_id: str, *events: tuple[str, str | None, dict[str, Any]]) -> None:
    """Append events to a journal, as a run does."""
    told = [{"event": name, "step": step, "facts": facts} for name, step, facts in events]
    outcome = call_module("run_journal", {"state_directory": str(state), "run_id": run_id, "events": told})
    assert not outcome.failed


def digests(state: Path) -> dict[str, str]:
    """Return what is in the state directory, with the time of the last change."""
    return {
        str(
            path
        ): f"{path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''}"
        for path in sorted(state.rglob("*"))
    }


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a state directory: a run that succeeded, a later one that was gone on with and cut off, and a lock."""
    directory = tmp_path_factory.mktemp("state")
    asked = {
        "scenario": "rollback",
        "version": "v1.0.2",
        "plan": {"steps": ["stop_services"]},
        "inputs": {"backup": "b"},
    }
    stopped = {"killed": ["web"]}
    write(
        directory, ROLLBACK, ("run_started", None, asked), ("step_started", "stop_services", {}),
        ("step_finished", "stop_services", stopped), ("run_finished", None, {"outcome": "succeeded"}),
    )  # fmt: skip
    write(directory, LATER, ("run_started", None, asked), ("run_finished", None, {"outcome": "failed"}))
    write(
        directory,
        LATER,
        ("run_resumed", None, {"controller": {"user": "bob"}}),
        ("step_started", "prepare_release", {}),
    )
    (directory / "lock.json").write_text(json.dumps(LOCK), encoding="utf-8")
    return directory


@pytest.mark.parametrize("check", [True, False])
def test_the_runs_are_listed_and_nothing_is_touched(state: Path, *, check: bool) -> None:
    before = digests(state)
    found = call_module("run_info", {"state_directory": str(state)}, check=check)
    assert (found.failed, found["changed"], found["run"], found["lock"]) == (False, False, {}, LOCK)
    assert [(run["run_id"], run["state"], run["step"], run["resumed"], run["acted"]) for run in found["runs"]] == [
        (LATER, "unfinished", "prepare_release", 1, False), (ROLLBACK, "succeeded", None, 0, True),
    ]  # fmt: skip
    assert found["incident"] == {"since": "", "stages": {}, "unknown": []}
    assert not [run for run in found["runs"] if "plan" in run or "events" in run]
    assert digests(state) == before


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("options", "chosen"),
    [({"purpose": "resume"}, LATER), ({"purpose": "undo"}, ROLLBACK), ({"run_id": ROLLBACK}, ROLLBACK)],
)
def test_a_run_is_chosen_and_told_whole(state: Path, options: dict[str, str], chosen: str, *, check: bool) -> None:
    found = call_module("run_info", {"state_directory": str(state), "limit": 1, **options}, check=check)
    assert (found.failed, found["changed"], found["run"]["run_id"]) == (False, False, chosen)
    assert found["run"]["plan"] == {"steps": ["stop_services"]}
    assert found["run"]["inputs"] == {"backup": "b"}
    assert found["run"]["events"][0]["event"] == "run_started"
    assert [run["run_id"] for run in found["runs"]] == [LATER]
    if chosen == ROLLBACK:
        assert found["run"]["steps"][0]["facts"] == {"killed": ["web"]}


def test_refusals_say_what_to_type(state: Path) -> None:
    for options, words in (
        ({"purpose": "resume", "run_id": ROLLBACK}, "has succeeded"),
        ({"purpose": "undo", "run_id": LATER}, "changed nothing"),
        ({"run_id": "../../etc"}, "is on record here"),
        ({"limit": 0}, "limit=0 is not accepted"),
    ):
        found = call_module("run_info", {"state_directory": str(state), **options})
        assert found.failed
        assert words in found["msg"]
        assert found["next_step"]


def test_where_no_run_was_there_is_none_and_nothing_to_choose(tmp_path: Path) -> None:
    absent = {"state_directory": str(tmp_path / "absent")}
    found = call_module("run_info", absent)
    assert (found.failed, found["changed"], found["runs"], found["run"], found["lock"]) == (False, False, [], {}, {})
    for purpose, words in (("resume", "no run to go on with"), ("undo", "nothing to undo")):
        refused = call_module("run_info", {**absent, "purpose": purpose})
        assert refused.failed
        assert words in refused["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_torn_journal_and_one_that_is_no_file_are_listed(tmp_path: Path) -> None:
    write(tmp_path, ROLLBACK, ("run_started", None, {}), ("step_started", "stop_services", {}))
    journal = tmp_path / "runs" / ROLLBACK / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    (tmp_path / "runs" / LATER / "journal.jsonl").mkdir(parents=True)
    found = call_module("run_info", {"state_directory": str(tmp_path)})
    assert [(run["state"], run["damaged_lines"], run["acted"]) for run in found["runs"]] == [
        ("unreadable", 0, False), ("unfinished", 1, False),
    ]  # fmt: skip
    assert "cannot be read" in found["runs"][0]["why"]
