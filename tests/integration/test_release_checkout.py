# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""release_checkout on real repositories."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.checkout import Options, release_checkout
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from git_projects import Project, commit, contents, digest, git, make_project
from harness import call_module, command

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITS = "refs/rollback/r1/local-edits"
UNTRACKED = "refs/rollback/r1/untracked"
NOBODY = 65534


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """Make the repositories once; folders that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="usdx-b-") as name:
        Path(name).chmod(0o755)
        make_project(Path(name) / "template")
        yield Path(name)


@pytest.fixture
def project(template: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """Give each test its own copy."""
    folder = template / f"t{abs(hash(request.node.nodeid))}"
    shutil.copytree(template / "template", folder, symlinks=True)
    made = Project(folder / "origin.git", folder / "developer", folder / "project", "", "")
    for tree in (made.developer, made.tree):
        git(tree, "remote", "set-url", "origin", str(made.remote))
    old, new = git(made.tree, "rev-parse", "v1.0.2^{commit}"), git(made.tree, "rev-parse", "v1.0.3^{commit}")
    yield Project(made.remote, made.developer, made.tree, old, new)
    shutil.rmtree(folder)


def refused(project: Project, **options: Any) -> RollbackError:
    """Expect a refusal that leaves the project directory as it was, to the last time stamp."""
    before = digest(project.tree)
    with pytest.raises(RollbackError) as caught:
        project.checkout(**options)
    assert digest(project.tree) == before
    assert caught.value.next_step
    return caught.value


def undo(result: dict[str, Any]) -> None:
    """Type what the result says."""
    for line in result["undo"]:
        command("sh", "-ec", line, GIT_ALLOW_PROTOCOL="file")


def edit(tree: Path) -> None:
    """Make edits: one staged and then edited again, one staged new file, one staged removal, one not staged."""
    (tree / "app.txt").write_text("staged\n")
    (tree / "added.txt").write_text("added\n")
    git(tree, "add", "app.txt", "added.txt")
    git(tree, "rm", "--quiet", "migration.sql")
    (tree / "app.txt").write_text("staged and edited\n")
    (tree / "keep.txt").write_text("edited\n")


def test_check_real_check_again_real_again(project: Project) -> None:
    """The cycle through Ansible: check mode predicts, the first call changes, the others do not."""
    options = {"path": str(project.tree), "version": "1.0.2", "run_id": "r1"}
    before = digest(project.tree)
    predicted = call_module("release_checkout", options, check=True)
    assert digest(project.tree) == before
    done = call_module("release_checkout", options)
    assert (predicted["changed"], done["changed"]) == (True, True), done.result
    for key in ("release", "before", "after", "undo", "leftovers", "package_version"):
        assert predicted[key] == done[key], key
    assert git(project.tree, "rev-parse", "HEAD") == project.old
    assert contents(project.tree)["app.txt"] == "1.0.2\n"
    assert done["release"] == {
        "name": "1.0.2", "number": "1.0.2", "tag": "v1.0.2", "commit": project.old, "date": "2024-12-10T00:00:00+00:00",
    }  # fmt: skip
    assert done["package_version"] == "1.0.2"
    assert done["after"] == {"commit": project.old, "describe": "v1.0.2", "release": "v1.0.2"}
    settled = digest(project.tree)
    assert call_module("release_checkout", options, check=True)["changed"] is False
    assert call_module("release_checkout", options)["changed"] is False
    assert digest(project.tree) == settled


def test_since_when_a_commit_is_checked_out(project: Project) -> None:
    def since() -> str:
        return str(project.checkout(check_mode=True)["before"]["since"])

    first = since()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", first)
    later = {"GIT_COMMITTER_DATE": "2099-01-01T00:00:00Z"}
    command("git", "-C", str(project.tree), "checkout", "--detach", "HEAD", **later)
    assert since() == first, "the same commit, checked out once more"
    command("git", "-C", str(project.tree), "checkout", project.old, **later)
    assert since().startswith("2099-01-01T00:00:00")


def test_refusal_through_ansible(project: Project) -> None:
    """A refusal is one message with a way out, not a traceback."""
    done = call_module("release_checkout", {"path": str(project.tree), "version": "v9.9.9"})
    assert done.failed
    assert "v9.9.9 has no tag" in done["msg"]
    assert "v1.0.3, v1.0.2, v1.0.1" in done["next_step"]


def test_edits_and_untracked_files_are_saved_and_come_back(project: Project) -> None:
    """Edits, staged and not, and files in the way are kept; the undo commands put back all of them."""
    tree = project.tree
    edit(tree)
    (tree / "old").mkdir()
    (tree / "old/only.txt").write_text("mine\r\n")
    (tree / "notes.txt").write_text("note\n")
    files, status = contents(tree), git(tree, "status", "--porcelain")
    done = project.checkout()
    assert sorted(done["local_edits"]["files"]) == ["added.txt", "app.txt", "keep.txt", "migration.sql"]
    assert done["local_edits"]["ref"] == EDITS
    assert done["leftovers"] == {"files": ["notes.txt"], "count": 1, "removed": ["old/only.txt"], "ref": UNTRACKED}
    assert contents(tree)["old/only.txt"] == "old\n"
    assert git(tree, "status", "--porcelain") == "?? notes.txt"
    assert project.checkout()["changed"] is False
    undo(done)
    assert contents(tree) == files
    assert git(tree, "status", "--porcelain") == status
    assert git(tree, "symbolic-ref", "--short", "HEAD") == "main"


def test_edits_are_handled_when_head_is_right(project: Project) -> None:
    """A tree on the right commit but with edits is not the release."""
    (project.tree / "app.txt").write_text("hot fix\n")
    done = project.checkout(version="v1.0.3")
    assert done["changed"] is True
    assert git(project.tree, "show", f"{EDITS}:app.txt") == "hot fix"
    assert contents(project.tree)["app.txt"] == "1.0.3\n"


def test_leftovers_removed_are_saved(project: Project) -> None:
    """Untracked files go when asked; environment files and ignored ones stay."""
    tree = project.tree
    for name in ("notes.txt", "x.env", "trace.log"):
        (tree / name).write_text(name)
    (tree / "dir/deep").mkdir(parents=True)
    (tree / "dir/deep/link").symlink_to("nowhere")
    done = project.checkout(leftovers="remove")
    assert done["leftovers"]["removed"] == ["dir/deep/link", "notes.txt"]
    assert done["leftovers"]["files"] == ["x.env"]
    assert not (tree / "dir").exists()
    assert (tree / "trace.log").exists()
    undo(done)
    assert (tree / "notes.txt").read_text() == "notes.txt"
    assert str((tree / "dir/deep/link").readlink()) == "nowhere"


def test_ignored_folder_in_place_of_a_file_is_saved(project: Project) -> None:
    """What is ignored is saved too when the release has a file in its place."""
    folder = project.tree / "old"
    folder.write_text("a file where the release has a folder")
    assert project.checkout()["leftovers"]["removed"] == ["old"]
    git(project.developer, "checkout", "--quiet", "v1.0.2")
    commit(project.developer, "log", "2024-12-12T00:00:00Z", x="1")
    (project.developer / "trace.log").write_text("tracked")
    git(project.developer, "add", "--force", "trace.log")
    commit(project.developer, "log", "2024-12-12T00:00:00Z", y="1")
    git(project.developer, "tag", "v1.0.2.1")
    git(project.developer, "push", "--quiet", "origin", "v1.0.2.1")
    (project.tree / "trace.log").mkdir()
    (project.tree / "trace.log/inner").write_text("precious")
    (project.tree / "trace.log/inner").chmod(0o600)
    done = project.checkout(version="v1.0.2.1", run_id="r2")
    assert done["leftovers"]["removed"] == ["trace.log/inner"]
    assert git(project.tree, "show", "refs/rollback/r2/untracked:trace.log/inner") == "precious"
    blob = git(project.tree, "rev-parse", "refs/rollback/r2/untracked:trace.log/inner")
    assert (project.tree / ".git/objects" / blob[:2] / blob[2:]).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("annotated", [True, False])
def test_missing_tag_is_fetched_alone(project: Project, annotated: bool) -> None:  # noqa: FBT001
    """Check mode knows the release without fetching into the project; the real call fetches the one tag."""
    tree = project.tree
    git(tree, "tag", "--delete", "v1.0.1", "v1.0.2", "v1.0.3")
    if not annotated:
        git(project.developer, "tag", "--force", "v1.0.2", "v1.0.2^{commit}")
        git(project.developer, "push", "--quiet", "--force", "origin", "v1.0.2")
    before = digest(tree)
    predicted = project.checkout(check_mode=True)
    assert digest(tree) == before
    assert (predicted["fetched"], predicted["after"]["release"]) == (True, "v1.0.2")
    done = project.checkout()
    assert done["fetched"] is True
    assert git(tree, "tag") == "v1.0.2"
    assert git(tree, "rev-parse", "HEAD") == project.old


def test_shallow_clone(project: Project) -> None:
    """A clone of depth 1 gets the tag, and stays shallow."""
    shutil.rmtree(project.tree)
    command("git", "clone", "--quiet", "--depth=1", f"file://{project.remote}", str(project.tree))
    assert not git(project.tree, "cat-file", "--batch-check", "--batch-all-objects").count(project.old)
    destination = project.tree.parent / "prepared"
    before = digest(project.tree)
    project.checkout(state="prepared", destination=str(destination))
    assert digest(project.tree) == before
    assert contents(destination)["app.txt"] == "1.0.2\n"
    assert project.checkout(check_mode=True)["package_version"] == "1.0.2"
    assert digest(project.tree) == before
    assert project.checkout()["after"]["release"] == "v1.0.2"
    assert git(project.tree, "rev-parse", "--is-shallow-repository") == "true"


def move_tag(project: Project) -> str:
    """Let the developer move v1.0.2 at the remote."""
    git(project.developer, "checkout", "--quiet", "v1.0.1")
    moved = commit(project.developer, "other", "2024-12-11T00:00:00Z", app_dot_txt="moved\n")
    git(project.developer, "tag", "--force", "-a", "-m", "again", "v1.0.2")
    git(project.developer, "push", "--quiet", "--force", "origin", "v1.0.2")
    return moved


def test_moved_tag(project: Project) -> None:
    """A moved tag is refused with both commits; the pin decides; the local tag stays."""
    moved = move_tag(project)
    error = refused(project)
    assert error.facts["commits"] == [project.old, moved]
    assert "was moved" in error.msg
    assert "matches no tag" in refused(project, commit=project.new).msg
    tag = git(project.tree, "rev-parse", "v1.0.2")
    assert project.checkout(commit=project.old[:7], run_id="r2")["after"]["commit"] == project.old
    before = digest(project.tree)
    assert project.checkout(commit=moved[:9].upper(), run_id="r3", check_mode=True)["fetched"] is True
    assert digest(project.tree) == before
    done = project.checkout(commit=moved, run_id="r3")
    assert (done["after"]["commit"], contents(project.tree)["app.txt"]) == (moved, "moved\n")
    assert git(project.tree, "rev-parse", "v1.0.2") == tag
    assert project.checkout(commit=moved, run_id="r3")["changed"] is False
    destination = project.tree.parent / "prepared"
    project.checkout(commit=moved, state="prepared", destination=str(destination))
    assert contents(destination)["app.txt"] == "moved\n"


def test_two_tags_of_one_release(project: Project) -> None:
    """v1.0.2 and 1.0.2 may both exist only if they name one commit, or if the pin decides."""
    git(project.tree, "tag", "1.0.2", "v1.0.2^{commit}")
    assert project.checkout(version="1.0.2", check_mode=True)["release"]["tag"] == "1.0.2"
    git(project.tree, "tag", "--force", "1.0.2", "v1.0.1")
    assert "Two tags name this release" in refused(project, version="1.0.2").msg
    assert project.checkout(commit=project.old, check_mode=True)["release"]["tag"] == "v1.0.2"


def test_remote_that_is_gone(project: Project) -> None:
    """With the tag here it goes on with a warning; without it, it stops and says so."""
    shutil.rmtree(project.remote)
    error = refused(project, version="v1.0.9")
    assert "did not answer" in error.msg
    done = project.checkout()
    assert "was not compared with origin" in done["warnings"][0]
    assert done["remote"] == {"name": "origin", "answered": False, "commit": None}


def test_full_pin_needs_no_remote(project: Project) -> None:
    """A tag here that names the full pin is checked out without a question to the remote, so without a warning."""
    shutil.rmtree(project.remote)
    done = project.checkout(commit=project.old)
    assert done["after"]["commit"] == project.old
    assert (done["warnings"], done["remote"]["answered"]) == ([], False)
    short = project.checkout(commit=project.old[:12], check_mode=True)
    assert "was not compared with origin" in short["warnings"][0]


def test_remote_that_hangs(project: Project) -> None:
    """A remote that accepts and never answers costs fetch_timeout, no more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        git(project.tree, "remote", "set-url", "origin", f"git://127.0.0.1:{listener.getsockname()[1]}/x.git")
        started = time.monotonic()
        done = project.checkout(fetch_timeout=0.5)
        assert time.monotonic() - started < 5
    assert "no answer within 0.5 s" in done["warnings"][0]
    assert done["after"]["commit"] == project.old


