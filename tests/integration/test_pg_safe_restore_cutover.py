# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of names that cannot be: live and side database stay what they are, and the next run ends well."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import cutover
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import Entry
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.proof import prove
from postgres_servers import MAINTENANCE, Server
from restores import SCHEMA, beside, oid, rows, run, until, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ready(server15: Server, live15: str, tmp_path: Path) -> str:
    """Give a backup that is loaded and verified beside the live database."""
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    run(server15, live15, backup=backup, state="verified")
    return backup


def failed(server: Server, live: str, **given: Any) -> RollbackError:
    """Call, expect a failure, and see that names, rows and the verified side database are as before."""
    before = (oid(server, live), rows(server, live), list(beside(server, live)))
    with pytest.raises(RollbackError) as caught:
        run(server, live, **given)
    server.connect(live).close()
    assert (oid(server, live), rows(server, live), list(beside(server, live))) == before
    assert caught.value.facts["live_untouched"] is True
    assert caught.value.next_step
    return caught.value


@contextmanager
def reading_the_catalog(server: Server) -> Iterator[None]:
    """Hold what a pg_dump of any database holds for as long as it runs."""
    with closing(server.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM pg_database")
        yield


@contextmanager
def session_that_does_not_end(server: Server, live: str) -> Iterator[None]:
    """Stop the process of a session, so that it does not see that it shall end."""
    with closing(server.connect(live)) as connection:
        pid = connection.info.backend_pid
        server.inside("sh", "-c", f"kill -STOP {pid}")
        try:
            yield
        finally:
            server.inside("sh", "-c", f"kill -CONT {pid}")


def test_while_the_catalog_is_read_elsewhere_the_fence_is_taken(
    server15: Server, live15: str, ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutover, "_LOCK_TRIES", 3)  # quick to give up
    with reading_the_catalog(server15):
        error = failed(server15, live15, backup=ready, cutover="catalog_lock")
        assert (error.facts["sqlstate"], "stands ready beside it" in error.msg) == ("55P03", True)
        result = run(server15, live15, backup=ready)
    assert (result["reused"], result["cutover"]["variant"]) == (True, "fence")


LOCKED = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND objid = {}"
"""A newcomer holds this from the moment it knows its database until others can see it in pg_stat_activity."""


def verified_with_witness(server: Server, live: str, tmp_path: Path) -> tuple[str, Any]:
    """Return a backup that stands ready beside the live database, and a session that is on the live one."""
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    run(server, live, backup=backup, state="verified")
    return backup, server.connect(live)


def alive(session: Any) -> bool:
    """Ask something; an ``OperationalError`` says that the session was ended."""
    with session.cursor() as cursor:
        cursor.execute("SELECT true")
        return bool(cursor.fetchone()[0])


def test_nobody_is_ended_while_the_renames_would_have_to_wait(server: Server, live: str, tmp_path: Path) -> None:
    backup, witness = verified_with_witness(server, live, tmp_path)
    with closing(witness):
        with closing(server.connect()) as other, other.cursor() as cursor:
            cursor.execute(f"BEGIN; COMMENT ON DATABASE {live} IS 'not committed'")
            assert server.value(MAINTENANCE, LOCKED.format(oid(server, live))) == 1
            error = failed(server, live, backup=backup, cutover="catalog_lock")
        assert alive(witness)
        assert error.facts["sqlstate"] == cutover._NEWCOMER
        result = run(server, live, backup=backup)
        assert (result["reused"], result["cutover"]["variant"]) == (True, "catalog_lock")
        with pytest.raises(psycopg2.OperationalError):
            alive(witness)


def test_the_fence_does_not_stand_for_as_long_as_somebody_holds_a_lock(
    server: Server, live: str, tmp_path: Path
) -> None:
    backup, witness = verified_with_witness(server, live, tmp_path)
    with closing(witness), closing(server.connect()) as other, other.cursor() as cursor:
        cursor.execute(f"BEGIN; COMMENT ON DATABASE {live} IS 'not committed'")
        began = time.monotonic()
        error = failed(server, live, backup=backup, cutover="fence", cutover_timeout=0.5)
        assert time.monotonic() - began < 10
    assert error.facts["sqlstate"] == "55P03"
    assert run(server, live, backup=backup, cutover="fence")["reused"]


def test_the_cutover_waits_for_who_is_connecting(
    server: Server, live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets this client wait for a second where it has the lock and nobody can see it yet."""
    monkeypatch.setattr(cutover, "_NEWCOMER_TRIES", 100_000)
    backup, witness = verified_with_witness(server, live, tmp_path)
    before = oid(server, live)
    with closing(witness), ThreadPoolExecutor() as pool:
        newcomer = pool.submit(server.connect, live, options="-c post_auth_delay=1")
        until(lambda: server.value(MAINTENANCE, LOCKED.format(before)))
        seen = f"SELECT count(*) FROM pg_stat_activity WHERE datid = {before} AND backend_type = 'client backend'"
        assert server.value(MAINTENANCE, seen) == 1
        result = run(server, live, backup=backup, cutover="catalog_lock")
        newcomer.exception()  # wait for it
    # A worker of autovacuum may be there, too.
    assert result["cutover"]["sessions_ended"] >= 2, "both became sessions and stayed until the renames were free"
    assert result["cutover"]["milliseconds"] < 900, "the tries that were given up do not count"
    assert oid(server, live) != before


@pytest.mark.parametrize("variant", ["catalog_lock", "fence"])
def test_a_session_that_does_not_end(server15: Server, live15: str, ready: str, variant: str) -> None:
    with session_that_does_not_end(server15, live15):
        error = failed(server15, live15, backup=ready, cutover=variant, cutover_timeout=0.3)
    assert "did not end" in error.msg
    assert run(server15, live15, backup=ready, cutover=variant)["reused"]


def test_an_owner_that_may_not_end_sessions(server15: Server, live15: str, ready: str, tmp_path: Path) -> None:
    """The fence is taken down again."""
    role, other = f"{live15}_owner", f"{live15}_other"
    server15.psql(
        MAINTENANCE,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'; ALTER DATABASE {live15} OWNER TO {role};"
        f"CREATE ROLE {other} LOGIN PASSWORD 'x'",
    )
    for table in ("users", "pools", "log"):
        server15.execute(live15, f"ALTER TABLE {table} OWNER TO {role}")
    server15.execute(live15, f"ALTER FUNCTION total() OWNER TO {role}")
    owner = {"login_user": role, "login_password": "x"}
    try:
        backup = write(tmp_path / "own.sql", server15.pg_dump(live15, "--no-owner"))
        run(server15, live15, state="cleaned", min_age_hours=0.0)
        assert "may not create and rename" in failed(server15, live15, backup=backup, **owner).msg
        server15.execute(MAINTENANCE, f"ALTER ROLE {role} CREATEDB")
        run(server15, live15, backup=backup, state="verified", **owner)
        with closing(server15.connect(live15, user=other, password="x")):  # noqa: S106 - of this server only
            error = failed(server15, live15, backup=backup, **owner)
        assert error.facts["sqlstate"] == "42501"
        assert "pg_signal_backend" in error.next_step
        assert run(server15, live15, backup=backup, **owner)["reused"]
    finally:
        for one in server15.databases(live15):
            server15.drop_database(one)
        server15.psql(MAINTENANCE, f"DROP ROLE {role}; DROP ROLE {other}")
    assert ready


ODD = ["Größe \"x\" 'y' $usdx_", "a" * 63, "ß" * 31]


@pytest.mark.parametrize("name", ODD)
def test_odd_and_long_names(server15: Server, tmp_path: Path, name: str) -> None:
    """A name that is too long is cut by the server silently, and two kept databases could get the same."""
    server15.create_database(name)
    made = {name}
    try:
        server15.psql(name, SCHEMA)
        backup = write(tmp_path / "b.sql", server15.pg_dump(name))
        before = rows(server15, name)
        for again in (False, True):
            made.add(run(server15, name, backup=backup, force=again)["old_database"])
        undone = run(server15, name, state="undone")["old_database"]
        assert len(made) == 3
        assert {len(one.encode()) <= 63 for one in made | {undone}} == {True}
        assert set(server15.databases()) >= {name, undone}
        assert rows(server15, name) == before
        dropped = run(server15, name, state="cleaned", keep=0, min_age_hours=0.0)["dropped"]
        assert len(dropped) == 2
    finally:
        for one in server15.databases():
            if one in made or one.startswith(name[:10]):
                server15.drop_database(one)


def test_settings_of_the_environment_bend_nothing(
    server15: Server, live15: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bent = {
        "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=nowhere -c standard_conforming_strings=off",
        "PGHOST": "nowhere", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nowhere",
        "PGCLIENTENCODING": "LATIN1", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German",
    }  # fmt: skip
    server15.execute(live15, "CREATE TABLE odd AS SELECT 'ß'::text AS a, '2024-12-28'::date AS b")
    before = server15.pg_dump(live15)
    with monkeypatch.context() as environment:
        for name, value in bent.items():
            environment.setenv(name, value)
        run(server15, live15, backup=write(tmp_path / "b.sql", before))
    assert server15.execute(live15, "SELECT a, b::text FROM odd") == [("ß", "2024-12-28")]


def test_bytes_that_are_no_text_are_refused_by_the_server(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15).replace(b"\tuser7\n", b"\tuser\xff\n"))
    before = list(server15.databases(live15))
    with pytest.raises(RollbackError) as caught:
        run(server15, live15, backup=backup)
    assert caught.value.facts["sqlstate"] == "22021"
    assert server15.databases(live15) == before


# --- the proof --------------------------------------------------------------------------------------------------------


def proof(server: Server, live: str, *entries: Entry, **query: Any) -> dict[str, Any]:
    return prove(lambda: server.connect(live), entries, [query] if query else [])


def test_what_is_not_whole_is_no_live_database(server15: Server, live15: str) -> None:
    server15.psql(live15, "CREATE MATERIALIZED VIEW m AS SELECT 1 WITH NO DATA")
    present = Entry("pools", "TABLE", "public", "")
    assert proof(server15, live15, present) == {"queries": [], "warnings": []}
    with pytest.raises(RollbackError, match=r"table public\.gone is missing"):
        proof(server15, live15, present, Entry("gone", "TABLE", "public", ""))
    with pytest.raises(RollbackError, match=r"materialized view public\.m is not filled"):
        proof(server15, live15, Entry("m", "MATERIALIZED VIEW DATA", "public", ""))
    server15.execute(live15, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pools_note_idx'::regclass")
    with pytest.raises(RollbackError, match=r"index public\.pools_note_idx is not valid"):
        proof(server15, live15)


def test_a_sequence_behind_its_column_is_a_warning(server15: Server, live15: str, tmp_path: Path) -> None:
    server15.execute(live15, "SELECT setval('users_id_seq', 17)")
    result = run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)))
    said = "The sequence public.users_id_seq stands at 17, but public.users.id goes to 500."
    assert said in result["warnings"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"query": "SELECT count(*) FROM pools", "equals": 2999}, "it is 3000, expected was 2999"),
        ({"query": "SELECT count(*) FROM pools", "minimum": 3001.0}, "expected was at least 3001"),
        ({"query": "SELECT NULL", "minimum": 0.0}, "it is None"),
        ({"query": "SELECT pg_sleep(60)", "timeout": 0.1}, "statement timeout"),
        ({"query": "DELETE FROM pools"}, "read-only transaction"),
        ({"query": "SELECT nonsense"}, "does not exist"),
    ],
)
def test_queries_that_are_not_answered_as_expected(
    server15: Server, live15: str, query: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RollbackError) as caught:
        proof(server15, live15, **query)
    assert reason in caught.value.facts["queries"][0]["reason"]
    assert rows(server15, live15)["pools"] == 3000


def test_queries_that_are_answered(server15: Server, live15: str) -> None:
    query = {"query": "SELECT count(*) FROM pools", "equals": "3000", "minimum": 3000.0}
    assert proof(server15, live15, **query)["queries"][0]["verdict"] == "passed"
