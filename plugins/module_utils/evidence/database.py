# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Postgres server knows of itself: roles, sessions, settings, rules of access, extensions, what changed last.

No rights of a superuser are needed: what a role may not read is recorded as refused. Nothing is written, each
transaction is read-only.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from ..postgres.connection import PSYCOPG2_IMPORT_ERROR, message
from .item import MISSING, REFUSED, Item, NotTaken

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..postgres.connection import Login

_ROWS = 500  # that are fetched at once
# Postgres keeps no time of a change. The age of the transaction that wrote a row of the catalogue tells the order, and
# with track_commit_timestamp its time: https://www.postgresql.org/docs/current/functions-info.html
_CHANGED = """
  SELECT '{table}' AS catalog, {name} AS name, age(t.xmin) AS transactions_ago,
         CASE WHEN current_setting('track_commit_timestamp')::bool AND age(t.xmin) < 1000000000
              THEN pg_xact_commit_timestamp(t.xmin) END AS committed
  FROM {table} t WHERE {since} ORDER BY age(t.xmin) LIMIT 1000"""
_CATALOGS = {
    "pg_class": ("t.oid::regclass::text", "t.oid >= 16384"),
    "pg_proc": ("t.oid::regprocedure::text", "t.oid >= 16384"),
    "pg_trigger": ("t.tgname || ' on ' || t.tgrelid::regclass::text", "NOT t.tgisinternal"),
    "pg_event_trigger": ("t.evtname", "true"),
    "pg_policy": ("t.polname || ' on ' || t.polrelid::regclass::text", "true"),
    "pg_database": ("t.datname", "true"),
    "pg_auth_members": ("t.roleid::regrole || ' has ' || t.member::regrole", "true"),
    "pg_authid": ("t.rolname", "true"),
}
_QUERIES = {
    "roles": ("roles, without passwords", "SELECT * FROM pg_roles"),
    "memberships": ("which role is in which",
                    "SELECT roleid::regrole, member::regrole, grantor::regrole, admin_option FROM pg_auth_members"),
    "sessions": ("sessions", "SELECT * FROM pg_stat_activity"),
    "encryption": ("encryption of the sessions", "SELECT * FROM pg_stat_ssl"),
    "locks": ("locks", "SELECT * FROM pg_locks"),
    "settings": ("settings", "SELECT * FROM pg_settings"),
    "setting_files": ("where the settings come from", "SELECT * FROM pg_file_settings"),
    "role_settings": ("settings of roles and databases",
                      "SELECT setdatabase, setrole::regrole, setconfig FROM pg_db_role_setting"),
    "hba": ("rules of access (pg_hba.conf)", "SELECT * FROM pg_hba_file_rules"),
    "extensions": ("extensions", "SELECT * FROM pg_extension"),
    "databases": ("databases", "SELECT * FROM pg_database"),
    "statistics": ("counters of the databases", "SELECT * FROM pg_stat_database"),
    "tables": ("counters of the tables", "SELECT * FROM pg_stat_user_tables"),
    "replication": ("who replicates from here", "SELECT * FROM pg_stat_replication"),
    "slots": ("replication slots", "SELECT * FROM pg_replication_slots"),
    "subscriptions": ("subscriptions", "SELECT subname, subenabled, subpublications FROM pg_subscription"),
    "definer_functions": ("functions with the rights of their owner",
                          "SELECT oid::regprocedure, proowner::regrole FROM pg_proc WHERE prosecdef"),
    **{
        f"changes_{table}": (f"what changed last in {table}", _CHANGED.format(table=table, name=name, since=since))
        for table, (name, since) in _CATALOGS.items()
    },
}  # fmt: skip


class _Server:
    """The server, asked no more once it could not be reached: each attempt may take a quarter of a minute."""

    def __init__(self, login_of: Callable[[], Login], database: str) -> None:
        self._login_of = login_of
        self._database = database
        self._why = ""

    def connect(self) -> Any:  # noqa: ANN401 - psycopg2 has no types
        if self._why:
            raise NotTaken(MISSING, self._why)
        try:
            return self._login_of().connect(self._database)
        except RollbackError as error:
            self._why = error.msg
            raise NotTaken(MISSING, self._why) from error


def database_items(login_of: Callable[[], Login], database: str) -> Iterator[Item]:
    """Yield what the server of a database knows. ``login_of`` is called when an item is read."""
    server = _Server(login_of, database)
    for name, (what, query) in _QUERIES.items():
        shown = " ".join(query.split())
        yield Item("database", f"database/{name}.jsonl", what, shown, partial(_rows, server, query), 1 << 16)


def _rows(server: _Server, query: str) -> Iterator[bytes]:
    """Give a line of JSON for each row."""
    try:
        with closing(server.connect()) as connection:
            connection.set_session(readonly=True, autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = '60s'")
                cursor.execute(f"SELECT row_to_json(found)::text FROM ({query}) found")  # noqa: S608 - a text of ours
                while rows := cursor.fetchmany(_ROWS):
                    yield b"".join(_line(row) for row in rows)
    except psycopg2.Error as error:
        raise NotTaken(REFUSED, message(error).partition("CONTEXT:")[0]) from error


def _line(row: tuple[Any, ...]) -> bytes:
    return str(row[0]).encode() + b"\n"
