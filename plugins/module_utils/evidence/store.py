# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private directory that evidence is put into: files are added, none is altered, and no disk is filled."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from ..journal import stamp, utc_now
from ..postgres.disk import Room
from ..project import API_ERRORS, is_gone
from . import ledger
from .item import CUT, MISSING, REFUSED, TAKEN, NotTaken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .item import Item

MANIFEST = "manifest.json"
TEMPORARY = f".{MANIFEST}."  # how write_whole begins the name of an unfinished one
_PARTS = 4  # of an item of which both ends are kept: the first, and the last three
_LOOK_EVERY = 4 << 20  # bytes between two looks at the free space; far less than what is kept free
_OTHERS = 0o077


@dataclass(frozen=True)
class Limits:
    """Limits for one item and for all, in bytes, and for one item in seconds."""

    item: int
    total: int
    seconds: float


class File:
    """A new file that is being written, and its sum."""

    def __init__(self, path: Path, name: str) -> None:
        """Create it; one that exists is never touched."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        self._sum = hashlib.sha256()
        self.path = path
        self.name = name
        self.bytes = 0

    def write(self, data: memoryview) -> None:
        """Add to it."""
        self._file.write(data)
        self._sum.update(data)
        self.bytes += len(data)

    def close(self) -> None:
        """Bring it to the disk."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the ledger says of it."""
        return {"name": self.name, "bytes": self.bytes, "sha256": self._sum.hexdigest()}


