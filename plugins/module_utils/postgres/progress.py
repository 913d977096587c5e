# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long work came: seconds per phase, and lines for whoever watches."""

from __future__ import annotations

import json
import os
import time
from typing import Any

INTERVAL = 1.0


class Progress:
    """Measures phases and, when a path is given, appends JSON lines to that file at most once a second.

    A line holds ``phase``, ``done`` and ``total`` (bytes of the backup on disk while rows are loaded, else number of
    things), ``seconds`` since the phase began. The file is made with mode 0600 and must not exist.
    """

    def __init__(self, path: str | None = None) -> None:
        """Open the file, if there is one."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600) if path else None
        self.seconds: dict[str, float] = {}
        self._phase = ""
        self._began = self._written = time.monotonic()
        self._total = 0

    def begin(self, name: str, total: int = 0) -> None:
        """End the phase that runs, if one does, and begin another."""
        self.end()
        self._phase, self._total, self._began, self._written = name, total, time.monotonic(), 0.0
        self.done(0)

    def end(self) -> None:
        """End the phase that runs and keep its seconds; a phase may come several times."""
        if self._phase:
            spent = time.monotonic() - self._began
            self.seconds[self._phase] = round(self.seconds.get(self._phase, 0.0) + spent, 3)
        self._phase = ""

    def done(self, amount: int) -> None:
        """Say how much of the phase's total is done."""
        now = time.monotonic()
        if self._file is None or now - self._written < INTERVAL:
            return
        self._written = now
        self._write(phase=self._phase, done=amount, total=self._total, seconds=round(now - self._began, 1))

    def _write(self, **facts: Any) -> None:
        if self._file is not None:
            os.write(self._file, (json.dumps(facts) + "\n").encode())
