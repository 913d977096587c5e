# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sidecar is untrusted: it is read back as written, or reported, and never ends the look at a backup."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import sidecar

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {"taken_at": "2024-12-28T01:45:00Z", "bytes": 5, "sha256": "a" * 64, "tables": {"public.t": 2}, "release": "v1"}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    backup = tmp_path / "a.sql.gz"
    sidecar.sidecar_path(backup).write_bytes(sidecar.write_sidecar(FACTS))
    seen = sidecar.read_sidecar(backup)
    assert (seen.problem, seen.path) == ("", str(tmp_path / "a.sql.gz.meta.json"))
    assert {key: seen.facts[key] for key in FACTS} == FACTS
    assert seen.taken_at == datetime(2024, 12, 28, 1, 45, tzinfo=timezone.utc)


def test_none_is_no_problem(tmp_path: Path) -> None:
    assert sidecar.read_sidecar(tmp_path / "a") == sidecar.Sidecar()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"[]", b"null", b"1", b"{}", b'{"usdx.rollback": 2}', b"[" * 100_000,
        b'{"usdx.rollback": 1, "bytes": true}',
        b'{"usdx.rollback": 1, "bytes": -1}',
        b'{"usdx.rollback": 1, "sha256": "A"}',
        b'{"usdx.rollback": 1, "taken_at": "2024-12-28T01:45:00"}',
        b'{"usdx.rollback": 1, "taken_at": 5}',
        b'{"usdx.rollback": 1, "tables": {"t": "2"}}',
        b'{"usdx.rollback": 1, "tables": {"t": NaN}}',
        b'{"usdx.rollback": 1, "release": ["v1"]}',
        b'{"usdx.rollback": 1}' + b" " * sidecar.LIMIT,
    ],
)  # fmt: skip
def test_a_bad_one_is_reported_and_not_used(tmp_path: Path, content: bytes) -> None:
    backup = tmp_path / "a"
    sidecar.sidecar_path(backup).write_bytes(content)
    seen = sidecar.read_sidecar(backup)
    assert seen.problem
    assert seen.facts == {}


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(sidecar.sidecar_path(tmp_path / "a"))
    assert sidecar.read_sidecar(tmp_path / "a").problem == "it is no file"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-12-28T02:45:00+01:00", "2024-12-28T01:45:00Z"), ("2024-12-28T02:45:00+0100", "2024-12-28T01:45:00Z"),
        ("2024-12-28 01:45:00Z", "2024-12-28T01:45:00Z"),
        ("2024-12-28T01:45:00", None), ("yesterday", None), ("0001-01-01T00:00:00+01:00", None),
    ],
)  # fmt: skip
def test_a_moment_needs_a_zone(text: str, utc: str | None) -> None:
    moment = sidecar.parse_moment(text)
    assert (sidecar.write_moment(moment) if moment else None) == utc
