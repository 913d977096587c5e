# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of earlier runs: a line for each, or the story of one for a reader who was not there.

Everything here is a pure function of what ``run_info`` returns.
"""

from __future__ import annotations

from datetime import timezone
from typing import Any

from .border import plain
from .images import before_of
from .journal import parse_time
from .report_text import failure, moment, name_of, plan_lines, summary_lines

_ENDS = ("step_finished", "step_failed", "step_skipped")
_STATES = {"unfinished": "not finished"}
_LONG = 100  # seconds; from here on minutes are read more easily
_HOUR = 3600


# --- all runs --------------------------------------------------------------------------------------------------------


def run_list_lines(info: dict[str, Any]) -> list[str]:
    """Return a line for each run, the newest first, behind one for the run that holds the lock."""
    lines = [_lock_line(info["lock"])] if info.get("lock") else []
    lines += [_run_line(run) for run in info["runs"]] or ["No run is on record here."]
    return [plain(line) for line in lines]


def _lock_line(lock: dict[str, Any]) -> str:
    what = " of ".join(str(lock[key]) for key in ("scenario", "project") if lock.get(key))
    why = f", {_quoted(lock['reason'])}" if lock.get("reason") else ""
    since = f" since {moment_text(lock['since'])}" if lock.get("since") else ""
    return f"Run {lock.get('run_id') or 'unknown'} holds the lock{since}: {what or 'a run'}{why}, {who(lock)}"


def _run_line(run: dict[str, Any]) -> str:
    if run["state"] == "unreadable":
        return f"{run['run_id']}  unreadable    {run['why']}"
    parts = [
        f"{run['run_id']}  {_state(run):<12}  {_short(run['from'])} -> {_short(_target(run))}",
        run["scenario"] or "unknown scenario",
        _quoted(run["reason"]) if run["reason"] else "",
        who(run),
        length(run["seconds"]) if run["ended"] else f"since {moment_text(run['started'])}",
        f"stopped at {run['step']}" if run["step"] else "",
        *_relations(run),
    ]
    return "  ".join(filter(None, parts))


def _relations(run: dict[str, Any]) -> list[str]:
    """Return what a run has to do with others, and whether it changed anything."""
    return [
        f"undo of {run['undo_of']}" if run["undo_of"] else "",
        f"undone by {run['undone_by']}" if run["undone_by"] else "",
        "" if run["acted"] else "changed nothing",
        f"damaged lines in its journal: {run['damaged_lines']}" if run["damaged_lines"] else "",
    ]


def _state(run: dict[str, Any]) -> str:
    return _STATES.get(run["state"], str(run["state"]))


def _target(run: dict[str, Any]) -> dict[str, Any]:
    return {"release": run["version"], "commit": run["commit"], "patch": run.get("patch") or {}}


def _short(place: dict[str, Any]) -> str:
    return name_of(place).partition(" (")[0]


def _quoted(text: object) -> str:
    return f'"{text}"'


def who(told: dict[str, Any]) -> str:
    """Return who carried a run out, and where; the job of a scheduler, if it was one."""
    controller = told.get("controller")
    if not isinstance(controller, dict) or not controller:
        return "by an unknown user"
    place = f" on {controller['host']}" if controller.get("host") else ""
    details = [f"{key} {controller[key]}" for key in ("job", "pid") if controller.get(key)]
    return f"by {controller.get('user') or 'an unknown user'}{place}" + (f" ({', '.join(details)})" if details else "")


def moment_text(text: object) -> str:
    """Return a moment as a person writes it; what is no moment stays as it is."""
    moment_of = parse_time(text)
    return f"{moment_of.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if moment_of else str(text or "unknown")


def length(seconds: float) -> str:
    """Return a time as a person writes it."""
    if seconds < _LONG:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{int(seconds) // _HOUR} h {int(seconds) % _HOUR // 60} min"


# --- one run ---------------------------------------------------------------------------------------------------------


def run_story(run: dict[str, Any]) -> list[str]:
    """Return what happened in a run: what was asked for, planned, done and proved, what failed, and what is kept."""
    if run["state"] == "unreadable":
        return [plain(f"Run {run['run_id']}: {run['why']}")]
    plan = plan_of(run)
    lines = [*_head(run), *_section("Planned:", _planned(run)), *_section("What happened:", _timeline(run, plan))]
    lines += [
        *_failure(run, plan),
        *_standing(run),
        *_section("Kept, unless it was cleaned up since:", kept_lines(run, plan)),
    ]
    damaged = f" (damaged lines, left out here: {run['damaged_lines']})" if run["damaged_lines"] else ""
    return [plain(line) for line in [*lines, f"Journal: {run['path']}{damaged}"]]


def _section(title: str, lines: list[str]) -> list[str]:
    return [title, *[f"  {line}" for line in lines]] if lines else []


def _head(run: dict[str, Any]) -> list[str]:
    """Return what was asked for, by whom, and how it ended."""
    where = " of ".join(filter(None, [run["scenario"] or "a run", run["project"]]))
    end = f"ended {moment_text(run['ended'])}" if run["ended"] else "no end on record, last sign of life"
    asked = {key: value for key, value in run["inputs"].items() if key not in ("version", "reason")}
    again = f", gone on with {run['resumed']} times" if run["resumed"] > 1 else ", gone on with once"
    return [
        f"Run {run['run_id']}: {where}{' on ' + run['host'] if run['host'] else ''}, {_state(run)}",
        f"From {name_of(run['from'])} to {name_of(_target(run))}. Reason: {run['reason'] or 'not given'}",
        f"Started {moment_text(run['started'])} {who(first_opening(run))}; {end} after {length(run['seconds'])}"
        + (again if run["resumed"] else ""),
        f"Approved by {_approved(run['approval'])}",
        *([f"Asked for: {', '.join(f'{key}={value}' for key, value in sorted(asked.items()))}"] if asked else []),
    ]


def first_opening(run: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of the start, which tell who started the run; those of a resume tell who went on."""
    return next((event["facts"] for event in run["events"] if event["event"] == "run_started"), {})


