# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that decide what happens to the database, and what is lost by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import database_decision

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the decisions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            database_decision.data_loss,
            database_decision.database_decision,
            database_decision.deployed_at,
            database_decision.loss_refusal,
        )
        return {function.__name__: function for function in functions}
