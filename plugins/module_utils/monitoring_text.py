# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of alerts that are silenced for a run, and of its annotation in Grafana."""

from __future__ import annotations

from datetime import timezone
from typing import Any

from .journal import clock, duration
from .postgres.sidecar import parse_moment

_PASSED = "passed"


def planned_lines(plan: dict[str, Any]) -> list[str]:
    """Return what a run would do beside its steps; the plan of an older version says nothing of it."""
    silence = plan.get("silence") or {}
    lines = []
    if silence:
        time = duration(float(silence.get("seconds") or 0))
        ends = "until step 7 begins" if _watches(plan) else "until the run ends"
        lines.append(f"Silenced in Alertmanager {ends}, {time} at most: alerts with {_with(silence)}")
        lines += [f"Not silenced if it stays so: {silence['why']}"] if silence.get("why") else []
    return lines + (["Shown in the graphs of Grafana when the run ends"] if plan.get("annotation") else [])


def _watches(plan: dict[str, Any]) -> bool:
    return "monitor_release" in plan.get("steps", []) and "monitor_release" not in plan.get("skipped", {})


def _with(told: dict[str, Any]) -> str:
    return " and ".join(map(str, told.get("matchers") or [])) or "the matchers of the run"


def told_lines(events: list[dict[str, Any]]) -> list[str]:
    """Return from when to when alerts were silenced, and whether graphs show the run; each time that it was begun."""
    lines: list[str] = []
    begun, ended = None, None
    for event in events:
        if event["event"] == "alerts_silenced":
            lines += [_silence_line(begun, ended)] if begun else []
            begun, ended = event, None
        elif event["event"] == "silence_ended":
            ended = event  # one that was not seen to end is tried again; the last word counts
    lines += [_silence_line(begun, ended)] if begun else []
    annotations = [event["facts"]["annotation"] for event in events if event.get("facts", {}).get("annotation")]
    return lines + [
        "Grafana shows the run" if one.get("verdict") == _PASSED else f"Grafana does not show the run: {one.get('why')}"
        for one in annotations
    ]


def _silence_line(begun: dict[str, Any], ended: dict[str, Any] | None) -> str:
    facts, end = begun["facts"], (ended or {}).get("facts", {})
    if facts.get("verdict") != _PASSED:
        left = "" if ended is None or end.get("verdict") == _PASSED else f"; nor that none is left: {end.get('why')}"
        return f"Alerts are not known to have been silenced: {facts.get('why')}{left}"
    since = f"Alerts with {_with(facts)} silenced from {clock(begun['elapsed'])}"
    last = _last(facts)
    if ended is None:
        return f"{since}, over by itself {last}"
    if end.get("verdict") != _PASSED:
        return f"{since}; NOT ended, it is over by itself {last}: {end.get('why')}"
    if not end.get("changed"):
        return f"{since}; the silence was over by itself {_last(end)}, before {clock(ended['elapsed'])}"
    return f"{since} to {clock(ended['elapsed'])}"


def _last(facts: dict[str, Any]) -> str:
    """Return when the last silence ends or has ended, in words."""
    moments = [parse_moment(str(one.get("ends"))) for one in facts.get("silences") or []]
    known = [moment for moment in moments if moment]
    return f"at {max(known).astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if known else "at an unknown time"