@pytest.mark.parametrize(
    ("version", "said"),
    [("--upload-pack=x", "not the name"), ("../etc", "not the name"), ("v1.0.2^{}", "not the name"), ("", "is empty")],
)
def test_versions_that_are_no_names(project: Project, version: str, said: str) -> None:
    """Options, paths and expressions are refused."""
    assert said in refused(project, version=version).msg


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"remote": "--upload-pack=x"}, "name of a remote"),
        ({"remote": "ext::sh"}, "name of a remote"),
        ({"commit": "v1.0.2"}, "not a commit id"),
        ({"commit": "abc123"}, "not a commit id"),
        ({"run_id": "../x"}, "cannot name a run"),
        ({"fetch_timeout": 0}, "no time"),
    ],
)
def test_other_bad_options(project: Project, options: dict[str, Any], said: str) -> None:
    """Bad options are refused, naming option and value."""
    assert said in refused(project, **options).msg


def test_paths_that_are_no_project(project: Project) -> None:
    """No folder, no checkout, a folder inside of one, a bare repository."""
    inner = project.tree / "inner"
    inner.mkdir()
    said = {
        project.tree / "absent": "is not a folder",
        project.tree.parent: "is not a git checkout",
        inner: f"its top is {project.tree}",
        project.remote: "is not a git checkout",
    }
    for path, words in said.items():
        assert words in refused(project, path=str(path)).msg


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MERGE_HEAD", "a merge"),
        ("rebase-merge", "a rebase"),
        ("CHERRY_PICK_HEAD", "a cherry-pick"),
        ("BISECT_LOG", "a bisect"),
        ("index.lock", "Another git process"),
    ],
)
def test_trees_with_something_under_way(project: Project, name: str, said: str) -> None:
    """A tree in the middle of something is not touched."""
    (project.tree / ".git" / name).write_text("")
    assert said in refused(project).msg


