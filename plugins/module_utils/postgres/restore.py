# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The safe restore: load beside the live database, prove, change names; undo; clean up.

States of a database, told by the catalog alone: a *side database* has the mark ``loading`` or ``verified``, a *kept
database* has the mark ``kept`` (or ``undone``) with the object id of the one that took its place. A load that was cut
off is dropped and done again, never continued: there is no other proof that it is whole. Until it has its mark, a side
database is known by its name and the connection limit that it was made with.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from . import difference
from .backup_identity import Identity, identity_of
from .carry_over import carry_over_database, carry_over_objects
from .connection import PSYCOPG2_IMPORT_ERROR, Login, message
from .cutover import Swap, cut_over, end_sessions, unfence
from .disk import Disk, data_directory
from .dump import CopyEnd, CopyStart, Statement
from .history import mark_of_displaced, undone_by, way_back
from .loader import Loader
from .names import beside, is_side_name, kept_database, side_database, write_mark
from .options import login_of
from .preflight import (
    SUBSCRIPTIONS,
    check_dump,
    check_rows,
    check_server,
    check_share,
    check_sidecar,
    check_tables,
    find_live,
)
from .progress import Progress
from .proof import prove
from .reader import Backup, open_backup
from .requirements import Requirements
from .server import (
    Database,
    copy_statement,
    create_statement,
    databases,
    drop_database,
    drop_side_database,
    is_superuser,
    one_value,
    set_comment,
    take_lock,
)
from .sidecar import read_sidecar
from .statements import classify, target

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2
    import psycopg2.errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TABLES = """
  SELECT n.nspname || '.' || c.relname, c.oid::regclass::text, greatest(c.reltuples, 0)::bigint
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  ORDER BY 1"""
_TABLESPACE = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = %s"
_COUNT_LIMIT = "20s"
_SWITCHES_EVENT_TRIGGERS = 170000


@dataclass(frozen=True)
class Options:
    """What is wanted; the module's documentation explains each."""

    login: Login
    database: str
    backup: str = ""
    jobs: int = 2
    container: str = ""
    docker_host: str = ""
    verify_queries: list[dict[str, Any]] = field(default_factory=list)
    expected_rows: list[dict[str, Any]] = field(default_factory=list)
    min_rows_ratio: float = 0.0
    allow_newer_dump: bool = False
    allow_other_tables: bool = False
    allow_replication_objects: bool = False
    dumped_database: str = ""
    cutover: str = "auto"
    cutover_timeout: float = 3.0
    min_free_ratio: float = 1.2
    force: bool = False
    keep: int = 1
    min_age_hours: float = 24.0
    run_id: str = ""
    undo_of: str = ""


@dataclass(frozen=True)
class _Situation:
    """What the catalog tells at the beginning: the live database and what belongs to it."""

    live: Database
    sides: list[Database]
    kept: list[Database]

    def restored_from(self, sha256: str) -> Database | None:
        return next((one for one in self.kept if one.mark.get("sha256") == sha256 and self._follows(one, "kept")), None)

    def ready(self, sha256: str) -> Database | None:
        """Return the side database that an earlier run has verified."""
        verified = (one for one in self.sides if one.mark.get("state") == "verified" and not one.invalid)
        return next((one for one in verified if one.mark.get("sha256") == sha256), None)

    def latest(self, kind: str) -> Database | None:
        return next((one for one in self.kept if self._follows(one, kind)), None)

    def _follows(self, one: Database, kind: str) -> bool:
        return one.mark.get("kind") == kind and one.mark.get("live_oid") == self.live.oid


def restore_as_asked(options: dict[str, Any], *, check: bool, diff: bool) -> dict[str, Any]:
    """Do what the options of the module ask for, which say how to log in, too."""
    return restore(options, login_of, check=check, diff=diff)


