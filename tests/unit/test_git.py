# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The git command line: what it prints, and what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import release_tree
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.git import (
    Git,
    Identity,
    Status,
    failure_reason,
    parse_status,
    plain_date,
)
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from git_projects import commit, git, make_project

if TYPE_CHECKING:
    from pathlib import Path

# git 2.39.5: an edit, a staged removal, git add -N, two submodules, a conflict, an untracked file.
STATUS = (
    "1 .M N... 100644 100644 100644 aa aa a file.txt\0"
    "1 D. N... 100644 000000 000000 aa 00 gone\0"
    "1 .A N... 000000 000000 100644 00 00 later\0"
    "1 .M SC.. 160000 160000 160000 aa aa lib\0"
    "1 .M S.M. 160000 160000 160000 aa aa other lib\0"
    "u UU N... 100644 100644 100644 100644 aa bb cc both sides.txt\0"
    "? new\nline.txt\0"
)


def test_status() -> None:
    """Names with blanks and line ends are whole; submodules are apart from files."""
    assert parse_status(STATUS) == Status(
        edited=["a file.txt", "gone", "later"],
        unmerged=["both sides.txt"],
        intended=["later"],
        untracked=["new\nline.txt"],
        submodules_moved=["lib"],
        submodules_edited=["other lib"],
    )


def test_empty_status() -> None:
    """A clean tree prints nothing."""
    assert parse_status("") == Status([], [], [], [], [], [])


@pytest.mark.parametrize(
    ("code", "text", "timeout", "said"),
    [
        (124, "", 5, "no answer within 5 s"),
        (124, "", None, "return code 124"),
        (128, "hint: x\nfatal: no such remote\n", None, "fatal: no such remote"),
        (1, "said something\n", 5, "said something"),
    ],
)
def test_failure_reason(code: int, text: str, timeout: float | None, said: str) -> None:
    """The telling line is found."""
    assert failure_reason(code, text, timeout) == said


def test_dates() -> None:
    """Old and new git write UTC differently."""
    assert plain_date("2024-12-10T00:00:00Z") == plain_date("2024-12-10T00:00:00+00:00")


def test_tags_history_and_words(tmp_path: Path) -> None:
    """Tags come newest first, of one date the higher version first; other names are left out."""
    project = make_project(tmp_path)
    for name in ("v1.0.10", "v1.0.9"):
        git(project.tree, "tag", name, "v1.0.3^{commit}")
    git(project.tree, "tag", "team/thing")
    git(project.tree, "tag", "a-file", "HEAD:app.txt")
    tree = Git(str(project.tree), run)
    tags = tree.tags()
    assert [tag.name for tag in tags] == ["v1.0.10", "v1.0.9", "v1.0.3", "v1.0.2", "v1.0.1"]
    assert (tags[3].commit, tags[3].date) == (project.old, "2024-12-10T00:00:00+00:00")
    assert (tags[3].subject, tags[4].subject) == ("release 1.0.2", "first")
    assert tree.is_ancestor(project.old, project.new)
    assert not tree.is_ancestor(project.new, project.old)
    assert (tree.head(), tree.describe(project.old)) == (project.new, "v1.0.2")
    assert tree.release_at(project.new) == "v1.0.10"


def test_no_commit_and_no_tags(tmp_path: Path) -> None:
    """An empty repository has answers, not errors."""
    git(tmp_path, "init", "--quiet")
    tree = Git(str(tmp_path), run)
    assert (tree.head(), tree.tags(), tree.describe(), tree.branch() is None) == (None, [], None, False)


def test_a_failure_names_the_command(tmp_path: Path) -> None:
    """The message holds what git said, and the command as it can be typed."""
    git(tmp_path, "init", "--quiet")
    tree = Git(str(tmp_path), run, Identity(1, 1, settings=("safe.directory=/a b",)))
    with pytest.raises(RollbackError) as caught:
        tree.call("show", "no-such-thing")
    assert "fatal: ambiguous argument" in caught.value.msg
    assert "-c 'safe.directory=/a b' show no-such-thing" in caught.value.next_step


def test_untracked_files_by_pattern(tmp_path: Path) -> None:
    """A pattern without a slash matches at any depth, one with a slash from the top, and none is Git magic."""
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, "one", "2024-12-01T00:00:00Z", tracked_dot_env="x")
    (tmp_path / ".gitignore").write_text("*.env\n")
    for name in ("a.env", "deep/er/b.env", "conf/c.txt", "deep/conf/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    tree = Git(str(tmp_path), run)
    assert release_tree.untracked_files(tree, ("*.env",)) == ["a.env", "deep/er/b.env"]
    assert release_tree.untracked_files(tree, ("conf/*",)) == ["conf/c.txt"]
    assert release_tree.untracked_files(tree, (":(exclude)x",)) == []
    assert release_tree.untracked_files(tree, ()) == []


@pytest.mark.parametrize("name", ["project", "line\nfeed"])
def test_paths_inside_the_repository(tmp_path: Path, name: str) -> None:
    """Several paths with one call are what each call alone returns, also in a worktree, whose paths are absolute."""
    main = tmp_path / name
    main.mkdir()
    git(main, "init", "--quiet")
    commit(main, "first", "2024-12-01T09:00:00Z", file="text\n")
    git(main, "worktree", "add", "--quiet", "--detach", str(tmp_path / "beside"))
    for tree in (main, tmp_path / "beside"):
        project = Git(str(tree), run)
        names = ("MERGE_HEAD", "index.lock", "objects")
        assert project.git_paths(*names) == [project.git_path(one) for one in names]
        assert project.git_path("index.lock").endswith("index.lock")
