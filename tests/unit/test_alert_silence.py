# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which matchers are refused, which silences are those of a run, and what an Alertmanager that misbehaves means."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import alert_silence as module
from ansible_collections.usdx.rollback.plugins.module_utils import monitoring_server
from ansible_collections.usdx.rollback.plugins.module_utils.alert_silence import (
    alert_silence,
    checked_matchers,
    mark_of,
    own_silences,
)
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import HttpAnswer, NoAnswerError
from hypothesis import given
from hypothesis import strategies as st

RUN = "20261124T160728Z-960a"
NOW = datetime(2026, 11, 25, 17, 0, tzinfo=timezone.utc)
SHOP = {"name": "service", "value": "shop", "is_regex": False, "is_equal": True}
# Alertmanager 0.25 of Debian 12 has answered this; id and times are made up.
ACTIVE = {
    "id": "6f1f5c0e-3e0b-4f0a-9a55-2d3a3f1e2b4c",
    "status": {"state": "active"},
    "updatedAt": "2026-11-25T17:00:00.123Z",
    "comment": f"the API answers 500 [{RUN}]",
    "createdBy": "usdx.rollback",
    "endsAt": "2026-11-25T18:00:00.000Z",
    "matchers": [{"isEqual": True, "isRegex": False, "name": "service", "value": "shop"}],
    "startsAt": "2026-11-25T16:59:59.987Z",
}
OPTIONS: dict[str, Any] = {
    "state": "present", "alertmanager_url": "http://127.0.0.1:9/am/", "run_id": RUN, "matchers": [SHOP],
    "duration": 3600.0, "comment": "why", "timeout": 1.0, "bearer_token": None, "username": None, "password": None,
    "ca_path": None, "validate_certs": True,
}  # fmt: skip


def matcher(name: str = "service", value: str = "shop", **more: bool) -> dict[str, Any]:
    return {**SHOP, "name": name, "value": value, **more}


def regex(value: str, **more: bool) -> dict[str, Any]:
    return matcher("alertname", value, is_regex=True, **more)


# -- matchers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "one",
    [
        matcher(),
        regex("Shop.*"),
        regex("Shop(Down|Slow)"),
        regex(".*:9100"),
        regex("warning|info"),
        regex("shop-[0-9]+"),
    ],
)
def test_a_matcher_that_names_something_is_taken(one: dict[str, Any]) -> None:
    assert checked_matchers([one, regex("Watchdog", is_equal=False)])[0].value == one["value"]


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".*",
        ".+",
        ".{3,}",
        "^.+$",
        "(.*)",
        "shop|",
        "shop|.+",
        r"\w+",
        r"\S+",
        "[a-z]+",
        "[A-Z].*",
        "[^ ]+",
        r"\d+",
    ],
)
def test_a_matcher_of_everything_is_refused(value: str) -> None:
    """Alertmanager itself takes most of them."""
    for given_ in ([regex(value)], [regex(value), regex("Watchdog", is_equal=False)]):
        with pytest.raises(RollbackError) as caught:
            checked_matchers(given_)
        assert caught.value.msg.startswith("matchers='alertname=~")
        assert "Nothing was changed" in caught.value.msg
        assert "about every alert" in caught.value.next_step


@pytest.mark.parametrize(
    ("given_", "option"),
    [
        ([], "matchers="),
        ([matcher(value="")], "matchers="),
        ([matcher(is_equal=False)], "matchers="),
        ([regex("Shop.*", is_equal=False)], "matchers="),
        ([matcher("no label")], "matchers.name="),
        ([matcher("")], "matchers.name="),
        ([matcher(value="a\nb")], "matchers.value="),
        ([matcher(value="x" * 301)], "matchers.value="),
        ([matcher(), regex("Shop(")], "matchers.value="),
        ([matcher()] * 21, "matchers="),
    ],
)
def test_matchers_that_pick_nothing_out_are_refused(given_: list[dict[str, Any]], option: str) -> None:
    with pytest.raises(RollbackError) as caught:
        checked_matchers(given_)
    assert caught.value.msg.startswith(option)


