# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a restore is said before anything changes: by the plan, and by the run."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.server import free_connections
from postgres_servers import MAINTENANCE, Server
from restores import beside, oid, options, owning, refused, rows, run, until, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOTH = pytest.mark.parametrize("check", [True, False], ids=["plan", "load"])
SUBSCRIPTION = """
  CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
  WITH (connect = false, slot_name = 'far')"""


@pytest.fixture
def owner(server: Server, live: str) -> Iterator[dict[str, Any]]:
    """Give the login of an owner of the live database who may end the sessions of others, on ``server``."""
    with owning(server, live, "pg_signal_backend") as login:
        yield login


@pytest.fixture
def owner15(server15: Server, live15: str) -> Iterator[dict[str, Any]]:
    """Give such a login on the server of version 15."""
    with owning(server15, live15, "pg_signal_backend") as login:
        yield login


# --- replication ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["superuser", "owner"])
def test_a_subscription_is_refused_or_stays_with_the_kept_database(
    server: Server, live: str, owner: dict[str, Any], tmp_path: Path, login: str
) -> None:
    """Whoever logs in sees it."""
    given = {
        "backup": write(tmp_path / "b.sql", server.pg_dump(live, "--no-owner")),
        **(owner if login == "owner" else {}),
    }
    server.execute(live, SUBSCRIPTION.format(name=f"{live}_s"))
    for check in (True, False):
        assert f"subscriptions ({live}_s)" in refused(server, live, check=check, **given).msg
    result = run(server, live, allow_replication_objects=True, **given)
    holder = f"SELECT datname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE subname = '{live}_s'"
    assert server.value(MAINTENANCE, holder) == result["old_database"]
    cleaned = run(server, live, state="cleaned", keep=0, min_age_hours=0.0)
    assert (cleaned["changed"], cleaned["left"]) == (False, [result["old_database"]])
    assert any(f"subscriptions, which you must drop first: {live}_s" in one for one in cleaned["warnings"])


def test_a_dump_with_a_subscription_that_fails_leaves_nothing(server: Server, live: str, tmp_path: Path) -> None:
    """The server refuses to drop a database that has one, even with FORCE."""
    server.execute(live, SUBSCRIPTION.format(name=f"{live}_s"))
    dump = server.pg_dump(live)
    for statement in ("DISABLE", "SET (slot_name = NONE)"):
        server.execute(live, f"ALTER SUBSCRIPTION {live}_s {statement}")
    server.execute(live, f"DROP SUBSCRIPTION {live}_s")
    assert b"CREATE SUBSCRIPTION" in dump
    backup = write(tmp_path / "b.sql", dump)
    query = {"query": "SELECT 1", "equals": 2}
    assert "verify_queries" in refused(server, live, backup=backup, verify_queries=[query]).msg
    result = run(server, live, backup=backup)
    assert server.value(live, f"SELECT subenabled FROM pg_subscription WHERE subname = '{live}_s'") is False
    assert list(beside(server, live)) == [result["old_database"]]


