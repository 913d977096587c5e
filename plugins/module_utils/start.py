# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the images of a release ready, and start its services; keep services are never touched."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import compose
from .docker_client import PROJECT_LABEL, REVISION_LABEL, VERSION_LABEL, connect
from .errors import RollbackError
from .exclusive import exclusive
from .images import (
    BUILD,
    PULL,
    REUSE,
    Decision,
    Target,
    before_of,
    decide_all,
    find_image,
    find_images,
    repository_of,
    split_reference,
    unpatched,
)
from .project import (
    API_ERRORS,
    Container,
    assert_kept,
    by_service,
    check_service_lists,
    containers_of,
    kept_containers,
    require_project,
    summary,
)
from .readiness import Awaited, Waiter, needs_health
from .release import release_number
from .rolling import Reload, Replacement, Roller, check_proxy, reload_from, volumes_of, why_not
from .stop import check_grace_periods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.client import DockerClient

NETWORK_HASH_SINCE = (2, 30)
HASH_LABEL = "com.docker.compose.config-hash"


@dataclass(frozen=True)
class StartRequest:
    """What the options of the module ask for."""

    project: str
    groups: list[list[str]]
    directory: str
    state: str = "started"
    keep: list[str] = field(default_factory=list)
    not_started: list[str] = field(default_factory=list)
    tree: str = ""
    files: list[str] = field(default_factory=list)
    env_files: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    release: str = ""
    commit: str = ""
    base_commit: str = ""
    current_release: str = ""
    images: dict[str, str] = field(default_factory=dict)
    pull: str = "missing"
    build_timeout: int = 1800
    timeout: int = 120
    stable_for: float = 2.0
    one_shot: list[str] = field(default_factory=list)
    rolling: list[str] = field(default_factory=list)
    reload: Reload = field(default_factory=Reload)
    settle: float = 2.0
    grace_periods: dict[str, int] = field(default_factory=dict)
    log_lines: int = 40
    run_id: str = ""

    @property
    def services(self) -> list[str]:
        """Return the application services in start order."""
        return [name for group in self.groups for name in group]


def request_from(options: dict[str, Any]) -> StartRequest:
    """Return the request that the options of the module make; refuse values that cannot be meant."""
    given = {name: value for name, value in options.items() if name != "docker_host"}
    environment = {name: "" if value is None else str(value) for name, value in options["environment"].items()}
    if options["docker_host"]:
        environment["DOCKER_HOST"] = options["docker_host"]
    commits = {name: options[name].strip().lower() for name in ("commit", "base_commit")}
    for name, commit in commits.items():
        if commit and not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", commit):
            raise RollbackError(
                f"{name}={options[name]!r} is no full commit id. Nothing was changed.",
                "Give the 40 digits that 'git rev-parse <tag>^{commit}' prints.",
            )
    for name in ("timeout", "build_timeout", "stable_for", "settle", "log_lines"):
        if options[name] < (1 if "timeout" in name else 0):
            raise RollbackError(
                f"{name}={options[name]} is too small. Nothing was changed.", f"Give {name} as a positive number."
            )
    reload = reload_from(options["reload"])
    given |= {**commits, "environment": environment, "tree": options["tree"] or "", "reload": reload}
    given["grace_periods"] = check_grace_periods(options["grace_periods"])
    return StartRequest(**given)


@dataclass
class Scene:
    """What is there before anything changes, and what was decided."""

    request: StartRequest
    source: compose.Source
    config: dict[str, Any]
    containers: list[Container]
    kept: list[Container]
    services: list[str]
    not_started: list[str]
    target: Target
    decisions: dict[str, Decision]
    left_as_is: dict[str, list[str]]
    not_in_release: list[str]
    warnings: list[str]

    @property
    def definitions(self) -> dict[str, Any]:
        """Return the release's services."""
        return self.config.get("services") or {}

    @property
    def application(self) -> list[str]:
        """Return the services that get containers of the release: those that start, and those that do not."""
        return self.services + self.not_started

    def running(self, service: str) -> list[Container]:
        """Return the containers that the service had, without one-off ones."""
        return [one for one in self.containers if one.service == service and not one.one_off]


