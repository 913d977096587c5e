# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What answers of Prometheus and Alertmanager mean, and which options are refused before anything is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import monitoring_server as module
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import HttpAnswer, NoAnswerError
from ansible_collections.usdx.rollback.plugins.module_utils.metrics import (
    Reading,
    ask,
    checked_options,
    read_alerts,
    read_value,
)
from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_server import Server, server_of
from hypothesis import given
from hypothesis import strategies as st

# Prometheus 2.42 and Alertmanager 0.25 of Debian 12 have answered these; only the alert named Quiet is made up.
METRIC = '{"instance":"127.0.0.1:36609","job":"test"}'
VECTOR = (
    '{"status":"success","data":{"resultType":"vector","result":[{"metric":'
    + METRIC
    + ',"value":[1795627244.385,"200"]}]}}'
)
EMPTY = '{"status":"success","data":{"resultType":"vector","result":[]}}'
NAN = VECTOR.replace('"200"', '"NaN"')
SCALAR = '{"status":"success","data":{"resultType":"scalar","result":[1795627244.387,"200"]}}'
BAD = (
    '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\": 1:8: parse error: unclosed left'
    ' parenthesis"}'
)
PENDING = (
    '{"status":"success","data":{"alerts":[{"labels":{"alertname":"Watchdog"},"annotations":{},"state":"firing",'
    '"activeAt":"2026-11-25T17:20:37.320217217Z","value":"1e+00"},{"labels":{"alertname":"Errors","instance":'
    '"127.0.0.1:36609","job":"test"},"annotations":{},"state":"firing","activeAt":"2026-11-25T17:20:44.320217217Z",'
    '"value":"1e+00"},{"labels":{"alertname":"Waiting","instance":"127.0.0.1:36609","job":"test"},"annotations":{},'
    '"state":"pending","activeAt":"2026-11-25T17:20:44.320217217Z","value":"1e+00"}]}}'
)
ALERTMANAGER = (
    '[{"annotations":{},"endsAt":"2026-11-25T17:20:48.320Z","fingerprint":"1d213477d4b956ca","receivers":[{"name":'
    '"nobody"}],"startsAt":"2026-11-25T17:20:44.320Z","status":{"inhibitedBy":[],"silencedBy":[],"state":"active"},'
    '"updatedAt":"2026-11-25T17:20:44.326Z","generatorURL":"http://vm:46777/graph?g0.expr=alerting+%3E+0\\u0026g0.tab=1",'
    '"labels":{"alertname":"Errors","instance":"127.0.0.1:36609","job":"test"}},{"annotations":{},"endsAt":'
    '"2026-11-25T17:20:48.320Z","fingerprint":"a","receivers":[{"name":"nobody"}],"startsAt":"2026-11-25T17:20:44.320Z",'
    '"status":{"inhibitedBy":[],"silencedBy":["x"],"state":"suppressed"},"updatedAt":"2026-11-25T17:20:44.326Z",'
    '"generatorURL":"","labels":{"alertname":"Quiet"}}]'
)
OWN_SILENCE = (
    '[{"id":"x","status":{"state":"active"},"comment":"why [run-7]","createdBy":"usdx.rollback","startsAt":"","endsAt":'
    '"","matchers":[]}]'
)
ANY = {"ignore": ["Watchdog"], "labels": {}}
CHECK: dict[str, Any] = {
    "name": "errors", "query": "up", "max": 0.1, "min": None, "changes": None, "max_ratio": None, "baseline": None,
    "unit": "%", "on_no_data": "inconclusive", "fail_after": 3,
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "prometheus_url": "http://127.0.0.1:9", "alertmanager_url": None, "bearer_token": None, "username": None,
    "password": None, "ca_path": None, "validate_certs": True, "request_timeout": 1.0, "checks": [CHECK],
    "alerts": {"watched": True, "ignore": ["Watchdog"], "labels": {}, "baseline": [], "fail_after": 1},
    "window": 60.0, "interval": 15.0, "settle": 0.0, "stable_for": None, "min_samples": 3, "on_inconclusive": "fail",
}  # fmt: skip


def read(text: str, status: int = 200) -> Reading:
    return read_value("errors", status, json.loads(text))


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [(VECTOR, 200.0), (SCALAR, 200.0)])
def test_a_number_is_read(text: str, value: float) -> None:
    assert read(text) == Reading(value)


