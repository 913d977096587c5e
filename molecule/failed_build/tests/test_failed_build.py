# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that cannot be built: what ran still runs, or the last lines say how to bring it back."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
import snapshot
from cut_off import type_playbook

if TYPE_CHECKING:
    from stack import Stack


def test_the_services_never_stopped(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code != 0
    assert "this release cannot be built" in screen
    assert "still run" in screen.splitlines()[-1] or "still run" in screen
    indexer = stack.containers(stack.before)["indexer"]
    assert stack.now["containers"][f"{stack.project}-indexer-1"]["id"] == indexer["id"]


def test_with_the_services_stopped_first_the_command_that_brings_them_back_is_printed(stack: Stack) -> None:
    code, screen = stack.screen(2)
    assert code != 0
    assert {stack.containers(stack.now)[name]["status"] for name in ("indexer", "nginx", "webapp")} == {"exited"}
    command = shlex.split(next(line for line in screen.splitlines() if "usdx.rollback.undo" in line))
    assert command[:2] == ["ansible-playbook", "usdx.rollback.undo"]
    undone = type_playbook(command[1:])
    assert undone.code == 0, undone.screen
    running = stack.containers(snapshot.take(stack.directory))
    assert {running[name]["status"] for name in ("indexer", "nginx", "webapp")} == {"running"}


@pytest.mark.usefixtures("machine")
def test_code_and_keep_services_are_untouched(stack: Stack) -> None:
    assert stack.now["repository"]["head"] == stack.before["repository"]["head"]
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
