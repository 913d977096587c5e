# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Adds an annotation by a small program where it can: somebody waits."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_server import LOGIN_ALONE
from ansible_collections.usdx.rollback.plugins.modules.grafana_annotation import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import SmallProgram, WithProgram


class ActionModule(WithProgram):
    """The module decides what is done; this decides how it gets there."""

    PROGRAM = SmallProgram("grafana_annotation.grafana_annotation")
    ARGUMENTS = ARGUMENTS
    RULES = {"mutually_exclusive": LOGIN_ALONE}  # noqa: RUF012 - never changed
