# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback that failed behind the cutover is undone by one command: code, edits, images, database, services."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import snapshot

if TYPE_CHECKING:
    from stack import Stack


def test_the_failed_run_names_the_command(stack: Stack) -> None:
    code, screen = stack.screen(0)
    words = " ".join(screen.split())
    assert code == 2
    assert "The database usdx_wexel was changed (restore); the former one is kept as usdx_wexel_before_" in words
    assert "ansible-playbook usdx.rollback.undo -i " in words
    assert "-e accept_data_loss=true" in words


def test_an_undo_that_would_lose_rows_is_refused_first(stack: Stack) -> None:
    code, screen = stack.screen(1)
    assert code == 2
    assert "Refused before anything changed." in " ".join(screen.split())


def test_the_undo_ends_well(stack: Stack) -> None:
    code, screen = stack.screen(2)
    assert code == 0, screen


def test_the_very_database_is_back_with_all_rows(stack: Stack) -> None:
    assert stack.database_id(stack.now) == stack.database_id(stack.before)
    assert stack.sql("SELECT version_num FROM alembic_version") == ["20241228020000"]
    assert int(stack.sql("SELECT count(*) FROM events")[0]) >= stack.before["events"]
    names = stack.sql("SELECT datname FROM pg_database WHERE datname LIKE 'usdx%' ORDER BY 1")
    assert [name.rpartition("_")[0] for name in names] == ["usdx", "usdx_wexel_undone"]


def test_commit_branch_edits_and_files_are_back(stack: Stack) -> None:
    assert stack.now["tree"] == stack.before["tree"]
    for part in ("head", "status"):
        assert stack.now["repository"][part] == stack.before["repository"][part]
    assert snapshot.lines("git", "symbolic-ref", "HEAD", cwd=stack.directory / "project") == ["refs/heads/hotfix"]


def test_the_same_images_run_again_and_answer(stack: Stack) -> None:
    before, now = stack.containers(stack.before), stack.containers(stack.now)
    assert {name: one["image"] for name, one in now.items()} == {name: one["image"] for name, one in before.items()}
    assert {one["status"] for one in now.values()} == {"running"}
    assert json.loads(stack.get("/health")[1])["version"] == "v1.0.3"
    stack.assert_keep_services_untouched()
    stack.assert_nothing_else_changed()


def test_what_is_undone_is_not_undone_again(stack: Stack) -> None:
    code, screen = stack.screen(3)
    assert code == 2
    assert "is undone" in " ".join(screen.split())


def test_a_release_that_was_only_put_back_does_not_count_as_verified(stack: Stack) -> None:
    records = stack.directory / "state" / "releases.jsonl"
    assert not records.exists()


def test_the_report_of_the_run_says_that_it_was_undone_and_names_the_report_of_that(stack: Stack) -> None:
    pages = sorted((stack.directory / "controller").glob("*/*/report.json"))
    undone, undo = [json.loads(page.read_text(encoding="utf-8")) for page in pages]
    assert undone["headline"].startswith(f"Undone by run {undo['run_id']}. Before that: Failed at step 6")
    assert [(one["run_id"], one["state"]) for one in undone["undos"]] == [(undo["run_id"], "succeeded")]
    assert undone["undos"][0]["ended"] == next(one["time"] for one in undo["moments"] if one["name"] == "closed")
    assert undo["headline"].startswith("Undone: what was there before run ")
    link = f"../{undo['run_id']}/report.html"
    assert f'href="{link}"' in pages[0].with_suffix(".html").read_text(encoding="utf-8")
    assert (pages[0].parent / link).is_file()
    copies = [path.read_text(encoding="utf-8").splitlines() for path in pages[0].parent.glob("*.jsonl")]
    assert [json.loads(lines[-1])["facts"]["outcome"] for lines in copies] == ["failed"]
