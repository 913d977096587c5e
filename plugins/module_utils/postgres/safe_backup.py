# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The safe backup: a dump that exists whole, verified and with its sidecar under its final name, or does not exist."""

from __future__ import annotations

import os
import re
import secrets
import signal
import stat
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .backup_info import PARTIAL
from .connection import PSYCOPG2_IMPORT_ERROR, Login, message
from .dump_command import DumpCommand, DumpFailed, find_command, running_dump
from .reader import open_backup
from .server import one_value
from .sidecar import sidecar_path, write_moment, write_sidecar

if PSYCOPG2_IMPORT_ERROR is None:
    import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from types import FrameType

_SUFFIXES = {"plain": ".sql.gz", "custom": ".dump"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,199}")
_DAY = 86400.0
_LOOK_EVERY = 1.0  # seconds between looks at the free space
_MOMENT = """
  SELECT clock_timestamp(),
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
         current_setting('server_version'), pg_database_size(current_database())"""
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
_UNTOUCHED = "No backup was written, the database is untouched."
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@dataclass(frozen=True)
class _Plan:
    """What is to be made: where, by which pg_dump, and what the server said at the beginning."""

    final: Path
    command: DumpCommand
    login: Login
    database: str
    moment: datetime
    lsn: str
    server_version: str
    warnings: list[str]


def safe_backup(
    given: dict[str, Any], login_of: Callable[[dict[str, Any]], tuple[Login, str]], *, check: bool
) -> dict[str, Any]:
    """Make the backup that the options name, or in check mode say that it could be made."""
    began = time.monotonic()
    _check_options(given)
    login, container = login_of(given)
    plan = _plan(given, login, container)
    result: dict[str, Any] = {
        "changed": True, "path": str(plan.final), "sidecar": str(sidecar_path(plan.final)), "format": given["format"],
        "taken_at": write_moment(plan.moment), "server_version": plan.server_version,
        "pg_dump_version": plan.command.version, "warnings": plan.warnings,
        "diff": {"before": "", "after": f"{plan.final}\n"},
    }  # fmt: skip
    if check:
        return result
    with _ended_by_signals():
        facts = _make(plan, given)
    return {**result, **facts, "seconds": round(time.monotonic() - began, 3)}


# -- before ------------------------------------------------------------------------------------------------------------


def _check_options(given: dict[str, Any]) -> None:
    name = given["name"]
    if name and not _NAME.fullmatch(name):
        raise RollbackError(
            f"name is {name}, which is no file name that is accepted. {_UNTOUCHED}",
            "Give letters, digits and _ . + @ - only, at most 200, the first a letter, a digit or _; no directory.",
        )
    if not 0 <= given["compression_level"] <= 9:  # noqa: PLR2004 - the levels of gzip
        raise RollbackError(f"compression_level is {given['compression_level']}. {_UNTOUCHED}", "Give 0 to 9.")
    if given["timeout"] <= 0:
        raise RollbackError(f"timeout is {given['timeout']}. {_UNTOUCHED}", "Give a number of seconds above 0.")
    if re.search(r"[\r\n\0]", given["login_password"] or ""):
        raise RollbackError(
            f"login_password holds a line end, which pg_dump cannot be given. {_UNTOUCHED}", "Change it."
        )


def _plan(given: dict[str, Any], login: Login, container: str) -> _Plan:
    directory = Path(given["directory"])
    _check_directory(directory)
    try:
        with login.cursor(given["db"]) as cursor:
            server = cursor.connection.server_version
            cursor.execute(_MOMENT)
            moment, lsn, version, size = cursor.fetchone()
    except psycopg2.Error as error:
        raise RollbackError(
            f"The server refuses: {message(error)}. {_UNTOUCHED}", "Use a role that may read it."
        ) from error
    command = find_command(server, container, given["docker_host"])
    warnings = []
    if command.major > server // 10000:
        warnings.append(
            f"pg_dump {command.version} is newer than the server ({version}); its dump may not load into it."
        )
    _check_room(directory, size, given["min_free_ratio"])
    final = directory / _file_name(given, moment)
    for path in (final, sidecar_path(final)):
        if os.path.lexists(path):
            raise RollbackError(
                f"{path} exists already, and nothing is overwritten. {_UNTOUCHED}", "Give another name, or none."
            )
    return _Plan(final, command, login, given["db"], moment, lsn, version.split(" ")[0], warnings)


def _file_name(given: dict[str, Any], moment: datetime) -> str:
    suffix = _SUFFIXES[given["format"]]
    if given["name"]:
        name: str = given["name"]
        return name if name.endswith(suffix) else name + suffix
    stamp = write_moment(moment).translate(str.maketrans("T", "_", "-:Z"))
    return re.sub(r"[^A-Za-z0-9_.-]", "_", given["db"])[:150].lstrip(".-").rjust(1, "_") + f"_{stamp}{suffix}"


def _check_directory(directory: Path) -> None:
    """Refuse a directory that cannot be used or made."""
    there = directory
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RollbackError(
            f"directory is {directory}, but in {there} nothing can be written. {_UNTOUCHED}",
            "Give a directory that the user of Ansible may write, on a disk that has room.",
        )


