# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether to roll back, and who must say so: the runbook's triggers and its decision matrix.

Everything here is a pure function of what an operator typed, the inventory, and the plan. Names are taken at their
word: a run records who was named, and does not prove who typed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from .report_text import name_of
from .security_incident import SCENARIO
from .told_text import planned_line

ROLES = {
    "on_call": "on-call engineer",
    "team_lead": "team lead",
    "product_owner": "product owner",
    "devops_lead": "DevOps lead",
    "database_admin": "database admin",
}
ACT, ADVICE = "act", "advice"
REQUIRED, OFF = "required", "off"
ANYONE = "anyone"
_IMMEDIATE, _ROLLBACK, _CONSIDER = "immediate rollback", "rollback", "consider a rollback"
_BOTH = ("on_call", "team_lead")
_DIGITS = 12
# The limits of the runbook, in minutes and percent.
_DOWN_MINUTES, _ERROR_RATE, _ERROR_RATE_MINUTES, _ERROR_RATE_RAISED, _SLOWER = 10, 5, 5, 1, 50
_YES = "yes"
# Where nobody can type an answer although a terminal is there: ansible-runner and AWX start Ansible in a pseudo
# terminal, in which a question would wait for ever.
_UNATTENDED = ("AWX_ISOLATED_DATA_DIR", "AWX_HOST", "CI")
_FALSE = {"", "0", "false", "no", "off"}


def _condition(  # noqa: PLR0913 - a row of a table
    priority: str,
    words: str,
    action: str,
    approvers: tuple[str, ...],
    *,
    deadline: int | None = None,
    stop_first: bool = False,
    kind: str = ACT,
) -> dict[str, Any]:
    return {
        "priority": priority,
        "words": words,
        "action": action,
        "deadline_minutes": deadline,
        "approvers": list(approvers),
        "stop_first": stop_first,
        "kind": kind,
    }


# The runbook's decision matrix and its lists of triggers, what is worse first.
CONDITIONS: dict[str, dict[str, Any]] = {
    "data_at_risk": _condition("P0", "data at risk", _IMMEDIATE, _BOTH, deadline=0, stop_first=True),
    # Three triggers without a row of their own. The strictest row that fits them is "P0 - Data at risk".
    "data_corruption": _condition(
        "P0", "data corruption or loss detected", _IMMEDIATE, _BOTH, deadline=0, stop_first=True
    ),
    "funds_at_risk": _condition("P0", "user funds at risk", _IMMEDIATE, _BOTH, deadline=0, stop_first=True),
    "security": _condition("P0", "security vulnerability discovered", _IMMEDIATE, _BOTH, deadline=0, stop_first=True),
    "service_down": _condition("P0", "service down for more than 10 minutes", _IMMEDIATE, ("on_call",), deadline=0),
    "error_rate": _condition("P1", "error rate above 5 % for more than 5 minutes", _ROLLBACK, _BOTH, deadline=15),
    # A trigger without a row: the service answers, but badly, and the strictest row for that is "P1 - Error rate".
    "performance": _condition("P1", "more than 50 % slower than the baseline", _ROLLBACK, _BOTH, deadline=15),
    # The trigger "critical bugs affecting core functionality" is this row.
    "critical_feature": _condition("P1", "critical feature broken", "rollback or hotfix", ("team_lead",)),
    # The list "consider rollback" has no rows. A reported critical bug is weighed as a broken critical feature; for
    # the others the strictest row of a service that still answers, "P1 - Error rate", says who decides.
    "critical_bug_reported": _condition("P1", "new critical bugs reported", _CONSIDER, ("team_lead",), kind=ADVICE),
    "error_rate_raised": _condition("P1", "error rate between 1 and 5 %, sustained", _CONSIDER, _BOTH, kind=ADVICE),
    "resource_exhaustion": _condition("P1", "memory, CPU or disk exhausted", _CONSIDER, _BOTH, kind=ADVICE),
    "dependency_failing": _condition("P1", "external dependencies failing", _CONSIDER, _BOTH, kind=ADVICE),
    "unexpected_behaviour": _condition("P1", "unexpected behaviour in production", _CONSIDER, _BOTH, kind=ADVICE),
    "non_critical_bug": _condition(
        "P2", "non-critical bug", "hotfix or next release", ("product_owner",), kind=ADVICE
    ),
}  # fmt: skip

