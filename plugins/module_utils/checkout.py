# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the tree of a project on a release, or make a tree of that release beside it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shlex
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import release_tree, saved_work
from .errors import RollbackError
from .git import Git, Status, plain_date, private_directory
from .patched_release import patch_at, patch_facts, patched_commit, patched_name, place, read_patch
from .release import parse_release, release_number
from .release_choice import Choice, Remote, check_pin, check_remote, choose, local_tags, remote_tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .git import Run
    from .release_choice import Named

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PACKAGE_VERSION = re.compile(r"[ -~]{1,100}")
LISTED = 100
_PACKAGE_LIMIT = 1_000_000  # bytes of a package.json that is worth reading
# What lies in the git folder while something is under way, and how to end it.
_UNDER_WAY = (
    ("MERGE_HEAD", "a merge", "git merge --abort"),
    ("rebase-merge", "a rebase", "git rebase --abort"),
    ("rebase-apply", "a rebase or git am", "git rebase --abort or git am --abort"),
    ("CHERRY_PICK_HEAD", "a cherry-pick", "git cherry-pick --abort"),
    ("REVERT_HEAD", "a revert", "git revert --abort"),
    ("BISECT_LOG", "a bisect", "git bisect reset"),
)
DEFAULT_UNTRACKED = (".env", ".env.*", "*.env")


@dataclass(frozen=True)
class Options:
    """The options of the module release_checkout."""

    path: str
    version: str = ""
    undo: str | None = None
    state: str = "checked_out"
    commit: str | None = None
    patch: str | None = None
    patch_name: str | None = None
    patched_commit: str | None = None
    destination: str | None = None
    remote: str = "origin"
    fetch_timeout: float = 60
    verify_signature: bool = False
    local_edits: str = "stash"
    leftovers: str = "report"
    run_id: str | None = None
    copy_untracked: tuple[str, ...] = DEFAULT_UNTRACKED
    check_mode: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The tree before anything changes. ``commit`` and ``branch`` are those before the run, when it was cut off."""

    head: str
    branch: str | None
    place: dict[str, Any]
    since: str | None
    status: Status

    @property
    def dirty(self) -> bool:
        """Tell whether tracked files have edits."""
        return bool(self.status.edited or self.status.submodules_edited)


@dataclass(frozen=True)
class Plan:
    """What must be done to the tree, decided before anything changes."""

    fetch: bool
    move: bool
    edits: list[str]
    in_the_way: list[str]
    removed: list[str]
    left: list[str]
    submodules: list[str]

    @property
    def changed(self) -> bool:
        """Tell whether anything must be done."""
        return bool(self.fetch or self.move or self.edits or self.in_the_way or self.removed or self.submodules)


def release_checkout(options: Options, run: Run) -> dict[str, Any]:
    """Carry out what the options ask for and return the module's result."""
    options = check_options(options)
    git = open_project(options.path, run)
    refuse_unfit(git)
    snapshot = look(git, options)
    local = local_tags(git, options.version)
    remote = _remote(git, options, local)
    choice = choose(options.version, local, remote, options.commit, [tag.name for tag in git.tags()])
    choice = replace(choice, patch=read_patch(options.patch, options.patch_name))
    source = release_tree.Source(git, choice, options.remote, options.fetch_timeout, options.copy_untracked)
    with reader(source) as reading:
        choice = with_patch(reading, choice, options.patched_commit)
        source = replace(source, choice=choice)
        signature = check_signature(reading, choice) if options.verify_signature else {"checked": False, "ok": None}
        result = {
            "release": describe_release(reading, options.version, choice),
            "before": describe_before(git, options, snapshot),
            "remote": describe_remote(remote, choice),
            "package_version": package_version(reading, choice.commit),
            "signature": signature,
            "patch_file": "",
            "warnings": list(choice.warnings),
        }
        if options.state == "prepared":
            return {**result, **prepared(options, source)}
        plan = make_plan(reading, options, snapshot, choice)
        if plan.changed:
            refuse_read_only(
                git, reading.names("diff", "--name-only", "--no-renames", "-z", snapshot.head, choice.commit)
            )
    return checked_out(options, source, snapshot, plan, result)


