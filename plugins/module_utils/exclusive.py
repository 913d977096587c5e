# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task at a time changes the containers of a project on a host.

A task goes on when its controller is gone: the connection broke, the terminal was closed. The run that goes on, or the
undo, would work against it, so it waits until that task has ended. The project directory itself is locked (flock(2)):
the kernel frees it with the process that holds it, and nothing is left behind.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from .errors import RollbackError
from .waiter import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SECONDS = 300.0
_INTERVAL = 0.2


@contextmanager
def exclusive(directories: Iterable[str], seconds: float = _SECONDS) -> Iterator[float]:
    """Hold the directories, and give the seconds that were waited for them; 0 when nobody else held one.

    A directory that is not on this host, or whose file system knows no locks, is left out: a project on another Docker
    host, for example. Raises ``RollbackError`` when another task holds one for longer than ``seconds``.
    """
    began, waited = time.monotonic(), False
    with ExitStack() as held:
        for directory in sorted({os.path.realpath(name) for name in directories if name}):
            try:
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            held.callback(os.close, descriptor)
            waited = _lock(descriptor, directory, seconds) or waited
        yield time.monotonic() - began if waited else 0.0


def _lock(descriptor: int, directory: str, seconds: float) -> bool:
    """Lock an open directory; tell whether another task had to be waited for."""

    def attempt() -> tuple[bool, None]:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False, None
        except OSError:
            return True, None
        return True, None

    if attempt()[0]:
        return False
    if not wait_for(attempt, seconds, _INTERVAL)[0]:
        raise RollbackError(
            f"Another task has worked on the project in {directory} for more than {seconds:g} seconds. Nothing was "
            "changed.",
            f"Look at what it does: fuser -v {directory} on that host. When it has ended, go on.",
        )
    return True
