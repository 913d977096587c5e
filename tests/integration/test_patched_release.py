# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release with a patch on top, on real repositories: the same commit everywhere, or a refusal without a change."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.checkout import Options
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.former_state import undo_checkout
from ansible_collections.usdx.rollback.plugins.module_utils.git import Git
from ansible_collections.usdx.rollback.plugins.module_utils.patched_release import LIMIT, patch_at
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.verify import Checkout
from git_projects import Project, contents, git, make_project
from harness import call_module

FIX = """\
diff --git a/app.txt b/app.txt
--- a/app.txt
+++ b/app.txt
@@ -1 +1 @@
-1.0.2
+1.0.2, mended  \x20
diff --git a/new/auth.txt b/new/auth.txt
new file mode 100755
--- /dev/null
+++ b/new/auth.txt
@@ -0,0 +1 @@
+safe
"""
NEW_FILE = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{2}\n"
REFUSED = {
    "another file": (FIX.replace("-1.0.2", "-1.0.9"), "app.txt:1"),
    "a file that is not there": (FIX.replace("app.txt", "gone.txt"), "gone.txt"),
    "outside": (NEW_FILE.format("../outside", "100644", "x"), "outside"),
    "the repository": (NEW_FILE.format(".git/hooks/x", "100755", "x"), ".git/hooks/x"),
    "a link": (NEW_FILE.format("link", "120000", "/etc") + "\\ No newline at end of file\n", "link is a symbolic link"),
    "through a link": (
        NEW_FILE.format("link", "120000", "/etc") + "\\ No newline at end of file\n"
        + NEW_FILE.format("link/x", "100644", "x"),
        "link",
    ),
    "a submodule": (NEW_FILE.format("sub", "160000", f"Subproject commit {'a' * 40}"), "sub"),
    "the list of submodules": (NEW_FILE.format(".gitmodules", "100644", "[submodule]"), ".gitmodules"),
    "no patch": ("\x1b[31mhello\x00\n", "patch"),
    "nothing": ("", "patch"),
    "what is there already": (
        FIX.partition("diff --git a/new")[0].replace("+1.0.2, mended  \x20", "+1.0.2"), "nothing",
    ),
    "too much": ("x" * (LIMIT + 1), "bytes"),
}  # fmt: skip