def restore(
    given: dict[str, Any], log_in: Callable[[dict[str, Any]], tuple[Login, str]], *, check: bool, diff: bool = False
) -> dict[str, Any]:
    """Bring the database into the state that the module's options name. In check mode only say what would be.

    With ``diff`` the result has the key ``diff``; the rows of the live database are counted for it.

    Raises ``RollbackError``; its fact ``live_untouched`` says that the live database is as it was.
    """
    work = _WORK[given["state"]]
    try:
        _check_numbers(given)
        _check_undo(given)
        progress = Progress(given.get("progress_file"))
        login, container = log_in(given)
        known = {name: given[name] for name in Options.__dataclass_fields__ if given.get(name) is not None}
        options = Options(**{**known, "login": login, "container": container, "database": given["db"]})
        with options.login.cursor() as cursor:
            take_lock(cursor, options.database)
            return work(_Restore(_silent(options, cursor), cursor, progress, check=check, diff=diff))
    except RollbackError as error:
        error.facts.setdefault("live_untouched", True)
        raise
    except psycopg2.Error as error:
        raise RollbackError(
            f"The server refused or broke off: {message(error)} (SQLSTATE {getattr(error, 'pgcode', None) or 'none'}). "
            "The live database is whole.",
            "Look at the log of the Postgres server, then run again: it looks at the catalog first.",
            live_untouched=True,
        ) from error


def _silent(options: Options, cursor: Any) -> Options:
    """Return the options with a login that starts no event triggers, where the server can (17) and the role may.

    One on login would add rows to the database that is being proved.
    """
    if cursor.connection.server_version < _SWITCHES_EVENT_TRIGGERS or not is_superuser(cursor):
        return options
    return replace(options, login=replace(options.login, parameters="-c event_triggers=off"))


def _check_numbers(given: dict[str, Any]) -> None:
    for option, least in (("jobs", 1), ("keep", 0), ("min_age_hours", 0), ("cutover_timeout", 0.1)):
        if given[option] < least:
            raise RollbackError(f"{option} is {given[option]}. Nothing was changed.", f"Give {least} or more.")


def _check_undo(given: dict[str, Any]) -> None:
    if given.get("undo_of") and given["state"] != "undone":
        raise RollbackError(
            f"undo_of is given, but state is {given['state']}. Nothing was changed.",
            "Give state=undone to undo that run, or leave undo_of out.",
        )


class _Restore:
    """One call: the options, the cursor on the maintenance database that holds the lock, and how far it came."""

    def __init__(self, options: Options, cursor: Any, progress: Progress, *, check: bool, diff: bool) -> None:
        self.options = options
        self.cursor = cursor
        self.progress = progress
        self.check = check
        self.diff = diff
        self.warnings: list[str] = []

    def situation(self) -> _Situation:
        found = databases(self.cursor)
        live = find_live(found, self.options.database, self.options.login.maintenance_database)
        own = [one for one in found.values() if one.mark.get("database") == live.name]
        own.sort(key=lambda one: str(one.mark.get("at", "")), reverse=True)
        sides = [one for one in own if one.mark.get("kind") == "side"]
        # The run that made one may have been killed before it could mark it.
        unmarked = (one for one in found.values() if not one.comment and is_side_name(live.name, one.name))
        sides += [one for one in unmarked if one.newborn or one.invalid]
        return _Situation(live, sides, [one for one in own if one.mark.get("kind") in ("kept", "undone")])

    def connect(self, database: str) -> Any:
        return self.options.login.connect(database)


# -- restored, verified ------------------------------------------------------------------------------------------------


def _verified(run: _Restore) -> dict[str, Any]:
    return _bring_in(run, cutover=False)


def _restored(run: _Restore) -> dict[str, Any]:
    return _bring_in(run, cutover=True)


