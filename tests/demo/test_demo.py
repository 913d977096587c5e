# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo does what the README says of it. Run by name (``pytest tests/demo``): it takes a minute and real Docker."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import command

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path(__file__).with_name("demo.py")
SERVICES = {"nginx", "webapp", "indexer", "db", "redis"}


def demo(*argv: str) -> subprocess.CompletedProcess[str]:
    """Call the demo's command line."""
    return subprocess.run([sys.executable, DEMO, *argv], check=False, capture_output=True, text=True)


@dataclass(frozen=True)
class Stack:
    """One demo that runs, and its folder."""

    project: str
    directory: Path

    def up(self, *options: str) -> str:
        """Bring it up, or back to its first state."""
        done = demo("up", "--project", self.project, "--directory", str(self.directory), *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def facts(self) -> dict[str, Any]:
        """Return what the demo remembers."""
        facts: dict[str, Any] = json.loads((self.directory / "demo.json").read_text(encoding="utf-8"))
        return facts

    def look(self) -> dict[str, Any]:
        """Return what users and operators see."""
        done = demo("show", "--json", "--directory", str(self.directory))
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout)
        return seen

    def compose(self, *argv: str) -> str:
        """Run Compose in the checkout, as an operator would."""
        return command("docker", "compose", *argv, cwd=self.directory / "project")


