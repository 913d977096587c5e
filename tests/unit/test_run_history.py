# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run stands by its journal, whatever is left of it, and which run to go on with or to undo."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.errors import RollbackError
from ansible_collections.usdx.rollback.plugins.module_utils.journal import EVENTS, Journal, parse_journal, record
from ansible_collections.usdx.rollback.plugins.module_utils.run_history import (
    brief,
    history,
    run_info,
    summarise,
    to_resume,
    to_undo,
)
from hypothesis import given, settings
from hypothesis import strategies as st

DATA = Path(__file__).parent / "data"
START = datetime(2026, 11, 24, 15, 4, 5, tzinfo=timezone.utc)
STEPS = ["announce", "prepare_release", "stop_services", "restore_database", "switch_release", "start_services"]
ASKED: dict[str, Any] = {
    "scenario": "rollback", "project": "shop", "host": "shop-1", "version": "v1.0.2", "commit": "c" * 40,
    "from": {"commit": "a" * 40, "release": "v1.0.3", "branch": None}, "reason": "it fails", "steps": STEPS,
    "inputs": {"version": "1.0.2"}, "plan": {"run_id": "x"}, "approval": {"approved_by": ["ann"]},
    "controller": {"user": "ann", "host": "laptop", "pid": 7},
}  # fmt: skip


def run_name(number: int) -> str:
    """Return the id of the run of a minute."""
    return f"20261124T15{number:02d}00Z-00{number:02x}"


def event(name: str, step: str | None = None, **facts: Any) -> dict[str, Any]:
    """Return an event to record."""
    return {"event": name, "step": step, "facts": facts}


def through(*names: str) -> list[dict[str, Any]]:
    """Return the events of steps that are done."""
    return [event(kind, name) for name in names for kind in ("step_started", "step_finished")]


def journal_of(*events: dict[str, Any]) -> Journal:
    """Return a journal of events, one a second apart."""
    written = []
    for number, one in enumerate(events):
        time = f"{START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.000+00:00"
        written.append({"time": time, "elapsed": float(number), **one})
    return parse_journal("".join(json.dumps(one) + "\n" for one in written).encode())


