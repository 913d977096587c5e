# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy in the place of the live database: whole, undone by a rename, and nothing left behind by a kill."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import restore as place
from dump_zoo import normal
from harness import call_module
from postgres_servers import MAINTENANCE, Server
from restores import beside, database_state, killed, oid, owning, rows, run

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_copy_takes_the_place_and_undone_brings_the_former_back(server: Server, live: str) -> None:
    server.psql(
        MAINTENANCE,
        f"""ALTER DATABASE {live} SET work_mem = '9MB'; ALTER DATABASE {live} CONNECTION LIMIT 17;
        REVOKE ALL ON DATABASE {live} FROM PUBLIC; COMMENT ON DATABASE {live} IS 'the one'""",
    )
    before, former, state = rows(server, live), oid(server, live), database_state(server, live)
    dump = normal(server.pg_dump(live))
    assert run(server, live, state="copied", run_id="r1", check=True)["changed"]
    assert oid(server, live) == former
    result = run(server, live, state="copied", run_id="r1")
    assert result["changed"]
    assert (rows(server, live), database_state(server, live)) == (before, state)
    assert normal(server.pg_dump(live)) == dump
    assert oid(server, live) not in {former, result["old_database"]}
    again = run(server, live, state="copied", run_id="r1")
    assert (again["changed"], again["old_database"]) == (False, result["old_database"])
    server.execute(live, "DROP TABLE log")
    undone = run(server, live, state="undone")
    assert undone["changed"]
    assert (oid(server, live), rows(server, live), database_state(server, live)) == (former, before, state)
    assert run(server, live, state="copied", run_id="r1")["changed"]


def test_a_client_that_comes_back_is_sent_away_and_finds_the_copy(server15: Server, live15: str) -> None:
    stop, errors, answers = threading.Event(), [], []

    def ask() -> None:
        try:
            answers.append(server15.execute(live15, "SELECT 1"))
        except psycopg2.Error as error:
            errors.append(str(error))

    def loop() -> None:
        while not stop.is_set():
            ask()

    client = threading.Thread(target=loop)
    client.start()
    try:
        result = run(server15, live15, state="copied", cutover_timeout=10.0)
    finally:
        stop.set()
        client.join()
    assert result["changed"]
    assert answers
    assert not [one for one in errors if "does not exist" in one or "not currently accepting" in one]
    assert server15.value(live15, "SELECT count(*) FROM log") == 20000


@pytest.fixture
def owner(server: Server, live: str) -> Iterator[dict[str, Any]]:
    """Give the login of a role that owns the live database and is no superuser."""
    with owning(server, live) as login:
        yield login


def test_an_owner_copies_puts_back_and_drops(server: Server, live: str, owner: dict[str, Any]) -> None:
    server.psql(MAINTENANCE, f"ALTER DATABASE {live} SET work_mem = '9MB'; ALTER DATABASE {live} CONNECTION LIMIT 17")
    former, before, state = oid(server, live), rows(server, live), database_state(server, live)
    copied = run(server, live, state="copied", run_id="r1", **owner)
    assert copied["cutover"]["variant"] == "fence"
    assert oid(server, live) == copied["restored_oid"] != former
    assert (rows(server, live), database_state(server, live)) == (before, state)
    assert not run(server, live, state="copied", run_id="r1", **owner)["changed"]
    server.execute(live, "DROP TABLE log")
    assert run(server, live, state="undone", undo_of="r1", run_id="r1", **owner)["changed"]
    assert (oid(server, live), rows(server, live), database_state(server, live)) == (former, before, state)
    assert run(server, live, state="copied", run_id="r1", **owner)["changed"]
    assert run(server, live, state="undone", undo_of="r1", run_id="r2", **owner)["changed"]
    assert oid(server, live) == former
    cleaned = run(server, live, state="cleaned", keep=0, min_age_hours=0.0, **owner)
    assert (len(cleaned["dropped"]), cleaned["left"], beside(server, live)) == (2, [], {})
    assert (rows(server, live), database_state(server, live)) == (before, state)


