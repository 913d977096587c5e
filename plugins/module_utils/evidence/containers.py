# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Docker knows of a project: containers, also stopped ones, with logs and files, images, networks, volumes."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..container_logs import Frames
from ..docker_client import PROJECT_LABEL
from ..project import API_ERRORS, require_project
from . import docker_api
from .changed_files import changed_files
from .host import small_files
from .item import Item, file_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from docker.client import DockerClient

# https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
NET_FILES = ("tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix", "route", "ipv6_route", "arp", "dev", "fib_trie",
             "if_inet6")  # fmt: skip
_HOUR = 3600


@dataclass(frozen=True)
class Subject:
    """A container that evidence is taken of. Sizes are in bytes and 0 where they are not known."""

    id: str
    name: str
    image: str
    state: str
    pid: int = 0
    terminal: bool = False
    log: int = 0
    changed: int = 0
    whole: int = 0


def subjects_of(client: DockerClient, project: str) -> list[Subject]:
    """Return the containers of a project; refuse a project that has none, and name those that exist."""
    require_project(client, project)
    filters = {"label": [f"{PROJECT_LABEL}={project}"]}
    try:
        listed = client.api.containers(all=True, size=True, filters=filters)
    except API_ERRORS:  # sizes are only estimates, and for large file systems they take long
        listed = client.api.containers(all=True, filters=filters)
    return sorted((_subject(client, one) for one in listed), key=lambda one: one.name)


def _subject(client: DockerClient, listed: dict[str, Any]) -> Subject:
    facts: dict[str, Any] = {}
    with suppress(*API_ERRORS):  # gone since; each of its items will say so
        facts = client.api.inspect_container(listed["Id"])
    names = listed.get("Names") or [listed["Id"]]
    return Subject(
        id=listed["Id"],
        name=file_name(names[0].lstrip("/")),
        image=listed.get("ImageID", ""),
        state=listed.get("State", ""),
        pid=(facts.get("State") or {}).get("Pid") or 0,
        terminal=bool((facts.get("Config") or {}).get("Tty")),
        log=_size(facts.get("LogPath") or ""),
        changed=listed.get("SizeRw") or 0,
        whole=listed.get("SizeRootFs") or 0,
    )


def _size(path: str) -> int:
    """Return the size of the log of a container, where its file lies on this host and may be looked at."""
    try:
        return Path(path).stat().st_size if path else 0
    except OSError:
        return 0


def process_items(client: DockerClient, subjects: Iterable[Subject]) -> Iterator[Item]:
    """Yield the processes of each running container."""
    for one in subjects:
        if one.state in {"running", "paused"}:
            yield _api(client, "processes", f"containers/{one.name}/top.json", "processes of the container",
                       f"/containers/{one.id}/top", asked={"ps_args": "-eo pid,ppid,user,lstart,args"})  # fmt: skip


def network_items(subjects: Iterable[Subject]) -> Iterator[Item]:
    """Yield the connections, interfaces and routes of each running container, as its own network sees them."""
    for one in subjects:
        if one.pid:
            paths = [f"/proc/{one.pid}/net/{name}" for name in NET_FILES]
            yield Item("network", f"containers/{one.name}/network.jsonl", "network of the container",
                       f"read of /proc/{one.pid}/net", partial(small_files, paths))  # fmt: skip


def container_items(client: DockerClient, subjects: Iterable[Subject]) -> Iterator[Item]:
    """Yield the inspection of each container, and which files it has changed."""
    for one in subjects:
        folder, path = f"containers/{one.name}", f"/containers/{one.id}"
        yield _api(client, "containers", f"{folder}/inspect.json", "docker inspect of the container", f"{path}/json")
        yield _api(client, "containers", f"{folder}/diff.json", "docker diff: files changed since its image",
                   f"{path}/changes")  # fmt: skip


