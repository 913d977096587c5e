# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""state=undone with undo_of: what one run changed, and nothing else, comes back; also an undo; also after a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness import call_module
from postgres_servers import MAINTENANCE, Server
from restores import beside, database_state, killed, oid, refused, rows, run, write

if TYPE_CHECKING:
    from pathlib import Path


def undo(server: Server, database: str, of: str, by: str, **given: Any) -> dict[str, Any]:
    """Undo the run ``of`` as the run ``by``."""
    return run(server, database, state="undone", undo_of=of, run_id=by, **given)


def unchanged(server: Server, database: str, of: str, by: str) -> dict[str, Any]:
    """Undo where nothing is to be done, in check mode and really, and see that nothing was."""
    before = (oid(server, database), beside(server, database))
    planned, done = undo(server, database, of, by, check=True), undo(server, database, of, by)
    assert (oid(server, database), beside(server, database)) == before
    assert not planned["changed"]
    assert {**planned, "phases_seconds": {}} == {**done, "phases_seconds": {}}
    return done


def damaged(server: Server, database: str) -> str:
    """Change the live database so that it is told from the one before; return its state."""
    server.psql(database, f"DELETE FROM log; COMMENT ON DATABASE {database} IS 'damaged'")
    return str(database_state(server, database))


def test_a_run_is_undone_and_the_undo_is_undone(server: Server, live: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    state, before = damaged(server, live), oid(server, live)
    restored = run(server, live, backup=backup, run_id="R")["restored_oid"]
    planned = undo(server, live, "R", "U", check=True, diff=True)
    assert (planned["changed"], planned["restored_oid"], oid(server, live)) == (True, before, restored)
    done = undo(server, live, "R", "U", diff=True)
    assert (done["changed"], oid(server, live), rows(server, live)["log"]) == (True, before, 0)
    assert str(database_state(server, live)) == state
    assert (beside(server, live)[done["old_database"]]["kind"], done["restored_oid"]) == ("undone", before)
    again = unchanged(server, live, "R", "U")
    assert (again["already"], again["undone_by"]) == (beside(server, live)[done["old_database"]]["at"], "U")
    assert "nothing_to_undo" not in again

    redone = undo(server, live, "U", "V")
    assert (redone["changed"], oid(server, live), rows(server, live)["log"]) == (True, restored, 20000)
    assert beside(server, live)[redone["old_database"]]["kind"] == "kept"
    assert redone["old_database"].startswith(f"{live}_before_")
    assert unchanged(server, live, "U", "V")["undone_by"] == "V"
    assert not run(server, live, backup=backup)["changed"], "the live database is again the one of this backup"
    assert refused(server, live, state="undone", undo_of="R", run_id="W").facts["later_run"] == "V"
    assert undo(server, live, "V", "W")["changed"]
    assert oid(server, live) == before
    assert unchanged(server, live, "R", "X")["nothing_to_undo"]


def test_a_plan_counts_what_was_written_since(server15: Server, live15: str, tmp_path: Path) -> None:
    """Rows above those of the restore; a plan of what nobody counted says nothing of rows."""
    run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)), run_id="R")
    assert undo(server15, live15, "R", "U", check=True)["lost_rows"] == {}
    server15.execute(live15, "INSERT INTO log SELECT * FROM log LIMIT 3; CREATE TABLE more AS SELECT 1")
    assert undo(server15, live15, "R", "U", check=True)["lost_rows"] == {"public.log": 3, "public.more": 1}
    undo(server15, live15, "R", "U")
    assert "lost_rows" not in undo(server15, live15, "U", "V", check=True)


def test_a_sum_of_many_tables_is_not_taken_for_a_count(server15: Server, live15: str, tmp_path: Path) -> None:
    """What was deleted from one table would hide what was added to another."""
    server15.execute(
        live15, "DO 'BEGIN FOR i IN 1..200 LOOP EXECUTE format(''CREATE TABLE t%s ()'', i); END LOOP; END'"
    )
    run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)), run_id="R")
    planned = undo(server15, live15, "R", "U", check=True)
    assert planned["changed"]
    assert "lost_rows" not in planned


