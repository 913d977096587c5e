# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which condition of the runbook holds, who must approve it, and what an approval covers."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import approval
from ansible_collections.usdx.rollback.plugins.module_utils.run_text import workflow_of
from hypothesis import given
from hypothesis import strategies as st

PLAN = json.loads((Path(__file__).parent / "data/failed_run.json").read_text(encoding="utf-8"))["plan"]
SUM = approval.plan_sum(PLAN)
PEOPLE = {"on_call": ["Ann", "Bob"], "team_lead": ["Ann"], "product_owner": ["Carl"]}
NOBODY = {"asked": False, "answer": ""}
BOTH = {"on_call", "team_lead"}


def facts(**changes: Any) -> dict[str, Any]:
    """Return facts of a decision about the real plan; ``trigger`` names its condition."""
    told: dict[str, Any] = {
        "plans": [PLAN],
        "condition": approval.condition_of(changes.pop("trigger", "error_rate")),
        "approvals": "required",
        "approved_by": "",
        "people": PEOPLE,
        "operator": "dora",
        "plan_sum": SUM,
        "approved_plan": "",
        "incident": "",
    }
    return told | changes


def answered(text: str) -> dict[str, Any]:
    """Return the reply of a person at the terminal."""
    return {"asked": True, "answer": text}


def refusal_of(told: dict[str, Any], reply: dict[str, Any] | None = None) -> str:
    """Return why a plan may not be carried out; without a reply nobody could be asked."""
    text: str = approval.approval_outcome(told, reply or NOBODY)["refusal"]
    return text


# The runbook's matrix, word for word


@pytest.mark.parametrize(
    ("name", "priority", "action", "deadline", "approvers"),
    [
        ("service_down", "P0", "immediate rollback", 0, {"on_call"}),
        ("data_at_risk", "P0", "immediate rollback", 0, BOTH),
        ("data_corruption", "P0", "immediate rollback", 0, BOTH),
        ("security", "P0", "immediate rollback", 0, BOTH),
        ("funds_at_risk", "P0", "immediate rollback", 0, BOTH),
        ("error_rate", "P1", "rollback within 15 min", 15, BOTH),
        ("performance", "P1", "rollback within 15 min", 15, BOTH),
        ("critical_feature", "P1", "rollback or hotfix", None, {"team_lead"}),
        ("critical_bug_reported", "P1", "consider a rollback", None, {"team_lead"}),
        ("error_rate_raised", "P1", "consider a rollback", None, BOTH),
        ("resource_exhaustion", "P1", "consider a rollback", None, BOTH),
        ("dependency_failing", "P1", "consider a rollback", None, BOTH),
        ("unexpected_behaviour", "P1", "consider a rollback", None, BOTH),
        ("non_critical_bug", "P2", "hotfix or next release", None, {"product_owner"}),
    ],
)
def test_a_condition_is_that_of_the_runbook(
    name: str, priority: str, action: str, deadline: int | None, approvers: set[str]
) -> None:
    told = approval.condition_of(name)
    assert (told["name"], told["priority"], told["action"]) == (name, priority, action)
    assert (told["deadline_minutes"], set(told["approvers"])) == (deadline, approvers)
    assert told["stop_first"] is (name in {"data_at_risk", "data_corruption", "security", "funds_at_risk"})
    advice = {"critical_bug_reported", "error_rate_raised", "resource_exhaustion", "dependency_failing"}
    assert (told["kind"] == "advice") is (name in advice | {"unexpected_behaviour", "non_critical_bug"})


def test_the_table_above_is_whole_and_sorted_by_priority() -> None:
    assert len(approval.CONDITIONS) == 14
    priorities = [row["priority"] for row in approval.CONDITIONS.values()]
    assert priorities == sorted(priorities)
    assert {role for row in approval.CONDITIONS.values() for role in row["approvers"]} <= set(approval.ROLES)


@pytest.mark.parametrize("typed", ["Data at risk", " data-at-risk ", "DATA_AT_RISK"])
def test_a_name_may_be_written_as_people_write(typed: str) -> None:
    assert approval.condition_of(typed)["name"] == "data_at_risk"


def test_an_unknown_trigger_is_refused_with_the_names() -> None:
    told = approval.condition_of("meteor")
    assert told["refusal"] == "trigger=meteor is no condition of the runbook."
    assert all(name in told["next_step"] for name in approval.CONDITIONS)


