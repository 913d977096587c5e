# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads, from results of real runs: one that succeeded, and one whose last smoke test failed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import report_text

DATA = Path(__file__).parent / "data"
STEPS = ["announce", "prepare_release", "stop_services", "switch_release", "start_services", "verify_release"]


def load(name: str) -> dict[str, Any]:
    """Return one captured result."""
    loaded: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def failed_at(step: str) -> dict[str, Any]:
    """Return the situation of the failed run as it is when ``step`` has begun and failed."""
    situation = load("failed_run")
    begun = STEPS[: STEPS.index(step) + 1]
    situation["events"] = [event for event in situation["events"] if event.get("step", "announce") in begun]
    situation["step"] = step
    return situation


def stopped(now: dict[str, Any], *names: str) -> None:
    """Make services look stopped."""
    for name in names:
        now["services"][name]["before"] = "exited"


# The plan


def test_the_plan_of_a_real_run() -> None:
    lines = report_text.plan_lines(load("failed_run")["plan"])
    assert lines[:2] == [
        "Plan of run 20261124T161617Z-b8db: project usdx-wexel on demo",
        "From v1.0.3 (a2496e92cf75) to v1.0.2 (5735e28ff2e3). Reason: pools are empty",
    ]
    for line in (
        "Step 1 Alert and prepare: run notify_rollback.sh; update_status.sh",
        "       Prepare while serving: indexer, nginx, webapp keep serving",
        "         indexer: reuse image usdx-wexel-indexer:1.0.2 (7e2616b3d449)",
        "         nginx: build image usdx-wexel-nginx",
        "Step 2 Stop services: indexer, then nginx and webapp; db, redis keep running",
        "Step 4 Roll back database: skipped: not asked",
        "Step 3 Roll back application code: check out v1.0.2 (5735e28ff2e3) in /opt/usdx-wexel",
        "         local edits of README.md are saved to refs/rollback/20261124T161617Z-b8db/local-edits",
        "         files that Git does not know stay (1): notes.txt",
        "         environment file: APP_VERSION=1.0.2",
        "Step 6 Verify rollback: services, images, commit, package.json and 3 endpoints",
        "         ask http://127.0.0.1:8080/health",
        "         run ./scripts/test_deployment.sh production",
        "         by a person: Connect wallet",
        "Step 7 Monitor: watch services and endpoints for 5 s",
        "Step 8 Communicate: run update_status.sh; send_notification.sh; notify_team.sh",
        "Not touched: db is defined differently in the release (command), it is left as it runs",
    ):
        assert line in lines
    assert not [line for line in lines if "None" in line]


@pytest.mark.parametrize(
    ("diagnosis", "lines"),
    [
        ({}, []),
        ({"verdict": "cannot tell", "cause": "", "action": "Look."}, ["Diagnosis: cannot tell"]),
        (
            {"verdict": "rollback will not help", "cause": "rpc: 9000 s old", "action": "Switch rpc."},
            [
                "Diagnosis: ROLLBACK WILL NOT HELP; rpc: 9000 s old; Switch rpc.",
                "More: ansible-playbook usdx.rollback.diagnose",
            ],
        ),
    ],
)
def test_the_plan_says_whether_a_rollback_will_help(diagnosis: dict[str, str], lines: list[str]) -> None:
    plan = {**load("failed_run")["plan"], "diagnosis": diagnosis}
    assert [line for line in report_text.plan_lines(plan) if line.startswith(("Diagnosis", "More"))] == lines


