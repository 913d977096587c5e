# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal through Ansible, and what is on the disk then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness import call_module

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261124T150405Z-3f9a"


def test_check_real_check_real(tmp_path: Path) -> None:
    """Check mode predicts and leaves the disk alone; each real call appends."""
    state = tmp_path / "state"
    verified = {"event": "release_verified", "facts": {"release": "v1.0.2", "commit": "abc", "images": {}}}
    options = {"state_directory": str(state), "run_id": RUN, "events": [{"event": "run_started"}, verified]}
    journal = state / "runs" / RUN / "journal.jsonl"
    predicted = call_module("run_journal", options, check=True)
    assert (predicted.failed, predicted["changed"], state.exists()) == (False, True, False)
    done = call_module("run_journal", options)
    assert done["path"] == str(journal)
    assert [json.loads(line) for line in journal.read_text().splitlines()] == done["events"]
    call_module("run_journal", options, check=True)
    call_module("run_journal", options)
    assert len(journal.read_text().splitlines()) == 4
    releases = [json.loads(line) for line in (state / "releases.jsonl").read_text().splitlines()]
    assert [one["facts"]["release"] for one in releases] == ["v1.0.2", "v1.0.2"]


def test_bad_input_fails_with_a_way_out_and_writes_nothing(tmp_path: Path) -> None:
    """A run id that is a path, and a state directory that is a file."""
    events = [{"event": "run_started"}]
    outcome = call_module("run_journal", {"state_directory": str(tmp_path), "run_id": "../../x", "events": events})
    assert (outcome.failed, list(tmp_path.iterdir())) == (True, [])
    (tmp_path / "file").write_text("")
    state = str(tmp_path / "file")
    outcome = call_module("run_journal", {"state_directory": state, "run_id": RUN, "events": events})
    assert outcome.failed
    assert "cannot be" in outcome["msg"]
    assert "state_directory" in outcome["next_step"]
