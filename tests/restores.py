# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of a restore share: a small live database, a call of the logic, and a look at what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import read_mark
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
from harness import COLLECTIONS
from postgres_servers import MAINTENANCE, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULTS: dict[str, Any] = {
    "state": "restored", "backup": None, "jobs": 2, "verify_queries": [], "expected_rows": [],
    "min_rows_ratio": 0.0, "cutover": "auto", "cutover_timeout": 3.0,
    "min_free_ratio": 1.2, "allow_newer_dump": False, "allow_other_tables": False, "allow_replication_objects": False,
    "dumped_database": "", "force": False, "keep": 1, "min_age_hours": 24.0, "run_id": "", "undo_of": "",
    "progress_file": None,
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


def database_state(server: Server, database: str) -> list[Any]:
    """Return what a database has beside its objects."""
    return server.execute(
        MAINTENANCE,
        f"""SELECT pg_get_userbyid(datdba), datacl::text, datconnlimit, pg_encoding_to_char(encoding), datcollate,
                   datctype,
                   dattablespace, shobj_description(d.oid, 'pg_database'),
                   ARRAY(SELECT setrole::regrole::text || setconfig::text FROM pg_db_role_setting
                         WHERE setdatabase = d.oid ORDER BY 1)
            FROM pg_database d WHERE datname = '{database}'""",
    )


@contextmanager
def owning(server: Server, live: str, *member_of: str) -> Iterator[dict[str, Any]]:
    """Give the login of a role that owns the live database of ``SCHEMA`` and is no superuser."""
    role = f"{live}_owner"
    grants = "".join(f"GRANT {one} TO {role};" for one in member_of)
    server.psql(
        MAINTENANCE,
        f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'x'; {grants} ALTER DATABASE {live} OWNER TO {role};",
    )
    tables = "".join(f"ALTER TABLE {table} OWNER TO {role};" for table in ("users", "pools", "log"))
    server.psql(live, f"{tables} ALTER FUNCTION total() OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role};")
    try:
        yield {"login_user": role, "login_password": "x"}
    finally:
        for one in server.databases(live):
            server.drop_database(one)
        server.execute(MAINTENANCE, f"DROP ROLE {role}")


CALL = """
import json, sys
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
try:
    restore(json.loads(sys.argv[1]), login_of, check=False)
except RollbackError as error:
    sys.exit(f"{error.msg} {error.next_step}")
"""
DYING = """
import os, signal
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import {module} as place
calls = 0
original = place.{name}
def dying(*arguments, **named):
    global calls
    calls += 1
    if calls >= {number}: os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
place.{name} = dying
"""


def started(server: Server, database: str, before: str = "", **given: Any) -> subprocess.Popen[str]:
    """Start a restore in a process of its own; ``before`` is Python that it runs first."""
    argv = [sys.executable, "-c", before + CALL, json.dumps(options(server, database, **given))]
    return subprocess.Popen(
        argv,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(COLLECTIONS)},
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of the process; return its code and what it said."""
    _out, said = process.communicate(timeout=60)
    return process.returncode, said


def killed(server: Server, database: str, place: tuple[str, str, int], **given: Any) -> None:
    """Start a restore that kills itself at a call of a function, and wait until the server has noticed."""
    dying = DYING.format(module=place[0], name=place[1], number=place[2])
    code, said = ended(started(server, database, dying, **given))
    assert code == -signal.SIGKILL, said
    wait_for_lock(server)


def wait_for_lock(server: Server) -> None:
    """Wait until the server has noticed that the killed client is gone."""
    until(lambda: not server.value(MAINTENANCE, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))


def until(what: Any) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
