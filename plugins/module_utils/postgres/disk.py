# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk of the server: a full one would stop the live database too."""

from __future__ import annotations

import math
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
_UNSEEN = 8 << 20  # bytes that may be sent before the first look
# Bytes written per byte sent: a row of wide text is written once to its table and once to the log, one with a small
# number takes more than ten times its text (https://www.postgresql.org/docs/current/storage-page-layout.html).
_GUESSED_GROWTH, _LEAST_GROWTH = 16.0, 2.0
# Images of Postgres name the directory in PGDATA; the lock file says that a server runs there.
_DATA_DIRECTORY = 'test -f "$PGDATA/postmaster.pid" && printf %s "$PGDATA"'


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
        self.directories = list(dict.fromkeys(one for one in directories if one))
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
        directory = self.directories[0] if self.directories else ""
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
    def watched(self, give_up: Callable[[RollbackError], None]) -> Iterator[Callable[[int], None]]:
        """Look again and again while the block runs; call ``give_up``, from another thread, before a disk is full.

        It is called again with every look until the block ends: indexes are built long after the backup was read, and
        one call may come between two statements.

        Gives a function to call with a number of bytes before so many are sent to the server. It waits for the next
        look when more would be sent than the last one found safe: however fast a load is, no disk fills unseen.
        """
        watch = _Watch(self, give_up)
        thread = threading.Thread(target=watch.run, daemon=True)
        thread.start()
        try:
            yield watch.before_sending
        finally:
            watch.end()
            thread.join()


class _Watch:
    """Looks at the disks when it is time, or when much was sent since the last look."""

    def __init__(self, disk: Disk, give_up: Callable[[RollbackError], None]) -> None:
        self._disk = disk
        self._give_up = give_up
        self._change = threading.Condition()
        self._ended = False
        self._sent = 0  # bytes since the last look
        self._allowed: float = _UNSEEN
        self._before: dict[str, int] = {}
        self._growth = _GUESSED_GROWTH

    def before_sending(self, size: int) -> None:
        with self._change:
            self._sent += size
            self._change.notify_all()
            self._change.wait_for(lambda: self._sent <= self._allowed or self._ended)

    def end(self) -> None:
        with self._change:
            self._ended = True
            self._change.notify_all()

    def run(self) -> None:
        pause = 0.0
        while not self._is_over(pause):
            with self._change:
                sent = self._sent
            pause, allowed = self._look(sent)
            with self._change:
                self._sent -= sent
                self._allowed = allowed
                self._change.notify_all()

    def _is_over(self, pause: float) -> bool:
        with self._change:
            self._change.wait_for(lambda: self._ended or self._sent > self._allowed / 2, pause)
            return self._ended

    def _look(self, sent: int) -> tuple[float, float]:
        """Return the seconds until the next look, and how many bytes may be sent until then."""
        least, growth = math.inf, _LEAST_GROWTH
        for directory in self._disk.directories:
            room = self._disk.room(directory)
            if room is None:
                continue
            used = max(0, self._before.get(directory, room.free) - room.free)
            self._before[directory] = room.free
            spare = room.free - min(1 << 30, room.total // 20)
            if spare < 2 * used:  # the next look may come too late
                self._give_up(_nearly_full(directory, room))
                return _SHORTEST_PAUSE, math.inf  # whoever waits shall go on, and end
            growth = max(growth, used / max(1, sent))
            least = min(least, spare)
        if sent > _UNSEEN / 4:  # else most of what was used may be the work of others
            self._growth = growth
        pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, least / _FASTEST))
        return pause, max(_UNSEEN / 4, least / 4 / self._growth)


def data_directory(container: str, docker_host: str | None) -> str:
    """Return where the server in a container keeps its data; it does not tell that every role. Empty if not known."""
    try:
        found: Any = connect_docker(docker_host).containers.get(container)
        code, output = found.exec_run(["sh", "-c", _DATA_DIRECTORY])
    except API_ERRORS:
        return ""
    return output.decode("utf-8", "surrogateescape") if code == 0 else ""


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
