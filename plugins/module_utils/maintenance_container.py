# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The container of a maintenance page: how it is made, found and looked at, and that it can do nothing else."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import maintenance_content as content
from .http_probe import printable
from .maintenance_ports import Port
from .project import API_ERRORS, is_gone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from docker.client import DockerClient

try:
    from docker.types import Mount
except ImportError:  # connect() names the missing library
    Mount = None  # type: ignore[assignment,misc]

PROJECT = "usdx.rollback.maintenance"
MARKER = "usdx.rollback.maintenance.marker"
PAGE = "usdx.rollback.maintenance.page"
_COMPOSE = "com.docker.compose."
NOBODY = "65534:65534"
_PROCESSES = 64
_LOG_LINES = 15
# What nginx makes at its start lies in one of these: as packaged by nginx.org, Debian, Alpine and Red Hat, OpenResty.
_WRITABLE = ("/tmp", "/var/cache/nginx", "/var/lib/nginx", "/var/lib/nginx/tmp", "/var/run/openresty")  # noqa: S108
# By owner, because runc gives a mount the mode of the directory under it.
_TMPFS = "rw,noexec,nosuid,nodev,size=4m,uid={},gid={}"
# Where a container has nginx, without running anything in it.
NGINX_FILES = ("/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx",
               "/usr/local/openresty/nginx/sbin/nginx")  # fmt: skip


@dataclass(frozen=True)
class Certificate:
    """TLS files on the host. ``owner`` is ``uid:gid`` of the key; ``digest`` is that of the certificate."""

    certificate: str
    key: str
    owner: str
    digest: str


@dataclass(frozen=True)
class Page:
    """All that a page container is made from. ``memory`` is in MiB; an empty ``command`` is nginx with our file."""

    project: str
    words: content.Words
    ports: tuple[Port, ...]
    image_id: str
    image: str
    command: tuple[str, ...] = ()
    certificate: Certificate | None = None
    memory: int = 64

    @property
    def marker(self) -> str:
        """Return what tells this page from every other, also from one made by another version of this code."""
        tls = [self.certificate.certificate, self.certificate.key, self.certificate.digest] if self.certificate else []
        parts: dict[str, Any] = {"files": self.files(""), "image": self.image_id, "command": self.command, "tls": tls}
        parts |= {"ports": [port.facts() for port in self.ports], "project": self.project, "memory": self.memory}
        return content.marker_of(parts)

    @property
    def user(self) -> str:
        """Return as whom it runs: nobody, or the owner of the TLS key, who may read it."""
        return self.certificate.owner if self.certificate else NOBODY

    def files(self, marker: str) -> dict[str, str]:
        """Return the files of the page by name, for a marker."""
        as_root = self.user.startswith("0:")
        configuration = content.nginx_configuration(self.words, marker, tls=self.certificate is not None,
                                                    as_root=as_root)  # fmt: skip
        return {
            "page.html": content.html_page(self.words),
            "page.json": content.json_page(self.words),
            "nginx.conf": configuration,
        }

    def facts(self) -> dict[str, Any]:
        """Return what the page shows and where, for a result, a label and a diff."""
        return content.described(self.words) | {"ports": [port.facts() for port in self.ports], "image": self.image}


@dataclass(frozen=True)
class Served:
    """A page container as the daemon described it at one moment."""

    id: str
    name: str
    state: str
    marker: str
    started_at: str
    restarts: int
    page: Mapping[str, Any]
    pid: int

    @property
    def ports(self) -> tuple[Port, ...]:
        """Return the ports that it holds."""
        return tuple(Port(one["address"], one["port"], one["tls"]) for one in self.page.get("ports", []))

    def facts(self) -> dict[str, Any]:
        """Return the container for a result."""
        return {"id": self.id, "name": self.name, "state": self.state, "started_at": self.started_at}


def pages_of(client: DockerClient, project: str) -> list[Served]:
    """Return all page containers of a project, also those that do not run."""
    listed = client.api.containers(all=True, filters={"label": [f"{PROJECT}={project}"]})
    found = [look_at(client, one["Id"]) for one in listed]
    return sorted((one for one in found if one is not None), key=lambda one: one.name)


def look_at(client: DockerClient, container_id: str) -> Served | None:
    """Return a page container as it is now, or None when it is gone."""
    try:
        told = client.api.inspect_container(container_id)
    except API_ERRORS as error:
        if is_gone(error):
            return None
        raise
    labels, state = told["Config"].get("Labels") or {}, told["State"]
    return Served(
        id=told["Id"], name=told["Name"].lstrip("/"), state=state["Status"], marker=labels.get(MARKER, ""),
        started_at=state.get("StartedAt", ""), restarts=told.get("RestartCount", 0),
        page=_page_in(labels.get(PAGE, "")), pid=state.get("Pid", 0),
    )  # fmt: skip