def left_in_docker(project: str) -> str:
    """Return all that Docker still has of a project."""
    label = f"label=com.docker.compose.project={project}"
    lists = [["ps", "--all"], ["volume", "ls"], ["network", "ls"], ["image", "ls", "--all"]]
    names = command("docker", "image", "ls", "--format", "{{.Repository}}").splitlines()
    named = [name for name in names if name.startswith((f"{project}-", f"usdx-rollback/{project}/"))]
    return "".join(command("docker", *words, "--quiet", "--filter", label) for words in lists) + " ".join(named)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Make one demo for all tests of this file."""
    made = Stack(f"usdx-demo-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("demo") / "demo")
    try:
        made.up()
        yield made
    finally:
        demo("down", "--directory", str(made.directory))


def test_bad_release_fails_as_users_see_it(stack: Stack) -> None:
    """v1.0.3 runs, says so, looks healthy to Docker, and fails for users."""
    seen = stack.look()
    assert seen["statuses"] == {"/health": 200, "/": 500, "/api/pools": 500, "/api/stats": 200}
    assert seen["health"]["version"] == "v1.0.3"
    assert seen["health"]["status"] == "degraded"
    assert set(seen["services"]) == SERVICES
    assert all("(healthy)" in state for state in seen["services"].values())


def test_only_loopback_is_published(stack: Stack) -> None:
    """One port of 127.0.0.1, and no other address."""
    published = command("docker", "ps", "--filter", f"name={stack.project}-", "--format", "{{.Ports}}").split()
    assert published == [f"127.0.0.1:{stack.facts()['port']}->80/tcp"]


def test_rows_grow(stack: Stack) -> None:
    """The indexer writes about five events a second."""
    before, began = stack.look()["statistics"]["events"], time.monotonic()
    deadline = began + 20
    while (now := stack.look()["statistics"]["events"]) < before + 10:
        assert time.monotonic() < deadline, f"{now - before} events in 20 s"
    assert 2 < (now - before) / (time.monotonic() - began) < 10


def test_backup_is_whole_and_from_before_the_damage(stack: Stack) -> None:
    """``gzip -t`` passes, the trailer is there, the balances are the right ones, and there is no fee."""
    backup = Path(stack.facts()["backup"])
    command("gzip", "-t", str(backup))
    text = gzip.decompress(backup.read_bytes()).decode()
    assert "-- PostgreSQL database dump complete" in text[-200:]
    assert "1\tuser-1\t1007.31\n" in text
    assert "fee" not in text


def test_damage_cannot_be_repaired_by_the_migration_down(stack: Stack) -> None:
    """The balances of v1.0.3 are wrong: whole numbers, about one per cent of what they were."""
    assert float(stack.look()["statistics"]["total_balance"]) == 3370
    assert "20241228020000 (head)" in stack.compose("run", "--rm", "-T", "indexer", "alembic", "current")
    stack.compose("run", "--rm", "-T", "indexer", "alembic", "downgrade", "-1")
    assert "20241220000000" in stack.compose("run", "--rm", "-T", "indexer", "alembic", "current")
    assert float(stack.look()["statistics"]["total_balance"]) == 3370
    stack.compose("run", "--rm", "-T", "indexer", "alembic", "upgrade", "20241228020000")


def test_the_runbook_by_hand_heals_the_application(stack: Stack) -> None:
    """Checkout and ``up -d`` bring v1.0.2 back; the smoke test sees the difference, and so does a probe."""
    checkout = stack.directory / "project"
    smoke = checkout / "scripts" / "test_deployment.sh"
    assert "/api/pools" in command("sh", str(smoke), "production", check=False)
    command("git", "checkout", "--quiet", "v1.0.2", cwd=checkout)
    stack.compose("up", "--detach", "--wait")
    seen = stack.look()
    assert seen["health"] == {"status": "ok", "version": "v1.0.2", "database": "ok", "redis": "ok"}
    assert set(seen["statuses"].values()) == {200}
    command("sh", str(smoke), "production")
    messages = (stack.directory / "messages.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 1)[1] for line in messages] == [
        "test_deployment: production: failed",
        "test_deployment: production: passed",
    ]
    assert command("git", "status", "--short", cwd=checkout) == ""


def test_probe_measures_an_outage(stack: Stack) -> None:
    """The webapp is away for a second or so: the probe says how long, and every request is a line."""
    argv = [sys.executable, str(DEMO), "probe", "--url", stack.facts()["url"] + "/health", "--until-file"]
    end = stack.directory / "end"
    with subprocess.Popen([*argv, str(end)], stdout=subprocess.PIPE, text=True) as probe:
        stack.compose("stop", "webapp")
        stopped = time.monotonic()
        stack.compose("up", "--detach", "--wait")
        away = (time.monotonic() - stopped) * 1000
        end.touch()
        lines = [json.loads(line) for line in (probe.stdout or []) if line]
    measured = lines[-1]["summary"]
    assert measured["requests"] == len(lines) - 1
    assert measured["failed"] == sum(not line["ok"] for line in lines[:-1]) > 0
    assert measured["outages"] == 1
    assert 100 <= measured["longest_outage_ms"] <= away + 1500


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "https://127.0.0.1/", "http://example.org/", "http://127.0.0.1.example.org/"]
)
def test_probe_refuses_other_hosts(url: str) -> None:
    """Nothing is ever sent to another machine."""
    done = demo("probe", "--url", url, "--seconds", "1")
    assert done.returncode == 1
    assert "only" in done.stderr
    assert done.stdout == ""


def test_up_refuses_what_is_not_its_own(stack: Stack, tmp_path: Path) -> None:
    """A folder with other files and a project name that is in use are refused, and stay as they are."""
    (tmp_path / "precious").write_text("mine")
    done = demo("up", "--project", "usdx-demo-other", "--directory", str(tmp_path))
    assert done.returncode == 1
    assert "neither empty nor a demo's" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    done = demo("up", "--project", stack.project, "--directory", str(tmp_path / "new"))
    assert done.returncode == 1
    assert str(stack.directory / "project") in done.stderr
    assert set(stack.look()["services"]) == SERVICES


def test_down_keeps_base_images_that_another_demo_uses(stack: Stack, tmp_path: Path) -> None:
    """``down --all`` of one demo leaves the others what their next build needs."""
    done = demo("down", "--all", "--directory", str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    assert stack.project in done.stdout
    for name in ("python", "postgres", "redis", "nginx"):
        command("docker", "image", "inspect", f"usdx-demo/{name}")


def test_up_again_brings_the_first_state_back(stack: Stack) -> None:
    """After a rollback by hand ``up`` breaks it again: same port, same commits, new data, no page of maintenance."""
    before = stack.facts()
    page = f"usdx-maintenance-{stack.project}-test"
    label = f"usdx.rollback.maintenance={stack.project}"
    command("docker", "create", "--name", page, "--label", label, f"{stack.project}-nginx")
    began = time.monotonic()
    stack.up()
    assert time.monotonic() - began < 60
    after = stack.facts()
    assert (after["port"], after["tags"]) == (before["port"], before["tags"])
    seen = stack.look()
    assert seen["health"]["version"] == "v1.0.3"
    assert float(seen["statistics"]["total_balance"]) == 3370
    assert len(list(Path(after["backups"]).iterdir())) == 1
    assert command("docker", "ps", "--all", "--quiet", "--filter", f"label={label}") == "", "a page is left"


def test_down_leaves_nothing(stack: Stack) -> None:
    """Containers, networks, volumes, images, pins and the folder are gone; a second time is no error."""
    command("docker", "tag", f"{stack.project}-nginx", f"usdx-rollback/{stack.project}/nginx:v1.0.3")
    for _time in range(2):
        done = demo("down", "--directory", str(stack.directory))
        assert done.returncode == 0, done.stderr
        assert left_in_docker(stack.project) == ""
        assert not stack.directory.exists()
