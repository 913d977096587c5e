# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An undo puts everything back also when no application service runs any more, or none has a container."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import snapshot
from stack import APPLICATION_SERVICES, Stack

if TYPE_CHECKING:
    from typing import Any

EACH = pytest.mark.parametrize("moment", ["stopped", "removed"])


def application(stack: Stack, moment: str) -> dict[str, Any]:
    """Return the containers of the application services at a moment."""
    found = stack.containers(stack.seen(moment))
    return {service: found[service] for service in APPLICATION_SERVICES if service in found}


@EACH
def test_the_rollback_had_changed_code_database_and_services(stack: Stack, moment: str) -> None:
    code, screen = stack.screen(f"_{moment}_rollback")
    assert code == 0, screen
    down = stack.seen(moment)
    assert down["repository"]["head"] == [stack.facts["tags"]["v1.0.2"]]
    assert stack.database_id(down) != stack.database_id(stack.before)
    left = {service: one["status"] for service, one in application(stack, moment).items()}
    assert left == (dict.fromkeys(APPLICATION_SERVICES, "exited") if moment == "stopped" else {})


@EACH
def test_the_undo_ends_well(stack: Stack, moment: str) -> None:
    code, screen = stack.screen(f"_{moment}_undo")
    assert code == 0, screen


@EACH
def test_code_edits_files_and_database_are_as_before(stack: Stack, moment: str) -> None:
    back = stack.seen(f"{moment}_undone")
    assert back["tree"] == stack.before["tree"]
    for part in ("head", "status"):
        assert back["repository"][part] == stack.before["repository"][part]
    assert stack.database_id(back) == stack.database_id(stack.before)


@EACH
def test_every_service_runs_from_its_image_of_before(stack: Stack, moment: str) -> None:
    before, back = application(stack, "before"), application(stack, f"{moment}_undone")
    assert {name: one["image"] for name, one in back.items()} == {name: one["image"] for name, one in before.items()}
    assert {(one["status"], one["health"]) for one in back.values()} == {("running", "healthy")}
    assert len(back) == len(APPLICATION_SERVICES)


def test_in_the_end_users_get_the_former_release_and_its_rows(stack: Stack) -> None:
    assert json.loads(stack.get("/health")[1])["version"] == "v1.0.3"
    assert int(stack.sql("SELECT count(*) FROM events")[0]) >= stack.before["events"]
    assert snapshot.lines("git", "symbolic-ref", "HEAD", cwd=stack.directory / "project") == ["refs/heads/hotfix"]
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()
