# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of three runs the newest keeps everything; what the others kept is gone, and the application did not notice."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack import Stack


def moment(stack: Stack, name: str) -> dict[str, Any]:
    """Return a snapshot that converge.yml has taken."""
    told: dict[str, Any] = json.loads((stack.directory / f"{name}.json").read_text(encoding="utf-8"))
    return told


def runs(stack: Stack) -> list[str]:
    """Return the ids of the runs, the oldest first."""
    return sorted(path.name for path in (stack.directory / "state/runs").iterdir())


def of_run(told: dict[str, Any], run_id: str) -> tuple[list[str], list[str]]:
    """Return the names of images and the references that a run has kept."""
    images = [line.split()[0] for line in told["images"] if line.split()[0].endswith(f":before-{run_id}")]
    return images, [line.split()[0] for line in told["repository"]["refs"] if f"refs/rollback/{run_id}/" in line]


def databases(told: dict[str, Any]) -> list[str]:
    """Return the names of the databases that stand beside the live one, the oldest first."""
    names = [line.split("|")[0] for line in told["databases"]]
    return sorted((name for name in names if name.startswith("usdx_wexel_")), key=lambda name: name.rpartition("_")[2])


def pins(stack: Stack, told: dict[str, Any]) -> list[str]:
    """Return the names that keep images of releases."""
    return [line for line in stack.ours(told["images"]) if re.match(r"usdx-rollback/[^ ]*:[0-9a-f]{12} ", line)]


def test_there_was_something_to_drop(stack: Stack) -> None:
    kept = moment(stack, "kept")
    assert len(runs(stack)) == 3
    for run_id in runs(stack):
        images, references = of_run(kept, run_id)
        assert len(images) == 3
        assert f"refs/rollback/{run_id}/before" in references
    assert f"refs/rollback/{runs(stack)[0]}/local-edits" in of_run(kept, runs(stack)[0])[1]
    assert len(databases(kept)) >= 2
    assert kept["leavings"] == ["usdx-rollback-killed_8"]
    assert pins(stack, kept)


def test_check_mode_changes_nothing(stack: Stack) -> None:
    kept, looked = moment(stack, "kept"), moment(stack, "looked")
    assert stack.ours(looked["images"]) == stack.ours(kept["images"])
    for part in ("tree", "repository", "state", "databases", "leavings"):
        assert looked[part] == kept[part], part


@pytest.mark.parametrize("number", ["check", "first"])
def test_every_thing_that_goes_is_on_the_screen(stack: Stack, number: str) -> None:
    code, screen = stack.screen(number)
    assert code == 0, screen
    words = " ".join(screen.split())
    kept = moment(stack, "kept")
    gone = [name for run_id in runs(stack)[:2] for part in of_run(kept, run_id) for name in part]
    gone += [*databases(kept)[:-1], "usdx-rollback-killed_8"]
    assert [name for name in gone if name not in words] == []
    assert "saved work of somebody" in words


def test_what_had_to_go_is_gone(stack: Stack) -> None:
    for run_id in runs(stack)[:2]:
        assert of_run(stack.now, run_id) == ([], [])
    assert databases(stack.now) == databases(moment(stack, "kept"))[-1:]
    assert stack.now["leavings"] == []


def test_what_had_to_stay_stays(stack: Stack) -> None:
    kept, newest = moment(stack, "kept"), runs(stack)[-1]
    assert of_run(stack.now, newest) == of_run(kept, newest)
    assert pins(stack, stack.now) == pins(stack, kept)
    assert stack.now["state"] == kept["state"]
    assert stack.now["tree"] == kept["tree"]
    heads = [line for line in kept["repository"]["refs"] if not line.startswith("refs/rollback/")]
    assert [line for line in stack.now["repository"]["refs"] if not line.startswith("refs/rollback/")] == heads
    assert stack.database_id(stack.now) == stack.database_id(kept)
    assert stack.ours(stack.now["volumes"]) == stack.ours(kept["volumes"])


def test_the_application_did_not_notice(stack: Stack) -> None:
    stack.assert_release_answers("v1.0.2")
    stack.assert_keep_services_untouched()
    before, now = stack.containers(moment(stack, "kept")), stack.containers(stack.now)
    assert {name: (one["id"], one["started"]) for name, one in now.items()} == {
        name: (one["id"], one["started"]) for name, one in before.items()
    }


def test_a_second_cleanup_has_nothing_to_do(stack: Stack) -> None:
    code, screen = stack.screen("second")
    assert code == 0, screen
    assert "Drop nothing" in screen
    assert re.search(r"^demo .*changed=0 ", screen, re.MULTILINE)
    assert re.search(r"^demo .*changed=2 ", stack.screen("first")[1], re.MULTILINE)
