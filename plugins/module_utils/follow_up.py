# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The post-rollback actions of the runbook: what is due when, by whom, what is done, and what a machine can tick."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from .checklist import DONE, OPEN, chosen
from .http_probe import printable
from .journal import parse_time
from .report_text import GUARD
from .security_incident import RELEASE

BY_A_MACHINE = "follow_up"
LATE = "late"
MANUAL_CHECK = "Manual check: "
_HOUR, _DAY, _WEEK = 1, 24, 168
# The runbook's post-rollback actions. ``check`` names what a machine can see.
ACTIONS: list[dict[str, Any]] = [
    {"name": "All services verified healthy", "owner": "on_call", "hours": _HOUR, "check": "services"},
    {"name": "Error rates normal", "owner": "on_call", "hours": _HOUR, "check": "requests"},
    {"name": "User communications sent", "owner": "team_lead", "hours": _HOUR, "check": "communications"},
    {"name": "Incident timeline documented", "owner": "on_call", "hours": _HOUR},
    {"name": "Root cause identified", "owner": "team_lead", "hours": _DAY},
    {"name": "Post-mortem drafted", "owner": "on_call", "hours": _DAY},
    {"name": "Action items created", "owner": "team_lead", "hours": _DAY},
    {"name": "Preventive measures planned", "owner": "devops_lead", "hours": _DAY},
    {"name": "Backups verified", "owner": "database_admin", "hours": _DAY, "check": "backups"},
    {"name": "Post-mortem published", "owner": "team_lead", "hours": _WEEK},
    {"name": "Action items in progress", "owner": "team_lead", "hours": _WEEK},
    {"name": "Process improvements implemented", "owner": "devops_lead", "hours": _WEEK},
    {"name": "Team learnings shared", "owner": "team_lead", "hours": _WEEK},
]
# What the runbook asks for during and after a deployment, which a guard comes before.
DEPLOYMENT: list[dict[str, Any]] = [
    {"name": "Deploy to staging first", "owner": "on_call", "hours": _HOUR},
    {"name": "Gradual rollout (if possible)", "owner": "on_call", "hours": _HOUR},
    {"name": "Monitor metrics closely", "owner": "on_call", "hours": _HOUR},
    {"name": "Have rollback ready", "owner": "on_call", "hours": _HOUR},
    {"name": "Team on standby", "owner": "team_lead", "hours": _HOUR},
    {"name": "Monitor for 24-48 hours", "owner": "on_call", "hours": 2 * _DAY},
    {"name": "User feedback channels active", "owner": "product_owner", "hours": _DAY},
    {"name": "Quick response to issues", "owner": "team_lead", "hours": 2 * _DAY},
    {"name": "Regular backups verified", "owner": "database_admin", "hours": 2 * _DAY, "check": "backups"},
]


def run_to_follow(info: dict[str, Any]) -> str:
    """Return the id of the newest run that succeeded and was not undone; empty when there is none.

    A stage of a security incident that starts nothing has nothing to follow.
    """
    good = [
        run["run_id"]
        for run in info.get("runs", [])
        if run["state"] == "succeeded"
        and not run["undone_by"]
        and run.get("inputs", {}).get("stage", RELEASE) == RELEASE
    ]
    return str(good[0]) if good else ""


def follow_up(run: dict[str, Any], asked: dict[str, Any], now: datetime | None = None) -> list[dict[str, Any]]:
    """Return every action with ``name``, ``owner``, ``due``, ``state``, ``late``, ``by``, ``note``, ``new``, ``issue``.

    ``asked`` holds what the modules found (``verified`` of version_verify, ``backups`` of pg_backup_info, ``outbox`` of
    notify), what was typed (``done``, ``by``), and what the inventory says (``actions``, ``people``). What the journal
    has as done stays done. Nothing that could not be looked at is ticked.
    """
    wanted = follow_up_actions(run, asked.get("actions"))
    typed = chosen([action["name"] for action in wanted], asked.get("done"))
    before, issues, ended = _noted(run), _issues(run), parse_time(run.get("ended"))
    return [
        _due(action, ended, now or datetime.now(timezone.utc), asked.get("people") or {})
        | _state(action["name"], before, typed, str(asked.get("by") or ""), _look(action, run, asked))
        | {"issue": issues.get(action["name"], "")}
        for action in wanted
    ]


