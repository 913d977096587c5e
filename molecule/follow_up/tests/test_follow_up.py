# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows a run: the screen, what is kept in the journal, and what is refused. No service of it runs here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stack import Stack

RUN = "20261124T150405Z-3f9a"


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.split())


def notes(stack: Stack) -> list[dict[str, Any]]:
    """Return what was noted in the journal after the end of the run."""
    path = stack.directory / "state" / "runs" / RUN / "journal.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [event["facts"] for event in events if event["event"] == "follow_up"]


def test_what_is_open_is_shown_and_a_check_writes_nothing(stack: Stack) -> None:
    code, words = words_of(stack, 0)
    assert code == 0, words
    assert f"Run {RUN}, to v1.0.2" in words
    assert "open due" in words
    assert "Manual check: Connect wallet" in words
    assert "no container" in words, "services that do not run must not be ticked"
    assert "1 of 14 done, 13 open, 0 of them late." in words


def test_a_machine_ticks_once_and_a_person_by_name(stack: Stack) -> None:
    for number, changed in ((1, 1), (2, 0), (3, 1)):
        code, words = words_of(stack, number)
        assert code == 0, words
        assert f"changed={changed}" in words
    assert "3 of 14 done, 11 open" in words
    told = [[action["state"] for action in note["actions"]] for note in notes(stack) if "actions" in note]
    assert [(states.count("done"), states.count("open"), len(states)) for states in told] == [(1, 13, 14), (3, 11, 14)]
    ticks = [note["items"] for note in notes(stack) if "items" in note]
    assert [[(item["name"], item["by"]) for item in items] for items in ticks] == [
        [("User communications sent", "follow_up")],
        [("Manual check: Connect wallet", "Ann"), ("Incident timeline documented", "Ann")],
    ]


def test_an_issue_is_made_of_each_open_action_and_not_twice(stack: Stack) -> None:
    for number, changed in ((6, 2), (7, 0)):
        code, words = words_of(stack, number)
        assert code == 0, words
        assert f"changed={changed}" in words
        assert "Root cause identified, team_lead; issue https://example.com/21" in words
    assert [len(note["issues"]) for note in notes(stack) if "issues" in note] == [11]


def test_the_report_on_the_controller_shows_what_is_done_by_whom_and_what_is_open(stack: Stack) -> None:
    _code, words = words_of(stack, 7)
    _code, checked = words_of(stack, 0)
    place = stack.directory / "controller" / "usdx-runs" / RUN
    assert f"Report: {place / 'report.html'}" in words
    assert "Report: " not in checked, "--check writes nothing"
    (host,) = json.loads((place / "report.json").read_text(encoding="utf-8"))["hosts"]
    told = {one["name"]: one for one in host["follow_up"]}
    assert len(told) == 14
    wallet, cause = told["Manual check: Connect wallet"], told["Root cause identified"]
    noted = (stack.directory / "state" / "runs" / RUN / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert wallet["at"] in [json.loads(line)["time"] for line in noted if "Connect wallet" in line]
    assert (wallet["state"], wallet["by"]) == ("done", "Ann")
    assert (cause["state"], cause["by"], cause["at"]) == ("open", "", None)
    assert cause["issue"] == "https://example.com/21"
    assert told["User communications sent"]["by"] == "follow_up"
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "3 of 14 done, 11 open, 0 of them late" in page
    assert "by Ann, " in page


def test_what_cannot_be_noted_is_refused(stack: Stack) -> None:
    for number, told in (
        (4, "Add -e done_by=NAME"),
        (5, "names no command that makes an issue"),
        (8, "done names '99', which is not on the list"),
        (9, "nothing follows"),
    ):
        code, words = words_of(stack, number)
        assert code == 2, words
        assert told in words
    assert len(notes(stack)) == 3
