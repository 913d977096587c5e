# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the tree of a project back as it was before a run, or make such a tree beside it. No remote is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import checkout, release_tree, saved_work
from .checkout import Options
from .errors import RollbackError
from .git import Git
from .patched_release import place
from .release_choice import Choice, Named, Remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .checkout import Plan, Snapshot
    from .git import Run

_SUBMODULE = "160000"


@dataclass(frozen=True)
class Former:
    """What a run saved of the tree before it changed it.

    ``branch`` is the one to be checked out again, none when HEAD was detached or the branch went on since; ``files``
    are those that Git did not track, ``submodules`` those that are there, each with the commit it was on.
    """

    commit: str
    branch: str | None = None
    edits: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    submodules: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def checkout_as_asked(options: dict[str, Any], run: Run, *, check: bool) -> dict[str, Any]:
    """Check out, or undo a checkout, as the options of the module say it."""
    values = {**options, "version": options["version"] or "", "copy_untracked": tuple(options["copy_untracked"])}
    asked = Options(**values, check_mode=check)
    return (checkout.release_checkout if asked.undo is None else undo_checkout)(asked, run)


def undo_checkout(options: Options, run: Run) -> dict[str, Any]:
    """Carry out what the options ask for with ``undo`` and return the module's result."""
    options = checkout.check_options(options)
    if options.undo == options.run_id:
        raise RollbackError(
            f"undo and run_id both name the run {options.undo}. Nothing was changed.",
            "An undo is a run of its own: give another run_id.",
        )
    git = checkout.open_project(options.path, run)
    checkout.refuse_unfit(git)
    snapshot = checkout.look(git, replace(options, local_edits="stash"))
    former = read_former(git, options.undo or "")
    source = _source(git, options, former or Former(snapshot.head, snapshot.branch))
    result = {
        "release": describe_release(git, source.choice),
        "before": checkout.describe_before(git, options, snapshot),
        "remote": checkout.describe_remote(Remote(options.remote, answered=False, asked=False), source.choice),
        "package_version": checkout.package_version(git, source.choice.commit),
        "signature": {"checked": False, "ok": None},
        "warnings": list(former.warnings) if former else [],
    }
    if options.state == "prepared":
        if former is None:
            source = replace(source, present=tuple(snapshot.status.edited))
        made = checkout.prepared(options, source)
        after = {"commit": source.choice.commit, **place(git, source.choice.commit)}
        return {**result, **made, "after": after}
    return _checked_out(options, source, former, snapshot, result)


def read_former(git: Git, run_id: str) -> Former | None:
    """Return what the run saved; none when it was cut off before it changed the tree, or did not need to."""
    commit, branch = saved_work.position(git, run_id)
    if commit is None:
        return None
    why = _why_detached(git, branch, commit) if branch else ""
    warnings = [f"The branch {branch} {why}; so HEAD is detached at {commit[:12]}, as before the run {run_id}."]
    edits = saved_work.saved(git, run_id, saved_work.EDITS)
    refs = saved_work.saved(git, run_id, saved_work.UNTRACKED)
    tracked = set(git.names("ls-tree", "-r", "--name-only", "--full-tree", "-z", commit))
    saved = saved_work.files_of(git, [git.commit_of(ref) or ref for ref in refs])
    return Former(
        commit,
        None if why else branch,
        git.commit_of(edits[0]) if edits else None,
        {name: holder for name, holder in saved.items() if name not in tracked},
        _submodules(git, run_id, commit),
        tuple(warnings if why else ()),
    )


def _why_detached(git: Git, branch: str, commit: str) -> str:
    """Return why the branch cannot be checked out again, or an empty text."""
    tip = git.commit_of(f"refs/heads/{branch}")
    if tip is None:
        return "is gone"
    if tip != commit:
        return f"is at {tip[:12]} now, no longer at {commit[:12]}"
    place = git.line("for-each-ref", "--format=%(worktreepath)", f"refs/heads/{branch}")
    if place and os.path.realpath(place) != os.path.realpath(git.path):
        return f"is checked out in {place}"
    return ""


def _submodules(git: Git, run_id: str, commit: str) -> dict[str, str]:
    """Return the submodules of the commit that are there, with where they were before the run."""
    found = {}
    for entry in git.names("ls-tree", "-r", "--full-tree", "-z", commit):
        kind, _tab, name = entry.partition("\t")
        if not kind.startswith(_SUBMODULE) or not Path(git.path, name, ".git").exists():
            continue
        inner = Git(str(Path(git.path, name)), git.run, git.identity)
        found[name] = inner.commit_of(saved_work.reference(run_id, saved_work.BEFORE)) or kind.split()[2]
    return found


def _source(git: Git, options: Options, former: Former) -> release_tree.Source:
    tag = place(git, former.commit)["release"] or ""
    named = Named((git.object_of(f"refs/tags/{tag}") if tag else None) or former.commit, former.commit)
    return release_tree.Source(
        git, Choice(tag, named, here=True), options.remote, options.fetch_timeout, options.copy_untracked,
        former.edits, former.files,
    )  # fmt: skip


def describe_release(git: Git, choice: Choice) -> dict[str, Any]:
    """Return what is known about the commit; a commit without a tag is named in words and has no number."""
    if choice.tag:
        return checkout.describe_release(git, choice.tag, choice)
    name = git.describe(choice.commit) or choice.commit[:12]
    return {**checkout.describe_release(git, name, choice), "number": None, "tag": None}


