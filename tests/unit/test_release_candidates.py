# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which releases can be rolled back to, and which one is suggested."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import images, release_candidates
from ansible_collections.usdx.rollback.plugins.module_utils.docker_client import REVISION_LABEL, SERVICE_LABEL
from ansible_collections.usdx.rollback.plugins.module_utils.git import Tag
from ansible_collections.usdx.rollback.plugins.module_utils.release_candidates import LocalImage
from hypothesis import given
from hypothesis import strategies as st

A, B, C, OTHER = (letter * 40 for letter in "abcf")
PIN = "usdx-rollback/wexel/webapp"
# a is the oldest; f lies on another line.
ORDER = [A, B, C]


def tag(name: str, commit: str) -> Tag:
    """Return a tag as git lists it."""
    return Tag(name=name, commit=commit, date="2024-12-20T09:00:00+00:00", subject=f"release {name}")


def is_ancestor(older: str, newer: str) -> bool:
    """Tell it as git does, for the line above."""
    return older in ORDER and newer in ORDER and ORDER.index(older) <= ORDER.index(newer)


def candidate(release: str, relation: str, verified_at: str | None = None) -> dict[str, Any]:
    """Return what a suggestion is made from."""
    return {"release": release, "relation": relation, "verified_at": verified_at}


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("webapp", ("webapp", "latest")),
        ("webapp:1.0.2", ("webapp", "1.0.2")),
        ("registry:5000/webapp", ("registry:5000/webapp", "latest")),
        ("registry:5000/team/webapp:v1", ("registry:5000/team/webapp", "v1")),
        ("registry:5000/webapp:v1@sha256:00", ("registry:5000/webapp", "v1")),
        ("webapp@sha256:00", ("webapp", "latest")),
    ],
)
def test_split_reference(reference: str, parts: tuple[str, str]) -> None:
    assert images.split_reference(reference) == parts


@given(st.text(max_size=40))
def test_any_reference_has_two_parts(reference: str) -> None:
    repository, name = images.split_reference(reference)
    assert "/" not in name
    assert reference.startswith(repository)


@pytest.mark.parametrize(
    "image",
    [
        LocalImage(PIN, B[:12], "id", ""),
        LocalImage(PIN, B[:12], "id", A),  # the pin was set by commit, whatever the label says
        LocalImage("wexel-webapp", "latest", "id", B),
        LocalImage("wexel-webapp", "1.0.2", "id", ""),
        LocalImage("wexel-webapp", "v1.0.2", "id", ""),
    ],
)
def test_the_image_of_a_release(image: LocalImage) -> None:
    assert release_candidates.image_of_release([image], tag("v1.0.2", B)) == "id"


@pytest.mark.parametrize(
    "image",
    [
        LocalImage("wexel-webapp", "1.0.2", "id", A),  # labelled: the name was given to another commit
        LocalImage("wexel-webapp", "1.0.21", "id", ""),
        LocalImage("wexel-webapp", "latest", "id", ""),
        LocalImage("wexel-webapp", B[:12], "id", ""),  # looks like a pin, in a place that is not ours
        LocalImage(PIN, A[:12], "id", ""),
        LocalImage(PIN, "before-20261124T150405Z-3f9a", "id", ""),
    ],
)
def test_the_image_of_another_release(image: LocalImage) -> None:
    assert release_candidates.image_of_release([image], tag("v1.0.2", B)) is None


@pytest.mark.parametrize(
    ("found", "word"),
    [
        ({"webapp": "1", "nginx": "2"}, "all"),
        ({"webapp": "1", "nginx": None}, "some"),
        ({"webapp": None, "nginx": None}, "none"),
        ({}, "none"),
    ],
)
def test_at_hand(found: dict[str, str | None], word: str) -> None:
    assert release_candidates.at_hand(found) == word


@pytest.mark.parametrize(
    ("commit", "head", "word"),
    [
        (B, B, "current"),
        (A, B, "older"),
        (C, B, "newer"),
        (OTHER, B, "other"),
        (B, OTHER, "other"),
        (OTHER, OTHER, "current"),
        (B, None, "other"),
    ],
)
def test_relation(commit: str, head: str | None, word: str) -> None:
    assert release_candidates.relation(commit, head, is_ancestor) == word


