# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of a watch: what each sample means, when the watch ends early, and what all samples together prove.

Pure: it is given what was read and when. Missing data is inconclusive; it never passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .metrics import ALERTS, RELEASE
from .verify import FAILED, INCONCLUSIVE, PASSED, worst

VALUE_LIMIT = 5000  # of the samples that are returned; a longer watch is thinned evenly
_NAMES_SHOWN = 5


class Sample(NamedTuple):
    """What one check saw in one round. ``limit`` is what a good value is, in words.

    ``may_end`` marks a failure that was there when the watch began and may end by itself, as an alert of the outage.
    """

    name: str
    limit: str
    verdict: str
    seen: str
    value: float | None = None
    may_end: bool = False


# --- what one round means --------------------------------------------------------------------------------------------


def samples_of(
    options: dict[str, Any], told: dict[str, Any], release: dict[str, Any] | None, there: frozenset[str] = frozenset()
) -> list[Sample]:
    """Return the samples of a round: of each metric, of the alerts, of each check of the release.

    ``there`` are the alerts that fired when the watch began.
    """
    readings = told.get("readings") or {}
    samples = [metric_sample(check, readings.get(check["name"]) or _unread(told)) for check in options["checks"]]
    if options["alerts"]:
        samples.append(
            alerts_sample(options["alerts"], told.get("alerts") or {"firing": None, "why": _why(told)}, there)
        )
    return samples + ([] if release is None else release_samples(release))


def _why(told: dict[str, Any]) -> str:
    return str(told.get("why") or "it could not be asked")


def _unread(told: dict[str, Any]) -> dict[str, Any]:
    return {"now": {"value": None, "why": _why(told), "no_data": False}}


def number(value: float, unit: str | None) -> str:
    """Return a value with its unit as a person reads it."""
    text = f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"  # noqa: PLR2004 - four digits
    return f"{text} {unit}" if unit else text


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def limit_text(check: dict[str, Any]) -> str:
    """Return what a good value of a metric is, in words."""
    words = {"max": "at most", "min": "at least"}
    parts = [f"{words[key]} {number(check[key], check['unit'])}" for key in words if check[key] is not None]
    parts += [f"changes at least {_times(check['changes'])}"] if check["changes"] is not None else []
    if check["max_ratio"] is not None:
        parts.append(f"at most {check['max_ratio']:g} times that of {check['baseline']['at']}")
    return ", ".join(parts)


def metric_sample(check: dict[str, Any], reading: dict[str, Any]) -> Sample:
    """Judge one number against the limits of its check."""
    name, limit, now = check["name"], limit_text(check), reading["now"]
    value = now["value"]
    if value is None:
        passes = now["no_data"] and check["on_no_data"] == "pass"
        return Sample(name, limit, PASSED if passes else INCONCLUSIVE, now["why"])
    seen, verdicts = number(value, check["unit"]), [PASSED]
    if check["max"] is not None and value > check["max"]:
        verdicts.append(FAILED)
    if check["min"] is not None and value < check["min"]:
        verdicts.append(FAILED)
    if check["max_ratio"] is not None:
        verdict, text = _ratio(check, value, reading["baseline"])
        verdicts.append(verdict)
        seen += f" ({text})"
    return Sample(name, limit, worst(verdicts), seen, value)


def _ratio(check: dict[str, Any], value: float, baseline: dict[str, Any]) -> tuple[str, str]:
    """Judge a number against the same number of before."""
    before = baseline["value"]
    if before is None:
        return INCONCLUSIVE, f"baseline: {baseline['why']}"
    if before <= 0:
        return INCONCLUSIVE, f"baseline {number(before, check['unit'])}, there is no ratio to that"
    ratio = value / before
    text = f"{ratio:.3g} times the baseline {number(before, check['unit'])}"
    return FAILED if ratio > check["max_ratio"] else PASSED, text


def alerts_sample(wanted: dict[str, Any], told: dict[str, Any], there: frozenset[str] = frozenset()) -> Sample:
    """Judge the alerts that fire: those that fired before do not fail, and are named.

    Those that the outage has made fire are ``there`` when the watch begins; they must have ended at its end.
    """
    limit = "none fires, but for those that fired before" if wanted["baseline"] else "none fires"
    if told["firing"] is None:
        return Sample(ALERTS, limit, INCONCLUSIVE, told["why"])
    known = [alert for alert in told["firing"] if alert["fingerprint"] in wanted["baseline"]]
    new = [alert for alert in told["firing"] if alert["fingerprint"] not in wanted["baseline"]]
    more = told["count"] - len(told["firing"])
    if new or more:
        may_end = not more and all(alert["fingerprint"] in there for alert in new)
        text = f"{_names(new, more)} fires" + (" since the watch began" if may_end else "")
        return Sample(ALERTS, limit, FAILED, text, float(len(new) + more), may_end)
    seen = f"no new one, {_names(known)} fires since before" if known else "none"
    return Sample(ALERTS, limit, PASSED, seen, 0.0)


