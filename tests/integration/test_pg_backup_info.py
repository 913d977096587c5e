# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups that real servers gave: each format is read, and none that went wrong is chosen."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from harness import call_module

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_servers import Server

ROWS = "CREATE TABLE pools (id int, name text); INSERT INTO pools SELECT i, 'pool ' || i FROM generate_series(1, 500) i"


def test_each_format_of_each_server_is_read(server: Server, database: str, tmp_path: Path) -> None:
    server.execute(database, ROWS)
    plain, archive = server.pg_dump(database), server.pg_dump(database, "--format=custom")
    (tmp_path / "a_20241201_000000.sql.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "b_20241202_000000.sql.gz").write_bytes(archive)
    (tmp_path / "c_20241203_000000.dump").write_bytes(archive[: len(archive) // 2])
    (tmp_path / "d_20241204_000000.sql.gz").write_bytes(gzip.compress(plain.replace(b"\n", b"\r\n")))
    options = {"path": str(tmp_path), "database": database}
    for check in (True, False):
        seen = call_module("pg_backup_info", options, check=check)
        assert not seen.failed
        assert not seen["changed"]
        found = {one["path"].rpartition("/")[2][0]: one for one in seen["backups"]}
        assert [found[key]["whole"] for key in "abcd"] == [True, True, False, False]
        assert [found[key]["tables"] for key in "ab"] == [{"public.pools": 500}] * 2
        assert (found["b"]["format"], found["b"]["database"]) == ("custom", database)
        assert found["b"]["taken_at_source"] == "archive header"
        assert found["b"]["server_version"].startswith(str(server.version))
        # The archive was made just now and says so; its name would be a lie.
        assert seen["newest"]["path"] == found["b"]["path"]
    narrowed = {"not_after": "2024-12-31T00:00:00Z", "pattern": "[ab]*"}
    assert call_module("pg_backup_info", options | narrowed)["newest"]["path"] == found["a"]["path"]


def test_bad_options_are_refused(tmp_path: Path) -> None:
    refused = call_module("pg_backup_info", {"path": str(tmp_path), "not_after": "2024-12-28 01:45:00"})
    assert refused.failed
    assert "not_after" in refused["msg"]
    assert refused["next_step"]
