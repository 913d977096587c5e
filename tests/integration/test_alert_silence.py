# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The silence of a run in a real Alertmanager, looked at from outside, and Alertmanagers that do not do their work."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from harness import Outcome, call_module, command, free_port
from monitoring import Monitoring, running
from receivers import Receiver, dripping_receiver, hanging_receiver, http_receiver, own_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MATCHERS = [
    {"name": "job", "value": "test"},
    {"name": "alertname", "value": "Wa.*", "is_regex": True, "is_equal": False},
]
TOKEN = {"bearer_token": "t0ken-word"}
BY_A_PERSON = {
    "matchers": [{"name": "job", "value": "test", "isRegex": False, "isEqual": True}],
    "createdBy": "ann",
    "comment": "I look at it",
}


@pytest.fixture(name="monitoring", scope="module")
def _monitoring() -> Iterator[Monitoring]:
    with running() as made:
        yield made


@pytest.fixture(name="run_id")
def _run_id() -> str:
    """Give each test a run of its own: silences that have ended stay listed."""
    return f"20261124T160728Z-{secrets.token_hex(4)}"


def silence(monitoring: Monitoring, run_id: str, *, check: bool = False, **options: Any) -> Outcome:
    given = {"alertmanager_url": monitoring.alertmanager, "run_id": run_id, "comment": "the API answers 500"}
    if options.get("state") != "absent":
        given["matchers"] = MATCHERS
    return call_module("alert_silence", {**given, **options}, check=check)


def seen(monitoring: Monitoring, run_id: str) -> list[dict[str, Any]]:
    """Return what Alertmanager has of a run that has not ended."""
    return [
        one
        for one in monitoring.ask(f"{monitoring.alertmanager}/api/v2/silences")
        if run_id in one["comment"] and one["status"]["state"] != "expired"
    ]


def ends(one: dict[str, Any]) -> float:
    """Return in how many seconds a silence ends."""
    moment = datetime.fromisoformat(one["endsAt"].replace("Z", "+00:00"))
    return (moment - datetime.now(timezone.utc)).total_seconds()


def test_a_silence_is_begun_once_seen_from_outside_and_ended_once(monitoring: Monitoring, run_id: str) -> None:
    planned = silence(monitoring, run_id, check=True)
    assert (planned["changed"], planned["verdict"], seen(monitoring, run_id)) == (True, "passed", [])
    first = silence(monitoring, run_id, duration=600)
    assert not first.failed, first.result
    assert (first["changed"], first["verdict"]) == (True, "passed")
    assert first["matchers"] == ['job="test"', 'alertname!~"Wa.*"']
    (one,) = seen(monitoring, run_id)
    assert one["matchers"] == [
        {"name": "job", "value": "test", "isRegex": False, "isEqual": True},
        {"name": "alertname", "value": "Wa.*", "isRegex": True, "isEqual": False},
    ]
    assert (one["status"]["state"], one["createdBy"]) == ("active", "usdx.rollback")
    assert one["comment"] == f"the API answers 500 [{run_id}]"
    assert 500 < ends(one) <= 600
    for check in (True, False):
        again = silence(monitoring, run_id, check=check, duration=600)
        assert (again["changed"], [row["id"] for row in again["silences"]]) == (False, [one["id"]])
    assert seen(monitoring, run_id) == [one]
    planned = silence(monitoring, run_id, state="absent", check=True)
    assert (planned["changed"], seen(monitoring, run_id)) == (True, [one])
    ended = silence(monitoring, run_id, state="absent")
    assert (ended["changed"], ended["verdict"], seen(monitoring, run_id)) == (True, "passed", [])
    assert [row["state"] for row in ended["silences"]] == ["expired"]
    for check in (True, False):
        again = silence(monitoring, run_id, state="absent", check=check)
        assert (again["changed"], again["verdict"], again.failed) == (False, "passed", False)


def test_it_is_over_by_itself_and_ending_it_then_is_fine(monitoring: Monitoring, run_id: str) -> None:
    assert silence(monitoring, run_id, duration=4)["changed"]
    assert len(seen(monitoring, run_id)) == 1
    monitoring.wait_until(lambda: not seen(monitoring, run_id), "the end of the silence")
    ended = silence(monitoring, run_id, state="absent")
    assert (ended["changed"], ended["verdict"]) == (False, "passed")
    assert [row["state"] for row in ended["silences"]] == ["expired"]


def test_a_run_that_goes_on_makes_it_longer_and_other_matchers_replace_it(monitoring: Monitoring, run_id: str) -> None:
    silence(monitoring, run_id, duration=60)
    longer = silence(monitoring, run_id, duration=600)
    assert longer["changed"]
    (one,) = seen(monitoring, run_id)
    assert 500 < ends(one) <= 600
    assert [row["id"] for row in longer["silences"]] == [one["id"]]
    other = silence(monitoring, run_id, duration=600, matchers=[{"name": "job", "value": "other"}])
    assert other["changed"]
    (one,) = seen(monitoring, run_id)
    assert one["matchers"][0]["value"] == "other"
    assert silence(monitoring, run_id, state="absent")["changed"]


