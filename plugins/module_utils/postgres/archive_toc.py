# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header and table of contents of pg_dump's archives (src/bin/pg_dump/pg_backup_archiver.c, ReadHead and ReadToc).

An integer is a sign byte and its bytes, the lowest first; a string is its length and its bytes, length -1 for none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, Protocol

from ..errors import RollbackError
from .dump import DamagedBackup, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"PGDMP"
CUSTOM, TAR = 1, 3
ALGORITHMS = {0: "none", 1: "gzip", 2: "lz4", 3: "zstd"}
NEXT_STEP = "Choose another backup, or fetch this one again from where it was copied and compare the sums."

_BLOCK = 1 << 18
_PIECE = 1 << 20
_STRING_LIMIT = 1 << 28
_ENTRY_LIMIT = 10_000_000
_OLDEST, _NEWEST = (1, 12), (1, 16)
_NO_DATA = 3
_NULL = -1


class Stream(Protocol):
    """Bytes that can be read once; ``read`` returns nothing only at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""


class Source:
    """The bytes of an archive: forward only, counted, and never more in memory than what is there."""

    def __init__(self, stream: Stream, what: str = "The archive") -> None:
        """Begin at the stream's position; ``what`` names it in messages."""
        self._stream = stream
        self._what = what
        self._buffer = b""
        self._at = 0
        self._before = 0
        self.int_size = 4

    @property
    def offset(self) -> int:
        """How many bytes were used."""
        return self._before + self._at

    def fail(self, what: str) -> NoReturn:
        """Raise ``DamagedBackup`` with the place."""
        raise DamagedBackup(f"{self._what} {what} (byte {self.offset}).", NEXT_STEP, offset=self.offset)

    def _fill(self) -> bool:
        self._before += self._at
        more = self._stream.read(_BLOCK)
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return bool(more)

    def at_end(self) -> bool:
        """Say whether nothing follows."""
        return self._at == len(self._buffer) and not self._fill()

    def exactly(self, length: int) -> bytes:
        """Return the next ``length`` bytes; only for small lengths or those that were checked."""
        start, self._at = self._at, self._at + length
        if self._at <= len(self._buffer):
            return self._buffer[start : self._at]
        self._at = start
        return b"".join(self.pieces(length))

    def pieces(self, length: int) -> Iterator[bytes]:
        """Yield the next ``length`` bytes in pieces of at most a megabyte."""
        while length:
            if self._at == len(self._buffer) and not self._fill():
                self.fail("is cut: it ends too early")
            size = min(length, len(self._buffer) - self._at, _PIECE)
            piece = self._buffer[self._at : self._at + size]
            self._at += size
            length -= size
            yield piece

    def everything(self) -> Iterator[bytes]:
        """Yield what is left."""
        while not self.at_end():
            yield from self.pieces(len(self._buffer) - self._at)

    def byte(self) -> int:
        """Return the next byte as a number."""
        return self.exactly(1)[0]

    def integer(self) -> int:
        """Return the next signed integer."""
        data = self.exactly(self.int_size + 1)
        if data[0] > 1:
            self.fail("is damaged: a number has no valid sign")
        value = int.from_bytes(data[1:], "little")
        return -value if data[0] else value

    def text(self) -> bytes | None:
        """Return the next string, None for none."""
        length = self.integer()
        if length == _NULL:
            return None
        if not 0 <= length <= _STRING_LIMIT:
            self.fail(f"is damaged: a text of {length} bytes is announced")
        text = self.exactly(length)
        if b"\0" in text:
            self.fail("is damaged: a text holds zero bytes, as a lost block does")
        return text


@dataclass(frozen=True)
class Header:
    """What the archive says of itself."""

    version: tuple[int, int]
    offset_size: int
    format: int
    compression: str
    created_at: str
    database: str
    server_version: str
    pg_dump_version: str

    @property
    def server_major(self) -> int:
        """The major version of the server that was dumped; 0 when it is not said."""
        match = re.match(r"\d{1,4}", self.server_version)
        return int(match.group()) if match else 0


@dataclass(frozen=True)
class TocEntry:
    """One entry of the table of contents, as it is stored."""

    number: int
    has_data: bool
    tag: bytes
    kind: bytes
    section: int
    definition: bytes
    drop: bytes
    copy: bytes
    schema: bytes
    tablespace: bytes | None
    access_method: bytes | None
    relation_kind: int
    owner: bytes
    dependencies: tuple[int, ...]
    file: bytes
    entry: Entry = field(compare=False)


