# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What AWX has after the playbook was run: asked of the AWX itself, here a stub that keeps its rules."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack import Stack


@pytest.fixture
def awx(stack: Stack) -> dict[str, Any]:
    """Return what the stub holds."""
    url = json.loads((stack.directory / "awx.json").read_text(encoding="utf-8"))["url"]
    request = urllib.request.Request(f"{url}/api/v2/state/", headers={"Authorization": "Bearer token-of-the-tests"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        told: dict[str, Any] = json.load(answer)
        return told


def test_the_first_time_everything_is_made(stack: Stack, awx: dict[str, Any]) -> None:
    code, screen = stack.screen(0)
    assert code == 0, screen
    assert "changed=4" in screen
    templates = {one["name"]: one for one in awx["job_templates"].values()}
    assert len(templates) >= 12
    assert templates["usdx rollback"]["playbook"] == "rollback.yml"
    assert templates["usdx rollback"]["ask_job_type_on_launch"] is True
    survey = awx["surveys"][templates["usdx rollback"]["related"]["survey_spec"]]
    assert [one["variable"] for one in survey["spec"]][:2] == ["version", "reason"]
    assert awx["links"][f"{templates['usdx rollback']['url']}credentials/"] != []


def test_a_run_follows_the_approvals_of_all_and_they_follow_the_plan(awx: dict[str, Any]) -> None:
    (workflow,) = [one for one in awx["workflow_job_templates"].values() if "and team lead" in one["name"]]
    nodes = {
        one["identifier"]: one
        for one in awx["workflow_job_template_nodes"].values()
        if one["workflow_job_template"] == workflow["id"]
    }
    approvals = [nodes["approve_on_call"], nodes["approve_team_lead"]]
    links = awx["links"]
    assert sorted(links[f"{nodes['plan']['url']}success_nodes/"]) == sorted(one["id"] for one in approvals)
    for one in approvals:
        assert links[f"{one['url']}success_nodes/"] == [nodes["carry_out"]["id"]]
        assert awx["workflow_approval_templates"][str(one["unified_job_template"])]["name"].endswith(
            "approves the plan"
        )
    assert nodes["carry_out"]["all_parents_must_converge"] is True
    assert (nodes["plan"]["job_type"], nodes["carry_out"]["job_type"]) == ("check", "run")
    kinds = {nodes[name]["unified_job_template"] for name in ("plan", "carry_out")}
    assert [awx["job_templates"][str(number)]["name"] for number in kinds] == ["usdx rollback"]


def test_the_second_time_nothing_is_changed(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code == 0, screen
    assert "changed=0" in screen
    assert "ok: [localhost] => (item=usdx runs)" in screen
    assert "approve_team_lead" in screen


def test_a_bad_survey_is_refused_before_its_template_is_made(stack: Stack, awx: dict[str, Any]) -> None:
    code, screen = stack.screen(2)
    assert code != 0
    assert "AWX would refuse bad: question 1: type must be one of text" in screen
    assert "bad" not in [one["name"] for one in awx["job_templates"].values()]


@pytest.mark.parametrize(
    ("number", "words"),
    [(3, "Add -e awx_setup_project=NAME -e awx_setup_inventory=NAME"), (4, "Choose other names for the templates")],
)
def test_what_is_missing_or_ambiguous_is_said(stack: Stack, number: int, words: str) -> None:
    code, screen = stack.screen(number)
    assert code != 0
    assert words in screen
    assert "Nothing was changed" in screen


def test_the_token_is_on_no_screen(stack: Stack) -> None:
    for number in range(5):
        assert "token-of-the-tests" not in stack.screen(number)[1]
