# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_restart against a real daemon: what is named gets restarted, the same containers, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, command
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPOSE = f"""
services:
  webapp: {{image: {IMAGE}, scale: 2}}
  redis: {{image: {IMAGE}, restart: always}}
  crash: {{image: {IMAGE}, command: crash, restart: always, profiles: [extra]}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Stack]:
    """Give a running project."""
    build_image()
    with stack(tmp_path) as made:
        made.write({"compose.yml": COMPOSE})
        made.up()
        yield made


def restart(stack_: Stack, *services: str, check: bool = False, **options: Any) -> Outcome:
    """Call the module."""
    given = {"project": stack_.project, "services": list(services), "stable_for": 0.3} | options
    return call_module("compose_restart", given, check=check)


def test_the_named_service_is_restarted_and_nothing_else(project: Stack) -> None:
    before = project.identity("redis-1", "webapp-1", "webapp-2")
    foreseen = restart(project, "webapp", check=True)
    assert (foreseen.failed, foreseen["changed"]) == (False, True)
    assert project.identity("redis-1", "webapp-1", "webapp-2") == before
    done = restart(project, "webapp")
    assert not done.failed
    after = project.identity("redis-1", "webapp-1", "webapp-2")
    assert after["redis-1"] == before["redis-1"]
    for name in ("webapp-1", "webapp-2"):
        assert after[name][0] == before[name][0], "the same container"
        assert after[name][1] > before[name][1]
    told = {one["name"]: one for one in done["services"]["webapp"]["containers"]}
    assert [one["started_before"] for one in told.values()] == [before["webapp-1"][1], before["webapp-2"][1]]
    assert (done["services"]["webapp"]["before"], done["services"]["webapp"]["after"]) == ("running", "running")


def test_one_that_is_paused_and_one_that_is_stopped_run_again(project: Stack) -> None:
    command("docker", "pause", f"{project.project}-webapp-1")
    command("docker", "stop", "--time", "0", f"{project.project}-redis-1")
    done = restart(project, "redis", "webapp")
    assert not done.failed, done
    assert set(project.states().values()) == {"running"}
    assert done["services"]["redis"]["before"] == "exited"


def test_a_service_that_nobody_has_is_refused_before_anything(project: Stack) -> None:
    before = project.identity("redis-1", "webapp-1", "webapp-2")
    for services, told in ((["redis", "rediss"], "rediss has no container"), ([], "it is empty")):
        refused = restart(project, *services)
        assert refused.failed
        assert told in refused["msg"]
        assert "redis, webapp" in refused["next_step"]
    assert project.identity("redis-1", "webapp-1", "webapp-2") == before


def test_one_that_does_not_get_well_is_named_with_its_last_words(project: Stack) -> None:
    project.up("crash")
    failed = restart(project, "crash", timeout=15)
    assert failed.failed
    assert "crash" in failed["msg"]
    assert failed["unready"]["crash"][0]["logs"]
