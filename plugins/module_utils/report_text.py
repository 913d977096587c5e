# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads on the screen: plan, candidates, summary, refusal and the way out, as plain lines of text.

Everything here is a pure function of module results. A line is short enough for a terminal where its values allow it.
"""

from __future__ import annotations

import shlex
from typing import Any

from . import monitoring_text, preserved_text, saved_work, told_text
from .checklist import checklist_lines
from .database_decision import loss_text
from .infrastructure_fix import infrastructure_lines
from .journal import clock
from .security_incident import SCENARIO, incident_lines

_NOISE = {"ansible_facts", "diff", "exception", "failed", "failed_when_result", "invocation", "module_stderr"}
_SHORT = 12
_FILES = 5  # names of a patch on the screen
_IMAGES = {"all": "images at hand", "some": "images to build or pull", "none": "images to build or pull"}
_DATABASE_STEPS = {"revert_migrations", "restore_database"}
GUARD = "guard"
# Steps that leave what runs as it runs.
_BEFORE_THE_OUTAGE = {
    "announce", "diagnose_infrastructure", "identify_release", "prepare_release", "prepare_database", "assess_damage",
    "security_review", "keep_release", "back_up_database", "check_readiness",
}  # fmt: skip
_ACCEPT = (
    "Not accepted yet: a real run refuses this loss. Add -e accept_data_loss=true, or a limit: 4h, a number of rows."
)
_ONLY_A_PLAN = "Nothing was changed: this is a plan. 'changed' in the recap counts what a real run would change."


def evidence(result: dict[str, Any]) -> dict[str, Any]:
    """Return a module result without what only Ansible needs, and with ``would_change`` told from its diff.

    Results of loops keep one entry an item. ``would_change`` is the difference that the module found, also where a
    task in check mode must not count as changed. Of a failed loop the message is that of the item that failed.
    """
    kept = {key: value for key, value in result.items() if key not in _NOISE and not key.startswith("_ansible")}
    kept.pop("ansible_loop_var", None)
    difference = result.get("diff")
    if isinstance(difference, dict):
        kept["would_change"] = difference.get("before") != difference.get("after")
    if isinstance(kept.get("results"), list):
        kept["results"] = [evidence(item) for item in kept["results"] if isinstance(item, dict)]
    return {**kept, **failure(result)} if result.get("failed") else kept


def first_failure(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result that failed: the first failed item of a loop, else the result itself."""
    items = [item for item in result.get("results", []) if isinstance(item, dict) and item.get("failed")]
    return items[0] if items else result


def failure(result: dict[str, Any]) -> dict[str, Any]:
    """Return message and next step of a failed result, and the services that were not ready."""
    failed = first_failure(result)
    if not failed.get("msg"):
        return {"msg": "Another host failed; its message stands above.", "next_step": "Mend that host, then run again."}
    return {
        "msg": str(failed["msg"]).strip(),
        "next_step": str(failed.get("next_step") or "").strip(),
        "unready": sorted(failed.get("unready") or {}),
        **({"live_untouched": failed["live_untouched"]} if "live_untouched" in failed else {}),
    }


def refusal(result: dict[str, Any]) -> str:
    """Return the sentence that ends a run which was refused before anything changed."""
    told = failure(result)
    return f"Refused before anything changed. {told['msg']} {told['next_step']}".strip()


def nothing_would_change(results: dict[str, dict[str, Any]]) -> bool:
    """Tell from the plan's results whether code, services and database are those of the release already."""
    steps = [results.get(step, {}) for step in ("switch_release", "start_services")]
    database = results.get("prepare_database", {}).get("would_change", False)
    return database is False and all(step.get("would_change") is False for step in steps)


def name_of(place: dict[str, Any]) -> str:
    """Return how a person calls a commit: its release, its patch if it has one, and its short hash.

    ``v1.0.2 (0123456789ab)``, ``v1.0.2 with patch fix-auth.patch (0123456789ab)``.
    """
    commit = str(place.get("commit") or "")[:_SHORT]
    release = place.get("release") or place.get("name") or place.get("describe")
    patch = (place.get("patch") or {}).get("name")
    release = f"{release} with patch {patch}" if release and patch else release
    return f"{release} ({commit})" if release else commit or "unknown"


