# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Will a rollback help? A pure function of what was seen, and of what is known about the release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import actions
from .causes import AHEAD, ENDPOINTS, Surroundings, Trouble, roots, troubles
from .probe import FAILED, HOST, INCONCLUSIVE, PASSED
from .settings import BACKUP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .causes import Facts

HELPS, HELPS_NOT, UNCLEAR = "rollback will help", "rollback will not help", "cannot tell"
_EVIDENCE_LIMIT = 12
# Faults outside the application that a bad release can bring about.
_OF_A_RELEASE = frozenset({"connections", "locks", "transaction", "oom", "maxmemory", "chain", "memory", "full"})


@dataclass(frozen=True)
class Release:
    """What is known about the release. ``None`` is unknown.

    ``changed_recently`` says that it was deployed not long ago, ``began_with_it`` that the errors began then;
    ``previous`` is the release to go back to.
    """

    changed_recently: bool | None = None
    began_with_it: bool | None = None
    previous: str = ""


def verdict(probes: Iterable[Facts], known: Surroundings, release: Release, project: str) -> dict[str, Any]:
    """Return ``verdict``, ``cause``, ``causes``, ``evidence``, ``unknown`` and ``action``."""
    everything = list(probes)
    found = troubles(everything, known)
    causes = [one for one in roots(found, known) if not _is_idle_pressure(one)] if found else []
    causes = _without_what_is_ahead(causes, release)
    unknown = _unknown(everything)
    told, action = _judged(causes, everything, known, release, project)
    cause = _cause(causes[0], known) if causes else None
    return {
        "verdict": told,
        "cause": cause,
        "causes": [_cause(one, known) for one in causes],
        "evidence": _evidence(causes, everything, known, release),
        "unknown": unknown,
        "action": action,
    }


def _is_idle_pressure(one: Trouble) -> bool:
    """Tell whether a host is busy and nothing suffers from it: then it only does its work."""
    return one.fault == "pressure" and one.is_soft and not one.explains


def _without_what_is_ahead(causes: list[Trouble], release: Release) -> list[Trouble]:
    """Leave out what will do harm later when errors of now are known to come from the release."""
    return [one for one in causes if not (release.began_with_it and one.faults <= AHEAD)]


def _judged(
    causes: list[Trouble], probes: list[Facts], known: Surroundings, release: Release, project: str
) -> tuple[str, dict[str, Any]]:
    if not causes:
        return _nothing_found(probes, known, release)
    cause = causes[0]
    if not _is_of_application(cause, known):
        action = actions.for_cause(cause, probes, known, project)
        if release.began_with_it and cause.faults & _OF_A_RELEASE:
            return UNCLEAR, action
        return HELPS_NOT, action
    if cause.fault in ("stopped", "paused", "absent", "created"):
        return HELPS_NOT, actions.for_cause(cause, probes, known, project)
    return _of_application(cause, probes, known, release, project)


def _is_of_application(one: Trouble, known: Surroundings) -> bool:
    """Tell whether code of the release fails, not what it runs on."""
    return one.layer == "endpoints" or (one.layer == "service" and one.component in known.application)


def _of_application(
    cause: Trouble, probes: list[Facts], known: Surroundings, release: Release, project: str
) -> tuple[str, dict[str, Any]]:
    back = actions.roll_back(release.previous, f"{cause.component}: {cause.fault}")
    look = _look(cause, known, project)
    if release.began_with_it:
        return HELPS, back
    if release.began_with_it is False:
        return HELPS_NOT, look
    # An older release may need as much memory; whether this one needs more is not known.
    if release.changed_recently and cause.fault != "oom" and not _unseen(probes, known):
        return HELPS, back
    return UNCLEAR, {**look, "text": f"{look['text']} If the errors began with the release: {back['command']}"}