def test_a_slot_stays_with_the_kept_database_when_allowed(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    server15.execute(live15, f"SELECT pg_create_logical_replication_slot('{live15}_slot', 'pgoutput')")
    assert f"replication slots ({live15}_slot)" in refused(server15, live15, backup=backup, check=True).msg
    result = run(server15, live15, backup=backup, allow_replication_objects=True)
    slot = f"SELECT database FROM pg_replication_slots WHERE slot_name = '{live15}_slot'"
    assert server15.value(MAINTENANCE, slot) == result["old_database"]


def test_publications_come_with_the_dump(server15: Server, live15: str, tmp_path: Path) -> None:
    server15.execute(live15, "CREATE PUBLICATION part FOR TABLE pools; CREATE PUBLICATION whole FOR ALL TABLES")
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    server15.execute(live15, "DROP PUBLICATION part")
    run(server15, live15, backup=backup)
    assert server15.execute(live15, "SELECT pubname FROM pg_publication ORDER BY 1") == [("part",), ("whole",)]


def test_a_transaction_that_was_prepared_meanwhile_stops_the_change_of_names(
    server15: Server, live15: str, tmp_path: Path
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    side = run(server15, live15, backup=backup, state="verified")["side_database"]
    server15.execute(live15, f"BEGIN; INSERT INTO log VALUES ('x'); PREPARE TRANSACTION '{live15}'")
    for check in (True, False):
        assert f"prepared transactions: {live15} of usdx" in refused(server15, live15, backup=backup, check=check).msg
    assert list(beside(server15, live15)) == [side]
    server15.execute(live15, f"ROLLBACK PREPARED '{live15}'")
    assert run(server15, live15, backup=backup)["reused"]


# --- roles and extensions ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("place", ["owner", "grant", "defaults"])
def test_a_missing_role_is_named(server15: Server, live15: str, tmp_path: Path, check: bool, place: str) -> None:  # noqa: FBT001
    server15.execute(
        live15, "GRANT SELECT ON pools TO pg_monitor; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor"
    )
    before, after = {
        "owner": (b"ALTER TABLE public.log OWNER TO usdx", b'ALTER TABLE public.log OWNER TO "No body"'),
        "grant": (
            b"GRANT SELECT ON TABLE public.pools TO pg_monitor",
            b'GRANT SELECT ON TABLE public.pools TO "No body"',
        ),
        "defaults": (b"ON TABLES  TO pg_monitor", b'ON TABLES  TO "No body"'),
    }[place]
    dump = server15.pg_dump(live15)
    backup = write(tmp_path / "b.sql", dump.replace(before, after))
    assert dump.count(before) >= 1
    error = refused(server15, live15, check=check, backup=backup)
    assert "No body" in error.msg
    assert "reate the" in error.next_step


@BOTH
def test_an_extension_that_is_absent_is_named(server15: Server, live15: str, tmp_path: Path, check: bool) -> None:  # noqa: FBT001
    extension = b"\nCREATE EXTENSION IF NOT EXISTS not_here WITH SCHEMA public;\n\nCREATE FUNCTION"
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15).replace(b"\nCREATE FUNCTION", extension, 1))
    error = refused(server15, live15, check=check, backup=backup)
    assert "not_here" in error.msg
    assert "nstall the" in error.next_step


NEED_SUPERUSER = {
    "extension": ("CREATE EXTENSION file_fdw", "file_fdw"),
    "event trigger": (
        """CREATE FUNCTION seen() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION seen()""",
        "event trigger",
    ),
    "publication": ("CREATE PUBLICATION whole FOR ALL TABLES", "publication"),
}


@BOTH
@pytest.mark.parametrize("what", NEED_SUPERUSER)
def test_what_needs_a_superuser_is_refused_without_one(  # noqa: PLR0913, PLR0917
    server15: Server,
    live15: str,
    owner15: dict[str, Any],
    tmp_path: Path,
    what: str,
    check: bool,  # noqa: FBT001
) -> None:
    made, words = NEED_SUPERUSER[what]
    server15.psql(live15, made)
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15, "--no-owner"))
    error = refused(server15, live15, check=check, backup=backup, **owner15)
    assert words in error.msg
    assert "Log in as a superuser" in error.next_step
    run(server15, live15, check=check, backup=backup)


@BOTH
@pytest.mark.parametrize(
    ("made", "dumped"),
    [
        ("CREATE TABLE theirs (a int)", []),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor", ["--no-owner"]),
    ],
    ids=["a table", "default privileges"],
)
def test_what_belongs_to_others_is_refused_without_a_superuser(  # noqa: PLR0913, PLR0917
    server: Server,
    live: str,
    owner: dict[str, Any],
    tmp_path: Path,
    made: str,
    dumped: list[str],
    check: bool,  # noqa: FBT001
) -> None:
    own = write(tmp_path / "own.sql", server.pg_dump(live))
    run(server, live, check=True, backup=own, **owner)
    server.psql(live, made)
    backup = write(tmp_path / "b.sql", server.pg_dump(live, *dumped))
    error = refused(server, live, check=check, backup=backup, **owner)
    assert "--no-owner" in error.next_step
    run(server, live, check=True, backup=backup)


def test_a_trusted_extension_needs_none(server15: Server, live15: str, owner15: dict[str, Any], tmp_path: Path) -> None:
    server15.psql(live15, f"SET ROLE {owner15['login_user']}; CREATE EXTENSION hstore")
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15, "--no-owner", "--no-comments"))
    run(server15, live15, check=True, backup=backup, **owner15)
    run(server15, live15, backup=backup, **owner15)
    assert server15.value(live15, "SELECT count(*) FROM pg_extension WHERE extname = 'hstore'") == 1


