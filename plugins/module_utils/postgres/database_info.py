# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database is: its schema, what it was restored from, what is kept of it; and how it differs from a backup.

Nothing is changed and no row is read.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .connection import PSYCOPG2_IMPORT_ERROR, Login, message
from .dump_command import DumpCommand, DumpFailed, find_command, running_dump
from .options import login_of
from .preflight import find_live
from .reader import open_backup
from .schema import Schema, differences, fingerprint, schema_of
from .script import ScriptReader
from .server import Database, databases, one_value

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable

_UNTOUCHED = "Nothing was changed."


def database_info_as_asked(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options of the module ask for, which say how to log in, too."""
    return database_info(options, login_of)


def database_info(given: dict[str, Any], login_of: Callable[[dict[str, Any]], tuple[Login, str]]) -> dict[str, Any]:
    """Return what the options of the module ask for; raise ``RollbackError`` when it cannot be told."""
    login, container = login_of(given)
    try:
        with login.cursor() as cursor:
            found = databases(cursor)
            live = find_live(found, given["db"], given["maintenance_db"])
            size = one_value(cursor, "SELECT pg_database_size(%s)", (live.name,))
            server = cursor.connection.server_version
    except psycopg2.Error as error:
        raise RollbackError(
            f"The server refuses: {message(error)}. {_UNTOUCHED}", "Use a role that may see the database."
        ) from error
    own = sorted(
        (one for one in found.values() if one.mark.get("database") == live.name),
        key=lambda one: str(one.mark.get("at", "")),
        reverse=True,
    )
    result: dict[str, Any] = {
        "changed": False, "database": live.name, "live_oid": live.oid, "owner": live.owner, "bytes": size,
        "kept": [_described(one) for one in own if one.mark.get("kind") in {"kept", "undone"}],
        "side": [_described(one) for one in own if one.mark.get("kind") == "side"],
        "restored_from": _restored_from(live, own),
    }  # fmt: skip
    if given["schema"] or given["backup"]:
        command = find_command(server, container, given["docker_host"])
        schema = _live_schema(command, login, live.name, given["timeout"])
        result["schema"] = {"sha256": fingerprint(schema), "pg_dump_version": command.version}
        if given["backup"]:
            result["comparison"] = _compare(schema, command, given["backup"])
    return result


def _described(one: Database) -> dict[str, Any]:
    facts = {key: str(one.mark.get(key, "")) for key in ("kind", "at", "run_id", "backup", "state")}
    return {"name": one.name, "oid": one.oid, **facts}


def _restored_from(live: Database, own: list[Database]) -> dict[str, Any]:
    """Return the kept database that the live one took the place of, and the backup it was made from."""
    return next(
        (_described(one) for one in own if one.mark.get("kind") == "kept" and one.mark.get("live_oid") == live.oid), {}
    )


def _live_schema(command: DumpCommand, login: Login, database: str, timeout: float) -> Schema:
    name = f"usdx.rollback {secrets.token_hex(8)}"
    try:
        with running_dump(command, login, database, ["--schema-only"], name, timeout) as pieces:
            return schema_of(ScriptReader(pieces).events())
    except DumpFailed as error:
        raise RollbackError(
            f"The schema of {database} cannot be read: {error}. {_UNTOUCHED}",
            "Use a role that may read every table of it, or decide yourself instead of comparing.",
        ) from error


def _compare(live: Schema, command: DumpCommand, path: str) -> dict[str, Any]:
    """Compare with a backup, which is read to its end; only what the same pg_dump wrote can be compared as text."""
    with open_backup(path) as backup:
        dumped = schema_of(backup.reader.events())
        version = backup.reader.facts.pg_dump_version
    major = re.match(r"\d+", version)
    facts: dict[str, Any] = {
        "backup": path, "backup_pg_dump_version": version, "backup_sha256": fingerprint(dumped),
        "comparable": bool(major) and int(major.group() if major else 0) == command.major,
    }  # fmt: skip
    if facts["comparable"]:
        facts["differences"] = differences(live, dumped)
        facts["equal"] = not facts["differences"]
    return facts
