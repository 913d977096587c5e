# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two rehearsals on the demo: one succeeds, one fails. Both leave production as it was, and nothing of the copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from stack import Stack


@pytest.fixture(params=["green", "checked", "red"])
def after(request: pytest.FixtureRequest) -> Stack:
    """Return the stack as it was after each of the rehearsals."""
    return Stack.of_scenario(moment=str(request.param))


def words(stack: Stack, name: str) -> tuple[int, str]:
    """Return exit code and words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(name)
    assert "Traceback" not in screen
    return code, " ".join(screen.replace("- '", " ").split())


def reports(stack: Stack) -> list[Path]:
    """Return the folders of the reports, in the order of the rehearsals."""
    return sorted((stack.directory / "controller").glob("*/rehearsals/*"))


def record(stack: Stack, number: int) -> dict[str, Any]:
    """Return what a rehearsal has measured."""
    told: dict[str, Any] = json.loads((reports(stack)[number] / "rehearsal.json").read_text(encoding="utf-8"))
    return told


def test_production_is_untouched(after: Stack) -> None:
    before, now = after.before, after.now
    assert after.containers(now) == after.containers(before)
    for part in ("tree", "repository", "databases"):
        assert now[part] == before[part], part
    assert after.ours(now["volumes"]) == after.ours(before["volumes"])
    assert after.ours(now["networks"]) == after.ours(before["networks"])
    assert now["events"] >= before["events"], "the indexer went on"


def test_nothing_of_the_copy_is_left(after: Stack) -> None:
    now = after.now
    kinds = ("containers", "images", "networks", "volumes")
    assert [name for kind in kinds for name in now[kind] if f"{after.project}-rehearsal-" in name] == []
    assert now["leavings"] == []
    assert set(now["state"]) <= {"rehearsals.jsonl", "rehearsal/lock.flock", "lock.flock"}
    lost = after.image_ids(after.before) - after.image_ids(now)
    assert not lost


def test_nobody_was_told(stack: Stack) -> None:
    told = stack.directory / "messages.log"
    assert not told.exists() or "Rolling back" not in told.read_text(encoding="utf-8")


def test_the_rehearsal_went_through_every_step_and_measured_it(stack: Stack) -> None:
    code, screen = words(stack, "green")
    assert code == 0, screen
    told = record(stack, 0)
    assert (told["state"], told["decision"], told["untouched"]) == ("succeeded", "restore", True)
    done = {step["name"]: step["seconds"] for step in told["steps"] if step["state"] == "done"}
    assert set(done) == {
        "prepare_release", "prepare_database", "stop_services", "restore_database", "switch_release",
        "start_services", "verify_release",
    }  # fmt: skip
    assert all(seconds > 0 for seconds in done.values())
    assert told["outage"] >= done["stop_services"] + done["start_services"]
    assert told["loss"]["rows"] > 0
    assert told["not_rehearsed"] == []
    assert {check["verdict"] for check in told["checks"] if check["decides"]} == {"passed"}
    assert f"Predicted outage: about {told['outage']:.0f} s" in screen


def test_the_plan_of_a_rollback_knows_of_it(stack: Stack) -> None:
    code, screen = words(stack, "plan")
    assert code == 0, screen
    assert f"about {record(stack, 0)['outage']:.0f} s, as measured by 1 rehearsal" in screen
    assert "Rehearsal: v1.0.2, " in screen


def test_a_rehearsal_that_fails_says_where_and_predicts_nothing(stack: Stack) -> None:
    code, screen = words(stack, "red")
    assert code == 2
    assert "The rehearsal failed in: rollback of the copy" in screen
    assert "The copy is removed, and production was not touched." in screen
    assert "usdx.rollback.resume" not in screen
    told = record(stack, 1)
    assert (told["state"], told["outage"], told["version"]) == ("failed", None, "v1.0.2"), "it chose the release itself"
    assert [step["name"] for step in told["steps"] if step["state"] == "failed"] == ["verify_release"]
    listed = words(stack, "list")[1]
    assert "rehearsal succeeded" in listed
    assert "rehearsal failed" in listed
    assert "No run is on record here." in listed


def test_check_mode_says_that_a_copy_can_be_made(stack: Stack) -> None:
    code, screen = words(stack, "checked")
    assert code == 0, screen
    assert "can be made for v1.0.2. Nothing was made." in screen
    assert "SUCCEEDED" not in screen


def test_ci_reads_the_outcome(stack: Stack) -> None:
    failures = [ET.parse(place / "junit.xml").getroot()[0].attrib["failures"] for place in reports(stack)]  # noqa: S314
    assert failures[0] == "0"
    assert int(failures[1]) >= 2


def test_no_secret_is_in_reports_records_and_screens(stack: Stack) -> None:
    lines = (stack.directory / "project" / ".env").read_text(encoding="utf-8").splitlines()
    password = dict(line.split("=", 1) for line in lines)["POSTGRES_PASSWORD"]
    files = [*(stack.directory / "controller").rglob("*"), *(stack.directory / "state").rglob("*")]
    texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
    assert len(texts) >= 7
    texts += [stack.screen(name)[1] for name in ("green", "red")]
    assert [text[:80] for text in texts if password in text] == []
