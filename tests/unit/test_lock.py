# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: one holder at a time, taken from nobody who lives, and never without being told to."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils import lock as locks
from ansible_collections.usdx.rollback.plugins.module_utils.controller import Place, facts_of, here
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.journal import record
from ansible_collections.usdx.rollback.plugins.module_utils.lock import UNKNOWN, Request, parse_lock, set_lock
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE, TWO, THREE = "20261124T150405Z-0001", "20261124T150405Z-0002", "20261124T150405Z-0003"
NOW = datetime(2026, 11, 24, 15, 4, 5, 123456, tzinfo=timezone.utc)
ELSEWHERE = Place("ctl-2", "boot-2", "pid:[4026532999]", "machine-2")
NOBODY = 65534


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state directory that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def dead() -> int:
    """Give the number of a process that has ended."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    return ended.pid


@pytest.fixture
def other() -> Iterator[int]:
    """Give the number of a process that lives."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as made:
        yield made.pid
        made.kill()


def of(pid: int | None = None, place: Place | None = None, job: str = "") -> dict[str, Any]:
    """Return a controller: this process, or another one."""
    return {**facts_of(pid or os.getpid(), "alice", job, place or here()), "started": _started(pid, place)}


def _started(pid: int | None, place: Place | None) -> int:
    known = facts_of(pid or os.getpid(), "", "", here())["started"]
    return known if place is None and known else 4711


def take(state: Path, run: str = ONE, *, check: bool = False, seconds: float = 0, **more: Any) -> dict[str, Any]:
    """Take the lock at a moment after ``NOW``."""
    request = Request(run, more.pop("controller", None) or of(), project="shop", scenario="rollback", reason="it fails")
    return set_lock(
        str(state), "held", request._replace(**more), check=check, now=lambda: NOW + timedelta(seconds=seconds)
    )


def release(state: Path, run: str = ONE, controller: dict[str, Any] | None = None, *, check: bool = False) -> Any:
    """Release the lock."""
    return set_lock(str(state), "released", Request(run, controller or of()), check=check)


def refused(state: Path, run: str = TWO, **more: Any) -> RollbackError:
    """Ask for the lock in vain, in check mode and really; return the error and see that the disk is as it was."""
    before = disk(state)
    with pytest.raises(RollbackError) as predicted:
        take(state, run, check=True, **more)
    with pytest.raises(RollbackError) as caught:
        take(state, run, **more)
    assert disk(state) == before
    assert (predicted.value.msg, predicted.value.next_step) == (caught.value.msg, caught.value.next_step)
    assert "Nothing was changed" in caught.value.msg
    return caught.value


def disk(state: Path) -> dict[str, Any]:
    """Return what is in the state directory, but for the file that is only locked."""
    files = sorted(path for path in state.rglob("*") if path.name != "lock.flock") if state.is_dir() else []
    return {str(path): path.read_bytes() if path.is_file() else None for path in files}


def on_disk(state: Path) -> dict[str, Any]:
    """Return what the file of the lock holds."""
    value: dict[str, Any] = json.loads((state / "lock.json").read_text())
    return value


def write(state: Path, run: str, *names: str) -> None:
    """Append events to the journal of a run."""
    record(str(state), run, [{"event": name, "step": "stop_services"} for name in names])


# -- taking ------------------------------------------------------------------------------------------------------------


def test_the_lock_says_who_holds_it_and_is_private(state: Path) -> None:
    predicted = take(state, check=True)
    assert not state.exists()
    done = take(state)
    assert predicted == done == {"changed": True, "lock": on_disk(state), "taken_over": {}, "controller": of()}
    assert on_disk(state) == {
        "run_id": ONE, "project": "shop", "scenario": "rollback", "reason": "it fails",
        "since": "2026-11-24T15:04:05.123+00:00", "journal_events": 0, "controller": of(),
    }  # fmt: skip
    modes = {path.name: path.stat().st_mode & 0o777 for path in [state, *state.iterdir()]}
    assert modes == {"state": 0o700, "lock.json": 0o600, "lock.flock": 0o600}


