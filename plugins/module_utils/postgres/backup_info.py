# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at backups without a server: what each is, whether it is whole, when it was taken, and which to choose."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RollbackError
from .backup_time import from_dump, from_name, limit_of, zone_of
from .dump import DamagedBackup, Statement
from .reader import open_backup
from .sidecar import SUFFIX, Sidecar, read_sidecar, write_moment

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from .dump import DumpFacts

# Temporary names of pg_safe_backup; such a file may vanish at any moment.
PARTIAL = re.compile(r"\..+\.partial-[0-9a-f]{16}")
_SMALL = 0.3  # of the median: a dump that small is most likely not one of the same database
_FEWEST = 3  # a median of fewer says nothing
# What a decoder may raise on hostile content.
_BROKEN = (OSError, ValueError, LookupError, ArithmeticError, EOFError, RecursionError)


@dataclass
class Found:
    """One backup, and what is known of it so far."""

    path: str
    format: str = ""
    compression: str = ""
    bytes: int = 0
    whole: bool | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    taken_at: str | None = None
    taken_at_source: str = "unknown"
    sha256: str = ""
    database: str = ""
    server_version: str = ""
    pg_dump_version: str = ""
    release: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    rows_total: int = 0
    sidecar: str = ""


def backup_info(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options of the module ask for; raise ``RollbackError`` for options that cannot be."""
    zone, limit = zone_of(options["file_time_zone"]), limit_of(options["not_after"])
    if options["limit"] < 1:
        raise RollbackError(f"limit is {options['limit']}. Nothing was changed.", "Give 1 or more.")
    looks = [_look(path, zone) for path in find_backups(options["path"], options["pattern"])]
    # ISO 8601 in UTC sorts as text; those of unknown time come last.
    looks.sort(key=lambda look: (look.found.taken_at or "", look.found.path), reverse=True)
    _note_small([look.found for look in looks])
    left = options["limit"]
    for look in looks:
        if _leave_out(look, options["database"], limit) or options["read"] == "head" or look.found.whole is not None:
            continue
        if left:
            look.read()
        else:
            look.found.reason = f"not read: limit is {options['limit']}"
        left = max(0, left - 1)
        if options["read"] == "newest" and look.found.whole and look.found.taken_at:
            break
    return _result([look.found for look in looks], limit)


def _result(found: list[Found], limit: datetime | None) -> dict[str, Any]:
    newest = next((one for one in found if one.whole and one.taken_at and not _is_later(one, limit)), None)
    for one in found:
        if one.whole and not one.taken_at:
            one.reason = "it is not known when it was taken"
    passed = [one for one in found if one is not newest and one.reason]
    return {
        "changed": False,
        "backups": [asdict(one) for one in found],
        "newest": asdict(newest) if newest else None,
        "reasons": [f"{Path(one.path).name}: {one.reason}" for one in passed],
        "warnings": [f"{Path(one.path).name}: {note}." for one in found for note in one.notes],
    }


# -- finding -----------------------------------------------------------------------------------------------------------


def find_backups(path: str, pattern: str) -> list[Path]:
    """Return the backup at ``path``, or all that a directory holds; names that begin with a dot only when asked for."""
    where = Path(path)
    try:
        mode = where.stat().st_mode
        if not stat.S_ISDIR(mode) or (where / "toc.dat").is_file():
            return [where]
        names = sorted(one.name for one in where.iterdir())
    except OSError as error:
        raise RollbackError(
            f"path is {path}, which cannot be read: {error.strerror}.",
            "Give a backup, or the directory of the backups, on the managed host.",
        ) from error
    wanted = [name for name in names if fnmatch.fnmatchcase(name, pattern)]
    return [where / name for name in wanted if _is_candidate(where / name, hidden=pattern.startswith("."))]


def _is_candidate(path: Path, *, hidden: bool) -> bool:
    name = path.name
    if name.endswith(SUFFIX) or PARTIAL.fullmatch(name) or (name.startswith(".") and not hidden):
        return False
    return not path.is_dir() or (path / "toc.dat").is_file()


def _leave_out(look: _Look, database: str | None, limit: datetime | None) -> bool:
    found = look.found
    if found.reason:
        return True
    if database and found.database and found.database != database:
        found.whole, found.reason = None, f"it is a backup of the database {found.database}"
        return True
    if _is_later(found, limit):
        found.whole, found.reason = None, f"it was taken at {found.taken_at}, after not_after"
        return True
    return False


def _is_later(found: Found, limit: datetime | None) -> bool:
    return bool(limit and found.taken_at and found.taken_at > write_moment(limit))


def _note_small(found: list[Found]) -> None:
    sizes = [one.bytes for one in found if one.format]
    if len(sizes) < _FEWEST:
        return
    median = statistics.median(sizes)
    for one in found:
        if one.format and one.bytes < _SMALL * median:
            one.notes.append(f"it has {one.bytes} bytes, less than 30 % of the median of its neighbours ({median:.0f})")


# -- looking at one ----------------------------------------------------------------------------------------------------


@dataclass
class _Look:
    """A backup that is being looked at."""

    place: Path
    found: Found
    sidecar: Sidecar

    def read(self) -> None:
        """Read the backup to its end: judge it, and compare it with its sidecar."""
        found = self.found
        before = _state(self.place)
        try:
            with open_backup(str(self.place)) as backup:
                for _event in backup.reader.events():
                    pass
                found.sha256 = backup.sha256
                _take_facts(found, backup.reader.facts)
            found.whole = True
        except DamagedBackup as error:
            found.whole, found.reason = False, error.msg
        except RollbackError as error:
            found.whole, found.reason = None, error.msg
        except _BROKEN as error:
            found.whole, found.reason = False, f"It cannot be decoded: {error}"
        if _state(self.place) != before:
            found.whole, found.reason = False, "It changed while it was read: somebody writes it"
        found.rows_total = sum(found.tables.values())
        if found.whole:
            self.compare({"sha256": found.sha256, "tables": found.tables})

    def compare(self, seen: dict[str, Any]) -> None:
        """Say that the backup is not whole where the sidecar disagrees with what was seen."""
        said = self.sidecar.facts
        differing = sorted(key for key, value in seen.items() if value and key in said and said[key] != value)
        if differing:
            self.found.whole = False
            self.found.reason = f"The sidecar disagrees with the backup about {', '.join(differing)}"


def _state(path: Path) -> list[tuple[str, int, int]]:
    """Return what changes when somebody writes a file, or files of a directory."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return [(one.name, (status := one.stat()).st_size, status.st_mtime_ns) for one in files]
    except OSError:
        return []


def _look(path: Path, zone: tzinfo) -> _Look:
    """Return what the head of a backup, its name and its sidecar say."""
    look = _Look(path, Found(path=os.fsencode(path).decode(errors="backslashreplace")), _sidecar_of(path))
    found, said = look.found, look.sidecar
    found.sidecar, found.release = said.path, said.facts.get("release", "")
    if said.problem:
        found.notes.append(f"the sidecar is not used: {said.problem}")
    created = ""
    try:
        if not path.is_dir() and not stat.S_ISREG(path.stat().st_mode):
            found.reason = "It is no file"
            return look
        created = _read_head(path, found)
    except DamagedBackup as error:
        found.whole, found.reason = False, error.msg
    except RollbackError as error:
        found.reason = error.msg
    except OSError as error:
        found.reason = f"It cannot be read: {error.strerror}"
    except _BROKEN as error:
        found.whole, found.reason = False, f"It cannot be decoded: {error}"
    found.database = found.database or said.facts.get("database", "")
    _date(look, created, zone)
    if not found.reason:
        look.compare({"bytes": found.bytes, "database": found.database, "format": found.format})
    return look


def _sidecar_of(path: Path) -> Sidecar:
    """Return the sidecar beside a backup, or beside the file that a link means."""
    beside = read_sidecar(path)
    return read_sidecar(path.resolve()) if not beside.path and path.is_symlink() else beside


def _read_head(path: Path, found: Found) -> str:
    """Note what the head says, without reading on; return when the dump says that it was created."""
    if not path.is_dir():
        found.bytes = path.stat().st_size
    with open_backup(str(path)) as backup:
        found.bytes = backup.size
        try:
            for event in backup.reader.events():
                if isinstance(event, Statement):
                    break
        finally:
            _take_facts(found, backup.reader.facts)
        return backup.reader.facts.created_at


def _take_facts(found: Found, facts: DumpFacts) -> None:
    found.format, found.compression = facts.format, facts.compression
    found.database = facts.database or found.database
    found.server_version, found.pg_dump_version = facts.server_version, facts.pg_dump_version
    found.tables = dict(sorted(facts.rows.items()))


def _date(look: _Look, created: str, zone: tzinfo) -> None:
    """Note when the backup was taken: the sidecar knows best, then the dump itself, then the name."""
    found = look.found
    if look.sidecar.taken_at:
        found.taken_at, found.taken_at_source = write_moment(look.sidecar.taken_at), "sidecar"
        return
    source = "dump header" if found.format == "plain" else "archive header"
    said = from_dump(created, zone)
    if said is None:
        source = "file name"
        names = [look.place.name] + ([look.place.resolve().name] if look.place.is_symlink() else [])
        said = next(filter(None, (from_name(name, zone) for name in names)), None)
    if said:
        found.taken_at, found.taken_at_source = write_moment(said[0]), source
        found.notes += [said[1]] if said[1] else []
