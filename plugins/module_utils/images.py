# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a service of a release uses: one that is here, one to be built, or one to be pulled."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .docker_client import REVISION_LABEL
from .errors import RollbackError
from .project import in_parallel, is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker.client import DockerClient

from .project import API_ERRORS
from .release import same_release

REUSE, BUILD, PULL = "reuse", "build", "pull"
# Images are kept as usdx-rollback/<project>/<service>:<first digits of the commit>.
PIN_FOLDER = "usdx-rollback/"
PIN_DIGITS = 12


@dataclass(frozen=True)
class Image:
    """An image on this host."""

    id: str
    tags: list[str]
    revision: str | None


@dataclass(frozen=True)
class Target:
    """The release whose images are wanted. ``base`` is the commit of its tag, where ``commit`` has a patch on top."""

    project: str
    release: str = ""
    commit: str = ""
    current_release: str = ""
    given: Mapping[str, str] | None = None
    base: str = ""


@dataclass(frozen=True)
class Decision:
    """What is done for the image of one service, and why."""

    service: str
    reference: str
    pin: str
    action: str
    reason: str
    image_id: str | None
    leader: str


def reference_of(project: str, service: str, definition: Mapping[str, Any]) -> str:
    """Return the name under which Compose looks for the image of a service."""
    return str(definition.get("image") or f"{project}-{service}")


