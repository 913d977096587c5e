# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused before anything changes: a server, a database or a backup that a restore cannot end well with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .server import free_connections, is_superuser, one_value

if TYPE_CHECKING:
    from .dump import DumpFacts
    from .server import Database

OLDEST_SERVER = 13
_PREPARED = "SELECT string_agg(gid || ' of ' || owner, ', ') FROM pg_prepared_xacts WHERE database = %s"
_SLOTS = "SELECT string_agg(slot_name, ', ') FROM pg_replication_slots WHERE database = %s"
SUBSCRIPTIONS = "SELECT string_agg(subname, ', ') FROM pg_subscription WHERE subdbid = %s"
# Whoever only may become the owner (NOINHERIT) could make a database for it, but neither rename nor drop that.
_MAY_BE_OWNER = """
  SELECT rolcreatedb AND pg_has_role(session_user, %s, 'USAGE') AND pg_has_role(session_user, %s, %s)
  FROM pg_roles WHERE rolname = session_user"""
_SET_SINCE = 160000  # before, every member may SET ROLE
_FENCED = (
    "The login role is no superuser: newcomers are refused for some milliseconds while the names change, for some "
    "tenths of a second when autovacuum is at work there."
)


def find_live(found: dict[str, Database], name: str, maintenance: str) -> Database:
    """Return the live database; refuse one that does not exist, is a template, or is the maintenance database."""
    if name not in found:
        names = ", ".join(
            sorted(one for one, facts in found.items() if not facts.mark and not facts.facts["datistemplate"])
        )
        raise RollbackError(
            f"There is no database {name} on this server; there are {names}. Nothing was changed.",
            "Give the name of the live database in db.",
        )
    if name == maintenance:
        raise RollbackError(
            f"The live database {name} is also the maintenance database, and a database cannot be renamed from inside. "
            "Nothing was changed.",
            "Give another maintenance_db, for example template1.",
        )
    return found[name]


def check_server(cursor: Any, live: Database, jobs: int, *, allow_replication: bool) -> list[str]:
    """Refuse what would make the restore or the cutover fail; return warnings."""
    version = cursor.connection.server_version // 10000
    if version < OLDEST_SERVER:
        raise _refusal(f"The server has version {version}", f"{OLDEST_SERVER} or later is needed")
    superuser = is_superuser(cursor)
    right_to_be = "SET" if cursor.connection.server_version >= _SET_SINCE else "MEMBER"
    if not superuser and not one_value(cursor, _MAY_BE_OWNER, (live.owner, live.owner, right_to_be)):
        raise _refusal(
            f"The login role may not create and rename databases of {live.owner}",
            f"log in as a superuser, or with CREATEDB as {live.owner} or a member of it that inherits its rights and "
            "may SET ROLE to it",
        )
    _check_blockers(cursor, live, allow_replication=allow_replication)
    free = free_connections(cursor)
    if free < jobs + 3:
        raise _refusal(
            f"The server has {free} connections left for the login role, {jobs + 3} are needed",
            "give fewer jobs, or raise max_connections or the connection limit of the role",
        )
    if superuser:
        return []
    return [_FENCED]


def _check_blockers(cursor: Any, live: Database, *, allow_replication: bool) -> None:
    prepared = one_value(cursor, _PREPARED, (live.name,))
    if prepared:
        raise _refusal(
            f"The database {live.name} has prepared transactions: {prepared}",
            "end them with COMMIT PREPARED or ROLLBACK PREPARED",
        )
    slots = one_value(cursor, _SLOTS, (live.name,))
    subscriptions = one_value(cursor, SUBSCRIPTIONS, (live.oid,))
    if (slots or subscriptions) and not allow_replication:
        raise _refusal(
            f"The database {live.name} has replication slots ({slots or 'none'}) or subscriptions "
            f"({subscriptions or 'none'}); they would stay with the kept database",
            "remove them, or give allow_replication_objects=true and set them up again afterwards",
        )


def check_dump(facts: DumpFacts, server_version: int, database: str, *, allow_newer: bool) -> None:
    """Refuse a dump of a newer server, or of another database where the dump says so (archives do)."""
    major = re.match(r"\d+", facts.server_version)
    if major and int(major.group()) > server_version // 10000 and not allow_newer:
        raise _refusal(
            f"The dump is of a Postgres {facts.server_version}, newer than this server ({server_version // 10000})",
            "choose another backup, or give allow_newer_dump=true",
        )
    if facts.database and facts.database != database:
        raise _refusal(
            f"The dump is of the database {facts.database}, not of {database}",
            "choose a backup of this database, or name the origin in dumped_database",
        )


def check_sidecar(said: dict[str, Any], seen: dict[str, Any]) -> None:
    """Refuse a backup that is not what its sidecar says: another size, sum, or number of rows."""
    differing = sorted(
        key for key in ("bytes", "sha256", "tables") if key in said and key in seen and said[key] != seen[key]
    )
    if differing:
        raise _refusal(
            f"The backup is not the one that its sidecar describes: {', '.join(differing)} differ",
            "choose another backup, or fetch this one again from where it was copied",
        )


def check_tables(dumped: set[str], live: set[str]) -> None:
    """Refuse a dump that has no table in common with the live database: it is of another application.

    A plain dump does not say which database it is of. An empty live database accepts any dump.
    """
    if live and not dumped & live:
        raise _refusal(
            f"The dump has no table in common with the live database ({len(dumped)} in the dump, {len(live)} live)",
            "choose a backup of this database, or give allow_other_tables=true",
        )


def check_share(rows: int, live: int, least: float) -> None:
    """Refuse a backup that holds less than this share of the live database's rows."""
    if rows < live * least:
        raise _refusal(
            f"The backup holds {rows} rows, the live database about {live}; min_rows_ratio is {least:g}",
            "choose another backup, or lower min_rows_ratio",
        )


def check_rows(tables: dict[str, int], expected: list[dict[str, Any]]) -> None:
    """Refuse a backup whose tables do not hold as many rows as is expected of them."""
    wrong = [told for one in expected if (told := _other_than_expected(tables, one))]
    if wrong:
        raise _refusal(
            f"The backup does not hold the rows that are expected: {'; '.join(wrong)}",
            "choose another backup, or correct expected_rows",
        )


def _other_than_expected(tables: dict[str, int], one: dict[str, Any]) -> str:
    table, rows = one["table"], tables.get(one["table"])
    if rows is None:
        return f"there is no table {table}"
    if one.get("equals") is not None and rows != one["equals"]:
        return f"{table} has {rows}, expected were {one['equals']}"
    if one.get("minimum") is not None and rows < one["minimum"]:
        return f"{table} has {rows}, expected were at least {one['minimum']}"
    return ""


def _refusal(what: str, way_out: str) -> RollbackError:
    return RollbackError(f"{what}. Nothing was changed.", f"{way_out[0].upper()}{way_out[1:]}, then run again.")
