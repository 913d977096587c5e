# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A filter for what several hosts have found of one release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils import release_choice

if TYPE_CHECKING:
    from collections.abc import Callable


class FilterModule:
    """Offer the function as a filter under its own name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {release_choice.commits_refusal.__name__: release_choice.commits_refusal}
