# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that ignores SIGTERM is killed after its grace period, and the run says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_users_get_the_old_release(stack: Stack) -> None:
    code, screen = stack.screen()
    assert code == 0, screen
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()


def test_the_kill_is_named(stack: Stack) -> None:
    _code, screen = stack.screen()
    assert "killed: " in screen
    (stopped,) = [
        event for event in stack.journal() if event["event"] == "step_finished" and event["step"] == "stop_services"
    ]
    assert stopped["facts"]["killed"] == [f"{stack.project}-indexer-1"]
