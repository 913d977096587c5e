# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Readers of pg_dump's archives: the custom format, read forward only, and the directory format.

The events are what ``pg_restore --file=-`` writes as SQL, without psql commands (pg_backup_archiver.c,
pg_backup_custom.c, pg_backup_directory.c). An archive is whole when every entry that has data brought it to its end:
rows to the line ``\.``, INSERT statements to their empty line, compressed data to its end and its sum, every large
object that is created to its content. Only the length of a large object in a directory without compression is said
nowhere, so it cannot be proved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO

from ..errors import RollbackError
from .archive_data import PIECE, copy_rows, cut, decode, insert_text, need_library
from .archive_sql import Script, passes
from .archive_toc import CUSTOM, MAGIC, NEXT_STEP, TAR, Source, read_header, read_toc
from .dump import CopyEnd, CopyStart, DamagedBackup, DumpFacts, Statement
from .script import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import NoReturn

    from .archive_toc import Header, Stream, TocEntry
    from .dump import Event

_DATA_BLOCK, _LARGE_OBJECT_BLOCK = 1, 3
_LARGE_OBJECT_PIECE = 1 << 16
_WRITE = 0x20000
_GATHERED = 1 << 16
_COPY = re.compile(rb"COPY\s.*\sFROM\s+stdin\s*;", re.IGNORECASE | re.DOTALL)
_SUFFIXES = {"": "none", ".gz": "gzip", ".lz4": "lz4", ".zst": "zstd"}
_FILE_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LARGE_OBJECT_LINE = re.compile(rb"(\d{1,10}) (" + _FILE_NAME.pattern + rb")\n")


def is_archive(head: bytes) -> bool:
    """Say whether the first bytes are those of an archive in the custom format."""
    return head.startswith(MAGIC)


class _Archive:
    """What both formats share: entries become statements and rows in pg_restore's order."""

    facts: DumpFacts
    _source: Source
    _header: Header
    _script: Script
    _loaded: set[bytes]

    def _open(self, expected_format: int) -> list[TocEntry]:
        header = read_header(self._source, expected_format)
        facts = self.facts
        # A file that is compressed as a whole keeps the name of that compression.
        facts.compression = header.compression if facts.compression == "none" else facts.compression
        facts.database, facts.created_at = header.database, header.created_at
        facts.server_version = header.server_version.split(" ")[0]
        facts.pg_dump_version = header.pg_dump_version.split(" ")[0]
        self._header = header
        toc = read_toc(self._source, header, files=expected_format == TAR)
        self._script = Script(header, toc)
        self._loaded = set()
        return toc

    def _all(self, toc: list[TocEntry]) -> Iterator[Event]:
        main, later = passes(toc)
        yield from self._split([self._script.settings()], None)
        for entry in main:
            yield from self._split([self._script.entry(entry)], entry)
            if entry.has_data:
                yield from self._data(entry)
        self._prove(toc)
        for entry in later:
            yield from self._split([self._script.entry(entry)], entry)
        self.facts.complete = True

    def _split(self, text: Iterable[bytes], entry: TocEntry | None) -> Iterator[Statement]:
        of = entry.entry if entry else None
        for sql in statements(text, backslash_strings=self._script.backslash_strings):
            yield Statement(sql, of)

    def _data(self, entry: TocEntry) -> Iterator[Event]:
        raise NotImplementedError

    def _prove(self, toc: list[TocEntry]) -> None:
        """Check what is only known once all data was read."""
        if any(entry.kind == b"BLOBS" and entry.has_data for entry in toc):
            missing = sorted(self._script.created_large_objects() - self._loaded)
            if missing:
                self._source.fail(f"is damaged: large object {missing[0].decode()} has no content")

    def _table(self, entry: TocEntry, pieces: Iterable[bytes], fail: _Fail) -> Iterator[Event]:
        if not entry.copy:
            yield from self._split(insert_text(pieces, fail), entry)
            return
        sql = entry.copy.rstrip()
        if not _COPY.fullmatch(sql):
            fail("is damaged: the COPY statement of an entry cannot be read")
        yield CopyStart(sql, entry.entry)
        rows = 0
        for event in copy_rows(pieces, fail):
            rows += event.data.count(b"\n")
            yield event
        name = f"{entry.entry.schema}.{entry.entry.name}"
        self.facts.rows[name] = self.facts.rows.get(name, 0) + rows
        yield CopyEnd(rows)

    def _large_object(self, entry: TocEntry, number: bytes, pieces: Iterable[bytes]) -> Iterator[Statement]:
        def statement(sql: bytes) -> Statement:
            return Statement(b"SELECT pg_catalog." + sql + b";", entry.entry)

        slash = b"\\\\x" if self._script.backslash_strings else b"\\x"
        yield statement(b"lo_open('" + number + b"', " + str(_WRITE).encode() + b")")
        for piece in cut(pieces, _LARGE_OBJECT_PIECE):
            yield statement(b"lowrite(0, '" + slash + piece.hex().encode() + b"')")
        yield statement(b"lo_close(0)")
        self._loaded.add(number)


class _Fail:
    """Says what is wrong with the data of one entry."""

    def __init__(self, source: Source, where: str) -> None:
        self._source = source
        self._where = where

    def __call__(self, what: str) -> NoReturn:
        self._source.fail(f"{what} ({self._where})")


