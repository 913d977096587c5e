# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role: plan, evidence and dump in one sealed directory, twice, without a dump, and with a database elsewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import BASE_IMAGE, REPOSITORY, command, flat
from postgres_servers import Server, fresh_database
from stacks import Stack, stack

RUN_ID = "20261124T160728Z-960a"
PLAYBOOK = """\
- hosts: app
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.include_role:
        name: usdx.rollback.preserve_evidence
        apply:
          check_mode: "{{ plan | default(ansible_check_mode) }}"
    - ansible.builtin.copy:
        content: "{{ preserve_evidence_result | usdx.rollback.evidence | to_json }}"
        dest: "{{ out }}"
        mode: "0600"
      check_mode: false
"""
COMPOSE = f"""
services:
  web:
    image: {BASE_IMAGE}
    command: ["sleep", "infinity"]
    environment: {{PASSWORD: s3cr3t-env}}
"""


class Incident:
    """A project, a database, a state directory, and a playbook with the role."""

    def __init__(self, made: Stack, server: Server, database: str, place: Path) -> None:
        """Write the playbook."""
        self.stack, self.server, self.database, self.place = made, server, database, place
        self.state = place / "state"
        (place / "play.yml").write_text(PLAYBOOK, encoding="utf-8")

    @property
    def directory(self) -> Path:
        """The directory of the evidence, by default."""
        return self.state / "evidence" / RUN_ID

    def play(self, *arguments: str, hosts: str = "app", **more: Any) -> tuple[int, str, dict[str, Any]]:
        """Play it; return exit code, screen, and what the role has published."""
        variables = {
            "ansible_connection": "local", "out": str(self.place / "out.json"), "run_id": RUN_ID,
            "run_operator": "ann", "rollback_project_directory": str(self.stack.directory),
            "rollback_project_name": self.stack.project, "rollback_state_directory": str(self.state),
            "rollback_database": self.database, "rollback_database_login": self.server.login,
            "rollback_evidence_items": ["processes", "database", "containers", "logs"],
        } | more  # fmt: skip
        inventory = self.place / "hosts.ini"
        inventory.write_text(f"[all:vars]\nansible_python_interpreter={sys.executable}\n[all]\n{hosts}\n")
        (self.place / "vars.json").write_text(json.dumps(variables))
        (self.place / "out.json").unlink(missing_ok=True)
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "-vvv", "--diff"]
        argv += ["-e", f"@{self.place}/vars.json", *arguments, str(self.place / "play.yml")]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, cwd=REPOSITORY)
        out = self.place / "out.json"
        return done.returncode, done.stdout + done.stderr, json.loads(out.read_text()) if out.exists() else {}


@pytest.fixture
def incident(server15: Server, tmp_path: Path) -> Iterator[Incident]:
    """Give a project that runs, and a database with a secret in it."""
    (tmp_path / "project").mkdir()
    with stack(tmp_path / "project") as made, fresh_database(server15) as database:
        made.write({"compose.yml": COMPOSE})
        made.up()
        server15.execute(database, "CREATE TABLE users AS SELECT 's3cr3t-row' AS word")
        yield Incident(made, server15, database, tmp_path)


def manifest(directory: Path) -> dict[str, dict[str, Any]]:
    told = json.loads((directory / "manifest.json").read_text())
    return {one["name"]: one for one in told["files"]}


def assert_told_nothing(incident: Incident, screen: str) -> None:
    for secret in ("s3cr3t-env", "s3cr3t-row", incident.server.password):
        assert secret not in screen


def test_plan_real_plan_real(incident: Incident) -> None:
    before = incident.stack.identity("web-1")
    code, screen, planned = incident.play(run_planning=True, plan=True)
    assert code == 0, screen
    assert (planned["state"], planned["would_change"], planned["dump"]["state"]) == ("planned", True, "planned")
    assert planned["needed_bytes"] > 0
    assert not incident.state.exists()
    code, screen, done = incident.play()
    assert code == 0, screen
    assert (done["state"], done["dump"]["state"], done["not_taken"]) == ("sealed", "made", [])
    assert_told_nothing(incident, screen)
    files = manifest(incident.directory)
    assert files["database/dump.sql.gz"]["sha256"] == done["dump"]["sha256"]
    assert files["database/dump.sql.gz"]["what"] == f"dump of the database {incident.database}"
    assert "database/roles.jsonl" in files
    content = command("zcat", str(incident.directory / "database/dump.sql.gz"))
    assert "s3cr3t-row" in content
    told = json.loads((incident.directory / "manifest.json").read_text())
    assert (told["operator"], told["run_id"]) == ("ann", RUN_ID)
    assert abs(told["attempts"][0]["clock_ahead_seconds"]) < 60
    code, screen, planned = incident.play(run_planning=True, plan=True)
    assert (code, planned["state"], planned["would_change"]) == (0, "sealed", False), screen
    code, screen, again = incident.play()
    assert (code, again["would_change"]) == (0, False), screen
    assert again["manifest_sha256"] == done["manifest_sha256"]
    assert again["dump"]["state"] == "sealed before"
    assert incident.stack.identity("web-1") == before


