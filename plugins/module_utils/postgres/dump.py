# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dump consists of, whatever its format: facts about it, and a stream of events in the order of the dump.

Readers (``script.py`` for plain SQL, ``archive.py`` for the custom and the directory format) give the same events,
so that one loader and one verification serve all of them. Everything is bytes in the encoding that the dump states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Union

from ..errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Entry:
    """One entry of the dump's table of contents, with the words that pg_dump uses for it."""

    name: str
    """The tag: ``pools``, ``pools pools_pkey``, ``total(integer)``."""
    kind: str
    """The description: ``TABLE``, ``TABLE DATA``, ``INDEX``, ``FK CONSTRAINT``, ``SEQUENCE SET``, ..."""
    schema: str
    """The schema; empty for an object outside schemas (pg_dump writes ``-``)."""
    owner: str
    """The owner; empty when there is none or the dump does not say it (``--no-owner``)."""


@dataclass(frozen=True)
class Statement:
    """One SQL statement, without its final semicolon's line end."""

    sql: bytes
    entry: Entry | None


@dataclass(frozen=True)
class CopyStart:
    """A ``COPY table (columns) FROM stdin`` begins; ``CopyRows`` follow, and one ``CopyEnd``."""

    sql: bytes
    entry: Entry | None


@dataclass(frozen=True)
class CopyRows:
    """Whole lines of COPY text format, about a megabyte; one line is one row."""

    data: bytes


@dataclass(frozen=True)
class CopyEnd:
    """The COPY was closed properly; ``rows`` is how many lines it held."""

    rows: int


Event = Union[Statement, CopyStart, CopyRows, CopyEnd]


@dataclass
class DumpFacts:
    """What a dump says of itself. Filled while it is read; the header's facts are there before the first event."""

    format: str = ""
    """``plain``, ``custom`` or ``directory``."""
    compression: str = "none"
    """Of the file or of the blocks inside: ``none``, ``gzip``, ..."""
    database: str = ""
    """The database that was dumped; a plain dump does not say it."""
    server_version: str = ""
    """``Dumped from database version``, for example ``15.18``."""
    pg_dump_version: str = ""
    created_at: str = ""
    """When the dump was begun, local time of the host that made it, ISO 8601 without zone; a plain dump says it only
    with ``--verbose``."""
    complete: bool = False
    """Whether the end was seen: the trailer of a plain dump, the last block of every entry of an archive."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows per table (``schema.table``) in the COPY blocks seen so far."""


class Reader(Protocol):
    """A dump that can be read once, from its beginning to its end."""

    facts: DumpFacts

    def events(self) -> Iterator[Event]:
        """Yield the events; raise ``DamagedBackup`` where the dump is not whole."""


class DamagedBackup(RollbackError):  # noqa: N818 - it is the backup that is at fault, not the code
    """The backup is cut, altered or not one at all. Facts: ``offset`` in bytes of SQL text where it was noticed."""
