# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all dependencies have in common: it answers, in time, and its certificate is good."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from .probe import FAILED, Probe, judged, passed, unknown

if TYPE_CHECKING:
    from .settings import Dependency

Answer = dict[str, Any]
_DAY = 24 * 3600.0


def question(one: Dependency, kind: str, **more: Any) -> dict[str, Any]:
    """Return a question to a dependency, as ``wire`` wants it."""
    common = {"kind": kind, "host": one.host, "port": one.port, "timeout": one.timeout}
    return {**common, "validate_certs": one.validate_certs, "ca_path": one.ca_path, **more}


def web_question(one: Dependency, url: str, body: str = "") -> dict[str, Any]:
    """Return a question over HTTP; with a body it is a POST of JSON."""
    kind = {"Content-Type": "application/json"} if body else {}
    method = "POST" if body else "GET"
    return question(one, "http", url=url, method=method, body=body, headers={**kind, **one.headers})


def no_answer(one: Dependency, answer: Answer, place: str, kind: str = "answers") -> Probe | None:
    """Return the failed probe of an answer that did not come; nothing when it came."""
    if not answer["fault"]:
        return None
    seen = f"{one.where}: {answer['why']}"
    return Probe(one.name, kind, FAILED, seen, "it answers", answer["fault"], place, answer["seconds"])


def answered(one: Dependency, answer: Answer, place: str, seen: str) -> Probe:
    """Return the probe of an answer that came and is good."""
    return passed(
        one.name, "answers", f"{one.where}: {seen}", limit="it answers", place=place, seconds=answer["seconds"]
    )


def wrong_answer(one: Dependency, answer: Answer, place: str, fault: str, seen: str) -> Probe:
    """Return the probe of an answer that came and is not good."""
    return Probe(
        one.name, "answers", FAILED, f"{one.where}: {seen}", "it answers", fault, place, answer["seconds"]
    )  # fmt: skip


def latency(one: Dependency, seconds: float, place: str) -> Probe:
    """Return whether an answer came fast enough."""
    limit, took = one.limits["max_latency"], seconds * 1000
    return judged(
        one.name, "latency", took > limit, f"{took:.0f} ms", limit=f"at most {limit:g} ms", fault="slow",
        place=place, seconds=seconds,
    )  # fmt: skip


def certificate(one: Dependency, answer: Answer, place: str, now: datetime) -> list[Probe]:
    """Return whether the certificate lasts, where there is one."""
    if "not_after" not in answer:
        return []
    limit = f"at least {one.limits['min_tls_days']:g} days left"
    if not answer["not_after"]:
        return [unknown(one.name, "certificate", "its end cannot be read", limit=limit, place=place)]
    end = datetime.strptime(answer["not_after"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    left = (end - now).total_seconds() / _DAY
    fault = "expired" if left < 0 else "expiring"
    words = f"it ended {-left:.1f} days ago" if left < 0 else f"it ends in {left:.1f} days"
    seen = f"{words}, at {answer['not_after']}"
    return [
        judged(one.name, "certificate", left < one.limits["min_tls_days"], seen, limit=limit, fault=fault, place=place)
    ]


# --- the plain kinds --------------------------------------------------------------------------------------------------


def judge_plain(one: Dependency, answers: dict[str, Answer], place: str, now: datetime) -> list[Probe]:
    """Judge ``tcp``, ``tls`` and ``dns``."""
    answer = answers["answers"]
    missing = no_answer(one, answer, place)
    if missing:
        return [missing, *certificate(one, answer, place, now)]
    seen = ", ".join(answer["addresses"][:5]) if one.kind == "dns" else f"connects to {answer['address']}"
    return [
        answered(one, answer, place, seen),
        latency(one, answer["seconds"], place),
        *certificate(one, answer, place, now),
    ]


def judge_web(one: Dependency, answers: dict[str, Answer], place: str, now: datetime) -> list[Probe]:
    """Judge ``http``: the status is accepted, and the text that must be there is there."""
    answer = answers["answers"]
    missing = no_answer(one, answer, place)
    if missing:
        return [missing, *certificate(one, answer, place, now)]
    return [
        _content(one, answer, place),
        latency(one, answer["seconds"], place),
        *certificate(one, answer, place, now),
    ]


def _content(one: Dependency, answer: Answer, place: str) -> Probe:
    status = answer["status"]
    good = status in one.status if one.status else 200 <= status < 400  # noqa: PLR2004 - success, redirect
    if not good:
        return wrong_answer(one, answer, place, "status", f"status {status}")
    if one.contains and one.contains not in answer["body"]:
        return wrong_answer(one, answer, place, "content", f"status {status}, without the text that must be there")
    return answered(one, answer, place, f"status {status}")
