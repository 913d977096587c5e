# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX offers: surveys that ask what the playbooks take, workflows that wait for whom the decision matrix names."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import awx_stub
import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.lookup.awx_parts import LookupModule
from ansible_collections.usdx.rollback.plugins.module_utils import approval, awx

ROOT = Path(__file__).parents[2]
SETTINGS = {"prefix": "usdx ", "organization": "Default", "project": "p", "inventory": "i", "credentials": []}
PARTS: dict[str, Any] = LookupModule().run([])[0]
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml") if path.stem not in awx.WITHOUT_TEMPLATE)


def variables(survey: dict[str, Any]) -> list[str]:
    return [question["variable"] for question in survey["spec"]]


def question(playbook: str, variable: str) -> dict[str, Any]:
    (found,) = [one for one in awx.survey(playbook, PARTS)["spec"] if one["variable"] == variable]
    return dict(found)


# Answers


def test_an_answer_that_was_left_empty_was_not_given() -> None:
    typed = {"version": "v1.0.2", "backup": "", "trigger": "not given", "reason": " ", "stop_first": False, "keep": 0}
    assert awx.given(typed) == {"version": "v1.0.2", "stop_first": False, "keep": 0}


def test_what_is_typed_may_be_empty_wherever_it_is_read() -> None:
    """An empty answer of AWX is a defined variable: a default for undefined ones does not help."""
    names = {variable for name in PLAYBOOKS for variable in variables(awx.survey(name, PARTS))} - {"reason"}
    read = re.compile(rf"(?<![\w.'])(?:{'|'.join(names)}) \| default\((?!'', true)((?:[^()]|\([^()]*\))*)\)")
    files = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("roles/run/*/*.yml"), *ROOT.glob("roles/*/defaults/main.yml")]
    wrong = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in files
        for found in read.finditer(path.read_text(encoding="utf-8"))
        if not found[1].endswith(", true") and found[1] not in ("''", "{}", "omit, true")
    }
    assert wrong == set()


# Templates


def test_every_playbook_has_a_template_and_a_file_of_the_example_project() -> None:
    templates = awx.awx_templates(PARTS, SETTINGS)
    assert [template["name"] for template in templates] == [f"usdx {name}" for name in PLAYBOOKS]
    assert len(PLAYBOOKS) >= 12
    files = {path.name for path in (ROOT / "docs/awx_project").glob("*.yml")}
    assert {template["playbook"] for template in templates} == files
    for name in files:
        (play,) = yaml.safe_load((ROOT / "docs/awx_project" / name).read_text(encoding="utf-8"))
        assert play["ansible.builtin.import_playbook"] == f"usdx.rollback.{Path(name).stem}"


def test_every_variable_that_an_operator_types_is_asked_for_in_a_survey() -> None:
    """The table of the documents and the surveys cannot drift apart."""
    page = (ROOT / "docs/your_project.md").read_text(encoding="utf-8")
    table = page.partition("## What you type")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
    asked = {variable for name in PLAYBOOKS for variable in variables(awx.survey(name, PARTS))}
    assert len(rows) > 25
    assert asked == rows


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_awx_accepts_the_survey(playbook: str) -> None:
    survey = awx.survey(playbook, PARTS)
    assert awx_stub.survey_error(survey) == ""
    assert awx.awx_refusal([{"name": playbook, "survey_enabled": True, "survey_spec": survey}]) == []
    for one in survey["spec"]:
        assert one["question_description"].strip(), one["variable"]
        assert not re.search(r"[A-Z]\(|{{|on the command line", one["question_description"])


