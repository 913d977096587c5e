# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the screen says when nothing is wrong, when the release is bad, and when something that it needs fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stack import Stack


def words_of(stack: Stack, number: int | str) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.replace("    - ", " ").replace("'", "").split())


@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_wrong_with_check_and_without(stack: Stack, number: int) -> None:
    code, words = words_of(stack, number)
    assert code == 0, words
    assert "VERDICT: CANNOT TELL Cause: none was found" in words
    assert "Nothing wrong with: database, indexer, nginx, redis, " in words
    assert "from host, indexer, webapp" in words
    assert "changed=0" in words


def test_a_bad_release_is_rolled_back(stack: Stack) -> None:
    code, words = words_of(stack, 2)
    assert code == 0, words
    assert "VERDICT: ROLLBACK WILL HELP Cause: application:" in words
    assert "ansible-playbook usdx.rollback.rollback -e version=v1.0.2" in words


def test_a_monitoring_job_can_ask_for_an_error(stack: Stack) -> None:
    code, words = words_of(stack, 3)
    assert code == 2
    assert "A cause was found: application:" in words


@pytest.mark.parametrize(
    ("number", "told"), [(4, "began_with_release"), (5, "No host of the inventory matches nobody")]
)
def test_bad_input_is_refused(stack: Stack, number: int, told: str) -> None:
    code, words = words_of(stack, number)
    assert code == 2
    assert told in words


@pytest.mark.parametrize(
    ("fault", "cause", "action"),
    [
        ("redis_stopped", "redis: ", "start redis"),
        ("redis_read_only", "redis: it is a replica", "See whether another server is the primary now"),
        ("database_paused", "database: ", "unpause db"),
        ("network", "network of webapp: ", "Connect the container of webapp to its networks again"),
    ],
)
def test_a_fault_is_named_and_its_way_out(stack: Stack, fault: str, cause: str, action: str) -> None:
    code, words = words_of(stack, f"_{fault}")
    assert code == 0, words
    assert f"VERDICT: ROLLBACK WILL NOT HELP Cause: {cause}" in words
    assert action in words


def test_lines_fit_a_terminal(stack: Stack) -> None:
    _code, screen = stack.screen("_redis_stopped")
    shown = screen[screen.index("Diagnosis of") : screen.index("PLAY RECAP")].splitlines()
    assert len(shown) > 5
    assert [line for line in shown if len(line) > 80] == []


def test_it_changed_nothing_and_left_nothing(stack: Stack) -> None:
    before, after = stack.before, stack.seen("after")
    assert after["repository"] == before["repository"]
    same = [{s: c["image"] for s, c in stack.containers(moment).items()} for moment in (before, after)]
    assert same[0] == same[1]
    assert len(same[0]) == 5
    assert not (stack.directory / "state").exists()