def _look(cause: Trouble, known: Surroundings, project: str) -> dict[str, Any]:
    """Return what to do about the application itself when its release may not be at fault."""
    if cause.layer == "endpoints":
        services = " ".join(known.application)
        command = f"docker compose --project-name {project} logs --tail 100 {services}".strip()
        return actions.action("look", "All that it needs was found well. Look at the logs of the application.", command)
    service = known.service_of(cause.component)
    command = f"docker compose --project-name {project} logs --tail 100 {service}"
    if cause.fault == "oom":
        return {**actions.for_cause(cause, [], known, project), "command": command}
    return actions.action("look", f"Look at the log of {service}; all that it needs was found well.", command,
                          service=service)  # fmt: skip


def _nothing_found(probes: list[Facts], known: Surroundings, release: Release) -> tuple[str, dict[str, Any]]:
    if release.began_with_it and not _unseen(probes, known):
        return HELPS, actions.roll_back(release.previous, "errors since the release")
    if not any(one["verdict"] == PASSED for one in probes):
        return UNCLEAR, actions.action("look", "Nothing could be looked at. See what is unknown.")
    return UNCLEAR, actions.action("none", "Nothing that was looked at fails.")


def _unseen(probes: list[Facts], known: Surroundings) -> list[str]:
    """Return the dependencies of which nothing is known."""
    seen = {one["component"] for one in probes if one["verdict"] in (PASSED, FAILED)}
    return [one.name for one in known.needed if one.name not in seen]


def _unknown(probes: list[Facts]) -> list[str]:
    """Return what could not be found out, a line each."""
    return [f"{_where(one)}: {one['seen']}" for one in probes if one["verdict"] == INCONCLUSIVE]


def _where(probe: Facts) -> str:
    place = "" if probe["from"] == HOST else f" from {probe['from']}"
    return f"{probe['name']}{place}"


def _cause(one: Trouble, known: Surroundings) -> dict[str, Any]:
    """Return a cause for a result: what it is, the word for it, and a sentence."""
    return {
        "component": one.component,
        "fault": one.fault,
        "service": known.service_of(one.component),
        "summary": f"{one.component}: {one.probes[0]['seen']}",
        "explains": sorted(set(one.explains)),
    }


def _evidence(causes: list[Trouble], probes: list[Facts], known: Surroundings, release: Release) -> list[str]:
    """Return the lines that show it: of each cause what failed, what follows from it, what is well."""
    lines: list[str] = []
    for cause in causes:
        lines += [f"{_where(one)}: {one['seen']} (good: {one['limit'] or 'otherwise'})" for one in cause.probes]
        if cause.explains:
            lines.append(f"{cause.component} explains: {', '.join(sorted(set(cause.explains)))}")
    lines = list(dict.fromkeys(lines))
    if len(lines) > _EVIDENCE_LIMIT:
        lines = [*lines[:_EVIDENCE_LIMIT], f"and {len(lines) - _EVIDENCE_LIMIT} more"]
    well = sorted(_well(probes, known))
    lines.append(f"Nothing wrong with: {', '.join(well)}" if well else "Nothing was found well")
    if release.began_with_it is not None:
        lines.append(
            f"The errors {'began' if release.began_with_it else 'did not begin'} with the release, it was said"
        )
    elif release.changed_recently is not None:
        lines.append(f"The release {'changed' if release.changed_recently else 'did not change'} recently")
    return lines


def _well(probes: list[Facts], known: Surroundings) -> set[str]:
    """Return what was found well: dependencies and services by name, the rest as the host."""
    bad = {one["component"] for one in probes if one["verdict"] == FAILED}
    good = {one["component"] for one in probes if one["verdict"] == PASSED} - bad
    named = {one.name for one in known.needed} | {*known.application, *known.keep}
    of_host = {one for one in {*bad, *good} - named if not one.endswith(BACKUP) and one != ENDPOINTS}
    host = {"the host"} if of_host and not of_host & bad else set()
    return {known.name_of(one) for one in good & named} - {known.name_of(one) for one in bad} | host


def counts(probes: Iterable[Facts]) -> dict[str, int]:
    """Return how many probes had each verdict."""
    found = [one["verdict"] for one in probes]
    return {name: found.count(name) for name in (PASSED, FAILED, INCONCLUSIVE)}