def plan_lines(plan: dict[str, Any]) -> list[str]:
    """Return the plan, a line for each step and one for what stays as it is."""
    before = plan["checkout"].get("before", {})
    lines = [
        f"Plan of run {plan['run_id']}: project {plan['project']} on {plan['host']}",
        f"{_way(before, plan['release'])}. Reason: {plan['reason']}",
    ]
    lines += [f"Puts back what was there before run {plan['undo_of']}"] if plan.get("undo_of") else []
    lines += _incident_lines(plan)
    lines += diagnosis_lines(plan.get("diagnosis") or {})
    for step in plan["steps"]:
        lines += _with_head(f"{_number(plan, step)} {plan['titles'][step]['title']}: ", step_lines(plan, step))
    lines += _no_database_line(plan)
    lines += monitoring_text.planned_lines(plan)
    if "stop_services" in plan["steps"]:
        lines += [outage_line(plan), *filter(None, [plan.get("rehearsal")])]
        lines += _kept_lines(plan) if has_way_back(plan) else []
    return lines + _left_lines(plan)


def diagnosis_lines(diagnosis: dict[str, Any]) -> list[str]:
    """Return whether a rollback will help; in capitals when it will not, because then there is something else to do."""
    if not diagnosis:
        return []
    verdict = str(diagnosis["verdict"])
    helps_not = verdict == "rollback will not help"
    words = [verdict.upper() if helps_not else verdict, diagnosis["cause"], diagnosis["action"] if helps_not else ""]
    more = ["More: ansible-playbook usdx.rollback.diagnose"] if helps_not else []
    return [f"Diagnosis: {'; '.join(filter(None, words))}", *more]


def _incident_lines(plan: dict[str, Any]) -> list[str]:
    """Return how the security incident stands that a run is a stage of, or that forbids it."""
    incident = plan.get("incident") or {"since": ""}
    if plan.get("scenario") != SCENARIO and not incident["since"] and not incident.get("unknown"):
        return []
    if not incident["since"] and not incident.get("unknown") and plan["stage"] == "contain":
        return [f"Stage {plan['stage']} of a security incident, which begins with it"]
    head = [f"Stage {plan['stage']} of a security incident"] if plan.get("scenario") == SCENARIO else []
    forbidden = [f"A real run is refused: {plan['incident_refusal']}"] if plan.get("incident_refusal") else []
    return [*head, *incident_lines(incident), *forbidden]


def _way(before: dict[str, Any], release: dict[str, Any]) -> str:
    """Return from which release a run leads to which."""
    if before.get("commit") == release.get("commit"):
        return f"Release {name_of(release)} stays"
    return f"From {name_of(before)} to {name_of(release)}"


def _no_database_line(plan: dict[str, Any]) -> list[str]:
    """Say that the database stays as it is, where no step would say it. The story of an old run has no order."""
    order = set(plan.get("steps", _DATABASE_STEPS))
    return (
        []
        if (_DATABASE_STEPS | {"back_up_database"}) & order
        else ["Database: not touched, this playbook has no step for it"]
    )


def step_lines(plan: dict[str, Any], step: str) -> list[str]:
    """Return what a step of the plan would do, the most important line first."""
    if step in plan.get("done", []):
        return ["done before the run was cut off"]
    if step in plan["skipped"]:
        return [f"skipped: {plan['skipped'][step]}"]
    if step in plan.get("unplanned", []):
        return ["not looked at before: nothing holds the stop up"]
    return _STEP_LINES[step](plan, plan["results"].get(step, {}))


def _number(plan: dict[str, Any], step: str) -> str:
    number = plan["titles"][step]["number"]
    return f"Step {number}" if number != "-" else "      "


def _with_head(head: str, lines: list[str]) -> list[str]:
    return [head + lines[0], *[f"         {line}" for line in lines[1:]]]


def _command_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    names = "; ".join(str(item.get("name") or "a command") for item in result.get("results", []))
    told = told_text.planned_line(result.get("messages", []))
    return [line for line in (f"run {names}" if names else "", told) if line] or ["nobody is told"]


def _identify_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    if result.get("why"):
        return [f"not known: {result['why']}"]
    return [f"{name_of(plan['release'])}, in {plan['directory']}; code and images are not touched"]