def with_patch(reading: Git, choice: Choice, wanted: str | None) -> Choice:
    """Return the choice with the commit that its patch makes of it; refuse another one than is ``wanted``."""
    if choice.patch is None:
        return choice
    patched = patched_commit(reading, choice.base, choice.tag, choice.patch)
    release_tree.refuse_other_patched(choice, patched, wanted or patched)
    return replace(choice, patched=patched)


def _remote(git: Git, options: Options, local: Mapping[str, Named]) -> Remote:
    """Ask the remote for the tags of the release, unless its answer could change nothing.

    A full commit id that a tag names here settles which commit is checked out, and users wait for the checkout.
    """
    settled = options.state == "checked_out" and any(one.commit == options.commit for one in local.values())
    if settled:
        return Remote(options.remote, answered=False, asked=False)
    return remote_tags(git, options.remote, options.version, options.fetch_timeout)


def check_options(options: Options) -> Options:
    """Refuse bad input before anything is looked at, and fill in what may be left out."""
    version = "" if options.undo is not None else parse_release(options.version)
    run_id = options.run_id or datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    for option, name in (("run_id", run_id), ("undo", options.undo)):
        if name is not None and not _RUN_ID.fullmatch(name):
            raise RollbackError(
                f"{option}={name!r} cannot name a run. Nothing was changed.",
                "Give letters, digits, '_' and '-', starting with a letter or digit, at most 64 characters.",
            )
    if options.fetch_timeout <= 0:
        raise RollbackError(
            f"fetch_timeout={options.fetch_timeout:g} is no time. Nothing was changed.",
            "Give the seconds that the remote may take, for example 60.",
        )
    if options.state == "prepared" and options.destination:
        release_tree.check_destination(options.path, options.destination)
    pin, remote = check_pin(options.commit), check_remote(options.remote)
    return replace(options, version=version, run_id=run_id, commit=pin, remote=remote)


def open_project(path: str, run: Run) -> Git:
    """Return the project's tree; refuse a path that is no git checkout, or not the top of one."""
    if not Path(path).is_dir():
        raise RollbackError(
            f"path={path} is not a folder. Nothing was changed.",
            "Name the project directory, the folder of the git checkout on the managed host.",
        )
    git = Git(str(Path(path).absolute()), run)
    code, out, err = git.ask("rev-parse", "--show-toplevel")
    if code != 0:
        raise RollbackError(
            f"path={path} is not a git checkout: {err.strip() or out.strip()}. Nothing was changed.",
            "Name the project directory, the folder that holds .git.",
        )
    top = out.rstrip("\n")
    if os.path.realpath(top) != os.path.realpath(path):
        raise RollbackError(
            f"path={path} lies inside a git checkout, but its top is {top}. Nothing was changed.",
            f"Name the top: path={top}",
        )
    return git


def refuse_unfit(git: Git) -> None:
    """Refuse a tree in which something is under way."""
    *paths, lock = git.git_paths(*(name for name, _what, _way_out in _UNDER_WAY), "index.lock")
    for path, (_name, what, way_out) in zip(paths, _UNDER_WAY):
        if os.path.lexists(path):
            raise RollbackError(
                f"In {git.path} {what} is under way. Nothing was changed.",
                f"Finish it, or end it with {way_out}, then try again.",
            )
    if os.path.lexists(lock):
        raise RollbackError(
            f"Another git process works in {git.path}, or one was killed: {lock} exists. Nothing was changed.",
            f"If 'pgrep -a git' shows none there, remove the file: rm {lock}",
        )
    if git.head() is None:
        raise RollbackError(
            f"No commit is checked out in {git.path}. Nothing was changed.",
            "Deploy a release there first; there is nothing to roll back from.",
        )


