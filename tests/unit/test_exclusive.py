# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task at a time works on a project, and a killed one stands in nobody's way."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.exclusive import exclusive

HOLD = "import fcntl, os, sys, time; f = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"  # noqa: E501


def test_nobody_else_is_there(tmp_path: Path) -> None:
    for _again in range(2):
        with exclusive([str(tmp_path)]) as waited:
            assert waited == 0


def test_another_task_is_waited_for(tmp_path: Path) -> None:
    inside, order = threading.Event(), []

    def first() -> None:
        with exclusive([str(tmp_path)]):
            inside.set()
            time.sleep(0.3)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(5)
    with exclusive([str(tmp_path)]) as waited:
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert waited > 0


def test_one_that_does_not_end_is_named_and_a_killed_one_is_forgotten(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RollbackError, match="Nothing was changed") as caught, exclusive([str(tmp_path)], 0.3):
            pytest.fail("the directory was held")
        assert str(tmp_path) in caught.value.next_step
        holder.kill()
    with exclusive([str(tmp_path)], 5):
        pass


def test_what_is_not_here_is_left_out(tmp_path: Path) -> None:
    with exclusive([str(tmp_path / "not"), "", str(tmp_path)]) as waited:
        assert waited == 0
