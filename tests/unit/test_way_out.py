# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last words of a failed run: what holds, and the commands that go on with it or undo it."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.report_text import failure, plan_lines, way_out


def ran(*names: str) -> dict[str, Any]:
    containers = [{"name": f"shop-{name}-1", "before": "running", "one_off": False} for name in names]
    return {"before": "running", "containers": containers}


@pytest.fixture
def situation() -> dict[str, Any]:
    """Return a run to a release without the indexer and with a service of its own, failed at the start."""
    checkout = {"before": {"release": "v1.0.3", "commit": "a" * 40}}
    before = {"image": "shop-web:1.0.3", "image_id": "sha256:" + "3" * 64}
    results = {
        "prepare_release": {"services": {"web": {"before": before}, "legacy": {"before": {}}}},
        "stop_services": {"order": [["indexer"], ["web", "legacy"]],
                          "services": {"indexer": ran("indexer"), "web": ran("web"), "legacy": {"containers": []}}},
        "switch_release": {"undo": ["git -C /srv/my\\ shop checkout main --"]},
    }  # fmt: skip
    plan = {
        "run_id": "r1", "project": "shop", "directory": "/srv/my shop", "checkout": checkout, "results": results,
        "titles": {"start_services": {"title": "Restart services"}}, "variables_file": "/srv/my shop/.env",
        "compose_files": ["prod.yml"], "environment_files": ["prod.env"],
    }  # fmt: skip
    steps = ["prepare_release", "stop_services", "switch_release", "start_services"]
    return {
        "plan": plan, "step": "start_services", "failure": {"msg": "It failed.", "next_step": "Look."},
        "now": {}, "events": [{"event": "step_started", "step": step} for step in steps],
    }  # fmt: skip


def test_the_commands_that_go_on_and_undo_can_be_pasted_as_they_stand(situation: dict[str, Any]) -> None:
    situation["plan"]["inventory"] = ["/etc/my hosts.yml"]
    lines = [shlex.split(line) for line in way_out(situation).splitlines() if line.startswith("  ")]
    words = ["-i", "/etc/my hosts.yml", "-e", "run=r1"]
    assert lines == [["ansible-playbook", f"usdx.rollback.{name}", *words] for name in ("resume", "undo")]


def test_hosts_that_were_chosen_are_chosen_again(situation: dict[str, Any]) -> None:
    situation["plan"]["target"] = "blue"
    assert way_out(situation).count("-e target=blue") == 2


def test_work_on_the_infrastructure_cannot_be_undone_and_names_what_it_left_alone(situation: dict[str, Any]) -> None:
    """Neither code, nor images, nor the database were touched."""
    steps = ["identify_release", "diagnose_infrastructure", "fix_infrastructure"]
    situation["plan"] |= {"steps": steps, "titles": {"fix_infrastructure": {"title": "Mend"}}}
    situation |= {
        "step": "fix_infrastructure", "events": [{"event": "step_started", "step": step} for step in steps],
    }  # fmt: skip
    text = way_out(situation)
    assert "usdx.rollback.resume" in text
    assert "usdx.rollback.undo" not in text
    assert "Code, images and database were not touched: v1.0.3" in text


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (["stop_services", "maintenance_mode"], "What is stopped stays stopped. The database was not touched."),
        (["identify_release", "start_services", "verify_release"], "-e stage=contain"),
    ],
)
def test_a_stage_of_a_security_incident_says_what_holds_and_offers_no_undo(
    situation: dict[str, Any], steps: list[str], words: str
) -> None:
    situation["plan"] |= {"scenario": "security_incident", "steps": steps, "titles": {steps[-1]: {"title": "Last"}}}
    situation |= {"step": steps[-1], "events": [{"event": "step_started", "step": step} for step in steps]}
    text = way_out(situation)
    assert words in text
    assert "usdx.rollback.resume" in text
    assert "usdx.rollback.undo" not in text


def test_a_guard_that_failed_says_not_to_deploy_and_that_nothing_was_touched(situation: dict[str, Any]) -> None:
    steps = ["identify_release", "keep_release", "back_up_database"]
    situation["plan"] |= {"scenario": "guard", "steps": steps, "titles": {steps[-1]: {"title": "Back up"}}}
    situation |= {"step": steps[-1], "events": [{"event": "step_started", "step": step} for step in steps]}
    text = way_out(situation)
    assert "Do not deploy" in text
    assert "still run" in text
    assert "usdx.rollback.resume" in text
    assert "usdx.rollback.undo" not in text


