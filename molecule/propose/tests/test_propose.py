# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proposal asks, changes nothing, and is of the very plan that a rollback would carry out."""

from __future__ import annotations

import re

import pytest
from stack import Stack


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.replace("    - ", " ").replace("'", "").split())


def test_a_request_is_of_the_plan_that_a_rollback_would_carry_out(stack: Stack) -> None:
    _code, asked = words_of(stack, 0)
    assert "rollback to v1.0.2? Approval is asked for" in asked
    assert "Alert: Error Rate Decision matrix: P1" in asked
    assert "Must approve: on-call engineer (ann); team lead (bob)" in asked
    assert "Database: restore: " in asked
    assert "LOST: what was written since" in asked
    sums = re.findall(r"approved_plan=([0-9a-f]{12})", asked)
    assert sums
    code, planned = words_of(stack, 5)
    assert code == 0, planned
    assert f"The plan is {sums[0]};" in planned


def test_a_request_that_nobody_got_is_kept_and_is_an_error(stack: Stack) -> None:
    code, words = words_of(stack, 0)
    assert code == 2
    assert "Nobody got the request. Nothing was changed. hook: connection refused." in words
    kept = [path.read_text(encoding="utf-8") for path in (stack.directory / "controller/outbox").glob("*/*")]
    assert any("Approval is asked for" in text for text in kept)
    code, words = words_of(stack, 2)
    assert code == 2
    assert "No notifier reads for the team (rollback_notifiers)" in words


def test_check_mode_shows_the_same_and_sends_nothing(stack: Stack) -> None:
    code, words = words_of(stack, 1)
    assert code == 0, words
    assert "rollback to v1.0.2? Approval is asked for" in words


def test_a_word_that_is_no_trigger_leads_to_no_request(stack: Stack) -> None:
    code, words = words_of(stack, 3)
    assert code == 2
    assert "trigger=perhaps is no condition of the runbook." in words
    assert "nobody was told" in words
    assert "Show what is asked" not in words


def test_without_a_plan_the_request_says_why(stack: Stack) -> None:
    _code, words = words_of(stack, 4)
    assert "error_rate, no plan could be made" in words
    assert "No plan on demo: Refused before anything changed." in words
    assert "-e version=v9.9.9 -e trigger=error_rate --check --diff" in words


@pytest.mark.parametrize("moment", ["after"])
def test_nothing_was_changed(moment: str) -> None:
    seen = Stack.of_scenario(moment=moment)
    seen.assert_nothing_changed()
    assert not list((seen.directory / "state").glob("**/*"))
