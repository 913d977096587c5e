# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tag that was moved is not trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_both_commits_and_the_way_out_are_named(stack: Stack) -> None:
    code, screen = stack.screen()
    assert code != 0
    tags = stack.facts["tags"]
    assert tags["v1.0.2"] in screen
    assert tags["v1.0.3"] in screen
    assert "commit" in screen


def test_nothing_changed(stack: Stack) -> None:
    stack.assert_nothing_changed()