def refuse_read_only(git: Git, names: list[str]) -> None:
    """Refuse a tree whose repository, or whose folders of the files ``names``, git may not write to.

    In check mode too: a rollback must learn it before it stops a service.
    """
    repository = str(Path(git.path, git.call("rev-parse", "--git-common-dir").rstrip("\n")))
    folders = {str(Path(git.path, name).parent) for name in names} | {git.path}
    found = [folder for folder in sorted(folders) if Path(folder).is_dir()]
    for places, depth in (([repository], []), (found, ["-maxdepth", "0"])):
        looked_for = ["-type", "d", "!", "-writable", "-print", "-quit"]
        _rc, out, _err = git.run([*git.identity.prefix, "find", *places, *depth, *looked_for], timeout=60)
        if out.strip():
            folder = out.rstrip("\n")
            raise RollbackError(
                f"The user {_user(git.identity.uid)} may not write to {folder}. Nothing was changed.",
                "Run as the owner of the project directory (become_user) or as root, or give the folder back to its "
                f"owner: sudo chown -R --reference={shlex.quote(git.path)} {shlex.quote(folder)}",
            )


def _user(uid: int) -> str:
    """Return the name of a user of this host; not every number has one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def look(git: Git, options: Options) -> Snapshot:
    """Return the state of the tree; refuse edits that cannot be saved, or that shall not be touched."""
    head = git.head() or ""
    status = git.status()
    if status.unmerged:
        raise _refuse_edits(git, "has files with unresolved conflicts", status.unmerged, "Resolve them (git status)")
    if status.intended:
        way_out = "Add them (git add) or take them out of the index (git reset)"
        raise _refuse_edits(git, "has files that were added with --intent-to-add", status.intended, way_out)
    if status.submodules_edited:
        way_out = "Save them in each submodule (git stash or git commit)"
        raise _refuse_edits(git, "has edits inside of submodules", status.submodules_edited, way_out)
    hidden = hidden_edits(git)
    if hidden:
        way_out = f"Show them to Git: {git.shown('update-index', '--no-skip-worktree', '--no-assume-unchanged')} FILE"
        raise _refuse_edits(git, "has edits that Git was told not to see", hidden, way_out)
    if status.edited and options.local_edits == "fail":
        raise _refuse_edits(git, "has local edits", status.edited, "Commit them, or use local_edits=stash")
    return Snapshot(head, git.branch(), place(git, head), git.checked_out_since(head), status)


def _refuse_edits(git: Git, what: str, names: list[str], way_out: str) -> RollbackError:
    """Return the refusal of edits, with the files."""
    few = ", ".join(readable(names[:5])) + (" and more" if len(names) > 5 else "")  # noqa: PLR2004 - enough to know
    return RollbackError(
        f"The tree {git.path} {what}: {few}. Nothing was changed.",
        f"{way_out}, then try again.",
        local_edits={"files": readable(names), "ref": None, "commit": None},
    )


def hidden_edits(git: Git) -> list[str]:
    """Return edited files that are marked skip-worktree or assume-unchanged: git status does not show them."""
    marked = [entry[2:] for entry in git.names("ls-files", "-v", "-z") if entry[0] == "S" or entry[0].islower()]
    present = [name for name in marked if Path(git.path, name).is_file()]
    return [name for name in present if git.line("hash-object", "--", name) != git.object_of(f":0:{name}")]


@contextlib.contextmanager
def reader(source: release_tree.Source) -> Iterator[Git]:
    """Yield the project's repository with the release's objects at hand, without writing to it.

    What is missing is fetched into a private repository, so that everything can be checked before anything changes.
    With a patch there always is one, and what is written goes there.
    """
    git, choice = source.project, source.choice
    missing = not (git.has(choice.base) and git.has(choice.named.tag_object))
    if not missing and choice.patch is None:
        yield git
        return
    with private_directory(git.identity) as folder:
        borrowed = release_tree.borrow(source, folder)
        if missing:
            release_tree.fetch_tag(borrowed, source, f"refs/tags/{choice.tag}")
        # The private repository borrows the objects of the project, so both are read.
        more = {"GIT_OBJECT_DIRECTORY": str(Path(folder, ".git/objects"))}
        shallow = Path(folder, ".git/shallow")
        if shallow.exists():
            more["GIT_SHALLOW_FILE"] = str(shallow)
        yield git.with_environment(**more)


def check_signature(git: Git, choice: Choice) -> dict[str, Any]:
    """Check the signature of the tag, of the commit if the tag has no object of its own. A bad one is a refusal."""
    named = choice.named
    annotated = named.tag_object != named.commit
    verb = "verify-tag" if annotated else "verify-commit"
    code, out, err = git.ask(verb, "--raw", named.tag_object)
    if code == 0 and annotated and f"\ntag {choice.tag}\n" not in git.call("cat-file", "tag", named.tag_object):
        code, err = 1, "the signed tag has another name"
    if code != 0:
        lines = [line for line in (err or out).splitlines() if line.strip()]
        raise RollbackError(
            f"The signature of {choice.tag} ({choice.commit[:12]}) is missing or not good: "
            f"{'; '.join(lines[-2:]) or 'there is none'}. The tree was not moved.",
            "Check who made the release. If you trust it without a signature, set verify_signature=false and pin it "
            f"with commit={choice.commit[:12]}.",
            signature={"checked": True, "ok": False},
        )
    return {"checked": True, "ok": True}


def describe_release(git: Git, version: str, choice: Choice) -> dict[str, Any]:
    """Return what is known about the release."""
    return {
        "name": version,
        "number": release_number(version),
        "tag": choice.tag,
        "commit": choice.commit,
        "date": plain_date(git.call("show", "--no-patch", "--format=%cI", choice.commit).strip()),
        **_patch_of(git, choice),
    }


def _patch_of(git: Git, choice: Choice) -> dict[str, Any]:
    """Return the facts about the patch under ``patch``; nothing without one."""
    if choice.patch is not None:
        return {"patch": patch_facts(git, choice.base, choice.commit, choice.patch.name, choice.patch.sha256)}
    found = patch_at(git, choice.commit)
    return {"patch": found["facts"]} if found else {}


def describe_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return the state before."""
    return {
        "commit": snapshot.head,
        "branch": snapshot.branch,
        **snapshot.place,
        "since": snapshot.since,
        "dirty": snapshot.dirty,
    }