@pytest.mark.parametrize(("text", "why"), [(EMPTY, "no series"), (NAN, "NaN")])
def test_no_series_and_nan_are_no_data_and_not_zero(text: str, why: str) -> None:
    reading = read(text)
    assert (reading.value, reading.no_data) == (None, True)
    assert why in reading.why


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        (VECTOR.replace("200", "+Inf"), 200, "no finite number: +inf"),
        (VECTOR.replace("200", "a lot"), 200, "without a number"),
        (VECTOR.replace('[1795627244.385,"200"]', "[]"), 200, "without a number"),
        (EMPTY.replace("[]", '[{"value":[1,"1"]},{"value":[1,"2"]}]'), 200, "2 numbers and not one"),
        (EMPTY.replace("vector", "matrix"), 200, "gives a matrix"),
        (EMPTY.replace("[]", '["x"]'), 200, "without a number"),
        ('{"status":"success"}', 200, "without data"),
        ("[]", 502, "status 502"),
        (BAD.replace("bad_data", "timeout"), 503, "timeout"),
        (BAD.replace("parse", "\\u001b[2J"), 503, " [2J"),
    ],
)
def test_what_is_no_number_is_told_and_is_not_taken_for_missing_traffic(text: str, status: int, why: str) -> None:
    reading = read(text, status)
    assert (reading.value, reading.no_data) == (None, False)
    assert why in reading.why
    assert "\x1b" not in reading.why


def test_a_query_that_prometheus_refuses_is_a_wrong_option() -> None:
    with pytest.raises(RollbackError, match=r"query of the check 'errors': bad_data: .*unclosed left") as caught:
        read(BAD, 400)
    assert "'errors'" in caught.value.next_step


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["status", "data", "result", "resultType", "value", "alerts", "labels", "state"]), inner
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([200, 400, 503]))
def test_no_answer_at_all_breaks_the_reader_or_makes_a_number_up(answer: Any, status: int) -> None:
    assert read_value("errors", status, answer).value is None or answer["data"]["result"]
    told = read_alerts(ANY, status, answer)
    assert told["firing"] is None or status == 200


# -- alerts ------------------------------------------------------------------------------------------------------------


def test_pending_suppressed_and_ignored_alerts_do_not_fire() -> None:
    told = read_alerts(ANY, 200, json.loads(PENDING))
    assert [alert["name"] for alert in told["firing"]] == ["Errors"]
    assert [alert["name"] for alert in read_alerts(ANY, 200, json.loads(ALERTMANAGER))["firing"]] == ["Errors"]


def test_an_alert_is_the_same_whichever_server_tells_it() -> None:
    (one,) = read_alerts(ANY, 200, json.loads(PENDING))["firing"]
    (other,) = read_alerts(ANY, 200, json.loads(ALERTMANAGER))["firing"]
    assert one["fingerprint"] == other["fingerprint"]


def test_only_alerts_with_the_labels_count() -> None:
    answer = json.loads(ALERTMANAGER)
    assert read_alerts({"ignore": [], "labels": {"service": "shop"}}, 200, answer)["firing"] == []
    assert len(read_alerts({"ignore": [], "labels": {"instance": "127.0.0.1:36609"}}, 200, answer)["firing"]) == 1


@pytest.mark.parametrize(
    ("status", "answer"),
    [(200, {}), (200, {"data": {"alerts": None}}), (500, []), (200, ["x"]), (200, [{"labels": {}}])],
)
def test_alerts_that_cannot_be_read_are_not_none(status: int, answer: Any) -> None:
    told = read_alerts(ANY, status, answer)
    assert told["firing"] is None
    assert f"status {status}" in told["why"]


def test_a_thousand_alerts_are_counted_and_not_returned() -> None:
    alert = json.loads(ALERTMANAGER)[0]
    told = read_alerts(
        ANY, 200, [{**alert, "labels": {"alertname": "A\x1b[2J" * 99, **dict.fromkeys("abc" * 9, "x" * 999)}}] * 1000
    )
    assert (told["count"], len(told["firing"])) == (1000, 50)
    assert len(json.dumps(told)) < 50_000
    assert "\x1b" not in told["firing"][0]["name"]


# -- options -----------------------------------------------------------------------------------------------------------


def test_defaults_are_made_complete() -> None:
    checked = checked_options(OPTIONS)
    assert (checked["stable_for"], checked["checks"][0]["max"]) == (30.0, 0.1)
    assert "password" not in str(checked)


