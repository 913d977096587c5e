# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases that a project can be rolled back to: from tags, from local images, and from what runs have verified.

Never from file times: they tell when a file was copied, not what was deployed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .checkout import open_project
from .docker_client import PROJECT_LABEL, REVISION_LABEL, SERVICE_LABEL, connect
from .images import PIN_DIGITS, PIN_FOLDER, repository_of, split_reference
from .journal import verified_releases
from .patched_release import place
from .release import same_release

if TYPE_CHECKING:
    from collections.abc import Callable

    from docker.client import DockerClient

    from .git import Run, Tag


@dataclass(frozen=True)
class LocalImage:
    """An image on the host under one of its names. ``revision`` is its label for the commit, or empty."""

    repository: str
    tag: str
    image_id: str
    revision: str


def image_of_release(images: list[LocalImage], tag: Tag) -> str | None:
    """Return the id of the image that belongs to a release, or ``None``.

    ``images`` are those of one service. Pinned by commit, labelled with the commit, or tagged with the release's name.
    """
    for image in images:
        pinned = image.repository.startswith(PIN_FOLDER) and image.tag == tag.commit[:PIN_DIGITS]
        if pinned or image.revision == tag.commit or (not image.revision and same_release(image.tag, tag.name)):
            return image.image_id
    return None


def at_hand(found: dict[str, str | None]) -> str:
    """Return ``all``, ``some`` or ``none``: for how many services an image was found."""
    number = sum(image_id is not None for image_id in found.values())
    if number == 0:
        return "none"
    return "all" if number == len(found) else "some"


def relation(commit: str, head: str | None, is_ancestor: Callable[[str, str], bool]) -> str:
    """Return how a commit stands to the one that is checked out: ``current``, ``older``, ``newer`` or ``other``."""
    if head is None or commit == head:
        return "current" if commit == head else "other"
    if is_ancestor(commit, head):
        return "older"
    return "newer" if is_ancestor(head, commit) else "other"


def list_candidates(
    tags: list[Tag],
    head: str | None,
    images: dict[str, list[LocalImage]],
    verified: list[dict[str, Any]],
    is_ancestor: Callable[[str, str], bool],
) -> list[dict[str, Any]]:
    """Return a candidate for each tag, in the order of the tags.

    ``images`` are the local images of each application service; ``verified`` are the records of verified releases,
    newest first.
    """
    last_verified: dict[str, Any] = {}
    for record in verified:
        last_verified.setdefault(str(record.get("commit")), record.get("time"))
    candidates = []
    for tag in tags:
        found = {service: image_of_release(names, tag) for service, names in images.items()}
        candidates.append(
            {
                "release": tag.name,
                "commit": tag.commit,
                "date": tag.date,
                "subject": tag.subject,
                "images": found,
                "images_at_hand": at_hand(found),
                "verified_at": last_verified.get(tag.commit),
                "relation": relation(tag.commit, head, is_ancestor),
            }
        )
    return candidates


def suggest(candidates: list[dict[str, Any]]) -> str | None:
    """Return the release to look at first: the newest older one that a run has verified, else the newest older one."""
    older = [candidate for candidate in candidates if candidate["relation"] == "older"]
    verified = [candidate for candidate in older if candidate["verified_at"]]
    chosen = (verified or older)[:1]
    return str(chosen[0]["release"]) if chosen else None


def images_by_service(client: DockerClient, project: str, services: list[str]) -> dict[str, list[LocalImage]]:
    """Return the local images of each service: under the names its containers use, Compose's default name, its pins."""
    repositories = {
        service: {f"{project}-{service}", f"{project}_{service}", repository_of(project, service)}
        for service in services
    }
    for container in client.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={project}"}):
        service = container["Labels"].get(SERVICE_LABEL)
        if service in repositories and not container["Image"].startswith("sha256:"):
            repositories[service].add(split_reference(container["Image"])[0])
    images = [
        LocalImage(*split_reference(name), image["Id"], (image.get("Labels") or {}).get(REVISION_LABEL, ""))
        for image in client.api.images()
        for name in image.get("RepoTags") or []
    ]
    return {
        service: [image for image in images if image.repository in names] for service, names in repositories.items()
    }


def release_info(options: dict[str, Any], run: Run) -> dict[str, Any]:
    """Return ``current``, ``candidates`` and ``suggestion`` of a project; read-only.

    ``options`` are those of the module ``release_info``.
    """
    git = open_project(options["path"], run)
    head = git.head()
    images = images_by_service(connect(options["docker_host"]), options["project"], options["services"])
    verified = verified_releases(options["state_directory"])
    current = {"commit": head, **place(git, "HEAD"), "since": git.checked_out_since(head) if head else None}
    under = current.get("patch", {}).get("base") or head
    candidates = list_candidates(git.tags()[: options["limit"]], under, images, verified, git.is_ancestor)
    return {"changed": False, "current": current, "candidates": candidates, "suggestion": suggest(candidates)}
