# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that tell what of a run is done, what was there before it, and how long the next one takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import forecast, resume

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            resume.database_changed_at,
            resume.done_steps,
            resume.skip_events,
            resume.steps_to_do,
            forecast.outage_forecast,
            resume.images_before,
            resume.is_settled,
            resume.resumed_inputs,
            resume.services_before,
            resume.services_not_started,
            resume.settled_steps,
            resume.undo_inputs,
            resume.undo_refusal,
            resume.variables_before,
        )
        return {function.__name__: function for function in functions}
