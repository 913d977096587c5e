# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page through Ansible: a service, one that is dead, and a page of our own; more is in the unit tests."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness import call_module
from receivers import hanging_receiver, http_receiver
from status_services import TOKEN, Service

KEY = "20261124T160728Z-960a"
GENEROUS = 20.0


def options(provider: str, port: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "provider": provider,
        "api_url": f"http://127.0.0.1:{port}" if port else "",
        "page": "page1",
        "token": TOKEN,
        "state": "investigating",
        "title": "Emergency rollback",
        "body": "Performing emergency rollback",
        "incident_key": KEY,
        **changes,
    }


def test_check_real_check_real() -> None:
    """Check mode reads and does not write; the second real call changes nothing; the token is not shown."""
    service = Service("statuspage")
    with http_receiver(service.answer) as server:
        asked = options("statuspage", server.port)
        outcomes = [call_module("status_page", asked, check=check) for check in (True, False, True, False)]
        resolved = call_module("status_page", asked | {"state": "resolved"})
    assert [outcome["changed"] for outcome in outcomes] == [True, True, False, False]
    assert [outcome["delivered"] for outcome in outcomes] == [False, True, True, True]
    assert resolved["url"] == "https://stspg.io/1"
    assert [state for state, _message in service.incidents[0]["updates"]] == ["investigating", "resolved"]
    assert TOKEN not in "".join(str(outcome.result) + outcome.shown for outcome in outcomes)


def test_a_dead_page_warns_in_time_and_stops_only_if_asked() -> None:
    with hanging_receiver() as port:
        asked = options("statuspage", port, timeout=1)
        began = time.monotonic()
        outcome = call_module("status_page", asked)
        assert time.monotonic() - began < GENEROUS
        assert (outcome.failed, outcome["delivered"], outcome["changed"]) == (False, False, False), outcome.result
        assert outcome["why"] == "no whole answer within 1 seconds"
        stopped = call_module("status_page", asked | {"on_failure": "stop"})
    assert stopped.failed
    assert "was not moved to investigating: no whole answer" in stopped["msg"]
    assert stopped["next_step"]
    assert TOKEN not in str(outcome.result) + str(stopped.result)


def test_two_at_once_lose_nothing_on_a_page_of_our_own(tmp_path: Path) -> None:
    folder = tmp_path / "www"
    asked = options("file", path=str(folder))
    assert call_module("status_page", asked, check=True)["changed"] is True
    assert not folder.exists()
    with ThreadPoolExecutor() as both:
        list(both.map(lambda key: call_module("status_page", asked | {"incident_key": key}), ["one", "two"]))
    told = json.loads((folder / "status.json").read_text())
    assert {one["title"] for one in told["incidents"]} == {"Emergency rollback [one]", "Emergency rollback [two]"}
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "status.json"]
    assert (folder / "index.html").stat().st_mode & 0o777 == 0o644
