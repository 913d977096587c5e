# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on a rollback that nobody has begun: one line, and every reason, not the first one only."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils.rollback_ready import readiness_verdict

RELEASE = {"name": "v1.0.2", "commit": "a2496e92cf75" + "0" * 28}
REUSE = {"services": {"web": {"action": "reuse"}, "nginx": {"action": "reuse"}}}
RESTORE = {
    "decision": "restore", "reason": "the schema differs", "would_change": True,
    "backup": {"path": "/backups/a.sql.gz", "taken_at": "2026-11-24T14:00:00Z"}, "preview": {"reused": True},
    "loss": {"counted": True, "rows": 12, "tables": {"events": 12}, "since": "2026-11-24T14:00:00Z", "seconds": 60},
}  # fmt: skip


def facts(**more: Any) -> dict[str, Any]:
    """Return what is known when nothing stands in the way."""
    results = {"prepare_release": REUSE, "switch_release": {"would_change": True}}
    asked = list(more.get("results", results))
    known = {"version": "v1.0.2", "release": RELEASE, "asked": asked, "results": results, "refused": [], "incident": ""}
    return known | more


def refused(step: str, msg: str, next_step: str = "") -> dict[str, Any]:
    """Return a step that failed."""
    return {"step": step, "result": {"failed": True, "msg": msg, "next_step": next_step}}


def test_ready_says_which_release_images_and_database() -> None:
    said = readiness_verdict(facts())
    assert said["ready"] is True
    assert said["reasons"] == []
    assert said["line"] == (
        "READY: a rollback to v1.0.2 (a2496e92cf75) would work now; nothing is built, every image is here; "
        "the database is not part of it"
    )


def test_every_reason_is_named() -> None:
    said = readiness_verdict(
        facts(
            refused=[refused("lock", "Run r1 is at work.", "Wait."), refused("prepare_database", "No backup.")],
            incident="A security incident is open.",
            messages=[{"notifier": "chat", "state": "kept", "why": "no answer in time"}],
        )
    )
    assert said["ready"] is False
    assert said["reasons"] == [
        "lock: Run r1 is at work. Wait.",
        "prepare_database: No backup.",
        "A security incident is open.",
        "the notifier chat did not get a message: no answer in time",
    ]
    assert said["line"].startswith("NOT READY: a rollback to v1.0.2 (a2496e92cf75) would not work now, for 4 reasons:")
    assert all(f"({number}) {reason}" in said["line"] for number, reason in enumerate(said["reasons"], 1))
    assert "\n" not in said["line"]


def test_an_image_that_must_be_built_is_a_note_and_after_a_guard_a_reason() -> None:
    results = {"prepare_release": {"services": {"web": {"action": "build"}, "nginx": {"action": "reuse"}}}}
    said = readiness_verdict(facts(results=results))
    assert said["ready"] is True
    assert "to build or pull first, which takes time: web (build)" in said["line"]
    guarded = readiness_verdict(facts(results=results, guard=True))
    assert guarded["reasons"] == ["not kept, so a rollback has to make it: web (build)"]
    assert "after the deployment" in guarded["line"]


def test_what_the_database_would_do_and_lose_is_said() -> None:
    line = readiness_verdict(facts(results={"prepare_release": REUSE, "prepare_database": RESTORE}))["line"]
    assert "database: restore, the schema differs" in line
    assert "backup /backups/a.sql.gz of 2026-11-24T14:00:00Z, loaded and proved already" in line
    assert "it would lose what was written since 2026-11-24T14:00:00Z (60 s), among it 12 rows: events 12" in line


def test_a_guard_speaks_of_the_backup_and_not_of_a_loss_that_nobody_knows_yet() -> None:
    results = {"prepare_release": REUSE, "prepare_database": RESTORE}
    line = readiness_verdict(facts(results=results, guard=True))["line"]
    assert line.endswith("the backup /backups/a.sql.gz is loaded and proved beside the live database")
    results["prepare_database"] = {**RESTORE, "preview": {}}
    assert readiness_verdict(facts(results=results, guard=True))["line"].endswith("/backups/a.sql.gz can be loaded")


def test_a_release_that_runs_already_is_said_to() -> None:
    same = {"prepare_release": REUSE, "switch_release": {"would_change": False},
            "start_services": {"would_change": False}}  # fmt: skip
    assert "it runs already" in readiness_verdict(facts(results=same))["line"]


def test_nothing_looked_at_is_not_ready() -> None:
    """A step that nobody has asked must not look like one that has agreed."""
    said = readiness_verdict(facts(results={}, release={}, asked=["prepare_release", "start_services"]))
    assert said["ready"] is False
    assert "v1.0.2 would not work now, for 1 reason: (1) not looked at: prepare_release, start_services" in said["line"]
    part = readiness_verdict(facts(asked=["prepare_release", "switch_release", "prepare_database"]))
    assert part["reasons"] == ["not looked at: prepare_database"]


def test_a_long_or_strange_reason_stays_one_line() -> None:
    line = readiness_verdict(facts(refused=[refused("prepare_release", "a\nb" * 1000)]))["line"]
    assert "\n" not in line
    assert len(line) < 1000
