# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two application hosts and one database: all or none of them, one order, one change of the database."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import snapshot
from stack import APPLICATION_SERVICES, Stack

BASE = Path(os.environ["USDX_DEMO_DIRECTORY"])
HOSTS = ("blue", "green")
EACH = pytest.mark.parametrize("host", HOSTS)
OLD, NEW = "v1.0.2", "v1.0.3"
UNTOUCHED = ("moved_planned", "moved_ready", "moved", "missing", "unbuildable", "green_only")
PROJECT_LABEL, SERVICE_LABEL = "com.docker.compose.project", "com.docker.compose.service"


def at(host: str, moment: str) -> Stack:
    """Return a host as it was at a moment."""
    return Stack.of_scenario(host, moment)


def typed(moment: str) -> tuple[int, str]:
    """Return exit code and words of what was typed."""
    told = json.loads((BASE / f"operator_{moment}.json").read_text(encoding="utf-8"))
    return told["rc"], " ".join((told["screen"] + told["errors"]).split())


def events(host: str, run_id: str) -> list[dict[str, Any]]:
    """Return the journal of a run on a host."""
    path = BASE / host / "state" / "runs" / run_id / "journal.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def runs(host: str, moment: str) -> list[str]:
    """Return the ids of the runs that had a journal at a moment, the oldest first."""
    return [name.split("/")[1] for name in at(host, moment).now["state"] if name.endswith("/journal.jsonl")]


def locked(host: str, moment: str) -> bool:
    """Tell whether a run held the lock of a host at a moment."""
    return "lock.json" in at(host, moment).now["state"]


def waiting(moment: str) -> str:
    """Return the id of the run that waited in its announcement."""
    return (BASE / f"{moment}.begun").read_text(encoding="utf-8").strip()


def facts(host: str, run_id: str, step: str, event: str = "step_finished") -> dict[str, Any]:
    """Return the event of a step; fail unless it is there once."""
    (found,) = (one for one in events(host, run_id) if (one["event"], one.get("step")) == (event, step))
    return found


def container_events(moment: str, host: str, action: str) -> dict[str, float]:
    """Return when the application's containers of a host ended, or started, first and last alike one by one."""
    found = {}
    for line in (BASE / f"{moment}.events").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        labels = event["Actor"]["Attributes"]
        ours = labels.get(PROJECT_LABEL) == f"usdx-{host}" and labels.get(SERVICE_LABEL) in APPLICATION_SERVICES
        if ours and event["Action"] == action:
            found[labels["name"] + " " + event["Actor"]["ID"]] = event["timeNano"] / 1e9
    return found


def seconds(time: str) -> float:
    """Return the seconds of a time of Docker or of the journal."""
    head, _plus, zone = time.replace("Z", "+00:00").partition("+")
    return datetime.fromisoformat(f"{head[:26]}+{zone}").timestamp()


def assert_as_before(host: str, moment: str) -> None:
    """Code, containers' images, database and files are those from before all runs; keep services never stopped."""
    stack = at(host, moment)
    for part in ("tree", "databases") if moment in UNTOUCHED else ("tree",):
        assert stack.now[part] == stack.before[part], part
    assert stack.now["repository"]["head"] == stack.before["repository"]["head"]
    assert stack.now["repository"]["status"] == stack.before["repository"]["status"]
    assert stack.database_id(stack.now) == stack.database_id(stack.before)
    before, now = stack.containers(stack.before), stack.containers(stack.now)
    assert {name: (one["image"], one["status"]) for name, one in now.items()} == {
        name: (one["image"], one["status"]) for name, one in before.items()
    }
    stack.assert_keep_services_untouched()
    assert stack.now["leavings"] == []


def assert_nothing_stopped(host: str, moment: str) -> None:
    """All is as before, and every container is the same one, started when it was."""
    assert_as_before(host, moment)
    stack = at(host, moment)
    assert stack.containers(stack.now) == stack.containers(stack.before)


# --- a tag that was moved ---------------------------------------------------------------------------------------------

MOVED = pytest.mark.parametrize("moment", ["moved_planned", "moved_ready", "moved"])


