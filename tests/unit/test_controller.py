# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process of a record lives: seen on real processes, and unknown wherever it is not certain."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.usdx.rollback.plugins.module_utils.controller import (
    OF_THE_MACHINE,
    Place,
    can_judge,
    facts_of,
    here,
    parse_facts,
    place_of,
    same_process,
    sign_of_process,
)
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Place("ctl", "boot-1", OF_THE_MACHINE, "machine-1")


@contextlib.contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that lives until the test has done with it."""
    with subprocess.Popen(argv or ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:
        try:
            yield made
        finally:
            made.kill()


def record(pid: int, place: Place | None = None, **changed: Any) -> dict[str, Any]:
    """Return the record of a process."""
    return {**facts_of(pid, "alice", "", place or here()), **changed}


def test_a_process_is_alive_then_ended_then_gone() -> None:
    with process() as made:
        facts = record(made.pid)
        assert facts["started"] > 0
        assert sign_of_process(facts, here()).sign == "alive"
        made.kill()
        os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked for it yet
        sign = sign_of_process(facts, here())
        assert (sign.sign, "has ended" in sign.evidence) == ("gone", True)
        made.wait()
        sign = sign_of_process(facts, here())
        assert (sign.sign, "does not exist" in sign.evidence) == ("gone", True)


def test_a_number_that_was_used_again_is_not_the_process() -> None:
    with process() as made:
        facts = record(made.pid)
        sign = sign_of_process({**facts, "started": facts["started"] - 1}, here())
    assert (sign.sign, "another one has its number" in sign.evidence) == ("gone", True)


def test_a_process_that_proc_hides_is_unknown_and_one_that_is_not_there_is_gone(tmp_path: Path) -> None:
    """/proc mounted with hidepid shows no processes of other users."""
    with process() as made:
        facts = record(made.pid)
        assert sign_of_process(facts, here(), proc=str(tmp_path)).sign == "unknown"
        made.kill()
        made.wait()
        assert sign_of_process(facts, here(), proc=str(tmp_path)).sign == "gone"


def test_a_process_whose_start_was_not_told_is_never_alive() -> None:
    with process() as made:
        assert sign_of_process(record(made.pid, started=0), here()).sign == "unknown"


def test_the_name_of_a_program_does_not_shift_the_fields(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep" if Path("/bin/sleep").exists() else "/usr/bin/sleep")
    with process(str(program), "60") as made, process("sleep", "60") as plain:
        started, of_plain = record(made.pid)["started"], record(plain.pid)["started"]
    assert 0 <= of_plain - started < 6000


@pytest.mark.parametrize(
    ("then", "now", "sign"),
    [
        (HERE, HERE._replace(boot_id="boot-2"), "gone"),
        # A copy of a machine has its id, containers of an image share one, and a system may have none.
        (HERE, HERE._replace(boot_id="boot-2", host="other"), "unknown"),
        (HERE, HERE._replace(boot_id="boot-2", machine_id="machine-2"), "unknown"),
        (HERE, HERE._replace(boot_id="boot-2", process_namespace="pid:[4026532999]"), "unknown"),
        (HERE._replace(process_namespace="pid:[4026532999]"), HERE._replace(boot_id="boot-2"), "unknown"),
        (HERE._replace(machine_id=""), HERE._replace(boot_id="boot-2", machine_id=""), "unknown"),
        (HERE, HERE._replace(boot_id=""), "unknown"),
        (HERE._replace(boot_id=""), HERE._replace(boot_id=""), "unknown"),
        # A container of the same machine, and a controller without /proc.
        (HERE._replace(process_namespace="pid:[4026532999]"), HERE, "unknown"),
        (Place("mac", "", "", ""), Place("mac", "", "", ""), "unknown"),
    ],
)
def test_only_a_later_boot_of_the_same_machine_says_that_a_process_is_gone(then: Place, now: Place, sign: str) -> None:
    facts = record(os.getpid(), then)
    assert sign_of_process(facts, now).sign == sign
    assert can_judge(facts, now) is (sign != "unknown")


def test_a_process_of_this_place_can_be_judged() -> None:
    facts = record(os.getpid())
    assert place_of(facts) == here()
    assert can_judge(facts, here())
    assert sign_of_process(facts, here()).sign == "alive"


def test_a_system_without_proc_tells_nothing(tmp_path: Path) -> None:
    place = here(str(tmp_path), (str(tmp_path / "none"),))
    assert place[1:] == ("", "", "")
    assert facts_of(os.getpid(), "alice", "7", place, str(tmp_path))["started"] == 0


@pytest.mark.parametrize(
    ("text", "known"), [("0123456789abcdef" * 2 + "\n", True), ("uninitialized\n", False), ("", False)]
)
def test_the_machine_id_itself_is_not_told(tmp_path: Path, text: str, known: bool) -> None:  # noqa: FBT001
    (tmp_path / "machine-id").write_text(text)
    told = here(machine_id_files=(str(tmp_path / "none"), str(tmp_path / "machine-id"))).machine_id
    assert bool(told) is known
    assert told != text.strip() or not known


def test_the_same_process_is_told_by_more_than_its_number() -> None:
    facts = record(os.getpid())
    assert same_process(facts, {**facts, "user": "bob", "job": "8"})
    for name, value in {"pid": 1, "started": 1, "boot_id": "x", "process_namespace": "x", "host": "x"}.items():
        assert not same_process(facts, {**facts, name: value})


@given(
    st.none()
    | st.text()
    | st.dictionaries(
        st.sampled_from(["user", "host", "pid", "started", "job"]),
        st.none() | st.text() | st.integers() | st.booleans(),
    )
)
def test_what_is_no_record_is_refused(value: Any) -> None:
    facts = parse_facts(value)
    whole = isinstance(value, dict) and isinstance(value.get("pid"), int) and value["pid"] > 0
    assert facts is None or (whole and isinstance(facts["host"], str) and facts["started"] >= 0)


def test_a_record_is_read_as_it_was_written() -> None:
    facts = record(os.getpid())
    assert parse_facts(facts) == facts
    assert parse_facts({"pid": True}) is None
    assert parse_facts({"pid": 2**31}) is None
    assert parse_facts({"pid": 7}) == {
        "user": "", "host": "", "boot_id": "", "process_namespace": "", "machine_id": "", "job": "",
        "pid": 7, "started": 0,
    }  # fmt: skip


def test_this_test_runs_where_processes_can_be_seen() -> None:
    """Else the tests above would pass for the wrong reason."""
    assert sys.platform == "linux"
    assert all(here()[:3])
