# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The border between Ansible and the typed logic: run the work, turn its outcome into a module result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.module_utils.basic import AnsibleModule


# Terminal sequences and control characters, all but tab and newline: messages quote what commands and servers say.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return a text that cannot steer a terminal."""
    return _CONTROL.sub("", text)


def carry_out(module: AnsibleModule, work: Callable[[], dict[str, Any]]) -> None:
    """Exit the module with what ``work`` returns, or fail it with what the ``RollbackError`` says.

    The key ``warnings`` of a result or an error is a list of sentences; each becomes a warning of the module.
    """
    try:
        result = work()
    except RollbackError as error:
        _warn(module, error.facts)
        module.fail_json(msg=plain(error.msg), next_step=plain(error.next_step), **error.facts)
    _warn(module, result)
    module.exit_json(**result)


def _warn(module: AnsibleModule, facts: dict[str, Any]) -> None:
    for warning in facts.pop("warnings", []):
        module.warn(plain(warning))
