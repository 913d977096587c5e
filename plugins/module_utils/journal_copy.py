# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of journals: what a host that is lost can no more tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import RollbackError
from .whole_file import write_whole

_FILE_MODE, _DIRECTORY_MODE = 0o600, 0o700
_LONGEST_NAME = 200


def copy_journal(directory: str, host: str, events: list[dict[str, Any]], *, check: bool = False) -> dict[str, Any]:
    """Write the events of a host as ``HOST.jsonl`` into the directory of copies of a run, and make that if need be.

    The same events change nothing. With ``check`` nothing is written. Raises ``RollbackError`` for a host whose name
    cannot be that of a file, and when the copy cannot be read or written.
    """
    place = Path(directory)
    path = place / f"{_file_name(host)}.jsonl"
    text = "".join(json.dumps(event) + "\n" for event in events)
    try:
        changed = not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text
        if changed and not check:
            _make(place)
            write_whole(path, text, _FILE_MODE)
    except OSError as error:
        raise RollbackError(
            f"The journal of {host} cannot be copied to {path}: {error.strerror or error}. The journal itself is "
            "untouched.",
            "The user of Ansible on the controller needs the right to write there, and room.",
        ) from error
    return {"changed": changed, "path": str(path)}


def _file_name(host: str) -> str:
    if not host or len(host) > _LONGEST_NAME or host.startswith(".") or "/" in host or "\0" in host:
        raise RollbackError(
            f"host={host!r} is not accepted: a file cannot be named like that. Nothing was written.",
            f"Give the host a name without a slash, of at most {_LONGEST_NAME} characters, that begins with no dot.",
        )
    return host


def _make(place: Path) -> None:
    """Make a directory and those above it, each for its owner only; ``Path.mkdir`` gives a mode to the last alone."""
    for one in [*reversed(place.parents), place]:
        if not one.is_dir():
            one.mkdir(_DIRECTORY_MODE, exist_ok=True)
