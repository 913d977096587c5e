# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When services of a project run and are healthy, and the story of those that do not become so."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .project import API_ERRORS, Container, by_service, containers_of, summary
from .waiter import wait_for

if TYPE_CHECKING:
    from docker.client import DockerClient

POLL = 0.1
CRASHES = 3
READY, WAITING = "ready", "waiting"


@dataclass(frozen=True)
class Awaited:
    """A service and what it is waited for. ``settled`` also asks for health, or for some quiet time without it.

    ``apart_from`` are the ids of containers that do not count.
    """

    service: str
    one_shot: bool = False
    count: int = 1
    settled: bool = True
    apart_from: frozenset[str] = frozenset()

    def early(self, settled: bool) -> Awaited:  # noqa: FBT001
        """Return what is waited for before the next group starts."""
        return replace(self, settled=settled)


def needs_health(service: str, later: list[str], definitions: dict[str, Any]) -> bool:
    """Tell whether a later service depends on the service being healthy or done, not only started."""
    conditions = {((definitions[name].get("depends_on") or {}).get(service) or {}).get("condition") for name in later}
    return bool(conditions & {"service_healthy", "service_completed_successfully"})


def verdict(one: Container, awaited: Awaited, quiet: float, stable_for: float) -> str:  # noqa: PLR0911
    """Return ``ready``, ``waiting`` or the reason why it cannot become ready. ``quiet``: seconds without restart."""
    if one.restarts >= CRASHES and quiet < float("inf"):
        return f"restarted {one.restarts} times (exit code {one.exit_code})"
    if awaited.one_shot and one.state == "exited":
        return READY if one.exit_code == 0 else f"exited with code {one.exit_code}"
    if one.state in ("exited", "dead"):
        policy = one.restart_policy["Name"]
        return f"exited with code {one.exit_code}" if policy in ("no", "on-failure") else WAITING
    if one.state != "running":
        return WAITING
    if not awaited.settled:
        return READY
    if awaited.one_shot:
        return WAITING
    if one.health is not None:
        return READY if one.health == "healthy" else WAITING
    return READY if quiet >= stable_for else WAITING


def _failed(verdicts: dict[str, str]) -> dict[str, str]:
    """Return the services that cannot become ready any more, each with the reason."""
    return {name: one for name, one in verdicts.items() if one not in (READY, WAITING)}


@dataclass
class Waiter:
    """Looks again and again, until all is ready, something failed, or the deadline is over."""

    client: DockerClient
    project: str
    before: list[Container]
    deadline: float
    stable_for: float
    log_lines: int
    seen: dict[tuple[str, str], float] = field(default_factory=dict)

    def wait(self, awaited: list[Awaited], result: dict[str, Any]) -> None:
        """Return when all is ready; raise ``RollbackError`` with states, health and logs otherwise."""
        limit = max(0.0, self.deadline - time.monotonic())
        ready, (services, verdicts), _seconds = wait_for(
            lambda: self._look(awaited), limit, POLL, hopeless=lambda seen: bool(_failed(seen[1]))
        )
        if ready:
            return
        failed = _failed(verdicts)
        unready = failed or {name: "" for name, one in verdicts.items() if one != READY}
        told = "; ".join(self._told(name, why, services.get(name, [])) for name, why in unready.items())
        late_words = "" if failed else "Not running and healthy before the deadline: "
        raise self.failure(list(unready), late_words + told, result)

    def _look(self, awaited: list[Awaited]) -> tuple[bool, tuple[dict[str, list[Container]], dict[str, str]]]:
        """Return whether all is ready, and what was seen: the containers by service, and a verdict for each service."""
        services = by_service(one for one in containers_of(self.client, self.project) if not one.one_off)
        verdicts = {one.service: self._verdict(one, services.get(one.service, [])) for one in awaited}
        return all(one == READY for one in verdicts.values()), (services, verdicts)

    def _verdict(self, awaited: Awaited, there: list[Container]) -> str:
        found = [one for one in there if one.id not in awaited.apart_from]
        if len(found) < awaited.count:
            return WAITING
        verdicts = [verdict(one, awaited, self._quiet(one), self.stable_for) for one in found]
        return next((one for one in verdicts if one not in (READY, WAITING)), max(verdicts))

    def _quiet(self, one: Container) -> float:
        """Return for how long the container has been seen running; one that ran before this call is old enough."""
        if any(old.id == one.id and old.started_at == one.started_at and old.state == "running" for old in self.before):
            return float("inf")
        now = time.monotonic()
        return now - self.seen.setdefault((one.id, one.started_at), now)

    def _told(self, name: str, why: str, found: list[Container]) -> str:
        health = next((f", {one.health}" for one in found if one.health), "")
        return f"{name} {why}".rstrip() + f" (state: {summary(found)}{health})"

    def failure(self, names: list[str], reason: str, result: dict[str, Any]) -> RollbackError:
        """Return the error that tells what failed, with its last words, and what runs now."""
        services = by_service(one for one in containers_of(self.client, self.project) if not one.one_off)
        return RollbackError(
            f"{reason}. The keep services run on; no image was removed.",
            "Read the key unready: it holds health log and last lines of each. Then correct it and run again, or start "
            "the release that ran before.",
            unready={name: [self._story(one) for one in services.get(name, [])] for name in names},
            states={name: summary(found) for name, found in services.items()},
            **result,
        )

    def _story(self, one: Container) -> dict[str, Any]:
        """Return the last words of one container."""
        story: dict[str, Any] = {
            "name": one.name, "state": one.state, "health": one.health, "exit_code": one.exit_code,
            "restarts": one.restarts, "health_log": [], "logs": [],
        }  # fmt: skip
        try:
            logs = self.client.api.logs(one.id, tail=self.log_lines, timestamps=True)
            health = self.client.api.inspect_container(one.id)["State"].get("Health") or {}
        except API_ERRORS as error:
            return story | {"logs": [f"the daemon did not return them: {error}"]}
        story["logs"] = logs.decode("utf-8", "replace").splitlines()
        story["health_log"] = [str(entry.get("Output", "")).strip()[-500:] for entry in (health.get("Log") or [])[-3:]]
        return story
