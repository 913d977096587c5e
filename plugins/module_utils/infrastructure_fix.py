# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator asks to be mended after a diagnosis: one restart, or one switch; never more, never by itself."""

from __future__ import annotations

from typing import Any

NONE, RESTART, SWITCH = "none", "restart", "switch"
BACKUP, PRIMARY = "backup", "primary"
_SOURCES = {BACKUP: "backup_url", PRIMARY: "url"}
_NOTHING = {"kind": NONE, "services": [], "dependency": "", "env_key": "", "source": "", "to": "", "refusal": ""}


def infrastructure_fix(
    asked: dict[str, Any], dependencies: list[dict[str, Any]], found: dict[str, Any]
) -> dict[str, Any]:
    """Return what is to be done, without any address: ``kind`` is ``none``, ``restart`` or ``switch``.

    ``asked`` holds ``restart`` (names, a list or with commas between them), ``switch`` (a name of ``dependencies``),
    ``switch_to`` (``backup`` or ``primary``), and ``services``, all that the inventory knows. ``found`` is the
    diagnosis. ``refusal`` says why it cannot be done, and is empty when it can. The other keys: ``services`` to
    restart, ``dependency``, its ``env_key``, and which of its keys is the ``source`` of the new address.
    """
    services, name = _names(asked.get("restart")), str(asked.get("switch") or "")
    if services and name:
        return _refused("restart and switch were both given", "one of them; the other in a run of its own")
    if services:
        return _restart(services, [str(one) for one in asked["services"]])
    if name:
        return _switch(name, str(asked.get("switch_to") or BACKUP), dependencies, found)
    return {**_NOTHING, "refusal": _nothing_asked(found)}


def _names(given: object) -> list[str]:
    names = given if isinstance(given, list) else str(given or "").split(",")
    return [text for name in names if (text := str(name).strip())]


def _restart(services: list[str], known: list[str]) -> dict[str, Any]:
    unknown = [name for name in services if name not in known]
    if unknown:
        return _refused(f"restart names {', '.join(unknown)}", f"services of the inventory: {', '.join(known)}")
    return {**_NOTHING, "kind": RESTART, "services": list(dict.fromkeys(services))}


def _switch(name: str, where: str, dependencies: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    if where not in _SOURCES:
        return _refused(f"switch_to={where!r} was given", f"{BACKUP} or {PRIMARY}")
    usable = [str(one["name"]) for one in dependencies if one.get("env_key") and one.get("backup_url")]
    if name not in usable:
        listed = ", ".join(usable) or "none; give one env_key and backup_url in rollback_dependencies"
        return _refused(f"switch={name!r} was given", f"a dependency that can be switched: {listed}")
    one = next(one for one in dependencies if one["name"] == name)
    bad = _failing(name if where == PRIMARY else f"{name} ({BACKUP})", found)
    if bad:
        return _refused(f"switch={name!r} was given, and its {where} fails too: {bad}", "a switch to what works")
    return {
        **_NOTHING, "kind": SWITCH, "services": [str(service) for service in one.get("used_by") or []],
        "dependency": name, "env_key": str(one["env_key"]), "source": _SOURCES[where], "to": where,
    }  # fmt: skip


def _failing(component: str, found: dict[str, Any]) -> str:
    bad = [one for one in _probes_of(component, found) if one["verdict"] == "failed"]
    return str(bad[0]["seen"]) if bad else ""


def _probes_of(component: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was seen of a component: from where it is used, else from the host, which may not know its name."""
    probes = [one for one in found.get("probes", []) if one["component"] == component]
    return [one for one in probes if one["from"] != "host"] or probes


def _nothing_asked(found: dict[str, Any]) -> str:
    action = found.get("action") or {}
    service, dependency = action.get("service"), action.get("dependency")
    typed = {
        "restart_service": f"-e restart={service}",
        "start_service": f"-e restart={service}",
        "switch_dependency": f"-e switch={dependency}",
    }.get(str(action.get("kind")), "")
    proposal = str(action.get("text") or "Nothing is proposed.")
    how = f"If you agree, type the same again with {typed}." if typed else _by_hand(action)
    return f"Nothing was asked to be mended, and nothing was changed. {proposal} {how}"


def _by_hand(action: dict[str, Any]) -> str:
    """Return how to do what this scenario does not do, or does by another way."""
    command, service = action.get("command"), action.get("service")
    words = f"Do it with: {command}. " if command else ""
    return f"{words}What this scenario does: -e restart={service or 'SERVICE'}, or -e switch=DEPENDENCY."


def _refused(what: str, accepted: str) -> dict[str, Any]:
    return {
        **_NOTHING,
        "refusal": f"{what[0].upper()}{what[1:]}, which is not accepted. Nothing was changed. Accepted: {accepted}.",
    }


def infrastructure_checks(found: dict[str, Any], components: list[str]) -> list[dict[str, Any]]:
    """Return the probes of some components as checks, those that were not known among them."""
    return [
        {
            "name": one["name"] + ("" if one["from"] == "host" else f" from {one['from']}"), "kind": "probe",
            "verdict": one["verdict"], "seen": one["seen"], "limit": one["limit"], "seconds": one["seconds"],
            "decides": True,
        }
        for component in components
        for one in _probes_of(component, found)
    ]  # fmt: skip


def infrastructure_lines(asked: dict[str, Any]) -> list[str]:
    """Return what a person reads of it before it is done."""
    if asked.get("kind") == RESTART:
        return [f"restart {', '.join(asked['services'])}, the same containers, until healthy"]
    if asked.get("kind") == SWITCH:
        used = ", ".join(asked["services"]) or "the services that use it"
        return [
            f"switch {asked['dependency']} to its {asked['to']}: {asked['env_key']} in the environment file",
            f"{used} start anew with it; put back if that is not better",
        ]
    return [str(asked.get("refusal") or "nothing")]
