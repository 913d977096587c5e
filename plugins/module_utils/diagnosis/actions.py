# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about a cause: one action, with the words for a person and the names that a playbook needs."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from .causes import NOT_RUNNING
from .probe import FAILED, PASSED
from .settings import BACKUP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .causes import Facts, Surroundings, Trouble

_NOT_FOUND = frozenset({"unreachable", "name", "resolver"})
_STUCK = frozenset({"refused", "timeout", "broken", "crash loop", "unhealthy", "busy", "garbage", "protocol"})
_WAY_OUT = {
    "memory": "Free memory on the host: see what uses it with 'docker stats --no-stream' and 'top -o %MEM'.",
    "table full": "A table of the kernel is full. See what holds so many files or connections, and end that.",
    "clock": "Set the clock right: 'timedatectl set-ntp true', or 'chronyc makestep'.",
    "pressure": "See what keeps the host busy with 'docker stats --no-stream' and 'top', and end or move it.",
    "log": "Make the log smaller: limit its size (logging options max-size and max-file in the Compose file).",
    "auth": "Its credentials are refused. Put right those that the services use, and those in the inventory.",
    "tls": "Its certificate is not accepted. Have it renewed, or put the authority right (ca_path).",
    "expired": "Its certificate has ended. Have it renewed.",
    "expiring": "Have its certificate renewed before it ends.",
    "misconf": "It cannot save, so it refuses writes. Do not restart it, what is not saved would be lost. Look for the "
    "reason in its log (disk, rights of its folder), remove it, then have it save with BGSAVE.",
    "persistence": "It cannot save. Do not restart it, what is not saved would be lost. Its log tells the reason.",
    "maxmemory": "Give it more memory (maxmemory), or let it evict keys (maxmemory-policy), or delete keys.",
    "readonly": "It takes no writes. See whether another server is the primary now, and point the services there.",
    "replication": "Look why the replica does not follow: its log, its connection to the primary.",
    "chain": "It follows another chain. Correct its URL; stop services that write to it meanwhile.",
    "connections": "End sessions that do nothing, or restart the service that holds most of them.",
    "transaction": "End the transaction that is open for so long.",
    "locks": "End the session that holds the others up.",
    "wraparound": "Have the database vacuumed (VACUUM FREEZE) before it stops to take writes.",
    "slot": "Drop the replication slot that nobody uses: its log fills the disk.",
    "memory limit": "Raise its memory limit in the Compose file, or find out what it needs so much memory for.",
    "oom": "It was killed for lack of memory. Raise its memory limit in the Compose file, then restart it.",
    "name": "Its name does not resolve. Correct the name, or the record in the DNS.",
    "database": "Look whether the database was renamed or dropped: a rollback that was cut off is resumed with "
    "'ansible-playbook usdx.rollback.resume'.",
    "limited": "It refuses because it was asked too often. Wait, or ask for a higher limit.",
}


def action(kind: str, text: str, command: str = "", **names: str) -> dict[str, Any]:
    """Return an action. ``names`` are ``service``, ``dependency`` and ``env_key``, empty where they mean nothing."""
    empty = {"service": "", "dependency": "", "env_key": ""}
    return {"kind": kind, "text": text, "command": command, **empty, **names}


def for_cause(cause: Trouble, probes: Iterable[Facts], known: Surroundings, project: str) -> dict[str, Any]:
    """Return what to do about a cause that is no fault of the release."""
    everything = list(probes)
    if cause.layer == "daemon":
        return action("fix", "Start the Docker daemon, and look at its log.", "systemctl start docker")
    if cause.layer == "disk":
        return _free_disk(cause, everything)
    if cause.layer in ("network", "dns"):
        return _mend_network(cause)
    backup = _switch(cause, everything, known)
    if backup and backup["kind"] == "switch_dependency":
        return backup
    service = _service_action(cause, known, project)
    if service:
        return service
    return backup or _mend(cause, known)


def roll_back(version: str, reason: str) -> dict[str, Any]:
    """Return the action to roll back, with the whole command."""
    words = ["ansible-playbook", "usdx.rollback.rollback"]
    words += ["-e", f"version={version}"] if version else []
    text = "Roll back." if version else "Roll back. The command lists the releases; add -e version=."
    # One word without quotes: the screen quotes the line again.
    words += ["-e", "reason=" + re.sub(r"[^A-Za-z0-9.]+", "-", reason).strip("-")] if version else []
    return action("roll_back", text, " ".join(shlex.quote(word) for word in words))


