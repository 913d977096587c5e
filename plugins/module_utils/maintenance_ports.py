# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published ports: those that the containers of a service were made with, and who holds a port of this host now."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

# Ports at which TLS is spoken, whether it is the port of the host or that of the container.
USUAL_TLS_PORTS = frozenset({443, 8443})
PORTS = range(1, 65536)
_LISTEN = "0A"  # include/net/tcp_states.h
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Port:
    """A TCP port of the host. An empty ``address`` is every address of it, IPv4 and IPv6."""

    address: str
    port: int
    tls: bool

    def __str__(self) -> str:
        """Return the port as Docker writes it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address or '*'}:{self.port}"

    @property
    def host(self) -> str:
        """Return an address at which this host reaches the port."""
        if self.address in {"", "0.0.0.0"}:  # noqa: S104 - compared, not bound
            return "127.0.0.1"
        return "::1" if self.address == "::" else self.address

    @property
    def url(self) -> str:
        """Return the URL at which this host reaches the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    def facts(self) -> dict[str, Any]:
        """Return the port as plain values."""
        return asdict(self)


def given_ports(options: Iterable[Mapping[str, Any]]) -> list[Port]:
    """Return the ports that were typed; refuse those that cannot be."""
    ports = []
    for option in options:
        address, number = option.get("address") or "", option["port"]
        if number not in PORTS:
            raise _refused(f"ports holds the port {number!r}", "a number from 1 to 65535")
        if address and not _is_address(address):
            raise _refused(f"ports holds the address {address!r}", "an IP address, or none for all of them")
        ports.append(Port(address, number, bool(option.get("tls"))))
    return _distinct(ports)


def published_ports(
    bindings: Iterable[tuple[str, Mapping[str, Any]]], tls_ports: Collection[int]
) -> tuple[list[Port], list[str]]:
    """Return the TCP ports that containers publish, also stopped ones, and a sentence for each that cannot be taken.

    ``bindings`` are names of containers and their ``HostConfig.PortBindings``, for example
    ``{"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}``.
    """
    ports, notes = [], []
    for name, published in bindings:
        for inside, outside in published.items():
            number, _slash, protocol = inside.partition("/")
            for binding in outside or []:
                host_port = str(binding.get("HostPort") or "")
                if protocol not in {"", "tcp"}:
                    notes.append(f"The port {host_port}/{protocol} of {name} stays closed: only TCP is served.")
                elif not host_port.isdigit() or int(host_port) not in PORTS:
                    notes.append(f"The daemon chooses the host port of {inside} of {name}: name it in ports.")
                else:
                    speaks_tls = bool({int(number), int(host_port)} & (USUAL_TLS_PORTS | set(tls_ports)))
                    ports.append(Port(str(binding.get("HostIp") or ""), int(host_port), speaks_tls))
    return _distinct(ports), notes


def overlap(one: str, other: str) -> bool:
    """Tell whether two addresses cannot both be listened at with the same port."""
    everywhere = {"", "::"}  # "::" takes IPv4 too, unless net.ipv6.bindv6only is set
    if one == other or one in everywhere or other in everywhere:
        return True
    return "0.0.0.0" in {one, other} and ":" not in one + other  # noqa: S104 - compared, not bound


def container_holders(
    listed: Iterable[Mapping[str, Any]], ports: Iterable[Port], ours: Collection[str]
) -> dict[Port, list[str]]:
    """Return the names of the running containers that hold each port; ``ours`` are ids to pass over."""
    found: dict[Port, list[str]] = {}
    others = [one for one in listed if one["Id"] not in ours]
    for port in ports:
        for one in others:
            held = [item for item in one.get("Ports") or []
                    if item.get("Type") == "tcp" and item.get("PublicPort") == port.port]  # fmt: skip
            if any(overlap(str(item.get("IP") or ""), port.address) for item in held):
                found.setdefault(port, []).append((one.get("Names") or [one["Id"][:12]])[0].lstrip("/"))
    return found


def process_holders(ports: Iterable[Port], proc: Path = Path("/proc")) -> dict[Port, list[int]]:
    """Return for each port that a process of this host listens at the ids of these processes, as far as we may see."""
    listening = [entry for name in ("tcp", "tcp6") for entry in _listening(proc / "net" / name)]
    held = {
        port: {inode for address, number, inode in listening if number == port.port and overlap(address, port.address)}
        for port in ports
    }
    owners = _owners(proc, set().union(*held.values())) if any(held.values()) else {}
    return {
        port: sorted({pid for inode in inodes for pid in owners.get(inode, [])})
        for port, inodes in held.items() if inodes
    }  # fmt: skip


def process_name(pid: int, proc: Path = Path("/proc")) -> str:
    """Return what a process is called, and its number."""
    try:
        return f"{(proc / str(pid) / 'comm').read_text(encoding='utf-8', errors='replace').strip()} (process {pid})"
    except OSError:
        return f"process {pid}"


def container_id_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return the id of the container that a process belongs to, or ``None``: one with the network of the host."""
    try:
        found = _CONTAINER_ID.search((proc / str(pid) / "cgroup").read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[0] if found else None


def _listening(path: Path) -> list[tuple[str, int, str]]:
    """Return address, port and inode of each listener in a file such as /proc/net/tcp, see proc(5)."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    found = []
    for line in lines:
        words = line.split()
        if words[3] == _LISTEN:
            address, _colon, port = words[1].partition(":")
            found.append((_address(address), int(port, 16), words[9]))
    return found


def _address(text: str) -> str:
    """Return an address of /proc/net/tcp, whose 32-bit words are in the byte order of the host (little endian)."""
    packed = b"".join(bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8))
    mapped = packed[12:] if packed[:12] == b"\0" * 10 + b"\xff\xff" else packed
    return socket.inet_ntop(socket.AF_INET6 if len(mapped) > 4 else socket.AF_INET, mapped)  # noqa: PLR2004 - bytes of IPv4


def _owners(proc: Path, inodes: set[str]) -> dict[str, list[int]]:
    """Return the ids of the processes that have a socket open, by its inode."""
    found: dict[str, list[int]] = {}
    for directory in proc.glob("[0-9]*"):
        links = {_link(descriptor) for descriptor in _descriptors(directory / "fd")}
        for inode in inodes & {link[8:-1] for link in links if link.startswith("socket:[")}:
            found.setdefault(inode, []).append(int(directory.name))
    return found


def _descriptors(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []  # the process has ended, or belongs to somebody else


def _link(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""  # it was closed meanwhile


def _distinct(ports: list[Port]) -> list[Port]:
    """Return ports sorted and once each; TLS wins where one port is named with and without it."""
    tls = {(one.address, one.port) for one in ports if one.tls}
    return sorted({Port(one.address, one.port, (one.address, one.port) in tls) for one in ports})


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _refused(what: str, accepted: str) -> RollbackError:
    return RollbackError(f"Refused: {what}. Nothing was changed.", f"Accepted: {accepted}.")