def _approved(approval: dict[str, Any]) -> str:
    names = approval.get("approved_by")
    names = names if isinstance(names, list) else [names] if names else []
    return (", ".join(map(str, names)) or "nobody on record") + workflow_of(approval)


def workflow_of(approval: dict[str, Any]) -> str:
    """Return in which workflow job of AWX a run was approved; empty where it was in none."""
    awx = approval.get("awx")
    job = awx.get("workflow_job_id") if isinstance(awx, dict) else None
    return f" (as typed; AWX workflow job {plain(str(job))} says who approved its nodes)" if job else ""


def plan_of(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the lines of a step need of a plan, also for a run that wrote none down."""
    plan = run["plan"]
    titles = {step["name"]: {"number": "-", "title": step["name"]} for step in run["steps"]}
    known = plan.get("titles") if isinstance(plan.get("titles"), dict) else {}
    told = {
        "run_id": run["run_id"],
        "project": run["project"],
        "directory": plan.get("directory"),
        "release": _target(run),
    }
    return {**told, "checkout": {"before": run["from"]}, "titles": {**titles, **(known or {})}}


def _planned(run: dict[str, Any]) -> list[str]:
    """Return the plan, shortened to a line for each step."""
    if not run["plan"]:
        return []
    try:
        lines = plan_lines(run["plan"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return ["the plan was made by another version of this collection; the journal holds it"]
    # The first two lines stand in the head of the story, the last one is for the screen of a run.
    return [line for line in lines[2:-1] if not line.startswith(" " * 9)]


def _timeline(run: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return what was done when, part by part: a run that was gone on with has more than one."""
    lines: list[str] = []
    for part in _parts(run["events"]):
        first = part[0]
        if first["event"] == "run_resumed":
            lines.append(
                f"Gone on with {moment_text(first['time'])} {who(first['facts'])}{_newly_approved(first['facts'])}"
            )
        summary = {
            "plan": plan,
            "events": part,
            "journal": "",
            "manual_checks": [],
        }
        lines += summary_lines(summary)[1:-1]
        lines += [f"{moment(plan, event['step'], event['elapsed'])}: begun, no end on record" for event in _begun(part)]
    return lines


def _parts(events: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the events from each start to the next."""
    starts = [number for number, event in enumerate(events) if number == 0 or event["event"] == "run_resumed"]
    return [events[start:end] for start, end in zip(starts, [*starts[1:], len(events)])]


def _begun(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the starts of the steps that have no end in this part."""
    ended = {event["step"] for event in part if event["event"] in _ENDS}
    return [event for event in part if event["event"] == "step_started" and event["step"] not in ended]


def _newly_approved(facts: dict[str, Any]) -> str:
    approval = facts.get("approval")
    return f", approved by {_approved(approval)}" if isinstance(approval, dict) and approval else ""


def _failure(run: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return what stopped a run that did not succeed."""
    step = next((one for one in run["steps"] if one["name"] == run["step"]), None)
    if run["state"] == "succeeded" or step is None:
        return []
    title = plan["titles"][step["name"]]["title"]
    if step["state"] != "failed":
        return [f"It was cut off in {title!r}, or is still under way there."]
    told = failure(step["facts"])
    return [f"{title!r} failed: {told['msg']}", *([f"Its next step: {told['next_step']}"] if told["next_step"] else [])]


def _standing(run: dict[str, Any]) -> list[str]:
    """Return whether what the run did still stands, and what to type."""
    lines = [f"It put back what was there before run {run['undo_of']}."] if run["undo_of"] else []
    if run["undone_by"]:
        return [*lines, f"It is undone, by run {run['undone_by']}."]
    if run["state"] != "succeeded" and run["plan"]:
        lines.append(f"To go on with it: ansible-playbook usdx.rollback.resume -e run={run['run_id']}")
    if not run["acted"]:
        return [*lines, "It changed nothing that runs; there is nothing to undo."]
    if run["plan"]:
        lines.append(f"It is not undone. To undo it: ansible-playbook usdx.rollback.undo -e run={run['run_id']}")
    return lines if run["plan"] else [*lines, "It is not undone."]


def kept_lines(run: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """Return what holds the state of before, as far as the run came to keep it."""
    begun = {step["name"]: step["facts"] for step in run["steps"] if step["state"] not in ("open", "skipped")}
    lines = []
    if "switch_release" in begun:
        tree = plan["directory"] or "the project directory"
        lines.append(f"commit, branch and local edits: refs/rollback/{run['run_id']}/ in the repository of {tree}")
    if "prepare_release" in begun:
        lines += [f"image: {before_of(run['project'], name, run['run_id'])}" for name in _ran_before(run, begun)]
    databases = [facts.get("old_database") for facts in begun.values()]
    return lines + [f"database: {name}" for name in dict.fromkeys(databases) if name]


def _ran_before(run: dict[str, Any], begun: dict[str, dict[str, Any]]) -> list[str]:
    """Return the services whose image of before has a name of its own."""
    told = begun["prepare_release"] or run["plan"].get("results", {}).get("prepare_release", {})
    services: dict[str, dict[str, Any]] = told.get("services", {})
    return sorted(name for name, service in services.items() if (service.get("before") or {}).get("image_id"))
