# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory names the application hosts, or nothing is begun."""

from __future__ import annotations

from typing import Any

from .errors import RollbackError


def application_hosts(pattern: str, hosts: list[str]) -> dict[str, Any]:
    """Return the hosts that match the pattern; raise a ``RollbackError`` when there is none."""
    if not hosts:
        raise RollbackError(
            f"No host of the inventory matches '{pattern}'. Nothing was changed. "
            "Name your inventory with -i, put the application hosts into its group rollback_app, or choose others with "
            "-e target=.",
            "Look at the inventory with: ansible-inventory --graph",
        )
    return {"changed": False, "hosts": hosts}