@pytest.mark.parametrize(
    ("observed", "name"),
    [
        ({"error_rate_percent": 5.1, "error_rate_minutes": 5.1}, "error_rate"),
        ({"error_rate_percent": 5, "error_rate_minutes": 60}, "error_rate_raised"),
        ({"error_rate_percent": 50, "error_rate_minutes": 5}, "error_rate_raised"),
        ({"error_rate_percent": 50}, "error_rate_raised"),
        ({"error_rate_percent": 1}, "error_rate_raised"),
        ({"error_rate_percent": 0.99, "error_rate_minutes": 60}, ""),
        ({"down_minutes": 10}, ""),
        ({"down_minutes": "10.5"}, "service_down"),
        ({"slower_percent": 50}, ""),
        ({"slower_percent": 51}, "performance"),
        ({"p95_milliseconds": 301, "p95_baseline_milliseconds": 200}, "performance"),
        ({"p95_milliseconds": 300, "p95_baseline_milliseconds": 200}, ""),
        ({"p95_milliseconds": 9000}, ""),
        ({"p95_milliseconds": 9000, "p95_baseline_milliseconds": 0}, ""),
        ({"down_minutes": 11, "error_rate_percent": 100, "error_rate_minutes": 11}, "service_down"),
        ("error_rate_percent=7,error_rate_minutes=6", "error_rate"),
        ("error_rate_percent=7 error_rate_minutes=6", "error_rate"),
        ('{"error_rate_percent": 7, "error_rate_minutes": 6}', "error_rate"),
    ],
)
def test_figures_meet_the_limits_of_the_runbook(observed: object, name: str) -> None:
    told = approval.condition_of("", observed)
    assert told["name"] == name
    if not name:
        assert told["words"].startswith("no condition of the runbook is met by ")
        assert (told["kind"], told["approvers"]) == ("advice", [])


def test_the_figures_are_told() -> None:
    told = approval.condition_of("", "down_minutes=12.5")
    assert told["because"] == "down_minutes=12.5"
    assert approval.condition_of("", {"down_minutes": 3})["words"].endswith("met by down_minutes=3")


def test_a_name_counts_before_figures_but_figures_must_make_sense() -> None:
    assert approval.condition_of("security", {"down_minutes": 20})["name"] == "security"
    assert "refusal" in approval.condition_of("security", {"down_minutes": "long"})


def test_without_anything_nothing_is_claimed() -> None:
    nothings: list[object] = [None, {}, ""]
    for nothing in nothings:
        told = approval.condition_of("", nothing)
        assert (told["name"], told["kind"], told["words"]) == ("", "advice", "no trigger was given")


@pytest.mark.parametrize(
    "observed",
    [
        {"error_rate_percent": "high"}, {"error_rate_percent": True}, {"error_rate_percent": None},
        {"error_rate_percent": -1}, {"error_rate_percent": 101}, {"error_rate_percent": float("nan")},
        {"down_minutes": "inf"}, {"down_minutes": [11]}, {"error_rate": 7}, {7: 7},
        "down_minutes", "down_minutes=", "=7", "down_minutes=1,down_minutes=20", "{down}", "[]", [], 7, False,
    ],
)  # fmt: skip
def test_figures_that_are_none_are_refused(observed: object) -> None:
    told = approval.condition_of("", observed)
    assert told["refusal"]
    assert told["next_step"]


@given(st.one_of(st.text(), st.dictionaries(st.sampled_from(sorted(approval.FIGURES)), st.text() | st.floats())))
def test_whatever_is_observed_a_condition_or_a_refusal_comes_back(observed: object) -> None:
    told = approval.condition_of("", observed)
    assert "refusal" in told or told["name"] in {"", *approval.CONDITIONS}


@given(st.dictionaries(st.sampled_from(sorted(approval.FIGURES)), st.floats(0, 100)), st.sampled_from([1.0, 2.0]))
def test_worse_figures_never_make_a_lesser_condition(figures: dict[str, float], factor: float) -> None:
    names = [*approval.CONDITIONS, ""]
    worse = dict(figures)
    for key in set(figures) - {"p95_baseline_milliseconds"}:
        worse[key] = min(figures[key] * factor, 100)
    before, after = (approval.condition_of("", told)["name"] for told in (figures, worse))
    assert names.index(after) <= names.index(before)


# What the inventory says otherwise


