# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks make of their numbers: medians, ratios, tables, and the longest silence."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from benchmarks import measuring
from benchmarks.measuring import MeasuringError, Run

OUTAGE = "outage, s"
ROWS = {"hand": "by hand", "ours": "by playbook"}


def run(row: str, number: int, outage: float | None, failed: str = "") -> Run:
    return Run(row, number, {} if outage is None else {OUTAGE: outage}, failed=failed)


def request(at: float, took: float = 10, *, ok: bool = True) -> dict[str, Any]:
    return {"offset_ms": at, "ms": took, "ok": ok}


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_failed_run_is_not_counted() -> None:
    runs = [run("hand", 1, 4.0), run("hand", 2, 100.0, "it broke"), run("hand", 3, 6.0)]
    assert measuring.values(runs, "hand", OUTAGE) == [4.0, 6.0]
    assert measuring.median(runs, "hand", OUTAGE) == 5.0


def test_what_was_not_measured_is_nothing() -> None:
    runs = [run("hand", 1, None), run("ours", 1, 3.0)]
    assert measuring.median(runs, "hand", OUTAGE) is None
    assert measuring.ratio(runs, "ours", "hand", OUTAGE) is None
    assert measuring.ratio(runs, "hand", "ours", OUTAGE) is None
    assert measuring.spread([]) == "-"


def test_a_ratio_is_that_of_the_medians() -> None:
    runs = [run("hand", 1, 4.0), run("hand", 2, 8.0), run("hand", 3, 5.0), run("ours", 1, 2.5), run("ours", 2, 2.5)]
    assert measuring.ratio(runs, "ours", "hand", OUTAGE) == 0.5
    assert measuring.ratios_of(runs, [("ours", "hand"), ("ours", "nobody")], OUTAGE) == {
        "ours/hand": 0.5,
        "ours/nobody": None,
    }


def test_nothing_is_divided_by_zero() -> None:
    runs = [run("hand", 1, 0.0), run("ours", 1, 3.0)]
    assert measuring.ratio(runs, "ours", "hand", OUTAGE) is None
    assert measuring.ratio(runs, "hand", "ours", OUTAGE) == 0.0


# --- the longest silence ----------------------------------------------------------------------------------------------


def test_an_outage_lasts_from_a_good_answer_to_the_next() -> None:
    seen = [request(0), request(100), request(200, ok=False), request(300, ok=False), request(400, 50), request(500)]
    assert measuring.longest_silence(seen) == 0.34


def test_a_slow_answer_is_an_outage_too() -> None:
    assert measuring.longest_silence([request(0), request(100, 1900), request(1990)]) == 1.99


def test_an_outage_that_did_not_end_lasts_to_the_end() -> None:
    assert measuring.longest_silence([request(0), request(100, ok=False), request(3000, 2000, ok=False)]) == 4.99


def test_without_any_good_answer_all_of_it_is_outage() -> None:
    assert measuring.longest_silence([request(0, ok=False), request(990, ok=False)]) == 1.0


def test_without_requests_nothing_is_known() -> None:
    with pytest.raises(MeasuringError):
        measuring.longest_silence([])


# --- our own part -----------------------------------------------------------------------------------------------------


def line(event: str, step: str = "", **facts: Any) -> dict[str, Any]:
    return {"event": event, "step": step, "facts": facts}


def test_steps_tell_what_they_waited_for() -> None:
    journal = [
        line("run_started", seconds=1000),
        line("step_started", "restore_database"),
        line(
            "step_finished",
            "prepare_database",
            preview={"phases_seconds": {"read": 0.25}},
            loaded={"phases_seconds": {"rows": 2.0, "indexes": 1.5}},
        ),
        line("step_finished", "restore_database", phases_seconds={"cutover": 0.25}),
        line("step_finished", "verify_release", seconds=0.5, checks=[{"seconds": 9}]),
        line("step_finished", "communicate", changed=False),
    ]
    assert measuring.work_of_others(journal) == 4.5
    assert measuring.work_of_others([]) == 0.0


def test_of_several_hosts_the_slowest_of_each_step_counts() -> None:
    blue = [line("step_finished", "stop_services", seconds=3), line("step_finished", "start_services", seconds=1)]
    green = [line("step_finished", "stop_services", seconds=2), line("step_finished", "start_services", seconds=4)]
    assert measuring.work_of_others(blue, green) == 7.0


# --- runs in turn -----------------------------------------------------------------------------------------------------


def test_rows_run_in_turn_and_one_that_fails_does_not_stop_the_others() -> None:
    def measure(one: Run) -> None:
        if one.row == "hand":
            raise MeasuringError("it broke")
        one.figures[OUTAGE] = one.round

    runs = measuring.measure_all(list(ROWS), 2, measure)
    assert [(one.row, one.round, one.failed) for one in runs] == [
        ("hand", 1, "it broke"),
        ("ours", 1, ""),
        ("hand", 2, "it broke"),
        ("ours", 2, ""),
    ]
    assert measuring.exit_code(runs) == 0
    assert measuring.exit_code(runs[:1]) == 1
    assert measuring.exit_code([]) == 1


@pytest.mark.parametrize("error", [subprocess.TimeoutExpired("docker", 1), AssertionError(), KeyError("of a demo")])
def test_a_failure_has_its_reason(error: Exception) -> None:
    def measure(_run: Run) -> None:
        raise error

    (one,) = measuring.measure_all(["hand"], 1, measure, (KeyError,))
    assert one.failed


def test_what_nobody_foresaw_is_raised() -> None:
    def measure(_run: Run) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measuring.measure_all(["hand"], 1, measure)


def test_an_interrupt_keeps_what_was_measured() -> None:
    def measure(one: Run) -> None:
        if one.round == 2:
            raise KeyboardInterrupt
        one.figures[OUTAGE] = 1.0

    assert [one.round for one in measuring.measure_all(["hand"], 3, measure)] == [1]


# --- tables -----------------------------------------------------------------------------------------------------------


def test_the_table_tells_median_least_and_most() -> None:
    runs = [run("hand", 1, 4.0), run("hand", 2, 8.5), run("hand", 3, 5.0), run("ours", 1, None, "it broke")]
    assert measuring.table(runs, ROWS) == [
        "| row | runs | outage, s |",
        "| --- | --- | --- |",
        "| hand, by hand | 3 | 5 (4 to 8.5) |",
        "| ours, by playbook | 0 | - |",
    ]


def test_the_ratios_are_those_to_the_base_of_each_row() -> None:
    runs = [run("hand", 1, 4.0), run("ours", 1, 3.0)]
    assert measuring.ratio_table(runs, dict.fromkeys(ROWS, "hand"), [OUTAGE, "restore, MB/s"]) == [
        "| ratio | outage, s | restore, MB/s |",
        "| --- | --- | --- |",
        "| ours / hand | 0.75 | - |",
    ]


def test_failures_are_told_in_a_line_each() -> None:
    runs = [run("hand", 1, None, "it\nbroke " + "x" * 1000), run("hand", 2, 4.0), run("ours", 1, 3.0)]
    (line,) = measuring.failures(runs)
    assert line.startswith("- hand failed in 1 of 2 runs: it broke xxx")
    assert len(line) < 400


def test_the_machine_is_described() -> None:
    told = measuring.machine(rounds=3)
    assert told["cores"] >= 1
    assert told["memory_gb"] > 0
    assert told["rounds"] == 3
