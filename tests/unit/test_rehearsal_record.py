# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal leaves: a record that plans read, and a report that claims no more than was measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.forecast import outage_forecast
from ansible_collections.usdx.rollback.plugins.module_utils.journal import Journal
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_history import (
    read_rehearsals,
    rehearsal_list_lines,
    rehearsal_standing,
    rehearsals_path,
)
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_record import (
    record_of,
    recorded,
    rehearsal_junit,
    rehearsal_lines,
    reported,
)
from ansible_collections.usdx.rollback.plugins.module_utils.report_text import outage_line
from ansible_collections.usdx.rollback.plugins.module_utils.run_history import run_info, summarise

if TYPE_CHECKING:
    from pathlib import Path

STEPS = ["stop_services", "switch_release", "start_services", "verify_release"]
RUN_ID = "20261124T150405Z-3f9a"


def moment(second: int) -> str:
    """Return a time of the rehearsal."""
    return f"2026-11-24T15:{second // 60:02d}:{second % 60:02d}.000+00:00"


def run(outcome: str = "succeeded", failed: str = "", **facts: dict[str, Any]) -> dict[str, Any]:
    """Return the rollback of a copy: every step took five seconds. ``facts`` are those of steps, by name."""
    events: list[dict[str, Any]] = [
        {"event": "run_started", "time": moment(0), "step": None, "facts": {"steps": STEPS, "host": "shop-1"}}
    ]
    for number, step in enumerate(STEPS):
        end = "step_failed" if step == failed else "step_finished"
        events.append({"event": "step_started", "time": moment(5 * number), "step": step, "facts": {}})
        events.append({"event": end, "time": moment(5 * number + 5), "step": step, "facts": facts.get(step, {})})
        if step == failed:
            break
    events.append({"event": "run_finished", "time": moment(25), "step": None, "facts": {"outcome": outcome}})
    return summarise(RUN_ID, Journal(events, 0), "/tmp/journal.jsonl")  # noqa: S108 - not read


def told(**more: Any) -> dict[str, Any]:
    """Return what the role knows."""
    return {
        "run_id": RUN_ID, "host": "shop-1", "project": "shop", "version": "v1.0.2", "decision": "restore",
        "from": {"release": "v1.0.3", "commit": "0" * 40}, "started": moment(0), "ended": moment(60),
        "marks": [{"name": "copy", "at": moment(0)}, {"name": "rollback", "at": moment(20)}],
        "loss": {"counted": True, "rows": 7, "tables": {"orders": 7}, "since": "2026-11-24T11:00:00Z", "seconds": 9},
        "untouched": True, "not_rehearsed": ["http://elsewhere"],
    } | more  # fmt: skip


def test_a_rehearsal_measures_the_outage_and_predicts_the_loss() -> None:
    record = record_of(told(), run())
    assert (record["state"], record["outage"]) == ("succeeded", 15)
    assert [(one["name"], one["seconds"], one["state"]) for one in record["phases"]] == [
        ("copy", 20, "done"), ("rollback", 40, "done"),
    ]  # fmt: skip
    words = "\n".join(rehearsal_lines(record))
    assert "Predicted outage: about 15 s" in words
    assert "7 rows: orders 7" in words
    assert "Not asked, the copy does not answer for it: http://elsewhere" in words


def test_services_that_are_replaced_one_by_one_have_no_outage(tmp_path: Path) -> None:
    rolled = run(stop_services={"not_stopped": ["webapp", "nginx"]}, start_services={"not_rolled": {"nginx": "port"}})
    record = recorded(str(tmp_path), told(), rolled, check=False)["record"]
    assert (record["outage"], record["not_stopped"]) == (None, ["webapp"])
    assert "Predicted outage: none of webapp, they go on serving while" in "\n".join(rehearsal_lines(record))
    assert "no outage, rolling" in "\n".join(rehearsal_list_lines([record]))


@pytest.mark.parametrize(
    ("more", "done", "why"),
    [
        ({"failure": "no disk", "failed_in": "copy"}, None, "no disk"),
        ({}, None, "did not come to an end"),
        ({"failure": "unhealthy", "failed_in": "rollback"}, run("failed", "start_services"), "unhealthy"),
    ],
)
def test_a_rehearsal_that_failed_predicts_nothing(more: dict[str, Any], done: dict[str, Any] | None, why: str) -> None:
    record = record_of(told(**more), done)
    assert (record["state"], record["outage"]) == ("failed", None)
    assert why in record["failure"]
    assert "Predicted outage: unknown" in "\n".join(rehearsal_lines(record))
    suite = next(iter(ET.fromstring(rehearsal_junit(record))))  # noqa: S314 - our own
    assert int(suite.attrib["failures"]) >= 1
    assert outage_forecast([], STEPS, [record])["seconds"] is None


