# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A security incident: its stages in their order, what it forbids to other runs, its questions, and its review."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.damage_assessment import (
    assessment_questions,
    assessment_refusal,
    damage_assessment,
)
from ansible_collections.usdx.rollback.plugins.module_utils.follow_up import run_to_follow
from ansible_collections.usdx.rollback.plugins.module_utils.security_incident import (
    STAGES,
    incident_lines,
    incident_of,
    incident_refusal,
    next_stage,
    operators_of,
    stage_refusal,
)
from ansible_collections.usdx.rollback.plugins.module_utils.security_review import review_refusal, reviewed_by

CONTAIN, ASSESS, RECOVER, RELEASE = STAGES
SCENARIO = "security_incident"
QUESTIONS = ["What was read?", "Since when?"]


def opened(*users: str) -> list[dict[str, Any]]:
    """Return the events of a run that the first of these people started and the others went on with."""
    names = ["run_started", *["run_resumed"] * (len(users) - 1)]
    return [{"event": name, "facts": {"controller": {"user": user}}} for name, user in zip(names, users)]


def lost(number: int) -> dict[str, Any]:
    """Return the run of a minute whose journal cannot be read."""
    run_id = f"2026112{number}T000000Z-0000"
    return {
        "run_id": run_id, "scenario": "", "state": "unreadable", "why": "It is a link.", "started": None, "events": [],
        "damaged_lines": 0, "path": f"/state/runs/{run_id}/journal.jsonl",
    }  # fmt: skip


def runs(*told: str) -> list[dict[str, Any]]:
    """Return runs, the newest first, from words in the order of time: ``contain``, ``assess:failed``, ``rollback``."""
    found = []
    for number, words in enumerate(told):
        name, _colon, state = words.partition(":")
        stage = {"stage": name} if name in STAGES else {}
        found.append(
            {
                "run_id": f"2026112{number}T000000Z-0000",
                "scenario": SCENARIO if stage else name,
                "state": state or "succeeded",
                "started": f"start {number}",
                "ended": f"end {number}",
                "inputs": stage,
                "commit": f"{number}" * 40,
                "events": opened(f"user{number}"),
                "damaged_lines": 0,
                "path": f"/state/runs/2026112{number}T000000Z-0000/journal.jsonl",
                "undone_by": None,
            }
        )
    return found[::-1]


def refusal(stage: str, *told: str, **typed: object) -> str:
    return incident_refusal(incident_of(runs(*told)), SCENARIO, stage, **typed)


@pytest.mark.parametrize(
    ("told", "since", "following"),
    [
        ([], "", CONTAIN),
        (["rollback", "assess", "release"], "", CONTAIN),
        (["contain"], "start 0", ASSESS),
        (["contain:failed"], "start 0", CONTAIN),
        (["contain:unfinished"], "start 0", CONTAIN),
        (["rollback", "contain", "assess"], "start 1", RECOVER),
        (["contain", "assess", "recover", "release:failed"], "start 0", RELEASE),
        (["contain", "assess", "recover", "release"], "", CONTAIN),
        (["contain", "assess", "recover", "release", "rollback", "contain"], "start 5", ASSESS),
        (["contain", "assess", "recover", "contain"], "start 0", RELEASE),
    ],
)
def test_an_incident_begins_with_contain_and_ends_with_a_release(told: list[str], since: str, following: str) -> None:
    found = incident_of(runs(*told))
    assert (found["since"], next_stage(found)) == (since, following)


def test_a_journal_that_cannot_be_read_may_hide_an_incident_so_nothing_but_contain_goes_on() -> None:
    hidden = incident_of([*runs("rollback"), lost(0)])
    assert [one["run_id"] for one in hidden["unknown"]] == ["20261120T000000Z-0000"]
    for scenario, stage in (("rollback", ""), *((SCENARIO, stage) for stage in (ASSESS, RECOVER, RELEASE))):
        told = incident_refusal(hidden, scenario, stage)
        assert "/state/runs/20261120T000000Z-0000/journal.jsonl cannot be read: It is a link." in told
        assert "mv /state/runs/20261120T000000Z-0000 /state/runs/20261120T000000Z-0000.unreadable" in told
    assert incident_refusal(hidden, SCENARIO, CONTAIN) == ""
    assert any("It is a link." in line for line in incident_lines(hidden))


def test_an_open_incident_whose_recovery_cannot_be_read_is_not_released() -> None:
    told = incident_of([lost(9), *runs("contain", "assess", "recover")])
    assert "cannot be read" in incident_refusal(told, SCENARIO, RELEASE)


