# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups are whole, when they were taken, and which is chosen."""

from __future__ import annotations

import gzip
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import backup_info, backup_time, sidecar
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.reader import open_backup

HEAD = b"""--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18
-- Dumped by pg_dump version 15.18

SET statement_timeout = 0;
"""
COPY = b"""
--
-- Data for Name: pools; Type: TABLE DATA; Schema: public; Owner: usdx
--

COPY public.pools (id, name) FROM stdin;
1\tone
2\ttwo
\\.

"""
TAIL = b"""
--
-- PostgreSQL database dump complete
--

"""
DUMP = HEAD + COPY + TAIL
NAME = "usdx_20241228_014500.sql.gz"


def look(path: Path, **options: Any) -> dict[str, Any]:
    standard = {
        "path": str(path), "pattern": "*", "file_time_zone": "UTC", "not_after": None, "database": None,
        "read": "whole", "limit": 10,
    }  # fmt: skip
    return backup_info.backup_info(standard | options)


def look_at(path: Path, content: bytes, name: str = NAME, **options: Any) -> dict[str, Any]:
    (path / name).write_bytes(content)
    (found,) = look(path, **options)["backups"]
    return dict(found)


def test_a_whole_one(tmp_path: Path) -> None:
    content = gzip.compress(DUMP)
    found = look_at(tmp_path, content)
    assert found["whole"] is True
    assert (found["format"], found["compression"], found["bytes"]) == ("plain", "gzip", len(content))
    assert (found["taken_at"], found["taken_at_source"]) == ("2024-12-28T01:45:00Z", "file name")
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert (found["tables"], found["rows_total"]) == ({"public.pools": 2}, 2)
    assert (found["server_version"], found["reason"], found["sidecar"]) == ("15.18", "", "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello", "does not begin"),
        (gzip.compress(DUMP)[:-30], "cut"),
        (gzip.compress(DUMP)[:-4], "cut"),
        (gzip.compress(HEAD + COPY), "last line"),
        (gzip.compress(HEAD + COPY[:-12]), "middle of the rows"),
        (gzip.compress(DUMP.replace(b"\n", b"\r\n")), "CR LF"),
        (gzip.compress(DUMP) + b"garbage", "behind its gzip data"),
        (gzip.compress(DUMP) + gzip.compress(HEAD + COPY), "after its end"),
        (b"PGDMP\x01", ""),
    ],
    ids=[
        "empty",
        "text",
        "cut",
        "cut in the sum",
        "no trailer",
        "cut in rows",
        "terminal",
        "garbage",
        "two",
        "archive",
    ],
)
def test_one_that_is_not_whole_says_why_and_is_never_the_newest(tmp_path: Path, content: bytes, reason: str) -> None:
    found = look_at(tmp_path, content)
    assert found["whole"] is False
    assert reason in found["reason"]
    assert look(tmp_path)["newest"] is None
    assert look(tmp_path)["reasons"] == [f"{NAME}: {found['reason']}"]


@pytest.mark.parametrize(
    ("content", "compression"),
    [(DUMP, "none"), (gzip.compress(HEAD) + gzip.compress(COPY + TAIL), "gzip")],
    ids=["plain under the name of gzip", "several members"],
)
def test_content_decides(tmp_path: Path, content: bytes, compression: str) -> None:
    found = look_at(tmp_path, content)
    assert (found["whole"], found["compression"]) == (True, compression)


def test_every_cut_is_seen(tmp_path: Path) -> None:
    content = gzip.compress(DUMP)
    for length in range(0, len(content), 7):
        assert look_at(tmp_path, content[:length])["whole"] is False


def test_another_compression_is_not_judged(tmp_path: Path) -> None:
    found = look_at(tmp_path, b"BZh91AY&SY")
    assert found["whole"] is None
    assert "bzip2" in found["reason"]


