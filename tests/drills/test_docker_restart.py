# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker daemon is restarted in the middle of a run, and with it every container of the host."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
import snapshot
from cut_off import when_begun
from docker_daemon import Daemon, running_daemon
from harness import REPOSITORY, command
from stand import MIGRATE, Stand, once, standing

if TYPE_CHECKING:
    from collections.abc import Iterator

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
