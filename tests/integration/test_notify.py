# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to a real mail server and to receivers of HTTP: good, down, slow, angry, with a wrong certificate."""

from __future__ import annotations

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness import call_module, free_port
from receivers import dripping_receiver, hanging_receiver, http_receiver, mail_server, own_certificate

RUN = "20261124T160728Z-960a"
SECRETS = ("s3cr3t-user", "s3cr3t-word", "s3cr3t-path", "s3cr3t-header", "boss@shop.example")
# A limit that a busy machine keeps: the deadline, and the start of Ansible and of the module.
GENEROUS = 20.0


def options(outbox: Path, **urls: str) -> dict[str, Any]:
    """Return options that send one message to each of these notifiers."""
    return {
        "notifiers": [{"name": name, "url": url} for name, url in urls.items()],
        "messages": [{"subject": "Rolling back", "body": "v1.0.3 -> v1.0.2\n<b>500s</b>", "severity": "warning"}],
        "run_id": RUN,
        "outbox": str(outbox),
        "timeout": 3,
    }


def json_url(port: int, *, scheme: str = "json") -> str:
    """Return a URL of Apprise with a secret in each of its parts."""
    return f"{scheme}://s3cr3t-user:s3cr3t-word@127.0.0.1:{port}/s3cr3t-path?+X-Token=s3cr3t-header"


def mail_url(port: int) -> str:
    return f"mailto://127.0.0.1:{port}/?from=rollback@shop.example&to=boss@shop.example&mode=insecure"


def states(outcome: Any) -> dict[str, str]:
    return {one["notifier"]: one["state"] for one in outcome["messages"]}


def whys(outcome: Any) -> dict[str, str]:
    return {one["notifier"]: one["why"] for one in outcome["messages"]}


def test_check_real_check_real(tmp_path: Path) -> None:
    """Each real call sends, no other does; audiences are kept apart; a mail carries the thread of its run."""
    outbox = tmp_path / "outbox"
    with http_receiver() as team, http_receiver() as users, mail_server() as (port, mails):
        asked = options(outbox, hook=json_url(team.port), mail=mail_url(port))
        asked["notifiers"].append({"name": "public", "url": json_url(users.port), "audiences": ["users"]})
        predicted = call_module("notify", asked, check=True)
        assert (predicted["changed"], states(predicted)) == (True, {"hook": "planned", "mail": "planned"})
        assert (team.requests, mails) == ([], [])
        done = call_module("notify", asked)
        assert (done.failed, states(done)) == (False, {"hook": "sent", "mail": "sent"}), done.result
        call_module("notify", asked, check=True)
        call_module("notify", asked)
    assert len(team.requests) == len(mails) == 2
    assert users.requests == []
    assert team.requests[0].body["title"] == f"Rolling back [{RUN}]"
    assert team.requests[0].body["message"] == "v1.0.3 -> v1.0.2\n<b>500s</b>"
    assert mails[0]["Subject"] == f"Rolling back [{RUN}]"
    assert mails[0]["References"] == f"<{RUN}@usdx.rollback>"
    assert not outbox.exists()


def test_every_way_of_being_dead_is_told_kept_and_bounded(tmp_path: Path) -> None:
    """Nothing that a receiver does costs more than the deadline, and no secret is in what is returned or kept."""
    outbox = tmp_path / "outbox"
    with ExitStack() as stack:
        angry = stack.enter_context(http_receiver(lambda _request: (500, {"error": "s3cr3t-word"})))
        false = stack.enter_context(http_receiver(certificate=own_certificate(tmp_path)))
        asked = options(
            outbox,
            down=json_url(free_port()),
            slow=json_url(stack.enter_context(hanging_receiver())),
            dripping=json_url(stack.enter_context(dripping_receiver())),
            angry=json_url(angry.port),
            false=json_url(false.port, scheme="jsons"),
            mail=mail_url(stack.enter_context(hanging_receiver())),
            mute=mail_url(free_port()),
        )
        began = time.monotonic()
        done = call_module("notify", asked)
        assert time.monotonic() - began < GENEROUS
    assert (done.failed, set(states(done).values())) == (False, {"kept"}), done.result
    told = whys(done)
    assert (told["down"], told["mute"]) == ("connection refused", "connection refused")
    assert told["angry"] == "answered 500"
    assert told["false"] == "its TLS certificate is not valid"
    assert "no answer" in told["slow"]
    assert "no answer" in told["dripping"]
    assert "no answer" in told["mail"]
    assert len(angry.requests) == 2, "one retry"
    assert false.requests == []
    kept = sorted(outbox.iterdir())
    assert len(kept) == 7
    assert stat.S_IMODE(outbox.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    shown = str(done.result) + done.shown + "".join(path.read_text() for path in kept)
    assert [secret for secret in SECRETS if secret in shown] == []


def test_what_was_kept_is_sent_later_exactly_once_also_by_two_at_once(tmp_path: Path) -> None:
    """In the order of writing, with its date, and it stays kept until it was delivered."""
    outbox = tmp_path / "outbox"
    port = free_port()
    asked = options(outbox, hook=json_url(port), gone=json_url(free_port()))
    asked["messages"].append({"subject": "Second", "body": "later"})
    asked["retries"] = 0
    assert set(states(call_module("notify", asked)).values()) == {"kept"}
    later = {**asked, "state": "kept_sent", "notifiers": asked["notifiers"][:1], "timeout": 10}
    still = call_module("notify", later)
    assert (still["changed"], len(list(outbox.iterdir()))) == (False, 4)

    def slowly(_request: Any) -> tuple[int, Any]:
        time.sleep(0.3)  # so that two are really at it at once
        return 200, {}

    with http_receiver(slowly) as up:
        later["notifiers"] = [{"name": "hook", "url": json_url(up.port)}]
        seen = call_module("notify", later, check=True)
        assert (seen["changed"], up.requests) == (True, [])
        with ThreadPoolExecutor() as both:
            outcomes = list(both.map(lambda _number: call_module("notify", later), range(2)))
        again = call_module("notify", later)
    sent = [one for outcome in outcomes for one in outcome["messages"] if one["state"] == "sent"]
    assert len(sent) == 2
    assert [request.body["title"] for request in up.requests] == [f"Rolling back [{RUN}]", f"Second [{RUN}]"]
    written = sent[0]["written"][:19]
    assert up.requests[0].body["message"].startswith(f"This message comes late, it was written at {written}Z.")
    assert again["changed"] is False
    assert {one["why"] for one in again["messages"]} == {"no notifier of this name is given"}
    assert len(list(outbox.iterdir())) == 2, "those of the notifier that is gone stay"


def test_an_outbox_that_cannot_be_written_is_said_and_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    done = call_module("notify", options(tmp_path / "outbox", down=json_url(free_port())))
    assert (done.failed, states(done)) == (False, {"down": "failed"})
    assert whys(done)["down"].startswith("connection refused; it could not be kept: ")


def test_a_url_that_cannot_be_used_is_refused_without_showing_it(tmp_path: Path) -> None:
    outcome = call_module(
        "notify", options(tmp_path / "outbox", bad="telepathy://s3cr3t-user:s3cr3t-word@x"), check=True
    )
    assert outcome.failed
    assert "The URL of the notifier 'bad', of the schema 'telepathy'" in outcome["msg"]
    assert [secret for secret in SECRETS if secret in str(outcome.result)] == []
