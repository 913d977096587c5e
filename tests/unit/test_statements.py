# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the loader does with each statement of a dump, and what it refuses."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import Statement
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.statements import Work, classify, target


def work(sql: str) -> Work:
    return classify(Statement(sql.encode(), None))


@pytest.mark.parametrize(
    ("sql", "how"),
    [
        ("SET statement_timeout = 0;", "session"),
        ("SELECT pg_catalog.set_config('search_path', '', false);", "session"),
        ("SELECT pg_catalog.setval('public.a_seq', 3, true);", "at_once"),
        ("INSERT INTO public.t VALUES (1);", "rows"),
        ("CREATE TABLE public.t (a int);", "serial"),
        ("CREATE FUNCTION f() RETURNS int AS 'x' LANGUAGE sql;", "serial"),
        ("ALTER TABLE public.t OWNER TO x;", "serial"),
        ("GRANT SELECT ON TABLE t TO x;", "serial"),
        ("CREATE USER MAPPING FOR x SERVER s;", "serial"),
        ("REFRESH MATERIALIZED VIEW v;", "serial"),
        ("BEGIN;", "serial"),
        ("SELECT pg_catalog.lo_create('1');", "serial"),
        ("COMMENT ON INDEX i IS 'x';", "after_builds"),
        ("ALTER INDEX a.i ATTACH PARTITION a.j;", "after_builds"),
        ("DROP TABLE public.t;", "skip"),
        ("COMMENT ON DATABASE d IS 'x';", "skip"),
    ],
)
def test_how(sql: str, how: str) -> None:
    assert work(sql).how == how


def test_locks() -> None:
    assert work('CREATE INDEX "i;1" ON public."T t" USING btree (a);').shared == {b'public."T t"'}
    assert work("CREATE UNIQUE INDEX i ON ONLY s.t USING btree (a);").shared == {b"s.t"}
    assert work("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT c PRIMARY KEY (id);").exclusive == {b"s.t"}
    key = work("ALTER TABLE ONLY s.t\n    ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES s.u(id) ON DELETE CASCADE;")
    assert key.how == "build"
    assert key.exclusive == {b"s.t", b"s.u"}
    # without ONLY the table is partitioned: the key reaches into all partitions, so nothing may run beside it
    assert work("ALTER TABLE s.t\n    ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES s.u(id);").how == "serial"


@pytest.mark.parametrize(
    "sql",
    [
        "DROP DATABASE x;", "CREATE DATABASE x;", "ALTER SYSTEM SET a = 1;", "CREATE ROLE x;", "ALTER USER x LOGIN;",
        "COPY t FROM PROGRAM 'id';", "COPY t TO '/tmp/x';", "DO $$ BEGIN END $$;", "SET ROLE x;", "SET role = x;",
        "SET SESSION AUTHORIZATION x;", "SET session_authorization = x;",
        "SET session_replication_role = replica;", "SELECT pg_catalog.set_config('role', 'x', false);",
        "RESET ROLE;", "SELECT pg_read_file('x');", "DELETE FROM t;", "TRUNCATE t;",
        "SELECT pg_catalog.pg_terminate_backend(1);", "CALL p();", "EXECUTE x;", "WITH x AS (SELECT 1) SELECT 1;",
    ],
)  # fmt: skip
def test_what_pg_dump_does_not_write_is_refused(sql: str) -> None:
    if sql.startswith("DROP "):
        assert work(sql).how == "skip", "nothing is dropped, because the side database is empty"
        return
    with pytest.raises(RollbackError, match="does not write"):
        work(sql)


def test_target() -> None:
    assert target(b'COPY s."t;x" (a, b) FROM stdin;') == b's."t;x"'
    assert target(b"INSERT INTO s.t VALUES (1);") == b"s.t"
    with pytest.raises(RollbackError):
        target(b"COPY (SELECT 1) TO STDOUT;")
