# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask the person at the terminal of the controller, and tell an empty answer from nobody who could be asked."""

from __future__ import annotations

import os
from typing import Any

from ansible.errors import AnsibleError, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.usdx.rollback.plugins.module_utils.approval import unattended


class LookupModule(LookupBase):
    """Ask through the display: the process that owns the terminal asks, which is not the one that runs this."""

    def run(self, terms: list[str], variables: object = None, **_options: object) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return whether a person was asked, and the answer."""
        if len(terms) != 1 or not str(terms[0]).strip():
            raise AnsibleError("The lookup usdx.rollback.ask takes one question.")
        variable = unattended(os.environ)
        if variable:
            return [{"asked": False, "answer": "", "why": f"the environment sets {variable}"}]
        try:
            answer = Display().prompt_until(f"\n{terms[0]}:")
        except AnsiblePromptNoninteractive:
            return [{"asked": False, "answer": "", "why": "standard input is no terminal"}]
        except AnsiblePromptInterrupt:
            answer = b""
        return [{"asked": True, "answer": answer.decode("utf-8", "replace").strip(), "why": ""}]
