# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads, from results of real runs: one that succeeded, and one whose last smoke test failed."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import environment_file, report_text

DATA = Path(__file__).parent / "data"
STEPS = ["announce", "prepare_release", "stop_services", "switch_release", "start_services", "verify_release"]
GIT_BACK = (
    "git -C /opt/usdx-wexel checkout --detach a2496e92cf75b2c13f45f3eaa68d0565af577857 && "
    "git -C /opt/usdx-wexel stash apply --index refs/rollback/20261124T161617Z-b8db/local-edits && "
    "sed -i --follow-symlinks '/^APP_VERSION=/d' /opt/usdx-wexel/.env"
)
START_BACK = "docker start usdx-wexel-nginx-1 usdx-wexel-webapp-1 usdx-wexel-indexer-1"
UP_BACK = (
    "cd /opt/usdx-wexel && "
    "docker compose -p usdx-wexel up --detach --no-build --no-deps indexer nginx webapp"
)  # fmt: skip


def load(name: str) -> dict[str, Any]:
    """Return one captured result."""
    loaded: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def failed_at(step: str) -> dict[str, Any]:
    """Return the situation of the failed run as it is when ``step`` has begun and failed."""
    situation = load("failed_run")
    begun = STEPS[: STEPS.index(step) + 1]
    situation["events"] = [event for event in situation["events"] if event.get("step", "announce") in begun]
    situation["step"] = step
    return situation


def stopped(now: dict[str, Any], *names: str) -> None:
    """Make services look stopped."""
    for name in names:
        now["services"][name]["before"] = "exited"


# The plan


def test_the_plan_of_a_real_run() -> None:
    lines = report_text.plan_lines(load("failed_run")["plan"])
    assert lines[:2] == [
        "Plan of run 20261124T161617Z-b8db: project usdx-wexel on demo",
        "From v1.0.3 (a2496e92cf75) to v1.0.2 (5735e28ff2e3). Reason: pools are empty",
    ]
    for line in (
        "Step 1 Alert and prepare: run notify_rollback.sh; update_status.sh",
        "       Prepare while serving: indexer, nginx, webapp keep serving",
        "         indexer: reuse image usdx-wexel-indexer:1.0.2 (7e2616b3d449)",
        "         nginx: build image usdx-wexel-nginx",
        "Step 2 Stop services: indexer, then nginx and webapp; db, redis keep running",
        "Step 4 Roll back database: skipped: not asked",
        "Step 3 Roll back application code: check out v1.0.2 (5735e28ff2e3) in /opt/usdx-wexel",
        "         local edits of README.md are saved to refs/rollback/20261124T161617Z-b8db/local-edits",
        "         files that Git does not know stay (1): notes.txt",
        "         environment file: APP_VERSION=1.0.2",
        "Step 6 Verify rollback: services, images, commit, package.json and 3 endpoints",
        "         ask http://127.0.0.1:8080/health",
        "         run ./scripts/test_deployment.sh production",
        "         by a person: Connect wallet",
        "Step 7 Monitor: watch services and endpoints for 5 s",
        "Step 8 Communicate: run update_status.sh; send_notification.sh; notify_team.sh",
        "Not touched: db is defined differently in the release (command), it is left as it runs",
    ):
        assert line in lines
    assert not [line for line in lines if "None" in line]


def test_the_plan_has_a_line_for_each_step_in_its_order() -> None:
    plan = load("failed_run")["plan"]
    lines = report_text.plan_lines(plan)
    titles = [plan["titles"][step]["title"] for step in plan["steps"]]
    assert [line[7:].partition(":")[0] for line in lines[2:] if line[7] != " " and line[6] == " "] == titles


def test_the_plan_names_what_is_new_what_is_gone_and_what_is_removed() -> None:
    plan = load("failed_run")["plan"]
    plan["results"]["prepare_release"]["not_in_release"] = ["reports"]
    plan["results"]["switch_release"]["leftovers"].update(count=7, removed=["a"], files=list("abcdefg"))
    plan["keep_services"] = []
    plan["checkout"]["warnings"] = ["The remote did not answer."]
    lines = report_text.plan_lines(plan)
    assert "         reports: not in this release, stays stopped" in lines
    assert "         files that Git does not know are saved and removed (7): a, b, c, d, e" in lines
    assert any(line.endswith("no service keep running") for line in lines)
    assert lines[-2] == "Note: The remote did not answer."


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ({"commit": "0123456789abcdef", "release": "v1.0.2"}, "v1.0.2 (0123456789ab)"),
        ({"commit": "0123456789abcdef", "release": None, "describe": "v1-3-gabc"}, "v1-3-gabc (0123456789ab)"),
        ({"commit": "0123456789abcdef"}, "0123456789ab"),
        ({}, "unknown"),
    ],
)
def test_name_of(place: dict[str, Any], name: str) -> None:
    assert report_text.name_of(place) == name


