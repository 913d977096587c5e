# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of a release beside those of the one before: the first are ready before the others stop.

Compose makes them with the options --no-recreate and --scale of 'docker compose up'. What runs twice for a moment is
the project's choice; what cannot, by its definition, is told here.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from . import compose
from .errors import RollbackError
from .project import API_ERRORS, Container, containers_of, in_parallel, is_gone
from .readiness import Awaited
from .stop import stop_containers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from docker.client import DockerClient

    from .readiness import Waiter

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_SHARES = ("network_mode", "pid", "ipc")


@dataclass(frozen=True)
class Replacement:
    """A service to be replaced: how many containers it has in the end, those that stay, and those that go."""

    service: str
    count: int
    fitting: tuple[Container, ...] = ()
    former: tuple[Container, ...] = ()


@dataclass(frozen=True)
class Reload:
    """The command by which a proxy looks again where its backends are; no service means that it needs none."""

    service: str = ""
    command: list[str] = field(default_factory=list)


def reload_from(given: Mapping[str, Any] | None) -> Reload:
    """Return the command that an option names; refuse one without service or command."""
    if not given:
        return Reload()
    if not given["service"] or not given["command"]:
        raise RollbackError(
            f"reload={dict(given)!r} names no service or no command. Nothing was changed.",
            "Accepted: {service: nginx, command: [nginx, -s, reload]}, or nothing.",
        )
    return Reload(given["service"], list(given["command"]))


def check_proxy(reload: Reload, containers: Iterable[Container]) -> None:
    """Refuse a proxy that does not run: its command could not be carried out."""
    running = sorted({one.service for one in containers if one.state == "running" and not one.one_off})
    if reload.service and reload.service not in running:
        raise RollbackError(
            f"reload names the service {reload.service}, which has no running container. Nothing was changed.",
            f"Accepted: one of {', '.join(running)}, or nothing.",
        )


# --- who can ----------------------------------------------------------------------------------------------------------


def why_not(name: str, definitions: Mapping[str, Any], volumes: list[str]) -> str:
    """Return why a service cannot run twice, or nothing. ``volumes`` are the names of those that its containers use."""
    return next(_reasons(name, definitions, volumes), "")


def _reasons(name: str, definitions: Mapping[str, Any], volumes: list[str]) -> Iterator[str]:
    one = definitions[name]
    if one.get("container_name"):
        yield f"it has the container_name {one['container_name']}"
    yield from (f"it publishes the fixed port {port['published']}" for port in one.get("ports") or [] if _fixed(port))
    mode = str(one.get("network_mode") or "")
    if mode == "host" or ":" in mode:
        yield f"its network_mode is {mode}"
    if _has_fixed_address(one):
        yield "it has a fixed address in a network"
    sharing = [other for other, its in definitions.items() if _shares(its, name)]
    yield from (f"{other} shares its network, processes or volumes" for other in sharing)
    own = any(volume.get("type") == "volume" and not volume.get("source") for volume in one.get("volumes") or [])
    if own or any(_ANONYMOUS.fullmatch(volume) for volume in volumes):
        yield "it has an anonymous volume, which would not go over"


def _fixed(port: Mapping[str, Any]) -> bool:
    return str(port.get("published") or "0") != "0"


def _has_fixed_address(definition: Mapping[str, Any]) -> bool:
    networks = [one or {} for one in (definition.get("networks") or {}).values()]
    keys = ("ipv4_address", "ipv6_address", "mac_address")
    return any(one.get(key) for one in [definition, *networks] for key in keys)


def _shares(definition: Mapping[str, Any], name: str) -> bool:
    by_mode = any(definition.get(key) == f"service:{name}" for key in _SHARES)
    return by_mode or any(str(one).partition(":")[0] == name for one in definition.get("volumes_from") or [])


def volumes_of(client: DockerClient, containers: list[Container]) -> list[str]:
    """Return the names of the volumes that containers have."""
    mounts = [mount for one in containers for mount in client.api.inspect_container(one.id).get("Mounts") or []]
    return [str(mount.get("Name") or "") for mount in mounts if mount.get("Type") == "volume"]


# --- what is done -----------------------------------------------------------------------------------------------------


