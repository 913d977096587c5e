# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database is told to be, and how its schema is compared with a backup's."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.database_info import database_info
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from dump_zoo import everything
from harness import call_module
from postgres_servers import MAINTENANCE, Server
from restores import options, run

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {
    "plain": [],
    "inserts, no owner": ["--inserts", "--no-owner", "--no-acl"],
    "clean": ["--clean"],
    "custom": ["-Fc"],
}


def info(server: Server, database: str, **given: Any) -> dict[str, Any]:
    return database_info(options(server, database, schema=False, timeout=60, **given), login_of)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_schema_is_equal_in_every_form(server15: Server, live15: str, tmp_path: Path, form: str) -> None:
    everything(server15, live15)
    backup = tmp_path / "b"
    backup.write_bytes(server15.pg_dump(live15, *FORMS[form]))
    server15.psql(
        live15,
        """COMMENT ON TABLE pools IS 'new'; GRANT SELECT ON pools TO PUBLIC; DELETE FROM log;
        DELETE FROM pools; DELETE FROM users;
        ALTER TABLE users DROP COLUMN email; ALTER TABLE users ADD COLUMN email text NOT NULL DEFAULT '' UNIQUE;
        ALTER TABLE users ALTER email DROP DEFAULT; SELECT nextval('users_id_seq')""",
    )
    found = info(server15, live15, backup=str(backup))
    assert found["comparison"]["differences"] == []
    assert found["comparison"]["equal"] is True
    assert found["comparison"]["backup_sha256"] == found["schema"]["sha256"]


CHANGES = {
    "ALTER TABLE log ADD fee numeric": ["CREATE TABLE public.log, only in the live database: fee numeric"],
    "DROP INDEX pools_note_idx": ["only in the backup: CREATE INDEX pools_note_idx ON public.pools USING btree (note)"],
    "CREATE TABLE more (id int)": ["only in the live database: CREATE TABLE public.more"],
    "ALTER TABLE log ALTER line SET NOT NULL": [
        "CREATE TABLE public.log, only in the live database: line text NOT NULL",
        "CREATE TABLE public.log, only in the backup: line text",
    ],
    "CREATE OR REPLACE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'": [
        "CREATE FUNCTION public.total() RETURNS bigint, only in the live database: AS $$SELECT 1$$;",
        "CREATE FUNCTION public.total() RETURNS bigint, only in the backup: AS $$SELECT count(*) FROM public.pools$$;",
    ],
    "ALTER TABLE pools DROP CONSTRAINT pools_parent_fkey": [
        (
            "ALTER TABLE ONLY public.pools, only in the backup: "
            "ADD CONSTRAINT pools_parent_fkey FOREIGN KEY (parent) REFERENCES public.pools(id);"
        )
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_is_named(server15: Server, live15: str, tmp_path: Path, change: str) -> None:
    backup = tmp_path / "b.sql.gz"
    backup.write_bytes(gzip.compress(server15.pg_dump(live15)))
    server15.psql(live15, change)
    comparison = info(server15, live15, backup=str(backup))["comparison"]
    assert comparison["equal"] is False
    assert comparison["differences"] == CHANGES[change]


def test_other_versions_of_pg_dump_are_not_compared(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = tmp_path / "b.sql"
    backup.write_bytes(
        server15.pg_dump(live15).replace(b"Dumped by pg_dump version 15", b"Dumped by pg_dump version 14")
    )
    comparison = info(server15, live15, backup=str(backup))["comparison"]
    assert comparison["comparable"] is False
    assert "equal" not in comparison


def test_the_backup_that_a_database_was_restored_from(server15: Server, live15: str, tmp_path: Path) -> None:
    backup = tmp_path / "b.sql"
    backup.write_bytes(server15.pg_dump(live15))
    assert info(server15, live15)["restored_from"] == {}
    result = run(server15, live15, backup=str(backup), run_id="r1")
    found = call_module("pg_database_info", {**server15.login, "db": live15, "schema": True}, check=True).result
    assert (found["restored_from"]["backup"], found["restored_from"]["run_id"]) == (str(backup), "r1")
    assert [one["name"] for one in found["kept"]] == [result["old_database"]]
    assert not found["changed"]
    run(server15, live15, state="undone")
    assert info(server15, live15)["restored_from"] == {}


def test_refusals(server15: Server, live15: str, tmp_path: Path) -> None:
    said = call_module("pg_database_info", {**server15.login, "db": "nowhere"}).result
    assert "There is no database nowhere" in said["msg"]
    assert said["next_step"]
    reader = f"{live15}_reader"
    server15.execute(MAINTENANCE, f"CREATE ROLE {reader} LOGIN PASSWORD 'x'")
    server15.execute(live15, "CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int)")
    try:
        login = {**server15.login, "login_user": reader, "login_password": "x"}
        said = call_module("pg_database_info", {**login, "db": live15, "schema": True}).result
        assert "cannot be read" in said["msg"]
        assert "Nothing was changed" in said["msg"]
    finally:
        server15.execute(MAINTENANCE, f"DROP ROLE {reader}")
    broken = tmp_path / "b.sql"
    broken.write_bytes(server15.pg_dump(live15)[:-200])
    assert call_module("pg_database_info", {**server15.login, "db": live15, "backup": str(broken)}).failed
