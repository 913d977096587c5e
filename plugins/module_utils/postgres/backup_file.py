# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup on disk as a stream of decoded bytes. What it is decides its content, never its name."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

from ..errors import RollbackError
from . import inflate
from .dump import DamagedBackup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK = 1 << 20
GZIP = b"\x1f\x8b"
_OTHERS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"ustar": "tar",
}
_ACCEPTED = (
    "Accepted are the outputs of pg_dump: plain SQL and the custom format, each also in gzip, and the directory format."
)


class DecodedFile:
    """The decoded bytes of one file, read once, from its beginning to its end.

    ``read_bytes`` says how much of the file on disk was used, ``sha256`` its sum once all was read.
    """

    def __init__(self, path: Path, seen: Callable[[int], None] = lambda _bytes: None) -> None:
        """Open the file; ``seen`` is told how many of its bytes are used up.

        Raises ``RollbackError`` when it cannot be opened or has nothing in it.
        """
        try:
            self._file: BinaryIO = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise RollbackError(
                f"The backup {path} cannot be read: {error.strerror}.",
                "Give the path of a backup on the managed host that the user of Ansible may read.",
            ) from error
        self.path = path
        self._seen = seen
        self.read_bytes = 0
        self._sum = hashlib.sha256()
        head = self._file.read(512)
        self._file.seek(0)
        self.compression = "gzip" if head.startswith(GZIP) else "none"
        self._refuse(head)
        self._chunks = self._gunzip() if self.compression == "gzip" else iter(self._raw, b"")
        self._rest = b""

    def _refuse(self, head: bytes) -> None:
        if not head:
            self.close()
            raise self._damaged("is empty")
        for magic, name in _OTHERS.items():
            if head.startswith(magic) or (name == "tar" and head[257:262] == magic):
                self.close()
                raise RollbackError(f"The backup {self.path} is a {name} file. {_ACCEPTED}", "Decode it first.")

    def _damaged(self, what: str) -> DamagedBackup:
        return DamagedBackup(
            f"The backup {self.path} {what}.",
            "Choose another backup, or fetch this one again from where it was copied and compare the sums.",
            offset=self.read_bytes,
        )

    def _raw(self) -> bytes:
        try:
            data = self._file.read(CHUNK // 4)
        except OSError as error:
            raise self._damaged(f"cannot be read beyond byte {self.read_bytes}: {error.strerror}") from error
        self.read_bytes += len(data)
        self._sum.update(data)
        self._seen(self.read_bytes)
        return data

    def _gunzip(self) -> Iterator[bytes]:
        """Yield pieces of at most ``CHUNK`` bytes; several members may follow each other (RFC 1952, 2.2)."""
        data = self._raw()
        while data:
            if not data.startswith(GZIP[: len(data)]):
                raise self._damaged("has something behind its gzip data that is not gzip")
            decoder = inflate.decompressor(31)
            while not decoder.eof:
                try:
                    piece = decoder.decompress(data, CHUNK)
                except inflate.ERRORS as error:
                    raise self._damaged(f"is damaged, seen at byte {self.read_bytes}: {error}") from error
                if piece:
                    yield piece
                data = decoder.unconsumed_tail or (b"" if decoder.eof or len(piece) == CHUNK else self._raw())
                if not data and not piece and not decoder.eof:
                    raise self._damaged(f"is cut: its gzip data ends too early, at byte {self.read_bytes}")
            data = decoder.unused_data or self._raw()

    def chunks(self) -> Iterator[bytes]:
        """Yield the decoded bytes in pieces of at most a megabyte."""
        if self._rest:
            rest, self._rest = self._rest, b""
            yield rest
        yield from self._chunks

    def read(self, size: int) -> bytes:
        """Return exactly ``size`` decoded bytes, or fewer at the end."""
        while len(self._rest) < size:
            piece = next(self._chunks, b"")
            if not piece:
                break
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` decoded bytes without using them."""
        data = self.read(size)
        self._rest = data + self._rest
        return data

    @property
    def sha256(self) -> str:
        """The sum of the bytes on disk that were read so far."""
        return self._sum.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