@dataclass
class Roller:
    """Replaces services while they serve."""

    client: DockerClient
    run: compose.Run
    source: compose.Source
    waiter: Waiter
    reload: Reload
    settle: float
    grace_periods: dict[str, int]

    def replace(self, replacements: list[Replacement], result: dict[str, Any]) -> None:
        """Replace services, all at once.

        Raises ``RollbackError`` when a new container does not become ready: the former ones were not stopped then, and
        the new ones were removed.
        """
        ended = [one for each in replacements for one in each.former if not one.alive]
        in_parallel(self._remove, ended)  # they serve nobody, and Compose would start them again
        former = {one.id for each in replacements for one in each.former}
        try:
            self._bring_up(replacements, result)
            self.waiter.wait([_awaited(one, former) for one in replacements], result)
            self._reload(result)
        except RollbackError as error:
            raise self._given_up(error, replacements) from error
        time.sleep(self.settle)  # a proxy may remember for as long who answers
        self._end([one for each in replacements for one in each.former if one.alive], result)
        try:
            self._reload(result)
        except RollbackError as error:
            raise RollbackError(
                f"{error.msg} The containers of the release run and are ready, the former ones are gone; the proxy may "
                "still send requests to these.",
                error.next_step,
                **error.facts,
            ) from error

    def _bring_up(self, replacements: list[Replacement], result: dict[str, Any]) -> None:
        growing = [one for one in replacements if len(one.fitting) < one.count]
        if not growing:
            return
        scales = []
        for one in growing:
            alive = sum(1 for container in one.former if container.alive)
            scales += ["--scale", f"{one.service}={alive + one.count}"]
        names = [one.service for one in growing]
        arguments = ["up", "--detach", "--no-build", "--no-deps", "--no-recreate", "--pull", "never", *scales, *names]
        limit = max(1.0, self.waiter.deadline - time.monotonic())
        rc, _out, err = self.source.call(self.run, *arguments, timeout=round(limit, 1))
        if rc != 0:
            reason = "not done in time" if rc == compose.TIMED_OUT else compose.last_lines(err, 3)
            raise self.waiter.failure(names, f"'docker compose up' for {', '.join(names)} failed: {reason}", result)

    def _given_up(self, error: RollbackError, replacements: list[Replacement]) -> RollbackError:
        """Remove what is new where others serve, also what a run that was cut off has left; say what runs on."""
        served = {one.service: {c.id for c in one.former if c.alive} for one in replacements}
        serving = sorted(name for name, former in served.items() if former)
        new = [
            one
            for one in containers_of(self.client, self.waiter.project)
            if one.service in serving and one.id not in served[one.service] and not one.one_off
        ]
        in_parallel(self._remove, new)
        if not serving:
            return error
        return RollbackError(
            f"{error.msg} The containers of {', '.join(serving)} that ran before were not stopped and serve on; the "
            "new ones were removed.",
            error.next_step,
            **error.facts,
        )

    def _end(self, former: list[Container], result: dict[str, Any]) -> None:
        """Stop and remove the former containers; one that had to be killed is a warning."""
        stopped = stop_containers(self.client, former, self.grace_periods)
        failed = [one for one in stopped if one.error]
        if failed:
            names = " ".join(one.action.container.name for one in failed)
            raise RollbackError(
                f"The Docker daemon did not stop {names}: {failed[0].error}. Containers of the release are ready and "
                "serve beside it.",
                f"Try 'docker stop {names}' on that host, then run again.",
                **result,
            )
        in_parallel(self._remove, former)
        if killed := [one.action.container.name for one in stopped if one.killed]:
            result["warnings"].append(
                f"SIGKILL ended {', '.join(killed)}: not stopped within the grace period, so requests may be lost."
            )

    def _reload(self, result: dict[str, Any]) -> None:
        """Run the command of the proxy in each of its containers."""
        if not self.reload.service:
            return
        running = [
            one
            for one in containers_of(self.client, self.waiter.project)
            if one.service == self.reload.service and one.state == "running" and not one.one_off
        ]
        for one in running:
            said = self._exec(one)
            if said is not None:
                raise RollbackError(
                    f"The command {' '.join(self.reload.command)} in {one.name} failed: {said or 'it said nothing'}.",
                    f"Type 'docker exec {one.name} {' '.join(self.reload.command)}' on that host, correct what it "
                    "names until it succeeds, then run again.",
                    **result,
                )

    def _exec(self, one: Container) -> str | None:
        """Return what a failed command said; nothing when it returned 0."""
        try:
            made = self.client.api.exec_create(one.id, self.reload.command)
            said = self.client.api.exec_start(made["Id"])
            code = self.client.api.exec_inspect(made["Id"])["ExitCode"]
        except API_ERRORS as error:
            return str(error)
        return None if code == 0 else compose.last_lines(said.decode("utf-8", "replace"), 3)

    def _remove(self, one: Container) -> None:
        try:
            self.client.api.remove_container(one.id, force=True)
        except API_ERRORS as error:
            if not _is_going(error):
                raise RollbackError(
                    f"The Docker daemon did not remove {one.name}: {error}.",
                    f"Try 'docker rm --force {one.name}' on that host, then run again.",
                ) from error


def _awaited(one: Replacement, former: set[str]) -> Awaited:
    return Awaited(one.service, count=one.count, apart_from=frozenset(former))


def _is_going(error: Exception) -> bool:
    """Tell whether a container is gone, or is being removed by somebody else."""
    return is_gone(error) or getattr(error, "status_code", None) == HTTPStatus.CONFLICT
