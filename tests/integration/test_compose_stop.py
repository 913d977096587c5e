# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""compose_stop against a real daemon: check, real, check again, real again; then the daemon is asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, command
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMPOSE = f"""
services:
  nginx: {{image: {IMAGE}, restart: always}}
  webapp: {{image: {IMAGE}, restart: always, scale: 2}}
  indexer: {{image: {IMAGE}, command: slow, restart: unless-stopped}}
  deaf: {{image: {IMAGE}, command: deaf, profiles: [extra]}}
  crash: {{image: {IMAGE}, command: crash, restart: always, profiles: [extra]}}
  db: {{image: {IMAGE}, restart: always}}
  redis: {{image: {IMAGE}}}
"""
GROUPS = [["nginx"], ["webapp", "indexer"]]
KEEP = ["db", "redis"]


@pytest.fixture(scope="module", autouse=True)
def _image() -> None:
    """Have the image of the services."""
    build_image()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Stack]:
    """Give a running project of seven services."""
    with stack(tmp_path) as made:
        made.write({"compose.yml": COMPOSE})
        made.up()
        yield made


def stop(stack_: Stack, *, check: bool = False, **options: Any) -> Outcome:
    """Call the module with the options of most tests."""
    defaults = {"project": stack_.project, "groups": GROUPS, "keep": KEEP}
    return call_module("compose_stop", defaults | options, check=check)


def states_of(outcome: Outcome, moment: str) -> dict[str, str]:
    """Return the state of each service before or after, as the module reports it."""
    return {name: facts[moment] for name, facts in outcome["services"].items()}


def test_check_real_check_real(project: Stack) -> None:
    """Check real check real."""
    kept, before = project.identity("db-1", "redis-1"), project.states()

    foreseen = stop(project, check=True)
    assert not foreseen.failed
    assert foreseen["changed"]
    assert project.states() == before
    assert states_of(foreseen, "before") == {"nginx": "running", "webapp": "running", "indexer": "running"}

    done = stop(project)
    assert not done.failed
    assert done["changed"]
    for moment in ("before", "after"):
        assert states_of(done, moment) == states_of(foreseen, moment)
    assert done["order"] == GROUPS
    assert done["killed"] == []
    assert [one["exit_code"] for one in done["services"]["webapp"]["containers"]] == [0, 0]
    assert project.states() == {
        "nginx-1": "exited", "webapp-1": "exited", "webapp-2": "exited", "indexer-1": "exited",
        "db-1": "running", "redis-1": "running",
    }  # fmt: skip
    assert project.identity("db-1", "redis-1") == kept
    assert done["keep"]["db"] == [{"id": kept["db-1"][0], "started_at": kept["db-1"][1]}]

    for check in (True, False):
        again = stop(project, check=check)
        assert not again.failed
        assert not again["changed"]
        assert again["services"]["nginx"]["before"] == "exited"
    assert project.identity("db-1", "redis-1") == kept


def test_groups_in_order_and_parallel_within(project: Stack) -> None:
    """Groups in order and parallel within."""
    project.up("--scale", "indexer=2")
    begin = time.monotonic()
    assert not stop(project, groups=[["indexer"], ["nginx"]]).failed
    seconds = time.monotonic() - begin
    found = project.containers()
    finished = {name: found[name]["State"]["FinishedAt"] for name in ("indexer-1", "indexer-2", "nginx-1")}
    assert finished["nginx-1"] > max(finished["indexer-1"], finished["indexer-2"])
    starts = [stopped["State"]["ExitCode"] for stopped in (found["indexer-1"], found["indexer-2"])]
    assert starts == [0, 0]
    assert seconds < 1.5 + 1.5 + 5  # two slow ones at once, and Ansible's own start


def test_the_compose_file_is_never_read(project: Stack) -> None:
    """The compose file is never read."""
    project.write({"compose.yml": "services:\n  other: {image: does-not-exist:1}\n"})
    ids = {name: one["Id"] for name, one in project.containers().items()}
    assert not stop(project).failed
    assert {name: one["Id"] for name, one in project.containers().items()} == ids


@pytest.mark.parametrize("on_kill", ["warn", "fail", "ignore"])
def test_kill_after_the_grace_period(project: Stack, on_kill: str) -> None:
    """Kill after the grace period."""
    project.up("deaf")
    done = stop(project, groups=[["deaf"], ["nginx"]], grace_periods={"deaf": 1}, on_kill=on_kill)
    assert done.failed == (on_kill == "fail")
    assert done["killed"] == [f"{project.project}-deaf-1"]
    assert done["services"]["deaf"]["containers"][0]["killed"]
    assert done["services"]["deaf"]["containers"][0]["exit_code"] == 137
    assert project.states()["nginx-1"] == "exited"  # the group after it was stopped, too
    if on_kill == "fail":
        assert "SIGKILL" in done["msg"]
        assert done["next_step"]
        assert not stop(project, groups=[["deaf"], ["nginx"]], on_kill="fail").failed


