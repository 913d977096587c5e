# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The normal form of a dump sees every difference that matters and no other; the damage is what it says."""

from __future__ import annotations

import gzip

import pytest
from dump_zoo import SPECIMENS, bom, crlf, flip, members, normal, truncate, without_trailer

HEAD = b"""--
-- PostgreSQL database dump
--

\\restrict abc123

-- Dumped from database version 15.1
-- Dumped by pg_dump version 15.1

SET client_encoding = 'UTF8';
"""
ROWS = b'COPY public."a;b ""c" (id, t) FROM stdin;\n2\ttwo\n1\tone\n\\.\n'
FUNCTION = b"""CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$
\\restrict abc123
-- Dumped by pg_dump version 15.1
COPY x FROM stdin;
b
a
$_$;
"""
TRAILER = b"--\n-- PostgreSQL database dump complete\n--\n\n"
DUMP = HEAD + ROWS + FUNCTION + ROWS + TRAILER


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"2\ttwo\n1\tone\n", b"1\tone\n2\ttwo\n"),
        (HEAD, HEAD.replace(b"abc123", b"xyz789")),
        (HEAD, HEAD.replace(b"15.1", b"17.12 (Debian)")),
    ],
    ids=["order of rows", "restrict key", "versions"],
)
def test_equal(old: bytes, new: bytes) -> None:
    """Differences between two dumps of one database do not count."""
    assert DUMP.replace(old, new) != DUMP
    assert normal(DUMP) == normal(DUMP.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"2\ttwo\n", b""),
        (b"2\ttwo\n", b"2\ttwo\n2\ttwo\n"),
        (b"2\ttwo\n", b"2\tthree\n"),
        (b"2\ttwo\n1\tone\n", b""),
        (b"b\na\n", b"a\nb\n"),
        (FUNCTION, FUNCTION.replace(b"15.1", b"15.2")),
        (FUNCTION, FUNCTION.replace(b"abc123", b"abc124")),
        (b"'UTF8'", b"'LATIN1'"),
        (TRAILER, b""),
    ],
)
def test_different(old: bytes, new: bytes) -> None:
    """A lost, doubled or changed row is seen, and so is a function body that only looks like a dump."""
    assert old in DUMP
    assert normal(DUMP) != normal(DUMP.replace(old, new, 1))


@pytest.mark.parametrize(
    "quoted", [b"'it''s -- \n COPY x FROM stdin;\n'", b"E'\\'\nCOPY x FROM stdin;\n'", b'"n""\nCOPY x FROM stdin;\n"']
)
def test_what_is_quoted_is_no_copy(quoted: bytes) -> None:
    """The order of lines inside quotes counts, and rows behind them are still sorted."""
    assert normal(quoted + b";\nb\na\n" + ROWS)[-2:] == [b"1\tone", b"2\ttwo"]
    assert normal(quoted + b";\nb\na\n" + ROWS) != normal(quoted + b";\na\nb\n" + ROWS)


def test_rows_do_not_move_between_tables() -> None:
    """Each COPY is sorted for itself."""
    other = ROWS.replace(b"a;b", b"other")
    moved = ROWS.replace(b"1\tone\n", b"") + other.replace(b"1\tone\n", b"1\tone\n1\tone\n")
    assert normal(ROWS + other) != normal(moved)


def test_damage() -> None:
    """Each kind changes what it names and nothing else."""
    assert truncate(DUMP, -1) + b"\n" == DUMP
    assert [at for at, byte in enumerate(flip(DUMP, 7, bit=3)) if byte != DUMP[at]] == [7]
    assert flip(flip(DUMP, -1), -1) == DUMP
    assert crlf(b"a\nb\n") == b"a\r\nb\r\n"
    assert bom(DUMP).decode("utf-8-sig").encode() == DUMP
    assert without_trailer(DUMP) + TRAILER[:-1] + b"\n" == DUMP
    with pytest.raises(ValueError, match="no plain dump"):
        without_trailer(b"SELECT 1;\n")


@pytest.mark.parametrize("data", [b"", b"x", DUMP])
def test_members(data: bytes) -> None:
    """Several members hold what was given, and are really several."""
    made = members(data)
    assert gzip.decompress(made) == data
    assert made.count(b"\x1f\x8b\x08") >= min(len(data), 3)


def test_names_reach_the_limit() -> None:
    """The long names are 63 bytes long: one more and the server would cut them."""
    names = [name for name in SPECIMENS["names"].script.split('"') if name.endswith("q")]
    assert {len(name.encode()) for name in names} == {63}
