# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keeps a copy of a journal on the controller."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils.journal_copy import copy_journal
from ansible_collections.usdx.rollback.plugins.plugin_utils.here import Here


class ActionModule(Here):
    """What the module of the same name documents."""

    OPTIONS = {  # noqa: RUF012 - never changed
        "directory": {"type": "path", "required": True},
        "host": {"type": "str", "required": True},
        "events": {"type": "list", "elements": "dict", "required": True},
    }

    def work(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Write the copy."""
        return copy_journal(options["directory"], options["host"], options["events"], check=check)
