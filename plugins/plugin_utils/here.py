# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module whose work is done on the controller, by the process of the task: no other process is started for it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.usdx.rollback.plugins.module_utils.border import plain
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError


class Here(ActionBase):
    """An action plugin that says what options its module takes, and does its work."""

    _supports_check_mode = True
    _supports_async = False
    OPTIONS: dict[str, Any]
    """The argument spec of the module."""

    @abstractmethod
    def work(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Return the result of the module; raises ``RollbackError``."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module, as ``border.carry_out`` has modules return it."""
        super().run(tmp, task_vars)
        _validation, options = self.validate_argument_spec(self.OPTIONS)  # type: ignore[no-untyped-call]
        try:
            return self.work(options, check=self._task.check_mode)
        except RollbackError as error:
            return {"failed": True, "msg": plain(error.msg), "next_step": plain(error.next_step), **error.facts}
