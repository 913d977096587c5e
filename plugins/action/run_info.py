# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Reads journals by a small program where it can."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.modules.run_info import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import SmallProgram, WithProgram


class ActionModule(WithProgram):
    """The module decides what is done; this decides how it gets there."""

    PROGRAM = SmallProgram("run_history.run_info")
    ARGUMENTS = ARGUMENTS

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function, which changes nothing anyway."""
        return {"options": options}
