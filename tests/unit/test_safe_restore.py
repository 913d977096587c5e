# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a safe restore that need no server."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import difference
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.backup_file import DecodedFile
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.carry_over import Grant, _in_grant_order
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.connection import Login
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import DamagedBackup, DumpFacts
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.preflight import (
    check_dump,
    check_rows,
    check_share,
    check_sidecar,
    check_tables,
    find_live,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.reader import open_backup
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.restore import restore
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.server import Database
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.workers import Batch, Rows, _conflict


@pytest.mark.parametrize("wrong", [{"jobs": 0}, {"keep": -1}, {"min_age_hours": -1}, {"cutover_timeout": 0}])
def test_numbers_that_mean_nothing_are_refused_before_a_connection(wrong: dict[str, Any]) -> None:
    given = {"state": "restored", "jobs": 1, "keep": 1, "min_age_hours": 1, "cutover_timeout": 1, "db": "d"} | wrong

    def login_of(_options: dict[str, Any]) -> tuple[Login, str]:
        raise AssertionError

    with pytest.raises(RollbackError) as caught:
        restore(given, login_of, check=False)
    assert next(iter(wrong)) in caught.value.msg
    assert caught.value.facts["live_untouched"] is True


def test_a_password_does_not_show() -> None:
    assert "secret" not in repr(Login("localhost", password="secret"))  # noqa: S106


# --- refusals ---


def test_a_dump_of_a_newer_server_is_refused() -> None:
    check_dump(DumpFacts(server_version="15.18 (Debian)"), 150018, "d", allow_newer=False)
    check_dump(DumpFacts(server_version="17.2"), 150018, "d", allow_newer=True)
    check_dump(DumpFacts(server_version=""), 150018, "d", allow_newer=False)
    with pytest.raises(RollbackError, match="newer than this server"):
        check_dump(DumpFacts(server_version="17.2"), 150018, "d", allow_newer=False)


def test_a_dump_of_another_database_is_refused() -> None:
    with pytest.raises(RollbackError, match="database other"):
        check_dump(DumpFacts(database="other"), 150018, "d", allow_newer=False)
    check_tables({"public.a", "public.b"}, {"public.b"})
    check_tables({"public.a"}, set())
    with pytest.raises(RollbackError, match="no table in common"):
        check_tables({"public.a"}, {"public.b"})


def test_a_backup_that_is_not_what_its_sidecar_says_is_refused() -> None:
    said = {"bytes": 10, "sha256": "a", "tables": {"t": 1}}
    check_sidecar(said, said)
    check_sidecar({}, said)
    check_sidecar(said, {"bytes": 10})
    for key in said:
        with pytest.raises(RollbackError, match=f"{key} differ"):
            check_sidecar(said, {**said, key: "other"})


def test_a_backup_with_other_rows_than_expected_is_refused() -> None:
    tables = {"public.a": 5, "public.b": 0}
    check_rows(tables, [])
    check_rows(tables, [{"table": "public.a", "equals": 5, "minimum": None}, {"table": "public.b", "equals": 0}])
    check_rows(tables, [{"table": "public.a", "equals": None, "minimum": 5}])
    for wrong, told in (
        ({"table": "public.a", "equals": 4}, "public.a has 5, expected were 4"),
        ({"table": "public.a", "minimum": 6}, "public.a has 5, expected were at least 6"),
        ({"table": "a", "minimum": 0}, "there is no table a"),
    ):
        with pytest.raises(RollbackError, match=told):
            check_rows(tables, [wrong])


def test_a_backup_with_few_of_the_live_rows_is_refused_when_asked() -> None:
    check_share(0, 1000, 0.0)
    check_share(500, 1000, 0.5)
    check_share(0, 0, 0.5)
    with pytest.raises(RollbackError, match="holds 499 rows, the live database about 1000"):
        check_share(499, 1000, 0.5)


# --- what a diff shows ---


def test_the_difference_of_a_restore() -> None:
    shown = difference.of_restore("shop", "app", {"public.a": 3, "public.gone": 1}, {"public.a": 2}, "shop_before_x")
    assert shown["before"] == "shop, owner app\n  public.a: 3 rows\n  public.gone: 1 rows\n"
    assert shown["after"] == "shop, owner app\n  public.a: 2 rows\nshop_before_x, the former shop, kept\n"


def test_the_difference_with_too_many_tables_for_a_mark() -> None:
    shown = difference.of_restore("shop", "app", {"public.a": 3, "public.b": 1}, {"all tables": 2}, "shop_before_x")
    assert "  all tables: 4 rows\n" in shown["before"]


def test_the_difference_of_other_states() -> None:
    assert difference.of_load("shop_side_x", {"public.a": 2})["after"] == "shop_side_x, verified\n  public.a: 2 rows\n"
    assert difference.of_undo("shop", 1, "shop_before_x", 2, "shop_undone_y") == {
        "before": "shop: object id 1\nshop_before_x: object id 2, kept\n",
        "after": "shop: object id 2\nshop_undone_y: object id 1, kept\n",
    }
    assert difference.of_cleaning(["b"], ["a"]) == {"before": "a\nb\n", "after": "b\n"}


def database(name: str) -> Database:
    return Database(name, 1, "o", "pg_default", "UTF8", "", {"datistemplate": False})


def test_the_live_database_must_be_one_that_can_be_renamed() -> None:
    found = {name: database(name) for name in ("live", "postgres")}
    assert find_live(found, "live", "postgres").name == "live"
    with pytest.raises(RollbackError, match="there are live, postgres"):
        find_live(found, "other", "postgres")
    with pytest.raises(RollbackError, match="maintenance database"):
        find_live(found, "postgres", "postgres")


# --- grants ---


def test_who_passes_a_privilege_on_gets_it_first() -> None:
    chain = [
        Grant("b", "c", "SELECT", grantable=False),
        Grant("a", "b", "SELECT", grantable=True),
        Grant("owner", "z", "SELECT", grantable=False),
        Grant("owner", "a", "SELECT", grantable=True),
    ]
    ordered = _in_grant_order("owner", frozenset(chain))
    assert [grant.grantee for grant in ordered] == ["a", "z", "b", "c"]
    lost_chain = [Grant("x", "y", "SELECT", grantable=False)]
    assert _in_grant_order("owner", frozenset(lost_chain)) == lost_chain, "nothing is left out, and it ends"


# --- workers ---


def batch(shared: str = "", exclusive: str = "") -> Batch:
    return Batch((b"x",), "x", 0, frozenset(shared.encode().split()), frozenset(exclusive.encode().split()))


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        (batch(shared="t"), batch(shared="t"), False),
        (batch(shared="t"), batch(exclusive="t"), True),
        (batch(exclusive="t u"), batch(exclusive="u v"), True),
        (batch(exclusive="t"), batch(exclusive="u"), False),
        (batch(exclusive="t"), Rows(0, b"", b"", 0), False),
    ],
)
def test_what_may_run_beside_what(one: Batch, other: Batch | Rows, conflict: bool) -> None:  # noqa: FBT001
    assert _conflict(one, other) is conflict


