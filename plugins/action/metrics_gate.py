# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Has the module of the same name ask again and again, shows each round, and ends the watch."""

from __future__ import annotations

import os
import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.usdx.rollback.plugins.module_utils.metrics_gate import Gate
from ansible_collections.usdx.rollback.plugins.plugin_utils.screen import show

MODULE, VERIFY = "usdx.rollback.metrics_gate", "usdx.rollback.version_verify"
# What a round of version_verify gets from here: the watch is this plugin's, and it alone waits.
ONCE = {"timeout": 0, "stable_for": 0}


class ActionModule(ActionBase):
    """The loop is here, so that progress is seen, and nothing is left behind when Ansible is ended."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the watch."""
        super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        self._controller = os.getppid()
        arguments = dict(self._task.args)
        release = arguments.pop("release", None)
        began = time.monotonic()
        told, seen = self._call(MODULE, arguments), self._release(release)
        for result in (told, seen or {}):
            if result.get("failed") and "checks" not in result:  # options that are refused
                return result
        # For a plan it is asked once, and that counts.
        gate = Gate(told["options"] | ({"settle": 0.0} if self._task.check_mode else {}))
        # What the module made of the options holds for the whole watch: a baseline does not move on with the clock.
        arguments["checks"] = told["options"]["checks"]
        gate.read(0.0, told, seen)
        self._show(gate)
        while not (gate.over or self._task.check_mode):
            self._wait_until(began + min(gate.length, gate.at + gate.options["interval"]))
            at = time.monotonic() - began
            told, seen = self._try(MODULE, arguments), self._release(release)
            gate.read(at, told, seen)
            self._show(gate)
        return self._result(gate, told)

    def _result(self, gate: Gate, told: dict[str, Any]) -> dict[str, Any]:
        result = gate.result((told.get("alerts") or {}).get("firing") or [])
        if self._task.check_mode:  # asked once, before what is watched is there: that proves nothing, and fails nothing
            return {name: value for name, value in result.items() if name not in ("failed", "msg", "next_step")}
        return result

    def _release(self, release: dict[str, Any] | None) -> dict[str, Any] | None:
        return None if release is None else self._try(VERIFY, {**release, **ONCE})

    def _call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(name, arguments, task_vars=self._task_vars)
        return result

    def _try(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a module; a connection that breaks costs a round and not the watch."""
        try:
            result = self._call(name, arguments)
        except AnsibleConnectionFailure as error:
            return {"failed": True, "why": "the host does not answer", "msg": str(error)}
        return {**result, "why": str(result.get("msg", ""))} if result.get("failed") else result

    def _wait_until(self, moment: float) -> None:
        """Sleep; end when the controller was killed, for its workers live on."""
        time.sleep(max(0.0, moment - time.monotonic()))
        if os.getppid() != self._controller:
            raise AnsibleError("The controller was ended, and the watch with it. Nothing was changed.")

    def _show(self, gate: Gate) -> None:
        if not self._task.check_mode:
            show(self._task, self._task_vars, f"metrics_gate: {gate.line()}")