def test_the_holder_may_ask_again_and_release(state: Path) -> None:
    held = take(state)["lock"]
    for more in ({}, {"take_over": ONE}, {"take_over": TWO}, {"seconds": 60, "reason": "another"}):
        again = take(state, **more)
        assert (again["changed"], again["lock"], on_disk(state)) == (False, held, held)
    assert (release(state, check=True)["changed"], on_disk(state)) == (True, held)
    assert release(state)["lock"] == {}
    assert not (state / "lock.json").exists()
    assert release(state)["changed"] is False


def test_releasing_where_nothing_is_makes_nothing(state: Path) -> None:
    assert release(state) == {"changed": False, "lock": {}, "taken_over": {}, "controller": of()}
    assert not state.exists()


def test_the_lock_of_another_is_not_released(state: Path, other: int) -> None:
    """Another run, and another process of the same run: a run may be resumed before it has really ended."""
    held = take(state, ONE)["lock"]
    for run, controller in ((TWO, of()), (ONE, of(other))):
        assert release(state, run, controller)["lock"] == held
        assert release(state, run, controller)["changed"] is False
    assert on_disk(state) == held


# -- a holder that lives, has gone, or is not known --------------------------------------------------------------------


def test_a_holder_at_work_keeps_the_lock(state: Path, other: int) -> None:
    take(state, ONE, controller=of(other))
    write(state, ONE, "run_started", "step_started")
    error = refused(state, seconds=200)
    told = [ONE, "shop", f"alice@{here().host}", "scenario rollback", "at step stop_services", "reason: it fails"]
    for words in [*told, "2026-11-24T15:04:05.123+00:00 (3 min 20 s ago)", "It is at work", f"process {other}"]:
        assert words in error.msg
    assert (error.facts["sign"], error.facts["step"]) == ("alive", "stop_services")
    assert error.facts["holder"] == on_disk(state)
    assert error.facts["controller"] == of()
    for words in ("Wait until it ends", f"kill {other}", "usdx.rollback.resume -e run=" + ONE,
                  "usdx.rollback.undo -e run=" + ONE, "-e take_over=" + ONE):  # fmt: skip
        assert words in error.next_step
    error = refused(state, take_over=ONE)
    assert "cannot be taken over" in error.next_step


def test_a_holder_that_is_gone_keeps_the_lock_until_it_is_named(state: Path, dead: int) -> None:
    held = take(state, ONE, controller=of(dead))["lock"]
    write(state, ONE, "run_started")
    error = refused(state)
    assert (error.facts["sign"], error.facts["step"]) == ("gone", "")
    assert "before its first step" in error.msg
    assert "kill" not in error.next_step
    assert f"take_over={ONE}" in error.next_step
    error = refused(state, take_over=THREE)
    assert f"take_over={THREE} is not the run that holds the lock. Run {ONE} holds" in error.msg
    predicted = take(state, TWO, take_over=ONE, check=True)
    assert on_disk(state) == held
    done = take(state, TWO, take_over=ONE)
    assert predicted == done
    assert (done["changed"], done["taken_over"], on_disk(state)) == (True, held, done["lock"])
    assert done["lock"]["run_id"] == TWO


def test_a_holder_that_is_gone_and_had_not_begun_stands_in_nobody_s_way(state: Path, dead: int) -> None:
    """It was still planning, so there is nothing to go on with, to undo, or to know."""
    held = take(state, ONE, controller=of(dead))["lock"]
    assert take(state, TWO, check=True)["taken_over"] == held
    assert take(state, TWO)["taken_over"] == held
    assert on_disk(state)["run_id"] == TWO


