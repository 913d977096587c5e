# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads while a long work goes on, made from the JSON lines of a progress file."""

from __future__ import annotations

from typing import Any

from ansible_collections.usdx.rollback.plugins.module_utils.journal import duration

# Seconds. A phase that is shorter than QUIET is not mentioned, so a quick restore prints nothing. Lines come every
# SHORTEST seconds at first and, the longer it takes, the more seldom: some seventy in the first hour.
QUIET = 2.0
SHORTEST = 5.0
LONGEST = 60.0
_SLOWER = 5
_NAMES = {"rows": "load"}
_MEGABYTE = 1_000_000
_SMALL = 10 * _MEGABYTE


class ProgressLines:
    """Chooses which events become a line. All times are seconds since 1970 by the clock of the managed host."""

    def __init__(self) -> None:
        """Begin with nothing shown."""
        self._began: float | None = None
        self._current: dict[str, Any] | None = None
        self._shown_at: float | None = None

    def due(self, events: list[dict[str, Any]], now: float) -> list[str]:
        """Return the lines that are due after these new events of the file, in their order."""
        found: list[str] = []
        for event in events:
            self._began = event["at"] if self._began is None else self._began
            if event.get("ended"):
                found += [ended_text(event)] if event["seconds"] >= QUIET else []
                self._current = self._shown_at = None
            elif "phase" in event:
                self._current = event
        return [*found, *self._current_line(now)]

    def _current_line(self, now: float) -> list[str]:
        if self._current is None:
            return []
        spent = self._current["seconds"] + max(0.0, now - self._current["at"])
        if spent < QUIET or (self._shown_at is not None and now - self._shown_at < self._interval(now)):
            return []
        self._shown_at = now
        return [current_text(self._current, spent)]

    def _interval(self, now: float) -> float:
        began = now if self._began is None else self._began
        return min(LONGEST, max(SHORTEST, (now - began) / _SLOWER))


def current_text(event: dict[str, Any], spent: float) -> str:
    """Say how far a phase came that has lasted ``spent`` seconds."""
    name, done, total, _seconds = _facts(event)
    if not (done and total):
        return f"{name}, {duration(spent)} so far"
    rate = done / spent  # and not per second of the event: a load that stands still must not look quick
    amount = f"{_megabytes(done, total)} of {_megabytes(total, total)} MB"
    rest = f"{duration((total - done) / rate)} left" if done < total else f"{duration(spent)} so far"
    return f"{name} {min(100, 100 * done // total)} % ({amount}), {_rate(rate)}, {rest}"


def ended_text(event: dict[str, Any]) -> str:
    """Say that a phase has ended."""
    name, done, total, seconds = _facts(event)
    if not (done and total and seconds):
        return f"{name} done in {duration(seconds)}"
    return f"{name} done: {_megabytes(done, total)} MB in {duration(seconds)}, {_rate(done / seconds)}"


def _facts(event: dict[str, Any]) -> tuple[str, int, int, float]:
    return _NAMES.get(event["phase"], event["phase"]), event["done"], event["total"], event["seconds"]


def _megabytes(amount: float, total: float) -> str:
    return f"{amount / _MEGABYTE:,.{1 if total < _SMALL else 0}f}"


def _rate(rate: float) -> str:
    return f"{_megabytes(rate, rate)} MB/s"
