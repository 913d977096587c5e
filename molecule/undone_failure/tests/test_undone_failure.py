# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""With on_failure=undo a run that fails behind the stop ends with an error, and with everything as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stack import Stack


def journals(stack: Stack) -> list[list[dict[str, Any]]]:
    paths = sorted((stack.directory / "state" / "runs").glob("*/journal.jsonl"))
    return [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]


def test_the_command_ends_with_an_error_that_says_both(stack: Stack) -> None:
    code, screen = stack.screen()
    words = " ".join(screen.split())
    assert code == 2
    assert "failed: The project's command false failed" in words
    assert "It was undone, as on_failure=undo asks: everything is as it was before." in words


def test_two_runs_are_on_record(stack: Stack) -> None:
    failed, undo = journals(stack)
    assert failed[-1]["facts"]["outcome"] == "failed"
    assert undo[0]["facts"]["undo_of"] in stack.screen()[1]
    assert undo[-1]["facts"]["outcome"] == "succeeded"
    assert not (stack.directory / "state" / "lock.json").exists()


def test_both_runs_have_a_report(stack: Stack) -> None:
    pages = sorted((stack.directory / "controller").glob("*/*/report.json"))
    failed, undo = [json.loads(page.read_text(encoding="utf-8")) for page in pages]
    assert failed["headline"] == f"Undone by run {undo['run_id']}. Before that: Failed at step 6, Verify rollback"
    (host,) = failed["hosts"]
    assert "The project's command false failed" in host["failure"]["what"]
    assert "Running" in host["runs_now"] or "runs" in host["runs_now"]
    (command,) = failed["commands"]
    assert command["command"].startswith("ansible-playbook usdx.rollback.undo ")
    assert f"-e run={undo['run_id']}" in command["command"], "what is undone is neither gone on with nor undone again"
    assert (undo["state"], undo["undo_of"]) == ("succeeded", failed["run_id"])


def test_the_journal_keeps_what_had_passed_before_the_smoke_test_failed(stack: Stack) -> None:
    (event,) = [event for event in journals(stack)[0] if event["event"] == "step_failed"]
    checks = event["facts"]["checks"]
    assert {"endpoint", "image", "service", "requests", "log"} <= {check["kind"] for check in checks}
    assert {check["verdict"] for check in checks if check["kind"] != "log"} == {"passed"}


def test_everything_is_as_it_was(stack: Stack) -> None:
    assert stack.database_id(stack.now) == stack.database_id(stack.before)
    assert int(stack.sql("SELECT count(*) FROM events")[0]) >= stack.before["events"]
    assert stack.now["tree"] == stack.before["tree"]
    assert stack.now["repository"]["head"] == stack.before["repository"]["head"]
    before, now = stack.containers(stack.before), stack.containers(stack.now)
    assert {name: one["image"] for name, one in now.items()} == {name: one["image"] for name, one in before.items()}
    assert {one["status"] for one in now.values()} == {"running"}
    assert json.loads(stack.get("/health")[1])["version"] == "v1.0.3"
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