def test_what_a_release_has_ended_is_over_also_where_a_journal_of_before_cannot_be_read() -> None:
    told = incident_of([*runs("contain", "assess", "recover", "release"), lost(0)])
    assert told["unknown"] == []
    assert incident_refusal(told, "rollback") == ""


def test_a_journal_that_lost_its_first_line_is_not_known_and_one_with_a_torn_last_line_is() -> None:
    (begun,) = runs("rollback")
    headless = {**begun, "scenario": "", "inputs": {}, "events": [{"event": "step_started"}], "damaged_lines": 1}
    assert "has a damaged first line" in incident_refusal(incident_of([headless]), "rollback")
    torn = {**begun, "damaged_lines": 1}
    assert incident_refusal(incident_of([torn]), "rollback") == ""
    never_begun = {**headless, "events": [], "started": None, "damaged_lines": 0}
    assert incident_refusal(incident_of([never_begun]), "rollback") == ""


def test_how_it_stands_names_each_stage_and_the_next() -> None:
    assert incident_lines(incident_of([])) == ["Security incident: none is open"]
    lines = incident_lines(incident_of(runs("contain", "assess:failed")))
    assert lines[0] == "Security incident, open since start 0"
    assert "contain: succeeded at end 0 (run 20261120T000000Z-0000)" in lines[1]
    assert "assess: failed" in lines[2]
    assert "recover: open" in lines[3]
    assert lines[-1] == "Next: -e stage=assess"


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (CONTAIN, []),
        (CONTAIN, ["contain", "assess", "recover"]),
        (ASSESS, ["contain"]),
        (RECOVER, ["contain", "assess"]),
        (RECOVER, ["contain", "assess", "recover:failed"]),
        (RELEASE, ["contain", "assess", "recover"]),
        (RELEASE, ["contain", "assess", "recover", "release:failed"]),
    ],
)
def test_a_stage_in_its_turn_may_be_carried_out(stage: str, told: list[str]) -> None:
    assert refusal(stage, *told) == ""


@pytest.mark.parametrize(
    ("stage", "told", "words"),
    [
        (ASSESS, [], "Begin with -e stage=contain"),
        (RELEASE, ["contain", "assess", "recover", "release"], "Begin with -e stage=contain"),
        (ASSESS, ["contain:failed"], "usdx.rollback.resume -e run=20261120T000000Z-0000"),
        (RECOVER, ["contain"], "-e stage=assess"),
        (RECOVER, ["contain", "assess", "contain:unfinished"], "The stage contain is unfinished"),
        (RELEASE, ["contain", "assess"], "-e false_alarm=true"),
        (RELEASE, ["contain", "assess", "recover:failed"], "The stage recover is failed"),
    ],
)
def test_a_stage_out_of_its_turn_is_refused_with_what_to_type(stage: str, told: list[str], words: str) -> None:
    assert words in refusal(stage, *told)


def test_a_false_alarm_needs_no_recovery_but_an_assessment() -> None:
    for typed in (True, "true", "yes"):
        assert refusal(RELEASE, "contain", "assess", false_alarm=typed) == ""
    assert "recover" in refusal(RELEASE, "contain", "assess", false_alarm="false")
    assert "-e stage=assess" in refusal(RELEASE, "contain", false_alarm=True)
    assert "has begun to recover (failed)" in refusal(RELEASE, "contain", "assess", "recover:failed", false_alarm=True)


def test_nothing_else_works_on_the_application_while_an_incident_is_open() -> None:
    told = incident_of(runs("contain"))
    for scenario in ("rollback", "undo", "infrastructure_issue"):
        assert "security_incident -e stage=assess" in incident_refusal(told, scenario)
        assert incident_refusal(incident_of([]), scenario) == ""


def test_a_stage_that_is_none_is_refused_with_those_that_there_are() -> None:
    assert [stage_refusal(stage) for stage in STAGES] == [""] * 4
    assert "No stage was given" in stage_refusal("")
    assert all(f"-e stage={stage}" in stage_refusal("clean") for stage in STAGES)


def test_what_starts_nothing_is_not_followed() -> None:
    assert run_to_follow({"runs": runs("rollback", "contain", "assess", "recover")}) == "20261120T000000Z-0000"
    assert run_to_follow({"runs": runs("rollback", "contain", "release")}) == "20261122T000000Z-0000"


# The review


def test_everybody_who_carried_out_or_went_on_with_a_recovery_is_no_reviewer() -> None:
    found = runs("contain", "assess", "recover:failed", "assess", "recover")
    found[2]["events"], found[0]["events"] = opened("eve", "Dan", "eve"), opened("fay")
    told = incident_of(found)
    operators = operators_of(told, "ann")
    assert operators == ["ann", "eve", "Dan", "fay"]
    for typed in ("eve", "dan", "Fay", "ann,eve,dan,fay"):
        assert "cannot review own work" in review_refusal(typed, operators)
    assert review_refusal("user3", operators) == ""


