# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loads the events of a dump into an empty database, over several connections, and counts what arrives."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .connection import PSYCOPG2_IMPORT_ERROR, message
from .dump import CopyEnd, CopyRows, CopyStart, Event, Statement
from .statements import classify, target
from .workers import Batch, Rows, Workers

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    import psycopg2.errors
    from psycopg2.extensions import quote_ident

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dump import Entry, Reader
    from .progress import Progress

# What a database owner may not make or comment on; the login role does it (documentation of each CREATE command).
_LOGIN_ROLE_KINDS = {
    "ACL",
    "DEFAULT ACL",
    "EXTENSION",
    "EVENT TRIGGER",
    "PUBLICATION",
    "SUBSCRIPTION",
    "PROCEDURAL LANGUAGE",
    "FOREIGN DATA WRAPPER",
}
_INSERT_BATCH = 256 * 1024
_SESSION_SETTINGS = "SET synchronous_commit = off"
_USER_SCHEMAS = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_TABLES = f"""
  SELECT c.oid::regclass::text, c.relkind::text, c.relispartition, n.nspname || '.' || c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm', 'p') AND {_USER_SCHEMAS}
  ORDER BY pg_relation_size(c.oid) DESC, 1"""

# Tables of extensions may have foreign keys before their rows come: those rows must come in the order of the dump.
_CONSTRAINED = "SELECT unnest(ARRAY[conrelid, confrelid])::regclass::text FROM pg_constraint WHERE contype = 'f'"

# What to do about the errors that a load meets most, by SQLSTATE (appendix A of the Postgres documentation).
_WAY_OUT = {
    "42501": "Log in as a superuser, or make the dump without what only a superuser may create, and with --no-owner "
    "and --no-acl where something belongs to other roles.",
    "53100": "Free space on the disk of the server, then run again.",
    "42704": "Create the role or object that is named, or make the dump with --no-owner and --no-acl, then run again.",
    "58P01": "Install the extension's files on the server, then run again.",
    "0A000": "Install the extension's files on the server, then run again.",
    "53300": "Raise max_connections or give fewer jobs, then run again.",
}
# Classes of SQLSTATE: connection exceptions, and a server that ends sessions. A broken connection has no SQLSTATE.
_GONE = ("08", "57P")


@dataclass
class Loaded:
    """What was loaded: rows per table as the server counts them, and the entries of the dump."""

    rows: dict[str, int] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)