def _bring_in(run: _Restore, *, cutover: bool) -> dict[str, Any]:
    options = run.options
    situation = run.situation()
    situation = _mend_fence(run, situation)
    backup = identity_of(options.backup, [one.mark for one in situation.sides + situation.kept])
    size, sha256 = backup.size, backup.sha256
    already = situation.restored_from(sha256) if cutover and not options.force and sha256 else None
    if already is not None:
        return _result(
            run,
            changed=False,
            situation=situation,
            old_database=already.name,
            sha256=sha256,
            already=already.mark["at"],
        )
    side = situation.ready(sha256)
    run.warnings += check_server(
        run.cursor, situation.live, options.jobs, allow_replication=options.allow_replication_objects
    )
    if side is None:
        run.warnings += _disk(run, situation.live).refuse_below(_needed(run, situation.live, size))
    if run.check:
        return _plan(run, situation, side, cutover=cutover)
    facts: dict[str, Any] = {"changed": side is None or cutover}
    live_rows = _live_rows(run, situation.live.name) if run.diff and cutover else {}
    if side is None:
        side, loaded = _load(run, situation, backup)
        facts.update(loaded)
    else:
        facts.update(sha256=sha256, tables=side.mark.get("tables", {}), reused=True)
        facts["lost"] = _carry_over(run, situation.live, side)
        name = side.name
        proof = prove(lambda: run.connect(name), [], options.verify_queries)
        facts["queries"] = proof["queries"]
        check_rows(_expected(run, name), options.expected_rows)
    facts["side_database"] = side.name
    if cutover:
        facts.update(_swap_in(run, situation, side))
    facts["diff"] = _difference(situation.live, facts, live_rows)
    return _result(run, situation=situation, **facts)


def _difference(live: Database, facts: dict[str, Any], live_rows: dict[str, int]) -> dict[str, str]:
    """Return the two texts of a restore; without a new name for the live database only a side database was made."""
    if "old_database" in facts:
        return difference.of_restore(live.name, live.owner, live_rows, facts["tables"], facts["old_database"])
    return difference.of_load(facts["side_database"], facts["tables"]) if facts["changed"] else difference.nothing()


def _mend_fence(run: _Restore, situation: _Situation) -> _Situation:
    """Open a live database that a cutover fenced before it was cut off."""
    fenced = next(
        (one for one in situation.sides + situation.kept if one.mark.get("fenced") == situation.live.name), None
    )
    if fenced is None or run.check:
        return situation
    unfence(run.cursor, situation.live.name, fenced.name, fenced.mark)
    run.warnings.append(
        f"A cutover that was cut off had left {situation.live.name} closed to newcomers; it is open again."
    )
    return run.situation()


def _needed(run: _Restore, live: Database, size: int) -> int:
    """Return about how many bytes a side database takes: the live one may have lost rows, the backup may be packed."""
    live_size = int(one_value(run.cursor, "SELECT pg_database_size(%s)", (live.name,)))
    return int(max(live_size, size) * run.options.min_free_ratio)