def _free_disk(cause: Trouble, probes: list[Facts]) -> dict[str, Any]:
    if cause.fault == "readonly":
        return action("fix", "The disk is mounted read-only. Look at the kernel's log, then remount it.", "dmesg -T")
    logs = [one["component"] for one in probes if one["kind"] == "log" and one["verdict"] == FAILED]
    hint = f" The log of {', '.join(logs)} is huge." if logs else ""
    command = "docker system df" if "*" in cause.probes[0]["affects"] else ""
    what = "inodes" if cause.probes[0]["kind"] == "inodes" else "space"
    return action("free_disk", f"Free {what} on {cause.component}.{hint}", command)


def _mend_network(cause: Trouble) -> dict[str, Any]:
    service = cause.component.rpartition(" of ")[2] if " of " in cause.component else ""
    if service and cause.layer == "dns":
        text = f"Look at /etc/resolv.conf in the container of {service}; restarting the container writes it anew."
        return action("restart_service", text, service=service)
    if service:
        text = f"Connect the container of {service} to its networks again, and look at the firewall."
        return action("fix", text, "docker network ls", service=service)
    if cause.layer == "dns":
        return action("fix", "Look at the name servers in /etc/resolv.conf, and whether they answer.")
    return action("fix", "Look at routes, firewall and provider of this host.", "ip route")


def _switch(cause: Trouble, probes: list[Facts], known: Surroundings) -> dict[str, Any] | None:
    """Return the switch to the backup, if there is one and it works; if it does not, what to do instead."""
    one = known.dependency(cause.component)
    if one is None or not one.has_backup:
        return None
    told = [probe for probe in probes if probe["component"] == cause.component + BACKUP and probe["decides"]]
    answers = any(probe["verdict"] == PASSED and probe["kind"] == "answers" for probe in told)
    works = answers and all(probe["verdict"] != FAILED for probe in told)
    if not works:
        return action("wait", f"{one.name} fails, and so does its backup. {_mend(cause, known)['text']}")
    if not one.env_key:
        text = f"Point the services at the backup of {one.name}, which works. The inventory names no env_key for it."
        return action("fix", text, dependency=one.name)
    text = f"Switch {one.name} to its backup, which works: set {one.env_key}, restart {', '.join(one.used_by)}."
    return action("switch_dependency", text, dependency=one.name, env_key=one.env_key)


def _service_action(cause: Trouble, known: Surroundings, project: str) -> dict[str, Any] | None:
    """Return what to do with the container of the service that fails, where that can mend it."""
    service = known.service_of(cause.component)
    if not service:
        return None
    kind, text, word = _of_container(cause.fault, service)
    command = f"docker compose --project-name {shlex.quote(project)} {word} {shlex.quote(service)}" if word else ""
    return action(kind, text, command, service=service) if kind else None


def _of_container(fault: str, service: str) -> tuple[str, str, str]:
    """Return kind and words of an action, and the command of Compose; empty where the container is not at fault."""
    if fault == "paused":
        return "fix", f"The container of {service} is paused.", "unpause"
    if fault in _NOT_FOUND:
        text = f"The container of {service} is not found: connect it to its networks again, with its name as alias."
        return "fix", text, ""
    if fault in NOT_RUNNING:
        return "start_service", f"Start {service}.", "up --detach --no-deps" if fault == "absent" else "start"
    if fault == "starting":
        return "wait", f"{service} starts or recovers. Wait, and diagnose again.", ""
    if fault in _STUCK:
        return "restart_service", f"Look at the log of {service}, then restart it.", "restart"
    return "", "", ""


def _mend(cause: Trouble, known: Surroundings) -> dict[str, Any]:
    service = known.service_of(cause.component)
    session = re.search(r"session (\d+)", " ".join(str(one["seen"]) for one in cause.probes))
    if cause.fault in ("locks", "transaction") and session:
        command = f"SELECT pg_terminate_backend({session[1]})"
        return action("fix", _WAY_OUT[cause.fault], command, service=service, dependency=cause.component)
    if cause.fault in _WAY_OUT:
        return action("fix", _WAY_OUT[cause.fault], service=service, dependency=cause.component)
    text = f"Tell who runs {cause.component}, wait, and diagnose again. With a backup_url it could be switched."
    return action("wait", text, service=service, dependency=cause.component)
