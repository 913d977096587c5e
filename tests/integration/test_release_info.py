# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""release_info against a real repository, real images and real records."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from git_projects import Project, digest, git, make_project
from harness import BASE_IMAGE, Outcome, call_module, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "20261124T150405Z-3f9a"


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """Give a project on v1.0.3."""
    return make_project(tmp_path)


@pytest.fixture
def name() -> Iterator[str]:
    """Give the name of a Compose project of our own; its images are removed in the end."""
    name = f"usdx-it-{os.getpid()}-{secrets.token_hex(3)}"
    yield name
    images = command("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
    ours = [image for image in images if image.startswith((f"{name}-", f"usdx-rollback/{name}/"))]
    if ours:
        command("docker", "rmi", *ours)


def image(reference: str) -> str:
    """Make a local image of this name and return its id."""
    command("docker", "tag", BASE_IMAGE, reference)
    return command("docker", "image", "inspect", "--format", "{{.Id}}", reference).strip()


def info(made: Project, name: str, *, check: bool = False, **options: Any) -> Outcome:
    """Call the module with the options of most tests."""
    state = str(made.tree.parent / "state")
    defaults = {"path": str(made.tree), "project": name, "services": ["webapp", "indexer"], "state_directory": state}
    return call_module("release_info", defaults | options, check=check)


def verified(made: Project, release: str, commit: str) -> str:
    """Record a verified release as a run does, and return when."""
    event = {"event": "release_verified", "facts": {"release": release, "commit": commit, "images": {}}}
    state = str(made.tree.parent / "state")
    outcome = call_module("run_journal", {"state_directory": state, "run_id": RUN, "events": [event]})
    time: str = outcome["events"][0]["time"]
    return time


def by_release(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return the candidates by their tag."""
    return {candidate["release"]: candidate for candidate in outcome["candidates"]}


def test_tags_images_and_records_come_together(made: Project, name: str) -> None:
    """Check mode and real mode, twice each, say the same and change nothing."""
    of_base = image(f"{name}-webapp:1.0.2")
    image(f"usdx-rollback/{name}/indexer:{made.old[:12]}")
    image(f"usdx-rollback/{name}/webapp:{made.new[:12]}")
    image(f"{name}-webappother:1.0.1")
    time = verified(made, "v1.0.2", made.old)
    before = digest(made.tree)
    outcomes = [info(made, name, check=check) for check in (True, False, True, False)]
    first = outcomes[0]
    assert not first.failed
    assert not first["changed"]
    for other in outcomes[1:]:
        assert all(other[key] == first[key] for key in ("changed", "current", "candidates", "suggestion"))
    assert digest(made.tree) == before
    since = git(made.tree, "log", "-g", "-1", "--format=%gd", "--date=iso-strict", "HEAD").strip()
    now = {"release": "v1.0.3", "commit": made.new, "describe": "v1.0.3"}
    assert first["current"] == now | {"since": since.removeprefix("HEAD@{").removesuffix("}")}
    assert first["suggestion"] == "v1.0.2"
    assert [candidate["release"] for candidate in first["candidates"]] == ["v1.0.3", "v1.0.2", "v1.0.1"]
    found = by_release(first)
    assert found["v1.0.2"] == {
        "release": "v1.0.2", "commit": made.old, "date": found["v1.0.2"]["date"], "subject": "release 1.0.2",
        "images": {"webapp": of_base, "indexer": of_base}, "images_at_hand": "all",
        "verified_at": time, "relation": "older",
    }  # fmt: skip
    assert found["v1.0.2"]["date"].startswith("2024-12-10T00:00:00")
    assert found["v1.0.3"]["images"] == {"webapp": of_base, "indexer": None}
    assert (found["v1.0.3"]["images_at_hand"], found["v1.0.3"]["relation"]) == ("some", "current")
    assert (found["v1.0.1"]["images_at_hand"], found["v1.0.1"]["verified_at"]) == ("none", None)


def test_a_verified_release_is_suggested_before_a_newer_one(made: Project, name: str) -> None:
    """What ran well once is the better choice; a record of another commit does not count."""
    verified(made, "v1.0.1", git(made.tree, "rev-parse", "v1.0.1"))
    verified(made, "v1.0.2", "f" * 40)
    assert info(made, name)["suggestion"] == "v1.0.1"


def test_an_older_checkout_sees_newer_releases(made: Project, name: str) -> None:
    """After a rollback the releases above are newer, and the oldest has nothing to go back to."""
    git(made.tree, "checkout", "--quiet", "v1.0.1")
    outcome = info(made, name, limit=2)
    assert {one["release"]: one["relation"] for one in outcome["candidates"]} == {"v1.0.3": "newer", "v1.0.2": "newer"}
    assert (outcome["suggestion"], outcome["current"]["release"]) == (None, "v1.0.1")


def test_a_release_with_a_patch_is_that_release_with_a_patch_and_not_a_newer_one(made: Project, name: str) -> None:
    patch = made.tree.parent / "fix.patch"
    patch.write_text("--- a/app.txt\n+++ b/app.txt\n@@ -1 +1 @@\n-1.0.2\n+mended\n")
    commit = made.checkout(patch=str(patch))["after"]["commit"]
    found = info(made, name)
    assert (found["current"]["release"], found["current"]["commit"]) == ("v1.0.2", commit)
    assert (found["current"]["patch"]["name"], found["current"]["patch"]["base"]) == ("fix.patch", made.old)
    relations = {release: one["relation"] for release, one in by_release(found).items()}
    assert relations == {"v1.0.1": "older", "v1.0.2": "current", "v1.0.3": "newer"}
    assert found["suggestion"] == "v1.0.1"


def test_a_path_without_a_checkout_is_refused(made: Project, name: str, tmp_path: Path) -> None:
    """The path is named, and what to give instead."""
    outcome = info(made, name, path=str(tmp_path / "nowhere"))
    assert outcome.failed
    assert str(tmp_path / "nowhere") in outcome["msg"]
    assert outcome["next_step"]


def test_a_daemon_that_does_not_answer_is_named(made: Project, name: str, tmp_path: Path) -> None:
    """Not "no image at hand": nobody was asked."""
    socket = f"unix://{tmp_path}/none.sock"
    outcome = info(made, name, docker_host=socket)
    assert outcome.failed
    assert "candidates" not in outcome.result
    assert "daemon does not answer" in outcome["msg"]
