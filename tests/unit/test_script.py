# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where statements and rows of a plain dump begin and end, whatever the pieces in which it is read."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import (
    CopyEnd,
    CopyRows,
    CopyStart,
    DamagedBackup,
    Event,
    Statement,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.script import ScriptReader, is_script
from hypothesis import given
from hypothesis import strategies as st

HEAD = b"--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18\n\n"
TAIL = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"


def read(body: bytes, size: int = 1 << 20, *, head: bytes = HEAD, tail: bytes = TAIL) -> list[Event]:
    text = head + body + tail
    return list(ScriptReader(text[at : at + size] for at in range(0, len(text), size)).events())


def statements(body: bytes, size: int = 1 << 20) -> list[bytes]:
    return [event.sql for event in read(body, size) if isinstance(event, Statement)]


WHOLE = [
    b"SELECT 1;",
    b"SELECT ';', 'it''s', \"odd;name\", E'a\\';b', E'it''s \\';';",
    b"SELECT $$;$$, $tag$ ; $$ ; $tag$;",
    b"SELECT a$b, 1;",
    b"SELECT $1;",
    b"SELECT 1 -- ; '\n, 2;",
    b"SELECT 1 /* ; /* ' ; */ ; */, 2;",
    b"CREATE RULE r AS ON INSERT TO t DO INSTEAD (SELECT 1; SELECT 2);",
    b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 ELSE 2 END; END;",
    b"CREATE FUNCTION f(begin integer) RETURNS int BEGIN\n ATOMIC SELECT f.begin; SELECT 1; END;",
    b"CREATE FUNCTION f(begin integer) RETURNS int AS ';';",
    b"SELECT 1 /* /*/ ; */ */, 2;",
    b"SELECT E'a'\n  'b;\\'c', 'd;';",
    b"CREATE FUNCTION f() AS $_$\nCOPY x FROM stdin;\n-- Name: x; Type: TABLE; Schema: s; Owner: o\n\\.\n$_$;",
    b"CREATE PROCEDURE beginning() LANGUAGE sql AS 'begin; end';",
    b"COMMENT ON TABLE t IS 'line\nbreak; \\! touch /tmp/x';",
    b'CREATE TABLE "begin" ("a;b" text DEFAULT \';\');',
    "CREATE TABLE \"Grüße\" (n text DEFAULT 'ß;');".encode(),
]


@pytest.mark.parametrize("sql", WHOLE)
@pytest.mark.parametrize("size", [1, 3, 7, 1 << 20])
def test_a_statement_is_not_cut(sql: bytes, size: int) -> None:
    assert statements(sql + b"\nSELECT 'next';\n", size) == [sql, b"SELECT 'next';"]


def test_backslashes_count_where_the_dump_says_so() -> None:
    body = b"SET standard_conforming_strings = off;\nSELECT 'a\\';b';\nSELECT 2;\n"
    assert statements(body) == [b"SET standard_conforming_strings = off;", b"SELECT 'a\\';b';", b"SELECT 2;"]


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_rows(size: int) -> None:
    body = b"--\n-- Data for Name: t; Type: TABLE DATA; Schema: s; Owner: -\n--\n\n"
    body += b"COPY s.t (a) FROM stdin;\n1\\n\n;\n\\\\.\n\\.\n\nSELECT 1;\n"
    events = read(body, size)
    start, *middle, end, statement = events
    assert isinstance(start, CopyStart)
    assert start.entry is not None
    assert (start.entry.schema, start.entry.name, start.entry.owner) == ("s", "t", "")
    assert b"".join(event.data for event in middle if isinstance(event, CopyRows)) == b"1\\n\n;\n\\\\.\n"
    assert end == CopyEnd(3)
    assert isinstance(statement, Statement)


def test_no_rows() -> None:
    assert read(b"COPY t (a) FROM stdin;\n\\.\n")[-1] == CopyEnd(0)


def test_a_name_with_a_semicolon() -> None:
    assert isinstance(read(b'COPY "a;b" (c) FROM stdin;\n\\.\n')[0], CopyStart)


