# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one loop that waits: ask, look at the clock, sleep, ask again."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable

Seen = TypeVar("Seen")


def wait_for(  # noqa: PLR0913 - the clock and the sleep are only given by tests
    predicate: Callable[[], tuple[bool, Seen]],
    timeout: float,
    interval: float,
    *,
    hopeless: Callable[[Seen], bool] = lambda _seen: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[bool, Seen, float]:
    """Ask ``predicate`` until it is true or ``timeout`` seconds are over; return (ok, last, seconds).

    ``predicate`` returns whether the wait is over and what it saw; ``last`` is what it saw last. It is asked at
    once, then every ``interval`` seconds, and once more at the deadline, so a thing that turns good just before the
    deadline is found. No question begins after the deadline. ``hopeless`` ends the wait early, when what was seen
    cannot become good by waiting.
    """
    started = clock()
    while True:
        done, seen = predicate()
        elapsed = clock() - started
        if done or elapsed >= timeout or hopeless(seen):
            return done, seen, elapsed
        sleep(min(interval, timeout - elapsed))


def checked_seconds(value: Any, option: str, least: float = 0.0) -> float:  # noqa: ANN401 - what an operator typed
    """Return an option that is a number of seconds; refuse what is no finite number of at least ``least``."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < least:
        raise RollbackError(
            f"{option}={value!r} is not a number of seconds of at least {least:g}. Nothing was changed.",
            f"Set {option} to a finite number of seconds, {least:g} or more.",
        )
    return seconds
