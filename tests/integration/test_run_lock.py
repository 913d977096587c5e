# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock between real processes of ``ansible-playbook``: one that works, one that was killed, two at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import REPOSITORY, call_module

if TYPE_CHECKING:
    from collections.abc import Iterator

ONE, TWO, THREE = "20261124T150405Z-0001", "20261124T150405Z-0002", "20261124T150405Z-0003"
ROUNDS = 20
# Takes the lock, asks again, and works until the file of the test appears.
WORK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Take the lock
      usdx.rollback.run_lock: &lock
        state_directory: "{{ state }}"
        run_id: "{{ run }}"
        take_over: "{{ take_over | default('') }}"
        project: shop
        scenario: rollback
        reason: it fails
      register: taken
      ignore_errors: true
    - name: Ask again
      usdx.rollback.run_lock: *lock
      register: again
      ignore_errors: true
    - name: Tell
      ansible.builtin.copy:
        content: "{{ {'taken': taken, 'again': again} | to_json }}"
        dest: "{{ told }}"
        mode: "0600"
    - name: Work
      ansible.builtin.wait_for:
        path: "{{ end }}"
        timeout: 120
    - name: Release the lock
      usdx.rollback.run_lock:
        state_directory: "{{ state }}"
        run_id: "{{ run }}"
        state: released
"""
# Each round waits on the controller for the other one, right before the module is called.
RACE = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Take the lock
      usdx.rollback.run_lock:
        state_directory: "{{ state }}/{{ item }}"
        run_id: "{{ lookup('ansible.builtin.pipe', meet) }}"
      vars:
        meet: "touch {{ state }}/{{ run }}.{{ item }}; timeout 60 sh -c 'until [ -e {{ state }}/{{ foe }}.{{ item }} ];
          do sleep 0.005; done' && echo {{ run }}"
      loop: "{{ range(rounds | int) | list }}"
      register: taken
      ignore_errors: true
    - name: Tell
      ansible.builtin.copy:
        content: "{{ taken.results | to_json }}"
        dest: "{{ told }}"
        mode: "0600"
    - name: Live until the other has asked for all
      ansible.builtin.wait_for:
        path: "{{ end }}"
        timeout: 120
"""


class Run:
    """One ``ansible-playbook`` in a process group of its own."""

    def __init__(self, folder: Path, play: str, state: Path, run: str, **more: str) -> None:
        """Start it."""
        folder.mkdir()
        self.told, self.end, self._screen = folder / "told", folder / "end", folder / "screen"
        (folder / "play.yml").write_text(play, encoding="utf-8")
        given = {"state": str(state), "run": run, "told": str(self.told), "end": str(self.end), **more}
        given = {"ansible_python_interpreter": sys.executable, **given}
        argv = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local"]
        with self._screen.open("wb") as screen:
            self.process = subprocess.Popen(
                [*argv, folder / "play.yml", "-e", json.dumps(given)], cwd=REPOSITORY, stdin=subprocess.DEVNULL,
                stdout=screen, stderr=screen, start_new_session=True,
                env=os.environ | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            )  # fmt: skip

    def answers(self) -> Any:
        """Return what the lock answered, as soon as it has."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):  # not written yet
                return json.loads(self.told.read_text(encoding="utf-8"))
            assert self.process.poll() is None, self._screen.read_text(encoding="utf-8")
            time.sleep(0.05)
        raise AssertionError(self._screen.read_text(encoding="utf-8"))

    def kill(self) -> None:
        """Kill the controller as the system does when memory is short: nothing is told to it."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)

    def finish(self) -> None:
        """Let it work to its end."""
        self.end.touch()
        assert self.process.wait(timeout=60) == 0, self._screen.read_text(encoding="utf-8")


