# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of one run, on one host or on several: what its journals tell, as one typed structure.

Reading never fails on what a journal lacks, and nothing is made up: what is not on record is ``None`` or says so.
Every text is cleaned in one place, because journals quote what servers, containers and operators said.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .border import plain
from .database_decision import loss_text
from .follow_up import MANUAL_CHECK
from .journal import clock, duration, parse_time, seconds_between, stamp
from .monitoring_text import told_lines
from .report_text import (
    command_for,
    database_changed,
    evidence_text,
    failure,
    has_way_back,
    name_of,
    playbook_command,
    step_lines,
    way_out_parts,
)
from .run_history import FAILED, SUCCEEDED, UNFINISHED, UNREADABLE, with_undone
from .run_text import first_opening, kept_lines, moment_text, plan_of, who, workflow_of
from .security_incident import ASSESS, CONTAIN, RECOVER, RELEASE, SCENARIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SCHEMA = 1
PASSED, INCONCLUSIVE = "passed", "inconclusive"
# When the runbook wants each step to begin, in seconds from the alert. It knows no preparation while serving.
TARGETS = {
    "announce": 0, "stop_services": 120, "switch_release": 300, "revert_migrations": 480, "restore_database": 480,
    "start_services": 900, "verify_release": 1200, "monitor_release": 1800, "communicate": 1800,
}  # fmt: skip
_TEXT_LIMIT = 2000
# They turn the order of letters around, so that a reader sees another text than the one that is there.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_NO_TEXT = re.compile("[\ud800-\udfff\ufffe\uffff]")
_MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_MESSAGE_STEPS = ("announce", "communicate")
_OTHER_VERSION = "the plan was made by another version of this collection; the journal holds it"


# --- what a report holds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepReport:
    """One step: what was planned and what came of it. Times are seconds from the start of the run."""

    name: str
    number: str
    title: str
    state: str
    target: int | None
    began: float | None
    seconds: float | None
    planned: tuple[str, ...]
    outcome: str


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and whether that decided."""

    step: str
    name: str
    verdict: str
    seen: str
    limit: str
    seconds: float | None
    decides: bool = True


@dataclass(frozen=True)
class Message:
    """One message: to whom, and whether it went out."""

    step: str
    notifier: str
    audience: str
    subject: str
    state: str
    why: str


@dataclass(frozen=True)
class ChecklistItem:
    """One thing that a person has to look at."""

    name: str
    state: str
    by: str
    note: str


@dataclass(frozen=True)
class FollowUp:
    """One thing that is to be done after a run, as it stood when somebody last looked."""

    state: str
    name: str
    owner: str
    due: str
    by: str
    at: str | None
    note: str
    issue: str


@dataclass(frozen=True)
class ServiceVersion:
    """The image of a service before the run, and the one that its containers were seen with afterwards."""

    service: str
    before: str
    before_id: str
    after: str
    after_id: str
    state: str


@dataclass(frozen=True)
class Database:
    """What was decided about the database, and the numbers."""

    name: str
    decision: str
    reason: str
    backup: str
    taken_at: str
    rows: int | None
    lost: str
    kept: str
    cutover_milliseconds: float | None


@dataclass(frozen=True)
class Command:
    """A command to type, and what it is for."""

    why: str
    command: str


@dataclass(frozen=True)
class Failure:
    """What happened, what is untouched, what to do next."""

    what: str
    untouched: str
    next_step: str


@dataclass(frozen=True)
class HostReport:
    """What the journal of one host tells."""

    host: str
    state: str
    step: str
    runs_now: str
    commit_before: str
    commit_after: str
    steps: tuple[StepReport, ...]
    checks: tuple[Check, ...]
    versions: tuple[ServiceVersion, ...]
    database: Database | None
    kept: tuple[str, ...]
    kept_until: str
    checklist: tuple[ChecklistItem, ...]
    follow_up: tuple[FollowUp, ...]
    followed_up: str | None
    messages: tuple[Message, ...]
    failure: Failure | None
    notes: tuple[str, ...]
    resumed: int
    damaged_lines: int


@dataclass(frozen=True)
class Moment:
    """A moment of the recovery; without a time it is not known, or did not come."""

    name: str
    time: str | None


@dataclass(frozen=True)
class Approval:
    """Who approved what."""

    required: bool
    names: tuple[str, ...]
    granted: tuple[str, ...]
    condition: str
    plan_sum: str
    workflow: str


@dataclass(frozen=True)
class Undo:
    """A run that was to undo the one of the report. ``undone_by`` is the run that has taken that back."""

    run_id: str
    state: str
    hosts: tuple[str, ...]
    ended: str | None
    started_by: str
    undone_by: str


@dataclass(frozen=True)
class Report:
    """A run on all its hosts."""

    schema: int
    run_id: str
    scenario: str
    stage: str
    project: str
    state: str
    headline: str
    commands: tuple[Command, ...]
    reason: str
    incident: str
    before: str
    after: str
    way: str
    undo_of: str
    undone_by: str
    undos: tuple[Undo, ...]
    started_by: str
    approval: Approval
    moments: tuple[Moment, ...]
    recovery: tuple[str, ...]
    hosts: tuple[HostReport, ...]


# --- texts -----------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    """Return a text that can neither steer a terminal nor hide what it says, and that is not endless."""
    safe = _NO_TEXT.sub("\ufffd", plain(text.replace("\r\n", "\n")))
    safe = _BIDI.sub(lambda found: f"[U+{ord(found[0]):04X}]", safe)
    left = len(safe) - _TEXT_LIMIT
    return safe if left <= 0 else f"{safe[:_TEXT_LIMIT]}… ({left} characters left out)"


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - whatever a report holds
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, tuple):
        return tuple(_cleaned(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _cleaned(getattr(value, field.name)) for field in fields(value)})
    return value


def as_data(value: Any) -> Any:  # noqa: ANN401 - whatever a report holds
    """Return a report as JSON values, in the order of its fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_data(getattr(value, field.name)) for field in fields(value)}
    return [as_data(item) for item in value] if isinstance(value, tuple) else value


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None or isinstance(value, (dict, list)) else str(value)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]


