# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for the stages of a security incident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import (
    damage_assessment,
    security_incident,
    security_review,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            damage_assessment.assessment_questions, damage_assessment.assessment_refusal,
            damage_assessment.damage_assessment, security_incident.incident_lines,
            security_incident.incident_refusal, security_incident.operators_of, security_review.review_refusal,
            security_review.reviewed_by, security_incident.stage_refusal,
        )  # fmt: skip
        return {function.__name__: function for function in functions}
