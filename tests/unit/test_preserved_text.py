# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads about evidence, in the plan and in the summary."""

from __future__ import annotations

from ansible_collections.usdx.rollback.plugins.module_utils import report_text
from ansible_collections.usdx.rollback.plugins.module_utils.preserved_text import planned_lines

PLANNED = {
    "state": "planned", "directory": "/srv/evidence/r1", "needed_bytes": 35_400_000, "free_bytes": 79_000_000_000,
    "groups": [{"name": "processes", "item_count": 2}, {"name": "logs", "item_count": 5}],
}  # fmt: skip


def test_the_plan_says_what_where_and_how_much() -> None:
    plan = {
        "steps": ["preserve_evidence"], "titles": {"preserve_evidence": {"number": "-", "title": "Preserve evidence"}},
        "skipped": {}, "results": {"preserve_evidence": {**PLANNED, "dump": {"state": "planned", "database": "shop"}}},
    }  # fmt: skip
    assert report_text.step_lines(plan, "preserve_evidence") == [
        "take evidence into /srv/evidence/r1: 7 things, at most about 35 MB; 79,000 MB are free",
        "of processes, logs",
        "dump the database shop into it",
    ]


def test_the_plan_says_that_there_will_be_no_dump_and_why() -> None:
    dump = {"state": "failed", "database": "shop", "why": "the server cannot be reached"}
    assert planned_lines({**PLANNED, "dump": dump})[-1] == "no dump of the database shop: the server cannot be reached"


def test_the_plan_of_what_is_sealed_says_so() -> None:
    assert planned_lines({"state": "sealed", "directory": "/d"}) == ["evidence is sealed already in /d"]


def test_the_summary_proves_with_the_sum_and_hides_no_gap() -> None:
    facts = {
        "files": 57, "bytes": 12_300_000, "directory": "/d", "manifest_sha256": "7d86", "not_taken_count": 4,
        "encrypted": {"path": "/d.tar.age"}, "dump": {"state": "failed", "why": "no right"},
    }  # fmt: skip
    event = {"event": "step_finished", "step": "preserve_evidence", "facts": facts}
    assert report_text.outcome_text(event, 3.0) == (
        "done in 3.0 s; 57 files, 12 MB in /d.tar.age; sum of the manifest 7d86; 4 things were refused, missing or "
        "cut; no dump of the database: no right"
    )
