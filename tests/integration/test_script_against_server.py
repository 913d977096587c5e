# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
r"""The splitter of plain dumps against Postgres: where it ends a statement, the server ends it, and rows come as sent.

Each generated statement leaves exactly one trace. The whole script goes to the server as one simple query, which the
server splits itself; then the statements that the splitter finds are executed one by one. Both must leave the same
traces, as many as there are statements.
"""

from __future__ import annotations

import io
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import (
    CopyEnd,
    CopyRows,
    CopyStart,
    Event,
    Statement,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.script import ScriptReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres_servers import Server, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = "--\n-- PostgreSQL database dump\n--\n\n"
TAIL = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
WITH_SERVER = settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# --- fragments of SQL, each an expression ---

NASTY = st.sampled_from(
    [
        "'", "''", '"', '""', ";", ";\n", "\\", "\\\\", "\\'", "--", "-- ; '", "/*", "*/", "/*/", "$$", "$", "$a$",
        "$a", "(", ")", "\n", "\\.", "\n\\.\n", "BEGIN", "begin atomic", "END", "case", "COPY t FROM stdin;\n",
        "ß", "日", "E", "e'",
        "-- Name: x; Type: TABLE; Schema: s; Owner: o\n", "a", " ", "\\n", "\\x41", "1", "_",
    ]
)  # fmt: skip
TEXT = st.lists(NASTY, max_size=6).map("".join)
NAME = TEXT.filter(lambda text: 0 < len(text.encode()) <= 60)
TAG = st.sampled_from(["", "a", "_", "ß", "a1", "body", "A"])


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def escape_string(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def escape_string_doubled(text: str) -> str:
    return "e'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def dollar(tag: str, text: str) -> str:
    """Return the text between dollars, or in another way where it would end them."""
    end = f"${tag}$"
    return end + text + end if (text + end).find(end) == len(text) else escape_string(text)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def comment(text: str) -> str:
    """Return block comments, one in the other, around any text that neither opens nor closes one."""
    inner = text.replace("*", "").replace("/", "")
    return f"/*{inner}/*/ {inner} */{inner}*/"


EXPRESSION = st.one_of(
    TEXT.map(escape_string),
    TEXT.map(escape_string_doubled),
    st.builds(dollar, TAG, TEXT),
    NAME.map(lambda name: f"(SELECT 1 AS {identifier(name)})"),
    TEXT.map(lambda text: f"{comment(text)} 1"),
    TEXT.map(lambda text: "1 --" + text.replace("\n", " ") + "\n"),
    st.sampled_from(
        [
            "1", "(1)", "((SELECT 1))", "CASE WHEN true THEN 1 ELSE 2 END", "(SELECT 1 AS a$b)",
            "(SELECT 1 AS a$$b$$c)",
            "/*/*/**/*/*/ 1", "/* /*/ ; */ */ 1", "/**/ 1", "- -1", "N'a;b'", "B'01'", "X'1F'", "(SELECT 1 AS e)||'x;'",
            "E'a'\n  'b;\\'c'", "U&'\\0441;'", "1::text", "(SELECT begin FROM (SELECT 1 AS begin) case_)",
        ]
    ),
)  # fmt: skip
PLAIN_STRING = TEXT.map(quoted)
BACKSLASH_STRING = TEXT.map(lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")


def note(parts: list[str]) -> str:
    return "INSERT INTO trace (told) SELECT concat(" + ", ".join(parts) + ");"


def rule(parts: list[str]) -> str:
    both = f"INSERT INTO trace (told) SELECT concat({', '.join(parts)}); DELETE FROM other"
    return f"CREATE RULE {{name}} AS ON INSERT TO other DO ALSO ({both});"


def routine(parts: list[str]) -> str:
    body = f"SELECT begin, concat({', '.join(parts)}); SELECT CASE WHEN true THEN 1 ELSE 2 END;"
    return f"CREATE FUNCTION {{name}}(begin integer DEFAULT 1) RETURNS integer LANGUAGE sql BEGIN ATOMIC {body} END;"


def text_routine(parts: list[str]) -> str:
    body = quoted(f"SELECT concat({', '.join(parts)})")
    return f"CREATE OR REPLACE FUNCTION {{name}}() RETURNS text LANGUAGE sql AS {body};"


def scripts(strings: Any, shapes: list[Any]) -> Any:
    """Return a strategy for lists of statements; ``{name}`` is filled in, so that each object has its own."""
    parts = st.lists(st.one_of(strings, EXPRESSION), min_size=1, max_size=4)
    one = st.builds(lambda shape, some: (shape, some), st.sampled_from(shapes), parts)
    return st.lists(one, min_size=1, max_size=5).map(
        lambda made: [shape(some).replace("{name}", f"made_{number}") for number, (shape, some) in enumerate(made)]
    )


# --- traces ---

TRACES = """
  SELECT 'row', told FROM trace UNION ALL SELECT 'rule', pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename LIKE 'made%'
  UNION ALL SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'made%' ORDER BY 1, 2"""


@pytest.fixture(scope="module")
def cursor(server15: Server) -> Iterator[Any]:
    """Give a cursor on a database of its own, with a table for traces."""
    with fresh_database(server15) as name, closing(server15.connect(name)) as connection:
        made = connection.cursor()
        made.execute("CREATE TABLE trace (told text); CREATE TABLE other (n int)")
        yield made


def traces(cursor: Any, scripts_of_it: list[bytes]) -> list[tuple[str, str]]:
    """Execute each as one simple query, and return what all of them left; nothing of it stays."""
    cursor.execute("BEGIN; SET LOCAL check_function_bodies = off")
    try:
        for one in scripts_of_it:
            cursor.execute(one)
        cursor.execute(TRACES)
        return list(cursor.fetchall())
    finally:
        cursor.execute("ROLLBACK")


def events(body: str, size: int) -> list[Event]:
    text = (HEAD + body + TAIL).encode()
    return list(ScriptReader(text[at : at + size] for at in range(0, len(text), size)).events())


def found(body: str, size: int) -> list[bytes]:
    return [event.sql for event in events(body, size) if isinstance(event, Statement)]


def compare(cursor: Any, statements: list[str], size: int, *, standard: bool) -> None:
    setting = f"SET standard_conforming_strings = {'on' if standard else 'off'};"
    body = "\n".join(statements)
    cursor.execute(setting + " SET escape_string_warning = off")
    whole = traces(cursor, [body.encode()])
    first, *ours = found(f"{setting}\n{body}\n", size)
    assert first == setting.encode()
    assert len(whole) == len(statements), "the test itself is wrong: a statement left no trace or two"
    assert len(ours) == len(whole)
    assert traces(cursor, ours) == whole


SHAPES = [note, note, rule, routine, text_routine]


@WITH_SERVER
@given(statements=scripts(PLAIN_STRING, SHAPES), size=st.integers(1, 64))
def test_statements_end_where_the_server_ends_them(cursor: Any, statements: list[str], size: int) -> None:
    compare(cursor, statements, size, standard=True)


@WITH_SERVER
@given(statements=scripts(BACKSLASH_STRING, [note, rule]), size=st.integers(1, 64))
def test_the_same_where_backslashes_escape(cursor: Any, statements: list[str], size: int) -> None:
    usable = [one for one in statements if "U&'" not in one]  # the server refuses it with backslashes
    compare(cursor, usable or [note(["1"])], size, standard=False)


VALUE = st.one_of(st.none(), TEXT, st.text(alphabet="\\.N\t\n\r\b\f\vß'", max_size=6))


@WITH_SERVER
@given(rows=st.lists(st.tuples(VALUE, VALUE), max_size=12), size=st.integers(1, 64))
def test_rows_come_back_as_the_server_wrote_them(cursor: Any, rows: list[tuple[Any, Any]], size: int) -> None:
    """As COPY writes them, between statements: through the splitter, and into the server again."""
    cursor.execute("CREATE TEMP TABLE pair (a text, b text)")
    try:
        for row in rows:
            cursor.execute("INSERT INTO pair VALUES (%s, %s)", row)
        data = written(cursor)
        cursor.execute("TRUNCATE pair")
        body = "SELECT 1;\nCOPY pair (a, b) FROM stdin;\n" + data + "\\.\n\nSELECT 2;\n"
        before, start, *pieces, end, after = events(body, size)
        assert isinstance(start, CopyStart)
        assert end == CopyEnd(len(rows))
        assert [one.sql for one in (before, after) if isinstance(one, Statement)] == [b"SELECT 1;", b"SELECT 2;"]
        sent = b"".join(one.data for one in pieces if isinstance(one, CopyRows))
        cursor.copy_expert(start.sql, io.BytesIO(sent))
        cursor.execute("SELECT a, b FROM pair")
        assert cursor.fetchall() == rows
    finally:
        cursor.execute("DROP TABLE pair")


def written(cursor: Any) -> str:
    out = io.BytesIO()
    cursor.copy_expert("COPY pair (a, b) TO STDOUT", out)
    return out.getvalue().decode()