def start_as_asked(options: dict[str, Any], run: compose.Run, *, check: bool) -> dict[str, Any]:
    """Have a release at hand or start it, as the options of the module say it."""
    return start_services(connect(options["docker_host"]), run, request_from(options), check_mode=check)


def start_services(
    client: DockerClient, run: compose.Run, request: StartRequest, *, check_mode: bool = False
) -> dict[str, Any]:
    """Carry out the state that was asked for; return the result of the module."""
    begin = time.monotonic()
    scene = look(client, run, request, check_mode=check_mode)
    if check_mode:
        result = _work(client, run, scene, check_mode)
    else:
        with exclusive([request.directory]) as waited:
            scene = look(client, run, request, check_mode=False) if waited else scene
            result = _work(client, run, scene, check_mode)
    result["seconds"] = round(time.monotonic() - begin, 2)
    return result


def _work(client: DockerClient, run: compose.Run, scene: Scene, check_mode: bool) -> dict[str, Any]:  # noqa: FBT001
    """Do what the state asks for."""
    work = _prepare if scene.request.state == "prepared" else _start
    return work(client, run, scene, check_mode)


def look(client: DockerClient, run: compose.Run, request: StartRequest, *, check_mode: bool) -> Scene:
    """Look at everything and decide; refuse what cannot work. Nothing is changed here."""
    both = [name for name in request.services if name in request.not_started]
    if both:
        raise RollbackError(
            f"{', '.join(both)} is in groups and in not_started. Nothing was changed.", "Give it in one of the two."
        )
    check_service_lists([*request.groups, request.not_started], request.keep, rolling=request.rolling)
    containers = require_project(client, request.project)
    kept = kept_containers(containers, request.keep)
    if request.rolling:
        check_proxy(request.reload, containers)
    if request.run_id:
        before_of(request.project, "x", request.run_id)
    tree = request.tree or request.directory
    apart = os.path.realpath(tree) != os.path.realpath(request.directory)
    if apart and request.state == "started" and not check_mode:
        raise RollbackError(
            f"tree={tree} is another directory than {request.directory}. Nothing was changed.",
            "Containers are started from the project's own checkout: leave tree out for state=started.",
        )
    source = _source(request, containers, tree)
    config, warnings = compose.config(run, source)
    current = _current(run, request, containers, warnings) if apart else config
    services, missing = classify(request, config, current or {}, containers)
    roots = [os.path.realpath(tree), os.path.realpath(request.directory)]
    plain = compose.normalise(config, roots)
    left = compose.left_as_is(compose.normalise(current, roots), plain, request.keep) if current else {}
    _guard_networks(client, run, source, config=config, services=services, kept=kept)
    target = Target(
        request.project, request.release, request.commit, request.current_release, request.images, request.base_commit
    )
    made = by_service(one for one in containers if not one.one_off)
    idle = [one for one in request.not_started if one in config["services"] and one in made and one in request.images]
    decisions = decide_all(target, config["services"], services + idle, lambda names: find_images(client, names))
    return Scene(request, source, config, containers, kept, services, idle, target, decisions, left, missing, warnings)


def _source(request: StartRequest, containers: list[Container], tree: str) -> compose.Source:
    """Return where the release's files are, after the newest application container."""
    application = {*request.services, *request.not_started}
    made = [one for one in containers if one.service in application and not one.one_off] or containers
    newest = max(made, key=lambda one: (one.created, one.name))
    return compose.locate(
        newest.labels,
        project=request.project,
        directory=request.directory,
        tree=tree,
        files=request.files,
        env_files=request.env_files,
        environment=request.environment,
    )


