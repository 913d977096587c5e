# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs have kept, and what of it may go: by age and number, never of a run that may still be needed.

First everything is looked at, then ``decide`` says what goes, then it goes, one thing after the other. What is not
recognised with certainty stays. Databases are cleaned by ``postgres/restore.py``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import saved_work
from .checkout import open_project
from .docker_client import PROJECT_LABEL, connect
from .errors import RollbackError
from .git import Git
from .images import PIN_DIGITS, repository_of, split_reference
from .journal import Journal, journal_path, of_the_run, parse_time, read_journal, utc_now, verified_releases
from .project import API_ERRORS, is_gone
from .release_tree import TREE_PREFIX, borrows_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker.client import DockerClient

    from .git import Run as Runner

# The random part is missing where release_checkout was called without a run id.
_RUN_ID = re.compile(r"([0-9]{8}T[0-9]{6}Z)(?:-[0-9a-f]{1,16})?")
_BEFORE = "before-"
_PIN = re.compile(f"[0-9a-f]{{{PIN_DIGITS}}}")
_TREE_NAME = re.compile(re.escape(TREE_PREFIX) + "[a-z0-9_]{8}")  # as tempfile.mkdtemp makes it
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-]\d\d:\d\d))$")
_REFERENCES = "refs/rollback/"
# A plan holds no lock and has no journal, but a private tree.
_TREE_HOURS = 1.0
_CONFLICT = 409
_DOCKER_SINCE = 2013
_MOST = 100_000
_SUBMODULE = "160000 "


@dataclass(frozen=True)
class Limits:
    """How much is kept; the module's documentation explains each."""

    keep: int = 3
    min_age_hours: float = 168.0
    keep_releases: int = 5
    keep_journals_days: float = 365.0


@dataclass(frozen=True)
class Run:
    """A run that has left something. ``succeeded`` is false too where no journal tells how it ended."""

    id: str
    at: datetime
    has_journal: bool = False
    succeeded: bool = False
    commits: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeptImage:
    """A name that keeps an image: of what ran before a run, or of a release, with the last use of its commit."""

    name: str
    image_id: str
    run_id: str = ""
    commit: str = ""
    used_at: datetime | None = None


@dataclass(frozen=True)
class Reference:
    """A reference of a run, in the project or in one of its submodules. ``value`` is empty for a symbolic one."""

    run_id: str
    ref: str
    value: str
    submodule: str = ""

    @property
    def name(self) -> str:
        """Return the reference as a person reads it."""
        return f"{self.submodule}:{self.ref}" if self.submodule else self.ref


@dataclass(frozen=True)
class Tree:
    """A private tree that a run did not remove, and when it was last touched."""

    path: str
    at: datetime


@dataclass(frozen=True)
class Situation:
    """Everything that is looked at.

    ``holder`` is the run that holds the lock: None where none does, an empty text where it is not known. ``names``
    counts the names of each image, ``in_use`` are the images that any container of the host has, ``used_here`` those of
    the project's containers, ``head`` is the commit that is checked out.
    """

    now: datetime
    runs: tuple[Run, ...] = ()
    images: tuple[KeptImage, ...] = ()
    references: tuple[Reference, ...] = ()
    trees: tuple[Tree, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)
    in_use: frozenset[str] = frozenset()
    used_here: frozenset[str] = frozenset()
    head: str = ""
    holder: str | None = None


@dataclass(frozen=True)
class Decision:
    """What goes. ``in_use`` are names that stay because they are the last ones of an image that a container has."""

    held: tuple[str, ...]
    images: tuple[KeptImage, ...]
    in_use: tuple[KeptImage, ...]
    references: tuple[Reference, ...]
    journals: tuple[Run, ...]
    trees: tuple[Tree, ...]


# -- the decision ------------------------------------------------------------------------------------------------------


def run_time(run_id: str) -> datetime | None:
    """Return when a run began, from its id; None for what is no run id."""
    matched = _RUN_ID.fullmatch(run_id)
    try:
        stamp = datetime.strptime(matched[1], "%Y%m%dT%H%M%SZ") if matched else None  # noqa: DTZ007 - Z is UTC
    except ValueError:
        return None
    return stamp.replace(tzinfo=timezone.utc) if stamp else None


