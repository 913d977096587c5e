# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows a run: when it is due, what a machine may tick, and what waits for a person."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.cleanup import run_of
from ansible_collections.usdx.rollback.plugins.module_utils.follow_up import (
    ACTIONS,
    DEPLOYMENT,
    follow_up,
    follow_up_actions,
    follow_up_facts,
    follow_up_lines,
    new_issues,
    run_to_follow,
    with_issues,
)
from ansible_collections.usdx.rollback.plugins.module_utils.journal import Journal
from ansible_collections.usdx.rollback.plugins.module_utils.lock import has_ended

ENDED = datetime(2026, 11, 24, 16, 21, tzinfo=timezone.utc)
PASSED = {"kind": "service", "name": "web", "verdict": "passed", "seen": "web running"}


def a_run(*events: dict[str, Any], **steps: dict[str, Any]) -> dict[str, Any]:
    """Return a run that has ended, as run_info returns it."""
    return {
        "run_id": "20261124T161957Z-a4f2", "version": "v1.0.2", "ended": "2026-11-24T16:21:00.000+00:00",
        "steps": [{"name": name, "state": "done", "facts": facts} for name, facts in steps.items()],
        "events": list(events),
    }  # fmt: skip


def after(hours: float, run: dict[str, Any] | None = None, **asked: Any) -> dict[str, dict[str, Any]]:
    """Return how the actions stand some hours after the end of a run, by name."""
    rows = follow_up(run or a_run(), asked, ENDED + timedelta(hours=hours))
    return {row["name"]: row for row in rows}


def test_nothing_is_ticked_that_nobody_has_looked_at() -> None:
    """No result, an empty one, one that failed, one whose checks were left out."""
    nothing: list[Any] = [None, {}, {"msg": "Docker does not answer", "failed": True}, {"checks": []}]
    for found in nothing:
        rows = after(0, verified=found, backups=found)
        assert {row["state"] for row in rows.values()} == {"open"}
        assert follow_up_facts(list(rows.values()), a_run())["items"] == []
    assert "Docker does not answer" in after(0, verified={"msg": "Docker does not answer"})[ACTIONS[0]["name"]]["note"]


@pytest.mark.parametrize(("hours", "late"), [(0.9, 0), (1.1, 4), (23.9, 4), (24.1, 9), (167.9, 9), (168.1, 13)])
def test_what_is_due_is_counted_from_the_end_of_the_run(hours: float, late: int) -> None:
    rows = after(hours)
    assert sum(row["late"] for row in rows.values()) == late
    assert rows["Post-mortem published"]["due"] == "2026-12-01 16:21 UTC"


def test_a_machine_ticks_what_it_has_seen() -> None:
    sample = PASSED | {"kind": "requests"}
    rows = after(9, verified={"checks": [PASSED, sample | {"verdict": "failed", "seen": "3 failed"}]})
    assert rows["All services verified healthy"] | {"note": ""} == {
        "name": "All services verified healthy", "owner": "on_call", "due": "2026-11-24 17:21 UTC", "late": True,
        "state": "done", "by": "follow_up", "note": "", "new": True, "issue": "",
    }  # fmt: skip
    assert (rows["Error rates normal"]["state"], rows["Error rates normal"]["note"]) == ("open", "web 3 failed")
    unasked = sample | {"verdict": "inconclusive"}
    assert after(9, verified={"checks": [unasked]})["Error rates normal"]["state"] == "open"


@pytest.mark.parametrize(
    ("facts", "state", "word"),
    [
        ({}, "open", "sent none"),
        ({"messages": [{"notifier": "slack", "audience": "users", "state": "sent"}]}, "done", "1 sent"),
        ({"messages": [{"notifier": "slack", "audience": "users", "state": "kept"}]}, "open", "slack users kept"),
        ({"results": [{"name": "a.sh", "verdict": "passed"}, {"name": "b.sh", "verdict": "failed"}]}, "open", "b.sh"),
        ({"results": [{"name": "a.sh", "verdict": "passed"}]}, "done", "1 sent"),
    ],
)
def test_communications_are_sent_when_none_failed(facts: dict[str, Any], state: str, word: str) -> None:
    row = after(0, a_run(communicate=facts))["User communications sent"]
    assert (row["state"], word in row["note"]) == (state, True)


