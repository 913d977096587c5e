# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a diagnosis: what the application depends on, and the limits; refused when they mean nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import RollbackError
from ..http_probe import checked_url

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("rpc", "postgres", "redis", "http", "tcp", "dns", "tls")
_PORTS = {"postgres": 5432, "redis": 6379, "tls": 443}
_WITH_URL = ("rpc", "http")
_LOGIN = {"username": "login_user", "password": "login_password", "database": "db"}
BACKUP = " (backup)"
DEPENDENCY_LIMIT = 50

# Milliseconds, seconds, percent, blocks and days, as documented in the module.
DEPENDENCY_LIMITS: dict[str, float] = {
    "max_latency": 3000,
    "max_lag": 20,
    "max_block_age": 300,
    "min_tls_days": 14,
    "max_connections_percent": 90,
    "max_lock_wait": 30,
    "max_transaction_age": 600,
    "max_replication_lag": 60,
    "max_memory_percent": 95,
}
HOST_LIMITS: dict[str, float] = {
    "min_disk_free_percent": 5,
    "min_disk_free_megabytes": 2000,
    "min_inodes_free_percent": 3,
    "min_memory_free_percent": 5,
    "max_cpu_pressure": 90,
    "max_io_pressure": 60,
    "max_memory_pressure": 20,
    "max_clock_offset": 5,
    "max_log_megabytes": 2000,
    "max_container_memory_percent": 95,
    "crash_restarts": 3,
    "crash_seconds": 300,
}


@dataclass(frozen=True)
class Dependency:
    """Something that services need. ``secrets`` never show in a representation."""

    name: str
    kind: str
    url: str = field(default="", repr=False)
    host: str = ""
    port: int = 0
    service: str = ""
    used_by: tuple[str, ...] = ()
    env_key: str = ""
    backup_url: str = field(default="", repr=False)
    backup_of: str = ""
    reference_url: str = field(default="", repr=False)
    chain_id: int | None = None
    method: str = ""
    params: tuple[Any, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    replica: bool = False
    tls: bool = False
    status: tuple[int, ...] = ()
    contains: str = ""
    validate_certs: bool = True
    ca_path: str = ""
    timeout: float = 5.0
    limits: Mapping[str, float] = field(default_factory=dict)
    label: str = ""

    @property
    def where(self) -> str:
        """Return host and port as a person reads them, never a path or a query, which may hold a token."""
        if self.label:
            return self.label
        if self.kind == "dns":
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def refused(option: str, value: object, accepted: str) -> RollbackError:
    """Return the refusal of an option, before anything was looked at."""
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was looked at and nothing was changed.", f"Give {accepted}."
    )


def checked_dependencies(given: list[dict[str, Any]]) -> list[Dependency]:
    """Return the dependencies, and a further one for each backup; refuse what cannot be asked."""
    found = [_dependency(one) for one in given]
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refused("dependencies.name", twice[0], "each dependency a name of its own")
    if len(found) > DEPENDENCY_LIMIT:
        raise refused("dependencies", f"{len(found)} entries", f"at most {DEPENDENCY_LIMIT}")
    return found + [backup for one in found for backup in _backup_of(one)]


