# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users saw the page and nothing else, the application was held, and it came back when the page was gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from stack import APPLICATION_SERVICES

if TYPE_CHECKING:
    from stack import Stack


def changed(screen: str) -> bool:
    """Tell whether a playbook has changed something on the host of the demo."""
    (recap,) = (line for line in screen.splitlines() if line.startswith("demo ") and "ok=" in line)
    return "changed=0 " not in recap


def pages(stack: Stack, moment: dict[str, Any]) -> list[str]:
    """Return the containers of maintenance pages of the stack."""
    return [name for name in moment["containers"] if name.startswith(f"usdx-maintenance-{stack.project}-")]


def test_check_mode_plans_and_stops_nothing(stack: Stack) -> None:
    code, screen = stack.screen(0)
    assert code == 0, screen
    assert changed(screen)
    assert "Maintenance page: would change" in screen
    assert "+    title: We will be back soon" in screen


def test_on_serves_the_page_and_holds_the_application(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code == 0, screen
    assert "Maintenance page: served" in screen
    code, screen = stack.screen(2)
    assert code == 0, screen
    assert not changed(screen)
    code, screen = stack.screen(3)
    assert code == 0, screen
    assert "Maintenance page: served" in screen
    served = stack.containers(stack.seen("served"))
    assert {served[service]["status"] for service in APPLICATION_SERVICES} == {"exited"}
    assert "nginx" in served  # the container of the page is none of the project
    assert len(pages(stack, stack.seen("served"))) == 1


def test_users_saw_the_page(stack: Stack) -> None:
    seen: dict[str, Any] = json.loads((stack.directory / "page.json").read_text(encoding="utf-8"))
    assert seen["status"] == 503
    assert seen["retry_after"] == "600"
    assert "We will be back soon" in seen["content"]


def test_another_state_is_refused(stack: Stack) -> None:
    code, screen = stack.screen(4)
    assert code != 0
    assert "maintenance=perhaps is not accepted" in screen


def test_off_removes_the_page_and_starts_nothing(stack: Stack) -> None:
    code, screen = stack.screen(5)
    assert code == 0, screen
    assert changed(screen)
    assert "Maintenance page: not served" in screen
    code, screen = stack.screen(6)
    assert code == 0, screen
    assert not changed(screen)
    assert pages(stack, stack.now) == []


def test_the_application_came_back_after_it(stack: Stack) -> None:
    code, screen = stack.screen(7)
    assert code == 0, screen
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()