def decide(found: Situation, limits: Limits) -> Decision:
    """Return what may go. Pure: the same situation and limits give the same answer."""
    runs = sorted(found.runs, key=lambda run: (run.at, run.id), reverse=True)
    held = held_runs(runs, found.holder)
    going = {
        run.id: run
        for run in runs[limits.keep :]
        if run.id not in held and found.now - run.at >= timedelta(hours=limits.min_age_hours)
    }
    staying = {commit[:PIN_DIGITS] for run in runs if run.id not in going for commit in run.commits}
    wanted = [image for image in found.images if image.run_id in going] + _pins(found, limits, staying)
    images, in_use = _without_last_names(found, wanted)
    oldest = found.now - timedelta(days=limits.keep_journals_days)
    return Decision(
        held=tuple(held),
        images=tuple(images),
        in_use=tuple(in_use),
        references=tuple(one for one in found.references if one.run_id in going),
        journals=tuple(run for run in going.values() if run.has_journal and run.at <= oldest),
        trees=tuple(_trees(found, limits, held)),
    )


def held_runs(runs: list[Run], holder: str | None) -> list[str]:
    """Return the runs, newest first, of which nothing may go: a resume or an undo may still need it.

    That is the run that holds the lock (the newest where the lock does not say), and the newest one unless it is known
    to have succeeded. Where the newest one has no journal this also holds for the newest one that has one.
    """
    journaled = [run for run in runs if run.has_journal]
    held = [run.id for run in (*runs[:1], *journaled[:1]) if not run.succeeded]
    if holder is not None:
        held += [holder] if holder else [run.id for run in runs[:1]]
    return sorted(set(held), key=lambda name: (run_time(name) or datetime.max.replace(tzinfo=timezone.utc), name))[::-1]


def _pins(found: Situation, limits: Limits, staying: set[str]) -> list[KeptImage]:
    """Return the names of releases that may go: none while a run goes on that cannot be told, for it may need any."""
    if found.holder == "":
        return []
    head = found.head[:PIN_DIGITS]
    used: dict[str, datetime] = {}
    for pin in found.images:
        at = found.now if pin.commit == head else pin.used_at
        if pin.commit and at is not None:
            used[pin.commit] = max(at, used.get(pin.commit, at))
    order = sorted(used, key=lambda commit: (used[commit], commit), reverse=True)
    youngest = found.now - timedelta(hours=limits.min_age_hours)
    going = {one for one in order[limits.keep_releases :] if used[one] <= youngest} - staying - {head}
    return [pin for pin in found.images if pin.commit in going and pin.image_id not in found.used_here]


def _without_last_names(found: Situation, wanted: list[KeptImage]) -> tuple[list[KeptImage], list[KeptImage]]:
    """Part what may go from names that are the last ones of an image that a container has: of those one stays."""
    going, in_use = [], []
    left = Counter(found.names)
    left.subtract(image.image_id for image in wanted)
    for image in sorted(wanted, key=lambda one: (run_time(one.run_id) or found.now, one.name), reverse=True):
        if image.image_id in found.in_use and left[image.image_id] <= 0:
            left[image.image_id] += 1
            in_use.append(image)
        else:
            going.append(image)
    return going, in_use


def _trees(found: Situation, limits: Limits, held: Iterable[str]) -> list[Tree]:
    """Return the private trees that no run can still use: old enough, and older than every run that is held."""
    if found.holder == "":
        return []
    oldest = [found.now - timedelta(hours=max(limits.min_age_hours, _TREE_HOURS))]
    oldest += [at for at in map(run_time, held) if at is not None]
    return [tree for tree in found.trees if tree.at < min(oldest)]


# -- looking -----------------------------------------------------------------------------------------------------------