def _diagnose_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    cause, action = result.get("cause") or {}, result.get("action") or {}
    lines = [str(result.get("verdict") or "not diagnosed"), str(cause.get("summary") or "no cause was found")]
    return lines + ([f"proposed: {action['text']}"] if action.get("text") else [])


def _meanwhile(plan: dict[str, Any]) -> str:
    """Return what the services do while the release is prepared."""
    steps = plan.get("steps", [])
    stopped = "stop_services" in steps and steps.index("stop_services") < steps.index("prepare_release")
    return " stay stopped" if stopped or plan.get("scenario") == SCENARIO else " keep serving"


def _prepare_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    services: dict[str, dict[str, Any]] = result.get("services", {})
    return [
        ", ".join(sorted(services)) + _meanwhile(plan) if services else "no image is needed",
        *_patch_lines(plan["release"].get("patch") or {}),
        *[f"{name}: {_image_line(service)}" for name, service in sorted(services.items())],
        *[f"{name}: not in this release, stays stopped" for name in result.get("not_in_release", [])],
    ]


def _patch_lines(patch: dict[str, Any]) -> list[str]:
    """Return which patch is put on top of the release, and what it changes; nothing without one."""
    if not patch:
        return []
    files: list[str] = patch.get("files", [])
    some = ", ".join(files[:_FILES]) + (f" and {len(files) - _FILES} more" if len(files) > _FILES else "")
    return [f"with patch {patch['name']}, sha256 {patch['sha256']}{f', which changes {some}' if some else ''}"]


def _image_line(service: dict[str, Any]) -> str:
    image_id = str(service.get("image_id") or "").replace("sha256:", "")[:_SHORT]
    return f"{service.get('action')} image {service.get('image')}" + (f" ({image_id})" if image_id else "")


def _stop_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    order = ", then ".join(" and ".join(group) for group in result.get("order", [])) or "none"
    lines = [f"{order}; {', '.join(plan['keep_services']) or 'no service'} keep running"]
    serving = [name for name in result.get("not_stopped") or [] if name not in _stops_later(plan)]
    if serving:
        lines.append(f"{', '.join(serving)}: serving until the containers of the release are ready")
    elif plan.get("rolling") and not result.get("not_stopped"):
        lines.append("rolling: none goes on serving, because the database changes")
    return lines


def _stops_later(plan: dict[str, Any]) -> dict[str, str]:
    """Return the services that were to serve until they are replaced and cannot, each with the reason."""
    found: dict[str, str] = plan["results"].get("start_services", {}).get("not_rolled") or {}
    return found


def _switch_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    edits, leftovers = result.get("local_edits", {}), result.get("leftovers", {})
    lines = [f"check out {name_of(plan['release'])} in {plan['directory']}"]
    if plan.get("undo_of"):
        lines.append("with the branch, the local edits and the files that it had")
    if edits.get("files"):
        ref = edits.get("ref") or saved_work.reference(plan["run_id"], saved_work.EDITS)
        lines.append(f"local edits of {', '.join(edits['files'])} are saved to {ref}")
    if leftovers.get("count"):
        what = "are saved and removed" if leftovers.get("removed") else "stay"
        lines.append(f"files that Git does not know {what} ({leftovers['count']}): {', '.join(leftovers['files'][:5])}")
    variables = result.get("variables", {}).get("after", {})
    lines += [f"environment file: {name}={value}" for name, value in variables.items()]
    return lines


def _database_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    decision, backup, loss = result["decision"], result.get("backup") or {}, result.get("loss") or {}
    lines = [f"{decision}: {result['reason']}"]
    if decision == "restore":
        preview = result.get("preview", {})
        lines.append(f"backup {backup['path']}, taken {_taken(backup)}")
        lines.append(f"{preview.get('rows_total', 0):,} rows in {len(preview.get('tables') or {})} tables")
        already = f"was restored from it at {preview.get('already')}"
        lines.append("is loaded and proved beside the live database" if result["would_change"] else already)
    if decision in {"restore", "undo"} and result["would_change"]:
        lines.append(f"the live database loses {loss_text(loss)}")
        lines += [_ACCEPT] if plan.get("loss_refusal") else []
    lines += [f"not taken: {reason}" for reason in result.get("passed_over", [])[:3]]
    return lines + [f"note: {warning}" for warning in (result.get("preview") or {}).get("warnings", [])]