def test_a_holder_that_is_not_known_says_when_it_was_heard_of(state: Path) -> None:
    held = take(state, ONE, controller=of(7, ELSEWHERE))["lock"]
    assert "it has no journal yet" in refused(state).msg
    record(str(state), ONE, [{"event": "run_started"}], now=lambda: NOW)
    error = refused(state, seconds=200)
    assert error.facts["sign"] == "unknown"
    assert "It is not known whether it is still at work" in error.msg
    assert "its journal was last written 3 min 20 s ago" in error.msg
    assert "Ask alice" in error.next_step
    assert take(state, TWO, take_over=ONE)["taken_over"] == held


def test_another_process_of_the_same_run_is_another_holder(state: Path, other: int, dead: int) -> None:
    take(state, ONE, controller=of(other))
    assert f"Another process of run {ONE} holds the lock" in refused(state, ONE).msg
    assert refused(state, ONE, take_over=ONE).facts["sign"] == "alive"
    (state / "lock.json").unlink()
    held = take(state, ONE, controller=of(dead))["lock"]
    write(state, ONE, "run_started")
    assert refused(state, ONE).facts["sign"] == "gone"
    assert take(state, ONE, take_over=ONE)["taken_over"] == held
    assert on_disk(state)["controller"] == of()


def test_where_nobody_holds_the_lock_taking_over_is_taking(state: Path) -> None:
    assert take(state, TWO, take_over=ONE)["taken_over"] == {}


# -- the journal of the holder -----------------------------------------------------------------------------------------


def test_a_holder_whose_run_is_finished_holds_nothing(state: Path, other: int) -> None:
    """Killed between its last entry and the release, or about to release."""
    held = take(state, ONE, controller=of(other))["lock"]
    write(state, ONE, "run_started", "step_started", "step_finished", "run_finished")
    assert take(state, TWO, check=True)["taken_over"] == held
    done = take(state, TWO, take_over=THREE)
    assert (done["changed"], done["taken_over"], on_disk(state)["run_id"]) == (True, held, TWO)
    assert release(state, ONE, of(other))["changed"] is False
    assert on_disk(state)["run_id"] == TWO


def test_the_end_before_a_run_was_resumed_is_not_its_end(state: Path, other: int) -> None:
    """A run that failed, is finished and resumed holds the lock before it has written anything."""
    write(state, ONE, "run_started", "step_failed", "run_finished")
    take(state, ONE, controller=of(other))
    assert on_disk(state)["journal_events"] == 3
    assert refused(state).facts["sign"] == "alive"
    write(state, ONE, "step_started")
    assert refused(state).facts["sign"] == "alive"
    write(state, ONE, "run_finished")
    assert take(state, TWO)["taken_over"]["run_id"] == ONE


def test_a_torn_last_line_is_no_end(state: Path, other: int) -> None:
    take(state, ONE, controller=of(other))
    write(state, ONE, "run_started", "run_finished")
    journal = state / "runs" / ONE / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    assert refused(state).facts["sign"] == "alive"


# -- what the controller that asks has seen ----------------------------------------------------------------------------


def judged(state: Path, sign: str, **changed: Any) -> dict[str, Any]:
    held = on_disk(state)
    found = {"run_id": held["run_id"], "pid": held["controller"]["pid"], "since": held["since"]}
    return {**found, "sign": sign, "evidence": "seen there", **changed}


def test_a_controller_that_could_see_the_holder_is_asked_before_anything_is_taken(state: Path) -> None:
    mine = of(8, ELSEWHERE)
    held = take(state, ONE, controller=of(7, ELSEWHERE))["lock"]
    assert refused(state, controller=mine, take_over=ONE).facts["sign"] == "unknown"
    error = refused(state, controller=mine, take_over=ONE, judged=judged(state, "alive"))
    assert (error.facts["sign"], error.facts["evidence"]) == ("alive", "seen there")
    for changed in ({"run_id": TWO}, {"pid": 6}, {"since": "2026-11-24T15:04:05.124+00:00"}):
        error = refused(state, controller=mine, take_over=ONE, judged=judged(state, "gone", **changed))
        assert error.facts["sign"] == "unknown"  # it was another holder that is gone
    write(state, ONE, "run_started")
    assert refused(state, controller=mine, judged=judged(state, "gone")).facts["sign"] == "gone"
    assert take(state, TWO, controller=mine, take_over=ONE, judged=judged(state, "gone"))["taken_over"] == held


