# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run through Ansible: check, real, again; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import call_module

RUN = "20261124T161617Z-b8db"
TOLD = Path(__file__).resolve().parents[1] / "unit/data/failed_run.json"
FILES = {"report.html", "report.md", "report.json", "junit.xml"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Give the copy of a journal of a real run."""
    directory = tmp_path / RUN
    directory.mkdir()
    run = json.loads(TOLD.read_text(encoding="utf-8"))
    told = run["events"]
    told[0]["facts"]["plan"] = run["plan"]
    (directory / "demo.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told), encoding="utf-8")
    return directory


def test_check_real_and_again(place: Path) -> None:
    options = {"directory": str(place)}
    planned = call_module("run_report", options, check=True)
    assert planned["changed"]
    assert {path.name for path in place.iterdir()} == {"demo.jsonl"}
    real = call_module("run_report", options)
    assert real["changed"]
    assert (real.result["state"], real.result["headline"]) == ("failed", "Failed at step 6, Verify rollback")
    assert {path.name for path in place.iterdir()} == {"demo.jsonl"} | FILES
    times = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    again = call_module("run_report", options)
    assert not again["changed"]
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == times
    assert not call_module("run_report", options, check=True)["changed"]


def test_what_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    refused = call_module("run_report", {"directory": str(tmp_path)})
    assert refused.failed
    assert "its name is not that of a run. Nothing was written." in refused.result["msg"]
    assert refused.result["next_step"]
    assert list(tmp_path.iterdir()) == []