class Loader:
    """Loads one dump into one database that nobody else uses."""

    def __init__(self, connect: Callable[[], Any], jobs: int, owner: str, progress: Progress) -> None:
        """Keep how to connect to the database; ``owner`` becomes the owner of what the dump gives no owner."""
        self._connect_plainly = connect
        self._jobs = jobs
        self._owner = owner
        self._progress = progress
        self._role = ""
        self._copy = 0
        self._copy_start: CopyStart | None = None
        self._copies: list[tuple[str, int]] = []
        self._compared = 0
        self._owners_stated = False
        self._constrained: set[str] | None = None
        self._in_order = False
        self._inserts: list[bytes] = []
        self._insert_bytes = 0
        self._insert_table = ""
        self._after_builds: list[Statement] = []
        self._building = False
        self._entry: Entry | None = None
        self._cursor: Any = None
        self._given_up: RollbackError | None = None
        self.loaded = Loaded()

    def load(
        self, reader: Reader, first: Callable[[], None], before_sending: Callable[[int], None], size: int = 0
    ) -> Loaded:
        """Load everything.

        ``first`` is called once the facts of the header are known and before anything is done, ``before_sending``
        with the number of bytes of each piece of rows, and may wait; ``size`` is that of the backup in bytes, for the
        progress.

        Raises ``DamagedBackup`` when the dump turns out not to be whole, ``RollbackError`` when the server refuses
        something or counts other rows than the dump held. The database is then good for nothing but to be dropped.
        """
        with closing(self._connect()) as connection, connection.cursor() as cursor:
            self._workers = Workers(self._connect, self._jobs)
            self._cursor = cursor
            self._before_sending = before_sending
            whole = False
            try:
                self._read(reader, first, size)
                whole = True
            except psycopg2.Error as error:
                raise self._failure(error) from error
            finally:
                self._workers.close(abort=not whole)
        return self.loaded

    def give_up(self, reason: RollbackError) -> None:
        """End a load that goes on, from another thread, whatever it waits for; ``load`` then raises the reason."""
        if self._cursor is None:
            return
        self._given_up = reason
        self._workers.abort(reason)
        with suppress(psycopg2.Error):  # it may have ended by itself meanwhile
            self._cursor.connection.cancel()

    def _connect(self) -> Any:
        connection = self._connect_plainly()
        with connection.cursor() as cursor:
            cursor.execute(_SESSION_SETTINGS)
            _tune(cursor, self._jobs)
        return connection

    def _read(self, reader: Reader, first: Callable[[], None], size: int) -> None:
        self._progress.begin("rows", size)
        for number, event in enumerate(reader.events()):
            if number == 0:
                first()
            self._take(event)
        self._finish_rows()
        self._finish_builds()
        self._progress.begin("count and analyze")
        self._count_and_analyze()
        self._progress.end()

    # -- events --------------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if self._given_up:
            raise self._given_up
        if isinstance(event, Statement):
            self._take_statement(event)
        elif isinstance(event, CopyStart):
            self._flush_inserts()
            self._begin_copy(event)
        elif isinstance(event, CopyRows) and self._copy_start:
            self._before_sending(len(event.data))
            self._workers.put(Rows(self._copy, self._copy_start.sql, event.data, len(self._workers.session)))
            if self._in_order:
                self._workers.drain()
        elif isinstance(event, CopyEnd):
            self._copies.append((_text(target(self._copy_start.sql)) if self._copy_start else "", event.rows))

    def _begin_copy(self, event: CopyStart) -> None:
        self._note(event.entry)
        self._copy_start = event
        self._copy = len(self._copies)
        self._in_order = self._is_constrained(_text(target(event.sql)))
        if self._in_order:
            self._workers.drain()

    def _is_constrained(self, table: str) -> bool:
        if self._constrained is None:
            self._cursor.execute(_CONSTRAINED)
            self._constrained = {row[0] for row in self._cursor.fetchall()}
        return table in self._constrained

    def _note(self, entry: Entry | None) -> None:
        if entry is not None and entry is not self._entry:
            self._owners_stated = self._owners_stated or bool(entry.owner)
            self.loaded.entries.append(entry)
            self._entry = entry

    def _take_statement(self, statement: Statement) -> None:
        self._note(statement.entry)
        work = classify(statement)
        if work.how == "rows":
            self._insert(statement)
            return
        self._flush_inserts()
        if work.how == "session":
            self._set_session(statement.sql)
        elif work.how == "at_once":
            self._execute(statement)
        elif work.how == "build":
            if len(work.exclusive) > 1 and self._after_builds:  # a foreign key needs partitioned keys that are complete
                self._finish_builds()
            self._begin_builds()
            self._workers.put(
                Batch(
                    (statement.sql,), _label(statement.entry), len(self._workers.session), work.shared, work.exclusive
                )
            )
        elif work.how == "after_builds" and self._building:
            self._after_builds.append(statement)
        elif work.how != "skip":
            self._finish_rows()
            self._finish_builds()
            self._execute(statement)

    def _begin_builds(self) -> None:
        if not self._building:
            self._finish_rows()
            self._progress.begin("indexes and constraints")
            self._building = True

    def _insert(self, statement: Statement) -> None:
        table = _text(target(statement.sql))
        if table != self._insert_table or self._insert_bytes >= _INSERT_BATCH:
            self._flush_inserts()
        self._insert_table = table
        self._inserts.append(statement.sql)
        self._insert_bytes += len(statement.sql)

    def _flush_inserts(self) -> None:
        if self._inserts:
            in_order = self._is_constrained(self._insert_table)
            if in_order:
                self._workers.drain()
            self._before_sending(self._insert_bytes)
            label = f"rows of {self._insert_table}"
            session = len(self._workers.session)
            self._workers.put(Batch(tuple(self._inserts), label, session, table=self._insert_table))
            if in_order:
                self._workers.drain()
        self._inserts = []
        self._insert_bytes = 0

    # -- carrying out --------------------------------------------------------------------------------------------------

    def _set_session(self, sql: bytes) -> None:
        try:
            self._cursor.execute(sql)
        except psycopg2.Error as error:
            # A newer pg_dump switches off limits that an older server does not have: nothing is lost without them.
            if error.pgcode == "42704" and sql.rstrip(b" ;").endswith(b"_timeout = 0"):
                return
            raise
        self._workers.session.append(sql)

    def _execute(self, statement: Statement) -> None:
        """Carry a statement out as the owner where the dump names no owners, else as the role that logged in."""
        if self._owners_stated or _needs_login_role(statement.entry):
            self._be("")
            self._cursor.execute(statement.sql)
            return
        self._be(self._owner)
        try:
            self._cursor.execute(statement.sql)
        except psycopg2.errors.InsufficientPrivilege:
            self._be("")  # a base type or a cast needs a superuser; the owner is carried over later
            self._cursor.execute(statement.sql)

    def _be(self, role: str) -> None:
        if role != self._role:
            self._cursor.execute(f"SET ROLE {quote_ident(role, self._cursor) if role else 'NONE'}")
            self._role = role

    def _finish_rows(self) -> None:
        """Wait until all rows are in, and compare what was sent with what the server counted."""
        self._flush_inserts()
        self._workers.drain()
        for number in range(self._compared, len(self._copies)):
            table, rows = self._copies[number]
            stored = self._workers.outcome.copied.pop(number, 0)
            if stored != rows:
                raise _other_rows(table, rows, stored)
        self._compared = len(self._copies)

    def _finish_builds(self) -> None:
        self._workers.drain()
        self._building = False
        statements, self._after_builds = self._after_builds, []
        for statement in statements:
            self._execute(statement)

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def _count_and_analyze(self) -> None:
        """Count the rows of every table and gather statistics, several tables at once."""
        self._be("")
        self._cursor.execute(_TABLES)
        tables = self._cursor.fetchall()
        session = len(self._workers.session)
        for name, kind, is_partition, _plain in tables:
            if kind != "m":
                rows = f"SELECT count(*) FROM {'ONLY ' if kind == 'r' else ''}{name}"
                self._workers.put(Batch((rows.encode(),), rows, session, table=name))
            if not (kind == "p" and is_partition):  # the ANALYZE of the parent gathers for all below it
                self._workers.put(Batch((f"ANALYZE {name}".encode(),), f"ANALYZE {name}", session))
        self._workers.drain()
        counted = self._workers.outcome.counted
        self.loaded.rows = {plain: counted[name] for name, kind, _part, plain in tables if kind == "r"}
        self._compare_counts(counted)

    def _compare_counts(self, counted: dict[str, int]) -> None:
        expected: dict[str, int] = dict(self._workers.outcome.inserted)
        for table, rows in self._copies:
            expected[table] = expected.get(table, 0) + rows
        self._cursor.execute("SELECT t, t::regclass::text FROM unnest(%s::text[]) t", (list(expected),))
        for written, table in self._cursor.fetchall():
            if counted.get(table, 0) < expected[written]:
                raise _other_rows(table, expected[written], counted.get(table, 0))

    def _failure(self, error: BaseException) -> RollbackError:
        if self._given_up:
            return self._given_up
        code = getattr(error, "pgcode", None) or ""
        at = self._workers.failed_at or (_label(self._entry) if self._entry else "its beginning")
        if not code or code.startswith(_GONE):
            return RollbackError(
                f"The connection to the server broke while the backup was loaded, at {at}: {message(error)}.",
                "Look at the log of the Postgres server. When it is up again, run again: the load begins anew.",
                sqlstate=code,
            )
        return RollbackError(
            f"The server refused a part of the dump, at {at}: {message(error)} (SQLSTATE {code or 'none'}).",
            _WAY_OUT.get(code, "Read the message of the server above; the whole is in its log."),
            sqlstate=code,
        )


