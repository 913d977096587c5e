# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a private copy of a Compose project beside it, start its services, and remove all of it.

Of production only the containers, the images and the files are read. What is removed carries the label of a rehearsal
of this project, or lies in a folder whose marker says so: production has neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import compose, release_tree
from .checkout import DEFAULT_UNTRACKED, open_project
from .errors import RollbackError
from .git import Git
from .images import PIN_FOLDER, find_image, plain_name, reference_of, repository_of, split_reference
from .project import API_ERRORS, Container, require_project
from .rehearsal_copy import (
    IMAGE_FOLDER,
    OF_LABEL,
    RUN_LABEL,
    Place,
    Plan,
    addresses,
    answering,
    described,
    refuse_unsafe,
    release_images,
    unanswered,
)
from .release_choice import Choice, Named
from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from docker.client import DockerClient

PREFIX = "usdx-rollback-rehearsal-"
_MARKER = "rehearsal.json"
_CURRENT, _RELEASE = "current.json", "release.json"
_UNTRACKED_LIMIT = 1_000_000  # bytes of a file that Git does not track and that is mounted


@dataclass(frozen=True)
class Request:
    """What the options of the module ask for."""

    project: str
    state: str = "present"
    run_id: str = ""
    directory: str = ""
    application_services: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    leave_out: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    env_files: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=lambda: list(DEFAULT_UNTRACKED))
    variables: dict[str, str] = field(default_factory=dict)
    release_tree: str = ""
    remote: str = "origin"
    places: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    outbound: bool = False
    cpus: float = 0
    memory: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    keep_images: bool = False
    timeout: int = 120

    @property
    def services(self) -> tuple[str, ...]:
        """Return the services of the copy."""
        return tuple(
            one for one in dict.fromkeys([*self.application_services, *self.keep]) if one not in self.leave_out
        )

    @property
    def root(self) -> Path:
        """Return the folder of the copy."""
        return Path(tempfile.gettempdir(), f"{PREFIX}{self.run_id}")


def rehearsal_stack(
    connect: Callable[[], DockerClient], run: compose.Run, request: Request, *, check_mode: bool = False
) -> dict[str, Any]:
    """Carry out the state that was asked for; return the result of the module."""
    _check(request)
    client = connect()
    if request.state == "absent":
        return _absent(client, request, check_mode=check_mode)
    if request.state == "started":
        return _started(run, request, check_mode=check_mode)
    return _present(client, run, request, check_mode=check_mode)


def _check(request: Request) -> None:
    """Refuse options that cannot be meant."""
    if request.state != "absent" and not request.run_id.rpartition("-")[2].isalnum():
        raise RollbackError("run_id is missing. Nothing was made.", "Give the id of the rehearsal as run_id.")
    if request.state == "present" and not (request.directory and request.release_tree and request.services):
        raise RollbackError(
            "directory, release_tree and application_services are needed to make a copy. Nothing was made.",
            "Give the project directory, a tree of the release (release_checkout with state: prepared), and the lists "
            "of services.",
        )


# --- present ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """What is known before anything is made."""

    request: Request
    plan: Plan
    containers: list[Container]
    current: dict[str, Any]
    release: dict[str, Any]
    current_source: compose.Source
    release_source: compose.Source
    warnings: list[str]


def _present(client: DockerClient, run: compose.Run, request: Request, *, check_mode: bool) -> dict[str, Any]:
    """Make the copy and start its keep services."""
    scene = _look(client, run, request)
    if check_mode:
        return {**_result(scene, []), "changed": True}
    git = open_project(request.directory, run)
    _make_root(request, git)
    _copy_tree(scene, git)
    scene = _with_addresses(client, scene)
    notes = _write_files(client, scene)
    _up(run, request, [name for name in request.keep if name in request.services], wait=True)
    return {**_result(scene, notes), "changed": True}