# Figures that can be observed, and the largest value that makes sense.
FIGURES: dict[str, float] = {
    "error_rate_percent": 100,
    "error_rate_minutes": math.inf,
    "down_minutes": math.inf,
    "slower_percent": math.inf,
    "p95_milliseconds": math.inf,
    "p95_baseline_milliseconds": math.inf,
}


def _refused(what: str, way_out: str) -> dict[str, Any]:
    return {"refusal": what, "next_step": way_out}


# The condition


def condition_of(trigger: object, observed: object = None, matrix: object = None) -> dict[str, Any]:
    """Return the condition of the runbook that holds, by its name or from observed figures.

    ``observed`` is a dictionary of figures, or a text such as ``error_rate_percent=7,error_rate_minutes=6``.
    ``matrix`` is what the inventory says otherwise: ``approvers`` and ``deadline_minutes`` by the name of a condition.
    A name counts before figures. Returns ``refusal`` and ``next_step`` when one of the three makes no sense.
    """
    table = conditions(matrix)
    figures = _figures(observed)
    for told in (table, figures):
        if "refusal" in told:
            return told
    name = "_".join(str(trigger or "").lower().replace("-", " ").replace("_", " ").split())
    if name:
        if name not in table:
            return _refused(f"trigger={trigger} is no condition of the runbook.", f"Give one of {', '.join(table)}.")
        return {**table[name], "name": name, "because": "named by the operator"}
    if not figures:
        return _none("no trigger was given")
    seen = ", ".join(f"{key}={value:g}" for key, value in figures.items())
    met = _met_by(figures)
    if not met:
        return _none(f"no condition of the runbook is met by {seen}")
    return {**table[met], "name": met, "because": seen}


def _none(words: str) -> dict[str, Any]:
    none = _condition("", words, "decide with the matrix of the runbook", (), kind=ADVICE)
    return {**none, "name": "", "because": ""}


def _slower(figures: dict[str, float]) -> float:
    """Return by how many percent answers are slower; the larger one where it is both given and measured."""
    baseline = figures.get("p95_baseline_milliseconds", 0)
    measured = (figures.get("p95_milliseconds", 0) / baseline - 1) * 100 if baseline else 0
    return max(figures.get("slower_percent", 0), measured)


def _met_by(figures: dict[str, float]) -> str:
    """Return the worst condition whose limits are passed; empty when none is.

    "Sustained" has no length in the runbook, so that a raised error rate is told whatever its length.
    """
    rate = figures.get("error_rate_percent", 0)
    met = {
        "service_down": figures.get("down_minutes", 0) > _DOWN_MINUTES,
        "error_rate": rate > _ERROR_RATE and figures.get("error_rate_minutes", 0) > _ERROR_RATE_MINUTES,
        "performance": _slower(figures) > _SLOWER,
        "error_rate_raised": rate >= _ERROR_RATE_RAISED,
    }
    return next((name for name in CONDITIONS if met.get(name)), "")


def _figures(observed: object) -> dict[str, Any]:
    """Return observed figures as numbers, or a refusal."""
    pairs = _pairs(observed)
    if pairs is None:
        return _refused(
            f"observed={observed} is no list of figures.",
            "Give it as -e observed=error_rate_percent=7,error_rate_minutes=6",
        )
    figures: dict[str, float] = {}
    for key, value in pairs.items():
        if key not in FIGURES:
            return _refused(f"observed names {key}, which is no figure.", f"Figures are {', '.join(FIGURES)}.")
        number = _number(value)
        if number is None or not 0 <= number <= FIGURES[key]:
            return _refused(
                f"observed says {key}={value}, which is no such number.",
                "Give a number of 0 or more" + (f", at most {FIGURES[key]:g}." if FIGURES[key] < math.inf else "."),
            )
        figures[key] = number
    return figures


