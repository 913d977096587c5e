# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds a pg_dump that fits the server and runs it; its output is streamed to a file descriptor of ours.

The password is never in argv or in an environment of this host.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from ..process import finished, started
from .connection import PSYCOPG2_IMPORT_ERROR, Login

if PSYCOPG2_IMPORT_ERROR is None:
    from psycopg2.extensions import make_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 18
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
_PLACES = ("/usr/lib/postgresql/{0}/bin/pg_dump", "/usr/pgsql-{0}/bin/pg_dump", "/usr/local/pgsql/bin/pg_dump")
# Inside the container the password comes by standard input; what a user gave is only ever an argument ("$@").
_INSIDE = 'IFS= read -r PGPASSWORD; export PGPASSWORD; exec pg_dump "$@"'
_LOCK_WAIT = "60s"


@dataclass(frozen=True)
class DumpCommand:
    """A pg_dump: how it is called up to its own options, its version, and whether it runs in the server's container."""

    argv: list[str]
    version: str
    major: int
    inside: bool


def find_command(server_version: int, container: str, docker_host: str | None) -> DumpCommand:
    """Return the pg_dump that fits a server (as libpq tells its version, 150018), on this host or in the container.

    The very version is best: a minor release of the server may know column options that an older pg_dump writes and
    a newer one hides. Else one of the same major version, else a newer one, whose dump may not load into this server
    again. One of an older major version refuses the server.
    """
    server_major, server_minor = server_version // 10000, server_version % 10000
    here = [place.format(server_major) for place in _PLACES] + [shutil.which("pg_dump") or ""]
    found = [one for one in (_look([place], inside=False) for place in here if os.access(place, os.X_OK)) if one]
    if container:
        docker = [shutil.which("docker") or "docker", *(["--host", docker_host] if docker_host else [])]
        one = _look([*docker, "exec", "--interactive", "--env", "LC_ALL=C", container, "pg_dump"], inside=True)
        found += [one] if one else []
    fitting = [one for one in found if one.major == server_major]
    newer = [one for one in found if one.major > server_major]
    if fitting or newer:
        exact = [one for one in fitting if one.version == f"{server_major}.{server_minor}"]
        return (exact or fitting or newer)[0]
    seen = ", ".join(f"{one.version} ({one.argv[0]})" for one in found) or "none"
    raise RollbackError(
        f"There is no pg_dump for a Postgres {server_major}; found on the managed host"
        f"{' and in the container' if container else ''}: {seen}. Nothing was changed.",
        f"Install it: apt-get install postgresql-client-{server_major}. If the server runs in a container, give "
        "project and service instead of login_host: its own pg_dump is used then.",
    )


def _look(argv: list[str], *, inside: bool) -> DumpCommand | None:
    try:
        code, output = finished([*argv, "--version"], seconds=60, environment=_environment())
    except OSError:
        return None
    match = _VERSION.search(output.decode("utf-8", "replace"))
    return DumpCommand(argv, match[1], int(match[2]), inside) if match and not code else None


def _environment() -> dict[str, str]:
    """Return the environment without what bends libpq; only the place of a password file stays."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG") or key == "PGPASSFILE"}
    return {**kept, "LC_ALL": "C"}


class DumpFailed(Exception):  # noqa: N818 - turned into a RollbackError by the caller, who knows what is untouched
    """What pg_dump said, or what became of it."""


@contextmanager
def running_dump(  # noqa: PLR0913, PLR0917 - what is run, where, and how long
    command: DumpCommand, login: Login, database: str, options: list[str], name: str, timeout: float
) -> Iterator[Iterator[bytes]]:
    """Yield the pieces of a dump. ``name`` is the application name of its session at the server.

    The iterator raises ``DumpFailed`` when pg_dump dies, fails, or takes longer than ``timeout`` seconds. However the
    block ends, pg_dump has ended too.
    """
    facts: dict[str, Any] = {"user": login.user, "dbname": database, "application_name": name}
    # In the container the server listens on the loopback address; certificates are for its outer name.
    facts.update({"host": "127.0.0.1"} if command.inside else {"host": login.host, **login.ssl})
    words = [
        "--no-password",
        f"--lock-wait-timeout={_LOCK_WAIT}",
        *options,
        f"--dbname={make_dsn(port=login.port, **facts)}",
    ]
    start = [*command.argv[:-1], "sh", "-c", _INSIDE, "pg_dump"] if command.inside else command.argv
    with (
        _password_file(login.password, inside=command.inside) as (environment, passed),
        tempfile.TemporaryFile() as told,
    ):
        process = started(
            [*start, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told, env=environment,
            pass_fds=passed, start_new_session=True,
        )  # fmt: skip
        try:
            with suppress(BrokenPipeError):
                _give(process, login.password if command.inside else None)
            yield _pieces(process, told, time.monotonic() + timeout, timeout)
        finally:
            _end(process)


def _give(process: subprocess.Popen[bytes], password: str | None) -> None:
    if process.stdin:
        with process.stdin as stdin:
            stdin.write(f"{password}\n".encode() if password is not None else b"")


@contextmanager
def _password_file(password: str, *, inside: bool) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Yield environment and file descriptors that hand libpq a password.

    The password file is a piece of memory without a name (memfd), so that nothing is left on disk, not even by a kill.
    """
    environment = _environment()
    if inside or not password:
        yield environment, []
        return
    descriptor = os.memfd_create("password")
    try:
        os.fchmod(descriptor, 0o600)  # libpq ignores a file that others may read
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
        yield {**environment, "PGPASSFILE": f"/proc/self/fd/{descriptor}"}, [descriptor]
    finally:
        os.close(descriptor)


def _pieces(process: subprocess.Popen[bytes], told: Any, deadline: float, timeout: float) -> Iterator[bytes]:
    if process.stdout is None:
        return
    descriptor = process.stdout.fileno()
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            raise DumpFailed(f"pg_dump took longer than timeout ({timeout:g} seconds)")
        piece = os.read(descriptor, _PIECE)
        if not piece:
            break
        yield piece
    try:
        code = process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise DumpFailed(f"pg_dump took longer than timeout ({timeout:g} seconds)") from None
    if code:
        told.seek(0)
        lines = " ".join(told.read(4000).decode("utf-8", "replace").split())
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        raise DumpFailed(f"pg_dump {how}: {lines or 'it said nothing'}".rstrip("."))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a pg_dump that still runs, with all that it started, and wait until it has gone."""
    if process.stdout:
        process.stdout.close()
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