def _look(client: DockerClient, run: compose.Run, request: Request) -> _Scene:
    """Read both configurations; refuse what cannot be copied. Nothing is made here."""
    if os.path.lexists(request.root):
        raise RollbackError(f"{request.root} is there already. Nothing was made.", "Give another run_id.")
    containers = require_project(client, request.project)
    wanted = [one for one in containers if one.service in request.application_services and not one.one_off]
    if not wanted:
        raise RollbackError(
            f"The project {request.project} has no container of its application services, so nothing says what runs. "
            "Nothing was made.",
            "A rehearsal begins where the application is deployed: start it, then try again.",
        )
    newest = max(wanted, key=lambda one: (one.created, one.name))
    here, there = (
        compose.locate(
            newest.labels, project=request.project, directory=request.directory, tree=tree, files=request.files,
            env_files=request.env_files, environment=variables,
        )
        for tree, variables in ((request.directory, {}), (request.release_tree, request.variables))
    )  # fmt: skip
    current, warnings = compose.config(run, here)
    release, more = compose.config(run, there)
    nowhere = [one for one in request.services if one not in current["services"] and one not in release["services"]]
    if nowhere:
        raise RollbackError(
            f"Neither the current checkout nor the release has the service {', '.join(nowhere)}. Nothing was made.",
            f"Services that exist: {', '.join(sorted({*current['services'], *release['services']}))}.",
        )
    for config in (current, release):
        refuse_unsafe(config, request.services)
    application = tuple(one for one in request.application_services if one in request.services)
    plan = Plan(
        request.run_id, request.project, request.services, application, request.outbound, request.cpus, request.memory,
        request.environment, hosts=(*request.hosts, *own_hosts(request.places)),
    )  # fmt: skip
    return _Scene(request, plan, containers, current, release, here, there, [*warnings, *more])


def own_hosts(places: Iterable[str]) -> list[str]:
    """Return the hosts of these places that are this one, as far as their addresses tell."""
    hosts = {urlsplit(place).hostname or "" for place in places} - {""}
    return sorted(host for host in hosts if _is_here(host))


def _is_here(host: str) -> bool:
    """Tell whether all addresses of a host are of this one."""
    try:
        found = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError):
        return False
    return all(_leads_here(family, address) for family, _kind, _protocol, _name, address in found)


def _leads_here(family: int, address: Any) -> bool:  # noqa: ANN401 - what the library has for an address
    """Tell whether an address is of this host: what it sends there comes from there. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(address)
        except OSError:
            return False
        return bool(probe.getsockname()[0] == address[0])


def _make_root(request: Request, git: Git) -> None:
    """Make the private folder, and the marker by which a later call knows whose it is."""
    request.root.mkdir(mode=0o700)
    _write(request.root / _MARKER, {"of": request.project, "directory": request.directory, "run_id": request.run_id})
    git.identity.hand_over(str(request.root))


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a private file."""
    write_whole(path, json.dumps(content), 0o600)


def _project_of(request: Request) -> Path:
    return request.root / "project"


def _copy_tree(scene: _Scene, git: Git) -> None:
    """Make a checkout of the current commit that borrows the objects of the project, with all tags."""
    head = git.head() or ""
    choice = Choice("", Named(head, head), here=True)
    source = release_tree.Source(git, choice, scene.request.remote, 60, tuple(scene.request.untracked))
    release_tree.prepare(source, str(_project_of(scene.request)))
    tree = Git(str(_project_of(scene.request)), git.run, git.identity)
    _copy_tags(git, tree)
    for config, source_files in ((scene.current, scene.current_source), (scene.release, scene.release_source)):
        for path in _mounted_files(config, scene.plan.services):
            _copy_untracked(path, Path(_top(scene, source_files)), _project_of(scene.request), tree)


def _copy_tags(git: Git, tree: Git) -> None:
    """Give the copy all tags of the project; it borrows the objects already."""
    tags = git.call("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags/")
    path = Path(tree.path, ".git", "packed-refs")
    path.write_text(tags, encoding="utf-8", errors="surrogateescape")
    tree.identity.hand_over(str(path))


def _mounted_files(config: dict[str, Any], services: Iterable[str]) -> list[str]:
    """Return the paths that services mount from the host."""
    mounts = [one for name in services for one in (config["services"].get(name) or {}).get("volumes") or []]
    return [one["source"] for one in mounts if one.get("type") == "bind" and one.get("source")]


def _copy_untracked(path: str, top: Path, project: Path, tree: Git) -> None:
    """Copy a small file that is mounted and that Git does not track: without it Docker would make a folder there."""
    below = os.path.relpath(path, top)
    origin, target = top / below, project / below
    if below.startswith("..") or not origin.is_file() or origin.stat().st_size > _UNTRACKED_LIMIT:
        return
    if os.path.lexists(target) or os.path.realpath(target.parent) != str(target.parent):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(origin, target)
    tree.identity.hand_over(str(target))


def _top(scene: _Scene, source: compose.Source) -> str:
    """Return the top of the tree that a configuration was read in."""
    given = scene.request.directory if source is scene.current_source else scene.request.release_tree
    return str(Path(given).resolve())


