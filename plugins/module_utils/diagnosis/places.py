# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where questions are asked from: the host, or the network of a container, with the names that it knows.

In a container nothing is started and nothing is needed: a Python of the host runs in its network namespace only
(nsenter(1)), and is told what stands in the container's /etc/resolv.conf and /etc/hosts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..process import finished
from . import wire
from .probe import HOST

_FILE_LIMIT = 64 * 1024
_SPARE_SECONDS = 5.0
_MOST_NAME_SERVERS = 3  # of resolv.conf(5)
_MOST_DOTS = 15


@dataclass(frozen=True)
class Place:
    """Where from. ``why`` says why nothing can be asked from here; ``resolver`` is as in ``wire.addresses``."""

    name: str
    prefix: tuple[str, ...] = ()
    resolver: dict[str, Any] | None = field(default=None)
    why: str = ""


ON_HOST = Place(HOST)


def network_of(name: str, container_id: str, pid: int, proc: Path = Path("/proc")) -> Place:
    """Return the network of a container that runs, or a place that says why it cannot be used."""
    why = _obstacle(container_id, pid, proc)
    if why:
        return Place(name, why=why)
    prefix = (shutil.which("nsenter") or "nsenter", f"--net={proc}/{pid}/ns/net", "--")
    root = proc / str(pid) / "root"
    try:
        names = resolver_of(_text(root / "etc/resolv.conf"), _text(root / "etc/hosts"))
    except OSError as error:
        return Place(name, why=f"its /etc/resolv.conf cannot be read: {error.strerror}")
    return Place(name, prefix, names)


def _obstacle(container_id: str, pid: int, proc: Path) -> str:
    if not pid:
        return "its container does not run"
    if os.geteuid() != 0:
        return "only root may enter the network of a container (use ansible_become)"
    if not shutil.which("nsenter"):
        return "nsenter is missing on this host (package util-linux)"
    try:
        # Docker mounts files of its own, whose paths hold the id, into each container.
        known = container_id in (proc / str(pid) / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        known = False
    return "" if known else "its processes are not seen from here (another host, or rootless Docker)"


def _text(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_FILE_LIMIT)


def resolver_of(resolv_conf: str, hosts: str) -> dict[str, Any]:
    """Return what resolv.conf(5) and hosts(5) say, as ``wire.addresses`` wants it."""
    servers: list[str] = []
    search: list[str] = []
    dots = 1
    for line in resolv_conf.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1].partition("%")[0])
        elif words[0] in ("search", "domain"):
            search = [one.rstrip(".") for one in words[1:] if one != "."]
        elif words[0] == "options":
            given = [one[6:] for one in words[1:] if one.startswith("ndots:")]
            dots = min(int(given[-1]), _MOST_DOTS) if given and given[-1].isdigit() else dots
    names: dict[str, list[str]] = {}
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            names.setdefault(name.lower(), []).append(words[0])
    return {"nameservers": servers[:_MOST_NAME_SERVERS], "search": search, "ndots": dots, "hosts": names}


def ask(place: Place, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask all questions from a place, at once; return the answers in the same order.

    A place that turns out not to work gives answers whose fault is ``place``: they say nothing of what was asked.
    """
    if not questions:
        return []
    asked = [{"resolver": place.resolver, **one} for one in questions]
    # Secrets go over standard input, never as arguments.
    script = f"{_source()}\n\nscript_main({json.dumps(asked)!r})\n"
    argv = [*place.prefix, sys.executable, "-I", "-"]
    seconds = max(one["timeout"] for one in questions) + _SPARE_SECONDS
    try:
        answers = json.loads(finished(argv, given=script.encode(), seconds=seconds)[1])
    except TimeoutError:
        return _unasked(questions, f"the questions did not end within {seconds:g} s")
    except (OSError, ValueError) as error:
        return _unasked(questions, f"they could not be asked: {type(error).__name__}")
    if not isinstance(answers, list) or len(answers) != len(questions):
        return _unasked(questions, "they could not be asked")
    return answers


def _unasked(questions: list[dict[str, Any]], why: str) -> list[dict[str, Any]]:
    return [{"fault": "place", "why": why, "address": "", "seconds": 0.0} for _one in questions]


def _source() -> str:
    """Return the text of ``wire``, also where the collection lies in the archive that Ansible sends to a host."""
    loader: Any = wire.__loader__
    return str(loader.get_source(wire.__name__))
