# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shell in a container that stays, for commands that take less time than ``docker exec`` needs to begin one."""

from __future__ import annotations

import itertools
import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class ContainerShell:
    """One shell; a command gets its standard streams as files in a directory that host and container share."""

    def __init__(self, container: str, user: str, exchange: Path, mounted: str) -> None:
        """Start it; ``mounted`` is where the container sees ``exchange``, and only this shell uses that."""
        self._exchange, self._mounted = exchange, mounted
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", "--user", user, container, "bash"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def run(self, argv: tuple[str, ...], given: bytes) -> subprocess.CompletedProcess[bytes]:
        """Run a command; raise ``OSError`` when the shell ended, as it does when its container ends."""
        number = next(self._numbers)
        names = [f"{number}.{stream}" for stream in ("in", "out", "err")]
        stdin, stdout, stderr = (self._exchange / name for name in names)
        stdin.write_bytes(given)
        stdin.chmod(0o644)
        read, printed, told = (shlex.quote(f"{self._mounted}/{name}") for name in names)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{shlex.join(argv)} <{read} >{printed} 2>{told}; echo $?\n")
        self._process.stdin.flush()
        if not (code := self._process.stdout.readline()):
            message = f"the shell ended before {shlex.join(argv)} did"
            raise OSError(message)
        done = subprocess.CompletedProcess(argv, int(code), stdout.read_bytes(), stderr.read_bytes())
        for path in (stdin, stdout, stderr):
            path.unlink()
        return done

    def end(self) -> None:
        """End it; what it still runs goes on."""
        self._process.kill()
        self._process.communicate()
