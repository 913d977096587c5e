# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal: what is written is read back, whatever a crash left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.journal import (
    EVENTS,
    journal_path,
    parse_journal,
    read_journal,
    record,
    steps,
    verified_releases,
)
from hypothesis import given
from hypothesis import strategies as st

RUN = "20261124T150405Z-3f9a"
START = datetime(2026, 11, 24, 15, 4, 5, 123456, tzinfo=timezone.utc)
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
EVENT = st.fixed_dictionaries(
    {
        "event": st.sampled_from([name for name in EVENTS if name != "release_verified"]),
        "step": st.text(min_size=1),
        "facts": st.dictionaries(st.text(), JSON_VALUES, max_size=4),
    }
)


def add(directory: Path | str, *events: dict[str, Any], seconds: float = 0, check: bool = False) -> dict[str, Any]:
    """Record events at a moment after the start."""
    return record(str(directory), RUN, list(events), check=check, now=lambda: START + timedelta(seconds=seconds))


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    """Times are UTC with milliseconds, elapsed counts from the first event."""
    add(tmp_path, {"event": "run_started"})
    result = add(
        tmp_path, {"event": "step_started", "step": "stop"}, {"event": "step_finished", "step": "stop"}, seconds=2
    )
    events = read_journal(result["path"]).events
    assert [event["event"] for event in events] == ["run_started", "step_started", "step_finished"]
    assert events[0]["time"] == "2026-11-24T15:04:05.123+00:00"
    assert events[1:] == result["events"]
    assert result["elapsed"] == pytest.approx(2.0, abs=0.001)
    assert result["changed"] is True


def test_directories_and_files_are_their_owner_s_only(tmp_path: Path) -> None:
    """Whatever the umask says, nobody else reads a journal."""
    before = os.umask(0)
    try:
        path = Path(add(tmp_path / "a" / "b", {"event": "run_started"})["path"])
    finally:
        os.umask(before)
    modes = {str(one.relative_to(tmp_path)): one.stat().st_mode & 0o777 for one in [path, *path.parents][:5]}
    assert set(modes.values()) == {0o600, 0o700}, modes
    assert path.stat().st_mode & 0o777 == 0o600


