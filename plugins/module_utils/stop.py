# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop the application services of a Compose project, group after group, and nothing else.

Containers are addressed by their labels, never by a Compose file: after a checkout the file may name other things.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .docker_client import WORKING_DIRECTORY_LABEL, connect
from .errors import RollbackError
from .exclusive import exclusive
from .project import (
    ABSENT,
    API_ERRORS,
    Container,
    assert_kept,
    by_service,
    check_service_lists,
    containers_of,
    in_parallel,
    inspect,
    is_gone,
    kept_containers,
    kept_facts,
    require_project,
    summary,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docker.client import DockerClient

# https://docs.docker.com/reference/cli/docker/container/stop/ : the daemon's own default
DEFAULT_GRACE_PERIOD = 10
KILLED_EXIT_CODE = 137
NEVER: Any = {"Name": "no", "MaximumRetryCount": 0}


@dataclass(frozen=True)
class StopRequest:
    """What the options of the module ask for."""

    project: str
    groups: list[list[str]]
    keep: list[str] = field(default_factory=list)
    grace_periods: dict[str, int] = field(default_factory=dict)
    on_kill: str = "warn"
    hold: bool = False
    not_stopped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Action:
    """What is to be done with one container."""

    container: Container
    stop: bool
    unpause: bool
    hold: bool
    grace_period: int


@dataclass
class Stopped:
    """What became of one container."""

    action: Action
    after: Container | None = None
    seconds: float = 0.0
    killed: bool = False
    held: bool = False
    error: str | None = None


def check_request(request: StopRequest) -> StopRequest:
    """Return the request in its normal form; refuse values that cannot be meant."""
    groups = check_service_lists(
        request.groups, request.keep, grace_periods=request.grace_periods, not_stopped=request.not_stopped
    )
    return replace(request, groups=groups, grace_periods=check_grace_periods(request.grace_periods))


def check_grace_periods(given: Mapping[str, Any]) -> dict[str, int]:
    """Return the seconds of each service as numbers; refuse what is none."""
    for service, seconds in given.items():
        if isinstance(seconds, bool) or not str(seconds).isdigit():
            raise RollbackError(
                f"The grace period of {service} is {seconds!r}. Nothing was changed.",
                f"Accepted: whole seconds, 0 or more, for example grace_periods: {{{service}: 30}}.",
            )
    return {service: int(seconds) for service, seconds in given.items()}


def plan(containers: Iterable[Container], request: StopRequest) -> list[list[Action]]:
    """Return what is to be done in each group. A one-off container of a service counts: it writes, too."""
    services = by_service(containers)
    return [[_action(one, request) for name in group for one in services.get(name, [])] for group in request.groups]


def _action(container: Container, request: StopRequest) -> Action:
    default = DEFAULT_GRACE_PERIOD if container.stop_timeout is None else container.stop_timeout
    stops = container.service not in request.not_stopped
    return Action(
        container=container,
        stop=stops and container.alive,
        unpause=stops and container.state == "paused",
        hold=stops and request.hold and container.restart_policy["Name"] != "no",
        grace_period=request.grace_periods.get(container.service, default),
    )


def stop_containers(
    client: DockerClient, containers: Iterable[Container], grace_periods: dict[str, int]
) -> list[Stopped]:
    """Stop containers at once, each with its grace period; an error of the daemon is in what is returned."""
    request = StopRequest("", [], grace_periods=grace_periods)
    return in_parallel(_Worker(client), [_action(one, request) for one in containers])


def was_killed(exit_code: int, seconds: float, grace_period: int, *, out_of_memory: bool) -> bool:
    """Tell whether the daemon sent SIGKILL because the grace period was used up."""
    return exit_code == KILLED_EXIT_CODE and not out_of_memory and seconds >= grace_period


def stop_as_asked(options: dict[str, Any], *, check: bool) -> dict[str, Any]:
    """Stop services as the options of the module say it."""
    request = {name: value for name, value in options.items() if name != "docker_host"}
    return stop_services(connect(options["docker_host"]), StopRequest(**request), check_mode=check)


def stop_services(client: DockerClient, request: StopRequest, *, check_mode: bool = False) -> dict[str, Any]:
    """Stop the services; return the result of the module.

    In check mode the result is computed from the snapshot alone, by the same code.
    """
    request = check_request(request)
    begin = time.monotonic()
    containers = require_project(client, request.project)
    if check_mode:
        return _stop(client, request, containers, begin, check_mode=True)
    with exclusive({one.labels.get(WORKING_DIRECTORY_LABEL, "") for one in containers}) as waited:
        now = require_project(client, request.project) if waited else containers
        return _stop(client, request, now, begin, check_mode=False)


def _stop(
    client: DockerClient, request: StopRequest, containers: list[Container], begin: float, *, check_mode: bool
) -> dict[str, Any]:
    """Stop what the containers show, and look at it."""
    kept = kept_containers(containers, request.keep)
    planned = plan(containers, request)
    done: list[Stopped] = []
    for actions in planned:
        work = _foresee if check_mode else _Worker(client)
        done += in_parallel(work, actions)
        if any(one.error for one in done):
            break
    result = _result(request, containers, done, kept, time.monotonic() - begin)
    if check_mode:
        return result
    _fail_on_errors(done, result)
    _fail_on_return(containers_of(client, request.project), request, result)
    assert_kept(client, kept, result)
    return judge_kills(request, result)


def _foresee(action: Action) -> Stopped:
    """Return what the action would do, for check mode."""
    return Stopped(action, after=action.container, held=action.hold)


class _Worker:
    """Carries out one action on the daemon."""

    def __init__(self, client: DockerClient) -> None:
        self.client = client

    def __call__(self, action: Action) -> Stopped:
        """Hold, unpause and stop one container; an error of the daemon is kept for the end of the group."""
        outcome, begin = Stopped(action), time.monotonic()
        try:
            self._act(action, outcome)
        except API_ERRORS as error:
            # a container of 'docker compose run --rm' removes itself: it is stopped
            if not is_gone(error):
                outcome.error = str(error)
                outcome.after = action.container
        outcome.seconds = round(time.monotonic() - begin, 2)
        return outcome

    def _act(self, action: Action, outcome: Stopped) -> None:
        container = action.container
        if action.hold:
            self.client.api.update_container(container.id, restart_policy=NEVER)
            outcome.held = True
        if action.unpause:
            self.client.api.unpause(container.id)
        begin = time.monotonic()
        if action.stop:
            self.client.api.stop(container.id, timeout=action.grace_period)
        outcome.after = inspect(self.client, container.id)
        after = outcome.after
        if action.stop and after is not None:
            spent = time.monotonic() - begin
            outcome.killed = was_killed(after.exit_code, spent, action.grace_period, out_of_memory=after.out_of_memory)


def _result(
    request: StopRequest, before: list[Container], done: list[Stopped], kept: list[Container], seconds: float
) -> dict[str, Any]:
    """Return the result of the module."""
    names = [name for group in request.groups for name in group]
    services = by_service(before)
    outcomes: dict[str, list[Stopped]] = {name: [] for name in names}
    for one in done:
        outcomes[one.action.container.service].append(one)
    states = {name: _service_facts(services.get(name, []), outcomes[name]) for name in names}
    absent = [name for name in names if name not in services]
    return {
        "changed": any(one.held or (one.action.stop and one.error is None) for one in done),
        "services": states,
        "order": _stopping(request),
        "not_stopped": [name for name in names if name in request.not_stopped],
        "killed": [one.action.container.name for one in done if one.killed],
        "absent": absent,
        "keep": kept_facts(kept),
        "held": {one.action.container.name: dict(one.action.container.restart_policy) for one in done if one.held},
        "seconds": round(seconds, 2),
        "warnings": [_absent_warning(name, request.project, services) for name in absent],
        "diff": {
            "before": {name: facts["before"] for name, facts in states.items()},
            "after": {name: facts["after"] for name, facts in states.items()},
        },
    }


def _stopping(request: StopRequest) -> list[list[str]]:
    """Return the groups without the services that go on running."""
    groups = ([name for name in group if name not in request.not_stopped] for group in request.groups)
    return [group for group in groups if group]


def _absent_warning(name: str, project: str, services: Iterable[str]) -> str:
    known = ", ".join(sorted(services))
    return f"The service {name} has no container in the project {project}: taken as stopped. Services there: {known}."


def _service_facts(before: list[Container], outcomes: list[Stopped]) -> dict[str, Any]:
    """Return the facts of one service. A container that was not reached is as it was."""
    after = {one.action.container.id: _state_after(one) for one in outcomes}
    alive = [one for one in before if after.get(one.id, one.state) in ("running", "restarting", "paused")]
    states = {after.get(one.id, one.state) for one in before} - {ABSENT}
    return {
        "before": summary(before),
        "after": summary(alive) if alive else next(iter(sorted(states, reverse=True)), ABSENT),
        "containers": [_container_facts(one) for one in outcomes],
    }


def _state_after(one: Stopped) -> str:
    """Return the state after the work; in check mode ``after`` is the snapshot, and a stop ends in ``exited``."""
    if one.after is None:
        return ABSENT
    if one.action.stop and one.error is None and one.after is one.action.container:
        return "exited"
    return one.after.state


def _container_facts(one: Stopped) -> dict[str, Any]:
    container, after = one.action.container, one.after
    facts: dict[str, Any] = {
        "name": container.name,
        "id": container.id,
        "before": container.state,
        "after": _state_after(one),
        "exit_code": None if after is None or after is container else after.exit_code,
        "killed": one.killed,
        "seconds": one.seconds,
        "one_off": container.one_off,
    }
    return facts | ({"error": one.error} if one.error else {})


def _fail_on_errors(done: list[Stopped], result: dict[str, Any]) -> None:
    failed = [one for one in done if one.error]
    if failed:
        what = "; ".join(f"{one.action.container.name}: {one.error}" for one in failed)
        names = " ".join(one.action.container.name for one in failed)
        raise RollbackError(
            f"The Docker daemon did not stop {what}. The rest of its group was stopped, later groups were not "
            "touched, and the keep services run on.",
            f"Try 'docker stop {names}' on that host, look at the daemon's log, then run again: what is stopped "
            "already is left alone.",
            **result,
        )


def _fail_on_return(now: list[Container], request: StopRequest, result: dict[str, Any]) -> None:
    """Fail when a container of a stopped service runs: something else started it meanwhile."""
    names = {name for group in _stopping(request) for name in group}
    running = [one for one in now if one.service in names and one.alive]
    if running:
        listed = ", ".join(f"{one.name} ({one.state})" for one in running)
        raise RollbackError(
            f"After everything was stopped, this runs again: {listed}. Something else started it.",
            "End what starts it (a timer, a deployment, an operator), then run again.",
            **result,
        )


def judge_kills(request: StopRequest, result: dict[str, Any]) -> dict[str, Any]:
    """Treat containers that had to be killed as ``on_kill`` says."""
    if not result["killed"] or request.on_kill == "ignore":
        return result
    text = (
        f"SIGKILL ended {', '.join(result['killed'])}: not stopped within the grace period, so work in progress may "
        "be lost."
    )
    if request.on_kill == "fail":
        raise RollbackError(
            f"{text} All services are stopped; the keep services run on.",
            "Check what they wrote last, then run again: a stopped service is left alone. Give it longer with "
            "grace_periods next time.",
            **result,
        )
    result["warnings"].append(text)
    return result
