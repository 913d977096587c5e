# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the services will be down, from what earlier runs of this host have measured.

Everything here is a pure function of the runs that ``run_info`` lists.
"""

from __future__ import annotations

import statistics
from typing import Any

from .journal import seconds_between

_RUNS = 5


def outage_of(run: dict[str, Any]) -> float | None:
    """Return the seconds from the begin of the stop to the end of the start of a run; nothing where it did not do both.

    A run that was resumed waited for a person, so it does not count; nor does one that let services serve meanwhile.
    """
    steps = {step["name"]: step for step in run["steps"] if step["state"] == "done"}
    stop, start = steps.get("stop_services"), steps.get("start_services")
    if run["state"] != "succeeded" or run["resumed"] or run.get("not_stopped") or not stop or not start:
        return None
    return seconds_between(stop["start"], start["end"])


def outage_forecast(
    runs: list[dict[str, Any]], steps: list[str], rehearsals: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return ``seconds``, the median of the newest runs that did the same steps, and ``runs``, how many those are.

    ``steps`` are those that the new run will carry out. Where no run did them, rehearsals that did are taken, and
    ``rehearsals`` says how many. Without any ``seconds`` is null: what was not measured is not known.
    """
    measured = _measured(runs, steps)
    if measured or not rehearsals:
        return {"seconds": _median(measured), "runs": len(measured)}
    measured = _measured(rehearsals, steps)
    return {"seconds": _median(measured), "runs": 0, "rehearsals": len(measured)}


def _measured(runs: list[dict[str, Any]], steps: list[str]) -> list[float]:
    """Return the outages of the newest that did at least these steps."""
    wanted = {step for step in steps if step not in ("announce", "communicate", "monitor_release")}
    return [
        seconds
        for run in runs
        if {step["name"] for step in run["steps"] if step["state"] == "done"} >= wanted
        and (seconds := outage_of(run)) is not None
    ][:_RUNS]


def _median(measured: list[float]) -> int | None:
    return round(statistics.median(measured)) if measured else None
