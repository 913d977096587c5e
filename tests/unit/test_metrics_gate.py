# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What samples prove: when a watch ends early, and that missing data never passes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.metrics_gate import (
    VALUE_LIMIT,
    Gate,
    Sample,
    Track,
    alerts_sample,
    metric_sample,
    number,
    samples_of,
)
from ansible_collections.usdx.rollback.plugins.module_utils.verify import FAILED, INCONCLUSIVE, PASSED
from hypothesis import given
from hypothesis import strategies as st

BASELINE = {"at": "2026-11-24T16:00:00Z"}
CHECK: dict[str, Any] = {
    "name": "errors", "query": "up", "max": 1.0, "min": None, "changes": None, "max_ratio": None, "baseline": None,
    "unit": "%", "on_no_data": "inconclusive", "fail_after": 3,
}  # fmt: skip
ALERTS: dict[str, Any] = {"ignore": [], "labels": {}, "baseline": ["old"], "fail_after": 1}
OPTIONS: dict[str, Any] = {
    "window": 60.0, "interval": 10.0, "settle": 0.0, "stable_for": 30.0, "min_samples": 3, "on_inconclusive": "fail",
    "checks": [CHECK], "alerts": None,
}  # fmt: skip
NO_DATA = {"value": None, "why": "no data: no series", "no_data": True}
DOWN = {"value": None, "why": "Prometheus does not answer", "no_data": False}


def read(value: float | dict[str, Any] | None, baseline: float | None = None) -> dict[str, Any]:
    now = value if isinstance(value, dict) else {"value": value, "why": "", "no_data": False}
    return {"now": now, "baseline": {"value": baseline, "why": "no data" if baseline is None else ""}}


def alert(fingerprint: str, name: str = "Errors", **labels: str) -> dict[str, Any]:
    return {"name": name, "fingerprint": fingerprint, "labels": labels, "since": ""}


def firing(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"firing": list(alerts), "count": len(alerts), "why": ""}


def watch(values: list[Any], check: dict[str, Any] | None = None, **options: Any) -> Gate:
    """Return a gate that has taken these values, one every ten seconds, until it was over."""
    gate = Gate({**OPTIONS, **options, "checks": [{**CHECK, **(check or {})}]})
    for position, value in enumerate(values):
        told = {"readings": {"errors": read(value)}}
        gate.take(position * 10.0, samples_of(gate.options, told, None))
        if gate.over:
            break
    return gate


def verdict(gate: Gate) -> str:
    (row,) = gate.checks()
    return str(row["verdict"])


# -- one sample --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "value", "verdict", "seen"),
    [
        ({}, 1.0, PASSED, "1 %"),
        ({}, 1.0001, FAILED, "1 %"),
        ({"max": None, "min": 5.0}, 4.9, FAILED, "4.9 %"),
        ({"min": 0.0}, 0.0, PASSED, "0 %"),
        ({}, NO_DATA, INCONCLUSIVE, "no data: no series"),
        ({"on_no_data": "pass"}, NO_DATA, PASSED, "no data: no series"),
        ({"on_no_data": "pass"}, DOWN, INCONCLUSIVE, "Prometheus does not answer"),
    ],
)
def test_a_number_against_its_limits(check: dict[str, Any], value: Any, verdict: str, seen: str) -> None:
    sample = metric_sample({**CHECK, **check}, read(value))
    assert (sample.verdict, sample.seen) == (verdict, seen)


@pytest.mark.parametrize(
    ("value", "baseline", "verdict", "seen"),
    [
        (150.0, 100.0, PASSED, "1.5 times the baseline 100 ms"),
        (151.0, 100.0, FAILED, "1.51 times"),
        (151.0, None, INCONCLUSIVE, "baseline: no data"),
        (151.0, 0.0, INCONCLUSIVE, "there is no ratio"),
    ],
)
def test_a_number_against_its_baseline(value: float, baseline: float | None, verdict: str, seen: str) -> None:
    check = {**CHECK, "max": None, "max_ratio": 1.5, "baseline": BASELINE, "unit": "ms"}
    sample = metric_sample(check, read(value, baseline))
    assert sample.verdict == verdict
    assert seen in sample.seen
    assert sample.limit == "at most 1.5 times that of 2026-11-24T16:00:00Z"


def test_a_limit_that_is_broken_counts_also_without_a_baseline() -> None:
    check = {**CHECK, "max_ratio": 1.5, "baseline": BASELINE}
    assert metric_sample(check, read(2.0)).verdict == FAILED


