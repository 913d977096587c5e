# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs commands of the project by a small program where it can."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.modules.project_command import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import SmallProgram, WithProgram


class ActionModule(WithProgram):
    """The module decides what is done; this decides how it gets there."""

    PROGRAM = SmallProgram("project_command.project_command", runs_commands=True)
    ARGUMENTS = ARGUMENTS