def _current(
    run: compose.Run, request: StartRequest, containers: list[Container], warnings: list[str]
) -> dict[str, Any] | None:
    """Return the configuration of the current checkout; one that cannot be read is a warning."""
    try:
        return compose.config(run, _source(request, containers, request.directory))[0]
    except RollbackError as error:
        warnings.append(f"What is left as it is cannot be told, the current checkout cannot be read: {error.msg}")
        return None


def classify(
    request: StartRequest, config: dict[str, Any], current: dict[str, Any], containers: list[Container]
) -> tuple[list[str], list[str]]:
    """Return the application services that the release has, and those that it does not have.

    Refuses a name that is nowhere, and a service of the release that is in no list.
    """
    definitions = config.get("services") or {}
    known = definitions.keys() | (current.get("services") or {}).keys() | by_service(containers).keys()
    nowhere = [name for name in request.services if name not in known]
    if nowhere:
        raise RollbackError(
            f"The application services (groups) name {', '.join(nowhere)}: neither the release, nor the current "
            "checkout, nor a container has such a service. Nothing was changed.",
            f"Services that exist: {', '.join(sorted(known))}.",
        )
    listed = {*request.services, *request.not_started, *request.keep, *request.one_shot}
    unlisted = [name for name, one in definitions.items() if name not in listed and not one.get("profiles")]
    if unlisted:
        raise RollbackError(
            f"The release has the service {', '.join(unlisted)}, which is neither an application service, nor a keep "
            "service, nor one_shot: after the rollback it would still run the old release. Nothing was changed.",
            "Add it to the application services (they are stopped and started), to the keep services (never touched) "
            "or to the one-shot services (they exit): rollback_application_services, rollback_keep_services or "
            "rollback_one_shot_services in an inventory; groups, keep or one_shot of the module.",
        )
    services = [name for name in request.services if name in definitions]
    return services, [name for name in request.services if name not in definitions]


def _guard_networks(  # noqa: PLR0913 - all of it is looked at
    client: DockerClient,
    run: compose.Run,
    source: compose.Source,
    *,
    config: dict[str, Any],
    services: list[str],
    kept: list[Container],
) -> None:
    """Refuse a release whose networks Compose would make anew under the feet of keep services.

    Seen with Compose 5.6.1, not with 2.26.1: it compares a hash, and where that differs it stops the containers on the
    network. The version in which that began is not known for certain, so ``NETWORK_HASH_SINCE`` is a cautious choice.
    """
    used = {name for one in services for name in config["services"][one].get("networks") or {}}
    wanted = {one.get("name", name): one for name, one in (config.get("networks") or {}).items() if name in used}
    listed: list[Any] = client.api.networks(filters={"label": [f"{PROJECT_LABEL}={source.project}"]})
    changed = [one["Name"] for one in listed if _network_differs(one, wanted.get(one["Name"]))]
    attached = sorted({one.service for one in kept if set(one.networks) & set(changed)})
    if attached and compose.version(run, source) >= NETWORK_HASH_SINCE:
        raise RollbackError(
            f"The release defines the network {', '.join(changed)} differently, and this version of Compose would stop "
            f"the keep services on it ({', '.join(attached)}) to make it anew. Nothing was changed.",
            "Give the network the definition that it has now (an override file named in files will do), or change it "
            "in a planned window with 'docker compose up'.",
            networks=changed,
        )


def _network_differs(actual: dict[str, Any], wanted: dict[str, Any] | None) -> bool:
    label = (actual.get("Labels") or {}).get(HASH_LABEL)
    return bool(label and wanted and not wanted.get("external") and label != compose.definition_hash(wanted))


# --- prepared ---------------------------------------------------------------------------------------------------------


