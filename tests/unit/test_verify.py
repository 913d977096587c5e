# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each answer means, and when all of them together prove a release."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import verify as module
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import (
    BODY_LIMIT,
    HttpAnswer,
    HttpRequest,
    checked_url,
    printable,
    redacted,
)
from ansible_collections.usdx.rollback.plugins.module_utils.verify import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Answer,
    Check,
    Container,
    Endpoint,
    Watch,
    compile_query,
    judge_images,
    judge_services,
    package_name,
    verify,
    worst,
    wrong_labels,
)
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def never(*_arguments: object, **_options: object) -> tuple[int, str, str]:
    """Fail the test when something is run."""
    pytest.fail("it was run")


def judged(body: bytes, *, status: int = 200, whole: bool = True, milliseconds: float = 5, **options: Any) -> Answer:
    """Judge one answer of an endpoint that must say v1.0.2."""
    endpoint = Endpoint(
        HttpRequest("http://x/"), options.get("status_list", [200]), compile_query(options.get("query", "version")),
        options.get("contains", ""), options.get("max_latency"), "v1.0.2",
    )  # fmt: skip
    return endpoint.judge(HttpAnswer(status, body, whole, milliseconds))


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (b'{"version": "1.0.2"}', PASSED),
        (b'{"version": " v1.0.2\\n"}', PASSED),
        (b'{"version": "v1.0.3"}', FAILED),
        (b'{"version": "v1.0.20"}', FAILED),
        (b'{"version": 2}', FAILED),
        (b'{"version": null}', INCONCLUSIVE),
        (b'{"version": true}', INCONCLUSIVE),
        (b'{"version": ["v1.0.2"]}', INCONCLUSIVE),
        (b'{"version": ""}', INCONCLUSIVE),
        (b'["v1.0.2"]', INCONCLUSIVE),
        (b"", INCONCLUSIVE),
        (b"\xff\xfe\x00", INCONCLUSIVE),
        (b"<html>v1.0.2</html>", INCONCLUSIVE),
        (b"[" * 200_000, INCONCLUSIVE),
        (b'{"a":' * 100_000, INCONCLUSIVE),
    ],
)
def test_only_the_release_in_the_body_passes(body: bytes, verdict: str) -> None:
    """What cannot be read is inconclusive, never a yes."""
    assert judged(body).verdict == verdict


def test_a_number_of_a_million_digits_costs_no_time() -> None:
    """Turning it into an int would take minutes on an old Python, and raise on a new one."""
    started = time.process_time()
    assert judged(b'{"version": ' + b"9" * (BODY_LIMIT - 20) + b"}").verdict == FAILED
    assert time.process_time() - started < 2


def test_everything_that_is_wrong_fails_and_is_seen() -> None:
    """Status, text and latency each, beside a right version."""
    right = b'{"version": "v1.0.2"}'
    assert judged(right, status=500) == Answer(FAILED, "status 500, version v1.0.2, 5 ms")
    assert judged(right, contains="ready") == Answer(FAILED, "status 200, version v1.0.2, text not there, 5 ms")
    assert judged(right, milliseconds=501, max_latency=500.0) == Answer(FAILED, "status 200, version v1.0.2, 501 ms")
    assert judged(right, whole=False).verdict == INCONCLUSIVE
    assert judged(b'{"n": {}}', query="max(n)").verdict == INCONCLUSIVE


@given(st.lists(st.sampled_from([PASSED, FAILED, INCONCLUSIVE])))
def test_all_must_pass_and_nothing_checked_is_no_yes(verdicts: list[str]) -> None:
    """Passed only when there is a verdict and every one is passed."""
    assert (worst(verdicts) == PASSED) == (bool(verdicts) and set(verdicts) == {PASSED})
    assert (worst(verdicts) == FAILED) == (FAILED in verdicts)


def test_each_running_container_must_run_the_image() -> None:
    """One old one beside a new one is a mixture; one that is stopped does not count."""
    old, new = Container("a", OTHER, "running"), Container("b", IMAGE, "running")
    assert judge_images([new], IMAGE).verdict == PASSED
    assert judge_images([new, old], IMAGE).verdict == FAILED
    assert judge_images([new, old._replace(state="exited")], IMAGE).verdict == PASSED
    assert judge_images([new._replace(state="exited")], IMAGE).verdict == FAILED


@pytest.mark.parametrize(
    ("state", "health", "verdict"),
    [
        ("running", "", PASSED), ("running", "healthy", PASSED), ("running", "none", PASSED),
        ("running", "starting", FAILED), ("running", "unhealthy", FAILED), ("restarting", "", FAILED),
        ("paused", "healthy", FAILED), ("exited", "", FAILED), ("created", "", FAILED),
    ],
)  # fmt: skip
def test_a_service_runs_and_is_healthy(state: str, health: str, verdict: str) -> None:
    """One bad container among good ones is enough."""
    good = Container("a", IMAGE, "running")
    assert judge_services([good, Container("b", IMAGE, state, health)]).verdict == verdict


