# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manual check is open until somebody says by name what he saw."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.checklist import (
    checklist_lines,
    checklist_questions,
    checklist_refusal,
    manual_checklist,
)
from ansible_collections.usdx.rollback.plugins.module_utils.report_text import summary_lines
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["Open the page", "Connect wallet", "Check pools, all of them"]


def states(rows: list[dict[str, str]]) -> list[str]:
    """Return the states in order."""
    return [row["state"] for row in rows]


def reply(answer: str) -> dict[str, Any]:
    """Return what the lookup returns for an answer."""
    return {"asked": True, "answer": answer, "why": ""}


def test_nothing_said_is_open() -> None:
    assert states(manual_checklist(NAMES)) == ["open"] * 3
    assert manual_checklist([]) == []
    assert set(manual_checklist(NAMES)[0]) == {"name", "state", "by", "note"}


@pytest.mark.parametrize(
    ("answer", "state", "note"),
    [
        ("y", "done", ""), ("YES", "done", ""), ("y, a bit slow", "done", "a bit slow"),
        ("n the list is empty", "failed", "the list is empty"), ("No: 404", "failed", "404"),
        ("", "open", ""), ("later", "open", "the answer was 'later'"),
        ("yesterday", "open", "the answer was 'yesterday'"),
    ],
)  # fmt: skip
def test_only_a_clear_answer_counts(answer: str, state: str, note: str) -> None:
    row = manual_checklist(NAMES, by="Ann", replies=[reply(answer)])[0]
    assert (row["state"], row["note"]) == (state, note)
    assert row["by"] == ("Ann" if state != "open" else "")


@given(st.text())
def test_any_answer_is_recorded_in_one_line(answer: str) -> None:
    row = manual_checklist(["x"], by="Ann", replies=[reply(answer)])[0]
    assert row["note"].isprintable()
    assert row["state"] != "done" or answer.strip().lower().startswith("y")


def test_where_nobody_can_be_asked_it_stays_open_and_says_why() -> None:
    unattended = [{"asked": False, "answer": "", "why": "standard input is no terminal"}] * 3
    rows = manual_checklist(NAMES, replies=unattended)
    assert states(rows) == ["open"] * 3
    assert rows[0]["note"] == "nobody was asked: standard input is no terminal"


@pytest.mark.parametrize("done", ["1,3", " 1 , 3 ", [1, 3], ["open the page", "Check pools, all of them"]])
def test_what_was_said_to_be_done_is_recorded_with_the_name(done: object) -> None:
    assert checklist_refusal(NAMES, done, "Ann") == ""
    rows = manual_checklist(NAMES, done, "Ann")
    assert states(rows) == ["done", "open", "done"]
    assert (rows[0]["by"], rows[0]["note"]) == ("Ann", "said when the run was started")


def test_an_answer_outweighs_what_was_said_before() -> None:
    assert states(manual_checklist(NAMES, "1", "Ann", [reply("n broken")])) == ["failed", "open", "open"]


@pytest.mark.parametrize(("done", "word"), [("4", "'4'"), ("0", "'0'"), ("all", "'all'"), (["Connect"], "'Connect'")])
def test_what_is_no_manual_check_is_refused(done: object, word: str) -> None:
    told = checklist_refusal(NAMES, done, "Ann")
    assert word in told
    assert "2 Connect wallet" in told
    assert "Nothing was changed" in told


def test_done_by_nobody_is_refused() -> None:
    assert "manual_checks_by" in checklist_refusal(NAMES, "1", " ")
    assert checklist_refusal(NAMES, "", "") == ""
    assert checklist_refusal([], None, None) == ""


def test_the_questions_and_the_lines_name_each_check() -> None:
    assert [question.split("\n")[0] for question in checklist_questions(NAMES)][1] == (
        "Manual check 2 of 3: Connect wallet"
    )
    rows = manual_checklist(NAMES, "1", "Ann", [reply(""), reply("n no wallet")])
    assert checklist_lines(rows) == [
        "Done by Ann: Open the page (said when the run was started)",
        "NOT GOOD, says Ann: Connect wallet (no wallet)",
        "Open, to be done by a person: Check pools, all of them",
    ]


def test_the_summary_shows_the_states_of_the_journal_and_what_did_not_pass() -> None:
    """What the journal does not know is open; a check that does not decide is to be looked at."""
    seen = "9 lines read, 1 look like errors: ERROR x"
    checks = [
        {"name": "web", "kind": "service", "verdict": "passed", "seen": ""},
        {"name": "web", "kind": "log", "verdict": "inconclusive", "seen": seen},
    ]
    facts = {"checks": checks, "checklist": manual_checklist(NAMES[:2], "2", "Ann")}
    plan = {
        "run_id": "r", "steps": ["restore_database"], "checkout": {},
        "release": {"name": "v1.0.2", "commit": "e55f523ed6b0"},
        "titles": {"verify_release": {"number": "6", "title": "Verify rollback"}},
    }  # fmt: skip
    event = {"event": "step_finished", "step": "verify_release", "elapsed": 1.0, "facts": facts}
    lines = summary_lines({"plan": plan, "events": [event], "journal": "/j", "manual_checks": NAMES})
    assert lines[1].endswith("; 1 of 2 checks passed")
    assert lines[2:] == [
        f"Look at log web: {seen}",
        "Open, to be done by a person: Open the page",
        "Done by Ann: Connect wallet (said when the run was started)",
        "Open, to be done by a person: Check pools, all of them",
        "Journal: /j",
    ]
