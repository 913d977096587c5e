# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics and alerts over a time, with a real Prometheus and a real Alertmanager, asked through Ansible."""

from __future__ import annotations

import json
import re
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from harness import REPOSITORY, Outcome, call_module, command, free_port
from monitoring import Monitoring, running

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS, ERRORS = "requests_total", "errors_total"
ERROR_RATE = {
    "name": "error rate", "unit": "%", "max": 0.1,
    "query": f"100 * (sum(rate({ERRORS}[3s])) or vector(0)) / sum(rate({REQUESTS}[3s]))",
}  # fmt: skip
TOKEN = {"bearer_token": "t0ken-word"}
LATENCY = {"name": "latency", "query": "latency", "max": 500, "unit": "ms"}


@pytest.fixture(name="monitoring", scope="module")
def _monitoring() -> Iterator[Monitoring]:
    with running() as made:
        made.numbers.growth[REQUESTS] = 100
        made.numbers.gauges |= {"latency": 200, "waiting": 1, "none": 0}
        made.wait_until(lambda: made.value(ERROR_RATE["query"]) == "0", "a rate")
        made.wait_until(
            lambda: made.value('ALERTS{alertname="Waiting",alertstate="pending"}') == "1", "a pending alert"
        )
        # Baselines ask for the number of a second before, in whole seconds.
        made.wait_until(lambda: made.value("latency offset 3s") == "200", "a past")
        yield made


@pytest.fixture(autouse=True)
def _quiet(monitoring: Monitoring) -> Iterator[None]:
    """Leave no alert and no errors to the next test."""
    yield
    monitoring.numbers.reset()
    monitoring.numbers.growth.pop(ERRORS, None)
    monitoring.numbers.gauges.pop("alerting", None)
    monitoring.wait_until(lambda: "Errors" not in monitoring.firing(), "the end of the alert")
    monitoring.wait_until(lambda: monitoring.value(ERROR_RATE["query"]) == "0", "the end of the errors")


def gate(monitoring: Monitoring, *checks: dict[str, Any], check: bool = False, **options: Any) -> Outcome:
    """Watch both servers and the application; ask once unless told otherwise."""
    url = f"http://127.0.0.1:{monitoring.numbers.port}/health"
    given = {
        "prometheus_url": monitoring.prometheus,
        "alertmanager_url": monitoring.alertmanager,
        "release": {"version": "v1.0.2", "endpoints": [{"url": url, "name": "health", "version_query": "version"}]},
        "window": 0,
        "interval": 0.5,
        "min_samples": 1,
        **options,
    }
    return call_module("metrics_gate", {**given, "checks": list(checks)}, check=check)


def verdicts(outcome: Outcome) -> dict[str, str]:
    """Return the verdict of each check."""
    return {check["name"]: check["verdict"] for check in outcome["checks"]}


def seen(outcome: Outcome, name: str) -> str:
    """Return what one check saw."""
    (text,) = [check["seen"] for check in outcome["checks"] if check["name"] == name]
    return str(text)


def test_all_is_good_while_watchdog_fires_and_an_alert_is_pending(monitoring: Monitoring) -> None:
    assert "Watchdog" in monitoring.firing()
    began = time.monotonic()
    outcome = gate(
        monitoring, ERROR_RATE, LATENCY,
        {"name": "business", "query": REQUESTS, "changes": 1},
        {"name": "as before", "query": "latency", "max_ratio": 1.5, "baseline": {"offset": 1}},
        window=3,
    )  # fmt: skip
    assert not outcome.failed, outcome.result
    names = ["error rate", "latency", "business", "as before", "alerts", "endpoint health"]
    assert verdicts(outcome) == dict.fromkeys(names, "passed")
    assert (outcome["verdict"], outcome["changed"], outcome["ended_early"]) == ("passed", False, False)
    assert 3 <= outcome["seconds"] <= time.monotonic() - began
    assert len(outcome["samples"]) == outcome["rounds"] == monitoring.numbers.asked >= 2
    assert outcome["samples"][0]["values"]["latency"] == 200
    assert outcome["alerts"] == []
    lines = re.findall(r"^\[localhost\] metrics_gate: (.*)$", outcome.progress, re.MULTILINE)
    assert len(lines) == outcome["rounds"]
    assert re.fullmatch(
        r"\d of 3 s: error rate 0 % \(at most 0.1 %\); latency 200 ms \(at most 500 ms\); .*alerts none; "
        r"release 1 of 1 checks",
        lines[-1],
    )