def test_a_real_merge_with_conflicts(project: Project) -> None:
    """A merge that git itself began is seen."""
    git(project.tree, "checkout", "--quiet", "-b", "side", "v1.0.1")
    commit(project.tree, "side", "2024-12-21T00:00:00Z", app_dot_txt="side\n")
    command("git", "-C", str(project.tree), "merge", "main", check=False)
    assert "a merge is under way" in refused(project).msg


def test_edits_that_are_refused(project: Project) -> None:
    """local_edits=fail, and edits that Git was told not to see."""
    (project.tree / "keep.txt").write_text("edited\n")
    assert refused(project, local_edits="fail").facts["local_edits"]["files"] == ["keep.txt"]
    git(project.tree, "update-index", "--skip-worktree", "keep.txt")
    error = refused(project)
    assert "told not to see: keep.txt" in error.msg
    assert "--no-skip-worktree" in error.next_step
    git(project.tree, "update-index", "--no-skip-worktree", "keep.txt")
    (project.tree / "later").write_text("x")
    git(project.tree, "add", "--intent-to-add", "later")
    assert "--intent-to-add: later" in refused(project).msg


def sign_releases(project: Project) -> None:
    """Sign v1.0.2 with a throw-away ssh key that the project trusts."""
    key = project.tree.parent / "key"
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a@localhost", "-f", str(key))
    allowed = project.tree.parent / "allowed"
    allowed.write_text(f"a@localhost {Path(f'{key}.pub').read_text()}")
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    git(project.developer, *signing, "tag", "--force", "-s", "-m", "signed", "v1.0.2", project.old)
    git(project.developer, "push", "--quiet", "--force", "origin", "v1.0.2")
    git(project.tree, "config", "gpg.ssh.allowedSignersFile", str(allowed))
    git(project.tree, "tag", "--delete", "v1.0.2")


