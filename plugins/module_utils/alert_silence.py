# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A silence of one run in Alertmanager: begun, found again by its author and comment, ended, and over by itself.

Facts that this rests on, measured with Alertmanager 0.25: a start in the past is taken as now; a silence that is sent
with its id is changed, or ended and replaced by a new one in the same moment; silences that have ended stay listed for
days; to end one that has ended is status 500.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import RollbackError
from .http_probe import NoAnswerError, printable
from .journal import stamp, utc_now
from .monitoring_server import Talk, server_of
from .postgres.sidecar import parse_moment
from .verify import INCONCLUSIVE, PASSED
from .waiter import checked_seconds

if TYPE_CHECKING:
    from datetime import datetime

AUTHOR = "usdx.rollback"
SILENCES = "/api/v2/silences"
EXPIRED, ACTIVE = "expired", "active"
MATCHER_LIMIT = 20
COMMENT_LIMIT = 300
LONGEST = 24 * 3600.0
_SHORTEST = 1.0
_SILENCE_LIMIT = 20
_RUN_ID_LIMIT = 60
_VALUE_LIMIT = 300
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_MISSHAPEN = "the silences of Alertmanager have not the documented shape"
# So far may the clock of this host be behind; Alertmanager takes a start in the past as now.
_SLACK = timedelta(minutes=1)
# Words that nothing is called. A regular expression that fits one of them fits about everything.
_MADE_UP = ("", "zqxkwv", "Zqxkwv", "ZQXKWV", "7319", "zqx-kwv", "zqx.kwv:7319", "zqx/kwv", "zqx kwv")


class Matcher(NamedTuple):
    """One condition on a label, as Alertmanager has it."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool

    def __str__(self) -> str:
        """Return it as Alertmanager writes it."""
        sign = ("=" if self.is_equal else "!") + ("~" if self.is_regex else "" if self.is_equal else "=")
        return f"{self.name}{sign}{json.dumps(self.value, ensure_ascii=False)}"


class Silence(NamedTuple):
    """A silence of the run."""

    identity: str
    state: str
    begins: str
    ends: str
    matchers: tuple[Matcher, ...]

    def seconds_left(self, now: datetime) -> float:
        """Return how long it still lasts; nothing if that cannot be read."""
        end = parse_moment(self.ends)
        return (end - now).total_seconds() if end else 0.0


# --- what was typed --------------------------------------------------------------------------------------------------


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was changed.", f"Give {accepted}.")


def checked_matchers(given: list[dict[str, Any]]) -> tuple[Matcher, ...]:
    """Return the matchers; refuse those that are none, and those that would silence about everything."""
    if not 1 <= len(given) <= MATCHER_LIMIT:
        raise _refused("matchers", given, f"1 to {MATCHER_LIMIT} matchers; without one nothing is told apart")
    matchers = tuple(Matcher(one["name"], one["value"], one["is_regex"], one["is_equal"]) for one in given)
    for matcher in matchers:
        if not _LABEL.fullmatch(matcher.name):
            raise _refused("matchers.name", matcher.name, "the name of a label: letters, digits and underscores")
        if len(matcher.value) > _VALUE_LIMIT or printable(matcher.value, _VALUE_LIMIT) != matcher.value:
            raise _refused("matchers.value", matcher.value, f"at most {_VALUE_LIMIT} printable characters")
        if matcher.is_regex:
            _compiled(matcher)
    if not any(map(_narrows, matchers)):
        told = ", ".join(map(str, matchers))
        raise _refused(
            "matchers", told,
            'at least one matcher that names something, as service="shop" or alertname=~"Shop.*"; '
            "with these about every alert would be silent",
        )  # fmt: skip
    return matchers


def _compiled(matcher: Matcher) -> re.Pattern[str]:
    try:
        return re.compile(matcher.value)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused("matchers.value", matcher.value, f"a regular expression that can be read ({error})") from error


def _narrows(matcher: Matcher) -> bool:
    """Tell whether a matcher picks something out; what is only left out does not."""
    if not matcher.is_equal:
        return False
    if not matcher.is_regex:
        return bool(matcher.value)
    pattern = _compiled(matcher)
    return not any(pattern.fullmatch(word) for word in _MADE_UP)


def mark_of(run_id: str) -> str:
    """Return the end of the comment by which a silence of a run is found again."""
    if not run_id or not run_id.isprintable() or len(run_id) > _RUN_ID_LIMIT or "[" in run_id or "]" in run_id:
        raise _refused("run_id", run_id, f"1 to {_RUN_ID_LIMIT} printable characters without brackets")
    return f"[{run_id}]"


# --- what Alertmanager says ------------------------------------------------------------------------------------------


def own_silences(answer: Any, run_id: str) -> list[Silence]:  # noqa: ANN401 - JSON from outside
    """Return the silences of a run, of an answer of ``/api/v2/silences``; ``NoAnswerError`` if it has another shape.

    One that a person has made, or has made again with another author, is theirs and not among them.
    """
    mark = mark_of(run_id)
    if not isinstance(answer, list):
        raise NoAnswerError(_MISSHAPEN)
    try:
        found = [one for one in answer if one["createdBy"] == AUTHOR and str(one["comment"]).endswith(mark)]
        return [_silence(one) for one in found][:_SILENCE_LIMIT]
    except (KeyError, TypeError, AttributeError) as error:
        raise NoAnswerError(_MISSHAPEN) from error


def _silence(told: dict[str, Any]) -> Silence:
    identity = str(told["id"])
    if not _ID.fullmatch(identity):
        raise KeyError("id")
    matchers = tuple(
        Matcher(str(one["name"]), str(one["value"]), bool(one["isRegex"]), bool(one.get("isEqual", True)))
        for one in told["matchers"]
    )
    state, begins, ends = (
        printable(str(text), 40) for text in (told["status"]["state"], told["startsAt"], told["endsAt"])
    )
    return Silence(identity, state, begins, ends, matchers)


def _shown(silence: Silence) -> dict[str, Any]:
    return {"id": silence.identity, "state": silence.state, "begins": silence.begins, "ends": silence.ends}


# --- acting ----------------------------------------------------------------------------------------------------------


def alert_silence(options: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Begin or end the silence of a run; with ``check`` only say whether that would change anything.

    Wrong input is refused. An Alertmanager that does not answer is a warning, for nobody waits for it to recover.
    """
    mark = mark_of(options["run_id"])
    present = options["state"] == "present"
    matchers = checked_matchers(options["matchers"]) if present else ()
    duration = checked_seconds(options["duration"], "duration", _SHORTEST)
    if duration > LONGEST:
        raise _refused("duration", options["duration"], f"at most {LONGEST:g} seconds, which is a day")
    timeout = checked_seconds(options["timeout"], "timeout", 0.1)
    server = server_of({**options, "request_timeout": timeout}, "Alertmanager", "alertmanager_url")
    if server is None:
        raise _refused("alertmanager_url", "", "the URL of the Alertmanager (rollback_alertmanager_url)")
    work = _Work(Talk(server), options["run_id"])
    told: dict[str, Any] = {"matchers": [str(matcher) for matcher in matchers], "verdict": PASSED, "why": ""}
    try:
        if present:
            comment = f"{printable(options['comment'].strip(), COMMENT_LIMIT)} {mark}".strip()
            work.begin(matchers, duration, comment, check=check)
        else:
            work.end(check=check)
    except NoAnswerError as error:
        what = "The alerts are not known to be silenced" if present else "The silence is not known to have ended"
        told |= {"verdict": INCONCLUSIVE, "why": str(error), "warnings": [f"{what}: {error}."]}
    return {**told, "changed": work.changed, "silences": [_shown(silence) for silence in work.silences]}