@pytest.mark.parametrize(
    ("name", "zone", "taken_at"),
    [
        ("usdx_20241228_014500.sql.gz", "UTC", "2024-12-28T01:45:00Z"),
        ("usdx_20241228_014500.sql.gz", "Europe/Zurich", "2024-12-28T00:45:00Z"),
        ("2024-12-28T01:45:00Z.sql", "Europe/Zurich", "2024-12-28T01:45:00Z"),
        ("2024-12-28T01:45:00+01:00.sql", "UTC", "2024-12-28T00:45:00Z"),
        ("db-20241228T014500Z.dump", "Europe/Zurich", "2024-12-28T01:45:00Z"),
        ("db_2024-12-28_01-45-00.sql.gz", "UTC", "2024-12-28T01:45:00Z"),
        ("db_20241228014500.sql.gz", "UTC", "2024-12-28T01:45:00Z"),
        ("db_20241228_0145.sql.gz", "UTC", "2024-12-28T01:45:00Z"),
        ("db.1735350300.sql.gz", "Europe/Zurich", "2024-12-28T01:45:00Z"),
        ("db_20241228.sql.gz", "UTC", "2024-12-28T23:59:59Z"),
        ("db_v1.0.2_20241228_014500.sql.gz", "UTC", "2024-12-28T01:45:00Z"),
        ("db_20241399_014500.sql.gz", "UTC", None),
        ("latest.sql.gz", "UTC", None),
        ("db_123456789012345.sql", "UTC", None),
    ],
)
def test_times_in_names(name: str, zone: str, taken_at: str | None) -> None:
    said = backup_time.from_name(name, backup_time.zone_of(zone))
    assert (sidecar.write_moment(said[0]) if said else None) == taken_at


@pytest.mark.parametrize(
    ("name", "taken_at", "remark"),
    [
        ("db_20241027_023000.sql", "2024-10-27T00:30:00Z", "occurs twice"),
        ("db_20240331_023000.sql", "2024-03-31T01:30:00Z", "does not exist"),
    ],
)
def test_the_hour_when_clocks_change_is_told(tmp_path: Path, name: str, taken_at: str, remark: str) -> None:
    found = look_at(tmp_path, DUMP, name, file_time_zone="Europe/Zurich")
    assert found["taken_at"] == taken_at
    assert remark in found["notes"][0]
    assert look(tmp_path, file_time_zone="Europe/Zurich")["warnings"]


def test_a_dump_that_says_when_it_began_knows_better_than_its_name(tmp_path: Path) -> None:
    verbose = DUMP.replace(b"\nSET", b"\n-- Started on 2024-12-27 03:00:00 UTC\n\nSET", 1)
    found = look_at(tmp_path, verbose, file_time_zone="Europe/Zurich")
    assert (found["taken_at"], found["taken_at_source"]) == ("2024-12-27T03:00:00Z", "dump header")


def test_file_times_mean_nothing(tmp_path: Path) -> None:
    found = look_at(tmp_path, DUMP, "latest.sql")
    assert (found["whole"], found["taken_at"], found["taken_at_source"]) == (True, None, "unknown")
    seen = look(tmp_path)
    assert seen["newest"] is None
    assert "not known when" in seen["reasons"][0]


# -- choosing ----------------------------------------------------------------------------------------------------------


def names(found: list[dict[str, Any]]) -> list[str]:
    return [one["path"].rpartition("/")[2] for one in found]


def test_the_newest_whole_one_before_a_moment(tmp_path: Path) -> None:
    for day, content in ((1, DUMP), (2, DUMP), (3, DUMP[:-40]), (4, DUMP)):
        (tmp_path / f"db_2024120{day}_000000.sql").write_bytes(content)
    seen = look(tmp_path, not_after="2024-12-03T00:00:00Z")
    assert names(seen["backups"]) == [f"db_2024120{day}_000000.sql" for day in (4, 3, 2, 1)]
    assert names([seen["newest"]]) == ["db_20241202_000000.sql"]
    assert [reason.split(":")[0] for reason in seen["reasons"]] == ["db_20241204_000000.sql", "db_20241203_000000.sql"]
    assert seen["backups"][0]["whole"] is None


