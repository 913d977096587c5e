# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for the evidence of a verification: smoke tests of the project, and checks that only a person can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import checklist, project_command

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        functions = (
            checklist.checklist_questions,
            checklist.checklist_refusal,
            checklist.manual_checklist,
            project_command.command_checks,
        )
        return {function.__name__: function for function in functions}