def everything(tree: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file with mode and content, also of the repository.

    Not the times: Git gives an object a new one when it is asked to write it once more, also where it is borrowed.
    """
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in tree.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Make the repositories once."""
    return make_project(tmp_path_factory.mktemp("patched") / "template")


@pytest.fixture
def project(template: Project, tmp_path: Path) -> Project:
    """Give each test its own copy of the project directory; the remote stays as it is."""
    tree = tmp_path / "project"
    shutil.copytree(template.tree, tree, symlinks=True)
    return Project(template.remote, template.developer, tree, template.old, template.new)


@pytest.fixture
def fix(tmp_path: Path) -> dict[str, str]:
    """Return the options that name the patch."""
    path = tmp_path / "fix-auth.patch"
    path.write_text(FIX, encoding="utf-8")
    return {"patch": str(path)}


def test_check_real_check_again_real_again(project: Project, fix: dict[str, str]) -> None:
    options = {"path": str(project.tree), "version": "v1.0.2", "run_id": "r1", **fix}
    before = everything(project.tree)
    predicted = call_module("release_checkout", options, check=True)
    assert everything(project.tree) == before
    done = call_module("release_checkout", options)
    assert (predicted["changed"], done["changed"]) == (True, True), done.result
    for key in ("release", "before", "after", "undo", "leftovers", "package_version"):
        assert predicted[key] == done[key], key
    head = git(project.tree, "rev-parse", "HEAD")
    assert git(project.tree, "rev-parse", "HEAD^", "v1.0.2^{}").splitlines() == [project.old] * 2
    assert git(project.tree, "rev-parse", "refs/rollback/r1/patched") == head
    patch = {
        "name": "fix-auth.patch", "sha256": hashlib.sha256(FIX.encode()).hexdigest(), "base": project.old,
        "files": ["app.txt", "new/auth.txt"],
    }  # fmt: skip
    assert done["release"] == {
        "name": "v1.0.2", "number": "1.0.2", "tag": "v1.0.2", "commit": head, "date": "2024-12-10T00:00:00+00:00",
        "patch": patch,
    }  # fmt: skip
    assert done["after"] == {
        "commit": head, "describe": "v1.0.2 with patch fix-auth.patch", "release": "v1.0.2", "patch": patch,
    }  # fmt: skip
    assert contents(project.tree)["app.txt"] == "1.0.2, mended  \x20\n"
    assert (project.tree / "new/auth.txt").stat().st_mode & 0o100
    settled = everything(project.tree)
    assert call_module("release_checkout", options, check=True)["changed"] is False
    again = call_module("release_checkout", options)
    assert (again["changed"], again["before"]["release"], again["before"]["patch"]) == (False, "v1.0.2", patch)
    assert everything(project.tree) == settled


def test_the_tree_beside_is_the_same_commit_and_keeps_the_patch(
    project: Project, fix: dict[str, str], tmp_path: Path
) -> None:
    before, beside = everything(project.tree), str(tmp_path / "beside")
    made = project.checkout(state="prepared", destination=beside, **fix)
    assert everything(project.tree) == before
    assert contents(Path(beside))["app.txt"] == "1.0.2, mended  \x20\n"
    kept = Path(made["patch_file"])
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (FIX, 0o600)
    assert kept.is_relative_to(beside)
    assert project.checkout(state="prepared", destination=beside, **fix)["changed"] is False
    done = project.checkout(patch=str(kept), patch_name="fix-auth.patch", patched_commit=made["release"]["commit"])
    assert done["release"] == made["release"]
    assert git(project.tree, "rev-parse", "HEAD") == git(Path(beside), "rev-parse", "HEAD") == made["after"]["commit"]
    plain = project.checkout(state="prepared", destination=beside)
    assert (plain["changed"], plain["release"]["commit"], plain["patch_file"]) == (True, project.old, "")
    assert not kept.exists()


def test_the_same_patch_is_the_same_commit_whatever_the_configuration_of_git_says(
    project: Project, template: Project, fix: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{template.remote}", str(other))
    for name, value in (
        ("apply.whitespace", "fix"), ("apply.ignoreWhitespace", "change"), ("commit.gpgSign", "true"),
        ("i18n.commitEncoding", "latin1"), ("core.autocrlf", "true"), ("log.showSignature", "true"),
        ("user.name", "Somebody"),
    ):  # fmt: skip
        git(other, "config", name, value)
    there = Project(template.remote, template.developer, other, template.old, template.new)
    assert there.checkout(**fix)["release"] == project.checkout(**fix)["release"]


@pytest.mark.parametrize("kind", REFUSED)
def test_a_patch_that_does_not_fit_changes_nothing(project: Project, tmp_path: Path, kind: str) -> None:
    content, words = REFUSED[kind]
    path = tmp_path / "bad.patch"
    path.write_bytes(content.encode())
    before = everything(project.tree)
    with pytest.raises(RollbackError) as caught:
        project.checkout(patch=str(path))
    assert everything(project.tree) == before
    told = f"{caught.value.msg} {caught.value.next_step}"
    assert words in told
    assert "bad.patch" in told
    assert "Nothing was changed." in told
    assert told.isprintable()
    assert not (project.tree.parent / "outside").exists()


def test_what_names_no_patch_is_refused(project: Project, fix: dict[str, str], tmp_path: Path) -> None:
    before = everything(project.tree)
    for options, words in (
        ({"patch": str(tmp_path / "absent.patch")}, "absent.patch"),
        ({"patch": str(tmp_path)}, "is no file"),
        ({**fix, "patch_name": "two\nlines"}, "patch_name"),
        ({**fix, "patch_name": "../x"}, "patch_name"),
        ({**fix, "patched_commit": project.old}, f"not {project.old}"),
    ):  # fmt: skip
        with pytest.raises(RollbackError) as caught:
            project.checkout(state="prepared", destination=str(tmp_path / "beside"), **options)
        assert not (tmp_path / "beside").exists()
        assert words in f"{caught.value.msg} {caught.value.next_step}"
        assert everything(project.tree) == before


def test_a_fetched_release_is_patched_too(project: Project, fix: dict[str, str]) -> None:
    git(project.tree, "tag", "-d", "v1.0.2")
    predicted, done = project.checkout(check_mode=True, **fix), project.checkout(**fix)
    assert predicted["release"] == done["release"]
    assert git(project.tree, "rev-parse", "HEAD^", "v1.0.2^{}").splitlines() == [project.old] * 2


def test_undo_puts_back_what_was_before_and_a_patched_release_too(project: Project, fix: dict[str, str]) -> None:
    (project.tree / "app.txt").write_text("mine\n")
    files = contents(project.tree)
    patched = project.checkout(**fix)["after"]
    undo_checkout(Options(path=str(project.tree), undo="r1", run_id="u1"), run)
    assert contents(project.tree) == files
    put_back = undo_checkout(Options(path=str(project.tree), undo="u1", run_id="u2"), run)
    assert put_back["after"] == patched
    assert (put_back["release"]["tag"], put_back["release"]["patch"]) == ("v1.0.2", patched["patch"])
    assert git(project.tree, "status", "--porcelain") == ""
    beside = undo_checkout(Options(path=str(project.tree), undo="u1", run_id="u3", state="prepared"), run)
    assert beside["release"]["commit"] == patched["commit"]
    shutil.rmtree(beside["tree"])


def test_it_is_known_again_and_not_taken_for_the_release_itself(project: Project, fix: dict[str, str]) -> None:
    commit = project.checkout(**fix)["after"]["commit"]
    looked = Checkout(run, str(project.tree))
    assert looked.ask_tag("v1.0.2", commit).verdict == "passed"
    assert looked.ask_tag("v1.0.2", commit).seen == "HEAD is v1.0.2 with patch fix-auth.patch"
    assert looked.ask_tag("v1.0.3", commit).verdict == "failed"
    assert looked.ask_tag("v1.0.2").verdict == "failed", "nobody asked for a patch"
    tree = Git(str(project.tree), run)
    assert patch_at(tree, "HEAD~") is None
    git(project.tree, "tag", "-f", "v1.0.2", "v1.0.3")
    assert patch_at(tree, "HEAD") is None, "its parent is not the release that it names"


def forged(project: Project, message: str) -> Any:
    git(project.tree, "checkout", "--quiet", "v1.0.2")
    git(project.tree, "commit", "--quiet", "--allow-empty", "-m", message)
    return patch_at(Git(str(project.tree), run), "HEAD")


def test_a_commit_that_only_reads_like_one_is_none(project: Project) -> None:
    assert forged(project, f"Rollback-Release: v1.0.2\nRollback-Patch: x\nRollback-Patch-SHA256: {'0' * 64}") is None
