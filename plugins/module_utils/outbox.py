# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages that could not be delivered: one private file each, by the name of the notifier, without its URL."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_LIMIT = 64 * 1024
COUNT_LIMIT = 200


class Message(NamedTuple):
    """What is told to whom. ``written`` is when it was first written, in UTC."""

    audience: str
    subject: str
    body: str
    severity: str
    run_id: str
    written: str


class Kept(NamedTuple):
    """A message that waits for one notifier, and the file that holds it."""

    path: Path
    notifier: str
    message: Message


def keep(directory: str, notifier: str, message: Message) -> None:
    """Keep a message for later; raises ``OSError`` when that is not possible."""
    folder = _private(directory)
    content = json.dumps({"notifier": notifier, **message._asdict()}, indent=1)
    write_whole(folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.json", content + "\n", 0o600)


def _private(directory: str) -> Path:
    """Return a directory of ours that nobody else can look into, made if need be."""
    folder = Path(directory)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not a directory of this user")
    folder.chmod(0o700)
    return folder


@contextmanager
def taken(directory: str) -> Iterator[bool]:
    """Give whether we alone send from this outbox now; of two who would at once, one does.

    A process that is killed loses the lock, and what it had not delivered is still there.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True  # nothing was ever kept
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)


def kept_in(directory: str) -> tuple[list[Kept], list[str]]:
    """Return the kept messages, the oldest first, and the names of files that hold none."""
    paths = sorted(Path(directory).glob("*.json"))[:COUNT_LIMIT]
    read = [(path.name, _read(path)) for path in paths]
    return [kept for _name, kept in read if kept], [name for name, kept in read if not kept]


def _read(path: Path) -> Kept | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            told = json.loads(file.read(SIZE_LIMIT))
        return Kept(path, str(told["notifier"]), Message(*[str(told[name]) for name in Message._fields]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
