# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX needs to offer the playbooks: job templates with surveys, and workflows with approvals.

Everything here is a pure function of the playbooks and the argument specs of the roles, so that a survey asks what a
playbook takes, and nothing else. The decision matrix says who approves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .approval import CONDITIONS, ROLES, conditions
from .database_decision import DECISIONS
from .security_incident import STAGES

NOT_GIVEN = "not given"
# What only sets up or is imported, and is no decision of an operator.
WITHOUT_TEMPLATE = ("inventory", "awx_setup")
MAIN = "main"
_COLLECTION = "usdx.rollback."
_TYPED = re.compile(r",? ?C\((\w+)\) on the command line")
_MARKUP = re.compile(r"\b[A-Z]\(([^()]*)\)")
# First what an operator thinks of first; then in the order of the argument specs.
_FIRST = ("stage", "maintenance", "run", "version", "reason", "trigger", "approved_by", "approved_plan")
# What an option of role run means nothing without: the step that uses it.
_NEEDS = {
    "version": "prepare_release",
    "stop_first": "prepare_release",
    "rolling": "prepare_release",
    "accept_data_loss": "prepare_database",
}
# A guard asks nobody for approval and changes nothing that could be taken back.
_GUARD_STEP = "keep_release"
_NOT_IN_A_GUARD = ("trigger", "approved_by", "approved_plan", "on_failure", "observed", "detected_at", "incident")
# Choices that an argument spec cannot name, because a wrong word is refused by the run itself, in its own words.
_CHOICES: dict[str, tuple[str, ...]] = {
    "trigger": tuple(CONDITIONS),
    "stage": STAGES,
    "database": DECISIONS,
    "stop_first": ("true", "false"),
    "rolling": ("true", "false"),
    "false_alarm": ("true", "false"),
    "create_issues": ("true", "false"),
}
# A copy has no database that an earlier run has kept.
_REFUSED_CHOICES = {("rehearse", "database"): ("undo",)}
_TARGET = {
    "name": "target",
    "description": "Hosts or groups of the inventory. By default rollback_app.",
    "type": "str",
    "choices": [],
    "default": "",
}
_LONGEST = 1024
_WORKFLOW_OF = "rollback"
# In a workflow the sum of the plan comes from its first node; one that was typed would take its place.
_NOT_IN_A_WORKFLOW = ("approved_plan",)
_NEEDED_IN_A_WORKFLOW = ("version", "reason", "trigger", "approved_by")
_QUESTION_TYPES = ("text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float")


