# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys may log in as whom: fingerprints as ``ssh-keygen -l`` shows them."""

from __future__ import annotations

import base64
import hashlib
import pwd
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .item import json_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")
_LIMIT = 1 << 20
# Options may stand before the type: https://man.openbsd.org/sshd#AUTHORIZED_KEYS_FILE_FORMAT
_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk-)[a-z0-9@.-]*)\s+([A-Za-z0-9+/]{20,}={0,2})(?:\s+(.*))?$")


def authorized_keys() -> Iterator[bytes]:
    """Give a JSON line for each key of each user, and one for a file that may not be read."""
    for user in pwd.getpwall():
        for name in _FILES:
            path = Path(user.pw_dir, name)
            try:
                if not path.is_file():
                    continue
                facts = path.stat()
                with path.open("rb") as file:
                    text = file.read(_LIMIT).decode("utf-8", "backslashreplace")
            except OSError as error:
                yield json_line({"user": user.pw_name, "path": str(path), "why": error.strerror})
                continue
            about = {"user": user.pw_name, "path": str(path), "uid": facts.st_uid, "mode": oct(facts.st_mode & 0o7777),
                     "modified": facts.st_mtime}  # fmt: skip
            for key in keys_in(text):
                yield json_line({**about, **key})


def keys_in(text: str) -> list[dict[str, Any]]:
    """Return type, fingerprint, comment and options of each key; a line that is no key is counted as such."""
    found: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _KEY.search(line)
        told: dict[str, Any] = {"line": number, "why": "this line is no key"}
        if match:
            digest = hashlib.sha256(base64.b64decode(match[2] + "==")).digest()
            told = {
                "line": number, "type": match[1], "comment": match[3] or "", "options": line[: match.start(1)].strip(),
                "fingerprint": "SHA256:" + base64.b64encode(digest).decode().rstrip("="),
            }  # fmt: skip
        found.append(told)
    return found
