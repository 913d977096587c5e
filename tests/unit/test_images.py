# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which image a service of a release uses: rule by rule."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.images import (
    Decision,
    Image,
    Target,
    before_of,
    decide_all,
    pin_of,
    repository_of,
    split_reference,
    unpatched,
)

COMMIT = "c" * 40
TARGET = Target("p", "v1.0.2", COMMIT, "v1.0.3")
BUILDS: dict[str, Any] = {"build": {"context": "."}}


def decide(
    definition: dict[str, Any], images: dict[str, str | None], target: Target = TARGET, **others: dict[str, Any]
) -> Decision:
    """Decide for the service ``web``; ``images`` holds the revision labels of the images that are here."""
    definitions = {"web": definition, **others}

    def find(names: list[str]) -> dict[str, Image | None]:
        return {name: Image(f"id of {name}", [name], images[name]) if name in images else None for name in names}

    return decide_all(target, definitions, list(definitions), find)["web"]


PIN = pin_of("p", "web", COMMIT)


BASE = "d" * 40
PATCHED = Target("p", "v1.0.2", COMMIT, "v1.0.3", None, BASE)
NAMED = BUILDS | {"image": "app:1.0.2"}


@pytest.mark.parametrize(
    ("definition", "images", "action"),
    [
        (NAMED, {"app:1.0.2": None}, "build"),
        (NAMED, {"app:1.0.2": BASE, pin_of("p", "web", BASE): BASE}, "build"),
        (NAMED, {"app:1.0.2": COMMIT}, "reuse"),
        (NAMED, {PIN: COMMIT}, "reuse"),
        ({"image": "nginx:1.27"}, {"nginx:1.27": None}, "reuse"),
        ({"image": "app:1.0.2-patch.1"}, {}, "pull"),
    ],
)
def test_a_release_with_a_patch_never_starts_from_the_image_without_it(
    definition: dict[str, Any], images: dict[str, str | None], action: str
) -> None:
    assert decide(definition, images, PATCHED).action == action


@pytest.mark.parametrize("images", [{}, {"app:1.0.2": None}, {"app:1.0.2": BASE}])
def test_an_image_of_the_release_that_a_patch_cannot_change_is_refused(images: dict[str, str | None]) -> None:
    with pytest.raises(RollbackError, match=r"app:1\.0\.2 of v1\.0\.2 is not built on this host"):
        decide({"image": "app:1.0.2"}, images, PATCHED)


@pytest.mark.parametrize(
    ("revision", "kept"), [(None, True), ("", True), (BASE, True), (COMMIT, False), ("e" * 40, False)]
)
def test_the_image_of_the_release_without_its_patch_keeps_a_name(revision: str | None, kept: bool) -> None:  # noqa: FBT001
    decision = decide(NAMED, {"app:1.0.2": revision}, PATCHED)
    here = {"app:1.0.2": Image("id", ["app:1.0.2"], revision)}
    assert unpatched(PATCHED, [decision], here) == ({pin_of("p", "web", BASE): "id"} if kept else {})
    assert unpatched(TARGET, [decision], here) == {}


@pytest.mark.parametrize(
    ("definition", "images", "action", "image"),
    [
        (BUILDS, {PIN: None, "p-web": COMMIT}, "reuse", PIN),
        (BUILDS, {"p-web": COMMIT}, "reuse", "p-web"),
        (BUILDS, {"p-web": "d" * 40}, "build", None),
        (BUILDS, {"p-web": None}, "build", None),
        (BUILDS, {}, "build", None),
        (BUILDS | {"image": "app:1.0.2"}, {"app:1.0.2": None}, "reuse", "app:1.0.2"),
        (BUILDS | {"image": "app:v1.0.2"}, {"app:v1.0.2": None}, "reuse", "app:v1.0.2"),
        (BUILDS | {"image": "app:1.0.2"}, {"app:1.0.2": "d" * 40}, "build", None),
        ({"image": "app:1.0.2"}, {"app:1.0.2": "d" * 40}, "reuse", "app:1.0.2"),
        ({"image": "nginx:1.27"}, {"nginx:1.27": None}, "reuse", "nginx:1.27"),
        ({"image": "nginx:1.27"}, {}, "pull", None),
        ({"image": "nginx@sha256:0"}, {PIN: None}, "pull", None),
    ],
)
def test_rules(definition: dict[str, Any], images: dict[str, str | None], action: str, image: str | None) -> None:
    """The first rule that fits decides."""
    decision = decide(definition, images)
    assert decision.action == action
    assert decision.image_id == (f"id of {image}" if image else None)
    assert decision.reason


def test_without_a_commit_the_named_image_counts() -> None:
    """Nothing is built when nobody said for which commit."""
    assert decide(BUILDS, {"p-web": None}, Target("p")).action == "reuse"


def test_given_image_decides_and_must_be_here() -> None:
    """The way back names image ids."""
    target = Target("p", "v1.0.2", COMMIT, "", {"web": "sha256:1"})
    assert decide(BUILDS, {"sha256:1": None, PIN: None}, target).image_id == "id of sha256:1"
    with pytest.raises(RollbackError, match="sha256:1"):
        decide(BUILDS, {PIN: None}, target)


def test_services_with_one_reference_share_the_image_of_the_one_that_builds() -> None:
    """A service without build must not pull what its sibling builds."""
    decision = decide({"image": "app"}, {}, api={"image": "app", "build": {}})
    assert (decision.action, decision.leader) == ("build", "api")


@pytest.mark.parametrize("tag", ["1.0.3", "v1.0.3"])
def test_mixture_is_refused(tag: str) -> None:
    """An image of the release that is to be left."""
    with pytest.raises(RollbackError, match="mixture") as caught:
        decide({"image": f"app:{tag}"}, {f"app:{tag}": None})
    assert "web" in caught.value.msg
    assert ".env" in caught.value.next_step


def test_no_mixture_when_nothing_is_left() -> None:
    """Starting the current release again names the current release."""
    assert decide({"image": "app:1.0.3"}, {"app:1.0.3": None}, Target("p", "1.0.3", COMMIT, "v1.0.3")).action == "reuse"


def test_references_are_split() -> None:
    """A port is no tag, a digest is dropped."""
    assert split_reference("localhost:5000/a/b") == ("localhost:5000/a/b", "latest")
    assert split_reference("localhost:5000/a/b:1") == ("localhost:5000/a/b", "1")
    assert split_reference("a:1@sha256:0") == ("a", "1")


@pytest.mark.parametrize("name", ["web", "Web", "web_", "we__b", "w.e-b", "-", "we___b"])
def test_names_are_valid_repositories_and_stay_different(name: str) -> None:
    """Compose allows names that Docker refuses in a reference."""
    repository = repository_of("p", name)
    assert re.fullmatch(r"usdx-rollback/p/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", repository)
    assert repository not in {repository_of("p", other) for other in ("web", "w-e-b", "we-b") if other != name}


@pytest.mark.parametrize("run_id", ["a/b", "", "-x", "a b", "x" * 200])
def test_run_id_must_fit_into_a_tag(run_id: str) -> None:
    """Refused before anything changes."""
    with pytest.raises(RollbackError, match="run_id"):
        before_of("p", "web", run_id)
