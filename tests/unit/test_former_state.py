# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run saved of a tree, read back and compared with what is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import saved_work
from ansible_collections.usdx.rollback.plugins.module_utils.former_state import differing, read_former
from ansible_collections.usdx.rollback.plugins.module_utils.git import Git
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from git_projects import commit, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a repository with one commit."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path, "first", "2024-12-01T00:00:00Z", a="a", b="b", c="c")
    return tmp_path


def saved(tree: Path, run_id: str = "r") -> Git:
    """Save edits, the file 'free' and the position, as a run does; return the tree."""
    project = Git(str(tree), run)
    if git(tree, "status", "--porcelain", "--untracked-files=no"):
        saved_work.save_edits(project, run_id)
    if (tree / "free").exists():
        saved_work.save_files(project, run_id, ["free"])
    saved_work.save_position(project, run_id, project.head() or "", project.branch())
    return project


def test_a_run_without_a_position_saved_nothing_that_counts(tree: Path) -> None:
    (tree / "a").write_text("edited")
    saved_work.save_edits(Git(str(tree), run), "r")
    assert read_former(Git(str(tree), run), "r") is None


def test_every_difference_is_seen(tree: Path) -> None:
    (tree / "a").write_text("edited")
    (tree / "b").write_text("staged")
    git(tree, "add", "b")
    git(tree, "rm", "--quiet", "--cached", "c")
    (tree / "free").write_text("free")
    project = saved(tree)
    former = read_former(project, "r")
    assert former is not None
    assert (former.branch, former.warnings, list(former.files)) == ("main", (), ["free"])
    assert differing(project, former) == []
    os.utime(tree / "b", (1, 1))
    assert differing(project, former) == [], "another time stamp is no difference"
    for name, text in (("a", "a"), ("b", "other"), ("c", "other"), ("free", "other")):
        before = (tree / name).read_text()
        (tree / name).write_text(text)
        assert differing(project, former) == [name]
        (tree / name).unlink()
        assert differing(project, former) == [name]
        (tree / name).write_text(before)
    (tree / "a").chmod(0o755)
    assert differing(project, former) == ["a"]
    (tree / "a").chmod(0o644)
    git(tree, "add", "a")
    assert differing(project, former) == ["a"], "it was not staged"
    git(tree, "reset", "--quiet", "a")
    git(tree, "switch", "--quiet", "--create", "other")
    assert differing(project, former) == ["HEAD"]


def test_what_looks_like_edits_after_the_position_is_not_the_operators(tree: Path) -> None:
    project = saved(tree)
    (tree / "a").write_text("half switched")
    assert saved_work.save_edits(project, "r") == "refs/rollback/r/local-edits-2"
    assert saved_work.save_edits(project, "r") == "refs/rollback/r/local-edits-2"
    (tree / "a").write_text("switched a little more")
    assert saved_work.save_edits(project, "r") == "refs/rollback/r/local-edits-3"
    former = read_former(project, "r")
    assert former is not None
    assert former.edits is None


def test_a_branch_that_is_checked_out_elsewhere(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    project = saved(tree)
    git(tree, "checkout", "--quiet", "--detach")
    former = read_former(project, "r")
    assert former is not None
    assert former.branch == "main"
    place = tmp_path_factory.mktemp("worktree") / "place"
    git(tree, "worktree", "add", "--quiet", str(place), "main")
    former = read_former(project, "r")
    assert former is not None
    assert former.branch is None
    assert f"is checked out in {place}" in former.warnings[0]


@pytest.mark.parametrize("name", ["plain", ":(top)x", "*", "a b\n", "-rf"])
def test_odd_names_come_back(tree: Path, name: str) -> None:
    (tree / name).write_text("free")
    project = Git(str(tree), run)
    saved_work.save_files(project, "r", [name])
    saved_work.save_position(project, "r", project.head() or "", "main")
    (tree / name).unlink()
    former = read_former(project, "r")
    assert former is not None
    assert differing(project, former) == [name]
    saved_work.put_back_files(project, former.files)
    assert differing(project, former) == []


def test_a_link_and_its_target_as_a_text_are_not_the_same(tree: Path) -> None:
    (tree / "free").symlink_to("a")
    project = saved(tree)
    former = read_former(project, "r")
    assert former is not None
    assert differing(project, former) == []
    (tree / "free").unlink()
    (tree / "free").write_text("a")
    assert differing(project, former) == ["free"]
