# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the services will be down: what earlier runs have measured, or that it is not known."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.forecast import outage_forecast, outage_of
from ansible_collections.usdx.rollback.plugins.module_utils.report_text import outage_line

STEPS = ["announce", "stop_services", "switch_release", "start_services", "communicate"]


def ran(seconds: int, *steps: str, **facts: Any) -> dict[str, Any]:
    """Return a run whose services were down for so long."""
    names = steps or ("stop_services", "switch_release", "start_services")
    table = [{"name": name, "state": "done", "start": moment(0), "end": moment(seconds)} for name in names]
    return {"state": "succeeded", "resumed": 0, "steps": table, **facts}


def moment(seconds: int) -> str:
    return f"2026-11-24T15:{seconds // 60:02d}:{seconds % 60:02d}.000+00:00"


def test_the_outage_is_from_the_stop_to_the_end_of_the_start() -> None:
    assert outage_of(ran(75)) == 75
    assert outage_forecast([ran(10), ran(40), ran(20)], STEPS) == {"seconds": 20, "runs": 3}


@pytest.mark.parametrize(
    "run",
    [
        ran(9, state="failed"),
        ran(9, resumed=1),
        ran(9, not_stopped=["web"]),
        ran(9, "stop_services"),
        ran(9, "stop_services", "start_services"),
    ],
)
def test_a_run_that_did_something_else_does_not_count(run: dict[str, Any]) -> None:
    assert outage_forecast([run], STEPS) == {"seconds": None, "runs": 0}


def test_only_the_newest_count() -> None:
    assert outage_forecast([ran(10)] * 5 + [ran(900)] * 6, STEPS) == {"seconds": 10, "runs": 5}


def test_what_was_not_measured_is_not_known() -> None:
    plan: dict[str, Any] = {"results": {"stop_services": {"order": [["indexer"], ["nginx", "webapp"]]}}}
    assert outage_line(plan).startswith("Outage: indexer, nginx, webapp; unknown")
    assert outage_line(plan | {"outage": {"seconds": 21, "runs": 1}}).endswith(
        "about 21 s, as measured by 1 earlier run"
    )
