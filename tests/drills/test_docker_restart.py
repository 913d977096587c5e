# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker daemon is restarted in the middle of a run, or while everything is held, and with it every container."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import snapshot
from cut_off import when_begun
from docker_daemon import Daemon, running_daemon
from harness import REPOSITORY, call_module, command
from stack import APPLICATION_SERVICES
from stacks import stack
from stand import ACCEPTED, MIGRATE, Stand, once, standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "http://127.0.0.1:8080/"  # of the network of the test's own
BASES = "import demo; demo.build_bases()"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a Docker daemon of its own needs root")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """Give a daemon that runs nothing but the drill."""
    command(sys.executable, "-c", BASES, cwd=REPOSITORY / "tests/demo")
    with running_daemon(REPOSITORY / ".cache" / "test-docker") as made:
        yield made


@pytest.fixture(scope="module")
def stand(daemon: Daemon) -> Iterator[Stand]:
    """Give a stack on that daemon."""
    with standing(daemon.directory / "demo", "usdx-restart") as made:
        yield made


def test_a_run_whose_docker_daemon_restarts_is_gone_on_with(stand: Stand, daemon: Daemon) -> None:
    begun, answers = when_begun(stand.drill.state_directory, "start_services"), list[str]()

    def at_work() -> bool:
        """Tell whether the start waits for what it has started."""
        ours = [one for one in snapshot.containers().values() if one["project"] == stand.drill.project]
        return begun(0) and any(one["service"] == "webapp" and one["status"] == "running" for one in ours)

    def restart() -> None:
        daemon.stop()
        daemon.start()
        answers.append(command("docker", "info", "--format", "{{.ID}}"))

    broken = stand.type(*MIGRATE, act=once(at_work, restart))
    assert answers, broken.screen
    assert broken.code == 2, broken.screen
    assert "usdx.rollback.resume" in broken.screen
    run_id = stand.drill.last_run()
    stand.good("resume.yml")
    stand.expect_rolled_back()
    assert stand.drill.last_run() == run_id
    stand.put_back(run_id)


def status(url: str = PAGE) -> int:
    """Return the status that users get; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - of this test
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def expect_status(wanted: int, url: str = PAGE) -> None:
    """Fail unless users get a status within half a minute."""
    deadline = time.monotonic() + 30
    while status(url) != wanted:
        assert time.monotonic() < deadline, status(url)
        time.sleep(0.1)


def test_a_maintenance_page_comes_back_with_the_daemon_and_the_application_does_not(
    daemon: Daemon, tmp_path: Path
) -> None:
    nginx = {"image": "usdx-demo/nginx", "restart": "always", "ports": ["127.0.0.1:8080:80"],
             "volumes": ["./nginx.conf:/etc/nginx/nginx.conf:ro"]}  # fmt: skip
    with stack(tmp_path) as made:
        made.write({
            "compose.yml": json.dumps({"services": {"nginx": nginx}}),
            "nginx.conf": 'events {} http { server { listen 80; return 200 "application"; } }',
        })  # fmt: skip
        made.up()
        expect_status(200)
        assert not call_module("compose_stop", {"project": made.project, "groups": [["nginx"]], "hold": True}).failed
        page = {"project": made.project, "services": ["nginx"]}
        served = call_module("maintenance_page", page)
        assert served["served"], served
        expect_status(503)

        daemon.stop()
        assert status() == 0
        daemon.start()

        expect_status(503)
        assert made.states() == {"nginx-1": "exited"}
        again = call_module("maintenance_page", page)
        assert (again["served"], again["changed"], again["marker"]) == (True, False, served["marker"])
        assert not call_module("maintenance_page", page | {"state": "removed"}).failed


# Of a security incident: the stages, and the steps in which each is killed. Steps that have nothing to do are left out.
STAGES = {
    "contain": ["stop_services", "maintenance_mode", "identify_release", "preserve_evidence"],
    "assess": ["identify_release", "assess_damage"],
    "recover": [
        "prepare_release", "prepare_database", "stop_services", "restore_database", "switch_release",
        "rotate_credentials",
    ],
    "release": ["identify_release", "security_review", "maintenance_mode", "start_services", "verify_release"],
}  # fmt: skip
CREDENTIALS = [
    {"name": "database", "kind": "postgres", "role": "usdx", "env_keys": ["POSTGRES_PASSWORD"],
     "services": ["webapp", "indexer"]},
]  # fmt: skip


def test_a_security_incident_that_is_killed_in_every_step_stays_contained_until_its_release(
    stand: Stand, daemon: Daemon
) -> None:
    url = json.loads((stand.drill.directory / "demo.json").read_text(encoding="utf-8"))["url"] + "/"
    given = ["-e", json.dumps({"rollback_credentials": CREDENTIALS})]

    def expect_contained() -> None:
        found = [one for one in snapshot.containers().values() if one["project"] == stand.drill.project]
        states = {one["service"]: one["status"] for one in found}
        assert {states[service] for service in APPLICATION_SERVICES} == {"exited"}
        expect_status(503, url)

    def carry_out(stage: str, *typed: str) -> None:
        argv = ["security_incident.yml", *given, "-e", f"stage={stage}", *typed]
        for step in STAGES[stage]:
            run_id = stand.killed_in(step, *argv)
            argv = ["resume.yml", *given, "-e", f"run={run_id}"]
            if stage in ("assess", "recover"):
                expect_contained()
        stand.good(*argv)

    carry_out("contain", "-e", "reason=break-in")
    expect_contained()
    daemon.stop()
    assert status(url) == 0
    daemon.start()
    expect_contained()
    refused = stand.type(*MIGRATE)
    assert refused.code == 2, refused.screen
    assert "A security incident is open" in refused.screen
    carry_out("assess")
    carry_out("recover", "-e", "version=v1.0.2", *ACCEPTED)
    expect_contained()
    carry_out("release", "-e", "review_approved_by=Eve")
    # The environment file has a new secret, and the database is a new one.
    stand.expect(stand.after, "database", "tree")
    expect_status(200, url)
