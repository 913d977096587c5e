# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a run that was cut off is done, and what was there before a run that is undone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import resume

STEPS = [
    "announce", "prepare_release", "prepare_database", "stop_services", "revert_migrations", "restore_database",
    "switch_release", "start_services", "verify_release", "monitor_release", "communicate",
]  # fmt: skip


def cut_off_in(step: str, **other: str) -> dict[str, Any]:
    """Return a run that was cut off in a step; ``other`` overrides the states of steps."""
    number = STEPS.index(step)
    states = {name: "done" if STEPS.index(name) < number else "open" for name in STEPS}
    states = {**states, step: "running", **other}
    return {"steps": [{"name": name, "state": state, "facts": {}} for name, state in states.items()]}


def says(**would_change: bool) -> dict[str, dict[str, Any]]:
    """Return what the steps say in check mode: nothing would change, but for those named."""
    quiet = {name: {"would_change": False} for name in STEPS}
    return quiet | {name: {"would_change": value} for name, value in would_change.items()}


def test_without_a_run_nothing_is_done() -> None:
    assert resume.settled_steps({}) == resume.done_steps({}, says()) == []


@pytest.mark.parametrize("step", STEPS)
def test_what_is_before_the_cut_is_done_when_it_still_holds(step: str) -> None:
    assert resume.done_steps(cut_off_in(step), says()) == STEPS[: STEPS.index(step)]


def test_services_that_came_back_are_stopped_again_before_the_start_has_begun() -> None:
    assert "stop_services" not in resume.done_steps(cut_off_in("switch_release"), says(stop_services=True))


def test_services_that_the_start_has_made_are_not_stopped_again() -> None:
    run = cut_off_in("start_services")
    assert "stop_services" in resume.settled_steps(run)
    assert "stop_services" in resume.done_steps(run, says(stop_services=True))


@pytest.mark.parametrize("step", ["switch_release", "start_services"])
def test_a_database_that_was_changed_is_not_planned_again(step: str) -> None:
    run = cut_off_in(step, revert_migrations="skipped")
    assert {"prepare_database", "restore_database"} <= set(resume.settled_steps(run))


def test_a_database_that_was_not_changed_yet_is_planned_again() -> None:
    run = cut_off_in("restore_database", revert_migrations="skipped")
    assert "prepare_database" not in resume.settled_steps(run)
    assert "prepare_database" not in resume.done_steps(run, says(prepare_database=True))


def test_what_is_started_again_is_verified_again() -> None:
    run = cut_off_in("communicate")
    done = resume.done_steps(run, says(start_services=True))
    assert not {"start_services", "verify_release", "monitor_release"} & set(done)
    assert "announce" in done


def test_a_step_that_does_not_say_what_it_would_do_is_done_again() -> None:
    results = says()
    del results["switch_release"]
    assert "switch_release" not in resume.done_steps(cut_off_in("communicate"), results)


def test_what_was_decided_takes_the_place_of_what_was_left_open() -> None:
    prepared = {"decision": "restore", "backup": {"path": "/b/x.sql.gz"}}
    run = {
        "version": "v1.0.2", "commit": "c" * 40, "inputs": {"version": "1.0.2", "reason": "bad", "database": "auto"},
        "plan": {"results": {"prepare_database": prepared}},
    }  # fmt: skip
    assert resume.resumed_inputs(run) == {
        "version": "v1.0.2", "commit": "c" * 40, "reason": "bad", "database": "restore", "backup": "/b/x.sql.gz",
    }  # fmt: skip
    assert resume.resumed_inputs(run, "4h")["accept_data_loss"] == "4h"
    assert "commit" not in resume.resumed_inputs(run | {"undo_of": "r1"})
    # The pin is about the tag; that the patch makes the same commit again is asked of release_checkout.
    assert resume.resumed_inputs(run | {"patch": {"name": "x", "base": "b" * 40}})["commit"] == "b" * 40


def test_an_undo_aims_at_the_release_of_before() -> None:
    run = cut_off_in("switch_release") | {"run_id": "r1", "from": {"release": "v1.0.3", "commit": "a" * 40}}
    assert resume.undo_inputs(run, {"reason": "", "accept_data_loss": "true"}) == {
        "version": "v1.0.3", "database": "undo", "reason": "undo of run r1", "accept_data_loss": "true",
    }  # fmt: skip
    run["from"] = {"release": None, "describe": None, "commit": "a" * 40}
    assert resume.undo_inputs(run, {})["version"] == "a" * 12


def test_an_undo_leaves_a_database_alone_that_was_not_worked_on() -> None:
    run = cut_off_in("stop_services") | {"run_id": "r1"}
    assert resume.undo_inputs(run, {"reason": "x"})["database"] == "skip"
    skipped = cut_off_in("switch_release", restore_database="skipped", revert_migrations="skipped") | {"run_id": "r1"}
    assert resume.undo_inputs(skipped, {})["database"] == "skip"


