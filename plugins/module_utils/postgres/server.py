# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases of a server: what they are, how one is made beside another, and the lock of a restore."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .connection import PSYCOPG2_IMPORT_ERROR
from .names import read_mark

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    import psycopg2.errors
    from psycopg2.extensions import quote_ident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .connection import Login

_DATABASES = """
  SELECT to_jsonb(d) - 'datacl', pg_get_userbyid(d.datdba), t.spcname, pg_encoding_to_char(d.encoding),
         shobj_description(d.oid, 'pg_database')
  FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace"""
_STRATEGIES_SINCE = 150000
_INVALID = -2  # datconnlimit of a database whose DROP was interrupted
# The connection limit that a database is made with. It says from the first moment on that a run made it, when there can
# be no comment yet. Nobody meets a limit this high, and that of the live database is carried over later.
_NEWBORN = 2_011_764_517
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
# The key of the advisory lock; all runs take it in the same maintenance database, because it counts per database.
_LOCK = "SELECT pg_try_advisory_lock(hashtext('usdx.rollback'), hashtext(%s))"
# Of a session of another role a login without special rights sees neither.
_HOLDER = """
  SELECT a.pid, CASE WHEN a.backend_start IS NULL THEN 'unknown' ELSE coalesce(host(a.client_addr), 'local') END,
         coalesce(to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'unknown')
  FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
  WHERE l.locktype = 'advisory' AND l.granted AND l.classid = hashtext('usdx.rollback')::oid
    AND l.objid = hashtext(%s)::oid
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
# Of sessions that a role may not see, also what they are is hidden; those of users have a database and a user.
CLIENT = (
    "coalesce(backend_type, CASE WHEN datid IS NOT NULL AND usesysid IS NOT NULL THEN 'client backend' END) "
    "= 'client backend'"
)
# reserved_connections is there from version 16 on.
RESERVED = (
    "current_setting('superuser_reserved_connections')::int "
    "+ coalesce(current_setting('reserved_connections', true)::int, 0)"
)
_FREE = f"""
  SELECT least(current_setting('max_connections')::int - ({RESERVED}) - count(*),
               (SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user AND rolconnlimit >= 0 AND NOT rolsuper)
               - count(*) FILTER (WHERE usename = session_user))
  FROM pg_stat_activity WHERE {CLIENT}"""
# A worker of autovacuum has no user. Only a superuser may end it; for others the server does, before it renames, copies
# or drops a database. A session of a superuser may be ended by superusers only; for others it counts until it ends.
_END = """
  SELECT count(CASE WHEN rolsuper AND NOT current_setting('is_superuser')::boolean THEN false
                    ELSE pg_terminate_backend(pid) END)
  FROM pg_stat_activity LEFT JOIN pg_roles ON pg_roles.oid = usesysid
  WHERE datname = ANY (%s) AND pid <> pg_backend_pid()
    AND (usesysid IS NOT NULL OR current_setting('is_superuser')::boolean)"""

_SUBSCRIPTION_ENDS = """
  SELECT format(unnest(ARRAY['ALTER SUBSCRIPTION %1$I DISABLE', 'ALTER SUBSCRIPTION %1$I SET (slot_name = NONE)',
                             'DROP SUBSCRIPTION %1$I']), subname)
  FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
_LARGE_TABLE_ENDS = """
  SELECT format('DROP %s %s CASCADE', CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, oid::regclass)
  FROM pg_class WHERE relkind IN ('r', 'm') AND oid >= 16384 AND pg_total_relation_size(oid) > 1 << 20
  ORDER BY pg_total_relation_size(oid) DESC"""


@dataclass(frozen=True)
class Database:
    """One row of pg_database, with names instead of object ids."""

    name: str
    oid: int
    owner: str
    tablespace: str
    encoding: str
    comment: str
    facts: dict[str, Any]

    @property
    def mark(self) -> dict[str, Any]:
        """What the collection noted about this database; empty for one that it did not make or keep."""
        return read_mark(self.comment)

    @property
    def accepts_connections(self) -> bool:
        """Whether clients may connect; a kept database is frozen."""
        return bool(self.facts["datallowconn"])

    @property
    def invalid(self) -> bool:
        """Whether a DROP of it was interrupted: nobody can connect, and it can only be dropped again."""
        return int(self.facts["datconnlimit"]) == _INVALID

    @property
    def newborn(self) -> bool:
        """Whether a run made it and has carried nothing over to it yet."""
        return int(self.facts["datconnlimit"]) == _NEWBORN


def databases(cursor: Any) -> dict[str, Database]:
    """Return all databases of the server by name."""
    cursor.execute(_DATABASES)
    found = (
        Database(facts["datname"], int(facts["oid"]), owner, tablespace, encoding, comment or "", facts)
        for facts, owner, tablespace, encoding, comment in cursor.fetchall()
    )
    return {one.name: one for one in found}