def _with_addresses(client: DockerClient, scene: _Scene) -> _Scene:
    """Return the scene with a free subnet for each network, and the addresses of what is asked."""
    keys = {
        key
        for config in (scene.current, scene.release)
        for name in scene.plan.services
        if name in config["services"] and not config["services"][name].get("network_mode")
        for key in config["services"][name].get("networks") or {"default": None}
    }
    plan = replace(scene.plan, subnets=_free_subnets(client, scene.plan, sorted(keys)))
    return replace(scene, plan=replace(plan, addresses=addresses(scene.release, plan, scene.request.places)))


def _free_subnets(client: DockerClient, plan: Plan, keys: list[str]) -> dict[str, str]:
    """Return a subnet for each network: those that Docker gives to networks that are made and removed again."""
    made: dict[str, Any] = {}
    try:
        for key in keys:
            made[key] = client.networks.create(
                f"{plan.project}_{key}_look", driver="bridge", internal=True, labels=plan.labels
            )
        return {key: _subnet(client.api.inspect_network(network.id)) for key, network in made.items()}
    except API_ERRORS as error:
        raise RollbackError(
            f"The Docker daemon gave no network for the copy: {error}. Production was not touched.",
            "Look at 'docker network ls': unused networks take the address space. Remove those that you know.",
        ) from error
    finally:
        for network in made.values():  # one that stays is removed with the copy, by its label
            with contextlib.suppress(*API_ERRORS):
                network.remove()


def _subnet(network: dict[str, Any]) -> str:
    return next(str(one["Subnet"]) for one in network["IPAM"]["Config"] if "." in str(one.get("Subnet")))


def _write_files(client: DockerClient, scene: _Scene) -> list[str]:
    """Give the images their names in the copy, and write its Compose files; return what differs from production."""
    plan, project = scene.plan, str(_project_of(scene.request))
    images, names = release_images(scene.release, plan, lambda name: find_image(client, name) is not None)
    running = _running_images(scene)
    for reference, name in {**names, **_pins(client, plan)}.items():
        _tag(client, reference, name)
    current = {
        name: running.get(name) or reference_of(plan.of, name, scene.current["services"][name])
        for name in plan.services
        if name in scene.current["services"]
    }
    here = Place(_top(scene, scene.current_source), scene.current_source.directory, project)
    there = Place(_top(scene, scene.release_source), scene.release_source.directory)
    first, notes = described(scene.current, plan, here, current, _kind)
    second, more = described(scene.release, plan, there, {**images, **_kept_images(scene, current)}, _kind)
    for name in plan.application:
        # They are there to be stopped; whether they are well is not what is rehearsed.
        first["services"].get(name, {}).pop("depends_on", None)
        first["services"].get(name, {}).pop("build", None)
    _write(scene.request.root / _CURRENT, first)
    _write(scene.request.root / _RELEASE, second)
    return list(dict.fromkeys([*notes, *more]))


