# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A restore that meets a full disk: it is stopped, the side database is dropped, the live one serves all the time."""

from __future__ import annotations

import gzip
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg2
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import disk
from postgres_servers import MAINTENANCE, Server, running_server
from restores import oid, run, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEGABYTE = 1 << 20
HEAD = (
    b"--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18\n\nSET client_encoding = 'UTF8';\n"
)
TAIL = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
WIDE = b"x" * 990 + b"\n"


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    """Give a server with data and log on a disk of 400 MB, and a tablespace ``small`` on one of 60 MB."""
    with running_server(15, tmpfs_megabytes=400, tablespace_megabytes=60) as server:
        yield server


def dump(megabytes: int, more: bytes = b"") -> bytes:
    """Return a backup of a table with so many megabytes of rows, which is small itself."""
    rows = WIDE * (megabytes * MEGABYTE // len(WIDE))
    table = b"CREATE TABLE public.wide (line text);\nCOPY public.wide (line) FROM stdin;\n"
    return gzip.compress(HEAD + table + rows + b"\\.\n\n" + more + TAIL, 1)


@contextmanager
def serving(server: Server, options: str = "TEMPLATE template0", *, may_fail: bool = False) -> Iterator[str]:
    """Give a live database that a client writes into until the block ends; nothing that it wrote may be lost.

    No write may fail, unless ``may_fail``: then one that meets the full disk may, but the last one may not.
    """
    live = server.create_database(options=options)
    server.execute(live, "CREATE TABLE wide (line text); CREATE TABLE seen (n int)")
    server.execute(live, "CHECKPOINT")  # a new database has no blocks on its disk yet: a full one would not take them
    stop, told = threading.Event(), []

    def client() -> None:
        with server.connect(live).cursor() as cursor:
            while not stop.wait(0.02):
                try:
                    cursor.execute("INSERT INTO seen VALUES (1)")
                except psycopg2.Error as error:  # noqa: PERF203 - each try is one write
                    told.append(str(error))
                else:
                    told.append("")

    before = oid(server, live)
    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield live
        time.sleep(0.1)  # so that the client writes after the last statement of the block, too
        stop.set()
        thread.join()
        wrong = [one for one in told if one]
        assert all("No space left" in one for one in wrong) if may_fail else wrong == []
        assert told[-1] == ""
        assert server.value(live, "SELECT count(*) FROM seen") == told.count("")
        assert (server.databases(live), oid(server, live)) == ([live], before)
    finally:
        stop.set()
        thread.join()
        for one in server.databases(live):
            server.drop_database(one)


def stopped(server: Server, live: str, **given: Any) -> RollbackError:
    with pytest.raises(RollbackError) as caught:
        run(server, live, **given)
    assert caught.value.facts["live_untouched"] is True
    return caught.value


def test_a_disk_that_cannot_be_seen_and_is_full_in_the_middle(small: Server, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql.gz", dump(100))
    with serving(small, "TEMPLATE template0 TABLESPACE small", may_fail=True) as live:
        error = stopped(small, live, backup=backup)
        assert error.facts["sqlstate"] == "53100"
        assert error.next_step == "Free space on the disk of the server, then run again."
        again = stopped(small, live, backup=backup)  # the first has left nothing in the way
        assert again.facts["sqlstate"] == "53100"


def test_a_disk_that_cannot_be_seen_is_said(small: Server, tmp_path: Path) -> None:
    with serving(small) as live:
        plan = run(small, live, check=True, backup=write(tmp_path / "b.sql.gz", dump(1)))
    assert any("is not known from here" in warning for warning in plan["warnings"])


@pytest.mark.parametrize("check", [True, False], ids=["plan", "load"])
def test_a_database_that_does_not_fit_on_its_disk_is_refused(small: Server, tmp_path: Path, check: bool) -> None:  # noqa: FBT001
    """The disk of its tablespace counts, not that of the data directory, which has room."""
    backup = write(tmp_path / "b.sql.gz", dump(1))
    with serving(small, "TEMPLATE template0 TABLESPACE small") as live:
        small.execute(live, "INSERT INTO wide SELECT repeat('x', 900) FROM generate_series(1, 28000)")
        error = stopped(small, live, check=check, backup=backup, **small.compose_login)
        assert "of disk left in /space/small" in error.msg
        assert error.facts["free_bytes"] < error.facts["needed_bytes"]


def test_a_backup_that_is_larger_than_the_live_database_and_the_disk_is_refused(small: Server, tmp_path: Path) -> None:
    backup = write(tmp_path / "b.sql", gzip.decompress(dump(55)))
    with serving(small, "TEMPLATE template0 TABLESPACE small") as live:
        assert "of disk left" in stopped(small, live, backup=backup, **small.compose_login).msg


def test_rows_that_would_fill_the_disk_of_the_log_are_stopped_before(small: Server, tmp_path: Path) -> None:
    """Rows and log share this disk: were it full, the server would panic and take the live database with it."""
    backup = write(tmp_path / "b.sql.gz", dump(300))
    with serving(small) as live:
        error = stopped(small, live, backup=backup, **small.compose_login)
        assert "The load was given up" in error.msg
        assert 0 < error.facts["free_bytes"] < 200 * MEGABYTE
    assert "PANIC" not in small.logs()


def test_an_index_build_is_stopped_too(small: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backup has been read by then, and the server is busy with one statement."""
    monkeypatch.setattr(disk.Disk, "room", lambda _disk, _place: disk.Room(0 if building(small) else 1 << 30, 1 << 30))
    slow = b"CREATE FUNCTION public.slow(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT pg_sleep(60)::text$$;\n"
    index = b"CREATE INDEX slow_index ON public.wide USING btree (public.slow(line));\n"
    backup = write(tmp_path / "b.sql.gz", dump(1, slow + index))
    with serving(small) as live:
        began = time.monotonic()
        assert "The load was given up" in stopped(small, live, backup=backup).msg
        assert time.monotonic() - began < 20


def building(server: Server) -> bool:
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE INDEX slow_index%'"
    return bool(server.value(MAINTENANCE, active))
