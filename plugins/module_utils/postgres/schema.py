# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of a database as pg_dump writes it, and how the schemas of two dumps differ.

Compared are the statements that an application depends on. Owners, privileges and comments are not, because a restore
takes them from the live database; rows are not, nor the order of columns, because a migration that is reverted and made
again puts a column at the end.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from .dump import Statement
from .statements import classify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .dump import Event

Schema = dict[str, list[str]]
"""By the first line of each statement, such as ``CREATE TABLE public.pools``, its other lines; of tables sorted."""

_IGNORED = re.compile(
    rb"(?:GRANT|REVOKE|SET SESSION|RESET SESSION|COMMENT ON|SECURITY LABEL|REFRESH MATERIALIZED VIEW|"
    rb"ALTER DEFAULT PRIVILEGES|BEGIN|COMMIT|ALTER LARGE OBJECT|SELECT pg_catalog\.lo|CREATE SCHEMA public;)|"
    rb"ALTER .* OWNER TO .*;$",
    re.IGNORECASE | re.DOTALL,
)
# What a server notes on columns by itself (seen in 15.20); an older minor version of pg_dump writes it down.
_NOTED_BY_SERVER = re.compile(rb"pg_attver=\d+(?:, )?|, pg_attver=\d+(?=\))")
_TABLE = re.compile("(CREATE|ALTER) .*TABLE ")
_SHOWN = 20  # differences that are named one by one


def schema_of(events: Iterable[Event]) -> Schema:
    """Return the schema that the events of a dump make; reads them to their end."""
    found: Schema = {}
    for event in events:
        if isinstance(event, Statement) and _counts(event):
            sql = _NOTED_BY_SERVER.sub(b"", event.sql)
            if sql.endswith(b" SET ();"):
                continue
            lines = [line.strip().rstrip(",") for line in sql.decode("utf-8", "replace").splitlines()]
            name = lines[0].rstrip(" (;")
            found.setdefault(name, []).extend(line for line in lines[1:] if line not in {"", ")", ");"})
    return {name: sorted(lines) if _TABLE.match(name) else lines for name, lines in sorted(found.items())}


def _counts(statement: Statement) -> bool:
    if _IGNORED.match(statement.sql) or classify(statement).how in {"session", "rows", "skip"}:
        return False
    return not statement.sql.lower().startswith(b"select pg_catalog.setval")


def fingerprint(schema: Schema) -> str:
    """Return one sum of a whole schema, to tell whether it has changed."""
    digest = hashlib.sha256()
    for name, lines in sorted(schema.items()):
        digest.update("\0".join([name, *lines, ""]).encode())
    return digest.hexdigest()


def differences(live: Schema, backup: Schema) -> list[str]:
    """Return how the live schema differs from that of a backup, in sentences; empty when they are equal."""
    told = []
    for name in sorted(set(live) | set(backup)):
        if name not in backup:
            told.append(f"only in the live database: {name}")
        elif name not in live:
            told.append(f"only in the backup: {name}")
        else:
            told += [f"{name}, only in the live database: {line}" for line in _without(live[name], backup[name])]
            told += [f"{name}, only in the backup: {line}" for line in _without(backup[name], live[name])]
    left = len(told) - _SHOWN
    return told[:_SHOWN] + ([f"and {left} more"] if left > 0 else [])


def _without(lines: list[str], others: list[str]) -> list[str]:
    left = list(others)
    missing = []
    for line in lines:
        if line in left:
            left.remove(line)
        else:
            missing.append(line)
    return missing
