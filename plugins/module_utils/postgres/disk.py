# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk of the server: a full one would stop the live database too."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..docker_client import connect as connect_docker
from ..errors import RollbackError
from ..project import API_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds between two looks; a look into a container takes some tenths of one.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
_FASTEST = 1e9  # bytes per second that no load writes


@dataclass(frozen=True)
class Room:
    """Bytes on the file system of a directory."""

    free: int
    total: int


class Disk:
    """What a restore writes to, in a container, on this host, or somewhere that cannot be looked at.

    ``directories`` are where the side database is put and where the server keeps its log (WAL). A full disk under the
    first ends the load, under the second it ends the server.
    """

    def __init__(self, container: str, directories: list[str], *, local: bool, docker_host: str | None = None) -> None:
        """``local`` says that the server runs on this host, outside a container."""
        self._directories = list(dict.fromkeys(one for one in directories if one))
        self._local = local
        self._container: Any = connect_docker(docker_host).containers.get(container) if container else None

    def room(self, directory: str) -> Room | None:
        """Return the room; nothing when it cannot be known."""
        if self._container is not None:
            try:
                return _room_in(self._container, directory)
            except API_ERRORS:  # not known now; the load itself will notice a server that is gone
                return None
        if not self._local:
            return None
        try:
            facts = os.statvfs(directory)
        except OSError:  # a container with a published port, or no right to look
            return None
        return Room(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)

    def refuse_below(self, needed: int) -> list[str]:
        """Refuse when less than ``needed`` bytes are free for a database; return a warning when that is not known."""
        directory = self._directories[0] if self._directories else ""
        room = self.room(directory) if directory else None
        if room is None:
            return [f"The free disk space of the server is not known from here; about {_megabytes(needed)} are needed."]
        if room.free < needed:
            raise RollbackError(
                f"The server has {_megabytes(room.free)} of disk left in {directory}; a database beside the live "
                f"one needs about {_megabytes(needed)}. Nothing was changed.",
                "Free space, drop kept databases with state=cleaned, or lower min_free_ratio.",
                free_bytes=room.free, needed_bytes=needed,
            )  # fmt: skip
        return []

    @contextmanager
    def watched(self, give_up: Callable[[RollbackError], None]) -> Iterator[None]:
        """Look again and again while the block runs; call ``give_up``, from another thread, before a disk is full.

        It is called again with every look until the block ends: indexes are built long after the backup was read, and
        one call may come between two statements.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended, give_up), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event, give_up: Callable[[RollbackError], None]) -> None:
        before: dict[str, int] = {}
        pause = 0.0
        while not ended.wait(pause):
            pause = _LONGEST_PAUSE
            for directory in self._directories:
                room = self.room(directory)
                if room is None:
                    continue
                used = max(0, before.get(directory, room.free) - room.free)
                before[directory] = room.free
                spare = room.free - min(1 << 30, room.total // 20)
                if spare < 2 * used:  # the next look may come too late
                    give_up(_nearly_full(directory, room))
                pause = min(pause, max(_SHORTEST_PAUSE, spare / _FASTEST))


def _nearly_full(directory: str, room: Room) -> RollbackError:
    return RollbackError(
        f"The load was given up: only {_megabytes(room.free)} of disk are left on the server in {directory}.",
        "Free space, or drop kept databases with state=cleaned, then run again.",
        free_bytes=room.free,
    )


def _room_in(container: Any, directory: str) -> Room | None:
    code, output = container.exec_run(["df", "-P", "-k", directory])
    fields = output.decode("utf-8", "replace").splitlines()[-1].split() if code == 0 else []
    numbers = [field for field in fields if field.isdigit()]
    if len(numbers) < 3:  # noqa: PLR2004 - blocks, used, available
        return None
    return Room(int(numbers[2]) * 1024, int(numbers[0]) * 1024)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