def test_own_grace_period_of_the_container(project: Stack) -> None:
    """Own grace period of the container."""
    project.write({"compose.yml": COMPOSE.replace("command: deaf,", "command: deaf, stop_grace_period: 1s,")})
    project.up("deaf")
    done = stop(project, groups=[["deaf"]])
    assert done["services"]["deaf"]["containers"][0]["killed"]
    assert 1 <= done["services"]["deaf"]["containers"][0]["seconds"] < 4


def test_paused_gets_its_grace_period(project: Stack) -> None:
    """Paused gets its grace period."""
    project.compose("pause", "webapp")
    done = stop(project)
    assert not done.failed
    facts = done["services"]["webapp"]
    assert facts["before"] == "paused"
    assert facts["after"] == "exited"
    assert [one["exit_code"] for one in facts["containers"]] == [0, 0]  # ended by its own handler, not by SIGKILL


def test_crash_loop_is_stopped(project: Stack) -> None:
    """Crash loop is stopped."""
    project.up("crash")
    done = stop(project, groups=[["crash"]])
    assert not done.failed
    assert done["changed"]
    assert done["killed"] == []
    restarts = project.containers()["crash-1"]["RestartCount"]
    time.sleep(0.5)  # a crash loop restarts within 0.1 s to 0.4 s at first
    assert project.states()["crash-1"] == "exited"
    assert project.containers()["crash-1"]["RestartCount"] == restarts


@pytest.mark.parametrize("rm", [True, False])
def test_one_off_container_is_stopped_and_reported(project: Stack, *, rm: bool) -> None:
    """One off container is stopped and reported."""
    project.compose("run", "--detach", *(["--rm"] if rm else []), "--name", f"{project.project}-oneoff", "webapp")
    foreseen = stop(project, check=True)
    done = stop(project)
    assert not done.failed
    for outcome in (foreseen, done):
        one_off = [one for one in outcome["services"]["webapp"]["containers"] if one["one_off"]]
        assert [one["name"] for one in one_off] == [f"{project.project}-oneoff"]
    assert project.states().get("oneoff", "gone") == ("gone" if rm else "exited")


def test_created_stays_as_it_is_and_absent_counts_as_stopped(project: Stack) -> None:
    """Created stays as it is and absent counts as stopped."""
    project.compose("create", "deaf")
    done = stop(project, groups=[["deaf", "nowhere"]])
    assert not done.failed
    assert not done["changed"]
    assert done["absent"] == ["nowhere"]
    assert done["services"]["nowhere"] == {"before": "absent", "after": "absent", "containers": []}
    assert project.states()["deaf-1"] == "created"


def test_hold(project: Stack) -> None:
    """Hold."""
    assert not stop(project).failed
    held = stop(project, hold=True)
    assert held["changed"]
    assert held["held"][f"{project.project}-nginx-1"] == {"Name": "always", "MaximumRetryCount": 0}
    assert held["held"][f"{project.project}-indexer-1"]["Name"] == "unless-stopped"
    found = project.containers()
    policies = {name: one["HostConfig"]["RestartPolicy"]["Name"] for name, one in found.items()}
    assert policies["nginx-1"] == policies["webapp-2"] == policies["indexer-1"] == "no"
    assert policies["db-1"] == "always"
    again = stop(project, hold=True)
    assert not again["changed"]
    assert again["held"] == {}


def test_hold_while_running(project: Stack) -> None:
    """Hold while running."""
    foreseen, done = stop(project, hold=True, check=True), stop(project, hold=True)
    assert foreseen["held"] == done["held"]
    assert len(done["held"]) == 4
    assert project.states()["nginx-1"] == "exited"


def test_refused_before_anything_stops(project: Stack) -> None:
    """Refused before anything stops."""
    before = project.states()
    project_ids = {name: one["State"]["StartedAt"] for name, one in project.containers().items()}
    for options, words in (
        ({"project": "usdx-it-none"}, "usdx-it-none"),
        ({"keep": ["db", "nginx"]}, "nginx is in groups and in keep"),
        ({"keep": ["postgres"]}, "postgres does not run"),
        ({"groups": []}, "no service"),
        ({"groups": [["nginx"], ["nginx"]]}, "twice"),
        ({"grace_periods": {"nginx": -1}}, "-1"),
        ({"grace_periods": {"db": 1}}, "db"),
        ({"docker_host": "tcp://127.0.0.1:9"}, "does not answer"),
    ):
        refused = stop(project, **options)
        assert refused.failed, options
        assert words in refused["msg"]
        assert refused["next_step"]
    assert project.project in stop(project, project="usdx-it-none")["projects"]
    command("docker", "stop", "-t", "0", f"{project.project}-redis-1")
    assert "redis does not run" in stop(project)["msg"]
    assert project.states() == before | {"redis-1": "exited"}
    ids = {name: one["State"]["StartedAt"] for name, one in project.containers().items()}
    assert ids == project_ids