def test_candidates_keep_the_order_and_the_newest_record_counts() -> None:
    tags = [tag("v1.0.3", C), tag("v1.0.2", B), tag("v1.0.1", A)]
    images = {"webapp": [LocalImage("wexel-webapp", "1.0.2", "w", "")], "nginx": [LocalImage("nginx", "1", "n", C)]}
    verified = [{"commit": B, "time": "late"}, {"commit": B, "time": "early"}, {"time": "no commit"}]
    found = release_candidates.list_candidates(tags, C, images, verified, is_ancestor)
    assert [one["release"] for one in found] == ["v1.0.3", "v1.0.2", "v1.0.1"]
    assert [one["relation"] for one in found] == ["current", "older", "older"]
    assert [one["verified_at"] for one in found] == [None, "late", None]
    assert [one["images"] for one in found] == [
        {"webapp": None, "nginx": "n"}, {"webapp": "w", "nginx": None}, {"webapp": None, "nginx": None},
    ]  # fmt: skip
    assert [one["images_at_hand"] for one in found] == ["some", "some", "none"]
    assert (found[1]["date"], found[1]["subject"]) == ("2024-12-20T09:00:00+00:00", "release v1.0.2")


@pytest.mark.parametrize(
    ("candidates", "suggestion"),
    [
        ([candidate("v3", "current", "t"), candidate("v2", "older"), candidate("v1", "older", "t")], "v1"),
        ([candidate("v3", "current"), candidate("v2", "older"), candidate("v1", "older")], "v2"),
        ([candidate("v4", "newer", "t"), candidate("v3", "current", "t"), candidate("x", "other", "t")], None),
        ([candidate("v2", "older", "late"), candidate("v1", "older", "early")], "v2"),
        ([], None),
    ],
)
def test_suggestion(candidates: list[dict[str, Any]], suggestion: str | None) -> None:
    assert release_candidates.suggest(candidates) == suggestion


class Daemon:
    """What ``images_by_service`` asks a client for; the real one is asked by the integration tests."""

    def __init__(self, containers: list[dict[str, Any]], images: list[dict[str, Any]]) -> None:
        """Keep the answers, in the shape of the Docker API."""
        self.api, self.answers, self.listed = self, containers, images

    def containers(self, **_options: object) -> list[dict[str, Any]]:
        """Return the containers."""
        return self.answers

    def images(self) -> list[dict[str, Any]]:
        """Return the images."""
        return self.listed


def test_images_are_found_under_each_name_of_their_service_only() -> None:
    containers = [
        {"Image": "registry:5000/shop:9", "Labels": {SERVICE_LABEL: "webapp"}},
        {"Image": "sha256:00", "Labels": {SERVICE_LABEL: "webapp"}},
        {"Image": "postgres:15", "Labels": {SERVICE_LABEL: "db"}},
    ]
    local = [
        {"Id": "1", "RepoTags": ["registry:5000/shop:8", "other:8"], "Labels": {REVISION_LABEL: A}},
        {"Id": "2", "RepoTags": ["wexel-webapp:1", "wexel_indexer:1", f"{PIN}:{B[:12]}"], "Labels": None},
        {"Id": "3", "RepoTags": None, "Labels": None},
        {"Id": "4", "RepoTags": ["postgres:15", "wexel-webapp2:1"], "Labels": {}},
    ]
    found = release_candidates.images_by_service(
        Daemon(containers, local), "wexel", ["webapp", "indexer"]  # type: ignore[arg-type]
    )  # fmt: skip
    assert found == {
        "webapp": [
            LocalImage("registry:5000/shop", "8", "1", A),
            LocalImage("wexel-webapp", "1", "2", ""),
            LocalImage(PIN, B[:12], "2", ""),
        ],
        "indexer": [LocalImage("wexel_indexer", "1", "2", "")],
    }


def test_a_pin_is_found_whatever_the_service_is_called() -> None:
    """Docker takes no capital in a repository, Compose takes one in a service: the pin has a plain name."""
    pin = images.pin_of("wexel", "Web.App_", B)
    local = [{"Id": "1", "RepoTags": [pin], "Labels": None}]
    (found,) = release_candidates.images_by_service(
        Daemon([], local), "wexel", ["Web.App_"]  # type: ignore[arg-type]
    ).values()  # fmt: skip
    assert [(one.tag, one.image_id) for one in found] == [(B[:12], "1")]