def test_signatures(project: Project) -> None:
    """A signed tag passes; an unsigned one, a lightweight one and a signed one under another name do not."""
    assert "missing or not good" in refused(project, verify_signature=True).msg
    assert "missing or not good" in refused(project, version="v1.0.1", verify_signature=True).msg
    sign_releases(project)
    assert project.checkout(verify_signature=True)["signature"] == {"checked": True, "ok": True}
    git(project.tree, "update-ref", "refs/tags/v1.0.9", git(project.tree, "rev-parse", "v1.0.2"))
    assert "another name" in refused(project, version="v1.0.9", verify_signature=True).msg


def test_bad_signature_of_a_tag_that_must_be_fetched(project: Project) -> None:
    """It is refused before the tag is even in the project's repository."""
    git(project.tree, "tag", "--delete", "v1.0.2")
    assert "missing or not good" in refused(project, verify_signature=True).msg


def add_submodule(project: Project) -> Path:
    """Give the releases v2.0.0 and v2.0.1 a submodule, at two commits of it."""
    library = project.tree.parent / "library"
    library.mkdir()
    git(library, "init", "--quiet", "--initial-branch=main")
    commit(library, "one", "2024-12-01T00:00:00Z", lib_dot_txt="one\n")
    git(project.developer, "checkout", "--quiet", "main")
    git(project.developer, "submodule", "--quiet", "add", "../library", "lib")
    commit(project.developer, "with library", "2024-12-22T00:00:00Z")
    git(project.developer, "tag", "v2.0.0")
    commit(library, "two", "2024-12-02T00:00:00Z", lib_dot_txt="two\n")
    git(project.developer / "lib", "pull", "--quiet", "origin", "main")
    commit(project.developer, "newer library", "2024-12-23T00:00:00Z")
    git(project.developer, "tag", "v2.0.1")
    git(project.developer, "push", "--quiet", "--tags", "origin", "main")
    git(project.tree, "pull", "--quiet", "--tags", "origin", "main")
    git(project.tree, "submodule", "--quiet", "update", "--init")
    return library


