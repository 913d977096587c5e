# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of a project: which run, which fall over and over again, which lack memory, whose logs are huge."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..docker_client import PROJECT_LABEL
from ..project import API_ERRORS, Container, container_from, in_parallel, is_gone
from .probe import FAILED, PASSED, Probe, judged, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker.client import DockerClient

EVERY = "*"
_NEVER = "0001-"
_OOM_SECONDS = 900
_KERNEL_RECORD = 8192
_KERNEL_RECORDS = 20000
# Codes of a process that was asked to end, or killed, not of one that failed by itself.
_ENDED_BY_OTHERS = (0, 130, 137, 143)


@dataclass(frozen=True)
class Look:
    """A container, and what else of it matters here. ``log_bytes`` is empty when it cannot be known."""

    container: Container
    pid: int = 0
    addresses: tuple[str, ...] = ()
    log_path: str = ""
    log_bytes: int | None = None
    memory_limit: int = 0
    health_output: str = ""
    error: str = ""
    finished_at: str = ""
    mounts: tuple[tuple[str, str], ...] = ()
    """Pairs of a path on the host and one in the container."""


@dataclass(frozen=True)
class Roles:
    """Which services the project has, and what they are to it."""

    application: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    one_shot: tuple[str, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """Return the services that must run."""
        return tuple(dict.fromkeys(one for one in (*self.application, *self.keep) if one not in self.one_shot))


# --- reading ----------------------------------------------------------------------------------------------------------


def look(client: DockerClient, project: str) -> list[Look]:
    """Return the containers of a project, stopped ones too; those that vanish meanwhile are left out."""
    listed = client.api.containers(all=True, filters={"label": [f"{PROJECT_LABEL}={project}"]})
    found = [one for one in in_parallel(lambda one: _inspected(client, one["Id"]), listed) if one is not None]
    return sorted(found, key=lambda one: (one.container.service, one.container.number, one.container.name))


def _inspected(client: DockerClient, container_id: str) -> Look | None:
    try:
        return look_from(client.api.inspect_container(container_id))
    except API_ERRORS as error:
        if is_gone(error):
            return None
        raise


def look_from(inspected: Mapping[str, Any]) -> Look:
    """Return what ``docker inspect`` says of a container."""
    state, host = inspected["State"], inspected.get("HostConfig") or {}
    networks = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    health = ((state.get("Health") or {}).get("Log") or [{}])[-1]
    log = inspected.get("LogPath") or ""
    return Look(
        container=container_from(inspected),
        pid=state.get("Pid") or 0,
        addresses=tuple(one["IPAddress"] for _name, one in sorted(networks.items()) if one.get("IPAddress"))
        or (("127.0.0.1",) if "host" in networks else ()),
        log_path=log,
        log_bytes=_size(log),
        memory_limit=host.get("Memory") or 0,
        health_output=" ".join(str(health.get("Output") or "").split())[:200],
        error=str(state.get("Error") or "")[:200],
        finished_at=state.get("FinishedAt") or "",
        mounts=tuple((one["Source"], one["Destination"]) for one in inspected.get("Mounts") or [] if one.get("Source")),
    )


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size if path else None
    except OSError:
        return None


def memory_used(client: DockerClient, container_id: str) -> int | None:
    """Return the bytes that a container uses, without the cache that the kernel gives back when it is asked to."""
    api = client.api
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/stats"
    try:
        with api.get(url, params={"stream": 0, "one-shot": 1}, timeout=5) as answer:
            told = answer.json().get("memory_stats") or {}
    except (*API_ERRORS, ValueError):
        return None
    if not isinstance(told.get("usage"), int):
        return None
    more = told.get("stats") or {}
    return int(told["usage"] - (more.get("total_inactive_file") or more.get("inactive_file") or 0))


def killed_for_memory(client: DockerClient, project: str, now: float) -> set[str]:
    """Return the ids of containers in which the kernel killed a process in the last minutes, for lack of memory.

    Docker forgets that it happened when the container starts again. Its events tell, and the log of the kernel, where
    it may be read.
    """
    found: set[str] = set()
    filters = {"event": ["oom"], "label": [f"{PROJECT_LABEL}={project}"]}
    try:
        for event in client.api.events(since=int(now) - _OOM_SECONDS, until=int(now), filters=filters, decode=True):
            found.add(str((event.get("Actor") or {}).get("ID") or event.get("id")))
    except (*API_ERRORS, ValueError):
        pass
    return found | _told_by_kernel()


def _told_by_kernel() -> set[str]:
    """Return the ids in recent messages like ``oom-kill:constraint=CONSTRAINT_MEMCG,…,task_memcg=/docker/ID,…``."""
    found: set[str] = set()
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return found
    try:
        for _number in range(_KERNEL_RECORDS):
            try:
                record = os.read(descriptor, _KERNEL_RECORD).decode("utf-8", "replace")
            except BlockingIOError:
                break
            except OSError:  # the record was overwritten meanwhile
                continue
            if "oom-kill:" in record and _is_recent(record):
                found |= set(re.findall(r"task_memcg=\S*?([0-9a-f]{64})", record))
    finally:
        os.close(descriptor)
    return found


def _is_recent(record: str) -> bool:
    """Tell whether a record of the kernel (``6,339,5140900,-;text``, microseconds since the boot) is of now."""
    moment = record.split(",", 3)[2]
    return moment.isdigit() and time.clock_gettime(time.CLOCK_MONOTONIC) - int(moment) / 1e6 < _OOM_SECONDS


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(looks: list[Look], roles: Roles, killed: set[str], limits: Mapping[str, float], now: datetime) -> list[Probe]:
    """Judge every service of the project, and every service that should be there."""
    probes = [_state(one, roles, killed, limits, now) for one in looks if not one.container.one_off]
    there = {one.container.service for one in looks if not one.container.one_off}
    probes += [
        Probe(service, "container", FAILED, "it has no container", "it runs", "absent")
        for service in roles.wanted
        if service not in there
    ]
    return probes + [probe for one in looks for probe in _log(one, limits)]


def _state(one: Look, roles: Roles, killed: set[str], limits: Mapping[str, float], now: datetime) -> Probe:  # noqa: PLR0911
    box = one.container
    wanted = box.service in roles.wanted
    of_memory = box.out_of_memory or box.id in killed
    limit = "it runs" if wanted else "it runs, or has ended well"
    if _falls(one, limits, now) and not (box.service in roles.one_shot and box.exit_code == 0):
        fault, why = ("oom", ", out of memory") if of_memory else ("crash loop", "")
        return _failed(one, f"it falls over and over again: {box.restarts} restarts{why}{_end(one)}", limit, fault)
    if of_memory:
        return _failed(one, f"it was killed because it ran out of memory{_memory_words(one)}{_end(one)}", limit, "oom")
    if box.state == "running":
        return _running(one, limit)
    if box.state == "exited" and not wanted and box.exit_code == 0:
        return Probe(box.service, "container", PASSED, f"{box.name} has ended with 0", limit)
    if box.state == "exited":
        by_others = box.exit_code in _ENDED_BY_OTHERS and box.service not in roles.one_shot
        return _failed(one, f"it does not run{_end(one)}", limit, "stopped" if by_others else "exited")
    if box.state == "created" and not wanted:
        return unknown(box.service, "container", f"{box.name} was made and never started", limit=limit)
    return _failed(one, f"it is {box.state}", limit, box.state)


def _running(one: Look, limit: str) -> Probe:
    box = one.container
    if box.health == "unhealthy":
        told = f": {one.health_output}" if one.health_output else ""
        return _failed(one, f"it runs and is unhealthy{told}", limit, "unhealthy")
    if box.health == "starting":
        return unknown(box.service, "container", f"{box.name} runs, and its first health check is awaited", limit=limit)
    seen = f"{box.name} runs{', healthy' if box.health == 'healthy' else ''}"
    return Probe(box.service, "container", PASSED, seen, limit)


def _failed(one: Look, seen: str, limit: str, fault: str) -> Probe:
    return Probe(one.container.service, "container", FAILED, f"{one.container.name}: {seen}", limit, fault)


def _falls(one: Look, limits: Mapping[str, float], now: datetime) -> bool:
    """Tell whether a container is in a crash loop: it waits for a restart, or had several and runs only shortly."""
    box = one.container
    if box.state == "restarting":
        return True
    started = moment(box.started_at)
    young = started is not None and (now - started).total_seconds() < limits["crash_seconds"]
    return box.state in ("running", "exited") and box.restarts >= limits["crash_restarts"] and young


def _end(one: Look) -> str:
    """Return how its last life ended, where that is known."""
    box = one.container
    if one.finished_at.startswith(_NEVER) or not one.finished_at:
        return f"; {one.error}" if one.error else ""
    when = one.finished_at[:19] + "Z"
    code = f" with exit code {box.exit_code}" if box.state != "running" else ""
    return f"; it ended last at {when}{code}{f', {one.error}' if one.error else ''}"


def _memory_words(one: Look) -> str:
    return f", its limit is {one.memory_limit / 1e6:.0f} MB" if one.memory_limit else ""


def judge_memory(one: Look, used: int | None, limits: Mapping[str, float]) -> Probe:
    """Judge how near a container is to its limit of memory."""
    service, most = one.container.service, limits["max_container_memory_percent"]
    words = f"below {most:g}% of its limit"
    if used is None:
        return unknown(service, "memory", "Docker does not tell", limit=words)
    percent = 100 * used / one.memory_limit
    seen = f"{used / 1e6:.0f} of {one.memory_limit / 1e6:.0f} MB ({percent:.0f}%)"
    return judged(service, "memory", percent >= most, seen, limit=words, fault="memory limit")


def _log(one: Look, limits: Mapping[str, float]) -> Iterable[Probe]:
    most = limits["max_log_megabytes"]
    words = f"at most {most:g} MB"
    if not one.log_path:
        return []
    if one.log_bytes is None:
        return [unknown(one.container.service, "log", "its file cannot be seen by this user", limit=words)]
    size = one.log_bytes / 1e6
    return [judged(one.container.service, "log", size > most, f"{size:.1f} MB", limit=words, fault="log")]


def moment(text: str) -> datetime | None:
    """Return a time of Docker; nothing of one that has not come."""
    match = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text)
    if not match or text.startswith(_NEVER):
        return None
    return datetime.strptime(match[0], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)


def deployed_at(looks: Iterable[Look], application: Iterable[str]) -> datetime | None:
    """Return when the newest container of the application was made, which is when it was last deployed."""
    names = set(application)
    created = [moment(one.container.created) for one in looks if one.container.service in names]
    return max((one for one in created if one is not None), default=None)
