# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_safe_restore against real servers: what is loaded, what is carried over, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.sidecar import sidecar_path, write_sidecar
from dump_zoo import FORMS as FORMS_OF_THE_ZOO
from dump_zoo import SPECIMENS, everything, flip, normal, truncate
from harness import call_module
from postgres_servers import MAINTENANCE, Server
from restores import SCHEMA, beside, database_state, oid, owning, refused, rows, run, until, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMS = {
    "plain": ([], None),
    "gzip": ([], gzip.compress),
    "two members": ([], lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])),
    "inserts": (["--inserts"], None),
    "many rows per insert": (["--column-inserts", "--rows-per-insert=50"], gzip.compress),
    "no owner, no privileges": (["--no-owner", "--no-acl"], None),
    "clean": (["--clean"], None),
    "clean, if exists": (["--clean", "--if-exists"], None),
    "custom": (["-Fc"], None),
    "custom, gzip": (["-Fc", "-Z0"], gzip.compress),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_backup_comes_back_whole(server: Server, live: str, tmp_path: Path, form: str) -> None:
    flags, pack = FORMS[form]
    dump = server.pg_dump(live, *flags)
    backup = write(tmp_path / "backup", pack(dump) if pack else dump)
    before, before_oid = rows(server, live), oid(server, live)
    server.execute(live, "DELETE FROM log; DROP TABLE pools; CREATE TABLE users2 (id int)")
    result = run(server, live, backup=backup)
    assert result["changed"]
    assert rows(server, live) == before
    assert {f"public.{table}": count for table, count in before.items()} == result["tables"]
    assert oid(server, live) != before_oid
    assert server.value(live, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert server.value(live, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 2
    assert server.value(live, "SELECT reltuples FROM pg_class WHERE relname = 'log'") == 20000
    assert list(beside(server, live)) == [result["old_database"]]


def test_directory_format(server: Server, live: str, tmp_path: Path) -> None:
    server.inside("sh", "-c", f"rm -rf /tmp/d && pg_dump -U usdx -d {live} -Fd -j2 -f /tmp/d")
    subprocess.run(["docker", "cp", f"{server.container}:/tmp/d", str(tmp_path / "d")], check=True, capture_output=True)
    before = rows(server, live)
    server.execute(live, "DELETE FROM log")
    run(server, live, backup=str(tmp_path / "d"))
    assert rows(server, live) == before


# --- the zoo ----------------------------------------------------------------------------------------------------------

# As psql restores it; pg_dump --inserts writes the float -0 without its sign, for whoever loads it.
ZOO_FORMS = ["plain", "gzip", "members", "custom", "custom_gzip", "custom_stored", "inserts", "no_owner"]


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_specimen_comes_back_as_it_was(server: Server, database: str, tmp_path: Path, name: str) -> None:
    SPECIMENS[name].create(server, database)
    dump = server.pg_dump(database)
    run(server, database, backup=write(tmp_path / "b", dump))
    assert normal(server.pg_dump(database)) == normal(dump)


@pytest.mark.parametrize("form", ZOO_FORMS)
def test_everything_comes_back_in_every_form(server: Server, database: str, tmp_path: Path, form: str) -> None:
    everything(server, database)
    expected = server.pg_dump(database)
    run(server, database, backup=write(tmp_path / "b", FORMS_OF_THE_ZOO[form](server, database)), jobs=3)
    if form == "inserts":
        expected = expected.replace(b"\t-0\t", b"\t0\t")
    assert sorted(normal(server.pg_dump(database))) == sorted(normal(expected))  # grants may be in another order


def test_the_second_run_changes_nothing_and_force_restores_again(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    first = run(server15, live15, backup=backup)
    second = run(server15, live15, backup=backup)
    assert (first["changed"], second["changed"], second["old_database"]) == (True, False, first["old_database"])
    server15.execute(live15, "DELETE FROM log")
    third = run(server15, live15, backup=backup, force=True)
    assert third["changed"]
    assert rows(server15, live15)["log"] == 20000


def test_verified_then_restored_loads_once(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    before = oid(server15, live15)
    verified = run(server15, live15, backup=backup, state="verified")
    assert verified["changed"]
    assert oid(server15, live15) == before
    again = run(server15, live15, backup=backup, state="verified")
    assert (again["changed"], again["reused"]) == (False, True)
    server15.execute(MAINTENANCE, f"ALTER DATABASE {live15} SET work_mem = '7MB'")  # between the two: must not be lost
    restored = run(server15, live15, backup=backup)
    assert (restored["changed"], restored["reused"]) == (True, True)
    assert "rows" not in restored["phases_seconds"]
    assert server15.value(live15, "SHOW work_mem") == "7MB"


def test_undone_brings_the_same_database_back_and_redo_is_possible(server: Server, live: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    server.execute(live, f"DELETE FROM log; COMMENT ON DATABASE {live} IS 'mine'")
    before, before_oid = rows(server, live), oid(server, live)
    run(server, live, backup=backup)
    undone = run(server, live, state="undone")
    assert (undone["changed"], oid(server, live)) == (True, before_oid)
    assert rows(server, live) == before
    assert (
        server.value(live, f"SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{live}'")
        == "mine"
    )
    assert not run(server, live, state="undone")["changed"]
    assert run(server, live, backup=backup)["changed"]


def test_undone_without_a_kept_database_is_refused(server15: Server, live15: str) -> None:
    with pytest.raises(RollbackError, match="no kept database"):
        run(server15, live15, state="undone")


def test_cleaned_by_age_and_number_never_of_the_same_run(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    run(server15, live15, backup=backup, run_id="one")
    time.sleep(1.1)  # marks have seconds
    run(server15, live15, backup=backup, force=True, run_id="two")
    assert not run(server15, live15, state="cleaned")["changed"], "both are younger than a day"
    kept = run(server15, live15, state="cleaned", min_age_hours=0.0, keep=0, run_id="two")
    assert [one["kind"] for one in kept["dropped"]] == ["kept"]
    assert len(beside(server15, live15)) == 1
    planned = run(server15, live15, check=True, state="cleaned", min_age_hours=0.0, keep=0)
    assert (planned["changed"], len(beside(server15, live15))) == (True, 1)
    run(server15, live15, state="cleaned", min_age_hours=0.0, keep=0)
    assert beside(server15, live15) == {}
    assert run(server15, live15, state="cleaned", min_age_hours=0.0, keep=0)["changed"] is False


# --- nothing lost in the swap -----------------------------------------------------------------------------------------


GRANTS = """
  SELECT 'r', c.oid::regclass::text, relowner::regrole::text,
         (SELECT array_agg(a ORDER BY a::text) FROM unnest(relacl) a)::text,
         (SELECT array_agg(attname || attacl::text ORDER BY 1) FROM pg_attribute
          WHERE attrelid = c.oid AND attacl IS NOT NULL)
    FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v')
  UNION ALL SELECT 'f', p.oid::regprocedure::text, proowner::regrole::text,
         (SELECT array_agg(a ORDER BY a::text) FROM unnest(proacl) a)::text, NULL
    FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT 'n', nspname, nspowner::regrole::text,
         (SELECT array_agg(a ORDER BY a::text) FROM unnest(nspacl) a)::text, NULL
    FROM pg_namespace WHERE nspname = 'public'
  UNION ALL SELECT 'd', concat(defaclrole::regrole, ' ', defaclobjtype, ' ', defaclnamespace::regnamespace), '',
         (SELECT array_agg(a ORDER BY a::text) FROM unnest(defaclacl) a)::text, NULL FROM pg_default_acl
  ORDER BY 1, 2"""


@pytest.fixture
def roles(server: Server, live: str) -> Iterator[dict[str, str]]:
    """Give the names of four roles; the first cannot log in and owns the database and its tables."""
    names = {one: f"{live}_{one}" for one in ("owner", "reader", "granter", "other")}
    for name in names.values():
        server.execute(MAINTENANCE, f"CREATE ROLE {name} {'NOLOGIN' if 'owner' in name else 'LOGIN'}")
    yield names
    for one in server.databases(live):
        server.drop_database(one)
    for name in names.values():
        server.execute(MAINTENANCE, f"DROP ROLE {name}")


def test_owner_grants_and_settings_stay_as_they_are_now(
    server: Server, live: str, roles: dict[str, str], tmp_path: Path
) -> None:
    dump = server.pg_dump(live, "--no-owner", "--no-acl")
    owner, reader, granter, other = roles.values()
    server.psql(
        MAINTENANCE,
        f"""ALTER DATABASE {live} OWNER TO {owner}; ALTER DATABASE {live} CONNECTION LIMIT 17;
        REVOKE ALL ON DATABASE {live} FROM PUBLIC; GRANT CONNECT ON DATABASE {live} TO {reader} WITH GRANT OPTION;
        ALTER DATABASE {live} SET search_path = "$user", public, "odd, name";
        ALTER DATABASE {live} SET work_mem = '9MB';
        ALTER DATABASE {live} SET my.marker = 'it''s';
        ALTER ROLE {reader} IN DATABASE {live} SET statement_timeout = '5s';
        COMMENT ON DATABASE {live} IS 'the one'; ALTER ROLE usdx IN DATABASE {live} SET statement_timeout = '1ms';""",
    )
    server.execute(MAINTENANCE, f"ALTER ROLE usdx IN DATABASE {live} RESET statement_timeout")
    server.psql(
        live,
        f"""REVOKE EXECUTE ON FUNCTION total() FROM PUBLIC; GRANT EXECUTE ON FUNCTION total() TO {reader};
        GRANT SELECT ON pools TO {granter} WITH GRANT OPTION; SET ROLE {granter}; GRANT SELECT ON pools TO {other};
        RESET ROLE; GRANT SELECT (email) ON users TO {reader}; GRANT USAGE ON SCHEMA public TO {other};
        ALTER TABLE users OWNER TO {other}; ALTER TABLE pools OWNER TO {owner}; ALTER FUNCTION total() OWNER TO {owner};
        REVOKE USAGE ON SCHEMA public FROM PUBLIC;
        ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT SELECT ON TABLES TO {reader};
        ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;""",
    )
    state, grants = database_state(server, live), server.execute(live, GRANTS)
    result = run(server, live, backup=write(tmp_path / "b.sql", dump))
    assert result["lost"] == {"owners": [], "grants": [], "settings": []}
    assert database_state(server, live) == state
    # what the owner role loaded belongs to it; 'log' belonged to the login role
    assert server.execute(live, GRANTS) == grants
    run(server, live, state="undone")
    assert (database_state(server, live), server.execute(live, GRANTS)) == (state, grants)


def test_encoding_and_locale_stay(server: Server, tmp_path: Path) -> None:
    name = server.create_database(options="TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        server.psql(name, SCHEMA)
        state = database_state(server, name)
        run(server, name, backup=write(tmp_path / "b.sql", server.pg_dump(name)))
        assert database_state(server, name) == state
    finally:
        for one in server.databases(name):
            server.drop_database(one)


# --- refused before anything changes ----------------------------------------------------------------------------------


DAMAGE = {
    "empty": (lambda _dump: b"", "is empty"),
    "cut gzip": (lambda dump: gzip.compress(dump)[:-20000], "is cut"),
    "gzip without its sum": (lambda dump: gzip.compress(dump)[:-8], "is cut"),
    "no trailer": (lambda dump: gzip.compress(dump.replace(b"-- PostgreSQL database dump complete", b"--")), "is cut"),
    "cut in a row": (lambda dump: dump[: dump.index(b"COPY public.log") + 400], "in the middle of the rows"),
    "garbage behind": (lambda dump: gzip.compress(dump) + b"garbage", "not gzip"),
    "line ends of a terminal": (lambda dump: dump.replace(b"\n", b"\r\n"), "CR LF"),
    "psql command": (lambda dump: dump.replace(b"SET lock", b"\\! touch /tmp/x\nSET lock", 1), "never carried out"),
    "two dumps": (lambda dump: dump + dump, "after its end"),
    "a text": (lambda _dump: b"SELECT 1;\n", "does not begin"),
    "another statement": (lambda dump: dump.replace(b"SET lock", b"DROP DATABASE x;\nSET lock", 1), None),
    "program": (lambda dump: dump.replace(b"SET lock", b"COPY t FROM PROGRAM 'id';\nSET lock", 1), "does not write"),
}


@pytest.mark.parametrize("damage", [name for name in DAMAGE if DAMAGE[name][1]])
@pytest.mark.parametrize("check", [True, False], ids=["plan", "load"])
def test_a_damaged_backup_is_refused(server15: Server, live15: str, tmp_path: Path, damage: str, check: bool) -> None:  # noqa: FBT001
    make, words = DAMAGE[damage]
    backup = write(tmp_path / "b.sql.gz", make(server15.pg_dump(live15)))
    assert words in str(refused(server15, live15, backup=backup, check=check))


def test_created_with_create_is_refused(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15, "--create"))
    refused(server15, live15, backup=backup)


def test_other_refusals(server15: Server, live15: str, tmp_path: Path) -> None:
    dump = server15.pg_dump(live15)
    good = write(tmp_path / "good.sql", dump)
    assert "cannot be read" in str(refused(server15, live15, backup=str(tmp_path / "absent")))
    newer = write(
        tmp_path / "newer.sql", dump.replace(b"Dumped from database version 15", b"Dumped from database version 19")
    )
    assert "newer than this server" in str(refused(server15, live15, backup=newer))
    custom = write(tmp_path / "custom", server15.pg_dump(live15, "-Fc"))
    assert refused(server15, live15, backup=custom, dumped_database="other").msg.startswith(
        "The dump is of the database"
    )
    query = [{"query": "SELECT count(*) FROM pools", "minimum": 5000.0}]
    assert "verify_queries" in str(refused(server15, live15, backup=good, verify_queries=query))
    assert "jobs" in str(refused(server15, live15, backup=good, jobs=0))
    server15.execute(live15, "BEGIN; INSERT INTO log VALUES ('x'); PREPARE TRANSACTION 'held'")
    assert "prepared transactions: held" in str(refused(server15, live15, backup=good))
    server15.execute(live15, "ROLLBACK PREPARED 'held'")
    server15.execute(live15, "SELECT pg_create_logical_replication_slot('held_slot', 'pgoutput')")
    try:
        assert "held_slot" in str(refused(server15, live15, backup=good))
    finally:
        server15.execute(live15, "SELECT pg_drop_replication_slot('held_slot')")
    run(server15, live15, backup=good)


def test_a_backup_of_another_application_is_refused(server15: Server, live15: str, tmp_path: Path) -> None:
    other = server15.create_database()
    server15.execute(other, "CREATE TABLE invoices (id int)")
    backup = write(tmp_path / "other.sql", server15.pg_dump(other))
    server15.drop_database(other)
    assert "no table in common" in str(refused(server15, live15, backup=backup))
    assert "no table in common" in str(refused(server15, live15, backup=backup, check=True))


def test_an_error_inside_the_load_leaves_nothing(server15: Server, live15: str, tmp_path: Path) -> None:
    dump = server15.pg_dump(live15).replace(b"\tuser7\n", b"\tuser8\n")  # breaks the unique constraint
    error = refused(server15, live15, backup=write(tmp_path / "b.sql", dump))
    assert error.facts["sqlstate"] == "23505"


def test_a_missing_role_is_named(server15: Server, live15: str, tmp_path: Path) -> None:
    dump = server15.pg_dump(live15).replace(b"OWNER TO usdx", b"OWNER TO nobody_here")
    assert "nobody_here" in str(refused(server15, live15, backup=write(tmp_path / "b.sql", dump)))


def test_two_at_once_the_second_is_refused(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    holder = server15.connect()
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('usdx.rollback'), hashtext(%s))", (live15,))
        error = refused(server15, live15, backup=backup)
    holder.close()
    assert error.facts["holder"]["pid"]


@pytest.mark.parametrize("form", ["plain", "gzip", "custom"])
def test_damaged_backups_none_is_accepted(server15: Server, live15: str, tmp_path: Path, form: str) -> None:
    """Loaded as far as they go. A thousand more are only read, in the unit tests of damaged backups."""
    server15.execute(live15, "DELETE FROM log; DELETE FROM pools WHERE id > 100")  # quick to load
    whole = FORMS_OF_THE_ZOO[form](server15, live15)
    before = (oid(server15, live15), rows(server15, live15))
    path = tmp_path / "backup"
    facts = {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    sidecar_path(path).write_bytes(write_sidecar(facts))
    random_places = random.Random(20241228)  # noqa: S311 - repeatable
    for number in range(10):
        place = random_places.randrange(len(whole))
        damaged = [truncate(whole, place), flip(whole, place, number % 8)][number % 2]
        with pytest.raises(RollbackError):
            run(server15, live15, backup=write(path, damaged))
    assert (oid(server15, live15), rows(server15, live15)) == before
    assert beside(server15, live15) == {}
    run(server15, live15, backup=write(path, whole))


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["catalog_lock", "fence"])
def test_reconnecting_clients_end_on_the_new_database(server: Server, live: str, tmp_path: Path, variant: str) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    run(server, live, backup=backup, state="verified")
    stop, refusals, errors, last = threading.Event(), [], [], {}

    def client(number: int) -> None:
        connection: Any = None
        while not stop.is_set():
            try:
                if connection is None:
                    connection = server.connect(live)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
                    last[number] = cursor.fetchone()[0]
            except psycopg2.Error as error:  # noqa: PERF203 - each try is one connection
                (refusals if connection is None else errors).append(str(error))
                connection = None

    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    result = run(server, live, backup=backup, cutover=variant)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(last.values()) == {oid(server, live)}
    assert result["cutover"]["variant"] == variant
    assert len(errors) <= 12
    if variant == "catalog_lock":
        assert refusals == []


def test_sessions_that_hold_on_are_ended(server: Server, live: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    idle = server.connect(live)
    with idle.cursor() as cursor:
        cursor.execute("BEGIN; CREATE TEMP TABLE t AS SELECT 1; SELECT 1")
    busy = server.connect(live)
    thread = threading.Thread(target=_forever, args=(busy,))
    thread.start()
    result = run(server, live, backup=backup)
    thread.join()
    assert result["cutover"]["sessions_ended"] >= 2


def _forever(connection: Any) -> None:
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error):
        cursor.execute("SELECT count(*) FROM generate_series(1, 1000000000)")


@pytest.fixture
def owner(server: Server, live: str) -> Iterator[dict[str, Any]]:
    """Give the login of a role that owns the live database, is no superuser, and ends only sessions of its own."""
    with owning(server, live) as login:
        yield login


def test_fence_of_an_owner_without_superuser(server: Server, live: str, owner: dict[str, Any], tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner"))
    result = run(server, live, backup=backup, **owner)
    assert result["cutover"]["variant"] == "fence"
    run(server, live, state="undone", **owner)


def test_what_an_owner_is_told_is_true(server: Server, live: str, owner: dict[str, Any], tmp_path: Path) -> None:
    """It sees neither since when a session of another role is there, nor in which directory the server is."""
    backup = write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner"))
    plan = run(server, live, backup=backup, check=True, **server.compose_login | owner)
    (fence,) = plan["warnings"]
    assert "some tenths of a second when autovacuum is at work there" in fence
    with closing(server.connect()) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('usdx.rollback'), hashtext(%s))", (live,))
        error = refused(server, live, backup=backup, **owner)
    assert (error.facts["holder"]["client"], error.facts["holder"]["since"]) == ("unknown", "unknown")


def test_who_may_only_become_the_owner_is_refused_before_anything_is_made(
    server: Server, live: str, owner: dict[str, Any], tmp_path: Path
) -> None:
    """Such a role could make a side database for the owner, but not drop it again."""
    backup = write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner"))
    role = f"{live}_member"
    granted = f"{owner['login_user']} TO {role}"
    server.psql(MAINTENANCE, f"CREATE ROLE {role} LOGIN CREATEDB NOINHERIT PASSWORD 'x'; GRANT {granted}")
    grants = ["", f"GRANT {granted} WITH INHERIT TRUE, SET FALSE"] if server.version >= 16 else [""]
    try:
        for grant in grants:
            server.psql(MAINTENANCE, grant)
            error = refused(server, live, backup=backup, **owner | {"login_user": role})
            assert "may not create and rename" in error.msg
        back = f"GRANT {granted} WITH SET TRUE" if server.version >= 16 else f"ALTER ROLE {role} INHERIT"
        server.psql(MAINTENANCE, back)
        assert run(server, live, backup=backup, **owner | {"login_user": role})["changed"]
    finally:
        server.execute(MAINTENANCE, f"DROP ROLE {role}")


SLOW_TO_VACUUM = """
  ALTER TABLE log SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
                       autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"""
AT_THE_LOG = """
  SELECT count(*) FROM pg_stat_activity
  WHERE datname = '{}' AND backend_type = 'autovacuum worker' AND query LIKE '%public.log%'"""


@pytest.fixture
def vacuumed(server: Server, live: str) -> Iterator[Callable[[str], None]]:
    """Make autovacuum come each second and need long for the log; give what waits until it is at that of a database."""
    server.execute(live, SLOW_TO_VACUUM)
    server.execute(MAINTENANCE, "ALTER SYSTEM SET autovacuum_naptime = '1s'")
    try:
        server.execute(MAINTENANCE, "SELECT pg_reload_conf()")
        yield lambda database: until(lambda: server.value(MAINTENANCE, AT_THE_LOG.format(database)))
    finally:
        server.execute(MAINTENANCE, "ALTER SYSTEM RESET autovacuum_naptime")
        server.execute(MAINTENANCE, "SELECT pg_reload_conf()")


def test_autovacuum_does_not_keep_an_owner_from_changing_names(
    server: Server, live: str, owner: dict[str, Any], vacuumed: Callable[[str], None], tmp_path: Path
) -> None:
    """Its worker is a session that only a superuser may end."""
    backup = write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner"))
    before = oid(server, live)
    run(server, live, backup=backup, state="verified", **owner)
    server.execute(live, "DELETE FROM log")
    vacuumed(live)
    restored = run(server, live, backup=backup, **owner)
    assert (restored["reused"], restored["cutover"]["variant"]) == (True, "fence")
    vacuumed(restored["old_database"])
    run(server, live, state="undone", **owner)
    assert oid(server, live) == before


def test_autovacuum_does_not_keep_an_owner_from_copying(
    server: Server, live: str, owner: dict[str, Any], vacuumed: Callable[[str], None]
) -> None:
    server.execute(live, "DELETE FROM log")
    vacuumed(live)
    assert run(server, live, state="copied", **owner)["changed"]


def test_autovacuum_does_not_keep_an_owner_from_dropping(
    server: Server, live: str, owner: dict[str, Any], vacuumed: Callable[[str], None], tmp_path: Path
) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner"))
    drop = {"state": "cleaned", "keep": 0, "min_age_hours": 0.0, **owner}
    vacuumed(run(server, live, backup=backup, state="verified", **owner)["side_database"])
    assert [one["kind"] for one in run(server, live, **drop)["dropped"]] == ["side"]
    server.execute(live, "DELETE FROM log")
    vacuumed(run(server, live, backup=backup, **owner)["old_database"])
    assert [one["kind"] for one in run(server, live, **drop)["dropped"]] == ["kept"]
    assert beside(server, live) == {}


# --- the module -------------------------------------------------------------------------------------------------------


def test_the_module_checks_restores_and_checks_again(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql.gz", gzip.compress(server15.pg_dump(live15)))
    server15.execute(live15, "INSERT INTO log SELECT 'late' FROM generate_series(1, 5)")
    given = {**server15.login, "db": live15, "backup": backup}
    before = oid(server15, live15)
    planned = call_module("pg_safe_restore", given, check=True)
    assert planned["changed"]
    assert planned["lost_rows"] == {"public.log": 5}
    assert (oid(server15, live15), beside(server15, live15)) == (before, {})
    assert "-  public.log: 20005 rows\n+  public.log: 20000 rows\n" in planned.shown
    assert f"+{live15}_before_<time>, the former {live15}, kept\n" in planned.shown
    progress = tmp_path / "progress"
    done = call_module("pg_safe_restore", {**given, "progress_file": str(progress)})
    assert not done.failed, done.result
    assert done["restored_oid"] == oid(server15, live15)
    assert done.shown.count("public.log") == planned.shown.count("public.log") == 2
    assert f"+{done['old_database']}, the former {live15}, kept\n" in done.shown
    assert server15.password not in planned.shown + done.shown
    assert progress.stat().st_mode & 0o777 == 0o600
    assert call_module("pg_safe_restore", given, check=True)["changed"] is False
    wrong = call_module("pg_safe_restore", {**given, "login_password": "wrong"})
    assert wrong.failed
    assert "cannot be reached" in wrong["msg"]
    assert "wrong" not in json.dumps({key: value for key, value in wrong.result.items() if key != "msg"})


def test_a_ready_side_database_must_answer_the_queries_of_now(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    run(server15, live15, backup=backup, state="verified")
    before = oid(server15, live15)
    query = {"query": "SELECT count(*) FROM pools", "minimum": 5000.0}
    with pytest.raises(RollbackError, match="verify_queries"):
        run(server15, live15, backup=backup, verify_queries=[query])
    assert oid(server15, live15) == before
    done = run(server15, live15, backup=backup, verify_queries=[{**query, "minimum": 3000.0}])
    assert done["queries"][0]["value"] == 3000


def test_the_plan_is_right_with_many_tables_a_ready_side_database_and_temporary_tables(
    server15: Server, live15: str, tmp_path: Path
) -> None:
    server15.psql(live15, "".join(f"CREATE TABLE many{number} (id int);\n" for number in range(210)))
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    run(server15, live15, backup=backup, state="verified")
    other = server15.connect(live15)
    with other.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE passing AS SELECT 1; INSERT INTO log VALUES ('late')")
    plan = run(server15, live15, backup=backup, check=True)
    other.close()
    assert (plan["reused"], plan["lost_rows"], plan["warnings"]) == (True, {"public.log": 1}, _unknown_disk(plan))
    assert len(plan["live_rows"]) == 213


def _unknown_disk(plan: dict[str, Any]) -> list[str]:
    """Return the warnings of a plan that are about the disk alone, which a container with a published port hides."""
    return [warning for warning in plan["warnings"] if "disk space" in warning]


def test_the_difference_is_shown_when_asked_and_only_what_changes(
    server15: Server, live15: str, tmp_path: Path
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    server15.execute(live15, "INSERT INTO log VALUES ('late')")
    assert "diff" not in run(server15, live15, backup=backup, check=True)
    users = f"{live15}, owner usdx\n  public.log: {{}} rows\n  public.pools: 3000 rows\n  public.users: 500 rows\n"
    side = run(server15, live15, backup=backup, state="verified", diff=True)
    rows_of_it = users.format(20000).partition("\n")[2]
    assert side["diff"] == {"before": "", "after": f"{side['side_database']}, verified\n{rows_of_it}"}
    done = run(server15, live15, backup=backup, diff=True)
    assert done["diff"]["before"] == users.format(20001)
    assert done["diff"]["after"] == users.format(20000) + f"{done['old_database']}, the former {live15}, kept\n"
    again = run(server15, live15, backup=backup, diff=True)
    assert again["diff"] == {"before": "", "after": ""}
    undone = run(server15, live15, state="undone", diff=True)
    assert f"{live15}: object id {done['live_oid']}\n" in undone["diff"]["after"]
    cleaned = run(server15, live15, state="cleaned", keep=0, min_age_hours=0.0, diff=True)
    assert cleaned["diff"] == {"before": f"{undone['old_database']}\n", "after": ""}
    shown = json.dumps([one["diff"] for one in (side, done, undone, cleaned)])
    assert server15.password not in shown


def test_rows_that_are_expected_are_counted_in_the_plan_the_load_and_a_ready_side_database(
    server15: Server, live15: str, tmp_path: Path
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    wanted = {"table": "public.pools", "equals": None, "minimum": 3000}
    more = {**wanted, "minimum": 3001}
    for check in (True, False):
        error = refused(server15, live15, check=check, backup=backup, expected_rows=[more])
        assert "public.pools has 3000, expected were at least 3001" in error.msg
    run(server15, live15, backup=backup, state="verified", expected_rows=[wanted])
    assert "at least 3001" in refused(server15, live15, backup=backup, expected_rows=[more]).msg
    assert run(server15, live15, backup=backup, expected_rows=[wanted])["reused"]


@pytest.mark.parametrize("check", [True, False], ids=["plan", "load"])
def test_a_backup_that_is_nearly_empty_is_refused_when_asked(
    server15: Server,
    live15: str,
    tmp_path: Path,
    check: bool,  # noqa: FBT001
) -> None:
    full = server15.pg_dump(live15)
    server15.execute(live15, "DELETE FROM log; DELETE FROM pools; DELETE FROM users WHERE id > 10")
    nearly_empty = write(tmp_path / "b.sql", server15.pg_dump(live15))
    run(server15, live15, backup=write(tmp_path / "full.sql", full))
    error = refused(server15, live15, check=check, backup=nearly_empty, min_rows_ratio=0.1)
    assert "holds 10 rows, the live database about 23500" in error.msg