def _prepare(client: DockerClient, run: compose.Run, scene: Scene, check_mode: bool) -> dict[str, Any]:  # noqa: FBT001
    """Have an image for every application service, kept under a name of its own."""
    request = scene.request
    _refuse_pull(scene)
    pins = {one.pin: one.image_id for one in scene.decisions.values() if one.pin}
    before = _before_pins(scene)
    named = find_images(client, [one.reference for one in scene.decisions.values()] if request.base_commit else [])
    before |= unpatched(scene.target, scene.decisions.values(), named)
    here = find_images(client, [*pins, *before])
    # A name of before the run is given once: a run that goes on finds containers of its own.
    pins |= {name: image for name, image in before.items() if here[name] is None}
    missing = {name: image for name, image in pins.items() if _id(here[name]) != image or image is None}
    result = _result(scene, changed=bool(missing) or any(one.action != REUSE for one in scene.decisions.values()))
    if check_mode:
        return result
    if not request.commit and any(one.action == BUILD for one in scene.decisions.values()):
        raise RollbackError(
            "An image must be built, and no commit was given to keep it under. Nothing was changed.",
            "Give commit, the full id of the release's commit.",
        )
    for name, image in missing.items():
        if image:
            _tag(client, image, name)
    _pull(run, scene)
    _build(client, run, scene)
    for one in scene.decisions.values():
        leader = scene.decisions[one.leader]
        found = find_image(client, leader.pin if one.action == BUILD else one.image_id or one.reference)
        if found is None:
            raise _build_failed([one.service], "no image was made", result)
        if one.pin and one.action != REUSE:
            _tag(client, found.id, one.pin)
        result["images"][one.service] = found.id
        result["services"][one.service]["image_id"] = found.id
        result["diff"]["after"][one.service] = found.id
    assert_kept(client, scene.kept, result)
    return result


def _id(image: Any) -> str | None:  # noqa: ANN401 - an Image or None
    return None if image is None else str(image.id)


def _before_pins(scene: Scene) -> dict[str, str]:
    """Return the second names for the images that run now, so that the way back needs no build."""
    run_id, project = scene.request.run_id, scene.request.project
    if not run_id:
        return {}
    names = scene.request.services + scene.request.not_started
    first = {name: scene.running(name)[0] for name in names if scene.running(name)}
    return {before_of(project, name, run_id): one.image_id for name, one in first.items()}


def _tag(client: DockerClient, image: str, name: str) -> None:
    repository, tag = split_reference(name)
    try:
        client.api.tag(image, repository, tag, force=True)
    except API_ERRORS as error:
        raise RollbackError(
            f"The Docker daemon did not give the image {image} the name {name}: {error}. The running services were "
            "not touched.",
            f"Try 'docker tag {image} {name}' on that host.",
        ) from error


def _refuse_pull(scene: Scene) -> None:
    missing = [one for one in scene.decisions.values() if one.action == PULL]
    if missing and scene.request.pull == "never":
        names = ", ".join(f"{one.reference} (service {one.service})" for one in missing)
        raise RollbackError(
            f"Not on this host, and pull=never: {names}. Nothing was changed.",
            "Load it with 'docker load', or set pull: missing where a registry can be reached.",
        )


def _pull(run: compose.Run, scene: Scene) -> None:
    names = [one.service for one in scene.decisions.values() if one.action == PULL and one.leader == one.service]
    if not names:
        return
    rc, _out, err = scene.source.call(
        run, "pull", "--quiet", *names, all_profiles=True, timeout=scene.request.build_timeout
    )
    if rc != 0:
        missing = scene.decisions[names[0]].reference
        references = ", ".join(scene.decisions[name].reference for name in names)
        raise RollbackError(
            f"Pulling {references} failed: {compose.last_lines(err, 3)}. The running services were not touched.",
            f"Check that the image exists and that this host may pull it: 'docker pull {missing}'.",
            output=compose.last_lines(err, scene.request.log_lines),
        )