def split_reference(reference: str) -> tuple[str, str]:
    """Return repository and tag; a digest is no tag and is dropped."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")


def repository_of(project: str, service: str) -> str:
    """Return the repository that keeps the images of a service from being removed as dangling.

    Names that Docker does not take as a repository are made plain, with a checksum so that they stay different.
    """
    return f"{PIN_FOLDER}{plain_name(project)}/{plain_name(service)}"


def plain_name(name: str) -> str:
    """Return a name as Docker takes it: itself, or made plain, with a checksum."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "x"
    if plain == name or re.fullmatch(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*", name):
        return name
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def pin_of(project: str, service: str, commit: str) -> str:
    """Return the name under which the image of a service at a commit is kept; empty without a commit."""
    return f"{repository_of(project, service)}:{commit[:PIN_DIGITS]}" if commit else ""


def before_of(project: str, service: str, run_id: str) -> str:
    """Return the name under which the image that ran before a run is kept."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,100}", run_id):
        raise RollbackError(
            f"run_id={run_id!r} cannot be part of an image's tag. Nothing was changed.",
            "Use letters, digits, '.', '_' and '-', at most 101 characters.",
        )
    return f"{repository_of(project, service)}:before-{run_id}"


def find_image(client: DockerClient, reference: str) -> Image | None:
    """Return an image of this host by name or id, or None."""
    try:
        found: Any = client.api.inspect_image(reference)
    except API_ERRORS as error:
        if is_gone(error):
            return None
        raise RollbackError(
            f"The Docker daemon cannot say whether the image {reference} is here: {error}.",
            f"Try 'docker image inspect {reference}' on that host.",
        ) from error
    labels = (found.get("Config") or {}).get("Labels") or {}
    return Image(found["Id"], found.get("RepoTags") or [], labels.get(REVISION_LABEL))


def find_images(client: DockerClient, references: Iterable[str]) -> dict[str, Image | None]:
    """Return the images of this host by their names."""
    names = sorted(set(references) - {""})
    return dict(zip(names, in_parallel(lambda name: find_image(client, name), names)))


def decide_all(
    target: Target, definitions: Mapping[str, Any], services: list[str], find: Callable[[list[str]], Any]
) -> dict[str, Decision]:
    """Return the decision for each service.

    Services with the same reference share one image: the one that can be built decides for all of them.
    ``find`` returns the images of this host for a list of names.
    """
    references = {name: reference_of(target.project, name, definitions[name]) for name in services}
    pins = {name: pin_of(target.project, name, target.commit) for name in services}
    given = dict(target.given or {})
    here = find([*references.values(), *pins.values(), *given.values()])
    leaders: dict[str, str] = {}
    for name in sorted(services, key=lambda one: (one not in given, "build" not in definitions[one])):
        leaders.setdefault(references[name], name)
    _refuse_mixture(target, references)
    decisions = {}
    for name in services:
        leader = leaders[references[name]]
        action, reason, image = decide(
            target, references[name], here, pin=pins[leader], builds="build" in definitions[leader],
            given=given.get(leader, ""),
        )  # fmt: skip
        if leader != name:
            reason = f"{reason} (the image of {leader})"
        decisions[name] = Decision(name, references[name], pins[name], action, reason, image, leader)
    return decisions


def decide(  # noqa: PLR0911, PLR0913 - one return per rule, in their order
    target: Target, reference: str, here: Mapping[str, Image | None], *, pin: str, builds: bool, given: str
) -> tuple[str, str, str | None]:
    """Return action, reason and image id for one reference. The first rule that fits decides."""
    image, pinned = here.get(reference), here.get(pin)
    if given:
        return _given(reference, here.get(given), given)
    if pinned is not None and "@" not in reference:
        return REUSE, f"kept as {pin}", pinned.id
    if image is not None:
        if target.commit and image.revision == target.commit:
            return REUSE, f"{reference} is labelled with the commit", image.id
        if (
            not target.base
            and _names_release(reference, target.release)
            and image.revision in (None, "", target.commit)
        ):
            return REUSE, f"{reference} carries the release's name", image.id
        if not target.commit:
            return REUSE, f"{reference} is here, and no commit was given", image.id
    if builds:
        return BUILD, "no image of this release is here", None
    if target.base and _names_release(reference, target.release):
        raise _not_built(target, reference)
    if image is not None:
        return REUSE, f"{reference} is here; the service has no build", image.id
    return PULL, f"{reference} is not here; the service has no build", None


def _not_built(target: Target, reference: str) -> RollbackError:
    """Return the refusal of an image of the release itself that a patch of its source cannot change."""
    return RollbackError(
        f"The image {reference} of {target.release} is not built on this host, so a patch of the source does not "
        "change it: what is started would be the release without the patch. Nothing was changed.",
        "Build and push an image with the change, tag the commit that names it in its Compose file, and roll to that "
        "tag without patch. Or name the image of each service with the option images.",
    )


def unpatched(target: Target, decisions: Iterable[Decision], here: Mapping[str, Image | None]) -> dict[str, str]:
    """Return names under which images of the release without its patch are kept, each with the id of the image.

    Starting gives the name of the release, such as ``app:1.0.2``, to the image with the patch; the other one would be
    without a name then, and go with the next clean-up of the daemon.
    """
    found = {}
    for one in decisions if target.base else ():
        image = here.get(one.reference)
        if image and _names_release(one.reference, target.release) and image.revision in (None, "", target.base):
            found[pin_of(target.project, one.service, target.base)] = image.id
    return found


def _given(reference: str, image: Image | None, given: str) -> tuple[str, str, str]:
    if image is None:
        raise RollbackError(
            f"The image {given}, given for {reference} with the option images, is not on this host. Nothing was "
            "changed.",
            "Look for it with 'docker image ls --all --no-trunc', or leave it out of images.",
        )
    return REUSE, "given with the option images", image.id


def _names_release(reference: str, release: str) -> bool:
    return bool(release) and same_release(split_reference(reference)[1], release)


def _refuse_mixture(target: Target, references: Mapping[str, str]) -> None:
    """Refuse a release whose configuration names an image of the release that is to be left."""
    current = target.current_release
    if not current or same_release(current, target.release):
        return
    for service, reference in references.items():
        if _names_release(reference, current) and not _names_release(reference, target.release):
            raise RollbackError(
                f"The release {target.release} would start the service {service} from {reference}, an image of "
                f"{current}: a mixture of two releases. Nothing was changed.",
                f"A variable of an environment file (.env) probably says {split_reference(reference)[1]}. Name it in "
                "rollback_release_variables of the inventory, which set it for the release; where the module is used "
                "by itself, in its option environment. Then run again.",
            )
