# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidecar: what was known of a backup when it was made, in ``<backup>.meta.json`` beside it.

It may have been copied, edited or put there by anybody, so it is read with a limit, and every value is checked.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .names import MARK

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".meta.json"
LIMIT = 4 << 20
_TEXTS = ("database", "format", "server_version", "pg_dump_version", "release", "commit", "lsn", "run_id")
_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says. ``path`` is empty when there is none; ``problem`` says why one that is there is not used."""

    path: str = ""
    problem: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def taken_at(self) -> datetime | None:
        """When the backup was taken, in UTC."""
        text = self.facts.get("taken_at")
        return parse_moment(text) if text else None


def sidecar_path(backup: Path) -> Path:
    """Return where the sidecar of a backup is."""
    return backup.with_name(backup.name + SUFFIX)


def parse_moment(text: str) -> datetime | None:
    """Return an ISO 8601 moment in UTC; nothing when the text is not one or has no zone."""
    try:  # before Python 3.11 neither "Z" nor "+0100" are understood
        moment = datetime.fromisoformat(
            re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", re.sub(r"[zZ]$", "+00:00", text.strip()))
        )
        return None if moment.utcoffset() is None else moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def write_moment(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC, to the second."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_sidecar(facts: dict[str, Any]) -> bytes:
    """Return the content of a sidecar."""
    return (json.dumps({MARK: 1, **facts}, indent=2, sort_keys=True) + "\n").encode()


def read_sidecar(backup: Path) -> Sidecar:
    """Return what the sidecar of a backup says; never fails, whatever is in it."""
    path = sidecar_path(backup)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return Sidecar(str(path), "it is no file")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except FileNotFoundError:
        return Sidecar()
    except OSError as error:
        return Sidecar(str(path), f"it cannot be read: {error.strerror}")
    if len(content) > LIMIT:
        return Sidecar(str(path), f"it is larger than {LIMIT} bytes")
    return _parse(str(path), content)


def _parse(path: str, content: bytes) -> Sidecar:
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return Sidecar(path, "it is not JSON")
    if not isinstance(facts, dict) or facts.get(MARK) != 1:
        return Sidecar(path, f"it is not an object with the key {MARK} and the value 1")
    wrong = [key for key, value in facts.items() if not _is_valid(key, value)]
    if wrong:
        return Sidecar(path, f"it has no valid {', '.join(sorted(wrong))}")
    return Sidecar(path, "", facts)


def _is_valid(key: str, value: Any) -> bool:
    if key in _TEXTS:
        return isinstance(value, str)
    if key == "bytes":
        return _is_number(value)
    if key == "sha256":
        return isinstance(value, str) and bool(_SUM.fullmatch(value))
    if key == "taken_at":
        return isinstance(value, str) and parse_moment(value) is not None
    if key == "tables":
        return isinstance(value, dict) and all(_is_number(rows) for rows in value.values())
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
