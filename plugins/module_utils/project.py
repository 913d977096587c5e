# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A snapshot of a Compose project: its containers as the Docker daemon knows them, found by labels only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .docker_client import NUMBER_LABEL, ONE_OFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from docker.client import DockerClient

try:
    from docker.errors import DockerException, NotFound
except ImportError:  # connect() names the missing library

    class DockerException(Exception):  # type: ignore[no-redef]  # noqa: N818 - stands in for the SDK's name
        """Stands in for the SDK's base error where the SDK is missing."""

    class NotFound(DockerException):  # type: ignore[no-redef]
        """Stands in for the SDK's error where the SDK is missing."""


# requests raises OSError subclasses for connections that break and for time limits
API_ERRORS = (DockerException, OSError)
ABSENT = "absent"
ALIVE = ("running", "restarting", "paused")
_STATES = (*ALIVE, "created", "exited", "dead", "removing")


@dataclass(frozen=True)
class Container:
    """One container of a project, as the daemon described it at one moment."""

    id: str
    name: str
    service: str
    number: int
    one_off: bool
    state: str
    health: str | None
    exit_code: int
    out_of_memory: bool
    started_at: str
    restarts: int
    restart_policy: Mapping[str, Any]
    stop_timeout: int | None
    image: str
    image_id: str
    labels: Mapping[str, str]
    created: str
    networks: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Tell whether the container has a process, or gets one again by itself."""
        return self.state in ALIVE


def container_from(inspected: Mapping[str, Any]) -> Container:
    """Return a ``Container`` from what ``docker inspect`` says."""
    state, config = inspected["State"], inspected["Config"]
    labels = config.get("Labels") or {}
    number = labels.get(NUMBER_LABEL, "")
    policy = (inspected.get("HostConfig") or {}).get("RestartPolicy") or {}
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        number=int(number) if number.isdigit() else 0,
        one_off=labels.get(ONE_OFF_LABEL, "").lower() == "true",
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        exit_code=state.get("ExitCode", 0),
        out_of_memory=bool(state.get("OOMKilled")),
        started_at=state.get("StartedAt", ""),
        restarts=inspected.get("RestartCount", 0),
        restart_policy={
            "Name": policy.get("Name") or "no",
            "MaximumRetryCount": policy.get("MaximumRetryCount") or 0,
        },
        stop_timeout=config.get("StopTimeout"),
        image=config.get("Image", ""),
        image_id=inspected.get("Image", ""),
        labels=labels,
        created=inspected.get("Created", ""),
        networks=tuple((inspected.get("NetworkSettings") or {}).get("Networks") or {}),
    )


def inspect(client: DockerClient, container_id: str) -> Container | None:
    """Return the container as it is now, or None when it is gone."""
    try:
        return container_from(client.api.inspect_container(container_id))
    except NotFound:
        return None


def is_gone(error: Exception) -> bool:
    """Tell whether an error of the daemon says that the thing does not exist."""
    return isinstance(error, NotFound)


def containers_of(client: DockerClient, project: str) -> list[Container]:
    """Return all containers of a project, stopped ones too, sorted by service and number."""
    try:
        listed = client.api.containers(all=True, filters={"label": [f"{PROJECT_LABEL}={project}"]})
        found = in_parallel(lambda one: inspect(client, one["Id"]), listed)
    except (DockerException, OSError) as error:
        raise RollbackError(
            f"The Docker daemon did not list the containers of the project {project}: {error}.",
            f"Try 'docker ps --all --filter label={PROJECT_LABEL}={project}' on that host.",
        ) from error
    return sorted(
        (one for one in found if one is not None), key=lambda one: (one.service, one.one_off, one.number, one.name)
    )


def require_project(client: DockerClient, project: str) -> list[Container]:
    """Return all containers of a project; refuse a project that has none, and name those that exist."""
    found = containers_of(client, project)
    if found:
        return found
    names = project_names(client)
    known = ", ".join(names) if names else "none"
    raise RollbackError(
        f"There is no container of a Compose project named {project!r} on this host. Nothing was changed.",
        f"Set project to the name that 'docker compose ls --all' shows. Projects on this host: {known}.",
        projects=names,
    )


def project_names(client: DockerClient) -> list[str]:
    """Return the names of all Compose projects that have a container on this host."""
    listed = client.api.containers(all=True, filters={"label": [PROJECT_LABEL]})
    return sorted({(one.get("Labels") or {}).get(PROJECT_LABEL, "") for one in listed} - {""})


def by_service(containers: Iterable[Container]) -> dict[str, list[Container]]:
    """Return the containers of each service."""
    found: dict[str, list[Container]] = {}
    for one in containers:
        found.setdefault(one.service, []).append(one)
    return found


def summary(containers: Iterable[Container]) -> str:
    """Return one word for the state of a service: that of its liveliest container, or ``absent``."""
    states = {one.state for one in containers}
    return next((state for state in _STATES if state in states), ABSENT if not states else min(states))


def in_parallel(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Return what ``work`` returns for each item; all items are worked on at once."""
    waiting = list(items)
    if not waiting:
        return []
    with ThreadPoolExecutor(max_workers=min(20, len(waiting))) as pool:
        return list(pool.map(work, waiting))