def test_an_owner_that_may_not_end_sessions_is_told_what_to_do(
    server: Server, live: str, owner: dict[str, Any]
) -> None:
    other = f"{live}_other"
    server.psql(MAINTENANCE, f"CREATE ROLE {other} LOGIN PASSWORD 'x'")
    before = (oid(server, live), server.databases(live), database_state(server, live))
    try:
        session = server.connect(live, user=other, password="x")  # noqa: S106
        with closing(session), pytest.raises(RollbackError, match="may not end their sessions") as caught:
            run(server, live, state="copied", **owner)
    finally:
        server.psql(MAINTENANCE, f"DROP ROLE {other}")
    assert (caught.value.facts["sqlstate"], caught.value.facts["live_untouched"]) == ("42501", True)
    assert "pg_signal_backend" in caught.value.next_step
    assert (oid(server, live), server.databases(live), database_state(server, live)) == before


@pytest.mark.parametrize("state", ["copied", "undone"])
def test_a_session_of_a_superuser_that_ends_in_time_stops_no_owner(
    server: Server, live: str, owner: dict[str, Any], state: str
) -> None:
    if state == "undone":
        run(server, live, state="copied", run_id="r1", **owner)
    with closing(server.connect(live)) as session:
        leaving = threading.Timer(1, session.close)
        leaving.start()
        assert run(server, live, state=state, run_id="r1", cutover_timeout=60.0, **owner)["changed"]
        leaving.join()


@pytest.mark.parametrize("state", ["copied", "undone"])
def test_a_session_of_a_superuser_that_stays_is_told_to_the_owner(
    server: Server, live: str, owner: dict[str, Any], state: str
) -> None:
    if state == "undone":
        run(server, live, state="copied", run_id="r1", **owner)
    before = (oid(server, live), server.databases(live), database_state(server, live))
    with closing(server.connect(live)), pytest.raises(RollbackError, match="did not end within") as caught:
        run(server, live, state=state, run_id="r2", cutover_timeout=0.5, **owner)
    assert "Only a superuser may end the sessions of a superuser" in caught.value.next_step
    assert (oid(server, live), server.databases(live), database_state(server, live)) == before


@pytest.mark.parametrize("place", [("restore", "_copy"), ("restore", "set_comment"), ("cutover", "end_sessions")])
@pytest.mark.parametrize("then", ["copied", "cleaned"])
def test_an_owner_whose_copy_was_killed_ends_well(
    server: Server, live: str, owner: dict[str, Any], place: tuple[str, str], then: str
) -> None:
    """Before the copy, between it and its mark, behind the fence; whoever comes next knows what is there."""
    former, state = oid(server, live), database_state(server, live)
    before = rows(server, live)
    killed(server, live, (*place, 1), state="copied", run_id="r1", **owner)
    given = {"keep": 0, "min_age_hours": 0.0, "run_id": "r2"} if then == "cleaned" else {"run_id": "r1"}
    result = run(server, live, state=then, **given, **owner)
    assert (rows(server, live), database_state(server, live)) == (before, state)
    assert (oid(server, live) == former) is (then == "cleaned")
    assert list(beside(server, live)) == [one for one in [result.get("old_database")] if one]


@pytest.mark.parametrize("kill", ["_copy", "set_comment", "carry_over_database", "cut_over"])
def test_killed_anywhere_the_next_run_ends_well(server15: Server, live15: str, kill: str) -> None:
    before = (oid(server15, live15), rows(server15, live15), database_state(server15, live15))
    killed(server15, live15, ("restore", kill, 1), state="copied", run_id="r1")
    assert (oid(server15, live15), rows(server15, live15)) == before[:2]
    result = run(server15, live15, state="copied", run_id="r1")
    assert result["changed"]
    assert (rows(server15, live15), database_state(server15, live15)) == before[1:]
    assert list(beside(server15, live15)) == [result["old_database"]]


def test_a_copy_that_fails_leaves_the_live_database_as_it_was(
    server15: Server, live15: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "copy_statement", lambda *_model: "SELECT 1 / 0")
    state, names = database_state(server15, live15), server15.databases(live15)
    with pytest.raises(RollbackError, match="division by zero") as caught:
        run(server15, live15, state="copied")
    assert caught.value.facts["live_untouched"] is True
    assert (database_state(server15, live15), server15.databases(live15)) == (state, names)


def test_the_module_copies(server15: Server, live15: str) -> None:
    result = call_module("pg_safe_restore", {**server15.login, "db": live15, "state": "copied", "run_id": "r9"}).result
    assert result["changed"]
    assert result["old_database"] in beside(server15, live15)