class Runs:
    """Starts runs, and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        """Keep a folder for their files."""
        self.folder = folder
        self.state = folder / "state"
        self.made: list[Run] = []

    def start(self, run: str, play: str = WORK, **more: str) -> Run:
        """Start a run."""
        self.made.append(Run(self.folder / f"run{len(self.made)}", play, self.state, run, **more))
        return self.made[-1]

    def lock(self) -> dict[str, Any]:
        """Return what is on the disk."""
        value: dict[str, Any] = json.loads((self.state / "lock.json").read_text(encoding="utf-8"))
        return value


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """Give a folder of runs."""
    made = Runs(tmp_path)
    yield made
    for run in made.made:
        run.end.touch()  # ends workers whose controller was killed
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait(timeout=30)


def ask(runs: Runs, run: str = TWO, *, check: bool = False, **more: str) -> Any:
    return call_module("run_lock", {"state_directory": str(runs.state), "run_id": run, **more}, check=check)


def test_check_real_check_real(runs: Runs) -> None:
    """Check mode predicts and leaves the disk alone. Each call is a process of its own that has ended by the next."""
    predicted = ask(runs, ONE, check=True)
    assert (predicted.failed, predicted["changed"], runs.state.exists()) == (False, True, False)
    done = ask(runs, ONE, reason="it fails")
    assert (done["lock"], done["controller"]) == (runs.lock(), runs.lock()["controller"])
    held = runs.lock()
    assert {path.name: path.stat().st_mode & 0o777 for path in [runs.state, *runs.state.iterdir()]} == {
        "state": 0o700, "lock.json": 0o600, "lock.flock": 0o600,
    }  # fmt: skip
    for check in (True, False):
        refused = ask(runs, ONE, check=check)
        assert (refused.failed, refused["sign"], refused["holder"]) == (True, "gone", held)
        assert ask(runs, ONE, state="released", check=check)["changed"] is False
    assert runs.lock() == held
    assert ask(runs, TWO, take_over=ONE, check=True)["taken_over"] == held
    assert runs.lock() == held
    assert ask(runs, TWO, take_over=ONE)["taken_over"] == held
    assert runs.lock()["run_id"] == TWO


def test_a_run_at_work_keeps_the_lock_and_releases_it(runs: Runs) -> None:
    first = runs.start(ONE, awx_user_name="alice", awx_job_id="42")
    answers = first.answers()
    held = runs.lock()
    assert (answers["taken"]["changed"], answers["again"]["changed"]) == (True, False)
    assert answers["again"]["lock"] == held
    controller = held["controller"]
    assert (controller["pid"], controller["user"], controller["job"]) == (first.process.pid, "alice", "42")
    assert controller["host"] == socket.gethostname()
    second = ask(runs, check=False)
    assert (second.failed, second["sign"], second["holder"]) == (True, "alive", held)
    for words in (ONE, "alice@", "in job 42", "rollback", "it fails", "shop"):
        assert words in second["msg"]
    assert "cancel job 42" in second["next_step"]
    for run, take_over in ((TWO, ONE), (ONE, ONE), (TWO, THREE)):
        assert ask(runs, run, take_over=take_over).failed
    assert ask(runs, ONE, state="released")["changed"] is False
    assert runs.lock() == held
    first.finish()
    assert not (runs.state / "lock.json").exists()


def test_the_lock_of_a_killed_run_is_taken_over_by_name(runs: Runs) -> None:
    first = runs.start(ONE)
    first.answers()
    event = {"event": "step_started", "step": "stop_services"}
    call_module("run_journal", {"state_directory": str(runs.state), "run_id": ONE, "events": [event]})
    first.kill()
    held = runs.lock()
    refused = ask(runs)
    assert (refused.failed, refused["sign"], refused["step"]) == (True, "gone", "stop_services")
    assert f"process {first.process.pid} " in refused["evidence"]
    assert f"usdx.rollback.resume -e run_id={ONE}" in refused["next_step"]
    assert ask(runs, take_over=THREE).failed
    second = runs.start(TWO, take_over=ONE)
    answers = second.answers()
    assert (answers["taken"]["taken_over"], answers["again"]["changed"]) == (held, False)
    assert runs.lock()["run_id"] == TWO
    second.finish()
    assert not (runs.state / "lock.json").exists()


def test_a_run_that_finished_and_was_killed_before_the_release_is_no_obstacle(runs: Runs) -> None:
    first = runs.start(ONE)
    first.answers()
    options = {"state_directory": str(runs.state), "run_id": ONE, "events": [{"event": "run_finished"}]}
    call_module("run_journal", options)
    first.kill()
    held = runs.lock()
    assert ask(runs)["taken_over"] == held


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process namespace")
def test_a_managed_host_that_cannot_see_the_process_leaves_it_to_the_controller(runs: Runs, tmp_path: Path) -> None:
    """The module runs in a process namespace of its own, as on another machine."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    first = runs.start(ONE)
    first.answers()
    held = runs.lock()
    second = runs.start(TWO, take_over=ONE, ansible_python_interpreter=str(python))
    refused = second.answers()["taken"]
    assert (refused["failed"], refused["sign"], refused["holder"]) == (True, "alive", held)
    second.kill()
    first.kill()
    third = runs.start(TWO, ansible_python_interpreter=str(python))
    refused = third.answers()["taken"]
    assert (refused["failed"], refused["sign"]) == (True, "gone")
    fourth = runs.start(TWO, take_over=ONE, ansible_python_interpreter=str(python))
    assert fourth.answers()["taken"]["taken_over"] == held
    assert runs.lock()["controller"]["pid"] == fourth.process.pid
    fourth.finish()