def build_override(decisions: list[Decision], definitions: dict[str, Any], release: str, commit: str) -> str:
    """Return an override file under which each image is built under its own name, with the release as labels.

    JSON is YAML. Further tags of a build are dropped: nothing that the current checkout uses may point elsewhere.
    """
    lines = ["services:"]
    labels = {REVISION_LABEL: commit} | ({VERSION_LABEL: release_number(release)} if release else {})
    for one in decisions:
        lines += [f"  {json.dumps(one.service)}:", f"    image: {json.dumps(one.pin)}", "    build:"]
        lines += [f"      labels: {json.dumps(labels)}"]
        if definitions[one.service]["build"].get("tags"):
            lines += ["      tags: !reset []"]
    return "\n".join(lines) + "\n"


def _build(client: DockerClient, run: compose.Run, scene: Scene) -> None:
    """Build what must be built, all at once."""
    request = scene.request
    building = [one for one in scene.decisions.values() if one.action == BUILD and one.leader == one.service]
    if not building:
        return
    names = [one.service for one in building]
    text = build_override(building, scene.definitions, request.release, request.commit)
    rc, out, err = _with_override(
        text,
        lambda path: scene.source.call(
            run, "build", *names, override=path, all_profiles=True, timeout=request.build_timeout
        ),
    )
    if rc == 0:
        return
    output = f"{out}\n{err}"
    guilty = [name for name in names if re.search(rf"target {re.escape(name)}:|> \[{re.escape(name)}[ \]]", output)]
    guilty = guilty or [one.service for one in building if find_image(client, one.pin) is None]
    reason = compose.last_lines(output, 3)
    if rc == compose.TIMED_OUT:
        reason = f"not done within build_timeout={request.build_timeout} s"
    raise _build_failed(guilty, reason, {"output": compose.last_lines(output, request.log_lines)})


def _build_failed(services: list[str], reason: str, facts: dict[str, Any]) -> RollbackError:
    return RollbackError(
        f"Building the image of {', '.join(services)} failed: {reason}. The running services were not touched.",
        "The key output holds the last lines. Correct what it names (a package source, disk space, build_timeout), or "
        "load the release's image with 'docker load', then run again.",
        failed_services=services,
        **facts,
    )


def _with_override(text: str, call: Any) -> Any:  # noqa: ANN401 - returns what call returns
    """Call with the path of a private file that exists only meanwhile."""
    with tempfile.NamedTemporaryFile("w", prefix="usdx-rollback-", suffix=".yml") as override:  # mode 0600
        override.write(text)
        override.flush()
        return call(override.name)


# --- started ----------------------------------------------------------------------------------------------------------


def _start(client: DockerClient, run: compose.Run, scene: Scene, check_mode: bool) -> dict[str, Any]:  # noqa: FBT001
    """Start the release's services, group after group, and wait until they run and are healthy."""
    needed = _needed(run, scene, check_mode=check_mode)
    cannot = _cannot_run_twice(client, scene, needed)
    policies = _policies(scene, needed)
    misnamed = _misnamed(client, scene)
    result = _result(scene, changed=bool(needed or policies or misnamed))
    result["recreated"] = [name for name, how in needed.items() if how == "recreate"]
    result["started"] = [name for name, how in needed.items() if how != "recreate"]
    result["not_rolled"] = {name: reason for name, reason in cannot.items() if reason}
    result["rolled"] = [name for name, reason in cannot.items() if not reason]
    if check_mode:
        return result
    missing = [one for one in scene.decisions.values() if one.action != REUSE]
    if missing:
        names = ", ".join(f"{one.reference} for {one.service} ({one.reason})" for one in missing)
        raise RollbackError(
            f"The release's images are not ready: {names}. Nothing was changed.",
            "Run usdx.rollback.compose_start with state: prepared first; started never builds or pulls.",
            **result,
        )
    _point_references(client, scene, misnamed)
    awaited = _up(client, run, scene, needed, result)
    now = containers_of(client, scene.request.project)
    _assert_images(scene, now, result)
    _put_policies_back(client, now, scene)
    assert_kept(client, scene.kept, result)
    return _finish(scene, now, awaited, result, tagged=bool(misnamed))


