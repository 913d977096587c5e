# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario 1 with rolling=true: users notice nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_no_request_failed(stack: Stack) -> None:
    lines = [json.loads(line) for line in (stack.directory / "seen.jsonl").read_text(encoding="utf-8").splitlines()]
    requests = [line for line in lines if "summary" not in line]
    journal = [datetime.fromisoformat(event["time"]) for event in stack.journal()]
    times = [datetime.fromisoformat(line["time"]) for line in requests]
    assert min(times) < min(journal) < max(journal) < max(times), "asked from before the run until after it"
    assert len(requests) > 100
    assert [line for line in requests if not line["ok"]] == []


def test_users_get_the_old_release(stack: Stack) -> None:
    status, body = stack.get("/health")
    assert status == 200
    assert json.loads(body)["version"].lstrip("v") == "1.0.2"


def test_the_proxy_and_the_stores_are_the_same_containers(stack: Stack) -> None:
    before, after = stack.containers(stack.before), stack.containers(stack.now)
    for service in ("nginx", "db", "redis"):
        assert before[service] == after[service]
    assert before["webapp"]["id"] != after["webapp"]["id"]


def test_the_indexer_stopped_and_the_webapp_did_not(stack: Stack) -> None:
    facts = {event["step"]: event["facts"] for event in stack.journal() if event["event"] == "step_finished"}
    assert facts["stop_services"]["order"] == [["indexer"]]
    assert facts["stop_services"]["not_stopped"] == ["webapp"]
    assert facts["start_services"]["rolled"] == ["webapp"]