@given(events=st.lists(EVENT, min_size=1, max_size=5), data=st.data())
def test_a_torn_journal_loses_only_the_torn_line(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """Cut anywhere, the whole lines before the cut are read, and what is appended later is read too."""
    with TemporaryDirectory() as directory:
        path = Path(add(directory, *events)["path"])
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        add(directory, {"event": "run_finished", "facts": {"after": "crash"}})
        journal = read_journal(str(path))
        whole = content[:cut].count(b"\n")
        torn = content[:cut].rpartition(b"\n")[2]
        complete = torn.endswith(b"}") and content[cut : cut + 1] == b"\n"
        assert len(journal.events) == whole + complete + 1
        assert journal.damaged_lines == (1 if torn and not complete else 0)
        assert [event["facts"] for event in journal.events[:whole]] == [event["facts"] for event in events[:whole]]
        assert journal.events[-1]["facts"] == {"after": "crash"}


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(content: bytes) -> None:
    """Damage is counted, never raised."""
    journal = parse_journal(content)
    lines = [line for line in content.split(b"\n") if line.strip()]
    assert len(journal.events) + journal.damaged_lines == len(lines)


def _write_many(directory: str, writer: int) -> None:
    for number in range(40):
        add(directory, {"event": "step_started", "step": f"{writer}.{number}", "facts": {"text": "x" * 9000}})


def test_writers_at_once_never_mix_their_lines(tmp_path: Path) -> None:
    """Four processes, lines larger than a page: every line is whole and in the order of its writer."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(str(tmp_path), writer)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    journal = read_journal(journal_path(str(tmp_path), RUN))
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert (len(journal.events), journal.damaged_lines) == (160, 0)
    for name in range(4):
        mine = [event["step"] for event in journal.events if event["step"].startswith(f"{name}.")]
        assert mine == [f"{name}.{number}" for number in range(40)]


def test_check_mode_writes_nothing(tmp_path: Path) -> None:
    """It says what it would write."""
    result = add(tmp_path / "state", {"event": "run_started"}, check=True)
    assert result["changed"] is True
    assert result["events"][0]["event"] == "run_started"
    assert not (tmp_path / "state").exists()


def test_verified_releases_come_newest_first_even_when_the_clock_was_set_back(tmp_path: Path) -> None:
    """The order of writing decides."""
    assert verified_releases(str(tmp_path)) == []
    for release, seconds in (("v1.0.1", 0), ("v1.0.2", 60), ("v1.0.3", 30)):
        add(tmp_path, {"event": "release_verified", "facts": {"release": release}}, seconds=seconds)
    assert [fact["release"] for fact in verified_releases(str(tmp_path))] == ["v1.0.3", "v1.0.2", "v1.0.1"]


@pytest.mark.parametrize(
    "event",
    [
        {"event": "exploded"},
        {"event": "step_started"},
        {"event": "run_started", "facts": {"x": float("nan")}},
        {"event": "run_started", "facts": {"x": object()}},
        {"event": "run_started", "facts": ["x"]},
        {"event": "release_verified", "facts": {"commit": "abc"}},
    ],
)
def test_a_wrong_event_is_refused_and_nothing_is_written(tmp_path: Path, event: dict[str, Any]) -> None:
    """The good event before it is not written either."""
    with pytest.raises(RollbackError, match=r"events\[1\]"):
        add(tmp_path / "state", {"event": "run_started"}, event)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("run_id", ["", "../x-1", "20261124T150405Z", "2026-3F", "2026-3f\n", "2" * 70 + "-1"])
def test_a_run_id_that_is_none_is_refused(run_id: str) -> None:
    """It becomes a directory name, so nothing else may pass."""
    with pytest.raises(RollbackError, match="run_id="):
        journal_path("/var/lib", run_id)


def _write_within(directory: str, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(RollbackError, match="cannot be written") as caught:
        add(directory, {"event": "run_finished"})
    assert "df -h" in caught.value.next_step


@pytest.mark.parametrize("room", [0, 10])
def test_when_only_a_part_fits_the_journal_stays_as_it_was(tmp_path: Path, room: int) -> None:
    """A file size limit cuts the write as a full disk does; the part is taken back."""
    path = Path(add(tmp_path, {"event": "run_started"})["path"])
    before = path.read_bytes()
    writer = multiprocessing.get_context("fork").Process(target=_write_within, args=(str(tmp_path), len(before) + room))
    writer.start()
    writer.join(60)
    assert writer.exitcode == 0
    assert path.read_bytes() == before


def test_a_link_in_place_of_the_journal_is_not_followed(tmp_path: Path) -> None:
    """Else a link could turn the journal into any file."""
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    Path(journal_path(str(tmp_path), RUN)).symlink_to(victim)
    with pytest.raises(RollbackError) as caught:
        add(tmp_path, {"event": "run_started"})
    assert "df -h" in caught.value.next_step
    assert victim.read_text() == "mine"


def test_a_file_in_place_of_a_directory_is_named(tmp_path: Path) -> None:
    """The operator learns which path is wrong."""
    (tmp_path / "runs").write_text("")
    with pytest.raises(RollbackError, match=r"journal\.jsonl cannot be written"):
        add(tmp_path, {"event": "run_started"})


def test_steps_are_judged_by_their_last_start() -> None:
    """A resumed run starts a failed step again; one that never ended is running."""
    story = [
        ("step_started", "stop", 0), ("step_finished", "stop", 2), ("step_started", "switch", 2),
        ("step_failed", "switch", 3), ("step_skipped", "database", 4), ("step_started", "switch", 10),
        ("step_finished", "switch", 11.5), ("step_started", "start", 12),
    ]  # fmt: skip
    events = [
        {"event": event, "step": step, "facts": {"at": at}, "time": f"2026-11-24T15:04:{at:06.3f}+00:00"}
        for event, step, at in story
    ]
    table = steps(json.loads(json.dumps(events)))
    assert [(step.name, step.state, step.seconds) for step in table] == [
        ("stop", "done", 2.0), ("switch", "done", 1.5), ("database", "skipped", 0.0), ("start", "running", None),
    ]  # fmt: skip
    assert table[1].facts == {"at": 11.5}