def differing(git: Git, former: Former) -> list[str]:
    """Return what is not as it was: files, submodules, and HEAD for a commit or a branch."""
    status = git.status()
    if git.head() != former.commit or (former.branch and git.branch() != former.branch):
        return ["HEAD"]
    edited = saved_work.edits_missing(git, former.edits) if former.edits else status.edited
    files = saved_work.differing_files(git, former.files)
    moved = [name for name, commit in former.submodules.items() if _inner(git, name).head() != commit]
    return [*edited, *status.unmerged, *status.submodules_edited, *files, *moved]


def _inner(git: Git, name: str) -> Git:
    return Git(str(Path(git.path, name)), git.run, git.identity)


def _checked_out(
    options: Options, source: release_tree.Source, former: Former | None, snapshot: Snapshot, result: dict[str, Any]
) -> dict[str, Any]:
    git, run_id = source.project, options.run_id or ""
    plan = _make_plan(git, former, snapshot)
    former = former or Former(snapshot.head, snapshot.branch)
    if plan.edits and options.local_edits == "fail":
        checkout.look(git, options)
    if plan.changed:
        names = git.names("diff", "--name-only", "--no-renames", "-z", snapshot.head, former.commit)
        checkout.refuse_read_only(git, [*names, *former.files])
    if plan.changed and not options.check_mode:
        _apply(options, source, former, snapshot, plan)
        left = git.status().untracked
    else:
        left = plan.left
    after = {"commit": former.commit, **place(git, former.commit)}
    edits = saved_work.saved(git, run_id, saved_work.EDITS)
    files = saved_work.saved(git, run_id, saved_work.UNTRACKED)
    return {
        **result,
        "changed": plan.changed,
        "after": after,
        "local_edits": {
            "files": checkout.readable(plan.edits),
            "ref": edits[0] if edits else None,
            "commit": git.object_of(edits[0]) if edits else None,
        },
        "leftovers": {
            "files": checkout.readable(left[: checkout.LISTED]),
            "count": len(left),
            "removed": checkout.readable(plan.in_the_way),
            "ref": files[0] if files else None,
        },
        "fetched": False,
        "patch_file": "",
        "tree": git.path,
        "copied": [],
        "undo": checkout.undo_commands(git, run_id, snapshot, plan, force=True),
        "diff": _diff(snapshot, former, plan, run_id, after["describe"]),
    }


def _make_plan(git: Git, former: Former | None, snapshot: Snapshot) -> Plan:
    """Decide what must be done to the tree. Nothing is written."""
    status = snapshot.status
    plan = checkout.Plan(
        fetch=False, move=False, edits=[], in_the_way=[], removed=[], left=status.untracked, submodules=[]
    )
    if former is None or not differing(git, former):
        return plan
    trees = {former.commit, *former.files.values(), *([former.edits] if former.edits else [])}
    found = {name for tree in trees for name in checkout.files_in_the_way(git, tree)}
    same = set(former.files) - set(saved_work.differing_files(git, former.files))
    left = [name for name in status.untracked if name not in found - same]
    return replace(
        plan, move=True, edits=status.edited, in_the_way=sorted(found - same), left=left,
        submodules=status.submodules_moved,
    )  # fmt: skip


def _apply(options: Options, source: release_tree.Source, former: Former, snapshot: Snapshot, plan: Plan) -> None:
    """Save what is there, then put back commit, branch, submodules, files and edits. Each step may be the last one."""
    git, run_id = source.project, options.run_id or ""
    checkout.save(git, run_id, snapshot, plan)
    where = [former.branch, "--"] if former.branch else ["--detach", former.commit]
    try:
        git.call("checkout", "--quiet", "--force", *where)
        release_tree.update_submodules(git, options.fetch_timeout)
        for name, commit in former.submodules.items():
            if _inner(git, name).head() != commit:
                _inner(git, name).call("checkout", "--quiet", "--detach", commit)
        saved_work.put_back_files(git, former.files)
        if former.edits:
            saved_work.put_back_edits(git, former.edits)
        wrong = differing(git, former)
    except RollbackError as error:
        undo = checkout.undo_commands(git, run_id, snapshot, plan, force=True)
        raise RollbackError(
            f"The tree could not be put back as it was before the run {options.undo}: {error.msg}. It may be in "
            "between; nothing is lost.",
            f"Remove the cause and run again, or leave it as it was: {' && '.join(undo)}",
            undo=undo,
        ) from error
    if wrong:
        undo = checkout.undo_commands(git, run_id, snapshot, plan, force=True)
        raise RollbackError(
            f"The tree {git.path} is not what it was before the run {options.undo}; these differ: "
            f"{', '.join(checkout.readable(wrong[:5]))}. Local edits and files were saved before.",
            f"Look at it: {git.shown('status')}. To leave it as it was: {' && '.join(undo)}",
            undo=undo,
        )


def _diff(snapshot: Snapshot, former: Former, plan: Plan, run_id: str, describe: str | None) -> dict[str, str]:
    """Return the tree before and after in words."""
    texts = checkout.diff(
        snapshot, Choice(describe or "", Named(former.commit, former.commit), here=True), plan, run_id
    )
    if not plan.changed:
        return texts
    edits = f"those of {former.edits[:12]}" if former.edits else "none"
    after = [
        f"branch: {former.branch or 'none'}" if line.startswith("branch: ")
        else f"local edits: {edits}" if line.startswith("local edits: ")
        else line
        for line in texts["after"].splitlines()
    ]  # fmt: skip
    files = [f"put back: {name}" for name in checkout.readable(sorted(former.files))]
    return {**texts, "after": "".join(f"{line}\n" for line in [*after, *files])}
