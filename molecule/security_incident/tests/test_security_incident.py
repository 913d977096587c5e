# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything stops and stays stopped, what is out of turn is refused, and only a reviewed release goes live."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import snapshot
from stack import APPLICATION_SERVICES

if TYPE_CHECKING:
    from stack import Stack

CONTAIN, ASSESS, RECOVER, RELEASE = 2, 5, 6, 9


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.split())


def journals(stack: Stack) -> list[list[dict[str, Any]]]:
    """Return the journals, the oldest first."""
    paths = sorted((stack.directory / "state" / "runs").glob("*/journal.jsonl"))
    return [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in paths]


def secret(stack: Stack, name: str) -> str:
    """Return the password of the database that an environment file holds."""
    lines = (stack.directory / name).read_text(encoding="utf-8").splitlines()
    (value,) = (line.partition("=")[2] for line in lines if line.startswith("POSTGRES_PASSWORD="))
    return value


def logs_in(stack: Stack, password: str) -> bool:
    """Tell whether the role of the application logs in from the network of the project."""
    db = f"{stack.project}-db-1"
    (address,) = snapshot.lines("docker", "exec", db, "hostname", "-i")
    query = f"host={address.strip()} user=usdx dbname=usdx_wexel password={password}"
    return snapshot.lines(
        "docker", "exec", db, "sh", "-c", 'psql --no-psqlrc -Atc "SELECT 1" "$0" 2>/dev/null || echo refused', query
    ) == ["1"]


def test_without_a_stage_it_says_how_it_stands(stack: Stack) -> None:
    for number in (0, 10):
        code, words = words_of(stack, number)
        assert code == 2
        assert "Security incident: none is open" in words
        assert "No stage was given. Nothing was changed." in words


def test_what_is_out_of_turn_is_refused_and_says_what_to_type(stack: Stack) -> None:
    for number, told in (
        (1, "Begin with -e stage=contain"),
        (3, "usdx.rollback.security_incident -e stage=assess"),
        (4, "The stage assess of this incident comes first"),
        (7, "Nobody has reviewed what goes live"),
        (8, "ann cannot review own work"),
        (11, "is a stage of a security incident"),
    ):
        code, words = words_of(stack, number)
        assert code == 2, words
        assert "Refused before anything changed." in words
        assert told in words


def test_everything_stops_first_and_users_see_a_page(stack: Stack) -> None:
    code, words = words_of(stack, CONTAIN)
    assert code == 0, words
    contained = stack.containers(stack.seen("contained"))
    assert {contained[service]["status"] for service in APPLICATION_SERVICES} == {"exited"}
    done = [event for event in journals(stack)[0] if event["event"] in ("run_started", "step_finished")]
    assert [event.get("step") for event in done[1:3]] == ["stop_services", "maintenance_mode"]
    times = [datetime.fromisoformat(event["time"]) for event in done]
    assert (times[2] - times[0]).total_seconds() < 60
    seen = json.loads((stack.directory / "page.json").read_text(encoding="utf-8"))
    assert (seen["status"], seen["retry_after"]) == (503, "600")


def test_evidence_is_sealed_before_anything_else_changes(stack: Stack) -> None:
    (place,) = (stack.directory / "state" / "evidence").iterdir()
    names = {one["name"] for one in json.loads((place / "manifest.json").read_text(encoding="utf-8"))["files"]}
    assert "database/dump.sql.gz" in names
    assert place.stat().st_mode & 0o277 == 0, "for its owner only, and nobody writes to it any more"


def test_answers_are_recorded_and_the_rest_is_open(stack: Stack) -> None:
    code, words = words_of(stack, ASSESS)
    assert code == 0, words
    assert "Done by Ann: Since when?" in words
    assert "Open, to be done by a person: Who must be told" in words


def test_nothing_went_live_before_the_review(stack: Stack) -> None:
    code, words = words_of(stack, RECOVER)
    assert code == 0, words
    assert "Open, to be done by a person: mail provider: make a new key in its console" in words
    assert "database: the new one works (passed), the old one is refused (passed)" in words
    recovered = stack.containers(stack.seen("recovered"))
    assert {recovered[service]["status"] for service in APPLICATION_SERVICES} == {"exited"}


def test_the_patch_is_on_record_and_on_the_host_for_its_owner_only(stack: Stack) -> None:
    sha256 = hashlib.sha256((stack.directory / "fix-auth.patch").read_bytes()).hexdigest()
    _code, words = words_of(stack, RECOVER)
    assert "to v1.0.2 with patch fix-auth.patch (" in words
    assert f"with patch fix-auth.patch, sha256 {sha256}, which changes wexel/webapp.py" in words
    (recovered,) = (events for events in journals(stack) if events[0]["facts"]["inputs"]["stage"] == "recover")
    assert recovered[0]["facts"]["patch"]["base"] == stack.facts["tags"]["v1.0.2"]
    assert recovered[0]["facts"]["commit"] == stack.now["repository"]["head"][0]
    (kept,) = (stack.directory / "state" / "runs").glob("*/security.patch")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_bytes() == (stack.directory / "fix-auth.patch").read_bytes()
    assert stack.now["leavings"] == []
    (report,) = (path for path in (stack.directory / "controller").rglob("report.md") if kept.parent.name in str(path))
    assert sha256 in report.read_text(encoding="utf-8")


def test_no_old_secret_works_and_no_new_one_is_told(stack: Stack) -> None:
    old, new = secret(stack, "stolen.env"), secret(stack, "project/.env")
    assert old != new
    assert logs_in(stack, new)
    assert not logs_in(stack, old)
    for number in range(12):
        assert new not in stack.screen(number)[1]
    for folder in ("state/runs", "controller"):
        for path in (stack.directory / folder).rglob("*"):
            assert not path.is_file() or new not in path.read_text(encoding="utf-8"), path


def test_the_reviewed_release_is_live(stack: Stack) -> None:
    code, words = words_of(stack, RELEASE)
    assert code == 0, words
    assert "reviewed by Eve" in words
    stack.assert_release_answers("v1.0.2", patched=True)
    assert "v1.0.2, mended" in stack.get("/")[1]
    assert not stack.image_ids(stack.before) - stack.image_ids(stack.now), "the release without the patch is kept"
    stack.assert_keep_services_untouched()
    (started,) = (event["facts"] for event in journals(stack)[-1] if event["event"] == "run_started")
    assert started["inputs"]["review_approved_by"] == "Eve"
    page = [name for name in snapshot.containers() if name.startswith(f"usdx-maintenance-{stack.project}-")]
    assert page == []
    for service in APPLICATION_SERVICES:
        policy = snapshot.lines(
            "docker", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", f"{stack.project}-{service}-1"
        )
        assert policy == ["unless-stopped"]
