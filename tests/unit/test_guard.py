# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be kept as a release before a deployment, and what is not known to be one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.guard import keep_refusal, kept_already, running_images

CHECKED_OUT = "2026-11-24T15:00:00+01:00"
BEFORE, AFTER = "2026-11-24T13:59:59.123456789Z", "2026-11-24T14:00:01.5Z"


def service(image: str = "sha256:1", *, created: str = AFTER, reference: str = "shop-web:1.0.2") -> dict[str, Any]:
    """Return a service as compose_start returns it."""
    return {
        "image": reference, "pin": "usdx-rollback/shop/web:abc", "reason": "here", "image_id": image,
        "before": {"image_id": image}, "containers": [{"image_id": image, "created_at": created}],
    }  # fmt: skip


def facts(**more: Any) -> dict[str, Any]:
    """Return what a step knows when nothing is wrong and no endpoint tells a version."""
    return {
        "release": "v1.0.2", "commit": "a" * 40, "since": CHECKED_OUT, "services": {"web": service()}, "verified": {},
    } | more  # fmt: skip


def endpoint(verdict: str, seen: str = "status 200, version v1.0.3") -> dict[str, Any]:
    """Return what version_verify says of one endpoint."""
    check = {"kind": "endpoint", "name": "/health", "verdict": verdict, "seen": seen}
    return {"checks": [check], "failed": verdict != "passed"}


def test_what_runs_since_the_checkout_is_kept() -> None:
    assert keep_refusal(facts()) == ""


def test_an_endpoint_that_names_the_release_is_better_than_any_time() -> None:
    old = {"web": service(created=BEFORE)}
    assert keep_refusal(facts(services=old, verified=endpoint("passed"), since=None)) == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"release": ""}, "aaaaaaaaaaaa that is checked out has no tag"),
        ({"verified": endpoint("failed")}, "/health: status 200, version v1.0.3"),
        ({"verified": endpoint("inconclusive", "version_query finds no version")}, "finds no version"),
        ({"verified": {"failed": True, "msg": "jmespath is missing"}}, "jmespath is missing"),
        ({"services": {"web": service(created=BEFORE)}}, "every container is older than the checkout"),
        ({"since": None}, "Git does not tell since when"),
        ({"services": {"web": {**service(), "containers": []}}}, "The service web has no container"),
        (
            {"services": {"web": service("sha256:1"), "worker": service("sha256:2")}},
            "Containers run different images of shop-web:1.0.2",
        ),
        (
            {"services": {"web": {**service(), "containers": [
                {"image_id": "sha256:1", "created_at": AFTER}, {"image_id": "sha256:2", "created_at": AFTER}]}}},
            "Containers run different images of shop-web:1.0.2",
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_the_release_is_not_kept(more: dict[str, Any], words: str) -> None:
    assert words in keep_refusal(facts(**more))


def test_one_young_container_proves_the_deployment_where_nothing_else_does() -> None:
    """A service whose image did not change keeps its container."""
    both = {"nginx": service(created=BEFORE, reference="shop-nginx"), "web": service()}
    assert keep_refusal(facts(services=both)) == ""


def test_kept_already_is_only_what_is_kept_and_runs() -> None:
    kept = {**service(), "reason": "kept as usdx-rollback/shop/web:abc"}
    assert kept_already({"web": kept})
    assert not kept_already({"web": service()})
    assert not kept_already({"web": {**kept, "before": {"image_id": "sha256:2"}}})
    assert not kept_already({})


def test_the_images_that_run_decide() -> None:
    assert running_images({"web": {**service(), "image_id": None}, "gone": {"before": {"image_id": None}}}) == {
        "web": "sha256:1"
    }
