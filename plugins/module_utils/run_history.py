# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs of a host, read from their journals: how each stands, and which one to go on with or to undo.

Reading never fails on what a journal lacks: older ones hold less, and a crash may have torn a line. Choosing is strict,
because a wrong choice changes what runs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .errors import RollbackError
from .journal import Journal, Step, is_run_id, journal_path, read_journal, runs_path, seconds_between, steps
from .lock import read_lock
from .rehearsal_history import read_rehearsals
from .security_incident import incident_of

SUCCEEDED, FAILED, UNFINISHED, UNREADABLE = "succeeded", "failed", "unfinished", "unreadable"
OPEN = "open"
PURPOSES = ("list", "resume", "undo")
_OPENERS = ("run_started", "run_resumed")
# They leave code, services and the live database as they are, so a run that came no further has changed nothing.
_HARMLESS = (
    "announce", "diagnose_infrastructure", "identify_release", "prepare_release", "prepare_database", "assess_damage",
    "security_review", "keep_release", "back_up_database", "check_readiness",
)  # fmt: skip
_UNSETTLED = ("running", "failed")
_NEWEST = 5


# --- one run ---------------------------------------------------------------------------------------------------------


def summarise(run_id: str, journal: Journal, path: str) -> dict[str, Any]:
    """Return what the journal of a run tells; ``undone_by`` needs the other runs, see ``history``."""
    events = _usable(journal.events)
    told = [event["facts"] for event in events if event["event"] in _OPENERS]
    asked: dict[str, Any] = next((event["facts"] for event in events if event["event"] == "run_started"), {})
    began = max((number for number, event in enumerate(events) if event["event"] in _OPENERS), default=0)
    finish = next((event for event in reversed(events[began:]) if event["event"] == "run_finished"), None)
    state = UNFINISHED if finish is None else SUCCEEDED if finish["facts"].get("outcome") == SUCCEEDED else FAILED
    found = steps(events)
    return {
        "run_id": run_id,
        **{name: _text(asked.get(name)) for name in ("scenario", "project", "host", "reason", "version", "commit")},
        "patch": _mapping(asked.get("patch")),
        "from": _mapping(asked.get("from")),
        "started": events[0]["time"] if events else None,
        "ended": finish["time"] if finish else None,
        "seconds": seconds_between(events[0]["time"], (finish or events[-1])["time"]) if events else 0.0,
        "state": state,
        "step": None if state == SUCCEEDED else _unsettled(events, found),
        "steps": _ordered(found, asked.get("steps")),
        "inputs": _mapping(asked.get("inputs")),
        "approval": _last(told, "approval"),
        "controller": _last(told, "controller"),
        "resumed": sum(event["event"] == "run_resumed" for event in events),
        "undo_of": _text(asked.get("undo_of")) or None,
        "undone_by": None,
        "not_stopped": _not_stopped(found),
        "acted": any(event["step"] not in (None, *_HARMLESS) for event in events if event["event"] != "step_skipped"),
        "damaged_lines": journal.damaged_lines,
        "path": path,
        "plan": _last(told, "plan"),
        "events": events,
    }


def _not_stopped(found: list[Step]) -> list[str]:
    """Return the services that the run let serve while it replaced them."""
    facts = next((step.facts for step in found if step.name == "stop_services"), {})
    names = facts.get("not_stopped")
    return [str(name) for name in names] if isinstance(names, list) else []


