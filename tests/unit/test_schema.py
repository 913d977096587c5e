# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What counts as a schema, without a server."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import Entry, Statement
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.schema import (
    differences,
    fingerprint,
    schema_of,
)

ENTRY = Entry("pools", "TABLE", "public", "usdx")


def schema(*texts: str) -> dict[str, list[str]]:
    return schema_of(Statement(text.encode(), ENTRY) for text in texts)


def test_the_order_of_columns_does_not_count_and_that_of_a_body_does() -> None:
    one = schema("CREATE TABLE t (\n    a integer,\n    b text\n);")
    other = schema("CREATE TABLE t (\n    b text,\n    a integer\n);")
    assert (differences(one, other), fingerprint(one)) == ([], fingerprint(other))
    one = schema("CREATE FUNCTION f() RETURNS int\n    LANGUAGE plpgsql\n    AS $$\na;\nb;\n$$;")
    other = schema("CREATE FUNCTION f() RETURNS int\n    LANGUAGE plpgsql\n    AS $$\nb;\na;\n$$;")
    assert fingerprint(one) != fingerprint(other)


def test_what_an_application_does_not_depend_on_does_not_count() -> None:
    assert schema(
        "SET lock_timeout = 0;", "GRANT SELECT ON TABLE t TO reader;", "COMMENT ON TABLE t IS 'x';",
        'ALTER TABLE "odd;name" OWNER TO usdx;', "SELECT pg_catalog.setval('s', 5, true);",
        "INSERT INTO t VALUES (1);", "DROP TABLE t;", "REVOKE ALL ON SCHEMA public FROM PUBLIC;",
        "ALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=22161408);",
    ) == {}  # fmt: skip


def test_what_the_server_notes_is_taken_out_of_what_people_set() -> None:
    wanted = ["ALTER TABLE ONLY t ALTER COLUMN a SET (n_distinct=5)"]
    for options in ("pg_attver=1, n_distinct=5", "n_distinct=5, pg_attver=1"):
        assert list(schema(f"ALTER TABLE ONLY t ALTER COLUMN a SET ({options});")) == [wanted[0].rstrip(")") + ")"]


def test_equal_lines_are_counted() -> None:
    one, other = schema("ALTER TABLE t\n    x;", "ALTER TABLE t\n    x;"), schema("ALTER TABLE t\n    x;")
    assert differences(one, other) == ["ALTER TABLE t, only in the live database: x;"]


def test_many_differences_are_cut() -> None:
    told = differences(schema(*[f"CREATE SEQUENCE s{n};" for n in range(30)]), {})
    assert len(told) == 21
    assert told[-1] == "and 10 more"
