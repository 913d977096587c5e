# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tree holds beside its commit, saved under ``refs/rollback/<run id>/`` before anything overwrites it.

A reference is written once and never changed: a second call of a run that was cut off adds a number instead. The
position is written when all the rest is saved, so a run that has one had saved everything, and what looks like edits
afterwards is its own half-done work, which never gets the first number.
"""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RollbackError
from .git import private_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .git import Git

_BATCH = 200  # paths of one command line
_LINK = "120000"
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "usdx.rollback"), ("EMAIL", "usdx.rollback@localhost"))
}
EDITS, UNTRACKED, BEFORE, BRANCH, PATCHED = "local-edits", "untracked", "before", "branch", "patched"


def reference(run_id: str, name: str, number: int = 1) -> str:
    """Return the name of a reference of a run."""
    return f"refs/rollback/{run_id}/{name}" + ("" if number == 1 else f"-{number}")


def saved(git: Git, run_id: str, name: str) -> list[str]:
    """Return the references of that name that the run has written, the first one first."""
    found: list[str] = []
    for number in itertools.count(1):
        ref = reference(run_id, name, number)
        if git.object_of(ref) is None:
            return found
        found.append(ref)
    return found


def keep(git: Git, run_id: str, name: str, commit: str, parts: tuple[str, ...]) -> str:
    """Write a reference to the commit, or return the one that already saves the same ``parts`` of it."""
    half_done = name == EDITS and git.object_of(reference(run_id, BEFORE)) is not None and not saved(git, run_id, name)
    first = 2 if half_done else 1
    for number in itertools.count(first):
        ref = reference(run_id, name, number)
        if git.object_of(ref) is None:
            git.call("update-ref", ref, commit, "")
            return ref
        if all(git.object_of(ref + part) == git.object_of(commit + part) for part in parts):
            return ref
    raise AssertionError  # the numbers do not end


def save_position(git: Git, run_id: str, commit: str, branch: str | None) -> None:
    """Write down once where the tree was before the run: the commit, and the branch if there was one."""
    if git.object_of(reference(run_id, BEFORE)) is not None:
        return
    if branch is not None:
        git.call("symbolic-ref", reference(run_id, BRANCH), f"refs/heads/{branch}")
    git.call("update-ref", reference(run_id, BEFORE), commit, "")


def position(git: Git, run_id: str) -> tuple[str | None, str | None]:
    """Return the commit and the branch that were checked out before the run, as far as it wrote them down."""
    commit = git.commit_of(reference(run_id, BEFORE))
    branch = git.line("symbolic-ref", "--quiet", reference(run_id, BRANCH)) if commit else None
    return commit, branch[len("refs/heads/") :] if branch else None


def save_edits(git: Git, run_id: str) -> str:
    """Save edits of tracked files, staged and not, and return the reference. The tree is not touched."""
    commit = git.with_environment(**_IDENTITY).call("stash", "create", f"before the rollback {run_id}").strip()
    if not commit:
        raise RollbackError(
            f"git stash saved nothing although {git.path} has local edits. Nothing was changed.",
            f"Look at them: {git.shown('status')}",
        )
    return keep(git, run_id, EDITS, commit, ("^{tree}", "^1", "^2^{tree}"))


def save_files(git: Git, run_id: str, names: list[str]) -> str:
    """Save files that Git does not track, byte for byte, as a commit, and return its reference."""
    with private_directory(git.identity) as folder:
        entries = list(_entries(git, names, folder))
        indexed = git.with_environment(GIT_INDEX_FILE=str(Path(folder, "index")), **_IDENTITY)
        for batch in _batches(entries):
            options = [word for entry in batch for word in ("--cacheinfo", entry)]
            indexed.call("update-index", "--add", *options)
        tree = indexed.call("write-tree").strip()
        commit = indexed.call("commit-tree", tree, "-p", "HEAD", "-m", f"Files in the way of the rollback {run_id}")
    return keep(git, run_id, UNTRACKED, commit.strip(), ("^{tree}",))


def edits_missing(git: Git, edits: str) -> list[str]:
    """Return the files whose content or staged content is not that of the saved edits. Nothing is written."""
    plain = ("--name-only", "--no-renames", "--ignore-submodules", "--no-ext-diff", "-z")
    staged = git.names("diff-index", "--cached", *plain, f"{edits}^2", "--")
    # A file with another time stamp is named too, and one that is not in the index, although the edits leave it there.
    # The command git diff would look closer, and write the index.
    found = git.names("diff-index", *plain, edits, "--")
    return sorted({*staged, *differing_files(git, dict.fromkeys(found, edits))})


def files_of(git: Git, commits: Iterable[str]) -> dict[str, str]:
    """Return the saved files, each with the commit that holds it. The first commit counts most."""
    found: dict[str, str] = {}
    for commit in commits:
        for name in git.names("ls-tree", "-r", "--name-only", "--full-tree", "-z", commit):
            found.setdefault(name, commit)
    return found


def differing_files(git: Git, files: Mapping[str, str]) -> list[str]:
    """Return the files of the tree that are not what their commits hold: kind, content, and whether they can be run."""
    wanted = {name: _mode_and_object(held, name) for held, name in _held(git, files)}
    modes_count = git.line("config", "core.fileMode") != "false"
    right = {name for name in files if _has_kind(Path(git.path, name), wanted[name][0], modes_count=modes_count)}
    links = {name for name in right if wanted[name][0] == _LINK}
    plain = sorted(right - links)
    same = {
        name for name in links
        if git.call("cat-file", "blob", wanted[name][1]) == str(Path(git.path, name).readlink())
    }  # fmt: skip
    for batch in _batches(plain):
        found = git.call("hash-object", "--no-filters", "--", *(f"./{name}" for name in batch)).split()
        same |= {name for name, identity in zip(batch, found) if identity == wanted[name][1]}
    # As it is, or as Git would store it: files that were not tracked are saved byte for byte.
    rest = [name for name in plain if name not in same]
    same |= {name for name in rest if git.line("hash-object", "--", f"./{name}") == wanted[name][1]}
    return sorted(set(files) - same)


def _held(git: Git, files: Mapping[str, str]) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each file with the entries of its commit."""
    for commit in set(files.values()):
        entries = (entry.partition("\t") for entry in git.names("ls-tree", "-r", "--full-tree", "-z", commit))
        held = {name: facts for facts, _tab, name in entries}
        for name, holder in files.items():
            if holder == commit:
                yield held, name


