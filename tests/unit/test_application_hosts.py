# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory without application hosts is refused."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.application_hosts import application_hosts
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError


def test_hosts_that_match_are_returned() -> None:
    assert application_hosts("rollback_app", ["a", "b"]) == {"changed": False, "hosts": ["a", "b"]}


def test_a_pattern_that_matches_none_is_named() -> None:
    with pytest.raises(RollbackError, match="matches 'web'") as caught:
        application_hosts("web", [])
    assert "ansible-inventory" in caught.value.next_step