@pytest.mark.parametrize(
    ("told", "verdict", "seen"),
    [
        (firing(), PASSED, "none"),
        (firing(alert("old")), PASSED, "no new one, Errors fires since before"),
        (firing(alert("old"), alert("new", instance="web:80")), FAILED, "Errors (web:80) fires"),
        ({"firing": None, "why": "Alertmanager does not answer"}, INCONCLUSIVE, "Alertmanager does not answer"),
        ({"firing": [alert("old")], "count": 9, "why": ""}, FAILED, "and 8 more"),
    ],
)
def test_alerts_that_fired_before_do_not_fail_and_are_named(told: dict[str, Any], verdict: str, seen: str) -> None:
    sample = alerts_sample(ALERTS, told)
    assert sample.verdict == verdict
    assert seen in sample.seen


def test_numbers_are_readable() -> None:
    assert [number(value, "ms") for value in (0.0213, 212.34, 1234567.0)] == ["0.0213 ms", "212.3 ms", "1,234,567 ms"]


# -- all samples -------------------------------------------------------------------------------------------------------


def test_good_samples_pass_and_say_between_what() -> None:
    gate = watch([0.1, 0.5, 0.2, 0.3, 0.3, 0.3, 0.3])
    (row,) = gate.checks()
    assert (row["verdict"], row["limit"], row["samples"]) == (PASSED, "at most 1 %", 7)
    assert row["seen"] == "0.3 %, from 0.1 % to 0.5 %, 7 samples"
    assert "failed" not in gate.result([]) or not gate.result([])["failed"]


def test_three_failures_in_a_row_end_the_watch_and_name_the_check() -> None:
    gate = watch([0.1, 2.0, 3.0, 4.0, 0.1, 0.1, 0.1])
    assert (gate.at, gate.over, len(gate.rounds)) == (30.0, True, 4)
    result = gate.result([])
    assert (result["verdict"], result["failed"], result["ended_early"]) == (FAILED, True, True)
    assert "errors failed: 4 %" in result["msg"]
    assert "after 30 of 60 s" in result["msg"]
    assert "going on" not in result["msg"]
    assert "Nothing was changed" in result["next_step"]


@pytest.mark.parametrize("broken", [0.1, NO_DATA])
def test_two_failures_and_a_break_do_not_end_it(broken: Any) -> None:
    assert len(watch([2.0, 2.0, broken, 2.0, 2.0, broken, 0.1]).rounds) == 7


def test_a_failure_long_before_the_end_is_forgiven_and_a_late_one_is_not() -> None:
    assert verdict(watch([2.0, 2.0, 0.1, 0.1, 0.1, 0.1, 0.1])) == PASSED
    assert verdict(watch([0.1, 0.1, 0.1, 0.1, 2.0, 0.1, 0.1])) == FAILED


def test_fail_after_zero_judges_at_the_end_only() -> None:
    gate = watch([2.0] * 7, {"fail_after": 0})
    assert (len(gate.rounds), verdict(gate)) == (7, FAILED)
    assert gate.result([])["ended_early"] is False


@pytest.mark.parametrize(
    "values",
    [[NO_DATA] * 7, [DOWN] * 7, [0.1] * 6 + [NO_DATA], [0.1] * 4 + [DOWN] + [0.1] * 2],
)
def test_missing_data_is_inconclusive(values: list[Any]) -> None:
    gate = watch(values)
    result = gate.result([])
    assert (result["verdict"], result["failed"]) == (INCONCLUSIVE, True)
    assert "proves nothing" in result["msg"]
    assert "on_inconclusive" in result["next_step"]


def test_too_few_samples_are_inconclusive_even_when_the_last_are_good() -> None:
    assert verdict(watch([NO_DATA] * 3 + [0.1] * 4, min_samples=5)) == INCONCLUSIVE


def test_inconclusive_may_warn_and_a_failure_does_not() -> None:
    result = watch([DOWN] * 7, on_inconclusive="warn").result([])
    assert "failed" not in result
    assert result["verdict"] == INCONCLUSIVE
    assert "does not answer" in result["warnings"][0]
    assert watch([9.0] * 7, on_inconclusive="warn").result([])["failed"]


def test_what_is_seen_while_it_settles_is_shown_and_not_judged() -> None:
    gate = watch([9.0, 9.0, 9.0, 9.0] + [0.1] * 7, settle=40.0)
    assert (gate.length, len(gate.rounds), verdict(gate)) == (100.0, 11, PASSED)
    assert gate.rounds[0]["failed"] == ["errors"]
    assert "settling" in watch([9.0], settle=40.0).line()


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], PASSED), ([5.0] * 7, FAILED), ([NO_DATA] * 7, INCONCLUSIVE)],
)
def test_what_must_move_and_stands_still_has_failed(values: list[Any], expected: str) -> None:
    gate = watch(values, {"max": None, "changes": 1})
    assert verdict(gate) == expected
    assert len(gate.rounds) == 7


def test_nothing_sampled_has_not_passed() -> None:
    assert Track("errors").verdict(0.0, 1) == INCONCLUSIVE
    assert Gate(OPTIONS).checks()[0]["seen"] == "not asked"


values = st.one_of(st.floats(0, 2), st.just(NO_DATA), st.just(DOWN))


