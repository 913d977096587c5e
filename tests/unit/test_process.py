# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are run to their end: what they print, and that none outlives its limit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.process import finished, run


def test_output_and_code_come_back_and_standard_error_does_not() -> None:
    assert finished(["sh", "-c", "echo out; echo err >&2; exit 3"], seconds=10) == (3, b"out\n")


def test_what_is_given_is_read_and_nothing_else_is() -> None:
    assert finished(["cat"], given=b"\x00abc", seconds=10) == (0, b"\x00abc")
    assert finished(["cat"], seconds=10) == (0, b"")


def test_the_environment_is_the_one_that_is_asked_for() -> None:
    assert finished(["/usr/bin/env"], environment={"ONE": "1"}, seconds=10) == (0, b"ONE=1\n")


def test_a_command_that_is_not_there_says_so() -> None:
    with pytest.raises(FileNotFoundError):
        finished(["/nowhere/at/all"], seconds=10)


def test_a_command_that_hangs_is_killed_at_its_limit(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"sh did not end within 0\.5 seconds"):
        finished(["sh", "-c", f"echo $$ > {told}; exec sleep 60"], seconds=0.5)
    assert time.monotonic() - began < 30
    assert not Path(f"/proc/{told.read_text().strip()}").exists()


def test_a_hang_of_a_child_that_holds_the_output_does_not_hold_the_caller(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        finished(["sh", "-c", f"sleep 60 & echo $! > {told}; wait"], seconds=0.5)
    assert time.monotonic() - began < 30
    os.kill(int(told.read_text()), signal.SIGKILL)  # it still ran


# run


def test_what_a_command_prints_and_its_code_come_back_as_text() -> None:
    """Also bytes that are no text, and more than a pipe holds."""
    code, out, err = run(["sh", "-c", "printf '\\377größe'; head -c 300000 /dev/zero >&2; exit 3"])
    assert (code, out, err) == (3, "\udcffgröße", "\0" * 300000)


def test_it_has_our_environment_and_what_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USDX_OURS", "ours")
    argv = ["sh", "-c", 'echo "$USDX_OURS $ADDED"; pwd; cat']
    assert run(argv, cwd=str(tmp_path), environment={"ADDED": "$HOME ~"}) == (0, f"ours $HOME ~\n{tmp_path}\n", "")


def test_a_limit_ends_the_whole_group(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    began = time.monotonic()
    assert run(["sh", "-c", f"sleep 60 & echo $! > {told}; wait"], timeout=0.5)[0] == 124
    child = Path(f"/proc/{told.read_text().strip()}/stat")
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() - began < 30


def test_who_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    began = time.monotonic()
    assert run(["sh", "-c", f"echo done; setsid sleep 60 & echo $! > {told}"]) == (0, "done\n", "")
    assert time.monotonic() - began < 30
    os.kill(int(told.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(("argv", "cwd"), [(["/nowhere/at/all"], None), (["true"], "/nowhere")])
def test_what_cannot_start_is_refused(argv: list[str], cwd: str | None) -> None:
    with pytest.raises(RollbackError, match="cannot be run: No such file or directory") as caught:
        run(argv, cwd=cwd)
    assert caught.value.next_step
