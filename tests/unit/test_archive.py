# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of real pg_dump 15 and 17 against what their pg_restore writes, and archives that are not whole."""

from __future__ import annotations

import gzip
import io
import random
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.archive import (
    ArchiveReader,
    DirectoryReader,
    is_archive,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.archive_data import copy_rows, decode
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.archive_sql import identifier
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import (
    CopyEnd,
    CopyRows,
    CopyStart,
    DamagedBackup,
    Event,
    Reader,
    Statement,
)

DATA = Path(__file__).parent / "data" / "archives"


def stored(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def custom(data: bytes) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(data))


def events(data: bytes) -> list[Event]:
    return list(custom(data).events())


def as_text(reader: Reader) -> bytes:
    parts = []
    for event in reader.events():
        if isinstance(event, CopyRows):
            parts.append(event.data)
        else:
            parts.append(b"\\.\n" if isinstance(event, CopyEnd) else event.sql + b"\n")
    return b"".join(parts)


def comparable(text: bytes) -> list[bytes]:
    """Return the lines without comments, empty lines and psql commands other than the end of rows."""
    return [line for line in text.split(b"\n") if line and not line.startswith((b"--", b"\\restrict", b"\\unrestrict"))]


def rows(found: list[Event]) -> bytes:
    return b"".join(event.data for event in found if isinstance(event, CopyRows))


def unpack(name: str, where: Path) -> Path:
    with zipfile.ZipFile(DATA / f"{name}.zip") as archive:
        archive.extractall(where)
    return where


# -- a small writer of archives -------------------------------------------------------------------------------------


def number(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def text(value: bytes | None) -> bytes:
    return number(-1) if value is None else number(len(value)) + value


def entry(  # noqa: PLR0913 - the fields of an entry
    identity: int,
    kind: bytes,
    definition: bytes = b"",
    *,
    tag: bytes = b"t",
    copy: bytes = b"",
    drop: bytes = b"",
    owner: bytes = b"",
    data: bool = False,
    needs: tuple[int, ...] = (),
    version: int = 14,
) -> bytes:
    """Return an entry of a table of contents."""
    return b"".join(
        [
            number(identity),
            number(int(data)),
            text(b"0"),
            text(b"0"),
            text(tag),
            text(kind),
            number(3),
            text(definition),
        ]
        + [text(drop), text(copy), text(b"public"), text(None)]
        + ([text(None)] if version >= 14 else [])
        + ([number(0)] if version >= 16 else [])
        + [text(owner), text(b"false"), *(text(b"%d" % one) for one in needs), text(None)]
        + [bytes([1 if data else 3]), bytes(8)]
    )


def archive(
    entries: list[bytes], blocks: bytes = b"", *, version: int = 14, compression: int = 0, form: int = 1
) -> bytes:
    """Return an archive in the custom format."""
    head = b"PGDMP" + bytes([1, version, 0, 4, 8, form])
    head += bytes([compression]) if version >= 15 else number(compression)
    head += b"".join(number(part) for part in (1, 2, 3, 4, 10, 125, 0))
    return (
        head + text(b"app") + text(b"15.1 (Debian)") + text(b"15.1") + number(len(entries)) + b"".join(entries) + blocks
    )


def block(identity: int, data: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + number(identity) + (number(len(data)) + data if data else b"") + number(0)


ENCODING = entry(1, b"ENCODING", b"SET client_encoding = 'UTF8';\n", tag=b"ENCODING")
STRINGS = entry(2, b"STDSTRINGS", b"SET standard_conforming_strings = 'on';\n", tag=b"STDSTRINGS")
SEARCH_PATH = entry(3, b"SEARCHPATH", b"SELECT pg_catalog.set_config('search_path', '', false);\n", tag=b"SEARCHPATH")
SETTINGS = [ENCODING, STRINGS, SEARCH_PATH]
TABLE = entry(9, b"TABLE DATA", copy=b"COPY public.t (a) FROM stdin;\n", data=True)


# -- real archives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["15", "15_inserts", "15_data", "17"])
def test_the_events_are_what_pg_restore_writes(name: str) -> None:
    reader = custom(stored(f"{name}.dump"))
    assert comparable(as_text(reader)) == comparable(stored(f"{name}.sql"))
    assert reader.facts.complete


@pytest.mark.parametrize(("name", "expected"), [("15_directory", "15"), ("17_directory", "17_inserts")])
def test_a_directory_gives_what_pg_restore_writes(name: str, expected: str, tmp_path: Path) -> None:
    reader = DirectoryReader(unpack(name, tmp_path))
    assert comparable(as_text(reader)) == comparable(stored(f"{expected}.sql"))
    assert reader.facts.complete


def test_facts_are_there_with_the_first_event_and_rows_at_the_end() -> None:
    reader = custom(stored("15.dump"))
    found = reader.events()
    next(found)
    facts = reader.facts
    assert (facts.format, facts.compression, facts.database) == ("custom", "gzip", "Fleet db")
    assert (facts.server_version, facts.pg_dump_version) == ("15.18", "15.18")
    assert len(facts.created_at) == len("2026-11-24T20:05:54")
    assert not facts.complete
    list(found)
    assert facts.complete
    assert facts.rows["public.accounts"] == 42
    assert facts.rows["public.empty"] == 0
    assert facts.rows["Stock Room.Line's"] == 2


def test_statements_know_their_entry() -> None:
    found = [event for event in events(stored("15.dump")) if isinstance(event, Statement) and event.entry]
    owners = {event.entry.owner for event in found if event.entry and event.entry.name == "total(integer)"}
    assert owners == {"Fleet Owner"}
    assert any(event.entry and event.entry.kind == "FK CONSTRAINT" for event in found)


def test_a_stream_that_gives_few_bytes_at_a_time_gives_the_same() -> None:
    class Slow(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            return super().read(7)

    assert list(ArchiveReader(Slow(stored("15.dump"))).events()) == events(stored("15.dump"))


# -- archives that are not whole --------------------------------------------------------------------------------------


def test_cut_at_every_byte_it_is_damaged() -> None:
    data = stored("15_data.dump")
    for length in range(len(data)):
        with pytest.raises(DamagedBackup) as caught:
            events(data[:length])
        assert caught.value.next_step, length


@pytest.mark.parametrize("name", ["15", "15_inserts"])
def test_cut_anywhere_a_full_dump_is_damaged(name: str) -> None:
    data = stored(f"{name}.dump")
    for length in [*range(0, len(data), 97), len(data) - 1]:
        with pytest.raises(DamagedBackup):
            events(data[:length])


@pytest.mark.parametrize("name", ["15", "15_inserts", "15_data", "17"])
def test_a_changed_byte_never_changes_rows_unseen(name: str) -> None:
    data = stored(f"{name}.dump")
    expected = rows(events(data))
    chance = random.Random(15)  # noqa: S311 - repeatable, not secret
    for _number in range(300):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        try:
            found = events(bytes(changed))
        except RollbackError:
            continue
        assert rows(found) == expected


def test_a_second_table_of_contents_at_the_end_is_read_too() -> None:
    """Left by pg_dump 16 and 17 when their standard output is a file; a cut or another one is damage."""
    data = stored("17.dump")
    for length in range(len(data) - 300, len(data), 7):
        with pytest.raises(DamagedBackup):
            events(data[:length])
    at = data.rindex(b"measured_2026")
    with pytest.raises(DamagedBackup, match="something follows its end"):
        events(data[:at] + b"M" + data[at + 1 :])


def test_something_behind_the_end_is_damage() -> None:
    for name in ("15", "17"):
        with pytest.raises(DamagedBackup):
            events(stored(f"{name}.dump") + b"\0")


def test_a_directory_without_one_of_its_files_is_damaged(tmp_path: Path) -> None:
    where = unpack("15_directory", tmp_path)
    for path in where.iterdir():
        if path.name == "toc.dat":
            continue
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DamagedBackup, match="missing") as caught:
            list(DirectoryReader(where).events())
        assert path.name.split(".gz")[0] in caught.value.msg
        path.write_bytes(content)


def test_a_directory_with_a_cut_file_is_damaged(tmp_path: Path) -> None:
    where = unpack("15_directory", tmp_path)
    for path in where.iterdir():
        content = path.read_bytes()
        for length in {*range(0, len(content), 41), len(content) - 1}:
            if path.name == "blobs.toc" and length == 0:
                continue
            path.write_bytes(content[:length])
            with pytest.raises(DamagedBackup):
                list(DirectoryReader(where).events())
        path.write_bytes(content)
    assert list(DirectoryReader(where).events())


def test_a_large_object_missing_in_the_list_is_damage(tmp_path: Path) -> None:
    where = unpack("15_directory", tmp_path)
    lines = (where / "blobs.toc").read_bytes().splitlines(keepends=True)
    (where / "blobs.toc").write_bytes(b"".join(lines[1:]))
    with pytest.raises(DamagedBackup, match="large object 4001 has no content"):
        list(DirectoryReader(where).events())


def test_a_directory_that_names_a_file_elsewhere_is_damaged(tmp_path: Path) -> None:
    where = unpack("15_directory", tmp_path)
    listed = (where / "blobs.toc").read_bytes()
    (where / "blobs.toc").write_bytes(listed.replace(b"blob_4001.dat", b"../blob_4.dat"))
    with pytest.raises(DamagedBackup, match="not a number and a file"):
        list(DirectoryReader(where).events())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"1\n2\n", "no closing line"),
        (b"1\n2\\.\n", "no closing line"),
        (b"1\n\\.\n\n\n1\n", "no closing line"),
        (b"1\n\\.\n2\n\\.\n\n\n", "follows the closing line"),
        (b"", "no closing line"),
        (b"1\n\0\0\n\\.\n\n\n", "zero bytes"),
    ],
)
def test_rows_that_are_not_closed_are_damage(data: bytes, problem: str) -> None:
    with pytest.raises(DamagedBackup, match=problem):
        events(archive([*SETTINGS, TABLE], block(9, data)))


