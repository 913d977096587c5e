# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a sample of requests says, and what it cannot say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.request_sample import (
    Asked,
    SampleLimits,
    judge_sample,
    rank,
    sample_limits,
    take_sample,
)
from hypothesis import given
from hypothesis import strategies as st

GOOD, SLOW = Asked("", milliseconds=5), Asked("", milliseconds=900)
BAD, UNREAD = Asked("status 500", milliseconds=5), Asked("no JSON", conclusive=False, milliseconds=5)
SILENT = Asked("connection refused")


@pytest.mark.parametrize(
    ("sample", "limits", "holds"),
    [
        ([GOOD] * 20, SampleLimits(20, p95=500), [True, True]),
        ([GOOD] * 19 + [BAD], SampleLimits(20), [False]),
        ([GOOD] * 99 + [BAD], SampleLimits(100, 0.01), [True]),
        ([GOOD] * 98 + [BAD] * 2, SampleLimits(100, 0.01), [False]),
        ([GOOD] * 19 + [UNREAD], SampleLimits(20), [None]),
        ([GOOD] * 18 + [UNREAD, BAD], SampleLimits(20), [False]),
        ([GOOD] * 19 + [SLOW], SampleLimits(20, p95=500), [True, True]),
        ([GOOD] * 18 + [SLOW] * 2, SampleLimits(20, p95=500), [True, False]),
        ([GOOD, SLOW], SampleLimits(2, p95=500), [True, False]),
        # What did not answer is not fast.
        ([GOOD] * 18 + [SILENT] * 2, SampleLimits(20, 0.5, 500), [True, False]),
        # Not whole: bad where the rest could not make it good, else nobody knows.
        ([], SampleLimits(20, p95=500), [None, None]),
        ([GOOD] * 19, SampleLimits(20, p95=500), [None, None]),
        ([SLOW], SampleLimits(20, p95=500), [None, None]),
        ([SLOW] * 2, SampleLimits(20, p95=500), [None, False]),
        ([BAD], SampleLimits(20, p95=500), [False, None]),
        ([BAD], SampleLimits(20, 0.05), [None]),
    ],
)
def test_a_sample_is_good_bad_or_says_nothing(sample: list[Asked], limits: SampleLimits, holds: list[Any]) -> None:
    assert judge_sample(sample, limits)[0] == holds


def test_the_words_count_what_failed_and_say_why() -> None:
    _holds, words, figures = judge_sample([GOOD] * 12 + [BAD] * 2 + [SILENT], SampleLimits(15))
    assert words == (
        "15 requests, 3 failed (2 x status 500, 1 x connection refused), p95 without an answer, "
        "slowest without an answer"
    )
    assert figures == {"requests": 15, "failed": 3, "p95_ms": None, "slowest_ms": None}
    _holds, words, figures = judge_sample([GOOD] * 3, SampleLimits(15))
    assert words.startswith("only 3 of 15 requests before their time was over, 0 failed, p95 5 ms")
    assert judge_sample([], SampleLimits(15))[2]["p95_ms"] is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.floats(0.1, 1e6))
def test_p95_is_the_nearest_rank(times: list[float], limit: float) -> None:
    """The same as counting: a whole sample is slow when the 95th percentile in order is above the limit."""
    sample = [Asked("", milliseconds=time) for time in times]
    holds, _words, figures = judge_sample(sample, SampleLimits(len(times), p95=limit))
    percentile = sorted(times)[math.ceil(round(0.95 * len(times), 6)) - 1]
    assert holds == [True, percentile <= limit]
    assert figures["p95_ms"] == round(percentile, 1)


def test_of_20_one_may_be_slower() -> None:
    """Floating point does not make it none, or two."""
    assert [rank(count) for count in (1, 19, 20, 21, 40, 100, 1000)] == [1, 19, 19, 20, 38, 95, 950]


def test_requests_are_made_one_after_the_other_and_end_with_their_time() -> None:
    now, begun = [0.0], []

    def ask() -> Asked:
        begun.append(now[0])
        now[0] += 0.01
        return GOOD

    def sleep(seconds: float) -> None:
        now[0] += seconds

    assert len(take_sample(ask, 20, 30, lambda: now[0], sleep)) == 20
    assert begun[-1] == pytest.approx(19 * 0.05)
    begun.clear()
    assert len(take_sample(ask, 20, 0.5, lambda: now[0], sleep)) == len(begun) == 10


def test_an_endpoint_has_its_own_limits_or_those_of_all() -> None:
    common = {"requests": 45, "max_failed": 0.0, "p95": 500.0}
    assert sample_limits({}, common) == SampleLimits(45, 0.0, 500.0)
    assert sample_limits({"requests": 10, "max_failed": 0.2, "p95": 0.0}, common) == SampleLimits(10, 0.2, None)
    assert sample_limits({"requests": 1}, common) is None
    assert sample_limits({"p95": 100.0}, {"requests": 1}) is None


@pytest.mark.parametrize(
    "option", [{"requests": -1}, {"requests": 10**6}, {"max_failed": 1.0}, {"max_failed": -0.1}, {"p95": -1.0}]
)
def test_wrong_limits_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(RollbackError, match=next(iter(option))):
        sample_limits(option, {"requests": 20})