def describe_before(git: Git, options: Options, snapshot: Snapshot) -> dict[str, Any]:
    """Return the state before; for a plan of a run that was cut off, the one before that run."""
    run_id = options.run_id or ""
    commit, branch = saved_work.position(git, run_id)
    if options.state != "prepared" or commit is None:
        return describe_snapshot(snapshot)
    return {
        "commit": commit,
        "branch": branch,
        **place(git, commit),
        "since": git.checked_out_since(commit, earlier=True),
        "dirty": bool(saved_work.saved(git, run_id, saved_work.EDITS)),
    }


def describe_remote(remote: Remote, choice: Choice) -> dict[str, Any]:
    """Return what the remote said."""
    there = remote.tags.get(choice.tag)
    return {"name": remote.name, "answered": remote.answered, "commit": there.commit if there else None}


def package_version(git: Git, commit: str) -> str | None:
    """Return the version that package.json of the release states. The file is untrusted input."""
    size = git.line("cat-file", "-s", f"{commit}:package.json")
    if size is None or int(size) > _PACKAGE_LIMIT:
        return None
    try:
        content = json.loads(git.call("cat-file", "blob", f"{commit}:package.json"))
    except (ValueError, RecursionError, RollbackError):
        return None
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, str) and _PACKAGE_VERSION.fullmatch(version) else None


