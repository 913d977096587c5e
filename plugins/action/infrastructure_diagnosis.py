# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Looks by a small program where it can."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.modules.infrastructure_diagnosis import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import OnlyLooks, SmallProgram


class ActionModule(OnlyLooks):
    """The module decides what is done; this decides how it gets there."""

    PROGRAM = SmallProgram("diagnosis.diagnose.diagnose", packages=True)
    ARGUMENTS = ARGUMENTS