def test_the_commit_that_the_last_recovery_left_is_known() -> None:
    told = incident_of(runs("contain", "assess", "recover", "recover"))
    assert told["stages"][RECOVER]["commit"] == "3" * 40


def test_who_recovered_in_an_incident_before_may_review_this_one() -> None:
    told = incident_of(runs("contain", "assess", "recover", "release", "contain", "assess", "recover"))
    assert operators_of(told, "ann") == ["ann", "user6"]


def test_somebody_else_must_have_reviewed() -> None:
    operators = operators_of(incident_of(runs("contain", "assess", "recover")), "ann")
    assert operators == ["ann", "user2"]
    assert review_refusal("bob", operators) == ""
    assert reviewed_by("Ann, bob", operators) == ["bob"]
    for typed, words in (
        ("", "Nobody has reviewed"), (None, "Nobody has reviewed"), ("ann", "cannot review own work"),
        ("ANN, User2", "cannot review own work"), ("bob,,", "empty name"), ({"bob": 1}, "no name"),
    ):  # fmt: skip
        assert words in review_refusal(typed, operators)
        assert "The application stays stopped" in review_refusal(typed, operators) or typed in ("", None)


def test_only_those_who_may_review_count() -> None:
    assert review_refusal("bob", ["ann"], ["Bob", "Eve"]) == ""
    assert "rollback_security_reviewers: Eve" in review_refusal("bob", ["ann"], ["Eve"])
    assert reviewed_by("bob,eve", ["ann"], ["Eve"]) == ["eve"]
    assert "rollback_security_reviewers" in review_refusal("bob", ["ann"], [""])


def test_an_operator_without_a_name_does_not_open_the_gate_to_everybody() -> None:
    assert "Nobody has reviewed" in review_refusal("", ["", ""])
    assert review_refusal("bob", ["", ""]) == ""


# The damage


def test_answers_are_kept_with_who_gave_them_and_the_rest_stays_open() -> None:
    rows = damage_assessment(QUESTIONS, {"2": "since\x1b[31m noon"}, "ann")
    assert rows[0] == {"name": "What was read?", "state": "open", "by": "", "note": ""}
    assert rows[1] == {"name": "Since when?", "state": "done", "by": "ann", "note": "since [31m noon"}
    assert damage_assessment(QUESTIONS, {"since WHEN?": "noon"}, "ann")[1]["state"] == "done"


def test_replies_at_the_terminal_count_where_nothing_was_typed() -> None:
    replies = [{"asked": True, "answer": "nothing"}, {"asked": True, "answer": "later"}]
    rows = damage_assessment(QUESTIONS, {"2": "noon"}, "ann", replies)
    assert [row["note"] for row in rows] == ["nothing", "noon"]
    assert (
        damage_assessment(QUESTIONS, {}, "ann", [{"asked": False, "answer": "", "why": "no terminal"}])[0]["by"] == ""
    )
    assert [text.splitlines()[0] for text in assessment_questions(QUESTIONS)] == [
        "Question 1 of 2: What was read?",
        "Question 2 of 2: Since when?",
    ]


@pytest.mark.parametrize(
    ("answers", "by", "words"),
    [
        ("noon", "ann", "is no dictionary"),
        ({"3": "x"}, "ann", "answers names 3"),
        ({"Who?": "x"}, "ann", "answers names Who?"),
        ({"1": "x", "What was read?": "y"}, "ann", "two answers to one question"),
        ({"1": "x"}, "", "-e manual_checks_by=NAME"),
    ],
)
def test_answers_that_cannot_be_recorded_are_refused(answers: object, by: str, words: str) -> None:
    told = assessment_refusal(QUESTIONS, answers, by)
    assert words in told
    assert "Nothing was changed" in told


def test_no_answer_is_no_mistake() -> None:
    assert assessment_refusal(QUESTIONS, {}, "") == assessment_refusal(QUESTIONS, {1: "x"}, "ann") == ""


def test_answers_of_a_survey_are_a_json_text() -> None:
    text = '{"2": "noon"}'
    assert assessment_refusal(QUESTIONS, text, "ann") == ""
    assert damage_assessment(QUESTIONS, text, "ann") == damage_assessment(QUESTIONS, {"2": "noon"}, "ann")
    for wrong in ('{"2": "noon"', "noon", "[1]"):
        assert "is no dictionary" in assessment_refusal(QUESTIONS, wrong, "ann")
