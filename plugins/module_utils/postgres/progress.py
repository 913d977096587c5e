# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long work came: seconds per phase, and lines for whoever watches."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import RollbackError

INTERVAL = 1.0


class Progress:
    """Measures phases and, when a path is given, appends JSON lines to that file.

    The first line says whose work it is: ``pid`` of the process and ``job``, the beginning of the job's name when
    Ansible runs it asynchronously. Then comes one line when a phase begins, at most one a second while it goes on, and
    one when it ends: ``phase``, ``done`` and ``total`` (bytes of the backup on disk while it is read, else 0),
    ``seconds`` since the phase began, ``ended``. Each line has ``at``, seconds since 1970.

    A file that is not there is made with mode 0600.
    """

    def __init__(self, path: str | None = None) -> None:
        """Open the file, if there is one; raise ``RollbackError`` when it cannot be written to."""
        self._file = _open(path) if path else None
        self.seconds: dict[str, float] = {}
        self._phase = ""
        self._began = self._written = time.monotonic()
        self._done = self._total = 0
        self._write(pid=os.getpid(), job=_job())

    def begin(self, name: str, total: int = 0) -> None:
        """End the phase that runs, if one does, and begin another."""
        self.end()
        self._phase, self._done, self._total, self._began = name, 0, total, time.monotonic()
        self._tell(ended=False)

    def end(self) -> None:
        """End the phase that runs and keep its seconds; a phase may come several times."""
        if self._phase:
            spent = time.monotonic() - self._began
            self.seconds[self._phase] = round(self.seconds.get(self._phase, 0.0) + spent, 3)
            self._tell(ended=True)
        self._phase = ""

    def done(self, amount: int) -> None:
        """Say how much of the phase's total is done."""
        self._done = amount
        if self._phase and time.monotonic() - self._written >= INTERVAL:
            self._tell(ended=False)

    def _tell(self, *, ended: bool) -> None:
        self._written = time.monotonic()
        spent = round(self._written - self._began, 1)
        self._write(phase=self._phase, done=self._done, total=self._total, seconds=spent, ended=ended)

    def _write(self, **facts: Any) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk must not end a load because nobody can watch it
                os.write(self._file, (json.dumps({"at": round(time.time(), 1), **facts}) + "\n").encode())


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RollbackError(
            f"The progress file {path} cannot be written to: {error.strerror}. Nothing was changed.",
            "Give a path in progress_file that the user of Ansible on the managed host may write to.",
        ) from error


def _job() -> str:
    """Return the beginning of this job's name: a word of the command of this process, or of what Ansible put around it.

    Read here and not noted by the controller, which may be killed as soon as it has started the job. Empty where there
    is no /proc, and outside a job.
    """
    words = [*_words("self"), *_words(os.getppid())]
    return next((word.decode() for word in words if re.fullmatch(rb"j\d+", word)), "")


def _words(process: object) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
