# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which run put which database into the place of the live one, as the marks of the kept databases tell it.

A mark is written when its database leaves the place of the live one: ``run_id`` is the run that did it, ``live_oid``
the database that came instead. When that was an undo, ``undoes`` names the runs whose changes it took back: the last
one by itself, the ones before it by what it inherited. So R undone by U is ``[R]``, and that undone by V ``[R, U]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .server import Database


def way_back(kept: list[Database], live_oid: int, run_id: str) -> list[Database]:
    """Return the databases that must come back, one after the other, to undo what the run changed.

    One, unless the run changed the names more than once. ``kept`` begins with the newest.
    """
    changes = _changes(kept, run_id)
    found: list[Database] = []
    while True:
        one = next((one for one in changes if one.mark.get("live_oid") == live_oid), None)
        if one is None or one in found:
            return found
        found.append(one)
        live_oid = one.oid


def undone_by(kept: list[Database], database: str, live_oid: int, run_id: str, own: str) -> Database | None:
    """Return the database that left when the run's change was undone; none when the run changed nothing here.

    With the choice, the one of the run ``own``. Raises ``RollbackError`` when the change still holds, below that of a
    later run or because its undo was undone.
    """
    changes = _changes(kept, run_id)
    if changes:
        raise _refusal(kept, changes[0], database, live_oid, run_id)
    undos = [one for one in kept if run_id in _undoes(one)]
    if not undos:
        return None
    latest = next((one for one in undos if one.mark.get("run_id") == own and _is_undone(one, run_id)), undos[0])
    if not _is_undone(latest, run_id):
        raise _refusal(kept, latest, database, live_oid, run_id)
    return latest


def mark_of_displaced(incoming: dict[str, Any], oid: int, **facts: Any) -> dict[str, Any]:
    """Return the mark for the live database that leaves when the one with the mark ``incoming`` comes back.

    It holds what the two are to each other (backup and sum), and is ``kept`` again when an undo is undone.
    """
    kind = "kept" if incoming.get("kind") == "undone" else "undone"
    undoes = [*incoming.get("undoes", []), incoming.get("run_id", "")]
    return {**incoming, "kind": kind, "live_oid": oid, "undoes": undoes, "copied": False, **facts}


def _changes(kept: Iterable[Database], run_id: str) -> list[Database]:
    """Return the databases that left because of the run, without those that it took back by itself."""
    return [one for one in kept if one.mark.get("run_id") == run_id and _undoes(one)[-1:] != [run_id]]


def _undoes(one: Database) -> list[str]:
    return list(one.mark.get("undoes", []))


def _is_undone(one: Database, run_id: str) -> bool:
    """Say whether this step left the run's change undone: each further undo turns it over."""
    undoes = _undoes(one)
    return run_id in undoes and undoes[::-1].index(run_id) % 2 == 0


def _refusal(kept: list[Database], start: Database, database: str, live_oid: int, run_id: str) -> RollbackError:
    """Return the refusal that names the run which changed the live database last, on the way from ``start``."""
    by_oid = {one.oid: one for one in kept}
    later: Database | None = start
    for _step in kept:  # marks that somebody wrote by hand may go round in a circle
        if later is None or later.mark.get("live_oid") == live_oid:
            break
        later = by_oid.get(later.mark.get("live_oid", 0))
    if later is None or later.mark.get("live_oid") != live_oid:
        later = next((one for one in kept if one.mark.get("live_oid") == live_oid), None)
    if later is None:
        return RollbackError(
            f"The run {run_id} changed {database}, and what it kept is {start.name}; but the live database is none "
            "that a run has put there. Nothing was changed.",
            "Look with \\l+ in psql which database is which, then rename by hand.",
            databases=[start.name],
        )
    names = [start.name] if start is later else [start.name, later.name]
    name = str(later.mark.get("run_id", ""))
    who = f"the run {name}" if name else "a run without an id"
    return RollbackError(
        f"{database} was changed again after the run {run_id}, by {who} at {later.mark.get('at', '')}, which "
        f"keeps the database from before as {later.name}. Nothing was changed.",
        f"Undo that one first: state=undone{f' with undo_of={name}' if name else ''}. Then try again.",
        later_run=name,
        databases=names,
    )