def test_the_inventory_may_say_who_and_how_soon() -> None:
    matrix = {"error_rate": {"approvers": ["devops_lead"], "deadline_minutes": 30}}
    told = approval.condition_of("error_rate", matrix=matrix)
    assert (told["approvers"], told["action"]) == (["devops_lead"], "rollback within 30 min")
    soon = approval.condition_of("critical_feature", matrix={"critical_feature": {"deadline_minutes": 60}})
    assert soon["action"] == "rollback or hotfix within 60 min"
    assert (
        approval.condition_of("error_rate", matrix={"error_rate": {"deadline_minutes": None}})["action"] == "rollback"
    )
    assert approval.condition_of("error_rate")["action"] == "rollback within 15 min", "the table itself was changed"


@pytest.mark.parametrize(
    "matrix",
    [
        {"meteor": {}}, {"security": {"stop_first": False}}, {"security": {"approvers": []}}, {"security": []},
        {"security": {"approvers": ["team-lead"]}}, {"security": {"approvers": "on_call"}}, ["security"], "x",
        {"security": {"approvers": ["on_call", "on_call"]}}, {"security": {"deadline_minutes": "soon"}},
        {"security": {"deadline_minutes": -1}}, {"security": {"deadline_minutes": True}},
    ],
)  # fmt: skip
def test_a_matrix_that_makes_no_sense_is_refused_whatever_the_trigger(matrix: object) -> None:
    for trigger in ("", "service_down"):
        assert "rollback_decision_matrix" in approval.condition_of(trigger, None, matrix)["refusal"]


# Who approved


def asked(*roles: str) -> dict[str, Any]:
    """Return a condition that wants these roles."""
    return {"approvers": list(roles)}


@pytest.mark.parametrize(
    ("roles", "approved_by", "granted", "missing"),
    [
        (["on_call", "team_lead"], "ann,bob", {"on_call": "Bob", "team_lead": "Ann"}, []),
        (["on_call", "team_lead"], "bob,ann", {"on_call": "Bob", "team_lead": "Ann"}, []),
        (["on_call", "team_lead"], "ann", {"on_call": "Ann"}, ["team lead"]),
        (["on_call", "team_lead"], "ann, ANN", {"on_call": "Ann"}, ["team lead"]),
        (["on_call", "team_lead"], "bob", {"on_call": "Bob"}, ["team lead"]),
        (["on_call", "team_lead"], "", {}, ["on-call engineer", "team lead"]),
        (["on_call"], [" aNN  "], {"on_call": "Ann"}, []),
        (["product_owner"], "ann,bob", {}, ["product owner"]),
        (["database_admin"], "zoe", {"database_admin": "zoe"}, []),
        (["on_call", "database_admin"], "ann", {"on_call": "Ann"}, ["database admin"]),
        (["database_admin", "on_call"], "ann,zoe", {"database_admin": "zoe", "on_call": "Ann"}, []),
        ([], "carl", {"product_owner": "Carl"}, []),
        ([], "zoe", {}, ["one name"]),
        ([], "zoe,ann", {"on_call": "Ann"}, []),
        ([], "", {}, ["one name"]),
    ],
)
def test_names_fill_roles(roles: list[str], approved_by: object, granted: dict[str, str], missing: list[str]) -> None:
    told = approval.approval(asked(*roles), approved_by, PEOPLE)
    assert (told["granted"], told["missing"], told["complete"]) == (granted, missing, not missing)


def test_where_the_inventory_lists_nobody_any_names_count_but_two_are_two() -> None:
    nobodies: list[object] = [None, {}, {"on_call": []}]
    for people in nobodies:
        assert approval.approval(asked("on_call", "team_lead"), "x", people)["missing"] == ["team lead"]
        both = approval.approval(asked("on_call", "team_lead"), "x,y", people)
        assert both["granted"] == {"on_call": "x", "team_lead": "y"}
        assert approval.approval(asked(), "x", people)["granted"] == {"anyone": "x"}


def test_a_name_that_nobody_knows_is_told_unless_it_counts() -> None:
    assert approval.approval(asked("on_call"), "ann,zoe", PEOPLE)["unknown"] == ["zoe"]
    assert approval.approval(asked("database_admin"), "zoe", PEOPLE)["unknown"] == []
    assert approval.approval(asked("on_call"), "zoe", {})["unknown"] == []


def test_who_started_the_run_approves_nothing() -> None:
    told = approval.approval(asked("on_call"), "", PEOPLE, "ann")
    assert (told["complete"], told["operator"]) == (False, "ann")


