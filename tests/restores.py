# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores as the tests begin them, and what they look at afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import read_mark
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
from harness import REPOSITORY
from postgres_servers import MAINTENANCE

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_servers import Server

DEFAULTS: dict[str, Any] = {
    "state": "restored", "backup": None, "jobs": 2, "verify_queries": [], "cutover": "auto", "cutover_timeout": 3.0,
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
    return DEFAULTS | server.login | {"db": database} | given


def run(server: Server, database: str, *, check: bool = False, **given: Any) -> dict[str, Any]:
    """Call the logic below the module, in this process."""
    return restore(options(server, database, **given), login_of, check=check)


def oid(server: Server, database: str) -> int:
    return int(server.value(MAINTENANCE, f"SELECT oid FROM pg_database WHERE datname = '{database}'"))


def beside(server: Server, database: str) -> dict[str, dict[str, Any]]:
    """Return the marks of the databases that stand beside the live one."""
    rows = server.execute(
        MAINTENANCE,
        f"SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname LIKE '{database}\\_%'",
    )
    return {name: read_mark(comment) for name, comment in rows}


def rows(server: Server, database: str) -> dict[str, int]:
    return {table: server.value(database, f"SELECT count(*) FROM {table}") for table in ("users", "pools", "log")}


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


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


_CHILD = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import {module} as place
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import login_of
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
calls = 0
original = place.{name}
def dying(*arguments, **named):
    global calls
    calls += 1
    if calls >= {number}: os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
place.{name} = dying
restore(json.loads(sys.argv[2]), login_of, check=False)
"""


def killed(given: dict[str, Any], module: str, name: str, number: int) -> None:
    """Begin a restore in a process of its own, which kills itself at the given call of a function."""
    script = _CHILD.format(module=module, name=name, number=number)
    argv = [sys.executable, "-c", script, str(REPOSITORY / ".ansible/collections"), json.dumps(given)]
    died = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr


def wait_for_lock(server: Server) -> None:
    """Wait until the server has noticed that the killed client is gone."""
    deadline = time.monotonic() + 10
    while (
        server.value(MAINTENANCE, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
