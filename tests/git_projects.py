# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real git repositories for tests, as operators make them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils.checkout import Options, release_checkout
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from harness import command

if TYPE_CHECKING:
    from pathlib import Path

WHO = {
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@localhost", "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@localhost", "GIT_ALLOW_PROTOCOL": "file:git:ssh",
    "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
}  # fmt: skip


def git(tree: Path, *arguments: str) -> str:
    """Run git as an operator would, and return what it printed."""
    return command("git", "-C", str(tree), *arguments, check=True, **WHO).strip()


def commit(tree: Path, message: str, date: str, **files: str) -> str:
    """Write files (``a__b`` is ``a/b``, ``_dot_`` is a dot), commit them, return the commit."""
    for name, content in files.items():
        path = tree / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(tree, "add", "--all")
    stamp = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    command("git", "-C", str(tree), "commit", "--quiet", "-m", message, check=True, **WHO, **stamp)
    return git(tree, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Project:
    """A bare remote, the developer's clone, and the project directory with v1.0.3 checked out on main."""

    remote: Path
    developer: Path
    tree: Path
    old: str
    new: str

    def checkout(self, runner: Any = run, **options: Any) -> dict[str, Any]:
        """Call the logic of the module."""
        values = {"path": str(self.tree), "version": "v1.0.2", "run_id": "r1", "fetch_timeout": 20, **options}
        return release_checkout(Options(**values), runner)


def make_project(folder: Path) -> Project:
    """Make a remote with v1.0.1 to v1.0.3 and clone it."""
    remote, developer, tree = folder / "origin.git", folder / "developer", folder / "project"
    command("git", "init", "--quiet", "--bare", "--initial-branch=main", str(remote), check=True, **WHO)
    command("git", "clone", "--quiet", str(remote), str(developer), check=True, **WHO)
    git(developer, "checkout", "--quiet", "-B", "main")
    commit(
        developer, "first", "2024-12-01T00:00:00Z",
        app_dot_txt="1.0.1\n", _dot_gitignore="*.log\n.env\n", keep_dot_txt="same\n",
    )  # fmt: skip
    git(developer, "tag", "v1.0.1")
    old = commit(
        developer, "second", "2024-12-10T00:00:00Z", app_dot_txt="1.0.2\n", old__only_dot_txt="old\n",
        package_dot_json='{"version": "1.0.2"}\n',
    )  # fmt: skip
    git(developer, "tag", "-a", "-m", "release 1.0.2", "v1.0.2")
    git(developer, "rm", "-r", "--quiet", "old")
    new = commit(
        developer, "third", "2024-12-20T00:00:00Z", app_dot_txt="1.0.3\n", migration_dot_sql="drop\n",
        package_dot_json='{"version": "1.0.3"}\n',
    )  # fmt: skip
    git(developer, "tag", "-a", "-m", "release 1.0.3", "v1.0.3")
    git(developer, "push", "--quiet", "--tags", "origin", "main")
    command("git", "clone", "--quiet", str(remote), str(tree), check=True, **WHO)
    return Project(remote, developer, tree, old, new)


def digest(folder: Path) -> str:
    """Return a digest of every name, kind, mode, owner, time and content below a folder."""
    seen = hashlib.sha256()
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        seen.update(repr((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)).encode())
        if path.is_symlink():
            seen.update(str(path.readlink()).encode())
        elif path.is_file():
            seen.update(path.read_bytes())
    return seen.hexdigest()


def contents(tree: Path) -> dict[str, str]:
    """Return what the work tree holds, without .git."""
    return {
        str(path.relative_to(tree)): path.read_text()
        for path in tree.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(tree).parts
    }