def test_each_bad_number_has_its_verdict_and_its_reason(monitoring: Monitoring) -> None:
    monitoring.numbers.version = "1.0.3"
    outcome = gate(
        monitoring,
        {"name": "slow", "query": "latency", "max": 199, "unit": "ms"},
        {"name": "slower", "query": "latency * 1.6", "max_ratio": 0.9, "baseline": {"offset": 1}},
        {"name": "still", "query": "latency", "changes": 1},
        {"name": "no series", "query": "sum(rate(nobody_counts_this[3s]))", "max": 1},
        {"name": "0/0", "query": "none / none", "max": 1},
        {"name": "1/0", "query": "latency / none", "max": 1},
        {"name": "no traffic", "query": "none / none", "max": 1, "on_no_data": "pass"},
        {"name": "two", "query": '{__name__=~"latency|waiting"}', "max": 1000},
        {"name": "no baseline", "query": "latency", "max_ratio": 1.5, "baseline": {"at": "2020-01-01T00:00:00Z"}},
    )
    assert outcome.failed
    assert outcome["ended_early"] is False
    assert verdicts(outcome) == {
        "slow": "failed", "slower": "failed", "still": "failed", "no series": "inconclusive", "0/0": "inconclusive",
        "1/0": "inconclusive", "no traffic": "passed", "two": "inconclusive", "no baseline": "inconclusive",
        "alerts": "passed", "endpoint health": "failed",
    }  # fmt: skip
    assert "slow failed: 200 ms" in outcome["msg"]
    assert "good is at most 199 ms" in outcome["msg"]
    for name, text in {
        "slower": "1 times the baseline 320", "still": "never changed", "no series": "no series matches",
        "0/0": "NaN", "1/0": "no finite number", "two": "2 numbers and not one", "no baseline": "baseline: no data",
        "endpoint health": "version 1.0.3",
    }.items():  # fmt: skip
        assert text in seen(outcome, name)
    assert outcome["next_step"]


def test_errors_in_the_middle_end_the_watch_and_are_named(monitoring: Monitoring) -> None:
    def fail(count: int) -> None:
        if count == 2:
            monitoring.numbers.growth[ERRORS] = 50

    monitoring.numbers.when_asked = fail
    outcome = gate(monitoring, LATENCY, ERROR_RATE, window=300)
    assert outcome.failed
    assert outcome["ended_early"]
    assert outcome["seconds"] < 60
    assert verdicts(outcome)["error rate"] == outcome["verdict"] == "failed"
    (row,) = [check for check in outcome["checks"] if check["name"] == "error rate"]
    assert row["passed"] >= 1
    assert row["failed"] == 3
    assert "error rate failed" in outcome["msg"]
    assert "latency" not in outcome["msg"]


def test_an_alert_in_the_middle_ends_the_watch_and_one_of_before_does_not(monitoring: Monitoring) -> None:
    def fire(count: int) -> None:
        if count == 2:
            monitoring.numbers.gauges["alerting"] = 1

    monitoring.numbers.when_asked = fire
    outcome = gate(monitoring, window=300)
    assert outcome.failed
    assert outcome["ended_early"]
    assert "alerts failed: Errors (127.0.0.1:" in outcome["msg"]
    (alert,) = outcome["alerts"]
    assert alert["labels"]["job"] == "test"
    # Prometheus tells of the same alert, and of the one that is pending.
    again = gate(monitoring, alerts={"baseline": [alert["fingerprint"]]}, alertmanager_url="")
    assert verdicts(again)["alerts"] == "passed"
    assert "no new one, Errors (127.0.0.1:" in seen(again, "alerts")


def test_a_prometheus_that_is_down_is_inconclusive_and_may_warn(monitoring: Monitoring) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    checks = {**LATENCY, "on_no_data": "pass"}
    outcome = gate(monitoring, checks, prometheus_url=nobody, alertmanager_url="", on_inconclusive="warn")
    assert not outcome.failed
    assert outcome["verdict"] == "inconclusive"
    assert verdicts(outcome) == {"latency": "inconclusive", "alerts": "inconclusive", "endpoint health": "passed"}
    assert "Prometheus does not answer: connection refused" in seen(outcome, "latency")
    assert "The watch proves nothing" in outcome.progress


def test_check_mode_asks_once_and_shows_no_secret(monitoring: Monitoring) -> None:
    url = monitoring.prometheus.replace("//", "//me:s3cret-word@")
    slow = {**LATENCY, "max": 1}
    outcome = gate(
        monitoring, slow, window=3600, settle=60, interval=15, min_samples=3, check=True, prometheus_url=url, **TOKEN
    )
    assert not outcome.failed
    assert outcome["rounds"] == monitoring.numbers.asked == 1
    assert verdicts(outcome) == {"latency": "failed", "alerts": "inconclusive", "endpoint health": "inconclusive"}
    assert seen(outcome, "latency").startswith("200 ms")
    assert "metrics_gate:" not in outcome.progress
    assert "s3cret-word" not in str(outcome)
    assert "t0ken-word" not in str(outcome)


