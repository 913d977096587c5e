# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters and tests that each task of a run needs, loaded by the process that forks the tasks.

``ansible-playbook`` forks a process for each task, and what that one imports is lost with it. It imports the action
plugin of a task itself before that, so an action plugin that calls this has it done once, and not in each task.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from ansible.plugins.loader import filter_loader, test_loader


@cache
def load_filters() -> None:
    """Load the filters and tests of this collection and of Ansible, once."""
    with suppress(KeyError):  # where no playbook runs no collection is known
        filter_loader.get("usdx.rollback.evidence")
    for loader in (filter_loader, test_loader):
        list(loader.all())
