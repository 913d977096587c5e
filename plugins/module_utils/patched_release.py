# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release with a patch on top of it, as a commit that is the same on every host.

The commit is made in an index of its own, so neither the tree nor its index is touched. Author, date and message come
from the release and the patch alone: the same patch on the same release is the same commit. The message says what it
is, so that the commit is known again, also where no journal is. A patch is untrusted input: Git reads it, and refuses
paths that lead out of the tree.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .git import Git, failure_reason, private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 10_000_000  # bytes of a patch
_FILES = 100  # names in a result
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_WHO, _EMAIL = "usdx.rollback", "usdx.rollback@localhost"
_TRAILERS = "Rollback-Release: {release}\nRollback-Patch: {name}\nRollback-Patch-SHA256: {sha256}"
_TOLD = re.compile(
    r"tree (?P<tree>[0-9a-f]+)\nparent (?P<base>[0-9a-f]+)\n"
    rf"author {re.escape(_WHO)} <{re.escape(_EMAIL)}> [0-9]+ \+0000\n"
    rf"committer {re.escape(_WHO)} <{re.escape(_EMAIL)}> [0-9]+ \+0000\n\n"
    r"(?P<release>\S+) with patch (?P<name>\S+)\n\n"
    r"Rollback-Release: (?P=release)\nRollback-Patch: (?P=name)\nRollback-Patch-SHA256: (?P<sha256>[0-9a-f]{64})\n"
)
_KINDS = {"120000": "a symbolic link", "160000": "a submodule"}
_SUBMODULES = ".gitmodules"
_BY_TAG = "Tag a commit that has the change, and roll to that tag."


@dataclass(frozen=True)
class Patch:
    """A patch as it was read: the name under which it is recorded, and its content."""

    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Return the sum of the content."""
        return hashlib.sha256(self.content).hexdigest()


def read_patch(path: str | None, name: str | None) -> Patch | None:
    """Read the patch of the options; none when there is none. Refuse what cannot be one."""
    if not path:
        return None
    name = name or Path(path).name
    if not _NAME.fullmatch(name):
        raise RollbackError(
            f"patch_name={name!r} cannot name a patch. Nothing was changed.",
            "Rename the file: letters, digits, '.', '_', '+' and '-', beginning with a letter or digit, at most 100.",
        )
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe would wait
            regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            content = file.read(LIMIT + 1) if regular else b""
    except IsADirectoryError:
        regular = False
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror or error}"
        raise _refused(name, why, "Name a file that is there.") from error
    if not regular:
        raise _refused(name, f"{path} is no file", "Name the file of a patch.")
    if len(content) > LIMIT:
        raise _refused(name, f"it has more than {LIMIT} bytes", _BY_TAG)
    return Patch(name, content)


def patched_commit(git: Git, base: str, release: str, patch: Patch) -> str:
    """Make the commit of a release with a patch in the repository, and return its id; refuse a patch that does not fit.

    ``base`` is the commit of the release. Neither the tree nor a reference changes.
    """
    date = f"@{git.call('rev-list', '--timestamp', '--max-count=1', base).split()[0]} +0000"
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", _WHO), ("EMAIL", _EMAIL), ("DATE", date))}  # fmt: skip
    with private_directory(git.identity) as folder:
        path = Path(folder, patch.name)
        path.touch(0o600)
        path.write_bytes(patch.content)
        git.identity.hand_over(str(path))
        apart = git.with_environment(GIT_INDEX_FILE=str(Path(folder, "index")), **who)
        apart.call("read-tree", base)
        _apply(apart, path, base, release, patch)
        tree = apart.call("write-tree").strip()
        _refuse_trickery(git, base, tree, patch, release)
        trailers = _TRAILERS.format(release=release, name=patch.name, sha256=patch.sha256)
        words = ("-m", patched_name(release, patch.name), "-m", trailers)
        return apart.call("-c", "i18n.commitEncoding=UTF-8", "commit-tree", tree, "-p", base, *words).strip()


def patched_name(release: str, name: str) -> str:
    """Return how a release with a patch is called."""
    return f"{release} with patch {name}"


def _apply(git: Git, path: Path, base: str, release: str, patch: Patch) -> None:
    """Apply the patch to the index. What the configuration says of white space does not count."""
    code, out, err = git.ask("apply", "--cached", "--whitespace=nowarn", "--no-ignore-whitespace", "--", str(path))
    if code == 0:
        return
    reason = _printable(failure_reason(code, err or out, None).replace(str(path), patch.name))
    raise _refused(
        patch.name,
        f"it does not apply to {release} ({base[:12]}): {reason}",
        "Make it on top of that release: git checkout "
        f"{release}, change and commit, then git format-patch -1 --stdout > {patch.name}.",
    )


def _refuse_trickery(git: Git, base: str, tree: str, patch: Patch, release: str) -> None:
    """Refuse a patch that changes nothing, and one that changes where files lead to."""
    changed = list(_changes(git, base, tree))
    if not changed:
        raise _refused(patch.name, f"it changes nothing of {release}", "Leave it out.")
    for modes, name in changed:
        kinds = [_KINDS[mode] for mode in modes if mode in _KINDS]
        if kinds or name == _SUBMODULES:
            what = f"{name} is {kinds[0]}" if kinds else f"{name} lists submodules"
            raise _refused(patch.name, f"{_printable(what)}, which a patch may not change", _BY_TAG)


def _changes(git: Git, base: str, tree: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the files that differ: the modes before and after, and the name."""
    words = git.names("diff-tree", "-r", "--raw", "--no-renames", "--no-ext-diff", "-z", base, tree)
    for facts, name in zip(words[::2], words[1::2]):
        before, after = facts.lstrip(":").split()[:2]
        yield (before, after), name


def patch_at(git: Git, commit: str) -> dict[str, Any] | None:
    """Return which ``release`` with which patch a commit is, with the ``facts`` of it; none for other commits.

    It is one only when its parent is the commit of the tag that it names.
    """
    code, text, _err = git.ask("cat-file", "commit", commit)
    told = _TOLD.fullmatch(text) if code == 0 else None
    if told is None or git.commit_of(f"refs/tags/{told['release']}") != told["base"]:
        return None
    facts = patch_facts(git, told["base"], told["tree"], told["name"], told["sha256"])
    return {"release": told["release"], "facts": facts}


def patch_facts(git: Git, base: str, patched: str, name: str, sha256: str) -> dict[str, Any]:
    """Return what results say of a patch: its name and sum, the commit that it is on top of, the files it changes."""
    names = [_printable(changed) for _modes, changed in _changes(git, base, patched)]
    return {"name": name, "sha256": sha256, "base": base, "files": names[:_FILES]}


def place(git: Git, commit: str) -> dict[str, Any]:
    """Return how a commit is called: ``describe``, ``release``, and ``patch`` where it is a release with one."""
    found = patch_at(git, commit)
    if found is None:
        return {"describe": git.describe(commit), "release": git.release_at(commit)}
    name = patched_name(found["release"], found["facts"]["name"])
    return {"describe": name, "release": found["release"], "patch": found["facts"]}


def _printable(text: str) -> str:
    """Return text of Git without what a terminal would act on."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(letter if letter.isprintable() else "?" for letter in plain)


def _refused(name: str, why: str, next_step: str) -> RollbackError:
    return RollbackError(f"The patch {name} is refused: {why}. Nothing was changed.", next_step)