KEPT = {"notifier": "slack", "audience": "users", "subject": "s", "state": "kept", "written": "w", "outbox": "/o"}


@pytest.mark.parametrize(
    ("outbox", "state", "word"),
    [
        ({}, "open", "slack users kept"),
        ({"outbox": "/o", "busy": False, "messages": []}, "done", "0 sent by the run, 1 later"),
        ({"outbox": "/o", "busy": False, "messages": [KEPT | {"state": "sent"}]}, "done", "1 later"),
        ({"outbox": "/o", "busy": False, "messages": [KEPT]}, "open", "kept"),
        ({"outbox": "/o", "busy": False, "messages": [KEPT | {"state": "planned"}]}, "open", "planned"),
        ({"outbox": "/o", "busy": True, "messages": []}, "open", "kept"),
        ({"outbox": "/another", "busy": False, "messages": []}, "open", "kept"),
        ({"msg": "no apprise", "failed": True}, "open", "kept"),
    ],
)
def test_what_left_the_outbox_was_sent_later(outbox: dict[str, Any], state: str, word: str) -> None:
    row = after(0, a_run(communicate={"messages": [KEPT]}), outbox=outbox)["User communications sent"]
    assert (row["state"], word in row["note"]) == (state, True)


def test_an_issue_is_what_its_command_printed_last_and_is_made_once() -> None:
    action = {"name": "Root cause identified"}
    results: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (action, {"verdict": "passed", "rc": 0, "stdout": "made\nhttps://example.com/7\n\n"}),
        ({"name": "Post-mortem drafted"}, {"verdict": "passed", "rc": 0, "stdout": ""}),
        ({"name": "Action items created"}, {"verdict": "failed", "rc": 1, "stdout": "no"}),
        ({"name": "Backups verified"}, {"verdict": "passed", "rc": None, "stdout": ""}),
    ]
    made = new_issues([{"follow_up_action": about, "results": [one]} for about, one in results])
    assert made == [
        {"name": "Root cause identified", "issue": "https://example.com/7"},
        {"name": "Post-mortem drafted", "issue": "made"},
    ]
    noted = after(0, a_run({"event": "follow_up", "facts": {"issues": made}}))
    assert {row["issue"] for row in noted.values()} == {"", "https://example.com/7", "made"}
    shown = follow_up_lines(with_issues(list(after(0).values()), made), a_run())
    assert [line.rpartition("; ")[2] for line in shown if "; issue" in line] == [
        "issue https://example.com/7", "issue made",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("taken", "state"),
    [("2026-11-24T20:00:00+00:00", "done"), ("2026-11-24T20:00:00Z", "done"), ("2026-11-24T01:00:00+00:00", "open"),
     (None, "open"), ("2026-11-24T20:00:00", "open")],
)  # fmt: skip
def test_only_a_whole_backup_from_after_the_run_counts(taken: str | None, state: str) -> None:
    assert after(0, backups={"newest": {"path": "/b", "taken_at": taken}})["Backups verified"]["state"] == state
    assert after(0, backups={"newest": None})["Backups verified"]["state"] == "open"


def test_what_a_person_has_done_is_kept_by_name_and_not_noted_twice() -> None:
    rows = after(0, done="4,Root cause identified", by="Ann")
    facts = follow_up_facts(list(rows.values()), a_run())
    ticks = facts["items"]
    assert [(tick["name"], tick["by"]) for tick in ticks] == [
        ("Incident timeline documented", "Ann"), ("Root cause identified", "Ann"),
    ]  # fmt: skip
    noted = a_run({"event": "follow_up", "facts": facts})
    again = after(0, noted, done="4", by="Bob")
    assert follow_up_facts(list(again.values()), noted) == {}
    assert (again["Root cause identified"]["state"], again["Root cause identified"]["by"]) == ("done", "Ann")


