# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of progress: on standard error, with the host, and none of a task that hides what it does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.usdx.rollback.plugins.plugin_utils.screen import show


@pytest.mark.parametrize(("delegate", "head"), [(None, "[web]"), ("db", "[web -> db]")])
def test_a_line_names_the_host(capsys: pytest.CaptureFixture[str], delegate: str | None, head: str) -> None:
    show(SimpleNamespace(no_log=False, delegate_to=delegate), {"inventory_hostname": "web"}, "half done")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"{head} half done\n")


def test_a_task_without_log_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(SimpleNamespace(no_log=True, delegate_to=None), {}, "half done")
    assert capsys.readouterr().err == ""