def test_a_survey_asks_what_the_playbook_takes_and_nothing_else() -> None:
    assert variables(awx.survey("cleanup", PARTS)) == ["target"]
    assert variables(awx.survey("runs", PARTS)) == ["run", "target"]
    assert variables(awx.survey("rollback", PARTS))[:4] == ["version", "reason", "trigger", "approved_by"]
    assert "database" in variables(awx.survey("rollback", PARTS))
    assert "database" not in variables(awx.survey("application_bug", PARTS))
    assert "accept_data_loss" not in variables(awx.survey("application_bug", PARTS))
    assert "version" not in variables(awx.survey("infrastructure_issue", PARTS))
    assert {"restart", "switch", "switch_to"} <= set(variables(awx.survey("infrastructure_issue", PARTS)))
    assert "began_with_release" not in variables(awx.survey("infrastructure_issue", PARTS))
    assert variables(awx.survey("guard", PARTS)) == [
        "reason", "take_over", "manual_checks_done", "manual_checks_by", "target",
    ]  # fmt: skip
    assert variables(awx.survey("ready", PARTS)) == [
        "version",
        "commit",
        "database",
        "backup",
        "backup_before",
        "target",
    ]
    assert variables(awx.survey("rehearse", PARTS)) == [
        "version", "commit", "database", "backup", "backup_before", "migration", "stop_first", "take_over", "target",
    ]  # fmt: skip
    assert "stage" in variables(awx.survey("security_incident", PARTS))
    assert "maintenance" not in variables(awx.survey("security_incident", PARTS))


@pytest.mark.parametrize(
    ("playbook", "variable", "choices", "default"),
    [
        ("rollback", "trigger", ["not given", *approval.CONDITIONS], "not given"),
        ("rollback", "stop_first", ["not given", "true", "false"], "not given"),
        ("rollback", "database", ["not given", "auto", "skip", "revert", "restore", "undo"], "not given"),
        ("rehearse", "database", ["not given", "auto", "skip", "revert", "restore"], "not given"),
        ("rehearse", "stop_first", ["not given", "true", "false"], "not given"),
        ("ready", "database", ["auto", "skip", "revert", "restore", "undo"], "auto"),
        ("rollback", "on_failure", ["hold", "undo"], "hold"),
        ("resume", "on_failure", ["hold", "undo"], "hold"),
        ("maintenance", "maintenance", ["on", "off", "status"], "status"),
        ("diagnose", "fail_on", ["never", "cause", "unknown"], "never"),
        ("follow_up", "create_issues", ["true", "false"], "false"),
    ],
)
def test_choices_come_from_the_argument_specs(playbook: str, variable: str, choices: list[str], default: str) -> None:
    asked = question(playbook, variable)
    assert (asked["type"], asked["choices"], asked["default"]) == ("multiplechoice", choices, default)


def test_an_option_that_changes_changes_the_survey() -> None:
    parts = copy.deepcopy(PARTS)
    options = parts["specs"]["prepare_database"]["main"]["options"]
    options["prepare_database_decision"]["choices"] = ["auto", "none"]
    options["prepare_database_new"] = {"description": ["A new one, C(brand_new) on the command line."], "type": "str"}
    assert "brand_new" not in variables(awx.survey("rollback", parts)), "nothing hands it over"
    parts["defaults"]["prepare_database"]["prepare_database_new"] = "{{ run_inputs.brand_new | default('') }}"
    survey = awx.survey("rollback", parts)
    assert "brand_new" in variables(survey)
    (database,) = [one for one in survey["spec"] if one["variable"] == "database"]
    assert database["choices"] == ["not given", "auto", "none"]


# Workflows


def test_the_workflows_are_the_decision_matrix() -> None:
    workflows = awx.awx_workflows(PARTS, SETTINGS)
    table = approval.conditions()
    seen = {}
    for workflow in workflows:
        nodes = {node["identifier"]: node for node in workflow["workflow_nodes"]}
        approvers = {name.removeprefix("approve_") for name in nodes if name.startswith("approve_")}
        (trigger,) = [one for one in workflow["survey_spec"]["spec"] if one["variable"] == "trigger"]
        assert trigger["required"]
        for condition in trigger["choices"]:
            assert condition not in seen, "two workflows for one condition"
            seen[condition] = approvers
    assert seen == {name: set(row["approvers"]) for name, row in table.items()}


