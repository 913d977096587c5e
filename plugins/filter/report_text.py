# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that turn module results into what a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import report_text

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the text functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            report_text.candidate_lines,
            report_text.evidence,
            report_text.failure,
            report_text.nothing_would_change,
            report_text.plan_lines,
            report_text.refusal,
            report_text.summary_lines,
            report_text.way_out,
        )
        return {function.__name__: function for function in functions}
