# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the databases that stand beside the live one, and the marks (comments) that say what they are.

The catalog of the server is the only truth about a restore: a side or kept database is known by its comment, which is
a JSON object with the key ``usdx.rollback``. A local file could be lost or belong to another server.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

MARK = "usdx.rollback"
# NAMEDATALEN - 1: a longer name is cut silently, and two cut names could be the same.
LIMIT = 63


def beside(database: str, suffix: str) -> str:
    """Return ``<database>_<suffix>`` within the length that Postgres keeps, counted in bytes.

    A database name that is too long is cut and gets six digits of its own hash, so that two long names stay apart.
    """
    name = f"{database}_{suffix}"
    if len(name.encode()) <= LIMIT:
        return name
    digest = hashlib.sha256(database.encode()).hexdigest()[:6]
    room = LIMIT - len(f"_{digest}_{suffix}".encode())
    return f"{database.encode()[:room].decode(errors='ignore')}_{digest}_{suffix}"


def side_database(database: str, sha256: str) -> str:
    """Return the name of the side database for a backup with this sum."""
    return beside(database, f"side_{sha256[:8]}")


def is_side_name(database: str, name: str) -> bool:
    """Say whether a name is one that ``side_database`` gives for this database."""
    prefix, digits = name[:-8], name[-8:]
    return prefix == beside(database, "side_00000000")[:-8] and re.fullmatch("[0-9a-f]{8}", digits) is not None


def kept_database(database: str, moment: str) -> str:
    """Return the name under which the former live database is kept; ``moment`` is like ``20261124T193000Z``."""
    return beside(database, f"before_{moment}")


def write_mark(**facts: Any) -> str:
    """Return the comment for a side or kept database."""
    return json.dumps({MARK: 1, **facts}, sort_keys=True)


def read_mark(comment: str | None) -> dict[str, Any]:
    """Return the facts of a mark; empty for a comment that is not one."""
    try:
        mark = json.loads(comment or "")
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) and mark.get(MARK) == 1 else {}
