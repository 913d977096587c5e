# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commit a release is: the tags here and at the remote compared, a pin honoured, a moved tag refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .git import Git, failure_reason
from .release import tag_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .patched_release import Patch

_PIN = re.compile(r"[0-9a-f]{7,64}")
_REMOTE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_NEWEST = 5


@dataclass(frozen=True)
class Named:
    """What a tag names: the tag's own object (for a lightweight tag the commit) and the commit."""

    tag_object: str
    commit: str


@dataclass(frozen=True)
class Remote:
    """What the remote said about the tags of one release. ``reason`` says why it did not answer, when it was asked."""

    name: str
    answered: bool
    tags: Mapping[str, Named] = field(default_factory=dict)
    reason: str = ""
    asked: bool = True


@dataclass(frozen=True)
class Choice:
    """The one commit that a release is. ``here`` is false when the tag that names it must be fetched.

    With ``patch`` it is the commit of the release, ``base``, with the patch on top, ``patched``.
    """

    tag: str
    named: Named
    here: bool
    moved: bool = False
    warnings: tuple[str, ...] = ()
    patch: Patch | None = None
    patched: str = ""

    @property
    def commit(self) -> str:
        """Return the commit that is checked out."""
        return self.patched or self.named.commit

    @property
    def base(self) -> str:
        """Return the commit that the tag names."""
        return self.named.commit


def check_pin(pin: str | None) -> str | None:
    """Return the pin in lower case; refuse what is no commit id of at least 7 hex digits."""
    if pin is None:
        return None
    if not _PIN.fullmatch(pin.lower()):
        raise RollbackError(
            f"commit={pin!r} is not a commit id. Nothing was changed.",
            "Give 7 to 64 hex digits, as 'git rev-parse v1.0.2^{commit}' prints them.",
        )
    return pin.lower()


def check_remote(name: str) -> str:
    """Return the name of a remote; refuse what could be an option or a URL."""
    if not _REMOTE.fullmatch(name):
        raise RollbackError(
            f"remote={name!r} is not the name of a remote. Nothing was changed.",
            "Give a name that 'git remote' prints, such as origin; a URL is not accepted.",
        )
    return name


def local_tags(git: Git, version: str) -> dict[str, Named]:
    """Return the tags of a release that exist in the repository."""
    found = {}
    for name in tag_names(version):
        tag_object = git.object_of(f"refs/tags/{name}")
        if tag_object is None:
            continue
        commit = git.commit_of(f"refs/tags/{name}")
        if commit is None:
            raise RollbackError(
                f"The tag {name} in {git.path} does not lead to a commit. Nothing was changed.",
                f"Look at it: {git.shown('cat-file', '-p', f'refs/tags/{name}')}",
            )
        found[name] = Named(tag_object, commit)
    return found


def remote_tags(git: Git, remote: str, version: str, timeout: float) -> Remote:
    """Ask the remote for the tags of a release. A remote that does not answer is no error here."""
    if git.line("config", "--get-all", f"remote.{remote}.url") is None:
        return Remote(remote, answered=False, reason="no remote of that name is configured")
    patterns = [f"refs/tags/{name}{end}" for name in tag_names(version) for end in ("", "^{}")]
    asking = git.with_environment(**git.network_environment())
    code, out, err = asking.ask("ls-remote", "--tags", "--", remote, *patterns, timeout=timeout)
    if code != 0:
        return Remote(remote, answered=False, reason=failure_reason(code, err, timeout))
    return Remote(remote, answered=True, tags=parse_remote_tags(out))


def parse_remote_tags(text: str) -> dict[str, Named]:
    """Read ``git ls-remote --tags``: a line ``name^{}`` is what the annotated tag above it leads to."""
    objects: dict[str, str] = {}
    for line in text.splitlines():
        identity, _tab, reference = line.partition("\t")
        if re.fullmatch(r"[0-9a-f]{40,64}", identity) and reference.startswith("refs/tags/"):
            objects[reference[len("refs/tags/") :]] = identity
    return {
        name: Named(identity, objects.get(f"{name}^{{}}", identity))
        for name, identity in objects.items()
        if not name.endswith("^{}")
    }


def choose(version: str, local: Mapping[str, Named], remote: Remote, pin: str | None, known: list[str]) -> Choice:
    """Decide which commit the release is. ``known`` are the releases that exist here, newest first.

    Raises ``RollbackError`` for an unknown tag, two tags of one release that differ, a moved tag, and a pin that
    no tag matches.
    """
    names = [name for name in tag_names(version) if name in local or name in remote.tags]
    if not names:
        raise _unknown(version, remote, known)
    choices = [choice for name in names for choice in _choices(name, local, remote)]
    if pin is not None:
        choices = _pinned(choices, pin)
    name = choices[0].tag
    if len({choice.commit for choice in choices if choice.tag == name}) > 1:
        raise _moved(name, local[name].commit, remote)
    if len({choice.commit for choice in choices}) > 1:
        raise _two_tags(choices)
    return choices[0]