def told(*events: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a journal."""
    return summarise(run_name(1), journal_of(*events), "/s/journal.jsonl")


STARTED = event("run_started", **ASKED)
STOPPED = through("announce", "prepare_release", "stop_services")
SUCCEEDED = event("run_finished", outcome="succeeded")
FAILED = event("run_finished", outcome="failed")
RESUMED = event("run_resumed", controller={"user": "bob"}, approval={"approved_by": ["eve"]})
BROKEN = [event("step_started", "restore_database"), event("step_failed", "restore_database", msg="no room")]


# One run


def test_a_run_that_succeeded_is_told_whole() -> None:
    run = told(STARTED, *through(*STEPS), SUCCEEDED)
    assert {name: run[name] for name in ASKED if name != "steps"} == {k: v for k, v in ASKED.items() if k != "steps"}
    assert (run["state"], run["step"], run["acted"], run["resumed"]) == ("succeeded", None, True, 0)
    assert run["started"] == "2026-11-24T15:04:05.000+00:00"
    assert run["ended"] == "2026-11-24T15:04:18.000+00:00"
    assert run["seconds"] == 13.0
    assert [(step["name"], step["state"], step["seconds"]) for step in run["steps"]] == [
        (name, "done", 1.0) for name in STEPS
    ]
    assert (run["undo_of"], run["undone_by"], run["damaged_lines"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("events", "state", "step", "acted"),
    [
        ([], "unfinished", None, False),
        ([event("step_started", "announce")], "unfinished", "announce", False),
        ([*through("announce"), event("step_started", "prepare_release")], "unfinished", "prepare_release", False),
        (through("announce", "prepare_release", "prepare_database"), "unfinished", None, False),
        ([event("step_started", "stop_services")], "unfinished", "stop_services", True),
        ([event("step_finished", "stop_services")], "unfinished", None, True),
        ([event("step_skipped", "restore_database", reason="not asked")], "unfinished", None, False),
        ([*STOPPED, *BROKEN, FAILED], "failed", "restore_database", True),
        ([*STOPPED, *BROKEN], "unfinished", "restore_database", True),
        ([FAILED], "failed", None, False),
        ([event("run_finished")], "failed", None, False),
        ([*STOPPED, *BROKEN, FAILED, RESUMED], "unfinished", "restore_database", True),
        ([*STOPPED, *BROKEN, FAILED, RESUMED, event("step_started", "stop_services")],
         "unfinished", "stop_services", True),
        ([*STOPPED, *BROKEN, FAILED, RESUMED, *through("restore_database"), SUCCEEDED], "succeeded", None, True),
        ([*STOPPED, *BROKEN, FAILED, RESUMED, event("step_failed", "stop_services"), FAILED],
         "failed", "stop_services", True),
        ([*STOPPED, RESUMED, *through(*STEPS[3:]), SUCCEEDED, RESUMED], "unfinished", None, True),
    ],
)  # fmt: skip
def test_the_state_is_that_after_the_last_start(
    events: list[dict[str, Any]],
    state: str,
    step: str | None,
    acted: bool,  # noqa: FBT001 - a column of the table
) -> None:
    run = told(STARTED, *events)
    assert (run["state"], run["step"], run["acted"]) == (state, step, acted)
    assert (run["ended"] is None) == (state == "unfinished")


def test_steps_stand_in_the_order_of_the_run_and_others_behind() -> None:
    run = told(STARTED, event("step_started", "surprise"), *through("announce"), event("step_skipped", "stop_services"))
    assert [(step["name"], step["state"]) for step in run["steps"]] == [
        ("announce", "done"), ("prepare_release", "open"), ("stop_services", "skipped"), ("restore_database", "open"),
        ("switch_release", "open"), ("start_services", "open"), ("surprise", "running"),
    ]  # fmt: skip
    assert run["steps"][1] == {
        "name": "prepare_release", "state": "open", "start": None, "end": None, "seconds": None, "facts": {},
    }  # fmt: skip


def test_what_a_resume_says_counts_but_what_was_there_first_stays() -> None:
    later = {"plan": {"run_id": "y"}, "from": {"commit": "b"}}
    run = told(STARTED, RESUMED, {"event": "run_resumed", "step": None, "facts": later})
    assert (run["resumed"], run["controller"], run["approval"]) == (2, {"user": "bob"}, {"approved_by": ["eve"]})
    assert run["plan"] == {"run_id": "y"}
    assert run["from"] == ASKED["from"]


@pytest.mark.parametrize(("undo_of", "found"), [("20261124T150000Z-0001", "20261124T150000Z-0001"), ("", None)])
def test_an_undo_names_its_run(undo_of: str, found: str | None) -> None:
    assert told(event("run_started", undo_of=undo_of))["undo_of"] == found


@pytest.mark.parametrize("name", ["failed_run", "succeeded_run"])
def test_a_real_journal_of_an_earlier_version(name: str) -> None:
    """It knows no plan, inputs, host, approval and controller."""
    events = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))["events"]
    run = summarise(run_name(1), Journal(events, 0), "/j")
    assert run["state"] == name.partition("_")[0]
    assert (run["version"], run["from"]["release"], run["acted"]) == ("v1.0.2", "v1.0.3", True)
    assert (run["plan"], run["inputs"], run["host"], run["controller"]) == ({}, {}, "", {})
    assert len(run["steps"]) == len(events[0]["facts"]["steps"])


def test_a_journal_without_a_start_is_read_as_far_as_it_goes() -> None:
    run = told(*STOPPED)
    assert (run["scenario"], run["plan"], run["state"], run["acted"]) == ("", {}, "unfinished", True)
    assert [step["name"] for step in run["steps"]] == STEPS[:3]
    empty = told()
    assert (empty["started"], empty["seconds"], empty["steps"], empty["state"]) == (None, 0.0, [], "unfinished")


@settings(deadline=None)
@given(cut=st.integers(min_value=0), data=st.data())
def test_a_torn_journal_tells_what_is_whole(cut: int, data: st.DataObject) -> None:
    """Cut anywhere: never an error, and never more than what the whole one told."""
    with TemporaryDirectory() as directory:
        path = record(directory, run_name(1), [STARTED, *STOPPED, *BROKEN, FAILED])["path"]
        content = Path(path).read_bytes()
    torn = content[: cut % (len(content) + 1)] + data.draw(st.sampled_from([b"", b"\n", b'\n{"event": 1}\n']))
    run = summarise(run_name(1), parse_journal(torn), path)
    assert run["state"] in ("unfinished", "failed")
    assert run["state"] == "unfinished" or len(torn) >= len(content) - 1
    assert run["acted"] is (b'"step_started", "step": "stop_services", "facts": {}}' in torn)


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*ASKED, "outcome"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"event": st.sampled_from(EVENTS), "facts": st.dictionaries(st.sampled_from([*ASKED, "undo_of"]), JUNK)},
            optional={"step": JUNK, "elapsed": JUNK},
        ),
        max_size=4,
    )
)
def test_no_content_of_a_whole_line_is_an_error(lines: list[dict[str, Any]]) -> None:
    events = [{"time": "2026-11-24T15:04:05.000+00:00", **line} for line in lines]
    run = summarise(run_name(1), parse_journal("".join(json.dumps(one) + "\n" for one in events).encode()), "/j")
    assert run["state"] in ("succeeded", "failed", "unfinished")
    assert all(isinstance(step["name"], str) for step in run["steps"])
    assert all(one["elapsed"] >= 0 for one in run["events"])
    json.dumps(run)


def test_brief_leaves_out_what_is_long() -> None:
    run = told(STARTED, *STOPPED)
    short = brief(run)
    assert set(run) - set(short) == {"plan", "events"}
    assert all("facts" not in step and step["name"] for step in short["steps"])
    assert "facts" in run["steps"][0]


# All runs of a host


def write(state: Path, number: int, *events: dict[str, Any], **asked: Any) -> str:
    """Write the journal of a run; return its id."""
    run_id = run_name(number)
    record(str(state), run_id, [event("run_started", **ASKED | asked), *events])
    return run_id


def test_the_newest_run_comes_first_and_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    names = [write(tmp_path, number) for number in (3, 1, 2)]
    twin = "20261124T150300Z-fff0"
    record(str(tmp_path), twin, [STARTED])
    (tmp_path / "runs/lost+found").mkdir()
    (tmp_path / f"runs/{run_name(9)}").write_text("a file", encoding="utf-8")
    assert [run["run_id"] for run in history(str(tmp_path))] == [twin, names[0], names[2], names[1]]
    assert [run["run_id"] for run in history(str(tmp_path), 2)] == [twin, names[0]]


def test_where_no_run_was_there_is_none(tmp_path: Path) -> None:
    assert history(str(tmp_path / "absent")) == history(str(tmp_path)) == []


def test_a_state_directory_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("", encoding="utf-8")
    with pytest.raises(RollbackError) as caught:
        history(str(tmp_path))
    assert "cannot be read" in caught.value.msg
    assert "state_directory" in caught.value.next_step


def test_a_journal_that_cannot_be_read_is_listed_with_the_reason(tmp_path: Path) -> None:
    good, bad = write(tmp_path, 1), run_name(2)
    (tmp_path / "runs" / bad / "journal.jsonl").mkdir(parents=True)
    runs = history(str(tmp_path))
    assert [(run["run_id"], run["state"]) for run in runs] == [(bad, "unreadable"), (good, "unfinished")]
    assert "cannot be read" in runs[0]["why"]
    assert set(runs[1]) <= set(runs[0])
    for choose in (to_resume, to_undo):
        with pytest.raises(RollbackError, match=f"What run {bad} did is not known"):
            choose(runs, bad)
    with pytest.raises(RollbackError, match=f"What run {bad} did is not known"):
        to_resume(runs)


# Which one


def runs_of(*kinds: str) -> list[dict[str, Any]]:
    """Return runs, the oldest named first: a state, ``idle`` for one that changed nothing, ``>N`` for an undo of run N.

    ``done``, ``failed``, ``cut``, ``failed idle``, ``done >0``, ``cut idle >1``; the number is that of the run.
    """
    states = {"done": [SUCCEEDED], "failed": [FAILED], "cut": []}
    with TemporaryDirectory() as directory:
        for number, kind in enumerate(kinds):
            words = kind.split()
            undo_of = next((run_name(int(word[1:])) for word in words if word[0] == ">"), "")
            events = [] if "idle" in words else STOPPED
            write(Path(directory), number, *events, *states[words[0]], undo_of=undo_of)
        return history(directory)


@pytest.mark.parametrize(
    ("kinds", "named", "chosen"),
    [
        (["done", "failed"], None, 1),
        (["done", "cut"], None, 1),
        (["failed", "cut idle"], None, 1),
        (["failed", "done idle"], None, 0),
        (["cut", "cut idle"], 0, 0),
        (["failed", "done", "done >1"], None, 0),
        (["failed", "done", "done >1"], 0, 0),
        (["cut", "cut idle >0"], 0, 0),
        (["done", "cut >0"], None, 1),
        (["failed", "failed >0"], 1, 1),
        (["failed", "done >0", "done >1"], 0, 0),
        ([], None, "There is no run to go on with"),
        (["done"], None, "There is no run to go on with"),
        (["done"], 7, f"No run '{run_name(7)}' is on record here"),
        (["done"], 0, "has succeeded"),
        (["failed", "done"], None, f"run {run_name(1)} .* has changed something since"),
        (["failed", "cut"], 0, f"run {run_name(1)} .* has changed something since"),
        (["cut", "done >0"], None, f"is undone, by run {run_name(1)}"),
        (["cut", "done >0"], 0, f"is undone, by run {run_name(1)}"),
        (["cut", "failed >0"], 0, f"run {run_name(1)} \\(undo of {run_name(0)}, failed\\) has changed something since"),
        (["failed idle", "done", "done", "done >1"], 0, f"run {run_name(3)} .* has changed something since"),
        (["done", "failed", "done >0"], 1, f"run {run_name(2)} .* has changed something since"),
    ],
)
def test_the_run_to_go_on_with(kinds: list[str], named: int | None, chosen: int | str) -> None:
    judge(to_resume, kinds, named, chosen)


@pytest.mark.parametrize(
    ("kinds", "named", "chosen"),
    [
        (["done"], None, 0),
        (["failed"], None, 0),
        (["cut"], None, 0),
        (["done", "done"], None, 1),
        (["done", "failed idle"], None, 0),
        (["done", "cut idle >0"], None, 0),
        (["done", "failed idle"], 0, 0),
        (["done", "done", "done >1"], 0, 0),
        (["done", "done >0"], 1, 1),
        (["done", "failed >0"], 1, 1),
        (["done", "done >0", "done >1"], 0, 0),
        (["done", "done >0", "done >1"], 2, 2),
        ([], None, "there is nothing to undo"),
        (["failed idle"], None, "there is nothing to undo"),
        ([], 3, f"No run '{run_name(3)}' is on record here"),
        (["failed idle"], 0, "changed nothing; there is nothing to undo"),
        (["done", "done >0"], 0, f"is undone already, by run {run_name(1)}"),
        (["done", "done"], 0, f"Run {run_name(1)} .* has changed something after run {run_name(0)}"),
        (["done", "failed >0"], 0, f"Run {run_name(1)} .* has changed something after run {run_name(0)}"),
        (["done", "failed >0"], None, f"the undo of run {run_name(0)}, is failed; it is half way"),
        (["done", "cut >0"], None, f"the undo of run {run_name(0)}, is unfinished; it is half way"),
        (["done", "done >0"], None, f"Run {run_name(0)} is undone: run {run_name(1)}"),
        (["done", "done >0", "done >1"], None, f"Run {run_name(1)} is undone: run {run_name(2)}"),
        (["done", "done >0", "done >1"], 1, f"is undone already, by run {run_name(2)}"),
        (["done", "done >0", "done"], 1, f"Run {run_name(2)} .* has changed something after run {run_name(1)}"),
    ],
)
def test_the_run_to_undo(kinds: list[str], named: int | None, chosen: int | str) -> None:
    judge(to_undo, kinds, named, chosen)


def judge(choose: Any, kinds: list[str], named: int | None, chosen: int | str) -> None:
    """Compare a choice with the number of a run, or with what a refusal says."""
    runs, run_id = runs_of(*kinds), "" if named is None else run_name(named)
    if isinstance(chosen, int):
        assert choose(runs, run_id)["run_id"] == run_name(chosen)
        return
    with pytest.raises(RollbackError, match=chosen) as caught:
        choose(runs, run_id)
    assert caught.value.msg.endswith("Nothing was changed.")
    assert len(caught.value.next_step) > 20


def test_an_unknown_run_names_the_newest_five() -> None:
    with pytest.raises(RollbackError) as caught:
        to_undo(runs_of(*["done idle"] * 7), "../../etc")
    assert [run_name(number) in caught.value.next_step for number in range(7)] == [False] * 2 + [True] * 5


@pytest.mark.parametrize("choose", [to_resume, to_undo])
def test_a_run_without_a_plan_can_be_read_but_not_chosen(tmp_path: Path, choose: Any) -> None:
    """Without a plan an undo would start no service, and a resume would decide anew about the database."""
    write(tmp_path, 1, *STOPPED, FAILED, plan=None)
    (run,) = history(str(tmp_path))
    assert run["state"] == "failed"
    with pytest.raises(RollbackError, match="does not hold the plan"):
        choose([run])


def test_a_run_that_left_an_empty_journal_is_no_candidate(tmp_path: Path) -> None:
    failed = write(tmp_path, 1, *STOPPED, FAILED)
    (tmp_path / "runs" / run_name(2)).mkdir()
    runs = history(str(tmp_path))
    assert [run["state"] for run in runs] == ["unfinished", "failed"]
    assert to_resume(runs)["run_id"] == to_undo(runs)["run_id"] == failed


@settings(deadline=None)
@given(choices=st.lists(st.integers(0, 20), max_size=9))
def test_only_a_run_whose_changes_stand_is_undone_and_the_newest_always_can(choices: list[int]) -> None:
    """Play with a model: a run leads from one state of the host to another, an undo leads back."""
    runs: list[dict[str, Any]] = []
    places: dict[str, tuple[int, int]] = {}
    now = 0
    for number, choice in enumerate(choices):
        able = [name for name in places if _may_undo(runs, name)]
        assert {places[name][1] for name in able} <= {now}, (able, places)
        assert run_name(number - 1) in able or not places
        target = able[choice % len(able)] if able and choice % 3 else ""
        after = places[target][0] if target else number + 1
        places[run_name(number)] = (now, after)
        now = after
        runs = _one_more(runs, run_name(number), target)


def _one_more(runs: list[dict[str, Any]], run_id: str, undo_of: str) -> list[dict[str, Any]]:
    """Return the runs after one more that succeeded, as ``history`` would read them."""
    with TemporaryDirectory() as directory:
        for run in runs:
            number = int(run["run_id"][11:13])
            write(Path(directory), number, *STOPPED, SUCCEEDED, undo_of=run["undo_of"] or "")
        write(Path(directory), int(run_id[11:13]), *STOPPED, SUCCEEDED, undo_of=undo_of)
        return history(directory)


def _may_undo(runs: list[dict[str, Any]], run_id: str) -> bool:
    try:
        return bool(to_undo(runs, run_id)["run_id"] == run_id)
    except RollbackError:
        return False


# The module


def ask(state: Path, **options: Any) -> dict[str, Any]:
    """Call what the module calls."""
    defaults = {"state_directory": str(state), "run_id": None, "purpose": "list", "limit": 20}
    return run_info({**defaults, **options})


def test_a_named_run_is_read_behind_the_limit_too(tmp_path: Path) -> None:
    names = [write(tmp_path, number, *STOPPED) for number in range(4)]
    found = ask(tmp_path, run_id=names[0], limit=2)
    assert [run["run_id"] for run in found["runs"]] == [names[3], names[2]]
    assert (found["run"]["run_id"], found["changed"]) == (names[0], False)
    assert found["run"]["events"]
    assert "events" not in found["runs"][0]
    assert ask(tmp_path)["run"] == {}


@pytest.mark.parametrize("asked", [0, 2, 3, 5])
def test_an_undo_belongs_to_its_run_however_often_it_is_turned_around(tmp_path: Path, asked: int) -> None:
    names = [write(tmp_path, number, SUCCEEDED, undo_of=of) for number, of in enumerate(["", "", run_name(0)])]
    names.append(write(tmp_path, 3, FAILED, undo_of=names[2]))
    names.append(write(tmp_path, 4, SUCCEEDED, undo_of=run_name(9)))
    names.append(write(tmp_path, 5, SUCCEEDED, undo_of=names[0]))
    assert ask(tmp_path, run_id=names[asked], limit=1)["run"]["related"] == [names[number] for number in (5, 3, 2, 0)]
    assert ask(tmp_path, run_id=names[1])["run"]["related"] == [names[1]]
    assert ask(tmp_path, run_id=names[4])["run"]["related"] == [names[4]], "what it undoes was dropped"


def test_a_journal_that_says_that_a_run_undoes_itself_ends_nothing(tmp_path: Path) -> None:
    names = [write(tmp_path, 0, SUCCEEDED, undo_of=run_name(1)), write(tmp_path, 1, SUCCEEDED, undo_of=run_name(1))]
    assert [ask(tmp_path, run_id=name)["run"]["related"] for name in names] == [[names[0]], [names[1]]]


def test_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RollbackError, match="limit=0 is not accepted"):
        ask(tmp_path, limit=0)


def test_where_no_lock_is_nobody_holds_it(tmp_path: Path) -> None:
    assert ask(tmp_path)["lock"] == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"run_id": "x"}'])
def test_a_damaged_lock_is_held_by_an_unknown_run(tmp_path: Path, content: bytes) -> None:
    """It keeps every other run out, so it is told."""
    (tmp_path / "lock.json").write_bytes(content)
    assert ask(tmp_path)["lock"]["run_id"] == "unknown"


def test_a_lock_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "lock.json").mkdir()
    assert ask(tmp_path)["lock"] == {}


# --- whether a security incident is open ---


def stage_of(state: Path, number: int, stage: str, user: str = "ann") -> str:
    """Write the run of a stage that succeeded, and return its id."""
    asked = {"scenario": "security_incident", "inputs": {"stage": stage}, "controller": {"user": user}}
    return write(state, number, event("run_finished", outcome="succeeded"), **asked)


def test_an_incident_is_not_forgotten_behind_more_runs_than_are_listed(tmp_path: Path) -> None:
    contain = stage_of(tmp_path, 0, "contain")
    for number in range(1, 26):
        write(tmp_path, number, event("run_finished", outcome="succeeded"))
    found = ask(tmp_path, limit=20)
    assert len(found["runs"]) == 20
    assert found["incident"]["stages"]["contain"]["run_id"] == contain
    assert found["incident"]["since"]
    stage_of(tmp_path, 30, "release")
    assert ask(tmp_path, limit=1)["incident"] == {"since": "", "stages": {}, "unknown": []}


def test_a_journal_that_cannot_be_read_is_told_with_its_path_behind_the_limit_too(tmp_path: Path) -> None:
    contain = stage_of(tmp_path, 0, "contain")
    write(tmp_path, 1, event("run_finished", outcome="succeeded"))
    path = tmp_path / "runs" / contain / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"\0" * 40 + whole[40:])
    (unknown,) = ask(tmp_path, limit=1)["incident"]["unknown"]
    assert (unknown["run_id"], unknown["path"]) == (contain, str(path))
    path.write_bytes(whole[:-20])
    told = ask(tmp_path, limit=1)["incident"]
    assert (told["unknown"], told["stages"]["contain"]["state"]) == ([], "unfinished")
    path.unlink()
    path.symlink_to("elsewhere")
    (unknown,) = ask(tmp_path, limit=1)["incident"]["unknown"]
    assert str(path) in unknown["why"]
