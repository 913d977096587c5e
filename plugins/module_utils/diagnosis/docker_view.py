# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Docker daemon tells, all of it in a limited time; or that it does not answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..docker_client import connect
from ..errors import RollbackError
from ..http_probe import Background, NoAnswerError, printable
from ..project import API_ERRORS, in_parallel
from . import containers
from .causes import DAEMON
from .probe import FAILED, PASSED, Probe, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPENDS_ON_LABEL = "com.docker.compose.depends_on"
_REQUEST_SECONDS = 10


@dataclass(frozen=True)
class DockerView:
    """The daemon, the containers of the project, and where Docker keeps its data."""

    probe: Probe
    looks: tuple[containers.Look, ...] = ()
    killed: frozenset[str] = frozenset()
    memory: tuple[tuple[containers.Look, int | None], ...] = ()
    root: str = ""

    @property
    def answers(self) -> bool:
        """Tell whether the containers are known."""
        return self.probe.verdict == PASSED

    def running(self, service: str) -> containers.Look | None:
        """Return the first container of a service that runs."""
        return next((one for one in self.of(service) if one.container.state == "running"), None)

    def of(self, service: str) -> list[containers.Look]:
        """Return the containers of a service."""
        return [one for one in self.looks if one.container.service == service and not one.container.one_off]

    def depends_on(self) -> dict[str, tuple[str, ...]]:
        """Return for each service those that it needs, as the Compose file said: ``db:service_healthy:false,…``."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.looks:
            text = one.container.labels.get(DEPENDS_ON_LABEL, "")
            names = tuple(part.split(":", 1)[0] for part in text.split(",") if part)
            found[one.container.service] = found.get(one.container.service, ()) + names
        return found


def view(docker_host: str | None, project: str, seconds: float) -> DockerView:
    """Return what the daemon tells within so many seconds."""
    began = time.monotonic()
    limit = f"it answers within {seconds:g} s"
    try:
        return Background(lambda: _looked(docker_host, project, limit, began), seconds).result()
    except NoAnswerError as error:
        took = time.monotonic() - began
        return DockerView(Probe(DAEMON, "answers", FAILED, str(error), limit, "timeout", seconds=took))


def _looked(docker_host: str | None, project: str, limit: str, began: float) -> DockerView:
    try:
        client = connect(docker_host, _REQUEST_SECONDS)
    except RollbackError as error:
        return DockerView(_no_daemon(error, limit, time.monotonic() - began))
    try:
        looks = containers.look(client, project)
        root = str(client.info().get("DockerRootDir") or "")
        killed = containers.killed_for_memory(client, project, time.time())
        limited = [one for one in looks if one.memory_limit and one.container.state == "running"]
        used = in_parallel(lambda one: containers.memory_used(client, one.container.id), limited)
    except API_ERRORS as error:
        seen = printable(f"it answers, and fails: {error}")
        return DockerView(Probe(DAEMON, "answers", FAILED, seen, limit, "error", seconds=time.monotonic() - began))
    probe = Probe(DAEMON, "answers", PASSED, "it answers", limit, seconds=time.monotonic() - began)
    return DockerView(probe, tuple(looks), frozenset(killed), tuple(zip(limited, used)), root)


def _no_daemon(error: RollbackError, limit: str, seconds: float) -> Probe:
    """Return the probe of a daemon that cannot be asked; when it is this user that may not, nothing is known of it."""
    seen = printable(error.msg.replace(" Nothing was changed.", ""))
    if "exception" in error.facts or "ermission denied" in error.msg:
        return unknown(DAEMON, "answers", f"{seen} {error.next_step}", limit=limit, seconds=seconds)
    fault = "timeout" if "timed out" in error.msg.lower() else "refused"
    return Probe(DAEMON, "answers", FAILED, seen, limit, fault, seconds=seconds)


def container_probes(
    seen: DockerView,
    roles: containers.Roles,
    limits: Mapping[str, float],
    now: Any,
) -> list[Probe]:
    """Judge the containers; nothing where the daemon does not answer."""
    if not seen.answers:
        return []
    looks = list(seen.looks)
    probes = containers.judge(looks, roles, set(seen.killed), limits, now)
    return probes + [containers.judge_memory(one, used, limits) for one, used in seen.memory]