def _kind(path: str) -> str:
    """Return what a path is: file, directory, missing or other."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return "missing"
    return "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "other"


def _running_images(scene: _Scene) -> dict[str, str]:
    """Return the image that each service runs, by its id: names may have moved since."""
    return {one.service: one.image_id for one in reversed(scene.containers) if not one.one_off}


def _kept_images(scene: _Scene, current: dict[str, str]) -> dict[str, str]:
    """Return the images of the keep services: what runs stays."""
    return {name: image for name, image in current.items() if name not in scene.plan.application}


def _pins(client: DockerClient, plan: Plan) -> dict[str, str]:
    """Return the names under which earlier runs keep images of commits, and their names in the copy."""
    found = {}
    for service in plan.application:
        repository, own = repository_of(plan.of, service), repository_of(plan.project, service)
        for name in _names_in(client, repository):
            tag = split_reference(name)[1]
            if not tag.startswith(("before-", "was-")):
                found[name] = f"{own}:{tag}"
    return found


def _names_in(client: DockerClient, repository: str) -> list[str]:
    """Return the names of images in a repository; a trailing ``/`` means all below it."""
    pattern = f"{repository}*" if repository.endswith("/") else repository
    images: list[Any] = client.api.images(filters={"reference": pattern})
    names = [name for image in images for name in image.get("RepoTags") or []]
    return sorted(one for one in names if one.startswith(repository if repository.endswith("/") else f"{repository}:"))


def _tag(client: DockerClient, image: str, name: str) -> None:
    repository, tag = split_reference(name)
    client.api.tag(image, repository, tag, force=True)


def _result(scene: _Scene, notes: list[str]) -> dict[str, Any]:
    """Return what a rollback of the copy has to know."""
    request, plan, root = scene.request, scene.plan, scene.request.root
    has = {*scene.current["services"], *scene.release["services"]}
    return {
        "stack": {
            "project": plan.project,
            "root": str(root),
            "directory": str(_project_of(request)),
            "state_directory": str(root / "state"),
            "backup_directory": str(root / "backups"),
            "current_file": str(root / _CURRENT),
            "release_file": str(root / _RELEASE),
            "application_services": [one for one in plan.application if one in has],
            "keep": [one for one in request.keep if one in plan.services],
            "places": answering(scene.release, plan, request.places),
        },
        "not_rehearsed": unanswered(scene.release, plan, request.places),
        "notes": [*notes, *([f"left out: {', '.join(request.leave_out)}"] if request.leave_out else [])],
        "production": identity_of(scene.containers),
        "warnings": scene.warnings,
    }


def identity_of(containers: list[Container]) -> dict[str, str]:
    """Return what tells whether containers were touched: for each its id, its state and when it was started.

    One that Docker starts again and again by itself is known by its id alone.
    """
    return {
        one.name: one.id if one.restarts else f"{one.id} {one.state} {one.started_at}"
        for one in containers
        if not one.one_off
    }


# --- started ----------------------------------------------------------------------------------------------------------


def _started(run: compose.Run, request: Request, *, check_mode: bool) -> dict[str, Any]:
    """Start the application services of the copy at the current release."""
    if not check_mode:
        content = json.loads((request.root / _CURRENT).read_text(encoding="utf-8"))
        names = [one for one in request.application_services if one in content["services"]]
        _up(run, request, names, wait=False)
    return {"changed": True}


def _up(run: compose.Run, request: Request, names: list[str], *, wait: bool) -> None:
    """Start services of the copy from the file of the current release; nothing is built or pulled."""
    if not names:
        return
    plan = Plan(request.run_id, request.project, ())
    source = compose.Source(plan.project, str(_project_of(request)), [str(request.root / _CURRENT)])
    more = ["--wait", "--wait-timeout", str(request.timeout)] if wait else []
    rc, _out, err = source.call(
        run, "up", "--detach", "--no-deps", "--no-build", "--pull", "never", "--quiet-pull", *more, *names,
        timeout=request.timeout + 60,
    )  # fmt: skip
    if rc != 0:
        raise RollbackError(
            f"The copy's services {', '.join(names)} did not start: {compose.last_lines(err, 3)}. Production was not "
            "touched.",
            f"Give them more time, or leave out of the copy what cannot run there: rollback_rehearsal_leave_out. Until "
            f"the copy is removed: docker compose --project-name {plan.project} logs",
        )


# --- absent -----------------------------------------------------------------------------------------------------------


def _absent(client: DockerClient, request: Request, *, check_mode: bool) -> dict[str, Any]:
    """Remove a copy, or every copy of the project, and say what is left of it."""
    found = _Found.of(client, request)
    kept = _kept_builds(client, request, found.runs) if request.keep_images else {}
    if not check_mode:
        for image, name in kept.items():
            _tag(client, image, name)
        found.remove(client)
    left = _Found.of(client, request).words() if not check_mode else []
    if left:
        raise RollbackError(
            f"Of the copy is left: {'; '.join(left)}. Production was not touched.",
            f"See what holds it, then remove it: docker rm --force --volumes NAME, sudo rm -r {request.root}. The next "
            "rehearsal tries again.",
            left=left,
        )
    names = sorted(kept.values())
    return {
        "changed": bool(found.words()),
        "removed": found.words(),
        "kept_images": names,
        **_production(client, request),
    }


def _production(client: DockerClient, request: Request) -> dict[str, Any]:
    """Return what tells whether production was touched."""
    return {"production": identity_of(require_project(client, request.project))}


def _kept_builds(client: DockerClient, request: Request, runs: list[str]) -> dict[str, str]:
    """Return images that were built for the copy, each with the name under which a rollback of production finds it.

    One that has a name outside of the copy was there before.
    """
    plans = [Plan(run_id, request.project, ()) for run_id in runs]
    own = tuple(folder for plan in plans for folder in _folders(plan))
    found = {}
    for service in request.application_services:
        for plan in plans:
            for name in _names_in(client, repository_of(plan.project, service)):
                tag = split_reference(name)[1]
                kept = f"{repository_of(request.project, service)}:{tag}"
                image = find_image(client, name)
                built = image is not None and all(one.startswith(own) for one in image.tags)
                if built and not tag.startswith(("before-", "was-")) and find_image(client, kept) is None:
                    found[name] = kept
    return found


@dataclass
class _Found:
    """What is there of copies of a project."""

    containers: list[str]
    networks: list[str]
    volumes: list[str]
    images: list[str]
    folders: list[Path]
    runs: list[str]

    @classmethod
    def of(cls, client: DockerClient, request: Request) -> _Found:
        """Find it: Docker's objects by their label, folders by their marker, names of images by what was found."""
        mark = f"{RUN_LABEL}={request.run_id}" if request.run_id else RUN_LABEL
        chosen = {"label": [f"{OF_LABEL}={request.project}", mark]}
        containers: list[Any] = client.api.containers(all=True, filters=chosen)
        networks: list[Any] = client.api.networks(filters=chosen)
        volumes: list[Any] = client.api.volumes(filters=chosen)["Volumes"] or []
        folders = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_of(path, request)]
        labels = [one.get("Labels") or {} for one in (*containers, *networks, *volumes)]
        runs = {one.get(RUN_LABEL, "") for one in labels} | {path.name[len(PREFIX) :] for path in folders}
        runs = (runs | {request.run_id}) - {""}
        if not request.run_id:
            ends = {run_id.rpartition("-")[2] for run_id in runs}
            runs |= _named_by_images(client, request.project) - ends
        return cls(
            [one["Id"] for one in containers],
            [one["Id"] for one in networks],
            [one["Name"] for one in volumes],
            [name for run_id in sorted(runs) for name in _image_names(client, Plan(run_id, request.project, ()))],
            folders,
            sorted(runs),
        )

    def words(self) -> list[str]:
        """Return what there is, for people."""
        counted = {
            "containers": len(self.containers), "networks": len(self.networks), "volumes": len(self.volumes),
            "names of images": len(self.images),
        }  # fmt: skip
        return [f"{count} {what}" for what, count in counted.items() if count] + [str(path) for path in self.folders]

    def remove(self, client: DockerClient) -> None:
        """Remove it, in the order in which Docker allows it; what refuses is seen by who looks again."""
        api = client.api
        for work, names in (
            (lambda one: api.remove_container(one, force=True, v=True), self.containers),
            (api.remove_network, self.networks),
            (api.remove_volume, self.volumes),
            (lambda one: api.remove_image(one, noprune=True), self.images),
        ):
            for name in names:
                with contextlib.suppress(*API_ERRORS):
                    work(name)
        for path in self.folders:
            shutil.rmtree(path, ignore_errors=True)


