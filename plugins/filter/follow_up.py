# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for what follows a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import follow_up

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            follow_up.follow_up,
            follow_up.follow_up_actions,
            follow_up.follow_up_facts,
            follow_up.follow_up_lines,
            follow_up.new_issues,
            follow_up.run_to_follow,
            follow_up.with_issues,
        )
        return {function.__name__: function for function in functions}
