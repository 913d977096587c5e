# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus and Alertmanager say now: one number for each query, the alerts that fire, or why there is none.

Facts that this rests on, measured with Prometheus 2.42 and Alertmanager 0.25: a query whose series do not exist gives
an empty list and not 0; 0/0 gives the text "NaN"; numbers are texts; /api/v1/alerts holds pending alerts too.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .alert_silence import SILENCES, mark_of, own_silences
from .errors import RollbackError
from .http_probe import NoAnswerError, printable
from .journal import utc_now
from .monitoring_server import server_of
from .postgres.sidecar import parse_moment, write_moment
from .waiter import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from .monitoring_server import Server

CHECK_LIMIT = 50
ROUND_LIMIT = 1000
ALERT_LIMIT = 50
ALERTS, RELEASE = "alerts", "release"
_LIMITS = ("max", "min", "changes", "max_ratio")
_TEXT_LIMIT = 120
_LABEL_LIMIT = 20
_OLDEST = 366 * 24 * 3600
_OK, _BAD_REQUEST = 200, 400
_FIRING = {"path": "/api/v2/alerts", "active": "true", "silenced": "false", "inhibited": "false"}


class Reading(NamedTuple):
    """One number, or ``why`` there is none. ``no_data`` means that the server answered and has no number."""

    value: float | None
    why: str = ""
    no_data: bool = False


# --- options ---------------------------------------------------------------------------------------------------------


def refused(option: str, value: object, accepted: str) -> RollbackError:
    """Return the refusal of an option, before anything was asked."""
    return RollbackError(
        f"{option}={value!r} is not accepted. Nothing was asked and nothing was changed.", f"Give {accepted}."
    )


