# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be mended after a diagnosis: what is named, one thing at a time, and nothing that fails as well."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.infrastructure_fix import (
    infrastructure_checks,
    infrastructure_fix,
    infrastructure_lines,
)

SERVICES = ["webapp", "indexer", "db", "redis"]
ADDRESS = "https://node.example/v2/s3cr3t"
RPC = {"name": "rpc", "kind": "rpc", "url": ADDRESS, "env_key": "RPC_URL", "backup_url": ADDRESS + "2",
       "used_by": ["indexer"]}  # fmt: skip
DEPENDENCIES: list[dict[str, Any]] = [RPC, {"name": "redis", "kind": "redis", "service": "redis"}]


def probe(component: str, verdict: str = "failed", place: str = "indexer") -> dict[str, Any]:
    """Return a probe as the diagnosis has it."""
    return {"name": f"{component} answers", "component": component, "verdict": verdict, "seen": "connection refused",
            "limit": "answers", "from": place, "seconds": 0.1}  # fmt: skip


def fix(found: dict[str, Any] | None = None, **asked: Any) -> dict[str, Any]:
    """Return what is to be done."""
    return infrastructure_fix({"services": SERVICES, **asked}, DEPENDENCIES, found or {})


@pytest.mark.parametrize("given", ["redis, db", ["redis", "db"], ["redis", "db", "redis"]])
def test_what_is_named_is_restarted_in_its_order(given: object) -> None:
    told = fix(restart=given)
    assert (told["kind"], told["services"], told["refusal"]) == ("restart", ["redis", "db"], "")
    assert infrastructure_lines(told) == ["restart redis, db, the same containers, until healthy"]


def test_a_switch_names_no_address() -> None:
    told = fix(switch="rpc")
    assert (told["kind"], told["env_key"], told["source"], told["services"]) == (
        "switch", "RPC_URL", "backup_url", ["indexer"],
    )  # fmt: skip
    assert fix(switch="rpc", switch_to="primary")["source"] == "url"
    assert "s3cr3t" not in repr(told) + repr(infrastructure_lines(told))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"restart": "rediss"}, "Restart names rediss, which is not accepted"),
        ({"restart": "redis", "switch": "rpc"}, "one of them"),
        ({"switch": "redis"}, "a dependency that can be switched: rpc"),
        ({"switch": "rpc", "switch_to": "both"}, "backup or primary"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked: dict[str, Any], words: str) -> None:
    told = fix(**asked)
    assert (told["kind"], words in told["refusal"], "Nothing was changed" in told["refusal"]) == ("none", True, True)


def test_a_switch_to_what_fails_too_is_refused() -> None:
    found = {"probes": [probe("rpc"), probe("rpc (backup)")]}
    assert "its backup fails too: connection refused" in fix(found, switch="rpc")["refusal"]
    assert "its primary fails too" in fix(found, switch="rpc", switch_to="primary")["refusal"]
    assert fix({"probes": [probe("rpc"), probe("rpc (backup)", "inconclusive")]}, switch="rpc")["refusal"] == ""


def test_what_counts_is_what_those_see_who_use_it() -> None:
    """The host need not know the names of a network of containers."""
    seen = {"probes": [probe("rpc (backup)", "failed", "host"), probe("rpc (backup)", "passed")]}
    assert fix(seen, switch="rpc")["refusal"] == ""
    assert [check["verdict"] for check in infrastructure_checks(seen, ["rpc (backup)"])] == ["passed"]
    seen["probes"].pop()
    assert "fails too" in fix(seen, switch="rpc")["refusal"]


@pytest.mark.parametrize(
    ("action", "typed"),
    [
        ({"kind": "restart_service", "service": "redis", "text": "Restart redis."}, "-e restart=redis"),
        ({"kind": "switch_dependency", "dependency": "rpc", "text": "Switch."}, "-e switch=rpc"),
        ({"kind": "free_disk", "text": "Free space."}, "-e restart=SERVICE, or -e switch=DEPENDENCY"),
        (
            {"kind": "fix", "service": "redis", "command": "docker unpause x", "text": "Paused."},
            "Do it with: docker unpause x. ",
        ),
        ({"kind": "fix", "service": "redis", "command": "docker unpause x", "text": "Paused."}, "-e restart=redis"),
        ({}, "-e restart=SERVICE, or -e switch=DEPENDENCY"),
    ],
)
def test_without_a_word_nothing_is_done_and_the_proposal_is_shown(action: dict[str, Any], typed: str) -> None:
    told = fix({"action": action})
    assert (told["kind"], typed in told["refusal"]) == ("none", True)
    assert str(action.get("text", "Nothing is proposed.")) in told["refusal"]


def test_probes_of_what_was_mended_become_checks() -> None:
    found = {"probes": [probe("rpc", "passed"), probe("redis")]}
    (check,) = infrastructure_checks(found, ["rpc"])
    assert (check["name"], check["verdict"], check["decides"]) == ("rpc answers from indexer", "passed", True)
    assert infrastructure_checks({"msg": "no Docker"}, ["rpc"]) == []
