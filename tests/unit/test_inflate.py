# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether isal decodes a backup or Python's own zlib: the bytes and the refusals are the same."""

from __future__ import annotations

import gzip
import random
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import inflate
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.archive_data import decode
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.backup_file import DecodedFile
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.dump import DamagedBackup
from isal import isal_zlib

LIBRARIES = [zlib, isal_zlib]
CHANCE = random.Random("inflate")  # noqa: S311 - repeatable, not secret
# Rows of a table, what cannot be packed, and what packs into almost nothing.
ROWS = b"".join(b"%d\tpool %d\t\\N\n" % (n, n % 7) for n in range(60_000))
CONTENT = ROWS + CHANCE.randbytes(300_000) + bytes(3 << 20)
MEMBERS = [CONTENT[:500_000], b"", CONTENT[500_000:]]
WHOLE = b"".join(gzip.compress(member, mtime=0) for member in MEMBERS)
SMALL = gzip.compress(CONTENT[:4000], mtime=0) + gzip.compress(CONTENT[4000:6000], mtime=0)


@pytest.fixture(params=LIBRARIES, ids=["zlib", "isal"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(inflate, "library", request.param)
    return request.param


def read(path: Path) -> bytes | None:
    """Return what is in a backup; nothing when it is refused."""
    try:
        return b"".join(DecodedFile(path).chunks())
    except DamagedBackup:
        return None


@pytest.mark.usefixtures("library")
def test_several_members_are_one_stream(tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(WHOLE)
    pieces = list(DecodedFile(tmp_path / "backup").chunks())
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("step", [1, 4096, 1 << 20])
def test_data_of_an_archive_comes_in_any_pieces(step: int) -> None:
    content = CONTENT[-400_000:] if step == 1 else CONTENT
    packed = zlib.compress(content)

    def fail(what: str) -> None:
        raise AssertionError(what)

    pieces = (packed[at : at + step] for at in range(0, len(packed), step))
    assert b"".join(decode(pieces, "gzip", fail, file=False)) == content  # type: ignore[arg-type]


def test_damage_is_noticed_by_both_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "backup"
    refused = 0
    for number in range(600):
        at = CHANCE.randrange(len(SMALL))
        flipped = SMALL[:at] + bytes([SMALL[at] ^ (1 << CHANCE.randrange(8))]) + SMALL[at + 1 :]
        path.write_bytes(flipped if number % 2 else SMALL[:at])
        seen = []
        for one in LIBRARIES:
            monkeypatch.setattr(inflate, "library", one)
            seen.append(read(path))
        assert seen[0] == seen[1], (number, at)
        assert seen[0] in (None, CONTENT[:6000]) or at == len(gzip.compress(CONTENT[:4000], mtime=0))
        refused += seen[0] is None
    assert refused > 500  # the others changed what gzip does not read, such as the time in its header