def test_of_two_runs_that_ask_at_once_one_wins(runs: Runs) -> None:
    runs.state.mkdir()
    pair = {run: runs.start(run, RACE, foe=foe, rounds=str(ROUNDS)) for run, foe in ((ONE, TWO), (TWO, ONE))}
    answers = {run: made.answers() for run, made in pair.items()}
    for number in range(ROUNDS):
        winners = [run for run, told in answers.items() if not told[number].get("failed")]
        losers = [told[number] for told in answers.values() if told[number].get("failed")]
        held = json.loads((runs.state / str(number) / "lock.json").read_text(encoding="utf-8"))
        assert winners == [held["run_id"]]
        assert [(loser["sign"], loser["holder"]) for loser in losers] == [("alive", held)]
    for made in pair.values():
        made.finish()


def test_a_damaged_lock_is_taken_over_as_unknown(runs: Runs) -> None:
    ask(runs, ONE)
    content = (runs.state / "lock.json").read_bytes()
    (runs.state / "lock.json").write_bytes(content[: len(content) // 2])
    for take_over in ("", ONE):
        refused = ask(runs, take_over=take_over)
        assert (refused.failed, refused["sign"], refused["holder"]["run_id"]) == (True, "unknown", "unknown")
        assert "-e take_over=unknown" in refused["next_step"]
    assert ask(runs, take_over="unknown")["changed"] is True
    assert runs.lock()["run_id"] == TWO


@pytest.mark.parametrize("name", ["lock.json", "lock.flock"])
def test_a_link_is_refused(runs: Runs, tmp_path: Path, name: str) -> None:
    runs.state.mkdir()
    (tmp_path / "precious").write_text("precious", encoding="utf-8")
    (runs.state / name).symlink_to(tmp_path / "precious")
    for check in (True, False):
        refused = ask(runs, check=check)
        assert refused.failed
        assert "not a link" in refused["next_step"]
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_file_system_that_is_read_only_is_refused(runs: Runs) -> None:
    runs.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", runs.state], check=True)
    try:
        for check in (True, False):
            refused = ask(runs, check=check)
            assert refused.failed
            assert "cannot be written" in refused["msg"]
        assert ask(runs, state="released")["changed"] is False
        assert list(runs.state.iterdir()) == []
    finally:
        subprocess.run(["umount", runs.state], check=True)