def test_blocks_that_do_not_fit_are_damage() -> None:
    rows_block = block(9, b"1\n\\.\n\n\n")
    for blocks in (block(8, b"1\n\\.\n\n\n"), rows_block + rows_block, b"", rows_block[:-5], b"\7" + rows_block[1:]):
        with pytest.raises(DamagedBackup):
            events(archive([*SETTINGS, TABLE], blocks))


def test_absurd_lengths_are_damage_and_take_no_memory() -> None:
    huge = b"\0\xff\xff\xff\x7f"
    for data in (
        archive([*SETTINGS, TABLE], b"\1" + number(9) + huge + b"1\n"),
        archive([*SETTINGS, TABLE], b"\1" + number(9) + number(-5) + b"1\n"),
        archive([])[:-5] + huge,
        archive([])[:-5] + number(-1),
        archive([number(1) + number(0) + huge]),
    ):
        with pytest.raises(DamagedBackup):
            events(data)


@pytest.mark.parametrize("tail", [b"", b"abc"])
def test_compressed_data_without_end_or_with_more_is_damage(tail: bytes) -> None:
    packed = zlib.compress(b"1\n\\.\n\n\n")
    packed = packed + tail if tail else packed[:-1]
    with pytest.raises(DamagedBackup, match=r"follows|no end"):
        events(archive([*SETTINGS, TABLE], block(9, packed), compression=-1))