def test_the_plan_of_a_stage_of_a_security_incident() -> None:
    steps = ["identify_release", "stop_services", "maintenance_mode", "assess_damage", "security_review"]
    here = {"release": "v1.0.3", "commit": "a2496e92cf75" + "0" * 28}
    plan = {
        "run_id": "r", "project": "shop", "host": "web1", "directory": "/srv/shop", "reason": "x", "steps": steps,
        "checkout": {"before": here}, "release": here, "skipped": {}, "check_mode": True, "keep_services": ["db"],
        "titles": {step: {"number": "-", "title": step} for step in steps}, "scenario": "security_incident",
        "stage": "contain", "incident": {"since": "", "stages": {}}, "incident_refusal": "",
        "results": {
            "stop_services": {"order": [["web"]]},
            "maintenance_mode": {
                "state": "on", "ports": [{"port": 80}], "dns": [{"name": "shop.example.com"}],
                "closed": [{"port": 443}],
            },
            "assess_damage": {"evidence": "/var/evidence", "checklist": [{"name": "Who?", "state": "open"}]},
            "security_review": {"refusal": "Nobody has reviewed."},
        },
    }  # fmt: skip
    assert report_text.plan_lines(plan)[2:-1] == [
        "Stage contain of a security incident, which begins with it",
        "       identify_release: v1.0.3 (a2496e92cf75), in /srv/shop; code and images are not touched",
        "       stop_services: web; db keep running",
        "       maintenance_mode: serve a maintenance page on the published ports: 80",
        "         switch DNS of shop.example.com",
        "         stays closed, because there is no certificate: 443",
        "       assess_damage: the evidence is in /var/evidence",
        "         Open, to be done by a person: Who?",
        "       security_review: a real run is refused: Nobody has reviewed.",
        "Database: not touched, this playbook has no step for it",
        "Outage: web; until they are started again by -e stage=release",
    ]
    opened = {"since": "2026-11-24", "stages": {}}
    released = {**plan, "stage": "release", "incident": opened, "incident_refusal": "contain comes first"}
    lines = report_text.plan_lines(released)
    assert lines[2:4] == ["Stage release of a security incident", "Security incident, open since 2026-11-24"]
    assert "A real run is refused: contain comes first" in lines
    other = report_text.plan_lines({**released, "scenario": "rollback"})
    assert "Stage release of a security incident" not in other
    assert "A real run is refused: contain comes first" in other
    lost = {"since": "", "stages": {}, "unknown": [{"run_id": "x", "path": "/s/journal.jsonl", "why": "It is a link."}]}
    hidden = report_text.plan_lines({**plan, "scenario": "rollback", "incident": lost, "incident_refusal": "lost"})
    assert "Not known: the journal /s/journal.jsonl cannot be read: It is a link." in hidden
    assert "A real run is refused: lost" in hidden


def test_a_rotation_is_proved_by_what_works_and_what_is_refused() -> None:
    found = [
        {"name": "database", "works": {"verdict": "passed"}, "refused": {"verdict": "inconclusive"}},
        {"name": "mail", "action": "by a person"},
    ]
    told = report_text.evidence_text("rotate_credentials", {"credentials": found})
    assert told == "; database: the new one works (passed), the old one is refused (inconclusive)"


def test_the_plan_of_work_on_the_infrastructure() -> None:
    here = {"release": "v1.0.3", "commit": "a2496e92cf75" + "0" * 28}
    steps = ["identify_release", "diagnose_infrastructure", "fix_infrastructure"]
    found = {"verdict": "rollback will not help", "cause": {"summary": "redis does not answer"},
             "action": {"text": "Restart redis."}}  # fmt: skip
    plan = {
        "run_id": "r", "project": "shop", "host": "web1", "directory": "/srv/shop", "reason": "slow", "steps": steps,
        "checkout": {"before": here}, "release": here, "skipped": {}, "check_mode": True,
        "titles": {step: {"number": "-", "title": step} for step in steps},
        "results": {"diagnose_infrastructure": found, "fix_infrastructure": {"kind": "restart", "services": ["redis"]}},
    }  # fmt: skip
    assert report_text.plan_lines(plan) == [
        "Plan of run r: project shop on web1",
        "Release v1.0.3 (a2496e92cf75) stays. Reason: slow",
        "       identify_release: v1.0.3 (a2496e92cf75), in /srv/shop; code and images are not touched",
        "       diagnose_infrastructure: rollback will not help",
        "         redis does not answer",
        "         proposed: Restart redis.",
        "       fix_infrastructure: restart redis, the same containers, until healthy",
        "Database: not touched, this playbook has no step for it",
        "Nothing was changed: this is a plan. 'changed' in the recap counts what a real run would change.",
    ]
    unknown = {**plan, "results": {"diagnose_infrastructure": {"verdict": "cannot tell", "cause": None}}}
    assert "         no cause was found" in report_text.plan_lines(unknown)


