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
from ansible_collections.usdx.rollback.plugins.module_utils import controller, lock
from ansible_collections.usdx.rollback.plugins.modules.run_lock import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.loaded_filters import load_filters
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import SmallProgram, WithProgram

load_filters()  # a run that is limited to some hosts, or a play of one's own, has no task before this one that does it

# Each round judges one holder. A holder that changes meanwhile is judged anew; one after the other is at work then.
ROUNDS = 3


class ActionModule(WithProgram):
    """The module decides, for it alone sees the lock while nobody can change it."""

    PROGRAM = SmallProgram("lock.lock_as_asked")
    ARGUMENTS = ARGUMENTS

    def call(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return the result of the module, called anew when it could not see whether a holder lives."""
        place = controller.here()
        facts = controller.facts_of(_controller(), _user(task_vars), _job(task_vars), place)
        arguments = {**arguments, "controller": facts, "judged": None}
        result: dict[str, Any] = {}
        for _round in range(ROUNDS):
            result = super().call(arguments, task_vars)
            judged = _judged(result, place)
            if judged is None or judged == arguments["judged"]:
                break
            arguments["judged"] = judged
        return result

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function."""
        return {**options, "check": self._task.check_mode}


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