# --- versions, limits, triggers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_of_a_newer_server_is_refused_unless_allowed(
    server15: Server, server17: Server, live15: str, tmp_path: Path, form: str
) -> None:
    server17.psql(server17.create_database(live15), "CREATE TABLE pools (id int); INSERT INTO pools VALUES (1)")
    try:
        backup = write(tmp_path / "b", server17.pg_dump(live15, f"--format={form}", "--no-owner"))
    finally:
        server17.drop_database(live15)
    for check in (True, False):
        assert "newer than this server (15)" in refused(server15, live15, check=check, backup=backup).msg
    run(server15, live15, backup=backup, allow_newer_dump=True)
    assert server15.value(live15, "SELECT count(*) FROM pools") == 1


def test_limits_of_the_database_do_not_bind_a_restore(server15: Server, live15: str, tmp_path: Path) -> None:
    """They come back with the names, and hold for the application again."""
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    limits = {"statement_timeout": "1ms", "lock_timeout": "1ms", "default_transaction_read_only": "on"}
    for name, value in limits.items():
        server15.execute(MAINTENANCE, f"ALTER DATABASE {live15} SET {name} = '{value}'")
    result = run(server15, live15, backup=backup)
    assert result["lost"]["settings"] == []
    # Asked of the catalog, because in the database itself a slow answer is one that the limit ends.
    held = f"SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = {oid(server15, live15)}"
    assert server15.value(MAINTENANCE, held) == [f"{name}={value}" for name, value in limits.items()]


def test_more_jobs_than_connections_are_refused(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    error = refused(server15, live15, backup=backup, jobs=1000)
    assert "1003 are needed" in error.msg
    assert error.next_step.startswith("Give fewer jobs, or raise max_connections")


def test_sessions_of_others_take_connections_from_an_owner_too(
    server: Server, live: str, owner: dict[str, Any]
) -> None:
    """What they are is hidden from a login that is no superuser."""
    with ExitStack() as sessions:
        mine, seeing_all = (
            sessions.enter_context(login_of(options(server, live, **login))[0].cursor()) for login in (owner, {})
        )
        for _number in range(3):
            sessions.enter_context(closing(server.connect(live)))
        until(lambda: free_connections(mine) == free_connections(seeing_all))


def test_the_connection_limit_of_the_login_role_counts(
    server15: Server, live15: str, owner15: dict[str, Any], tmp_path: Path
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15, "--no-owner"))
    server15.execute(MAINTENANCE, f"ALTER ROLE {owner15['login_user']} CONNECTION LIMIT 5")
    error = refused(server15, live15, backup=backup, **owner15)
    assert "4 connections left for the login role, 5 are needed" in error.msg


REFUSING = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not here'; END $$;
CREATE EVENT TRIGGER refuse_start ON ddl_command_start EXECUTE FUNCTION refuse();
CREATE EVENT TRIGGER refuse_drop ON sql_drop EXECUTE FUNCTION refuse();
"""


def test_event_triggers_of_the_application_refuse_nothing(server: Server, live: str, tmp_path: Path) -> None:
    server.psql(live, REFUSING)
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    before = rows(server, live)
    result = run(server, live, backup=backup)
    assert result["lost"] == {"owners": [], "grants": [], "settings": []}
    assert rows(server, live) == before
    query = {"query": "SELECT 1", "equals": 2}
    with pytest.raises(RollbackError, match="verify_queries"):
        run(server, live, backup=backup, force=True, verify_queries=[query])
    assert list(beside(server, live)) == [result["old_database"]]


def test_a_trigger_on_login_adds_nothing_to_what_was_dumped(server17: Server, tmp_path: Path) -> None:
    """Postgres 17 runs it for every session, also for those that prove a loaded database."""
    live = server17.create_database()
    try:
        server17.psql(
            live,
            """CREATE TABLE logins (at timestamptz);
            CREATE FUNCTION note() RETURNS event_trigger SECURITY DEFINER LANGUAGE plpgsql
              AS $$ BEGIN INSERT INTO public.logins VALUES (now()); END $$;
            CREATE EVENT TRIGGER note ON login EXECUTE FUNCTION note(); INSERT INTO logins VALUES (now());""",
        )
        dump = server17.pg_dump(live)
        held = dump.partition(b"FROM stdin;\n")[2].partition(b"\\.\n")[0].count(b"\n")
        result = run(server17, live, backup=write(tmp_path / "b.sql", dump))
        assert result["tables"] == {"public.logins": held}
        with server17.connect(live, options="-c event_triggers=off").cursor() as cursor:
            cursor.execute("SELECT count(*) FROM logins")
            assert cursor.fetchone()[0] == held
        assert oid(server17, live) == result["restored_oid"]
    finally:
        for one in server17.databases(live):
            server17.drop_database(one)