@given(st.text(max_size=20), st.booleans(), st.booleans())
def test_any_matcher_is_taken_or_refused(value: str, is_regex: bool, is_equal: bool) -> None:  # noqa: FBT001 - of hypothesis
    try:
        (taken,) = checked_matchers([{"name": "a", "value": value, "is_regex": is_regex, "is_equal": is_equal}])
    except RollbackError as error:
        assert error.next_step  # noqa: PT017 - either is right
    else:
        assert taken.is_equal
        assert taken.value


@pytest.mark.parametrize("run_id", ["", "a[b", "a]b", "a\nb", "x" * 61])
def test_a_run_id_that_would_not_be_found_again_is_refused(run_id: str) -> None:
    with pytest.raises(RollbackError, match="run_id="):
        mark_of(run_id)


# -- which are ours ----------------------------------------------------------------------------------------------------


def test_silences_of_others_are_not_ours() -> None:
    others = [
        {**ACTIVE, "createdBy": "ann"},
        {**ACTIVE, "comment": f"see {RUN}"},
        {**ACTIVE, "comment": f"the API answers 500 [{RUN}0]"},
        {**ACTIVE, "comment": f"[{RUN}] is not mine"},
    ]
    assert own_silences(others, RUN) == []
    (own,) = own_silences([*others, ACTIVE], RUN)
    assert (own.identity, own.state, own.ends) == (ACTIVE["id"], "active", "2026-11-25T18:00:00.000Z")
    assert own.seconds_left(NOW) == 3600


@pytest.mark.parametrize(
    "answer",
    [
        None, {}, 7, [7], [{}], [{**ACTIVE, "id": "../alerts"}], [{**ACTIVE, "id": ""}], [{**ACTIVE, "matchers": None}],
        [{**ACTIVE, "status": "active"}], [{**ACTIVE, "matchers": [{"name": "a"}]}], {"status": "error"},
    ],
)  # fmt: skip
def test_an_answer_of_another_shape_is_no_answer(answer: Any) -> None:
    with pytest.raises(NoAnswerError):
        own_silences(answer, RUN)


# -- acting ------------------------------------------------------------------------------------------------------------


class Alertmanager:
    """Answers as told, in order, and writes down what it was asked."""

    def __init__(self, *answers: Any) -> None:
        """Keep the answers: a value is status 200 with JSON, a number that status without JSON, an error is raised."""
        self.answers = list(answers)
        self.asked: list[Any] = []

    def __call__(self, request: Any, _accepted: Any = ()) -> Any:
        """Begin to ask."""
        self.asked.append(request)
        return self

    def result(self) -> HttpAnswer:
        """Give the next answer."""
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, int):
            return HttpAnswer(answer, b"<html>", whole=True, milliseconds=1)
        return HttpAnswer(200, json.dumps(answer).encode(), whole=True, milliseconds=1)

    def told(self) -> list[str]:
        """Return what was asked, as method and path."""
        return [f"{request.method} {request.url.partition('/am')[2]}" for request in self.asked]


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "utc_now", lambda: NOW)


def act(
    monkeypatch: pytest.MonkeyPatch, server: Alertmanager, *, check: bool = False, **options: Any
) -> dict[str, Any]:
    monkeypatch.setattr(monitoring_server, "begin_fetch", server)
    return alert_silence({**OPTIONS, **options}, check=check)


LIST, EXPIRED = "GET /api/v2/silences", {**ACTIVE, "status": {"state": "expired"}}


def test_a_silence_is_begun_with_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Alertmanager([EXPIRED], {"silenceID": "x"}, [EXPIRED, ACTIVE])
    told = act(monkeypatch, server)
    assert (told["changed"], told["verdict"], len(told["silences"])) == (True, "passed", 1)
    assert server.told() == [LIST, "POST /api/v2/silences", LIST]
    assert json.loads(server.asked[1].body) == {
        "matchers": [{"name": "service", "value": "shop", "isRegex": False, "isEqual": True}],
        "startsAt": "2026-11-25T16:59:00.000+00:00",
        "endsAt": "2026-11-25T18:00:00.000+00:00",
        "createdBy": "usdx.rollback",
        "comment": f"why [{RUN}]",
    }


