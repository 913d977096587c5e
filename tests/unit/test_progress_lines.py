# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of progress a person sees, and how they read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.journal import duration
from ansible_collections.usdx.rollback.plugins.plugin_utils.progress_lines import ProgressLines

MB = 1_000_000


def event(at: float, seconds: float, **facts: Any) -> dict[str, Any]:
    return {"at": at, "phase": "rows", "done": 0, "total": 1024 * MB, "seconds": seconds, "ended": False, **facts}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.4, "8 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (3_600_000, "1,000 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_says_how_far_how_quick_and_how_long() -> None:
    lines = ProgressLines().due([event(106, 6, done=430 * MB)], 106)
    assert lines == ["load 41 % (430 of 1,024 MB), 72 MB/s, 8 s left"]


def test_small_amounts_have_a_decimal() -> None:
    (line,) = ProgressLines().due([event(104, 4, done=2 * MB, total=5 * MB)], 104)
    assert line.endswith("load 40 % (2.0 of 5.0 MB), 0.5 MB/s, 6 s left")


def test_a_load_that_stands_still_does_not_look_quick() -> None:
    told = ProgressLines()
    told.due([event(102, 2, done=512 * MB)], 102)
    (line,) = told.due([], 164)
    assert line.endswith("load 50 % (512 of 1,024 MB), 8.0 MB/s, 1 min 4 s left")


def test_rows_that_were_read_and_are_not_stored_yet_promise_no_end() -> None:
    assert ProgressLines().due([event(110, 10, done=1024 * MB)], 110) == [
        "load 100 % (1,024 of 1,024 MB), 102 MB/s, 10 s so far"
    ]


def test_a_phase_without_a_total_says_its_seconds() -> None:
    told = ProgressLines()
    assert told.due([event(100, 0, phase="verify", total=0)], 101) == []
    assert told.due([], 103) == ["verify, 3 s so far"]


def test_a_directory_of_which_only_the_size_is_known_says_its_seconds() -> None:
    assert ProgressLines().due([event(100, 0)], 104) == ["load, 4 s so far"]


def test_what_is_quick_is_not_mentioned() -> None:
    events = [
        event(100, 0),
        event(101, 1, done=9, ended=True),
        event(101, 0, phase="verify"),
        event(102.9, 1.9, phase="verify", ended=True),
    ]
    assert ProgressLines().due([{"at": 100, "pid": 1, "job": ""}, *events], 103) == []


def test_the_end_of_a_phase_is_mentioned_once_even_if_nobody_saw_it_begin() -> None:
    told = ProgressLines()
    ends = [
        event(114, 14, done=1024 * MB, ended=True),
        event(121, 7, phase="indexes and constraints", total=0, ended=True),
    ]
    assert told.due(ends, 121) == [
        "load done: 1,024 MB in 14 s, 73 MB/s",
        "indexes and constraints done in 7 s",
    ]
    assert told.due([], 300) == []


def test_lines_become_more_seldom() -> None:
    told = ProgressLines()
    shown = [now for now in range(7200) if told.due([event(now, now, done=max(1, now) * 1000)], now)]
    assert shown[:3] == [2, 7, 12]
    assert 60 < shown[-1] - shown[-3] <= 120
    assert len([now for now in shown if now < 60]) <= 12
    assert len([now for now in shown if now < 3600]) <= 75


def test_a_clock_that_is_put_back_is_no_failure() -> None:
    told = ProgressLines()
    told.due([event(1000, 5, done=MB)], 1000)
    assert told.due([event(400, 8, done=2 * MB)], 400) == []