class ArchiveReader(_Archive):
    """The events of an archive in the custom format, from a stream that can be read once."""

    def __init__(self, stream: Stream) -> None:
        """Begin before the first byte of the archive."""
        self.facts = DumpFacts(format="custom")
        self._source = Source(stream)

    def events(self) -> Iterator[Event]:
        """Yield statements and rows in pg_restore's order; raise ``DamagedBackup`` when the archive is not whole."""
        toc = self._open(CUSTOM)
        if any(entry.has_data for entry in toc):
            need_library(self._header.compression)
        yield from self._all(toc)

    def _prove(self, toc: list[TocEntry]) -> None:
        super()._prove(toc)
        # pg_dump writes the table of contents again, with the places of the data. Since 16 it opens its standard output
        # for appending: then "pg_dump -Fc > file" leaves the second one at the end.
        if not self._source.at_end() and not (self._same_toc(toc) and self._source.at_end()):
            self._source.fail("is damaged: something follows its end")

    def _same_toc(self, toc: list[TocEntry]) -> bool:
        return read_toc(self._source, self._header, files=False) == toc

    def _data(self, entry: TocEntry) -> Iterator[Event]:
        """Read the block of this entry: pg_dump writes the blocks in the order of the table of contents."""
        fail = _Fail(self._source, f"data of {entry.entry.name}")
        block, number = self._source.byte(), self._source.integer()
        if number != entry.number:
            fail(f"is damaged: the data of entry {number} stands where that of entry {entry.number} must be")
        if block == _LARGE_OBJECT_BLOCK:
            yield from self._large_objects(entry, fail)
        elif block == _DATA_BLOCK:
            yield from self._table(entry, decode(self._chunks(), self._header.compression, fail, file=False), fail)
        else:
            fail(f"is damaged: a block of kind {block} does not exist")

    def _large_objects(self, entry: TocEntry, fail: _Fail) -> Iterator[Event]:
        yield Statement(b"BEGIN;", entry.entry)
        # Numbers above 2^31 are written as negative ones.
        while number := self._source.integer() & 0xFFFFFFFF:
            content = decode(self._chunks(), self._header.compression, fail, file=False)
            yield from self._large_object(entry, str(number).encode(), content)
        yield Statement(b"COMMIT;", entry.entry)

    def _chunks(self) -> Iterator[bytes]:
        """Yield the content of a block. It may come row by row, so that small chunks are gathered."""
        source = self._source
        gathered: list[bytes] = []
        size = 0
        while length := source.integer():
            if length < 0:
                source.fail(f"is damaged: a piece of {length} bytes is announced")
            for piece in source.pieces(length):
                gathered.append(piece)
                size += len(piece)
                if size >= _GATHERED:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)


class DirectoryReader(_Archive):
    """The events of an archive in the directory format."""

    def __init__(self, path: Path) -> None:
        """Begin before the first byte of the table of contents."""
        self.facts = DumpFacts(format="directory")
        self._path = path

    def events(self) -> Iterator[Event]:
        """Yield statements and rows in pg_restore's order; raise ``DamagedBackup`` when the archive is not whole."""
        with _opened(self._path / "toc.dat") as file:
            self._source = Source(_File(file), f"The table of contents {self._path / 'toc.dat'}")
            toc = self._open(TAR)
            if not self._source.at_end():
                self._source.fail("is damaged: something follows its end")
        for entry in toc:
            if entry.has_data:
                need_library(self._find(entry.file)[1])
        yield from self._all(toc)

    def _data(self, entry: TocEntry) -> Iterator[Event]:
        if entry.kind == b"BLOBS":
            yield from self._large_objects(entry)
            return
        path, algorithm = self._find(entry.file)
        with _opened(path) as file:
            source = Source(_File(file), f"The file {path} of the archive")
            fail = _Fail(source, f"data of {entry.entry.name}")
            yield from self._table(entry, decode(source.everything(), algorithm, fail, file=True), fail)

    def _find(self, name: bytes) -> tuple[Path, str]:
        """Return the file of this name and its compression."""
        if not _FILE_NAME.fullmatch(name):
            raise DamagedBackup(f"The archive {self._path} names a file that cannot be: {name!r}.", NEXT_STEP)
        plain = self._path / name.decode("ascii")
        for suffix, algorithm in _SUFFIXES.items():
            path = plain.with_name(plain.name + suffix)
            if path.is_file():
                return path, algorithm
        raise DamagedBackup(f"The archive is not whole: its file {plain} is missing.", NEXT_STEP)

    def _large_objects(self, entry: TocEntry) -> Iterator[Event]:
        yield Statement(b"BEGIN;", entry.entry)
        path, algorithm = self._find(entry.file)
        with _opened(path) as file:
            source = Source(_File(file), f"The list of large objects {path}")
            lines = decode(source.everything(), algorithm, source.fail, file=True)
            for line in _lines(lines):
                match = _LARGE_OBJECT_LINE.fullmatch(line)
                if not match:
                    source.fail("is damaged: a line is not a number and a file")
                yield from self._one_large_object(entry, *match.groups())
        yield Statement(b"COMMIT;", entry.entry)

    def _one_large_object(self, entry: TocEntry, number: bytes, name: bytes) -> Iterator[Event]:
        path, algorithm = self._find(name)
        with _opened(path) as file:
            source = Source(_File(file), f"The file {path} of the archive")
            yield from self._large_object(entry, number, decode(source.everything(), algorithm, source.fail, file=True))


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) > PIECE:
            break
    if rest:
        yield rest


class _File:
    """A file whose errors say what to do."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int, /) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise _unreadable(self._file.name, error) from error


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _unreadable(path: str, error: OSError) -> RollbackError:
    return RollbackError(
        f"The file {path} of the archive cannot be read: {error.strerror}.",
        "Make the archive readable for the user of Ansible on the managed host.",
    )
