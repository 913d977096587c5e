# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of earlier runs, from journals of real runs and from made ones."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import report_text
from ansible_collections.usdx.rollback.plugins.module_utils.journal import Journal
from ansible_collections.usdx.rollback.plugins.module_utils.run_history import summarise
from ansible_collections.usdx.rollback.plugins.module_utils.run_text import run_list_lines, run_story

DATA = Path(__file__).parent / "data"
RUN, OTHER = "20261124T161617Z-b8db", "20261124T170000Z-00ff"
START = datetime(2026, 11, 24, 16, 16, 17, tzinfo=timezone.utc)
ASKED: dict[str, Any] = {
    "scenario": "rollback", "project": "shop", "host": "shop-1", "version": "v1.0.2", "commit": "c" * 40,
    "from": {"commit": "a" * 40, "release": "v1.0.3"}, "reason": "it fails",
    "steps": ["stop_services", "start_services"],
    "controller": {"user": "ann", "host": "laptop", "pid": 7}, "approval": {"approved_by": ["eve", "kim"]},
}  # fmt: skip


def real_run(name: str, **asked: Any) -> dict[str, Any]:
    """Return a captured run, with its plan in the journal as later versions write it."""
    captured = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    captured["events"][0]["facts"] |= {"plan": captured["plan"], **asked}
    return summarise(captured["plan"]["run_id"], Journal(captured["events"], 0), "/s/journal.jsonl")


def made(*events: tuple[str, str | None, dict[str, Any]], damaged: int = 0, **asked: Any) -> dict[str, Any]:
    """Return a run of events, ten seconds apart."""
    told = [("run_started", None, ASKED | asked), *events]
    written = [
        {
            "time": f"{START + timedelta(seconds=10 * number):%Y-%m-%dT%H:%M:%S}.000+00:00",
            "elapsed": 10.0 * number, "event": event, "step": step, "facts": facts,
        }
        for number, (event, step, facts) in enumerate(told)
    ]  # fmt: skip
    return summarise(RUN, Journal(written, damaged), "/s/journal.jsonl")


STOPPED: list[tuple[str, str | None, dict[str, Any]]] = [
    ("step_started", "stop_services", {}),
    ("step_finished", "stop_services", {"killed": ["shop-web-1"]}),
]
UP: list[tuple[str, str | None, dict[str, Any]]] = [
    ("step_started", "start_services", {}),
    ("step_finished", "start_services", {}),
    ("run_finished", None, {"outcome": "succeeded"}),
]


# The list


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (made(*STOPPED, *UP),
         'succeeded     v1.0.3 -> v1.0.2  rollback  "it fails"  by ann on laptop (pid 7)  50.0 s'),
        (made(*STOPPED[:1]),
         ('not finished  v1.0.3 -> v1.0.2  rollback  "it fails"  by ann on laptop (pid 7)  since 2026-11-24 16:16:17 '
         "UTC  stopped at stop_services")),
        (made(("run_finished", None, {"outcome": "failed"}), undo_of=OTHER, controller={}, reason="", damaged=2),
         (f"failed        v1.0.3 -> v1.0.2  rollback  by an unknown user  10.0 s  undo of {OTHER}  changed nothing  "
         "damaged lines in its journal: 2")),
        (made(*STOPPED, controller={"user": "awx", "job": 12}) | {"undone_by": OTHER, "from": {"commit": "a" * 40}},
         ('not finished  aaaaaaaaaaaa -> v1.0.2  rollback  "it fails"  by awx (job 12)  since 2026-11-24 16:16:17 UTC'
         f"  undone by {OTHER}")),
        (made() | {"state": "unreadable", "why": "It is a directory."}, "unreadable    It is a directory."),
        (summarise(RUN, Journal([], 1), "/j"),
         ("not finished  unknown -> unknown  unknown scenario  by an unknown user  since unknown  changed nothing  "
         "damaged lines in its journal: 1")),
    ],
)  # fmt: skip
def test_a_run_is_a_line(run: dict[str, Any], line: str) -> None:
    assert run_list_lines({"runs": [run], "lock": {}}) == [f"{RUN}  {line}"]


def test_who_holds_the_lock_stands_first() -> None:
    lock = {
        "run_id": OTHER, "project": "shop", "scenario": "rollback", "reason": "it fails",
        "since": "2026-11-24T17:00:00.000+00:00", "controller": {"user": "bob", "host": "desk"},
    }  # fmt: skip
    lines = run_list_lines({"runs": [made()], "lock": lock})
    assert lines[0] == (
        f'Run {OTHER} holds the lock since 2026-11-24 17:00:00 UTC: rollback of shop, "it fails", by bob on desk'
    )
    assert lines[1].startswith(RUN)
    odd = run_list_lines({"runs": [], "lock": {"since": 5, "controller": "x"}})
    assert odd == ["Run unknown holds the lock since 5: a run, by an unknown user", "No run is on record here."]


# The story


