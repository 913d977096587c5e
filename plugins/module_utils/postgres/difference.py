# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call changes, as the two texts that ``--diff`` shows. They hold names and numbers only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ALL_TABLES = "all tables"
"""Stands for the tables of a database that has too many to be noted in its mark."""


def nothing() -> dict[str, str]:
    """Return the texts of a call that changes nothing."""
    return {"before": "", "after": ""}


def of_restore(database: str, owner: str, live_rows: dict[str, int], rows: dict[str, int], kept: str) -> dict[str, str]:
    """Return the texts for a restore: rows per table before and after, and the name of the database that is kept."""
    if set(rows) == {ALL_TABLES}:
        live_rows = {ALL_TABLES: sum(live_rows.values())}
    return {
        "before": _described(f"{database}, owner {owner}", live_rows),
        "after": _described(f"{database}, owner {owner}", rows) + f"{kept}, the former {database}, kept\n",
    }


def of_load(side: str, rows: dict[str, int]) -> dict[str, str]:
    """Return the texts for a side database that is made and verified; the live one does not change."""
    return {"before": "", "after": _described(f"{side}, verified", rows)}


def of_copy(database: str, kept: str) -> dict[str, str]:
    """Return the texts for a copy that takes the place of the live database."""
    return {"before": f"{database}\n", "after": f"{database}, a copy\n{kept}, the former {database}, kept\n"}


def of_undo(database: str, live: int, kept: str, kept_oid: int, name: str) -> dict[str, str]:
    """Return the texts for names that change back; a database is told by its object id."""
    return {
        "before": f"{database}: object id {live}\n{kept}: object id {kept_oid}, kept\n",
        "after": f"{database}: object id {kept_oid}\n{name}: object id {live}, kept\n",
    }


def of_cleaning(left: Iterable[str], dropped: Iterable[str]) -> dict[str, str]:
    """Return the texts for databases that are dropped."""
    stay = set(left)
    return {
        "before": "".join(f"{name}\n" for name in sorted(stay | set(dropped))),
        "after": "".join(f"{name}\n" for name in sorted(stay)),
    }


def _described(head: str, rows: dict[str, int]) -> str:
    return f"{head}\n" + "".join(f"  {table}: {number} rows\n" for table, number in sorted(rows.items()))