def _taken(backup: dict[str, Any]) -> str:
    if not backup.get("taken_at"):
        return "at an unknown time"
    return f"{backup['taken_at']} (says its {backup['taken_at_source']})"


def _revert_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    database = plan["results"]["prepare_database"]["database"]
    commands = [" ".join(map(str, argv)) for argv in result.get("command_lines", [])]
    return [f"on a copy of {database}; the live one is kept, frozen", *[f"run {command}" for command in commands]]


def _restore_lines(plan: dict[str, Any], _result: dict[str, Any]) -> list[str]:
    prepared = plan["results"]["prepare_database"]
    incoming = "the kept database" if prepared["decision"] == "undo" else "the loaded database"
    return [f"{incoming} becomes {prepared['database']} in one transaction; the former one is kept, frozen"]


def _start_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    idle = sorted(result.get("not_started", []))
    names = sorted(result.get("services", {}).keys() - idle)
    image = "the image that it had" if plan.get("undo_of") else "its image of the release"
    lines = [f"{', '.join(names)}, each with {image}, until running and healthy"] if names else []
    rolled = result.get("rolled") or []
    lines += [f"{', '.join(rolled)}: beside the containers that serve; these stop then"] if rolled else []
    lines += [f"{name}: stopped, then started, because {why}" for name, why in (result.get("not_rolled") or {}).items()]
    return lines + ([f"not started, as before that run: {', '.join(idle)}"] if idle else [])


def _verify_lines(plan: dict[str, Any], _result: dict[str, Any]) -> list[str]:
    if plan.get("undo_of"):
        return ["services, images and commit; endpoints are asked and do not decide"]
    package = ", package.json" if plan["checkout"].get("package_version") else ""
    lines = [f"services, images, commit{package} and {len(plan['endpoints'])} endpoints"]
    lines += [f"ask {url}" for url in plan["endpoints"]]
    lines += [f"run {line}" for line in plan["verify_commands"]]
    return lines + [f"by a person: {check}" for check in plan["manual_checks"]]


def _monitor_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    lines = [f"watch services and endpoints for {plan['monitor_seconds']} s"]
    for check in result.get("before", []):
        now = "" if check["name"] == "alerts" else f"; now {check['seen'].partition(', ')[0]}"
        lines.append(f"watch {check['name']}: good is {check['limit']}{now}")
    fires = sorted({alert["name"] for alert in result.get("alerts", [])})
    lines += [f"fires already and does not count: {', '.join(fires)}"] if fires else []
    return lines + [f"not watched: {what}" for what in result.get("not_watched", [])]


def _maintenance_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    if result.get("state") == "off":
        return ["lead users back, and remove the maintenance page"]
    ports = ", ".join(sorted({str(one.get("port")) for one in result.get("ports", [])}))
    lines = [f"serve a maintenance page on the published ports{': ' + ports if ports else ''}"]
    names = ", ".join(str(one["name"]) for one in result.get("dns", []))
    lines += [f"switch DNS of {names}"] if names else []
    closed = ", ".join(str(one.get("port")) for one in result.get("closed", []))
    return lines + ([f"stays closed, because there is no certificate: {closed}"] if closed else [])


def _assess_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    return [f"the evidence is in {result.get('evidence')}", *checklist_lines(result.get("checklist", []))]


def _review_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    if result.get("refusal"):
        return [f"a real run is refused: {result['refusal']}"]
    return [f"reviewed by {', '.join(result.get('reviewed_by', []))}"]


def _rotate_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    lines = []
    for one in result.get("credentials", []):
        gap = f", {one['gap']}" if one["gap"] and one["action"] != "rotated before" else ""
        lines.append(f"{one['name']}: {one['action']}{gap}")
    restarted = ", ".join(sorted(result.get("running", {})))
    lines += [f"restart {restarted}"] if restarted else []
    return lines or ["nothing is rotated"]


