# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens a backup, whatever its format."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RollbackError
from .archive import ArchiveReader, DirectoryReader
from .backup_file import DecodedFile
from .script import ScriptReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .dump import Reader


@dataclass
class Backup:
    """An opened backup: its reader, its size on disk in bytes, and its sum once it was read to the end."""

    path: Path
    size: int
    reader: Reader
    _file: DecodedFile | None

    @property
    def sha256(self) -> str:
        """The sum of the bytes read so far; of a directory it is the sum of its table of contents."""
        return self._file.sha256 if self._file else ""


@contextmanager
def open_backup(path: str, seen: Callable[[int], None] = lambda _bytes: None) -> Iterator[Backup]:
    """Yield the backup at ``path``; ``seen`` is told how many bytes of the file are used up.

    Raises ``RollbackError`` when it cannot be read or is no output of pg_dump.
    """
    where = Path(path)
    if where.is_dir():
        yield _open_directory(where)
        return
    stream = DecodedFile(where, seen)
    try:
        reader = _choose(stream)
        reader.facts.compression = reader.facts.compression if stream.compression == "none" else stream.compression
        yield Backup(where, stream.size, reader, stream)
    finally:
        stream.close()


def _choose(stream: DecodedFile) -> Reader:
    if stream.peek(5) == b"PGDMP":
        return ArchiveReader(stream)
    return ScriptReader(stream.chunks())


def _open_directory(path: Path) -> Backup:
    if not (path / "toc.dat").is_file():
        raise RollbackError(
            f"The backup {path} is a directory without toc.dat, so it is not one that pg_dump made.",
            "Give the file of a backup, or the directory that pg_dump --format=directory made.",
        )
    size = sum(one.stat().st_size for one in path.iterdir())
    return Backup(path, size, DirectoryReader(path), None)
