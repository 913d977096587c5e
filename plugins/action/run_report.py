# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Writes the report of a run on the controller."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils.report_files import run_report
from ansible_collections.usdx.rollback.plugins.plugin_utils.here import Here


class ActionModule(Here):
    """What the module of the same name documents."""

    OPTIONS = {"directory": {"type": "path", "required": True}}  # noqa: RUF012 - never changed

    def work(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Write the report."""
        return run_report(options["directory"], check=check)