class _Look:
    """One call: the project's repository, the daemon, where runs keep their records, and what was odd."""

    def __init__(self, options: Mapping[str, Any], run: Runner) -> None:
        self.git = open_project(options["path"], run)
        self.client: DockerClient = connect(options["docker_host"])
        self.project: str = options["project"]
        self.state_directory: str = options["state_directory"]
        self.now = utc_now()
        self.warnings: list[str] = []
        self.sizes: dict[str, int] = {}

    def situation(self) -> Situation:
        references = self.references()
        listed = self.client.api.images()
        self.sizes = {str(one["Id"]): int(one.get("Size") or 0) for one in listed}
        names = {name: str(one["Id"]) for one in listed for name in one.get("RepoTags") or []}
        containers = self.client.api.containers(all=True)
        here = [one for one in containers if (one.get("Labels") or {}).get(PROJECT_LABEL) == self.project]
        journals = {run_id: self.journal(run_id) for run_id in self.journaled()}
        images = self.images(names, self.uses(journals))
        ids = {one.run_id for one in references} | {one.run_id for one in images if one.run_id} | set(journals)
        return Situation(
            now=self.now,
            runs=tuple(run_of(run_id, journals.get(run_id)) for run_id in sorted(ids)),
            images=tuple(images),
            references=tuple(references),
            trees=tuple(self.trees()),
            names=Counter(names.values()),
            in_use=frozenset(str(one["ImageID"]) for one in containers),
            used_here=frozenset(str(one["ImageID"]) for one in here),
            head=self.git.head() or "",
            holder=self.holder(),
        )

    # records of runs

    def holder(self) -> str | None:
        """Return the run that holds the lock, an empty text where that cannot be told, None where none does."""
        path = Path(self.state_directory, "lock.json")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            content, reason = None, str(error)
        else:
            reason = "it names no run"
        run_id = content.get("run_id") if isinstance(content, dict) else None
        if isinstance(run_id, str) and run_time(run_id) is not None:
            return run_id
        self.warnings.append(
            f"{path} does not say which run holds the lock ({reason}); the newest run is taken for it."
        )
        return ""

    def journaled(self) -> list[str]:
        """Return the runs that have a folder of their own below the state directory."""
        folder = Path(self.state_directory, "runs")
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RollbackError(
                f"The runs in {folder} cannot be read: {error.strerror or error}. Nothing was changed.",
                f"Look at it with 'ls -ld {folder}' on that host, as the user that Ansible becomes.",
            ) from error
        return [one.name for one in entries if run_time(one.name) is not None and one.is_dir(follow_symlinks=False)]

    def journal(self, run_id: str) -> Journal:
        """Return the journal of a run; one that cannot be read is empty, so the run counts as unfinished."""
        try:
            return read_journal(journal_path(self.state_directory, run_id))
        except RollbackError as error:
            self.warnings.append(error.msg)
            return Journal([], 0)

    def uses(self, journals: Mapping[str, Journal]) -> dict[str, datetime]:
        """Return when each commit was last used, by the first digits of the commit, as far as there are records."""
        records = verified_releases(self.state_directory)
        told = [(record.get("commit"), parse_time(record.get("time"))) for record in records]
        told += [(commit, run_time(run_id)) for run_id, one in journals.items() for commit in commits_of(one)]
        found: dict[str, datetime] = {}
        for commit, at in told:
            if isinstance(commit, str) and at is not None:
                short = commit[:PIN_DIGITS]
                found[short] = max(at, found.get(short, at))
        return found

    # images

    def images(self, names: Mapping[str, str], uses: Mapping[str, datetime]) -> list[KeptImage]:
        """Return the names of this project that have one of our two forms."""
        prefix = repository_of(self.project, "x")[:-1]
        found = []
        for name, image_id in sorted(names.items()):
            repository, tag = split_reference(name)
            if not repository.startswith(prefix) or "/" in repository[len(prefix) :]:
                continue
            run_id = tag[len(_BEFORE) :] if tag.startswith(_BEFORE) else ""
            if run_time(run_id) is not None:
                found.append(KeptImage(name, image_id, run_id=run_id))
            elif _PIN.fullmatch(tag):
                found.append(KeptImage(name, image_id, commit=tag, used_at=uses.get(tag) or self.tagged_at(image_id)))
        return found

    def tagged_at(self, image_id: str) -> datetime | None:
        """Return when an image was last given a name, or else made: all that is known where no record names a release.

        The daemon does not note the name that an image was built with. A build that can be reproduced states no time.
        """
        try:
            told = self.client.api.inspect_image(image_id)
        except API_ERRORS:
            return None
        moments = [moment_of((told.get("Metadata") or {}).get("LastTagTime")), moment_of(told.get("Created"))]
        return next((at for at in moments if at is not None and at.year >= _DOCKER_SINCE), None)

    # references

    def references(self) -> list[Reference]:
        return _references(self.git) + [one for name in self.submodules() for one in self.references_of(name)]

    def references_of(self, submodule: str) -> list[Reference]:
        try:
            return _references(self.inner(submodule), submodule)
        except RollbackError as error:
            self.warnings.append(f"The submodule {submodule} is left as it is: {error.msg}")
            return []

    def submodules(self) -> list[str]:
        """Return the submodules that are checked out; in the folder of another one Git would answer for the project."""
        staged = self.git.names("ls-files", "--stage", "-z")
        names = [entry.partition("\t")[2] for entry in staged if entry.startswith(_SUBMODULE)]
        top = Path(os.path.realpath(self.git.path))
        return [
            name
            for name in names
            if os.path.lexists(top / name / ".git") and os.path.realpath(top / name) == str(top / name)
        ]

    def inner(self, submodule: str) -> Git:
        return Git(str(Path(self.git.path, submodule)), self.git.run, self.git.identity)

    # private trees

    def trees(self) -> list[Tree]:
        """Return the private trees that borrow the objects of this project, and that are ours to remove."""
        owners = {os.geteuid(), self.git.identity.uid}
        objects = os.path.realpath(self.git.git_path("objects"))
        found = []
        for entry in os.scandir(tempfile.gettempdir()):
            if not _TREE_NAME.fullmatch(entry.name) or not entry.is_dir(follow_symlinks=False):
                continue
            try:
                folders = [entry.stat(follow_symlinks=False), Path(entry.path, ".git").lstat()]
            except OSError:  # its run has just removed it, or it is nothing of Git
                continue
            if folders[0].st_uid in owners and borrows_from(entry.path, objects):
                at = max(status.st_mtime for status in folders)
                found.append(Tree(entry.path, datetime.fromtimestamp(at, timezone.utc)))
        return found


