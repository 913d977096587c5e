# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal's copy of a Compose project looks like: pure functions from what ``docker compose config`` says.

The copy is described whole, not by an override: what is not taken over here is not in it. Nothing that belongs to
production may be reached for writing: no port, no name, no volume, no network, no folder, no log server.
"""

from __future__ import annotations

import copy
import hashlib
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import RollbackError
from .images import plain_name, reference_of, split_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

RUN_LABEL = "usdx.rollback.rehearsal"
OF_LABEL = "usdx.rollback.rehearsal.of"
IMAGE_FOLDER = "usdx-rehearsal/"
# Of 1024, which is what production's containers have when nobody says otherwise: where both want a core, it wins.
_CPU_SHARES = 512
# A slow answer of a copy that stands back is an answer, so it is waited for, in seconds.
_PATIENCE = 30
# Where memory is short the kernel ends the copy first.
_OOM_SCORE = 1000
# Taken over as they are. Everything else of a service is either treated below or left out.
_PLAIN_KEYS = (
    "build", "cap_drop", "command", "configs", "dns_opt", "domainname", "entrypoint", "group_add", "healthcheck",
    "hostname", "init", "links", "platform", "read_only", "runtime", "secrets", "security_opt", "shm_size",
    "stdin_open", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "tty", "ulimits", "user", "working_dir",
    "cap_add", "mem_limit", "cpus", "pids_limit",
)  # fmt: skip
_LINKS = ("external_links", "volumes_from")
_FULL_RIGHTS = ("privileged", "devices", "device_cgroup_rules")
_OWN_NETWORK = ("", "bridge", "none")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - that a port is published there is read, nothing is bound
_LOOPBACK = "127.0.0.1"
# What lies there leads out of a container also where it is mounted for reading: sockets of daemons, devices.
_NEVER_MOUNTED = ("/", "/run", "/var/run", "/var", "/proc", "/sys", "/dev", "/var/lib", "/var/lib/docker")


@dataclass(frozen=True)
class Plan:
    """What a copy is made of. ``services`` are all that it has, ``application`` those that a rollback stops.

    ``hosts`` are names and addresses of this host, by which its published ports are asked.
    """

    run_id: str
    of: str
    services: tuple[str, ...]
    application: tuple[str, ...] = ()
    outbound: bool = False
    cpus: float = 0
    memory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    subnets: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()

    @property
    def project(self) -> str:
        """Return the name of the copy's Compose project."""
        return f"{self.of}-rehearsal-{self.run_id.rpartition('-')[2]}"

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that tell the copy from everything else on the host."""
        return {RUN_LABEL: self.run_id, OF_LABEL: self.of}


@dataclass(frozen=True)
class Place:
    """Where a configuration was read, and where the copy has the same files.

    ``copied`` is empty where paths shall be relative to the directory of the Compose file: those of the release are
    built in one tree and started in another.
    """

    top: str
    directory: str
    copied: str = ""

    def path(self, path: str) -> str | None:
        """Return a path of the tree as the copy has it; None when it is not in the tree."""
        below = os.path.relpath(path, self.top)
        if below == ".." or below.startswith("../"):
            return None
        if self.copied:
            return os.path.normpath(os.path.join(self.copied, below))  # noqa: PTH118 - of the managed host
        near = os.path.relpath(path, self.directory)
        return near if near.startswith("..") else f"./{near}"


# --- what cannot be copied -------------------------------------------------------------------------------------------


def refuse_unsafe(config: Mapping[str, Any], services: Iterable[str]) -> None:
    """Refuse services that would reach production, or the host, whatever a copy is made of."""
    found = {name: reason for name in services if (reason := _unsafe(config["services"].get(name) or {}))}
    if not found:
        return
    told = "; ".join(f"{name} ({reason})" for name, reason in sorted(found.items()))
    raise RollbackError(
        f"These services cannot be rehearsed beside production: {told}. Nothing was made.",
        f"Leave them out of the copy: rollback_rehearsal_leave_out: [{', '.join(sorted(found))}]. What they do is then "
        "not rehearsed.",
    )


def _unsafe(service: Mapping[str, Any]) -> str:
    """Return why a service cannot be copied, or an empty text."""
    network = str(service.get("network_mode") or "")
    if network not in _OWN_NETWORK and not network.startswith("service:"):
        return f"network_mode {network}"
    for key in ("pid", "ipc", "uts", "userns_mode", "cgroup"):
        mode = str(service.get(key) or "")
        if mode == "host" or mode.startswith("container:"):
            return f"{key} {mode}"
    return next((key for key in (*_FULL_RIGHTS, *_LINKS) if service.get(key)), "")


# --- the copy --------------------------------------------------------------------------------------------------------


def described(
    config: Mapping[str, Any], plan: Plan, place: Place, images: Mapping[str, str], look: Callable[[str], str]
) -> tuple[dict[str, Any], list[str]]:
    """Return the whole Compose file of the copy, and what differs from production, for people.

    ``images`` names the image of each service. ``look`` says what a path of the host is: ``file``, ``directory``,
    ``missing`` or ``other``.
    """
    notes: list[str] = []
    made = _Describer(config, plan, place, look, notes)
    services = {name: made.service(name, images[name]) for name in plan.services if name in config["services"]}
    used = {name for one in services.values() for name in one.get("networks") or {}}
    told = {
        "name": plan.project,
        "services": services,
        "networks": {name: _network(plan, name) for name in sorted(used)},
        "volumes": {name: {"name": f"{plan.project}_{name}", "labels": plan.labels} for name in sorted(made.volumes)},
        **{kind: made.files(kind, services) for kind in ("configs", "secrets")},
    }
    return {key: value for key, value in told.items() if value}, list(dict.fromkeys(notes))


def _network(plan: Plan, name: str) -> dict[str, Any]:
    """Return a network of the copy: nothing in it reaches another one, unless that was asked for."""
    network: dict[str, Any] = {"name": f"{plan.project}_{name}", "internal": not plan.outbound, "labels": plan.labels}
    if name in plan.subnets:
        network["ipam"] = {"config": [{"subnet": plan.subnets[name]}]}
    return network


class _Describer:
    """Describes the services of one configuration, and gathers what they need."""

    def __init__(
        self, config: Mapping[str, Any], plan: Plan, place: Place, look: Callable[[str], str], notes: list[str]
    ) -> None:
        self.config = config
        self.plan = plan
        self.place = place
        self.look = look
        self.notes = notes
        self.volumes: set[str] = set()

    def service(self, name: str, image: str) -> dict[str, Any]:
        """Return one service of the copy."""
        origin = self.config["services"][name]
        made = {key: copy.deepcopy(origin[key]) for key in _PLAIN_KEYS if origin.get(key) not in (None, [], {})}
        made |= {"image": image, "restart": "no", "labels": self._labels(origin), "oom_score_adj": _OOM_SCORE}
        made |= {"cpu_shares": _CPU_SHARES, **self._limits(origin)}
        made["environment"] = self._environment(name, origin)
        made["depends_on"] = self._depends_on(origin)
        made["volumes"] = [mount for one in origin.get("volumes") or [] if (mount := self._mount(name, one))]
        made["extra_hosts"] = _extra_hosts(origin.get("extra_hosts"))
        if origin.get("network_mode"):
            made["network_mode"] = origin["network_mode"]
        else:
            made["networks"] = self._networks(name, origin)
        if "build" in made:
            self._relocate_build(made["build"])
        if origin.get("logging"):
            self.notes.append(f"{name}: its log stays on this host")
        return {key: value for key, value in made.items() if value not in ([], {}, None)}

    def _labels(self, origin: Mapping[str, Any]) -> dict[str, str]:
        labels = origin.get("labels") or {}
        return {**{key: str(value) for key, value in labels.items() if not _steers(key)}, **self.plan.labels}

    def _limits(self, origin: Mapping[str, Any]) -> dict[str, Any]:
        """Return the limits of memory and processors: production's, and those that the copy has besides."""
        given = ((origin.get("deploy") or {}).get("resources") or {}).get("limits") or {}
        limits: dict[str, Any] = {}
        if given.get("memory"):
            limits["mem_limit"] = given["memory"]
        if given.get("cpus"):
            limits["cpus"] = float(given["cpus"])
        if self.plan.memory:
            limits["mem_limit"] = self.plan.memory
        if self.plan.cpus:
            limits["cpus"] = self.plan.cpus
        return limits

    def _environment(self, name: str, origin: Mapping[str, Any]) -> dict[str, Any]:
        more = self.plan.environment if name in self.plan.application else {}
        return {**(origin.get("environment") or {}), **{key: value.replace("$", "$$") for key, value in more.items()}}

    def _depends_on(self, origin: Mapping[str, Any]) -> dict[str, Any]:
        depends = origin.get("depends_on") or {}
        return {name: how for name, how in depends.items() if name in self.plan.services}

    def _networks(self, name: str, origin: Mapping[str, Any]) -> dict[str, Any]:
        networks = {}
        for key, options in (origin.get("networks") or {"default": None}).items():
            kept: dict[str, Any] = {}
            if (options or {}).get("aliases"):
                kept["aliases"] = options["aliases"]
            network, address = self.plan.addresses.get(name, ("", ""))
            if network == key:
                kept["ipv4_address"] = address
            networks[key] = kept or None
        return networks

    def _relocate_build(self, build: dict[str, Any]) -> None:
        for key in ("tags", "cache_to", "privileged", "entitlements"):
            build.pop(key, None)
        contexts = build.get("additional_contexts") or {}
        build["context"] = self._inside(build["context"])
        if contexts:
            build["additional_contexts"] = {key: self._inside(value) for key, value in contexts.items()}

    def _inside(self, path: str) -> str:
        """Return a path of the tree as the copy has it; what is no path, or from elsewhere, stays."""
        return (self.place.path(path) if path.startswith("/") else None) or path

    # --- mounts ---

    def _mount(self, service: str, mount: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is mounted in the copy for one mount of production, or None for nothing."""
        kind, source = mount.get("type"), str(mount.get("source") or "")
        if kind == "volume":
            if source:
                self.volumes.add(source)
            return {key: mount[key] for key in ("type", "source", "target", "read_only") if mount.get(key)}
        if kind == "tmpfs":
            return dict(mount)
        return self._bind(service, mount, source) if kind == "bind" else None

    def _bind(self, service: str, mount: Mapping[str, Any], source: str) -> dict[str, Any] | None:
        target = mount["target"]
        inside, what = self.place.path(source), self.look(source)
        if inside is not None and what in ("file", "directory"):
            return {"type": "bind", "source": inside, "target": target, "read_only": bool(mount.get("read_only"))}
        if os.path.normpath(source) in _NEVER_MOUNTED or what == "other":
            self.notes.append(f"{service}: {source} is not there, because it leads out of the copy")
            return None
        if inside is None and (mount.get("read_only") or what == "file"):
            return {"type": "bind", "source": source, "target": target, "read_only": True}
        self.notes.append(f"{service}: {target} is empty; in production it is {source}")
        digits = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        volume = plain_name(f"bind-{Path(source).name or 'data'}-{digits}")
        self.volumes.add(volume)
        return {"type": "volume", "source": volume, "target": target}

    def files(self, kind: str, services: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configs or secrets that the services use, with their files where the copy has them."""
        names = {
            one["source"] if isinstance(one, dict) else str(one)
            for service in services.values()
            for one in service.get(kind) or []
        }
        found = {name: dict((self.config.get(kind) or {}).get(name) or {}) for name in sorted(names)}
        for one in found.values():
            one.pop("name", None)
            if "file" in one:
                one["file"] = self._inside(one["file"])
        return found


def _steers(label: str) -> bool:
    """Tell whether something on the host may act on a label: a proxy would lead users to the copy."""
    return label.startswith(("traefik.", "caddy", "com.centurylinklabs.watchtower", "ofelia.", "nginx-proxy", "org.le"))


def _extra_hosts(given: Any) -> Any:  # noqa: ANN401 - a list or a mapping, by the version of Compose
    """Return names of other hosts without those that lead to this one."""
    if isinstance(given, dict):
        return {name: where for name, where in given.items() if "host-gateway" not in str(where)}
    return [one for one in given or [] if "host-gateway" not in str(one)]


# --- images ----------------------------------------------------------------------------------------------------------


def release_images(
    config: Mapping[str, Any], plan: Plan, is_here: Callable[[str], bool]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the image of each service of the release, and which names of production get which name in the copy.

    The copy has names of its own, because a start points names at other images. A name that must be pulled stays.
    """
    definitions = {name: config["services"][name] for name in plan.services if name in config["services"]}
    references = {name: reference_of(plan.of, name, one) for name, one in definitions.items()}
    built = {references[name] for name, one in definitions.items() if "build" in one}
    images, names = {}, {}
    for name, reference in references.items():
        here = is_here(reference)
        if "@" in reference or not (here or reference in built):
            images[name] = reference
            continue
        repository, tag = split_reference(reference)
        images[name] = f"{IMAGE_FOLDER}{plain_name(plan.project)}/{plain_name(repository)}:{tag}"
        if here:
            names[reference] = images[name]
    return images, names


# --- addresses and endpoints -----------------------------------------------------------------------------------------


def behind(
    url: str, config: Mapping[str, Any], services: Iterable[str], hosts: Iterable[str] = ()
) -> tuple[str, int] | None:
    """Return the service and its port that a URL leads to, or None when it is not one of these services.

    ``hosts`` are names and addresses of this host. Loopback addresses and those that ports are published on are too.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return None
    names = list(services)
    if parts.hostname in names:
        return parts.hostname, port
    return _published(_plain_host(parts.hostname or ""), str(port), _ports(config, names), hosts)


def _ports(config: Mapping[str, Any], services: Iterable[str]) -> list[tuple[str, str, str, int]]:
    """Return address and number of each published port, and the service and its own port behind it."""
    return [
        (_plain_host(port.get("host_ip") or _EVERYWHERE[0]), str(port["published"]), name, int(port["target"]))
        for name in services
        for port in (config["services"].get(name) or {}).get("ports") or []
        if port.get("published") and port.get("protocol", "tcp") == "tcp"
    ]


def _published(
    host: str, number: str, ports: list[tuple[str, str, str, int]], hosts: Iterable[str]
) -> tuple[str, int] | None:
    """Return the service and its port behind a published one, or None when the host is another one."""
    own = {_plain_host(one) for one in hosts} | {at for at, *_rest in ports} - {*_EVERYWHERE} | {_LOOPBACK}
    if host not in own:
        return None
    found = {at: (name, target) for at, published, name, target in reversed(ports) if published == number}
    wanted = [host, *_EVERYWHERE] if _is_address(host) else found  # a name may lead to any address of its host
    return next((found[at] for at in wanted if at in found), None)


def _plain_host(host: str) -> str:
    """Return a host in one spelling, and every address of the loopback as one."""
    plain = host.lower().rstrip(".")
    if plain == "localhost":
        return _LOOPBACK
    if not _is_address(plain):
        return plain
    address = ipaddress.ip_address(plain)
    return _LOOPBACK if address.is_loopback else str(address)


def addresses(config: Mapping[str, Any], plan: Plan, places: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return network and address of each service that a place leads to: the last ones of its network."""
    asked = {found[0] for one in places if (found := behind(one, config, plan.services, plan.hosts))}
    given: dict[str, tuple[str, str]] = {}
    for number, name in enumerate(sorted(asked)):
        networks = sorted(config["services"][name].get("networks") or {"default": None})
        network = next((one for one in networks if one in plan.subnets), None)
        if network is not None:
            last = ipaddress.ip_network(plan.subnets[network]).broadcast_address
            given[name] = (network, str(last - 1 - number))
    return given


def answering(config: Mapping[str, Any], plan: Plan, places: Iterable[str]) -> dict[str, str]:
    """Return host and port in the copy for each place that the copy can answer for."""
    found = {one: behind(one, config, plan.services, plan.hosts) for one in places}
    return {
        one: f"{plan.addresses[there[0]][1]}:{there[1]}"
        for one, there in found.items()
        if there is not None and there[0] in plan.addresses
    }


def unanswered(config: Mapping[str, Any], plan: Plan, places: Iterable[str]) -> list[str]:
    """Return the places that the copy cannot answer for; before it has addresses, those with no service behind them."""
    asked = list(places)
    found = answering(config, plan, asked)
    return [
        one
        for one in asked
        if behind(one, config, plan.services, plan.hosts) is None or (plan.subnets and one not in found)
    ]


def place_of(url: str) -> str:
    """Return scheme, host and port of a URL: neither a login nor what is asked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def endpoint_places(endpoints: list[dict[str, Any]]) -> list[str]:
    """Return where the endpoints are, each place once."""
    return list(dict.fromkeys(place_of(one["url"]) for one in endpoints))


def rehearsed_endpoints(endpoints: list[dict[str, Any]], places: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the endpoints as they are asked in the copy; those that it cannot answer for are left out."""
    return [_rehearsed(one, places[place]) for one in endpoints if (place := place_of(one["url"])) in places]


def _rehearsed(endpoint: dict[str, Any], where: str) -> dict[str, Any]:
    """Return one endpoint as it is asked in the copy, with the name of the host that it is asked for.

    Values of headers are secrets to Ansible, so a name that held the host would be blotted out on the screen.
    """
    parts = urlsplit(endpoint["url"])
    login, at, host = parts.netloc.rpartition("@")
    # Production has the larger share of the host: how fast the copy answers says nothing.
    asked = {key: value for key, value in endpoint.items() if key not in ("p95", "max_latency")}
    asked["timeout"] = max(float(endpoint.get("timeout") or 0), _PATIENCE)
    asked["url"] = parts._replace(netloc=f"{login}{at}{where}").geturl()
    by_name = not _is_address(parts.hostname or "")
    if by_name:
        asked["headers"] = {"Host": host, **(endpoint.get("headers") or {})}
    shown = parts.path or "/" if by_name else parts._replace(netloc=host, query="", fragment="").geturl()
    asked["name"] = endpoint.get("name") or shown
    if parts.scheme == "https":
        asked["validate_certs"] = False  # the certificate is for the name, not for an address
    return asked


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True