# --- the run ---------------------------------------------------------------------------------------------------------


def report_of(runs: list[dict[str, Any]], later: Iterable[dict[str, Any]] = ()) -> Report:
    """Return the report of a run from what ``run_history.summarise`` made of the journal of each host, one or more.

    ``later`` holds the runs that came after it on these hosts, the newest first; only its undos count.
    """
    lead = next((run for run in runs if run["plan"]), runs[0])
    state = _state(runs)
    hosts = tuple(_host(run) for run in runs)
    moments = _moments(runs)
    undos = _undos(runs, list(later))
    standing = _standing_undo(runs, undos)
    undone_by = standing.run_id if standing and standing.state == SUCCEEDED else ""
    headline = _headline(lead, state, hosts)
    approval, condition = _mapping(lead["approval"]), _mapping(_mapping(lead["approval"]).get("condition"))
    told = Report(
        schema=SCHEMA,
        run_id=lead["run_id"],
        scenario=lead["scenario"],
        stage=_text(lead["inputs"].get("stage")) if lead["scenario"] == SCENARIO else "",
        project=lead["project"],
        state=state,
        headline=f"Undone by run {undone_by}. Before that: {headline}" if undone_by else headline,
        commands=_commands(lead, state, runs, standing),
        reason=lead["reason"] or "not given",
        incident=_text(approval.get("incident")),
        before=name_of(lead["from"]),
        after=_after(lead),
        way=_way(lead),
        undo_of=lead["undo_of"] or "",
        undone_by=undone_by,
        undos=undos,
        started_by=who(first_opening(lead)),
        approval=Approval(
            required=approval.get("approvals") != "off",
            names=tuple(_names(approval.get("approved_by"))),
            granted=tuple(f"{role}: {_text(name)}" for role, name in _mapping(approval.get("granted")).items()),
            condition=_text(condition.get("words")),
            plan_sum=_text(approval.get("plan_sum")),
            workflow=workflow_of(approval),
        ),
        moments=moments,
        recovery=_recovery(moments),
        hosts=hosts,
    )
    cleaned: Report = _cleaned(told)
    return cleaned


def _names(value: object) -> list[str]:
    return [_text(name) for name in value] if isinstance(value, list) else [_text(value)] if value else []


def _state(runs: list[dict[str, Any]]) -> str:
    """Return how the run stands: as well as on the host where it stands worst."""
    states = {run["state"] for run in runs}
    return next(state for state in (FAILED, UNREADABLE, UNFINISHED, SUCCEEDED) if state in states)


