# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker daemon is restarted in the middle of a run, and with it every container of the host."""

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
from stacks import stack
from stand import MIGRATE, Stand, once, standing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PORT = 8080  # of the network of the test's own
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


def status() -> int:
    """Return the status that users get; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def expect_status(wanted: int) -> None:
    """Fail unless users get a status within half a minute."""
    deadline = time.monotonic() + 30
    while status() != wanted:
        assert time.monotonic() < deadline, status()
        time.sleep(0.1)


def test_a_maintenance_page_comes_back_with_the_daemon_and_the_application_does_not(
    daemon: Daemon, tmp_path: Path
) -> None:
    nginx = {"image": "usdx-demo/nginx", "restart": "always", "ports": [f"127.0.0.1:{PORT}:80"],
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
