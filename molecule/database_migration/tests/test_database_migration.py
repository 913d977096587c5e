# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario 2 on the demo: the schema differs, so the database goes back with the code, and everything is kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_users_get_the_old_release_and_their_balances(stack: Stack) -> None:
    stack.assert_release_answers("v1.0.2")
    assert float(json.loads(stack.get("/api/stats")[1])["total_balance"]) > 300_000
    assert stack.sql("SELECT version_num FROM alembic_version") == ["20241220000000"]


def test_keep_services_are_the_same_containers_and_nothing_else_changed(stack: Stack) -> None:
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()


def test_the_database_is_the_one_from_before_in_all_but_its_rows(stack: Stack) -> None:
    facts = stack.sql(
        "SELECT datname, pg_get_userbyid(datdba), datallowconn, datconnlimit FROM pg_database "
        "WHERE NOT datistemplate AND datname <> 'postgres' ORDER BY datname"
    )
    assert facts[0] == "usdx_wexel|usdx|t|-1"
    assert len(facts) == 2, "the live and one kept database, and no side database"
    assert facts[1].startswith("usdx_wexel_before_")
    assert facts[1].endswith("|usdx|f|-1")


def test_the_session_that_held_on_is_gone(stack: Stack) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(900)%' AND pid <> pg_backend_pid()"
    assert stack.sql(query) == ["0"]


def test_the_journal_says_what_was_decided_and_lost(stack: Stack) -> None:
    facts = {event.get("step"): event["facts"] for event in stack.journal() if event["event"] == "step_finished"}
    plan = facts["prepare_database"]
    assert plan["decision"] == "restore"
    assert "fee numeric" in plan["reason"]
    assert plan["backup"]["path"] == stack.facts["backup"]
    assert plan["loss"]["tables"]["public.events"] > 0
    assert facts["restore_database"]["old_database"].startswith("usdx_wexel_before_")
    assert facts["restore_database"]["reused"] is True
    skipped = [event["step"] for event in stack.journal() if event["event"] == "step_skipped"]
    assert "revert_migrations" in skipped
