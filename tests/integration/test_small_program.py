# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same play with small programs and with modules: the same results, and what is done is done once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from git_projects import make_project
from harness import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_servers import Server

# What tasks have registered; the names follow.
KEEP = """
    - ansible.builtin.copy:
        content: "{{ dict(names | zip(query('ansible.builtin.vars', *names))) | to_json }}"
        dest: "{{ place }}/results.json"
        mode: "0600"
      check_mode: false
      vars:
        names: """
NAMES = (
    "[journal, refused, lock, info, released, command, checkout, unknown, variables, no_file, verified, nobody,"
    " releases, diagnosed]"
)
DATABASE_NAMES = "[database, missing, backups, no_backups]"
PLAY = """
- hosts: localhost
  gather_facts: false
  environment: {WORDS: "größe {x} '$HOME'"}
  module_defaults:
    usdx.rollback.run_journal: {state_directory: "{{ place }}/state", run_id: 20261124T150405Z-3f9a}
    usdx.rollback.run_lock: {state_directory: "{{ place }}/state", run_id: 20261124T150405Z-3f9a}
    usdx.rollback.release_checkout: {path: "{{ place }}/project"}
  tasks:
    - usdx.rollback.run_journal: {events: [{event: run_started, facts: {a: 1.5}}]}
      register: journal
    - usdx.rollback.run_journal: {run_id: ../x, events: [{event: run_started}]}
      ignore_errors: true
      register: refused
    - usdx.rollback.run_lock:
      register: lock
    - usdx.rollback.run_info: {state_directory: "{{ place }}/state"}
      register: info
    - usdx.rollback.run_lock: {state: released}
      register: released
    - usdx.rollback.project_command:
        commands: [{argv: [sh, -c, 'echo "$WORDS $MORE" | tee -a ran']}, {argv: [/no/command]}]
        chdir: "{{ place }}"
        environment: {MORE: s3cret-word}
      register: command
    - usdx.rollback.release_checkout: {version: v1.0.2, run_id: r1}
      register: checkout
    - usdx.rollback.release_checkout: {version: v9}
      ignore_errors: true
      register: unknown
    - ansible.builtin.copy: {content: "A=1\nB=2\n", dest: "{{ place }}/.env", mode: "0600"}
      check_mode: false
    - usdx.rollback.environment_file: {path: "{{ place }}/.env", variables: {A: 2, B: null}}
      register: variables
    - usdx.rollback.environment_file: {path: "{{ place }}/none", variables: {A: 2}}
      ignore_errors: true
      register: no_file
    - usdx.rollback.version_verify: {version: v1.0.2, path: "{{ place }}/project", timeout: 1}
      ignore_errors: true
      register: verified
    - usdx.rollback.version_verify:
        version: v1.0.2
        timeout: 1
        endpoints: [{url: "http://127.0.0.1:9/s3cret-word", headers: {X: s3cret-word}}]
      ignore_errors: true
      register: nobody
    - usdx.rollback.release_info:
        path: "{{ place }}/project"
        project: usdx-it-none
        services: [web]
        state_directory: "{{ place }}/state"
      register: releases
    - usdx.rollback.infrastructure_diagnosis:
        project: usdx-it-none
        dependencies: [{name: backend, kind: tcp, host: 127.0.0.1, port: 9}]
      register: diagnosed
"""
DATABASE_PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    usdx.rollback.pg_database_info: "{{ login | combine({'db': live}) }}"
  tasks:
    - usdx.rollback.pg_database_info: {schema: true, backup: "{{ place }}/backups/shop.sql"}
      register: database
    - usdx.rollback.pg_database_info: {db: nothing_like_it}
      ignore_errors: true
      register: missing
    - usdx.rollback.pg_backup_info: {path: "{{ place }}/backups"}
      register: backups
    - usdx.rollback.pg_backup_info: {path: "{{ place }}/none"}
      ignore_errors: true
      register: no_backups
"""
# What differs from run to run, and what AnsibleModule adds to a result that has a path.
APART = {
    "time", "started", "elapsed", "since", "controller", "seconds", "age", "exception",
    "uid", "gid", "owner", "group", "mode", "state", "size", "bytes",
}  # fmt: skip


def comparable(value: Any, place: str) -> Any:
    """Return a result without what differs from run to run."""
    if isinstance(value, dict):
        return {key: comparable(one, place) for key, one in value.items() if key not in APART}
    if isinstance(value, list):
        return [comparable(one, place) for one in value]
    return value.replace(place, "PLACE") if isinstance(value, str) else value


def results(place: Path, play: str, *, pipelining: bool, check: bool, **given: Any) -> dict[str, Any]:
    """Return what the play registers, and what was printed under the name ``screen``."""
    (place / "play.yml").write_text(play)
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(place / "play.yml")]
    more = {"ansible_python_interpreter": sys.executable, "place": str(place), **given}
    argv += ["-v", "-e", json.dumps(more)]
    environment = {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_PIPELINING": str(pipelining)}
    done = subprocess.run(
        argv + ["--check"] * check, check=False, capture_output=True, text=True, cwd=REPOSITORY,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads((place / "results.json").read_text())
    return {**told, "screen": done.stdout + done.stderr}


@pytest.mark.parametrize("check", [False, True])
def test_programs_return_what_modules_return(tmp_path: Path, *, check: bool) -> None:
    told = {}
    for way in (True, False):
        (tmp_path / str(way)).mkdir()
        make_project(tmp_path / str(way))
        told[way] = results(tmp_path / str(way), PLAY + KEEP + NAMES, pipelining=way, check=check)
        # What the command printed, and nowhere else.
        assert ("s3cret" in told[way].pop("screen")) is not check
    if not check:  # else there is no file to tell of
        assert [("uid" in told[way]["journal"]) for way in (True, False)] == [False, True]
        assert {(tmp_path / str(way) / "ran").read_text() for way in told} == {"größe {x} '$HOME' s3cret-word\n"}
    for registered in told.values():  # how busy this machine is differs
        registered["diagnosed"] = {key: registered["diagnosed"][key] for key in ("failed", "verdict", "cause")}
    by_program, by_module = (comparable(told[way], str(tmp_path / str(way))) for way in (True, False))
    assert by_program == by_module
    failed = ["refused", "unknown", "no_file", *["verified"] * check, "nobody"]  # in check mode nothing is checked out
    assert [name for name, one in by_program.items() if one["failed"]] == failed


def test_a_database_and_its_backups_are_told_of_as_by_modules(server15: Server, live15: str, tmp_path: Path) -> None:
    told = {}
    dump = server15.pg_dump(live15)
    for way in (True, False):
        place = tmp_path / str(way)
        (place / "backups").mkdir(parents=True)
        (place / "backups" / "shop.sql").write_bytes(dump)
        given = {"login": server15.login, "live": live15}
        told[way] = results(place, DATABASE_PLAY + KEEP + DATABASE_NAMES, pipelining=way, check=False, **given)
        assert server15.password not in told[way].pop("screen")
    by_program, by_module = (comparable(told[way], str(tmp_path / str(way))) for way in (True, False))
    assert by_program == by_module
    assert by_program["database"]["comparison"]["equal"]
    assert len(by_program["backups"]["backups"]) == 1
    assert [name for name, one in by_program.items() if one["failed"]] == ["missing", "no_backups"]
