# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tree of a release beside the project: its own repository that borrows the project's objects.

Nothing is written to the project's repository: no worktree entry, no tag, no lock.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import saved_work
from .errors import RollbackError
from .git import Git
from .patched_release import patched_commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .release_choice import Choice

TREE_PREFIX = "usdx-rollback-"
_MARKER = "usdx-rollback.json"
_PATCH = "usdx-rollback.patch"
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/]+:")  # a URL, or host:path as ssh takes it


@dataclass(frozen=True)
class Source:
    """From where a tree is made: the project, the chosen commit, the remote, and the files that are not in Git.

    A former state has more: ``edits`` is a commit of git stash, ``files`` are those that Git did not track, each with
    the commit that holds it, and ``present`` are edited files that are taken from the project as they are.
    """

    project: Git
    choice: Choice
    remote: str
    timeout: float
    copy_untracked: tuple[str, ...] = ()
    edits: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    present: tuple[str, ...] = ()

    @property
    def state(self) -> dict[str, Any]:
        """Return what the marker file says of the tree that is made from this."""
        return {"commit": self.choice.commit, "edits": self.edits, "files": dict(self.files)}


def untracked_files(git: Git, patterns: tuple[str, ...]) -> list[str]:
    """Return untracked or ignored files that match. A pattern without a slash matches at any depth."""
    if not patterns:
        return []
    magic = [f":(top,glob){pattern if '/' in pattern else f'**/{pattern}'}" for pattern in patterns]
    names = git.names("ls-files", "--others", "-z", "--", *magic)
    return sorted(name for name in names if not name.endswith("/"))


def borrow(source: Source, path: str) -> Git:
    """Make a repository in an existing folder that borrows the objects of the project."""
    project = source.project
    tree = Git(path, project.run, project.identity)
    tree.call("init", "--quiet", "--template=", f"--object-format={_object_format(project)}")
    folder = Path(path) / ".git"
    _write(tree, folder / "objects/info/alternates", "".join(f"{objects}\n" for objects in _object_folders(project)))
    shallow = Path(project.git_path("shallow"))
    if shallow.exists():
        _write(tree, folder / "shallow", shallow.read_text(encoding="ascii"))
    _configure(source, tree)
    return tree


def _object_format(git: Git) -> str:
    """Return sha1 or sha256."""
    return git.line("rev-parse", "--show-object-format") or "sha1"


def _object_folders(git: Git) -> list[str]:
    """Return where a repository's objects are: its own, and those that it borrows itself."""
    counted = git.call("count-objects", "--verbose").splitlines()
    borrowed = [line.partition(": ")[2] for line in counted if line.startswith("alternate: ")]
    own = os.path.realpath(git.git_path("objects"))
    return list(dict.fromkeys([own, *(os.path.realpath(Path(git.path, name)) for name in borrowed)]))


def _configure(source: Source, tree: Git) -> None:
    """Give the new repository the project's remote, with its credentials by reference, not by copy."""
    url = source.project.line("config", "--get", f"remote.{source.remote}.url")
    relative = url is not None and not Path(url).is_absolute() and not _HAS_SCHEME.match(url)
    if url is not None and relative:
        tree.call("config", f"remote.{source.remote}.url", str(Path(source.project.path, url)))
    else:
        _include(tree, os.path.realpath(source.project.git_path("config")))
    tree.call("config", "core.bare", "false")
    tree.call("config", "core.sparseCheckout", "false")
    tree.call("config", "submodule.alternateLocation", "superproject")
    tree.call("config", "submodule.alternateErrorStrategy", "info")


def _include(tree: Git, path: str) -> None:
    """Include another configuration file at the top, so that this tree's own settings win."""
    own = Path(tree.path) / ".git/config"
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    _write(tree, own, f'[include]\n\tpath = "{quoted}"\n{own.read_text(encoding="utf-8")}')


