# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of a restore share: a small live database, a call of the logic, and a look at what it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import read_mark
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
from postgres_servers import MAINTENANCE, Server

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS: dict[str, Any] = {
    "state": "restored", "backup": None, "jobs": 2, "verify_queries": [], "expected_rows": [],
    "min_rows_ratio": 0.0, "cutover": "auto", "cutover_timeout": 3.0,
    "min_free_ratio": 1.2, "allow_newer_dump": False, "allow_other_tables": False, "allow_replication_objects": False,
    "dumped_database": "", "force": False, "keep": 1, "min_age_hours": 24.0, "run_id": "", "progress_file": None,
    "project": None, "service": None, "docker_host": None, "ssl_mode": "prefer", "ca_cert": None,
    "maintenance_db": MAINTENANCE,
}  # fmt: skip
SCHEMA = """
CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE pools (id int PRIMARY KEY, note text, parent int REFERENCES pools, owner bigint REFERENCES users);
CREATE INDEX ON pools (note);
CREATE TABLE log (line text);
CREATE FUNCTION total() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.pools';
INSERT INTO users (email) SELECT 'user' || i FROM generate_series(1, 500) i;
INSERT INTO pools SELECT i, E'a\\tb\\\\c\\n' || i, CASE WHEN i > 1 THEN i / 2 END, 1 + i % 500
  FROM generate_series(1, 3000) i;
INSERT INTO log SELECT md5(i::text) FROM generate_series(1, 20000) i;
"""


def options(server: Server, database: str, **given: Any) -> dict[str, Any]:
    """Return all options of the module, those that are not given with their defaults."""
    return DEFAULTS | server.login | {"db": database} | given


def run(server: Server, database: str, *, check: bool = False, diff: bool = False, **given: Any) -> dict[str, Any]:
    """Call the logic below the module, in this process."""
    return restore(options(server, database, **given), login_of, check=check, diff=diff)


def oid(server: Server, database: str) -> int:
    """Return the object id of the database with this name."""
    return int(server.value(MAINTENANCE, f"SELECT oid FROM pg_database WHERE datname = '{database}'"))


def beside(server: Server, database: str) -> dict[str, dict[str, Any]]:
    """Return the marks of the databases that stand beside the live one."""
    rows = server.execute(
        MAINTENANCE,
        f"SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname LIKE '{database}\\_%'",
    )
    return {name: read_mark(comment) for name, comment in rows}


def rows(server: Server, database: str) -> dict[str, int]:
    """Count the rows of the tables of ``SCHEMA``."""
    return {table: server.value(database, f"SELECT count(*) FROM {table}") for table in ("users", "pools", "log")}


def write(path: Path, data: bytes) -> str:
    """Write a backup; return its path as the option takes it."""
    path.write_bytes(data)
    return str(path)


def refused(server: Server, database: str, **given: Any) -> RollbackError:
    """Call, expect a refusal, and see that the live database and the server are as before."""
    before = (oid(server, database), rows(server, database), server.databases(database))
    with pytest.raises(RollbackError) as caught:
        run(server, database, **given)
    assert (oid(server, database), rows(server, database), server.databases(database)) == before
    assert caught.value.facts["live_untouched"] is True
    assert caught.value.next_step
    return caught.value
