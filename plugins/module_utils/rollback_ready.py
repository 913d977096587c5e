# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a rollback to a release would work now, in one line, with every reason why not.

Everything here is a pure function of what the steps of a rollback say in check mode.
"""

from __future__ import annotations

from typing import Any

from .database_decision import loss_text
from .http_probe import printable
from .report_text import failure, name_of, nothing_would_change

_REUSE, _SENT = "reuse", "sent"
_REASON_LENGTH = 600


def readiness_verdict(facts: dict[str, Any]) -> dict[str, Any]:
    """Return ``ready``, ``reasons`` why not (all of them), ``notes``, and ``line``, which says it to a person.

    ``facts`` holds ``version``, ``release`` (name and commit, when it was found), ``asked`` (the steps of such a
    rollback), ``results`` (what each of them said), ``refused`` (a list of ``step`` and ``result``, the failed one),
    ``incident`` (why an open security incident forbids it, or an empty text), ``messages`` (what came of messages that
    were sent to see whether somebody gets them), and ``guard``: whether a deployment is about to begin, so that nothing
    may have to be built.
    """
    images, to_make = _images(facts["results"])
    reasons = [_refused(one) for one in facts["refused"]]
    reasons += [facts["incident"]] if facts.get("incident") else []
    reasons += [f"not kept, so a rollback has to make it: {to_make}"] if to_make and facts.get("guard") else []
    reasons += [
        f"the notifier {one.get('notifier')} did not get a message: {one.get('why') or one.get('state')}"
        for one in facts.get("messages", [])
        if one.get("state") != _SENT
    ]
    missing = [
        step for step in facts["asked"] if step not in {*facts["results"], *(one["step"] for one in facts["refused"])}
    ]
    reasons += [f"not looked at: {', '.join(missing)}"] if missing else []
    notes = [*images, *(_backed_up(facts["results"]) if facts.get("guard") else _database(facts["results"]))]
    if nothing_would_change(facts["results"]):
        notes.insert(0, "it runs already")
    reasons = [printable(reason, _REASON_LENGTH) for reason in reasons]
    return {"ready": not reasons, "reasons": reasons, "notes": notes, "line": _line(facts, reasons, notes)}


def _line(facts: dict[str, Any], reasons: list[str], notes: list[str]) -> str:
    """Return the verdict as one line."""
    release = facts.get("release") or {}
    name = name_of(release) if release.get("commit") else facts["version"] or "no release"
    when = "after the deployment" if facts.get("guard") else "now"
    if not reasons:
        return f"READY: a rollback to {name} would work {when}; {'; '.join(notes)}"
    count = "1 reason" if len(reasons) == 1 else f"{len(reasons)} reasons"
    listed = " ".join(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
    return f"NOT READY: a rollback to {name} would not work {when}, for {count}: {listed}"


def _refused(one: dict[str, Any]) -> str:
    """Return what a step refuses, and its way out."""
    told = failure(one["result"])
    return f"{one['step']}: {told['msg']} {told['next_step']}".strip()


def _images(results: dict[str, dict[str, Any]]) -> tuple[list[str], str]:
    """Return a note on the images, and which of them a rollback would have to build or pull."""
    services: dict[str, dict[str, Any]] = results.get("prepare_release", {}).get("services", {})
    if not services:
        return [], ""
    to_make = ", ".join(
        f"{name} ({one.get('action')})" for name, one in sorted(services.items()) if one.get("action") != _REUSE
    )
    note = (
        f"to build or pull first, which takes time: {to_make}" if to_make else "nothing is built, every image is here"
    )
    return [note], to_make


def _backed_up(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a note on the backup that a guard has made; what it would lose is not known before it is needed."""
    found = results.get("prepare_database") or {}
    if not found:
        return ["there is no database"]
    loaded = (
        "is loaded and proved beside the live database"
        if (found.get("preview") or {}).get("reused")
        else "can be loaded"
    )
    return [f"the backup {(found.get('backup') or {}).get('path')} {loaded}"]


def _database(results: dict[str, dict[str, Any]]) -> list[str]:
    """Return a note on what would happen to the database."""
    found = results.get("prepare_database") or {}
    if not found.get("decision"):
        return ["the database is not part of it"]
    loss, backup = found.get("loss") or {}, found.get("backup") or {}
    notes = [f"database: {found['decision']}, {found.get('reason')}"]
    if found["decision"] == "restore":
        taken = backup.get("taken_at") or "an unknown time"
        loaded = ", loaded and proved already" if (found.get("preview") or {}).get("reused") else ""
        notes.append(f"backup {backup.get('path')} of {taken}{loaded}")
    if found["decision"] in {"restore", "undo"} and found.get("would_change") and loss:
        notes.append(f"it would lose {loss_text(loss)}")
    return notes