def _misnamed(client: DockerClient, scene: Scene) -> list[Decision]:
    """Return the decisions whose reference does not name the decided image."""
    decided = [one for one in scene.decisions.values() if one.image_id is not None and "@" not in one.reference]
    here = find_images(client, [one.reference for one in decided])
    return [one for one in decided if _id(here[one.reference]) != one.image_id]


def _point_references(client: DockerClient, scene: Scene, misnamed: list[Decision]) -> None:
    """Let each reference name the decided image. The image that had the name keeps another one."""
    for one in misnamed:
        found = find_image(client, one.reference)
        if one.image_id is None or _id(found) == one.image_id:  # a service with the same reference came before
            continue
        if found is not None:
            run_id = scene.request.run_id or found.id.partition(":")[2][:12]
            name = before_of(scene.request.project, one.service, run_id)
            taken = find_image(client, name)
            if taken is not None and taken.id != found.id:
                name = f"{repository_of(scene.request.project, one.service)}:was-{found.id.partition(':')[2][:12]}"
            _tag(client, found.id, name)
        _tag(client, one.image_id, one.reference)


def _needed(run: compose.Run, scene: Scene, *, check_mode: bool) -> dict[str, str]:
    """Return what must be done for each service that is not yet as wanted: create, recreate or start."""
    needed, same = {}, []
    for name in scene.services:
        found = scene.running(name)
        if not found:
            needed[name] = "create"
        elif any(one.image_id != scene.decisions[name].image_id for one in found):
            needed[name] = "recreate"
        elif not all(_as_wanted(one, name in scene.request.one_shot) for one in found):
            needed[name] = "start"
            same.append(name)
        else:
            same.append(name)
            if len(found) != _scale(scene.definitions[name]):
                needed[name] = "start"
    for name in scene.not_started:
        if any(one.image_id != scene.decisions[name].image_id for one in scene.running(name)):
            needed[name] = "recreate"
        else:
            same.append(name)
    looked_at = [name for name in same if check_mode or name not in needed]
    return needed | dict.fromkeys(_redefined(run, scene, looked_at), "recreate")


def _as_wanted(one: Container, one_shot: bool) -> bool:  # noqa: FBT001
    return one.state == "running" or (one_shot and one.state == "exited" and one.exit_code == 0)


def _scale(definition: dict[str, Any]) -> int:
    replicas = (definition.get("deploy") or {}).get("replicas")
    scale = definition.get("scale", replicas)
    return 1 if scale is None else int(scale)


def _redefined(run: compose.Run, scene: Scene, names: list[str]) -> list[str]:
    """Return the services whose containers were made from another definition."""
    left = {name: {one.labels.get(HASH_LABEL, "") for one in scene.running(name)} for name in names}
    hashes = _hashes(run, scene)
    while left and (known := next(hashes, None)) is not None:
        left = {name: labels for name, labels in left.items() if labels != {known.get(name)}}
    return list(left)


def _hashes(run: compose.Run, scene: Scene) -> Iterator[dict[str, str]]:
    """Give the hashes of the release's definitions, for each of the ways in which a container may have been made."""
    groups = [*scene.request.groups, scene.not_started]
    for shape in ([], groups, [[name] for name in scene.application]):
        text = compose.without_dependencies(scene.definitions, shape)
        if shape and not text:
            return
        yield (
            _with_override(text, lambda path: compose.hashes(run, scene.source, path))
            if text
            else compose.hashes(run, scene.source)
        )


