# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run refuses before it looks at the project: tags, which would leave out most of it, and a silent host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = """\
rollback_app:
  hosts:
    here:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
      rollback_project_directory: %s
      rollback_state_directory: %s/state
      rollback_application_services: [web]
      rollback_keep_services: [db]
"""
SILENT = """\
    there:
      ansible_connection: ssh
      ansible_host: 127.0.0.1
      ansible_port: 1
      rollback_project_directory: /nowhere
      rollback_application_services: [web]
      rollback_keep_services: [db]
"""
NO_RIGHT = """\
    there:
      ansible_connection: local
      ansible_become: true
      ansible_become_exe: /no/such/sudo
      ansible_become_user: nobody
      rollback_project_directory: /nowhere
      rollback_application_services: [web]
      rollback_keep_services: [db]
"""


def play(directory: Path, *argv: str, more: str = "", playbook: str = "rollback.yml") -> tuple[int, str]:
    inventory = directory / "hosts.yml"
    inventory.write_text(INVENTORY % (directory, directory) + more, encoding="utf-8")
    program = Path(sys.executable).with_name("ansible-playbook")
    words = [program, "-i", inventory, ROOT / playbook, "-e", "version=v1.0.2", *argv]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("argv", [("--tags", "stop"), ("--skip-tags", "all"), ("--tags", "stop", "--limit", "here")])
def test_a_run_of_parts_is_refused(tmp_path: Path, argv: tuple[str, ...]) -> None:
    code, screen = play(tmp_path, *argv)
    assert code == 2
    assert "cannot be carried out in parts. Nothing was changed." in screen


def test_a_tag_to_skip_that_nothing_has_does_no_harm(tmp_path: Path) -> None:
    code, screen = play(tmp_path, "--skip-tags", "notest")
    assert code == 2
    assert "is not a git checkout" in screen
    assert "cannot be carried out in parts" not in screen


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (SILENT, "The host there does not answer"),
        (
            NO_RIGHT,
            r"there cannot be worked on: [^\[]*/no/such/sudo: not found\. Nothing was changed on any host",
        ),
    ],
)
def test_a_host_that_cannot_be_worked_on_is_named_and_ends_the_run_for_all(
    tmp_path: Path, more: str, words: str
) -> None:
    code, screen = play(tmp_path, more=more)
    assert code == 2
    assert re.search(words, screen)
    assert "Nothing was changed on any host" in screen
    assert "is not a git checkout" not in screen


JOURNAL = """\
{"time": "2026-11-24T15:04:05.000+00:00", "elapsed": 0, "event": "run_started", "step": null, \
"facts": {"scenario": "rollback", "version": "v1.0.2", "steps": ["stop_services"], "plan": {"steps": []}}}
{"time": "2026-11-24T15:04:06.000+00:00", "elapsed": 1, "event": "step_started", "step": "stop_services", "facts": {}}
"""
OTHER = """\
    there:
      ansible_connection: local
      ansible_python_interpreter: "{{ ansible_playbook_python }}"
      rollback_project_directory: %s
      rollback_state_directory: %s/other
      rollback_application_services: [web]
      rollback_keep_services: [db]
