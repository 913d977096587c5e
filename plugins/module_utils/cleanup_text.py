# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of a cleanup: every single thing that goes, and how much stays."""

from __future__ import annotations

from typing import Any

_KINDS = {
    "images": ("image name", "image names"),
    "references": ("Git reference", "Git references"),
    "journals": ("journal", "journals"),
    "trees": ("private tree", "private trees"),
    "databases": ("database", "databases"),
}
# Of these, somebody's own work is gone for good when they are.
_WORK = ("local-edits", "untracked")
_UNIT = 1000.0


def cleanup_lines(cleanup: dict[str, Any]) -> list[str]:
    """Return what goes, a line for each thing.

    ``cleanup`` holds ``host``, ``project``, ``kept`` (the result of the module ``run_cleanup``) and ``database`` (that
    of ``pg_safe_restore`` with ``cleaned``; empty where the inventory names no database).
    """
    kept, database = cleanup["kept"], cleanup.get("database") or {}
    databases: list[dict[str, Any]] = database.get("dropped", [])
    things: dict[str, list[str]] = {
        **kept["dropped"],
        "databases": [f"{one['name']}, {_kind(one)} ({size_text(one['bytes'])})" for one in databases],
    }
    sizes = {**kept["bytes"], "databases": sum(one["bytes"] for one in databases)}
    left = {**kept["left"], **({"databases": len(database["left"])} if "left" in database else {})}
    lines = [f"Cleanup of project {cleanup['project']} on {cleanup['host']}"]
    for kind, names in things.items():
        if names:
            lines.append(f"Drop {_count(kind, len(names))}{_size(kind, sizes.get(kind, 0))}:")
            lines += [f"  {name}{_note(name)}" for name in names]
    if not any(things.values()):
        lines.append("Drop nothing: what is left is too young, too new, or in use")
    lines.append("Left: " + ", ".join(_count(kind, number) for kind, number in left.items()))
    if kept["in_use"]:
        lines.append(f"In use by a container, left: {', '.join(kept['in_use'])}")
    if kept["held"]:
        lines.append(f"A run that is under way, unfinished or failed keeps everything: {', '.join(kept['held'])}")
    return lines


def _count(kind: str, number: int) -> str:
    return f"{number} {_KINDS[kind][number != 1]}"


def _kind(database: dict[str, Any]) -> str:
    at = f" at {database['at']}" if database.get("at") else ""
    return f"{database.get('kind', 'side')}{at}"


def _size(kind: str, number: int) -> str:
    """Return the size in brackets. Images share layers, so of them it is an upper bound."""
    return f" ({'at most ' if kind == 'images' else ''}{size_text(number)})" if number else ""


def _note(name: str) -> str:
    ending = name.rpartition("/")[2]
    return "  <- saved work of somebody, gone for good" if "refs/rollback/" in name and ending.startswith(_WORK) else ""


def size_text(number: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit in ("bytes", "kB", "MB"):
        if number < _UNIT:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= _UNIT
    return f"{number:.1f} GB"
