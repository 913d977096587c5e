# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Grafana is sent, and what is refused before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import monitoring_server
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.grafana_annotation import annotation_of, grafana_annotation
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import HttpAnswer

OPTIONS: dict[str, Any] = {
    "url": "http://127.0.0.1:9", "begin": "2026-11-24T16:07:28.250+00:00", "end": "2026-11-24T17:09:02+01:00",
    "text": "Rollback to v1.0.2", "tags": ["rollback", "shop"], "dashboard_uid": "", "timeout": 1.0,
    "bearer_token": "t0ken-word", "username": None, "password": None, "ca_path": None, "validate_certs": True,
}  # fmt: skip


def test_times_are_milliseconds_since_1970() -> None:
    assert annotation_of(OPTIONS) == {
        "time": 1795536448250, "timeEnd": 1795536542000, "tags": ["rollback", "shop"], "text": "Rollback to v1.0.2",
    }  # fmt: skip
    assert annotation_of({**OPTIONS, "dashboard_uid": "jcIIG-07z"})["dashboardUID"] == "jcIIG-07z"


def test_without_an_end_it_ends_now() -> None:
    made = annotation_of({**OPTIONS, "begin": "2020-01-01T00:00:00Z", "end": ""})
    assert made["timeEnd"] > made["time"] + 1000


@pytest.mark.parametrize(
    "options",
    [
        {"begin": "yesterday"}, {"begin": "2026-11-24T16:07:28"}, {"end": "2026-11-24T15:00:00Z"}, {"end": "soon"},
        {"text": "  "}, {"tags": [""]}, {"tags": ["a\nb"]}, {"tags": ["x"] * 21}, {"dashboard_uid": "../admin"},
        {"url": "grafana"}, {"url": ""}, {"timeout": 0},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RollbackError) as caught:
        grafana_annotation({**OPTIONS, **options}, check=True)
    assert caught.value.msg.startswith(next(iter(options)))
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (401, b'{"message":"s3cret"}', "Grafana answers status 401"),
        (302, b"", "Grafana answers status 302"),
        (200, b"<html>log in</html>", "the answer is not that of Grafana"),
        (200, b"[]", "the answer is not that of Grafana"),
        (200, b'{"id": "seven"}', "the answer is not that of Grafana"),
    ],
)
def test_what_grafana_does_not_take_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, why: str
) -> None:
    answer = HttpAnswer(status, body, whole=True, milliseconds=1)
    pending = type("Pending", (), {"result": lambda _self: answer})()
    monkeypatch.setattr(monitoring_server, "begin_fetch", lambda *_arguments: pending)
    told = grafana_annotation(OPTIONS)
    assert (told["changed"], told["verdict"], told["why"]) == (False, "inconclusive", why)
    assert told["warnings"] == [f"No annotation: {why}."]


def test_a_good_answer_has_an_id_and_check_mode_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def begin(request: Any, _accepted: Any) -> Any:
        asked.append(request)
        answer = HttpAnswer(200, b'{"message":"Annotation added","id":7}', whole=True, milliseconds=1)
        return type("Pending", (), {"result": lambda _self: answer})()

    monkeypatch.setattr(monitoring_server, "begin_fetch", begin)
    assert grafana_annotation(OPTIONS, check=True)["changed"]
    assert asked == []
    assert grafana_annotation(OPTIONS) == {"changed": True, "verdict": "passed", "why": "", "annotation_id": 7}
    (request,) = asked
    assert (request.method, request.url) == ("POST", "http://127.0.0.1:9/api/annotations")
    assert request.headers["Authorization"] == "Bearer t0ken-word"
    assert json.loads(request.body)["text"] == "Rollback to v1.0.2"