@MOVED
def test_a_tag_that_names_another_commit_on_one_host_is_refused_for_all(moment: str) -> None:
    code, screen = typed(moment)
    tags = at("blue", moment).facts["tags"]
    assert code == 2
    said = f"v1.0.2-moved is not the same commit on all hosts: blue: {tags['v1.0.2']}, green: {tags['v1.0.1']}."
    assert f"{said} Nothing was changed." in screen
    assert f"-e commit={tags['v1.0.2'][:12]} or -e commit={tags['v1.0.1'][:12]}" in screen


@MOVED
@EACH
def test_before_anything_changed_on_any_host(host: str, moment: str) -> None:
    assert_nothing_stopped(host, moment)
    assert not locked(host, moment)
    assert not runs(host, moment)


# --- one host cannot --------------------------------------------------------------------------------------------------


@EACH
def test_a_release_that_one_host_does_not_have_is_refused_for_all(host: str) -> None:
    code, screen = typed("missing")
    assert code == 2
    assert "Refused before anything changed. " in screen
    assert "v1.0.2-blue" in screen
    assert "Refused before anything changed. Another host failed; its message stands above." in screen
    assert_nothing_stopped(host, "missing")
    assert not locked(host, "missing")
    assert not runs(host, "missing")


@EACH
def test_a_release_that_one_host_cannot_build_stops_no_service_anywhere(host: str) -> None:
    code, screen = typed("unbuildable")
    assert code == 2
    assert "this release cannot be built" in screen
    assert_nothing_stopped(host, "unbuildable")
    assert not locked(host, "unbuildable")
    (run_id,) = runs(host, "unbuildable")
    steps = {event["step"] for event in events(host, run_id) if event["event"] == "step_started"}
    assert steps == {"announce", "prepare_release"}
    assert events(host, run_id)[-1]["facts"]["outcome"] == "failed"


def test_the_run_that_failed_on_one_host_is_one_run() -> None:
    assert runs("blue", "unbuildable") == runs("green", "unbuildable")


# --- the lock ---------------------------------------------------------------------------------------------------------


def test_a_run_that_can_lock_one_host_only_lets_it_go_again() -> None:
    code, screen = typed("green_only_other")
    assert code == 2
    assert waiting("green_only") in screen
    assert "Refused before anything changed." in screen
    assert locked("green", "green_only_meanwhile")
    assert not locked("blue", "green_only_meanwhile")
    assert runs("blue", "green_only_meanwhile") == runs("blue", "unbuildable")


@EACH
def test_the_run_of_one_host_that_failed_in_its_announcement_changed_nothing(host: str) -> None:
    assert typed("green_only")[0] == 2
    assert not locked(host, "green_only")
    assert container_events("green_only", host, "die") == {}
    assert_nothing_stopped(host, "green_only")


@EACH
def test_while_a_run_holds_both_hosts_no_other_begins(host: str) -> None:
    code, screen = typed("rolled_back_other")
    assert code == 2
    assert waiting("rolled_back") in screen
    assert "Refused before anything changed." in screen
    assert locked(host, "rolled_back_meanwhile")
    assert runs(host, "rolled_back_meanwhile")[-1] == waiting("rolled_back")


# --- a rollback of both -----------------------------------------------------------------------------------------------


@EACH
def test_both_hosts_run_the_release(host: str) -> None:
    assert typed("rolled_back")[0] == 0, typed("rolled_back")[1]
    stack = at(host, "rolled_back")
    running = stack.containers(stack.now)
    assert {running[service]["status"] for service in APPLICATION_SERVICES} == {"running"}
    assert [running[service]["image"] for service in ("indexer", "webapp")] == [
        stack.image_of(service, OLD) for service in ("indexer", "webapp")
    ]
    assert stack.now["repository"]["head"] == [stack.facts["tags"][OLD]]
    stack.assert_keep_services_untouched()
    assert not locked(host, "rolled_back")
    run_id = waiting("rolled_back")
    assert events(host, run_id)[-1]["facts"]["outcome"] == "succeeded"
    assert facts(host, run_id, "verify_release")["facts"]["verdict"] == "passed"


