# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are stopped, and when an end counts as a kill."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.project import (
    Container,
    container_from,
    kept_containers,
    summary,
)
from ansible_collections.usdx.rollback.plugins.module_utils.stop import (
    StopRequest,
    check_request,
    judge_kills,
    plan,
    was_killed,
)


def container(service: str, state: str = "running", **differences: Any) -> Container:
    """Return a container as docker inspect would describe it."""
    inspected = {
        "Id": f"id-{service}",
        "Name": f"/p-{service}-1",
        "Image": "sha256:1",
        "RestartCount": 0,
        "State": {"Status": state, "ExitCode": 0, "OOMKilled": False, "StartedAt": "2026-01-01T00:00:00Z"},
        "Config": {
            "Image": "app:1",
            "StopTimeout": differences.get("stop_timeout"),
            "Labels": {
                "com.docker.compose.service": service,
                "com.docker.compose.container-number": "1",
                "com.docker.compose.oneoff": differences.get("one_off", "False"),
            },
        },
        "HostConfig": {"RestartPolicy": {"Name": differences.get("policy", ""), "MaximumRetryCount": 0}},
    }
    return container_from(inspected)


@pytest.mark.parametrize(
    ("state", "stops"),
    [("running", True), ("restarting", True), ("paused", True), ("exited", False), ("created", False), ("dead", False)],
)
def test_defined_answer_for_each_state(state: str, *, stops: bool) -> None:
    """Defined answer for each state."""
    ((action,),) = plan([container("web", state)], StopRequest("p", [["web"]]))
    assert action.stop is stops
    assert action.unpause is (state == "paused")


def test_only_named_services_in_their_order() -> None:
    """Only named services in their order."""
    containers = [container("db"), container("web"), container("nginx"), container("web", one_off="True")]
    planned = plan(containers, StopRequest("p", [["nginx"], ["web", "absent"]]))
    assert [[one.container.service for one in group] for group in planned] == [["nginx"], ["web", "web"]]


def test_a_service_that_is_replaced_while_it_serves_is_left_alone() -> None:
    """Also one that is paused, and also where the others are held."""
    request = StopRequest("p", [["nginx"], ["web", "side"]], hold=True, not_stopped=["web", "side"])
    containers = [container("nginx", policy="always"), container("web", policy="always"), container("side", "paused")]
    planned = [one for group in plan(containers, request) for one in group]
    assert [(one.stop, one.unpause, one.hold) for one in planned] == [
        (True, False, True), (False, False, False), (False, False, False),
    ]  # fmt: skip


def test_only_a_service_of_a_group_can_be_left_alone() -> None:
    with pytest.raises(RollbackError, match="not_stopped names db, which is in no group"):
        check_request(StopRequest("p", [["web"]], not_stopped=["db"]))


def test_grace_period_option_then_container_then_ten() -> None:
    """Grace period option then container then ten."""
    request = StopRequest("p", [["a", "b", "c", "d"]], grace_periods={"a": 3})
    containers = [container("a", stop_timeout=5), container("b", stop_timeout=5), container("c")]
    containers.append(container("d", stop_timeout=0))
    ((a, b, c, d),) = plan(containers, request)
    assert [one.grace_period for one in (a, b, c, d)] == [3, 5, 10, 0]


def test_hold_concerns_stopped_containers_too_but_not_those_that_never_restart() -> None:
    """Hold concerns stopped containers too but not those that never restart."""
    containers = [container("a", "exited", policy="always"), container("b", policy="no"), container("c")]
    ((a, b, c),) = plan(containers, StopRequest("p", [["a", "b", "c"]], hold=True))
    assert [one.hold for one in (a, b, c)] == [True, False, False]


def test_killed_only_when_the_grace_period_was_used_up() -> None:
    """Killed only when the grace period was used up."""
    assert was_killed(137, 10.1, 10, out_of_memory=False)
    assert not was_killed(137, 3.0, 10, out_of_memory=False)  # it ended itself with 137
    assert not was_killed(137, 10.1, 10, out_of_memory=True)
    assert not was_killed(143, 10.1, 10, out_of_memory=False)


@pytest.mark.parametrize(
    ("groups", "keep", "grace_periods", "words"),
    [
        ([], [], {}, "no service"),
        ([[]], [], {}, "no service"),
        (["web"], [], {}, "no list"),
        ([[1]], [], {}, "no service name"),
        ([["--all"]], [], {}, "no service name"),
        ([["web"], ["web"]], [], {}, "twice"),
        ([["web"]], ["web"], {}, "in keep"),
        ([["web"]], [], {"web": "soon"}, "soon"),
        ([["web"]], [], {"web": True}, "True"),
        ([["web"]], [], {"db": 3}, "db"),
    ],
)
def test_refused(groups: Any, keep: list[str], grace_periods: dict[str, Any], words: str) -> None:
    """Refused."""
    with pytest.raises(RollbackError, match="Nothing was changed") as caught:
        check_request(StopRequest("p", groups, keep, grace_periods))
    assert words in caught.value.msg


def test_normal_form() -> None:
    """Normal form."""
    request = check_request(StopRequest("p", [[], ["web"]], [], {"web": "7"}))  # type: ignore[dict-item]
    assert request.groups == [["web"]]
    assert request.grace_periods == {"web": 7}


def test_keep_service_that_only_has_a_one_off_container_does_not_run() -> None:
    """Keep service that only has a one off container does not run."""
    with pytest.raises(RollbackError, match="db does not run"):
        kept_containers([container("db", one_off="True")], ["db"])


def test_summary_is_the_liveliest_state() -> None:
    """Summary is the liveliest state."""
    assert summary([container("a", "exited"), container("a", "paused")]) == "paused"
    assert summary([]) == "absent"


def test_a_kill_is_told_as_asked() -> None:
    """Warn, fail or ignore; all of them keep the result."""
    result = {"killed": ["p-web-1"], "warnings": []}
    assert judge_kills(StopRequest("p", [["web"]], on_kill="ignore"), result)["warnings"] == []
    with pytest.raises(RollbackError, match="p-web-1") as caught:
        judge_kills(StopRequest("p", [["web"]], on_kill="fail"), result)
    assert caught.value.facts["killed"] == ["p-web-1"]
    assert "p-web-1" in judge_kills(StopRequest("p", [["web"]], on_kill="warn"), result)["warnings"][0]