def given(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was typed without what was left empty: AWX hands over each question of a survey, answered or not."""
    return {name: value for name, value in inputs.items() if not _is_empty(value)}


def _is_empty(value: object) -> bool:
    return isinstance(value, str) and value.strip() in ("", NOT_GIVEN)


# Surveys


def survey(name: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the survey of a playbook: a question for each variable that an operator may type.

    ``parts`` holds ``playbooks`` (the plays of each), ``specs`` and ``defaults`` (of each role).
    """
    options = {option["name"]: option for option in typed_options(parts["playbooks"][name], parts)}
    first = [options.pop(word) for word in _FIRST if word in options]
    return _survey(name, name, [_question(option) for option in [*first, *options.values()]])


def _survey(name: str, playbook: str, questions: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "description": f"What the playbook {_COLLECTION}{playbook} takes.", "spec": questions}


def typed_options(plays: list[dict[str, Any]], parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the options that an operator of a playbook can type, each once.

    They are the options of the roles whose description says ``C(name) on the command line``, as far as this playbook
    hands the variable of that name to them.
    """
    found: dict[str, dict[str, Any]] = {}
    steps = {step for play in plays for step in steps_of(play)}
    for role, entry, fed_by in _roles(plays):
        options = parts["specs"].get(role, {}).get(entry, {}).get("options", {})
        for key, spec in options.items():
            name = _typed_name(spec)
            fed = str({**parts["defaults"].get(role, {}), **fed_by}.get(key, "")) if entry == MAIN else name
            if name and name not in found and _is_fed(name, fed, role, steps):
                found[name] = _option(name, spec, fed, _REFUSED_CHOICES.get((role, name), ()))
    if any("target | default" in str(play.get("hosts", "")) for play in plays):
        found["target"] = dict(_TARGET)
    return list(found.values())


def steps_of(play: Mapping[str, Any]) -> list[str]:
    """Return the steps of a play, those of all stages where it has stages."""
    steps = [role["run_steps"] for role in play.get("roles", []) if isinstance(role.get("run_steps"), list)]
    stages = play.get("vars", {}).get("security_incident_stages", {}).values()
    return list(dict.fromkeys(step for some in [*steps, *stages] for step in some))


def _roles(plays: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield role, entry point and the variables that are set for it, for each role that a playbook uses."""
    for play in plays:
        tasks = [*play.get("pre_tasks", []), *play.get("tasks", [])]
        for task in _tasks(tasks):
            for action in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
                if action in task:
                    name = str(task[action]["name"]).removeprefix(_COLLECTION)
                    yield name, task[action].get("tasks_from", MAIN), {**play.get("vars", {}), **task.get("vars", {})}
        for role in play.get("roles", []):
            yield str(role["role"]).removeprefix(_COLLECTION), MAIN, {}
        for step in steps_of(play):
            yield step, MAIN, {}


def _tasks(tasks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield tasks, and those in blocks."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part, []))


def _typed_name(spec: Mapping[str, Any]) -> str:
    found = _TYPED.search(_text(spec))
    return found[1] if found else ""


def _text(spec: Mapping[str, Any]) -> str:
    told = spec.get("description", "")
    return " ".join(told) if isinstance(told, list) else str(told)


def _is_fed(name: str, fed: str, role: str, steps: set[str]) -> bool:
    """Tell whether the value of an option is made of the variable that an operator types."""
    if name in _NEEDS and steps and _NEEDS[name] not in steps:
        return False
    if _GUARD_STEP in steps and name in _NOT_IN_A_GUARD:
        return False
    if role in steps:  # a step sees what was typed in run_inputs only
        return bool(re.search(rf"\brun_inputs\b[^.]*\.{name}\b", fed))
    # Only a run has run_inputs; a role that is used alone reads what was typed by its name.
    return bool(re.search(rf"\b{name}\b" if role == "run" else rf"(?<![.\w]){name}\b", fed))


def _option(name: str, spec: Mapping[str, Any], fed: str, refused: tuple[str, ...]) -> dict[str, Any]:
    choices = [str(choice) for choice in spec.get("choices", _CHOICES.get(name, ())) if choice not in refused]
    choices = choices or (["true", "false"] if spec.get("type") == "bool" else [])
    # What is read from run_inputs may be left out; the others have a default of their own that is a choice.
    literal = re.search(rf"(?<![.\w]){name} \| default\('(\w+)'", fed)
    own = literal[1] if literal else str(spec.get("default", "")).lower()
    own = own if own in choices else ""
    return {
        "name": name,
        "description": _plain(_text(spec)),
        "type": spec.get("type", "str"),
        "choices": choices if own or not choices else [NOT_GIVEN, *choices],
        "default": own or (NOT_GIVEN if choices else ""),
    }


def _plain(text: str) -> str:
    """Return a description without the markup of argument specs, and without the word that the question has as name."""
    return _MARKUP.sub(r"\1", _TYPED.sub("", text)).replace(" ,", ",").strip()


def _question(option: Mapping[str, Any], *, required: bool = False) -> dict[str, Any]:
    question = {
        "question_name": str(option["name"]).replace("_", " ").capitalize(),
        "question_description": option["description"],
        "required": required,
        "variable": option["name"],
        "default": option["default"],
    }
    if option["choices"]:
        choices = [choice for choice in option["choices"] if not required or choice != NOT_GIVEN]
        default = "" if required and option["default"] == NOT_GIVEN else option["default"]
        return {**question, "type": "multiplechoice", "choices": choices, "default": default, "min": None, "max": None}
    kind = "textarea" if option["type"] == "dict" else "text"
    limits = {"min": int(required), "max": _LONGEST * (4 if kind == "textarea" else 1)}
    return {**question, "type": kind, "choices": "", **limits}


# Templates


def awx_templates(parts: Mapping[str, Any], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return ``controller_templates``: a job template for each playbook, with the fields of ``awx.awx.job_template``.

    ``settings`` holds ``prefix``, ``organization``, ``project``, ``inventory``, ``credentials`` and
    ``execution_environment``; what is empty is left out.
    """
    return [_template(name, parts, settings) for name in sorted(parts["playbooks"]) if name not in WITHOUT_TEMPLATE]


def _template(name: str, parts: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    questions = survey(name, parts)
    places = ("organization", "project", "inventory", "credentials", "execution_environment")
    return {
        "name": f"{settings.get('prefix', '')}{name}",
        "description": str(parts["playbooks"][name][-1]["name"]),
        "job_type": "run",
        "playbook": f"{name}.yml",
        **{key: settings[key] for key in places if settings.get(key)},
        "ask_job_type_on_launch": True,
        "ask_diff_mode_on_launch": True,
        "survey_enabled": bool(questions["spec"]),
        **({"survey_spec": questions} if questions["spec"] else {}),
    }


# Workflows


def awx_workflows(
    parts: Mapping[str, Any], settings: Mapping[str, Any], matrix: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return ``controller_workflows``: one for each set of roles that the decision matrix names as approvers.

    Each plans the rollback, waits for one approval of each role, and carries out the plan that was approved. The
    trigger is chosen among the conditions that ask for just these roles. ``matrix`` is what the inventory says
    otherwise (``rollback_decision_matrix``). In ``settings``, ``approval_timeout`` is the limit in seconds for an
    approval, 0 for none.
    """
    table = conditions(matrix)
    if "refusal" in table:
        raise ValueError(f"{table['refusal']} {table['next_step']}")
    by_roles: dict[tuple[str, ...], list[str]] = {}
    for name, row in table.items():
        by_roles.setdefault(tuple(sorted(row["approvers"], key=list(ROLES).index)), []).append(name)
    return [_workflow(roles, names, parts, settings) for roles, names in by_roles.items()]


def _workflow(
    roles: tuple[str, ...], names: list[str], parts: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    people = " and ".join(ROLES[role] for role in roles)
    prefix = str(settings.get("prefix", ""))
    return {
        "name": f"{prefix}{_WORKFLOW_OF}, approved by {people}",
        "description": f"For {', '.join(names)}. Plans, waits for {people}, carries out the plan that was approved.",
        **({"organization": settings["organization"]} if settings.get("organization") else {}),
        "survey_enabled": True,
        "survey_spec": _workflow_survey(people, names, parts),
        "workflow_nodes": _nodes(roles, prefix, settings),
    }


def _workflow_survey(people: str, names: list[str], parts: Mapping[str, Any]) -> dict[str, Any]:
    options = {option["name"]: option for option in typed_options(parts["playbooks"][_WORKFLOW_OF], parts)}
    options["trigger"] = {**options["trigger"], "choices": names, "default": names[0] if len(names) == 1 else NOT_GIVEN}
    ordered = [*(word for word in _FIRST if word in options), *(word for word in options if word not in _FIRST)]
    questions = [
        _question(options[word], required=word in _NEEDED_IN_A_WORKFLOW)
        for word in ordered
        if word not in _NOT_IN_A_WORKFLOW
    ]
    return _survey(f"{_WORKFLOW_OF}, approved by {people}", _WORKFLOW_OF, questions)


def _nodes(roles: tuple[str, ...], prefix: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes: the plan, an approval for each role side by side, and the run that waits for all of them."""
    template: dict[str, Any] = {"name": f"{prefix}{_WORKFLOW_OF}", "type": "job_template"}
    if settings.get("organization"):
        template["organization"] = {"name": settings["organization"]}
    approvals = [
        {
            "identifier": f"approve_{role}",
            "unified_job_template": {
                "name": f"{ROLES[role][0].upper()}{ROLES[role][1:]} approves the plan",
                "description": "Read the plan in the output of the job before this one, then approve or deny.",
                "type": "workflow_approval",
                "timeout": int(settings.get("approval_timeout") or 0),
            },
            "related": {"success_nodes": [{"identifier": "carry_out"}]},
        }
        for role in roles
    ]
    plan = {
        "identifier": "plan",
        "unified_job_template": template,
        "job_type": "check",
        "related": {"success_nodes": [{"identifier": node["identifier"]} for node in approvals]},
    }
    run = {
        "identifier": "carry_out",
        "unified_job_template": template,
        "job_type": "run",
        "all_parents_must_converge": True,
    }
    return [plan, *approvals, run]


# What AWX would refuse


def awx_refusal(objects: list[dict[str, Any]]) -> list[str]:
    """Return what AWX would refuse of the surveys of templates and workflows; empty when nothing.

    AWX makes a template before it looks at the survey, so a bad survey is better found before.
    """
    return [
        f"{item.get('name') or 'a template without a name'}: {wrong}"
        for item in objects
        for wrong in _wrong_survey(item.get("survey_spec"), item.get("survey_enabled"))
    ]


def _wrong_survey(spec: object, enabled: object) -> list[str]:
    if not spec:
        return ["the survey is enabled and has no questions"] if enabled else []
    if not isinstance(spec, Mapping) or not all(isinstance(spec.get(key), str) for key in ("name", "description")):
        return ["a survey needs a name and a description, both texts"]
    questions = spec.get("spec")
    if not isinstance(questions, list) or not questions:
        return ["a survey needs a list of questions"]
    variables = [str(question.get("variable")) for question in questions if isinstance(question, Mapping)]
    twice = sorted({name for name in variables if variables.count(name) > 1})
    wrong = [f"the variable {name} is asked twice" for name in twice]
    return [*wrong, *(f"question {number}: {why}" for number, one in enumerate(questions, 1) for why in _wrong(one))]


def _wrong(question: object) -> list[str]:
    if not isinstance(question, Mapping):
        return ["it is no dictionary"]
    texts = ("type", "question_name", "variable")
    wrong = [f"{key} must be a text" for key in texts if not isinstance(question.get(key), str) or not question[key]]
    if not isinstance(question.get("required"), bool):
        wrong.append("required must be true or false")
    if question.get("type") not in _QUESTION_TYPES:
        wrong.append(f"type must be one of {', '.join(_QUESTION_TYPES)}")
    limits = [question.get(key) for key in ("min", "max")]
    if any(limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)) for limit in limits):
        wrong.append("min and max must be whole numbers")
    return wrong or _wrong_default(question)


def _wrong_default(question: Mapping[str, Any]) -> list[str]:
    kind, default = question["type"], question.get("default", "")
    if kind in ("multiplechoice", "multiselect"):
        choices = question.get("choices")
        known = choices.splitlines() if isinstance(choices, str) else choices
        if not isinstance(known, list) or not known:
            return ["choices must be a list"]
        told = default.splitlines() if isinstance(default, str) else default
        if not isinstance(told, list) or any(one not in known for one in told):
            return [f"the default {default!r} is none of the choices"]
        return ["one default only"] if kind == "multiplechoice" and len(told) > 1 else []
    if default == "":
        return []
    wanted: dict[str, tuple[type, ...]] = {"integer": (int,), "float": (int, float)}
    fits = isinstance(default, wanted.get(kind, (str,))) and not isinstance(default, bool)
    return [] if fits else [f"the default {default!r} is of another type than {kind}"]
