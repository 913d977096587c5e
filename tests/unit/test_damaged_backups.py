# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand damaged backups: none that would load otherwise than the whole one is accepted, nor ends in a traceback.

What can be noticed depends on what there is to compare with: with a sidecar everything; without one, gzip has a sum,
and so have the compressed rows of an archive. A changed character in plain text, or in the definitions of an archive,
looks like any other.
"""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.backup_info import backup_info
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.connection import Login
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import CopyRows
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.progress import Progress
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.reader import open_backup
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.requirements import Requirements
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import Options, inspect
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.sidecar import sidecar_path, write_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent / "data" / "archives"
PLAIN = gzip.decompress((DATA / "15.sql.gz").read_bytes())
WHOLE = {
    "plain": PLAIN,
    "sql.gz": gzip.compress(PLAIN, mtime=0),
    "custom": gzip.decompress((DATA / "15.dump.gz").read_bytes()),
}
OPTIONS = Options(Login("nowhere"), "Fleet db")
PER_KIND = 112  # three forms, three kinds of damage: a thousand in all


def flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def zero(data: bytes, chance: random.Random) -> bytes:
    """Put zeros where a block was lost: the size is right, and nothing else."""
    at = chance.randrange(len(data))
    length = min(chance.choice([1, 16, 512, 4096]), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {"flip": flip, "truncate": truncate, "zero": zero}
UNNOTICED = [("plain", "flip"), ("custom", "flip")]
KINDS = [(form, damage) for form in WHOLE for damage in DAMAGE]


def damaged(form: str, damage: str) -> list[bytes]:
    """Return backups that differ from the whole one in at least a bit; the same ones in every run."""
    chance = random.Random(f"{form} {damage}")  # noqa: S311 - repeatable, not secret
    made: list[bytes] = []
    while len(made) < PER_KIND:
        one = DAMAGE[damage](WHOLE[form], chance)
        made += [one] if one != WHOLE[form] else []
    return made


def plan(path: Path) -> None:
    """Read a backup as check mode does, which reads it as a load does."""
    inspect(replace(OPTIONS, backup=str(path)), 150018, Progress(), Requirements())


def loaded(path: Path) -> list[object]:
    """Return everything that a load would carry out."""
    with open_backup(str(path)) as backup:
        found = list(backup.reader.events())
    rows = b"".join(one.data for one in found if isinstance(one, CopyRows))
    return [rows, *(one for one in found if not isinstance(one, CopyRows))]


def refused(path: Path) -> bool:
    """Say whether a plan refuses the backup, with a way out; any other error than its own ends the test."""
    try:
        plan(path)
    except RollbackError as error:
        return bool(error.next_step)
    return False


@pytest.mark.parametrize("form", WHOLE)
def test_the_whole_one_is_accepted(form: str, tmp_path: Path) -> None:
    """Else everything below would be refused for another reason."""
    path = tmp_path / "backup"
    path.write_bytes(WHOLE[form])
    describe(path, form)
    plan(path)
    assert backup_info(LOOK | {"path": str(path)})["backups"][0]["whole"] is True


LOOK = {
    "pattern": "*", "file_time_zone": "UTC", "not_after": None, "database": None, "read": "whole", "limit": 10
}  # fmt: skip


def describe(path: Path, form: str) -> None:
    """Put the sidecar of the whole backup beside."""
    facts = {"bytes": len(WHOLE[form]), "sha256": hashlib.sha256(WHOLE[form]).hexdigest()}
    sidecar_path(path).write_bytes(write_sidecar(facts))


@pytest.mark.parametrize(("form", "damage"), KINDS)
def test_with_a_sidecar_none_is_accepted(form: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    describe(path, form)
    for one in damaged(form, damage):
        path.write_bytes(one)
        assert refused(path), one
        (found,) = backup_info(LOOK | {"path": str(path)})["backups"]
        assert found["whole"] is not True
        assert found["reason"]


@pytest.mark.parametrize(("form", "damage"), [kind for kind in KINDS if kind not in UNNOTICED])
def test_without_a_sidecar_none_that_would_load_otherwise_is_accepted(form: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(WHOLE[form])
    whole = loaded(path)
    for one in damaged(form, damage):
        path.write_bytes(one)
        assert refused(path) or loaded(path) == whole, one


@pytest.mark.parametrize(("form", "damage"), UNNOTICED)
def test_a_changed_character_is_accepted_or_refused_but_no_accident(form: str, damage: str, tmp_path: Path) -> None:
    """The rows of an archive have a sum; what else was changed may go unnoticed, which docs/database.md says."""
    path = tmp_path / "backup"
    path.write_bytes(WHOLE[form])
    rows = loaded(path)[0]
    for one in damaged(form, damage):
        path.write_bytes(one)
        if not refused(path) and form == "custom":
            assert loaded(path)[0] == rows, one
