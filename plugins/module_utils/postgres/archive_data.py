# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of an archive's entries: decoded with bounded memory, proved to be whole, cut into rows.

``fail`` is called with what is wrong and raises ``DamagedBackup``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from . import inflate
from .dump import CopyRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import NoReturn

    Fail = Callable[[str], NoReturn]

PIECE = 1 << 20
# A row of COPY text is at most 1 GiB in Postgres.
LINE_LIMIT = (1 << 30) + PIECE
_STEP = 4096
_END = b"\\.\n"
_ZLIB, _GZIP_FILE = 15, 31


def decode(pieces: Iterable[bytes], algorithm: str, fail: Fail, *, file: bool) -> Iterator[bytes]:
    """Yield decoded pieces; fail where the compressed data is damaged, not ended, or followed by something.

    ``file`` is for the files of a directory, where gzip has its own header. No bytes at all are no data: pg_dump begins
    the compression with the first byte that it writes.
    """
    if algorithm == "none":
        yield from pieces
        return
    decoder = _decoder(algorithm, file=file)
    started = False
    for piece in pieces:
        if not piece:
            continue
        started = True
        if decoder.ended:
            fail("is damaged: something follows the end of compressed data")
        try:
            yield from decoder.feed(piece)
        except decoder.errors as error:
            fail(f"is damaged: its {algorithm} data cannot be decoded: {error}")
        if decoder.rest():
            fail("is damaged: something follows the end of compressed data")
    if (started or (file and algorithm == "gzip")) and not decoder.ended:
        fail(f"is cut: its {algorithm} data has no end")


class _Zlib:
    errors = inflate.ERRORS

    def __init__(self, window: int) -> None:
        self._stream = inflate.decompressor(window)

    @property
    def ended(self) -> bool:
        return bool(self._stream.eof)

    def rest(self) -> bytes:
        return bytes(self._stream.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(data, PIECE)
            data = self._stream.unconsumed_tail
            if piece:
                yield piece
            if self._stream.eof or (not data and len(piece) < PIECE):
                return


class _Lz4:
    def __init__(self, library: Any) -> None:
        self.errors: tuple[type[Exception], ...] = (RuntimeError, EOFError, ValueError)
        self._stream = library.LZ4FrameDecompressor()

    @property
    def ended(self) -> bool:
        return bool(self._stream.eof)

    def rest(self) -> bytes:
        return bytes(self._stream.unused_data or b"") if self.ended else b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(data, PIECE)
            data = b""
            if piece:
                yield piece
            if self._stream.eof or self._stream.needs_input:
                return


class _Zstd:
    """Fed in small steps: this library has no limit on what one step gives."""

    def __init__(self, library: Any) -> None:
        self.errors: tuple[type[Exception], ...] = (library.ZstdError,)
        self._stream = library.ZstdDecompressor().decompressobj()
        self._rest = b""

    @property
    def ended(self) -> bool:
        return bool(self._stream.eof)

    def rest(self) -> bytes:
        return self._rest or bytes(self._stream.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _STEP):
            if self._stream.eof:
                self._rest = data[start:]
                return
            yield self._stream.decompress(data[start : start + _STEP])


def _decoder(algorithm: str, *, file: bool) -> _Zlib | _Lz4 | _Zstd:
    if algorithm == "gzip":
        return _Zlib(_GZIP_FILE if file else _ZLIB)
    if algorithm == "lz4":
        return _Lz4(_library("lz4.frame", "lz4", "python3-lz4", algorithm))
    return _Zstd(_library("zstandard", "zstandard", "python3-zstandard", algorithm))


def need_library(algorithm: str) -> None:
    """Raise ``RollbackError`` when the Python library for this compression is missing."""
    if algorithm in ("lz4", "zstd"):
        _decoder(algorithm, file=False)


def _library(module: str, package: str, debian: str, algorithm: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RollbackError(
            f"The archive is compressed with {algorithm}, and the Python library {package} is not installed.",
            f"Install it on the managed host (pip install {package}, or apt install {debian}), or make the dump with "
            "--compress=gzip.",
        ) from error


def copy_rows(pieces: Iterable[bytes], fail: Fail) -> Iterator[CopyRows]:
    r"""Yield whole lines of about a megabyte; the last line ``\.`` must be there and is left out."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size < PIECE:
            continue
        if size > LINE_LIMIT:
            fail("is damaged: a row is longer than a row can be")
        if b"\n" not in piece:
            continue
        data = b"".join(waiting)
        end = data.rfind(b"\n", 0, len(data) - len(_END) - 5) + 1  # the closing and its blank lines stay together
        if end:
            yield _rows(data[:end], fail)
        waiting, size = [data[end:]], len(data) - end
    last = _before_closing(b"".join(waiting), fail)
    if last:
        yield _rows(last, fail)


def _rows(lines: bytes, fail: Fail) -> CopyRows:
    if lines.startswith(_END) or b"\n" + _END in lines:
        fail("is damaged: something follows the closing line of rows")
    if b"\0" in lines:
        fail("is damaged: rows hold zero bytes, as a lost block does")
    return CopyRows(lines)


def _before_closing(data: bytes, fail: Fail) -> bytes:
    r"""Return the lines before ``\.``; it must be there, with nothing but blank lines behind it."""
    body = data.rstrip(b"\n") + b"\n"
    if not (data.endswith(b"\n") and (body == _END or body.endswith(b"\n" + _END))):
        fail("is cut: rows have no closing line")
    return body[: -len(_END)]


def insert_text(pieces: Iterable[bytes], fail: Fail) -> Iterator[bytes]:
    """Pass the text of INSERT statements on; pg_dump ends it with an empty line, which is the proof of its end."""
    tail = b""
    for piece in pieces:
        tail = (tail + piece[-2:])[-2:]
        yield piece
    if tail != b"\n\n":
        fail("is cut: the rows of a table have no end")


def cut(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in pieces of ``size``, the last one shorter."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)