def before() -> dict[str, Any]:
    """Return a run before which the web ran twice and the worker crashed."""
    states = {"web": "running", "api": "paused", "worker": "exited", "new": "absent"}
    images = {name: {"before": {"image_id": f"sha256:{name}"}} for name in ("web", "api", "worker")}
    results = {
        "stop_services": {"services": {name: {"before": state} for name, state in states.items()}},
        "prepare_release": {"services": {**images, "new": {"before": {"image_id": None}}}},
        "switch_release": {"variables": {"before": {"VERSION": "1.0.3", "OTHER": None}}},
    }
    return {"run_id": "r1", "plan": {"results": results}}


def test_only_what_ran_before_comes_back_with_the_images_that_it_had() -> None:
    assert resume.services_before(before(), ["worker", ["web", "new"], "api"]) == [["web"], ["api"]]
    assert resume.services_not_started(before(), ["worker", ["web", "new"], "api"]) == ["worker", "new"]
    images = {"web": "sha256:web", "api": "sha256:api", "worker": "sha256:worker"}
    assert resume.images_before(before()) == images, "a crashed one gets a container of its image, not started"
    assert resume.variables_before(before(), {"VERSION": "1.0.2"}) == {"VERSION": "1.0.3", "OTHER": None}


def test_without_a_run_everything_is_as_given() -> None:
    assert resume.services_before({}, ["web", ["api"]]) == ["web", ["api"]]
    assert resume.services_not_started({}, ["web", ["api"]]) == []
    assert resume.images_before({}) == {}
    assert resume.variables_before({}, {"VERSION": "1"}) == {"VERSION": "1"}


def test_what_an_undo_loses_is_counted_from_the_change_of_the_database() -> None:
    run = cut_off_in("switch_release", revert_migrations="skipped")
    for step in run["steps"]:
        step["start"] = f"2026-11-24T15:{len(step['name']):02d}:00.000+00:00"
    assert resume.database_changed_at(run) == "2026-11-24T15:16:00.000+00:00"
    assert resume.database_changed_at(cut_off_in("stop_services")) == resume.database_changed_at({}) == ""


def test_a_kept_database_that_was_dropped_is_missed() -> None:
    run = cut_off_in("switch_release", revert_migrations="skipped") | {"run_id": "r1"}
    gone = {"nothing_to_undo": True}
    assert resume.undo_refusal(run, gone) == ""
    for step in run["steps"]:
        step["facts"] = {"old_database": "shop_before_x"} if step["name"] == "restore_database" else {}
    assert "shop_before_x, and it is not there any more" in resume.undo_refusal(run, gone)
    assert resume.undo_refusal(run, {}) == resume.undo_refusal(run, {**gone, "undone_by": "r2"}) == ""
    assert resume.undo_refusal({}, gone) == ""


@pytest.mark.parametrize(
    ("run", "purpose", "settled"),
    [
        ({}, "resume", False),
        ({"state": "failed", "acted": True}, "resume", False),
        ({"state": "succeeded", "acted": True}, "resume", True),
        ({}, "undo", True),
        ({"state": "unfinished", "acted": False}, "undo", True),
        ({"state": "succeeded", "acted": True}, "undo", False),
        ({"state": "succeeded", "acted": True, "undone_by": "r2"}, "undo", True),
    ],
)
def test_a_host_may_have_nothing_to_do(run: dict[str, Any], purpose: str, *, settled: bool) -> None:
    assert resume.is_settled(run, purpose) is settled


PLAN = {
    "steps": ["announce", "stop_services", "restore_database", "monitor_release"],
    "skipped": {"announce": "no command", "restore_database": "not asked", "monitor_release": "not asked"},
    "done": [],
}


def test_the_journal_is_told_of_what_has_nothing_to_do_before_a_step_and_at_the_end() -> None:
    first = resume.skip_events(PLAN, [], "stop_services")
    assert first == [
        {"event": "step_skipped", "step": "announce", "facts": {"reason": "no command"}},
    ]
    assert [event["step"] for event in resume.skip_events(PLAN, first)] == ["restore_database", "monitor_release"]


def test_the_steps_are_those_that_any_host_carries_out() -> None:
    other = {**PLAN, "skipped": {"announce": "no command"}, "done": ["stop_services"]}
    assert resume.steps_to_do([PLAN]) == ["stop_services"]
    assert resume.steps_to_do([PLAN, other]) == ["stop_services", "restore_database", "monitor_release"]
    assert resume.steps_to_do([]) == []


def test_what_is_done_or_was_said_before_the_run_was_cut_off_is_not_said_again() -> None:
    said = resume.skip_events(PLAN, [])
    assert resume.skip_events(PLAN, said) == []
    assert resume.skip_events({**PLAN, "done": list(PLAN["skipped"])}, []) == []
