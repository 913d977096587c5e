# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room on the disk of the server: a full one would stop the live database too."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from ..docker_client import connect as connect_docker
from ..errors import RollbackError
from ..project import API_ERRORS

_LOOK_EVERY = 5.0  # seconds; a look into a container takes some tenths of a second


@dataclass(frozen=True)
class Room:
    """Bytes on the file system of the data directory."""

    free: int
    total: int


class Disk:
    """Where the data directory is: in a container, on this host, or somewhere that cannot be looked at."""

    def __init__(self, container: str, directory: str, *, local: bool, docker_host: str | None = None) -> None:
        """``local`` says that the server runs on this host, outside a container."""
        self._directory = directory
        self._local = local
        self._container: Any = connect_docker(docker_host).containers.get(container) if container else None
        self._looked = time.monotonic()

    def room(self) -> Room | None:
        """Return the room; nothing when it cannot be known."""
        if self._container is not None:
            try:
                return _room_in(self._container, self._directory)
            except API_ERRORS:  # not known now; the load itself will notice a server that is gone
                return None
        if not self._local or not self._directory:
            return None
        try:
            facts = os.statvfs(self._directory)
        except OSError:  # a container with a published port, or no right to look
            return None
        return Room(facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize)

    def refuse_below(self, needed: int) -> list[str]:
        """Refuse when less than ``needed`` bytes are free; return a warning when that cannot be known."""
        room = self.room()
        if room is None:
            return [f"The free disk space of the server is not known from here; about {_megabytes(needed)} are needed."]
        if room.free < needed:
            raise RollbackError(
                f"The server has {_megabytes(room.free)} of disk left in {self._directory}; a database beside the live "
                f"one needs about {_megabytes(needed)}. Nothing was changed.",
                "Free space, drop kept databases with state=cleaned, or lower min_free_ratio.",
                free_bytes=room.free, needed_bytes=needed,
            )  # fmt: skip
        return []

    def watch(self) -> None:
        """Give a load up before the disk is full; looks every few seconds."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        room = self.room()
        if room is not None and room.free < min(1 << 30, room.total // 20):
            raise RollbackError(
                f"The load was given up: only {_megabytes(room.free)} of disk are left on the server.",
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