def test_the_plan_has_a_line_for_each_step_in_its_order() -> None:
    plan = load("failed_run")["plan"]
    lines = report_text.plan_lines(plan)
    titles = [plan["titles"][step]["title"] for step in plan["steps"]]
    assert [line[7:].partition(":")[0] for line in lines[2:] if line[7] != " " and line[6] == " "] == titles


def test_the_plan_says_who_serves_while_it_is_replaced() -> None:
    plan = load("failed_run")["plan"]
    plan["results"]["stop_services"] |= {"order": [], "not_stopped": ["webapp"]}
    plan["results"]["start_services"]["rolled"] = ["webapp"]
    lines = report_text.plan_lines(plan)
    assert any(line.startswith("Step 2 Stop services: none; ") for line in lines)
    assert "         webapp: serving until the containers of the release are ready" in lines
    assert "         webapp: beside the containers that serve; these stop then" in lines
    assert "Outage: none is planned, no service stops before its containers of the release are ready" in lines


def test_the_plan_does_not_promise_what_a_service_cannot_do() -> None:
    plan = load("failed_run")["plan"]
    plan["results"]["stop_services"] |= {"order": [], "not_stopped": ["webapp"]}
    plan["results"]["start_services"]["not_rolled"] = {"webapp": "it publishes the fixed port 80"}
    lines = report_text.plan_lines(plan)
    assert "         webapp: stopped, then started, because it publishes the fixed port 80" in lines
    assert not any("serving until" in line for line in lines)
    assert any(line.startswith("Outage: webapp; ") for line in lines)


def test_the_plan_says_why_nothing_serves_although_it_was_asked() -> None:
    plan = load("failed_run")["plan"] | {"rolling": True}
    lines = report_text.plan_lines(plan)
    assert "         rolling: none goes on serving, because the database changes" in lines


def test_the_plan_names_what_is_new_what_is_gone_and_what_is_removed() -> None:
    plan = load("failed_run")["plan"]
    plan["results"]["prepare_release"]["not_in_release"] = ["reports"]
    plan["results"]["switch_release"]["leftovers"].update(count=7, removed=["a"], files=list("abcdefg"))
    plan["keep_services"] = []
    plan["checkout"]["warnings"] = ["The remote did not answer."]
    lines = report_text.plan_lines(plan)
    assert "         reports: not in this release, stays stopped" in lines
    assert "         files that Git does not know are saved and removed (7): a, b, c, d, e" in lines
    assert any(line.endswith("no service keep running") for line in lines)
    assert lines[-2] == "Note: The remote did not answer."


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ({"commit": "0123456789abcdef", "release": "v1.0.2"}, "v1.0.2 (0123456789ab)"),
        ({"commit": "0123456789abcdef", "release": None, "describe": "v1-3-gabc"}, "v1-3-gabc (0123456789ab)"),
        ({"commit": "0123456789abcdef"}, "0123456789ab"),
        ({}, "unknown"),
    ],
)
def test_name_of(place: dict[str, Any], name: str) -> None:
    assert report_text.name_of(place) == name


# Whether anything would change