def _cannot_run_twice(client: DockerClient, scene: Scene, needed: dict[str, str]) -> dict[str, str]:
    """Return each service that serves and is to be replaced beside, with why it cannot be; without a reason it can."""
    found = {}
    for name in scene.request.rolling:
        serving = [one for one in scene.running(name) if one.state == "running"]
        wanted = needed.get(name) == "recreate" and name in scene.services and _scale(scene.definitions[name]) > 0
        if wanted and serving:
            found[name] = why_not(name, scene.definitions, volumes_of(client, serving))
    told = [
        f"{name} cannot run twice: {reason}. It is stopped, then started." for name, reason in found.items() if reason
    ]
    scene.warnings.extend(told)
    return found


def _replacement(run: compose.Run, scene: Scene, name: str) -> Replacement:
    """Return what stays of a service and what goes. A run that was cut off has left both."""
    made = scene.running(name)
    same = [one for one in made if one.image_id == scene.decisions[name].image_id and one.state == "running"]
    known = {hashes.get(name) for hashes in _hashes(run, scene)} if same else set()
    fitting = tuple(one for one in same if one.labels.get(HASH_LABEL, "") in known)
    return Replacement(name, _scale(scene.definitions[name]), fitting, tuple(one for one in made if one not in fitting))


def _up(
    client: DockerClient, run: compose.Run, scene: Scene, needed: dict[str, str], result: dict[str, Any]
) -> list[Awaited]:
    """Bring up group after group; return what was waited for."""
    request = scene.request
    deadline = time.monotonic() + request.timeout
    waiter = Waiter(client, request.project, scene.containers, deadline, request.stable_for, request.log_lines)
    awaited: list[Awaited] = []
    _up_group(run, scene, waiter, [name for name in scene.not_started if name in needed], result, how="--no-start")
    roller = Roller(client, run, scene.source, waiter, request.reload, request.settle, request.grace_periods)
    for group in request.groups:
        beside = [name for name in group if name in result["rolled"]]
        if beside:
            roller.replace([_replacement(run, scene, name) for name in beside], result)
        others = [name for name in group if name in needed and name not in beside]
        _up_group(run, scene, waiter, others, result, how="--detach")
        here = [_awaited(scene, name) for name in group if name in scene.services]
        awaited += here
        later = [name for name in scene.services if name not in {one.service for one in awaited}]
        if later:
            waiter.wait([one.early(needs_health(one.service, later, scene.definitions)) for one in here], result)
    waiter.wait(awaited, result)
    return awaited


def _awaited(scene: Scene, name: str) -> Awaited:
    definition = scene.definitions[name]
    return Awaited(name, one_shot=name in scene.request.one_shot, count=_scale(definition))


def _up_group(  # noqa: PLR0913 - all of it is told when it fails
    run: compose.Run, scene: Scene, waiter: Waiter, names: list[str], result: dict[str, Any], *, how: str
) -> None:
    if not names:
        return
    arguments = ["up", how, "--no-build", "--no-deps", "--pull", "never", *names]
    limit = max(1.0, waiter.deadline - time.monotonic())
    rc, _out, err = scene.source.call(run, *arguments, timeout=round(limit, 1))
    if rc != 0:
        reason = compose.last_lines(err, 3)
        if rc == compose.TIMED_OUT:
            reason = f"not done within timeout={scene.request.timeout} s"
        raise waiter.failure(names, f"'docker compose up' for {', '.join(names)} failed: {reason}", result)


def _assert_images(scene: Scene, now: list[Container], result: dict[str, Any]) -> None:
    wrong = [
        one
        for one in now
        if one.service in scene.application and not one.one_off
        if one.image_id != scene.decisions[one.service].image_id
    ]
    if wrong:
        names = ", ".join(f"{one.name} runs {one.image_id}" for one in wrong)
        raise RollbackError(
            f"Not every container runs the release's image: {names}.",
            "Something else deployed meanwhile, or the file names another image. Look at 'docker compose images'.",
            **result,
        )


