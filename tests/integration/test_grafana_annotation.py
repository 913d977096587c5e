# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The annotation, sent to a receiver that answers as Grafana documents it, and to receivers that do not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness import Outcome, call_module, free_port
from receivers import Request, dripping_receiver, hanging_receiver, http_receiver, own_certificate

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "t0ken-word"  # noqa: S105 - a receiver of this test takes it


def grafana(request: Request) -> tuple[int, Any]:
    """Answer as Grafana does."""
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return 401, {"message": "Invalid API key s3cret-echo"}
    if (request.method, request.path) != ("POST", "/grafana/api/annotations"):
        return 404, {"message": "Not found"}
    return 200, {"message": "Annotation added", "id": 7}


def annotate(url: str, *, check: bool = False, **options: Any) -> Outcome:
    given = {"url": url, "bearer_token": TOKEN, "begin": "2026-11-24T16:07:28.250Z", "end": "2026-11-24T16:09:02Z",
             "text": "Rollback to v1.0.2", "tags": ["rollback", "shop"], "timeout": 1}  # fmt: skip
    return call_module("grafana_annotation", {**given, **options}, check=check)


def test_it_is_sent_once_as_documented_and_not_in_check_mode() -> None:
    with http_receiver(grafana) as server:
        url = f"http://127.0.0.1:{server.port}/grafana/"
        planned = annotate(url, check=True)
        assert (planned["changed"], planned["annotation_id"], server.requests) == (True, None, [])
        done = annotate(url, dashboard_uid="jcIIG-07z")
    assert not done.failed, done.result
    assert (done["changed"], done["verdict"], done["annotation_id"]) == (True, "passed", 7)
    (request,) = server.requests
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == {
        "time": 1795536448250, "timeEnd": 1795536542000, "tags": ["rollback", "shop"], "text": "Rollback to v1.0.2",
        "dashboardUID": "jcIIG-07z",
    }  # fmt: skip
    assert TOKEN not in str(done)


def test_a_dead_grafana_is_a_warning_in_time(tmp_path: Path) -> None:
    with (
        hanging_receiver() as hanging,
        dripping_receiver() as dripping,
        http_receiver(grafana) as refusing,
        http_receiver(lambda _request: (200, {}), own_certificate(tmp_path)) as stranger,
    ):
        for url, why in {
            f"http://127.0.0.1:{free_port()}": "connection refused",
            f"http://me:pa55-word@127.0.0.1:{hanging}": "no",
            f"http://127.0.0.1:{dripping}": "no",
            f"http://127.0.0.1:{refusing.port}": "answers status 404",
            f"https://127.0.0.1:{stranger.port}": "ertificate",
        }.items():
            began = time.monotonic()
            told = annotate(url)
            assert time.monotonic() - began < 15, "a second, and what Ansible takes"
            assert (told.failed, told["changed"], told["verdict"]) == (False, False, "inconclusive")
            assert why in told["why"]
            assert "No annotation" in told.progress
            assert "pa55-word" not in str(told)
        wrong = annotate(f"http://127.0.0.1:{refusing.port}/grafana", bearer_token="other")  # noqa: S106 - no secret
    assert wrong["why"] == "Grafana answers status 401"
    assert "s3cret-echo" not in str(wrong)
    assert stranger.requests == []


def test_wrong_options_are_refused_in_check_mode() -> None:
    told = annotate("http://127.0.0.1:9", check=True, begin="yesterday")
    assert told.failed
    assert told["msg"].startswith("begin='yesterday'")
    assert told["next_step"]