def test_check_mode_of_ansible_plans(incident: Incident) -> None:
    code, screen, planned = incident.play("--check")
    assert (code, planned["state"], planned["dump"]["state"]) == (0, "planned", "planned"), screen
    assert not incident.state.exists()


def test_a_database_that_is_down(incident: Incident) -> None:
    """It ends the step, and the plan already; where a dump is only wanted, all else is sealed and the gap is named."""
    down = {**incident.server.login, "login_port": 1}
    code, screen, _none = incident.play(rollback_database_login=down, run_planning=True, plan=True)
    assert code != 0
    assert "cannot be reached" in flat(screen)
    assert not incident.state.exists()
    code, screen, done = incident.play(rollback_database_login=down, rollback_evidence_dump="wanted")
    assert code == 0, screen
    assert (done["state"], done["dump"]["state"]) == ("sealed", "failed")
    assert "cannot be reached" in done["dump"]["why"]
    assert {one["verdict"] for one in done["not_taken"]} == {"missing"}
    assert "database/dump.sql.gz" not in manifest(incident.directory)
    assert_told_nothing(incident, screen)


def test_without_a_database_and_without_a_dump(incident: Incident) -> None:
    code, screen, done = incident.play(rollback_database="")
    assert (code, done["state"], done["dump"]["state"]) == (0, "sealed", "not asked"), screen
    (incident.directory.parent).rename(incident.state / "moved")
    code, screen, done = incident.play(rollback_evidence_dump="skip")
    assert (code, done["state"], done["dump"]["state"]) == (0, "sealed", "not asked"), screen
    assert "database/roles.jsonl" in manifest(incident.directory)


def test_cut_off_between_dump_and_seal_it_goes_on(incident: Incident) -> None:
    """The step failed behind the dump: the next call takes the dump that is there, and seals."""
    incident.play()
    for path in (incident.directory, *incident.directory.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    (incident.directory / "manifest.json").unlink()
    dump = command("sha256sum", str(incident.directory / "database/dump.sql.gz")).split()[0]
    code, screen, done = incident.play()
    assert (code, done["state"], done["dump"]["state"]) == (0, "sealed", "made before"), screen
    assert manifest(incident.directory)["database/dump.sql.gz"]["sha256"] == dump


def test_a_database_host_that_has_no_part_in_the_run(incident: Incident, tmp_path: Path) -> None:
    """It gets a directory of its own. Its host is this one, with another directory mounted in that place."""
    own, wrapper = tmp_path / "state-of-db", tmp_path / "python-of-db"
    for path in (own, incident.state):
        path.mkdir(mode=0o700)
    wrapper.write_text(
        f'#!/bin/sh\nexec unshare --mount sh -c \'mount --bind "{own}" "{incident.state}" && '
        f'exec "{sys.executable}" "$@"\' sh "$@"\n'
    )
    wrapper.chmod(0o755)
    hosts = f"app\n[rollback_db]\ndb ansible_python_interpreter={wrapper}"
    code, screen, done = incident.play(hosts=hosts)
    assert code == 0, screen
    assert (done["state"], done["dump"]["state"], done["dump"]["host"]) == ("sealed", "made", "db")
    here, there = manifest(incident.directory), manifest(own / "evidence" / RUN_ID)
    assert "database/dump.sql.gz" not in here
    assert "database/roles.jsonl" not in here
    assert there["database/dump.sql.gz"]["sha256"] == done["dump"]["sha256"]
    assert {"database/roles.jsonl", "host/processes.jsonl"} <= set(there)
    sums = command("sha256sum", str(own / "evidence" / RUN_ID / "manifest.json")).split()[0]
    assert done["database_host"] == {"host": "db", "directory": str(incident.directory), "manifest_sha256": sums}
    code, screen, again = incident.play(hosts=hosts)
    assert (code, again["database_host"]["manifest_sha256"]) == (0, sums), screen