def _mode_and_object(held: Mapping[str, str], name: str) -> tuple[str, str]:
    mode, _type, identity = held.get(name, "none none none").split()
    return mode, identity


def _has_kind(path: Path, mode: str, *, modes_count: bool) -> bool:
    """Tell whether a file is there and of the kind that Git's mode says."""
    if not os.path.lexists(path) or path.is_symlink() or not path.is_file():
        return path.is_symlink() and mode == _LINK
    executable = bool(path.stat().st_mode & stat.S_IXUSR)
    return mode.startswith("100") and (not modes_count or executable is (mode == "100755"))


def put_back_files(git: Git, files: Mapping[str, str]) -> None:
    """Write saved files into the tree; the index does not change."""
    for commit in sorted(set(files.values())):
        names = [f":(top,literal){name}" for name, holder in files.items() if holder == commit]
        for batch in _batches(names):
            git.call("restore", "--overlay", "--worktree", f"--source={commit}", "--", *batch)


def put_back_edits(git: Git, edits: str) -> None:
    """Make files and index those of the saved edits, on the commit that they were made on.

    It ends as ``git stash apply --index`` does, without a merge that could stop, and without writing objects: of a tree
    that borrows the project's, even those that exist already would get a new time there.
    """
    git.call("read-tree", "--reset", "-u", edits)
    git.call("read-tree", "--reset", f"{edits}^2")


def _entries(git: Git, names: list[str], folder: str) -> Iterator[str]:
    """Store the files as objects and yield what update-index wants to know of each."""
    plain = [name for name in names if stat.S_ISREG(_mode(git, name))]
    private = [] if git.line("config", "core.sharedRepository") else _private(git, plain)
    for batch in _batches(plain):
        found = git.call(*private, "hash-object", "-w", "--no-filters", "--", *batch).split()
        for name, identity in zip(batch, found):
            mode = "100755" if _mode(git, name) & stat.S_IXUSR else "100644"
            yield f"{mode},{identity},{name}"
    for name in names:
        if stat.S_ISLNK(_mode(git, name)):
            yield f"{_LINK},{_store_link(git, name, folder)},{name}"


def _private(git: Git, names: list[str]) -> list[str]:
    """Return settings that keep a copy of a file that not everybody may read from being readable by everybody."""
    secret = any(not _mode(git, name) & stat.S_IROTH for name in names)
    return ["-c", "core.sharedRepository=0600"] if secret else []


def _mode(git: Git, name: str) -> int:
    """Return the mode of a file; refuse what Git cannot store."""
    mode = Path(git.path, name).lstat().st_mode
    if ".git" in name.lower().split("/") or not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise RollbackError(
            f"{name} in {git.path} is in the way and cannot be saved: it is neither a file nor a link, or it lies in "
            "a repository of its own. The tree was not moved.",
            "Move it out of the project directory, then try again.",
        )
    return mode


def _store_link(git: Git, name: str, folder: str) -> str:
    """Store a symbolic link as Git does: its target is the content."""
    path = Path(folder) / "link"
    path.write_bytes(os.fsencode(Path(git.path, name).readlink()))
    git.identity.hand_over(str(path))
    return git.call("hash-object", "-w", "--no-filters", "--", str(path)).strip()


def _batches(items: list[str]) -> Iterator[list[str]]:
    """Yield the items in lists that fit on a command line."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def remove_files(git: Git, names: list[str]) -> None:
    """Remove saved files, as the tree's owner, and the folders that become empty."""
    for batch in _batches([f"./{name}" for name in names]):
        code, _out, err = git.run([*git.identity.prefix, "rm", "--force", "--", *batch], cwd=git.path)
        if code != 0:
            raise RollbackError(
                f"Saved files could not be removed from {git.path}: {err.strip()}. The tree was not moved.",
                "Give them to the tree's owner (chown) or remove them by hand, then try again.",
            )
    folders = sorted({str(Path(name).parent) for name in names} - {"."})
    for batch in _batches(folders):
        # It says no for a folder that holds more, which is right.
        git.run([*git.identity.prefix, "rmdir", "--parents", "--ignore-fail-on-non-empty", "--", *batch], cwd=git.path)
