# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a command of the project is looked for, and what its failure means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.project_command import (
    Command,
    command_checks,
    located,
    plan,
    project_command,
    tail,
    why_failed,
)

if TYPE_CHECKING:
    from pathlib import Path


def never(*_arguments: object, **_options: object) -> tuple[int, str, str]:
    """Fail the test when something is run."""
    pytest.fail("it was run")


def command(**options: Any) -> dict[str, Any]:
    """Return options of the module."""
    one = {key: options.pop(key) for key in ("argv", "timeout") if key in options}
    return {"commands": [{"name": "notify", "argv": ["./notify.sh"], **one}], **options}


def planned(**options: Any) -> Command:
    """Return the one command that is planned."""
    (one,) = plan(command(**options))
    return one


def test_a_relative_command_is_below_chdir(tmp_path: Path) -> None:
    """Wherever Ansible itself runs."""
    script = tmp_path / "notify.sh"
    script.write_text("#!/bin/sh\n")
    assert located(planned(chdir=str(tmp_path))) == (str(script), f"{script} is not executable")
    script.chmod(0o700)
    assert located(planned(chdir=str(tmp_path))) == (str(script), "")


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_file_is_a_warning_or_a_stop_and_nothing_is_run(tmp_path: Path, *, check: bool) -> None:
    """Check mode says the same."""
    result = project_command(command(chdir=str(tmp_path)), never, check=check)
    assert (result["changed"], result["results"][0]["verdict"]) == (False, "failed")
    assert "notify.sh does not exist" in result["warnings"][0]
    with pytest.raises(RollbackError, match="does not exist"):
        project_command(command(chdir=str(tmp_path), on_failure="stop"), never, check=check)


@pytest.mark.parametrize(
    "options",
    [
        {"argv": []}, {"argv": [""]}, {"argv": ["a\0b"]}, {"timeout": "nan"}, {"timeout": 0},
        {"environment": {"A=B": "1"}}, {"environment": {"A": "\0"}},
    ],
)  # fmt: skip
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    """Also when a failure would only be a warning."""
    with pytest.raises(RollbackError):
        project_command(command(**options), never)


def test_the_end_of_an_output_is_kept_and_can_be_written_as_json() -> None:
    """The last words say why; bytes that are no text are shown as such."""
    assert tail("a" * 5000 + "end").endswith("end")
    assert len(tail("a" * 5000)) == 4000
    assert tail("\udcff") == "\\udcff"


def test_an_own_return_code_of_124_in_time_is_no_time_out() -> None:
    """Only the limit makes a time-out."""
    facts = {"timed_out": False, "rc": 124, "stderr": "", "stdout": "one\ntwo"}
    assert why_failed(facts, 60) == "it returned 124 and said: two"


def test_results_become_checks_and_what_was_not_run_has_not_passed() -> None:
    results: list[dict[str, Any]] = [
        {"name": "one.sh", "rc": 0, "verdict": "passed", "reason": "", "seconds": 1.5},
        {"name": "two.sh", "rc": 1, "verdict": "failed", "reason": "it returned 1", "seconds": 0.1},
        {"name": "three.sh", "rc": None, "verdict": "passed", "reason": "", "seconds": 0.0},
        {"name": "four.sh", "rc": None, "verdict": "failed", "reason": "it does not exist", "seconds": 0.0},
        {"skipped": True},
    ]
    rows = command_checks(results, [{}, {"on_failure": "warn", "timeout": 9}, {}, {}, {}])
    assert [row["verdict"] for row in rows] == ["passed", "failed", "inconclusive", "failed", "inconclusive"]
    assert [row["decides"] for row in rows[:2]] == [True, False]
    assert (rows[1]["limit"], rows[1]["seen"]) == ("returns 0 within 9 s", "it returned 1")
