# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that was killed twice is gone on with, and ends as if nobody had killed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def words(stack: Stack, number: int) -> tuple[int, str]:
    code, screen = stack.screen(number)
    return code, " ".join(screen.split())


def test_the_run_was_really_killed(stack: Stack) -> None:
    assert [stack.screen(number)[0] for number in (0, 3)] == [-9, -9]


def test_while_a_run_is_cut_off_no_other_begins(stack: Stack) -> None:
    code, screen = words(stack, 1)
    assert code == 2
    assert "Refused before anything changed." in screen
    assert "usdx.rollback.resume" in screen
    assert "switch_release" in screen or "Roll back application code" in screen


def test_the_plan_of_going_on_says_what_is_done(stack: Stack) -> None:
    code, screen = words(stack, 2)
    assert code == 0
    for title in ("Alert and prepare", "Stop services", "Roll back database"):
        assert f"{title}: done before the run was cut off" in screen
    assert "From v1.0.3 (" in screen
    assert "Restart services: indexer, nginx, webapp" in screen


def test_in_the_end_the_release_answers_with_its_data(stack: Stack) -> None:
    assert words(stack, 4)[0] == 0, stack.screen(4)[1]
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
    assert stack.sql("SELECT version_num FROM alembic_version") == ["20241220000000"]
    names = stack.sql("SELECT datname FROM pg_database WHERE datname LIKE 'usdx%' ORDER BY 1")
    assert [name.rpartition("_")[0] for name in names] == ["usdx", "usdx_wexel_before"]


def test_nothing_was_done_twice(stack: Stack) -> None:
    steps = [event["step"] for event in stack.journal() if event["event"] == "step_started"]
    once = [step for step in steps if step not in ("switch_release", "start_services")]
    assert len(once) == len(set(once))
    assert steps.count("restore_database") == 1
    assert [event["event"] for event in stack.journal()].count("run_resumed") == 2


def test_a_run_that_ended_is_not_gone_on_with(stack: Stack) -> None:
    assert words(stack, 5)[0] == 2
