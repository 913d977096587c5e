# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup is known again by its sum, which is made only where it has to be."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.backup_identity import identity_of

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"a dump"
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    path = tmp_path / "dump.sql"
    path.write_bytes(CONTENT)
    return path


def test_nothing_is_summed_where_no_database_is_of_this_size(backup: Path) -> None:
    assert identity_of(str(backup), [{"bytes": 7, "sha256": "other"}, {}]).sha256 == ""


def test_a_backup_of_the_same_size_is_summed(backup: Path) -> None:
    assert identity_of(str(backup), [{"bytes": 6, "sha256": "other"}]).sha256 == SUM


def test_a_file_that_was_not_touched_is_not_summed_again(backup: Path) -> None:
    file = identity_of(str(backup), []).file
    marks = [{"bytes": 6, "sha256": "other", "file": "1 2 3"}, {"bytes": 6, "sha256": "known", "file": file}]
    assert identity_of(str(backup), marks).sha256 == "known"


def test_a_file_that_was_written_since_is_summed_also_where_its_time_was_set_back(backup: Path) -> None:
    before, file = backup.stat(), identity_of(str(backup), []).file
    while backup.stat().st_ctime_ns == before.st_ctime_ns:  # its clock ticks some hundred times a second
        backup.write_bytes(CONTENT[::-1])
        os.utime(backup, ns=(before.st_atime_ns, before.st_mtime_ns))
    mark = {"bytes": 6, "sha256": SUM, "file": file}
    assert identity_of(str(backup), [mark]).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_a_mark_without_a_sum_knows_nothing(backup: Path) -> None:
    mark = {"bytes": 6, "file": identity_of(str(backup), []).file}
    for one in (mark, {**mark, "sha256": ""}):
        assert identity_of(str(backup), [one]).sha256 == SUM


def test_a_directory_is_summed_by_its_list_of_files(tmp_path: Path) -> None:
    (tmp_path / "toc.dat").write_bytes(b"table")
    one = identity_of(str(tmp_path), [])
    (tmp_path / "1.dat").write_bytes(b"rows")
    assert (one.size, one.file) == (0, "")
    assert one.sha256 != identity_of(str(tmp_path), []).sha256


def test_a_backup_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match="cannot be read: No such file"):
        identity_of(str(tmp_path / "none.sql"), [])