def test_an_offset_becomes_a_moment() -> None:
    check = {**CHECK, "max_ratio": 1.5, "baseline": {"at": None, "offset": 3600.0}}
    at = checked_options({**OPTIONS, "checks": [check]})["checks"][0]["baseline"]["at"]
    assert at.endswith("Z")
    local = {**CHECK, "max_ratio": 1.5, "baseline": {"at": "2026-11-24T17:00:00+0100", "offset": None}}
    assert checked_options({**OPTIONS, "checks": [local]})["checks"][0]["baseline"]["at"] == "2026-11-24T16:00:00Z"
    again = {**CHECK, "max_ratio": 1.5, "baseline": {"at": at, "offset": None}}
    assert checked_options({**OPTIONS, "checks": [again]})["checks"][0]["baseline"]["at"] == at


def changed(**options: Any) -> dict[str, Any]:
    return {**OPTIONS, **options}


def with_check(**check: Any) -> dict[str, Any]:
    return changed(checks=[{**CHECK, **check}])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (changed(window=-1), "window"),
        (changed(window=float("inf")), "window"),
        (changed(interval=0.1), "interval"),
        (changed(interval=0.2, window=3600.0), "interval"),
        (changed(stable_for=61.0), "stable_for"),
        (changed(min_samples=6), "min_samples=6"),
        (changed(min_samples=0), "min_samples"),
        (changed(settle=-1.0), "settle"),
        (changed(prometheus_url=None), "prometheus_url"),
        (changed(prometheus_url=None, checks=[]), "prometheus_url"),
        (changed(checks=[CHECK, CHECK]), "checks.name"),
        (changed(checks=[{**CHECK, "name": str(number)} for number in range(51)]), "51 entries"),
        (changed(alerts={**OPTIONS["alerts"], "fail_after": -1}), "alerts.fail_after"),
        (with_check(name="alerts"), "checks.name"),
        (with_check(name=" "), "checks.name"),
        (with_check(name="a\x1b"), "checks.name"),
        (with_check(query=""), "checks.query"),
        (with_check(max=None), "errors"),
        (with_check(max=float("nan")), "checks.max"),
        (with_check(changes=0), "checks.changes"),
        (with_check(fail_after=-1), "checks.fail_after"),
        (with_check(max_ratio=1.5), "checks.baseline"),
        (with_check(baseline={"at": None, "offset": 1.0}), "checks.baseline"),
        (with_check(max_ratio=1.5, baseline={"at": None, "offset": None}), "checks.baseline"),
        (with_check(max_ratio=1.5, baseline={"at": "2026-11-24T16:00:00Z", "offset": 1.0}), "checks.baseline"),
        (with_check(max_ratio=1.5, baseline={"at": "yesterday", "offset": None}), "checks.baseline.at"),
        (with_check(max_ratio=1.5, baseline={"at": "2026-11-24T16:00:00", "offset": None}), "checks.baseline.at"),
        (with_check(max_ratio=1.5, baseline={"at": None, "offset": -1.0}), "checks.baseline.offset"),
        (with_check(max_ratio=1.5, baseline={"at": None, "offset": float("inf")}), "checks.baseline.offset"),
        (with_check(max_ratio=-1.5, baseline={"at": None, "offset": 1.0}), "checks.max_ratio"),
    ],
)
def test_what_cannot_be_watched_is_refused_before_anything_is_asked(
    options: dict[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "begin_fetch", lambda *_arguments: pytest.fail("it was asked"))
    with pytest.raises(RollbackError) as caught:
        ask(options)
    assert named in caught.value.msg
    assert "nothing was changed" in caught.value.msg.lower()
    assert caught.value.next_step


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/", "127.0.0.1:9090", "http://h:9090/ x"])
def test_only_http_is_asked(url: str) -> None:
    with pytest.raises(RollbackError, match="prometheus_url"):
        ask(changed(prometheus_url=url))


# -- asking ------------------------------------------------------------------------------------------------------------


class Pending:
    """An answer that is there."""

    def __init__(self, body: str | Exception, status: int = 200, *, whole: bool = True) -> None:
        """Keep what comes."""
        self._answer = body if isinstance(body, Exception) else HttpAnswer(status, body.encode(), whole, 1.0)

    def result(self) -> HttpAnswer:
        """Return or raise it."""
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_numbers_baselines_and_alerts_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(request: Any) -> Pending:
        asked.append(request)
        return Pending(ALERTMANAGER if "/api/v2/" in request.url else VECTOR)

    monkeypatch.setattr(module, "begin_fetch", answer)
    options = with_check(query="sum(up) > 1", max_ratio=2.0, baseline={"at": "2026-11-24T16:00:00Z", "offset": None})
    told = ask({**options, "alertmanager_url": "https://h/am/", "username": "u", "password": "p:w"})
    assert told["readings"]["errors"]["now"] == {"value": 200.0, "why": "", "no_data": False}
    assert told["readings"]["errors"]["baseline"]["value"] == 200.0
    assert [alert["name"] for alert in told["alerts"]["firing"]] == ["Errors"]
    assert [request.url for request in asked] == [
        "http://127.0.0.1:9/api/v1/query?query=sum%28up%29+%3E+1",
        "http://127.0.0.1:9/api/v1/query?query=sum%28up%29+%3E+1&time=2026-11-24T16%3A00%3A00Z",
        "https://h/am/api/v2/alerts?active=true&silenced=false&inhibited=false",
    ]
    assert {request.headers["Authorization"] for request in asked} == {"Basic dTpwOnc="}
    assert "p:w" not in str(told)
    assert "dTpwOnc" not in str(told)


@pytest.mark.parametrize(
    ("pending", "why"),
    [
        (Pending(NoAnswerError("connection refused")), "Prometheus does not answer: connection refused"),
        (Pending("{", whole=False), "more than"),
        (Pending("<html>", 502), "status 502 without JSON"),
        (Pending("[" * 100_000), "without JSON"),
    ],
)
def test_no_answer_is_a_reason_and_no_data(monkeypatch: pytest.MonkeyPatch, pending: Pending, why: str) -> None:
    monkeypatch.setattr(module, "begin_fetch", lambda _request: pending)
    told = ask(OPTIONS)
    reading = told["readings"]["errors"]["now"]
    assert (reading["value"], reading["no_data"]) == (None, False)
    assert why in reading["why"]
    assert told["alerts"]["firing"] is None
    assert why in told["alerts"]["why"]


def test_what_only_the_silence_of_the_run_hides_fires() -> None:
    hidden = json.loads(ALERTMANAGER)
    assert [alert["name"] for alert in read_alerts(ANY, 200, hidden, frozenset("x"))["firing"]] == ["Errors", "Quiet"]
    others: list[dict[str, Any]] = [
        {"silencedBy": ["x", "y"]}, {"silencedBy": ["y"]}, {"silencedBy": []}, {"silencedBy": "x"},
        {"inhibitedBy": ["z"]}, {"state": "unprocessed"},
    ]  # fmt: skip
    for status in others:
        hidden[1]["status"] = {"inhibitedBy": [], "silencedBy": ["x"], "state": "suppressed", **status}
        assert [alert["name"] for alert in read_alerts(ANY, 200, hidden, frozenset("x"))["firing"]] == ["Errors"]


@pytest.mark.parametrize(
    ("silences", "names"),
    [
        (Pending("[]"), ["Errors"]),
        (Pending(OWN_SILENCE), ["Errors", "Quiet"]),
        (Pending(OWN_SILENCE.replace("usdx.rollback", "ann")), ["Errors"]),
        (Pending("[{}]"), None),
        (Pending("[]", 403), None),
        (Pending(NoAnswerError("connection refused")), None),
    ],
)
def test_the_silences_of_the_run_are_asked_for_and_without_them_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, silences: Pending, names: list[str] | None
) -> None:
    asked: list[str] = []

    def answer(request: Any) -> Pending:
        asked.append(request.url.partition("/api/")[2])
        return silences if "silences" in request.url else Pending(ALERTMANAGER)

    monkeypatch.setattr(module, "begin_fetch", answer)
    options = {**OPTIONS, "checks": [], "alertmanager_url": "http://127.0.0.1:9",
               "alerts": {**OPTIONS["alerts"], "run_id": "run-7"}}  # fmt: skip
    firing = ask(options)["alerts"]["firing"]
    assert (firing if firing is None else [alert["name"] for alert in firing]) == names
    assert sorted(asked) == ["v2/alerts?active=true&silenced=true&inhibited=false", "v2/silences"]


def test_a_server_shows_no_secret_and_alerts_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    server = server_of({**OPTIONS, "bearer_token": "s3cret"}, "Prometheus", "prometheus_url")
    assert isinstance(server, Server)
    assert server.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(server)
    monkeypatch.setattr(module, "begin_fetch", lambda _request: Pending(EMPTY))
    assert ask({**OPTIONS, "alerts": {**OPTIONS["alerts"], "watched": False}})["alerts"] is None