class _Parts:
    """The files that an item becomes: one, or in parts when both its ends are kept."""

    def __init__(self, item: Item, limit: int, create: Callable[[str], File]) -> None:
        self._create = create
        self._item = item
        self._size = max(1, limit // _PARTS) if item.both_ends else limit
        self.limit = limit
        self._number = 0
        self.files: list[File] = []
        self.left_out = 0

    def write(self, chunk: bytes) -> bool:
        """Add a chunk; return false when the limit is reached and the rest is left."""
        view = memoryview(chunk)
        while view:
            room = self._size - self.files[-1].bytes if self.files else 0
            if not room and not self._next():
                return False
            piece = view[: self._size - self.files[-1].bytes]
            self.files[-1].write(piece)
            view = view[len(piece) :]
        return True

    def _next(self) -> bool:
        """Begin the next part; the oldest but the first goes when there are too many."""
        if self.files and not self._item.both_ends:
            return False
        self.close()
        self._number += 1
        suffix = f".{self._number:06d}" if self._number > 1 else ""
        if len(self.files) == _PARTS:
            oldest = self.files.pop(1)
            self.left_out += oldest.bytes
            oldest.path.unlink()
        self.files.append(self._create(self._item.name + suffix))
        return True

    def close(self) -> None:
        if self.files:
            self.files[-1].close()

    def finish(self) -> list[dict[str, Any]]:
        """End the last file, made also for an item that is empty; return what the ledger says of all."""
        if not self.files:
            self._next()
        self.close()
        return [file.facts for file in self.files]


def _read(item: Item) -> Generator[bytes, None, None]:
    """Give the chunks of an item; an error of its source, unlike one of the directory, is a finding."""
    try:
        yield from item.chunks()
    except FileNotFoundError as error:
        raise NotTaken(MISSING, f"{error.filename or item.what} is not there") from error
    except API_ERRORS as error:
        raise NotTaken(MISSING if is_gone(error) else REFUSED, str(error)) from error


class Store:
    """A directory of evidence that is not sealed yet, on this host."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        """Look at it; nothing is made. Raises ``RollbackError`` for one that may not be used."""
        self.directory = directory
        self.limits = limits
        self._since_look = 0
        self.reload()

    def reload(self) -> None:
        """Look again, behind whoever else has worked on it."""
        refuse_unsafe(self.directory)
        try:
            self.ledger = ledger.Ledger(self.directory)
            there = [one.name for one in self.directory.iterdir()] if self.directory.exists() else []
        except OSError as error:
            raise unusable(self.directory, error) from error
        if there and ledger.NAME not in there and MANIFEST not in there:
            raise RollbackError(
                f"directory={str(self.directory)!r} holds other things than evidence. Nothing was taken.",
                "Give a directory that is empty or does not exist yet.",
            )

    @property
    def sealed(self) -> bool:
        """Tell whether its manifest is written."""
        return (self.directory / MANIFEST).exists()

    def make(self) -> None:
        """Make the directory if it is not there, and what is missing above it, for its owner only."""
        missing = [path for path in (self.directory, *self.directory.parents) if not path.exists()]
        try:
            for path in reversed(missing):
                path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unusable(self.directory, error) from error

    def begin(self, attempt: dict[str, Any]) -> None:
        """Note that an attempt begins, and whose it is."""
        try:
            self.ledger.add({"attempt": len(self.ledger.attempts) + 1, "at": stamp(utc_now()), **attempt})
        except OSError as error:
            raise unusable(self.directory, error) from error

    def take(self, item: Item, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
        """Take an item, as far as it goes, and return its line of the ledger.

        What a source refuses is a finding; what this directory refuses ends the capture with ``RollbackError``.
        """
        began, end = stamp(utc_now()), clock() + self.limits.seconds
        parts = _Parts(item, min(self.limits.item, self.limits.total - self.ledger.bytes), self._create)
        verdict, why = TAKEN, ""
        try:
            try:
                self._fill(parts, item, lambda: clock() > end)
            except NotTaken as lack:
                verdict, why = (CUT if parts.files else lack.verdict), lack.why
            files = parts.finish() if verdict == TAKEN or parts.files else []
            if parts.left_out:
                left_out = f"{parts.left_out} bytes behind its first part were left out, for the limit"
                verdict, why = CUT, "; ".join(filter(None, (left_out, why)))
            line = {
                "item": item.name, "group": item.group, "what": item.what, "by": item.by, "from": began,
                "until": stamp(utc_now()), "verdict": verdict, "why": why, "files": files,
            }  # fmt: skip
            self.ledger.add(line)
        except OSError as error:
            raise unusable(self.directory, error) from error
        return line

    def _fill(self, parts: _Parts, item: Item, too_late: Callable[[], bool]) -> None:
        """Write an item to its files; raise ``NotTaken`` where it ends early."""
        if parts.limit <= 0:
            raise NotTaken(MISSING, "the limit for all items together was reached")
        with closing(_read(item)) as chunks:
            for chunk in chunks:
                if not parts.write(chunk):
                    raise NotTaken(CUT, f"only its first {parts.limit} bytes were taken, for the limit")
                self._look(len(chunk))
                if too_late():
                    raise NotTaken(CUT, f"reading ended after {self.limits.seconds:g} seconds")

    def _create(self, name: str) -> File:
        """Create a file for a name. Where a cut-off attempt has left one, the new one gets a number."""
        path = self.directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in range(2, 1000):
            if not os.path.lexists(path):
                return File(path, str(path.relative_to(self.directory)))
            path = path.with_name(f"{Path(name).name}.again-{number}")
        raise FileExistsError(f"too many attempts at {name}")

    def _look(self, written: int) -> None:
        """Give up before the disk is full: what runs on this host may write to it too."""
        self._since_look += written
        if self._since_look < _LOOK_EVERY:
            return
        self._since_look = 0
        room = room_of(self.directory)
        if room.free < reserve(room):
            raise RollbackError(
                f"The capture was stopped: {self.directory} has only {_megabytes(room.free)} of space left. What was "
                "taken is whole, and nothing else was changed.",
                "Free space there and call again with the same directory: it goes on with what is missing.",
                directory=str(self.directory), free_bytes=room.free,
            )  # fmt: skip


def refuse_unsafe(directory: Path) -> None:
    """Refuse a directory that others can look into or write to, or that is none."""
    if not directory.is_absolute():
        raise RollbackError(
            f"directory={str(directory)!r} is not accepted. Nothing was taken.", "Give an absolute path."
        )
    try:
        facts = directory.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise unusable(directory, error) from error
    if not stat.S_ISDIR(facts.st_mode):
        why = "it is no directory"
    elif facts.st_uid != os.geteuid():
        why = f"it belongs to the user {facts.st_uid}"
    elif facts.st_mode & _OTHERS:
        why = f"others have rights on it (mode {stat.S_IMODE(facts.st_mode):04o})"
    else:
        return
    raise RollbackError(
        f"directory={str(directory)!r} cannot hold evidence: {why}. Nothing was taken.",
        "Give a directory that does not exist yet, or an empty one of mode 0700 that belongs to the user of Ansible.",
    )


def refuse_small(directory: Path, needed: int) -> Room:
    """Return the room for a directory; refuse when a capture of so many bytes would fill its disk."""
    room = room_of(directory)
    if room.free < needed + reserve(room):
        raise RollbackError(
            f"{directory} has {_megabytes(room.free)} of disk left. The evidence takes about {_megabytes(needed)}, and "
            f"{_megabytes(reserve(room))} must stay free. Nothing was taken and nothing was changed.",
            "Free space, give a directory on another disk, lower max_item_mb, or ask for fewer items.",
            free_bytes=room.free, needed_bytes=needed,
        )  # fmt: skip
    return room


def room_of(directory: Path) -> Room:
    """Return the room on the file system of a directory, which need not exist yet."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    facts = shutil.disk_usage(directory)
    return Room(facts.free, facts.total)


def reserve(room: Room) -> int:
    """Return how many bytes stay free for what runs on the host: a twentieth of the disk, at most 1 GiB."""
    return min(1 << 30, room.total // 20)


def unusable(directory: Path, error: OSError) -> RollbackError:
    """Return the error of a directory that the system refuses to write to."""
    return RollbackError(
        f"The evidence cannot be written to {directory}: {error.strerror or error}. What was taken before is whole.",
        "The directory must be one that the user of Ansible (become_user) may write, on a disk with space. Mend that "
        "and call again: it goes on with what is missing.",
        directory=str(directory),
    )  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