def read_header(source: Source, expected_format: int) -> Header:
    """Read the header; raise ``RollbackError`` for a version or format that is not read."""
    if source.exactly(len(MAGIC)) != MAGIC:
        source.fail("does not begin as an archive of pg_dump does")
    version = (source.byte(), source.byte())
    source.byte()  # the revision says nothing about the layout
    _check_version(version)
    source.int_size, offset_size, found = source.byte(), source.byte(), source.byte()
    if source.int_size not in (4, 8) or offset_size not in (4, 8):
        source.fail("is damaged: its size of numbers is impossible")
    _check_format(source, found, expected_format)
    algorithm = source.byte() if version >= (1, 15) else int(source.integer() != 0)
    if algorithm not in ALGORITHMS:
        source.fail(f"is damaged: compression {algorithm} does not exist")
    created_at = _moment(source)
    names = [(source.text() or b"").decode("utf-8", "replace") for _number in range(3)]
    return Header(version, offset_size, found, ALGORITHMS[algorithm], created_at, *names)


def _check_version(version: tuple[int, int]) -> None:
    shown = f"{version[0]}.{version[1]}"
    if version > _NEWEST:
        raise RollbackError(
            f"The archive has format version {shown}: it was made by a newer pg_dump than is known here (up to 1.16).",
            "Make the dump in the plain format (pg_dump --format=plain), or update this collection.",
        )
    if version < _OLDEST:
        raise RollbackError(
            f"The archive has format version {shown}: it was made by a pg_dump older than 9.0.",
            "Make the dump in the plain format with the pg_dump of that server (pg_dump --format=plain).",
        )


def _check_format(source: Source, found: int, expected: int) -> None:
    if found == expected:
        return
    if found == TAR:
        raise RollbackError(
            "The archive has pg_dump's tar format, or is the toc.dat of a directory. Accepted are the plain, the "
            "custom and the directory format.",
            "Give the directory itself, or make the dump with pg_dump --format=custom.",
        )
    source.fail(f"is damaged: format {found} does not exist here")


def _moment(source: Source) -> str:
    second, minute, hour, day, month, year, _summer_time = (source.integer() for _number in range(7))
    try:
        return datetime(year + 1900, month + 1, day, hour, minute, min(second, 59)).isoformat()  # noqa: DTZ001 - local
    except (ValueError, OverflowError):
        return source.fail("is damaged: its moment of creation is no date")


def read_toc(source: Source, header: Header, *, files: bool) -> list[TocEntry]:
    """Read all entries; ``files`` for the directory format, whose entries name a file instead of an offset."""
    count = source.integer()
    if not 0 <= count <= _ENTRY_LIMIT:
        source.fail(f"is damaged: a table of contents of {count} entries is announced")
    entries: list[TocEntry] = []
    seen: set[int] = set()
    for _number in range(count):
        entry = _read_entry(source, header, files=files)
        if entry.number in seen or entry.number <= 0:
            source.fail(f"is damaged: the number {entry.number} of an entry is impossible")
        seen.add(entry.number)
        entries.append(entry)
    return entries


def _read_entry(source: Source, header: Header, *, files: bool) -> TocEntry:
    number, dumper = source.integer(), source.integer()
    source.text(), source.text()  # catalog and object numbers of the old server
    tag, kind = source.text(), source.text()
    section = source.integer()
    if tag is None or not kind or section not in (1, 2, 3, 4) or dumper not in (0, 1):
        source.fail("is damaged: an entry of its table of contents is impossible")
    definition, drop, copy, schema = (source.text() or b"" for _number in range(4))
    tablespace = source.text()
    access_method = source.text() if header.version >= (1, 14) else None
    relation_kind = source.integer() if header.version >= (1, 16) else 0
    owner = source.text() or b""
    source.text()  # WITH OIDS, which no supported server knows
    dependencies = tuple(_dependencies(source))
    file, has_data = _location(source, header, files=files)
    names = (part.decode("utf-8", "surrogateescape") for part in (tag, kind, schema, owner))
    return TocEntry(
        number, bool(dumper) and has_data, tag, kind, section, definition, drop, copy, schema, tablespace,
        access_method, relation_kind, owner, dependencies, file, Entry(*names),
    )  # fmt: skip


def _dependencies(source: Source) -> Iterator[int]:
    while (number := source.text()) is not None:
        if not number.isdigit():
            source.fail("is damaged: a dependency is no number")
        yield int(number[:20])


def _location(source: Source, header: Header, *, files: bool) -> tuple[bytes, bool]:
    """Return the file of the entry's data and whether there is data."""
    if files:
        name = source.text() or b""
        return name, bool(name)
    flag = source.byte()
    if flag not in (1, 2, _NO_DATA):
        source.fail("is damaged: the place of an entry's data is impossible")
    source.exactly(header.offset_size)
    return b"", flag != _NO_DATA
