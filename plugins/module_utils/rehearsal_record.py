# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal has measured: its record on the host, and its report on the controller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .database_decision import loss_text
from .errors import RollbackError
from .exclusive import exclusive
from .forecast import outage_of
from .journal import duration, seconds_between
from .rehearsal_history import place_name, rehearsals_path
from .report_junit import ERROR, FAILURE, SKIPPED, Case, Suite, junit
from .report_markdown import escaped
from .run_history import FAILED, SUCCEEDED
from .run_report import PASSED, as_data, report_of, shown
from .whole_file import write_whole

_KEPT = 200
_MODE = 0o600
_BRIEF = ("told", "checks", "notes", "not_rehearsed", "kept_images", "phases")
FILES = ("rehearsal.md", "rehearsal.json", "junit.xml")


def recorded(state_directory: str, told: dict[str, Any], run: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Put the record of a rehearsal together, add it to those of the host, and return it.

    ``told`` is what the role knows; ``run`` is the rollback of the copy, empty when it was refused before its journal.
    """
    record = record_of(told, run or None)
    if not check:
        try:
            _append(state_directory, {key: value for key, value in record.items() if key not in _BRIEF})
        except OSError as error:
            raise RollbackError(
                f"The rehearsal cannot be put on record in {state_directory}: {error.strerror or error}. Production "
                "was not touched.",
                "The user of Ansible (become_user) needs the right to write there, and room: rollback_state_directory.",
            ) from error
    return {"changed": True, "record": record, "path": rehearsals_path(state_directory)}


def record_of(told: dict[str, Any], run: dict[str, Any] | None) -> dict[str, Any]:
    """Return what was rehearsed, measured and predicted."""
    failure = shown(str(told.get("failure") or ""))
    if not failure and (run is None or run["state"] != SUCCEEDED):
        failure = "The rollback of the copy did not come to an end."
    steps = [{key: step[key] for key in step if key != "facts"} for step in (run or {}).get("steps", [])]
    host = report_of([run]).hosts[0] if run else None
    loss = told.get("loss") or {}
    return {
        **{
            key: told.get(key) or "" for key in ("run_id", "host", "project", "version", "commit", "decision", "backup")
        },
        "from": told.get("from") or {},
        "started": told["started"],
        "ended": told["ended"],
        "seconds": seconds_between(told["started"], told["ended"]),
        "state": FAILED if failure else SUCCEEDED,
        "failure": failure,
        "resumed": 0,
        "steps": steps,
        "told": as_data(host.steps) if host else [],
        "outage": outage_of(run) if run else None,
        "not_stopped": _served_on(run) if run else [],
        "loss": loss,
        "loss_text": shown(loss_text(loss)) if loss.get("since") is not None else "",
        "data": told.get("data") or "",
        "untouched": bool(told.get("untouched")),
        "phases": phases_of(told),
        "checks": as_data(host.checks) if host else [],
        "notes": [shown(str(note)) for note in told.get("notes") or []],
        "not_rehearsed": [shown(str(place)) for place in told.get("not_rehearsed") or []],
        "kept_images": told.get("kept_images") or [],
    }


def _served_on(run: dict[str, Any]) -> list[str]:
    """Return the services that went on serving while they were replaced; of some that shows only when they start."""
    start: dict[str, Any] = next((step["facts"] for step in run["steps"] if step["name"] == "start_services"), {})
    return [name for name in run["not_stopped"] if name not in (start.get("not_rolled") or {})]


def phases_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the phases with what each took: a mark says that one begins, and ends the one before."""
    marks: list[dict[str, str]] = told.get("marks") or []
    ends = [*(mark["at"] for mark in marks[1:]), told["ended"]]
    failed = told.get("failed_in") if told.get("failure") else None
    return [
        {
            "name": mark["name"],
            "seconds": seconds_between(mark["at"], end),
            "state": "failed" if mark["name"] == failed else "done",
            "why": shown(str(told["failure"])) if mark["name"] == failed else "",
        }
        for mark, end in zip(marks, ends)
    ]


def _append(state_directory: str, record: dict[str, Any]) -> None:
    """Add a record; the oldest ones go when there are too many."""
    path = Path(rehearsals_path(state_directory))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive([str(path.parent)]):  # of two writers none loses what the other has written
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        lines = [*lines[-(_KEPT - 1) :], json.dumps(record, ensure_ascii=False)]
        write_whole(path, "\n".join(lines) + "\n", _MODE)


# --- the report ------------------------------------------------------------------------------------------------------


def rehearsal_lines(record: dict[str, Any]) -> list[str]:
    """Return the verdict, what was measured and what it predicts, for the screen and the report."""
    lines = [
        f"Rehearsal {record['run_id']} of {record['project']} on {record['host']}: {record['state'].upper()}",
        f"From {place_name(record['from'])} to {record['version'] or 'unknown'}, {duration(record['seconds'])} in all",
        *([f"Failed: {record['failure']}"] if record["failure"] else []),
        *[f"{one['name']}: {_seconds(one)}" for one in record["phases"]],
        *[f"  {_title(one)}: {_seconds(one)}" for one in record["told"] if one["state"] in ("done", "failed")],
        f"Predicted outage: {_predicted(record)}",
        f"Predicted loss of data: {_loss(record)}",
        "Production: the same containers, started when they were"
        if record["untouched"]
        else "PRODUCTION: ITS CONTAINERS ARE NOT THOSE OF BEFORE",
        *([f"The copy held: {record['data']}"] if record["data"] else []),
        *[f"Differs from production: {note}" for note in record["notes"]],
        *[f"Not asked, the copy does not answer for it: {place}" for place in record["not_rehearsed"]],
        *[f"Kept, a rollback needs no build any more: {name}" for name in record["kept_images"]],
    ]
    return [shown(line) for line in lines]


def _title(step: dict[str, Any]) -> str:
    return f"{step['number']} {step['title']}".strip()


def _seconds(one: dict[str, Any]) -> str:
    words = f"{one['seconds']:.1f} s" if one.get("seconds") is not None else "not measured"
    return words if one.get("state", "done") == "done" else f"{words}, {one['state']}"


def _predicted(record: dict[str, Any]) -> str:
    seconds = record["outage"]
    if seconds is not None:
        return f"about {seconds:.0f} s"
    if record["state"] != SUCCEEDED:
        return "unknown, the rollback of the copy did not succeed"
    serving = ", ".join(record["not_stopped"])
    return (
        f"none of {serving}, they go on serving while they are replaced" if serving else "unknown, nothing had to stop"
    )


def _loss(record: dict[str, Any]) -> str:
    if record["decision"] in ("", "skip", "revert"):
        return f"none, the decision about the database is {record['decision'] or 'unknown'}"
    return record["loss_text"] or "unknown"


def rehearsal_junit(record: dict[str, Any]) -> str:
    """Return the rehearsal as JUnit XML."""
    cases = [*map(_phase_case, record["phases"]), _untouched_case(record)]
    cases += [_step_case(step) for step in record["told"]]
    cases += [_check_case(check) for check in record["checks"]]
    cases += [Case("checks.not rehearsed", one, 0.0, SKIPPED, "the copy does not answer for it")
              for one in record["not_rehearsed"]]  # fmt: skip
    if record["failure"] and not any(case.outcome in (FAILURE, ERROR) for case in cases):
        cases.append(Case("rehearsal", "outcome", 0.0, FAILURE, record["failure"]))
    return junit(f"rehearsal {record['run_id']}", [Suite(f"rehearsal on {record['host']}", cases, record["seconds"])])


def _phase_case(phase: dict[str, Any]) -> Case:
    outcome = {"done": "", "skipped": SKIPPED}.get(phase.get("state", "done"), FAILURE)
    return Case("rehearsal", phase["name"], phase.get("seconds") or 0.0, outcome, phase.get("why") or "")


def _untouched_case(record: dict[str, Any]) -> Case:
    words = "its containers are not those of before: another deployment, or the rehearsal"
    return Case("rehearsal", "production untouched", 0.0, "" if record["untouched"] else FAILURE, words)


def _step_case(step: dict[str, Any]) -> Case:
    outcome = {"done": "", "failed": FAILURE, "skipped": SKIPPED}.get(step["state"], ERROR)
    return Case("steps", _title(step), step["seconds"] or 0.0, outcome, step["outcome"])


def _check_case(check: dict[str, Any]) -> Case:
    outcome = {PASSED: "", "failed": FAILURE}.get(check["verdict"], ERROR)
    outcome = SKIPPED if outcome and not check["decides"] else outcome
    return Case(f"checks.{check['step']}", check["name"], 0.0, outcome, f"{check['verdict']}: {check['seen']}")


def rehearsal_markdown(record: dict[str, Any]) -> str:
    """Return the report for people."""
    head, *lines = rehearsal_lines(record)
    return "\n".join([f"# {escaped(head)}", "", *[f"- {escaped(line)}" for line in lines]]) + "\n"


def reported(directory: str, record: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Write the report of a rehearsal into a directory of the controller."""
    place = Path(directory)
    texts = dict(zip(FILES, (rehearsal_markdown(record), json.dumps(record, indent=2) + "\n", rehearsal_junit(record))))
    try:
        if not check:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, text in texts.items():
                write_whole(place / name, text, _MODE)
    except OSError as error:
        raise RollbackError(
            f"The report of the rehearsal cannot be written to {directory}: {error.strerror or error}. Production was "
            "not touched.",
            "The user of Ansible on the controller needs the right to write there, and room: "
            "rollback_controller_directory.",
        ) from error
    return {"changed": True, "files": {name: str(place / name) for name in FILES}}