def test_a_limit_leaves_older_ones_unread(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        (tmp_path / f"db_2024120{day}_000000.sql").write_bytes(DUMP)
    (tmp_path / "README").write_text("not a backup")
    assert [one["whole"] for one in look(tmp_path, limit=1)["backups"]] == [True, None, None, False]


def test_the_newest_is_read_until_one_is_whole(tmp_path: Path) -> None:
    for day, content in enumerate((DUMP, DUMP, HEAD), 1):
        (tmp_path / f"db_2024120{day}_000000.sql").write_bytes(content)
    seen = look(tmp_path, read="newest")
    assert [one["whole"] for one in seen["backups"]] == [False, True, None]
    assert seen["newest"]["taken_at"] == "2024-12-02T00:00:00Z"


def test_a_head_does_not_say_whether_the_rest_is_there(tmp_path: Path) -> None:
    found = look_at(tmp_path, HEAD + COPY, read="head")
    assert (found["whole"], found["server_version"], found["sha256"]) == (None, "15.18", "")


def test_one_much_smaller_than_its_neighbours_is_told(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        (tmp_path / f"db_2024120{day}_000000.sql").write_bytes(DUMP + b"--\n" * 2000)
    (tmp_path / "db_20241204_000000.sql").write_bytes(DUMP)
    (warning,) = look(tmp_path)["warnings"]
    assert warning.startswith("db_20241204_000000.sql: it has")


# -- sidecar -----------------------------------------------------------------------------------------------------------


def with_sidecar(path: Path, **changed: Any) -> dict[str, Any]:
    facts = {
        "database": "usdx", "taken_at": "2024-12-01T00:00:00Z", "bytes": len(DUMP), "format": "plain",
        "sha256": hashlib.sha256(DUMP).hexdigest(), "tables": {"public.pools": 2}, "release": "v1.0.2",
    }  # fmt: skip
    sidecar.sidecar_path(path / NAME).write_bytes(sidecar.write_sidecar(facts | changed))
    return look_at(path, DUMP)


def test_a_sidecar_knows_best(tmp_path: Path) -> None:
    found = with_sidecar(tmp_path)
    assert (found["whole"], found["taken_at_source"], found["taken_at"]) == (True, "sidecar", "2024-12-01T00:00:00Z")
    assert (found["database"], found["release"]) == ("usdx", "v1.0.2")
    assert look(tmp_path, database="other")["newest"] is None
    assert look(tmp_path, database="usdx")["newest"]["sidecar"] == found["sidecar"]


@pytest.mark.parametrize(
    ("changed", "about"),
    [({"bytes": 1}, "bytes"), ({"sha256": "0" * 64}, "sha256"), ({"tables": {"public.pools": 3}}, "tables")],
)
def test_a_sidecar_that_disagrees(tmp_path: Path, changed: dict[str, Any], about: str) -> None:
    found = with_sidecar(tmp_path, **changed)
    assert found["whole"] is False
    assert f"disagrees with the backup about {about}" in found["reason"]
    assert look(tmp_path)["newest"] is None


def test_a_bad_sidecar_is_told_and_the_content_decides(tmp_path: Path) -> None:
    sidecar.sidecar_path(tmp_path / NAME).write_text("{")
    found = look_at(tmp_path, DUMP)
    assert (found["whole"], found["taken_at_source"]) == (True, "file name")
    assert found["notes"] == ["the sidecar is not used: it is not JSON"]


# -- what is in a directory --------------------------------------------------------------------------------------------


def test_a_directory_without_backups_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert look(tmp_path) == {"changed": False, "backups": [], "newest": None, "reasons": [], "warnings": []}


def test_links_pipes_and_temporary_files(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / NAME).write_bytes(DUMP)
    (tmp_path / "latest.sql").symlink_to(kept / NAME)
    (tmp_path / "gone.sql").symlink_to(kept / "gone")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / f".{NAME}.partial-{'0' * 16}").write_bytes(DUMP)
    (tmp_path / "being_copied.tmp").write_bytes(DUMP)
    seen = {one["path"].rpartition("/")[2]: one for one in look(tmp_path)["backups"]}
    assert sorted(seen) == ["being_copied.tmp", "gone.sql", "latest.sql", "pipe"]
    assert (seen["latest.sql"]["whole"], seen["latest.sql"]["taken_at"]) == (True, "2024-12-28T01:45:00Z")
    assert seen["gone.sql"]["reason"]
    assert seen["pipe"]["reason"] == "It is no file"
    assert seen["being_copied.tmp"]["whole"] is True
    assert names(look(tmp_path, pattern="*.sql")["backups"]) == ["latest.sql", "gone.sql"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.sql", "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write(DUMP)
    (found,) = look(tmp_path)["backups"]
    assert found["whole"] is True
    assert found["path"].endswith("\\xff.sql")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"file_time_zone": "Mars/Base"}, "file_time_zone is Mars/Base"),
        ({"file_time_zone": "../../etc/passwd"}, "file_time_zone"),
        ({"not_after": "2024-12-28T01:45:00"}, "not_after is 2024-12-28T01:45:00"),
        ({"limit": 0}, "limit is 0"),
        ({"path": "/nowhere/at/all"}, "path is /nowhere/at/all"),
    ],
)
def test_what_is_refused(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(RollbackError) as caught:
        look(**({"path": tmp_path} | options))
    assert told in caught.value.msg
    assert caught.value.next_step


# -- archives ----------------------------------------------------------------------------------------------------------

ARCHIVES = Path(__file__).parent / "data" / "archives"
CUSTOM = gzip.decompress((ARCHIVES / "15.dump.gz").read_bytes())


def directory(where: Path) -> Path:
    with zipfile.ZipFile(ARCHIVES / "15_directory.zip") as archive:
        archive.extractall(where / "dump")
    return where / "dump"


@pytest.mark.parametrize(
    ("content", "compression"), [(CUSTOM, "gzip"), (gzip.compress(CUSTOM), "gzip")], ids=["custom", "custom in gzip"]
)
def test_an_archive_says_what_a_plain_dump_does_not(tmp_path: Path, content: bytes, compression: str) -> None:
    found = look_at(tmp_path, content, "latest.sql", file_time_zone="Europe/Zurich")
    assert (found["whole"], found["format"], found["compression"]) == (True, "custom", compression)
    assert (found["database"], found["server_version"], found["pg_dump_version"]) == ("Fleet db", "15.18", "15.18")
    assert found["taken_at_source"] == "archive header"
    assert found["tables"]["public.accounts"] == 42
    assert found["rows_total"] == sum(found["tables"].values()) > 42
    utc = look_at(tmp_path, content, "latest.sql")["taken_at"]
    assert found["taken_at"] < utc, "the header holds local time, and Zurich is before UTC"


def test_a_directory_that_pg_dump_made_is_one_backup(tmp_path: Path) -> None:
    dump = directory(tmp_path)
    (found,) = look(tmp_path)["backups"]
    assert (found["whole"], found["format"], found["database"]) == (True, "directory", "Fleet db")
    assert (found["sha256"], found["bytes"]) == ("", sum(one.stat().st_size for one in dump.iterdir()))
    assert look(dump)["newest"]["path"] == str(dump)
    (dump / "blobs.toc").unlink()
    assert look(tmp_path)["newest"] is None


def test_an_archive_of_another_database_is_left_out(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CUSTOM)
    assert look(tmp_path, database="Fleet db")["newest"]
    seen = look(tmp_path, database="other")
    assert (seen["newest"], seen["backups"][0]["whole"]) == (None, None)
    assert seen["reasons"] == [f"{NAME}: it is a backup of the database Fleet db"]


@pytest.mark.parametrize("content", [CUSTOM[:-20], CUSTOM.replace(b"\n", b"\r\n"), CUSTOM + b"\0", CUSTOM[:6]])
def test_an_archive_that_is_not_whole(tmp_path: Path, content: bytes) -> None:
    found = look_at(tmp_path, content)
    assert found["whole"] is False
    assert found["reason"]


def test_a_lost_block_is_seen_in_plain_text(tmp_path: Path) -> None:
    found = look_at(tmp_path, DUMP.replace(b"1\tone", bytes(5)))
    assert found["whole"] is False
    assert "zero bytes" in found["reason"]


def test_one_that_is_written_while_it_is_read_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / NAME
    opened = open_backup

    def write_on(name: str) -> Any:
        with path.open("ab") as file:
            file.write(b"\n")
        return opened(name)

    path.write_bytes(DUMP)
    monkeypatch.setattr(backup_info, "open_backup", write_on)
    found = look(tmp_path)["backups"][0]
    assert (found["whole"], found["reason"]) == (False, "It changed while it was read: somebody writes it")
