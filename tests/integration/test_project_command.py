# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real scripts through Ansible: good, failing, hanging, missing, and with a child that stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import call_module


@pytest.fixture(name="options")
def _options(tmp_path: Path) -> dict[str, Any]:
    """Return options for ``scripts/run.sh`` in a directory of its own."""
    (tmp_path / "scripts").mkdir()
    return {"commands": [{"name": "notify", "argv": ["./scripts/run.sh"]}], "chdir": str(tmp_path), "timeout": 20}


def script(options: dict[str, Any], body: str) -> None:
    """Write the script."""
    path = Path(options["chdir"]) / "scripts" / "run.sh"
    path.write_text("#!/bin/sh\n" + body)
    path.chmod(0o755)


def test_check_real_check_real(options: dict[str, Any]) -> None:
    """Check mode does not run it; arguments arrive as they are; the environment is not shown."""
    script(options, 'echo ran >>ran; printf "%s|" "$@"; test "$SECRET" = s3cret-word\n')
    options["commands"][0]["argv"] += ["$HOME ~ *", "{{ 'a' }}; rm -rf x"]
    options["environment"] = {"SECRET": "s3cret-word"}
    ran = Path(options["chdir"]) / "ran"
    predicted = call_module("project_command", options, check=True)
    assert (predicted.failed, predicted["changed"], ran.exists()) == (False, True, False)
    done = call_module("project_command", options)
    (told,) = done["results"]
    assert (done["changed"], told["rc"], told["verdict"]) == (True, 0, "passed"), done.result
    assert told["stdout"].startswith("$HOME ~ *|")
    assert "s3cret" not in str(done.result)
    call_module("project_command", options, check=True)
    call_module("project_command", options)
    assert ran.read_text() == "ran\nran\n"


def test_a_failure_warns_or_stops(options: dict[str, Any]) -> None:
    """Either way the code and the last words are there."""
    script(options, "echo no route >&2; exit 3\n")
    warned = call_module("project_command", options)
    (told,) = warned["results"]
    assert (warned.failed, told["rc"], told["verdict"]) == (False, 3, "failed")
    assert "it returned 3 and said: no route" in told["reason"]
    stopped = call_module("project_command", options | {"on_failure": "stop"})
    (told,) = stopped["results"]
    assert (stopped.failed, told["rc"], told["stderr"]) == (True, 3, "no route\n")
    assert stopped["next_step"]


def test_all_are_run_and_each_may_have_limits_of_its_own(options: dict[str, Any]) -> None:
    """One that stops the play does not keep the others from being run; its words are those of the failure."""
    script(options, 'echo "$1" >>ran; sleep "$2"; exit "$3"\n')
    argv = options["commands"][0]["argv"]
    options["commands"] = [
        {"name": "first", "argv": [*argv, "one", "0", "4"], "on_failure": "stop"},
        {"argv": [*argv, "two", "60", "0"], "timeout": 1},
        {"argv": [*argv, "three", "0", "0"]},
    ]
    outcome = call_module("project_command", options)
    assert (outcome.failed, [one["verdict"] for one in outcome["results"]]) == (True, ["failed", "failed", "passed"])
    assert "command first failed: it returned 4." in outcome["msg"]
    assert [one["name"] for one in outcome["results"]] == ["first", "run.sh", "run.sh"]
    assert (Path(options["chdir"]) / "ran").read_text() == "one\ntwo\nthree\n"


def test_what_hangs_is_ended_with_its_children(options: dict[str, Any]) -> None:
    """Also when it ignores SIGTERM; the child of its group does not live on."""
    script(options, "trap '' TERM\n(trap '' TERM; exec sleep 99) &\necho $! >child\nsleep 99\n")
    outcome = call_module("project_command", options | {"timeout": 1})
    (told,) = outcome["results"]
    assert (outcome.failed, told["timed_out"], told["verdict"]) == (False, True, "failed"), outcome.result
    assert told["seconds"] < 8
    child = Path("/proc", (Path(options["chdir"]) / "child").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_child_that_keeps_the_output_open_does_not_block(options: dict[str, Any]) -> None:
    """The script ended; who still holds its output is not waited for."""
    script(options, "echo done; setsid sleep 12 &\n")
    outcome = call_module("project_command", options)
    (told,) = outcome["results"]
    assert (told["rc"], told["stdout"]) == (0, "done\n")
    assert told["seconds"] < 6


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_one_is_said_also_in_check_mode(options: dict[str, Any], *, check: bool) -> None:
    """Before the night on which it is needed."""
    outcome = call_module("project_command", options, check=check)
    (told,) = outcome["results"]
    assert (outcome.failed, outcome["changed"], told["verdict"], told["rc"]) == (False, False, "failed", None)
    assert "run.sh does not exist" in told["reason"]