def test_check_mode_refuses_a_query_that_prometheus_refuses(monitoring: Monitoring) -> None:
    refused = gate(monitoring, {**LATENCY, "query": "sum(latency"}, check=True)
    assert refused.failed
    assert "Prometheus refuses the query of the check 'latency': bad_data" in refused["msg"]
    assert "latency" in refused["next_step"]


PLAY = """
- hosts: localhost
  gather_facts: false
  vars:
    rollback_project_directory: /nowhere/shop
    rollback_application_services: []
    run_release: {name: v1.0.2}
    monitor_release_interval: 0.5
  tasks:
    - name: Plan
      ansible.builtin.include_role:
        name: usdx.rollback.monitor_release
        apply:
          check_mode: true
      vars:
        monitor_release_planning: true
    - name: Keep the plan
      ansible.builtin.set_fact:
        planned: "{{ monitor_release_result | usdx.rollback.evidence }}"
    - name: Watch
      block:
        - name: Watch
          ansible.builtin.include_role:
            name: usdx.rollback.monitor_release
      rescue:
        - name: Keep what failed
          ansible.builtin.set_fact:
            monitor_release_result: "{{ ansible_failed_result }}"
    - name: Tell
      ansible.builtin.copy:
        content: "{{ {'planned': planned, 'seen': monitor_release_result | usdx.rollback.evidence} | to_json }}"
        dest: "{{ told_to }}"
        mode: "0600"
"""


def role(folder: Path, monitoring: Monitoring, **variables: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plan and carry out the role alone, on a host without containers; return the plan and the evidence."""
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    url = f"http://127.0.0.1:{monitoring.numbers.port}/health"
    given = {
        "rollback_endpoints": [{"url": url, "name": "health", "version_query": "version"}],
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "told_to": str(folder / "told.json"),
        **variables,
    }
    (folder / "vars.json").write_text(json.dumps(given), encoding="utf-8")
    program = str(Path(sys.executable).parent / "ansible-playbook")
    command(
        program, "-i", "localhost,", "-e", f"@{folder / 'vars.json'}", str(folder / "play.yml"), cwd=REPOSITORY,
        ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"),
    )  # fmt: skip
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return told["planned"], told["seen"]


def test_the_role_knows_what_fired_before_and_watches_all_in_one(monitoring: Monitoring, tmp_path: Path) -> None:
    monitoring.numbers.gauges["alerting"] = 1
    monitoring.wait_until(lambda: "Errors" in monitoring.firing(), "an alert")
    planned, evidence = role(
        tmp_path, monitoring,
        rollback_prometheus_url=monitoring.prometheus, rollback_alertmanager_url=monitoring.alertmanager,
        rollback_metrics=[LATENCY, {**LATENCY, "name": "slow", "max": 1, "fail_after": 1}],
        rollback_monitor_seconds=60, rollback_monitor_settle_seconds=1,
    )  # fmt: skip
    assert planned["not_watched"] == []
    assert [alert["name"] for alert in planned["alerts"]] == ["Errors"]
    assert "checks" not in planned, "what was before is no proof of the release"
    assert {row["name"]: row["seen"] for row in planned["before"]}["slow"].startswith("200 ms")
    assert {row["name"]: row["verdict"] for row in evidence["checks"]} == {
        "latency": "inconclusive", "slow": "failed", "alerts": "inconclusive", "endpoint health": "inconclusive",
    }  # fmt: skip
    assert all({"name", "verdict", "seen", "limit", "seconds"} <= set(row) for row in evidence["checks"])
    assert "Errors" in next(row["seen"] for row in evidence["checks"] if row["name"] == "alerts")
    assert re.match(r"The watch failed after \d+ of 61 s\. ", evidence["msg"])
    assert "slow failed: 200 ms" in evidence["msg"]


def test_the_role_says_that_no_metrics_are_configured(monitoring: Monitoring, tmp_path: Path) -> None:
    planned, evidence = role(tmp_path, monitoring, rollback_monitor_seconds=1)
    for told in (planned, evidence):
        assert [line.split(":")[0] for line in told["not_watched"]] == ["metrics", "alerts"]
        assert "no metrics configured" in told["not_watched"][0]
    assert [row["verdict"] for row in evidence["checks"]] == ["passed"]
    assert evidence["stable_seconds"] >= 1


def test_prometheus_understands_every_query_of_the_documents(monitoring: Monitoring) -> None:
    page = (REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")
    checks = {}
    for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        given = yaml.safe_load(textwrap.dedent(block))
        for one in given.get("rollback_metrics", []) if isinstance(given, dict) else given:
            checks[one["name"]] = one
    assert len(checks) >= 9
    told = gate(monitoring, *checks.values(), check=True)
    assert not told.failed, told["msg"]
    assert verdicts(told)["error rate for 5 minutes"] == "inconclusive"