def _names(alerts: list[dict[str, Any]], more: int = 0) -> str:
    names = sorted({_alert_text(alert) for alert in alerts})
    more += len(names[_NAMES_SHOWN:])
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more else "")


def _alert_text(alert: dict[str, Any]) -> str:
    where = alert["labels"].get("instance") or alert["labels"].get("service")
    return f"{alert['name']} ({where})" if where else str(alert["name"])


def release_samples(told: dict[str, Any]) -> list[Sample]:
    """Return a sample for each check of ``version_verify`` that decides, or one that says why there is none."""
    rows = [row for row in told.get("checks") or [] if row.get("decides", True)]
    if not rows:
        return [Sample(RELEASE, "answers", INCONCLUSIVE, str(told.get("msg") or "it could not be asked"))]
    return [
        Sample(f"{row['kind']} {row['name']}", str(row["expected"]), row["verdict"], str(row["seen"])) for row in rows
    ]


# --- what all rounds mean --------------------------------------------------------------------------------------------


@dataclass
class Track:
    """All samples of one check that are judged, with their moments, and how many in a row have failed."""

    name: str
    limit: str = ""
    fail_after: int = 3
    changes: float | None = None
    unit: str | None = None
    judged: list[tuple[float, Sample]] = field(default_factory=list)
    streak: int = 0

    def add(self, at: float, sample: Sample) -> None:
        """Keep a sample."""
        self.limit = sample.limit
        self.judged.append((at, sample))
        if not sample.may_end:
            self.streak = self.streak + 1 if sample.verdict == FAILED else 0

    @property
    def hopeless(self) -> bool:
        """Whether so many samples in a row have failed that the watch ends."""
        return 0 < self.fail_after <= self.streak

    def count(self, verdict: str) -> int:
        """Return how many samples have this verdict."""
        return sum(sample.verdict == verdict for _at, sample in self.judged)

    @property
    def values(self) -> list[float]:
        """All numbers, in their order."""
        return [sample.value for _at, sample in self.judged if sample.value is not None]

    @property
    def moves(self) -> int:
        """How often the number was another one than before."""
        return sum(one != other for one, other in zip(self.values, self.values[1:]))

    def verdict(self, since: float, least: int) -> str:
        """Return the verdict: all samples from ``since`` on count, and at least ``least`` must have said something."""
        if self.hopeless:
            return FAILED
        recent = [sample.verdict for at, sample in self.judged if at >= since]
        verdict = worst(recent)
        if verdict == FAILED:
            return FAILED
        if verdict == INCONCLUSIVE or len(self.judged) - self.count(INCONCLUSIVE) < least:
            return INCONCLUSIVE
        still = self.changes is not None and self.moves < self.changes
        return FAILED if still and len(self.values) >= least else INCONCLUSIVE if still else PASSED

    def row(self, verdict: str) -> dict[str, Any]:
        """Return what the module returns of this check."""
        last = self.judged[-1][1] if self.judged else None
        count = {name: self.count(name) for name in (PASSED, FAILED, INCONCLUSIVE)}
        return {
            "name": self.name, "verdict": verdict, "seen": self._seen(verdict), "limit": self.limit,
            "seconds": round(self.judged[-1][0], 3) if self.judged else 0.0, "samples": len(self.judged), **count,
            "value": last.value if last else None, "unit": self.unit or "",
            "lowest": min(self.values, default=None), "highest": max(self.values, default=None),
        }  # fmt: skip

    def _seen(self, verdict: str) -> str:
        """Say what was seen last, and between which numbers it was; of what did not pass, the last that shows why."""
        if not self.judged:
            return "not asked"
        of_verdict = [sample for _at, sample in self.judged if sample.verdict == verdict]
        parts = [(of_verdict or [self.judged[-1][1]])[-1].seen]
        if self.changes is not None:
            parts.append(f"changed {_times(self.moves)}" if self.moves else "never changed")
        elif len(set(self.values)) > 1 and self.name != ALERTS:
            parts.append(f"from {number(min(self.values), self.unit)} to {number(max(self.values), self.unit)}")
        bad = len(self.judged) - self.count(PASSED)
        parts.append(f"{bad} of {_counted(len(self.judged))} not passed" if bad else _counted(len(self.judged)))
        return ", ".join(parts)


def _counted(number_of_samples: int) -> str:
    return "1 sample" if number_of_samples == 1 else f"{number_of_samples} samples"