def test_production_that_was_touched_is_a_failure_and_what_was_not_asked_is_no_success() -> None:
    root = ET.fromstring(rehearsal_junit(record_of(told(untouched=False, failure="containers differ"), run())))  # noqa: S314
    cases = {case.attrib["name"]: [one.tag for one in case] for case in root.iter("testcase")}
    assert cases["production untouched"] == ["failure"]
    assert cases["http://elsewhere"] == ["skipped"]


def test_rehearsals_are_on_record_and_are_no_runs(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    foreseen = recorded(state, told(), run(), check=True)
    assert foreseen["record"]["state"] == "succeeded"
    assert read_rehearsals(state) == []
    for number in range(205):
        recorded(state, told(version=f"v{number}"), run(), check=False)
    path = tmp_path / "state" / "rehearsals.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 200
    with path.open("a") as file:
        file.write('{"torn')
    info = run_info({"state_directory": state, "run_id": None, "purpose": "list", "limit": 3})
    assert [one["version"] for one in info["rehearsals"]] == ["v204", "v203", "v202"]
    assert info["runs"] == []
    assert "checks" not in info["rehearsals"][0], "the list is short"
    (line,) = rehearsal_list_lines(info["rehearsals"][:1])
    assert "v1.0.3 -> v204" in line
    assert "outage 15.0 s" in line
    assert rehearsals_path(state) == str(path)


def test_the_plan_takes_its_time_from_rehearsals_only_where_no_run_was_measured() -> None:
    record = record_of(told(), run())
    steps = ["stop_services", "switch_release", "start_services"]
    assert outage_forecast([], steps, [record]) == {"seconds": 15, "runs": 0, "rehearsals": 1}
    real = {"state": "succeeded", "resumed": 0, "steps": [
        {"name": name, "state": "done", "start": moment(0), "end": moment(40)} for name in steps
    ]}  # fmt: skip
    assert outage_forecast([real], steps, [record]) == {"seconds": 40, "runs": 1}
    plan = {"results": {}, "outage": {"seconds": 15, "runs": 0, "rehearsals": 1}}
    assert outage_line(plan).endswith("about 15 s, as measured by 1 rehearsal")


@pytest.mark.parametrize(
    ("states", "limit", "now", "words"),
    [
        ([], 168, moment(0), "none is on record here; rehearse with"),
        ([], 0, moment(0), None),
        (["succeeded"], 168, "2026-11-25T15:01:00+00:00", "v1.0.2, 24 h 0 min ago, succeeded"),
        (["succeeded"], 168, "2026-12-24T15:01:00", "OLDER THAN 168 HOURS"),
        (["succeeded"], 0, "2026-12-24T15:01:00Z", "30 days ago, succeeded"),
        (["failed", "succeeded"], 168, moment(120), "failed; the last that succeeded: v1.0.2, 1 min 0 s ago"),
        (["failed"], 168, moment(120), "NONE ON RECORD HAS SUCCEEDED"),
        (["succeeded"], "7d", moment(120), "which is no number of hours"),
    ],
)
def test_a_plan_says_when_it_was_rehearsed_last(states: list[str], limit: object, now: str, words: str | None) -> None:
    records = [{"version": "v1.0.2", "state": state, "ended": moment(60)} for state in states]
    said = rehearsal_standing(records, limit, now)
    assert words in said if words else said == ""
    assert ("OLDER" in said) is (words is not None and "OLDER" in words)


def test_the_report_is_private_and_quotes_safely(tmp_path: Path) -> None:
    record = record_of(told(failure="<b>`x`\x1b[31m", failed_in="copy"), None)
    files = reported(str(tmp_path / "report"), record, check=False)["files"]
    assert {(tmp_path / "report" / name).stat().st_mode & 0o777 for name in files} == {0o600}
    page = (tmp_path / "report" / "rehearsal.md").read_text()
    assert "\x1b" not in page
    assert "<b>" not in page
    assert json.loads((tmp_path / "report" / "rehearsal.json").read_text())["state"] == "failed"