def _headline(lead: dict[str, Any], state: str, hosts: tuple[HostReport, ...]) -> str:
    """Return the verdict, which is the first thing that a reader sees."""
    if state == SUCCEEDED:
        checks = [check for host in hosts for check in host.checks if check.decides]
        passed = sum(check.verdict == PASSED for check in checks)
        proof = f"{passed} of {len(checks)} checks passed" if checks else "no check was made"
        if lead["undo_of"]:
            return f"Undone: what was there before run {lead['undo_of']} is back; {proof}"
        if lead["scenario"] == SCENARIO:
            return _stage_headline(lead, proof)
        name = _release_of(lead)
        return f"Succeeded: {name} {'stays' if _stays(lead) else 'is back'}; {proof}"
    if state == UNREADABLE:
        return f"Not known: no journal can be read of {', '.join(host.host for host in hosts if host.state == state)}"
    worst = [host for host in hosts if host.state == state]
    where = next((f" at {_place(host)}" for host in worst if host.step), "")
    names = f" on {', '.join(host.host for host in worst)}" if len(hosts) > 1 else ""
    return (
        f"Failed{where}{names}"
        if state == FAILED
        else f"Cut off, or still under way,{where or ' before a step'}{names}"
    )


def _stage_headline(lead: dict[str, Any], proof: str) -> str:
    """Return what a stage of a security incident has reached: only the last one starts anything."""
    stage, name = _text(lead["inputs"].get("stage")), _release_of(lead)
    reached = {
        CONTAIN: "the application is stopped until it was reviewed",
        ASSESS: "what was found is on record",
        RECOVER: f"{name} is checked out; nothing was started",
        RELEASE: f"{name} is live again; {proof}",
    }
    return f"Succeeded, stage {stage}: {reached.get(stage, proof)}"


def _release_of(lead: dict[str, Any]) -> str:
    """Return the release that a run leads to, with its patch, without its commit."""
    return name_of({"release": lead["version"] or "the release", "patch": lead.get("patch")}).partition(" ()")[0]


def _stays(lead: dict[str, Any]) -> bool:
    """Tell whether a run leads to the commit that was there before it."""
    return bool(lead["commit"]) and lead["commit"] == lead["from"].get("commit")


def _place(host: HostReport) -> str:
    step = next((step for step in host.steps if step.name == host.step), None)
    return step_name(step) if step else host.step


def step_name(step: StepReport) -> str:
    """Return what a step is called, with its number in the runbook where it has one."""
    return f"step {step.number}, {step.title}" if step.number else step.title


def _commands(
    lead: dict[str, Any], state: str, runs: list[dict[str, Any]], standing: Undo | None
) -> tuple[Command, ...]:
    """Return what to type next."""
    if not lead["plan"]:
        return (Command("To see what is on record, type", command_for(plan_of(lead), "runs")),)
    plan = {**plan_of(lead), **{key: lead["plan"].get(key) for key in ("inventory", "target")}}
    plan |= {"scenario": lead["scenario"], "steps": [step["name"] for step in lead["steps"]]}
    if standing:  # the run itself can neither be gone on with nor be undone
        plan["run_id"] = standing.run_id
        resume = (
            [] if standing.state == SUCCEEDED else [Command("To go on with its undo, type", _command(plan, "resume"))]
        )
        return (*resume, Command("To take its undo back, type", _command(plan, "undo")))
    commands = [] if state == SUCCEEDED else [Command("To go on, mend the cause and type", _command(plan, "resume"))]
    if any(run["acted"] for run in runs) and has_way_back(plan):
        changed = any(_database_changed(run) for run in runs)
        undo = _command(plan, "undo", **({"accept_data_loss": "true"} if changed else {}))
        commands.append(Command("To put everything back as it was before, type", undo))
    if lead["scenario"] == SCENARIO and state == SUCCEEDED and lead["inputs"].get("stage") != RELEASE:
        commands.append(Command("To see how the incident stands and which stage is next, type", _stand(plan)))
    return tuple(commands)


def _stand(plan: dict[str, Any]) -> str:
    try:
        return playbook_command(plan, SCENARIO)
    except _MISSHAPEN:
        return playbook_command({}, SCENARIO)