def make_plan(git: Git, options: Options, snapshot: Snapshot, choice: Choice) -> Plan:
    """Decide what must be done to the tree. Nothing is written."""
    move = snapshot.head != choice.commit
    in_the_way = files_in_the_way(git, choice.commit) if move else []
    ours = set(in_the_way)
    untracked = [name for name in snapshot.status.untracked if name not in ours]
    removed: list[str] = []
    if options.leftovers == "remove":
        # Compose needs its environment files, although an older release may not know that they are to be ignored.
        kept = set(release_tree.untracked_files(git, options.copy_untracked))
        removed = [name for name in untracked if name not in kept and not name.endswith("/")]
    left = [name for name in untracked if name not in set(removed)]
    fetch = not choice.here and (not choice.moved or not source_has(git, choice))
    return Plan(fetch, move, snapshot.status.edited, in_the_way, removed, left, snapshot.status.submodules_moved)


def source_has(git: Git, choice: Choice) -> bool:
    """Tell whether the commit is in the project's own repository, whatever else is at hand for reading."""
    return Git(git.path, git.run, git.identity).has(choice.base)


def files_in_the_way(git: Git, commit: str) -> list[str]:
    """Return files that Git does not track now, ignored ones too, and that the release would overwrite."""
    tracked = set(git.names("ls-files", "-z"))
    entries = [entry.partition("\t") for entry in git.names("ls-tree", "-r", "-z", commit)]
    new = [name for kind, _tab, name in entries if name not in tracked and not kind.startswith("160000")]
    return sorted({found for name in new for found in _in_the_way(git.path, name, tracked)})


def _in_the_way(top: str, name: str, tracked: set[str]) -> list[str]:
    """Return what stands in place of one of the folders of the file ``name``, of the file, or in a folder so named."""
    parts = name.split("/")
    for count in range(1, len(parts)):
        folder = "/".join(parts[:count])
        path = Path(top, folder)
        if not os.path.lexists(path):
            return []
        if path.is_symlink() or not path.is_dir():
            return [] if folder in tracked else [folder]
    path = Path(top, name)
    if not os.path.lexists(path):
        return []
    if path.is_symlink() or not path.is_dir():
        return [name]
    return [found for found in _files_below(top, name) if found not in tracked]


def _files_below(top: str, name: str) -> Iterator[str]:
    """Yield every file and link below a folder, as a path from the top."""
    for folder, folders, files in os.walk(Path(top, name)):
        links = [entry for entry in folders if Path(folder, entry).is_symlink()]
        for entry in files + links:
            yield os.path.relpath(Path(folder, entry), top)


def prepared(options: Options, source: release_tree.Source) -> dict[str, Any]:
    """Make the tree beside the project and return its part of the result."""
    destination, done = release_tree.prepare_at(source, options.path, options.destination)
    tree = Git(destination, source.project.run, source.project.identity)
    choice = source.choice
    now = f"tree: {destination}\ncommit: {choice.commit}\n"
    return {
        "changed": bool(done["made"] or done["copied"] or done["removed"]),
        "after": {"commit": choice.commit, **place(tree, choice.commit), "release": choice.tag},
        "local_edits": {"files": [], "ref": None, "commit": None},
        "leftovers": {"files": [], "count": 0, "removed": [], "ref": None},
        "fetched": done["made"] and not choice.here,
        "tree": destination,
        "patch_file": release_tree.keep_patch(source, destination),
        "copied": readable(done["copied"]),
        "undo": [],
        "diff": {"before": "" if done["made"] else now, "after": now},
    }


def checked_out(
    options: Options, source: release_tree.Source, snapshot: Snapshot, plan: Plan, result: dict[str, Any]
) -> dict[str, Any]:
    """Carry out the plan, unless it is only asked for, and return the whole result."""
    git, run_id = source.project, options.run_id or ""
    if plan.changed and not options.check_mode:
        apply(options, source, snapshot, plan)
        undo = undo_commands(git, run_id, snapshot, plan)
        left = verify(git, source.choice, undo).untracked
    else:
        undo, left = undo_commands(git, run_id, snapshot, plan), plan.left
    return {
        **result,
        "changed": plan.changed,
        "after": _after(git, options, source.choice, plan, result["release"]),
        "local_edits": _edits_result(git, run_id, plan),
        "leftovers": {
            "files": readable(left[:LISTED]),
            "count": len(left),
            "removed": readable([*plan.in_the_way, *plan.removed]),
            "ref": _first(saved_work.saved(git, run_id, saved_work.UNTRACKED)),
        },
        "fetched": plan.fetch,
        "tree": git.path,
        "copied": [],
        "undo": undo,
        "diff": diff(snapshot, source.choice, plan, run_id),
    }


