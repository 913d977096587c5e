# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Says to the module of the same name who runs Ansible, and looks here whether a holder lives that it cannot see."""

from __future__ import annotations

import getpass
import multiprocessing
import os
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader
from ansible_collections.usdx.rollback.plugins.module_utils import controller, lock

# ansible-playbook forks a process for each task, and what that one imports is lost with it. This file is imported by
# the one that forks, so the filters are loaded here once, and not in each task of a run that uses one: 0.1 s each time.
filter_loader.get("usdx.rollback.evidence")

# Each round judges one holder. A holder that changes meanwhile is judged anew; one after the other is at work then.
ROUNDS = 3


class ActionModule(ActionBase):
    """The module decides, for it alone sees the lock while nobody can change it."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        super().run(tmp, task_vars)
        place = controller.here()
        facts = controller.facts_of(_controller(), _user(task_vars or {}), _job(task_vars or {}), place)
        arguments = {**self._task.args, "controller": facts, "judged": None}
        result: dict[str, Any] = {}
        for _round in range(ROUNDS):
            result = self._execute_module(module_args=arguments, task_vars=task_vars)
            judged = _judged(result, place)
            if judged is None or judged == arguments["judged"]:
                break
            arguments["judged"] = judged
        return result


def _judged(result: dict[str, Any], place: controller.Place) -> dict[str, Any] | None:
    """Return what is seen here of a holder that the module could not see."""
    if not result.get("failed") or result.get("sign") != "unknown" or not result.get("holder"):
        return None
    return lock.judge(result["holder"], place)


def _controller() -> int:
    """Return the process id of ``ansible-playbook``. A task is run by a worker that it forked."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return os.getpid()
    if os.getppid() != parent.pid:
        raise AnsibleError("The controller was ended. The lock was not asked for.")
    return parent.pid


def _user(task_vars: dict[str, Any]) -> str:
    """Return who started this: the user of AWX, or the one who is logged in."""
    named = task_vars.get("awx_user_name") or task_vars.get("tower_user_name")
    if named:
        return str(named)
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container may run as a user without a name
        return str(os.getuid())


def _job(task_vars: dict[str, Any]) -> str:
    """Return the number of the job of AWX, or nothing."""
    return str(task_vars.get("awx_job_id") or task_vars.get("tower_job_id") or os.environ.get("JOB_ID", ""))
