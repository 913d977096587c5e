# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages: what is refused, what is told of a failure, what is kept, and how the messages of a run hang together."""

from __future__ import annotations

import stat
import sys
import time
from pathlib import Path
from typing import Any

import apprise
import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import notification, outbox
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.notification import Delivery, Notifier, notify
from ansible_collections.usdx.rollback.plugins.module_utils.outbox import Message

RUN = "20261124T160728Z-960a"
MESSAGE = Message("team", "Rolling back", "to v1.0.2", "info", RUN, "2026-11-24T16:07:28.000+00:00")
NOTIFIER = Notifier("hook", "json://user:word@127.0.0.1:1/token", ("team",))


def options(**changes: Any) -> dict[str, Any]:
    """Return options for a notifier that is down, and one message."""
    return {
        "state": "sent",
        "notifiers": [{"name": "hook", "url": NOTIFIER.url, "audiences": ["team"]}],
        "messages": [{"audience": "team", "subject": "Rolling back", "body": "to v1.0.2", "severity": "info"}],
        "run_id": RUN,
        "outbox": "",
        "timeout": 5,
        "retries": 0,
        **changes,
    }


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Failed to send JSON POST notification: Internal Server Error., error=500.", "answered 500"),
        ("Socket Exception: (535, b'5.7.8 bad credentials of user')", "answered 535"),
        ("url: /token (Caused by NewConnectionError: [Errno 111] Connection refused)", "connection refused"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "its TLS certificate is not valid"),
        ("Read timed out. (read timeout=4.0)", "no answer in time"),
        ("[Errno -2] Name or service not known: 'token.example'", "unknown host"),
        ("the token xoxb-123 of user@shop.example is revoked", "the service did not take it"),
    ],
)
def test_why_is_told_in_words_of_ours(said: str, why: str) -> None:
    assert notification._reason(["Sent to token", said]) == why


def test_no_secret_of_a_url_can_come_back_as_a_reason() -> None:
    told = notification._reason(["POST https://127.0.0.1/token?key=500 with user:word failed, error=https://x"])
    assert told == "the service did not take it"


def test_pagerduty_has_the_run_as_its_key_unless_the_url_names_one() -> None:
    key = "a" * 32
    for url, expected in ((f"pagerduty://{key}@{key}", RUN), (f"pagerduty://{key}@{key}?dedup=mine", "mine")):
        service: Any = apprise.Apprise.instantiate(url)
        notification._thread(service, RUN)
        assert service.dedup == expected


def test_mails_refer_to_their_run_and_other_services_get_no_headers() -> None:
    mail: Any = apprise.Apprise.instantiate("mailto://127.0.0.1/?from=a@b.example&to=c@d.example&mode=insecure")
    hook: Any = apprise.Apprise.instantiate(NOTIFIER.url)
    for service in (mail, hook):
        notification._thread(service, RUN)
    assert mail.headers == {"References": f"<{RUN}@usdx.rollback>", "In-Reply-To": f"<{RUN}@usdx.rollback>"}
    assert hook.headers == {}


def test_a_subject_is_one_line_with_the_run_id_once() -> None:
    told = {"audience": "team", "subject": "a\nb\x1b[31m", "body": "c\x1b[2Jd\ne", "severity": "info"}
    message = notification._message(told, RUN)
    assert message.subject == f"a b [31m [{RUN}]"
    assert message.body == "cd\ne"
    assert notification._message({**told, "subject": message.subject}, RUN).subject == message.subject


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"timeout": 0}, "timeout=0"),
        ({"retries": 9}, "retries=9"),
        ({"notifiers": [{"name": "", "url": NOTIFIER.url, "audiences": ["team"]}]}, "notifiers.name=''"),
        ({"notifiers": [{"name": "a", "url": NOTIFIER.url, "audiences": ["team"]}] * 2}, "names that differ"),
        ({"notifiers": [{"name": "a", "url": NOTIFIER.url, "audiences": []}]}, "notifiers[a].audiences"),
        ({"messages": [{"audience": "team", "subject": " ", "body": "", "severity": "info"}]}, "messages.subject"),
        ({"state": "kept_sent"}, "outbox=''"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_bad_input_is_refused_in_check_mode_too(change: dict[str, Any], told: str, *, check: bool) -> None:
    with pytest.raises(RollbackError) as refused:
        notify(options(**change), check=check)
    assert told in f"{refused.value.msg} {refused.value.next_step}"
    assert "word" not in refused.value.msg


@pytest.mark.parametrize("url", ["telepathy://word:word@x", "xoxb-word", "slack://word", "", "json://"])
@pytest.mark.parametrize("check", [True, False])
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str, *, check: bool) -> None:
    with pytest.raises(RollbackError) as refused:
        notify(options(notifiers=[{"name": "bad", "url": url, "audiences": ["team"]}]), check=check)
    assert refused.value.msg.startswith("The URL of the notifier 'bad', ")
    assert "Nothing was sent." in refused.value.msg
    assert "word" not in refused.value.msg + refused.value.next_step


def test_a_missing_library_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "apprise", None)
    with pytest.raises(RollbackError) as refused:
        notify(options(), check=True)
    assert "pip install 'apprise>=2.3'" in refused.value.next_step


def test_a_plugin_that_crashes_or_kills_its_process_is_a_failed_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "_tried", lambda *_words: sys.exit(3))
    assert notification.send([Delivery(NOTIFIER, MESSAGE)] * 2, 5, 0) == ["the sending process ended"] * 2


def test_the_deadline_holds_whatever_a_plugin_does(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Notifier("other", NOTIFIER.url, ("team",))
    monkeypatch.setattr(
        notification, "_tried", lambda delivery, *_words: time.sleep(60) if delivery.notifier == NOTIFIER else ""
    )
    began = time.monotonic()
    whys = notification.send([Delivery(NOTIFIER, MESSAGE), Delivery(other, MESSAGE)], 0.5, 0)
    assert whys == ["no answer within 0.5 seconds", ""]
    assert time.monotonic() - began < 10


def test_without_an_outbox_an_undelivered_message_has_failed_and_warns() -> None:
    result = notify(options())
    assert [(one["state"], one["why"]) for one in result["messages"]] == [
        ("failed", "connection refused; no outbox is given")
    ]
    assert result["warnings"][0].endswith("The message is not kept.")


def test_kept_messages_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "outbox"
    for number in range(12):
        outbox.keep(str(directory), "hook", MESSAGE._replace(subject=str(number)))
    (directory / "strange.json").write_text("[]")
    (directory / "link.json").symlink_to(next(directory.glob("0*.json")))
    kept, strange = outbox.kept_in(str(directory))
    assert [one.message.subject for one in kept] == [str(number) for number in range(12)]
    assert kept[0].message == MESSAGE._replace(subject="0")
    assert strange == ["link.json", "strange.json"]
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_an_outbox_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    outbox.keep(str(tmp_path), "hook", MESSAGE)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        outbox.keep(str(link), "hook", MESSAGE)


def test_one_alone_sends_from_an_outbox(tmp_path: Path) -> None:
    outbox.keep(str(tmp_path), "hook", MESSAGE)
    with outbox.taken(str(tmp_path)) as first, outbox.taken(str(tmp_path)) as second:
        assert (first, second) == (True, False)
        result = notify(options(state="kept_sent", outbox=str(tmp_path)))
    assert result["messages"] == []
    assert "Another process is sending" in result["warnings"][0]
    assert notify(options(state="kept_sent", outbox=str(tmp_path / "none")))["messages"] == []
