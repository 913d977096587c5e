# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a capture is whole already: a line for each attempt and each thing taken, only ever appended to.

A kill may tear the last line. The next writer closes it with a newline, and the reader skips it; its thing is taken
again under another name.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NAME = "ledger.jsonl"


class Ledger:
    """The ledger in a directory; one that does not exist is empty."""

    def __init__(self, directory: Path) -> None:
        """Read what is there; raises ``OSError``."""
        self.path = directory / NAME
        self.attempts: list[dict[str, Any]] = []
        self.items: dict[str, dict[str, Any]] = {}
        """What was tried, by the name of the item."""
        self.torn = False
        content = self.path.read_bytes() if self.path.exists() else b""
        self.torn = bool(content) and not content.endswith(b"\n")
        for line in content.split(b"\n"):
            self._note(_parsed(line))

    def _note(self, line: dict[str, Any]) -> None:
        if "attempt" in line:
            self.attempts.append(line)
        elif "item" in line:
            self.items[line["item"]] = line

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """Return what is known of each whole file, by its name."""
        found = {}
        for line in self.items.values():
            for file in line["files"]:
                found[file["name"]] = {**line, **file}
        return found

    @property
    def bytes(self) -> int:
        """Return the size of all whole files."""
        return sum(file["bytes"] for file in self.files.values())

    def add(self, line: dict[str, Any]) -> None:
        """Append a line and bring it to the disk; raises ``OSError``."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self.path, flags, 0o600), "ab") as file:
            file.write(b"\n" * self.torn + json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.torn = False
        self._note(line)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    whole = isinstance(value, dict) and ("attempt" in value or isinstance(value.get("files"), list))
    return value if whole else {}
