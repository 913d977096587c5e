# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a demo that a real Prometheus and a real Alertmanager watch: what is silenced when, seen from outside."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import cut_off
import pytest
from drills.killed_controller import Drill, healthy
from harness import REPOSITORY, command, free_port
from receivers import Receiver, hanging_receiver, http_receiver
from stand import words

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "t0ken-word"  # noqa: S105 - a receiver of this test takes it
DEMO = [sys.executable, str(REPOSITORY / "tests/demo/demo.py")]
ROLLBACK = ["rollback.yml", "-e", "version=v1.0.2", "-e", "database=skip", "-e", "reason='pools are empty'"]
# The response times of a busy machine prove nothing here.
NO_TIMES = {
    "rollback_metrics": [{"name": "events", "query": "max(wexel_events_total)", "changes": 1}],
    "rollback_verify_p95": 0,
    "rollback_verify_requests": 10,
}


@pytest.fixture(name="stand", scope="module")
def _stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    directory = tmp_path_factory.mktemp("silenced") / "demo"
    try:
        command(*DEMO, "up", "--monitoring", "--project", "usdx-it-silenced", "--directory", str(directory))
        drill = Drill(directory, "rollback")
        healthy(drill)
        yield drill
    finally:
        command(*DEMO, "down", "--directory", str(directory))
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(name="image", scope="module")
def _image(stand: Drill) -> str:
    """Return the image that the web application has before the first run."""
    return str(stand.look()["containers"]["webapp"][0])


@pytest.fixture(name="grafana", scope="module")
def _grafana() -> Iterator[Receiver]:
    with http_receiver(lambda _request: (200, {"message": "Annotation added", "id": 7})) as receiver:
        yield receiver


def alertmanager(stand: Drill, path: str) -> Any:
    """Return what Alertmanager says."""
    url = json.loads((stand.directory / "demo.json").read_text(encoding="utf-8"))["alertmanager_url"]
    with urllib.request.urlopen(f"{url}/api/v2/{path}", timeout=5) as answer:  # noqa: S310 - 127.0.0.1
        return json.load(answer)


def silences(stand: Drill) -> list[dict[str, Any]]:
    """Return the silences that have not ended."""
    return [one for one in alertmanager(stand, "silences") if one["status"]["state"] != "expired"]


