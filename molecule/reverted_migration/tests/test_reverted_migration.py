# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The migration is reverted on a copy; one that goes too far is noticed, and the former database put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_a_revert_that_goes_too_far_leaves_the_former_database(stack: Stack) -> None:
    code, screen = stack.screen(0)
    words = " ".join(screen.split())
    assert code == 2
    assert "the schema is not that of the release's backup" in words
    assert "The live database usdx_wexel is the one from before" in words
    kept = stack.sql("SELECT oid FROM pg_database WHERE datname LIKE 'usdx_wexel_before_%'")
    assert kept == [stack.database_id(stack.before)], "the second run kept the one that the first had put back"


def test_the_reverted_database_serves_the_release_with_all_rows(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code == 0, screen
    assert "revert: the schema differs" in screen
    stack.assert_release_answers("v1.0.2")
    assert stack.sql("SELECT version_num FROM alembic_version") == ["20241220000000"]
    assert int(stack.sql("SELECT count(*) FROM events")[0]) >= stack.before["events"]


def test_the_second_run_has_nothing_to_do(stack: Stack) -> None:
    code, screen = stack.screen(2)
    assert code == 0
    assert "already runs" in screen


def test_the_rest_is_untouched(stack: Stack) -> None:
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