def _pairs(observed: object) -> dict[str, Any] | None:
    """Return figures by name from a dictionary, a JSON object or words like ``name=value``; nothing from others."""
    told = {} if observed is None else observed
    if isinstance(told, str):
        told = _parsed(told)
    return {str(key): value for key, value in told.items()} if isinstance(told, Mapping) else None


def _parsed(text: str) -> object:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError:
            return None
    words = [word.partition("=") for word in text.replace(",", " ").split()]
    pairs = {key: value for key, _equal, value in words}
    return pairs if all(value for *_key, value in words) and len(pairs) == len(words) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def conditions(matrix: object = None) -> dict[str, Any]:
    """Return the conditions with what the inventory says otherwise, or a refusal."""
    if not isinstance(matrix or {}, Mapping):
        return _refused("rollback_decision_matrix is no dictionary.", "Give conditions by name, or leave it out.")
    table = {name: dict(row) for name, row in CONDITIONS.items()}
    changes: Mapping[Any, Any] = matrix if isinstance(matrix, Mapping) else {}
    for name, change in changes.items():
        wrong = _wrong_change(name, change)
        if wrong:
            return _refused(f"rollback_decision_matrix: {wrong}", "Mend it in the inventory.")
        table[name].update({key: list(value) if key == "approvers" else value for key, value in change.items()})
    for row in table.values():
        row["action"] += f" within {row['deadline_minutes']} min" if row["deadline_minutes"] else ""
    return table


def _wrong_change(name: object, change: object) -> str:
    """Return what is wrong with one entry of the inventory's matrix, or an empty text."""
    if name not in CONDITIONS:
        return f"{name} is no condition; conditions are {', '.join(CONDITIONS)}."
    if not isinstance(change, Mapping) or not set(change) <= {"approvers", "deadline_minutes"}:
        return f"{name} may hold approvers and deadline_minutes, and nothing else."
    approvers, minutes = change.get("approvers", ["on_call"]), change.get("deadline_minutes")
    if not isinstance(approvers, (list, tuple)) or not approvers or len(set(map(str, approvers))) < len(approvers):
        return f"the approvers of {name} must be a list of roles, at least one and none twice."
    unknown = [str(role) for role in approvers if role not in ROLES]
    if unknown:
        return f"{name} names the role {unknown[0]}; roles are {', '.join(ROLES)}."
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int) or minutes < 0):
        return f"deadline_minutes of {name} must be a whole number of 0 or more."
    return ""


# The approvals


def approval(condition: dict[str, Any], approved_by: object, people: object, operator: str = "") -> dict[str, Any]:
    """Return whether the approvals that a condition asks for were given, and by whom.

    A name counts for a role when the inventory lists it there. A role for which the inventory lists nobody is covered
    by any name. Each role wants a name of its own. A condition without approvers wants one name of any role.
    ``operator`` is who started the run; it is kept for the record and approves nothing.
    """
    given = written_names(approved_by)
    listed = _people(people)
    if given is None:
        return _refused(
            f"approved_by={approved_by!r} holds an empty name, or something that is no name.",
            "Give names with commas between them: -e approved_by=NAME,NAME",
        )
    if "refusal" in listed:
        return listed
    roles: list[str] = condition["approvers"]
    granted = _assigned(roles, given, listed) if roles else _anyone(given, listed)
    everybody = {key for names in listed.values() for key in names}
    wanted = roles or [ANYONE]
    missing = [role for role in wanted if role not in granted] if roles or not granted else []
    return {
        "complete": not missing,
        "missing": [ROLES.get(role, "one name") for role in missing],
        "granted": {role: _written(key, given, listed) for role, key in granted.items()},
        "unknown": [
            name for key, name in given.items() if everybody and key not in everybody and key not in granted.values()
        ],
        "approved_by": list(given.values()),
        "operator": str(operator),
    }


