# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who was told what: lines of the plan and of the summary, and the communication checklist of the runbook."""

from __future__ import annotations

from typing import Any

PAGE = "status page"
# Items of the runbook's checklist, and to whom each message must have gone for it.
_ITEMS = (
    ("Status page updated", PAGE),
    ("Users notified", "users"),
    ("Team notified", "team"),
    ("Stakeholders updated", "stakeholders"),
)


def planned_line(messages: list[dict[str, Any]]) -> str:
    """Return whom a step would tell: ``tell team by slack; status page: investigating``; empty for nobody."""
    audiences = list(dict.fromkeys(one["audience"] for one in messages if one["notifier"] != PAGE))
    words = []
    for audience in audiences:
        names = [one["notifier"] for one in messages if one["audience"] == audience and one["notifier"] != PAGE]
        words.append(f"tell {audience} by {', '.join(dict.fromkeys(names))}")
    pages = [one for one in messages if one["notifier"] == PAGE]
    words += [f"{PAGE}: {one['subject']}" for one in pages]
    words += [f"{PAGE} does not answer now ({one['why']})" for one in pages if one["why"]]
    return "; ".join(words)


def undelivered_lines(events: list[dict[str, Any]]) -> list[str]:
    """Return a line for each message of a run that was not delivered, and where it is kept."""
    messages = [one for event in events for one in (event.get("facts") or {}).get("messages") or []]
    return [
        f"Not delivered: {one['notifier']}, {one['subject']!r} ({one['why']})"
        + (f"; kept in {one['outbox']}" if one["state"] == "kept" and one.get("outbox") else "; not kept")
        for one in messages
        if one["state"] in {"kept", "failed"}
    ]


def communication_checklist(messages: list[dict[str, Any]], undone: bool = False) -> list[dict[str, str]]:  # noqa: FBT001, FBT002
    """Return the runbook's communication checklist: done is what was delivered; the rest a person does.

    After an undo nobody has found that the problem is gone, so whether its incident is closed is for a person.
    """
    items = []
    for name, reader in _ITEMS:
        about = [one for one in messages if _reader(one) == reader]
        done = bool(about) and all(one["state"] == "sent" for one in about)
        by = ", ".join(dict.fromkeys(one["notifier"] for one in about)) if done else ""
        whys = [f"{one['notifier']}: {one['why'] or one['state']}" for one in about if one["state"] != "sent"]
        items.append({"name": name, "state": "done" if done else "open", "by": by, "note": "; ".join(whys)})
    last = "Incident on the status page closed, or left open" if undone else "Post-mortem scheduled"
    return [*items, {"name": last, "state": "open", "by": "", "note": ""}]


def _reader(message: dict[str, Any]) -> str:
    """Return who reads a message: an audience, or who looks at the status page."""
    return PAGE if message["notifier"] == PAGE else str(message["audience"])
