# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What plan, summary and report say of silenced alerts and of Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_text import planned_lines, told_lines
from ansible_collections.usdx.rollback.plugins.module_utils.report_text import plan_lines, summary_lines

PLAN = json.loads((Path(__file__).parent / "data" / "failed_run.json").read_text(encoding="utf-8"))["plan"]
SILENCE = {"matchers": ['service="shop"', 'alertname!="Disk"'], "why": "", "seconds": 3600}


def event(name: str, elapsed: float, **facts: Any) -> dict[str, Any]:
    given = {"verdict": "passed", "why": "", "changed": True, "matchers": ['service="shop"'],
             "silences": [{"id": "a", "ends": "2026-11-25T18:00:00.000Z"}]}  # fmt: skip
    return {"event": name, "elapsed": elapsed, "step": None, "facts": {**given, **facts}}


BEGUN = event("alerts_silenced", 2.0)
WHY = "Alertmanager does not answer"
SINCE, LAST = 'Alerts with service="shop" silenced from T+00:02', "at 2026-11-25 18:00:00 UTC"
UNKNOWN = f"Alerts are not known to have been silenced: {WHY}"
DEAD = {"verdict": "inconclusive", "why": WHY, "silences": [], "changed": False}


def test_the_plan_says_what_is_silenced_until_when() -> None:
    lines = planned_lines({"silence": SILENCE, "steps": ["monitor_release"], "skipped": {}, "annotation": True})
    first, second = lines
    assert first.startswith("Silenced in Alertmanager until step 7 begins, 1 h 0 min at most: ")
    assert first.endswith('alerts with service="shop" and alertname!="Disk"')
    assert second == "Shown in the graphs of Grafana when the run ends"
    lines = planned_lines({"silence": {**SILENCE, "why": "it is away"}, "steps": ["monitor_release"],
                           "skipped": {"monitor_release": "not asked"}})  # fmt: skip
    assert lines[0].startswith("Silenced in Alertmanager until the run ends")
    assert lines[1:] == ["Not silenced if it stays so: it is away"]
    assert planned_lines({}) == []
    assert [line for line in plan_lines({**PLAN, "silence": SILENCE}) if line.startswith("Silenced in")]
    assert not [line for line in plan_lines(PLAN) if "ilenced" in line or "Grafana" in line]


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ([BEGUN, event("silence_ended", 61)], f"{SINCE} to T+01:01"),
        ([BEGUN], f"{SINCE}, over by itself {LAST}"),
        (
            [BEGUN, event("silence_ended", 61, changed=False)],
            f"{SINCE}; the silence was over by itself {LAST}, before T+01:01",
        ),
        ([BEGUN, event("silence_ended", 61, **DEAD)], f"{SINCE}; NOT ended, it is over by itself {LAST}: {WHY}"),
        ([event("alerts_silenced", 2, **DEAD), event("silence_ended", 9, changed=False)], UNKNOWN),
        (
            [event("alerts_silenced", 2, **DEAD), event("silence_ended", 9, **DEAD)],
            f"{UNKNOWN}; nor that none is left: {WHY}",
        ),
    ],
)
def test_the_summary_says_from_when_to_when(events: list[dict[str, Any]], line: str) -> None:
    assert told_lines(events) == [line]


def test_an_end_that_was_tried_again_counts_as_it_came_out() -> None:
    first, second = event("silence_ended", 61, **DEAD), event("silence_ended", 99)
    assert told_lines([BEGUN, first, second]) == ['Alerts with service="shop" silenced from T+00:02 to T+01:39']
    again = [BEGUN, event("silence_ended", 61), event("alerts_silenced", 300), event("silence_ended", 400)]
    assert [line[-20:] for line in told_lines(again)] == ["m T+00:02 to T+01:01", "m T+05:00 to T+06:40"]


def test_grafana_is_said_at_the_end() -> None:
    def finished(**annotation: str) -> dict[str, Any]:
        return {"event": "run_finished", "elapsed": 90, "step": None, "facts": {"annotation": annotation}}

    assert told_lines([finished(verdict="passed")]) == ["Grafana shows the run"]
    dead = finished(verdict="inconclusive", why="connection refused")
    assert told_lines([dead]) == ["Grafana does not show the run: connection refused"]
    summary = {"plan": PLAN, "events": [BEGUN, dead], "journal": "/j", "manual_checks": []}
    assert summary_lines(summary)[-3:-1] == told_lines([BEGUN, dead])