# --- files ---


def decoded(path: Path) -> bytes:
    return b"".join(DecodedFile(path).chunks())


def test_a_file_is_decoded_by_its_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 20000
    path = tmp_path / "x.sql"
    for content in (data, gzip.compress(data), gzip.compress(data[:1000]) + gzip.compress(data[1000:])):
        path.write_bytes(content)
        assert decoded(path) == data


def test_pieces_stay_small_whatever_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(bytes(50 << 20)))
    sizes = [len(piece) for piece in DecodedFile(path).chunks()]
    assert (sum(sizes), max(sizes)) == (50 << 20, 1 << 20)


def test_every_cut_of_a_gzip_is_noticed(tmp_path: Path) -> None:
    whole = gzip.compress(b"some text that is not long")
    path = tmp_path / "x"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length >= 2:
            with pytest.raises(DamagedBackup):
                decoded(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedBackup, match="not gzip"):
        decoded(path)


@pytest.mark.parametrize("head", [b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", bytes(257) + b"ustar"])
def test_another_kind_of_file_is_named(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "x").write_bytes(head + bytes(600))
    with pytest.raises(RollbackError, match="pg_dump"), open_backup(str(tmp_path / "x")):
        pass


def test_a_directory_without_a_table_of_contents(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match=r"toc\.dat"), open_backup(str(tmp_path)):
        pass
