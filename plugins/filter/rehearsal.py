# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters of rehearsals: what is asked in a copy, and what is told of rehearsals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import rehearsal_copy, rehearsal_history, rehearsal_record

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            rehearsal_copy.endpoint_places,
            rehearsal_copy.rehearsed_endpoints,
            rehearsal_history.rehearsal_list_lines,
            rehearsal_history.rehearsal_standing,
            rehearsal_record.rehearsal_lines,
        )
        return {function.__name__: function for function in functions}
