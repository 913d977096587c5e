# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a maintenance page will be: its words, its ports, its image, its certificate; or why it cannot be."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .maintenance_container import Certificate, Page, Served, has_nginx, image_id_of, pages_of
from .maintenance_content import Words, checked_words
from .maintenance_ports import Port, given_ports, published_ports
from .project import Container, containers_of, require_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from docker.client import DockerClient

_MEMORY = range(8, 4097)
_CERTIFICATE_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class PageRequest:
    """What the options of the module ask for; they mean what its documentation says."""

    project: str
    state: str
    services: list[str]
    ports: list[dict[str, Any]]
    tls_ports: list[int]
    tls_certificate: str
    tls_key: str
    title: str
    text: str
    contact: str
    language: str
    retry_after: int
    image: str
    command: list[str]
    pull: bool
    memory: int
    assume_stopped: bool
    timeout: float

    @property
    def words(self) -> Words:
        """Return what the page says, checked."""
        return checked_words(Words(self.title, self.text, self.contact, self.retry_after, self.language))


@dataclass(frozen=True)
class Plan:
    """The page that is wanted, what is there already, and what a reader must know."""

    page: Page
    present: tuple[Served, ...]
    closed: tuple[Port, ...]
    warnings: tuple[str, ...]

    @property
    def current(self) -> Served | None:
        """Return the container that serves exactly this page, if there is one."""
        wanted = (one for one in self.present if one.marker == self.page.marker and one.state == "running")
        return next(wanted, None)


def make_plan(client: DockerClient, request: PageRequest, *, check_mode: bool) -> Plan:
    """Return what is to be served; refuse what cannot be."""
    words = request.words
    if request.memory not in _MEMORY:
        raise _refused("memory", request.memory, f"MiB from {_MEMORY[0]} to {_MEMORY[-1]}")
    certificate = _certificate(request)
    containers = _containers(client, request)
    chosen = [one for one in containers if one.service in request.services and not one.one_off]
    assume_stopped = request.assume_stopped and check_mode
    warnings = _running(chosen, assume_stopped=assume_stopped) + ([] if assume_stopped else _returning(chosen))
    ports, notes = _ports(client, request, chosen)
    closed = [port for port in ports if port.tls and certificate is None]
    ports = [port for port in ports if port not in closed]
    if not ports:
        raise RollbackError(
            f"No port is left to serve the page at{_because(closed, notes)}. Nothing was changed.",
            "Name services that publish ports, or the ports themselves: ports: [{port: 80}]. A port at which TLS is "
            "spoken needs tls_certificate and tls_key.",
        )
    page = Page(
        project=request.project, words=words, ports=tuple(ports), command=tuple(request.command), memory=request.memory,
        certificate=certificate if any(port.tls for port in ports) else None, **_image(client, request, chosen),
    )  # fmt: skip
    missing = [] if request.ports else sorted(set(request.services) - {one.service for one in containers})
    notes += [f"{name} has no container, so ports that it had are not known." for name in missing]
    told = [f"The TLS port {port} stays closed: no certificate was named for it." for port in closed]
    return Plan(page, tuple(pages_of(client, request.project)), tuple(closed), (*warnings, *notes, *told))


def _containers(client: DockerClient, request: PageRequest) -> list[Container]:
    """Return the containers of the project; refuse when none is of a service that was named, and no port is given."""
    if not request.services and not request.ports:
        raise RollbackError(
            "Neither services nor ports is given, so it is not known where the page belongs. Nothing was changed.",
            "Name the services that users reach, for example services: [nginx].",
        )
    if request.ports:
        return containers_of(client, request.project)
    containers = require_project(client, request.project)
    known = {one.service for one in containers}
    missing = sorted(set(request.services) - known)
    if missing == sorted(request.services):
        raise RollbackError(
            f"The project {request.project} has no container of {', '.join(missing)}, also no stopped one, so its "
            "ports are not known. Nothing was changed.",
            f"Services there: {', '.join(sorted(known))}. Or name the ports: ports: [{{port: 80}}].",
        )
    return containers


