# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action plugin that does the work of its module returns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.plugin_utils.here import Here


class Half(Here):
    """Halves a number."""

    OPTIONS = {"number": {"type": "int", "required": True}}  # noqa: RUF012 - never changed

    def work(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """Return the half."""
        if options["number"] % 2:
            raise RollbackError("Odd \x1b[31mnumber.", "Give an even one.", number=options["number"])
        return {"changed": not check, "half": options["number"] // 2}


def result(arguments: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Return what the plugin returns for a task with these arguments."""
    task: Any = SimpleNamespace(
        args=arguments, async_val=0, check_mode=check, diff=False, environment=None, action="half", delegate_to=None
    )
    connection: Any = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None), has_pipelining=True)
    nothing: Any = None
    return Half(task, connection, nothing, nothing, nothing, nothing).run(task_vars={})


@pytest.mark.parametrize("check", [True, False])
def test_the_work_is_done_with_options_of_the_right_types(*, check: bool) -> None:
    assert result({"number": "8"}, check=check) == {"changed": not check, "half": 4}


def test_a_refusal_says_what_to_do_next() -> None:
    refused = result({"number": 7})
    assert refused == {"failed": True, "msg": "Odd number.", "next_step": "Give an even one.", "number": 7}


@pytest.mark.parametrize("arguments", [{}, {"number": "many"}, {"number": 2, "other": 1}])
def test_wrong_options_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(AnsibleError):
        result(arguments)