def test_one_that_lasts_is_left_and_one_that_ends_soon_is_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    told = act(monkeypatch, Alertmanager([ACTIVE]))
    assert (told["changed"], told["silences"][0]["id"]) == (False, ACTIVE["id"])
    soon = {**ACTIVE, "endsAt": (NOW + timedelta(minutes=29)).isoformat()}
    for check in (True, False):
        server = Alertmanager([soon], {"silenceID": ACTIVE["id"]}, [ACTIVE])
        assert act(monkeypatch, server, check=check)["changed"]
    body = json.loads(server.asked[1].body)
    assert (body["id"], body["startsAt"]) == (ACTIVE["id"], ACTIVE["startsAt"])


@pytest.mark.parametrize("state", ["pending", "expired"])
def test_one_that_does_not_begin_is_not_claimed(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    other = {**ACTIVE, "status": {"state": state}}
    told = act(monkeypatch, Alertmanager([], {"silenceID": "x"}, [other]))
    assert (told["changed"], told["verdict"]) == (True, "inconclusive")
    assert "not active" in told["why"]


def test_it_is_ended_and_that_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Alertmanager([ACTIVE, EXPIRED], 200, [EXPIRED, EXPIRED])
    told = act(monkeypatch, server, state="absent")
    assert (told["changed"], told["verdict"]) == (True, "passed")
    assert server.told() == [LIST, f"DELETE /api/v2/silence/{ACTIVE['id']}", LIST]
    still = act(monkeypatch, Alertmanager([ACTIVE], 200, [ACTIVE]), state="absent")
    assert (still["verdict"], still["why"]) == ("inconclusive", "Alertmanager still has it")


def test_one_that_ends_in_the_moment_in_which_it_is_ended_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    told = act(monkeypatch, Alertmanager([ACTIVE], 500, [EXPIRED]), state="absent")
    assert (told["changed"], told["verdict"]) == (False, "passed")
    told = act(monkeypatch, Alertmanager([ACTIVE], 500, [ACTIVE]), state="absent")
    assert (told["changed"], told["verdict"], told["why"]) == (False, "inconclusive", "Alertmanager answers status 500")


@pytest.mark.parametrize(
    ("answers", "changed", "why"),
    [
        ([NoAnswerError("connection refused")], False, "Alertmanager does not answer: connection refused"),
        ([401], False, "Alertmanager answers status 401 without JSON"),
        ([{"an": "error"}], False, "the silences of Alertmanager have not the documented shape"),
        ([[], 400], False, "Alertmanager answers status 400: <html>"),
        ([[], 301], False, "Alertmanager answers status 301"),
        ([[], NoAnswerError("no answer in time")], False, "Alertmanager does not answer: no answer in time"),
        ([[], 200, 500], True, "Alertmanager answers status 500 without JSON"),
    ],
)
def test_no_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch, answers: list[Any], changed: bool, why: str) -> None:  # noqa: FBT001
    told = act(monkeypatch, Alertmanager(*answers))
    assert (told["changed"], told["verdict"], told["why"]) == (changed, "inconclusive", why)
    assert told["warnings"] == [f"The alerts are not known to be silenced: {why}."]


@pytest.mark.parametrize(
    "options",
    [
        {"duration": 0},
        {"duration": 90_000},
        {"timeout": 0},
        {"alertmanager_url": "alertmanager:9093"},
        {"alertmanager_url": ""},
    ],
)
def test_wrong_options_are_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    server = Alertmanager()
    with pytest.raises(RollbackError) as caught:
        act(monkeypatch, server, check=True, **options)
    assert caught.value.msg.startswith(f"{next(iter(options))}=")
    assert server.asked == []
