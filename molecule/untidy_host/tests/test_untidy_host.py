# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Local edits are kept under a name, a container that is gone is no obstacle, what ignores SIGTERM is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack
    from testinfra.host import Host


def test_users_get_the_old_release(stack: Stack) -> None:
    code, screen = stack.screen()
    assert code == 0, screen
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()


def test_the_container_that_was_gone_runs(stack: Stack) -> None:
    assert "nginx" not in stack.containers(stack.before)
    assert stack.containers(stack.now)["nginx"]["status"] == "running"


def test_the_edits_can_be_got_back(stack: Stack, machine: Host) -> None:
    project = str(stack.directory / "project")
    refs = machine.check_output("git -C %s for-each-ref --format='%%(refname)' refs/rollback/", project).split()
    (edits,) = [ref for ref in refs if ref.endswith("/local-edits")]
    assert '"hotfix": "by hand"' in machine.check_output("git -C %s show %s:package.json", project, edits)
    assert "hotfix" not in machine.file(f"{project}/package.json").content_string


def test_what_git_does_not_know_stays_and_is_named(stack: Stack, machine: Host) -> None:
    assert machine.file(str(stack.directory / "project" / "migrations" / "by_hand.sql")).exists
    _code, screen = stack.screen()
    assert "migrations/by_hand.sql" in screen
    assert "package.json" in screen


def test_the_kill_is_named(stack: Stack) -> None:
    _code, screen = stack.screen()
    assert "killed: " in screen
    (stopped,) = [
        event for event in stack.journal() if event["event"] == "step_finished" and event["step"] == "stop_services"
    ]
    assert stopped["facts"]["killed"] == [f"{stack.project}-indexer-1"]