def _dependency(given: dict[str, Any]) -> Dependency:
    name, kind = given["name"].strip(), given["kind"]
    if not name or not name.isprintable() or name.endswith(BACKUP):
        raise refused("dependencies.name", given["name"], "a short name of printable characters")
    limits = DEPENDENCY_LIMITS | {key: value for key, value in (given.get("limits") or {}).items() if value is not None}
    check_limits(limits, f"limits of the dependency {name}")
    if kind in _WITH_URL and not given.get("url"):
        raise refused("dependencies.url", "", f"the URL of the dependency {name}, which is of the kind {kind}")
    timeout = 5.0 if given.get("timeout") is None else given["timeout"]
    if not 0 < timeout <= 60:  # noqa: PLR2004 - a minute
        raise refused("dependencies.timeout", timeout, f"more than 0 and at most 60 seconds for {name}")
    for key in ("url", "backup_url", "reference_url"):
        if kind in _WITH_URL and given.get(key):
            checked_url(given[key], f"dependencies.{key}")
    host, port = _address(name, kind, given)
    plain = ("service", "env_key", "backup_url", "reference_url", "contains", "method", "ca_path")
    texts = {key: str(given.get(key) or "") for key in plain}
    texts |= {key: str(given.get(option) or "") for key, option in _LOGIN.items()}
    return Dependency(
        name=name, kind=kind, url=given.get("url") or "", host=host, port=port,
        used_by=tuple(given.get("used_by") or ()), chain_id=given.get("chain_id"),
        params=tuple(given.get("params") or ()), headers={k: str(v) for k, v in (given.get("headers") or {}).items()},
        replica=bool(given.get("replica")), tls=bool(given.get("tls")), status=tuple(given.get("status") or ()),
        validate_certs=given.get("validate_certs") is not False, timeout=float(timeout), limits=limits, **texts,
    )  # fmt: skip


def _address(name: str, kind: str, given: dict[str, Any]) -> tuple[str, int]:
    """Return host and port: of the URL, as given, or of the Compose service."""
    host, port = given.get("host") or "", given.get("port") or 0
    if given.get("url") and not host:
        host, port = host_and_port(given["url"], _PORTS.get(kind, 0))
    host = host or given.get("service") or ""
    port = port or _PORTS.get(kind, 0)
    if not host or any(letter.isspace() or not letter.isprintable() for letter in host):
        raise refused("dependencies.host", host, f"host, url or service of the dependency {name}")
    if kind != "dns" and not 0 < port < 65536:  # noqa: PLR2004 - TCP
        raise refused("dependencies.port", port, f"the port of the dependency {name}")
    return host, port


def host_and_port(url: str, port: int) -> tuple[str, int]:
    """Return host and port of a URL of any scheme, or of ``host:port``."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, port)
    except ValueError:
        return "", 0


def _backup_of(one: Dependency) -> list[Dependency]:
    """Return the backup as a dependency of its own, with the same limits, so that it is known before a switch."""
    if not one.backup_url:
        return []
    host, port = host_and_port(one.backup_url, one.port)
    if not host:
        raise refused("dependencies.backup_url", "(not shown)", f"a URL, or host:port, for the dependency {one.name}")
    return [
        replace(
            one, name=one.name + BACKUP, url=one.backup_url, host=host, port=port, service="", backup_url="",
            backup_of=one.name, env_key="",
        )
    ]  # fmt: skip


def check_limits(limits: Mapping[str, float], option: str) -> None:
    """Refuse limits that are no finite numbers from 0 on."""
    for name, value in limits.items():
        if not math.isfinite(value) or value < 0:
            raise refused(f"{option}: {name}", value, "a finite number, 0 or more")


def host_limits(given: dict[str, Any] | None) -> dict[str, float]:
    """Return the limits of the host, with what was given in place of the defaults."""
    limits = HOST_LIMITS | {key: float(value) for key, value in (given or {}).items() if value is not None}
    check_limits(limits, "limits")
    return limits


def shown(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that may hold secrets as they may be shown: of URLs only scheme and host."""
    return {
        "time_url": _origin(options["time_url"]),
        "endpoints": [{"url": _origin(str(one.get("url") or ""))} for one in options["endpoints"] or []],
        "dependencies": [
            {**one, "headers": None, **{key: _origin(one[key]) for key in ("url", "backup_url", "reference_url")}}
            for one in options["dependencies"] or []
        ],
    }


def _origin(url: str | None) -> str | None:
    """Return scheme, host and port of a URL: paths and queries of RPC providers hold tokens."""
    if not url:
        return url
    host, port = host_and_port(url, 0)
    scheme = url.partition("//")[0] + "//" if "//" in url else ""
    return f"{scheme}{host}{f':{port}' if port else ''}"
