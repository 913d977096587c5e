# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to the database: decided from evidence, refused without it; and which loss was accepted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.database_decision import (
    data_loss,
    database_decision,
    deployed_at,
    loss_refusal,
    loss_text,
)

BACKUP = {"path": "/backups/b.sql.gz", "taken_at": "2024-12-28T01:45:00Z"}
EQUAL = {"comparable": True, "equal": True, "differences": []}
DIFFERENT = {"comparable": True, "equal": False, "differences": [f"only in the live database: {n}" for n in "abcde"]}
OTHER_VERSION = {"comparable": False, "backup_pg_dump_version": "13.4"}


def evidence(**given: Any) -> dict[str, Any]:
    return {
        "asked": "auto", "backup": BACKUP, "passed_over": [], "comparison": EQUAL, "reversible": False,
        "revertible": False, "kept": {}, "runs_already": False, **given,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "decision", "word"),
    [
        ({"asked": "skip"}, "skip", "asked"),
        ({}, "skip", "has the schema of the backup /backups/b.sql.gz"),
        ({"comparison": DIFFERENT}, "restore", "cannot be reverted"),
        ({"comparison": DIFFERENT, "reversible": True}, "restore", "names no command"),
        ({"comparison": DIFFERENT, "reversible": True, "revertible": True}, "revert", "can be reverted"),
        ({"comparison": DIFFERENT, "revertible": True}, "restore", "cannot be reverted"),
        ({"backup": {}, "comparison": {}, "runs_already": True}, "skip", "run the release already"),
        (
            {"backup": {}, "comparison": {}, "runs_already": True},
            "skip",
            "add -e backup=PATH, or -e backup_before=TIME",
        ),
        ({"asked": "restore", "comparison": {}}, "restore", "asked"),
        ({"asked": "revert", "comparison": DIFFERENT, "revertible": True}, "revert", "asked"),
        ({"asked": "revert", "comparison": {}, "backup": {}, "revertible": True}, "revert", "asked"),
        ({"asked": "revert", "revertible": True}, "skip", "nothing to revert"),
        (
            {"asked": "undo", "kept": {"name": "k", "at": "20261124T221627Z"}},
            "undo",
            "since 2026-11-24T22:16:27Z",
        ),
        ({"asked": "undo", "runs_already": True}, "skip", "replaced no other"),
    ],
)
def test_the_decision_follows_the_evidence(given: dict[str, Any], decision: str, word: str) -> None:
    made = database_decision(evidence(**given))
    assert made["decision"] == decision
    assert word in made["reason"]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"backup": {}, "comparison": {}, "passed_over": ["x.sql: cut"]}, "(x.sql: cut)"),
        ({"comparison": OTHER_VERSION}, "pg_dump 13.4"),
        ({"asked": "restore", "backup": {}}, "database=restore needs a whole backup"),
        ({"asked": "restore", "backup": {}, "runs_already": True}, "no deployment tells which backup that is"),
        ({"asked": "restore", "backup": {}, "runs_already": True, "passed_over": ["x.sql: cut"]}, "(x.sql: cut)"),
        ({"asked": "revert", "comparison": DIFFERENT}, "names no command that reverts"),
        ({"asked": "undo"}, "replaced no other one"),
    ],
)
def test_without_evidence_there_is_no_decision(given: dict[str, Any], word: str) -> None:
    made = database_decision(evidence(**given))
    assert "decision" not in made
    assert word in made["refusal"]
    assert "database=" in made["next_step"]


def test_few_differences_are_named_and_the_others_counted() -> None:
    assert "only in the live database: c; and 2 more" in database_decision(evidence(comparison=DIFFERENT))["reason"]


def service(before: str, after: str | None, *created: str) -> dict[str, Any]:
    return {"image_id": after, "before": {"image_id": before}, "containers": [{"created_at": one} for one in created]}


def test_the_deployment_is_when_the_first_replaced_container_was_made() -> None:
    services = {
        "web": service("3", "2", "2024-12-28T02:00:05.123456789Z", "2024-12-28T02:00:04.5Z"),
        "indexer": service("3", None, "2024-12-28T02:00:09Z"),
        "proxy": service("1", "1", "2024-11-01T00:00:00Z"),
    }
    assert deployed_at(services, {}) == "2024-12-28T02:00:04Z"
    assert deployed_at({"proxy": services["proxy"]}, {}) == ""
    assert deployed_at({}, {}) == ""


def test_the_checkout_counts_when_another_commit_is_left() -> None:
    services = {"web": service("3", "2", "2024-12-28T02:00:05Z")}
    before = {"commit": "a", "since": "2024-12-28T02:58:00+01:00"}
    assert deployed_at(services, {"before": before, "release": {"commit": "b"}}) == "2024-12-28T01:58:00Z"
    assert deployed_at(services, {"before": before, "release": {"commit": "a"}}) == "2024-12-28T02:00:05Z"
    assert deployed_at({}, {"before": before, "release": {"commit": "b"}}) == "2024-12-28T01:58:00Z"
    assert deployed_at({}, {"before": {"commit": "a", "since": None}, "release": {"commit": "b"}}) == ""


LOSS = data_loss({"lost_rows": {"public.events": 120, "public.users": 2}}, BACKUP, "2024-12-28T04:57:00.5+00:00")


@pytest.mark.parametrize("accepted", [True, "true", "Yes", 122, "122", "4h", "192m", "1d"])
def test_a_loss_that_is_covered(accepted: object) -> None:
    assert loss_refusal(LOSS, accepted) == ""


@pytest.mark.parametrize("accepted", [False, "", None, "no", 121, "121", "3h", "191m", "90s"])
def test_a_loss_that_is_not_covered(accepted: object) -> None:
    said = loss_refusal(LOSS, accepted)
    assert "since 2024-12-28T01:45:00Z (3.2 h), among it 122 rows: public.events 120, public.users 2" in said


@pytest.mark.parametrize("accepted", ["perhaps", "4 hours", "-1", "1.5h", "h"])
def test_words_that_are_no_limit(accepted: object) -> None:
    assert "accepted are true, a number of rows, and a time" in loss_refusal(LOSS, accepted)


def test_a_time_covers_nothing_when_nobody_knows_when_the_backup_was_taken() -> None:
    loss = data_loss({"lost_rows": {}}, {}, "2024-12-28T04:57:00Z")
    assert "nobody knows when" in loss_refusal(loss, "9999d")
    assert loss_refusal(loss, 0) == ""
    assert loss_refusal(loss, "true") == ""


def test_rows_are_only_named_when_they_were_counted() -> None:
    loss = data_loss({}, {"taken_at": "20261124T221627Z"}, "2026-11-24T22:17:00Z")
    assert loss_text(loss) == "what was written since 2026-11-24T22:16:27Z (33 s)"
    assert loss_refusal(loss, 0), "rows that nobody counted are not covered by a number"
    many = {f"public.t{n}": n for n in range(1, 9)}
    shown = loss_text(data_loss({"lost_rows": many}, BACKUP, "2024-12-29T01:45:00Z"))
    assert "36 rows: public.t8 8, public.t7 7" in shown
    assert "and 3 more tables" in shown
    assert "no table has more rows" in loss_text(data_loss({"lost_rows": {}}, BACKUP, "2024-12-28T01:46:00Z"))