@pytest.mark.parametrize("approved_by", ["ann,,bob", "ann,", ",", [""], [" "], ["ann", None], {"ann": 1}, 5, "a\x04b"])
def test_empty_names_and_things_that_are_none_are_refused(approved_by: object) -> None:
    assert "approved_by=" in approval.approval(asked("on_call"), approved_by, PEOPLE)["refusal"]


@pytest.mark.parametrize(
    "people", [{"team-lead": ["ann"]}, {"on_call": ["ann", ""]}, {"on_call": 5}, ["ann"], {"on_call": {"ann": 1}}]
)
def test_people_that_protect_nothing_are_refused(people: object) -> None:
    """A role with a typing error would list nobody, and any name would do."""
    assert "rollback_approvers" in approval.approval(asked("on_call"), "ann", people)["refusal"]


NAMES = st.lists(st.sampled_from(list("abcde")), max_size=4)


@given(
    st.lists(st.sampled_from(sorted(approval.ROLES)), min_size=1, max_size=4, unique=True),
    NAMES,
    st.dictionaries(st.sampled_from(sorted(approval.ROLES)), NAMES),
)
def test_as_many_roles_are_filled_as_can_be(roles: list[str], names: list[str], people: dict[str, list[str]]) -> None:
    told = approval.approval(asked(*roles), names, people)
    granted = told["granted"]
    assert len(set(granted.values())) == len(granted)
    assert all(name in names and name in (people.get(role) or names) for role, name in granted.items())
    someone: list[str | None] = [*set(names), *[None] * len(roles)]
    best = max(
        sum(name is not None and name in (people.get(role) or names) for role, name in zip(roles, row))
        for row in itertools.permutations(someone, len(roles))
    )
    assert len(granted) == best
    assert told["complete"] is (best == len(roles))
    assert len(told["missing"]) == len(roles) - best


# What an approval covers


def with_database() -> dict[str, Any]:
    """Return the real plan with a database that goes back."""
    plan = copy.deepcopy(PLAN)
    plan["results"]["prepare_database"] = {
        "decision": "restore",
        "backup": {"path": "/b/x.sql.gz", "sha256": "aa", "taken_at": "2024-12-28T01:45:00Z"},
        "loss": {"tables": {"public.pools": 3, "public.log": 900}, "rows": 903, "seconds": 60},
    }
    plan["results"]["revert_migrations"] = {"command_lines": [["down", "7"]]}
    assert isinstance(plan, dict)
    return plan


def changed_plan(change: Callable[[dict[str, Any]], Any]) -> str:
    """Return the sum of the plan after a change to it."""
    plan = with_database()
    change(plan)
    return approval.plan_sum(plan, "4h")


def database(plan: dict[str, Any]) -> dict[str, Any]:
    """Return what a plan says of the database."""
    told: dict[str, Any] = plan["results"]["prepare_database"]
    return told


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(project="other"),
        lambda plan: plan.update(host="other"),
        lambda plan: plan.update(scenario="database_migration"),
        lambda plan: plan["checkout"]["before"].update(commit="0" * 40),
        lambda plan: plan["release"].update(commit="0" * 40),
        lambda plan: plan["steps"].reverse(),
        lambda plan: database(plan).update(decision="skip"),
        lambda plan: database(plan)["backup"].update(path="/b/y.sql.gz"),
        lambda plan: database(plan)["backup"].update(sha256="bb"),
        lambda plan: database(plan)["loss"]["tables"].update({"public.users": 1}),
        lambda plan: database(plan)["loss"]["tables"].pop("public.log"),
        lambda plan: plan["results"]["revert_migrations"]["command_lines"].clear(),
        lambda plan: plan["results"]["stop_services"]["order"].pop(),
    ],
)
def test_another_plan_has_another_sum(change: Callable[[dict[str, Any]], Any]) -> None:
    assert changed_plan(change) != approval.plan_sum(with_database(), "4h")


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(run_id="20300101T000000Z-0000", reason="another"),
        lambda plan: database(plan)["loss"].update(rows=5000, seconds=99999),
        lambda plan: database(plan)["loss"]["tables"].update({"public.pools": 77, "public.users": 0}),
        lambda plan: database(plan)["backup"].update(taken_at="2024-12-28T01:45:01Z"),
        lambda plan: plan["results"]["stop_services"]["services"].clear(),
        lambda plan: plan["results"]["prepare_release"].update(seconds=99.0),
    ],
)
def test_time_and_writing_do_not_change_the_sum(change: Callable[[dict[str, Any]], Any]) -> None:
    assert changed_plan(change) == approval.plan_sum(with_database(), "4h")