def restart_policy(definition: dict[str, Any]) -> dict[str, Any]:
    """Return the restart policy that Compose gives to a container of this definition."""
    name, _colon, count = str(definition.get("restart") or "no").partition(":")
    deploy = (definition.get("deploy") or {}).get("restart_policy") or {}
    if deploy.get("condition"):
        name = {"none": "no", "any": "always"}.get(deploy["condition"], deploy["condition"])
        count = str(deploy.get("max_attempts") or "")
    return {"Name": name, "MaximumRetryCount": int(count) if count.isdigit() else 0}


def _policies(scene: Scene, needed: dict[str, str]) -> list[str]:
    """Return the services whose restart policy is not the file's, for example because they were held."""
    return [
        name
        for name in scene.services
        if needed.get(name) != "recreate"
        and any(dict(one.restart_policy) != restart_policy(scene.definitions[name]) for one in scene.running(name))
    ]


def _put_policies_back(client: DockerClient, now: list[Container], scene: Scene) -> None:
    for one in now:
        if one.service not in scene.services or one.one_off:
            continue
        policy: Any = restart_policy(scene.definitions[one.service])
        if dict(one.restart_policy) != policy:
            client.api.update_container(one.id, restart_policy=policy)


def _finish(
    scene: Scene, now: list[Container], awaited: list[Awaited], result: dict[str, Any], *, tagged: bool
) -> dict[str, Any]:
    """Return the result as observed: what is new, what was only started."""
    old = {one.id: one for one in scene.containers}
    services = by_service(one for one in now if not one.one_off)
    recreated, started = [], []
    for name in [*(one.service for one in awaited), *scene.not_started]:
        found = services.get(name, [])
        if any(one.id not in old for one in found) and scene.running(name):
            recreated.append(name)
        elif any(one.id not in old or one.started_at != old[one.id].started_at for one in found):
            started.append(name)
        result["services"][name]["containers"] = [_container_facts(one) for one in found]
        result["diff"]["after"][name] = _seen(found)
    result["recreated"], result["started"] = recreated, started
    result["changed"] = bool(recreated or started or tagged or _policies(scene, {}))
    return result


# --- both -------------------------------------------------------------------------------------------------------------


def _container_facts(one: Container) -> dict[str, Any]:
    return {
        "name": one.name, "id": one.id, "state": one.state, "health": one.health, "image_id": one.image_id,
        "created_at": one.created, "started_at": one.started_at, "exit_code": one.exit_code,
    }  # fmt: skip


def _seen(found: list[Container]) -> str:
    return f"{summary(found)}, {found[0].image_id}" if found else "absent"


def _result(scene: Scene, *, changed: bool) -> dict[str, Any]:
    """Return the result as planned."""
    prepared = scene.request.state == "prepared"
    facts, before, after = {}, {}, {}
    for name, one in scene.decisions.items():
        found = scene.running(name)
        facts[name] = {
            "action": one.action, "reason": one.reason, "image": one.reference, "pin": one.pin,
            "image_id": one.image_id, "before": _before(found), "containers": [_container_facts(c) for c in found],
        }  # fmt: skip
        before[name] = (one.image_id or "no image") if prepared else _seen(found)
        wanted = one.image_id or f"to be {'built' if one.action == BUILD else 'pulled'}"
        after[name] = wanted if prepared else f"{'not started' if name in scene.not_started else 'running'}, {wanted}"
    return {
        "changed": changed,
        "services": facts,
        "images": {name: one.image_id for name, one in scene.decisions.items() if one.image_id},
        "left_as_is": scene.left_as_is,
        "not_in_release": scene.not_in_release,
        "not_started": scene.not_started,
        "recreated": [],
        "started": [],
        "rolled": [],
        "not_rolled": {},
        "config_files": scene.source.files,
        "env_files": scene.source.environment_files,
        "warnings": scene.warnings,
        "diff": {"before": before, "after": after},
    }


def _before(found: list[Container]) -> dict[str, Any]:
    first = found[0] if found else None
    return {
        "image": first.image if first else None,
        "image_id": first.image_id if first else None,
        "state": summary(found),
    }
