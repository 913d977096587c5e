# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root causes among failed probes: what fails, and what of it only follows from something else that fails.

Pure functions of probes (as ``Probe.facts`` gives them) and of what is known about the project.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .containers import EVERY
from .network import ADDRESS
from .probe import FAILED, HOST, PASSED
from .settings import BACKUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DAEMON, DNS, NETWORK, ENDPOINTS = "Docker daemon", "DNS", "network", "application"
# Faults that mean that there is no way to the thing, or nobody behind it.
NO_WAY = frozenset({"name", "resolver", "refused", "timeout", "unreachable", "broken"})
NO_NAME = frozenset({"name", "resolver"})
# Of a container that does not run.
NOT_RUNNING = frozenset({"stopped", "exited", "absent", "created", "dead"})
# Faults that may go on for long without harm: named when there is nothing worse, and they explain little.
SOFT = frozenset({"slow", "expiring", "nearly full", "log", "pressure", "memory limit", "transaction", "slot"})
# Of these, nothing fails today.
AHEAD = frozenset({"expiring", "nearly full", "log", "slot", "memory limit"})
# What slowness can lead to; it makes no process end.
_OF_SLOWNESS = frozenset({"slow", "unhealthy", "status", "timeout", "content"})
# A host that is busy makes things late; an answer that came in time and is wrong has another reason.
_OF_PRESSURE = frozenset({"slow", "unhealthy", "timeout"})
_OF_CLOCK = frozenset({"tls", "lagging", "expired", "expiring"})
_LAYERS = ("daemon", "disk", "memory", "table", "clock", "network", "dns", "dependency", "keep", "service", "endpoints")

Facts = dict[str, Any]


