# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that does not exist is refused; a container that is gone is no obstacle."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_an_unknown_service_is_refused(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code != 0
    assert "ghost" in screen
    assert "Refused before anything changed" in screen


def test_a_forgotten_service_is_refused(stack: Stack) -> None:
    code, screen = stack.screen(2)
    assert code != 0
    assert "indexer" in screen
    assert "Refused before anything changed" in screen


def test_only_the_third_command_began_a_run(stack: Stack) -> None:
    assert stack.journal()[0]["event"] == "run_started"


def test_a_missing_container_is_started_again(stack: Stack) -> None:
    code, screen = stack.screen(3)
    assert code == 0, screen
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()