def _command(plan: dict[str, Any], playbook: str, **variables: str) -> str:
    try:
        return command_for(plan, playbook, **variables)
    except _MISSHAPEN:
        return command_for({"run_id": plan["run_id"]}, playbook, **variables)


def _database_changed(run: dict[str, Any]) -> str:
    try:
        return database_changed(_situation(run))
    except _MISSHAPEN:
        return ""


# --- what came after it ----------------------------------------------------------------------------------------------


def _undos(runs: list[dict[str, Any]], later: list[dict[str, Any]]) -> tuple[Undo, ...]:
    """Return the undos of a run, the newest first, each with the hosts of the run that it was carried out on."""
    found: dict[str, list[dict[str, Any]]] = {}
    for host in [run["host"] for run in runs]:
        for run in with_undone([one for one in later if one["host"] == host]):
            if run["undo_of"] == runs[0]["run_id"]:
                found.setdefault(run["run_id"], []).append(run)
    return tuple(
        Undo(
            run_id=name,
            state=_state(undo),
            hosts=tuple(run["host"] for run in undo),
            ended=_last_of([run["ended"] for run in undo]),
            started_by=who(first_opening(undo[0])),
            undone_by=next((run["undone_by"] for run in undo if run["undone_by"]), ""),
        )
        for name, undo in sorted(found.items(), reverse=True)
    )


def _standing_undo(runs: list[dict[str, Any]], undos: tuple[Undo, ...]) -> Undo | None:
    """Return the newest undo that was not taken back and was carried out on all hosts that the run has changed."""
    acted = {run["host"] for run in runs if run["acted"]}
    return next((undo for undo in undos if not undo.undone_by and acted <= set(undo.hosts)), None)


def undo_text(undo: Undo, report: Report) -> str:
    """Return that a run was undone, or was to be, by whom, and whether that stands."""
    where = f" on {', '.join(undo.hosts)}" if len(report.hosts) > 1 else ""
    if undo.state != SUCCEEDED:
        came = "failed" if undo.state == FAILED else "has no end on record"
        told = f"Run {undo.run_id}, started {undo.started_by}, was to undo it{where}, and {came}"
    else:
        told = f"Undone{where} by run {undo.run_id}, {moment_text(undo.ended)}, started {undo.started_by}"
    return f"{told}; run {undo.undone_by} has taken that back." if undo.undone_by else f"{told}."


# --- the moments of the recovery -------------------------------------------------------------------------------------


def _way(lead: dict[str, Any]) -> str:
    """Return from where to where a run leads, in words."""
    return f"{_after(lead)} stays" if _stays(lead) else f"From {name_of(lead['from'])} to {_after(lead)}"


def _after(lead: dict[str, Any]) -> str:
    """Return to which release a run leads, with the sum of its patch if it has one."""
    patch = _mapping(lead.get("patch"))
    name = name_of({"release": lead["version"], "commit": lead["commit"], "patch": patch})
    return f"{name}, patch sha256 {_text(patch.get('sha256'))}" if patch else name


def _moments(runs: list[dict[str, Any]]) -> tuple[Moment, ...]:
    """Return when the fault was seen, when the run was decided, and how it went on; the last host counts."""
    detected = next((found for run in runs if (found := _detected(run))), None)
    return (
        Moment("detected", detected),
        Moment("decided", min(filter(None, (run["started"] for run in runs)), default=None)),
        Moment("stopped", min(filter(None, map(_stopped, runs)), default=None)),
        Moment("started", _last_of([_step_time(run, "start_services", "end") for run in runs])),
        Moment("healthy", _last_of([_step_time(run, "verify_release", "end") for run in runs])),
        Moment("closed", _last_of([run["ended"] for run in runs])),
    )


def _last_of(times: list[str | None]) -> str | None:
    known = [time for time in times if time]
    return max(known) if len(known) == len(times) else None


def _stopped(run: dict[str, Any]) -> str | None:
    """Return when the stop began, of a run that stopped something."""
    facts = next((step.get("facts") or {} for step in run["steps"] if step["name"] == "stop_services"), {})
    nothing = facts.get("not_stopped") and not facts.get("order")
    return None if nothing else _step_time(run, "stop_services", "start")


def _step_time(run: dict[str, Any], name: str, which: str) -> str | None:
    """Return when a step began; when it ended only if it ended well."""
    step = next((one for one in run["steps"] if one["name"] == name), None)
    if step is None or step["state"] in ("open", "skipped") or (which == "end" and step["state"] != "done"):
        return None
    time: str | None = step[which]
    return time


