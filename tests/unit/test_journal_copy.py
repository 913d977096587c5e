# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a journal: private, whole, and only where it belongs."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.journal_copy import copy_journal

if TYPE_CHECKING:
    from pathlib import Path

EVENTS: list[dict[str, Any]] = [{"event": "run_started", "facts": {"text": "größe"}}, {"event": "run_finished"}]


def test_check_real_and_again(tmp_path: Path) -> None:
    place = tmp_path / "above" / "run"
    assert copy_journal(str(place), "app", EVENTS, check=True)["changed"]
    assert list(tmp_path.iterdir()) == []
    done = copy_journal(str(place), "app", EVENTS)
    assert done == {"changed": True, "path": str(place / "app.jsonl")}
    lines = (place / "app.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == EVENTS
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (place.parent, place, place / "app.jsonl")]
    assert modes == [0o700, 0o700, 0o600]
    for check in (True, False):
        assert not copy_journal(str(place), "app", EVENTS, check=check)["changed"]
    assert copy_journal(str(place), "app", EVENTS[:1])["changed"]
    assert [path.name for path in place.iterdir()] == ["app.jsonl"]


@pytest.mark.parametrize("host", ["", "../app", ".app", "a/b", "a\0b", "a" * 201])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(RollbackError, match="a file cannot be named like that"):
        copy_journal(str(tmp_path / "run"), host, EVENTS)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file\n")
    with pytest.raises(RollbackError, match="The journal itself is untouched"):
        copy_journal(str(tmp_path / "run"), "app", EVENTS)
