# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A region in the graphs of Grafana that shows when a run was at work, by the request that Grafana documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import RollbackError
from .http_probe import NoAnswerError, printable
from .journal import utc_now
from .monitoring_server import Talk, server_of
from .postgres.sidecar import parse_moment
from .verify import INCONCLUSIVE, PASSED, parse_json
from .waiter import checked_seconds

if TYPE_CHECKING:
    from datetime import datetime

TEXT_LIMIT = 500
TAG_LIMIT, TAG_LENGTH = 20, 100
_UID_LIMIT = 40


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was annotated.", f"Give {accepted}.")


def _moment(options: dict[str, Any], option: str) -> datetime:
    moment = parse_moment(options[option])
    if moment is None:
        raise _refused(option, options[option], "a moment with its time zone, for example 2026-11-24T16:00:00Z")
    return moment


def annotation_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the annotation as Grafana takes it, times in milliseconds; refuse what would not be found again."""
    begin = _moment(options, "begin")
    end = _moment(options, "end") if options["end"] else utc_now()
    if end < begin:
        raise _refused("end", options["end"], f"a moment that is not before begin, which is {options['begin']}")
    text = printable(options["text"].strip(), TEXT_LIMIT)
    if not text:
        raise _refused("text", options["text"], "a text")
    tags = [tag.strip() for tag in options["tags"]]
    if len(tags) > TAG_LIMIT or any(not tag or printable(tag, TAG_LENGTH) != tag for tag in tags):
        raise _refused("tags", options["tags"], f"at most {TAG_LIMIT} tags of 1 to {TAG_LENGTH} printable characters")
    uid = options["dashboard_uid"]
    if len(uid) > _UID_LIMIT or not all(letter.isalnum() or letter in "-_" for letter in uid):
        raise _refused("dashboard_uid", uid, f"the uid of a dashboard: at most {_UID_LIMIT} letters, digits, - and _")
    made = {"time": round(begin.timestamp() * 1000), "timeEnd": round(end.timestamp() * 1000)}
    return {**made, "tags": tags, "text": text, **({"dashboardUID": uid} if uid else {})}


def grafana_annotation(options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Add an annotation; with ``check`` only refuse wrong input. A Grafana that does not take it is a warning."""
    annotation = annotation_of(options)
    timeout = checked_seconds(options["timeout"], "timeout", 0.1)
    server = server_of({**options, "request_timeout": timeout}, "Grafana", "url")
    if server is None:
        raise _refused("url", "", "the URL of Grafana")
    told: dict[str, Any] = {"changed": True, "verdict": PASSED, "why": "", "annotation_id": None}
    if check:
        return told
    try:
        told["annotation_id"] = _identity(Talk(server).change("POST", "/api/annotations", annotation))
    except NoAnswerError as error:
        why = str(error)
        return {**told, "changed": False, "verdict": INCONCLUSIVE, "why": why, "warnings": [f"No annotation: {why}."]}
    return told


def _identity(body: bytes) -> int:
    """Return the id that Grafana gave; ``NoAnswerError`` if it gave none, for then nobody knows what has answered."""
    try:
        identity = parse_json(body)["id"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise NoAnswerError("the answer is not that of Grafana") from error
    if not isinstance(identity, int):
        raise NoAnswerError("the answer is not that of Grafana")
    return identity
