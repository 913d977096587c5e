# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole procedure on the demo: the old release answers, the data services never noticed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack
    from testinfra.host import Host


def test_users_get_the_old_release(stack: Stack) -> None:
    stack.assert_release_answers("v1.0.2")


def test_keep_services_are_the_same_containers(stack: Stack) -> None:
    stack.assert_keep_services_untouched()


def test_nothing_else_on_the_host_changed(stack: Stack) -> None:
    stack.assert_nothing_else_changed()
    others = {name: it for name, it in stack.before["containers"].items() if it["project"] == "usdx-bystander"}
    assert {name: stack.now["containers"][name] for name in others} == others


def test_people_were_told_in_order(stack: Stack, machine: Host) -> None:
    told = machine.file(str(stack.directory / "messages.log")).content_string
    positions = [told.index(text) for text in ("Rolling back to v1.0.2", "investigating", "resolved", "completed")]
    assert positions == sorted(positions)


def test_the_journal_tells_what_was_done(stack: Stack, machine: Host) -> None:
    (run,) = (stack.directory / "state" / "runs").iterdir()
    assert machine.file(str(run)).mode == 0o700
    assert machine.file(str(run / "journal.jsonl")).mode == 0o600
    events = [(event["event"], event.get("step")) for event in stack.journal()]
    assert events[0] == ("run_started", None)
    finished = [step for event, step in events if event == "step_finished"]
    assert finished == [
        "announce", "prepare_release", "prepare_database", "stop_services", "restore_database", "switch_release",
        "start_services", "verify_release", "monitor_release", "communicate",
    ]  # fmt: skip
    assert ("step_skipped", "revert_migrations") in events
    assert [event for event, _step in events[-2:]] == ["release_verified", "run_finished"]


def test_the_report_lies_beside_the_copy_of_the_journal(stack: Stack, machine: Host) -> None:
    (page,) = (stack.directory / "controller").glob("*/*/report.html")
    assert {path.name for path in page.parent.iterdir()} >= {"report.html", "report.md", "report.json", "junit.xml"}
    assert machine.file(str(page)).mode == 0o600
    report = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    assert report["state"] == "succeeded"
    assert report["run_id"] == page.parent.name
    assert report["before"].startswith("v1.0.3")


def test_no_secret_is_on_record(stack: Stack, machine: Host) -> None:
    secret = machine.check_output("grep ^POSTGRES_PASSWORD= %s", str(stack.directory / "project" / ".env"))
    password = secret.partition("=")[2]
    assert len(password) > 10
    for place in ("state", "controller"):
        assert machine.run("grep -r -F -e %s %s", password, str(stack.directory / place)).rc == 1