def make(client: DockerClient, page: Page) -> str:
    """Create the container with its files, and return its id; it is not started.

    The files are in an anonymous volume, which goes with the container, because a read-only root takes none. They
    belong to root, so that nobody, as whom the page runs, cannot change them.
    """
    container_id: str = client.api.create_container(
        page.image_id,
        name=f"usdx-maintenance-{page.project}-{page.marker[:8]}",
        user=page.user,
        entrypoint=[page.command[0]] if page.command else ["nginx"],
        command=list(page.command[1:]) if page.command else ["-c", f"{content.DIRECTORY}/nginx.conf", "-g",
                                                             "daemon off;"],
        working_dir="/",
        environment=_environment(page),
        labels=_labels(client, page),
        volumes=[content.DIRECTORY],
        ports=[(content.PLAIN_PORT, "tcp"), (content.TLS_PORT, "tcp")],
        healthcheck={"test": ["NONE"]},
        host_config=_host_config(client, page),
    )["Id"]  # fmt: skip
    client.api.put_archive(container_id, content.DIRECTORY, _archive(page.files(page.marker)))
    return container_id


def remove(client: DockerClient, container_id: str) -> None:
    """Remove a page container with its volume, running or not; one that is gone is no error."""
    try:
        client.api.remove_container(container_id, force=True, v=True)
    except API_ERRORS as error:
        if not is_gone(error):
            raise


def last_words(client: DockerClient, container_id: str) -> str:
    """Return the end of what a page container wrote, in one line; empty when it cannot be read."""
    try:
        told: bytes = client.api.logs(container_id, tail=_LOG_LINES)
    except API_ERRORS:
        return ""
    return printable(" | ".join(told.decode("utf-8", "replace").strip().splitlines()[-3:]), 600)


def has_nginx(client: DockerClient, container_id: str) -> bool:
    """Tell whether a container, also a stopped one, has nginx in one of the usual places."""
    for path in NGINX_FILES:
        try:
            stream, _facts = client.api.get_archive(container_id, path)
        except API_ERRORS as error:
            if is_gone(error):
                continue
            raise
        stream.close()
        return True
    return False


def _host_config(client: DockerClient, page: Page) -> Any:  # noqa: ANN401 - of the SDK
    outside: dict[int | str, list[tuple[str, int]]] = {}
    for port in page.ports:
        inside = content.TLS_PORT if port.tls else content.PLAIN_PORT
        outside.setdefault(f"{inside}/tcp", []).append((port.address, port.port))
    return client.api.create_host_config(
        port_bindings=outside,
        restart_policy={"Name": "unless-stopped"},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=f"{page.memory}m",
        memswap_limit=f"{page.memory}m",
        pids_limit=_PROCESSES,
        tmpfs=dict.fromkeys(_WRITABLE, _TMPFS.format(*page.user.split(":"))),
        mounts=_certificate_mounts(page.certificate),
    )


def _certificate_mounts(certificate: Certificate | None) -> list[Any]:
    """Mount the files read-only; unlike a bind in the old notation, a mount never makes what is missing."""
    if certificate is None:
        return []
    pairs = ((content.CERTIFICATE, certificate.certificate), (content.KEY, certificate.key))
    return [Mount(target, source, type="bind", read_only=True) for target, source in pairs]


def _labels(client: DockerClient, page: Page) -> dict[str, str]:
    """Return our labels, and empty ones in the place of those of Compose.

    A container inherits the labels of its image, and Compose marks the images that it builds. Compose and this
    collection would take the page for a container of the project.
    """
    inherited = (client.api.inspect_image(page.image_id).get("Config") or {}).get("Labels") or {}
    emptied = {name: "" for name in inherited if name.startswith(_COMPOSE)}
    facts = json.dumps(page.facts(), sort_keys=True)
    return emptied | {PROJECT: page.project, MARKER: page.marker, PAGE: facts}


def _environment(page: Page) -> dict[str, str]:
    """Return what a command of the user needs to know; nginx needs none of it."""
    if not page.command:
        return {}
    told = {
        "MAINTENANCE_DIRECTORY": content.DIRECTORY, "MAINTENANCE_PORT": str(content.PLAIN_PORT),
        "MAINTENANCE_RETRY_AFTER": str(page.words.retry_after), "MAINTENANCE_MARKER": page.marker,
    }  # fmt: skip
    tls = {"MAINTENANCE_TLS_PORT": str(content.TLS_PORT), "MAINTENANCE_TLS_CERTIFICATE": content.CERTIFICATE,
           "MAINTENANCE_TLS_KEY": content.KEY}  # fmt: skip
    return told | (tls if page.certificate else {})


def _archive(files: Mapping[str, str]) -> bytes:
    """Return the files as an archive; they belong to root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            packed = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(packed), 0o444
            archive.addfile(entry, io.BytesIO(packed))
    return buffer.getvalue()


def _page_in(text: str) -> dict[str, Any]:
    """Return the page that a label holds; one that cannot be read is empty."""
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def image_id_of(client: DockerClient, image: str) -> str | None:
    """Return the id of an image of this host; None when it is not there."""
    try:
        found: str = client.api.inspect_image(image)["Id"]
    except API_ERRORS as error:
        if is_gone(error):
            return None
        raise
    return found