@dataclass(frozen=True)
class Needed:
    """What a verdict must know of a dependency."""

    name: str
    kind: str = ""
    host: str = ""
    service: str = ""
    used_by: tuple[str, ...] = ()
    env_key: str = ""
    has_backup: bool = False

    @property
    def is_outside(self) -> bool:
        """Tell whether it is reached over the network beyond this host, as far as its address tells."""
        if self.service or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    @property
    def has_name(self) -> bool:
        """Tell whether a name server outside must know its name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.is_outside
        return False


@dataclass(frozen=True)
class Surroundings:
    """What is known about the project beside the probes.

    ``depends_on`` is what the Compose file says: for each service those that it needs.
    """

    needed: tuple[Needed, ...] = ()
    application: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    depends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def dependency(self, name: str) -> Needed | None:
        """Return a dependency by its name."""
        return next((one for one in self.needed if one.name == name), None)

    def name_of(self, component: str) -> str:
        """Return the name under which a component counts: that of the dependency that a service provides."""
        return next((one.name for one in self.needed if one.service == component), component)

    def service_of(self, component: str) -> str:
        """Return the Compose service of a component, if it has one."""
        found = self.dependency(component)
        if found:
            return found.service
        return component if component in {*self.application, *self.keep, *self.depends_on} else ""

    def needs(self, service: str) -> set[str]:
        """Return the services that a service needs, directly or not."""
        found: set[str] = set()
        waiting = [service]
        while waiting:
            for one in self.depends_on.get(waiting.pop(), ()):
                if one not in found:
                    found.add(one)
                    waiting.append(one)
        return found


@dataclass(frozen=True)
class Trouble:
    """A component that fails, with its failed probes, the worst first. ``explains`` are the names of what follows."""

    component: str
    layer: str
    probes: tuple[Facts, ...]
    explains: tuple[str, ...] = ()

    @property
    def fault(self) -> str:
        """Return the word for what is wrong with it."""
        return str(self.probes[0]["fault"])

    @property
    def faults(self) -> set[str]:
        """Return all words for what is wrong with it."""
        return {str(one["fault"]) for one in self.probes}

    @property
    def is_soft(self) -> bool:
        """Tell whether nothing of it is more than a sign."""
        return self.faults <= SOFT

    @property
    def rank(self) -> tuple[bool, bool, int, str]:
        """Return what orders causes: those that stop something first, then what is deepest."""
        return self.is_soft, self.faults <= AHEAD, _LAYERS.index(self.layer), self.component


def troubles(probes: Iterable[Facts], known: Surroundings) -> list[Trouble]:
    """Return every component that fails, the deepest first; what networks have in common is a component of its own."""
    everything = list(probes)
    failed = [
        one
        for one in everything
        if one["verdict"] == FAILED and one["decides"] and not one["component"].endswith(BACKUP)
    ]
    groups: dict[tuple[str, str], list[Facts]] = {}
    for one in failed:
        name = known.name_of(one["component"])
        groups.setdefault((_layer(one, name, known), name), []).append(one)
    for name, layer, shared in _shared(everything, failed, known):
        groups.setdefault((layer, name), []).extend(shared)
    found = [Trouble(name, layer, tuple(sorted(group, key=_badness))) for (layer, name), group in groups.items()]
    return sorted(found, key=lambda one: one.rank)


def with_users_first(probes: list[Facts]) -> list[Facts]:
    """Return the probes; those that only the host fails, while the users of a thing reach it, do not decide."""
    return [{**one, "decides": not _is_of_no_user(one, probes)} for one in probes]


def _is_of_no_user(probe: Facts, everything: list[Facts]) -> bool:
    """Tell whether only the host finds no way to a dependency, as may well be, while its users do.

    A name may be known in containers only; then it is how the users fail that counts.
    """
    if probe["from"] != HOST or probe["kind"] != "answers" or probe["fault"] not in NO_WAY:
        return False
    of_users = {
        one["fault"]
        for one in everything
        if one["component"] == probe["component"] and one["kind"] == "answers" and one["from"] != HOST
        and one["verdict"] in (PASSED, FAILED)
    }  # fmt: skip
    return bool(of_users) and not of_users & (NO_NAME if probe["fault"] in NO_NAME else NO_WAY)


def _badness(probe: Facts) -> tuple[bool, int, bool]:
    """Return what orders the probes of a component: what stopped its process first, what is slow last."""
    order = ("container", "disk", "inodes", "login", "answers")
    kind = probe["kind"]
    return probe["fault"] in SOFT, order.index(kind) if kind in order else len(order), probe["from"] != HOST


def _layer(probe: Facts, name: str, known: Surroundings) -> str:
    component, kind = probe["component"], probe["kind"]
    if component == DAEMON:
        return "daemon"
    if kind in ("disk", "inodes", "writes"):
        return "disk"
    fixed = {"table": "table", "offset": "clock", "endpoint": "endpoints", "pressure": "memory"}
    if kind in fixed or component == "memory":
        return fixed.get(kind, "memory")
    if known.dependency(name):
        return "dependency"
    return "service" if name in known.application else "keep"


# --- what networks have in common -------------------------------------------------------------------------------------


def _shared(everything: list[Facts], failed: list[Facts], known: Surroundings) -> list[tuple[str, str, list[Facts]]]:
    """Return troubles of networks: of one container, of the way out, of the name servers; with what shows them."""
    # For the name of a container that does not run Docker asks name servers outside; that they are silent says nothing.
    gone = {known.service_of(one["component"]) for one in failed if one["fault"] in NOT_RUNNING} - {""}
    ways = [
        one for one in failed
        if one["kind"] == "answers" and one["fault"] in NO_WAY
        and not (one["fault"] == "resolver" and known.service_of(one["component"]) in gone)
    ]  # fmt: skip
    reached = {
        (one["component"], one["from"])
        for one in everything
        if one["kind"] == "answers" and not (one["verdict"] == FAILED and one["fault"] in NO_WAY)
        and one["verdict"] in (PASSED, FAILED)
    }  # fmt: skip
    asked = {(one["component"], one["from"]) for one in everything if one["kind"] == "answers"}
    found = []
    for place in dict.fromkeys(one["from"] for one in ways):
        here = [one for one in ways if one["from"] == place]
        if place != HOST and _is_cut_off(place, here, asked, reached, known):
            found.append(_cut_off(place, here, everything))
        else:
            found += _way_out(here, place, reached, known)
    return found


def _cut_off(place: str, here: list[Facts], everything: list[Facts]) -> tuple[str, str, list[Facts]]:
    """Return the trouble of a container that is cut off: only of its names, when an address works."""
    by_address = any(
        one["kind"] == ADDRESS and one["from"] == place and one["verdict"] == PASSED for one in everything
    )  # fmt: skip
    if by_address and all(one["fault"] == "resolver" for one in here):
        return f"{DNS} of {place}", "dns", here
    return f"{NETWORK} of {place}", "network", here


def _is_cut_off(
    place: str,
    here: list[Facts],
    asked: set[tuple[str, str]],
    reached: set[tuple[str, str]],
    known: Surroundings,
) -> bool:
    """Tell whether a container does not reach what others reach."""
    lost = {one["component"] for one in here}
    if all(any(name == one and where not in (place, HOST) for one, where in reached) for name in lost):
        return True
    if lost != {name for name, where in asked if where == place and not name.endswith(BACKUP)}:
        return False
    if not lost & {name for name, where in reached if where != place}:
        return False
    if len(lost) > 1:
        return True
    # A service that no user finds, though the host does, has lost its own network or name.
    one = known.dependency(next(iter(lost)))
    return not (one and one.service)


def _way_out(
    here: list[Facts], place: str, reached: set[tuple[str, str]], known: Surroundings
) -> list[tuple[str, str, list[Facts]]]:
    """Return the trouble of the way out of a place, or of its name servers, when nothing outside is reached."""
    outside = {one.name for one in known.needed if one.is_outside}
    named = {one.name for one in known.needed if one.has_name}
    lost = [one for one in here if one["component"] in outside]
    if any(name in outside for name, where in reached if where == place):
        in_vain = [one for one in lost if one["fault"] == "resolver"]
        names_work = any(name in named for name, where in reached if where == place)
        return [] if names_work or not in_vain else [(DNS, "dns", in_vain)]
    no_names = [one for one in here if one["fault"] == "resolver"]
    no_route = [one for one in lost if one["fault"] in ("unreachable", "timeout")]
    components = {one["component"] for one in no_route}
    if len(components) > 1 or any(one["fault"] == "unreachable" for one in no_route):
        return [(NETWORK, "network", no_route + no_names)]
    return [(DNS, "dns", no_names)] if no_names else []


# --- what follows from what -------------------------------------------------------------------------------------------


def roots(found: list[Trouble], known: Surroundings) -> list[Trouble]:
    """Return the troubles that follow from no other, each with the names of those that follow from it."""
    explained = {
        id(one): {id(other) for other in found if other is not one and _explains(one, other, known)} for one in found
    }
    followers = {number for numbers in explained.values() for number in numbers}
    result = []
    for one in found:
        if id(one) in followers:
            continue
        follows = _closure(id(one), explained)
        names = tuple(other.component for other in found if id(other) in follows)
        result.append(Trouble(one.component, one.layer, one.probes, names))
    return result or found[:1]


def _closure(start: int, edges: Mapping[int, set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = [start]
    while waiting:
        for one in edges[waiting.pop()]:
            if one not in found and one != start:
                found.add(one)
                waiting.append(one)
    return found


def _explains(cause: Trouble, other: Trouble, known: Surroundings) -> bool:
    """Tell whether ``other`` follows from ``cause``."""
    if cause.is_soft and not _soft_explains(cause, other):
        return False
    if cause.layer == "daemon":
        return other.layer in ("keep", "service", "endpoints", "dependency")
    if cause.layer == "clock":
        return other.layer in ("dependency", "endpoints") and other.faults <= _OF_CLOCK
    if cause.layer in ("disk", "memory", "table"):
        return _affects(cause, other, known)
    if cause.layer in ("network", "dns"):
        return _cuts_off(cause, other)
    return _is_needed(cause, other, known)


def _soft_explains(cause: Trouble, other: Trouble) -> bool:
    follows = _OF_PRESSURE if cause.fault == "pressure" else _OF_SLOWNESS
    return not cause.faults <= AHEAD and other.faults <= follows


def _affects(cause: Trouble, other: Trouble, known: Surroundings) -> bool:
    if _LAYERS.index(other.layer) <= _LAYERS.index("clock"):
        return False
    if cause.is_soft and cause.fault == "pressure":
        return other.layer == "endpoints" or bool(known.service_of(other.component))
    affected = {service for one in cause.probes for service in one["affects"]}
    service = known.service_of(other.component)
    if other.layer == "endpoints":
        return EVERY in affected or bool(affected & {*known.application, *known.keep})
    if not service:
        return False
    return EVERY in affected or service in affected or bool(affected & known.needs(service))


def _cuts_off(cause: Trouble, other: Trouble) -> bool:
    """Tell whether a network that does not work is why ``other`` is not reached, or does not work itself."""
    if other.layer in ("network", "dns"):
        return cause.component == NETWORK and other.component == DNS
    place = cause.component.rpartition(" of ")[2] if " of " in cause.component else ""
    if place and place == other.component:
        return True
    shown = {(one["component"], one["from"], one["kind"]) for one in cause.probes}
    ways = {(one["component"], one["from"], one["kind"]) for one in other.probes}
    if other.layer == "dependency":
        return ways <= shown
    return other.layer in ("endpoints", "service")


def _is_needed(cause: Trouble, other: Trouble, known: Surroundings) -> bool:
    """Tell whether ``other`` needs ``cause``: because it uses it, or because the Compose file says so."""
    if other.layer not in ("dependency", "keep", "service", "endpoints") or cause.layer == "endpoints":
        return False
    if other.layer == "endpoints":
        return True
    service = known.service_of(other.component)
    return bool(service) and _needs(service, other, cause, known)


def _needs(service: str, other: Trouble, cause: Trouble, known: Surroundings) -> bool:
    provider, needed = known.service_of(cause.component), known.dependency(cause.component)
    if provider and provider in known.needs(service):
        return True
    if needed is None:
        return False
    if not needed.used_by:
        return other.layer == "service" and needed.service != service
    return bool({service, *known.needs(service)} & set(needed.used_by))