def test_a_workflow_carries_out_what_all_have_approved() -> None:
    (both,) = [
        one for one in awx.awx_workflows(PARTS, {**SETTINGS, "approval_timeout": 900}) if "and team lead" in one["name"]
    ]
    plan, *approvals, run = both["workflow_nodes"]
    names = [node["identifier"] for node in approvals]
    assert names == ["approve_on_call", "approve_team_lead"]
    assert (plan["job_type"], run["job_type"]) == ("check", "run")
    assert plan["unified_job_template"] == run["unified_job_template"]
    assert [node["identifier"] for node in plan["related"]["success_nodes"]] == names
    assert run["all_parents_must_converge"] is True
    for node in approvals:
        assert node["unified_job_template"]["type"] == "workflow_approval"
        assert node["unified_job_template"]["timeout"] == 900
        assert node["related"]["success_nodes"] == [{"identifier": "carry_out"}]
    # One that was typed would take the place of the sum that the first node hands over.
    assert "approved_plan" not in variables(both["survey_spec"])
    needed = {one["variable"] for one in both["survey_spec"]["spec"] if one["required"]}
    assert needed == {"version", "reason", "trigger", "approved_by"}


def test_every_survey_of_a_workflow_is_accepted() -> None:
    workflows = awx.awx_workflows(PARTS, SETTINGS)
    assert [awx_stub.survey_error(one["survey_spec"]) for one in workflows] == [""] * len(workflows)
    assert awx.awx_refusal(workflows) == []


def test_the_matrix_of_the_inventory_counts() -> None:
    matrix = {"non_critical_bug": {"approvers": ["on_call"]}}
    names = [one["name"] for one in awx.awx_workflows(PARTS, SETTINGS, matrix)]
    assert "usdx rollback, approved by product owner" not in names
    assert len(names) == 3
    with pytest.raises(ValueError, match=r"nonsense is no condition.* Mend it in the inventory"):
        awx.awx_workflows(PARTS, SETTINGS, {"nonsense": {}})


# What AWX would refuse: both sets of rules must say the same of each of these.

GOOD = {"question_name": "Q", "variable": "v", "type": "text", "required": False, "default": ""}


@pytest.mark.parametrize(
    ("questions", "refused"),
    [
        ([GOOD], False),
        ([GOOD | {"type": "integer", "default": 3, "min": 1, "max": 9}], False),
        ([GOOD | {"type": "multiplechoice", "choices": ["a", "b"], "default": "a"}], False),
        ([GOOD | {"type": "multiplechoice", "choices": "a\nb", "default": ""}], False),
        ([GOOD | {"type": "multiselect", "choices": ["a", "b"], "default": "a\nb"}], False),
        ([], True),
        ([GOOD, GOOD], True),
        ([GOOD | {"type": "boolean"}], True),
        ([GOOD | {"required": "false"}], True),
        ([GOOD | {"default": 3}], True),
        ([GOOD | {"default": True}], True),
        ([GOOD | {"type": "integer", "default": "3"}], True),
        ([GOOD | {"min": "1"}], True),
        ([GOOD | {"type": "multiplechoice"}], True),
        ([GOOD | {"type": "multiplechoice", "choices": ["a"], "default": "b"}], True),
        ([GOOD | {"type": "multiplechoice", "choices": ["a", "b"], "default": "a\nb"}], True),
        ([{key: value for key, value in GOOD.items() if key != "variable"}], True),
        (["a text"], True),
    ],
)
def test_a_bad_survey_is_found_before_awx_makes_its_template(questions: list[Any], refused: bool) -> None:  # noqa: FBT001
    survey = {"name": "s", "description": "d", "spec": questions}
    assert bool(awx_stub.survey_error(survey)) is refused
    assert bool(awx.awx_refusal([{"name": "t", "survey_enabled": True, "survey_spec": survey}])) is refused
