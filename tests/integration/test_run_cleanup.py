# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""run_cleanup against a real repository, a real daemon and real journals."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from git_projects import WHO, Project, commit, digest, git, make_project
from harness import Outcome, call_module, command
from stacks import IMAGE, Stack, build_image, stack

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPOSE = f"services:\n  web:\n    image: {IMAGE}\n"
ODD_PIN = "0123456789ab"


def run_id(days: float) -> str:
    """Return the id of a run that began so many days ago."""
    return f"{datetime.now(timezone.utc) - timedelta(days=days):%Y%m%dT%H%M%SZ}-3f9a"


@dataclass(frozen=True)
class Host:
    """A project that runs, and what its runs have kept."""

    made: Project
    stack: Stack
    state: Path
    temporary: Path

    @property
    def repository(self) -> str:
        """Return the name under which images of the service are kept."""
        return f"usdx-rollback/{self.stack.project}/web"

    def cleanup(self, *, check: bool = False, **options: Any) -> Outcome:
        """Call the module with limits that let everything go; a test gives those that it is about."""
        given = {
            "path": str(self.made.tree), "project": self.stack.project, "state_directory": str(self.state),
            "keep": 0, "min_age_hours": 0, "keep_releases": 0, "keep_journals_days": 0,
        }  # fmt: skip
        return call_module("run_cleanup", given | options, check=check)

    def kept(self) -> dict[str, Any]:
        """Return everything that runs have kept, as Docker, Git and the disk say."""
        names = command("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{self.repository}*")
        refs = git(self.made.tree, "for-each-ref", "--format=%(refname)", "refs/rollback").splitlines()
        runs = self.state / "runs"
        return {
            "images": sorted(name.rpartition(":")[2] for name in names.split()),
            "references": sorted(ref.removeprefix("refs/rollback/") for ref in refs),
            "journals": sorted(path.name for path in runs.iterdir()) if runs.is_dir() else [],
            "trees": sorted(path.name for path in self.temporary.iterdir()),
        }

    def journal(self, name: str, *, outcome: str | None = "succeeded", **facts: Any) -> None:
        """Write the journal of a run, without its end if there is no outcome."""
        events: list[dict[str, Any]] = [{"event": "run_started", "facts": facts}]
        events += [{"event": "run_finished", "facts": {"outcome": outcome}}] if outcome else []
        call_module("run_journal", {"state_directory": str(self.state), "run_id": name, "events": events})

    def image(self, tag: str, image: str = IMAGE) -> None:
        """Give an image one of our names."""
        command("docker", "tag", image, f"{self.repository}:{tag}")

    def own_image(self, tag: str) -> str:
        """Make an image that has no name but this one, and return its id."""
        dockerfile = f"FROM {IMAGE}\nLABEL only={self.stack.project}-{tag}\n"
        argv = ["docker", "build", "--quiet", "--tag", f"{self.repository}:{tag}", "-"]
        elsewhere = os.environ | {"TMPDIR": str(self.temporary.parent)}  # for what the builder leaves behind
        done = subprocess.run(argv, input=dockerfile, check=True, capture_output=True, text=True, env=elsewhere)
        return done.stdout.strip()

    def references(self, name: str, *kinds: str) -> None:
        """Save something under the references of a run."""
        for kind in kinds:
            git(self.made.tree, "update-ref", f"refs/rollback/{name}/{kind}", "HEAD")

    def tree(self, name: str, hours: float, objects: Path | None = None) -> Path:
        """Make what looks like a private tree, last touched so many hours ago."""
        path = self.temporary / name
        info = path / ".git/objects/info"
        info.mkdir(parents=True)
        (info / "alternates").write_text(f"{(objects or self.made.tree / '.git/objects').resolve()}\n")
        (path / ".env").write_text("SECRET=1\n")
        at = datetime.now(timezone.utc).timestamp() - hours * 3600
        for folder in (path / ".git", path):
            os.utime(folder, (at, at))
        return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Give a project on v1.0.3 whose one service runs; its folder for temporary files is its own."""
    build_image()
    made = make_project(tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with stack(tmp_path) as running:
        running.write({"compose.yml": COMPOSE})
        running.up()
        monkeypatch.setenv("TMPDIR", str(temporary))
        yield Host(made, running, tmp_path / "state", temporary)


def exists(image_id: str) -> bool:
    """Tell whether an image is on this host."""
    return subprocess.run(["docker", "image", "inspect", image_id], check=False, capture_output=True).returncode == 0


def test_old_things_go_and_the_rest_stays(host: Host) -> None:
    """Check, real, check again, real again. Branches and containers do not notice."""
    old, middle, new = run_id(400), run_id(30), run_id(1)
    for name in (old, middle, new):
        host.journal(name, commit=host.made.old)
        host.image(f"before-{name}")
        host.references(name, "before", "local-edits")
        git(host.made.tree, "symbolic-ref", f"refs/rollback/{name}/branch", "refs/heads/main")
    only = host.own_image(f"before-{old}x")
    command("docker", "tag", only, f"{host.repository}:before-{old}")
    command("docker", "rmi", f"{host.repository}:before-{old}x")
    host.image("before-0123456789ab")
    host.image("latest")
    host.references("by-hand", "before")
    host.tree("usdx-rollback-k2j4x_8a", 2)
    host.tree("usdx-rollback-young_8a", 0.5)
    host.tree("usdx-rollback-other_8a", 900, host.made.developer / ".git/objects")
    host.tree("somebody-else", 900)
    before, containers, main = host.kept(), host.stack.identity("web-1"), git(host.made.tree, "rev-parse", "main")
    everything = digest(host.made.tree), digest(host.state)

    outcomes = [host.cleanup(check=True, keep=1, keep_journals_days=365)]
    assert host.kept() == before
    assert (digest(host.made.tree), digest(host.state)) == everything
    outcomes.append(host.cleanup(keep=1, keep_journals_days=365))
    planned, done = outcomes
    assert (planned.failed, done.failed) == (False, False)
    parts = ("changed", "dropped", "left", "in_use", "held", "bytes", "failed_to_drop")
    assert {part: done[part] for part in parts} == {part: planned[part] for part in parts}
    assert done["changed"]
    assert done["dropped"] == {
        "images": sorted(f"{host.repository}:before-{name}" for name in (old, middle)),
        "references": sorted(
            f"refs/rollback/{name}/{kind}" for name in (old, middle) for kind in ("before", "branch", "local-edits")
        ),
        "journals": [old],
        "trees": [str(host.temporary / "usdx-rollback-k2j4x_8a")],
    }
    assert done["left"] == {"images": 1, "references": 3, "journals": 2, "trees": 1}
    assert done["bytes"]["trees"] > 0
    assert done["bytes"]["images"] > 0
    assert f"-references: refs/rollback/{old}/branch" in done.shown
    assert host.kept() == {
        "images": ["before-0123456789ab", f"before-{new}", "latest"],
        "references": sorted([f"{new}/before", f"{new}/branch", f"{new}/local-edits", "by-hand/before"]),
        "journals": sorted([middle, new]),
        "trees": ["somebody-else", "usdx-rollback-other_8a", "usdx-rollback-young_8a"],
    }
    assert not exists(only)
    assert git(host.made.tree, "rev-parse", "main") == main
    assert host.stack.identity("web-1") == containers

    for check in (True, False):
        again = host.cleanup(check=check, keep=1, keep_journals_days=365)
        assert not again["changed"]
        assert not any(again["dropped"].values())
        assert again["left"] == done["left"]


def test_an_image_of_a_container_never_loses_its_last_name(host: Host) -> None:
    """Running, stopped or only created, of whatever project."""
    older, old = run_id(40), run_id(30)
    used = host.own_image(f"before-{older}")
    host.image(f"before-{old}", used)
    container = command("docker", "create", "--label", f"com.docker.compose.project={host.stack.project}", used).strip()
    host.journal(run_id(1))
    for changed in (True, False):
        outcome = host.cleanup(keep=1)
        assert (outcome.failed, outcome["changed"]) == (False, changed)
        assert outcome["in_use"] == [f"{host.repository}:before-{old}"]
        assert host.kept()["images"] == [f"before-{old}"]
        assert exists(used)
    command("docker", "rm", container)
    assert host.cleanup(keep=1)["bytes"]["images"] > 0
    assert not exists(used)


def test_releases_stay_by_use(host: Host) -> None:
    """The one that is checked out is the first; one that a container has stays without being counted."""
    third = git(host.made.tree, "rev-parse", "v1.0.1")
    host.journal(run_id(30), commit=third)
    host.journal(run_id(20), commit=host.made.old)
    host.journal(run_id(1))
    pins = {name: of[:12] for name, of in (("new", host.made.new), ("old", host.made.old), ("third", third))}
    for tag in pins.values():
        host.own_image(tag)
    assert host.cleanup(check=True, keep=3)["dropped"]["images"] == []
    assert host.cleanup(check=True, keep=1, min_age_hours=24 * 31)["dropped"]["images"] == []
    assert host.cleanup(keep=1, keep_releases=2)["dropped"]["images"] == [f"{host.repository}:{pins['third']}"]
    host.image(ODD_PIN)  # the image that runs, named as that of a release which no record knows
    assert host.cleanup(keep=1)["dropped"]["images"] == [f"{host.repository}:{pins['old']}"]
    assert host.kept()["images"] == sorted([ODD_PIN, pins["new"]])
    host.stack.compose("down")
    assert host.cleanup(keep=1)["dropped"]["images"] == [f"{host.repository}:{ODD_PIN}"]


@pytest.mark.parametrize("outcome", ["failed", None])
def test_the_newest_run_stays_unless_it_succeeded(host: Host, outcome: str | None) -> None:
    newest, old = run_id(30), run_id(40)
    host.journal(old)
    host.journal(newest, outcome=outcome)
    for name in (old, newest):
        host.references(name, "before")
        host.image(f"before-{name}")
    host.tree("usdx-rollback-of_newes", 24 * 29)
    host.tree("usdx-rollback-before_8", 24 * 31)
    result = host.cleanup()
    assert result["held"] == [newest]
    assert host.kept() == {
        "images": [f"before-{newest}"],
        "references": [f"{newest}/before"],
        "journals": [newest],
        "trees": ["usdx-rollback-of_newes"],
    }


def test_the_run_that_holds_the_lock_stays(host: Host) -> None:
    newest, holder, old = run_id(20), run_id(30), run_id(40)
    for name in (newest, holder, old):
        host.journal(name)
        host.references(name, "before")
    lock = host.state / "lock.json"
    lock.write_text(json.dumps({"run_id": holder, "controller": {}}))
    assert host.cleanup()["held"] == [holder]
    assert host.kept()["references"] == [f"{holder}/before"]
    lock.write_text("{")
    host.references(newest, "before")
    host.tree("usdx-rollback-k2j4x_8a", 900)
    assert host.cleanup()["held"] == [newest]
    assert host.kept()["references"] == [f"{newest}/before"]
    assert host.kept()["trees"] == ["usdx-rollback-k2j4x_8a"]


def test_what_fails_is_named_and_the_rest_goes(host: Host) -> None:
    """A reference that another process has locked; its run keeps its journal, which tells of it."""
    old, older = run_id(30), run_id(40)
    for name in (older, old):
        host.journal(name)
        host.references(name, "before")
        host.image(f"before-{name}")
    host.journal(run_id(1))
    lock = host.made.tree / f".git/refs/rollback/{old}/before.lock"
    lock.touch()
    outcome = host.cleanup(keep=1)
    assert outcome.failed
    assert outcome["failed_to_drop"] == [f"refs/rollback/{old}/before"]
    assert f"refs/rollback/{old}/before" in outcome["msg"]
    assert outcome["changed"]
    assert host.kept()["references"] == [f"{old}/before"]
    assert host.kept()["images"] == []
    assert old in host.kept()["journals"]
    assert older not in host.kept()["journals"]
    lock.unlink()
    assert host.cleanup(keep=1)["dropped"]["references"] == [f"refs/rollback/{old}/before"]


def test_submodules_are_cleaned_where_they_are_checked_out(host: Host, tmp_path: Path) -> None:
    """In the folder of one that is not, Git would answer for the project, and its references would be counted twice."""
    library, old = tmp_path / "library", run_id(30)
    command("git", "init", "--quiet", "--initial-branch=main", str(library), **WHO)
    commit(library, "library", "2024-12-01T00:00:00Z", code_dot_txt="1\n")
    for name in ("lib", "other lib"):
        git(host.made.tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), name)
    git(host.made.tree, "submodule", "--quiet", "deinit", "--force", "other lib")
    inner = host.made.tree / "lib"
    git(inner, "update-ref", f"refs/rollback/{old}/before", "HEAD")
    host.references(old, "before")
    host.journal(run_id(1))
    outcome = host.cleanup(keep=1)
    assert outcome["dropped"]["references"] == [f"lib:refs/rollback/{old}/before", f"refs/rollback/{old}/before"]
    assert git(inner, "for-each-ref", "refs/rollback") == ""
    assert not host.cleanup(keep=1)["changed"]


def test_a_tree_of_another_user_is_cleaned_as_that_user(host: Host) -> None:
    """Root deletes references as the owner of the tree, and no file of the repository changes hands."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a tree to another user")
    old = run_id(30)
    host.references(old, "before")
    git(host.made.tree, "pack-refs", "--all")
    host.journal(run_id(1))
    command("chown", "-R", "nobody", str(host.made.tree))
    for folder in host.made.tree.parents:
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):  # noqa: S108
            folder.chmod(folder.stat().st_mode | 0o011)
    assert host.cleanup(keep=1)["dropped"]["references"] == [f"refs/rollback/{old}/before"]
    assert command("find", str(host.made.tree), "!", "-user", "nobody") == ""


def test_a_host_without_runs_has_nothing_to_drop(host: Host) -> None:
    outcome = host.cleanup()
    assert (outcome.failed, outcome["changed"]) == (False, False)
    assert outcome["left"] == {"images": 0, "references": 0, "journals": 0, "trees": 0}


@pytest.mark.parametrize(
    ("options", "told"),
    [({"keep": -1}, "keep is -1"), ({"path": "/"}, "path=/"), ({"docker_host": "unix:///nowhere.sock"}, "daemon")],
)
def test_refusals_come_before_anything_changes(host: Host, options: dict[str, Any], told: str) -> None:
    host.references(run_id(30), "before")
    host.journal(run_id(1))
    before = host.kept()
    outcome = host.cleanup(**options)
    assert outcome.failed
    assert told in outcome["msg"]
    assert outcome["next_step"]
    assert host.kept() == before