def test_nothing_to_undo_when_nothing_was_stopped(situation: dict[str, Any]) -> None:
    situation["events"] = situation["events"][:1]
    text = way_out(situation)
    assert "still run" in text
    assert "usdx.rollback.resume" in text
    assert "usdx.rollback.undo" not in text


def test_a_run_without_a_journal_cannot_be_gone_on_with(situation: dict[str, Any]) -> None:
    text = way_out({**situation, "step": "", "events": []})
    assert text.endswith("Mend the cause and run again.")
    assert "usdx.rollback" not in text


def test_a_service_that_starts_again_and_again_does_not_count_as_running(situation: dict[str, Any]) -> None:
    told = {"msg": "nginx restarted 3 times.", "unready": {"nginx": [{"state": "restarting"}]}}
    states = {"nginx": {"before": "running"}, "web": {"before": "running"}, "indexer": {"before": "exited"}}
    text = way_out({**situation, "failure": failure(told), "now": {"services": states}})
    assert "Running: web. Not ready: nginx. Down: indexer." in text


def test_the_plan_ends_with_what_to_type_when_the_run_is_cut_off(situation: dict[str, Any]) -> None:
    plan = {**situation["plan"], "host": "here", "reason": "none", "release": {"name": "v1.0.2"}}
    last = plan_lines({**plan, "steps": []})[-1]
    assert last.startswith("If this run is cut off")
    assert last.endswith("Then type: ansible-playbook usdx.rollback.resume -e run=r1")


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize("loss_refusal", ["", "Nobody accepted a loss of data."])
def test_a_plan_says_that_it_is_one_and_which_loss_is_to_be_accepted(
    situation: dict[str, Any], *, check_mode: bool, loss_refusal: str
) -> None:
    loss = {"since": "2024-12-28T01:45:00Z", "seconds": 90, "counted": True, "rows": 2, "tables": {"public.events": 2}}
    results = {"prepare_database": {"decision": "undo", "reason": "asked", "loss": loss, "would_change": True}}
    plan = {
        **situation["plan"], "run_id": "r1", "host": "here", "reason": "none", "release": {"name": "v1.0.2"},
        "results": results, "steps": ["prepare_database"], "skipped": {}, "check_mode": check_mode,
        "titles": {"prepare_database": {"number": "-", "title": "Prepare the database"}}, "loss_refusal": loss_refusal,
    }  # fmt: skip
    lines = plan_lines(plan)
    assert ("this is a plan" in lines[-1]) is check_mode
    assert ("If this run is cut off" in lines[-1]) is not check_mode
    lost = next(i for i, line in enumerate(lines) if "the live database loses" in line)
    assert ("-e accept_data_loss=true" in lines[lost + 1]) is bool(loss_refusal)


def with_database(situation: dict[str, Any], decision: str = "restore", **facts: Any) -> dict[str, Any]:
    """Return the run as it is when it has changed the database."""
    live = {"restored_from": {"backup": "/backups/b.sql"}}
    prepared = {"database": "ledger", "decision": decision, "live": live}
    situation["plan"]["results"]["prepare_database"] = prepared
    situation["plan"]["inventory"] = ["/etc/hosts.yml"]
    told = {"old_database": "ledger_before_x", "decision": decision, **facts}
    situation["events"].append({"event": "step_finished", "step": "restore_database", "facts": told})
    return situation


def test_a_database_that_was_changed_comes_back_with_the_rest(situation: dict[str, Any]) -> None:
    text = way_out(with_database(situation))
    assert "The database ledger was changed (restore); the former one is kept as ledger_before_x." in text
    assert "usdx.rollback.undo -i /etc/hosts.yml -e run=r1 -e accept_data_loss=true" in text
    assert "not touched" not in text


@pytest.mark.parametrize("step", ["revert_migrations", "restore_database"])
def test_a_step_of_the_database_that_failed_says_itself_what_holds(situation: dict[str, Any], step: str) -> None:
    situation["plan"]["titles"][step] = {"title": "Roll back database"}
    situation["events"] = situation["events"][:2]
    text = way_out({**situation, "step": step, "published": {"decision": "revert"}})
    assert "The database" not in text
    changed = {"old_database": "ledger_before_y", "decision": "revert"}
    with_database(situation)["events"].pop()
    text = way_out({**situation, "step": step, "published": changed})
    assert "was changed (revert); the former one is kept as ledger_before_y." in text


def test_what_was_down_before_is_not_said_to_run(situation: dict[str, Any]) -> None:
    situation["events"] = situation["events"][:1]
    situation["now"] = {"services": {"web": {"before": "exited"}}}
    text = way_out(situation)
    assert "This run stopped nothing: what is down was down before it. The database was not touched." in text
    assert "still run" not in text