def follow_up_actions(run: dict[str, Any], actions: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Return the actions after a run: manual checks that it left open, and those of the project or the runbook.

    After a guard they are those of the deployment.
    """
    left = [
        {"name": f"{MANUAL_CHECK}{one['name']}", "owner": "on_call", "hours": _HOUR}
        for step in ("verify_release", "check_readiness")
        for one in _facts(run, step).get("checklist", [])
        if one.get("state") != DONE
    ]
    return left + [
        {"owner": "team_lead", "hours": _DAY, **action}
        for action in actions or (DEPLOYMENT if run.get("scenario") == GUARD else ACTIONS)
    ]


def follow_up_lines(rows: list[dict[str, Any]], run: dict[str, Any]) -> list[str]:
    """Return what a person reads, with the numbers that are typed to tick."""
    lines = [f"Run {run['run_id']}, to {run['version']}, ended {_day(parse_time(run['ended']))}"]
    for number, row in enumerate(rows, 1):
        state = _standing(row).replace(LATE, LATE.upper())
        told = f"{number:>2} {state:<4} due {row['due']}  {row['name']}, {row['owner']}"
        told += f"; by {row['by']}" if row["by"] else ""
        told += f": {row['note']}" if row["note"] else ""
        lines.append(told + (f"; issue {row['issue']}" if row["issue"] else ""))
    left = [row for row in rows if row["state"] != DONE]
    late = sum(row["late"] for row in left)
    lines.append(f"{len(rows) - len(left)} of {len(rows)} done, {len(left)} open, {late} of them late.")
    if left:
        lines.append("To tick what a person has done: -e done=NUMBERS -e done_by=NAME")
    return lines


def follow_up_facts(rows: list[dict[str, Any]], run: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an event: ``items``, what is done and new, and ``actions``, how all stand.

    Empty when the journal of the run has all of it.
    """
    items = [{key: row[key] for key in ("name", "state", "by", "note")} for row in rows if row["new"]]
    actions = [{key: row[key] for key in ("name", "owner", "due")} | {"state": _standing(row)} for row in rows]
    told = [event["facts"]["actions"] for event in _notes(run) if "actions" in event["facts"]]
    return {"items": items, "actions": actions} if items or [actions] != told[-1:] else {}


def _standing(row: dict[str, Any]) -> str:
    return DONE if row["state"] == DONE else LATE if row["late"] else OPEN


def new_issues(results: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return ``name`` of the action and ``issue`` for each command that made one: the last line that it printed.

    ``results`` are those of the module project_command in a loop over rows.
    """
    ran = [(row["follow_up_action"], one) for row in results for one in row.get("results", [])]
    return [
        {"name": action["name"], "issue": _last_line(one["stdout"])}
        for action, one in ran
        if one.get("verdict") == "passed" and one.get("rc") is not None
    ]


def with_issues(rows: list[dict[str, Any]], made: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return the rows with issues that were made just now."""
    issues = {one["name"]: one["issue"] for one in made}
    return [{**row, "issue": issues.get(row["name"], row["issue"])} for row in rows]


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return printable(lines[-1].strip(), 200) if lines else "made"


def _due(action: dict[str, Any], ended: datetime | None, now: datetime, people: dict[str, Any]) -> dict[str, Any]:
    due = ended + timedelta(hours=float(action["hours"])) if ended else None
    return {
        "name": action["name"], "owner": _owner(action["owner"], people), "due": _day(due),
        "late": due is not None and now > due,
    }  # fmt: skip


def _state(
    name: str, before: dict[str, dict[str, Any]], typed: list[str], by: str, looked: tuple[bool, str]
) -> dict[str, Any]:
    good, note = looked
    if name in before:
        noted = before[name]
        return {"state": DONE, "by": noted.get("by", ""), "note": noted.get("note", ""), "new": False}
    if name in typed:
        return {"state": DONE, "by": printable(by), "note": "", "new": True}
    return {"state": DONE if good else OPEN, "by": BY_A_MACHINE if good else "", "note": note, "new": good}


def _noted(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what was noted as done after the end of a run."""
    noted = [event["facts"].get("items", []) for event in _notes(run)]
    return {item["name"]: item for items in noted for item in items if item.get("state") == DONE}


def _issues(run: dict[str, Any]) -> dict[str, str]:
    """Return the issues that were made after the end of a run, by the name of the action."""
    noted = [event["facts"].get("issues", []) for event in _notes(run)]
    return {made["name"]: made["issue"] for issues in noted for made in issues}


def _notes(run: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in run.get("events", []) if event["event"] == "follow_up"]


def _look(action: dict[str, Any], run: dict[str, Any], seen: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a machine sees that an action is done, and what it saw."""
    check = action.get("check", "")
    if check == "communications":
        return _communications(run, seen.get("outbox") or {})
    if check == "backups":
        return _backups(run, seen.get("backups") or {})
    if check in {"services", "requests"}:
        kinds = {"service"} if check == "services" else {"requests"}
        return _verified(kinds, seen.get("verified") or {})
    return False, ""


def _verified(kinds: set[str], verified: dict[str, Any]) -> tuple[bool, str]:
    checks = [check for check in verified.get("checks", []) if check["kind"] in kinds]
    bad = [f"{check['name']} {check['seen']}" for check in checks if check["verdict"] != "passed"]
    if bad:
        return False, printable("; ".join(bad), 300)
    if not checks:
        return False, f"not looked at: {printable(str(verified.get('msg') or 'nothing to look at is configured'), 300)}"
    return True, printable("; ".join(f"{check['name']} {check['seen']}" for check in checks), 300)


def _backups(run: dict[str, Any], backups: dict[str, Any]) -> tuple[bool, str]:
    newest = backups.get("newest")
    if not newest:
        return False, f"no whole backup was seen: {printable(str(backups.get('msg') or 'none is there'), 300)}"
    told = f"{newest['path']} is whole, taken {newest.get('taken_at') or 'at an unknown time'}"
    taken, ended = _moment(newest.get("taken_at")), parse_time(run.get("ended"))
    if taken is None or ended is None or taken <= ended:
        return False, f"none since the run: {told}"
    return True, told


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _communications(run: dict[str, Any], outbox: dict[str, Any]) -> tuple[bool, str]:
    """Tell whether all messages were sent: those of notifiers, and those of commands of the project.

    ``outbox`` is what ``notify`` returned that was asked to send what is kept. A message that was kept and is no more
    in the outbox was sent later: nothing else takes one out.
    """
    told = _facts(run, "communicate")
    messages = [(one, _state_now(one, outbox)) for one in told.get("messages", [])]
    commands = told.get("results", [])
    unsent = [f"{one.get('notifier')} {one.get('audience')} {now}" for one, now in messages if now != "sent"]
    unsent += [f"{one.get('name')} {one.get('verdict')}" for one in commands if one.get("verdict") != "passed"]
    if unsent:
        return False, "not sent: " + printable(", ".join(unsent), 300)
    count = len(messages) + len(commands)
    late = sum(one.get("state") != now for one, now in messages)
    if not count:
        return False, "the run has sent none"
    return True, f"{count - late} sent by the run" + (f", {late} later" if late else "")


def _state_now(message: dict[str, Any], outbox: dict[str, Any]) -> str:
    state = str(message.get("state"))
    seen = outbox.get("outbox") and outbox.get("outbox") == message.get("outbox") and not outbox.get("busy")
    if state != "kept" or not seen:
        return state
    same = ("notifier", "written", "subject")
    there = [one for one in outbox["messages"] if all(one.get(key) == message.get(key) for key in same)]
    return str(there[0]["state"]) if there else "sent"


def _facts(run: dict[str, Any], step: str) -> dict[str, Any]:
    """Return the evidence of a step of a run."""
    found = [one["facts"] for one in run.get("steps", []) if one["name"] == step and one["state"] == "done"]
    return found[0] if found else {}


def _owner(role: str, people: dict[str, Any]) -> str:
    names = people.get(role) or []
    names = [names] if isinstance(names, str) else names
    return f"{role} ({', '.join(map(str, names))})" if names else role


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC" if moment else "at an unknown time"
