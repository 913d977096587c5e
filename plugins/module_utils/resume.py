# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a run that was cut off is done, and what was there before a run that is undone.

Everything here is a pure function of the run's journal and of what the steps say today in check mode.
"""

from __future__ import annotations

from typing import Any

DONE, OPEN = "done", "open"
_DATABASE = ("revert_migrations", "restore_database")
# What they did cannot be seen in the state of the host, or must not be done twice: the journal alone counts.
_ONCE = ("announce", *_DATABASE, "verify_release", "monitor_release", "communicate")
_PROOFS = ("verify_release", "monitor_release")


def settled_steps(run: dict[str, Any]) -> list[str]:
    """Return the steps that are not even planned again.

    They are those that count once when they are done; the stop when the start has begun, because what runs since is
    what the start has made; and the preparation of a database that has been changed.
    """
    states = {step["name"]: step["state"] for step in run.get("steps", [])}
    done = [name for name, state in states.items() if state == DONE]
    settled = {name for name in done if name in _ONCE}
    if states.get("start_services", OPEN) != OPEN and "stop_services" in done:
        settled.add("stop_services")
    if "prepare_database" in done and any(name in done for name in _DATABASE):
        settled.add("prepare_database")
    return [name for name in done if name in settled]


def done_steps(run: dict[str, Any], results: dict[str, dict[str, Any]]) -> list[str]:
    """Return the steps that are not carried out again: those of ``settled_steps``, and those that would change nothing.

    ``results`` is what the steps say today in check mode. A host that was restarted may have started services again
    that were stopped, so the journal alone does not tell. What is started again is verified again.
    """
    settled = settled_steps(run)
    done = [
        step["name"]
        for step in run.get("steps", [])
        if step["state"] == DONE
        and (step["name"] in settled or results.get(step["name"], {}).get("would_change") is False)
    ]
    return done if "start_services" in done else [name for name in done if name not in _PROOFS]


def steps_to_do(plans: list[dict[str, Any]]) -> list[str]:
    """Return the steps that at least one of the hosts with these plans carries out."""
    found = (
        name for plan in plans for name in plan["steps"] if name not in plan["skipped"] and name not in plan["done"]
    )
    return list(dict.fromkeys(found))


def skip_events(plan: dict[str, Any], events: list[dict[str, Any]], before: str = "") -> list[dict[str, Any]]:
    """Return what the journal has to say of the steps without anything to do that come before a step.

    Without ``before`` those are all of the run. What ``events`` say already is not said again.
    """
    order: list[str] = plan["steps"]
    said = {event.get("step") for event in events if event["event"] == "step_skipped"}
    return [
        {"event": "step_skipped", "step": name, "facts": {"reason": plan["skipped"][name]}}
        for name in (order[: order.index(before)] if before else order)
        if name in plan["skipped"] and name not in plan["done"] and name not in said
    ]


def is_settled(run: dict[str, Any], purpose: str) -> bool:
    """Tell whether nothing is to be done on a host, while the run is gone on with or undone on another one.

    A host that has not begun a run takes part when it is gone on with; there is nothing to undo on it.
    """
    if purpose == "undo":
        return not run.get("acted") or bool(run.get("undone_by"))
    return run.get("state") == "succeeded"


def resumed_inputs(run: dict[str, Any], accept_data_loss: object = "") -> dict[str, Any]:
    """Return what was asked for, with what was decided in the place of what was left open.

    Evidence has changed since: the backup from before the deployment, say, cannot be told any more once the services
    of the release have been made. ``accept_data_loss`` replaces what was accepted, when it is given.
    """
    commit = run.get("patch", {}).get("base") or run["commit"]
    inputs = {**run.get("inputs", {}), "version": run["version"], "commit": commit}
    if run.get("undo_of"):
        del inputs["commit"]
    database = run.get("plan", {}).get("results", {}).get("prepare_database", {})
    if database.get("decision"):
        inputs["database"] = database["decision"]
    if (database.get("backup") or {}).get("path"):
        inputs["backup"] = database["backup"]["path"]
    return inputs | ({} if accept_data_loss in ("", None) else {"accept_data_loss": accept_data_loss})


def undo_inputs(run: dict[str, Any], typed: dict[str, Any]) -> dict[str, Any]:
    """Return what an undo of a run asks for: the place where it began, and its database where it was worked on.

    ``typed`` holds what the operator gave, empty where nothing: ``reason`` and ``accept_data_loss``.
    """
    before = run.get("from", {})
    begun = {step["name"] for step in run.get("steps", []) if step["state"] not in (OPEN, "skipped")}
    return {
        "version": before.get("release") or before.get("describe") or str(before.get("commit"))[:12],
        "database": "undo" if begun & set(_DATABASE) else "skip",
        **{name: value for name, value in typed.items() if value not in ("", None)},
        "reason": typed.get("reason") or f"undo of run {run['run_id']}",
    }


# --- what was there before a run ---

_ALIVE = ("running", "restarting", "paused")


def _stopped(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the services as the plan of the run has seen them."""
    found: dict[str, dict[str, Any]] = run.get("plan", {}).get("results", {}).get("stop_services", {})
    return found.get("services", {})


