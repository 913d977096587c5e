# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tar archive as a stream, made member by member, with an index of what is in it and of what is not."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING, Any

from .item import json_line

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

INDEX = "index.jsonl"
_BLOCK = 512


class Archive:
    """An archive that stays below a limit: what is larger than the room left is named in the index and left out.

    Members lie below ``files/``, the index is the last member.
    """

    def __init__(self, limit: int) -> None:
        """Begin an archive of about so many bytes."""
        self._left = limit
        self._index: list[dict[str, Any]] = []

    def note(self, path: str, verdict: str, why: str = "", **facts: Any) -> None:  # noqa: ANN401 - JSON values
        """Put a line into the index."""
        self._index.append({"path": path, "verdict": verdict, "why": why, **facts})

    def fits(self, member: tarfile.TarInfo) -> bool:
        """Tell whether there is room for a member."""
        return member.size <= self._left

    def member(self, path: str, member: tarfile.TarInfo, data: Iterable[bytes]) -> Generator[bytes, None, str]:
        """Give the bytes of a member, and return why its data broke off, if it did; the rest is filled with zeros."""
        head = _plain(f"files/{path.lstrip('/')}", member).tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self._left -= member.size + len(head)
        yield head
        left, why = member.size, ""
        try:
            for chunk in data:
                yield chunk[:left]
                left -= min(left, len(chunk))
        except (OSError, tarfile.TarError) as error:
            why = str(error)
        yield from _zeros(left + -member.size % _BLOCK)
        return why or (f"it ended {left} bytes early" if left else "")

    def end(self) -> Iterator[bytes]:
        """Give the index and the end of the archive."""
        content = b"".join(json_line(line) for line in self._index)
        member = tarfile.TarInfo(INDEX)
        member.size, member.mode = len(content), 0o600
        yield member.tobuf(tarfile.PAX_FORMAT)
        yield content
        yield bytes(-len(content) % _BLOCK + 2 * _BLOCK)


def _plain(name: str, member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member under another name, without extended headers, which would name it as before."""
    copy = tarfile.TarInfo(name)
    for key in ("size", "mode", "uid", "gid", "uname", "gname", "mtime", "type", "linkname", "devmajor", "devminor"):
        setattr(copy, key, getattr(member, key))
    return copy


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, 1 << 16))
        count -= 1 << 16