def create_statement(name: str, model: Database, cursor: Any) -> str:
    """Return the CREATE DATABASE for an empty database with owner, encoding, locale and tablespace of ``model``.

    From template0, because template1 may hold objects and another locale. Columns of pg_database by version:
    https://www.postgresql.org/docs/current/catalog-pg-database.html (datlocale since 17, daticulocale before).
    """
    facts = model.facts
    provider = _PROVIDERS[facts.get("datlocprovider", "c")]
    options = {
        "TEMPLATE": "template0",
        "OWNER": quote_ident(model.owner, cursor),
        "ENCODING": _literal(model.encoding),
        "LC_COLLATE": _literal(facts["datcollate"]),
        "LC_CTYPE": _literal(facts["datctype"]),
    }
    if model.tablespace != "pg_default":  # naming it needs a right on it that an owner need not have
        options["TABLESPACE"] = quote_ident(model.tablespace, cursor)
    if "datlocprovider" in facts:
        options["LOCALE_PROVIDER"] = provider
    locale = facts.get("datlocale") or facts.get("daticulocale")
    if provider != "libc" and locale:
        options["ICU_LOCALE" if provider == "icu" else "BUILTIN_LOCALE"] = _literal(locale)
    if facts.get("daticurules"):
        options["ICU_RULES"] = _literal(facts["daticurules"])
    return _create(name, options, cursor)


def copy_statement(name: str, model: Database, cursor: Any) -> str:
    """Return the CREATE DATABASE for a copy of ``model`` with all that is in it.

    Files are copied where the server can (since 15), because otherwise every page goes through the write-ahead log:
    https://www.postgresql.org/docs/current/sql-createdatabase.html
    """
    options = {"TEMPLATE": quote_ident(model.name, cursor), "OWNER": quote_ident(model.owner, cursor)}
    if cursor.connection.server_version >= _STRATEGIES_SINCE:
        options["STRATEGY"] = "file_copy"
    return _create(name, options, cursor)


def _create(name: str, options: dict[str, str], cursor: Any) -> str:
    words = " ".join(f"{key} = {value}" for key, value in options.items())
    return f"CREATE DATABASE {quote_ident(name, cursor)} {words} CONNECTION LIMIT = {_NEWBORN}"


def tell_to_end(cursor: Any, names: list[str]) -> int:
    """Tell the sessions on these databases to end; return how many there were."""
    cursor.execute(_END, (names,))
    return int(cursor.fetchone()[0])


def drop_database(cursor: Any, name: str) -> None:
    """Drop a database whoever is on it, also one whose DROP was interrupted before."""
    statement = f"DROP DATABASE IF EXISTS {quote_ident(name, cursor)}"
    try:
        cursor.execute(f"{statement} WITH (FORCE)")
    except psycopg2.errors.InsufficientPrivilege:
        # FORCE needs the right to end each session, also a worker of autovacuum; a plain DROP ends that one by itself.
        tell_to_end(cursor, [name])
        cursor.execute(statement)


def drop_side_database(cursor: Any, login: Login, name: str) -> None:
    """Drop a database that a load made; first what would stop that.

    DROP DATABASE begins with a checkpoint, which fails on a full disk and leaves the database as it is. DROP TABLE
    frees its space without one. A subscription that came with the dump refuses the DROP of its database.
    """
    tell_to_end(cursor, [name])
    with suppress(RollbackError, psycopg2.Error), login.cursor(name) as inside:  # else the DROP itself says why not
        inside.execute("SET lock_timeout = '5s'")
        for query in (_SUBSCRIPTION_ENDS, _LARGE_TABLE_ENDS):
            inside.execute(query)
            for (statement,) in inside.fetchall():
                with suppress(psycopg2.Error):  # a table of an extension, for example; the others count
                    inside.execute(statement)
    drop_database(cursor, name)


def set_comment(cursor: Any, name: str, comment: str | None) -> None:
    """Set the comment of a database; none removes it."""
    cursor.execute(f"COMMENT ON DATABASE {quote_ident(name, cursor)} IS %s", (comment or None,))


def take_lock(cursor: Any, database: str) -> None:
    """Take the lock of a database for as long as the connection lives; refuse when another run holds it."""
    cursor.execute(_LOCK, (database,))
    if cursor.fetchone()[0]:
        return
    cursor.execute(_HOLDER, (database,))
    pid, address, since = cursor.fetchone() or ("unknown", "unknown", "unknown")
    raise RollbackError(
        f"Another run works on the database {database}: server process {pid}, client {address}, since {since}. "
        "Nothing was changed by this one.",
        f"Wait until it has ended. If it hangs, end it with SELECT pg_terminate_backend({pid}), then run again.",
        holder={"pid": pid, "client": address, "since": since},
    )


def free_connections(cursor: Any) -> int:
    """Return how many more connections the server takes from the login role, without those it reserves."""
    cursor.execute(_FREE)
    return int(cursor.fetchone()[0])


def is_superuser(cursor: Any) -> bool:
    """Say whether the login role is a superuser."""
    cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = session_user")
    return bool(cursor.fetchone()[0])


def one_value(cursor: Any, query: str, values: Sequence[Any] = ()) -> Any:
    """Return the first column of the first row."""
    cursor.execute(query, values)
    row = cursor.fetchone()
    return row[0] if row else None


def _literal(text: str) -> str:
    return "'" + str(text).replace("'", "''") + "'"