def moment_of(text: object) -> datetime | None:
    """Return a moment as the daemon writes it, to the second; None for what is none."""
    matched = _MOMENT.match(text) if isinstance(text, str) else None
    return datetime.fromisoformat(matched[1] + (matched[2] or "+00:00")) if matched else None


def run_of(run_id: str, journal: Journal | None) -> Run:
    """Return a run as its journal tells it; without one it is not known to have succeeded."""
    at = run_time(run_id)
    if at is None:
        raise AssertionError(run_id)  # only run ids come here
    if journal is None:
        return Run(run_id, at)
    own = of_the_run(journal.events)
    last = own[-1] if own else {}
    succeeded = last.get("event") == "run_finished" and last["facts"].get("outcome") == "succeeded"
    return Run(run_id, at, has_journal=True, succeeded=succeeded, commits=tuple(commits_of(journal)))


def commits_of(journal: Journal) -> list[str]:
    """Return the commits that a run went to and came from."""
    found = []
    for event in journal.events:
        if event["event"] == "run_started":
            came_from = event["facts"].get("from")
            found += [event["facts"].get("commit"), came_from.get("commit") if isinstance(came_from, dict) else None]
    return [commit for commit in found if isinstance(commit, str) and commit]


def _references(git: Git, submodule: str = "") -> list[Reference]:
    """Return the references of runs in a repository, also a symbolic one whose branch is gone, which Git leaves out."""
    told = git.call("for-each-ref", "--format=%(refname) %(objectname) %(symref)", _REFERENCES).splitlines()
    refs = {ref: "" if symbolic else value for ref, value, symbolic in (line.split(" ", 2) for line in told)}
    top = Path(git.git_path(_REFERENCES.rstrip("/")))
    for path in top.glob(f"*/{saved_work.BRANCH}"):
        refs.setdefault(saved_work.reference(path.parent.name, saved_work.BRANCH), "")
    named = [(ref[len(_REFERENCES) :].partition("/")[0], ref, value) for ref, value in sorted(refs.items())]
    return [Reference(run_id, ref, value, submodule) for run_id, ref, value in named if run_time(run_id) is not None]


# -- acting ------------------------------------------------------------------------------------------------------------


class _Act:
    """Drops one thing after the other; what fails is noted, and the rest goes on."""

    def __init__(self, look: _Look, *, check: bool) -> None:
        self.look = look
        self.check = check
        self.warnings: list[str] = []
        self.failed: list[str] = []
        self.in_use: list[str] = []

    def each(self, things: Iterable[Any], name_of: Callable[[Any], str], drop: Callable[[Any], None]) -> list[Any]:
        """Return the things that were dropped; in check mode those that would be."""
        return [thing for thing in things if self.check or self.drops(name_of(thing), thing, drop)]

    def drops(self, name: str, thing: Any, drop: Callable[[Any], None]) -> bool:  # noqa: ANN401 - what ``drop`` takes
        """Drop one thing; tell whether it is gone."""
        try:
            drop(thing)
        except (RollbackError, *API_ERRORS) as error:
            if getattr(error, "status_code", None) == _CONFLICT:  # a container was made since the decision
                self.in_use.append(name)
            else:
                self.failed.append(name)
                self.warnings.append(f"{name} could not be dropped: {getattr(error, 'msg', error)}")
            return False
        return True

    def image(self, image: KeptImage) -> None:
        """Take a name away; never forced, so Docker itself refuses the last name of an image that a container has."""
        try:
            self.look.client.api.remove_image(image.name)
        except API_ERRORS as error:
            if not is_gone(error):
                raise

    def reference(self, one: Reference) -> None:
        """Delete a reference, never what a symbolic one points at, and only if it is what was decided about."""
        git = self.look.inner(one.submodule) if one.submodule else self.look.git
        if one.value:
            git.call("update-ref", "--no-deref", "-d", one.ref, one.value)
        else:
            git.call("symbolic-ref", "--delete", one.ref)

    def journal(self, run: Run) -> None:
        shutil.rmtree(self.folder(run))

    def tree(self, tree: Tree) -> None:
        shutil.rmtree(tree.path)

    def folder(self, run: Run) -> Path:
        return Path(self.look.state_directory, "runs", run.id)


