# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services are started, when they are ready, and how a build is kept apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.images import Decision
from ansible_collections.usdx.rollback.plugins.module_utils.project import Container, container_from
from ansible_collections.usdx.rollback.plugins.module_utils.readiness import Awaited, needs_health, verdict
from ansible_collections.usdx.rollback.plugins.module_utils.start import (
    StartRequest,
    build_override,
    classify,
    restart_policy,
)

REQUEST = StartRequest("p", [["web"], ["old"]], "/d", keep=["db"], one_shot=["job"])
RUNNING = container_from(
    {"Id": "1", "Name": "/p-web-1", "State": {"Status": "running"}, "Config": {"Labels": {}}, "RestartCount": 0}
)


def config(*names: str, **others: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with these services."""
    return {"services": {name: {} for name in names} | others}


def test_a_service_that_the_release_does_not_have_is_left_out() -> None:
    """It still exists in the current checkout, so it is no typing error."""
    found = classify(REQUEST, config("web", "db", "job", tool={"profiles": ["x"]}), config("old"), [])
    assert found == (["web"], ["old"])


def test_a_name_that_is_nowhere_is_refused() -> None:
    """A typing error must not mean that a service is not started."""
    with pytest.raises(RollbackError, match="old"):
        classify(REQUEST, config("web", "db"), config("web"), [])


def test_a_service_in_no_list_is_refused() -> None:
    """It would still run the release that is to be left."""
    with pytest.raises(RollbackError, match="worker"):
        classify(REQUEST, config("web", "old", "db", "worker"), config("web"), [])


def test_a_service_that_is_not_to_run_is_in_a_list() -> None:
    found = classify(replace(REQUEST, not_started=["worker"]), config("web", "old", "db", "worker"), config("web"), [])
    assert found == (["web", "old"], [])


@pytest.mark.parametrize(
    ("definition", "policy"),
    [
        ({}, ("no", 0)),
        ({"restart": "always"}, ("always", 0)),
        ({"restart": "on-failure:3"}, ("on-failure", 3)),
        ({"deploy": {"restart_policy": {"condition": "any"}}}, ("always", 0)),
        ({"restart": "no", "deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 2}}},
         ("on-failure", 2)),
    ],
)  # fmt: skip
def test_restart_policy(definition: dict[str, Any], policy: tuple[str, int]) -> None:
    """As Compose writes it on a container."""
    assert restart_policy(definition) == {"Name": policy[0], "MaximumRetryCount": policy[1]}


WEB = Awaited("web")
JOB = Awaited("job", one_shot=True)


@pytest.mark.parametrize(
    ("container", "awaited", "quiet", "expected"),
    [
        (RUNNING, WEB, 0.5, "waiting"),
        (RUNNING, WEB, 2.0, "ready"),
        (RUNNING, replace(WEB, settled=False), 0.0, "ready"),
        (replace(RUNNING, health="starting"), WEB, 99, "waiting"),
        (replace(RUNNING, health="unhealthy"), WEB, 99, "waiting"),
        (replace(RUNNING, health="healthy"), WEB, 0, "ready"),
        (replace(RUNNING, state="restarting", restarts=1), WEB, 0, "waiting"),
        (replace(RUNNING, restarts=3), WEB, 1, "restarted 3 times (exit code 0)"),
        (replace(RUNNING, restarts=9), WEB, float("inf"), "ready"),
        (replace(RUNNING, state="exited", exit_code=1), WEB, 0, "exited with code 1"),
        (replace(RUNNING, state="exited"), WEB, 0, "exited with code 0"),
        (replace(RUNNING, state="exited", restart_policy={"Name": "always"}), WEB, 0, "waiting"),
        (replace(RUNNING, state="exited"), JOB, 0, "ready"),
        (replace(RUNNING, state="exited", exit_code=2), JOB, 0, "exited with code 2"),
        (RUNNING, JOB, 99, "waiting"),
        (replace(RUNNING, state="created"), WEB, 0, "waiting"),
    ],
)
def test_verdict(container: Container, awaited: Awaited, quiet: float, expected: str) -> None:
    """Ready, waiting, or why it cannot become ready."""
    assert verdict(container, awaited, quiet, stable_for=2.0) == expected


def test_health_is_waited_for_only_where_asked() -> None:
    """The condition of depends_on decides."""
    definitions = {"nginx": {"depends_on": {"web": {"condition": "service_healthy"}, "x": {}}}}
    assert needs_health("web", ["nginx"], definitions)
    assert not needs_health("x", ["nginx"], definitions)


def test_build_override_names_the_pin_and_drops_further_tags() -> None:
    """The reference that the current checkout uses is not in it."""
    decision = Decision("web", "app:latest", "usdx-rollback/p/web:1", "build", "", None, "web")
    text = build_override([decision], {"web": {"build": {"tags": ["app:newest"]}}}, "v1.0.2", "c" * 40)
    assert 'image: "usdx-rollback/p/web:1"' in text
    assert "tags: !reset []" in text
    assert '"org.opencontainers.image.version": "1.0.2"' in text
    assert "app:" not in text
