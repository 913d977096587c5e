# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at everything that an application depends on, at once, and find the root cause. Nothing is changed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import RollbackError
from ..http_probe import Background, NoAnswerError, checked_url
from ..postgres.connection import Login
from ..waiter import checked_seconds
from . import host, network, postgres, redis, rpc
from .causes import ENDPOINTS, Needed, Surroundings
from .containers import EVERY, Roles, deployed_at
from .docker_view import container_probes, view
from .places import ON_HOST, Place, ask, network_of
from .probe import HOST, Probe, failed, passed, unknown
from .settings import DEPENDENCY_LIMITS, Dependency, checked_dependencies, host_and_port, host_limits, refused
from .verdict import Release, counts, verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .docker_view import DockerView
    from .network import Answer

_SQL_SECONDS = 10.0
_DOCKER_SECONDS = 15.0
_CLOCK = "clock"
_PROBE_LIMIT = 1000


@dataclass(frozen=True)
class Asked:
    """One dependency asked from one place: what was asked, and what came back."""

    one: Dependency
    place: Place
    questions: Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """The options, checked."""

    project: str
    dependencies: tuple[Dependency, ...]
    endpoints: tuple[Dependency, ...]
    roles: Roles
    paths: Mapping[str, tuple[str, ...]]
    limits: Mapping[str, float]
    time_url: str
    docker_host: str | None
    release: Release
    recent_seconds: float


def settings_of(options: dict[str, Any]) -> Settings:
    """Return the options of the module, checked; refuse what cannot be looked at."""
    if not options["project"].strip():
        raise refused("project", options["project"], "the name of the Compose project")
    if options.get("time_url"):
        checked_url(options["time_url"], "time_url")
    roles = Roles(
        *(tuple(options[f"{name}_services"] or ()) for name in ("application", "keep", "one_shot")),
    )
    return Settings(
        project=options["project"],
        dependencies=tuple(checked_dependencies(options["dependencies"] or [])),
        endpoints=tuple(_endpoint(one) for one in options["endpoints"] or []),
        roles=roles,
        paths=dict.fromkeys(options["paths"] or [], ()),
        limits=host_limits(options["limits"]),
        time_url=options.get("time_url") or "",
        docker_host=options.get("docker_host"),
        release=Release(
            options.get("release_changed_recently"), options.get("began_with_release"),
            options.get("previous_release") or "",
        ),
        recent_seconds=3600 * checked_seconds(options["release_recent_hours"], "release_recent_hours"),
    )  # fmt: skip


def _endpoint(given: dict[str, Any]) -> Dependency:
    """Return an endpoint of the application as something that is asked like a dependency of the kind ``http``."""
    url = checked_url(str(given.get("url") or ""), "endpoints.url")
    address, port = host_and_port(url, 80)
    limits = dict(DEPENDENCY_LIMITS)
    limits["max_latency"] = float(given.get("max_latency") or limits["max_latency"])
    return Dependency(
        name=ENDPOINTS, kind="http", url=url, host=address, port=port, status=tuple(given.get("status") or ()),
        contains=given.get("contains") or "", headers={k: str(v) for k, v in (given.get("headers") or {}).items()},
        timeout=float(given.get("timeout") or 5), validate_certs=given.get("validate_certs") is not False,
        limits=limits, label=f"{address}:{port}{urlsplit(url).path}",
    )  # fmt: skip


def diagnose(options: dict[str, Any]) -> dict[str, Any]:
    """Return the probes and what they mean. Fails for options only: what cannot be looked at is ``inconclusive``."""
    settings = settings_of(options)
    began = time.monotonic()
    seen = view(settings.docker_host, settings.project, _DOCKER_SECONDS)
    probes = _probes(settings, seen)
    facts = [one.facts() for one in probes]
    known = _surroundings(settings, seen)
    deployed = deployed_at(seen.looks, settings.roles.application)
    told = verdict(facts, known, _release(settings, deployed), settings.project)
    return {
        "changed": False,
        "project": settings.project,
        **told,
        "probes": facts[:_PROBE_LIMIT],
        "counts": counts(facts),
        "deployed_at": deployed.strftime("%Y-%m-%dT%H:%M:%SZ") if deployed else "",
        "places": sorted({one["from"] for one in facts}),
        "seconds": round(time.monotonic() - began, 1),
    }