def test_silences_of_people_and_of_other_runs_are_left_alone(monitoring: Monitoring, run_id: str) -> None:
    other = f"{run_id}0"
    theirs = {**BY_A_PERSON, "comment": f"longer, please [{run_id}]", "startsAt": "2026-01-01T00:00:00Z",
              "endsAt": datetime.fromtimestamp(time.time() + 600, timezone.utc).isoformat()}  # fmt: skip
    send(f"{monitoring.alertmanager}/api/v2/silences", theirs)
    silence(monitoring, other)
    silence(monitoring, run_id)
    ended = silence(monitoring, run_id, state="absent")
    assert (ended["changed"], ended["verdict"], len(ended["silences"])) == (True, "passed", 1)
    assert sorted(one["createdBy"] for one in seen(monitoring, run_id)) == ["ann", "usdx.rollback"]
    assert silence(monitoring, other, state="absent")["changed"]
    for one in seen(monitoring, run_id):
        send(f"{monitoring.alertmanager}/api/v2/silence/{one['id']}", None, "DELETE")


def send(url: str, body: Any, method: str = "POST") -> None:
    """Do what a person would do in the page of Alertmanager."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=5):  # noqa: S310 - loopback
        pass


def gate(monitoring: Monitoring, **alerts: Any) -> Outcome:
    given = {"alertmanager_url": monitoring.alertmanager, "window": 0, "interval": 1, "min_samples": 1,
             "alerts": {"labels": {"job": "test"}, "fail_after": 0, **alerts}}  # fmt: skip
    return call_module("metrics_gate", given)


def test_an_alert_that_was_silenced_fires_again_for_the_gate(monitoring: Monitoring, run_id: str) -> None:
    monitoring.numbers.gauges["alerting"] = 1
    try:
        monitoring.wait_until(lambda: "Errors" in monitoring.firing(), "an alert")
        assert gate(monitoring)["verdict"] == "failed"
        assert silence(monitoring, run_id)["changed"]
        assert gate(monitoring)["verdict"] == "passed", "it is silenced"
        other = gate(monitoring, run_id="another")
        assert other["verdict"] == "passed", "what others silence stays silent"
        through = gate(monitoring, run_id=run_id)
        assert through["verdict"] == "failed", "a gate of the run is not deceived by its own silence"
        assert [alert["name"] for alert in through["alerts"]] == ["Errors"]
        assert silence(monitoring, run_id, state="absent")["changed"]
        assert gate(monitoring)["verdict"] == "failed"
    finally:
        monitoring.numbers.gauges.pop("alerting", None)
        monitoring.wait_until(lambda: "Errors" not in monitoring.firing(), "the end of the alert")
    assert gate(monitoring, run_id=run_id)["verdict"] == "passed"


@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_alertmanager_that_does_not_answer_is_a_warning_in_time(
    monitoring: Monitoring, run_id: str, state: str
) -> None:
    with hanging_receiver() as hanging, dripping_receiver() as dripping, http_receiver(lambda _: (500, {})) as broken:
        for port, why in {
            free_port(): "connection refused", hanging: "no", dripping: "no", broken.port: "answers status 500",
        }.items():  # fmt: skip
            began = time.monotonic()
            url = f"http://127.0.0.1:{port}"
            told = silence(monitoring, run_id, state=state, timeout=1, alertmanager_url=url, **TOKEN)
            assert time.monotonic() - began < 15, "a second, and what Ansible takes"
            assert not told.failed
            assert (told["changed"], told["verdict"], told["silences"]) == (False, "inconclusive", [])
            assert why in told["why"]
            assert "not known to" in told.progress
            assert "t0ken-word" not in str(told)
    assert broken.requests[-1].headers["Authorization"] == "Bearer t0ken-word"


def test_a_certificate_counts_only_when_it_is_vouched_for(tmp_path: Path, run_id: str) -> None:
    def ended(server: Receiver, **options: Any) -> Outcome:
        url = f"https://127.0.0.1:{server.port}"
        given = {"state": "absent", "alertmanager_url": url, "run_id": run_id, **options}
        return call_module("alert_silence", given)

    with http_receiver(lambda _: (200, []), own_certificate(tmp_path)) as stranger:
        told = ended(stranger)
        assert (told.failed, told["verdict"], stranger.requests) == (False, "inconclusive", [])
        assert "certificate" in told["why"].lower()
        assert ended(stranger, validate_certs=False)["verdict"] == "passed"
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "known.pem")
    command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate)  # fmt: skip
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "known.pem").read_bytes())
    with http_receiver(lambda _: (200, []), both) as known:
        assert ended(known, ca_path=certificate)["verdict"] == "passed"


def test_matchers_of_everything_are_refused_before_anything_is_asked(run_id: str) -> None:
    with http_receiver(lambda _: (200, [])) as server:
        url = f"http://me:s3cret-word@127.0.0.1:{server.port}"
        for matchers in ([], [{"name": "alertname", "value": ".+", "is_regex": True}]):
            given = {"alertmanager_url": url, "run_id": run_id, "matchers": matchers}
            told = call_module("alert_silence", given, check=True)
            assert told.failed
            assert told["msg"].startswith("matchers=")
            assert told["next_step"]
            assert "s3cret-word" not in str(told.result)
    assert server.requests == []
