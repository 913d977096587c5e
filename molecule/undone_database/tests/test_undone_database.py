# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback that failed behind the cutover names its way back, and that brings the very database back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stack import Stack


def test_the_failed_run_names_the_way_back(stack: Stack) -> None:
    code, screen = stack.screen(0)
    words = " ".join(screen.split())
    assert code == 2
    assert "The database usdx_wexel was changed (restore); the former one is kept as usdx_wexel_before_" in words
    assert "-e version=v1.0.3 -e database=undo -e accept_data_loss=true" in words


def test_the_undo_ends_well_with_the_very_database(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code == 0, screen
    assert stack.database_id(stack.now) == stack.database_id(stack.before)
    assert stack.sql("SELECT version_num FROM alembic_version") == ["20241228020000"]
    assert json.loads(stack.get("/health")[1])["version"] == "v1.0.3"
    assert int(stack.sql("SELECT count(*) FROM wexels WHERE fee IS NOT NULL")[0]) > 0


def test_what_was_restored_is_kept_too(stack: Stack) -> None:
    names = stack.sql("SELECT datname FROM pg_database WHERE datname LIKE 'usdx%' ORDER BY 1")
    assert names[0] == "usdx_wexel"
    assert [name.rpartition("_")[0] for name in names[1:]] == ["usdx_wexel_undone"]
    stack.assert_keep_services_untouched()