def test_submodules(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submodules follow the release in both states; edits inside of one are refused."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    library = add_submodule(project)
    destination = project.tree.parent / "prepared"
    before = digest(project.tree)
    project.checkout(version="v2.0.0", state="prepared", destination=str(destination))
    assert digest(project.tree) == before
    assert (destination / "lib/lib.txt").read_text() == "one\n"
    assert project.checkout(version="v2.0.0", state="prepared", destination=str(destination))["changed"] is False
    (project.tree / "lib/lib.txt").write_text("edited\n")
    assert "edits inside of submodules: lib" in refused(project, version="v2.0.0").msg
    git(project.tree / "lib", "checkout", "--quiet", "lib.txt")
    shutil.rmtree(library)  # what the project has is enough to go back
    done = project.checkout(version="v2.0.0")
    assert (project.tree / "lib/lib.txt").read_text() == "one\n"
    assert project.checkout(version="v2.0.0")["changed"] is False
    undo(done)
    assert (project.tree / "lib/lib.txt").read_text() == "two\n"
    git(project.tree / "lib", "checkout", "--quiet", "HEAD^")
    assert project.checkout(version="v2.0.1", run_id="r2")["changed"] is True
    assert (project.tree / "lib/lib.txt").read_text() == "two\n"


def test_prepared_never_touches_the_project(project: Project) -> None:
    """The tree is complete and private, brings the environment files, and the project is not touched at all."""
    tree, destination = project.tree, project.tree.parent / "prepared"
    (tree / ".env").write_text("SECRET=1\n")
    (tree / ".env").chmod(0o640)
    (tree / "sub").mkdir()
    (tree / "sub/db.env").write_text("A=1\n")
    (tree / "trace.log").write_text("no")
    edit(tree)
    git(tree, "tag", "--delete", "v1.0.2")
    before = digest(tree)
    options = {"path": str(tree), "version": "v1.0.2", "state": "prepared", "destination": str(destination)}
    made = call_module("release_checkout", options, check=True)
    assert digest(tree) == before
    assert (made["changed"], made["fetched"], made["copied"]) == (True, True, [".env", "sub/db.env"])
    assert destination.stat().st_mode & 0o777 == 0o700
    assert (destination / ".env").stat().st_mode & 0o777 == 0o640
    assert contents(destination)["app.txt"] == "1.0.2\n"
    assert not (destination / "trace.log").exists()
    assert git(destination, "describe", "--tags") == "v1.0.2"
    settled = digest(destination)
    assert call_module("release_checkout", options)["changed"] is False
    assert digest(destination) == settled
    assert digest(tree) == before


def test_prepared_follows_environment_files_and_repairs_damage(project: Project) -> None:
    """A changed environment file is copied again, a removed one goes; a damaged tree and another release are remade."""
    tree, destination = project.tree, project.tree.parent / "prepared"
    (tree / ".env").write_text("A=1\n")
    again = {"state": "prepared", "destination": str(destination)}
    project.checkout(**again)
    (tree / ".env").write_text("A=2\n")
    assert project.checkout(**again)["copied"] == [".env"]
    (tree / ".env").unlink()
    assert project.checkout(**again)["changed"] is True
    assert not (destination / ".env").exists()
    (destination / "app.txt").write_text("damaged\n")
    assert project.checkout(**again)["changed"] is True
    assert contents(destination)["app.txt"] == "1.0.2\n"
    shutil.rmtree(destination / ".git/objects")
    assert project.checkout(**again)["changed"] is True
    assert project.checkout(**again)["changed"] is False
    project.checkout(version="v1.0.3", **again)
    assert contents(destination)["app.txt"] == "1.0.3\n"
    assert not (destination / "old").exists()


def test_destinations_that_are_refused(project: Project) -> None:
    """Somebody else's folder, the project itself, a folder inside of it, a link, a folder without a parent."""
    other = project.tree.parent / "other"
    other.mkdir()
    (other / "precious").write_text("x")
    link = project.tree.parent / "link"
    link.symlink_to(other)
    for path in (other, project.tree, project.tree / "x", project.tree.parent, link, other / "a/b"):
        assert str(path) in refused(project, state="prepared", destination=str(path)).msg
    assert [entry.name for entry in other.iterdir()] == ["precious"]


def test_release_whose_folder_is_a_link_gets_no_file_through_it(project: Project) -> None:
    """An environment file is not written through a link of the release, out of the tree."""
    git(project.developer, "checkout", "--quiet", "main")
    outside = project.tree.parent / "outside"
    outside.mkdir()
    (project.developer / "conf").symlink_to(outside)
    commit(project.developer, "link", "2024-12-24T00:00:00Z")
    git(project.developer, "tag", "v3.0.0")
    git(project.developer, "push", "--quiet", "origin", "v3.0.0")
    (project.tree / "conf").mkdir()
    (project.tree / "conf/.env").write_text("x")
    error = refused(project, version="v3.0.0", state="prepared", destination=str(project.tree.parent / "prepared"))
    assert "symbolic link" in error.msg
    assert list(outside.iterdir()) == []


@pytest.fixture
def foreign(project: Project) -> Project:
    """Give the project directory to nobody; this test needs root."""
    assert os.geteuid() == 0, "this test must run as root, because it gives a tree to another user"
    command("chown", "-R", f"{NOBODY}:{NOBODY}", str(project.tree), str(project.remote))
    return project


def test_tree_of_another_user(foreign: Project) -> None:
    """Root works as the owner: nothing changes hands, no configuration is written."""
    tree = foreign.tree
    edit(tree)
    command("chown", "-R", f"{NOBODY}:{NOBODY}", str(tree))
    done = foreign.checkout()
    assert "setpriv" in done["undo"][0]
    assert {path.lstat().st_uid for path in [tree, *tree.rglob("*")]} == {NOBODY}
    assert contents(tree)["app.txt"] == "1.0.2\n"
    undo(done)
    assert contents(tree)["app.txt"] == "staged and edited\n"
    assert {path.lstat().st_uid for path in [tree, *tree.rglob("*")]} == {NOBODY}


def test_a_patch_on_a_tree_of_another_user(foreign: Project, tmp_path: Path) -> None:
    """Root reads the patch, which nobody else may; all that is made of it belongs to the owner of the tree."""
    patch, beside = tmp_path / "fix.patch", foreign.tree.parent / "beside"
    patch.write_text("--- a/app.txt\n+++ b/app.txt\n@@ -1 +1 @@\n-1.0.2\n+mended\n")
    patch.chmod(0o600)
    made = foreign.checkout(patch=str(patch), state="prepared", destination=str(beside))
    foreign.checkout(patch=made["patch_file"], patch_name="fix.patch", patched_commit=made["release"]["commit"])
    for tree in (foreign.tree, beside):
        assert (tree / "app.txt").read_text() == "mended\n"
        assert {path.lstat().st_uid for path in [tree, *tree.rglob("*")]} == {NOBODY}


def test_prepared_from_a_tree_of_another_user(foreign: Project) -> None:
    """The prepared tree belongs to the same user; a root-owned environment file keeps its owner."""
    destination = foreign.tree.parent / "prepared"
    (foreign.tree / ".env").write_text("A=1\n")
    (foreign.tree / ".env").chmod(0o600)
    git(foreign.tree, "tag", "--delete", "v1.0.2")
    command("chown", "-R", f"{NOBODY}:{NOBODY}", str(foreign.tree / ".git"))
    before = digest(foreign.tree)
    foreign.checkout(state="prepared", destination=str(destination))
    assert digest(foreign.tree) == before
    assert (destination / "app.txt").stat().st_uid == NOBODY
    assert (destination / ".env").stat().st_uid == 0
    assert foreign.checkout(state="prepared", destination=str(destination))["changed"] is False


def test_destination_that_the_owner_cannot_enter(foreign: Project) -> None:
    """It is refused before anything is made, with the folder and the way out."""
    closed = foreign.tree.parent / "closed"
    closed.mkdir(0o700)
    error = refused(foreign, state="prepared", destination=str(closed / "tree"))
    assert f"cannot enter {closed}" in error.msg
    assert list(closed.iterdir()) == []


def test_neither_root_nor_the_owner(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user may read: the tree is declared safe for the one call, and nothing is written to it."""
    assert os.geteuid() == 0, "this test must run as root, because it becomes another user"
    place = project.tree.parent / "place"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    monkeypatch.setenv("HOME", str(place))
    before = digest(project.tree)
    os.seteuid(NOBODY)
    try:
        assert "dubious ownership" in command("git", "-C", str(project.tree), "status", check=False)
        done = project.checkout(state="prepared", destination=str(place / "tree"))
    finally:
        os.seteuid(0)
    assert digest(project.tree) == before
    assert done["after"]["release"] == "v1.0.2"
    assert (place / "tree/app.txt").read_text() == "1.0.2\n"


class KilledError(Exception):
    """The run ended here."""


def run_until(limit: int) -> Any:
    """Return a ``run`` that ends the run before its call number ``limit``."""
    calls = 0

    def limited(argv: list[str], **options: Any) -> tuple[int, str, str]:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise KilledError
        return run(argv, **options)

    return limited


def test_killed_between_any_two_calls_nothing_is_lost(project: Project) -> None:
    """Killed at each point, the next call with the same run id finishes, and the undo puts everything back."""
    pristine = project.tree.parent / "pristine"
    edit(project.tree)
    (project.tree / "old").mkdir()
    (project.tree / "old/only.txt").write_text("mine\n")
    (project.tree / "notes.txt").write_text("note\n")
    files, status = contents(project.tree), git(project.tree, "status", "--porcelain")
    shutil.copytree(project.tree, pristine, symlinks=True)
    first = _first_write(project)
    for limit in range(first, 1000):
        shutil.rmtree(project.tree)
        shutil.copytree(pristine, project.tree, symlinks=True)
        killed = False
        try:
            project.checkout(run_until(limit), leftovers="remove")
        except KilledError:
            killed = True
        if not killed:
            break
        done = project.checkout(leftovers="remove")
        released = {
            "app.txt": "1.0.2\n",
            ".gitignore": "*.log\n.env\n",
            "keep.txt": "same\n",
            "old/only.txt": "old\n",
            "package.json": '{"version": "1.0.2"}\n',
        }
        assert contents(project.tree) == released, limit
        undo(done)
        assert contents(project.tree) == files, limit
        assert git(project.tree, "status", "--porcelain") == status, limit
    assert limit > first + 5


def _first_write(project: Project) -> int:
    """Return the number of the call that first writes to the project; the calls before it only look."""
    calls: list[list[str]] = []

    def counting(argv: list[str], **options: Any) -> tuple[int, str, str]:
        calls.append(argv)
        return run(argv, **options)

    project.checkout(counting, leftovers="remove")
    return next(number for number, argv in enumerate(calls) if "stash" in argv)


def test_cut_off_while_git_moved_the_tree(project: Project) -> None:
    """Files half switched look like edits to the next call: the first save is not overwritten."""
    (project.tree / "keep.txt").write_text("edited\n")

    def stopping(argv: list[str], **options: Any) -> tuple[int, str, str]:
        if "--force" in argv and "checkout" in argv:
            (project.tree / "app.txt").write_text("1.0.2\n")  # as far as git came
            raise KilledError
        return run(argv, **options)

    with pytest.raises(KilledError):
        project.checkout(stopping)
    done = project.checkout()
    assert done["local_edits"]["ref"] == EDITS
    assert git(project.tree, "rev-parse", f"{EDITS}-2") != git(project.tree, "rev-parse", EDITS)
    undo(done)
    assert contents(project.tree)["keep.txt"] == "edited\n"
    assert contents(project.tree)["app.txt"] == "1.0.3\n"


def test_checkout_that_fails_says_how_to_go_back(project: Project) -> None:
    """When git cannot finish, the message names the undo commands and they work."""
    (project.tree / "keep.txt").write_text("edited\n")

    def failing(argv: list[str], **options: Any) -> tuple[int, str, str]:
        if "--force" in argv and "checkout" in argv:
            return 128, "", "fatal: No space left on device"
        return run(argv, **options)

    with pytest.raises(RollbackError) as caught:
        project.checkout(failing)
    assert "No space left on device" in caught.value.msg
    git(project.tree, "checkout", "--quiet", "keep.txt")
    undo(caught.value.facts)
    assert contents(project.tree)["keep.txt"] == "edited\n"


def test_hooks_do_not_run(project: Project) -> None:
    """A hook of the project can neither fail nor follow the checkout."""
    hook = project.tree / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\nexit 1\n")
    hook.chmod(0o755)
    assert project.checkout()["changed"] is True
    assert not (project.tree / "hook-ran").exists()


def test_misleading_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of a calling git do not lead to another repository."""
    monkeypatch.setenv("GIT_DIR", str(project.remote))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    options = Options(path=str(project.tree), version="v1.0.2", run_id="r1")
    assert release_checkout(options, run)["after"]["commit"] == project.old


def test_names_that_look_like_variables_through_ansible(project: Project) -> None:
    """Nothing between the module and git expands a name: the file itself is saved and removed."""
    for name in ("$HOME", "~", "-rf", "*", ":(top)x"):
        (project.tree / name).write_text(name)
    options = {"path": str(project.tree), "version": "v1.0.2", "run_id": "r1", "leftovers": "remove"}
    done = call_module("release_checkout", options)
    assert not done.failed, done.result
    assert done["leftovers"]["count"] == 0
    assert git(project.tree, "status", "--porcelain") == ""
    for name in ("$HOME", "~", "-rf", "*", ":(top)x"):
        assert git(project.tree, "show", f"{UNTRACKED}:{name}") == name


def test_many_leftovers_and_odd_names(project: Project) -> None:
    """At most 100 names, the whole count; names with bytes that are no text are shown with escapes."""
    for number in range(149):
        (project.tree / f"left {number}").write_text("")
    Path(os.fsdecode(os.fsencode(project.tree) + b"/\xff\nodd")).write_text("odd")
    done = project.checkout()
    assert (done["leftovers"]["count"], len(done["leftovers"]["files"])) == (150, 100)
    done = project.checkout(leftovers="remove", run_id="r2")
    assert len(done["leftovers"]["removed"]) == 150
    assert git(project.tree, "status", "--porcelain") == ""
    assert "\\udcff\nodd" in done["leftovers"]["removed"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("place", [".git/refs", ".git/objects", "old"])
def test_a_tree_that_git_may_not_write_to_is_refused_before_anything_changes(project: Project, place: str) -> None:
    command("chown", "-R", f"{NOBODY}:{NOBODY}", str(project.tree))
    (project.tree / "old").mkdir()  # v1.0.2 has a file in this folder
    command("chown", f"{NOBODY}:{NOBODY}" if place != "old" else "0:0", str(project.tree / "old"))
    command("chown", "0:0", str(project.tree / place))
    error = refused(project, check_mode=True)
    assert "may not write to" in error.msg
    assert "Nothing was changed" in error.msg
