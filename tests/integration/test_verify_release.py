# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role alone, on two hosts: what its defaults find, and manual checks with and without somebody at a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness import REPOSITORY, at_terminal, command, flat

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAYBOOK = """\
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.set_fact:
        run_inputs: "{{ typed }}"
    - block:
        - ansible.builtin.include_role:
            name: usdx.rollback.verify_release
      always:
        - ansible.builtin.copy:
            content: "{{ verify_release_result | default({}) | to_json }}"
            dest: "{{ out }}/{{ inventory_hostname }}.json"
            mode: "0600"
          check_mode: false
"""
NOBODY = ("AWX_ISOLATED_DATA_DIR", "AWX_HOST", "CI")


class Verification:
    """A checkout of v1.0.2, a server of which every so manyth answer is an error, and a playbook with the role."""

    def __init__(self, directory: Path) -> None:
        """Make them."""
        self.directory, self.every, self.count = directory, 0, 0
        self.version, self.seconds = "1.0.2", 0.0
        project = directory / "project"
        git = ("git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@example.com")
        command("git", "init", "-q", str(project))
        command(*git, "commit", "-q", "--allow-empty", "-m", "one")
        command(*git, "tag", "v1.0.2")
        (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
        me = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                me.count += 1
                time.sleep(me.seconds)
                body = json.dumps({"version": me.version}).encode()
                self.send_response(503 if me.every and me.count % me.every == 0 else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def argv(self, typed: dict[str, Any], more: dict[str, Any]) -> list[str]:
        """Return the command."""
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "typed": typed,
            "out": str(self.directory), "rollback_project_directory": str(self.directory / "project"),
            "rollback_application_services": [], "verify_release_version": "v1.0.2",
            "verify_release_package_json": "", "rollback_verify_timeout": 0,
            "rollback_endpoints": [{"url": f"http://127.0.0.1:{self.http.server_port}/", "version_query": "version"}],
        }  # fmt: skip
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", "one,two", str(self.directory / "play.yml"), "-e", json.dumps(variables | more)]

    def environment(self) -> dict[str, str]:
        """Return an environment in which somebody sits at the terminal."""
        kept = {key: value for key, value in os.environ.items() if key not in NOBODY}
        return kept | {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "TERM": "dumb"}

    def run(self, typed: dict[str, Any], *words: str, **more: Any) -> tuple[int, str]:
        """Verify without a terminal."""
        done = subprocess.run(
            [*self.argv(typed, more), *words], check=False, capture_output=True, text=True, cwd=REPOSITORY,
            env=self.environment(), stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        return done.returncode, flat(done.stdout + done.stderr)

    def evidence(self, host: str = "one") -> dict[str, Any]:
        """Return what the role has published on a host."""
        told: dict[str, Any] = json.loads((self.directory / f"{host}.json").read_text(encoding="utf-8"))
        return told


@pytest.fixture
def verification(tmp_path: Path) -> Iterator[Verification]:
    """Give what is verified."""
    made = Verification(tmp_path)
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_without_settings_a_failing_request_of_15_is_found(verification: Verification) -> None:
    """A single question each would mostly pass."""
    verification.every = 15
    code, screen = verification.run({}, rollback_verify_timeout=5)
    assert code != 0, screen
    assert "x status 503" in screen
    assert {check["kind"]: check["verdict"] for check in verification.evidence()["checks"]}["requests"] == "failed"


def test_another_version_that_answers_is_found_and_named(verification: Verification) -> None:
    verification.version = "1.0.3"
    code, screen = verification.run({})
    assert code != 0, screen
    assert "1.0.3" in screen
    endpoint = verification.evidence()["checks"][0]
    assert (endpoint["verdict"], "1.0.3" in endpoint["seen"], "1.0.2" in endpoint["limit"]) == ("failed", True, True)


def test_a_release_that_is_healthy_and_slow_is_found_and_named(verification: Verification) -> None:
    """Each answer is right; users wait for it."""
    verification.seconds = 0.7
    code, screen = verification.run({}, rollback_verify_timeout=3, rollback_verify_requests=15)
    assert code != 0, screen
    requests = next(check for check in verification.evidence()["checks"] if check["kind"] == "requests")
    assert (requests["verdict"], "500 ms" in requests["limit"]) == ("failed", True)
    assert "p95" in screen


def test_where_nobody_can_be_asked_it_ends_and_the_checks_are_open(verification: Verification) -> None:
    """Never a hang, never a yes; smoke tests are checks, and what was said to be done has a name."""
    typed = {"manual_checks": "ask", "manual_checks_done": "2", "manual_checks_by": "Ann"}
    commands = [{"argv": ["true"]}, {"argv": ["false"], "on_failure": "warn"}]
    checks = ["Open the page", "Connect wallet"]
    code, screen = verification.run(typed, rollback_manual_checks=checks, rollback_verify_commands=commands)
    assert code == 0, screen
    for host in ("one", "two"):
        told = verification.evidence(host)
        first, second = told["checklist"]
        assert (first["state"], "no terminal" in first["note"]) == ("open", True)
        assert (second["state"], second["by"]) == ("done", "Ann")
        kinds = [(check["kind"], check["verdict"]) for check in told["checks"]]
        assert kinds == [
            ("endpoint", "passed"), ("tag", "passed"), ("requests", "passed"), ("command", "passed"),
            ("command", "failed"),
        ]  # fmt: skip
        assert all({"name", "verdict", "seen", "limit", "seconds"} <= set(check) for check in told["checks"])


@pytest.mark.parametrize(("answer", "good"), [("y", True), ("n no wallet there", False)])
def test_a_person_at_the_terminal_is_asked_once_for_all_hosts(
    verification: Verification,
    answer: str,
    good: bool,  # noqa: FBT001
) -> None:
    """What is not good ends the step, and is named."""
    argv = verification.argv(
        {"manual_checks": "ask", "manual_checks_by": "Ann"}, {"rollback_manual_checks": ["Wallet"]}
    )
    code, screen = at_terminal(argv, verification.environment(), "Manual check 1 of 1: Wallet", answer)
    assert (code == 0) is good, screen
    assert good or "v1.0.2 is not good: Wallet, no wallet there" in screen
    assert {verification.evidence(host)["checklist"][0]["state"] for host in ("one", "two")} == {
        "done" if good else "failed"
    }


def test_a_wrong_claim_is_refused_before_anything_is_asked(verification: Verification) -> None:
    """Also in the plan."""
    code, screen = verification.run({"manual_checks_done": "3"}, "--check", rollback_manual_checks=["Wallet"])
    assert (code != 0, "'3', which is not on the list" in screen) == (True, True)
    code, screen = verification.run({"manual_checks": "maybe"})
    assert (code != 0, "verify_release_manual" in screen) == (True, True)
    assert verification.count == 0
