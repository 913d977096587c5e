# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A demo stack seen from outside, for tests: what users get, what Docker and Git say, what was there before."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any

import snapshot

KEEP_SERVICES = ("db", "redis")
APPLICATION_SERVICES = ("indexer", "nginx", "webapp")


class Stack:
    """The stack of one demo folder."""

    def __init__(self, directory: Path, moment: str = "") -> None:
        """Read where the stack is; nothing is asked yet. ``moment`` names the snapshot that stands for now."""
        self.directory = directory
        self.moment = moment
        self.facts: dict[str, Any] = json.loads((directory / "demo.json").read_text(encoding="utf-8"))
        self.project: str = self.facts["project"]

    @classmethod
    def of_scenario(cls, host: str = "", moment: str = "") -> Stack:
        """Return the stack of the Molecule scenario that runs; ``host`` names one of several."""
        return cls(Path(os.environ["USDX_DEMO_DIRECTORY"], host), moment)

    @cached_property
    def before(self) -> dict[str, Any]:
        """The snapshot taken before the run."""
        return self.seen("before")

    def seen(self, moment: str) -> dict[str, Any]:
        """Return the snapshot that was taken at a moment."""
        taken: dict[str, Any] = json.loads((self.directory / f"{moment}.json").read_text(encoding="utf-8"))
        return taken

    @cached_property
    def now(self) -> dict[str, Any]:
        """A snapshot taken now, once for a test, or the one that stands for it."""
        return self.seen(self.moment) if self.moment else snapshot.take(self.directory)

    def screen(self, number: int | str = "") -> tuple[int, str]:
        """Return exit code and screen of a command that an operator typed."""
        told = json.loads((self.directory / f"operator{number}.json").read_text(encoding="utf-8"))
        return told["rc"], told["screen"] + told["errors"]

    def get(self, path: str) -> tuple[int, str]:
        """Request a page as a user does."""
        try:
            with urllib.request.urlopen(self.facts["url"] + path, timeout=5) as answer:  # noqa: S310 - our own stack
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def containers(self, moment: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the project's containers by service."""
        return {
            container["service"]: container
            for container in moment["containers"].values()
            if container["project"] == self.project
        }

    def journal(self) -> list[dict[str, Any]]:
        """Return the events of the only run on record."""
        (path,) = (self.directory / "state" / "runs").glob("*/journal.jsonl")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def sql(self, query: str) -> list[str]:
        """Return the rows that the live database answers, columns parted by bars."""
        return snapshot.sql(self.project, query)

    def database_id(self, moment: dict[str, Any]) -> str:
        """Return the object id of the live database."""
        (found,) = (line.split("|")[1] for line in moment["databases"] if line.startswith("usdx_wexel|"))
        return str(found)

    def image_of(self, service: str, release: str) -> str:
        """Return the id of the image that was built for a release."""
        return snapshot.lines(
            "docker", "image", "inspect", "--format", "{{.Id}}", f"{self.project}-{service}:{release.lstrip('v')}"
        )[0]

    # --- what must hold ---

    def assert_release_answers(self, release: str, *, patched: bool = False) -> None:
        """Users get the release, from containers of its images, from its commit, or from one with a patch on top."""
        status, body = self.get("/health")
        assert (status, json.loads(body)["version"]) == (200, release)
        assert [self.get(path)[0] for path in ("/", "/api/pools", "/api/stats")] == [200, 200, 200]
        (head,) = self.now["repository"]["head"]
        tree = str(self.directory / "project")
        (under,) = snapshot.lines("git", "-C", tree, "rev-parse", f"{head}^") if patched else [head]
        assert under == self.facts["tags"][release]
        running = self.containers(self.now)
        assert {running[service]["status"] for service in APPLICATION_SERVICES} == {"running"}
        assert {running[service]["health"] for service in APPLICATION_SERVICES} == {"healthy"}
        for service in ("indexer", "webapp"):
            assert running[service]["image"] == self.image_of(service, release)

    def assert_keep_services_untouched(self) -> None:
        """Db and redis are the same containers, started when they were."""
        before, now = self.containers(self.before), self.containers(self.now)
        for service in KEEP_SERVICES:
            assert {**before[service], "health": "healthy"} == {**now[service], "health": "healthy"}

    def assert_nothing_else_changed(self) -> None:
        """Compare networks and volumes; no image is lost, and no private tree stays behind."""
        assert self.ours(self.now["networks"]) == self.ours(self.before["networks"])
        assert self.ours(self.now["volumes"]) == self.ours(self.before["volumes"])
        lost = self.image_ids(self.before) - self.image_ids(self.now)
        assert not lost
        assert self.now["leavings"] == []

    def assert_nothing_changed(self) -> None:
        """Compare everything that the project has: containers, images, tree, repository, state."""
        self.assert_nothing_else_changed()
        assert self.containers(self.now) == self.containers(self.before)
        assert self.ours(self.now["images"]) == self.ours(self.before["images"])
        for part in ("tree", "repository", "databases"):
            assert self.now[part] == self.before[part], part
        # The empty file that takers of the lock lock stays; the lock itself does not.
        assert [name for name in self.now["state"] if name != "lock.flock"] == self.before["state"]

    def image_ids(self, moment: dict[str, Any]) -> set[str]:
        """Return the ids of the project's images."""
        return {line.split()[1] for line in self.ours(moment["images"])}

    def ours(self, names: list[str]) -> list[str]:
        """Return what belongs to this project; other scenarios may run on the same host at the same time."""
        wanted = re.compile(rf"(?:^|\s){re.escape(self.project)}(?:[-_/]|$)")
        return [name for name in names if wanted.search(name.removeprefix("usdx-rollback/"))]