def test_facts() -> None:
    reader = ScriptReader([HEAD + b"COPY t (a) FROM stdin;\n1\n2\n\\.\n" + TAIL])
    list(reader.events())
    assert (reader.facts.server_version, reader.facts.complete, sum(reader.facts.rows.values())) == ("15.18", True, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "does not begin"),
        (b"SELECT 1;", "does not begin"),
        (HEAD.replace(b"\n", b"\r\n") + TAIL, "CR LF"),
        (b"--\n-- PostgreSQL database cluster dump\n--\n", "pg_dumpall"),
        (HEAD, "is cut"),
        (HEAD + b"SELECT 1", "is cut"),
        (HEAD + b"SELECT 'a" + TAIL, "is cut"),
        (HEAD + b"COPY t (a) FROM stdin;\n1\n" + TAIL, "in the middle of the rows"),
        (HEAD + TAIL + b"SELECT 1;\n", "after its end"),
        (HEAD + b"\\connect other\n" + TAIL, "--create"),
        (HEAD + b"\\! id\n" + TAIL, "never carried out"),
        (HEAD + b"\\restrict `id`\n" + TAIL, "never carried out"),
        (HEAD + b"SELECT 1 \\gexec\n;" + TAIL, "backslash outside quotes"),
        (HEAD + b"SET client_encoding = 'SJIS';\n" + TAIL, "encoding"),
    ],
)
def test_what_is_not_a_whole_dump_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(DamagedBackup, match=words):
        list(ScriptReader([text]).events())


def test_restrict_is_skipped_and_a_byte_order_mark_too() -> None:
    text = b"\xef\xbb\xbf" + HEAD + b"\\restrict abc1\nSELECT 1;\n\\unrestrict abc1\n" + TAIL
    assert len(list(ScriptReader([text]).events())) == 1
    assert is_script(text)


def test_every_cut_is_noticed() -> None:
    body = b"SELECT $a$;$a$, 'x';\nCOPY t (a) FROM stdin;\n1\n2\n\\.\nSELECT 1;\n"
    text = HEAD + body + TAIL
    end = text.index(b"dump complete") + len(b"dump complete")
    for length in range(end):
        with pytest.raises(DamagedBackup):
            list(ScriptReader([text[:length]]).events())


PART = st.one_of(
    st.text(alphabet="ab1 ;(,\n", max_size=5).map(lambda text: "'" + text + "'"),
    st.text(alphabet="ab;\n'$", max_size=5).map(lambda text: "$q$" + text.replace("$", "") + "$q$"),
    st.text(alphabet="ab; '", min_size=1, max_size=5).map(lambda text: '"' + text + '"'),
    st.text(alphabet="ab;' *", max_size=5).map(lambda text: "/*" + text.replace("*", "") + "*/ 1"),
    st.text(alphabet="ab;'", max_size=5).map(lambda text: "1 --" + text + "\n"),
    st.sampled_from(["1", "a", "(1)", "E'\\''", "E'\\\\'", "E'a''\\''"]),
)


@given(st.lists(st.lists(PART, min_size=1, max_size=4), max_size=5), st.integers(1, 40))
def test_statements_come_out_as_they_went_in(parts: list[list[str]], size: int) -> None:
    wanted = [("SELECT " + " + ".join(one) + " ;").encode() for one in parts]
    assert statements(b"\n".join(wanted), size) == wanted


@given(
    st.lists(st.text(alphabet="ab\\.N\t", max_size=6).filter(lambda row: row != "\\."), max_size=30), st.integers(1, 50)
)
def test_rows_come_out_as_they_went_in(lines: list[str], size: int) -> None:
    data = "".join(line + "\n" for line in lines).encode()
    events = read(b"COPY t (a) FROM stdin;\n" + data + b"\\.\n", size)
    assert b"".join(event.data for event in events if isinstance(event, CopyRows)) == data
    assert events[-1] == CopyEnd(len(lines))