def commits_refusal(releases: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why hosts cannot go to a release together, or an empty text. ``releases`` is what each host found.

    What is told is what the tag names there, also of a release with a patch: that is what can be mended and pinned.
    """
    found = {host: release for host, release in releases.items() if release.get("commit")}
    if len({release["commit"] for release in found.values()}) <= 1:
        return ""
    commits = {host: (one.get("patch") or {}).get("base") or one["commit"] for host, one in found.items()}
    name = next(iter(found.values()))["name"]
    said = ", ".join(f"{host}: {commit}" for host, commit in commits.items())
    pins = " or ".join(f"-e commit={commit[:12]}" for commit in dict.fromkeys(commits.values()))
    return (
        f"{name} is not the same commit on all hosts: {said}. Nothing was changed. "
        f"The tag was moved, and not every host knows. Find out which of them was deployed. On each host that has "
        f"another one, fetch the tag again: git fetch --force --tags, in the project directory. Then say which one is "
        f"meant: {pins}"
    )


def _choices(name: str, local: Mapping[str, Named], remote: Remote) -> list[Choice]:
    """Return what one tag may mean: one choice, or two when it names different commits here and there."""
    here, there = local.get(name), remote.tags.get(name)
    if here is None:
        return [] if there is None else [Choice(name, there, here=False)]
    if there is None:
        return [Choice(name, here, here=True, warnings=(_not_compared(name, remote),) if remote.asked else ())]
    if there.commit == here.commit:
        return [Choice(name, here, here=True)]
    warning = f"The tag {name} names another commit here than at {remote.name}; the commit was pinned."
    return [
        Choice(name, here, here=True, moved=True, warnings=(warning,)),
        Choice(name, there, here=False, moved=True, warnings=(warning,)),
    ]


def _not_compared(name: str, remote: Remote) -> str:
    """Return the warning for a tag that exists only here, as far as is known."""
    if remote.answered:
        return f"The tag {name} exists only here; {remote.name} does not have it, so it was not compared."
    return f"The tag {name} was not compared with {remote.name}: {remote.reason}."


def _pinned(choices: list[Choice], pin: str) -> list[Choice]:
    """Return the choices that the pin allows."""
    allowed = [choice for choice in choices if choice.commit.startswith(pin)]
    if allowed:
        return allowed
    found = ", ".join(f"{choice.tag} is {choice.commit} {'here' if choice.here else 'there'}" for choice in choices)
    raise RollbackError(
        f"The pin commit={pin} matches no tag of this release: {found}. Nothing was changed.",
        "Compare with the record of the deployment, then name another version or correct the pin.",
        commits=[choice.commit for choice in choices],
    )


def _unknown(version: str, remote: Remote, known: list[str]) -> RollbackError:
    """Return the refusal of a release that has no tag."""
    there = f"and not at {remote.name}" if remote.answered else f"and {remote.name} did not answer ({remote.reason})"
    newest = f"Releases that exist here: {', '.join(known[:_NEWEST])}." if known else "No release exists here."
    way_out = "Name one of them." if known else "Push the tag, or fetch it: git fetch --tags."
    if not remote.answered:
        way_out = f"{way_out} Or make {remote.name} reachable and try again."
    return RollbackError(
        f"The release {version} has no tag: not in this repository, {there}. Nothing was changed.",
        f"{newest} {way_out}",
        releases=known,
    )


def _moved(name: str, here: str, remote: Remote) -> RollbackError:
    """Return the refusal of a tag that names different commits."""
    there = remote.tags[name].commit
    return RollbackError(
        f"The tag {name} was moved: here it is {here}, at {remote.name} it is {there}. Nothing was changed.",
        f"Find out which of the two was deployed and trust it by naming it: commit={here[:12]} or commit={there[:12]}.",
        commits=[here, there],
    )


def _two_tags(choices: list[Choice]) -> RollbackError:
    """Return the refusal of two tags of one release that name different commits."""
    found = {choice.tag: choice.commit for choice in choices}
    said = " and ".join(f"{tag} is {commit}" for tag, commit in found.items())
    return RollbackError(
        f"Two tags name this release and differ: {said}. Nothing was changed.",
        "Say which one is meant by naming its commit: "
        + " or ".join(f"commit={commit[:12]}" for commit in found.values())
        + ".",
        commits=list(found.values()),
    )