def _running(chosen: Iterable[Container], *, assume_stopped: bool) -> list[str]:
    """Refuse services that still run; for a plan, say that they have to be stopped."""
    alive = sorted({one.service for one in chosen if one.alive})
    if not alive:
        return []
    listed = ", ".join(alive)
    if assume_stopped:
        return [f"Running now, and to be stopped before the page is served: {listed}."]
    raise RollbackError(
        f"Still running: {listed}. The page takes the place of stopped services. Nothing was changed.",
        "Stop them first with usdx.rollback.compose_stop, in a security incident with hold: true.",
    )


def _returning(chosen: Iterable[Container]) -> list[str]:
    """Say which services would come back by themselves: Docker starts 'always' with the daemon, also after a stop."""
    names = sorted({one.service for one in chosen if one.restart_policy["Name"] == "always"})
    if not names:
        return []
    told = f"{', '.join(names)} has the restart policy 'always', so it comes back with the daemon and may take the port"
    return [f"{told} of the page: stop it with hold: true."]


def _ports(client: DockerClient, request: PageRequest, chosen: Sequence[Container]) -> tuple[list[Port], list[str]]:
    """Return the ports that were typed, or those that the containers were made with."""
    if request.ports:
        return given_ports(request.ports), []
    told = [(one.name, client.api.inspect_container(one.id)) for one in chosen]
    return published_ports([(name, one["HostConfig"].get("PortBindings") or {}) for name, one in told],
                           request.tls_ports)  # fmt: skip


def _image(client: DockerClient, request: PageRequest, chosen: Sequence[Container]) -> dict[str, str]:
    """Return id and name of the image: the one that was named, or that of a stopped service that has nginx."""
    if request.image:
        found = image_id_of(client, request.image)
        if found is None and not request.pull:
            raise RollbackError(
                f"The image {request.image!r} is not on this host, and nothing is pulled in an incident unless asked. "
                "Nothing was changed.",
                "Choose one that 'docker image ls' shows there, or ask for it with pull: true.",
            )
        return {"image": request.image, "image_id": found or request.image}
    if request.command:
        raise _refused("command", request.command, "the image it runs in as well, as image")
    for one in chosen:
        if has_nginx(client, one.id):
            return {"image": one.image, "image_id": one.image_id}
    looked = ", ".join(one.name for one in chosen) or "none, because no service was named"
    raise RollbackError(
        f"No container with nginx was found to take the image of (looked at: {looked}). Nothing was changed.",
        "Name an image of this host that has nginx, as image; or any image with the command that serves, as command.",
    )


def _certificate(request: PageRequest) -> Certificate | None:
    """Return the TLS files, without links in their paths; refuse what is half given or no file."""
    if not request.tls_certificate and not request.tls_key:
        return None
    if not request.tls_certificate or not request.tls_key:
        raise _refused("tls_certificate and tls_key", "only one of the two", "both, or none")
    paths = {"tls_certificate": request.tls_certificate, "tls_key": request.tls_key}
    resolved = {option: os.path.realpath(path) for option, path in paths.items()}
    for option, path in resolved.items():
        if not Path(path).is_file():
            raise _refused(option, paths[option], "a file in PEM form on the host of the Docker daemon")
    try:
        owner = Path(resolved["tls_key"]).stat()
        with Path(resolved["tls_certificate"]).open("rb") as file:
            digest = hashlib.sha256(file.read(_CERTIFICATE_LIMIT)).hexdigest()
    except OSError as error:
        accepted = f"files that can be read ({error.strerror})"
        raise _refused("tls_certificate", request.tls_certificate, accepted) from error
    if stat.S_IMODE(owner.st_mode) & stat.S_IWOTH:
        raise _refused("tls_key", request.tls_key, "a key that not everybody may write: chmod 0600")
    return Certificate(resolved["tls_certificate"], resolved["tls_key"], f"{owner.st_uid}:{owner.st_gid}", digest)


def _because(closed: Sequence[Port], notes: Sequence[str]) -> str:
    reasons = [f"the TLS port {port} has no certificate" for port in closed] + [note.rstrip(".") for note in notes]
    return f": {'; '.join(reasons)}" if reasons else ", because the services publish none"


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was changed.", f"Give {accepted}.")
