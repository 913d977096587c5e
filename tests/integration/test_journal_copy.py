# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a journal through Ansible: check, real, again; and what it refuses."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from harness import call_module

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = [{"event": "run_started", "step": None, "facts": {"rows": 3, "seconds": 1.5, "text": "größe"}}]


def test_check_real_and_again(tmp_path: Path) -> None:
    options = {"directory": str(tmp_path / "run"), "host": "app.example", "events": EVENTS}
    assert call_module("journal_copy", options, check=True)["changed"]
    assert list(tmp_path.iterdir()) == []
    real = call_module("journal_copy", options)
    copy = tmp_path / "run" / "app.example.jsonl"
    assert (real["changed"], real["path"]) == (True, str(copy))
    assert (json.loads(copy.read_text()), stat.S_IMODE(copy.stat().st_mode)) == (EVENTS[0], 0o600)
    assert not call_module("journal_copy", options)["changed"]


def test_a_host_that_cannot_name_a_file_is_refused(tmp_path: Path) -> None:
    refused = call_module("journal_copy", {"directory": str(tmp_path / "run"), "host": "../x", "events": EVENTS})
    assert (refused.failed, list(tmp_path.iterdir())) == (True, [])
    assert "host='../x' is not accepted" in refused["msg"]
    assert refused["next_step"]