@given(st.lists(values, min_size=1, max_size=12), st.integers(0, 4), st.integers(1, 4), st.floats(0, 60))
def test_a_pass_is_always_earned(taken: list[Any], fail_after: int, least: int, stable: float) -> None:
    gate = watch(taken, {"fail_after": fail_after}, min_samples=least, stable_for=stable)
    (row,) = gate.checks()
    said = [one for one in taken[: len(gate.rounds)] if isinstance(one, float)]
    if row["verdict"] == PASSED:
        assert len(said) >= least
        assert isinstance(taken[len(gate.rounds) - 1], float)
        assert said[-1] <= 1
    if all(not isinstance(one, float) for one in taken):
        assert row["verdict"] == INCONCLUSIVE
    if len(said) == len(gate.rounds) >= least and max(said) <= 1:
        assert row["verdict"] == PASSED
    assert not math.isnan(row["value"] or 0)


# -- alerts and the release beside the numbers -------------------------------------------------------------------------


def rows(*verdicts: str) -> dict[str, Any]:
    kinds = ("service", "endpoint")
    return {
        "checks": [
            {"kind": kind, "name": "web", "expected": "status 200", "seen": f"seen {verdict}", "verdict": verdict}
            for kind, verdict in zip(kinds, verdicts)
        ]
    }


def test_an_alert_in_the_middle_ends_the_watch() -> None:
    gate = Gate({**OPTIONS, "alerts": ALERTS})
    told = {"readings": {"errors": read(0.1)}, "alerts": firing(alert("old"))}
    gate.read(0, told, None)
    assert not gate.over
    gate.read(10, {**told, "alerts": firing(alert("new", "Down"))}, None)
    assert gate.over
    result = gate.result([alert("new", "Down")])
    assert "alerts failed: Down fires" in result["msg"]
    assert [row["name"] for row in result["checks"]] == ["errors", "alerts"]


def test_an_alert_of_the_outage_has_time_to_end_and_must() -> None:
    def judged(last: dict[str, Any]) -> tuple[str, int]:
        gate = Gate({**OPTIONS, "checks": [], "alerts": ALERTS})
        for at in range(0, 70, 10):
            gate.read(at, {"alerts": firing(alert("outage", "Down")) if at < 30 else last}, None)
            if gate.over:
                break
        return str(gate.checks()[0]["verdict"]), len(gate.rounds)

    assert judged(firing()) == (PASSED, 7)
    assert judged(firing(alert("outage", "Down"))) == (FAILED, 7)
    assert judged(firing(alert("outage", "Down"), alert("fresh"))) == (FAILED, 4)


def test_services_and_endpoints_are_watched_in_the_same_rounds() -> None:
    gate = Gate(OPTIONS)
    told = {"readings": {"errors": read(0.1)}}
    gate.take(0, samples_of(gate.options, told, rows(PASSED, PASSED)))
    assert gate.line() == "0 of 60 s: errors 0.1 % (at most 1 %); release 2 of 2 checks"
    for at in (10, 20, 30):
        gate.take(at, samples_of(gate.options, told, rows(PASSED, FAILED)))
    assert "FAILED endpoint web seen failed (status 200); release 1 of 2 checks" in gate.line()
    assert gate.over
    assert "endpoint web failed" in gate.result([])["msg"]
    assert {row["name"]: row["verdict"] for row in gate.checks()}["service web"] == PASSED


def test_what_is_only_shown_does_not_decide() -> None:
    told = rows(PASSED, FAILED)
    told["checks"][1]["decides"] = False
    samples = samples_of({**OPTIONS, "checks": []}, {}, told)
    assert [(one.name, one.verdict) for one in samples] == [("service web", PASSED)]


def test_a_round_in_which_the_host_does_not_answer_counts_against_each_check() -> None:
    gate = Gate(OPTIONS)
    lost = {"why": "the host does not answer", "msg": "timed out"}
    gate.take(0, samples_of(gate.options, lost, lost))
    assert [row["name"] for row in gate.checks()] == ["errors", "release"]
    gate.take(10, samples_of(gate.options, {"readings": {"errors": read(0.1)}}, rows(PASSED, PASSED)))
    gate.take(20, samples_of(gate.options, lost, lost))
    names = {row["name"]: row for row in gate.checks()}
    assert set(names) == {"errors", "service web", "endpoint web"}
    assert names["service web"]["inconclusive"] == 2
    assert {row["verdict"] for row in names.values()} == {INCONCLUSIVE}


def test_very_many_numbers_are_thinned_evenly() -> None:
    gate = Gate({**OPTIONS, "window": 1e9})
    for at in range(VALUE_LIMIT):
        gate.take(at, [Sample("errors", "", PASSED, "", 1.0)])
    assert len(gate.samples()) == VALUE_LIMIT / 2
    assert gate.result([])["rounds"] == VALUE_LIMIT