def test_a_holder_that_the_controller_cannot_see_either_may_be_taken_over(state: Path) -> None:
    mine = of(8, ELSEWHERE)
    held = take(state, ONE, controller=of(7, ELSEWHERE))["lock"]
    asked = judged(state, "unknown")
    assert "seen there; it has no journal yet" in refused(state, controller=mine, judged=asked).msg
    assert take(state, TWO, controller=mine, take_over=ONE, judged=asked)["taken_over"] == held


def test_a_holder_is_judged_where_its_process_can_be_seen(state: Path, dead: int) -> None:
    held = take(state, ONE, controller=of(dead))["lock"]
    found = locks.judge(held, here())
    assert found
    assert found == judged(state, "gone", evidence=found["evidence"])
    assert locks.judge(held, ELSEWHERE) is None
    (state / "lock.json").write_text("{")
    assert locks.judge(locks.read_lock(str(state)), here()) is None


# -- how to end a holder -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "namespace", "told"),
    [
        ("42", "pid:[4026532999]", "cancel job 42"),
        ("", "pid:[4026532999]", "type 'kill 7' on the container ctl"),
        ("", "pid:[4026531836]", "type 'kill 7' on ctl"),
        ("", "", "type 'kill 7' on ctl"),
    ],
)
def test_how_to_end_a_holder(state: Path, job: str, namespace: str, told: str) -> None:
    place = Place("ctl", "boot", namespace, "")
    take(state, ONE, controller=of(7, place, job))
    error = refused(state, judged=judged(state, "alive"))
    assert f"Or end it first: {told}. Then go on" in error.next_step
    assert ("in job 42" in error.msg) is bool(job)


# -- damage and traps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b'"x"', b"{}", b"[" * 100_000, b'{"run_id": 7}', b'{"run_id": ["x"]}',
        b'{"run_id": "../../x"}', b'{"run_id": "unknown"}', b'{"run_id": "20261124T150405Z-0001"}',
        b'{"run_id": "20261124T150405Z-0001", "since": "2026-11-24T15:04:05.123+00:00", "controller": {}}',
        b'{"run_id": "20261124T150405Z-0001", "since": "yesterday", "controller": {"pid": 7}}',
    ],
)  # fmt: skip
def test_a_damaged_lock_is_held_by_somebody(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / "lock.json").write_bytes(content)
    assert parse_lock(content) is None
    for take_over in ("", ONE):
        error = refused(state, take_over=take_over)
        assert "A run that is not known holds the lock" in error.msg
        assert "lock.json is damaged" in error.msg
        assert (error.facts["sign"], error.facts["holder"]["run_id"]) == ("unknown", UNKNOWN)
        assert f"-e take_over={UNKNOWN}" in error.next_step
    assert release(state)["changed"] is False
    assert take(state, TWO, take_over=UNKNOWN)["taken_over"]["run_id"] == UNKNOWN
    assert on_disk(state)["run_id"] == TWO


def test_a_torn_lock_is_damaged_at_every_length(state: Path) -> None:
    take(state)
    content = (state / "lock.json").read_bytes().rstrip()
    assert parse_lock(content) == on_disk(state)
    assert [size for size in range(len(content)) if parse_lock(content[:size]) is not None] == []


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_content_of_a_lock_is_a_traceback(content: bytes) -> None:
    assert parse_lock(content) is None