def test_a_wrong_sum_of_compressed_data_is_damage() -> None:
    packed = zlib.compress(b"1\n\\.\n\n\n")
    with pytest.raises(DamagedBackup, match="cannot be decoded"):
        events(archive([*SETTINGS, TABLE], block(9, packed[:-1] + bytes([packed[-1] ^ 1])), compression=-1))


# -- what is not read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (archive([], version=17), "made by a newer pg_dump"),
        (archive([], version=11), "older than 9.0"),
        (archive([], form=3), "tar format"),
    ],
)
def test_other_versions_and_formats_are_refused_by_name(data: bytes, problem: str) -> None:
    with pytest.raises(RollbackError, match=problem) as caught:
        events(data)
    assert not isinstance(caught.value, DamagedBackup)
    assert "pg_dump" in caught.value.next_step


def test_a_missing_library_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(RollbackError, match="Python library lz4 is not installed") as caught:
        events(archive([*SETTINGS, TABLE], version=15, compression=2))
    assert "pip install lz4" in caught.value.next_step
    assert "apt install python3-lz4" in caught.value.next_step


def test_an_encoding_that_cannot_be_split_safely_is_refused() -> None:
    with pytest.raises(RollbackError, match="SJIS"):
        events(archive([entry(1, b"ENCODING", b"SET client_encoding = 'SJIS';\n")]))


# -- small archives ---------------------------------------------------------------------------------------------------


def test_many_rows_come_as_whole_lines_of_about_a_megabyte() -> None:
    data = b"".join(b"%d\tsome text\n" % one for one in range(200_000))
    found = events(archive([*SETTINGS, TABLE], block(9, data + b"\\.\n\n\n")))
    pieces = [event.data for event in found if isinstance(event, CopyRows)]
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert max(map(len, pieces)) < 2_500_000
    assert isinstance(found[-1], CopyEnd)
    assert found[-1].rows == 200_000


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8])
def test_rows_are_the_same_however_they_come(step: int) -> None:
    data = b"a\\\\.\n\\\\.\nb\n" * 5 + b"\\.\n\n\n"

    def fail(what: str) -> None:
        raise AssertionError(what)

    pieces = (data[at : at + step] for at in range(0, len(data), step))
    assert b"".join(part.data for part in copy_rows(pieces, fail)) == data[:-5]  # type: ignore[arg-type]


def test_a_bomb_is_decoded_in_small_pieces() -> None:
    def fail(what: str) -> None:
        raise AssertionError(what)

    packed = zlib.compress(bytes(50_000_000))
    sizes = [len(piece) for piece in decode([packed], "gzip", fail, file=False)]  # type: ignore[arg-type]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 20