"""


@pytest.mark.parametrize("playbook", ["undo.yml", "resume.yml"])
def test_a_host_whose_journal_cannot_be_read_is_not_taken_for_one_that_did_nothing(
    tmp_path: Path, playbook: str
) -> None:
    run = "runs/20261124T150405Z-3f9a"
    for state in ("state", "other"):
        (tmp_path / state / run).mkdir(parents=True)
    (tmp_path / "state" / run / "journal.jsonl").write_text(JOURNAL, encoding="utf-8")
    (tmp_path / "other" / run / "journal.jsonl").symlink_to(tmp_path / "elsewhere")
    more = OTHER % (tmp_path, tmp_path)
    code, screen = play(tmp_path, "-e", "run=20261124T150405Z-3f9a", more=more, playbook=playbook)
    assert code == 2
    assert "Refused before anything changed. What the run did on there is not known. The journal" in screen
    assert "is not a git checkout" not in screen


def test_an_incident_behind_more_runs_than_are_listed_forbids_a_rollback(tmp_path: Path) -> None:
    told = JOURNAL.splitlines(keepends=True)[0]
    ended = '{"time": "2026-11-24T15:05:05.000+00:00", "event": "run_finished", "facts": {"outcome": "succeeded"}}\n'
    contain = told.replace('"scenario": "rollback"', '"scenario": "security_incident", "inputs": {"stage": "contain"}')
    for minute in range(26):
        path = tmp_path / f"state/runs/20261124T15{minute:02d}05Z-0000/journal.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text((told if minute else contain) + ended, encoding="utf-8")
    code, screen = play(tmp_path)
    assert code == 2
    assert "Refused before anything changed. A security incident is open since 2026-11-24T15:04:05" in screen
    assert "usdx.rollback.security_incident -e stage=assess" in screen


def test_what_somebody_checked_out_since_the_recovery_does_not_go_live(tmp_path: Path) -> None:
    playbook = tmp_path / "review.yml"
    recovered = {"run_id": "20261124T150405Z-3f9a", "commit": "1" * 40}
    given = {
        "security_review_approved_by": "eve", "security_review_operators": ["ann"],
        "security_review_recovered": recovered,
    }  # fmt: skip
    for commit, code in (("1" * 40, 0), ("2" * 40, 2)):
        role = {"role": "usdx.rollback.security_review", **given, "security_review_commit": commit}
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "roles": [role]}]))
        words = [Path(sys.executable).with_name("ansible-playbook"), playbook]
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stdout
    screen = " ".join((done.stdout + done.stderr).split())
    assert f"is the commit {'2' * 40}, not {'1' * 40}, which the stage recover has left" in screen
    assert "The application stays stopped." in screen


@pytest.mark.parametrize("more", [{}, {"patch": {"name": "fix.patch"}}], ids=["release", "release with a patch"])
def test_a_release_that_is_different_commits_on_two_hosts_is_refused(tmp_path: Path, more: dict[str, object]) -> None:
    playbook = tmp_path / "compare.yml"
    release = {"name": "v1.0.2", **more}
    hosts = {name: {"run_release": {**release, "commit": letter * 40}} for name, letter in (("a", "1"), ("b", "2"))}
    task = {"ansible.builtin.include_tasks": str(ROOT / "roles/run/tasks/same_commit.yml")}
    leave = {"ansible.builtin.meta": "end_host", "when": "inventory_hostname == 'done'"}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [leave, task]}]), encoding="utf-8")
    hosts["done"] = {}  # a run that goes on leaves out a host on which nothing is to be done; it knows no release
    inventory = tmp_path / "hosts.json"
    for commit, code in (("1", 0), ("2", 2)):
        hosts["b"]["run_release"]["commit"] = commit * 40
        inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
        words = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook]
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stdout
    assert f"a: {'1' * 40}, b: {'2' * 40}" in " ".join((done.stdout + done.stderr).split())


def test_a_decision_covers_all_hosts_also_when_something_was_rescued_on_one(tmp_path: Path) -> None:
    """Ansible leaves hosts out of ansible_play_hosts then, and their plans would be approved by nobody."""
    hosts = {name: {"__run_already_there": name == "a", "__run_plan": {"host": name}} for name in ("a", "b", "c")}
    hosts["done"] = {}
    inventory, playbook = tmp_path / "hosts.json", tmp_path / "weigh.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    fails = {"ansible.builtin.fail": {}, "when": "inventory_hostname == 'a'"}
    play = {
        "hosts": "all", "gather_facts": False, "any_errors_fatal": True,
        "vars_files": [str(ROOT / "roles/run/vars/main.yml")],
        "tasks": [
            {"ansible.builtin.meta": "end_host", "when": "inventory_hostname == 'done'"},
            {"block": [fails], "rescue": [{"ansible.builtin.debug": {}}]},
            {"ansible.builtin.assert": {"that": "_run_approval_plans | map(attribute='host') | list == ['b', 'c']"}},
        ],
    }  # fmt: skip
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    words = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook]
    done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
