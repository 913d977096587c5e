# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases of different shapes for the benchmarks of a restore; the report says how large each has become."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import dump_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

    from postgres_servers import Server

MEGABYTE = 1_000_000
BYTES_OF_A_SMALL_TABLE, ROWS_OF_A_SMALL_TABLE = 100_000, 400
BYTES_OF_A_HUGE_ROW = 125
BYTES_OF_A_WIDE_ROW, COLUMNS = 4_000, 100
BYTES_OF_A_LARGE_OBJECT = 100_000


@dataclass(frozen=True)
class Shape:
    """What fills a database, given roughly its megabytes, and a question whose answer shows that the rows are there."""

    text: str
    fill: Callable[[Server, str, int], object]
    proof: str


def small_tables(server: Server, database: str, megabytes: int) -> None:
    """Make many tables, each with a key and an index."""
    tables = max(1, megabytes * MEGABYTE // BYTES_OF_A_SMALL_TABLE)
    rows = f"SELECT i, md5(i::text), now(), repeat(md5(i::text), 2) FROM generate_series(1, {ROWS_OF_A_SMALL_TABLE}) i"
    for number in range(1, tables + 1):
        server.psql(
            database,
            f"CREATE TABLE small_{number} (id integer PRIMARY KEY, word text, at timestamptz, more text);"
            f"INSERT INTO small_{number} {rows}; CREATE INDEX ON small_{number} (word);",
        )


def huge_table(server: Server, database: str, megabytes: int) -> None:
    """Make one table, with a key and an index."""
    rows = max(1, megabytes * MEGABYTE // BYTES_OF_A_HUGE_ROW)
    server.psql(
        database,
        "CREATE TABLE huge (id bigint, account integer, amount numeric(20, 8), at timestamptz);"
        f"INSERT INTO huge SELECT i, i % 100000, i * 1.01, now() FROM generate_series(1, {rows}) i;"
        "ALTER TABLE huge ADD PRIMARY KEY (id); CREATE INDEX ON huge (account);",
    )


def wide_rows(server: Server, database: str, megabytes: int) -> None:
    """Make a table of many columns, of which every second is text."""
    rows = max(1, megabytes * MEGABYTE // BYTES_OF_A_WIDE_ROW)
    columns = ", ".join(f"c{number} {'text' if number % 2 else 'integer'}" for number in range(COLUMNS))
    values = ", ".join(
        f"md5((i * {number})::text) || md5(i::text)" if number % 2 else f"i * {number}" for number in range(COLUMNS)
    )
    server.psql(
        database,
        f"CREATE TABLE wide (id integer PRIMARY KEY, {columns});"
        f"INSERT INTO wide SELECT i, {values} FROM generate_series(1, {rows}) i;",
    )


def large_objects(server: Server, database: str, megabytes: int) -> None:
    """Make large objects that gzip cannot make smaller, and a table that names them."""
    objects = max(1, megabytes * MEGABYTE // BYTES_OF_A_LARGE_OBJECT)
    pieces = f"generate_series(1, {BYTES_OF_A_LARGE_OBJECT // 64}) j"
    content = f"(SELECT string_agg(sha512((i * 10000 + j)::text::bytea), '') FROM {pieces})"
    server.psql(
        database,
        "CREATE TABLE documents (id integer PRIMARY KEY, content oid NOT NULL);"
        f"INSERT INTO documents SELECT i, lo_from_bytea(0, {content}) FROM generate_series(1, {objects}) i;",
    )


SHAPES = {
    "mixed": Shape("tables of several sizes", dump_zoo.scale_database, "SELECT count(*) FROM events"),
    "small-tables": Shape("many small tables", small_tables, "SELECT count(*) FROM small_1"),
    "huge-table": Shape("one huge table", huge_table, "SELECT count(*) FROM huge"),
    "wide-rows": Shape("rows of 101 columns", wide_rows, "SELECT count(*) FROM wide"),
    "large-objects": Shape(
        "large objects",
        large_objects,
        "SELECT count(*) || ' ' || (SELECT count(*) FROM pg_largeobject_metadata) FROM documents",
    ),
}
