# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The request for approval."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.module_utils import approval, proposal

ROOT = Path(__file__).parents[2]
PLAN: dict[str, Any] = json.loads((Path(__file__).parent / "data/failed_run.json").read_text(encoding="utf-8"))["plan"]
PEOPLE = {"on_call": ["ann"], "team_lead": ["bob", "carol"]}
LOSS = {"since": "2026-11-24T12:00:00Z", "seconds": 7300, "counted": True, "rows": 3, "tables": {"events": 3}}


def request(plan: dict[str, Any] | None = None, refusal: str = "", *, there: bool = False, **more: Any) -> Any:
    """Return the request for one host."""
    host = {"host": "demo", "plan": {} if refusal else plan or PLAN, "there": there, "refusal": refusal}
    facts = {
        "hosts": [host],
        "condition": approval.condition_of(more.pop("trigger", "error_rate")),
        "approvals": "required",
        "people": PEOPLE,
        "project": "shop",
        "alert": "ErrorRate",
        "summary": "",
        "version": "",
        "target": "",
        "accept_data_loss": "",
        "inventory": ["production"],
    }
    return proposal.proposal({**facts, **more})


def losing(loss: dict[str, Any]) -> dict[str, Any]:
    """Return a plan that loses something."""
    plan = copy.deepcopy(PLAN)
    plan["loss_refusal"] = "Nobody accepted a loss of data."
    database = plan["results"].get("prepare_database") or {}
    plan["results"]["prepare_database"] = {**database, "decision": "restore", "reason": "it differs", "loss": loss}
    return plan


def test_a_request_names_who_must_approve_and_the_one_command() -> None:
    told = request(losing({**LOSS}))
    text = "\n".join(told["lines"])
    assert told["planned"]
    assert told["subject"].startswith("shop: rollback to ")
    assert "Must approve: on-call engineer (ann); team lead (bob or carol)" in text
    assert "LOST: what was written since 2026-11-24T12:00:00Z" in text
    assert told["command"] in told["lines"]
    assert "-i production" in told["command"]
    assert "-e accept_data_loss=4h -e approved_by=NAME,NAME" in told["command"]
    assert told["command"].endswith(f"approved_plan={told['plan_sum']}")
    assert told["plan_sum"] == approval.plan_sum([losing(LOSS)], "4h")


def test_the_sum_is_that_of_the_run_that_nobody_accepted_a_loss_for() -> None:
    plan = {**copy.deepcopy(PLAN), "loss_refusal": ""}
    told = request(plan)
    assert "accept_data_loss" not in told["command"]
    assert told["plan_sum"] == approval.plan_sum([plan], False)  # noqa: FBT003


def test_a_loss_of_unknown_length_is_accepted_as_a_whole_or_not_at_all() -> None:
    told = request(losing({**LOSS, "since": None, "seconds": None}))
    assert "accept_data_loss=true" in told["command"]
    assert "accept_data_loss=9h" in request(losing(LOSS), accept_data_loss="9h")["command"]


def test_where_approvals_are_off_no_name_is_asked_for() -> None:
    told = request(approvals="off")
    assert "approved_by" not in told["command"]
    assert "Must approve: nobody, approvals are off in the inventory" in told["lines"]


def test_without_a_plan_the_request_says_why_and_what_to_type() -> None:
    told = request(refusal="Run X holds {{ the }} lock.\nWait.")
    text = "\n".join(told["lines"])
    assert (told["planned"], told["command"], told["plan_sum"]) == (False, "", "")
    assert told["subject"] == "shop: error_rate, no plan could be made"
    assert "No plan on demo: Run X holds the lock. Wait." in text
    assert "usdx.rollback.rollback -i production -e trigger=error_rate --check --diff" in text


def test_where_the_release_runs_already_nothing_is_asked() -> None:
    told = request(there=True)
    assert not told["planned"]
    assert told["subject"].endswith("nothing to roll back")


@pytest.mark.parametrize("trigger", [name for name, row in approval.CONDITIONS.items() if row["kind"] == "advice"])
def test_advice_is_told_as_advice(trigger: str) -> None:
    told = request(trigger=trigger)
    assert "consider a rollback to" in told["subject"]
    assert any(approval.CONDITIONS[trigger]["action"] in line and "advice" in line for line in told["lines"])


def test_security_points_to_its_own_scenario() -> None:
    assert any("security_incident -e stage=contain" in line for line in request(trigger="security")["lines"])


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Web%20Down", "Web Down"),
        ("{{ lookup('pipe', 'id') }}", "lookup('pipe', 'id')"),
        ("%7B%7B7*7%7D%7D {% raw %}", "7*7 % raw %"),
        ("a\x1b[31m\r\nb\u202e", "a [31m b"),
        ("x" * 900, "x" * 197 + "..."),
        (None, ""),
    ],
)
def test_what_an_alert_says_is_one_short_line_that_is_no_template(told: object, shown: str) -> None:
    assert proposal.shown(told) == shown
    assert "%7B" not in "\n".join(request(alert=told, summary=told)["lines"])


def test_no_word_of_an_alert_stands_in_a_command() -> None:
    assert "evil" not in request(alert="evil", summary="evil")["command"]


def test_the_steps_are_those_of_the_rollback_or_the_sum_would_be_another() -> None:
    defaults = yaml.safe_load((ROOT / "roles/propose/defaults/main.yml").read_text(encoding="utf-8"))
    plays = yaml.safe_load((ROOT / "playbooks/rollback.yml").read_text(encoding="utf-8"))
    assert defaults["propose_steps"] == plays[1]["roles"][0]["run_steps"]