def _needs_login_role(entry: Entry | None) -> bool:
    if entry is None or entry.kind in _LOGIN_ROLE_KINDS:
        return True
    return entry.kind == "COMMENT" and entry.name.partition(" ")[0] in ("EXTENSION", "EVENT", "PUBLICATION")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _label(entry: Entry | None) -> str:
    if entry is None:
        return "?"
    name = f"{entry.schema}.{entry.name}" if entry.schema else entry.name
    return name if entry.kind in ("TABLE", "TABLE DATA") else f"{entry.kind} {name}"


def _other_rows(table: str, sent: int, stored: int) -> RollbackError:
    return RollbackError(
        f"The dump holds {sent} rows for {table}, the server stored {stored}.",
        "Look for triggers or rules that the dump creates before its rows; then make another dump.",
        table=table, rows_sent=sent, rows_stored=stored,
    )  # fmt: skip


def _tune(cursor: Any, jobs: int) -> None:
    """Give index builds memory: together as much as the server's cache has, each between 64 MB and 1 GB."""
    cursor.execute("SELECT pg_size_bytes(current_setting('shared_buffers'))")
    megabytes = max(64, min(1024, cursor.fetchone()[0] // (1 << 20) // jobs))
    cursor.execute(f"SET maintenance_work_mem = '{megabytes}MB'")
    cursor.execute("SELECT 1 FROM pg_settings WHERE name = 'client_connection_check_interval'")
    if cursor.fetchone():  # Postgres 14 and later: a statement ends soon after its client died
        cursor.execute("SET client_connection_check_interval = '5s'")
