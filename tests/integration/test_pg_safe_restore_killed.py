# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore whose module or server is killed, at any moment: the live database is whole, the next run ends well."""

from __future__ import annotations

import signal
import subprocess
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import side_database
from postgres_servers import MAINTENANCE, Server, running_server
from restores import SCHEMA, beside, ended, killed, oid, rows, run, started, until, wait_for_lock, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# --- between two steps ------------------------------------------------------------------------------------------------

KILLS = [
    ("restore", "create_statement", 1),
    ("restore", "set_comment", 1),
    ("loader", "classify", 3),
    ("loader", "classify", 30),
    ("restore", "carry_over_objects", 1),
    ("restore", "prove", 1),
    ("restore", "set_comment", 2),
    ("restore", "cut_over", 1),
    ("cutover", "_by_catalog_lock", 1),
]


@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: "-".join(map(str, kill)))
def test_killed_anywhere_the_live_database_is_whole_and_the_next_run_ends_well(
    server15: Server, live15: str, tmp_path: Path, kill: tuple[str, str, int]
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    before = (oid(server15, live15), rows(server15, live15))
    killed(server15, live15, kill, backup=backup)
    assert (oid(server15, live15), rows(server15, live15)) == before
    result = run(server15, live15, backup=backup)
    assert result["changed"]
    assert rows(server15, live15) == before[1]
    assert list(beside(server15, live15)) == [result["old_database"]]


@pytest.mark.parametrize("state", ["restored", "copied", "cleaned"])
def test_a_database_that_no_run_made_stays_whatever_its_name(
    server15: Server, live15: str, tmp_path: Path, state: str
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    theirs = server15.create_database(side_database(live15, "0123abcd"))
    given = {"restored": {"backup": backup}, "cleaned": {"keep": 0, "min_age_hours": 0.0}}.get(state, {})
    run(server15, live15, state=state, **given)
    assert theirs in server15.databases(live15)


def test_killed_behind_the_fence_the_next_run_opens_the_database(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    killed(server15, live15, ("cutover", "end_sessions", 1), backup=backup, cutover="fence")
    with pytest.raises(psycopg2.OperationalError, match="not currently accepting"):
        server15.connect(live15)
    result = run(server15, live15, backup=backup)
    assert result["reused"]
    assert any("open again" in warning for warning in result["warnings"])
    assert rows(server15, live15)["pools"] == 3000


@pytest.mark.parametrize("state", ["undone", "cleaned"])
def test_killed_in_an_undo_or_a_cleaning(server15: Server, live15: str, tmp_path: Path, state: str) -> None:
    """The names change in one statement, and a DROP DATABASE that was begun can only be done again."""
    result = run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)))
    place = {"undone": ("restore", "cut_over", 1), "cleaned": ("restore", "drop_database", 1)}[state]
    given = {"state": state, "keep": 0, "min_age_hours": 0.0}
    killed(server15, live15, place, **given)
    assert oid(server15, live15) == result["restored_oid"]
    assert list(beside(server15, live15)) == [result["old_database"]]
    assert run(server15, live15, **given)["changed"]
    assert oid(server15, live15) == (result["live_oid"] if state == "undone" else result["restored_oid"])


