# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several requests instead of one: the share that fails and the 95th percentile, where no metrics exist."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import RollbackError

if TYPE_CHECKING:
    from collections.abc import Callable

# One after the other, and at most 20 in a second: an application that has just started is not to be tested to death.
PAUSE = 0.05
MOST_REQUESTS = 10_000
_REASONS = 3
_RANK = 0.95


class Asked(NamedTuple):
    """One request: what was wrong with its answer, or an empty text, and how long it took; no answer takes for ever."""

    wrong: str
    conclusive: bool = True
    milliseconds: float = math.inf


@dataclass(frozen=True)
class SampleLimits:
    """How many requests are made, which share of them may fail, and how slow the 95th percentile may be."""

    requests: int
    max_failed: float = 0.0
    p95: float | None = None

    def expected(self) -> str:
        """Return what a good sample is, in words."""
        failed = f"at most {100 * self.max_failed:g} % failed" if self.max_failed else "none failed"
        return f"{self.requests} requests, {failed}" + (f", p95 at most {self.p95:g} ms" if self.p95 else "")


def sample_limits(option: dict[str, Any], common: dict[str, Any]) -> SampleLimits | None:
    """Return the limits of an endpoint, or of all where it has none of its own; ``None`` when one request is enough."""

    def given(name: str, default: Any) -> Any:  # noqa: ANN401 - a number
        values = (option.get(name), common.get(name), default)
        return next((value for value in values if value is not None), None)

    requests, max_failed, p95 = given("requests", 1), given("max_failed", 0.0), given("p95", None)
    if not 0 <= requests <= MOST_REQUESTS:
        raise _refused("requests", requests, f"a number from 0 to {MOST_REQUESTS}; 0 and 1 take no sample")
    if not 0 <= max_failed < 1:
        raise _refused("max_failed", max_failed, "a share of the requests, 0 or more and below 1; 0.01 is one percent")
    if p95 is not None and not 0 <= p95 < math.inf:
        raise _refused("p95", p95, "a number of milliseconds, or 0 for no limit")
    return SampleLimits(requests, max_failed, p95 or None) if requests > 1 else None


def take_sample(
    ask: Callable[[], Asked],
    requests: int,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> list[Asked]:
    """Ask so many times, one after the other. No request begins when the seconds are over."""
    deadline = clock() + seconds
    sample: list[Asked] = []
    while len(sample) < requests and clock() < deadline:
        due = clock() + PAUSE
        sample.append(ask())
        if len(sample) < requests:
            sleep(max(0.0, due - clock()))
    return sample


def judge_sample(sample: list[Asked], limits: SampleLimits) -> tuple[list[bool | None], str, dict[str, Any]]:
    """Return what holds of a sample, the same in words, and its figures.

    True is good, False is bad, ``None`` cannot be said. A sample that is not whole is bad where no other answer could
    make it good, and else cannot be said.
    """
    wrong = [one for one in sample if one.wrong]
    whole = len(sample) == limits.requests
    holds = [_few_enough(wrong, limits, whole=whole)]
    times = sorted(one.milliseconds for one in sample)
    if limits.p95:
        # Of 20 one may be slower, of 100 five; what was not asked is taken as fast.
        slow, allowed = sum(time > limits.p95 for time in times), limits.requests - rank(limits.requests)
        holds.append(False if slow > allowed else True if whole else None)
    percentile = times[rank(len(times)) - 1] if times else math.inf
    figures = {
        "requests": len(sample), "failed": len(wrong), "p95_ms": _figure(percentile),
        "slowest_ms": _figure(times[-1] if times else math.inf),
    }  # fmt: skip
    return holds, _words(sample, wrong, limits, figures), figures


def rank(count: int) -> int:
    """Return which one of so many, in order, is the 95th percentile. Of fewer than 20 it is the last."""
    return math.ceil(round(_RANK * count, 6))


def _few_enough(wrong: list[Asked], limits: SampleLimits, *, whole: bool) -> bool | None:
    allowed = limits.max_failed * limits.requests + 1e-9
    if len(wrong) <= allowed:
        return True if whole else None
    return False if sum(one.conclusive for one in wrong) > allowed else None


def _words(sample: list[Asked], wrong: list[Asked], limits: SampleLimits, figures: dict[str, Any]) -> str:
    reasons = Counter(one.wrong for one in wrong).most_common(_REASONS)
    told = f" ({', '.join(f'{count} x {reason}' for reason, count in reasons)})" if reasons else ""
    made = f"{len(sample)} requests" if len(sample) == limits.requests else (
        f"only {len(sample)} of {limits.requests} requests before their time was over"
    )  # fmt: skip
    return f"{made}, {len(wrong)} failed{told}, p95 {_time(figures['p95_ms'])}, slowest {_time(figures['slowest_ms'])}"


def _figure(milliseconds: float) -> float | None:
    return round(milliseconds, 1) if math.isfinite(milliseconds) else None


def _time(milliseconds: float | None) -> str:
    return "without an answer" if milliseconds is None else f"{milliseconds:.0f} ms"


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was asked and nothing was changed.", f"Give {accepted}."
    )