def borrows_from(folder: str, objects: str) -> bool:
    """Tell whether a folder is a private tree that borrows these objects, or one that was cut off before it did so."""
    try:
        lines = Path(folder, ".git/objects/info/alternates").read_bytes().splitlines()
    except OSError:
        return bool(_marker(folder))
    return os.fsencode(objects) in lines


def fetch_tag(git: Git, source: Source, target: str) -> None:
    """Fetch the chosen tag to the reference ``target``, without force, and check that it is what was chosen."""
    depth = ["--depth=1"] if git.is_shallow() else []
    asking = git.with_environment(**git.network_environment())
    asking.call(
        "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", *depth, "--",
        source.remote, f"refs/tags/{source.choice.tag}:{target}", timeout=source.timeout,
    )  # fmt: skip
    commit = git.commit_of(target)
    if commit != source.choice.base:
        raise RollbackError(
            f"The tag {source.choice.tag} changed at {source.remote} while it was fetched: it was "
            f"{source.choice.base}, now it is {commit}. The tree was not moved.",
            "Find out who moves tags, then try again with the option commit.",
        )


def make_patched(git: Git, choice: Choice) -> None:
    """Make the commit of a release with a patch in a repository, the one that was decided about."""
    if choice.patch is not None:
        made = patched_commit(git, choice.base, choice.tag, choice.patch)
        refuse_other_patched(choice, made, choice.patched)


def refuse_other_patched(choice: Choice, made: str, wanted: str) -> None:
    """Refuse a release with a patch that is another commit than the one that is wanted."""
    if choice.patch is not None and made != wanted:
        raise RollbackError(
            f"{choice.tag} with the patch {choice.patch.name} (sha256 {choice.patch.sha256}) is the commit {made}, not "
            f"{wanted}, which was planned. Nothing was changed.",
            "The patch or the release has changed since. Give the patch of that plan again, or begin a new run.",
        )


def keep_patch(source: Source, destination: str) -> str:
    """Keep the patch in the repository of the tree, for its owner only, and return its path; empty without one."""
    path = Path(destination, ".git", _PATCH)
    if source.choice.patch is None:
        return ""
    if not (path.is_file() and not path.is_symlink() and path.read_bytes() == source.choice.patch.content):
        tree = Git(destination, source.project.run, source.project.identity)
        _write(tree, path, source.choice.patch.content)
    return str(path)


def prepare_at(source: Source, project: str, destination: str | None) -> tuple[str, dict[str, Any]]:
    """Put the tree where it is wanted, else into a new private folder, which is removed again if that fails."""
    if destination:
        return destination, prepare(source, check_destination(project, destination))
    own = tempfile.mkdtemp(prefix=TREE_PREFIX)
    try:
        source.project.identity.hand_over(own)
        return own, prepare(source, own)
    except BaseException:
        shutil.rmtree(own, ignore_errors=True)
        raise


def prepare(source: Source, destination: str) -> dict[str, Any]:
    """Put the release's tree into the destination and return what changed: made, copied, removed."""
    untracked = untracked_files(source.project, source.copy_untracked)
    copied = [name for name in untracked if name not in source.files]
    known = _marker(destination)
    if _is_whole(source, destination, known):
        tree = Git(destination, source.project.run, source.project.identity)
        made = False
    else:
        tree = _make(source, destination, known)
        made = True
    stale = [name for name in known.get("copied", []) if name not in copied and not made]
    changed = [name for name in copied if _copy(source.project.path, tree, name)]
    removed = [name for name in stale if _remove(tree, name)]
    if made or changed or removed:
        _mark(tree, {**source.state, "complete": True, "copied": copied})
    return {"made": made, "copied": changed, "removed": removed}


def check_destination(project: str, destination: str) -> str:
    """Return the destination; refuse one that is not ours to fill, before anything is written."""
    inner, outer = os.path.realpath(destination), os.path.realpath(project)
    if inner == outer or inner.startswith(f"{outer}/") or outer.startswith(f"{inner.rstrip('/')}/"):
        raise RollbackError(
            f"destination={destination} and the project directory {project} lie in one another. Nothing was changed.",
            "Name a folder outside of the project directory.",
        )
    _refuse_foreign(destination)
    return destination


