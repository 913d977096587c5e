# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a backup was taken, from what a name or a dump says. File times are never used: copying changes them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import RollbackError
from .sidecar import parse_moment, write_moment

_IN_NAME = re.compile(
    r"(?<!\d)(?P<date>(?:19|20)\d\d([-_.]?)\d\d\2\d\d)"
    r"(?:[T_. -]?(?P<time>\d\d[-_:.h]?\d\d(?:[-_:.m]?\d\d)?)(?P<zone>Z|[+-]\d\d:\d\d)?)?(?!\d)"
)
_EPOCH = re.compile(r"(?<!\d)1\d{9}(?!\d)")
_IN_DUMP = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\s+(\S+))?")


def zone_of(name: str) -> tzinfo:
    """Return the time zone with this name; refuse an unknown one."""
    if name.upper() in ("UTC", "Z", "ETC/UTC"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RollbackError(
            f"file_time_zone is {name}, which is not a time zone that the managed host knows. Nothing was changed.",
            "Give a name such as UTC or Europe/Zurich. If the name is right, install the zones: apt-get install "
            "tzdata, or pip install tzdata.",
        ) from error


def limit_of(text: str | None) -> datetime | None:
    """Return the moment that the option ``not_after`` means; refuse one without a zone."""
    if not text:
        return None
    moment = parse_moment(text)
    if moment is None:
        raise RollbackError(
            f"not_after is {text}, which is not an ISO 8601 moment with a time zone. Nothing was changed.",
            "Give for example 2024-12-28T01:45:00Z or 2024-12-28T02:45:00+01:00.",
        )
    return moment


def from_name(name: str, zone: tzinfo) -> tuple[datetime, str] | None:
    """Return the moment that a file name says, in UTC, and a remark; nothing when it says none.

    A name with only a day counts as the end of that day: the backup may hold whatever came in until then.
    """
    found = [one for one in (_from_match(match, zone) for match in _IN_NAME.finditer(name)) if one]
    if found:
        return next((one for one in reversed(found) if not one[1].startswith("the name has only a day")), found[-1])
    match = _EPOCH.search(name)
    return (datetime.fromtimestamp(int(match.group()), timezone.utc), "") if match else None


def _from_match(match: re.Match[str], zone: tzinfo) -> tuple[datetime, str] | None:
    digits = re.sub(r"\D", "", match["date"]) + re.sub(r"\D", "", match["time"] or "235959").ljust(6, "0")
    try:
        local = datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
    except ValueError:
        return None
    if match["zone"]:
        moment = parse_moment(local.isoformat() + match["zone"])
        return (moment, "") if moment else None
    moment, remark = in_zone(local, zone)
    return moment, remark if match["time"] else "the name has only a day, which counts as its end"


def in_zone(local: datetime, zone: tzinfo) -> tuple[datetime, str]:
    """Return a local time in UTC. One that occurs twice is taken as the earlier; the remark says so."""
    first, second = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    moment = first.astimezone(timezone.utc)
    gap = (second.utcoffset() or timedelta()) - (first.utcoffset() or timedelta())
    if not gap:
        return moment, ""
    shown = local.isoformat(sep=" ")
    if gap > timedelta():
        return moment, f"the local time {shown} does not exist in that zone; {write_moment(moment)} was taken"
    return moment, f"the local time {shown} occurs twice in that zone; the earlier, {write_moment(moment)}, was taken"


def from_dump(created_at: str, zone: tzinfo) -> tuple[datetime, str] | None:
    """Return the moment that a dump says of itself: local time of the host that made it, unless it names UTC."""
    match = _IN_DUMP.match(created_at)
    if not match:
        return None
    try:
        local = datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        return None
    return in_zone(local, timezone.utc if match[3] in ("UTC", "GMT", "Etc/UTC") else zone)