def test_the_story_of_a_real_run_that_failed() -> None:
    run = real_run(
        "failed_run", host="demo", inputs={"version": "1.0.2", "database": "skip"}, approval=ASKED["approval"]
    )
    lines = run_story(run)
    assert lines[:5] == [
        f"Run {RUN}: rollback of usdx-wexel on demo, failed",
        "From v1.0.3 (a2496e92cf75) to v1.0.2 (5735e28ff2e3). Reason: pools are empty",
        "Started 2026-11-24 16:16:34 UTC by an unknown user; ended 2026-11-24 16:17:11 UTC after 37.0 s",
        "Approved by eve, kim",
        "Asked for: database=skip",
    ]
    assert "  Step 2 Stop services: indexer, then nginx and webapp; db, redis keep running" in lines
    assert not [line for line in lines if "ask http" in line or "cut off" in line]
    assert "  T+00:08 Step 2 Stop services: done in 2.9 s; none was killed" in lines
    kept = [
        "Kept, unless it was cleaned up since:",
        f"  commit, branch and local edits: refs/rollback/{RUN}/ in the repository of /opt/usdx-wexel",
        *[f"  image: usdx-rollback/usdx-wexel/{name}:before-{RUN}" for name in ("indexer", "nginx", "webapp")],
        "Journal: /s/journal.jsonl",
    ]
    assert lines[-len(kept) :] == kept
    assert lines[-len(kept) - 4 : -len(kept)] == [
        "'Verify rollback' failed: The project's command false failed: it returned 1. Nothing after it was done.",
        (
            "Its next step: Repair it or run it by hand, then start again. "
            "If the run may go on without it, set on_failure to warn."
        ),
        f"To go on with it: ansible-playbook usdx.rollback.resume -e run={RUN}",
        f"It is not undone. To undo it: ansible-playbook usdx.rollback.undo -e run={RUN}",
    ]


def test_the_timeline_is_that_of_the_summary() -> None:
    run = real_run("succeeded_run")
    summary = {"plan": run["plan"], "events": run["events"], "journal": "", "manual_checks": []}
    lines = run_story(run)
    first = lines.index("What happened:") + 1
    wanted = [f"  {line}" for line in report_text.summary_lines(summary)[1:-1]]
    assert len(wanted) > 5
    assert lines[first : first + len(wanted)] == wanted


def test_a_run_that_was_gone_on_with_is_told_part_by_part() -> None:
    run = made(
        *STOPPED, ("step_started", "start_services", {}), ("step_failed", "start_services", {"msg": "No memory."}),
        ("run_finished", None, {"outcome": "failed"}),
        ("run_resumed", None, {"controller": {"user": "bob"}, "approval": {"approved_by": "kim"}}), *UP,
    )  # fmt: skip
    lines = run_story(run)
    first = lines.index("What happened:")
    assert lines[first : first + 5] == [
        "What happened:",
        "  T+00:10        stop_services: done in 10.0 s; killed: shop-web-1",
        "  T+00:30        start_services: FAILED after 10.0 s: No memory.",
        "  Gone on with 2026-11-24 16:17:17 UTC by bob, approved by kim",
        "  T+01:10        start_services: done in 10.0 s",
    ]
    assert lines[2].startswith("Started 2026-11-24 16:16:17 UTC by ann on laptop (pid 7); ended ")
    assert lines[2].endswith("after 90.0 s, gone on with once")
    assert not [line for line in lines if "next step" in line or "To go on" in line]


def test_a_run_that_was_cut_off_says_where() -> None:
    lines = run_story(made(*STOPPED, ("step_started", "start_services", {}), damaged=1))
    assert "  T+00:30        start_services: begun, no end on record" in lines
    assert "It was cut off in 'start_services', or is still under way there." in lines
    assert lines[0].endswith("not finished")
    assert "no end on record, last sign of life after 30.0 s" in lines[2]
    assert lines[-1] == "Journal: /s/journal.jsonl (damaged lines, left out here: 1)"
    # Neither can be done without a plan.
    assert not [line for line in lines if "ansible-playbook" in line]


def test_what_was_undone_and_what_an_undo_did_is_said() -> None:
    undone = run_story(made(*STOPPED, *UP) | {"undone_by": OTHER})
    assert f"It is undone, by run {OTHER}." in undone
    assert not [line for line in undone if "ansible-playbook" in line]
    assert f"It put back what was there before run {OTHER}." in run_story(made(*STOPPED, *UP, undo_of=OTHER))


def test_a_kept_database_is_named_once() -> None:
    done = {"decision": "restore", "old_database": "shop_before_1"}
    run = made(*STOPPED, ("step_started", "restore_database", {}), ("step_finished", "restore_database", done), *UP)
    lines = run_story(run)
    assert [line for line in lines if "shop_before_1" in line and line.startswith("  database")] == [
        "  database: shop_before_1"
    ]


def test_a_run_that_changed_nothing_and_one_that_asked_for_nothing() -> None:
    lines = run_story(made(("run_finished", None, {"outcome": "failed"}), approval={}))
    assert "It changed nothing that runs; there is nothing to undo." in lines
    assert "Approved by nobody on record" in lines
    assert not [line for line in lines if line.startswith(("Kept", "Planned", "What happened", "Asked"))]


def test_a_plan_of_another_version_is_no_error() -> None:
    lines = run_story(made(*STOPPED, plan={"steps": ["unheard_of"]}))
    assert "  the plan was made by another version of this collection; the journal holds it" in lines


def test_a_journal_that_cannot_be_read_is_said() -> None:
    assert run_story(made() | {"state": "unreadable", "why": "No."}) == [f"Run {RUN}: No."]


def test_an_empty_journal_has_a_story() -> None:
    assert run_story(summarise(RUN, Journal([], 0), "/j"))[0] == f"Run {RUN}: a run, not finished"


def test_what_a_journal_quotes_steers_no_terminal() -> None:
    run = made(reason="\x1b[2Jred\x07")
    assert '"red"' in run_list_lines({"runs": [run], "lock": {}})[0]
    assert run_story(run)[1].endswith("Reason: red")


@pytest.mark.parametrize(("seconds", "words"), [(99.94, "99.9 s"), (100, "1 min 40 s"), (7500, "2 h 5 min")])
def test_a_length_is_told_in_words(seconds: float, words: str) -> None:
    assert words in run_list_lines({"runs": [made(*UP) | {"seconds": seconds}], "lock": {}})[0]
