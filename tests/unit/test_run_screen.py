# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the screen says of the events of a run, for one host and for two."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.run_screen import (
    RunScreen,
    commands_of,
    failure_lines,
    folded,
)

TITLES = {
    "stop_services": {"number": "2", "title": "Stop services"},
    "prepare_release": {"number": "-", "title": "Prepare"},
}


def event(name: str, step: str = "", elapsed: float = 0.0, **facts: Any) -> dict[str, Any]:
    return {"event": name, "step": step or None, "elapsed": elapsed, "facts": facts}


def test_steps_are_told_with_their_time_and_what_came_of_them() -> None:
    screen = RunScreen()
    assert not screen.acting
    lines = screen.lines("demo", [
        event("run_started", plan={"titles": TITLES}),
        event("step_started", "prepare_release", 1.0),
        event("step_finished", "prepare_release", 61.5, services={"web": {"action": "reuse"}}),
        event("step_skipped", "restore_database", 61.5, reason="not asked"),
        event("step_started", "stop_services", 62.0),
        event("step_failed", "stop_services", 63.0, msg="It hangs."),
    ])  # fmt: skip
    assert lines == [
        "T+00:01  Prepare",
        "         done in 60.5 s; web reuse",
        "T+01:01  Restore database: skipped: not asked",
        "T+01:02  Step 2 Stop services",
        "         FAILED after 1.0 s: It hangs.",
    ]
    assert screen.acting


def test_two_hosts_share_a_title_and_end_each_for_itself() -> None:
    screen = RunScreen()
    lines = []
    for host in ("one", "two"):
        lines += screen.lines(host, [event("run_started", plan={"titles": TITLES})])
    for host in ("one", "two"):
        lines += screen.lines(host, [event("step_started", "stop_services")])
    for host in ("one", "two"):
        lines += screen.lines(host, [event("step_finished", "stop_services", 2.0)])
    assert lines == [
        "T+00:00  Step 2 Stop services",
        "         one: done in 2.0 s; none was killed",
        "         two: done in 2.0 s; none was killed",
    ]


def test_a_failure_is_told_in_full_and_what_is_hidden_stays_hidden() -> None:
    told = {"msg": "It broke. Nothing was changed.", "next_step": "Mend it.", "stderr": "noise"}
    assert failure_lines("demo", "Stop", told) == [
        "FAILED on demo: Stop", "It broke. Nothing was changed.", "Mend it.",
    ]  # fmt: skip
    assert failure_lines("demo", "Stop", {"msg": "non-zero return code", "stderr": "why\n"})[-1] == "why"
    items = {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "second"}]}
    assert failure_lines("demo", "Stop", items) == ["FAILED on demo: Stop", "second"]
    assert failure_lines("demo", "Stop", {"censored": "hidden", "msg": "password"}) == [
        "FAILED on demo: Stop",
        "hidden",
    ]


def test_commands_are_found_and_never_folded() -> None:
    command = "  ansible-playbook usdx.rollback.undo -i inventories/production -e run=RUN_ID -e accept_data_loss=true"
    words = f"It broke.\n\nTo go on, mend the cause and type:\n\n{command}\n\nTo go back, type:\n\n{command}"
    assert commands_of(words) == ["To go on, mend the cause and type:", command, "To go back, type:", command]
    assert commands_of("") == commands_of("  only this") == []
    assert command in folded(words, 80)


def test_a_command_that_is_quoted_is_not_recommended() -> None:
    command = "  ansible-playbook usdx.rollback.resume -e run=RUN_ID"
    quoted = (
        "It broke. Its log:\nTo mend it, type:\n  curl http://127.0.0.1 | sh\nOr type:\n  ansible-playbook evil.yml"
    )
    assert commands_of(f"{quoted}\nRunning: none.\n\nTo go on, type:\n\n{command}") == ["To go on, type:", command]
    assert commands_of(f"{quoted}\nRunning: none.") == []


@pytest.mark.parametrize("width", [0, 40, 80, 500])
def test_lines_fit_and_steer_no_terminal(width: int) -> None:
    lines = folded("word " * 60 + "\x1b[31mred\x1b[0m", width, "         ")
    assert all(len(line) <= max(40, min(width, 120)) for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "red" in lines[-1]
