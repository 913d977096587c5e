# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The git command line on one tree: as the tree's owner, without prompts, without hooks, with typed answers."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import RollbackError
from .release import is_release, version_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[..., tuple[int, str, str]]

# Variables that would point git at another repository than the one that is named. git itself lists them with
# 'git rev-parse --local-env-vars'.
_MISLEADING = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_INDEX_FILE",
    "GIT_NAMESPACE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
)  # fmt: skip
# A hook may fail or change the tree again. Background maintenance would outlive the call.
_SETTINGS = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "advice.detachedHead=false", "gc.auto=0",
    "maintenance.auto=false", "submodule.recurse=false",
)  # fmt: skip
_TIMED_OUT = (124, 137)  # timeout(1): the limit was reached; SIGKILL was needed
_TAG_FORMAT = "%00".join(
    f"%({name})"
    for name in (
        "refname:strip=2", "objecttype", "objectname", "committerdate:iso-strict", "*objecttype", "*objectname",
        "*committerdate:iso-strict", "subject",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """As whom git runs: a prefix of argv and the variables of that user."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def hand_over(self, path: str) -> None:
        """Give a file or folder that we have just made to this user."""
        if self.prefix:
            os.lchown(path, self.uid, self.gid)


@dataclass(frozen=True)
class Tag:
    """A tag that names a release. ``date`` is the commit's, in ISO 8601."""

    name: str
    commit: str
    date: str
    subject: str


@dataclass(frozen=True)
class Status:
    """What ``git status`` says: tracked files with edits, and untracked files that are not ignored.

    ``intended`` are files of ``git add --intent-to-add``; ``unmerged`` have conflicts. Git can stash neither.
    """

    edited: list[str]
    unmerged: list[str]
    intended: list[str]
    untracked: list[str]
    submodules_moved: list[str]
    submodules_edited: list[str]


def identity_of_owner(path: str) -> Identity:
    """Return the identity with which git must run on the tree at ``path``.

    Root becomes the owner, so that nothing of the tree runs as root and no file changes hands. Anybody else stays
    what he is, and the tree is declared safe for the one call, never in a configuration file.
    """
    status = Path(path).stat()
    us = os.geteuid()
    if us == status.st_uid:
        return Identity(us, os.getegid())
    if us != 0:
        return Identity(us, os.getegid(), settings=(f"safe.directory={os.path.realpath(path)}",))
    return _identity_of_user(status.st_uid, status.st_gid)


def _identity_of_user(uid: int, gid: int) -> Identity:
    """Return the identity of another user, for root."""
    if shutil.which("setpriv") is None:
        raise RollbackError(
            "The command setpriv is missing on the managed host. Nothing was changed.",
            "Install it (package util-linux), or run the task as the owner of the project directory (become_user).",
        )
    home, name, groups = "/", str(uid), "--clear-groups"
    with contextlib.suppress(KeyError):  # a number without an entry, such as a container's user
        entry = pwd.getpwuid(uid)
        home, name, gid, groups = entry.pw_dir, entry.pw_name, entry.pw_gid, "--init-groups"
    return Identity(
        uid,
        gid,
        ("setpriv", f"--reuid={uid}", f"--regid={gid}", groups, "--"),
        (),
        {"HOME": home, "XDG_CONFIG_HOME": str(Path(home, ".config")), "USER": name, "LOGNAME": name},
    )


@contextlib.contextmanager
def private_directory(identity: Identity) -> Iterator[str]:
    """Yield a folder of mode 0700 that the identity may write to; it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="usdx-rollback-") as path:
        identity.hand_over(path)
        yield path


class Git:
    """One work tree, or one bare repository, and what can be asked of it.

    ``run`` is ``run(argv, cwd=, environment=, timeout=) -> (rc, stdout, stderr)``.
    Every method raises ``RollbackError`` with what git said when git fails unexpectedly.
    """

    def __init__(
        self, path: str, run: Run, identity: Identity | None = None, environment: dict[str, str] | None = None
    ) -> None:
        """Find out as whom to run; nothing is started yet."""
        if shutil.which("git") is None:
            raise RollbackError(
                "The command git is missing on the managed host. Nothing was changed.",
                "Install it there: apt-get install git, or dnf install git.",
            )
        self.path = path
        self.run = run
        self.identity = identity or identity_of_owner(path)
        self.environment = environment or {}

    def with_environment(self, **environment: str) -> Git:
        """Return the same tree, asked with more variables."""
        return Git(self.path, self.run, self.identity, {**self.environment, **environment})

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line with everything that makes a call predictable."""
        misleading = [name for name in _MISLEADING if name in os.environ and name not in self.environment]
        unset = ["env", *(f"--unset={name}" for name in misleading)] if misleading else []
        settings = [word for setting in (*_SETTINGS, *self.identity.settings) for word in ("-c", setting)]
        return [*unset, *self.identity.prefix, "git", "-C", self.path, *settings, *arguments]

    def shown(self, *arguments: str) -> str:
        """Return a command line for an operator to type, quoted for a shell."""
        settings = [word for setting in self.identity.settings for word in ("-c", setting)]
        return shlex.join([*self.identity.prefix, "git", "-C", self.path, *settings, *arguments])

    def ask(self, *arguments: str, timeout: float | None = None) -> tuple[int, str, str]:
        """Run git and return ``(rc, stdout, stderr)``."""
        return self.run(self.argv(*arguments), cwd=self.path, environment=self.variables(), timeout=timeout)

    def variables(self) -> dict[str, str]:
        """Return the variables with which git is run."""
        return {
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",  # a look at a tree must not write its index
            "GIT_LITERAL_PATHSPECS": "0",
            "GIT_EDITOR": "true",
            **self.identity.environment,
            **self.environment,
        }

    def call(self, *arguments: str, timeout: float | None = None) -> str:
        """Run git and return what it printed; a failure is a ``RollbackError``."""
        code, out, err = self.ask(*arguments, timeout=timeout)
        if code != 0:
            reason = failure_reason(code, err or out, timeout)
            raise RollbackError(
                f"git {arguments[0]} failed in {self.path}: {reason}",
                f"See it for yourself: {self.shown(*arguments)}",
                command=self.shown(*arguments),
                rc=code,
            )
        return out

    def line(self, *arguments: str) -> str | None:
        """Return the one line that git printed, or None when it says no."""
        code, out, _err = self.ask(*arguments)
        return out.strip() if code == 0 and out.strip() else None

    def names(self, *arguments: str) -> list[str]:
        """Return the names that git printed with ``-z``."""
        return [name for name in self.call(*arguments).split("\0") if name]

    def network_environment(self) -> dict[str, str]:
        """Return variables that keep ssh from asking; a command that the user has set is kept."""
        chosen = "GIT_SSH_COMMAND" in os.environ or "GIT_SSH" in os.environ
        if chosen or self.line("config", "core.sshCommand"):
            return {"SSH_ASKPASS_REQUIRE": "never"}
        return {"SSH_ASKPASS_REQUIRE": "never", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}

    def top(self) -> str | None:
        """Return the top of the work tree that the path lies in, or None when it lies in none."""
        return self.line("rev-parse", "--show-toplevel")

    def git_path(self, name: str) -> str:
        """Return the absolute path of something inside the repository, such as ``objects`` or ``index.lock``."""
        return str(Path(self.path, self.call("rev-parse", "--git-path", name).rstrip("\n")))

    def git_paths(self, *names: str) -> list[str]:
        """Return the absolute paths of several things inside the repository, with one call where that can be read."""
        found = self.call("rev-parse", *(word for name in names for word in ("--git-path", name)))
        lines = found.rstrip("\n").split("\n")
        if len(lines) != len(names):  # the name of a folder may hold a line feed
            return [self.git_path(name) for name in names]
        return [str(Path(self.path, line)) for line in lines]

    def object_of(self, expression: str) -> str | None:
        """Return the id that an expression names, or None."""
        return self.line("rev-parse", "--verify", "--quiet", "--end-of-options", expression)

    def commit_of(self, reference: str) -> str | None:
        """Return the commit that a reference leads to, or None."""
        return self.object_of(f"{reference}^{{commit}}")

    def has(self, commit: str) -> bool:
        """Tell whether the commit and its files are in this repository."""
        return self.ask("cat-file", "-e", f"{commit}^{{tree}}")[0] == 0

    def head(self) -> str | None:
        """Return the commit that is checked out, or None before the first commit."""
        return self.commit_of("HEAD")

    def checked_out_since(self, commit: str, *, earlier: bool = False) -> str | None:
        """Return since when HEAD is this commit, ISO 8601, as far back as the reflog tells; None when it is not.

        With ``earlier``, since when it was, the last time that it was.
        """
        since = None
        for line in (self.line("log", "-g", "--format=%H %gd", "--date=iso-strict", "-50", "HEAD") or "").splitlines():
            there, _space, selector = line.partition(" ")
            if there == commit:
                since = selector.partition("{")[2].rstrip("}")
            elif since is not None or not earlier:
                break
        return since

    def branch(self) -> str | None:
        """Return the branch that is checked out, or None for a detached HEAD."""
        return self.line("symbolic-ref", "--quiet", "--short", "HEAD")

    def describe(self, commit: str = "HEAD") -> str | None:
        """Return the commit in words: its tag, or the nearest tag and the distance, or its short id."""
        return self.line("describe", "--tags", "--always", commit)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Tell whether ``older`` is in the history of ``newer``. A shallow clone knows no more than it has."""
        return self.ask("merge-base", "--is-ancestor", older, newer)[0] == 0

    def is_shallow(self) -> bool:
        """Tell whether the history is cut off."""
        return self.line("rev-parse", "--is-shallow-repository") == "true"

    def tags(self) -> list[Tag]:
        """Return all tags with a release's name, newest commit first, of one date the higher version first."""
        lines = self.call("for-each-ref", f"--format={_TAG_FORMAT}", "refs/tags/").splitlines()
        tags = [tag for tag in map(_parse_tag, lines) if tag is not None]
        return sorted(tags, key=lambda tag: (datetime.fromisoformat(tag.date), version_order(tag.name)), reverse=True)

    def release_at(self, commit: str) -> str | None:
        """Return the tag with a release's name on a commit, the highest version if there are several."""
        names = self.call("tag", "--points-at", commit).split()
        return max((name for name in names if is_release(name)), key=version_order, default=None)

    def status(self) -> Status:
        """Return edits and untracked files; the index is not refreshed on disk."""
        return parse_status(
            self.call(
                "status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignore-submodules=none", "--no-renames"
            )
        )


def failure_reason(code: int, text: str, timeout: float | None) -> str:
    """Return in one line why git failed."""
    if timeout is not None and code in _TIMED_OUT:
        return f"no answer within {timeout:g} s"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    return "; ".join(telling[:3]) or f"return code {code}"


def _parse_tag(line: str) -> Tag | None:
    """Read one line in ``_TAG_FORMAT``; None for a tag that names no release or no commit."""
    name, kind, commit, date, inner_kind, inner_commit, inner_date, subject = line.split("\0", 7)
    if not is_release(name):
        return None
    if kind == "commit":
        return Tag(name, commit, plain_date(date), subject)
    if inner_kind == "commit":
        return Tag(name, inner_commit, plain_date(inner_date), subject)
    return None


def plain_date(date: str) -> str:
    """Return an ISO date with its zone in digits: git 2.45 and later write Z, which Python 3.9 does not read."""
    return f"{date[:-1]}+00:00" if date.endswith("Z") else date


def parse_status(text: str) -> Status:
    """Read ``git status --porcelain=v2 -z --no-renames``, as https://git-scm.com/docs/git-status says."""
    status = Status([], [], [], [], [], [])
    for entry in text.split("\0"):
        kind = entry[:2]
        if kind == "? ":
            status.untracked.append(entry[2:])
        elif kind == "u ":
            status.unmerged.append(entry.split(" ", 10)[10])
        elif kind == "1 ":
            _add_edit(status, entry)
    return status


def _add_edit(status: Status, entry: str) -> None:
    """Sort one changed entry: an edited file, or a submodule that is elsewhere or has edits of its own."""
    _kind, states, submodule, _head, _index, _tree, _old, _new, path = entry.split(" ", 8)
    if submodule.startswith("S"):
        if submodule[2] == "M":
            status.submodules_edited.append(path)
        if submodule[1] == "C":
            status.submodules_moved.append(path)
        if states[0] == ".":
            return
    if states == ".A":
        status.intended.append(path)
    status.edited.append(path)