def check_service_lists(groups: list[list[str]], keep: list[str], **others: Iterable[str]) -> list[list[str]]:
    """Return the groups as lists of names, without empty ones; refuse lists that contradict each other.

    ``others`` are further options that may only name services of a group.
    """
    names = [_name(one, "groups") for group in groups for one in _group(group)]
    both = sorted(set(names) & {_name(one, "keep") for one in keep})
    if not names:
        raise _refused("groups names no service", "groups: [[nginx], [webapp, indexer]]")
    if both:
        raise _refused(f"{', '.join(both)} is in groups and in keep", "each service in one of the two")
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise _refused(f"groups names {', '.join(twice)} twice", "each service once")
    for option, given in others.items():
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise _refused(f"{option} names {', '.join(unknown)}, which is in no group", f"of {', '.join(names)}")
    return [list(group) for group in groups if group]


def kept_containers(containers: Iterable[Container], keep: Iterable[str]) -> list[Container]:
    """Return the containers of the keep services; refuse when one of these services does not run."""
    services = by_service(one for one in containers if not one.one_off)
    for service in keep:
        found = services.get(service, [])
        if not any(one.state == "running" for one in found):
            raise RollbackError(
                f"The keep service {service} does not run (state: {summary(found)}), and a rollback never starts "
                "or stops it. Nothing was changed.",
                f"Bring it up first with 'docker compose start {service}', or take it out of keep. Services of this "
                f"project: {', '.join(sorted(services))}.",
                states={name: summary(found) for name, found in services.items()},
            )
    return [one for service in keep for one in services[service]]


def assert_kept(client: DockerClient, kept: Iterable[Container], facts: Mapping[str, Any]) -> None:
    """Fail when a container of a keep service is another one, or was started again, since the snapshot."""
    for before in kept:
        now = inspect(client, before.id)
        if now is None or now.started_at != before.started_at or now.state != before.state:
            seen = "gone" if now is None else f"{now.state}, started at {now.started_at}"
            raise RollbackError(
                f"The container {before.name} of the keep service {before.service} changed during this step: it was "
                f"{before.state}, started at {before.started_at}, and is now {seen}. This module does not touch it.",
                f"Look at 'docker logs {before.name}' and at the daemon's log, and check its data before going on.",
                **facts,
            )


def kept_facts(kept: Iterable[Container]) -> dict[str, list[dict[str, str]]]:
    """Return id and start of each kept container, by service, for a result."""
    return {
        service: [{"id": one.id, "started_at": one.started_at} for one in found]
        for service, found in by_service(kept).items()
    }


def _group(group: object) -> list[object]:
    if not isinstance(group, list):
        raise _refused(f"groups holds {group!r}, which is no list", "a list of lists: [[nginx], [webapp, indexer]]")
    return group


def _name(name: object, option: str) -> str:
    if not isinstance(name, str) or not name or name.startswith("-"):
        raise _refused(f"{option} holds {name!r}, which is no service name", "names as in the Compose file")
    return name


def _refused(what: str, accepted: str) -> RollbackError:
    return RollbackError(f"Refused: {what}. Nothing was changed.", f"Accepted: {accepted}.")
