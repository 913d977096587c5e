# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""environment_file through Ansible: check, real, check again, real again; then the file is looked at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness import Outcome, call_module

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "# the release\nAPP_VERSION='1.0.3'\nPOSTGRES_PASSWORD=a=b'c $x\n\nLAST=1"
AFTER = TEXT.replace("APP_VERSION='1.0.3'", "APP_VERSION=1.0.2") + "\nIMAGE=registry:5000/webapp@1\n"
VARIABLES = {"APP_VERSION": "1.0.2", "IMAGE": "registry:5000/webapp@1"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give an environment file that only its owner and a group may read."""
    file = tmp_path / "release.env"
    file.write_text(TEXT)
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    return file


def facts(file: Path) -> tuple[str, int, int, int, list[str]]:
    """Return content, mode, owner, group, and what stands in the folder."""
    status = file.stat()
    names = sorted(path.name for path in file.parent.iterdir())
    return file.read_text(), status.st_mode & 0o7777, status.st_uid, status.st_gid, names


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Check that the module failed, names these words, and says what to do."""
    assert outcome.failed
    assert all(word in outcome["msg"] for word in words), outcome["msg"]
    assert outcome["next_step"]


def test_check_real_check_real(file: Path) -> None:
    """Only the named variables change; owner, group, mode and every other line stay."""
    options = {"path": str(file), "variables": VARIABLES}
    before = facts(file)
    inode = file.stat().st_ino
    foreseen = call_module("environment_file", options, check=True)
    assert (foreseen.failed, foreseen["changed"], facts(file), file.stat().st_ino) == (False, True, before, inode)

    done = call_module("environment_file", options)
    assert (done.failed, done["changed"], done["before"]) == (False, True, {"APP_VERSION": "1.0.3", "IMAGE": None})
    assert done["after"] == VARIABLES
    assert all(done[key] == foreseen[key] for key in ("before", "after"))
    assert "POSTGRES_PASSWORD" not in str(done.result) + str(foreseen.result)  # other lines may hold secrets
    assert facts(file) == (AFTER, *before[1:])

    inode = file.stat().st_ino
    for check in (True, False):
        again = call_module("environment_file", options, check=check)
        assert (again.failed, again["changed"], again["before"], again["after"]) == (False, False, VARIABLES, VARIABLES)
        assert (facts(file), file.stat().st_ino) == ((AFTER, *before[1:]), inode)


def test_what_was_not_set_is_taken_out_again(file: Path) -> None:
    """What one call gives as before, another call takes as its variables, and the file is as it was."""
    before = facts(file)
    done = call_module("environment_file", {"path": str(file), "variables": {**VARIABLES, "LAST": "2"}})
    back = {"path": str(file), "variables": done["before"]}
    changed = facts(file)
    foreseen = call_module("environment_file", back, check=True)
    assert (foreseen["changed"], facts(file)) == (True, changed)
    undone = call_module("environment_file", back)
    assert (undone["changed"], undone["before"], undone["after"]) == (True, done["after"], done["before"])
    assert undone["after"]["IMAGE"] is None
    assert all(undone[key] == foreseen[key] for key in ("before", "after"))
    assert facts(file) == (TEXT.replace("'", "", 2) + "\n", *before[1:])  # without the quotes of 1.0.3
    for check in (True, False):
        assert call_module("environment_file", back, check=check)["changed"] is False


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("variables", [{"APP_VERSION": "1.0.2\nPOSTGRES_PASSWORD=x"}, {"A B": "1"}, {"A": "$(id)"}])
def test_a_value_that_is_not_plain_is_refused(file: Path, variables: dict[str, str], check: bool) -> None:  # noqa: FBT001
    """Nothing of a refused call is written, also not the variables that were good."""
    before = facts(file)
    outcome = call_module("environment_file", {"path": str(file), "variables": {"GOOD": "1", **variables}}, check=check)
    assert_refused(outcome, "variables", "Nothing was changed")
    assert facts(file) == before


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_file_is_not_made(tmp_path: Path, check: bool) -> None:  # noqa: FBT001
    """A typing error in the path must not make a second file that nothing reads."""
    path = tmp_path / ".env"
    outcome = call_module("environment_file", {"path": str(path), "variables": VARIABLES}, check=check)
    assert_refused(outcome, str(path), "Nothing was changed")
    assert list(tmp_path.iterdir()) == []