@pytest.mark.parametrize(
    ("switch", "start", "nothing"),
    [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_nothing_would_change(*, switch: bool, start: bool, nothing: bool) -> None:
    results = {"switch_release": {"would_change": switch}, "start_services": {"would_change": start}}
    assert report_text.nothing_would_change(results) is nothing


@pytest.mark.parametrize("missing", ["switch_release", "start_services"])
def test_a_step_that_was_not_asked_is_no_proof(missing: str) -> None:
    results = {"switch_release": {"would_change": False}, "start_services": {"would_change": False}}
    assert report_text.nothing_would_change(results | {missing: {}}) is False
    del results[missing]
    assert report_text.nothing_would_change(results) is False


def test_the_real_plan_would_change_something() -> None:
    assert report_text.nothing_would_change(load("failed_run")["plan"]["results"]) is False


# Evidence, failure, refusal

FALSE = {
    "ansible_loop_var": "command", "changed": True, "diff": {"before": "", "after": "x"}, "failed": True, "rc": 1,
    "invocation": {"module_args": {}}, "msg": "The command false failed.", "next_step": "Repair it.",
    "_ansible_no_log": False,
}  # fmt: skip
LOOP = {
    "changed": True, "failed": True, "msg": "One or more items failed",
    "results": [{"changed": False, "failed": False, "name": "true", "_ansible_item_label": "true"}, FALSE],
}  # fmt: skip


def test_evidence_keeps_facts_and_leaves_out_what_only_ansible_needs() -> None:
    result = {"changed": False, "diff": {"before": "a", "after": "b"}, "_ansible_no_log": False, "seconds": 1.0}
    result |= {"invocation": {"module_args": {"password": "x"}}, "failed": False}
    assert report_text.evidence(result) == {"changed": False, "seconds": 1.0, "would_change": True}
    same = report_text.evidence({"diff": {"before": "a", "after": "a"}})
    assert same == {"would_change": False}
    assert report_text.evidence({"diff": [{"before": "a", "after": "b"}]}) == {}


def test_evidence_of_a_failed_loop_is_that_of_the_item_that_failed() -> None:
    """Else the summary would say "One or more items failed"."""
    kept = report_text.evidence(LOOP)
    assert (kept["msg"], kept["next_step"]) == ("The command false failed.", "Repair it.")
    assert kept["results"][0] == {"changed": False, "name": "true"}
    assert kept["results"][1]["rc"] == 1
    assert not {"failed", "invocation", "diff", "ansible_loop_var", "_ansible_no_log"} & set(kept["results"][1])


def test_evidence_does_not_change_the_result() -> None:
    before = copy.deepcopy(LOOP)
    report_text.evidence(LOOP)
    assert before == LOOP


def last_words(situation: dict[str, Any]) -> str:
    """Return the last words of a run in one line."""
    return " ".join(report_text.way_out(situation).split())


def test_failure() -> None:
    assert report_text.failure(LOOP) == {"msg": "The command false failed.", "next_step": "Repair it.", "unready": []}
    assert report_text.failure({"failed": True, "msg": " x\n"}) == {"msg": "x", "next_step": "", "unready": []}
    other = report_text.failure({})
    assert other["msg"].startswith("Another host failed")
    assert other["next_step"]


def test_refusal_of_a_real_module() -> None:
    assert report_text.refusal(load("refused")) == (
        "Refused before anything changed. path=/nowhere is not a folder. Nothing was changed. "
        "Name the project directory, the folder of the git checkout on the managed host."
    )
    assert report_text.refusal({"failed": True, "msg": "x"}) == "Refused before anything changed. x"


def test_a_playbook_without_a_step_for_the_database_says_that_it_is_not_touched() -> None:
    words = "Database: not touched, this playbook has no step for it"
    run = load("failed_run")
    assert words not in report_text.plan_lines(run["plan"]) + report_text.summary_lines(
        {**run, "journal": "/j", "manual_checks": []}
    )
    run["plan"]["steps"] = [step for step in run["plan"]["steps"] if step != "restore_database"]
    run["events"] = [event for event in run["events"] if event.get("step") != "restore_database"]
    assert words in report_text.plan_lines(run["plan"])
    assert words in report_text.summary_lines({**run, "journal": "/j", "manual_checks": []})


# The candidates


def test_candidates_of_a_real_project() -> None:
    assert report_text.candidate_lines(load("candidates")) == [
        "Now: v1.0.2 (5735e28ff2e3)",
        "v1.0.3       2024-12-28  a2496e92cf75  images to build or pull   no verified run recorded  (newer)",
        (
            "v1.0.2       2024-12-20  5735e28ff2e3  images at hand            "
            "verified 2026-11-24T16:22:26.239+00:00  (current)"
        ),
        "v1.0.1       2024-12-01  8dd5c6df6354  images to build or pull   no verified run recorded",
    ]


def test_no_candidates_are_said() -> None:
    info = load("candidates") | {"candidates": []}
    assert report_text.candidate_lines(info)[1:] == ["No tag looks like a release."]


# The summary


def test_summary_of_a_run_that_succeeded() -> None:
    run = load("succeeded_run")
    lines = report_text.summary_lines({**run, "journal": "/j", "manual_checks": ["Connect wallet"]})
    assert lines[0] == "Run 20261124T161957Z-a4f2: v1.0.3 (a2496e92cf75) -> v1.0.2 (5735e28ff2e3)"
    assert lines[2] == (
        "T+00:10        Prepare while serving: done in 11.7 s; indexer reuse; nginx reuse; webapp reuse"
    )
    assert lines[3:6] == [
        "T+00:22 Step 2 Stop services: done in 10.3 s; none was killed",
        "T+00:32 Step 4 Roll back database: skipped: not asked",
        "T+00:32 Step 3 Roll back application code: done in 9.4 s; HEAD is v1.0.2 (5735e28ff2e3)",
    ]
    assert "T+01:00 Step 6 Verify rollback: done in 15.6 s; 12 of 12 checks passed" in lines
    assert lines[-2:] == ["Open, to be done by a person: Connect wallet", "Journal: /j"]
    assert len(lines) == 1 + len(run["plan"]["steps"]) + 2


def test_summary_of_a_run_that_failed() -> None:
    lines = report_text.summary_lines({**load("failed_run"), "journal": "/j", "manual_checks": []})
    assert lines[-2] == (
        "T+00:24 Step 6 Verify rollback: FAILED after 12.5 s: The project's command false failed: it returned 1. "
        "Nothing after it was done."
    )
    assert not [line for line in lines if "Monitor" in line or "Communicate" in line]


def test_summary_names_what_was_killed_and_which_command_failed() -> None:
    run = load("succeeded_run")
    for event in run["events"]:
        if event["event"] == "step_finished" and event["step"] == "stop_services":
            event["facts"]["killed"] = ["usdx-wexel-webapp-1"]
        if event["event"] == "step_finished" and event["step"] == "announce":
            event["facts"]["results"][1]["verdict"] = "failed"
    lines = report_text.summary_lines({**run, "journal": "/j", "manual_checks": []})
    assert lines[1].endswith("; failed: update_status.sh")
    assert lines[3].endswith("; killed: usdx-wexel-webapp-1")


# The last words


@pytest.mark.parametrize("step", ["announce", "prepare_release"])
def test_before_the_stop_nothing_has_to_be_brought_back(step: str) -> None:
    words = last_words(failed_at(step))
    assert "Nothing that runs was touched: the services of v1.0.3 (a2496e92cf75) still run." in words
    assert "usdx.rollback.undo" not in words


def test_after_the_stop_it_is_said_what_is_down_and_how_to_go_on_or_back() -> None:
    situation = failed_at("stop_services")
    stopped(situation["now"], "indexer", "nginx")
    words = last_words(situation)
    assert "Step 'Stop services' failed: " in words
    assert "Running: webapp. Down: indexer, nginx. The database was not touched." in words
    assert "To go on, mend the cause and type: ansible-playbook usdx.rollback.resume" in words
    assert "as it was before, v1.0.3 (a2496e92cf75), type: ansible-playbook usdx.rollback.undo" in words
    assert words.count("-e run=20261124T161617Z-b8db") == 2


def test_the_real_failure_is_told_whole() -> None:
    words = last_words(load("failed_run"))
    assert words.startswith("Step 'Verify rollback' failed: The project's command false failed: it returned 1.")
    assert "Running: indexer, nginx, webapp. Down: none." in words


def test_when_another_host_failed_the_way_back_is_still_printed() -> None:
    situation = failed_at("stop_services") | {"failure": report_text.failure({})}
    words = last_words(situation)
    assert "Step 'Stop services' failed: Another host failed; its message stands above. Mend that host" in words
    assert "usdx.rollback.undo" in words


@pytest.mark.parametrize("now", [{}, {"failed": True, "msg": "The Docker daemon does not answer"}])
def test_a_daemon_that_is_gone_is_not_taken_for_services_that_are_down(now: dict[str, Any]) -> None:
    words = last_words(failed_at("start_services") | {"now": now})
    assert "What runs now could not be seen." in words
    assert "Down:" not in words


def test_a_failure_before_the_first_step() -> None:
    situation = load("failed_run") | {"step": "", "events": []}
    assert last_words(situation).startswith("The run failed: ")


# Monitoring


def test_the_plan_names_what_is_watched_what_fires_already_and_what_is_not_watched() -> None:
    plan = load("failed_run")["plan"]
    plan["monitor_seconds"] = 1800
    plan["skipped"].pop("monitor_release", None)
    plan["steps"] = ["monitor_release"]
    plan["results"]["monitor_release"] = {
        "before": [
            {"name": "p95", "limit": "at most 500 ms", "seen": "900 ms, 1 sample"},
            {"name": "alerts", "limit": "none fires", "seen": "Slow fires"},
        ],
        "alerts": [{"name": "Slow"}, {"name": "Slow"}, {"name": "Disk"}],
        "not_watched": ["metrics: no metrics configured"],
    }
    assert report_text.plan_lines(plan)[2:7] == [
        "Step 7 Monitor: watch services and endpoints for 1800 s",
        "         watch p95: good is at most 500 ms; now 900 ms",
        "         watch alerts: good is none fires",
        "         fires already and does not count: Disk, Slow",
        "         not watched: metrics: no metrics configured",
    ]


def test_the_summary_says_what_was_not_watched() -> None:
    facts = {
        "checks": [{"name": "web", "verdict": "passed"}],
        "not_watched": ["metrics: no metrics configured (rollback_metrics)", "alerts: none are watched"],
    }
    summary = {
        "plan": load("failed_run")["plan"],
        "manual_checks": [],
        "journal": "/j",
        "events": [
            {"event": "step_started", "step": "monitor_release", "elapsed": 5.0},
            {"event": "step_finished", "step": "monitor_release", "elapsed": 9.0, "facts": facts},
        ],
    }
    line = report_text.summary_lines(summary)[1]
    assert line.endswith("done in 4.0 s; 1 of 1 checks passed; not watched: metrics, alerts")


def test_a_rotation_says_what_is_rotated_and_whether_there_is_a_gap() -> None:
    rows = [
        {"name": "database", "action": "rotate", "gap": "without a gap"},
        {"name": "cache", "action": "rotated before", "gap": "new connections fail"},
        {"name": "mail", "action": "by a person", "gap": ""},
    ]
    results = {"rotate_credentials": {"credentials": rows, "running": {"web": "x"}}}
    plan = {**load("failed_run")["plan"], "results": results, "skipped": {}, "done": []}
    assert report_text.step_lines(plan, "rotate_credentials") == [
        "database: rotate, without a gap", "cache: rotated before", "mail: by a person", "restart web",
    ]  # fmt: skip


def test_a_guard_in_words() -> None:
    here = {"release": "v1.0.2", "commit": "a2496e92cf75" + "0" * 28}
    steps = ["identify_release", "keep_release", "back_up_database", "check_readiness"]
    services = {"web": {"pin": "usdx-rollback/shop/web:a2496e92cf75", "image_id": "sha256:1"}}
    plan = {
        "run_id": "r", "project": "shop", "host": "web1", "directory": "/srv/shop", "reason": "x", "steps": steps,
        "checkout": {"before": here}, "release": here, "skipped": {}, "scenario": "guard",
        "titles": {step: {"number": "-", "title": step} for step in steps},
        "results": {
            "keep_release": {"services": services, "already": True},
            "back_up_database": {"database": "shop", "path": "/b/shop.sql.gz", "side_wanted": True},
            "check_readiness": {"checklist": [{"name": "Review", "state": "open"}]},
        },
    }  # fmt: skip
    assert report_text.plan_lines(plan)[3:] == [
        "       keep_release: the images of v1.0.2 (a2496e92cf75) that run are kept already",
        "         usdx-rollback/shop/web:a2496e92cf75",
        "       back_up_database: shop to /b/shop.sql.gz; it must be whole, and what a rollback would take",
        "         is loaded and proved beside the live database",
        "       check_readiness: that a rollback to it builds nothing, can load the backup, and reaches the team",
        "         Open, to be done by a person: Review",
    ]
    assert report_text.evidence_text("keep_release", {"services": services}) == "; web: kept"
    made = {"path": "/b/shop.sql.gz", "rows_total": 1200, "side_database": "shop_side_1"}
    told = report_text.evidence_text("back_up_database", made)
    assert told == "; /b/shop.sql.gz, 1,200 rows, read back; loaded and proved as shop_side_1"
    assert report_text.evidence_text("check_readiness", {"line": "READY: x"}) == "; READY: x"
