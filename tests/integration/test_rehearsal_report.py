# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""rehearsal_report: what is put on record is what plans and reports read."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness import call_module

if TYPE_CHECKING:
    from pathlib import Path

TOLD = {
    "run_id": "20261124T150405Z-3f9a", "project": "shop", "host": "shop-1", "version": "v1.0.2",
    "started": "2026-11-24T15:04:05.000+00:00", "ended": "2026-11-24T15:06:05.000+00:00", "untouched": True,
    "marks": [{"name": "copy", "at": "2026-11-24T15:04:05.000+00:00"}], "failure": "no room", "failed_in": "copy",
}  # fmt: skip


def test_it_is_put_on_record_listed_and_reported(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    assert call_module("rehearsal_report", {"state_directory": state, "rehearsal": TOLD}, check=True)["changed"]
    assert not (tmp_path / "state").exists()
    put = call_module("rehearsal_report", {"state_directory": state, "rehearsal": TOLD})
    assert put["record"]["state"] == "failed"
    listed = call_module("run_info", {"state_directory": state})
    assert [one["run_id"] for one in listed["rehearsals"]] == [TOLD["run_id"]]
    assert listed["runs"] == []
    files = call_module("rehearsal_report", {"directory": str(tmp_path / "report"), "rehearsal": put["record"]})[
        "files"
    ]
    (suite,) = ET.parse(files["junit.xml"]).getroot()  # noqa: S314 - our own
    assert suite.attrib["failures"] == "1"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    refused = call_module("rehearsal_report", {"state_directory": str(tmp_path / "state"), "rehearsal": TOLD})
    assert refused.failed
    assert "rollback_state_directory" in refused["next_step"]