def _release(settings: Settings, deployed: datetime | None) -> Release:
    """Return what is known about the release; how old the containers are tells when it was deployed, if nobody did."""
    if settings.release.changed_recently is not None or deployed is None:
        return settings.release
    recent = (_now() - deployed).total_seconds() < settings.recent_seconds
    return replace(settings.release, changed_recently=recent)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _surroundings(settings: Settings, seen: DockerView) -> Surroundings:
    needs = seen.depends_on()
    needed = tuple(
        Needed(one.name, one.kind, one.host, one.service, _users(one, needs), one.env_key, bool(one.backup_url))
        for one in settings.dependencies
        if not one.backup_of
    )
    return Surroundings(needed, settings.roles.application, settings.roles.keep, needs)


def _users(one: Dependency, needs: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the services that use a dependency: those that are named, else those whose Compose file says so."""
    if one.used_by or not one.service:
        return one.used_by
    return tuple(sorted(service for service, others in needs.items() if one.service in others))


# --- asking -----------------------------------------------------------------------------------------------------------


def _probes(settings: Settings, seen: DockerView) -> list[Probe]:
    """Look at everything at once."""
    asked, missing = _to_ask(settings, seen)
    by_place: dict[str, list[Asked]] = {}
    for one in asked:
        by_place.setdefault(one.place.name, []).append(one)
    with ThreadPoolExecutor(max_workers=16) as pool:
        of_host = pool.submit(_host_probes, settings, seen)
        synchronised = pool.submit(host.clock_is_synchronised)
        waiting = [pool.submit(_answers, group) for group in by_place.values()]
        answers = [pair for one in waiting for pair in one.result()]
        of_servers = list(pool.map(lambda pair: _sql(*pair), answers))
        probes = [seen.probe, *container_probes(seen, settings.roles, settings.limits, _now()), *of_host.result()]
        probes += missing
        for pair, more in zip(answers, of_servers):
            probes += [*_judged(*pair), *more]
        probes.append(host.judge_clock(_offsets(answers), synchronised.result(), settings.limits))
    return probes


def _answers(group: list[Asked]) -> list[tuple[Asked, dict[str, Answer]]]:
    """Ask everything that is asked from one place, at once."""
    flat = [question for one in group for question in one.questions.values()]
    answers = iter(ask(group[0].place, flat))
    return [(one, {purpose: next(answers) for purpose in one.questions}) for one in group]


def _to_ask(settings: Settings, seen: DockerView) -> tuple[list[Asked], list[Probe]]:
    """Return what is asked from where, and a probe for each that cannot be asked."""
    asked = [Asked(one, ON_HOST, {"answers": network.web_question(one, one.url)}) for one in settings.endpoints]
    if settings.time_url:
        asked.append(_clock_question(settings.time_url))
    missing: list[Probe] = []
    places: dict[str, Place] = {}
    for one in settings.dependencies:
        questions, why = _from_host(one, seen)
        if why:
            missing.append(why)
        else:
            asked.append(Asked(one, ON_HOST, questions))
        for service in _users(one, seen.depends_on()):
            place = places.setdefault(service, _place(service, seen))
            if place.why:
                missing.append(unknown(one.name, "answers", f"not asked from {service}: {place.why}", place=service))
            else:
                asked.append(Asked(one, place, _questions(one, reference=False)))
    return asked, missing


def _place(service: str, seen: DockerView) -> Place:
    if not seen.answers:
        return Place(service, why="the containers are not known")
    box = seen.running(service)
    if box is None:
        return Place(service, why="its container does not run")
    return network_of(service, box.container.id, box.pid)


def _from_host(one: Dependency, seen: DockerView) -> tuple[dict[str, dict[str, Any]], Probe | None]:
    """Return what is asked from the host; of a service of the project at the address of its container."""
    questions = _questions(one, reference=True)
    if not one.service:
        return questions, None
    if not seen.answers:
        return {}, unknown(one.name, "answers", "where its container is, is not known")
    box = seen.running(one.service)
    if box is None:
        paused = any(look.container.state == "paused" for look in seen.of(one.service))
        fault = "paused" if paused else "stopped" if seen.of(one.service) else "absent"
        state = {"paused": "is paused", "stopped": "does not run", "absent": "is not there"}[fault]
        return {}, failed(one.name, "answers", fault, f"its container {state}", limit="it answers")
    if not box.addresses:
        return {}, failed(one.name, "answers", "unreachable", "its container is in no network", limit="it answers")
    return {name: {**question, "at_address": box.addresses[0]} for name, question in questions.items()}, None


def _questions(one: Dependency, *, reference: bool) -> dict[str, dict[str, Any]]:
    """Return what is asked of a dependency, by purpose."""
    if one.kind == "rpc":
        return rpc.questions(one, reference=reference)
    if one.kind == "redis":
        return redis.questions(one)
    if one.kind == "postgres":
        return postgres.questions(one)
    if one.kind == "http":
        return {"answers": network.web_question(one, one.url)}
    return {"answers": network.question(one, one.kind)}


def _clock_question(url: str) -> Asked:
    address, port = host_and_port(url, 80)
    one = Dependency(name=_CLOCK, kind="http", url=url, host=address, port=port, limits=DEPENDENCY_LIMITS)
    return Asked(one, ON_HOST, {"answers": {**network.web_question(one, url), "method": "HEAD"}})


# --- judging ----------------------------------------------------------------------------------------------------------


_JUDGES: dict[str, Callable[[Dependency, dict[str, Answer], str, datetime], list[Probe]]] = {
    "rpc": rpc.judge,
    "redis": redis.judge,
    "postgres": lambda one, answers, place, _now: postgres.judge_protocol(one, answers, place),
    "http": network.judge_web,
    "tcp": network.judge_plain,
    "dns": network.judge_plain,
    "tls": network.judge_plain,
}


def _judged(asked: Asked, answers: dict[str, Answer]) -> list[Probe]:
    """Judge the answers of one dependency from one place."""
    one, place = asked.one, asked.place.name
    if one.name == _CLOCK:
        return []
    lost = next((answer for answer in answers.values() if answer["fault"] == "place"), None)
    if lost:
        return [unknown(one.name, "answers", f"not asked from {place}: {lost['why']}", place=place)]
    probes = _JUDGES[one.kind](one, answers, place, _now())
    return [_of_endpoint(probe) for probe in probes] if one.name == ENDPOINTS else probes


def _of_endpoint(probe: Probe) -> Probe:
    return replace(probe, kind="endpoint", limit=probe.limit.replace("it answers", "it answers users"))


def _sql(asked: Asked, answers: dict[str, Answer]) -> list[Probe]:
    """Ask a Postgres server by SQL, from the host, when it takes connections."""
    one = asked.one
    if one.kind != "postgres" or asked.place.name != HOST or one.backup_of:
        return []
    answer = answers["answers"]
    if not (answer.get("accepts") or answer.get("sqlstate", "").startswith("28")):
        return []
    if not one.username:
        return [unknown(one.name, "login", "no login_user is given, so locks and connections were not looked at")]
    mode = {} if one.validate_certs else {"sslmode": "prefer"}
    login = Login(
        host=answer["address"], port=one.port, user=one.username, password=one.password,
        maintenance_database=one.database or "postgres", ssl=mode, parameters=postgres.session_parameters(),
    )  # fmt: skip
    try:
        return Background(lambda: _rows(one, login), _SQL_SECONDS).result()
    except NoAnswerError as error:
        return [unknown(one.name, "login", f"the server did not tell: {error}")]


def _rows(one: Dependency, login: Login) -> list[Probe]:
    try:
        rows = postgres.read(login, one.database or "postgres")
    except RollbackError as error:
        if not one.password:
            return [unknown(one.name, "login", f"no password is given: {error.msg}")]
        return postgres.refusal(one, error)
    return [passed(one.name, "login", f"{one.username} logs in"), *postgres.judge_rows(one, rows)]


def _host_probes(settings: Settings, seen: DockerView) -> list[Probe]:
    """Judge disks and kernel. All services need the disk of the system and that of Docker."""
    places = {"/": (EVERY,), **({seen.root: (EVERY,)} if seen.root else {}), **settings.paths}
    found = host.disks(places, seen.looks)
    probes = [probe for disk in found for probe in host.judge_disk(disk, settings.limits)]
    return probes + host.judge_kernel(settings.limits)


def _offsets(answers: list[tuple[Asked, dict[str, Answer]]]) -> dict[str, float]:
    """Return how far this clock is ahead of those of others, by name; servers on this host have the same clock."""
    found: dict[str, float] = {}
    for asked, told in answers:
        one = asked.one
        outside = Needed(one.name, host=one.host, service=one.service).is_outside and one.name != ENDPOINTS
        if asked.place.name != HOST or not (outside or one.name == _CLOCK):
            continue
        for answer in told.values():
            if answer.get("date") and not answer["address"].startswith("127."):
                at = datetime.fromtimestamp(answer["date_at"], timezone.utc)
                difference = host.offset(answer["date"], at, answer["seconds"])
                if difference is not None:
                    found[one.name] = difference
    return found