def _disk(run: _Restore, live: Database) -> Disk:
    """Return the disk on which the side database will be, which is that of the live one, and that of the log."""
    place = one_value(run.cursor, _TABLESPACE, (live.tablespace,))
    log = one_value(run.cursor, "SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    if not log and run.options.container:
        log = data_directory(run.options.container, run.options.docker_host or None)
    local = run.options.login.host.startswith("/") or run.options.login.host in ("localhost", "127.0.0.1", "::1")
    return Disk(
        run.options.container, [place or log or "", log or ""], local=local,
        docker_host=run.options.docker_host or None,
    )  # fmt: skip


def _plan(run: _Restore, situation: _Situation, side: Database | None, *, cutover: bool) -> dict[str, Any]:
    """Read the whole backup without loading it, and compare its rows with the live ones."""
    facts: dict[str, Any] = {"changed": side is None or cutover, "reused": side is not None}
    needs = Requirements()
    facts.update(inspect(run.options, run.cursor.connection.server_version, run.progress, needs))
    needs.check(run.cursor)
    live = _live_rows(run, situation.live.name)
    _check_tables(run.options, set(facts["tables"]), set(live))
    facts["lost_rows"] = {
        table: rows - facts["tables"].get(table, 0)
        for table, rows in live.items()
        if rows > facts["tables"].get(table, 0)
    }
    facts["live_rows"] = live
    check_share(sum(facts["tables"].values()), sum(live.values()), run.options.min_rows_ratio)
    check_rows(facts["tables"], run.options.expected_rows)
    names = {"side_database": side_database(situation.live.name, "<digits>")}
    names.update({"old_database": kept_database(situation.live.name, "<time>")} if cutover else {})
    difference_of_plan = _difference(situation.live, {**facts, **names}, live)
    return _result(run, situation=situation, diff=difference_of_plan, **facts)


def inspect(options: Options, server_version: int, progress: Progress, needs: Requirements) -> dict[str, Any]:
    """Read a backup to its end as a load would, and return its facts; raise ``RollbackError`` as a load would.

    What the backup needs of a server is noted in ``needs``.
    """
    tables: dict[str, int] = {}
    name = ""
    with open_backup(options.backup, progress.done) as backup:
        progress.begin("read", backup.size)
        for number, event in enumerate(backup.reader.events()):
            if number == 0:
                _check_facts(options, backup.reader.facts, server_version)
            if isinstance(event, Statement):
                if classify(event).how == "rows":
                    name = _table_name(event.entry, event.sql)
                    tables[name] = tables.get(name, 0) + 1
                    continue
                needs.note(event)
                if event.entry and event.entry.kind == "TABLE" and event.sql.startswith(b"CREATE "):
                    tables.setdefault(f"{event.entry.schema}.{event.entry.name}", 0)
            elif isinstance(event, CopyStart):
                name = _table_name(event.entry, event.sql)
            elif isinstance(event, CopyEnd):
                tables[name] = tables.get(name, 0) + event.rows
        progress.end()
        _check_sidecar(options.backup, backup)
        return {"sha256": backup.sha256, "tables": tables, "dump": vars(backup.reader.facts)}


def _table_name(entry: Any, sql: bytes) -> str:
    written = target(sql).decode("utf-8", "surrogateescape")
    return f"{entry.schema}.{entry.name}" if entry else written


def _check_facts(options: Options, facts: Any, server_version: int) -> None:
    expected = options.dumped_database or options.database
    check_dump(facts, server_version, expected, allow_newer=options.allow_newer_dump)


def _check_sidecar(path: str, backup: Backup) -> None:
    """Compare a backup that was read with its sidecar; one that is not valid is no proof and is not used."""
    seen = {"bytes": backup.size, "sha256": backup.sha256, "tables": backup.reader.facts.rows}
    check_sidecar(read_sidecar(Path(path)).facts, {key: value for key, value in seen.items() if value})


def _check_tables(options: Options, dumped: set[str], live: set[str]) -> None:
    if not options.allow_other_tables:
        check_tables(dumped, live)


def _live_rows(run: _Restore, database: str) -> dict[str, int]:
    """Count the rows of every table; where that takes too long, take what ANALYZE estimated and say so."""
    rows: dict[str, int] = {}
    with run.options.login.cursor(database) as cursor:
        cursor.execute(f"SET search_path = ''; SET statement_timeout = '{_COUNT_LIMIT}'")
        cursor.execute(_TABLES)
        for plain, name, estimate in cursor.fetchall():
            rows[plain] = _count(run, cursor, name, estimate)
    return rows


def _expected(run: _Restore, database: str) -> dict[str, int]:
    """Count the rows of the tables that ``expected_rows`` names."""
    wanted = {one["table"] for one in run.options.expected_rows}
    if not wanted:
        return {}
    with run.options.login.cursor(database) as cursor:
        cursor.execute("SET search_path = ''")
        cursor.execute(_TABLES)
        names = {plain: name for plain, name, _estimate in cursor.fetchall() if plain in wanted}
        return {plain: int(one_value(cursor, f"SELECT count(*) FROM ONLY {name}")) for plain, name in names.items()}


def _count(run: _Restore, cursor: Any, name: str, estimate: int) -> int:
    try:
        return int(one_value(cursor, f"SELECT count(*) FROM ONLY {name}"))
    except Exception as error:  # noqa: BLE001 - a lock or a timeout: the estimate is what there is
        run.warnings.append(f"The rows of {name} are an estimate: {message(error)}.")
        return estimate


def _load(run: _Restore, situation: _Situation, backup: Identity) -> tuple[Database, dict[str, Any]]:
    """Make and load the side database, prove it, and mark it as verified. On any failure it is dropped again."""
    _drop_leftovers(run, situation.sides)
    name = side_database(situation.live.name, secrets.token_hex(4))
    mark = {"kind": "side", "database": situation.live.name, "at": _now(), "run_id": run.options.run_id}
    with _dropped_on_failure(run, name, situation.live.name):
        run.cursor.execute(create_statement(name, situation.live, run.cursor))
        set_comment(run.cursor, name, write_mark(**mark, state="loading"))
        facts = _fill(run, situation.live, name, backup.size)
        side = databases(run.cursor)[name]
        facts["lost"] = _carry_over(run, situation.live, side)
        run.progress.begin("verify")
        proof = prove(lambda: run.connect(name), facts.pop("entries"), run.options.verify_queries)
        run.progress.end()
        run.warnings += proof.pop("warnings")
        facts.update(proof)
        verified = {
            **mark,
            "state": "verified",
            "sha256": facts["sha256"],
            "bytes": backup.size,
            "file": backup.file,
            "tables": _short(facts["tables"]),
        }
        set_comment(run.cursor, name, write_mark(**verified))
    return databases(run.cursor)[name], facts


def _drop_leftovers(run: _Restore, leftovers: list[Database]) -> None:
    """Drop what an earlier run left unfinished; the lock is ours, so nobody works on it."""
    for leftover in leftovers:
        drop_side_database(run.cursor, run.options.login, leftover.name)


def _fill(run: _Restore, live: Database, name: str, size: int) -> dict[str, Any]:
    version = run.cursor.connection.server_version
    loader = Loader(lambda: run.connect(name), run.options.jobs, live.owner, run.progress)
    with open_backup(run.options.backup, run.progress.done) as backup:
        reader = backup.reader
        with _disk(run, live).watched(loader.give_up) as before_sending:
            loaded = loader.load(
                reader, lambda: _check_facts(run.options, reader.facts, version), before_sending, backup.size
            )
        _check_sidecar(run.options.backup, backup)
        sha256 = backup.sha256 or identity_of(run.options.backup, []).sha256
    with run.options.login.cursor(live.name) as cursor:
        cursor.execute(_TABLES)
        estimates = {plain: estimate for plain, _name, estimate in cursor.fetchall()}
    _check_tables(run.options, set(loaded.rows), set(estimates))
    check_share(sum(loaded.rows.values()), sum(estimates.values()), run.options.min_rows_ratio)
    check_rows(loaded.rows, run.options.expected_rows)
    return {
        "sha256": sha256,
        "tables": loaded.rows,
        "dump": vars(reader.facts),
        "bytes": size,
        "entries": loaded.entries,
    }


@contextmanager
def _dropped_on_failure(run: _Restore, name: str, live: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        left = ""
        try:
            with run.options.login.cursor() as cursor:
                drop_side_database(cursor, run.options.login, name)
        except Exception as second:  # noqa: BLE001 - the first failure is what matters
            left = f" The side database {name} could not be dropped ({message(second)}); the next run does it."
        if isinstance(error, RollbackError):
            error.msg = f"{error.msg.rstrip()} The live database {live} is as it was.{left}"
            raise
        if isinstance(error, Exception):
            raise RollbackError(
                f"The restore stopped: {message(error)}. The live database {live} is as it was.{left}",
                "Look at the log of the Postgres server, then run again.",
            ) from error
        raise


def _carry_over(run: _Restore, live: Database, side: Database) -> dict[str, list[str]]:
    """Copy what a dump does not hold; what could not be copied becomes warnings and the fact ``lost``."""
    run.progress.begin("owners, privileges, settings")
    lost = carry_over_objects(run.connect, live.name, side.name)
    lost.settings += carry_over_database(run.cursor, live, side)
    run.progress.end()
    run.warnings += lost.owners + lost.grants + lost.settings
    return vars(lost)


def _swap_in(run: _Restore, situation: _Situation, side: Database, *, copied: bool = False) -> dict[str, Any]:
    live, moment = situation.live, _now()
    kept = _free_name(run, kept_database(live.name, moment))
    mark = {
        "kind": "kept", "database": live.name, "live_oid": side.oid, "at": moment, "run_id": run.options.run_id,
        "sha256": side.mark.get("sha256", ""), "bytes": side.mark.get("bytes"),
        "file": side.mark.get("file", ""), "backup": run.options.backup,
        "comment": live.comment, "copied": copied, "tables": side.mark.get("tables", {}),
    }  # fmt: skip
    swap = Swap(live.name, side.name, kept, write_mark(**mark), live.comment, side.mark)
    return {"old_database": kept, **_change_names(run, swap, side.oid)}


def _change_names(run: _Restore, swap: Swap, oid: int) -> dict[str, Any]:
    with run.options.login.cursor(swap.incoming) if swap.incoming_mark.get("kind") == "side" else nullcontext():
        pass  # the first connection after so many changes fills a cache file that the next ones read
    run.progress.begin("cutover")
    done = cut_over(run.cursor, swap, run.options.cutover, run.options.cutover_timeout)
    run.progress.end()
    if databases(run.cursor)[swap.live].oid != oid:
        raise RollbackError(
            f"The server says that the names were changed, but {swap.live} is not the database that was prepared.",
            f"Look with: SELECT oid, datname FROM pg_database; the former one is {swap.kept}.",
            live_untouched=False,
        )
    return {"cutover": vars(done), "restored_oid": oid}


def _free_name(run: _Restore, name: str) -> str:
    found = databases(run.cursor)
    while name in found:
        name = beside(name, secrets.token_hex(2))
    return name


# -- copied ------------------------------------------------------------------------------------------------------------


def _copied(run: _Restore) -> dict[str, Any]:
    """Put a copy into the place of the live database and keep that, so that what follows works on the copy only."""
    situation = _mend_fence(run, run.situation())
    live, kept = situation.live, situation.latest("kept")
    own = kept is not None and run.options.run_id and kept.mark.get("run_id") == run.options.run_id
    if kept is not None and own and kept.mark.get("copied"):
        return _result(run, changed=False, situation=situation, old_database=kept.name, already=kept.mark["at"])
    run.warnings += check_server(run.cursor, live, 1, allow_replication=run.options.allow_replication_objects)
    size = one_value(run.cursor, "SELECT pg_database_size(%s)", (live.name,))
    run.warnings += _disk(run, live).refuse_below(int(size * run.options.min_free_ratio))
    if run.check:
        texts = difference.of_copy(live.name, kept_database(live.name, _now()))
        return _result(run, changed=True, situation=situation, bytes=size, diff=texts)
    _drop_leftovers(run, [one for one in situation.sides if one.mark.get("state") != "verified"])
    name = side_database(live.name, secrets.token_hex(4))
    mark = {"kind": "side", "database": live.name, "at": _now(), "run_id": run.options.run_id, "state": "copying"}
    with _dropped_on_failure(run, name, live.name):
        run.progress.begin("copy")
        _copy(run, live, name)
        set_comment(run.cursor, name, write_mark(**mark))
        run.warnings += carry_over_database(run.cursor, live, databases(run.cursor)[name])
        run.progress.end()
    facts = _swap_in(run, situation, databases(run.cursor)[name], copied=True)
    facts["diff"] = difference.of_copy(live.name, facts["old_database"])
    return _result(run, changed=True, situation=situation, bytes=size, **facts)


def _copy(run: _Restore, live: Database, name: str) -> None:
    """Copy the live database; the server refuses while anybody else is on it, so sessions are ended before each try."""
    statement = copy_statement(name, live, run.cursor)
    deadline = time.monotonic() + run.options.cutover_timeout
    while True:
        _end_sessions(run, live)
        try:
            run.cursor.execute(statement)
        except psycopg2.errors.ObjectInUse as error:
            if time.monotonic() > deadline:
                raise RollbackError(
                    f"Clients come back to {live.name} again and again, so it cannot be copied.",
                    "Stop what uses it (look at pg_stat_activity), then run again.",
                ) from error
        else:
            return


def _end_sessions(run: _Restore, live: Database) -> None:
    try:
        end_sessions(run.cursor, [live.name], run.options.cutover_timeout)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise RollbackError(
            f"{live.name} cannot be copied while others are on it, and the login role may not end their sessions: "
            f"{message(error)} (SQLSTATE {error.pgcode}).",
            "Stop what uses it (look at pg_stat_activity), or log in as a superuser, or grant the login role "
            "pg_signal_backend, which ends the sessions of all but superusers. Then run again.",
            sqlstate=error.pgcode,
        ) from error


# -- undone, cleaned ---------------------------------------------------------------------------------------------------


def _undone(run: _Restore) -> dict[str, Any]:
    """Change the names back: the kept database becomes the live one, the restored one is kept, frozen."""
    situation = _mend_fence(run, run.situation())
    live, wanted = situation.live, run.options.undo_of
    if wanted:
        way = way_back(situation.kept, live.oid, wanted)
    else:
        latest = situation.latest("kept")
        way = [latest] if latest else []
    if not way:
        return _nothing_to_undo(run, situation)
    for one in way:
        if one.invalid:
            raise RollbackError(
                f"{one.name} cannot come back: dropping it was begun and interrupted. Nothing was changed.",
                "What is left of it goes with state=cleaned. Restore a backup instead.",
            )
    run.warnings += check_server(run.cursor, live, 1, allow_replication=run.options.allow_replication_objects)
    first, last = _name_of_displaced(run, live.name, way[0]), way[-1]
    texts = difference.of_undo(live.name, live.oid, last.name, last.oid, first)
    facts: dict[str, Any] = {"changed": True, "old_database": first, "restored_oid": last.oid, "diff": texts}
    if run.check and len(way) == 1:
        facts.update(_written_since(run, live, way[0]))
    for number, incoming in enumerate(way):
        if run.check:
            break
        comment = databases(run.cursor)[live.name].comment
        own = {"at": _now(), "run_id": run.options.run_id, "comment": comment}
        mark = mark_of_displaced(incoming.mark, incoming.oid, **own)
        name = _name_of_displaced(run, live.name, incoming) if number else first
        swap = Swap(
            live.name, incoming.name, name, write_mark(**mark), str(incoming.mark.get("comment", "")), incoming.mark
        )
        facts.update(_change_names(run, swap, incoming.oid))
    return _result(run, situation=situation, **facts)


def _written_since(run: _Restore, live: Database, kept: Database) -> dict[str, Any]:
    """Count the rows that the live database has more than when it replaced the kept one, if they were noted by table.

    A sum of all tables would hide what was added to one of them behind what was deleted from another.
    """
    then = kept.mark.get("tables")
    if not then or difference.ALL_TABLES in then or kept.mark.get("kind") != "kept":
        return {}
    now = _live_rows(run, live.name)
    more = {table: rows - int(then.get(table, 0)) for table, rows in now.items()}
    return {"live_rows": now, "lost_rows": {table: rows for table, rows in more.items() if rows > 0}}


def _nothing_to_undo(run: _Restore, situation: _Situation) -> dict[str, Any]:
    """Say by whom it was undone, or that there is nothing; refuse where that cannot be said."""
    live, wanted = situation.live, run.options.undo_of
    if not wanted:
        undone = situation.latest("undone")
        if undone is None:
            raise RollbackError(
                f"There is no kept database that {live.name} replaced. Nothing was changed.",
                "A kept database is there after state=restored and until state=cleaned. Look with \\l+ in psql.",
            )
        return _result(run, changed=False, situation=situation, old_database=undone.name, already=undone.mark["at"])
    undone = undone_by(situation.kept, live.name, live.oid, wanted, run.options.run_id)
    if undone is None:
        return _result(run, changed=False, situation=situation, nothing_to_undo=True)
    by = str(undone.mark.get("run_id", ""))
    facts: dict[str, Any] = {"old_database": undone.name, "undone_by": by}
    facts.update({"already": undone.mark["at"]} if by == run.options.run_id else {"nothing_to_undo": True})
    return _result(run, changed=False, situation=situation, **facts)


def _name_of_displaced(run: _Restore, live: str, incoming: Database) -> str:
    """Return the name for the database that leaves: it is a kept one again when an undo is undone."""
    again = incoming.mark.get("kind") == "undone"
    return _free_name(run, kept_database(live, _now()) if again else beside(live, f"undone_{_now()}"))


def _cleaned(run: _Restore) -> dict[str, Any]:
    """Drop what is left of earlier runs, by number and age; never what this run made."""
    situation = _mend_fence(run, run.situation())
    oldest = (datetime.now(timezone.utc) - timedelta(hours=run.options.min_age_hours)).strftime("%Y%m%dT%H%M%SZ")
    candidates = situation.kept[run.options.keep :] + situation.sides
    dropped = []
    for one in candidates:
        own = run.options.run_id and one.mark.get("run_id") == run.options.run_id
        unfinished = one in situation.sides and one.mark.get("state") != "verified"  # nobody loads: the lock is ours
        if own or (str(one.mark.get("at", "")) > oldest and not unfinished):
            continue
        subscriptions = one_value(run.cursor, SUBSCRIPTIONS, (one.oid,)) if one in situation.kept else None
        if subscriptions:
            run.warnings.append(f"{one.name} stays: it has subscriptions, which you must drop first: {subscriptions}.")
            continue
        dropped.append(_described(run, one))
        if run.check:
            continue
        if one in situation.sides:
            drop_side_database(run.cursor, run.options.login, one.name)
        else:
            drop_database(run.cursor, one.name)
    names = {one["name"] for one in dropped}
    left = [one.name for one in situation.kept + situation.sides if one.name not in names]
    texts = difference.of_cleaning(left, names)
    return _result(run, changed=bool(dropped), situation=situation, dropped=dropped, left=left, diff=texts)


def _described(run: _Restore, one: Database) -> dict[str, Any]:
    size = 0 if one.invalid else one_value(run.cursor, "SELECT pg_database_size(%s::oid)", (one.oid,))
    return {"name": one.name, "kind": one.mark.get("kind", "side"), "at": one.mark.get("at", ""), "bytes": size}


# -- results -----------------------------------------------------------------------------------------------------------


def _result(run: _Restore, *, situation: _Situation, changed: bool, **facts: Any) -> dict[str, Any]:
    tables = facts.get("tables") or {}
    texts = facts.pop("diff", difference.nothing())
    if run.diff:
        facts["diff"] = texts
    return {
        "changed": changed,
        "database": situation.live.name,
        "live_oid": situation.live.oid,
        "rows_total": sum(tables.values()),
        "phases_seconds": run.progress.seconds,
        "warnings": run.warnings,
        **facts,
    }


def _short(tables: dict[str, int]) -> dict[str, int]:
    """Keep a mark small: a comment is read with every look at the catalog."""
    return tables if len(tables) <= 200 else {difference.ALL_TABLES: sum(tables.values())}  # noqa: PLR2004


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


_WORK = {"restored": _restored, "verified": _verified, "copied": _copied, "undone": _undone, "cleaned": _cleaned}
