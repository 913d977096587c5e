# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that look like errors, in logs of any size and any content."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import container_logs
from ansible_collections.usdx.rollback.plugins.module_utils.container_logs import (
    BYTES_LIMIT,
    LINE_LIMIT,
    Frames,
    Lines,
    LogFindings,
    log_patterns,
    read_log,
    since,
)
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.verify import judge_log
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable


def frame(text: bytes, stream: int = 1) -> bytes:
    """Return a text as Docker sends it."""
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def found_in(chunks: Iterable[bytes], *, terminal: bool = False, **options: Any) -> LogFindings:
    """Read a log."""
    found = LogFindings()
    read_log(chunks, log_patterns(options), found, terminal=terminal)
    return found


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("ERROR: relation pools does not exist", True),
        ("level=error msg=x", True),
        ("TypeError: x is undefined", True),
        ("java.lang.NullPointerException", True),
        ("Traceback (most recent call last):", True),
        ("panic: runtime", True),
        ("\x1b[31mfatal\x1b[0m: no", True),
        ("0 errors, 12 pages", False),
        ("nonfatal", False),
        ("panicky", False),
        ("started", False),
        ("", False),
    ],
)
def test_what_looks_like_an_error(line: str, bad: bool) -> None:  # noqa: FBT001
    assert found_in([frame(line.encode() + b"\n")]).errors == bad


def test_known_lines_do_not_count() -> None:
    lines = b"redis: connection error, retrying\nerror: disk\n"
    found = found_in([frame(lines)], noise=["Connection error, RETRYING"])
    assert (found.errors, found.quotes) == (1, ["error: disk"])
    assert found_in([frame(lines)], errors=["^disk"]).errors == 0


def test_a_quote_is_short_plain_and_without_secrets() -> None:
    """Nothing of a log steers a terminal; at most three lines of a service are quoted."""
    lines = [b"\x1b]0;x\x07error\x00\x08 password=hunter2 at postgres://me:hunter2@db/\r\n"]
    lines += [b"error %d " % number + b"x" * 500 + b"\n" for number in range(9)]
    found = found_in([frame(line) for line in lines])
    assert found.errors == 10
    assert len(found.quotes) == 3
    assert "hunter2" not in found.words()
    assert found.words().isprintable()
    assert max(map(len, found.quotes)) <= 160


def test_garbage_is_read_and_counted() -> None:
    """Bytes that are no text, a line without an end, lines of two streams that come in pieces."""
    found = found_in([frame(bytes(range(256)) * 10 + b"\nfatal\xff\n")])
    assert found.errors == 1
    endless = found_in([frame(b"x" * 65536) for _number in range(100)] + [frame(b" error\nerror\n")])
    assert (endless.lines, endless.errors) == (2, 1)
    pieces = frame(b"er") + frame(b"pan", 2) + frame(b"ror\n") + frame(b"ic", 2)
    assert found_in([pieces]).errors == 2
    assert found_in([b"error\r\n", b"er", b"ror\r\n"], terminal=True).errors == 2


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=20), st.integers(1, 30))
def test_frames_are_the_same_however_they_are_cut(parts: list[tuple[int, bytes]], size: int) -> None:
    whole = b"".join(frame(text, stream) for stream, text in parts)
    frames, seen = Frames(), {1: b"", 2: b""}
    for start in range(0, len(whole), size):
        for stream, part in frames.of(whole[start : start + size]):
            seen[stream] += part
    assert seen == {number: b"".join(text for stream, text in parts if stream == number) for number in (1, 2)}


def test_of_a_line_only_its_beginning_is_kept() -> None:
    lines = Lines()
    for _number in range(1000):
        assert list(lines.of(1, b"y" * 10_000)) == []
    (line,) = lines.of(1, b"\n")
    assert len(line) == LINE_LIMIT


def test_many_lines_take_little_time_and_too_many_are_cut() -> None:
    """100 000 lines that are all errors, and a log that does not end."""
    chunk = b"".join(frame(b"2026-11-25 12:00:00 ERROR the same again and again\n") for _number in range(1000))
    started = time.process_time()
    assert found_in([chunk] * 100).errors == 100_000
    assert time.process_time() - started < 10
    endless = iter(lambda: frame(b"x" * 60_000 + b"\n"), None)
    found = found_in(endless)
    assert "only the first 16 MiB" in found.cut
    assert found.read < BYTES_LIMIT + 100_000


def test_reading_ends_with_its_time() -> None:
    """Also when there is little and it comes slowly."""
    now = iter([0.0, 1.0, 11.0, 12.0])
    found = LogFindings()
    read_log(iter(lambda: frame(b"x\n"), None), log_patterns({}), found, terminal=False, clock=lambda: next(now))
    assert "ended after 10 seconds" in found.cut
    assert found.lines == 2


@pytest.mark.parametrize(
    ("errors", "cut", "limit", "verdict"),
    [
        (0, "", None, "passed"),
        (1, "", None, "inconclusive"),
        (1, "", 1, "passed"),
        (2, "", 1, "failed"),
        (0, "cut", None, "inconclusive"),
        (0, "cut", 0, "inconclusive"),
        (1, "cut", 0, "failed"),
    ],
)
def test_a_log_is_judged_by_its_limit(errors: int, cut: str, limit: int | None, verdict: str) -> None:
    """Without a limit nobody said how many are too many; what was not read has not passed."""
    assert judge_log(LogFindings(lines=9, errors=errors, cut=cut), limit).verdict == verdict


@pytest.mark.parametrize(
    ("started", "finished", "told"),
    [
        ("2026-11-25T16:00:00.5Z", "2026-11-25T15:59:59.123456789Z", "1795622399.123456789"),
        ("2026-11-25T16:00:00.5Z", "2026-11-25T16:00:00.25Z", "1795622400.250000000"),
        ("2026-11-25T16:00:00Z", "0001-01-01T00:00:00Z", "0"),
        ("2026-11-25T16:00:00.5Z", "2026-11-25T16:30:00Z", "1795622399.500000000"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", ""),
        ("", "", ""),
    ],
)
def test_a_log_is_read_from_the_end_of_the_life_before(started: str, finished: str, told: str) -> None:
    """Else what the container logged when it was stopped would count, or its first lines would not."""
    assert since(started, finished) == told


@pytest.mark.parametrize("options", [{"errors": ["("]}, {"errors": []}, {"noise": ["a*"]}, {"noise": [""]}])
def test_a_pattern_that_is_wrong_or_matches_all_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RollbackError, match=f"logs.{next(iter(options))}"):
        log_patterns(options)


def test_the_default_is_used_only_when_no_pattern_is_given() -> None:
    assert len(log_patterns({"errors": None}).errors) == len(container_logs.ERRORS)
    assert len(log_patterns({"errors": ["oops"]}).errors) == 1