def checked_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the gate needs of the options, complete and without secrets; refuse what cannot be watched."""
    window = checked_seconds(options["window"], "window")
    interval = checked_seconds(options["interval"], "interval", 0.2)
    stable_for = options.get("stable_for")
    stable_for = window / 2 if stable_for is None else checked_seconds(stable_for, "stable_for")
    if stable_for > window:
        raise refused("stable_for", stable_for, f"at most window, which is {window:g} seconds")
    rounds = math.floor(window / interval) + 1 + (window % interval > 0)
    if rounds > ROUND_LIMIT:
        raise refused("interval", interval, f"so much that window holds at most {ROUND_LIMIT} rounds")
    if not 1 <= options["min_samples"] <= rounds:
        raise refused(
            "min_samples", options["min_samples"], f"1 to {rounds}, which is how often interval fits into window"
        )
    return {
        "window": window, "interval": interval, "stable_for": stable_for,
        "settle": checked_seconds(options["settle"], "settle"), "min_samples": options["min_samples"],
        "on_inconclusive": options["on_inconclusive"], "checks": _checked_checks(options),
        "alerts": _checked_alerts(options),
    }  # fmt: skip


def _checked_checks(options: dict[str, Any]) -> list[dict[str, Any]]:
    checks = [_checked_check(one) for one in options["checks"]]
    names = [check["name"] for check in checks]
    if len(checks) > CHECK_LIMIT:
        raise refused("checks", f"{len(checks)} entries", f"at most {CHECK_LIMIT}")
    twice = {name for name in names if names.count(name) > 1} | ({ALERTS, RELEASE} & set(names))
    if twice:
        raise refused("checks.name", min(twice), "each check a name of its own, not 'alerts' and not 'release'")
    if checks and not options.get("prometheus_url"):
        raise refused("prometheus_url", "", "the URL of the Prometheus that answers the checks")
    if not (options.get("prometheus_url") or options.get("alertmanager_url")):
        raise refused("prometheus_url", "", "prometheus_url, alertmanager_url or both: there is nothing to watch")
    return checks


def _checked_check(check: dict[str, Any]) -> dict[str, Any]:
    if not check["name"].strip() or printable(check["name"], _TEXT_LIMIT) != check["name"]:
        raise refused("checks.name", check["name"], f"a name of 1 to {_TEXT_LIMIT} printable characters")
    if not check["query"].strip():
        raise refused("checks.query", check["query"], f"the PromQL query of {check['name']}")
    given = {name: check[name] for name in _LIMITS if check.get(name) is not None}
    if not given:
        raise refused("checks", check["name"], f"at least one of {', '.join(_LIMITS)} for it")
    for name, value in given.items():
        if not math.isfinite(value) or (name in ("changes", "max_ratio") and value <= 0):
            raise refused(f"checks.{name}", value, "a finite number, above 0 for changes and max_ratio")
    if check["fail_after"] < 0:
        raise refused("checks.fail_after", check["fail_after"], "0 or more; 0 never ends the watch early")
    kept = {name: check.get(name) for name in ("name", "query", "unit", "on_no_data", "fail_after", *_LIMITS)}
    return {**kept, "baseline": _checked_baseline(check)}


def _checked_baseline(check: dict[str, Any]) -> dict[str, Any] | None:
    """Return the baseline as a moment; ``offset`` is counted back from now, once."""
    baseline = check.get("baseline")
    if (baseline is None) != (check.get("max_ratio") is None):
        raise refused("checks.baseline", baseline, f"both baseline and max_ratio for {check['name']}, or neither")
    if baseline is None:
        return None
    at, offset = baseline.get("at"), baseline.get("offset")
    if (at is None) == (offset is None):
        raise refused("checks.baseline", baseline, f"either at or offset for {check['name']}")
    if offset is not None:
        return {"at": write_moment(utc_now() - timedelta(seconds=_checked_offset(offset)))}
    moment = parse_moment(at or "")
    if moment is None:
        raise refused("checks.baseline.at", at, "a moment with its time zone, for example 2026-11-24T16:00:00Z")
    return {"at": write_moment(moment)}


def _checked_offset(offset: float) -> float:
    if not 0 < offset <= _OLDEST:
        raise refused("checks.baseline.offset", offset, "seconds, above 0 and at most a year")
    return offset


def _checked_alerts(options: dict[str, Any]) -> dict[str, Any] | None:
    alerts = options["alerts"]
    if not alerts["watched"]:
        return None
    if alerts["fail_after"] < 0:
        raise refused("alerts.fail_after", alerts["fail_after"], "0 or more; 0 never ends the watch early")
    if alerts.get("run_id"):
        mark_of(alerts["run_id"])
    return dict(alerts)


# --- asking ----------------------------------------------------------------------------------------------------------


def ask(options: dict[str, Any]) -> dict[str, Any]:
    """Ask everything once, side by side; return the checked options and what was read."""
    checked = checked_options(options)
    prometheus = server_of(options, "Prometheus", "prometheus_url")
    alertmanager = server_of(options, "Alertmanager", "alertmanager_url")
    pending = {check["name"]: _begin_check(prometheus, check) for check in checked["checks"]} if prometheus else {}
    alerts = None
    if checked["alerts"] and alertmanager:  # it knows of silences, Prometheus does not
        alerts = _begin_alerts(alertmanager, checked["alerts"])
    elif checked["alerts"] and prometheus:
        alerts = _begin_firing(prometheus, {"path": "/api/v1/alerts"}, checked["alerts"], frozenset)
    readings = {name: {part: finish()._asdict() for part, finish in parts.items()} for name, parts in pending.items()}
    return {"changed": False, "options": checked, "readings": readings, "alerts": alerts() if alerts else None}


def _begin_check(server: Server, check: dict[str, Any]) -> dict[str, Callable[[], Reading]]:
    """Begin the query of a check, and that of its baseline, if it has one."""
    moments = {"now": {}, **({"baseline": {"time": check["baseline"]["at"]}} if check["baseline"] else {})}
    return {part: _begin_query(server, check, moment) for part, moment in moments.items()}


def _begin_query(server: Server, check: dict[str, Any], moment: dict[str, str]) -> Callable[[], Reading]:
    pending = server.begin("/api/v1/query", query=check["query"], **moment)

    def finish() -> Reading:
        try:
            return read_value(check["name"], *server.parsed(pending))
        except NoAnswerError as error:
            return Reading(None, str(error))

    return finish


def _begin_alerts(server: Server, wanted: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Begin to ask Alertmanager; what a silence of this very run hides is asked for, too."""
    run_id = wanted.get("run_id")
    if not run_id:
        return _begin_firing(server, _FIRING, wanted, frozenset)
    silences = server.begin(SILENCES)

    def own() -> frozenset[str]:
        status, answer = server.parsed(silences)
        if status != _OK:
            raise NoAnswerError(f"the silences cannot be read, status {status}")
        return frozenset(silence.identity for silence in own_silences(answer, run_id))

    return _begin_firing(server, {**_FIRING, "silenced": "true"}, wanted, own)


def _begin_firing(
    server: Server, query: dict[str, str], wanted: dict[str, Any], own: Callable[[], frozenset[str]]
) -> Callable[[], dict[str, Any]]:
    pending = server.begin(**query)

    def finish() -> dict[str, Any]:
        try:
            return read_alerts(wanted, *server.parsed(pending), own())
        except NoAnswerError as error:
            return {"firing": None, "why": str(error)}

    return finish