class _Work:
    """What was seen and done so far, so that it is told also when no more answer comes."""

    def __init__(self, talk: Talk, run_id: str) -> None:
        self._talk = talk
        self._run_id = run_id
        self.changed = False
        self.silences: list[Silence] = []

    def begin(self, matchers: tuple[Matcher, ...], duration: float, comment: str, *, check: bool) -> None:
        """Have one silence with these matchers that lasts; one that lasts for half of its time is left as it is."""
        self._look()
        now, lasting = utc_now(), [one for one in self.silences if one.state != EXPIRED]
        same = (one for one in lasting if one.state == ACTIVE and sorted(one.matchers) == sorted(matchers))
        known = next(same, None)
        if known and known.seconds_left(now) >= duration / 2:
            self.silences = [known]
            return
        if check:
            self.changed = True
            return
        begins = known.begins if known else stamp(now - _SLACK)
        body = {
            "matchers": [
                {"name": one.name, "value": one.value, "isRegex": one.is_regex, "isEqual": one.is_equal}
                for one in matchers
            ],
            "startsAt": begins, "endsAt": stamp(now + timedelta(seconds=duration)),
            "createdBy": AUTHOR, "comment": comment, **({"id": (known or lasting[0]).identity} if lasting else {}),
        }  # fmt: skip
        self._talk.change("POST", SILENCES, body)
        self.changed = True
        self._look()
        self.silences = [one for one in self.silences if one.state == ACTIVE]
        if not self.silences:
            raise NoAnswerError("Alertmanager has taken the silence, and it is not active; do the clocks differ?")

    def end(self, *, check: bool) -> None:
        """Have no silence of the run; one that has ended already is fine."""
        self._look()
        lasting = [one for one in self.silences if one.state != EXPIRED]
        if check:
            self.changed = bool(lasting)
            return
        refused = [why for silence in lasting if (why := self._expire(silence))]
        if lasting:
            self._look()
        if any(one.state != EXPIRED for one in self.silences):
            raise NoAnswerError((refused or ["Alertmanager still has it"])[0])

    def _expire(self, silence: Silence) -> str:
        """Have a silence end; return why it was refused. It may have ended in this moment: the next look tells."""
        try:
            self._talk.change("DELETE", f"/api/v2/silence/{silence.identity}")
        except NoAnswerError as error:
            return str(error)
        self.changed = True
        return ""

    def _look(self) -> None:
        self.silences = own_silences(self._talk.read(SILENCES), self._run_id)
