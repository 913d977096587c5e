# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections and listeners of the host with their processes, as ss shows them, from /proc/net."""

from __future__ import annotations

import ipaddress
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .item import json_line
from .processes import pids

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC = Path("/proc")
_KINDS = ("tcp", "tcp6", "udp", "udp6")
# include/net/tcp_states.h of Linux
_STATES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
           "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")  # fmt: skip
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_FIELDS = 10


def sockets(proc: Path = _PROC) -> Iterator[bytes]:
    """Give a JSON line for each socket of TCP and UDP."""
    holders = _holders(proc)
    for kind in _KINDS:
        with suppress(FileNotFoundError), (proc / "net" / kind).open(encoding="ascii", errors="replace") as lines:
            next(lines, None)
            for line in lines:
                fields = line.split()
                if len(fields) < _FIELDS:
                    continue
                state = int(fields[3], 16)
                yield json_line({
                    "kind": kind, "local": address(fields[1]), "remote": address(fields[2]),
                    "state": _STATES[state] if state < len(_STATES) else fields[3],
                    "uid": int(fields[7]), "inode": int(fields[9]), "processes": holders.get(fields[9], []),
                })  # fmt: skip


def address(text: str) -> str:
    """Return ``0100007F:1F90`` as ``127.0.0.1:8080``: words of 32 bits in the order of the host, a port in hex."""
    host, _colon, port = text.partition(":")
    words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
    ip = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    return f"[{ip}]:{int(port, 16)}" if len(words) > 1 else f"{ip}:{int(port, 16)}"


def _holders(proc: Path) -> dict[str, list[int]]:
    """Return the processes that have each socket open, by its inode; as far as we may look."""
    found: dict[str, list[int]] = {}
    for pid in pids(proc):
        with suppress(OSError):
            for descriptor in (proc / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    match = _SOCKET.fullmatch(str(descriptor.readlink()))
                    if match and pid not in found.setdefault(match[1], []):
                        found[match[1]].append(pid)
    return found
