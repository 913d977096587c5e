# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Starts services by a small program where it can: users wait meanwhile."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.modules.compose_start import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import SmallProgram, WithProgram


class ActionModule(WithProgram):
    """The module decides what is done; this decides how it gets there."""

    PROGRAM = SmallProgram("start.start_as_asked", runs_commands=True, packages=True)
    ARGUMENTS = ARGUMENTS
