# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a small program does on a host, and when the module is called instead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.modules.run_journal import ARGUMENTS
from ansible_collections.usdx.rollback.plugins.plugin_utils.small_program import (
    JobFile,
    SmallProgram,
    WithProgram,
    has_begun,
    result_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = "20261124T150405Z-3f9a"
HERE = {"ansible_python_interpreter": sys.executable}


class Plugin(WithProgram):
    """The one of run_journal; its program runs here, in an environment that holds HOME only."""

    PROGRAM = SmallProgram("journal.record")
    ARGUMENTS = ARGUMENTS

    def __init__(self, **differs: Any) -> None:  # noqa: D107
        self.differs = differs
        self._task: Any = SimpleNamespace(delegate_to=differs.get("delegate_to"), check_mode=False)
        self._templar: Any = SimpleNamespace(template=lambda value: value)

    def handed_over(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of the function."""
        return {**options, "check": self._task.check_mode}

    def _is_pipelining_enabled(self, *_options: Any) -> bool:
        return bool(self.differs.get("pipelining", True))

    def _compute_environment_string(self, *_options: Any) -> str:
        return f"HOME={self.differs.get('home', '/nowhere')}"

    def _low_level_execute_command(self, cmd: str, *_options: Any, in_data: Any = None, **_more: Any) -> dict[str, Any]:
        done = subprocess.run(["/bin/sh", "-c", cmd], input=in_data, capture_output=True, check=False, env={})
        printed = self.differs.get("preamble", "") + done.stdout.decode()
        return {"rc": done.returncode, "stdout": printed, "stderr": done.stderr.decode()}

    def _execute_module(self, *_options: Any, **_more: Any) -> dict[str, Any]:
        return {"module": True}


def arguments(state: Path | str, **event: Any) -> dict[str, Any]:
    """Return arguments that write one event."""
    return {"state_directory": str(state), "run_id": RUN, "events": [{"event": "run_started", **event}]}


@pytest.mark.parametrize("told", [HERE, {"ansible_facts": {"discovered_interpreter_python": sys.executable}}])
def test_the_function_does_on_the_host_what_it_does_here(tmp_path: Path, told: dict[str, Any]) -> None:
    words = "größe {braces} 'quoted' \\ {{ untouched }}\n"
    welcome = "Welcome!\n"
    result = Plugin(preamble=welcome).call(arguments(tmp_path, facts={"words": words}), told)
    (event,) = result["events"]
    written = (tmp_path / "runs" / RUN / "journal.jsonl").read_text()
    assert (result["changed"], event["facts"], json.loads(written)) == (True, {"words": words}, event)


def test_a_refusal_is_a_failed_result_that_cannot_steer_a_terminal(tmp_path: Path) -> None:
    result = Plugin().call(arguments(tmp_path) | {"run_id": "\x1b[31mred"}, HERE)
    assert (result["failed"], "is not a run id" in result["msg"], "\x1b" in result["msg"]) == (True, True, False)
    assert result["next_step"]


def test_what_is_secret_is_not_shown(tmp_path: Path) -> None:
    plugin = Plugin()
    plugin.ARGUMENTS = {**ARGUMENTS, "run_id": {**ARGUMENTS["run_id"], "no_log": True}}
    result = plugin.call(arguments(tmp_path) | {"run_id": "s3cret-word!"}, HERE)
    assert "is not a run id" in result["msg"]
    assert "s3cret-word" not in str(result)


@pytest.mark.parametrize("told", [HERE, {"ansible_facts": {"discovered_interpreter_python": sys.executable}}])
def test_the_python_of_a_host_that_is_delegated_to_is_its_own(tmp_path: Path, told: dict[str, Any]) -> None:
    """Ansible tells what is known of that host, the variables of the task included."""
    known = {"ansible_python_interpreter": "/no/such/python", "ansible_delegated_vars": {"other": told}}
    assert Plugin(delegate_to="other").call(arguments(tmp_path), known)["changed"]


def test_a_path_is_one_of_the_host(tmp_path: Path) -> None:
    result = Plugin(home=tmp_path).call(arguments("~/state"), HERE)
    assert result["path"] == f"{tmp_path}/state/runs/{RUN}/journal.jsonl"


def test_what_ends_before_it_is_done_is_no_success(tmp_path: Path) -> None:
    """Also when nobody knows why; the module is not called then, for something may be done."""
    plugin = Plugin()
    plugin.PROGRAM = SmallProgram("journal.stamp")  # takes none of these arguments
    result = plugin.call(arguments(tmp_path), HERE)
    assert (result["failed"], result["msg"].startswith("It ended before it was done: TypeError")) == (True, True)
    assert result["next_step"]


def processes(word: str) -> list[int]:
    """Return the processes with this word in their command."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(word) in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def told_by_job(place: Path) -> dict[str, Any]:
    """Wait for the end of a job and return what is in its file."""
    wait_until(lambda: "started" not in json.loads(place.read_text()))
    return dict(json.loads(place.read_text()))


def begun(plugin: Plugin, place: Path, given: dict[str, Any]) -> bool:
    """Begin a job that may last ten seconds."""
    answer = plugin.send(given, HERE, JobFile(str(place), 10, ["words of", "it"]))
    assert answer is not None
    return has_begun(answer)


def test_a_job_leaves_its_result_in_a_private_file(tmp_path: Path) -> None:
    place = tmp_path / "j1"
    assert begun(Plugin(), place, arguments(tmp_path / "state"))
    assert told_by_job(place)["result"]["changed"]
    assert place.stat().st_mode & 0o777 == 0o600
    assert begun(Plugin(), place, arguments(tmp_path / "state") | {"run_id": "../x"})
    assert told_by_job(place)["result"]["failed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["j1", "state"]


def waiting(place: Path, limit: int) -> int:
    """Begin a job that waits for a file ``go``, see that it goes on, and return its process."""
    plugin = Plugin()
    plugin.PROGRAM = SmallProgram("project_command.project_command", runs_commands=True)
    plugin.ARGUMENTS = {"commands": {"type": "list"}, "chdir": {"type": "path"}}
    plugin.handed_over = lambda options: {"options": options}  # type: ignore[method-assign]
    wait = ["sh", "-c", "touch begun; until [ -e go ]; do sleep 0.01; done"]
    given = {"commands": [{"argv": wait}], "chdir": str(place)}
    answer = plugin.send(given, HERE, JobFile(str(place / "j1"), limit, [f"of {place}"]))
    assert answer is not None
    assert has_begun(answer)
    wait_until((place / "begun").exists)
    (process,) = processes(f"of {place}")
    assert os.getsid(process) != os.getsid(0)
    assert json.loads((place / "j1").read_text()) == {"started": 1, "finished": 0}
    return process


def test_a_job_goes_on_by_itself(tmp_path: Path) -> None:
    waiting(tmp_path, 60)
    (tmp_path / "go").touch()
    assert [one["rc"] for one in told_by_job(tmp_path / "j1")["result"]["results"]] == [0]


def test_a_job_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    process = waiting(tmp_path, 1)
    wait_until(lambda: process not in processes(f"of {tmp_path}"))
    assert "started" in json.loads((tmp_path / "j1").read_text())
    (tmp_path / "go").touch()  # for its command


def test_a_job_that_crashes_says_where(tmp_path: Path) -> None:
    plugin = Plugin()
    plugin.PROGRAM = SmallProgram("journal.stamp")  # takes none of these arguments
    assert begun(plugin, tmp_path / "j1", arguments(tmp_path))
    assert "TypeError" in told_by_job(tmp_path / "j1")["traceback"]


def test_a_job_whose_file_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    assert not begun(Plugin(), tmp_path / "none" / "j1", arguments(tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []


def test_a_function_that_runs_commands_gets_what_runs_them(tmp_path: Path) -> None:
    plugin = Plugin()
    plugin.PROGRAM = SmallProgram("project_command.project_command", runs_commands=True)
    plugin.ARGUMENTS = {"commands": {"type": "list"}, "chdir": {"type": "path"}}
    plugin.handed_over = lambda options: {"options": options}  # type: ignore[method-assign]
    result = plugin.call({"commands": [{"argv": ["pwd"]}], "chdir": str(tmp_path)}, HERE)
    assert [(one["rc"], one["stdout"].strip()) for one in result["results"]] == [(0, str(tmp_path))]


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (Plugin(pipelining=False), HERE),
        (Plugin(delegate_to="other"), HERE),
        (Plugin(), {}),
        (Plugin(), {"ansible_python_interpreter": "auto_silent"}),
        (Plugin(), {"ansible_python_interpreter": "/no/python"}),
    ],
)
def test_the_module_is_called_where_no_program_can_run(tmp_path: Path, plugin: Plugin, told: dict[str, Any]) -> None:
    assert plugin.call(arguments(tmp_path), told) == {"module": True}
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_are_for_the_module_to_refuse(tmp_path: Path) -> None:
    assert Plugin().call(arguments(tmp_path) | {"events": "none"}, HERE) == {"module": True}
    assert list(tmp_path.iterdir()) == []


def test_a_warning_cannot_steer_a_terminal() -> None:
    told = json.dumps({"changed": False, "warnings": ["\x1b[31mred"]})
    answer = {"stdout": f"usdx.rollback program begun\nusdx.rollback program done {told}\n", "stderr": "", "rc": 0}
    assert result_of(answer) == {"changed": False, "warnings": ["red"]}


def test_what_a_host_prints_is_no_result() -> None:
    assert result_of({"stdout": "usdx.rollback program\n", "stderr": "", "rc": 0}) is None
