# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Earlier runs on the screen: the list, one of them, one that is not there, and a host where no run ever was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stack import Stack

DONE, CUT_OFF = "20261124T150405Z-3f9a", "20261124T160405Z-00ff"


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.split())


@pytest.mark.parametrize("number", [0, 1])
def test_the_runs_are_listed_with_check_and_without(stack: Stack, number: int) -> None:
    code, words = words_of(stack, number)
    assert code == 0, words
    assert f"{DONE} succeeded v1.0.3 -> v1.0.2 rollback" in words
    assert f"{CUT_OFF} not finished v1.0.3 -> v1.0.2 rollback" in words
    assert words.index(CUT_OFF) < words.index(DONE)
    assert "stopped at stop_services" in words
    assert "changed=0" in words


def test_the_story_of_a_run_that_was_gone_on_with(stack: Stack) -> None:
    code, words = words_of(stack, 2)
    assert code == 0, words
    for told in (
        f"Run {DONE}: rollback of usdx-runs on demo, succeeded",
        "by ann on laptop (pid 7)",
        "Approved by eve",
        "killed: usdx-runs-webapp-1",
        "FAILED after",
        "The disk is full.",
        "by bob on desk",
        f"refs/rollback/{DONE}/",
        "It is not undone.",
        f"state/runs/{DONE}/journal.jsonl",
    ):
        assert told in words, told


def test_the_story_of_a_run_that_was_cut_off(stack: Stack) -> None:
    code, words = words_of(stack, 3)
    assert code == 0, words
    assert "It was cut off in 'stop_services', or is still under way there." in words


def test_the_controller_has_the_report_of_a_run_that_was_shown_and_of_no_other(stack: Stack) -> None:
    _code, words = words_of(stack, 2)
    directory = stack.directory / "controller" / "usdx-runs"
    assert [path.name for path in directory.iterdir()] == [DONE]
    assert sorted(path.name for path in (directory / DONE).iterdir()) == [
        "demo.jsonl",
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
    ]
    page = (directory / DONE / "report.html").read_text(encoding="utf-8")
    assert "by bob on desk. It had failed in" in page
    assert "The disk is full." in page
    assert f"Report: {directory / DONE / 'report.html'}" in words


def test_a_run_that_is_not_there_is_refused_and_the_others_are_named(stack: Stack) -> None:
    code, words = words_of(stack, 4)
    assert code == 2
    assert "No run '20200101T000000Z-0000' is on record here." in words
    assert DONE in words
    assert CUT_OFF in words


def test_a_host_without_runs_says_so(stack: Stack) -> None:
    code, words = words_of(stack, 5)
    assert code == 0, words
    assert "No run is on record here." in words


def test_reading_left_nothing_behind(stack: Stack) -> None:
    runs = stack.directory / "state" / "runs"
    found = sorted(str(path.relative_to(runs)) for path in runs.rglob("*") if path.is_file())
    assert found == [f"{DONE}/journal.jsonl", f"{CUT_OFF}/journal.jsonl"]
    lines = (runs / CUT_OFF / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["run_started", "step_started"]
    assert not (stack.directory / "nowhere").exists()