def log_items(client: DockerClient, subjects: Iterable[Subject], limit: int) -> Iterator[Item]:
    """Yield the log of each container, with the time of each line. Of an unknown size, the limit is the estimate."""
    for one in subjects:
        yield Item(
            "logs", f"containers/{one.name}/log.txt", "log of the container, with times; its parts follow each other",
            f"GET /containers/{one.id}/logs", partial(_log, client, one),
            estimate=one.log or limit, both_ends=True,
        )  # fmt: skip


def _log(client: DockerClient, one: Subject) -> Iterator[bytes]:
    frames = Frames()
    for chunk in docker_api.chunks(client, f"/containers/{one.id}/logs", {"stdout": 1, "stderr": 1, "timestamps": 1}):
        if one.terminal:
            yield chunk
        else:
            yield b"".join(part for _stream, part in frames.of(chunk))


def file_items(client: DockerClient, subjects: Iterable[Subject], limit: int) -> Iterator[Item]:
    """Yield an archive of the files that each container has changed."""
    for one in subjects:
        yield Item(
            "changed_files", f"containers/{one.name}/changed_files.tar",
            "files that the container has changed, with an index", f"GET /containers/{one.id}/archive",
            partial(changed_files, client, one.id, limit), estimate=one.changed,
        )  # fmt: skip


def whole_items(client: DockerClient, subjects: Iterable[Subject]) -> Iterator[Item]:
    """Yield the whole file system of each container, without its volumes. No image is made for it."""
    for one in subjects:
        name = f"containers/{one.name}/file_system.tar"
        yield _api(client, "file_systems", name, "docker export of the container", f"/containers/{one.id}/export",
                   estimate=one.whole)  # fmt: skip


def image_items(client: DockerClient, subjects: Iterable[Subject]) -> Iterator[Item]:
    """Yield inspection and history of each image that a container of the project was made from."""
    for image in sorted({one.image for one in subjects if one.image}):
        folder = f"images/{file_name(image.partition(':')[2] or image)[:12]}"
        yield _api(client, "images", f"{folder}/inspect.json", f"docker inspect of {image}", f"/images/{image}/json")
        yield _api(client, "images", f"{folder}/history.json", f"docker history of {image}", f"/images/{image}/history")


def daemon_items(client: DockerClient, project: str, event_hours: float) -> Iterator[Item]:
    """Yield the daemon itself, what it was asked lately, all containers of the host, networks and volumes."""
    now = int(time.time())
    events = {"since": now - int(event_hours * _HOUR), "until": now}
    for name, what, path, asked in (
        ("events.jsonl", "docker events, as many as the daemon remembers", "/events", events),
        ("version.json", "docker version", "/version", {}),
        ("info.json", "docker info", "/info", {}),
        ("containers.json", "all containers of the host", "/containers/json", {"all": 1}),
        ("images.json", "all images of the host", "/images/json", {"all": 1}),
        ("networks.json", "all networks of the host", "/networks", {}),
        ("volumes.json", "all volumes of the host", "/volumes", {}),
    ):
        yield _api(client, "docker", f"docker/{name}", what, path, asked=asked)
    networks: list[dict[str, Any]] = []
    with suppress(*API_ERRORS):  # the list of all networks says what is wrong
        networks = client.api.networks(filters={"label": [f"{PROJECT_LABEL}={project}"]})
    for one in networks:
        yield _api(client, "docker", f"docker/network-{file_name(one['Name'])}.json", "docker network inspect",
                   f"/networks/{one['Id']}", asked={"verbose": 1})  # fmt: skip


def _api(  # noqa: PLR0913 - what stands in the manifest, and what is asked
    client: DockerClient, group: str, name: str, what: str, path: str, *, estimate: int = 1 << 14,
    asked: Mapping[str, Any] | None = None,
) -> Item:  # fmt: skip
    return Item(group, name, what, f"GET {path}", partial(docker_api.chunks, client, path, asked or {}),
                estimate=estimate)  # fmt: skip