def test_a_large_object_is_written_in_pieces() -> None:
    content = bytes(range(256)) * 600
    entries = [*SETTINGS, entry(4, b"BLOBS", tag=b"BLOBS", data=True)]
    blocks = b"\3" + number(4) + number(-1294967296) + number(len(content)) + content + number(0) + number(0)
    found = [event.sql for event in events(archive(entries, blocks)) if isinstance(event, Statement)]
    start = found.index(b"BEGIN;")
    assert found[start + 1] == b"SELECT pg_catalog.lo_open('3000000000', 131072);"
    writes = found[start + 2 : -2]
    assert (
        bytes.fromhex(b"".join(one[len(b"SELECT pg_catalog.lowrite(0, '\\x") : -3] for one in writes).decode())
        == content
    )
    assert len(writes) == 3
    assert found[-2:] == [b"SELECT pg_catalog.lo_close(0);", b"COMMIT;"]


def test_privileges_and_owners_of_a_group_of_large_objects_are_repeated() -> None:
    entries = [
        *(entry(at, kind, definition) for at, kind, definition in [
            (1, b"ENCODING", b"SET client_encoding = 'UTF8';\n"),
            (2, b"STDSTRINGS", b"SET standard_conforming_strings = 'on';\n"),
        ]),
        entry(3, b"BLOB METADATA", b"7\n8\n", tag=b"7..8", owner=b"Me", drop=b"SELECT pg_catalog.lo_unlink(7);"),
        entry(5, b"ACL", b'REVOKE ALL ON LARGE OBJECT 7 FROM "a; LARGE OBJECT 1";\n'
              b"GRANT SELECT ON LARGE OBJECT 7 TO b;\n", tag=b"LARGE OBJECTS 7..8", needs=(3,)),
    ]  # fmt: skip
    found = [event.sql for event in events(archive(entries)) if isinstance(event, Statement) and event.entry]
    assert found[1:] == [
        b"SELECT pg_catalog.lo_create('7');",
        b"SELECT pg_catalog.lo_create('8');",
        b'ALTER LARGE OBJECT 7 OWNER TO "Me";',
        b'ALTER LARGE OBJECT 8 OWNER TO "Me";',
        b'REVOKE ALL ON LARGE OBJECT 7 FROM "a; LARGE OBJECT 1";',
        b'REVOKE ALL ON LARGE OBJECT 8 FROM "a; LARGE OBJECT 1";',
        b"GRANT SELECT ON LARGE OBJECT 7 TO b;",
        b"GRANT SELECT ON LARGE OBJECT 8 TO b;",
    ]
    assert found[0] == b"SET search_path = public, pg_catalog;"


def test_privileges_come_after_all_else_and_event_triggers_last() -> None:
    entries = [
        *SETTINGS,
        entry(4, b"EVENT TRIGGER", b"CREATE EVENT TRIGGER e;"),
        entry(5, b"COMMENT", b"COMMENT ON EVENT TRIGGER e IS 'x';", tag=b"EVENT TRIGGER e"),
        entry(6, b"MATERIALIZED VIEW DATA", b"REFRESH MATERIALIZED VIEW m;"),
        entry(7, b"ACL", b"GRANT SELECT ON t TO r;"),
        entry(8, b"DATABASE", b"CREATE DATABASE app;"),
        entry(10, b"ACL", b"GRANT ALL ON DATABASE app TO r;", tag=b"DATABASE app"),
        TABLE,
        entry(11, b"INDEX", b"CREATE INDEX i ON public.t USING btree (a);"),
    ]
    found = events(archive(entries, block(9, b"1\n\\.\n\n\n")))
    order = [event.sql.split()[:3] for event in found if isinstance(event, (Statement, CopyStart)) and event.entry]
    assert order == [
        [b"COPY", b"public.t", b"(a)"],
        [b"CREATE", b"INDEX", b"i"],
        [b"GRANT", b"SELECT", b"ON"],
        [b"CREATE", b"EVENT", b"TRIGGER"],
        [b"COMMENT", b"ON", b"EVENT"],
        [b"REFRESH", b"MATERIALIZED", b"VIEW"],
    ]


@pytest.mark.parametrize(
    ("name", "written"),
    [(b"pools", b"pools"), (b"order", b'"order"'), (b"My", b'"My"'), (b'a"b', b'"a""b"'), (b"name", b"name")],
)
def test_names_are_quoted_where_needed(name: bytes, written: bytes) -> None:
    assert identifier(name) == written


def test_an_archive_is_known_by_its_first_bytes() -> None:
    assert is_archive(stored("15.dump")[:5])
    assert not is_archive(b"--\n-- PostgreSQL database dump\n")


def test_a_copy_statement_may_hold_a_semicolon_in_a_name() -> None:
    table = entry(9, b"TABLE DATA", copy=b'COPY public."a;b" ("c;d") FROM stdin;\n', data=True)
    found = events(archive([*SETTINGS, table], block(9, b"\\.\n\n\n")))
    assert isinstance(found[-2], CopyStart)
    assert found[-2].sql == b'COPY public."a;b" ("c;d") FROM stdin;'