def test_all_writers_of_both_hosts_were_stopped_before_the_one_cutover() -> None:
    run_id = waiting("rolled_back")
    ended = {host: container_events("rolled_back", host, "die") for host in HOSTS}
    started = {host: container_events("rolled_back", host, "start") for host in HOSTS}
    assert [len(ended[host]) for host in HOSTS] == [len(APPLICATION_SERVICES)] * 2
    assert [len(started[host]) for host in HOSTS] == [len(APPLICATION_SERVICES)] * 2
    begun = [seconds(facts(host, run_id, "restore_database", "step_started")["time"]) for host in HOSTS]
    kept = facts("blue", run_id, "restore_database")["facts"]["old_database"]
    changed = datetime.strptime(kept.rpartition("_")[2] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
    assert max(max(ended[host].values()) for host in HOSTS) < min(begun)
    assert int(min(begun)) <= changed <= min(min(started[host].values()) for host in HOSTS)


def test_the_database_was_changed_once_and_both_journals_say_so() -> None:
    run_id = waiting("rolled_back")
    told = [facts(host, run_id, "restore_database")["facts"] for host in HOSTS]
    assert told[0]["old_database"] == told[1]["old_database"]
    stack = at("blue", "rolled_back")
    names = [line.split("|")[0] for line in stack.now["databases"] if line.startswith("usdx_wexel")]
    assert names == ["usdx_wexel", told[0]["old_database"]]
    assert stack.database_id(stack.now) == str(told[0]["restored_oid"]) != stack.database_id(stack.before)
    assert at("green", "rolled_back").now["databases"] == at("green", "before").now["databases"]


# --- undo, kill, go on ------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("moment", ["undone", "undone_again"])
def test_an_undo_puts_both_hosts_back(host: str, moment: str) -> None:
    assert typed(moment)[0] == 0, typed(moment)[1]
    assert_as_before(host, moment)
    assert not locked(host, moment)
    assert runs("blue", moment)[-1] == next(reversed(runs("green", moment)))


@EACH
def test_the_run_was_killed_behind_the_cutover_with_all_writers_down(host: str) -> None:
    assert typed("killed")[0] == -9
    assert locked(host, "killed")
    stack = at(host, "killed")
    ended = [stack.containers(stack.now)[service] for service in APPLICATION_SERVICES]
    assert {one["status"] for one in ended} == {"exited"}
    begun = [event for event in events(host, runs(host, "killed")[-1]) if event["event"] == "step_started"]
    cutover = next(event for event in begun if event["step"] == "restore_database")
    assert max(seconds(one["finished"]) for one in ended) < seconds(cutover["time"])


def test_one_host_knows_less_of_the_killed_run_than_the_other() -> None:
    run_id = runs("blue", "killed")[-1]
    resumed = [event["event"] for event in events("blue", run_id)].index("run_resumed")
    last = events("blue", run_id)[resumed - 1]
    assert (last["event"], last["step"]) == ("step_started", "switch_release")
    resumed = [event["event"] for event in events("green", run_id)].index("run_resumed")
    last = events("green", run_id)[resumed - 1]
    assert (last["event"], last["step"]) == ("step_started", "restore_database")


@EACH
def test_one_command_goes_on_with_both(host: str) -> None:
    assert typed("resumed")[0] == 0, typed("resumed")[1]
    run_id = runs("blue", "killed")[-1]
    assert runs(host, "resumed")[-1] == run_id
    assert [event["event"] for event in events(host, run_id)].count("run_resumed") == 1
    assert events(host, run_id)[-1]["facts"]["outcome"] == "succeeded"
    stack = at(host, "resumed")
    assert stack.now["repository"]["head"] == [stack.facts["tags"][OLD]]
    running = stack.containers(stack.now)
    assert [running[service]["image"] for service in ("indexer", "webapp")] == [
        stack.image_of(service, OLD) for service in ("indexer", "webapp")
    ]
    assert {running[service]["status"] for service in APPLICATION_SERVICES} == {"running"}
    assert stack.now["databases"] == stack.seen("killed")["databases"]
    assert not locked(host, "resumed")


@EACH
def test_in_the_end_both_answer_as_before(host: str) -> None:
    stack = at(host, "undone_again")
    assert json.loads(stack.get("/health")[1])["version"] == NEW
    assert snapshot.lines("git", "rev-parse", "HEAD", cwd=stack.directory / "project") == [stack.facts["tags"][NEW]]
