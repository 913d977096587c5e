# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A security incident as several runs over hours or days: which stages are done, and what may come next.

Everything here is a pure function of the journals of a host and of what was typed. An incident begins with the first
run of the stage ``contain`` and ends with a run of the stage ``release`` that succeeded.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

SCENARIO = "security_incident"
CONTAIN, ASSESS, RECOVER, RELEASE = STAGES = ("contain", "assess", "recover", "release")
_SUCCEEDED, _UNREADABLE = "succeeded", "unreadable"
_OPENERS = ("run_started", "run_resumed")
_WHAT = {
    CONTAIN: "stop everything, show users a page, preserve evidence",
    ASSESS: "record what was found of the damage",
    RECOVER: "go back to a release, and rotate the credentials",
    RELEASE: "start again, after a review by somebody else",
}


def incident_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the open incident of a host: ``since`` when it began, and the last run of each of its ``stages``.

    ``runs`` are all runs of the host with their events, the newest first. Without an open incident ``since`` is empty.
    ``unknown`` are the journals that may hide one, or a stage of it: nobody knows which runs they are of. A release
    that succeeded has ended whatever was before it.
    """
    since = ""
    stages: dict[str, dict[str, Any]] = {}
    unknown: list[dict[str, str]] = []
    for run in reversed(runs):
        stage, why = _stage(run), _why_unknown(run)
        if why:
            unknown.append({"run_id": run["run_id"], "path": run["path"], "why": why})
        elif stage == RELEASE and run["state"] == _SUCCEEDED:
            since, stages, unknown = "", {}, []
        elif stage == CONTAIN or (stage and since):
            since = since or str(run["started"])
            stages[stage] = {
                "run_id": run["run_id"],
                "state": run["state"],
                "at": run["ended"] or run["started"],
                "commit": run.get("commit") or "",
                "users": list(dict.fromkeys([*stages.get(stage, {}).get("users", []), *_users(run)])),
            }
    return {"since": since, "stages": stages, "unknown": unknown}


def _users(run: dict[str, Any]) -> list[str]:
    """Return who has started a run and gone on with it."""
    opened = [event["facts"].get("controller") for event in run["events"] if event["event"] in _OPENERS]
    users = [one.get("user") for one in opened if isinstance(one, dict)]
    return [user for user in users if user and isinstance(user, str)]


def _why_unknown(run: dict[str, Any]) -> str:
    """Return why nobody knows what a run was; empty when it is known, or when it never began.

    A run opens its journal before it acts. So an empty journal is of a run that never began, and a torn last line is
    what a crash leaves; but without the first line a journal may be that of any run.
    """
    if run["state"] == _UNREADABLE:
        return str(run["why"])
    begun = any(event["event"] == "run_started" for event in run["events"])
    return "It has a damaged first line." if run["damaged_lines"] and not begun else ""


def _stage(run: dict[str, Any]) -> str | None:
    """Return the stage of a run of an incident; nothing for other runs, and for those that began nothing."""
    if run.get("scenario") != SCENARIO or not run.get("started"):
        return None
    stage = (run.get("inputs") or {}).get("stage")
    return str(stage) if stage in STAGES else None


def incident_lines(incident: dict[str, Any]) -> list[str]:
    """Return how an incident stands: a line for each stage, and which one is next."""
    unknown = [f"Not known: {_unreadable(one)}" for one in incident.get("unknown", [])]
    if not incident["since"]:
        return unknown or ["Security incident: none is open"]
    lines = [f"Security incident, open since {incident['since']}"]
    for stage in STAGES:
        told = incident["stages"].get(stage)
        state = f"{told['state']} at {told['at']} (run {told['run_id']})" if told else "open"
        lines.append(f"  {stage}: {state}: {_WHAT[stage]}")
    return [*lines, *unknown, f"Next: -e stage={next_stage(incident)}"]


def _unreadable(one: dict[str, str]) -> str:
    return f"the journal {one['path']} cannot be read: {one['why']}"


def next_stage(incident: dict[str, Any]) -> str:
    """Return the first stage that has not succeeded yet."""
    return next((stage for stage in STAGES if not _done(incident, stage)), RELEASE)


def _done(incident: dict[str, Any], stage: str) -> bool:
    return bool(incident["stages"].get(stage, {}).get("state") == _SUCCEEDED)


def stage_refusal(stage: object) -> str:
    """Return why there is no such stage; empty when there is."""
    if stage in STAGES:
        return ""
    accepted = "; ".join(f"-e stage={name}: {_WHAT[name]}" for name in STAGES)
    given = f"stage={stage} is not accepted" if stage else "No stage was given"
    return f"{given}. Nothing was changed. Accepted: {accepted}."


def incident_refusal(incident: dict[str, Any], scenario: str, stage: str = "", false_alarm: object = None) -> str:
    """Return why a run may not be carried out while an incident is open, or before one is; empty when it may.

    While an incident is open nothing but its stages may work on the application: another run would start it, and nobody
    would have reviewed it. A journal that may hide an incident is taken for one. To contain waits for nothing.
    """
    if scenario == SCENARIO and stage == CONTAIN:
        return ""
    if incident.get("unknown"):
        return _unknown_refusal(incident["unknown"])
    if scenario != SCENARIO:
        return _other_refusal(incident)
    if not incident["since"]:
        return f"No security incident is open here, so there is nothing to {stage}. Begin with -e stage={CONTAIN}."
    wanted = {ASSESS: (CONTAIN,), RECOVER: (CONTAIN, ASSESS), RELEASE: (CONTAIN, ASSESS, RECOVER)}[stage]
    alarm = str(false_alarm).strip().lower() in ("true", "yes", "1")
    if stage == RELEASE and alarm:
        if RECOVER in incident["stages"]:
            told = incident["stages"][RECOVER]
            return (
                f"false_alarm was given, but the run {told['run_id']} has begun to recover ({told['state']}). "
                f"Finish it, then type -e stage={RELEASE} without false_alarm."
            )
        wanted = (CONTAIN, ASSESS)
    missing = [name for name in wanted if not _done(incident, name)]
    return f"{_missing(incident, missing[0])} The application stays stopped." if missing else ""


def _missing(incident: dict[str, Any], stage: str) -> str:
    told = incident["stages"].get(stage)
    if told is None:
        words = f"The stage {stage} of this incident comes first: -e stage={stage} ({_WHAT[stage]})."
        return words + (" If there is nothing to recover: -e false_alarm=true." if stage == RECOVER else "")
    how = f"ansible-playbook usdx.rollback.resume -e run={told['run_id']}"
    return f"The stage {stage} is {told['state']} (run {told['run_id']}). Go on with it: {how}"


def _unknown_refusal(unknown: list[dict[str, str]]) -> str:
    """Return what a journal that cannot be read forbids, and the two ways out."""
    directory = Path(unknown[0]["path"]).parent
    aside = shlex.join(["mv", str(directory), f"{directory}.unreadable"])
    return (
        f"It is not known whether a security incident is open: {'; '.join(map(_unreadable, unknown))} "
        "It may be of a stage of an incident, so what is stopped stays stopped. Mend it, or make it readable for the "
        f"user of Ansible (become_user). If you know that the run {unknown[0]['run_id']} was no stage of a security "
        f"incident, put it aside on that host: {aside}"
    )


def _other_refusal(incident: dict[str, Any]) -> str:
    if not incident["since"]:
        return ""
    return (
        f"A security incident is open since {incident['since']}: the application is kept stopped until it was "
        f"reviewed. Go on with: ansible-playbook usdx.rollback.{SCENARIO} -e stage={next_stage(incident)}"
    )


def operators_of(incident: dict[str, Any], operator: str) -> list[str]:
    """Return who works on an incident: who asks now, and all who have started a recovery or gone on with one."""
    return list(dict.fromkeys([operator, *incident["stages"].get(RECOVER, {}).get("users", [])]))