@pytest.mark.parametrize("name", ["lock.json", "lock.flock"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_in_the_place_of_the_lock_is_refused(state: Path, tmp_path: Path, name: str, *, exists: bool) -> None:
    state.mkdir()
    target = tmp_path / "target"
    if exists:
        target.write_text("precious")
    (state / name).symlink_to(target)
    error = refused(state)
    assert (error.facts["path"], "not a link" in error.next_step) == (str(state / name), True)
    assert target.exists() is exists
    assert not exists or target.read_text() == "precious"


def test_a_pipe_in_the_place_of_the_lock_is_refused_and_does_not_hang(state: Path) -> None:
    state.mkdir()
    os.mkfifo(state / "lock.json")
    with pytest.raises(RollbackError, match="it is no file"):
        take(state)


def test_what_a_crash_left_is_no_obstacle(state: Path, tmp_path: Path) -> None:
    state.mkdir()
    (tmp_path / "target").write_text("precious")
    (state / "lock.json.new").symlink_to(tmp_path / "target")
    take(state)
    assert sorted(path.name for path in state.iterdir()) == ["lock.flock", "lock.json"]
    assert (tmp_path / "target").read_text() == "precious"


def test_a_full_disk_leaves_the_lock_that_was_there(state: Path, dead: int) -> None:
    held = take(state, ONE, controller=of(dead))["lock"]
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        with pytest.raises(RollbackError, match="cannot be written"):
            take(state, TWO, take_over=ONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (on_disk(state), (state / "lock.json.new").exists()) == (held, False)


@pytest.mark.parametrize("made", [True, False])
def test_a_directory_that_may_not_be_written_is_refused(*, made: bool) -> None:
    """Check mode says so, too. Root may write anywhere, so another user asks."""
    with TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        if made:
            state.mkdir()
            state.chmod(0o555)
        Path(folder).chmod(0o555)
        context = multiprocessing.get_context("fork")
        queue: Any = context.Queue()
        child = context.Process(target=_ask_as_nobody, args=(state, queue))
        child.start()
        told = [queue.get(timeout=30), queue.get(timeout=30)]
        child.join(30)
        assert all("cannot be written" in text for text in told), told
        assert (list(state.iterdir()) if made else state.exists()) == ([] if made else False)
        Path(folder).chmod(0o755)


def _ask_as_nobody(state: Path, queue: Any) -> None:
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    for check in (True, False):
        queue.put(_answer(state, check=check))


def _answer(state: Path, *, check: bool) -> str:
    try:
        return f"taken: {take(state, check=check)}"
    except RollbackError as error:
        return error.msg


@pytest.mark.parametrize("check", [True, False])
def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path, *, check: bool) -> None:
    (tmp_path / "file").write_text("")
    for state in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RollbackError, match="cannot be") as caught:
            take(state, check=check)
        assert "state_directory" in caught.value.next_step


def test_bad_input_is_refused_before_anything_is_made(state: Path) -> None:
    for request in (Request("../../x", of()), Request(ONE, {}), Request(ONE, {"pid": 0})):
        with pytest.raises(RollbackError):
            set_lock(str(state), "held", request)
    assert not state.exists()


# -- at the same moment ------------------------------------------------------------------------------------------------


def _race(state: Path, run: str, barrier: Any, queue: Any, take_over: str) -> None:
    barrier.wait(30)
    try:
        take(state, run, take_over=take_over)
        queue.put((run, True))
    except RollbackError:
        queue.put((run, False))
    barrier.wait(30)  # the winner lives until everybody has asked


@pytest.mark.parametrize("take_over", ["", ONE])
def test_of_those_who_ask_at_once_one_wins(tmp_path: Path, dead: int, take_over: str) -> None:
    context = multiprocessing.get_context("fork")
    for number in range(20):
        state = tmp_path / str(number)
        if take_over:
            take(state, ONE, controller=of(dead))
            write(state, ONE, "run_started")
        barrier, queue = context.Barrier(4), context.Queue()
        runs = [f"20261124T150405Z-a{taker}" for taker in range(4)]
        takers = [context.Process(target=_race, args=(state, run, barrier, queue, take_over)) for run in runs]
        for taker in takers:
            taker.start()
        winners = [run for run, won in (queue.get(timeout=30) for _taker in takers) if won]
        for taker in takers:
            taker.join(30)
        assert winners == [on_disk(state)["run_id"]]