def _after(git: Git, options: Options, choice: Choice, plan: Plan, release: dict[str, Any]) -> dict[str, Any]:
    """Return the state after, observed, or predicted in check mode."""
    if not plan.changed or not options.check_mode:
        commit = git.head() or "HEAD"
        return {"commit": commit, **place(git, commit)}
    if choice.patch is not None:
        name = patched_name(choice.tag, choice.patch.name)
        return {"commit": choice.commit, "describe": name, "release": choice.tag, "patch": release["patch"]}
    if choice.here and git.has(choice.commit):
        return {"commit": choice.commit, **place(git, choice.commit)}
    return {"commit": choice.commit, "describe": choice.tag, "release": choice.tag}


def _edits_result(git: Git, run_id: str, plan: Plan) -> dict[str, Any]:
    """Return which local edits there were and where they are kept: what the run saved first is the operator's work."""
    ref = _first(saved_work.saved(git, run_id, saved_work.EDITS))
    return {"files": readable(plan.edits), "ref": ref, "commit": git.object_of(ref) if ref else None}


def _first(names: list[str]) -> str | None:
    """Return the first name, or None."""
    return names[0] if names else None


def apply(options: Options, source: release_tree.Source, snapshot: Snapshot, plan: Plan) -> None:
    """Do what the plan says: fetch, save, then move. Every step may be the last one, and nothing is lost."""
    git, choice, run_id = source.project, source.choice, options.run_id or ""
    if plan.fetch:
        private = saved_work.reference(run_id, "release")
        release_tree.fetch_tag(git, source, private if choice.moved else f"refs/tags/{choice.tag}")
    if choice.patch is not None:
        release_tree.make_patched(git, choice)
        saved_work.keep(git, run_id, saved_work.PATCHED, choice.commit, ("^{commit}",))
    save(git, run_id, snapshot, plan)
    try:
        if plan.move or plan.edits:
            git.call("checkout", "--quiet", "--force", "--detach", choice.commit)
        release_tree.update_submodules(git, options.fetch_timeout)
    except RollbackError as error:
        undo = undo_commands(git, run_id, snapshot, plan)
        raise RollbackError(
            f"The tree could not be put on {choice.tag}: {error.msg}. It may be in between; nothing is lost.",
            f"Remove the cause and run again, or put it back: {' && '.join(undo)}",
            undo=undo,
        ) from error


def save(git: Git, run_id: str, snapshot: Snapshot, plan: Plan) -> None:
    """Save what is in the tree, the position last, and then take away what is in the way."""
    if plan.edits:
        saved_work.save_edits(git, run_id)
    for name in plan.submodules:
        inner = Git(str(Path(git.path, name)), git.run, git.identity)
        ref = saved_work.reference(run_id, saved_work.BEFORE)
        if inner.object_of(ref) is None:
            inner.call("update-ref", ref, "HEAD")
    going = sorted({*plan.in_the_way, *plan.removed})
    if going:
        saved_work.save_files(git, run_id, going)
    saved_work.save_position(git, run_id, snapshot.head, snapshot.branch)
    if going:
        saved_work.remove_files(git, going)