def database_changed_at(run: dict[str, Any]) -> str:
    """Return when a run began to change the database, empty when it did not: what was written since, an undo loses."""
    begun = [
        step for step in run.get("steps", []) if step["name"] in _DATABASE and step["state"] not in (OPEN, "skipped")
    ]
    return str(begun[0]["start"]) if begun else ""


def undo_refusal(run: dict[str, Any], preview: dict[str, Any]) -> str:
    """Return why the database of before a run cannot come back although the run changed it; empty when it can.

    ``preview`` is what ``pg_safe_restore`` with ``undo_of`` says in check mode. It cannot know a database that
    was dropped meanwhile; the journal does.
    """
    kept = next(
        (
            step["facts"].get("old_database")
            for step in run.get("steps", [])
            if step["name"] in _DATABASE and step["state"] == DONE and step["facts"].get("old_database")
        ),
        "",
    )
    if not kept or not preview.get("nothing_to_undo") or preview.get("undone_by"):
        return ""
    return (
        f"The run {run['run_id']} kept the database of before as {kept}, and it is not there any more: cleanup.yml or "
        "somebody dropped it. Everything else could be put back, but not the database. Go to the former release with a "
        "new run instead: -e version= with -e database=skip, or with -e backup= and -e database=restore."
    )


def services_before(run: dict[str, Any], services: list[Any]) -> list[Any]:
    """Return the application services that ran before a run, in their groups; all of them without a run."""
    alive = {name for name, service in _stopped(run).items() if service.get("before") in _ALIVE}
    if not run:
        return services
    groups = [group if isinstance(group, list) else [group] for group in services]
    return [kept for group in groups if (kept := [name for name in group if name in alive])]


def services_not_started(run: dict[str, Any], services: list[Any]) -> list[str]:
    """Return the application services that did not run before a run, be there a container or not; none without one."""
    names = [name for group in services for name in (group if isinstance(group, list) else [group])]
    ran = [name for group in services_before(run, services) for name in group] if run else names
    return [name for name in names if name not in ran]


def images_before(run: dict[str, Any]) -> dict[str, str]:
    """Return the id of the image of each service that had a container before a run; nothing without a run."""
    prepared = run.get("plan", {}).get("results", {}).get("prepare_release", {}).get("services", {})
    return {
        name: service["before"]["image_id"]
        for name, service in prepared.items()
        if (service.get("before") or {}).get("image_id")
    }


def variables_before(run: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Return the variables of the release as they were set before a run, null where not set; as given without a run."""
    if not run:
        return variables
    switched = run.get("plan", {}).get("results", {}).get("switch_release", {})
    before: dict[str, Any] = switched.get("variables", {}).get("before", {})
    return before
