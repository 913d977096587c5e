# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuses an inventory without application hosts, in the first task of every playbook."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils.application_hosts import application_hosts
from ansible_collections.usdx.rollback.plugins.plugin_utils.here import Here
from ansible_collections.usdx.rollback.plugins.plugin_utils.loaded_filters import load_filters

load_filters()


class ActionModule(Here):
    """What the module of the same name documents."""

    OPTIONS = {  # noqa: RUF012 - never changed
        "pattern": {"type": "str", "required": True},
        "hosts": {"type": "list", "elements": "str", "required": True},
    }

    def work(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:  # noqa: ARG002 - it only looks
        """Look for the hosts."""
        return application_hosts(options["pattern"], options["hosts"])
