# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that a container has changed since its image, as one archive, streamed from the daemon."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from . import docker_api
from .archive import Archive
from .item import CHUNK, CUT, REFUSED, TAKEN, NotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.client import DockerClient

_LIST_LIMIT = 64 << 20  # bytes of a list of changes; half a million paths
_DELETED = 2
_GO_DIRECTORY = 1 << 31  # os.ModeDir of Go, in which the daemon writes modes
_KINDS = {0: "changed", 1: "added", 2: "deleted"}


def changed_files(client: DockerClient, container: str, limit: int) -> Iterator[bytes]:
    """Give an archive of at most about ``limit`` bytes. Of a directory only the index tells."""
    archive = Archive(limit)
    changes = _changes(client, container)
    parents = {path.rpartition("/")[0] for path, _kind in changes}
    for path, kind in changes:
        name = _KINDS.get(kind, str(kind))
        if kind == _DELETED or path in parents:
            archive.note(path, "listed", change=name)
            continue
        try:
            yield from _one(client, container, archive, path, name)
        except NotTaken as lack:  # gone since, or nothing that can be archived, such as a socket
            archive.note(path, lack.verdict, lack.why, change=name)
    yield from archive.end()


def _changes(client: DockerClient, container: str) -> list[tuple[str, int]]:
    """Return the changed paths, each with the kind of its change."""
    content = bytearray()
    for chunk in docker_api.chunks(client, f"/containers/{container}/changes", {}):
        content += chunk
        if len(content) > _LIST_LIMIT:
            raise NotTaken(REFUSED, "more files were changed than can be listed; take file_systems instead")
    return [(str(one["Path"]), int(one["Kind"])) for one in json.loads(content) or []]


def _one(client: DockerClient, container: str, archive: Archive, path: str, change: str) -> Iterator[bytes]:
    """Give the member of one path."""
    with docker_api.answer(client, f"/containers/{container}/archive", {"path": path}) as got:
        if _is_directory(got.headers.get("X-Docker-Container-Path-Stat", "")):
            archive.note(path, "listed", "a directory", change=change)
            return
        try:
            with tarfile.open(fileobj=_Body(got.iter_content(CHUNK)), mode="r|") as given:
                member = given.next()
                if member is None:
                    raise NotTaken(REFUSED, "Docker gives an empty archive")
                if not archive.fits(member):
                    raise NotTaken(CUT, f"its {member.size} bytes are more than the limit leaves")
                data = given.extractfile(member) if member.isreg() else None
                pieces = iter(lambda: data.read(CHUNK), b"") if data else iter(())
                why = yield from archive.member(path, member, pieces)
        except tarfile.TarError as error:
            raise NotTaken(REFUSED, f"Docker gives a damaged archive: {error}") from error
    archive.note(path, CUT if why else TAKEN, why, change=change, bytes=member.size)


def _is_directory(header: str) -> bool:
    """Read what the daemon says of a path: base64 of JSON. What cannot be read is taken for a file."""
    try:
        return bool(int(json.loads(base64.b64decode(header))["mode"]) & _GO_DIRECTORY)
    except (ValueError, KeyError, TypeError):
        return False


class _Body(io.RawIOBase):
    """The body of an answer as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a writable buffer
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)
