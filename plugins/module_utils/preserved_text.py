# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a security incident in words: what would be taken, and what was sealed."""

from __future__ import annotations

from typing import Any


def planned_lines(result: dict[str, Any]) -> list[str]:
    """Return what would be taken, where, and about how much room it needs."""
    directory = result.get("directory")
    if result.get("state") in {"sealed", "encrypted"}:
        return [f"evidence is sealed already in {directory}"]
    groups = result.get("groups", [])
    needed, free = _megabytes(result.get("needed_bytes", 0)), _megabytes(result.get("free_bytes", 0))
    count = sum(group["item_count"] for group in groups)
    lines = [
        f"take evidence into {directory}: {count} things, at most about {needed}; {free} are free",
        f"of {', '.join(group['name'] for group in groups)}",
    ]
    dump = result.get("dump") or {}
    if dump.get("state") in {"planned", "made before"}:
        lines.append(f"dump the database {dump['database']} into it")
    if dump.get("state") == "failed":
        lines.append(f"no dump of the database {dump['database']}: {dump['why']}")
    return lines


def proof(facts: dict[str, Any]) -> str:
    """Return what was sealed, as the rest of a line."""
    place = (facts.get("encrypted") or {}).get("path") or facts.get("directory")
    words = f"; {facts.get('files')} files, {_megabytes(facts.get('bytes', 0))} in {place}"
    words += f"; sum of the manifest {facts.get('manifest_sha256')}"
    lacking = facts.get("not_taken_count") or len(facts.get("not_taken", []))
    words += f"; {lacking} things were refused, missing or cut" if lacking else ""
    dump = facts.get("dump") or {}
    return words + (f"; no dump of the database: {dump.get('why')}" if dump.get("state") == "failed" else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