def _keep_lines(plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    pins = [str(one.get("pin")) for _name, one in sorted(result.get("services", {}).items())]
    head = f"the images of {name_of(plan['release'])} that run are kept{' already' if result.get('already') else ''}"
    return [head, *pins]


def _back_up_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    lines = [f"{result.get('database')} to {result.get('path')}; it must be whole, and what a rollback would take"]
    return lines + (["is loaded and proved beside the live database"] if result.get("side_wanted") else [])


def _ready_lines(_plan: dict[str, Any], result: dict[str, Any]) -> list[str]:
    what = "that a rollback to it builds nothing, can load the backup, and reaches the team"
    return [what, *checklist_lines(result.get("checklist", []))]


_STEP_LINES = {
    "keep_release": _keep_lines,
    "back_up_database": _back_up_lines,
    "check_readiness": _ready_lines,
    "announce": _command_lines,
    "identify_release": _identify_lines,
    "diagnose_infrastructure": _diagnose_lines,
    "fix_infrastructure": lambda _plan, result: infrastructure_lines(result),
    "maintenance_mode": _maintenance_lines,
    "preserve_evidence": lambda _plan, result: preserved_text.planned_lines(result),
    "assess_damage": _assess_lines,
    "security_review": _review_lines,
    "prepare_release": _prepare_lines,
    "stop_services": _stop_lines,
    "switch_release": _switch_lines,
    "prepare_database": _database_lines,
    "revert_migrations": _revert_lines,
    "restore_database": _restore_lines,
    "start_services": _start_lines,
    "verify_release": _verify_lines,
    "monitor_release": _monitor_lines,
    "rotate_credentials": _rotate_lines,
    "communicate": _command_lines,
}


def outage_line(plan: dict[str, Any]) -> str:
    """Return how long which services are down, as far as it was ever measured."""
    stop = plan["results"].get("stop_services", {})
    down = [name for group in stop.get("order", []) for name in group] + list(_stops_later(plan))
    services = ", ".join(down)
    if plan.get("scenario") == SCENARIO:
        return f"Outage: {services}; until they are started again by -e stage=release"
    if stop.get("not_stopped") and not down:
        return "Outage: none is planned, no service stops before its containers of the release are ready"
    outage = plan.get("outage") or {}
    if outage.get("seconds") is None:
        return f"Outage: {services}; unknown, no earlier run of these steps was measured here"
    runs = "1 earlier run" if outage["runs"] == 1 else f"{outage['runs']} earlier runs"
    if outage.get("rehearsals"):
        runs = "1 rehearsal" if outage["rehearsals"] == 1 else f"{outage['rehearsals']} rehearsals"
    return f"Outage: {services}; about {outage['seconds']} s, as measured by {runs}"


def _kept_lines(plan: dict[str, Any]) -> list[str]:
    """Return what can be got back afterwards, and where it is."""
    kept = [
        f"commit and local edits in refs/rollback/{plan['run_id']}/",
        f"images as usdx-rollback/{plan['project']}/SERVICE:before-{plan['run_id']}",
    ]
    database = plan["results"].get("prepare_database", {})
    if database.get("decision", "skip") != "skip" and database.get("would_change"):
        kept.append(f"the database beside {database['database']}, frozen")
    return [f"Kept, for undo.yml: {'; '.join(kept)}"]


def _left_lines(plan: dict[str, Any]) -> list[str]:
    left: dict[str, list[str]] = plan["results"].get("prepare_release", {}).get("left_as_is", {})
    lines = [
        f"Not touched: {name} is defined differently in the release ({', '.join(keys)}), it is left as it runs"
        for name, keys in sorted(left.items())
        if keys
    ]
    warnings: list[str] = plan["checkout"].get("warnings", [])
    if plan.get("check_mode"):
        return [*lines, *[f"Note: {warning}" for warning in warnings], _ONLY_A_PLAN]
    if plan.get("scenario") == GUARD or not plan.get("way_out", True):
        return [*lines, *[f"Note: {warning}" for warning in warnings]]
    # Ansible says nothing of its own when it is interrupted, so it is said before.
    cut_off = f"If this run is cut off, services may be down. Then type: {command_for(plan, 'resume')}"
    return [*lines, *[f"Note: {warning}" for warning in warnings], cut_off]


def candidate_lines(info: dict[str, Any]) -> list[str]:
    """Return the releases that can be rolled back to, newest first, with date, commit, images and record."""
    lines = [f"Now: {name_of(info['current'])}"]
    lines += [
        f"{candidate['release']:<12} {str(candidate['date'])[:10]}  {candidate['commit'][:_SHORT]}  "
        f"{_IMAGES[candidate['images_at_hand']]:<24}  "
        + (f"verified {candidate['verified_at']}" if candidate["verified_at"] else "no verified run recorded")
        + (f"  ({candidate['relation']})" if candidate["relation"] != "older" else "")
        for candidate in info["candidates"]
    ]
    return lines if info["candidates"] else [*lines, "No tag looks like a release."]


def moment(plan: dict[str, Any], step: str, seconds: float) -> str:
    """Return how a line of the summary begins: when a step began, its number and its title."""
    return f"{clock(seconds)} {_number(plan, step)} {plan['titles'][step]['title']}"


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """Return what was done when: a line for each step with its T+ time, its length and its evidence."""
    plan = summary["plan"]
    before, release = plan["checkout"].get("before", {}), plan["release"]
    stays = before.get("commit") == release.get("commit")
    way = f"{name_of(release)} stays" if stays else f"{name_of(before)} -> {name_of(release)}"
    lines = [f"Run {plan['run_id']}: {way}"]
    started: dict[str, float] = {}
    for event in summary["events"]:
        step = event.get("step")
        if event["event"] == "step_started" and step:
            started[step] = event["elapsed"]
        elif step:
            began = started.get(step, event["elapsed"])
            seconds = event["elapsed"] - began
            lines.append(
                f"{moment(plan, step, began)}: {outcome_text(event, seconds)}",
            )
    lines += _no_database_line(plan)
    lines += [f"Endpoint {one['name']}: {one['seen']}" for one in _looked_at(summary["events"])]
    lines += [f"Look at {one['kind']} {one['name']}: {one['seen']}" for one in _doubtful(summary["events"])]
    lines += monitoring_text.told_lines(summary["events"])
    lines += told_text.undelivered_lines(summary["events"])
    lines += checklist_lines(_checklist(summary))
    return [*lines, f"Journal: {summary['journal']}"]


def _doubtful(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the checks of steps that are done which did not pass and did not decide."""
    found = [event["facts"].get("checks", []) for event in events if event["event"] == "step_finished"]
    return [one for checks in found for one in checks if one["verdict"] != "passed"]


def _checklist(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the manual checks as the journal has them, and what else is for a person; what is not told is open."""
    told = [one for event in summary["events"] for one in event.get("facts", {}).get("checklist", [])]
    known = {one["name"]: one for one in told}
    asked = {name: {"name": name, "state": "open"} for name in summary["manual_checks"]}
    return list({**asked, **known}.values())


def _looked_at(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the endpoints that were asked without deciding, by an undo."""
    found = [event["facts"].get("looked_at", []) for event in events if event["event"] == "step_finished"]
    return [one for checks in found for one in checks if one["kind"] == "endpoint"]


def outcome_text(event: dict[str, Any], seconds: float) -> str:
    """Return what came of a step, from the event that ended it, after so many seconds."""
    facts = event.get("facts", {})
    if event["event"] == "step_skipped":
        return f"skipped: {facts.get('reason')}"
    if event["event"] == "step_failed":
        return f"FAILED after {seconds:.1f} s: {failure(facts)['msg']}"
    return f"done in {seconds:.1f} s{evidence_text(event.get('step', ''), facts)}"


def evidence_text(step: str, facts: dict[str, Any]) -> str:
    """Return what proves that a step is done, as the rest of a line; empty when there is nothing to say."""
    checks: list[dict[str, Any]] = facts.get("checks", [])
    if checks:
        unwatched = [str(what).partition(":")[0] for what in facts.get("not_watched", [])]
        return f"; {sum(check['verdict'] == 'passed' for check in checks)} of {len(checks)} checks passed" + (
            f"; not watched: {', '.join(unwatched)}" if unwatched else ""
        )
    if step == "switch_release":
        return f"; HEAD is {name_of(facts.get('after', {}))}"
    if step in {"prepare_release", "start_services"}:
        return "".join(
            f"; {name} {service.get('action')}" for name, service in sorted(facts.get("services", {}).items())
        )
    if step in _PROOFS:
        return _PROOFS[step](facts)
    if step == "stop_services":
        return f"; killed: {', '.join(facts['killed'])}" if facts.get("killed") else "; none was killed"
    failed = [item.get("name") for item in facts.get("results", []) if item.get("verdict") == "failed"]
    return f"; failed: {', '.join(map(str, failed))}" if failed else ""


def _database_evidence(facts: dict[str, Any]) -> str:
    cutover, loaded = facts.get("cutover") or {}, facts.get("loaded") or {}
    words = f"; {facts.get('decision')}"
    if loaded.get("rows_total"):
        words += f", {loaded['rows_total']:,} rows loaded and counted beside the live database"
    if facts.get("already"):
        words += f", done before, at {facts['already']}"
    if facts.get("old_database"):
        words += f"; the former database is kept as {facts['old_database']}"
    return words + (f"; names changed in {cutover['milliseconds']:.0f} ms" if cutover else "")


def _maintenance_proof(facts: dict[str, Any]) -> str:
    urls = ", ".join(str(one["url"]) for one in facts.get("answers", []))
    return f"; the page is served at {urls}" if facts.get("served") else "; no page is served"


def _rotation_proof(facts: dict[str, Any]) -> str:
    """Return which credentials are proved; what a person has to do is on the checklist."""
    words = ""
    for one in facts.get("credentials", []):
        works, refused = ((one.get(key) or {}).get("verdict") for key in ("works", "refused"))
        if works or refused:
            words += f"; {one['name']}: the new one works ({works}), the old one is refused ({refused})"
    return words


def _keep_proof(facts: dict[str, Any]) -> str:
    names = ", ".join(sorted(facts.get("services", {})))
    return f"; {names}: kept already" if facts.get("already") else f"; {names}: kept"


def _back_up_proof(facts: dict[str, Any]) -> str:
    side = facts.get("side_database")
    return f"; {facts.get('path')}, {facts.get('rows_total', 0):,} rows, read back" + (
        f"; loaded and proved as {side}" if side else ""
    )


_PROOFS = {
    "keep_release": _keep_proof,
    "back_up_database": _back_up_proof,
    "check_readiness": lambda facts: f"; {facts.get('line')}",
    "rotate_credentials": _rotation_proof,
    "maintenance_mode": _maintenance_proof,
    "security_review": lambda facts: f"; reviewed by {', '.join(facts.get('reviewed_by', []))}",
    "preserve_evidence": preserved_text.proof,
    **dict.fromkeys(("prepare_database", *_DATABASE_STEPS), _database_evidence),
}


def way_out(situation: dict[str, Any]) -> str:
    """Return the last words of a failed run: what failed, what runs, what is untouched, what to type.

    ``situation`` holds ``plan``, ``failure``, ``step`` (that failed), ``published`` (the fact of that step), ``events``
    (of the journal) and ``now`` (the services as they are).
    """
    told = way_out_parts(situation)
    words = " ".join(filter(None, [told["what"], told["next_step"], told["now"], told["untouched"]]))
    if not told["commands"]:
        return f"{words} Mend the cause and run again."
    return "\n\n".join([words, *[f"{why}:\n\n  {command}" for why, command in told["commands"]]])


def way_out_parts(situation: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of ``way_out``: ``what``, ``next_step``, ``now``, ``untouched``, ``commands`` with their use."""
    failed, plan, step = situation["failure"], situation["plan"], situation["step"]
    title = f"Step {plan['titles'][step]['title']!r}" if step else "The run"
    before = name_of(plan["checkout"].get("before", {}))
    told = {
        "what": f"{title} failed: {failed['msg']}".strip(),
        "next_step": failed["next_step"],
        "now": _states(situation["now"], failed.get("unready", [])),
    }
    started = {event.get("step") for event in situation["events"] if event["event"] == "step_started"}
    if not situation["events"]:
        return {**told, "untouched": _untouched(step, before, situation["now"]), "commands": []}
    commands = [("To go on, mend the cause and type", command_for(plan, "resume"))]
    if plan.get("scenario") == GUARD:
        told["what"] = f"{told['what'].rstrip('.')}. Do not deploy: a rollback may not work."
    if started <= _BEFORE_THE_OUTAGE:
        return {**told, "untouched": _untouched(step, before, situation["now"]), "commands": commands}
    if plan.get("scenario") == SCENARIO:
        return {**told, **_contained(situation, started), "commands": commands}
    if not has_way_back(plan):
        return {**told, "untouched": f"Code, images and database were not touched: {before}.", "commands": commands}
    changed = database_changed(situation)
    back = command_for(plan, "undo", **({"accept_data_loss": "true"} if changed else {}))
    commands.append((f"To put everything back as it was before, {before}, type", back))
    return {**told, "untouched": changed or _database_as_it_was(step), "commands": commands}


def has_way_back(plan: dict[str, Any]) -> bool:
    """Tell whether a run of this plan can be undone.

    Work on the infrastructure changes nothing that undo.yml knows, and what was there before the stages of a security
    incident shall not come back.
    """
    return "identify_release" not in plan.get("steps", []) and plan.get("scenario") != SCENARIO


def _contained(situation: dict[str, Any], started: set[str | None]) -> dict[str, str]:
    """Return what holds when a stage of a security incident failed."""
    if "start_services" in started:
        contain = playbook_command(situation["plan"], SCENARIO, stage="contain")
        again = f"To stop everything and show the page again: {contain}."
        return {"untouched": f"Code, images and database were not touched by this stage. {again}"}
    changed = database_changed(situation) or _database_as_it_was(situation["step"])
    return {"untouched": f"What is stopped stays stopped. {changed}".strip()}


def command_for(plan: dict[str, Any], playbook: str, **variables: str) -> str:
    """Return the command that goes on with the run of a plan, or undoes it, as one line for a shell."""
    return playbook_command(plan, playbook, run=plan["run_id"], **variables)


def playbook_command(plan: dict[str, Any], playbook: str, **variables: str) -> str:
    """Return the command of a playbook with the inventory of a plan, as one line for a shell."""
    sources = [word for source in plan.get("inventory", []) for word in ("-i", source)]
    target = {"target": plan["target"]} if plan.get("target") else {}
    first = {"run": variables.pop("run")} if "run" in variables else {}
    extra = {**first, **target, **variables}
    words = [word for name, value in extra.items() for word in ("-e", f"{name}={value}")]
    return shlex.join(["ansible-playbook", f"usdx.rollback.{playbook}", *sources, *words])


def _database_as_it_was(step: str) -> str:
    """Return that the database was not touched; a step of the database that failed has said itself what holds."""
    return "" if step in _DATABASE_STEPS else "The database was not touched."


def _untouched(step: str, before: str, now: dict[str, Any]) -> str:
    services: list[dict[str, Any]] = list(now.get("services", {}).values())
    if services and not any(service.get("before") == "running" for service in services):
        return f"This run stopped nothing: what is down was down before it. {_database_as_it_was(step)}".strip()
    return f"Nothing that runs was touched: the services of {before} still run."


def database_changed(situation: dict[str, Any]) -> str:
    """Return in words what a run has done to the database; empty when it is as it was."""
    plan = situation["plan"]["results"].get("prepare_database", {})
    told = [one for one in situation["events"] if one["event"] == "step_finished"]
    told.append({"step": situation["step"], "facts": situation.get("published") or {}})
    for one in told:
        facts = one.get("facts", {})
        if one.get("step") in _DATABASE_STEPS and facts.get("old_database"):
            return (
                f"The database {plan.get('database')} was changed ({facts.get('decision')}); "
                f"the former one is kept as {facts['old_database']}."
            )
    if situation["step"] == "restore_database" and situation["failure"].get("live_untouched") is False:
        return f"Whether the database {plan.get('database')} was changed is not known."
    return ""


def _states(now: dict[str, Any], unready: list[str]) -> str:
    """Return which services run; one that starts again and again runs at times, but is not ready."""
    services: dict[str, dict[str, Any]] = now.get("services", {})
    if not services:
        return "What runs now could not be seen."
    up = [name for name, service in sorted(services.items()) if service.get("before") == "running"]
    ready, late = [name for name in up if name not in unready], [name for name in up if name in unready]
    down = [name for name in sorted(services) if name not in up]
    text = f"Running: {', '.join(ready) or 'none'}. " + (f"Not ready: {', '.join(late)}. " if late else "")
    return f"{text}Down: {', '.join(down) or 'none'}."
