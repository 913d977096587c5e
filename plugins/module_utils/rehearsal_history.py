# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsals of a host, as they are on record, and what a plan and a list say of them.

They have a record of their own beside the journals of runs. They change nothing, so none is gone on with or undone,
and however many there are, none takes the place of a run when something looks at the newest ones.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import RollbackError
from .journal import duration, is_run_id, parse_time

SUCCEEDED = "succeeded"
_SHORT = 12
_TWO_DAYS = 48


def rehearsals_path(state_directory: str) -> str:
    """Return the path of the record of rehearsals."""
    return os.path.join(state_directory, "rehearsals.jsonl")  # noqa: PTH118 - of the managed host


# --- reading ---------------------------------------------------------------------------------------------------------


def read_rehearsals(state_directory: str, limit: int = 20) -> list[dict[str, Any]]:
    """Return the rehearsals on record, the newest first; a line that cannot be read is left out."""
    try:
        lines = Path(rehearsals_path(state_directory)).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        path = rehearsals_path(state_directory)
        raise RollbackError(
            f"The record of rehearsals {path} cannot be read: {error.strerror or error}. Nothing was changed.",
            f"Look at it with 'ls -l {path}' on that host; the user of Ansible (become_user) must be able to read it.",
        ) from error
    return [record for line in reversed(lines) if (record := _parsed(line))][:limit]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    usable = isinstance(record, dict) and is_run_id(str(record.get("run_id"))) and parse_time(record.get("ended"))
    return record if usable and isinstance(record.get("steps"), list) else None


# --- what a plan says ------------------------------------------------------------------------------------------------


def rehearsal_standing(rehearsals: list[dict[str, Any]], max_age_hours: object, now: str) -> str:
    """Return what a plan says of rehearsals: the last one, and whether it is too old.

    It is empty when there is no limit and none on record. A limit that is none is said, and holds nothing up.
    """
    last = rehearsals[0] if rehearsals else None
    good = next((one for one in rehearsals if one["state"] == SUCCEEDED), None)
    limit = _number(max_age_hours)
    if limit is None:
        return f"Rehearsal: rollback_rehearsal_max_age is {max_age_hours!r}, which is no number of hours"
    again = "rehearse with: ansible-playbook usdx.rollback.rehearse -e version=VERSION"
    if last is None:
        return f"Rehearsal: none is on record here; {again}" if limit > 0 else ""
    words = f"Rehearsal: {last['version']}, {_age(last, now)} ago, {last['state']}"
    if good is None:
        return f"{words}; NONE ON RECORD HAS SUCCEEDED; {again}"
    if last is not good:
        words += f"; the last that succeeded: {good['version']}, {_age(good, now)} ago"
    if 0 < limit < _hours(good, now):
        return f"{words}; OLDER THAN {limit:g} HOURS (rollback_rehearsal_max_age); {again}"
    return words


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _hours(record: dict[str, Any], now: str) -> float:
    ended = parse_time(record["ended"])
    moment = datetime.fromisoformat(now.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (moment - ended).total_seconds() / 3600 if ended else 0.0


def _age(record: dict[str, Any], now: str) -> str:
    hours = max(0.0, _hours(record, now))
    return f"{hours / 24:.0f} days" if hours > _TWO_DAYS else duration(hours * 3600)


def rehearsal_list_lines(rehearsals: list[dict[str, Any]]) -> list[str]:
    """Return a line for each rehearsal, the newest first."""
    return [
        f"{one['run_id']}  {'rehearsal ' + one['state']:<12}  {place_name(one['from'])} -> {one['version']}  "
        f"{duration(one['seconds'])}, {_outage(one)}" + (f"  {_first_line(one['failure'])}" if one["failure"] else "")
        for one in rehearsals
    ]


def place_name(place: dict[str, Any]) -> str:
    """Return a release, or the short id of its commit."""
    return str(place.get("release") or str(place.get("commit") or "unknown")[:_SHORT])


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _outage(record: dict[str, Any]) -> str:
    seconds = record.get("outage")
    if seconds is not None:
        return f"outage {seconds:.1f} s"
    return "no outage, rolling" if record.get("not_stopped") else "no outage measured"