def test_the_sum_covers_what_may_be_lost_and_every_host() -> None:
    one, other = with_database(), with_database() | {"host": "other"}
    assert approval.plan_sum(one, "4h") == approval.plan_sum([one], " 4H ")
    sums = {approval.plan_sum(plans, "4h") for plans in ([one], [other], [one, other], [one, one])}
    assert len(sums) == 4
    assert approval.plan_sum([one, other]) == approval.plan_sum([other, one])
    assert approval.plan_sum(one, "4h") != approval.plan_sum(one, "true")
    assert len(SUM) == 12
    assert int(SUM, 16) >= 0


def test_who_goes_on_with_a_run_needs_no_new_approval_for_losing_less() -> None:
    """Once the database is changed nothing more is lost; a table that was not approved asks again."""
    first = with_database()
    approved = {"approved": database(first)}
    for tables, same in (({}, True), ({"public.pools": 3}, True), ({"public.pools": 3, "public.odd": 1}, False)):
        later = with_database() | approved
        database(later)["loss"] = {"tables": tables}
        assert (approval.plan_sum(later, "4h") == approval.plan_sum(first, "4h")) is same


# What is shown


def test_the_lines_of_a_decision_without_approvals() -> None:
    assert approval.approval_lines(facts(trigger="data_at_risk")) == [
        "Decision: P0, data at risk (data_at_risk; named by the operator): immediate rollback",
        "Note: the runbook stops the services first in this case; -e stop_first=true does it",
        "Prerequisite, release identified: v1.0.2 (5735e28ff2e3), by this plan",
        "Prerequisite, team notified: step 1 runs notify_rollback.sh; update_status.sh",
        "Prerequisite, incident channel: not named (-e incident=NAME)",
        "Prerequisite, decision approved: MISSING on-call engineer (Ann or Bob); MISSING team lead (Ann)",
        f"The plan is {SUM}; with -e approved_plan={SUM} no other one is carried out",
    ]


def test_the_lines_of_a_decision_with_approvals() -> None:
    plan = copy.deepcopy(PLAN) | {"steps": ["announce", "stop_services", "prepare_release"]}
    plan["skipped"] = {"announce": "no command is configured"}
    told = facts(
        trigger="security", approved_by="bob,ann,zoe", incident=" #inc-7 ", plans=[plan], approved_plan="0" * 12
    )
    lines = approval.approval_lines(told)
    assert not [line for line in lines if line.startswith("Note")]
    assert lines[2:] == [
        "Prerequisite, team notified: no command is configured: do it by hand",
        "Prerequisite, incident channel: #inc-7",
        "Prerequisite, decision approved: on-call engineer: Bob; team lead: Ann",
        "Does not count: zoe, whom the inventory lists for no role (rollback_approvers)",
        f"the plan changed since it was approved (approved 000000000000, now {SUM})",
    ]


@pytest.mark.parametrize("off", ["off", False, "False", " OFF "])
def test_off_is_said_and_nothing_is_asked(off: object) -> None:
    told = facts(approvals=off)
    assert "Prerequisite, decision approved: approvals: off in the inventory" in approval.approval_lines(told)
    assert approval.approval_question(told) == ""
    outcome = approval.approval_outcome(told, NOBODY)
    assert (outcome["refusal"], outcome["approval"]["approvals"]) == ("", "off")


def test_another_word_than_required_and_off_is_refused() -> None:
    assert "rollback_approvals is 'never'" in approval.approval_refusal(facts(approvals="never"))
    assert (
        approval.approval_refusal(facts(approvals="required")) == approval.approval_refusal(facts(approvals=True)) == ""
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"trigger": "meteor"}, "meteor"), ({"approved_by": "a,,b"}, "approved_by"), ({"people": {"x": []}}, "role x")],
)
def test_what_makes_no_sense_is_refused_even_when_off(changes: dict[str, Any], word: str) -> None:
    assert word in approval.approval_refusal(facts(approvals="off", **changes))


# What is asked, and what an answer does


