# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command prints, as a stream: however much it is, no more than a chunk of it is in memory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING

from ..process import started
from .item import CHUNK, MISSING, REFUSED, NotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
# Where a command of the system is looked for: the path of a user often lacks the last two.
_SYSTEM = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
_TIMED_OUT = (124, 137)  # timeout(1): the limit was reached; SIGKILL was needed
_ERROR_LIMIT = 2000


def search_path() -> str:
    """Return the search path of the user, and behind it that of the system."""
    return os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM]).strip(os.pathsep)


def command_chunks(
    argv: list[str], *, environment: dict[str, str] | None = None, cwd: str | None = None, seconds: float = SECONDS
) -> Iterator[bytes]:
    """Run a command and give what it prints. It is never a shell line, and it is ended after so many seconds.

    Raises ``NotTaken`` when the command is not there, when it fails, behind what it has printed, and at the limit.
    """
    if shutil.which(argv[0], path=search_path()) is None:
        raise NotTaken(MISSING, f"the command {argv[0]} is not on this host")
    variables = {**os.environ, "LC_ALL": "C", "PATH": search_path(), **(environment or {})}
    with tempfile.TemporaryFile() as errors:
        process = started(
            ["timeout", "--kill-after=5", str(seconds), *argv],  # of coreutils, as everywhere
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=variables, cwd=cwd,
            bufsize=0,  # else a read waits for a full chunk
            start_new_session=True,
        )  # fmt: skip
        try:
            output = _output(process)
            while chunk := output.read(CHUNK):
                yield chunk
            code = process.wait()
        finally:
            if process.poll() is None:
                # The group: timeout(1) that gets a signal right after its fork ends without handing it on.
                os.killpg(process.pid, signal.SIGTERM)
            _output(process).close()
            process.wait()
        if code in _TIMED_OUT:
            raise NotTaken(REFUSED, f"{argv[0]} did not end within {seconds:g} seconds")
        if code:
            raise NotTaken(REFUSED, f"{argv[0]} returned {code}: {_said(errors)}")


def _output(process: subprocess.Popen[bytes]) -> IO[bytes]:
    if process.stdout is None:
        raise ValueError("a process without an output")
    return process.stdout


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read(_ERROR_LIMIT).decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else "it said nothing"
