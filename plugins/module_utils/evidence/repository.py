# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the project directory: what Git says of it, which files are there, and those that Git does not hold.

An intruder may have written to the repository. So nothing that its configuration names is run: no hook, no filter, no
external diff, no other program; and nothing is written, not even the index.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RollbackError
from .archive import Archive
from .command import command_chunks
from .host import listed, open_untouched
from .item import CHUNK, CUT, MISSING, REFUSED, TAKEN, Item, NotTaken, json_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..git import Git

    GitOf = Callable[[], Git]

_SECONDS = 300.0
_QUIET = ("-c", "diff.autoRefreshIndex=false", "-c", "log.showSignature=false", "-c", "core.pager=cat")
# A partial clone would fetch what it lacks, with the command that its configuration names.
_CLOSED = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
# Patterns below the project directory that are taken whether or not Git holds them.
_ALWAYS = (".env", ".env.*", "*.env", "compose*.y*ml", "docker-compose*.y*ml", ".git/config", ".git/hooks/*",
           ".git/info/*", ".gitattributes", ".gitmodules")  # fmt: skip
_USER_IN_URL = re.compile(rb"(://)[^/@\s]*@")
_ASKED = (
    ("head.txt", "commit that is checked out, with its tags", ["log", "-1", "--format=fuller", "--decorate=full"]),
    ("status.txt", "edits and files that Git does not know",
     ["status", "--porcelain=v2", "--branch", "--untracked-files=all", "--ignored=matching", "--no-renames",
      "--ignore-submodules=dirty"]),
    ("diff.patch", "edits against the commit", ["diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color",
                                                "--ignore-submodules=dirty", "HEAD"]),
    ("reflog.txt", "which commits were checked out when", ["reflog", "show", "--date=iso-strict", "HEAD"]),
    ("references.txt", "branches, tags and other references", ["for-each-ref"]),
    ("log.txt", "the last 500 commits", ["log", "-500", "--format=fuller", "--stat", "--no-ext-diff",
                                         "--no-textconv"]),
    ("stash.txt", "stashed edits", ["stash", "list", "--date=iso-strict"]),
    ("index.txt", "files that Git holds, with the ids of their content", ["ls-files", "--stage"]),
)  # fmt: skip


def git_items(git_of: GitOf) -> Iterator[Item]:
    """Yield what Git says of the project directory. ``git_of`` gives its repository when an item is read."""
    for name, what, arguments in _ASKED:
        yield Item("repository", f"git/{name}", what, f"git {' '.join(arguments)}",
                   partial(_asked, git_of, arguments), 1 << 18)  # fmt: skip
    yield Item("repository", "git/remotes.txt", "remotes, without user and password",
               "git config --get-regexp ^remote", partial(_remotes, git_of))  # fmt: skip


def file_items(directory: str, git_of: GitOf, limit: int) -> Iterator[Item]:
    """Yield a list of all files of the project directory, and those that Git does not hold."""
    yield Item("project_files", "project/listing.jsonl", "all files of the project directory, without Git's objects",
               f"read of {directory}", partial(_listing, directory), 1 << 20)  # fmt: skip
    yield Item("project_files", "project/files.tar", "files that Git neither holds nor ignores; environment and "
               "Compose files, hooks and configuration of Git", f"read of {directory}",
               partial(_files, directory, git_of, limit), 1 << 22)  # fmt: skip


def _asked(git_of: GitOf, arguments: list[str]) -> Iterator[bytes]:
    git = _repository(git_of)
    yield from _run(git, [*_without_filters(git), *arguments])


def _run(git: Git, arguments: list[str]) -> Iterator[bytes]:
    yield from command_chunks(
        git.argv(*_QUIET, *arguments), environment={**git.variables(), **_CLOSED}, cwd=git.path, seconds=_SECONDS
    )