def brief(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run without what is long: plan, events, and the facts of its steps."""
    short = {name: value for name, value in run.items() if name not in ("plan", "events")}
    return short | {"steps": [{key: step[key] for key in step if key != "facts"} for step in run["steps"]]}


def _usable(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events with a step that is a name or null, and with the seconds since the first one."""
    return [
        {
            **event,
            "step": _text(event.get("step")) or None,
            "elapsed": _elapsed(event.get("elapsed"), events[0]["time"], event["time"]),
        }
        for event in events
    ]


def _elapsed(value: object, first: str, time: str) -> float:
    """Return the seconds of an event as they were written, else those between the times."""
    written = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return max(0.0, float(value)) if written else seconds_between(first, time)  # type: ignore[arg-type]


def _unsettled(events: list[dict[str, Any]], found: list[Step]) -> str | None:
    """Return the step that failed or was under way last."""
    states = {step.name: step.state for step in found}
    names = [event["step"] for event in events if states.get(event["step"]) in _UNSETTLED]
    return names[-1] if names else None


def _ordered(found: list[Step], names: object) -> list[dict[str, Any]]:
    """Return the steps in the order of the run; those that did not begin are open."""
    table = {step.name: step._asdict() for step in found}
    wanted = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [
        table.get(name) or Step(name, OPEN, "", None, None, {})._asdict() | {"start": None}
        for name in dict.fromkeys([*wanted, *table])
    ]


def _last(told: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the fact as the last opening of the run that has it says."""
    return next((found for facts in reversed(told) if (found := _mapping(facts.get(name)))), {})


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# --- all runs of a host ----------------------------------------------------------------------------------------------


def history(state_directory: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the runs, the newest first, at most ``limit``; one whose journal cannot be read is there and says why.

    An undo is newer than what it undoes, so ``undone_by`` is right with a limit too.
    """
    runs = [_read(state_directory, run_id) for run_id in _run_ids(state_directory)[:limit]]
    return with_undone(runs)


def with_undone(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of a host, the newest first, each with ``undone_by``."""
    undone = _undone(runs)
    return [{**run, "undone_by": undone.get(run["run_id"])} for run in runs]


def _run_ids(state_directory: str) -> list[str]:
    """Return the ids of the runs, the newest first; nothing where no run ever was."""
    directory = Path(runs_path(state_directory))
    try:
        names = [path.name for path in directory.iterdir() if is_run_id(path.name) and path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RollbackError(
            f"The runs in {directory} cannot be read: {error.strerror or error}. Nothing was changed.",
            f"Look at it with 'ls -ld {directory}' on that host: it must be a directory that the user of Ansible "
            "(become_user) may read. Or set state_directory to another one.",
        ) from error
    return sorted(names, key=lambda name: (name.partition("-")[0], name), reverse=True)


def _read(state_directory: str, run_id: str) -> dict[str, Any]:
    """Return a run as its journal tells it."""
    path = journal_path(state_directory, run_id)
    try:
        return summarise(run_id, read_journal(path), path)
    except RollbackError as error:
        return summarise(run_id, Journal([], 0), path) | {"state": UNREADABLE, "why": error.msg}


def _undone(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return for each run that is undone the run that undid it. An undo that was undone itself undoes nothing."""
    undone: dict[str, str] = {}
    for run in runs:
        if run["undo_of"] and run["state"] == SUCCEEDED and run["run_id"] not in undone:
            undone.setdefault(run["undo_of"], run["run_id"])
    return undone


def related(runs: list[dict[str, Any]], run_id: str) -> list[str]:
    """Return the ids of a run, its undos, the undos of these, and what it undoes, the newest first."""
    names = {run["run_id"] for run in runs}
    # What undoes a run is newer than it; a journal that says something else is not followed, least of all in a circle.
    undo_of = {
        run["run_id"]: run["undo_of"] if run["undo_of"] in names and run["undo_of"] < run["run_id"] else ""
        for run in runs
    }
    first = run_id
    while undo_of.get(first):
        first = undo_of[first]
    found = {first}
    for name in reversed(undo_of):
        found |= {name} if undo_of[name] in found else set()
    return [name for name in undo_of if name in found]


def holder(state_directory: str) -> dict[str, Any]:
    """Return what the lock says of the run that holds it; nothing where there is no lock that can be read."""
    try:
        return read_lock(state_directory)
    except RollbackError:
        return {}


# --- which one -------------------------------------------------------------------------------------------------------


def named(runs: list[dict[str, Any]], run_id: str) -> dict[str, Any]:
    """Return the run of that id; refuse one that is not there."""
    for run in runs:
        if run["run_id"] == run_id:
            return run
    newest = ", ".join(f"{run['run_id']} ({run['state']})" for run in runs[:_NEWEST])
    raise _refused(
        f"No run {run_id!r} is on record here.",
        f"The newest are: {newest}. Name one with -e run=RUN_ID." if runs else "No run is on record here at all.",
        on_record=False,
    )


def to_resume(runs: list[dict[str, Any]], run_id: str = "") -> dict[str, Any]:
    """Return the run to go on with: the one that is named, else the newest that is unfinished or failed."""
    candidates = [run for run in runs if run["state"] in (UNFINISHED, FAILED) and run["started"]]
    if not run_id and not candidates:
        raise _refused(
            f"There is no run to go on with: none here is unfinished or failed.{_unreadable(runs)}",
            "See what happened with the playbook usdx.rollback.runs.",
        )
    run = named(runs, run_id) if run_id else candidates[0]
    _refuse_unreadable(run)
    if run["state"] == SUCCEEDED:
        raise _refused(
            f"Run {run['run_id']} has succeeded; there is nothing to go on with.",
            f"To put back what was there before it, use the playbook usdx.rollback.undo with -e run={run['run_id']}.",
        )
    if run["undone_by"]:
        raise _refused(
            f"Run {run['run_id']} is undone, by run {run['undone_by']}; there is nothing to go on with.",
            "Start a new run with -e version=.",
        )
    _refuse_without_plan(run, "Start a new run with the same version: what is done is found and kept.")
    since = _acted_since(runs, run)
    if since:
        raise _refused(
            f"Run {run['run_id']} is {run['state']}, but run {since['run_id']} ({_what(since)}) has changed something "
            "since, so what its journal says does not hold any more.",
            _first_undo(since) + " Or start a new run with -e version=.",
        )
    return run


def to_undo(runs: list[dict[str, Any]], run_id: str = "") -> dict[str, Any]:
    """Return the run to undo: the one that is named, else the newest that changed something and is not undone.

    Without a name an undo is not undone: the command typed twice would bring back what it has just taken away.
    """
    candidates = [run for run in runs if run["acted"] and not run["undone_by"]]
    if not run_id and not candidates:
        raise _refused(
            f"No run here has changed anything that is not undone; there is nothing to undo.{_unreadable(runs)}",
            "See what happened with the playbook usdx.rollback.runs.",
        )
    run = named(runs, run_id) if run_id else candidates[0]
    _refuse_unreadable(run)
    if not run_id and run["undo_of"]:
        raise _refused_undo_of_undo(run)
    if run["undone_by"]:
        raise _refused(
            f"Run {run['run_id']} is undone already, by run {run['undone_by']}.",
            f"To take that back, name it: -e run={run['undone_by']}.",
        )
    if not run["acted"]:
        raise _refused(
            f"Run {run['run_id']} changed nothing; there is nothing to undo.",
            "See what the runs did with the playbook usdx.rollback.runs.",
        )
    since = _acted_since(runs, run)
    if since:
        raise _refused(
            f"Run {since['run_id']} ({_what(since)}) has changed something after run {run['run_id']} and stands.",
            _first_undo(since),
        )
    _refuse_without_plan(run, "Roll to the former release with a new run, -e version=.")
    return run


def _refused_undo_of_undo(run: dict[str, Any]) -> RollbackError:
    """Return why the newest run, which is an undo, is not undone without its name."""
    if run["state"] == SUCCEEDED:
        return _refused(
            f"Run {run['undo_of']} is undone: run {run['run_id']}, the newest that changed something, was its undo.",
            f"To take that undo back, name it: -e run={run['run_id']}. To undo an earlier run too, name that one.",
        )
    return _refused(
        f"Run {run['run_id']}, the undo of run {run['undo_of']}, is {run['state']}; it is half way.",
        f"Go on with it: usdx.rollback.resume -e run={run['run_id']}. "
        f"Or take it back: usdx.rollback.undo -e run={run['run_id']}.",
    )


def _acted_since(runs: list[dict[str, Any]], run: dict[str, Any]) -> dict[str, Any] | None:
    """Return the newest run that changed something, unless the host is as this run left it."""
    newer = runs[: [one["run_id"] for one in runs].index(run["run_id"])]
    for one in newer:
        _refuse_unreadable(one)
    places = _places(runs)
    if not newer or places[run["run_id"]] == places[newer[0]["run_id"]]:
        return None
    return next(one for one in newer if one["acted"])


def _places(runs: list[dict[str, Any]]) -> dict[str, int]:
    """Return a number for what each run left the host as; a run and its undo together lead back to the same one."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    now = 0
    for number, run in enumerate(reversed(runs), start=1):
        name, undone = run["run_id"], run["undo_of"] if run["state"] == SUCCEEDED else None
        before[name] = now
        if run["acted"]:
            now = before[undone] if undone in after and after[undone] == now else number
        after[name] = now
    return after


def _refuse_unreadable(run: dict[str, Any]) -> None:
    """Refuse to choose where a journal cannot be read: nobody knows what that run did."""
    if run["state"] == UNREADABLE:
        raise _refused(
            f"What run {run['run_id']} did is not known. {run['why']}",
            f"Make {run['path']} readable for the user of Ansible (become_user), then try again.",
        )


def _refuse_without_plan(run: dict[str, Any], way_out: str) -> None:
    """Refuse a run that wrote no plan down: without it nobody knows what was asked for and what ran before."""
    if not run["plan"]:
        torn = f" (damaged lines: {run['damaged_lines']})" if run["damaged_lines"] else ""
        raise _refused(
            f"The journal {run['path']} does not hold the plan of run {run['run_id']}{torn}, so what was asked for and "
            "what ran before are not known.",
            way_out,
        )


def _first_undo(since: dict[str, Any]) -> str:
    """Return how to get a newer run out of the way."""
    undo = f"Undo that one first: usdx.rollback.undo -e run={since['run_id']}."
    if since["undo_of"] and since["state"] != SUCCEEDED:
        return f"Go on with that one first: usdx.rollback.resume -e run={since['run_id']}. {undo}"
    return undo


def _what(run: dict[str, Any]) -> str:
    words = f"undo of {run['undo_of']}" if run["undo_of"] else f"{run['scenario'] or 'a run'} to {run['version']}"
    return f"{words}, {run['state']}"


def _unreadable(runs: list[dict[str, Any]]) -> str:
    """Return which journals cannot be read, as a sentence that follows another one."""
    names = [run["run_id"] for run in runs if run["state"] == UNREADABLE]
    return f" The journals of these runs cannot be read: {', '.join(names)}." if names else ""


def _refused(msg: str, next_step: str, **facts: bool) -> RollbackError:
    return RollbackError(f"{msg} Nothing was changed.", next_step, **facts)


# --- the module ------------------------------------------------------------------------------------------------------


def run_info(options: dict[str, Any]) -> dict[str, Any]:
    """Return the runs of a host, the one that is asked for, and who holds the lock."""
    directory, run_id, purpose, limit = (options[key] for key in ("state_directory", "run_id", "purpose", "limit"))
    if limit < 1:
        raise _refused(f"limit={limit} is not accepted.", "Give a number of runs, 1 or more.")
    runs = history(directory)  # all: an incident is open until its release, however many runs ago it began
    choose = {"resume": to_resume, "undo": to_undo}.get(purpose, named)
    run = choose(runs, run_id or "") if run_id or purpose != "list" else {}
    return {
        "changed": False,
        "runs": [brief(one) for one in runs[:limit]],
        "run": {**run, "related": related(runs, run["run_id"])} if run else {},
        "incident": incident_of(runs),
        "rehearsals": read_rehearsals(directory, limit),
        "lock": holder(directory),
    }