def written_names(value: object) -> dict[str, str] | None:
    """Return names as they are compared and as they are written; nothing when one is empty or no text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        return None
    names: dict[str, str] = {}
    for item in items:
        written = " ".join(item.split()) if isinstance(item, str) else ""
        if not written or not written.isprintable():
            return None
        names.setdefault(written.casefold(), written)
    return names


def _people(people: object) -> dict[str, Any]:
    """Return the names of each role, or a refusal. A role that nobody knows is an error: it would protect nothing."""
    if not isinstance(people or {}, Mapping):
        return _refused("rollback_approvers is no dictionary.", "Give a list of names for each role.")
    listed: dict[str, Any] = {}
    told: Mapping[Any, Any] = people if isinstance(people, Mapping) else {}
    for role, value in told.items():
        names = written_names(value)
        if role not in ROLES:
            return _refused(
                f"rollback_approvers names the role {role}.", f"Mend it in the inventory; roles are {', '.join(ROLES)}."
            )
        if names is None:
            return _refused(
                f"rollback_approvers holds an empty name for {role}, or something that is no name.",
                "Mend it in the inventory.",
            )
        listed[role] = names
    return listed


def _assigned(roles: list[str], given: dict[str, str], listed: dict[str, Any]) -> dict[str, str]:
    """Return a name for as many roles as possible, each name once (augmenting paths, so no greedy choice blocks)."""
    holder: dict[str, str] = {}

    def place(role: str, tried: set[str]) -> bool:
        fits = [key for key in given if not listed.get(role) or key in listed[role]]
        for key in sorted(fits, key=lambda key: key in holder):  # who is free first, so that no one moves needlessly
            if key in tried:
                continue
            tried.add(key)
            if key not in holder or place(holder[key], tried):
                holder[key] = role
                return True
        return False

    for role in roles:
        place(role, set())
    return {role: key for role in roles for key, held in holder.items() if held == role}


def _anyone(given: dict[str, str], listed: dict[str, Any]) -> dict[str, str]:
    """Return the first name that counts, under the first role that the inventory lists it for."""
    for key in given:
        for role in ROLES:
            if key in listed.get(role, {}):
                return {role: key}
    return {ANYONE: next(iter(given))} if given and not any(listed.values()) else {}


def _written(key: str, given: dict[str, str], listed: dict[str, Any]) -> str:
    """Return a name as the inventory writes it, else as it was typed."""
    return next((str(names[key]) for names in listed.values() if key in names), given[key])


# The plan that an approval covers


def plan_sum(plans: object, accept_data_loss: object = "") -> str:
    """Return a short sum over what an approval covers, of one plan or of those of all hosts.

    It does not change by itself while the application writes: it holds no counts of rows, no times and no run id.
    """
    some: list[Any] = list(plans) if isinstance(plans, (list, tuple)) else [plans]
    covered = sorted((_covered(plan, accept_data_loss) for plan in some), key=json.dumps)
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()[:_DIGITS]


def _lost(database: dict[str, Any]) -> list[str]:
    """Return the tables that would lose rows."""
    tables = (database.get("loss") or {}).get("tables") or {}
    return sorted(str(table) for table, rows in tables.items() if int(rows) > 0)


def _covered(plan: dict[str, Any], accept_data_loss: object) -> list[Any]:
    results: dict[str, Any] = plan["results"]
    database = results.get("prepare_database") or {}
    backup, lost = database.get("backup") or {}, _lost(database)
    # Who goes on with a run does not lose more than was approved when it is the same or less.
    approved = _lost(plan.get("approved") or {})
    lost = approved if set(lost) <= set(approved) else lost
    reverts = (results.get("revert_migrations") or {}).get("command_lines") or []
    return [
        *[str(plan[key]) for key in ("project", "host", "scenario")],
        str((plan["checkout"].get("before") or {}).get("commit") or ""),
        str(plan["release"]["commit"]),
        [str(step) for step in plan["steps"]],
        str(database.get("decision") or "skip"),
        [
            str(backup.get("path") or ""),
            str((database.get("preview") or {}).get("sha256") or backup.get("sha256") or ""),
        ],
        lost,
        [[str(word) for word in argv] for argv in reverts],
        str(accept_data_loss).strip().lower(),
        [[str(name) for name in group] for group in (results.get("stop_services") or {}).get("order") or []],
    ]


# What is said and asked. ``facts`` holds ``plans`` (of all hosts that would change), ``condition``, ``approvals``
# (required or off), ``approved_by``, ``people``, ``operator``, ``plan_sum``, ``approved_plan`` and ``incident``.


def approval_refusal(facts: dict[str, Any]) -> str:
    """Return why what was typed, or what the inventory says, makes no sense; empty when it does."""
    if _required(facts) is None:
        return f"rollback_approvals is {facts['approvals']!r}. Set it to required or to off in the inventory."
    told = facts["condition"] if "refusal" in facts["condition"] else _given(facts)
    return f"{told['refusal']} {told['next_step']}" if "refusal" in told else ""


def _required(facts: dict[str, Any]) -> bool | None:
    """Tell whether approvals are required. YAML reads a bare ``off`` as false."""
    text = str(facts["approvals"]).strip().lower()
    return {REQUIRED: True, "true": True, OFF: False, "false": False}.get(text)


def _given(facts: dict[str, Any], typed: list[str] | None = None) -> dict[str, Any]:
    names = written_names(facts["approved_by"])
    approved_by = facts["approved_by"] if names is None else [*names.values(), *(typed or [])]
    return approval(facts["condition"], approved_by, facts["people"], facts["operator"])


def approval_lines(facts: dict[str, Any]) -> list[str]:
    """Return the condition, the four prerequisites of the runbook, and the sum of the plan, as lines to read."""
    plan, condition = facts["plans"][0], facts["condition"]
    lines = [_decision_line(condition)]
    if condition["stop_first"] and not _stops_first(plan):
        lines.append("Note: the runbook stops the services first in this case; -e stop_first=true does it")
    lines += [
        f"Prerequisite, release identified: {name_of(plan['release'])}, by this plan",
        f"Prerequisite, team notified: {_notified(plan)}",
        f"Prerequisite, incident channel: {str(facts['incident'] or '').strip() or 'not named (-e incident=NAME)'}",
        f"Prerequisite, decision approved: {_approved_text(facts)}",
    ]
    unknown = _given(facts)["unknown"] if _required(facts) else []
    lines += [f"Does not count: {name}, whom the inventory lists for no role (rollback_approvers)" for name in unknown]
    changed = _changed(facts)
    total = facts["plan_sum"]
    return [*lines, changed or f"The plan is {total}; with -e approved_plan={total} no other one is carried out"]


def _decision_line(condition: dict[str, Any]) -> str:
    if not condition["name"]:
        return f"Decision: {condition['words']}; {condition['action']}"
    return (
        f"Decision: {condition['priority']}, {condition['words']} ({condition['name']}; {condition['because']}): "
        f"{condition['action']}"
    )


def _stops_first(plan: dict[str, Any]) -> bool:
    """Tell whether a plan stops before it prepares; in a security incident an earlier stage has."""
    steps: list[str] = plan["steps"]
    if plan.get("scenario") == SCENARIO or "stop_services" not in steps or "prepare_release" not in steps:
        return True
    return steps.index("stop_services") < steps.index("prepare_release")


def _notified(plan: dict[str, Any]) -> str:
    runs = "announce" in plan["steps"] and "announce" not in plan["skipped"]
    result = plan["results"].get("announce", {}) if runs else {}
    names = [str(item.get("name") or "a command") for item in result.get("results", [])]
    told = planned_line([one for one in result.get("messages", []) if one["audience"] == "team"])
    words = [f"step 1 runs {'; '.join(names)}"] if names else []
    return "; ".join([*words, *([f"step 1 will {told}"] if told else [])]) or "no command is configured: do it by hand"


_WITHOUT_APPROVAL = {
    "contain": "not asked for: to stop everything waits for nobody",
    "assess": "not asked for: nothing changes",
    "release": "by the security review, in the plan",
}


def _approved_text(facts: dict[str, Any]) -> str:
    if not _required(facts):
        return _WITHOUT_APPROVAL.get(str(facts["plans"][0].get("stage") or ""), "approvals: off in the inventory")
    told = _given(facts)
    parts = [f"{ROLES.get(role, 'no role asked for')}: {name}" for role, name in told["granted"].items()]
    return "; ".join([*parts, *[f"MISSING {text}" for text in _missing(facts, told)]])


def _missing(facts: dict[str, Any], told: dict[str, Any]) -> list[str]:
    """Return the missing roles in words, each with those who can fill it."""
    listed = _people(facts["people"])
    by_words = {words: role for role, words in ROLES.items()}
    texts = []
    for words in told["missing"]:
        names = (
            list(listed.get(by_words[words], {}).values())
            if words in by_words
            else sorted({name for some in listed.values() for name in some.values()})
        )
        texts.append(f"{words} ({' or '.join(names) or 'any name, the inventory lists nobody'})")
    return texts


def who_approves(facts: dict[str, Any]) -> list[str]:
    """Return the roles that must approve, in words, each with those who can; nobody where approvals are off.

    Of the facts, ``condition``, ``approvals`` and ``people`` count.
    """
    if not _required(facts):
        return []
    return _missing(facts, approval(facts["condition"], [], facts["people"]))


def _changed(facts: dict[str, Any]) -> str:
    """Return that the plan is not the one that was approved; empty when it is, and when none was named."""
    approved = str(facts["approved_plan"] or "").strip().lower()
    if not approved or approved == facts["plan_sum"]:
        return ""
    return f"the plan changed since it was approved (approved {approved}, now {facts['plan_sum']})"


def approval_question(facts: dict[str, Any]) -> str:
    """Return what to ask the person at the terminal; empty when there is nothing to ask."""
    bound = bool(str(facts["approved_plan"] or "").strip())
    if not _required(facts) or _changed(facts):
        return ""
    told = _given(facts)
    if not told["complete"]:
        return (
            f"Approval is missing: {'; '.join(_missing(facts, told))}.\n"
            "Type the names of who approved (comma separated), or press Enter to stop"
        )
    return "" if bound else f"Type yes to carry out this plan ({facts['plan_sum']}), anything else stops"


def approval_outcome(facts: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
    """Return ``refusal``, empty when the plan may be carried out, and ``approval``, the record for the journal.

    ``reply`` holds ``asked`` (whether a person could be asked), ``answer`` (what they typed), and ``why`` (nobody was
    asked).
    """
    refusal, told = _weighed(facts, reply)
    return {
        "refusal": refusal,
        "approval": {
            "condition": facts["condition"],
            "approvals": REQUIRED if _required(facts) else OFF,
            "approved_by": told["approved_by"],
            "granted": told["granted"],
            "operator": told["operator"],
            "plan_sum": facts["plan_sum"],
            "asked": bool(reply["asked"]),
            "incident": str(facts["incident"] or "").strip(),
            **({"awx": dict(facts["awx"])} if facts.get("awx") else {}),
        },
    }


def _weighed(facts: dict[str, Any], reply: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return why the plan may not be carried out, and who approved it."""
    told = _given(facts)
    changed = _changed(facts)
    if changed:
        return f"{changed[0].upper()}{changed[1:]}. Look at the new plan, and have it approved.", told
    if not approval_question(facts):
        return "", told
    asked, answer = bool(reply["asked"]), str(reply["answer"]).strip()
    if told["complete"]:
        agreed = not asked or answer.lower() == _YES
        return ("" if agreed else "The plan was not confirmed: the answer was not yes."), told
    if asked and answer:
        names = written_names(answer)
        if names is None:
            return "The answer holds an empty name. Run again, and type names with commas between them.", told
        told = _given(facts, list(names.values()))
    if told["complete"]:
        return "", told
    words = f"The decision is not approved; missing: {'; '.join(_missing(facts, told))}."
    if told["unknown"]:
        words += f" Does not count: {', '.join(told['unknown'])}, listed for no role (rollback_approvers)."
    if reply.get("why"):
        words += f" Nobody could be asked: {reply['why']}."
    total = facts["plan_sum"]
    return f"{words} Add -e approved_by=NAME[,NAME], and -e approved_plan={total} to bind it to this plan.", told


def unattended(environment: Mapping[str, str]) -> str:
    """Return the variable that says that nobody sits at the terminal, as under AWX or in CI; empty when none does."""
    told = (name for name in _UNATTENDED if environment.get(name, "").strip().lower() not in _FALSE)
    return next(told, "")
