# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first task of every playbook: hosts, and none."""

from __future__ import annotations

import pytest
from harness import call_module


@pytest.mark.parametrize("check", [False, True])
def test_hosts_and_none(*, check: bool) -> None:
    found = call_module("application_hosts", {"pattern": "rollback_app", "hosts": ["one"]}, check=check)
    assert (found["changed"], found["hosts"]) == (False, ["one"])
    none = call_module("application_hosts", {"pattern": "rollback_app", "hosts": []}, check=check)
    assert none.failed
    assert "matches 'rollback_app'" in none["msg"]
    assert "ansible-inventory" in none["next_step"]
