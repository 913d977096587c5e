# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold of a side database before it may become the live one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .connection import PSYCOPG2_IMPORT_ERROR, message

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .dump import Entry

_BROKEN = """
  SELECT 'index ' || indexrelid::regclass::text || ' is not valid'
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT indisvalid AND c.relkind = 'i'
  ORDER BY 1"""
_EMPTY_VIEWS = """
  SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'm' AND NOT c.relispopulated"""
_RELATIONS = """
  SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname !~ '^pg_toast'"""
_RELATION_KINDS = {"TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "INDEX", "FOREIGN TABLE"}
_SEQUENCES = """
  SELECT d.objid::regclass::text, d.refobjid::regclass::text, quote_ident(a.attname), s.seqincrement > 0
  FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND NOT s.seqcycle
    AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) ORDER BY 1"""


def prove(connect: Callable[[], Any], entries: Iterable[Entry], queries: list[dict[str, Any]]) -> dict[str, Any]:
    """Check a loaded database; return ``{queries: [...], warnings: [...]}``.

    Raises ``RollbackError`` when an object of the dump is missing or not valid, or a query answers something else than
    expected. A sequence behind its column is a warning: the database that was dumped may have been like that.
    """
    with closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path = ''")
        cursor.execute(_BROKEN)
        broken = [row[0] for row in cursor.fetchall()] + _missing(cursor, entries) + _not_filled(cursor, entries)
        if broken:
            raise RollbackError(
                f"The loaded backup is not whole: {'; '.join(broken[:5])}.", "Choose another backup.", broken=broken
            )
        warnings = _sequences_behind(cursor)
        answers = [ask(cursor, query) for query in queries]
    wrong = [answer for answer in answers if answer["verdict"] == "failed"]
    if wrong:
        raise RollbackError(
            f"The loaded backup does not pass {len(wrong)} of {len(answers)} verify_queries: "
            + "; ".join(f"{answer['query']}: {answer['reason']}" for answer in wrong[:5]) + ".",
            "Choose another backup, or correct verify_queries.",
            queries=answers,
        )  # fmt: skip
    return {"queries": answers, "warnings": warnings}


def _not_filled(cursor: Any, entries: Iterable[Entry]) -> list[str]:
    """Only a materialized view that the dump refreshes must be filled; one made WITH NO DATA stays empty."""
    cursor.execute(_EMPTY_VIEWS)
    empty = set(cursor.fetchall())
    refreshed = {(entry.schema, entry.name) for entry in entries if entry.kind == "MATERIALIZED VIEW DATA"}
    return [f"materialized view {schema}.{name} is not filled" for schema, name in sorted(empty & refreshed)]


def _missing(cursor: Any, entries: Iterable[Entry]) -> list[str]:
    cursor.execute(_RELATIONS)
    present = set(cursor.fetchall())
    return [
        f"{entry.kind.lower()} {entry.schema}.{entry.name} is missing"
        for entry in entries
        # pg_dump puts a space for a line end of a name, so such a name cannot be looked up
        if entry.kind in _RELATION_KINDS and " " not in entry.name and (entry.schema, entry.name) not in present
    ]


def _sequences_behind(cursor: Any) -> list[str]:
    cursor.execute(_SEQUENCES)
    behind = []
    for sequence, table, column, rising in cursor.fetchall():
        cursor.execute(
            f"SELECT (SELECT {'max' if rising else 'min'}({column}) FROM {table}), last_value FROM {sequence}"
        )
        extreme, last = cursor.fetchone()
        if extreme is not None and (last < extreme if rising else last > extreme):
            behind.append(f"The sequence {sequence} stands at {last}, but {table}.{column} goes to {extreme}.")
    return behind


def ask(cursor: Any, query: dict[str, Any]) -> dict[str, Any]:
    """Run one of the user's queries, reading only, and compare its first value with ``equals`` and ``minimum``."""
    answer: dict[str, Any] = {"query": query["query"], "value": None, "verdict": "passed", "reason": ""}
    try:
        cursor.execute("BEGIN READ ONLY")
        cursor.execute(f"SET LOCAL statement_timeout = {int(float(query.get('timeout') or 60) * 1000)}")
        cursor.execute("SET LOCAL search_path = DEFAULT")
        cursor.execute(query["query"])
        row = cursor.fetchone() if cursor.description else None
        answer["value"] = None if row is None else _plain(row[0])
    except psycopg2.Error as error:
        answer.update(verdict="failed", reason=message(error))
    finally:
        cursor.execute("ROLLBACK")
    return _judge(answer, query) if answer["verdict"] == "passed" else answer


def _judge(answer: dict[str, Any], query: dict[str, Any]) -> dict[str, Any]:
    value, equals, minimum = answer["value"], query.get("equals"), query.get("minimum")
    if equals is not None and str(value) != str(equals):
        answer.update(verdict="failed", reason=f"it is {value}, expected was {equals}")
    elif minimum is not None and not (isinstance(value, (int, float)) and value >= minimum):
        answer.update(verdict="failed", reason=f"it is {value}, expected was at least {minimum}")
    return answer


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