def _folders(plan: Plan) -> tuple[str, str]:
    """Return the folders of names that images have in the copy of a rehearsal."""
    name = plain_name(plan.project)
    return f"{IMAGE_FOLDER}{name}/", f"{PIN_FOLDER}{name}/"


def _named_by_images(client: DockerClient, project: str) -> set[str]:
    """Return the ends of the ids of rehearsals whose copies have names of images.

    They are all that is left of one that was killed when its containers and folders were removed by something else.
    """
    own = f"{plain_name(project)}-rehearsal-"
    end = re.compile(rf"(?:{IMAGE_FOLDER}|{PIN_FOLDER}){re.escape(own)}([0-9a-f]+)/")
    patterns = [f"{folder}{own}*/*" for folder in (IMAGE_FOLDER, PIN_FOLDER)]
    images: list[Any] = client.api.images(filters={"reference": patterns})
    found = [end.match(name) for image in images for name in image.get("RepoTags") or []]
    return {one[1] for one in found if one}


def _image_names(client: DockerClient, plan: Plan) -> list[str]:
    """Return the names of images that the copy of a rehearsal has."""
    return [name for folder in _folders(plan) for name in _names_in(client, folder)]


def _is_of(path: Path, request: Request) -> bool:
    """Tell whether a folder is that of a copy of the project, ours, and of the rehearsal that is meant."""
    try:
        status = path.lstat()
        marker = path / _MARKER
        told = json.loads(marker.read_text(encoding="utf-8"))
        ours = stat.S_ISDIR(status.st_mode) and marker.lstat().st_uid == os.geteuid()
    except (OSError, ValueError):
        return False
    return ours and told.get("of") == request.project and request.run_id in ("", told.get("run_id"))
