# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was told what, in the plan, in the summary and in the checklist."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils import report_text, told_text


def message(notifier: str, audience: str, state: str = "sent", why: str = "") -> dict[str, Any]:
    return {"notifier": notifier, "audience": audience, "subject": "S", "state": state, "why": why, "outbox": "/o"}


def test_the_plan_names_audiences_notifiers_and_the_state_of_the_page() -> None:
    told = [message("slack", "team"), message("mail", "team"), message("mail", "users"), message("slack", "team")]
    assert told_text.planned_line(told) == "tell team by slack, mail; tell users by mail"
    page = {**message("status page", "users", "planned", "connection refused"), "subject": "investigating"}
    assert told_text.planned_line([page]) == (
        "status page: investigating; status page does not answer now (connection refused)"
    )
    step = report_text._command_lines({}, {"results": [{"name": "notify.sh"}], "messages": [message("slack", "team")]})
    assert step == ["run notify.sh", "tell team by slack"]
    assert report_text._command_lines({}, {"results": [], "messages": []}) == ["nobody is told"]


def test_the_summary_says_what_was_not_delivered_and_where_it_is() -> None:
    facts = {
        "messages": [
            message("slack", "team", "kept", "no answer in time"),
            message("mail", "team"),
            message("status page", "users", "failed", "connection refused"),
        ]
    }
    events: list[dict[str, Any]] = [
        {"event": "step_finished", "facts": facts},
        {"event": "run_finished"},
        {"event": "x", "facts": {}},
    ]
    assert told_text.undelivered_lines(events) == [
        "Not delivered: slack, 'S' (no answer in time); kept in /o",
        "Not delivered: status page, 'S' (connection refused); not kept",
    ]


def test_only_what_was_delivered_is_done() -> None:
    told = [
        message("slack", "team"),
        message("mail", "users", "kept", "connection refused"),
        message("hook", "users"),
        message("status page", "users"),
    ]
    items = {one["name"]: (one["state"], one["by"], one["note"]) for one in told_text.communication_checklist(told)}
    assert items == {
        "Status page updated": ("done", "status page", ""),
        "Users notified": ("open", "", "mail: connection refused"),
        "Team notified": ("done", "slack", ""),
        "Stakeholders updated": ("open", "", ""),
        "Post-mortem scheduled": ("open", "", ""),
    }
    assert told_text.communication_checklist([], undone=True)[-1]["name"].startswith("Incident on the status page")