def _check_room(directory: Path, size: int, ratio: float) -> None:
    while not directory.exists():
        directory = directory.parent
    facts = os.statvfs(directory)
    free = facts.f_bavail * facts.f_frsize
    if free < size * ratio:
        raise RollbackError(
            f"{directory} has {free / 1e6:,.0f} MB of free space, the database has {size / 1e6:,.0f} MB and "
            f"min_free_ratio is {ratio:g}. {_UNTOUCHED}",
            "Free space, give another directory, or lower min_free_ratio: a compressed dump is often a tenth of it.",
            free_bytes=free, database_bytes=size,
        )  # fmt: skip


# -- making ------------------------------------------------------------------------------------------------------------


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the signals that end a module into an error, so that nothing is left behind."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)  # what is being cleaned up is not interrupted again
        raise RollbackError(f"The backup was ended by signal {number}. {_UNTOUCHED}", "Run it again.")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, stop) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _make(plan: _Plan, given: dict[str, Any]) -> dict[str, Any]:
    directory = plan.final.parent
    token = secrets.token_hex(8)
    partial = directory / f".{plan.final.name}.partial-{token}"
    made: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old_partials(directory)
        made.append(partial)
        _dump(plan, given, partial, f"usdx.rollback {token}")
        facts = _verified(partial)
        side = directory / f".{sidecar_path(plan.final).name}.partial-{token}"
        made.append(side)
        _write(side, write_sidecar({**facts, **_origin(plan, given)}))
        # The backup first: a crash in between leaves one that is judged by its content, never a sidecar alone.
        for source, target in ((partial, plan.final), (side, sidecar_path(plan.final))):
            os.link(source, target)  # unlike a rename it overwrites nothing
            made.append(target)
        _sync(directory)
        made = [partial, side]
    except OSError as error:
        raise RollbackError(
            f"The backup cannot be written to {directory}: {error.strerror}. {_UNTOUCHED}",
            "Free space there, or give another directory, on a file system with hard links. Then run it again.",
        ) from error
    finally:
        for path in made:
            with suppress(OSError):
                path.unlink()
    return {**facts, "rows_total": sum(facts["tables"].values())}


def _origin(plan: _Plan, given: dict[str, Any]) -> dict[str, Any]:
    return {
        "database": plan.database, "taken_at": write_moment(plan.moment), "format": given["format"], "lsn": plan.lsn,
        "server_version": plan.server_version, "pg_dump_version": plan.command.version,
        **{key: given[key] for key in ("release", "commit", "run_id")},
    }  # fmt: skip


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(_create(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dump(plan: _Plan, given: dict[str, Any], partial: Path, name: str) -> None:
    """Write the dump to the partial file, to the disk."""
    plain = given["format"] == "plain"
    level = given["compression_level"]
    options = ["--format=plain"] if plain else ["--format=custom", f"--compress={level}"]
    encoder = zlib.compressobj(level, zlib.DEFLATED, 31) if plain else None
    whole = False
    try:
        with os.fdopen(_create(partial), "wb") as file:
            with running_dump(plan.command, plan.login, plan.database, options, name, given["timeout"]) as pieces:
                for piece in _watched(pieces, partial.parent):
                    file.write(encoder.compress(piece) if encoder else piece)
            file.write(encoder.flush() if encoder else b"")
            file.flush()
            os.fsync(file.fileno())
        whole = True
    except DumpFailed as error:
        raise RollbackError(
            f"The backup of {plan.database} failed: {error}. {_UNTOUCHED}",
            "Read what pg_dump says, and the log of the server; then run it again.",
        ) from error
    finally:
        if not whole:
            _end_session(plan, name)


def _watched(pieces: Iterator[bytes], directory: Path) -> Iterator[bytes]:
    """Pass pieces on, and give up before the disk is full: the live database may be on it too."""
    looked = 0.0
    for piece in pieces:
        if time.monotonic() - looked > _LOOK_EVERY:
            looked = time.monotonic()
            facts = os.statvfs(directory)
            free, total = facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize
            if free < min(1 << 30, total // 20):
                raise RollbackError(
                    f"The backup was given up: {directory} has only {free / 1e6:,.0f} MB of space left. {_UNTOUCHED}",
                    "Free space, or give another directory, then run it again.",
                    free_bytes=free,
                )
        yield piece


def _end_session(plan: _Plan, name: str) -> None:
    """End the session of a pg_dump that failed: in a container, or waiting for a lock, it outlives its client."""
    with suppress(RollbackError, psycopg2.Error), plan.login.cursor() as cursor:
        one_value(cursor, _END, (name,))


def _verified(partial: Path) -> dict[str, Any]:
    """Read the whole file back as a restore would; raise when it is not whole."""
    try:
        with open_backup(str(partial)) as backup:
            for _event in backup.reader.events():
                pass
            tables = dict(sorted(backup.reader.facts.rows.items()))
            return {"bytes": backup.size, "sha256": backup.sha256, "tables": tables}
    except RollbackError as error:
        raise RollbackError(
            f"The backup was written, but does not read back whole: {error.msg} {_UNTOUCHED}",
            "Check disk and memory of the host, then run it again.",
        ) from error


def _remove_old_partials(directory: Path) -> None:
    """Remove what killed runs left more than a day ago, known by the name alone."""
    for path in directory.iterdir():
        if PARTIAL.fullmatch(path.name):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _DAY:
                    path.unlink()