class Gate:
    """Takes rounds and decides. Times are seconds since the watch began."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Begin without samples. ``options`` are those that ``metrics.checked_options`` returns."""
        self.options = options
        self.length: float = options["settle"] + options["window"]
        self.rounds: list[dict[str, Any]] = []
        self.at = 0.0
        self._tracks: dict[str, Track] = {}
        self._shown: list[Sample] = []
        self._there: frozenset[str] | None = None
        for check in options["checks"]:
            self._tracks[check["name"]] = Track(
                check["name"], limit_text(check), check["fail_after"], check["changes"], check["unit"]
            )
        if options["alerts"]:
            self._tracks[ALERTS] = Track(ALERTS, "none fires", options["alerts"]["fail_after"])

    def read(self, at: float, told: dict[str, Any], release: dict[str, Any] | None) -> None:
        """Take what the module, and ``version_verify`` if it was asked, have said in one round."""
        firing = (told.get("alerts") or {}).get("firing")
        if self._there is None and firing is not None:
            self._there = frozenset(alert["fingerprint"] for alert in firing)
        self.take(at, samples_of(self.options, told, release, self._there or frozenset()))

    def take(self, at: float, samples: list[Sample]) -> None:
        """Take one round. What comes before ``settle`` is over is shown and not judged: rates still hold old faults."""
        self.at = at
        self._shown = samples
        for sample in samples if at >= self.options["settle"] else []:
            self._tracks.setdefault(sample.name, Track(sample.name)).add(at, sample)
        self._forget_placeholder()
        self.rounds.append(
            {
                "at": round(at, 3),
                "values": {one.name: one.value for one in samples if one.value is not None},
                **{
                    verdict: [one.name for one in samples if one.verdict == verdict]
                    for verdict in (FAILED, INCONCLUSIVE)
                },
            }
        )

    def _forget_placeholder(self) -> None:
        """Count a round in which the release could not be asked for each of its checks, once they are known."""
        known = [name for name in self._tracks if name not in (RELEASE, ALERTS) and name not in self._metrics()]
        unknown = self._tracks.get(RELEASE)
        if unknown and known:
            for name in known:
                track = self._tracks[name]
                track.judged = sorted([*track.judged, *unknown.judged], key=lambda one: one[0])
            del self._tracks[RELEASE]

    def _metrics(self) -> set[str]:
        return {check["name"] for check in self.options["checks"]}

    @property
    def hopeless(self) -> list[Track]:
        """The checks that have clearly failed."""
        return [track for track in self._tracks.values() if track.hopeless]

    @property
    def over(self) -> bool:
        """Whether the watch ends: it took its time, or a check has clearly failed."""
        return self.at >= self.length or bool(self.hopeless)

    def line(self) -> str:
        """Return the line of the latest round: what each check has seen, and its limit."""
        words = {FAILED: "FAILED ", INCONCLUSIVE: "? "}
        metrics = {*self._metrics(), ALERTS}
        parts = [
            f"{words.get(one.verdict, '')}{one.name} {one.seen}" + (f" ({one.limit})" if one.name != ALERTS else "")
            for one in self._shown
            if one.name in metrics or one.verdict != PASSED
        ]
        release = [one for one in self._shown if one.name not in metrics]
        good = sum(one.verdict == PASSED for one in release)
        parts += [f"release {good} of {len(release)} checks"] if release else []
        settling = ", settling" if self.at < self.options["settle"] else ""
        return f"{self.at:.0f} of {self.length:.0f} s{settling}: {'; '.join(parts)}"

    def checks(self) -> list[dict[str, Any]]:
        """Return a row for each check."""
        since = max(self.options["settle"], self.at - self.options["stable_for"])
        least = self.options["min_samples"]
        return [track.row(track.verdict(since, least)) for track in self._tracks.values()]

    def samples(self) -> list[dict[str, Any]]:
        """Return the rounds, evenly thinned when they hold too many numbers."""
        step = math.ceil(sum(len(one["values"]) + 1 for one in self.rounds) / VALUE_LIMIT) or 1
        return self.rounds[::step]

    def result(self, alerts: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the result of the module; ``failed`` with message and next step, unless all have passed."""
        checks = self.checks()
        verdict = worst([check["verdict"] for check in checks])
        facts: dict[str, Any] = {
            "changed": False, "verdict": verdict, "checks": checks, "seconds": round(self.at, 3),
            "rounds": len(self.rounds), "ended_early": bool(self.hopeless) and self.at < self.length,
            "samples": self.samples(), "alerts": alerts,
        }  # fmt: skip
        wrong = "; ".join(
            f"{one['name']} {one['verdict']}: {one['seen']}, good is {one['limit']}"
            for one in checks
            if one["verdict"] != PASSED
        )
        told = f"after {self.at:.0f} of {self.length:.0f} s. {wrong}."
        if verdict == FAILED:
            return {**facts, "failed": True, "msg": f"The watch failed {told}", "next_step": NEXT_STEP}
        if verdict == INCONCLUSIVE and self.options["on_inconclusive"] == "fail":
            return {**facts, "failed": True, "msg": f"The watch proves nothing {told}", "next_step": UNPROVED}
        if verdict == INCONCLUSIVE:
            return {**facts, "warnings": [f"The watch proves nothing {told}"]}
        return facts


NEXT_STEP = (
    "Nothing was changed by the watch, and what runs goes on running. Look at the checks named above in Prometheus and "
    "Alertmanager, then run the same task again or go back."
)
UNPROVED = (
    "Nothing was changed by the watch, and what runs goes on running. See why the data is missing: the query, the "
    "target of Prometheus, too little traffic, or a window too short. Then run the same task again. "
    "If the missing data may be ignored, set on_inconclusive to warn, or on_no_data of that check to pass."
)
