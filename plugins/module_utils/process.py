# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that starts processes: a command is a list of words, never a shell line.

``AnsibleModule.run_command`` is not used: it has no limit of time, and what needs it cannot do without Ansible.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import IO, Any

from .errors import RollbackError


def started(argv: list[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - those of subprocess.Popen
    """Start a command; the caller reads its output and waits for its end. Raises ``OSError`` when it cannot start."""
    return subprocess.Popen(argv, **options)  # noqa: S603 - a list of words  # pylint: disable=ansible-bad-function


def finished(
    argv: list[str], *, seconds: float, given: bytes | None = None, environment: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a command to its end; return its exit code and its standard output. Its standard error is dropped.

    It reads ``given``, or nothing. Raises ``OSError`` when it cannot start, and ``TimeoutError``, which is one, when it
    has not ended after ``seconds``; it has been killed then.
    """
    source, drop = subprocess.DEVNULL if given is None else subprocess.PIPE, subprocess.DEVNULL
    with started(argv, stdin=source, stdout=subprocess.PIPE, stderr=drop, env=environment) as process:
        try:
            output, _said = process.communicate(given, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{argv[0]} did not end within {seconds:g} seconds") from None
        finally:
            process.kill()  # which leaves one alone that has ended
    return process.returncode, output


def run(
    argv: list[str],
    cwd: str | None = None,
    environment: dict[str, str] | None = None,
    timeout: float | None = None,
) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code and what it printed to standard output and standard error.

    ``environment`` is added to ours. It gets no standard input: one that asks gets its default answer instead of
    waiting for a terminal. ``timeout`` is in seconds and is kept by timeout(1) of coreutils, which ends the whole
    process group and returns 124. Who lives on and holds the output open is not waited for. Bytes that are no UTF-8 are
    kept as surrogates. Raises ``RollbackError`` when it cannot start.
    """
    limit = [] if timeout is None else ["timeout", "--kill-after=5", str(timeout)]
    with _memory("stdout") as out, _memory("stderr") as err:
        try:
            with started(
                limit + argv, cwd=cwd, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err,
            ) as process:  # fmt: skip
                code = process.wait()
        except OSError as error:
            raise RollbackError(
                f"{argv[0]} cannot be run: {error.strerror or error}"
                + (f" ({error.filename})." if error.filename not in (None, argv[0]) else "."),
                "Install it on that host, or mend its rights or its directory, then run again.",
            ) from error
        return code, _text(out), _text(err)


def _memory(name: str) -> IO[bytes]:
    """Return a file that is in memory where the system can: a full disk must not keep a command from saying so."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(name), "w+b")
    return tempfile.TemporaryFile()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")
