# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells a backup from the one that a database was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..digest import sha256_of
from ..errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Identity(NamedTuple):
    """The size of a backup in bytes, its file, and its SHA-256; of a directory the last only, of its list of files.

    ``file`` is the file and its last change (ctime), which nobody can set: as long as it is the same, so is the sum.
    ``sha256`` is empty where no database could have been made from this backup.
    """

    size: int
    file: str
    sha256: str


def identity_of(path: str, marks: Sequence[dict[str, Any]]) -> Identity:
    """Return the identity of a backup, given the marks of the databases that may have been made from it.

    The file is read only where a mark knows its size and not the file: users may wait meanwhile.

    Raises ``RollbackError`` when the backup cannot be read.
    """
    where = Path(path)
    try:
        if where.is_dir():
            return Identity(0, "", _sum_of_directory(where))
        facts = where.stat()
        file = f"{facts.st_dev} {facts.st_ino} {facts.st_ctime_ns}"
        alike = [mark for mark in marks if mark.get("bytes") == facts.st_size]
        known = next((str(mark.get("sha256", "")) for mark in alike if mark.get("file") == file), "")
        return Identity(facts.st_size, file, known or (_sum_of_file(where) if alike else ""))
    except OSError as error:
        raise RollbackError(
            f"The backup {path} cannot be read: {error.strerror}. Nothing was changed.",
            "Give the path of a backup on the managed host that the user of Ansible may read.",
        ) from error


def _sum_of_directory(where: Path) -> str:
    names = sorted(f"{one.name} {one.stat().st_size}" for one in where.iterdir())
    table = (where / "toc.dat").read_bytes() if (where / "toc.dat").is_file() else b""
    return hashlib.sha256("\n".join(names).encode() + table).hexdigest()


def _sum_of_file(where: Path) -> str:
    with where.open("rb") as file:
        return sha256_of(file)
