# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which database must come back to undo a run: tried on every order of restores, copies and undos of a few runs."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.history import (
    mark_of_displaced,
    undone_by,
    way_back,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.names import write_mark
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.server import Database


class Catalog:
    """A server of names and marks only, which carries out runs as the module does."""

    def __init__(self) -> None:
        """Begin with one database, which is live."""
        self.live = 1
        self.marks: dict[int, dict[str, Any]] = {}
        self.moment = 0

    def kept(self) -> list[Database]:
        """Return the kept databases, the newest first."""
        marks = sorted(self.marks.items(), key=lambda one: one[1]["at"], reverse=True)
        return [Database(f"d{oid}", oid, "o", "t", "UTF8", write_mark(**mark), {}) for oid, mark in marks]

    def change(self, run_id: str) -> None:
        """Put a new database into the place of the live one."""
        new = max([self.live, *self.marks]) + 1
        self.moment += 1
        self.marks[self.live] = {"kind": "kept", "run_id": run_id, "live_oid": new, "at": f"{self.moment:04}"}
        self.live = new

    def undo(self, of: str, by: str) -> str:
        """Undo a run; say what happened."""
        way = way_back(self.kept(), self.live, of)
        for one in way:
            self.moment += 1
            del self.marks[one.oid]
            own = {"run_id": by, "at": f"{self.moment:04}"}
            self.marks[self.live] = mark_of_displaced(one.mark, one.oid, **own)
            self.live = one.oid
        if way:
            return "changed"
        try:
            found = undone_by(self.kept(), "d", self.live, of, by)
        except RollbackError as error:
            return f"refused {error.facts['later_run']}"
        if found is None:
            return "nothing"
        return "already" if found.mark["run_id"] == by else f"undone by {found.mark['run_id']}"


@pytest.mark.parametrize("changes", [1, 2])
def test_a_run_its_undo_and_the_undo_of_that(changes: int) -> None:
    catalog = Catalog()
    assert catalog.undo("R", "U") == "nothing"
    for _number in range(changes):
        catalog.change("R")
    after = catalog.live
    names = ["R", "U", "V", "W", "X"]
    for step, (of, by) in enumerate(zip(names, names[1:])):
        assert catalog.undo(of, by) == "changed"
        assert catalog.live == (after if step % 2 else 1)
        assert catalog.undo(of, by) == "already"
        if step == 0:
            assert catalog.undo("R", "other") == "undone by U"
        if step == 1:
            assert catalog.undo("R", "other") == "refused V"
        if step == 2:
            assert (catalog.undo("R", "other"), catalog.undo("U", "other")) == ("undone by W", "refused W")


def test_a_run_that_undid_itself_has_nothing_to_undo_until_it_changes_again() -> None:
    catalog = Catalog()
    catalog.change("R")
    assert (catalog.undo("R", "R"), catalog.undo("R", "R"), catalog.live) == ("changed", "already", 1)
    assert catalog.undo("R", "U") == "undone by R"
    catalog.change("R")
    catalog.change("S")
    assert catalog.undo("R", "U") == "refused S"
    assert (catalog.undo("S", "U"), catalog.undo("R", "U"), catalog.live) == ("changed", "changed", 1)


def test_a_run_that_undid_another_and_then_changed_is_undone_to_where_it_began() -> None:
    catalog = Catalog()
    catalog.change("Q")
    began = catalog.live
    assert catalog.undo("Q", "R") == "changed"
    catalog.change("R")
    assert (catalog.undo("R", "U"), catalog.live) == ("changed", began)


@pytest.mark.parametrize("runs", [*itertools.product("QRS", repeat=3), *itertools.product("QR", repeat=4)])
def test_undone_in_the_order_backwards_every_run_comes_to_where_it_began(runs: tuple[str, ...]) -> None:
    """Also when a run changed twice in a row; one that changed before and after another is undone around it."""
    catalog = Catalog()
    began = []
    for name in runs:
        began.append(catalog.live)
        catalog.change(name)
    groups = [name for name, _group in itertools.groupby(runs)]
    for name in reversed(groups):
        assert catalog.undo(name, "U") == "changed"
    assert catalog.live == 1
    assert all(catalog.undo(name, "U") == "already" for name in groups)
    assert began[0] == 1


@pytest.mark.parametrize("runs", list(itertools.permutations("QRS")))
def test_only_the_latest_run_can_be_undone(runs: tuple[str, ...]) -> None:
    catalog = Catalog()
    for name in runs:
        catalog.change(name)
    live, marks = catalog.live, dict(catalog.marks)
    assert [catalog.undo(name, "U") for name in runs[:-1]] == [f"refused {runs[-1]}"] * 2
    assert (catalog.live, catalog.marks) == (live, marks)


def test_marks_that_go_round_in_a_circle_end() -> None:
    catalog = Catalog()
    catalog.marks = {
        2: {"run_id": "R", "live_oid": 3, "at": "2"},
        3: {"run_id": "R", "live_oid": 2, "at": "1"},
    }
    with pytest.raises(RollbackError, match="none that a run has put there"):
        undone_by(catalog.kept(), "d", 1, "R", "U")
