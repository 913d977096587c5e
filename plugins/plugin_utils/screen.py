# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a person sees while a task goes on, without ``-v``."""

from __future__ import annotations

from typing import Any

from ansible.utils.display import Display


def show(task: Any, task_vars: dict[str, Any], text: str) -> None:  # noqa: ANN401 - a task of Ansible
    """Print a line to standard error, so that a callback that prints JSON to standard output stays readable."""
    if not task.no_log:
        host = str(task_vars.get("inventory_hostname", ""))
        at = f"{host} -> {task.delegate_to}" if task.delegate_to else host
        Display().display(f"[{at}] {text}", stderr=True)
