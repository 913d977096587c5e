# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that cannot be built: what ran still runs, or the last line says how to start it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stack import Stack
    from testinfra.host import Host


def test_the_services_never_stopped(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code != 0
    assert "this release cannot be built" in screen
    assert "still run" in screen.splitlines()[-1] or "still run" in screen
    indexer = stack.containers(stack.before)["indexer"]
    assert stack.now["containers"][f"{stack.project}-indexer-1"]["id"] == indexer["id"]


def test_with_the_services_stopped_first_the_command_to_start_them_is_printed(stack: Stack, machine: Host) -> None:
    code, screen = stack.screen(2)
    assert code != 0
    command = " ".join(screen.partition("type on the host:")[2].split("To go on")[0].split())
    assert command.startswith("docker start ")
    assert {stack.containers(stack.now)[name]["status"] for name in ("indexer", "nginx", "webapp")} == {"exited"}
    machine.check_output(command)
    assert machine.check_output("docker ps --quiet --filter label=com.docker.compose.project=%s", stack.project)


@pytest.mark.usefixtures("machine")
def test_code_and_keep_services_are_untouched(stack: Stack) -> None:
    assert stack.now["repository"]["head"] == stack.before["repository"]["head"]
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