def test_a_person_with_all_approvals_says_yes() -> None:
    told = facts(approved_by="ann,bob")
    assert approval.approval_question(told) == f"Type yes to carry out this plan ({SUM}), anything else stops"
    for yes in ("yes", " YES "):
        assert refusal_of(told, answered(yes)) == ""
    for other in ("", "y", "no", "yes please", "yesyes"):
        assert "not confirmed" in refusal_of(told, answered(other))


def test_without_a_terminal_all_approvals_suffice() -> None:
    outcome = approval.approval_outcome(facts(approved_by="ann,bob", incident="#7"), NOBODY)
    assert outcome["refusal"] == ""
    record = outcome["approval"]
    assert record.pop("condition")["name"] == "error_rate"
    assert record == {
        "approvals": "required", "approved_by": ["ann", "bob"], "granted": {"on_call": "Bob", "team_lead": "Ann"},
        "operator": "dora", "plan_sum": SUM, "asked": False, "incident": "#7",
    }  # fmt: skip


def test_the_record_says_what_awx_says_of_the_job() -> None:
    told = {"job_id": 42, "user_name": "ann", "workflow_job_id": 7}
    outcome = approval.approval_outcome(facts(approved_by=["Ann", "Bob"]) | {"awx": told}, NOBODY)
    assert outcome["approval"]["awx"] == told
    assert "AWX workflow job 7 says who approved its nodes" in workflow_of(outcome["approval"])
    without = approval.approval_outcome(facts(approved_by=["Ann", "Bob"]), NOBODY)["approval"]
    assert "awx" not in without
    assert workflow_of(without) == ""


def test_approvals_bound_to_the_plan_need_no_question() -> None:
    told = facts(approved_by="ann,bob", approved_plan=f" {SUM.upper()} ")
    assert approval.approval_question(told) == ""
    assert refusal_of(told) == ""


def test_a_plan_that_changed_is_refused_whoever_approved_and_even_when_off() -> None:
    for changes in ({"approved_by": "ann,bob"}, {"approvals": "off"}, {}):
        told = facts(approved_plan="abc", **changes)
        assert approval.approval_question(told) == ""
        refusal = refusal_of(told, answered("yes"))
        assert refusal.startswith(f"The plan changed since it was approved (approved abc, now {SUM}).")


def test_a_sum_alone_approves_nothing() -> None:
    assert "missing: on-call engineer (Ann or Bob); team lead (Ann)." in refusal_of(facts(approved_plan=SUM))


def test_a_refusal_says_who_is_missing_and_what_to_add() -> None:
    assert refusal_of(facts(approved_by="bob,zoe")) == (
        "The decision is not approved; missing: team lead (Ann). Does not count: zoe, listed for no role "
        f"(rollback_approvers). Add -e approved_by=NAME[,NAME], and -e approved_plan={SUM} to bind it to this plan."
    )


def test_a_refusal_says_why_nobody_was_asked() -> None:
    refusal = refusal_of(facts(), NOBODY | {"why": "the environment sets CI"})
    assert "team lead (Ann). Nobody could be asked: the environment sets CI. Add -e" in refusal


def test_missing_names_can_be_typed() -> None:
    told = facts(approved_by="bob")
    question = approval.approval_question(told)
    assert "team lead (Ann)" in question
    assert question.endswith("Type the names of who approved (comma separated), or press Enter to stop")
    outcome = approval.approval_outcome(told, answered("ann"))
    assert (outcome["refusal"], outcome["approval"]["asked"]) == ("", True)
    assert outcome["approval"]["approved_by"] == ["bob", "ann"]
    assert "missing: team lead" in refusal_of(told, answered(""))
    assert "missing: team lead" in refusal_of(told, answered("yes"))
    assert "empty name" in refusal_of(told, answered("ann,,"))


def test_an_answer_that_nobody_gave_counts_for_nothing() -> None:
    assert refusal_of(facts(approved_by="bob"), {"asked": False, "answer": "ann"})


# Whether somebody sits at the terminal


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, ""), ({"TERM": "xterm"}, ""), ({"CI": ""}, ""), ({"CI": "false"}, ""), ({"CI": "true"}, "CI"),
        ({"AWX_ISOLATED_DATA_DIR": "/runner/artifacts/1"}, "AWX_ISOLATED_DATA_DIR"), ({"AWX_HOST": "x"}, "AWX_HOST"),
    ],
)  # fmt: skip
def test_unattended(environment: dict[str, str], variable: str) -> None:
    assert approval.unattended(environment) == variable
