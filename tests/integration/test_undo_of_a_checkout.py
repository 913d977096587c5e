# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""release_checkout with undo, on real repositories: the tree is as it was before the run, to the last edit."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.checkout import Options
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.former_state import undo_checkout
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from git_projects import Project, commit, contents, digest, git, make_project
from harness import call_module, command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project directory with v1.0.3 on main, whose remote does not answer."""
    made = make_project(tmp_path)
    git(made.tree, "remote", "set-url", "origin", "/nonexistent")
    return made


def put_back(project: Project, of: str = "r1", by: str = "u1", runner: Any = run, **options: Any) -> dict[str, Any]:
    """Call the logic of the module."""
    return undo_checkout(Options(path=str(project.tree), undo=of, run_id=by, **options), runner)


def unchanged(project: Project, of: str = "r1", by: str = "u1") -> dict[str, Any]:
    """Undo where nothing is to be done, in check mode and really, and see that nothing was."""
    before = digest(project.tree)
    planned, done = put_back(project, of, by, check_mode=True), put_back(project, of, by)
    assert digest(project.tree) == before
    assert (planned, done["changed"]) == (done, False)
    return done


def state(tree: Path) -> tuple[Any, ...]:
    """Return all that an operator sees of a tree: files, modes, what is staged, HEAD."""
    modes = {name: (tree / name).lstat().st_mode & 0o100 for name in contents(tree)}
    return (
        contents(tree),
        modes,
        git(tree, "status", "--porcelain", "--untracked-files=all"),
        git(tree, "diff", "--cached", "--raw", "--no-renames"),
        git(tree, "rev-parse", "HEAD"),
        command("git", "-C", str(tree), "symbolic-ref", "--quiet", "HEAD", check=False),
    )


def work(tree: Path) -> None:
    """Make edits of every kind, and files that Git does not track: one in the way of v1.0.2, one not."""
    (tree / "app.txt").write_text("staged\n")
    (tree / "added.txt").write_text("added\n")
    git(tree, "add", "app.txt", "added.txt")
    git(tree, "rm", "--quiet", "migration.sql")
    git(tree, "rm", "--quiet", "--cached", "package.json")
    (tree / "app.txt").write_text("staged and edited\n")
    (tree / "keep.txt").unlink()
    (tree / "old").mkdir()
    (tree / "old/only.txt").write_text("mine\n")
    (tree / "old/only.txt").chmod(0o755)
    (tree / "notes.txt").write_text("note\n")


def test_check_real_check_again_real_again(project: Project) -> None:
    work(project.tree)
    before = state(project.tree)
    project.checkout(leftovers="remove")
    assert contents(project.tree)["old/only.txt"] == "old\n"
    options = {"path": str(project.tree), "undo": "r1", "run_id": "u1"}
    still = digest(project.tree)
    predicted = call_module("release_checkout", options, check=True)
    assert digest(project.tree) == still
    done = call_module("release_checkout", options)
    assert (predicted["changed"], done["changed"]) == (True, True), done.result
    for key in ("release", "before", "after", "undo", "package_version", "remote"):
        assert predicted[key] == done[key], key
    assert state(project.tree) == before
    assert done["release"] == {
        "name": "v1.0.3", "number": "1.0.3", "tag": "v1.0.3", "commit": project.new,
        "date": "2024-12-20T00:00:00+00:00",
    }  # fmt: skip
    assert done["after"] == {"commit": project.new, "describe": "v1.0.3", "release": "v1.0.3"}
    assert (done["before"]["release"], done["package_version"]) == ("v1.0.2", "1.0.3")
    assert "warnings" not in done.result
    assert done["remote"] == {"name": "origin", "answered": False, "commit": None}
    settled = digest(project.tree)
    assert call_module("release_checkout", options, check=True)["changed"] is False
    assert call_module("release_checkout", options)["changed"] is False
    assert digest(project.tree) == settled


def test_a_detached_head_stays_one(project: Project) -> None:
    git(project.tree, "checkout", "--quiet", "--detach", "v1.0.3")
    before = state(project.tree)
    project.checkout()
    planned = put_back(project, check_mode=True)
    done = put_back(project)
    assert planned == done
    assert "branch: none" in done["diff"]["after"]
    assert state(project.tree) == before
    unchanged(project)


def test_a_branch_that_went_on_is_not_checked_out(project: Project) -> None:
    project.checkout()
    git(project.tree, "branch", "--force", "main", "v1.0.1")
    done = put_back(project)
    assert "The branch main is at" in done["warnings"][0]
    assert project.new[:12] in done["warnings"][0]
    assert git(project.tree, "rev-parse", "HEAD") == project.new
    assert git(project.tree, "branch", "--show-current") == ""
    unchanged(project)
    git(project.tree, "branch", "--delete", "--force", "main")
    assert "is gone" in unchanged(project)["warnings"][0]


def test_a_commit_without_a_tag_is_named_in_words(project: Project) -> None:
    newest = commit(project.tree, "hot fix", "2024-12-21T00:00:00Z", app_dot_txt="fix\n")
    project.checkout()
    done = put_back(project)
    name = git(project.tree, "describe", "--tags", newest)
    assert {key: done["release"][key] for key in ("name", "number", "tag", "commit")} == {
        "name": name, "number": None, "tag": None, "commit": newest,
    }  # fmt: skip
    assert done["after"] == {"commit": newest, "describe": name, "release": None}


@pytest.mark.parametrize("state_wanted", ["checked_out", "prepared"])
def test_a_run_that_changed_nothing_is_not_undone(project: Project, state_wanted: str) -> None:
    work(project.tree)
    before = digest(project.tree)
    done = put_back(project, state=state_wanted)
    assert digest(project.tree) == before
    assert done["after"] == {key: done["before"][key] for key in ("commit", "describe", "release")}
    assert done["release"]["commit"] == project.new
    if state_wanted == "checked_out":
        assert done["changed"] is False
        return
    assert contents(project.tree.parent / done["tree"])["app.txt"] == "staged and edited\n"
    assert {"added.txt", "keep.txt", "migration.sql"} & set(contents(project.tree.parent / done["tree"])) == {
        "added.txt"
    }
    shutil.rmtree(done["tree"])


def test_malformed_names_are_refused_before_anything(project: Project) -> None:
    before = digest(project.tree)
    for options in ({"of": "../x"}, {"of": "-x"}, {"of": ""}, {"by": "a/b"}, {"of": "u1", "by": "u1"}):
        with pytest.raises(RollbackError, match="Nothing was changed"):
            put_back(project, **options)
    for options in ({}, {"version": "v1.0.2", "undo": "r1"}):
        done = call_module("release_checkout", {"path": str(project.tree), **options})
        assert done.failed
        assert "version" in done["msg"]
        assert "undo" in done["msg"]
    assert digest(project.tree) == before


def test_what_was_edited_since_is_saved_and_the_undo_is_undone(project: Project) -> None:
    tree = project.tree
    work(tree)
    before = state(tree)
    project.checkout()
    (tree / "app.txt").write_text("edited under 1.0.2\n")
    (tree / "added.txt").write_text("in the way of the file that was staged\n")
    since = state(tree)
    with pytest.raises(RollbackError, match=r"has local edits: app\.txt"):
        put_back(project, local_edits="fail")
    done = put_back(project)
    assert state(tree) == before
    assert (done["local_edits"]["files"], done["leftovers"]["removed"]) == (["app.txt"], ["added.txt"])
    assert git(tree, "show", "refs/rollback/u1/local-edits:app.txt") == "edited under 1.0.2"
    assert not put_back(project, local_edits="fail")["changed"]

    again = put_back(project, of="u1", by="u2")
    assert again["changed"]
    assert state(tree) == since
    assert again["after"]["release"] == "v1.0.2"
    unchanged(project, of="u1", by="u2")
    assert put_back(project, of="u2", by="u3")["changed"]
    assert state(tree) == before


def test_the_commands_undo_the_undo(project: Project) -> None:
    work(project.tree)
    project.checkout()
    (project.tree / "app.txt").write_text("edited under 1.0.2\n")
    before = state(project.tree)
    for line in put_back(project)["undo"]:
        command("sh", "-ec", line)
    assert state(project.tree) == before


def test_the_tree_beside_has_the_edits_and_the_files(project: Project) -> None:
    tree, destination = project.tree, project.tree.parent / "prepared"
    work(tree)
    (tree / ".env").write_text("A=1\n")
    before = contents(tree)
    project.checkout(leftovers="remove")
    (tree / ".env").write_text("A=2\n")
    still = digest(tree)
    options = {"path": str(tree), "undo": "r1", "run_id": "u1", "state": "prepared", "destination": str(destination)}
    made = call_module("release_checkout", options, check=True)
    assert (made["changed"], made["copied"], made["after"]["release"]) == (True, [".env"], "v1.0.3")
    assert contents(destination) == {**before, ".env": "A=2\n"}
    assert git(destination, "diff", "--cached", "--name-only").split() == [
        "added.txt", "app.txt", "migration.sql", "package.json",
    ]  # fmt: skip
    assert call_module("release_checkout", options)["changed"] is False
    (destination / "app.txt").write_text("damaged\n")
    assert call_module("release_checkout", options)["changed"] is True
    assert contents(destination)["app.txt"] == "staged and edited\n"
    assert digest(tree) == still
    project.checkout(state="prepared", destination=str(destination), version="v1.0.3")
    assert contents(destination)["app.txt"] == "1.0.3\n"


def test_a_plan_of_a_run_that_was_cut_off_tells_what_was_before_it(project: Project) -> None:
    (project.tree / "app.txt").write_text("edited\n")
    first = project.checkout(check_mode=True)["before"]
    project.checkout()
    options: dict[str, Any] = {"state": "prepared", "destination": str(project.tree.parent / "prepared")}
    assert project.checkout(**options)["before"] == first
    assert project.checkout(run_id="r2", **options)["before"]["release"] == "v1.0.2"
    assert put_back(project, by="r1x", **options)["before"]["release"] == "v1.0.2"
    put_back(project, by="u1")
    assert put_back(project, by="u1", **options)["before"]["release"] == "v1.0.2"


def test_submodules_are_where_they_were(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    tree, library = project.tree, project.tree.parent / "library"
    library.mkdir()
    git(library, "init", "--quiet", "--initial-branch=main")
    one = commit(library, "one", "2024-12-01T00:00:00Z", lib_dot_txt="one\n")
    two = commit(library, "two", "2024-12-02T00:00:00Z", lib_dot_txt="two\n")
    git(tree, "submodule", "--quiet", "add", str(library), "lib")
    commit(tree, "with library", "2024-12-22T00:00:00Z")
    git(tree, "tag", "v2.0.1")
    git(tree / "lib", "checkout", "--quiet", one)
    commit(tree, "older library", "2024-12-23T00:00:00Z")
    git(tree, "tag", "v2.0.2")
    git(tree / "lib", "checkout", "--quiet", two)  # neither staged nor what the commit says
    project.checkout(version="v2.0.1")
    git(tree / "lib", "checkout", "--quiet", one)
    library.rename(library.with_name("gone"))
    assert put_back(project)["changed"]
    assert git(tree / "lib", "rev-parse", "HEAD") == two
    assert git(tree, "describe", "--tags") == "v2.0.2"
    unchanged(project)
    assert put_back(project, of="u1", by="u2")["changed"]
    assert (git(tree / "lib", "rev-parse", "HEAD"), git(tree, "describe", "--tags")) == (one, "v2.0.1")


# What git and rm are asked when something is written; between two of them there is nothing to be half done.
WRITING = {
    "create", "update-ref", "symbolic-ref", "hash-object", "update-index", "write-tree", "commit-tree", "rm",
    "checkout", "restore", "read-tree",
}  # fmt: skip


class KilledError(Exception):
    """The run ended here."""


def run_until(limit: int, calls: list[list[str]]) -> Any:
    """Return a ``run`` that ends the run before its call number ``limit``."""

    def limited(argv: list[str], **options: Any) -> tuple[int, str, str]:
        calls.append(argv)
        if len(calls) > limit:
            raise KilledError
        return run(argv, **options)

    return limited


@pytest.mark.long
def test_killed_between_any_two_calls_it_finishes(project: Project) -> None:
    """Killed at each point, the next call with the same run id finishes, and its undo gives the same as ever."""
    tree, pristine = project.tree, project.tree.parent / "pristine"
    work(tree)
    before = state(tree)
    project.checkout()
    (tree / "app.txt").write_text("edited under 1.0.2\n")
    (tree / "added.txt").write_text("in the way\n")
    since = state(tree)
    shutil.copytree(tree, pristine, symlinks=True)
    calls: list[list[str]] = []
    put_back(project, runner=run_until(10_000, calls))
    writes = [number for number, argv in enumerate(calls) if WRITING & set(argv)]
    for limit in [*writes, writes[-1] + 1]:
        shutil.rmtree(tree)
        shutil.copytree(pristine, tree, symlinks=True)
        with pytest.raises(KilledError):
            put_back(project, runner=run_until(limit, []))
        put_back(project)
        assert state(tree) == before, calls[limit]
        assert not put_back(project)["changed"], calls[limit]
        assert put_back(project, of="u1", by="u2")["changed"], calls[limit]
        assert state(tree) == since, calls[limit]
    assert {word for number in writes for word in WRITING & set(calls[number])} == WRITING


@pytest.mark.parametrize("done", [["app.txt"], ["added.txt"], ["app.txt", "added.txt"]])
def test_cut_off_while_git_applied_the_edits(project: Project, done: list[str]) -> None:
    """Files half applied, not staged yet, are not taken for work of the operator."""
    work(project.tree)
    before = state(project.tree)
    project.checkout()
    since = state(project.tree)

    def stopping(argv: list[str], **options: Any) -> tuple[int, str, str]:
        if "read-tree" in argv:
            for name in done:
                (project.tree / name).write_text(before[0][name])
            raise KilledError
        return run(argv, **options)

    with pytest.raises(KilledError):
        put_back(project, runner=stopping)
    put_back(project)
    assert state(project.tree) == before
    put_back(project, of="u1", by="u2")
    assert {name: text for name, text in state(project.tree)[0].items() if name != "added.txt"} == since[0]


def test_an_undo_that_fails_says_how_to_go_back(project: Project) -> None:
    work(project.tree)
    project.checkout()
    since = state(project.tree)

    def failing(argv: list[str], **options: Any) -> tuple[int, str, str]:
        return (128, "", "fatal: No space left on device") if "read-tree" in argv else run(argv, **options)

    with pytest.raises(RollbackError, match="No space left on device") as caught:
        put_back(project, runner=failing)
    for line in caught.value.facts["undo"]:
        command("sh", "-ec", line)
    assert state(project.tree) == since