def _repository(git_of: GitOf) -> Git:
    """Return the repository, or say that there is none."""
    try:
        git = git_of()
    except (RollbackError, OSError) as error:
        raise NotTaken(MISSING, str(error)) from error
    if not Path(git.path, ".git").exists():
        raise NotTaken(MISSING, f"{git.path} is no Git checkout")
    return git


def _without_filters(git: Git) -> list[str]:
    """Return settings that empty every filter of the configuration: Git would run its command to compare files."""
    found = b"".join(_tolerant(_run(git, ["config", "--null", "--name-only", "--get-regexp", "^filter[.]"])))
    names = {os.fsdecode(key).rpartition(".")[0] for key in found.split(b"\0") if key}
    values = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
    return [word for name in sorted(names) for key, value in values for word in ("-c", f"{name}.{key}={value}")]


def _tolerant(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give what a command prints, also one that has nothing to say and returns 1."""
    try:
        yield from chunks
    except NotTaken:
        return


def _remotes(git_of: GitOf) -> Iterator[bytes]:
    found = b"".join(_tolerant(_run(_repository(git_of), ["config", "--get-regexp", r"^remote[.].*[.](push)?url$"])))
    yield _USER_IN_URL.sub(rb"\1", found)


def _listing(directory: str) -> Iterator[bytes]:
    """Give a JSON line for each file below the project directory."""
    for folder, folders, files in os.walk(directory):
        if Path(folder).name == ".git" and "objects" in folders:
            folders.remove("objects")
        for name in sorted((*folders, *files)):
            path = str(Path(folder, name))
            shown = os.fsencode(os.path.relpath(path, directory)).decode("utf-8", "backslashreplace")
            try:
                yield json_line({"path": shown, **listed(path)})
            except OSError as error:
                yield json_line({"path": shown, "why": error.strerror})


def _files(directory: str, git_of: GitOf, limit: int) -> Iterator[bytes]:
    """Give an archive of what Git does not hold, and of what decides how the project runs."""
    top, archive = Path(directory), Archive(limit)
    if not top.is_dir():
        raise NotTaken(MISSING, f"{directory} is no directory")
    names = {str(path.relative_to(top)) for pattern in _ALWAYS for path in top.glob(pattern)}
    try:
        git = _repository(git_of)
        listing = b"".join(_run(git, ["ls-files", "-z", "--others", "--exclude-standard"]))
        names |= {os.fsdecode(name) for name in listing.split(b"\0") if name and not name.endswith(b"/")}
    except NotTaken as lack:
        archive.note("", lack.verdict, lack.why)
    for name in sorted(names):
        yield from _file(top, name, archive)
    yield from archive.end()


def _file(top: Path, name: str, archive: Archive) -> Iterator[bytes]:
    """Give the member of one file; a link is a link, what is neither is only named."""
    path, shown = top / name, os.fsencode(name).decode("utf-8", "backslashreplace")
    try:
        facts = path.lstat()
        member = tarfile.TarInfo(shown)
        member.mode, member.uid, member.gid = stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid
        member.mtime = int(facts.st_mtime)
        if stat.S_ISLNK(facts.st_mode):
            member.type = tarfile.SYMTYPE
            member.linkname = os.fsencode(path.readlink()).decode("utf-8", "backslashreplace")
            yield from archive.member(shown, member, ())
            archive.note(shown, TAKEN, leads_to=member.linkname)
            return
        if stat.S_ISDIR(facts.st_mode):
            return
        with os.fdopen(open_untouched(str(path)), "rb") as file:
            member.size = os.fstat(file.fileno()).st_size
            if not archive.fits(member):
                archive.note(shown, CUT, f"its {member.size} bytes are more than the limit leaves")
                return
            why = yield from archive.member(shown, member, iter(lambda: file.read(CHUNK), b""))
            archive.note(shown, CUT if why else TAKEN, why, bytes=member.size)
    except NotTaken as lack:
        archive.note(shown, lack.verdict, lack.why)
    except OSError as error:
        archive.note(shown, REFUSED, error.strerror or str(error))