@contextmanager
def watched(stand: Drill) -> Iterator[list[tuple[float, str]]]:
    """Note meanwhile how the alert of the outage stands, each time with the time."""
    seen: list[tuple[float, str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.3):
            with suppress(OSError):
                alerts = alertmanager(stand, "alerts")
                down = [one["status"]["state"] for one in alerts if one["labels"]["alertname"] == "WebappDown"]
                seen.extend((time.time(), state) for state in down)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield seen
    over.set()
    thread.join()


def fail(stand: Drill, seen: list[tuple[float, str]]) -> None:
    """Let the web application be down until Alertmanager knows: a run alone may be over before Prometheus looks."""
    container = command("docker", "ps", "--quiet", "--filter", f"name={stand.project}-webapp").strip()
    command("docker", "stop", "--time", "1", container)
    deadline = time.monotonic() + 60
    while not seen:
        assert time.monotonic() < deadline, "the alert of the outage does not fire"
        time.sleep(0.2)


def moment(told: str) -> float:
    """Return a time of Alertmanager in seconds."""
    return datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp()


def options(grafana: Receiver, **more: Any) -> list[str]:
    """Return what is typed for all runs: a Grafana, and what to watch."""
    given = {
        "url": f"http://127.0.0.1:{grafana.port}",
        "token": TOKEN,
        "tags": ["rollback"],
        "dashboard_uid": "jcIIG-07z",
    }
    return ["-e", json.dumps({"rollback_grafana": given, **NO_TIMES, **more})]


def journal(stand: Drill) -> list[dict[str, Any]]:
    """Return the events of the newest run."""
    return cut_off.events(cut_off.journals(stand.state_directory)[stand.last_run()])


def places(events: list[dict[str, Any]], *names: str) -> list[int]:
    """Return where events are, each named by what it is or by the step that it starts."""
    told = [event["step"] if event["event"] == "step_started" else event["event"] for event in events]
    return [len(told) - 1 - told[::-1].index(name) for name in names]


def order_of_silence(events: list[dict[str, Any]]) -> list[str]:
    """Return the last silence, its end and the step of the watch in their order, and what came after the end."""
    names = ["alerts_silenced", "silence_ended", "monitor_release"]
    of_name = dict(zip(names, places(events, *names)))
    return [*sorted(names, key=lambda name: of_name[name]), events[of_name["silence_ended"] + 1]["event"]]


def test_a_run_that_fails_ends_its_silence_and_one_that_goes_on_hears_again_before_it_watches(
    stand: Drill, grafana: Receiver, image: str
) -> None:
    fails = {"rollback_verify_commands": [{"argv": ["false"], "name": "smoke test"}]}
    found: list[list[dict[str, Any]]] = []

    def look(_seconds: float) -> bool:
        journals = cut_off.journals(stand.state_directory)
        begun = [event["step"] for path in journals.values() for event in cut_off.events(path)]
        if "start_services" in begun and not found:
            found.append(silences(stand))
        return False

    with watched(stand) as seen:
        fail(stand, seen)
        done = stand.play([*ROLLBACK, *options(grafana, **fails), "-vvv"], kill_when=look)
    run_id, told = stand.last_run(), words(done)
    assert (done.code, stand.look()["containers"]["webapp"][0] == image) == (2, False), done.screen
    assert "Silenced in Alertmanager until step 7 begins, 10 min 0 s at most" in told
    assert TOKEN not in done.screen
    ((silence,),) = found
    assert silence["matchers"] == [{"name": "service", "value": "usdx-wexel", "isRegex": False, "isEqual": True}]
    assert silence["createdBy"] == "usdx.rollback"
    assert silence["comment"].endswith(f"to v1.0.2: pools are empty [{run_id}]")
    assert silences(stand) == []
    events = journal(stand)
    begun, stopped, failed, ended, over = places(
        events, "alerts_silenced", "stop_services", "step_failed", "silence_ended", "run_finished"
    )
    assert begun < stopped < failed < ended < over
    since, heard = moment(silence["startsAt"]), moment(events[ended]["facts"]["silences"][0]["ends"])
    told_until = {state for seconds, state in seen if seconds < since}
    told_then = {state for seconds, state in seen if since + 1 < seconds < heard}
    assert (told_until, told_then) == ({"active"}, {"suppressed"}), "it fires, and nobody is called meanwhile"
    assert 'Alerts with service="usdx-wexel" silenced from T+' in told
    assert "Grafana shows the run" in told
    (request,) = grafana.requests
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert (request.body["tags"], request.body["dashboardUID"]) == (["rollback"], "jcIIG-07z")
    assert request.body["text"] == f"Rollback of usdx-it-silenced to v1.0.2, run {run_id}: failed"
    length = (request.body["timeEnd"] - request.body["time"]) / 1000
    assert abs(length - journal(stand)[-1]["elapsed"]) < 10

    done = stand.play(["resume.yml", *options(grafana)])
    assert done.code == 0, done.screen
    assert order_of_silence(journal(stand)) == ["alerts_silenced", "monitor_release", "silence_ended", "step_finished"]
    assert silences(stand) == []
    ids = {event["facts"]["silences"][0]["id"] for event in journal(stand) if event["event"] == "alerts_silenced"}
    assert len(ids) == 2, "the first one had ended"
    (watched_alerts,) = [
        check for event in journal(stand) for check in event["facts"].get("checks", []) if check["name"] == "alerts"
    ]
    assert watched_alerts["verdict"] == "passed"
    assert grafana.requests[1].body["text"].endswith("succeeded")
    assert grafana.requests[1].body["time"] > request.body["timeEnd"] - 10_000
    page = (stand.directory / "controller" / "usdx-it-silenced" / run_id / "report.html").read_text(encoding="utf-8")
    assert page.count("silenced from T+") == 2
    assert page.count("Grafana shows the run") == 2
    story = words(stand.play(["runs.yml", "-e", f"run={run_id}"]))
    assert 'Alerts with service="usdx-wexel" silenced from T+' in story


def test_an_undo_ends_well_although_alertmanager_and_grafana_are_dead(stand: Drill, image: str) -> None:
    run_id = stand.last_run()
    with hanging_receiver() as hanging:
        dead = {
            "rollback_alertmanager_url": f"http://127.0.0.1:{hanging}",
            "rollback_grafana": {"url": f"http://127.0.0.1:{free_port()}", "token": TOKEN},
        }
        done = stand.play(["undo.yml", "-e", f"run={run_id}", "-e", json.dumps(dead)])
    told = words(done)
    assert done.code == 0, done.screen
    assert "each with the image that it had, until running and healthy" in told
    assert "not started, as before that run: webapp" in told
    assert "Not silenced if it stays so: Alertmanager does not answer" in told
    assert "Alerts are not known to have been silenced: Alertmanager does not answer" in told
    assert "nor that none is left: Alertmanager does not answer" in told
    assert "Grafana does not show the run: Grafana does not answer: connection refused" in told
    assert TOKEN not in done.screen
    web, proxy = (stand.look()["containers"][name] for name in ("webapp", "nginx"))
    assert (web[:2], proxy[1]) == ([image, "created"], "running"), "it was down before that run"


def test_matchers_of_everything_are_refused_before_anything_changes(stand: Drill) -> None:
    before, runs = stand.look(), cut_off.journals(stand.state_directory)
    wide = {"rollback_alert_silence": {"matchers": [{"name": "alertname", "value": ".+", "is_regex": True}]}}
    done = stand.play([*ROLLBACK, "-e", json.dumps(wide)])
    assert done.code == 2
    assert "Refused before anything changed. matchers=" in words(done)
    assert silences(stand) == []
    assert stand.look() == before
    assert cut_off.journals(stand.state_directory) == runs
