# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With --check --diff nothing changes, and the plan that is shown is what the run then does, step by step."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack import Stack

# What differs from one minute to the next: run ids, how long ago and how much was written since.
_MOVING = re.compile(
    r"\d{8}T\d{6}Z-[0-9a-f]+|\([\d.]+ (?:s|m|min|h)\)|\d[\d,]*(?= rows| ?$)|(?<=public\.events )[\d,]+"
)


def plan(stack: Stack, number: int) -> str:
    """Return the plan on a screen without what moves, and without its last line, which is for the one or the other."""
    _code, screen = stack.screen(number)
    shown = screen.partition("Plan of run")[2].partition("TASK [")[0]
    words = " ".join(shown.split())
    return _MOVING.sub(
        "*", re.split(r" - '?(?:If this run is cut off|\"?Nothing was changed: this is a plan)", words)[0]
    )


def test_both_ended_well(stack: Stack) -> None:
    assert [stack.screen(number)[0] for number in (0, 1)] == [0, 0]


@pytest.mark.parametrize(
    "part", ["containers", "images", "networks", "volumes", "tree", "repository", "state", "databases", "leavings"]
)
def test_the_check_changed_nothing(stack: Stack, part: str) -> None:
    checked: dict[str, Any] = json.loads((stack.directory / "checked.json").read_text(encoding="utf-8"))
    before, after = stack.before[part], checked[part]
    if part == "containers":
        before, after = stack.containers(stack.before), stack.containers(checked)
        before, after = ({name: {**one, "health": ""} for name, one in some.items()} for some in (before, after))
    if part in ("images", "networks", "volumes"):
        before, after = stack.ours(before), stack.ours(after)
    assert after == before


def test_the_plan_is_the_same(stack: Stack) -> None:
    assert "Step 4 Roll back database: the loaded database becomes usdx_wexel" in plan(stack, 0)
    assert plan(stack, 0) == plan(stack, 1)


def test_the_run_did_what_the_plan_says(stack: Stack) -> None:
    events = stack.journal()
    planned: dict[str, Any] = events[0]["facts"]["plan"]
    started = [event["step"] for event in events if event["event"] == "step_started"]
    assert started == [step for step in planned["steps"] if step not in planned["skipped"]]
    done = {event["step"]: event["facts"] for event in events if event["event"] == "step_finished"}
    assert list(done) == started
    results = planned["results"]
    for fact in ("decision", "backup", "reason"):
        assert done["prepare_database"][fact] == results["prepare_database"][fact]
    assert done["stop_services"]["order"] == results["stop_services"]["order"]
    assert done["switch_release"]["after"]["commit"] == planned["release"]["commit"]
    for service, one in results["prepare_release"]["services"].items():
        assert done["prepare_release"]["services"][service]["action"] == one["action"]
        if one["image_id"]:
            assert done["start_services"]["images"][service] == one["image_id"]
    stack.assert_release_answers("v1.0.2")