def size_of(folder: str | Path) -> int:
    """Return the bytes of the files below a folder; what vanishes meanwhile counts nothing."""
    return sum(_bytes(Path(place, name)) for place, _folders, names in os.walk(folder) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def run_cleanup(options: Mapping[str, Any], run: Runner, *, check: bool) -> dict[str, Any]:
    """Drop what runs have kept and nobody needs any more; ``options`` are those of the module ``run_cleanup``.

    Raises ``RollbackError`` for bad options, before anything changes, and at the end when something could not be
    dropped.
    """
    limits = Limits(**{name: options[name] for name in Limits.__dataclass_fields__})
    for name in Limits.__dataclass_fields__:
        if not 0 <= getattr(limits, name) <= _MOST:
            raise RollbackError(
                f"{name} is {getattr(limits, name)}. Nothing was changed.", f"Give a number from 0 to {_MOST}."
            )
    look = _Look(options, run)
    try:
        found = look.situation()
    except API_ERRORS as error:
        raise RollbackError(
            f"The Docker daemon did not list images and containers: {error}. Nothing was changed.",
            "Try 'docker image ls' and 'docker ps --all' on that host, as the same user.",
        ) from error
    return _carry_out(_Act(look, check=check), found, decide(found, limits))


def _carry_out(act: _Act, found: Situation, decision: Decision) -> dict[str, Any]:
    size = {
        **{tree.path: size_of(tree.path) for tree in decision.trees},
        **{run.id: size_of(act.folder(run)) for run in decision.journals},
    }
    images = act.each(decision.images, lambda one: one.name, act.image)
    references = act.each(decision.references, lambda one: one.name, act.reference)
    trees = act.each(decision.trees, lambda one: one.path, act.tree)
    # What could not be dropped is told once more by the journal of its run.
    told_all = [run for run in decision.journals if not any(run.id in name for name in act.failed)]
    journals = act.each(told_all, lambda one: one.id, act.journal)
    dropped = {
        "images": sorted(one.name for one in images),
        "references": sorted(one.name for one in references),
        "journals": sorted(one.id for one in journals),
        "trees": sorted(one.path for one in trees),
    }
    gone = Counter(image.image_id for image in images)
    everything = {
        "images": [one.name for one in found.images],
        "references": [one.name for one in found.references],
        "journals": [run.id for run in found.runs if run.has_journal],
        "trees": [one.path for one in found.trees],
    }
    result: dict[str, Any] = {
        "changed": any(dropped.values()),
        "dropped": dropped,
        "left": {kind: len(names) - len(dropped[kind]) for kind, names in everything.items()},
        "in_use": sorted([*(one.name for one in decision.in_use), *act.in_use]),
        "held": list(decision.held),
        "bytes": {
            "images": sum(act.look.sizes.get(name, 0) for name, number in gone.items() if number >= found.names[name]),
            "journals": sum(size[run.id] for run in journals),
            "trees": sum(size[tree.path] for tree in trees),
        },
        "warnings": act.look.warnings + act.warnings,
        "diff": _difference(everything, dropped),
    }
    if act.failed:
        raise RollbackError(
            f"Not everything could be dropped: {', '.join(act.failed)}. What else had to go is gone.",
            "The warnings say why. Mend that and run again, or remove it by hand.",
            failed_to_drop=act.failed,
            **result,
        )
    return {**result, "failed_to_drop": []}


def _difference(everything: Mapping[str, list[str]], dropped: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the two texts that ``--diff`` shows: every name that is kept, before and after."""
    names = sorted(f"{kind}: {name}\n" for kind, found in everything.items() for name in found)
    gone = {f"{kind}: {name}\n" for kind, found in dropped.items() for name in found}
    return {"before": "".join(names), "after": "".join(name for name in names if name not in gone)}
