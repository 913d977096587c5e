# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all scenarios."""

from __future__ import annotations

import pytest
import testinfra
from stack import Stack


@pytest.fixture
def stack() -> Stack:
    """Return the scenario's stack, seen from outside."""
    return Stack.of_scenario()


@pytest.fixture
def machine() -> testinfra.host.Host:
    """Return this machine for testinfra."""
    return testinfra.get_host("local://")
