# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are asked when an alert fires: what happens, the plan in few lines, who approves it, what to type.

Everything here is a pure function of plans, the inventory, and what an alert says of itself. The latter is untrusted:
it is shortened, is made one line, and never stands in a command.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from .approval import ADVICE, plan_sum, who_approves
from .database_decision import loss_text
from .report_text import diagnosis_lines, name_of, outage_line, playbook_command

PLAYBOOK = "rollback"
_LIMIT = 200
_HOUR = 3600
# Without braces a text is no template, wherever it goes.
_BRACES = str.maketrans("", "", "{}")
_SECURITY = "security"


def shown(text: object) -> str:
    """Return what an alert says as one short line: decoded (the rulebook encodes it), printable, without braces."""
    words = "".join(one if one.isprintable() else " " for one in unquote(str(text or ""))).translate(_BRACES).split()
    line = " ".join(words)
    return line if len(line) <= _LIMIT else f"{line[: _LIMIT - 3]}..."


def proposal(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the request for approval: ``subject``, ``lines``, ``command``, ``plan_sum`` and whether it is ``planned``.

    ``facts`` holds ``hosts`` (of each ``host``, ``plan``, ``there`` and ``refusal``), ``condition``, ``approvals``,
    ``people``, ``project``, ``alert``, ``summary``, ``version``, ``target``, ``accept_data_loss`` and ``inventory``.
    """
    plans = [one["plan"] for one in facts["hosts"] if one["plan"] and not one["there"]]
    refused = [one for one in facts["hosts"] if one["refusal"]]
    head = [_alert_line(facts), _condition_line(facts["condition"]), *_advice(facts["condition"])]
    if refused:
        return _request(facts, "no plan could be made", [*head, *_refused_lines(facts, refused)])
    if not plans:
        lines = [*head, "The release already runs and answers everywhere: there is nothing to roll back."]
        return _request(facts, "nothing to roll back", lines)
    accept = _accepted(plans, facts["accept_data_loss"])
    total = plan_sum(plans, accept or "false")
    command = _command(facts, plans[0]["release"]["name"], accept, total)
    words = "consider a rollback" if facts["condition"]["kind"] == ADVICE else "rollback"
    return {
        "subject": f"{facts['project']}: {words} to {plans[0]['release']['name']}? Approval is asked for",
        "lines": [*head, *(line for plan in plans for line in _plan_lines(plan)), *_ask(facts, total, accept, command)],
        "command": command,
        "plan_sum": total,
        "planned": True,
    }


def _request(facts: dict[str, Any], why: str, lines: list[str]) -> dict[str, Any]:
    """Return a request without a plan."""
    name = facts["condition"]["name"] or "no trigger"
    subject = f"{facts['project']}: {name}, {why}"
    return {"subject": subject, "lines": lines, "command": "", "plan_sum": "", "planned": False}


def _alert_line(facts: dict[str, Any]) -> str:
    alert, summary = shown(facts["alert"]), shown(facts["summary"])
    return f"Alert: {': '.join(filter(None, [alert, summary])) or 'none is named, somebody asks'}"


def _condition_line(condition: dict[str, Any]) -> str:
    if not condition["name"]:
        return f"Decision matrix: {condition['words']}; {condition['action']}"
    return f"Decision matrix: {condition['priority']}, {condition['words']}: {condition['action']}"


def _advice(condition: dict[str, Any]) -> list[str]:
    """Return what else the runbook says of a condition."""
    if condition["name"] == _SECURITY:
        return ["To stop and hold everything: ansible-playbook usdx.rollback.security_incident -e stage=contain"]
    if condition["kind"] == ADVICE and condition["name"]:
        return [f"This is advice, not an order. The runbook says: {condition['action']}. A hotfix may be better."]
    return []


def _refused_lines(facts: dict[str, Any], refused: list[dict[str, Any]]) -> list[str]:
    """Return why there is no plan, and how to look at it. A refusal may quote what others wrote."""
    version = {"version": facts["version"]} if facts["version"] else {}
    return [
        *[f"No plan on {one['host']}: {' '.join(str(one['refusal']).translate(_BRACES).split())}" for one in refused],
        "Nothing was changed, and nothing will be. When that is mended, look at the plan:",
        f"{_playbook(facts, **version)} --check --diff",
    ]


def _plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return a plan in few lines: whether it will help, from, to, outage, what happens to the database."""
    before = plan["checkout"].get("before") or {}
    database = plan["results"].get("prepare_database") or {"decision": "skip", "reason": "no step works on it"}
    lines = [f"{plan['project']} on {plan['host']}: from {name_of(before)} to {name_of(plan['release'])}"]
    lines += [f"A real run is refused now: {plan['incident_refusal']}"] if plan.get("incident_refusal") else []
    lines += [*diagnosis_lines(plan.get("diagnosis") or {}), outage_line(plan)]
    lines.append(f"Database: {database['decision']}: {database['reason']}")
    lines += [f"LOST: {loss_text(database['loss'])}"] if plan.get("loss_refusal") else []
    return lines


def _accepted(plans: list[dict[str, Any]], accept: object) -> str:
    """Return the loss of data that whoever types the command accepts: what was typed, else a limit an hour above it."""
    if str(accept or "").strip().lower() not in ("", "false"):
        return str(accept)
    losses = [plan["results"]["prepare_database"]["loss"] for plan in plans if plan.get("loss_refusal")]
    if not losses:
        return ""
    seconds = [loss.get("seconds") for loss in losses]
    known = [int(one) for one in seconds if one is not None]
    return f"{-(-max(known) // _HOUR) + 1}h" if len(known) == len(seconds) else "true"


def _ask(facts: dict[str, Any], total: str, accept: str, command: str) -> list[str]:
    who = who_approves(facts)
    loss = [f"Whoever types it accepts the loss of data (accept_data_loss={accept})."] if accept else []
    return [
        f"Must approve: {'; '.join(who) or 'nobody, approvals are off in the inventory'}",
        f"Nothing was changed. The plan is {total}. To carry it out, when it is approved:",
        command,
        *loss,
    ]


def _command(facts: dict[str, Any], version: str, accept: str, total: str) -> str:
    """Return the command that carries the plan out, and no other one."""
    number = len(facts["condition"]["approvers"]) or 1
    names = {"approved_by": ",".join(["NAME"] * number)} if who_approves(facts) else {}
    loss = {"accept_data_loss": accept} if accept else {}
    return _playbook(facts, version=version, **loss, **names, approved_plan=total)


def _playbook(facts: dict[str, Any], **variables: str) -> str:
    trigger = {"trigger": facts["condition"]["name"]} if facts["condition"]["name"] else {}
    plan = {"inventory": facts["inventory"], "target": facts["target"]}
    version = {"version": variables.pop("version")} if "version" in variables else {}
    return playbook_command(plan, PLAYBOOK, **version, **trigger, **variables)