def test_a_kept_database_whose_drop_was_interrupted_is_dropped(server15: Server, live15: str, tmp_path: Path) -> None:
    """The server marks such a database as invalid and lets nobody in."""
    kept = run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)))["old_database"]
    server15.execute(MAINTENANCE, f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{kept}'")
    cleaned = run(server15, live15, state="cleaned", keep=0, min_age_hours=0.0)
    assert [one["name"] for one in cleaned["dropped"]] == [kept]
    assert beside(server15, live15) == {}


@pytest.mark.parametrize("marked", [True, False], ids=["verified", "never marked"])
def test_a_side_database_whose_drop_was_interrupted_is_dropped(
    server15: Server,
    live15: str,
    tmp_path: Path,
    marked: bool,  # noqa: FBT001
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    if marked:
        side = run(server15, live15, backup=backup, state="verified")["side_database"]
    else:
        side = server15.create_database(side_database(live15, "0123abcd"))
    server15.execute(MAINTENANCE, f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{side}'")
    result = run(server15, live15, backup=backup)
    assert (result["changed"], list(beside(server15, live15))) == (True, [result["old_database"]])


# --- inside a statement -----------------------------------------------------------------------------------------------

# As long as its file is there, whoever meets the gate waits in it.
GATES = """
CREATE FUNCTION gate(which text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
  WHILE (pg_catalog.pg_stat_file('/tmp/gate-' || which, true)).size IS NOT NULL
  LOOP PERFORM pg_catalog.pg_sleep(0.02); END LOOP;
  RETURN true;
END $$;
ALTER TABLE pools ADD CHECK (id <> 1500 OR public.gate('copy'));
CREATE INDEX gated ON pools (note) WHERE id <> 1500 OR public.gate('index');
"""
PLACES = {"copy": "COPY public.pools%", "index": "CREATE INDEX gated%", "cutover": "%DO $usdx_rollback$%"}


@pytest.fixture(scope="module")
def crashing() -> Iterator[Server]:
    """Give a server with fsync, which tests may kill."""
    with running_server(15, crash_safe=True) as server:
        yield server


@pytest.fixture
def gated(crashing: Server) -> Iterator[str]:
    """Give a live database whose dump waits at gates."""
    name = crashing.create_database()
    crashing.psql(name, SCHEMA + GATES)
    yield name
    for one in crashing.databases(name):
        crashing.drop_database(one)


@contextmanager
def waiting(server: Server, live: str, place: str, backup: str) -> Iterator[subprocess.Popen[str]]:
    """Start a restore and give it to the block once it is inside the statement at ``place``."""
    with closing(server.connect()) as watcher, closing(server.connect(live)) as session:
        if place == "cutover":  # a stopped session does not end: the statement waits for it, with the catalog locked
            server.inside("sh", "-c", f"kill -STOP {session.info.backend_pid}")
        else:
            server.inside("touch", f"/tmp/gate-{place}")  # noqa: S108 - in the container
        process = started(server, live, backup=backup, cutover_timeout=20.0)
        try:
            until(lambda: inside(watcher, place) or process.poll() is not None)
            assert process.poll() is None, ended(process)
            yield process
        finally:
            process.kill()
            process.communicate()


def inside(watcher: Any, place: str) -> bool:
    """Say whether a session carries out the statement; looks at no catalog that the cutover locks."""
    with watcher.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE query LIKE %s AND state = 'active'"
            " AND wait_event = 'PgSleep'",
            (PLACES[place],),
        )
        return bool(cursor.fetchone()[0])


def let_go(server: Server) -> None:
    """Open the gates and let stopped sessions go on."""
    server.inside("sh", "-c", "rm -f /tmp/gate-*; kill -CONT -1 || true")


@pytest.mark.parametrize("place", PLACES)
def test_the_module_is_killed_inside_a_statement(crashing: Server, gated: str, tmp_path: Path, place: str) -> None:
    """Inside the cutover, the server ends the statement by itself: the names change although nobody waits for it."""
    backup = write(tmp_path / "b.sql", crashing.pg_dump(gated))
    before = (oid(crashing, gated), rows(crashing, gated))
    try:
        with waiting(crashing, gated, place, backup) as process:
            process.kill()
            assert ended(process)[0] == -signal.SIGKILL
    finally:
        let_go(crashing)
    wait_for_lock(crashing)
    assert rows(crashing, gated) == before[1]
    assert (oid(crashing, gated) == before[0]) is (place != "cutover")
    result = run(crashing, gated, backup=backup)
    assert result["changed"] is (place != "cutover")
    assert rows(crashing, gated) == before[1]
    assert list(beside(crashing, gated)) == [result["old_database"]]


@pytest.mark.parametrize("place", PLACES)
def test_the_server_is_killed_inside_a_statement(crashing: Server, gated: str, tmp_path: Path, place: str) -> None:
    backup = write(tmp_path / "b.sql", crashing.pg_dump(gated))
    before = (oid(crashing, gated), rows(crashing, gated))
    with waiting(crashing, gated, place, backup) as process:
        crashing.kill()
        code, said = ended(process)
    crashing.start()
    let_go(crashing)
    assert code == 1
    assert "Traceback" not in said
    assert "run again" in said.lower()
    assert (oid(crashing, gated), rows(crashing, gated)) == before
    result = run(crashing, gated, backup=backup)
    assert result["changed"]
    assert rows(crashing, gated) == before[1]
    assert list(beside(crashing, gated)) == [result["old_database"]]


def test_what_was_restored_survives_a_crash_right_after(crashing: Server, gated: str, tmp_path: Path) -> None:
    before = rows(crashing, gated)
    result = run(crashing, gated, backup=write(tmp_path / "b.sql", crashing.pg_dump(gated)))
    crashing.stop_immediate()
    crashing.start()
    assert (oid(crashing, gated), rows(crashing, gated)) == (result["restored_oid"], before)


def test_a_server_that_goes_away_is_said_without_a_traceback(crashing: Server, gated: str, tmp_path: Path) -> None:
    """Wherever it happens to be."""
    backup = write(tmp_path / "b.sql", crashing.pg_dump(gated))
    timer = threading.Timer(0.4, crashing.kill)
    timer.start()
    try:
        with pytest.raises(RollbackError) as caught:
            until(lambda: not run(crashing, gated, backup=backup, force=True))
    finally:
        timer.join()
        crashing.start()
    assert "again" in caught.value.next_step or "Check login_host" in caught.value.next_step


# --- nothing to do ----------------------------------------------------------------------------------------------------


def test_a_second_run_from_the_same_backup_executes_nothing(crashing: Server, gated: str, tmp_path: Path) -> None:
    """The server logs every statement: the first run shows that the log would tell."""
    backup = write(tmp_path / "b.sql", crashing.pg_dump(gated))
    crashing.execute(MAINTENANCE, f"ALTER ROLE {crashing.user} SET log_statement = 'all'")
    try:
        first, done = logged(crashing, gated, backup)
        assert any("CREATE DATABASE" in one for one in done)
        assert any("DO $usdx_rollback$" in one for one in done)
        databases = crashing.execute(MAINTENANCE, "SELECT oid, datname FROM pg_database ORDER BY 1")
        second, done = logged(crashing, gated, backup)
    finally:
        crashing.execute(MAINTENANCE, f"ALTER ROLE {crashing.user} RESET log_statement")
    assert (first["changed"], second["changed"]) == (True, False)
    assert (second["already"], second["old_database"]) == (
        beside(crashing, gated)[first["old_database"]]["at"],
        first["old_database"],
    )
    assert crashing.execute(MAINTENANCE, "SELECT oid, datname FROM pg_database ORDER BY 1") == databases
    assert len(done) >= 3
    assert [one for one in done if not one.lstrip().startswith(("SELECT", "SHOW"))] == []


def logged(server: Server, live: str, backup: str) -> tuple[dict[str, Any], list[str]]:
    """Restore; return the result and the statements that the server has logged meanwhile."""
    before = len(server.logs())
    result = run(server, live, backup=backup)
    lines = server.logs()[before:].split("LOG:  statement: ")[1:]
    return result, [line.partition("\n20")[0] for line in lines]
