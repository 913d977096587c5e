# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis: it answers, takes writes, has memory left, and can save.

https://redis.io/docs/latest/commands/info/ names the fields. While Redis refuses writes because it cannot save, it
answers even a PING with MISCONF (server.c, processCommand), so nothing need be written to know it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .network import answered, certificate, latency, no_answer, question, wrong_answer
from .probe import Probe, failed, judged, passed, unknown

if TYPE_CHECKING:
    from datetime import datetime

    from .network import Answer
    from .settings import Dependency

_FULL = 95.0
# The first word of an error, and what it means.
_ERRORS = {
    "NOAUTH": ("auth", "it asks for a password, and none is given here"),
    "WRONGPASS": ("auth", "it refuses the user or the password"),
    "DENIED": ("auth", "it takes connections from its own host only (protected mode)"),
    "LOADING": ("starting", "it still loads its data"),
    "BUSY": ("busy", "it is busy with a script"),
    "MASTERDOWN": ("replication", "it is a replica, and its master is down"),
}


def questions(one: Dependency) -> dict[str, dict[str, Any]]:
    """Return what is asked."""
    return {
        "answers": question(one, "redis", username=one.username, password=one.password, tls=one.tls),
    }


def judge(one: Dependency, answers: dict[str, Answer], place: str, now: datetime) -> list[Probe]:
    """Judge what Redis answered."""
    answer = answers["answers"]
    missing = no_answer(one, answer, place)
    if missing:
        return [missing, *certificate(one, answer, place, now)]
    replies = answer["replies"]
    first = _answers(one, answer, place, replies)
    probes = [first, *certificate(one, answer, place, now)]
    if first.fault:
        return probes
    probes += [latency(one, answer["ping_seconds"], place), *_denied(one, replies, place)]
    info = fields(replies["INFO"])
    if not info:
        probes.append(unknown(one.name, "state", f"INFO says nothing: {replies['INFO'][:100]}", place=place))
        return probes
    misconf = replies["PING"].startswith("-MISCONF")
    judges = (_memory, _clients, _role)
    return [*probes, _saving(one, info, place, misconf=misconf), *(judge_one(one, info, place) for judge_one in judges)]


def fields(info: str) -> dict[str, str]:
    """Return the fields of an INFO; none of an error."""
    if info.startswith("-"):
        return {}
    return {key: value.strip() for key, found, value in (line.partition(":") for line in info.splitlines()) if found}


def _answers(one: Dependency, answer: Answer, place: str, replies: dict[str, str]) -> Probe:
    login, ping = replies.get("AUTH", ""), replies["PING"]
    if ping == "PONG" or ping.startswith("-MISCONF"):
        note = ", and wants no password" if login.startswith("-ERR") else ""
        return answered(one, answer, place, f"it answers{note}")
    word = (login if login.startswith("-WRONGPASS") else ping).lstrip("-").split(" ", 1)[0]
    if word in _ERRORS:
        fault, seen = _ERRORS[word]
        if word == "NOAUTH" and login:
            seen = f"it refuses the login: {login}"
        return wrong_answer(one, answer, place, fault, seen)
    if "max number of clients" in ping:
        return wrong_answer(one, answer, place, "connections", "its limit of clients is reached")
    return wrong_answer(one, answer, place, "error", f"it answers PING with {ping!r}")


def _denied(one: Dependency, replies: dict[str, str], place: str) -> list[Probe]:
    """Say when the user may not write. Redis before 7 cannot tell, https://redis.io/docs/latest/commands/acl-dryrun/."""
    told = replies.get("ACL", "")
    if "no permissions to run" not in told:
        return []
    seen = f"its user may not write: {told}"
    return [failed(one.name, "rights", "readonly", seen, limit="SET is allowed", place=place)]


def _saving(one: Dependency, info: dict[str, str], place: str, *, misconf: bool) -> Probe:
    """Judge whether the data reach the disk; Redis refuses writes when they do not."""
    wrong = []
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        wrong.append("the last snapshot (RDB) failed")
    if info.get("aof_enabled") == "1" and info.get("aof_last_write_status", "ok") != "ok":
        wrong.append("the last write to the log (AOF) failed")
    if info.get("aof_enabled") == "1" and info.get("aof_last_bgrewrite_status", "ok") != "ok":
        wrong.append("the last rewrite of the log (AOF) failed")
    if misconf:
        wrong.append("it refuses writes (MISCONF)")
    return judged(
        one.name, "persistence", bool(wrong), ", ".join(wrong) or "snapshots and log are written",
        limit="saved without errors", fault="misconf" if misconf else "persistence", place=place,
    )  # fmt: skip


def _memory(one: Dependency, info: dict[str, str], place: str) -> Probe:
    """Judge the memory: at its limit Redis refuses writes, unless it may evict keys and has some that it may."""
    used, limit = _int(info, "used_memory"), _int(info, "maxmemory")
    words = f"below {one.limits['max_memory_percent']:g}% of maxmemory, or keys can be evicted"
    if not limit:
        return passed(one.name, "memory", f"{used / 1e6:.1f} MB, no maxmemory", limit=words, place=place)
    policy, percent = info.get("maxmemory_policy", "noeviction"), 100 * used / limit
    volatile = policy.startswith("volatile") and not _expiring(info)
    stuck = policy == "noeviction" or volatile
    seen = f"{used / 1e6:.1f} of {limit / 1e6:.1f} MB ({percent:.0f}%), {policy}"
    seen += ", no key has a time to live" if volatile else ""
    is_bad = stuck and percent >= one.limits["max_memory_percent"]
    return judged(one.name, "memory", is_bad, seen, limit=words, fault="maxmemory", place=place)


def _expiring(info: dict[str, str]) -> int:
    """Return how many keys have a time to live: ``db0:keys=5,expires=1,avg_ttl=0``."""
    found = 0
    for key, value in info.items():
        if key.startswith("db") and "expires=" in value:
            text = value.split("expires=", 1)[1].split(",", 1)[0]
            found += int(text) if text.isdigit() else 0
    return found


def _clients(one: Dependency, info: dict[str, str], place: str) -> Probe:
    used, limit = _int(info, "connected_clients"), _int(info, "maxclients")
    words = f"below {_FULL:g}% of maxclients"
    seen = f"{used} clients of {limit}" if limit else f"{used} clients"
    is_bad = bool(limit) and 100 * used >= _FULL * limit
    return judged(one.name, "clients", is_bad, seen, limit=words, fault="connections", place=place)


def _role(one: Dependency, info: dict[str, str], place: str) -> Probe:
    """Judge whether it takes writes as a master, or follows its master as a replica."""
    role, link = info.get("role", "unknown"), info.get("master_link_status", "up")
    limit = "a replica that follows its master" if one.replica else "a master, which takes writes"
    if role == "slave" and (not one.replica or link != "up"):
        seen = f"it is a replica{'' if link == 'up' else ', and its master cannot be reached'}"
        fault = "readonly" if not one.replica else "replication"
        return failed(one.name, "role", fault, seen, limit=limit, place=place)
    return passed(one.name, "role", f"role {role}", limit=limit, place=place)


def _int(info: dict[str, str], key: str) -> int:
    text = info.get(key, "")
    return int(text) if text.isdigit() else 0