def test_what_a_run_did_not_change_is_left_alone(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    assert unchanged(server15, live15, "R", "U")["nothing_to_undo"]
    run(server15, live15, backup=backup, run_id="Q")
    run(server15, live15, backup=backup, run_id="R")  # it was there already
    done = unchanged(server15, live15, "R", "U")
    assert (done["nothing_to_undo"], "already" in done, "undone_by" in done) == (True, False, False)
    run(server15, live15, state="verified", backup=write(tmp_path / "c.sql", server15.pg_dump(live15)), run_id="S")
    assert unchanged(server15, live15, "S", "U")["nothing_to_undo"], "a side database was never live"


def test_a_change_of_another_run_is_undone_by_that_one(server15: Server, live15: str, tmp_path: Path) -> None:
    """Without undo_of the newest comes back whoever kept it; what is told of it afterwards is the same."""
    run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)), run_id="R")
    run(server15, live15, state="undone", run_id="T")
    done = unchanged(server15, live15, "R", "U")
    assert (done["nothing_to_undo"], done["undone_by"], "already" in done) == (True, "T", False)


@pytest.mark.parametrize("check", [True, False], ids=["plan", "real"])
def test_a_later_change_must_be_undone_first(server: Server, live: str, tmp_path: Path, check: bool) -> None:  # noqa: FBT001
    backup = write(tmp_path / "b.sql", server.pg_dump(live))
    before = oid(server, live)
    kept = [run(server, live, backup=backup, force=True, run_id=one)["old_database"] for one in ("Q", "R", "S")]
    error = refused(server, live, state="undone", undo_of="Q", run_id="U", check=check)
    assert error.facts["later_run"] == "S"
    assert error.facts["databases"] == [kept[0], kept[2]]
    assert "undo_of=S" in error.next_step
    for one in ("S", "R", "Q"):
        assert undo(server, live, one, "U")["changed"]
    assert oid(server, live) == before
    assert [unchanged(server, live, one, "U")["undone_by"] for one in ("Q", "R", "S")] == ["U"] * 3