def test_manual_checks_that_the_run_left_open_come_first() -> None:
    checklist = [{"name": "Open page", "state": "done"}, {"name": "Wallet", "state": "open"}]
    run = a_run(verify_release={"checklist": checklist})
    assert [action["name"] for action in follow_up_actions(run)][:2] == [
        "Manual check: Wallet", "All services verified healthy",
    ]  # fmt: skip
    own = follow_up_actions(run, [{"name": "Call the bank"}])
    assert [(action["name"], action["owner"], action["hours"]) for action in own] == [
        ("Manual check: Wallet", "on_call", 1), ("Call the bank", "team_lead", 24),
    ]  # fmt: skip


def test_what_has_become_late_is_noted_once() -> None:
    """The journal holds how all actions stand, so that a report of it needs no inventory and no clock."""
    run = a_run()
    facts = follow_up_facts(list(after(0, run).values()), run)
    assert {action["state"] for action in facts["actions"]} == {"open"}
    run = a_run({"event": "follow_up", "facts": facts}, {"event": "follow_up", "facts": {"issues": []}})
    assert follow_up_facts(list(after(0.9, run).values()), run) == {}
    facts = follow_up_facts(list(after(2, run).values()), run)
    assert facts["items"] == []
    assert facts["actions"][3] == {
        "name": "Incident timeline documented", "owner": "on_call", "due": "2026-11-24 17:21 UTC", "state": "late",
    }  # fmt: skip


def test_the_lines_have_owners_numbers_and_a_sum() -> None:
    run = a_run()
    rows = follow_up(run, {"people": {"on_call": ["Ann", "Bob"]}, "done": "1", "by": "Ann"}, ENDED + timedelta(hours=2))
    lines = follow_up_lines(rows, run)
    assert lines[0] == "Run 20261124T161957Z-a4f2, to v1.0.2, ended 2026-11-24 16:21 UTC"
    assert lines[1] == " 1 done due 2026-11-24 17:21 UTC  All services verified healthy, on_call (Ann, Bob); by Ann"
    assert lines[4] == " 4 LATE due 2026-11-24 17:21 UTC  Incident timeline documented, on_call (Ann, Bob)"
    assert lines[5] == " 5 open due 2026-11-25 16:21 UTC  Root cause identified, team_lead"
    assert lines[-2] == "1 of 13 done, 12 open, 3 of them late."


def test_the_newest_run_that_holds_is_followed() -> None:
    told = [("d", "unfinished", None), ("c", "failed", None), ("b", "succeeded", "x"), ("a", "succeeded", None)]
    runs = [{"run_id": run_id, "state": state, "undone_by": undone_by} for run_id, state, undone_by in told]
    assert run_to_follow({"runs": runs}) == "a"
    assert run_to_follow({"runs": runs[:3]}) == ""


def test_a_run_that_was_followed_up_is_still_one_that_succeeded_and_has_ended() -> None:
    """The clean-up and the lock look at the last event of the run itself."""
    events = [
        {"event": "run_started", "facts": {}, "time": "x"},
        {"event": "run_finished", "facts": {"outcome": "succeeded"}, "time": "x"},
        {"event": "follow_up", "facts": {"items": []}, "time": "x"},
    ]
    assert run_of("20261124T161957Z-a4f2", Journal(events, 0)).succeeded
    assert has_ended({"journal_events": 0}, events)
    assert not has_ended({"journal_events": 2}, events)


def test_after_a_guard_the_deployment_follows() -> None:
    """What a person left open before it comes first; the post-mortem of a rollback is not asked for."""
    left = {"name": "Code review completed", "state": "open"}
    guard = {**a_run(check_readiness={"checklist": [left, {"name": "Load testing performed", "state": "done"}]}),
             "scenario": "guard"}  # fmt: skip
    names = [action["name"] for action in follow_up_actions(guard)]
    assert names == ["Manual check: Code review completed", *(action["name"] for action in DEPLOYMENT)]
    assert follow_up_actions(guard, [{"name": "Watch"}])[1:] == [{"owner": "team_lead", "hours": 24, "name": "Watch"}]
    assert len({action["name"] for action in DEPLOYMENT}) == 9
