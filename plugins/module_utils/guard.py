# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs before a deployment: which images that are, and whether they are known to be those of the release.

Everything here is a pure function of module results. An image that is kept under the commit of another release would
be started by a later rollback, so what is not known is not kept.
"""

from __future__ import annotations

from typing import Any

from .database_decision import moment_of
from .http_probe import printable

_PASSED = "passed"
_KEPT = "kept as "


def running_images(services: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the id of the image that each service runs; a service without a container is left out.

    ``services`` is what ``compose_start`` returns with ``state=prepared``.
    """
    found = {name: (one.get("before") or {}).get("image_id") for name, one in services.items()}
    return {name: str(image) for name, image in found.items() if image}


def kept_already(services: dict[str, dict[str, Any]]) -> bool:
    """Tell whether the image that each service runs is kept for the commit, before anything is done for it."""
    return bool(services) and all(
        str(one.get("reason")).startswith(_KEPT) and one.get("image_id") == (one.get("before") or {}).get("image_id")
        for one in services.values()
    )


def keep_refusal(facts: dict[str, Any]) -> str:
    """Return why what runs cannot be kept as the release that is checked out; empty when it can.

    ``facts`` holds ``release`` (the tag, empty without one), ``commit``, ``since`` (when it was checked out, or
    nothing), ``services`` of ``compose_start``, and ``verified``, what ``version_verify`` saw.
    """
    if not facts["release"]:
        return (
            f"The commit {facts['commit'][:12]} that is checked out has no tag, and a rollback goes to a tag. Give it "
            "one, or check out the release that runs."
        )
    return _not_one_image(facts["services"]) or _not_known(facts)


def _not_one_image(services: dict[str, dict[str, Any]]) -> str:
    """Return which service runs no image, or several; one reference cannot stand for two images either."""
    by_reference: dict[str, set[str]] = {}
    for name, one in sorted(services.items()):
        images = {str(container.get("image_id")) for container in one.get("containers", [])}
        if not images:
            return f"The service {name} has no container, so nobody knows which image it ran. Start it first."
        by_reference.setdefault(str(one.get("image")), set()).update(images)
    mixed = sorted(reference for reference, images in by_reference.items() if len(images) > 1)
    if mixed:
        return (
            f"Containers run different images of {', '.join(mixed)}: a deployment has stopped half way. End it first."
        )
    return ""


def _not_known(facts: dict[str, Any]) -> str:
    """Return why it is not known that the containers are those of the release."""
    verified: dict[str, Any] = facts["verified"]
    asked = [one for one in verified.get("checks", []) if one["kind"] == "endpoint"]
    wrong = [str(verified.get("msg"))] if verified.get("msg") and not asked else []
    wrong += [f"{one['name']}: {one['seen']}" for one in verified.get("checks", []) if one["verdict"] != _PASSED]
    what = f"{facts['release']} is checked out, but it is not known that it runs"
    if wrong:
        return f"{what}: {printable('; '.join(wrong), 400)}. Check out the release that runs, then guard again."
    if asked:
        return ""
    if not facts.get("since"):
        return f"{what}: no endpoint tells a version, and Git does not tell since when it is checked out. {_WAY_OUT}"
    made = [one["created_at"] for service in facts["services"].values() for one in service.get("containers", [])]
    if max(map(moment_of, made)) < moment_of(facts["since"]):
        return f"{what}: every container is older than the checkout, and no endpoint tells a version. {_WAY_OUT}"
    return ""


_WAY_OUT = "Give an endpoint a version_query (rollback_endpoints), or check out the release that runs."