def test_a_run_that_changed_the_names_twice_is_undone_whole(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    before = oid(server15, live15)
    run(server15, live15, backup=backup, run_id="R")
    last = run(server15, live15, backup=backup, force=True, run_id="R")["restored_oid"]
    planned = undo(server15, live15, "R", "U", check=True)
    assert (planned["changed"], planned["restored_oid"], oid(server15, live15)) == (True, before, last)
    done = undo(server15, live15, "R", "U")
    assert (done["changed"], done["restored_oid"], oid(server15, live15)) == (True, before, before)
    unchanged(server15, live15, "R", "U")
    assert undo(server15, live15, "U", "V")["restored_oid"] == last
    assert oid(server15, live15) == last
    assert undo(server15, live15, "V", "W")["restored_oid"] == before


def test_half_a_migration_is_thrown_away_and_begun_anew(server: Server, live: str) -> None:
    before, count = oid(server, live), rows(server, live)
    copies = []
    for _attempt in range(2):
        copies.append(run(server, live, state="copied", run_id="R")["restored_oid"])
        assert not run(server, live, state="copied", run_id="R")["changed"]
        server.execute(live, "DELETE FROM log")
        assert undo(server, live, "R", "R")["changed"]
        assert (oid(server, live), rows(server, live)) == (before, count)
        assert unchanged(server, live, "R", "R")["already"]
    assert unchanged(server, live, "R", "U")["nothing_to_undo"], "it took back itself what it had changed"
    copied = run(server, live, state="copied", run_id="R")
    assert (copied["changed"], "already" in copied, rows(server, live)) == (True, False, count)
    assert copied["restored_oid"] not in copies
    assert not run(server, live, state="copied", run_id="R")["changed"]
    assert undo(server, live, "R", "U")["restored_oid"] == before


def test_a_copy_that_an_undo_brought_back_is_no_fresh_one(server15: Server, live15: str) -> None:
    copied = run(server15, live15, state="copied", run_id="R")["restored_oid"]
    undo(server15, live15, "R", "U")
    undo(server15, live15, "U", "V")
    assert oid(server15, live15) == copied
    assert run(server15, live15, state="copied", run_id="V")["changed"]


@pytest.mark.parametrize("cutover", ["catalog_lock", "fence"])
@pytest.mark.parametrize("again", [False, True], ids=["undo", "undo of the undo"])
def test_killed_on_the_way_it_ends_in_the_next_call(
    server15: Server,
    live15: str,
    tmp_path: Path,
    cutover: str,
    again: bool,  # noqa: FBT001
) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    before = oid(server15, live15)
    wanted, (of, by) = before, ("R", "U")
    restored = run(server15, live15, backup=backup, run_id="R")["restored_oid"]
    if again:
        undo(server15, live15, "R", "U")
        wanted, (of, by) = restored, ("U", "V")
    given = {"state": "undone", "undo_of": of, "run_id": by, "cutover": cutover}
    live, names = oid(server15, live15), set(beside(server15, live15))
    place = ("cutover", "_by_catalog_lock", 1) if cutover == "catalog_lock" else ("cutover", "end_sessions", 1)
    killed(server15, live15, place, **given)
    assert (oid(server15, live15), set(beside(server15, live15))) == (live, names)
    assert run(server15, live15, **given)["changed"]
    assert (oid(server15, live15), rows(server15, live15)["log"]) == (wanted, 20000)
    assert len(beside(server15, live15)) == 1
    assert unchanged(server15, live15, of, by)["already"]


def test_killed_between_two_changes_of_names(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", server15.pg_dump(live15))
    before = oid(server15, live15)
    first, second = (
        run(server15, live15, backup=backup, force=True, run_id="R")["restored_oid"] for _again in range(2)
    )
    killed(server15, live15, ("restore", "cut_over", 2), state="undone", undo_of="R", run_id="U")
    assert oid(server15, live15) == first
    assert undo(server15, live15, "R", "U")["changed"]
    assert oid(server15, live15) == before
    killed(server15, live15, ("restore", "cut_over", 2), state="undone", undo_of="U", run_id="V")
    assert oid(server15, live15) == first
    assert undo(server15, live15, "U", "V")["changed"]
    assert oid(server15, live15) == second


def test_killed_right_after_the_names_changed_it_is_done(server15: Server, live15: str, tmp_path: Path) -> None:
    before = oid(server15, live15)
    run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)), run_id="R")
    # The fourth look at the catalog is the one after the change of names.
    killed(server15, live15, ("restore", "databases", 4), state="undone", undo_of="R", run_id="U")
    assert oid(server15, live15) == before
    assert unchanged(server15, live15, "R", "U")["already"]


def test_what_cannot_come_back_is_refused(server15: Server, live15: str, tmp_path: Path) -> None:
    result = run(server15, live15, backup=write(tmp_path / "b.sql", server15.pg_dump(live15)), run_id="R")
    error = refused(server15, live15, state="copied", undo_of="R")
    assert "state is copied" in error.msg
    server15.execute(MAINTENANCE, f"ALTER DATABASE {live15} RENAME TO {live15}_by_hand")
    server15.execute(MAINTENANCE, f"CREATE DATABASE {live15} TEMPLATE {live15}_by_hand")
    assert "rename by hand" in refused(server15, live15, state="undone", undo_of="R").next_step
    server15.execute(MAINTENANCE, f"DROP DATABASE {live15}")
    server15.execute(MAINTENANCE, f"ALTER DATABASE {live15}_by_hand RENAME TO {live15}")
    server15.execute(
        MAINTENANCE, f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{result['old_database']}'"
    )
    assert "interrupted" in refused(server15, live15, state="undone", undo_of="R").msg
    assert "interrupted" in refused(server15, live15, state="undone").msg


def test_the_module_undoes(server15: Server, live15: str) -> None:
    before = oid(server15, live15)
    given = {**server15.login, "db": live15, "state": "undone", "undo_of": "R", "run_id": "U"}
    assert call_module("pg_safe_restore", given).result["nothing_to_undo"]
    run(server15, live15, state="copied", run_id="R")
    assert call_module("pg_safe_restore", given).result["changed"]
    assert oid(server15, live15) == before
    assert call_module("pg_safe_restore", given).result["already"]
