# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario 1: code only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_users_get_the_old_release(stack: Stack) -> None:
    stack.assert_release_answers("v1.0.2")


def test_keep_services_are_the_same_containers(stack: Stack) -> None:
    stack.assert_keep_services_untouched()


def test_nothing_else_on_the_host_changed(stack: Stack) -> None:
    stack.assert_nothing_else_changed()


def test_the_database_has_no_step(stack: Stack) -> None:
    assert "restore_database" not in {event.get("step") for event in stack.journal()}