# Whether anything would change


@pytest.mark.parametrize(
    ("switch", "start", "nothing"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_nothing_would_change(*, switch: bool, start: bool, nothing: bool) -> None:
    results = {"switch_release": {"would_change": switch}, "start_services": {"would_change": start}}
    assert report_text.nothing_would_change(results) is nothing


@pytest.mark.parametrize("missing", ["switch_release", "start_services"])
def test_a_step_that_was_not_asked_is_no_proof(missing: str) -> None:
    results = {"switch_release": {"would_change": False}, "start_services": {"would_change": False}}
    assert report_text.nothing_would_change(results | {missing: {}}) is False
    del results[missing]
    assert report_text.nothing_would_change(results) is False


def test_the_real_plan_would_change_something() -> None:
    assert report_text.nothing_would_change(load("failed_run")["plan"]["results"]) is False


# Evidence, failure, refusal

FALSE = {
    "ansible_loop_var": "command", "changed": True, "diff": {"before": "", "after": "x"}, "failed": True, "rc": 1,
    "invocation": {"module_args": {}}, "msg": "The command false failed.", "next_step": "Repair it.",
    "_ansible_no_log": False,
}  # fmt: skip
LOOP = {
    "changed": True, "failed": True, "msg": "One or more items failed",
    "results": [{"changed": False, "failed": False, "name": "true", "_ansible_item_label": "true"}, FALSE],
}  # fmt: skip


def test_evidence_keeps_facts_and_leaves_out_what_only_ansible_needs() -> None:
    result = {"changed": False, "diff": {"before": "a", "after": "b"}, "_ansible_no_log": False, "seconds": 1.0}
    result |= {"invocation": {"module_args": {"password": "x"}}, "failed": False}
    assert report_text.evidence(result) == {"changed": False, "seconds": 1.0, "would_change": True}
    same = report_text.evidence({"diff": {"before": "a", "after": "a"}})
    assert same == {"would_change": False}
    assert report_text.evidence({"diff": [{"before": "a", "after": "b"}]}) == {}


def test_evidence_of_a_failed_loop_is_that_of_the_item_that_failed() -> None:
    """Else the summary would say "One or more items failed"."""
    kept = report_text.evidence(LOOP)
    assert (kept["msg"], kept["next_step"]) == ("The command false failed.", "Repair it.")
    assert kept["results"][0] == {"changed": False, "name": "true"}
    assert kept["results"][1]["rc"] == 1
    assert not {"failed", "invocation", "diff", "ansible_loop_var", "_ansible_no_log"} & set(kept["results"][1])


def test_evidence_does_not_change_the_result() -> None:
    before = copy.deepcopy(LOOP)
    report_text.evidence(LOOP)
    assert before == LOOP


def back(situation: dict[str, Any]) -> list[str]:
    """Return the commands of the way back, each in one line."""
    return [" ".join(command.split()) for command in report_text.way_back(situation)]


def last_words(situation: dict[str, Any]) -> str:
    """Return the last words of a run in one line."""
    return " ".join(report_text.way_out(situation).split())


def test_failure() -> None:
    assert report_text.failure(LOOP) == {"msg": "The command false failed.", "next_step": "Repair it.", "unready": []}
    assert report_text.failure({"failed": True, "msg": " x\n"}) == {"msg": "x", "next_step": "", "unready": []}
    other = report_text.failure({})
    assert other["msg"].startswith("Another host failed")
    assert other["next_step"]


def test_refusal_of_a_real_module() -> None:
    assert report_text.refusal(load("refused")) == (
        "Refused before anything changed. path=/nowhere is not a folder. Nothing was changed. "
        "Name the project directory, the folder of the git checkout on the managed host."
    )
    assert report_text.refusal({"failed": True, "msg": "x"}) == "Refused before anything changed. x"


# The candidates


def test_candidates_of_a_real_project() -> None:
    assert report_text.candidate_lines(load("candidates")) == [
        "Now: v1.0.2 (5735e28ff2e3)",
        "v1.0.3       2024-12-28  a2496e92cf75  images at hand: some  no verified run recorded  (newer)",
        "v1.0.2       2024-12-20  5735e28ff2e3  images at hand: all  verified 2026-11-24T16:22:26.239+00:00  (current)",
        "v1.0.1       2024-12-01  8dd5c6df6354  images at hand: none  no verified run recorded",
    ]


def test_no_candidates_are_said() -> None:
    info = load("candidates") | {"candidates": []}
    assert report_text.candidate_lines(info)[1:] == ["No tag looks like a release."]


# The summary


def test_summary_of_a_run_that_succeeded() -> None:
    run = load("succeeded_run")
    lines = report_text.summary_lines({**run, "journal": "/j", "manual_checks": ["Connect wallet"]})
    assert lines[0] == "Run 20261124T161957Z-a4f2: v1.0.3 (a2496e92cf75) -> v1.0.2 (5735e28ff2e3)"
    assert lines[2] == (
        "T+00:10        Prepare while serving: done in 11.7 s; indexer reuse; nginx reuse; webapp reuse"
    )
    assert lines[3:6] == [
        "T+00:22 Step 2 Stop services: done in 10.3 s; none was killed",
        "T+00:32 Step 4 Roll back database: skipped: not asked",
        "T+00:32 Step 3 Roll back application code: done in 9.4 s; HEAD is v1.0.2 (5735e28ff2e3)",
    ]
    assert "T+01:00 Step 6 Verify rollback: done in 15.6 s; 12 of 12 checks passed" in lines
    assert lines[-2:] == ["Open, to be done by a person: Connect wallet", "Journal: /j"]
    assert len(lines) == 1 + len(run["plan"]["steps"]) + 2


def test_summary_of_a_run_that_failed() -> None:
    lines = report_text.summary_lines({**load("failed_run"), "journal": "/j", "manual_checks": []})
    assert lines[-2] == (
        "T+00:24 Step 6 Verify rollback: FAILED after 12.5 s: The project's command false failed: it returned 1. "
        "Nothing after it was done."
    )
    assert not [line for line in lines if "Monitor" in line or "Communicate" in line]


def test_summary_names_what_was_killed_and_which_command_failed() -> None:
    run = load("succeeded_run")
    for event in run["events"]:
        if event["event"] == "step_finished" and event["step"] == "stop_services":
            event["facts"]["killed"] = ["usdx-wexel-webapp-1"]
        if event["event"] == "step_finished" and event["step"] == "announce":
            event["facts"]["results"][1]["verdict"] = "failed"
    lines = report_text.summary_lines({**run, "journal": "/j", "manual_checks": []})
    assert lines[1].endswith("; failed: update_status.sh")
    assert lines[3].endswith("; killed: usdx-wexel-webapp-1")


# The way back


@pytest.mark.parametrize("step", ["announce", "prepare_release"])
def test_before_the_stop_nothing_has_to_be_brought_back(step: str) -> None:
    situation = failed_at(step)
    assert back(situation) == []
    words = last_words(situation)
    assert "Nothing that runs was touched: the services of v1.0.3 (a2496e92cf75) still run." in words
    assert "type:" not in words


def test_after_the_stop_the_containers_are_started_last_stopped_first() -> None:
    situation = failed_at("stop_services")
    stopped(situation["now"], "indexer", "nginx")
    assert back(situation) == [START_BACK]
    words = last_words(situation)
    assert "Step 'Stop services' failed: " in words
    assert "Running: webapp. Down: indexer, nginx. The database was not touched." in words
    assert f"To go back to v1.0.3 (a2496e92cf75), type on the host: {START_BACK} To go on" in words


def test_only_containers_that_ran_are_started() -> None:
    situation = failed_at("stop_services")
    services = situation["plan"]["results"]["stop_services"]["services"]
    services["nginx"]["containers"][0]["before"] = "exited"
    services["webapp"]["containers"][0]["one_off"] = True
    assert back(situation) == ["docker start usdx-wexel-indexer-1"]
    services["indexer"]["containers"] = []
    assert back(situation) == []


def test_after_the_switch_the_tree_goes_back_and_the_start_does_not_wait_for_it() -> None:
    """A checkout that failed half-way must not keep the services down: they start by a line of their own."""
    situation = failed_at("switch_release")
    assert back(situation) == [GIT_BACK, START_BACK]
    assert f"type on the host: {GIT_BACK} {START_BACK} To go on" in last_words(situation)


@pytest.mark.parametrize("step", ["start_services", "verify_release"])
def test_after_the_start_tree_names_of_images_and_services_go_back(step: str) -> None:
    situation = failed_at(step)
    (line,) = back(situation)
    assert line.startswith(f"{GIT_BACK} && docker tag sha256:c94b6448c5adc")
    assert line.count("docker tag ") == 3
    assert (
        "docker tag sha256:e9051a9a0b916dd433889046a05d09170dbaaa93f9cd235d2d540f5df92ae0c7 usdx-wexel-nginx &&" in line
    )
    assert line.endswith(f" && {UP_BACK}")


def test_the_real_failure_is_told_whole() -> None:
    words = last_words(load("failed_run"))
    assert words.startswith("Step 'Verify rollback' failed: The project's command false failed: it returned 1.")
    assert "Running: indexer, nginx, webapp. Down: none." in words
    assert words.endswith("run the same command again; what is done is found and kept.")


def test_the_services_that_ran_come_back_not_those_of_the_release() -> None:
    """A service that only the release has would make Compose refuse the former file; one that it lacks ran before."""
    situation = failed_at("start_services")
    results = situation["plan"]["results"]
    results["prepare_release"]["services"]["added"] = {"action": "build", "before": None}
    del results["prepare_release"]["services"]["nginx"]
    results["stop_services"]["services"]["crashed"] = {"before": "exited", "containers": []}
    assert back(situation)[0].endswith(f" && {UP_BACK}")


def test_images_without_a_name_are_not_named() -> None:
    situation = failed_at("start_services")
    services = situation["plan"]["results"]["prepare_release"]["services"]
    services["webapp"]["before"]["image"] = "registry:5000/webapp@sha256:00"
    services["indexer"]["before"] = {"image": None, "image_id": None, "state": "absent"}
    assert back(situation)[0].count("docker tag ") == 1


def test_compose_files_and_awkward_names_are_quoted() -> None:
    situation = failed_at("start_services")
    situation["plan"].update(compose_files=["a b.yml", "c.yml"], directory="/opt/my app")
    assert back(situation)[0].endswith(
        "cd '/opt/my app' && docker compose -p usdx-wexel -f 'a b.yml' -f c.yml up --detach --no-build --no-deps "
        "indexer nginx webapp"
    )


def test_files_that_compose_does_not_find_by_itself_are_named() -> None:
    situation = failed_at("start_services")
    tree = situation["plan"]["checkout"]["tree"]
    prepared = situation["plan"]["results"]["prepare_release"]
    prepared.update(config_files=[f"{tree}/deploy/stack.yml"], env_files=["/opt/usdx-wexel/.env"])
    assert back(situation)[0].endswith(
        "docker compose -p usdx-wexel -f deploy/stack.yml --env-file .env up --detach --no-build --no-deps "
        "indexer nginx webapp"
    )
    prepared.update(config_files=[f"{tree}/docker-compose.yml"], env_files=[])
    assert back(situation)[0].endswith(UP_BACK)


def test_without_variables_no_file_is_edited() -> None:
    situation = failed_at("switch_release")
    del situation["plan"]["results"]["switch_release"]["variables"]
    assert back(situation) == [GIT_BACK.rpartition(" && sed")[0], START_BACK]


@pytest.mark.parametrize("value", ["1.0.3", "a|b&c\\d", "a b'c\"d e", "$(touch x)`y`", "", None])
def test_the_commands_put_the_environment_file_back(tmp_path: Path, value: str | None) -> None:
    """Run by a real shell: whatever stood there before, nothing of it is an expression."""
    file = tmp_path / "my release.env"
    other = "PASSWORD=x&y|z\n"
    before = other if value is None else f"APP_VERSION={value}\n{other}"
    file.write_text(environment_file.set_variables(before, {"APP_VERSION": "1.0.2"}))
    assert file.read_text() != before
    situation = failed_at("switch_release")
    situation["plan"]["variables_file"] = str(file)
    switch = situation["plan"]["results"]["switch_release"]
    switch["undo"] = []
    switch["variables"]["before"] = {"APP_VERSION": value}
    line = back(situation)[0]
    subprocess.run(["sh", "-c", line], check=True, cwd=tmp_path)
    assert file.read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_when_another_host_failed_the_way_back_is_still_printed() -> None:
    situation = failed_at("stop_services") | {"failure": report_text.failure({})}
    words = last_words(situation)
    assert "Step 'Stop services' failed: Another host failed; its message stands above. Mend that host" in words
    assert f"type on the host: {START_BACK} To go on" in words


@pytest.mark.parametrize("now", [{}, {"failed": True, "msg": "The Docker daemon does not answer"}])
def test_a_daemon_that_is_gone_is_not_taken_for_services_that_are_down(now: dict[str, Any]) -> None:
    words = last_words(failed_at("start_services") | {"now": now})
    assert "What runs now could not be seen." in words
    assert "Down:" not in words
    assert UP_BACK in words


def test_a_failure_before_the_first_step() -> None:
    situation = load("failed_run") | {"step": "", "events": []}
    assert last_words(situation).startswith("The run failed: ")
    assert back(situation) == []