# --- reading ---------------------------------------------------------------------------------------------------------


def read_value(name: str, status: int, answer: Any) -> Reading:  # noqa: ANN401 - JSON from outside
    """Return the one number of an answer of ``/api/v1/query``; a query that is wrong is refused."""
    if not isinstance(answer, dict) or answer.get("status") != "success":
        error = answer if isinstance(answer, dict) else {}
        told = printable(f"{error.get('errorType')}: {error.get('error')}")
        if status == _BAD_REQUEST and error.get("errorType") == "bad_data":
            raise RollbackError(
                f"Prometheus refuses the query of the check {name!r}: {told}. Nothing was changed.",
                f"Correct the query of {name!r}; try it in the page /graph of Prometheus.",
            )
        return Reading(None, f"Prometheus answers status {status}, {told}")
    data = answer.get("data")
    return _number(data) if isinstance(data, dict) else Reading(None, "Prometheus answers without data")


def _number(data: dict[str, Any]) -> Reading:
    result: Any = data.get("result")
    pair: Any
    if data.get("resultType") == "scalar":
        pair = result
    elif data.get("resultType") != "vector" or not isinstance(result, list):
        return Reading(None, f"the query gives a {printable(str(data.get('resultType')), 20)}, not one number")
    elif not result:
        return Reading(None, "no data: no series matches the query", no_data=True)
    elif len(result) > 1:
        return Reading(None, f"the query gives {len(result)} numbers and not one; aggregate it with sum() or max()")
    else:
        pair = result[0].get("value") if isinstance(result[0], dict) else None
    try:
        value = float(pair[1])
    except (TypeError, ValueError, IndexError, KeyError):
        return Reading(None, "Prometheus answers without a number")
    if math.isnan(value):
        return Reading(None, "no data: NaN, as of 0/0", no_data=True)
    return Reading(value) if math.isfinite(value) else Reading(None, f"no finite number: {value:+g}")


def read_alerts(
    wanted: dict[str, Any],
    status: int,
    answer: Any,  # noqa: ANN401 - JSON from outside
    own: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Return the alerts that fire, of an answer of Alertmanager (a list) or of Prometheus; pending ones do not.

    ``wanted`` names alerts that are left out (``ignore``) and labels that an alert must have to count. What nothing
    but the silences ``own`` hides fires, too.
    """
    found = answer
    if isinstance(answer, dict):
        data = answer.get("data")
        found = data.get("alerts") if isinstance(data, dict) else None
    if status != _OK or not isinstance(found, list) or not all(map(_is_alert, found)):
        return {"firing": None, "why": f"the alerts cannot be read, status {status}"}
    firing = [_alert(one) for one in found if _fires(one, own) and _counts(one["labels"], wanted)]
    return {"firing": firing[:ALERT_LIMIT], "count": len(firing), "why": ""}


def _is_alert(one: Any) -> bool:  # noqa: ANN401 - JSON from outside
    return isinstance(one, dict) and isinstance(one.get("labels"), dict) and isinstance(_state(one), str)


def _state(one: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON from outside
    """Return the state of an alert: of Prometheus pending or firing, of Alertmanager active or another."""
    status = one.get("status")
    return status.get("state") if isinstance(status, dict) else one.get("state")


def _fires(one: dict[str, Any], own: frozenset[str]) -> bool:
    if _state(one) in ("firing", "active"):
        return True
    status = one.get("status")
    if not isinstance(status, dict) or status.get("state") != "suppressed" or status.get("inhibitedBy"):
        return False
    hiding = status.get("silencedBy")
    return isinstance(hiding, list) and bool(hiding) and all(silence in own for silence in hiding)


def _counts(labels: dict[str, Any], wanted: dict[str, Any]) -> bool:
    name = labels.get("alertname")
    return name not in wanted["ignore"] and all(labels.get(key) == value for key, value in wanted["labels"].items())


def _alert(one: dict[str, Any]) -> dict[str, Any]:
    """Return an alert; its fingerprint is the same for the same labels, whichever server told it."""
    labels = {str(name): str(value) for name, value in one["labels"].items()}
    shown = sorted(labels.items())[:_LABEL_LIMIT]
    return {
        "name": printable(labels.get("alertname", "without a name"), _TEXT_LIMIT),
        "fingerprint": hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16],
        "labels": {printable(name, _TEXT_LIMIT): printable(value, _TEXT_LIMIT) for name, value in shown},
        "since": printable(str(one.get("startsAt") or one.get("activeAt") or ""), 40),
    }
