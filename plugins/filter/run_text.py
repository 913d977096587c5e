# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters that turn earlier runs into what a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import run_text

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the text functions as filters, each under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {function.__name__: function for function in (run_text.run_list_lines, run_text.run_story)}
