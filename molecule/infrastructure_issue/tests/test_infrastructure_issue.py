# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dead node is found and switched, a switch that is no better is put back, a cache that hangs is restarted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import snapshot

if TYPE_CHECKING:
    from stack import Stack


def words_of(stack: Stack, number: int) -> tuple[int, str]:
    """Return the exit code and the words of a screen, wherever its lines were broken."""
    code, screen = stack.screen(number)
    assert "Traceback" not in screen
    return code, " ".join(screen.split())


def test_without_a_word_the_cause_is_named_and_nothing_is_done(stack: Stack) -> None:
    code, words = words_of(stack, 0)
    assert code == 2, words
    assert "ROLLBACK WILL NOT HELP" in words
    assert "Nothing was asked to be mended, and nothing was changed." in words
    assert "-e switch=rpc" in words or "-e switch=trap" in words


def test_a_switch_that_is_not_better_is_put_back(stack: Stack) -> None:
    code, words = words_of(stack, 1)
    assert code == 2, words
    assert "trap was not switched to its backup" in words
    assert "TRAP_URL has the value that it had" in words
    assert "usdx.rollback.resume" in words
    assert "usdx.rollback.undo" not in words


def test_a_switch_that_is_better_stays(stack: Stack) -> None:
    code, words = words_of(stack, 2)
    assert code == 0, words
    assert "stays" in words
    text = (stack.directory / "project" / ".env").read_text(encoding="utf-8")
    assert "\nRPC_URL=http://rpc-spare:8545/v2/sesame\n" in text
    assert "\nTRAP_URL=http://rpc:8545\n" in text
    told = json.loads("".join(snapshot.lines("docker", "inspect", f"{stack.project}-indexer-1")))
    assert "RPC_URL=http://rpc-spare:8545/v2/sesame" in told[0]["Config"]["Env"]
    assert "TRAP_URL=http://rpc:8545" in told[0]["Config"]["Env"]


def test_of_an_address_only_host_and_port_are_shown_and_kept(stack: Stack) -> None:
    """What follows them may be a key."""
    assert all("sesame" not in stack.screen(number)[1] for number in range(7))
    journals = list((stack.directory / "state" / "runs").glob("*/journal.jsonl"))
    assert len(journals) == 3
    for path in [*journals, *(stack.directory / "controller").rglob("report.*")]:
        assert "sesame" not in path.read_text(encoding="utf-8"), path


def test_a_switch_back_to_what_is_dead_is_refused_and_so_is_an_undo(stack: Stack) -> None:
    for number, told in ((3, "its primary fails too"), (4, "so there is nothing to undo")):
        code, words = words_of(stack, number)
        assert code == 2, words
        assert "Refused before anything changed." in words
        assert told in words


def test_a_cache_that_hangs_is_named_and_restarted(stack: Stack) -> None:
    code, words = words_of(stack, 5)
    assert code == 0, words
    assert "unpause redis" in words
    assert "-e restart=redis" in words
    code, words = words_of(stack, 6)
    assert code == 0, words
    now = snapshot.containers()[f"{stack.project}-redis-1"]
    before = stack.before["containers"][f"{stack.project}-redis-1"]
    assert (now["status"], now["health"], now["id"]) == ("running", "healthy", before["id"])
    assert now["started"] > before["started"]


def test_code_and_database_were_not_touched(stack: Stack) -> None:
    assert stack.now["repository"]["head"] == stack.before["repository"]["head"]
    db = f"{stack.project}-db-1"
    assert snapshot.containers()[db]["started"] == stack.before["containers"][db]["started"]
    assert stack.get("/health")[0] == 200