def test_an_absent_label_says_nothing_and_another_release_fails() -> None:
    """Only a label that is there is compared."""
    labelled = Container("a", IMAGE, "running", labels={"v": "1.0.3"})
    assert wrong_labels([labelled], "v", "v1.0.2") == "a is labelled 1.0.3"
    assert wrong_labels([labelled], "v", "v1.0.3") == ""
    assert wrong_labels([labelled], "w", "v1.0.2") == ""


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "No check"),
        ({"version": "--help", "path": "/"}, "version"),
        ({"endpoints": [{"url": "ftp://x/"}]}, "url"),
        ({"endpoints": [{"url": "file:///etc/passwd"}]}, "url"),
        ({"endpoints": [{"url": "http://"}]}, "url"),
        ({"endpoints": [{"url": "http://x:99999/"}]}, "url"),
        ({"endpoints": [{"url": "http://x/\r\nHost: y"}]}, "url"),
        ({"endpoints": [{"url": "http://x/", "version_query": "a["}]}, "version_query"),
        ({"endpoints": [{"url": "http://x/", "status": [20]}]}, "status"),
        ({"endpoints": [{"url": "http://x/", "max_latency": -1.0}]}, "max_latency"),
        ({"services": ["web"]}, "project"),
        ({"project": "x", "images": {"web": "webapp:latest"}}, "images.web"),
        ({"path": "/nowhere/at/all"}, "path"),
        ({"path": "/", "commit": "HEAD"}, "commit"),
        ({"path": "/", "package_json": "../package.json"}, "package_json"),
        ({"commit": "a" * 40}, "commit"),
        ({"path": "/", "timeout": "inf"}, "timeout"),
        ({"path": "/", "interval": 0}, "interval"),
        ({"path": "/", "timeout": 5, "stable_for": 5}, "stable_for"),
    ],
)
def test_bad_options_are_refused_before_anything_is_asked(options: dict[str, Any], word: str) -> None:
    """The message names the option."""
    with pytest.raises(RollbackError, match=word):
        verify({"version": "v1.0.2", **options}, never)


def test_a_missing_jmespath_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the operator can install it."""
    monkeypatch.setattr(module, "jmespath", None)
    with pytest.raises(RollbackError) as caught:
        compile_query("version")
    assert "python3-jmespath" in caught.value.next_step


def test_credentials_of_a_url_are_never_shown() -> None:
    """Nor when the URL is refused."""
    assert redacted("https://me:s3cret@host:8443/health?x=1") == "https://***@host:8443/health?x=1"
    with pytest.raises(RollbackError) as caught:
        checked_url("gopher://me:s3cret@host/", "url")
    assert "s3cret" not in caught.value.msg
    with pytest.raises(RollbackError) as caught:
        checked_url("http://me:s3cret@[bad/", "url")
    assert "s3cret" not in caught.value.msg


@given(st.text())
def test_text_from_outside_is_one_short_line(text: str) -> None:
    """It cannot paint the terminal or forge a line of a log."""
    line = printable(text, 40)
    assert len(line) <= 40
    assert line.isprintable()


def test_without_the_option_only_a_package_json_that_exists_is_checked(tmp_path: Any) -> None:
    """An empty string checks none, a name checks that one."""
    assert package_name(str(tmp_path), None) == ""
    (tmp_path / "package.json").write_text("{}")
    assert package_name(str(tmp_path), None) == "package.json"
    assert package_name(str(tmp_path), "") == ""
    assert package_name(str(tmp_path), "app/package.json") == "app/package.json"


def watch_of(verdicts: str, stable_for: float) -> tuple[list[bool], Watch]:
    """Ask one round a second; ``p`` is passed, ``f`` failed. Return whether each round was enough, and the watch."""
    now = [100.0]
    answers = iter(verdicts)

    def begin() -> Callable[[], Answer]:
        return lambda: Answer(PASSED if next(answers) == "p" else FAILED, "")

    watch = Watch([Check("x", "endpoint", "", begin)], stable_for, clock=lambda: now[0])
    enough = []
    for _verdict in verdicts:
        enough.append(watch.ask()[0])
        now[0] += 1
    return enough, watch


@pytest.mark.parametrize(
    ("verdicts", "stable_for", "first"),
    [("p", 0, 0), ("ffp", 0, 2), ("pppp", 3, 3), ("ppfppp", 2, 5), ("ppfpp", 2, None), ("ffff", 0, None)],
)
def test_stable_means_without_a_break(verdicts: str, stable_for: float, first: int | None) -> None:
    """A failing round starts the count anew."""
    enough, watch = watch_of(verdicts, stable_for)
    assert (enough.index(True) if True in enough else None) == first
    assert watch.breaks == verdicts.count("pf")


def test_the_row_of_a_check_says_since_when_it_passes() -> None:
    """And how often it was asked."""
    _enough, watch = watch_of("fpfppp", 60)
    assert watch.rows[0]["seconds"] == 3
    assert watch.rows[0]["attempts"] == 6