def _refuse_foreign(destination: str) -> None:
    """Refuse a destination that holds what we did not make, or that cannot be made."""
    place = Path(destination).absolute()
    if not place.parent.is_dir():
        raise RollbackError(
            f"The folder in which destination={destination} shall be made does not exist. Nothing was changed.",
            f"Make it first: mkdir -p {place.parent}",
        )
    if not os.path.lexists(destination):
        return
    plain = place.is_dir() and not place.is_symlink() and not Path(place, ".git").is_symlink()
    if not plain or not (_marker(destination) or _is_empty(destination)):
        raise RollbackError(
            f"destination={destination} exists and was not made by this module. Nothing was changed.",
            "Name a folder that does not exist yet, or remove this one after a look at it.",
        )


def _is_empty(destination: str) -> bool:
    """Tell whether a folder holds nothing, or only the empty .git of a call that was cut off."""
    names = [entry.name for entry in Path(destination).iterdir()]
    return not names or (names == [".git"] and not any(Path(destination, ".git").iterdir()))


def _marker(destination: str) -> dict[str, Any]:
    """Return what the marker file says; empty when there is none."""
    try:
        value = json.loads((Path(destination) / ".git" / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mark(tree: Git, content: dict[str, Any]) -> None:
    """Write the marker file. It says that the folder is ours, and whether it is complete."""
    _write(tree, Path(tree.path) / ".git" / _MARKER, json.dumps(content))


def _write(tree: Git, path: Path, content: str | bytes) -> None:
    """Write a file at once, owned by the tree's owner; a link in its place is replaced, not followed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".usdx-")
    with os.fdopen(handle, "wb") as stream:
        stream.write(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    tree.identity.hand_over(name)
    Path(name).replace(path)


def _is_whole(source: Source, destination: str, known: dict[str, Any]) -> bool:
    """Tell whether the destination already is the wanted tree, by looking at every tracked file."""
    wanted = {"edits": None, "files": {}, **known}
    if not known.get("complete") or any(wanted.get(key) != value for key, value in source.state.items()):
        return False
    if source.present:  # what they are cannot be told from a marker
        return False
    try:
        tree = Git(destination, source.project.run, source.project.identity)
        return tree.head() == source.choice.commit and not _differing(source, tree)
    except RollbackError:
        return False


def _differing(source: Source, tree: Git) -> list[str]:
    """Return the files that are not what they are to be."""
    status = tree.status()
    edited = saved_work.edits_missing(tree, source.edits) if source.edits else status.edited
    files = saved_work.differing_files(tree, source.files)
    return [*edited, *status.unmerged, *status.submodules_edited, *status.submodules_moved, *files]


def _make(source: Source, destination: str, known: dict[str, Any]) -> Git:
    """Make the tree anew. Its marker stays "incomplete" until the last file is in place."""
    identity = source.project.identity
    _refuse_unreachable(source.project, Path(destination).absolute().parent)
    for path in (Path(destination), Path(destination, ".git")):
        if not path.exists():
            path.mkdir(0o700)
            identity.hand_over(str(path))
    Path(destination).chmod(0o700)
    tree = Git(destination, source.project.run, identity)
    _mark(tree, {**known, "complete": False})
    _clear(destination)
    borrow(source, destination)
    tag = f"refs/tags/{source.choice.tag}"
    if source.project.has(source.choice.base) and source.choice.here:
        if source.choice.tag:
            tree.call("update-ref", tag, source.choice.named.tag_object)
    else:
        fetch_tag(tree, source, tag)
    make_patched(tree, source.choice)
    tree.call("checkout", "--quiet", "--force", "--detach", source.choice.commit)
    update_submodules(tree, source.timeout)
    saved_work.put_back_files(tree, source.files)
    if source.edits:
        saved_work.put_back_edits(tree, source.edits)
    for name in source.present:
        _take_over(source.project.path, tree, name)
    return tree


def _take_over(project: str, tree: Git, name: str) -> None:
    """Make an edited file as it is in the project, also when it is gone there."""
    if os.path.lexists(Path(project, name)):
        _make_parents(tree, name)
        _write_copy(Path(project, name), Path(tree.path, name))
    else:
        _remove(tree, name)


def _refuse_unreachable(project: Git, folder: Path) -> None:
    """Refuse a destination that the owner of the project cannot enter, for git runs as that user."""
    identity = project.identity
    if identity.prefix and project.run([*identity.prefix, "test", "-x", str(folder)], cwd="/")[0] != 0:
        raise RollbackError(
            f"The owner of {project.path} (uid {identity.uid}) cannot enter {folder}, where the destination shall be. "
            "Nothing was changed.",
            f"Name a folder that this user can reach, or let everybody pass: chmod a+x {folder}",
        )


def _clear(destination: str) -> None:
    """Remove everything but the marker file."""
    for folder, kept in ((destination, ".git"), (str(Path(destination, ".git")), _MARKER)):
        for entry in list(os.scandir(folder)):
            if entry.name == kept:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()


def update_submodules(tree: Git, timeout: float) -> None:
    """Put the submodules where the checked out release wants them."""
    if not os.path.lexists(Path(tree.path, ".gitmodules")):
        return
    asking = tree.with_environment(**tree.network_environment())
    asking.call("submodule", "--quiet", "update", "--init", "--recursive", "--force", "--checkout", timeout=timeout)


def _copy(project: str, tree: Git, name: str) -> bool:
    """Copy one file that Git does not track, with its mode and owner; tell whether that changed anything."""
    origin, target = Path(project, name), Path(tree.path, name)
    if tree.line("ls-files", "--error-unmatch", "--", f":(top,literal){name}") is not None:
        return False  # the release has a file of that name
    _make_parents(tree, name)
    if _same_file(origin, target):
        return False
    _write_copy(origin, target)
    return True


def _write_copy(origin: Path, target: Path) -> None:
    """Copy one file or link at once, with its mode and owner."""
    temporary = target.with_name(f".usdx-{os.getpid()}.tmp")
    shutil.copy2(origin, temporary, follow_symlinks=False)
    status = origin.lstat()
    if os.geteuid() == 0:
        os.lchown(temporary, status.st_uid, status.st_gid)
    temporary.replace(target)


def _make_parents(tree: Git, name: str) -> None:
    """Make the folders of a file in the tree; refuse to write through a link that leads out of it."""
    path = Path(tree.path)
    for part in name.split("/")[:-1]:
        path = path / part
        if path.is_symlink():
            raise RollbackError(
                f"{name} cannot be copied into {tree.path}: in the release {path} is a symbolic link.",
                "Take the file out of copy_untracked, or put it where the release expects it.",
            )
        if not path.is_dir():
            path.mkdir()
            tree.identity.hand_over(str(path))


def _same_file(one: Path, other: Path) -> bool:
    """Tell whether two files have the same kind, mode, owner and content. Links count by their target."""
    if not os.path.lexists(other):
        return False
    first, second = one.lstat(), other.lstat()
    if (first.st_mode, first.st_uid, first.st_gid) != (second.st_mode, second.st_uid, second.st_gid):
        return False
    if stat.S_ISLNK(first.st_mode):
        return one.readlink() == other.readlink()
    return one.read_bytes() == other.read_bytes()


def _remove(tree: Git, name: str) -> bool:
    """Remove a copied file that the project no longer has; tell whether it was there."""
    path = Path(tree.path, name)
    inside = Path(os.path.realpath(tree.path), name).parent
    if not os.path.lexists(path) or Path(os.path.realpath(path.parent)) != inside:
        return False
    path.unlink()
    return True