def _detected(run: dict[str, Any]) -> str | None:
    """Return when the fault was seen, as the operator typed it, in the form of the journal."""
    try:
        moment = datetime.fromisoformat(_text(run["inputs"].get("detected_at")).strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return stamp(moment) if moment.tzinfo else None


def _recovery(moments: tuple[Moment, ...]) -> tuple[str, ...]:
    """Return the lengths that count, those that are known."""
    times = {moment.name: moment.time for moment in moments}
    spans = [("detected", "healthy", "From detected to healthy"), ("decided", "healthy", "From decided to healthy"),
             ("stopped", "started", "From the first stop to all started")]  # fmt: skip
    return tuple(
        f"{words}: {duration(seconds_between(times[first] or '', times[last] or ''))}"
        if times[first] and times[last]
        else f"{words}: unknown"
        for first, last, words in spans
    )


# --- one host --------------------------------------------------------------------------------------------------------


def _host(run: dict[str, Any]) -> HostReport:
    plan, facts = plan_of(run), {step["name"]: _mapping(step["facts"]) for step in run["steps"]}
    parts = _parts(run)
    follow_up = tuple(_follow_up(run))
    switched = next((step for step in run["steps"] if step["name"] == "switch_release"), {"state": "open"})
    return HostReport(
        host=run["host"] or "unknown host",
        state=run["state"],
        step=run["step"] or "",
        runs_now=parts["now"] if run["state"] == FAILED else _running(run, facts),
        commit_before=name_of(run["from"]),
        commit_after=name_of(_mapping(facts.get("switch_release", {}).get("after")))
        if switched["state"] == "done"
        else "not checked out by this run",
        steps=tuple(_step(run, plan, step) for step in run["steps"]),
        checks=tuple(_checks(facts)),
        versions=tuple(_versions(run, facts)),
        database=_database(run, facts),
        kept=tuple(_kept(run, plan)),
        kept_until=_kept_until(run),
        checklist=tuple(_looked_at_since(item, follow_up) for item in _checklist(run, facts)),
        follow_up=follow_up,
        followed_up=max((event["time"] for event in _follow_up_events(run)), default=None),
        messages=tuple(_messages(facts)),
        failure=_failure(run, parts),
        notes=tuple(_notes(run)),
        resumed=run["resumed"],
        damaged_lines=run["damaged_lines"],
    )


def _finish(run: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the end of a run, if it has one."""
    ends = [event["facts"] for event in run["events"] if event["event"] == "run_finished"]
    return ends[-1] if ends and run["ended"] else {}


def _situation(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the last words of a failed run are made of."""
    step = next((one for one in run["steps"] if one["name"] == run["step"]), None)
    told = _mapping(_finish(run).get("failure")) or (_mapping(step["facts"]) if step else {})
    plan = {**plan_of(run), "results": {}, **run["plan"]}
    return {
        "plan": plan,
        "failure": {**failure(told), **{key: told[key] for key in ("unready", "live_untouched") if key in told}},
        "step": run["step"] or "",
        "now": {"services": _mapping(_finish(run).get("now"))},
        "published": step["facts"] if step else {},
        "events": run["events"],
    }


def _parts(run: dict[str, Any]) -> dict[str, Any]:
    """Return the last words of a failed run in parts."""
    if run["state"] != FAILED:
        return {}
    situation = _situation(run)
    try:
        return way_out_parts(situation)
    except _MISSHAPEN:
        told = situation["failure"]
        return {
            "what": told["msg"],
            "next_step": told["next_step"],
            "now": "What runs now is not on record.",
            "untouched": "",
        }


def _failure(run: dict[str, Any], parts: dict[str, Any]) -> Failure | None:
    if run["state"] == FAILED:
        untouched = parts["untouched"] or "What is untouched is not on record."
        return Failure(parts["what"], untouched, parts["next_step"] or "Mend the cause, then type what is below.")
    if run["state"] == UNFINISHED:
        return Failure("The run has no end on record.", "What is untouched is not on record.",
                       "See whether it is still at work; if it is not, go on with it or undo it.")  # fmt: skip
    if run["state"] == UNREADABLE:
        return Failure(_text(run.get("why")), "What is untouched is not on record.", _text(run.get("next_step")))
    return None


def _running(run: dict[str, Any], facts: dict[str, dict[str, Any]]) -> str:
    """Return which services were seen to run at the end of a run that did not fail."""
    services = _mapping(facts.get("start_services", {}).get("services"))
    if run["state"] != SUCCEEDED or not services:
        return "What runs now is not on record."
    running = {name for name, told in services.items() if "running" in _states(told)}
    down = sorted(set(services) - running)
    return f"Running: {', '.join(sorted(running)) or 'none'}." + (f" Ended: {', '.join(down)}." if down else "")


def _states(service: object) -> list[str]:
    return [_text(one.get("state")) for one in _mappings(_mapping(service).get("containers"))]


def _step(run: dict[str, Any], plan: dict[str, Any], step: dict[str, Any]) -> StepReport:
    title = _mapping(plan["titles"].get(step["name"]))
    number = _text(title.get("number"))
    began = step["start"] and step["state"] != "skipped"
    return StepReport(
        name=step["name"],
        number="" if number == "-" else number,
        title=_text(title.get("title")) or step["name"],
        state=step["state"],
        target=TARGETS.get(step["name"]),
        began=seconds_between(run["started"], step["start"]) if began else None,
        seconds=step["seconds"] if began else None,
        planned=tuple(_planned(run["plan"], step["name"])),
        outcome=_outcome(step),
    )


def _planned(plan: dict[str, Any], step: str) -> list[str]:
    if not plan:
        return ["no plan is on record"]
    try:
        return [_text(line) for line in step_lines(plan, step)]
    except _MISSHAPEN:
        return [_OTHER_VERSION]


def _outcome(step: dict[str, Any]) -> str:
    facts = _mapping(step["facts"])
    if step["state"] == "failed":
        return f"failed: {_text(facts.get('msg')) or 'no reason on record'}"
    if step["state"] == "skipped":
        return f"skipped: {_text(facts.get('reason'))}"
    if step["state"] == "done":
        return f"done{_evidence(step['name'], facts)}"
    return {"open": "not begun", "running": "begun, no end on record"}.get(step["state"], "unknown")


def _evidence(step: str, facts: dict[str, Any]) -> str:
    try:
        return evidence_text(step, facts)
    except _MISSHAPEN:
        return ""


# --- evidence --------------------------------------------------------------------------------------------------------


def _checks(facts: dict[str, dict[str, Any]]) -> Iterator[Check]:
    for step, told in facts.items():
        checks = _mappings(told.get("checks"))
        yield from (_check(step, one) for one in checks)
        if step not in _MESSAGE_STEPS:
            # Journals of earlier versions hold smoke tests beside the checks only.
            among = any(one.get("kind") == "command" for one in checks)
            commands = [*([] if among else _mappings(told.get("smoke_tests"))), *_mappings(told.get("results"))]
            yield from (_command_check(step, one) for one in commands if "rc" in one)
        yield from (replace(_check(step, one), decides=False) for one in _mappings(told.get("looked_at")))


def _check(step: str, one: dict[str, Any]) -> Check:
    verdict = _text(one.get("verdict"))
    return Check(
        step=step,
        name=_text(one.get("name")) or "a check without a name",
        verdict=verdict if verdict in (PASSED, FAILED) else INCONCLUSIVE,
        seen=_text(one.get("seen")),
        limit=_text(one.get("limit")) or _text(one.get("expected")),
        seconds=_number(one.get("seconds")),
        decides=one.get("decides") is not False,
    )


def _command_check(step: str, one: dict[str, Any]) -> Check:
    """Return a smoke test as a check; one that has no exit code did not run."""
    verdict = INCONCLUSIVE if one.get("rc") is None and one.get("verdict") == PASSED else one.get("verdict")
    seen = _text(one.get("reason")) or ("did not run" if one.get("rc") is None else f"it returned {_text(one['rc'])}")
    return _check(step, {**one, "verdict": verdict, "seen": seen, "limit": "it returns 0"})


def _versions(run: dict[str, Any], facts: dict[str, dict[str, Any]]) -> Iterator[ServiceVersion]:
    prepared = _mapping(facts.get("prepare_release", {}).get("services"))
    started = _mapping(facts.get("start_services", {}).get("services"))
    planned = _mapping(_mapping(_mapping(run["plan"].get("results")).get("start_services")).get("services"))
    for name in sorted({**planned, **prepared, **started}):
        known = [_mapping(table.get(name)) for table in (prepared, started, planned)]
        before = next((found for one in known if (found := _mapping(one.get("before")))), {})
        now = _mapping(started.get(name))
        seen = _mappings(now.get("containers"))
        yield ServiceVersion(
            service=name,
            before=_text(before.get("image")) or "none",
            before_id=_digits(before.get("image_id")),
            after=_text(now.get("image")) if seen else "not started by this run",
            after_id=_digits(seen[0].get("image_id")) if seen else "",
            state=", ".join(dict.fromkeys(_states(now))),
        )


def _digits(image_id: object) -> str:
    return _text(image_id).replace("sha256:", "")[:12]


def _database(run: dict[str, Any], facts: dict[str, dict[str, Any]]) -> Database | None:
    results = _mapping(run["plan"].get("results"))
    prepared = facts.get("prepare_database") or _mapping(results.get("prepare_database"))
    acted = facts.get("restore_database", {}) if facts.get("restore_database", {}).get("decision") else {}
    acted = acted or facts.get("revert_migrations", {})
    if not prepared.get("decision"):
        return None
    backup = _mapping(prepared.get("backup"))
    restores = prepared["decision"] == "restore"
    rows = _number(acted.get("rows_total")) or _number(_mapping(prepared.get("preview")).get("rows_total"))
    return Database(
        name=_text(prepared.get("database")) or "unknown",
        decision=_text(prepared["decision"]),
        reason=_text(prepared.get("reason")),
        backup=_text(backup.get("path")) if restores else "",
        taken_at=_text(backup.get("taken_at")) if restores else "",
        rows=int(rows) if rows is not None and restores else None,
        lost=_lost(prepared),
        kept=_text(acted.get("old_database")),
        cutover_milliseconds=_number(_mapping(acted.get("cutover")).get("milliseconds")),
    )


def _lost(prepared: dict[str, Any]) -> str:
    if prepared.get("decision") not in ("restore", "undo") or not prepared.get("would_change"):
        return "nothing"
    try:
        return loss_text(_mapping(prepared.get("loss")))
    except _MISSHAPEN:
        return "not on record"


def _kept(run: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    try:
        return kept_lines(run, plan)
    except _MISSHAPEN:
        return ["not on record in a form that can be read"]


def _notes(run: dict[str, Any]) -> list[str]:
    """Return what happened beside the steps: who went on after which failure, silenced alerts, annotations."""
    try:
        return [*_setbacks(run), *told_lines(run["events"])]
    except _MISSHAPEN:
        return ["what is on record of resumes and silenced alerts cannot be read"]


def _setbacks(run: dict[str, Any]) -> list[str]:
    """Return what stopped a run before somebody went on with it, and who did. Steps show their last attempt only."""
    titles = plan_of(run)["titles"]
    lines, failed, at_work = [], "", ""
    for event in run["events"]:
        if event["event"] == "step_started":
            failed, at_work = "", event["step"]
        elif event["event"] in ("step_finished", "step_failed"):
            failed = failure(event["facts"])["msg"] if event["event"] == "step_failed" else ""
            at_work = event["step"] if failed else ""
        elif event["event"] == "run_resumed":
            where = f" in {titles[at_work]['title']!r}" if at_work else ""
            stopped = f"It had failed{where}: {failed}" if failed else f"It had been cut off{where}."
            lines.append(f"{clock(event['elapsed'])} gone on with, {who(event['facts'])}. {stopped}")
            at_work = ""
    return lines


def _kept_until(run: dict[str, Any]) -> str:
    """Return how long cleanup leaves what is kept, as the inventory said when the run began."""
    policy = _mapping(first_opening(run).get("cleanup"))
    hours, keep = _number(policy.get("min_age_hours")), _number(policy.get("keep"))
    ended = parse_time(run["ended"])
    if hours is None or keep is None or ended is None:
        return "until cleanup.yml drops it; since when it may is not on record"
    try:
        until = f"{(ended + timedelta(hours=hours)).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    except OverflowError:
        until = "the end of time"
    return (
        f"at least until {until}, and while this is one of the {keep:.0f} newest runs; then until cleanup.yml drops it"
    )


def _checklist(run: dict[str, Any], facts: dict[str, dict[str, Any]]) -> list[ChecklistItem]:
    """Return what a person has to look at; of a run that ended earlier all of it is open."""
    told = [item for evidence in facts.values() for item in _mappings(evidence.get("checklist"))]
    if told:
        return [
            ChecklistItem(*(_text(item.get(key)) or default for key, default in _ITEM_DEFAULTS.items()))
            for item in told
        ]
    wanted = facts.get("verify_release", {}).get("manual_checks") or run["plan"].get("manual_checks")
    names = wanted if isinstance(wanted, list) and not run["undo_of"] else []
    return [ChecklistItem(_text(name), "open", "", "") for name in names]


def _looked_at_since(item: ChecklistItem, follow_up: tuple[FollowUp, ...]) -> ChecklistItem:
    """Return what a person had to look at, as done when somebody did after the run."""
    tick = next((one for one in follow_up if one.at and one.name == MANUAL_CHECK + item.name), None)
    if tick is None or item.state == "done":
        return item
    note = "; ".join(filter(None, [item.note, f"after the run, {moment_text(tick.at)}"]))
    return replace(item, state="done", by=tick.by, note=note)


def _follow_up(run: dict[str, Any]) -> Iterator[FollowUp]:
    """Return what is to be done after a run; what was done without being on the list comes last."""
    listed: dict[str, dict[str, Any]] = {}
    done: dict[str, dict[str, Any]] = {}
    issues: dict[str, str] = {}
    for event in _follow_up_events(run):
        facts = event["facts"]
        actions = {_text(one.get("name")): one for one in _mappings(facts.get("actions"))}
        listed = actions or listed
        items = [one for one in _mappings(facts.get("items")) if one.get("state") == "done"]
        done |= {_text(one.get("name")): {**one, "at": event["time"]} for one in items}
        issues |= {_text(one.get("name")): _text(one.get("issue")) for one in _mappings(facts.get("issues"))}
    for name in dict.fromkeys([*listed, *done]):
        action, tick = listed.get(name, {}), done.get(name, {})
        yield FollowUp(
            state="done" if tick else _text(action.get("state")) or "open",
            name=name or "an action without a name",
            owner=_text(action.get("owner")),
            due=_text(action.get("due")),
            by=_text(tick.get("by")),
            at=tick.get("at"),
            note=_text(tick.get("note")),
            issue=issues.get(name, ""),
        )


def _follow_up_events(run: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in run["events"] if event["event"] == "follow_up"]


def follow_up_sum(host: HostReport) -> str:
    """Return how far what is to be done after a run has come, and when that was seen."""
    states = [one.state for one in host.follow_up]
    left = len(states) - states.count("done")
    return (
        f"{states.count('done')} of {len(states)} done, {left} open, {states.count('late')} of them late, "
        f"as seen {moment_text(host.followed_up)}. The playbook follow_up looks again, and writes this report again."
    )


_ITEM_DEFAULTS = {"name": "an item without a name", "state": "open", "by": "", "note": ""}


def _messages(facts: dict[str, dict[str, Any]]) -> Iterator[Message]:
    """Return the messages of all steps, and the commands that tell people, which are messages too."""
    for step, told in facts.items():
        for one in _mappings(told.get("messages")):
            keys = ("notifier", "audience", "subject", "state", "why")
            yield Message(step, *(_text(one.get(key)) for key in keys))
        for one in _mappings(told.get("results")) if step in _MESSAGE_STEPS else []:
            words = next((_mapping(value).get("argv") for key, value in one.items() if key.endswith("_command")), None)
            sent = one.get("rc") == 0
            yield Message(
                step=step,
                notifier=_text(one.get("name")) or "a command",
                audience="",
                subject=" ".join(map(_text, words[1:])) if isinstance(words, list) else "",
                state="sent" if sent else "failed",
                why="" if sent else _text(one.get("reason")) or "it did not run",
            )


def approved_by(report: Report) -> str:
    """Return who approved, in words."""
    approval = report.approval
    names = "; ".join(approval.granted) or ", ".join(approval.names) or "nobody on record"
    return f"{names}{approval.workflow}" if approval.required else f"{names} (the inventory asks for no approval)"


def undelivered(messages: Iterable[Message]) -> list[Message]:
    """Return the messages that nobody got."""
    return [message for message in messages if message.state not in ("sent", "planned")]
