# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one loop that waits."""

from __future__ import annotations

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.waiter import checked_seconds, wait_for


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        """Begin at an odd moment, so that a mistaken zero shows."""
        self.now = 1000.0

    def clock(self) -> float:
        """Return the moment."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on."""
        assert seconds > 0
        self.now += seconds


def wait_until(good_at: float, timeout: float, interval: float) -> tuple[bool, float, float]:
    """Wait for a thing that turns good at a moment; what is seen is the moment of the question."""
    time = Time()
    return wait_for(
        lambda: (time.now - 1000 >= good_at, time.now - 1000), timeout, interval, clock=time.clock, sleep=time.sleep
    )


@pytest.mark.parametrize(
    ("good_at", "timeout", "interval", "expected"),
    [
        (0, 10, 1, (True, 0, 0)),
        (2.5, 10, 1, (True, 3, 3)),
        (9.9, 10, 4, (True, 10, 10)),
        (11, 10, 4, (False, 10, 10)),
        (0, 0, 1, (True, 0, 0)),
        (1, 0, 1, (False, 0, 0)),
        (1, 2, 60, (True, 2, 2)),
    ],
)
def test_it_asks_at_once_then_each_interval_and_once_at_the_deadline(
    good_at: float, timeout: float, interval: float, expected: tuple[bool, float, float]
) -> None:
    """The last question is the one at the deadline, and none comes later."""
    assert wait_until(good_at, timeout, interval) == expected


def test_a_hopeless_thing_is_not_waited_for() -> None:
    """What waiting cannot change ends the wait."""
    time = Time()
    outcome = wait_for(lambda: (False, 7), 10, 1, hopeless=lambda seen: seen == 7, clock=time.clock, sleep=time.sleep)
    assert outcome == (False, 7, 0)


@pytest.mark.parametrize("value", ["nan", "inf", -1, "soon", None, 0.05])
def test_what_is_no_number_of_seconds_is_refused(value: object) -> None:
    """The option and the value are named."""
    with pytest.raises(RollbackError, match="interval="):
        checked_seconds(value, "interval", 0.1)