def verify(git: Git, choice: Choice, undo: list[str]) -> Status:
    """Look at the tree: it must be the release's, without edits. Return what was seen."""
    head, status = git.head(), git.status()
    wrong = [*status.edited, *status.unmerged, *status.submodules_edited, *status.submodules_moved]
    if head == choice.commit and not wrong:
        return status
    what = f"these files differ from it: {', '.join(readable(wrong[:5]))}" if wrong else f"HEAD is {head}"
    raise RollbackError(
        f"The tree {git.path} is not what {choice.tag} is: {what}. Local edits and files were saved before.",
        f"Look at it: {git.shown('status')}. To put it back: {' && '.join(undo)}",
        undo=undo,
    )


def undo_commands(git: Git, run_id: str, snapshot: Snapshot, plan: Plan, *, force: bool = False) -> list[str]:
    """Return the commands that put the tree back as it was before the run, also for a run that was cut off.

    With ``force`` they go over edits, which are those that the run itself has put into the tree.
    """
    commit, branch = saved_work.position(git, run_id)
    if commit is None:
        if not plan.changed:
            return []
        commit, branch = snapshot.head, snapshot.branch
    edits = saved_work.saved(git, run_id, saved_work.EDITS)
    if plan.edits and not edits:
        edits = [saved_work.reference(run_id, saved_work.EDITS)]
    files = saved_work.saved(git, run_id, saved_work.UNTRACKED)
    if (plan.in_the_way or plan.removed) and not files:
        files = [saved_work.reference(run_id, saved_work.UNTRACKED)]
    over = ["--force"] if force else []
    where = [branch, "--"] if branch else ["--detach", commit]
    back = [git.shown("checkout", *over, *where)]
    back += [git.shown("restore", "--overlay", "--worktree", f"--source={ref}", "--", ":/") for ref in files]
    if edits:
        back.append(git.shown("stash", "apply", "--index", edits[0]))
    return back + _undo_submodules(git, run_id, plan, commit)


def _undo_submodules(git: Git, run_id: str, plan: Plan, commit: str) -> list[str]:
    """Return the commands for the submodules: those of the commit, then those that were elsewhere."""
    commands = []
    if git.object_of(f"{commit}:.gitmodules") is not None:
        commands.append(git.shown("submodule", "update", "--init", "--recursive"))
    for name in plan.submodules:
        inner = Git(str(Path(git.path, name)), git.run, git.identity)
        commands.append(inner.shown("checkout", "--detach", saved_work.reference(run_id, saved_work.BEFORE)))
    return commands


def diff(snapshot: Snapshot, choice: Choice, plan: Plan, run_id: str) -> dict[str, str]:
    """Return the tree before and after in words."""
    before = {
        "commit": snapshot.head,
        "describe": snapshot.place["describe"],
        "branch": snapshot.branch or "none",
        "local edits": ", ".join(readable(snapshot.status.edited)) or "none",
        "untracked": ", ".join(readable([*plan.in_the_way, *plan.removed])) or "nothing in the way",
    }
    if not plan.changed:
        return {"before": _text(before), "after": _text(before)}
    moved = {
        "commit": choice.commit,
        "describe": _called(choice) if plan.move else snapshot.place["describe"],
        "branch": "none" if plan.move or plan.edits else before["branch"],
        "local edits": f"saved in {saved_work.reference(run_id, saved_work.EDITS)}" if plan.edits else "none",
        "untracked": "nothing in the way",
    }
    if plan.in_the_way or plan.removed:
        moved["untracked"] = f"saved in {saved_work.reference(run_id, saved_work.UNTRACKED)}"
    return {"before": _text(before), "after": _text(moved)}


def _called(choice: Choice) -> str:
    """Return how the choice is called: by its tag, and its patch if it has one."""
    return patched_name(choice.tag, choice.patch.name) if choice.patch else choice.tag


def _text(values: dict[str, str | None]) -> str:
    """Return one line for each value."""
    return "".join(f"{name}: {value}\n" for name, value in values.items())


def readable(names: list[str]) -> list[str]:
    """Return names that can be shown; bytes that are no UTF-8 are written as escapes."""
    return [name.encode("utf-8", "backslashreplace").decode("utf-8") for name in names]
