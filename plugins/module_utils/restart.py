# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart named services of a Compose project, the same containers, and wait until they run and are healthy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .docker_client import WORKING_DIRECTORY_LABEL
from .errors import RollbackError
from .exclusive import exclusive
from .project import (
    API_ERRORS,
    Container,
    assert_kept,
    by_service,
    containers_of,
    kept_facts,
    require_project,
    summary,
)
from .readiness import Awaited, Waiter
from .stop import DEFAULT_GRACE_PERIOD

if TYPE_CHECKING:
    from docker.client import DockerClient


@dataclass(frozen=True)
class RestartRequest:
    """What the options of the module ask for. ``timeout`` counts from the last restart, in seconds."""

    project: str
    services: list[str]
    timeout: float = 120.0
    stable_for: float = 2.0
    log_lines: int = 40


def restart_services(client: DockerClient, request: RestartRequest, *, check_mode: bool = False) -> dict[str, Any]:
    """Restart the services in their order; return the result of the module.

    Raises ``RollbackError`` for a service that has no container, before anything is restarted; when the daemon refuses;
    when a service is not ready in time; and when a container of another service changed meanwhile.
    """
    begin = time.monotonic()
    containers = require_project(client, request.project)
    chosen = chosen_containers(request, containers)
    if not check_mode:
        with exclusive({one.labels.get(WORKING_DIRECTORY_LABEL, "") for one in containers}):
            containers = require_project(client, request.project)
            chosen = chosen_containers(request, containers)
            _restart(client, request, containers, chosen)
    now = by_service(one for one in containers_of(client, request.project) if not one.one_off)
    services = {name: _facts(found, now.get(name, [])) for name, found in chosen.items()}
    return {
        "changed": True,
        "services": services,
        "seconds": round(time.monotonic() - begin, 2),
        "diff": {
            "before": {name: facts["before"] for name, facts in services.items()},
            "after": dict.fromkeys(services, "restarted"),
        },
    }


def chosen_containers(request: RestartRequest, containers: list[Container]) -> dict[str, list[Container]]:
    """Return the containers of the named services; refuse a name that has none."""
    known = by_service(one for one in containers if not one.one_off)
    unknown = [name for name in request.services if name not in known]
    if unknown or not request.services:
        raise RollbackError(
            f"services={request.services!r} is not accepted: "
            + (f"{', '.join(unknown)} has no container in the project {request.project}" if unknown else "it is empty")
            + ". Nothing was restarted.",
            f"Name one or more of: {', '.join(sorted(known))}.",
        )
    return {name: known[name] for name in dict.fromkeys(request.services)}


def _restart(
    client: DockerClient, request: RestartRequest, containers: list[Container], chosen: dict[str, list[Container]]
) -> None:
    others = [one for one in containers if one.service not in chosen and not one.one_off and one.state == "running"]
    for one in (one for found in chosen.values() for one in found):
        grace = DEFAULT_GRACE_PERIOD if one.stop_timeout is None else one.stop_timeout
        try:
            if one.state == "paused":
                client.api.unpause(one.id)
            client.api.restart(one.id, timeout=grace)
        except API_ERRORS as error:
            raise RollbackError(
                f"The Docker daemon did not restart {one.name}: {error}. Other services were not touched.",
                f"Try 'docker restart {one.name}' on that host, and look at 'docker logs {one.name}'.",
                services={name: summary(found) for name, found in chosen.items()},
            ) from error
    waiter = Waiter(
        client, request.project, [], time.monotonic() + request.timeout, request.stable_for, request.log_lines
    )
    waiter.wait([Awaited(name, count=len(found)) for name, found in chosen.items()], {"changed": True})
    assert_kept(client, others, {"changed": True, "keep": kept_facts(others)})


def _facts(before: list[Container], after: list[Container]) -> dict[str, Any]:
    now = {one.id: one for one in after}
    return {
        "before": _state(before),
        "after": _state(after),
        "containers": [
            {
                "name": one.name, "id": one.id, "restarts_before": one.restarts, "exit_code_before": one.exit_code,
                "out_of_memory_before": one.out_of_memory, "started_before": one.started_at,
                "started_at": now[one.id].started_at if one.id in now else "",
            }
            for one in before
        ],
    }  # fmt: skip


def _state(found: list[Container]) -> str:
    health = next((one.health for one in found if one.health), None)
    return summary(found) + (f" ({health})" if health else "")
