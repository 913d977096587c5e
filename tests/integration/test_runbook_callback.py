# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback on playbooks of its own: steps, failures, secrets, lost hosts, and -v."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = "20261124T161617Z-b8db"
PLAYBOOK = f"""\
- name: Try the screen
  hosts: all
  gather_facts: false
  tasks:
    - name: Bookkeeping that nobody reads
      ansible.builtin.set_fact:
        bookkeeping: done
    - name: Keep a secret
      ansible.builtin.command: /bin/echo hunter2 --not-a-command
      no_log: true
      failed_when: true
      ignore_errors: true
      changed_when: false
    - name: Tell the journal
      usdx.rollback.run_journal:
        state_directory: "{{{{ state }}}}/{{{{ inventory_hostname }}}}"
        run_id: {RUN}
        events:
          - event: run_started
            facts: {{plan: {{titles: {{stop_services: {{number: "2", title: Stop services}}}}}}}}
          - {{event: step_started, step: stop_services}}
          - {{event: step_finished, step: stop_services, facts: {{killed: []}}}}
    - name: Show the summary
      ansible.builtin.debug:
        msg: [first line, second line]
    - name: Break without harm
      ansible.builtin.fail:
        msg: "A log.\\n\\nTo mend it, type:\\n\\n  ansible-playbook evil.yml"
      ignore_errors: true
    - name: Write a file
      ansible.builtin.copy:
        content: "new words\\n"
        dest: "{{{{ state }}}}/{{{{ inventory_hostname }}}}.txt"
        mode: "0600"
    - name: Say what to type next
      ansible.builtin.fail:
        msg: "It broke.\\n\\nTo go on, type:\\n\\n  ansible-playbook usdx.rollback.resume -e run={RUN}"
      when: inventory_hostname == 'one'
"""


@pytest.fixture
def screen(tmp_path: Path) -> str:
    """Return what is shown of the playbook on two hosts; a third one cannot be reached."""
    return shown(tmp_path)


def shown(directory: Path, *more: str) -> str:
    """Return what is shown of the playbook."""
    (directory / "play.yml").write_text(PLAYBOOK, encoding="utf-8")
    hosts = "one ansible_connection=local\ntwo ansible_connection=local\n"
    hosts += "lost ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"
    (directory / "hosts").write_text(hosts, encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    done = subprocess.run(
        [program, "-i", str(directory / "hosts"), str(directory / "play.yml"), "-e", f"state={directory}",
         "-e", f"ansible_python_interpreter={sys.executable}", *more],
        check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "TERM": "dumb",
                          "ANSIBLE_STDOUT_CALLBACK": "usdx.rollback.runbook"},
    )  # fmt: skip
    assert done.returncode != 0
    return done.stdout


def test_a_run_reads_like_a_runbook(screen: str) -> None:
    lines = screen.splitlines()
    assert lines[0] == "== Try the screen"
    assert any(line.endswith("Step 2 Stop services") and line.startswith("T+00:0") for line in lines)
    assert sum("done in 0.0 s; none was killed" in line for line in lines) == 2
    assert lines.count("first line") == 2
    assert "Bookkeeping" not in screen
    assert "TASK [" not in screen
    assert "\x1b" not in screen
    assert all(len(line) <= 80 for line in lines if "ansible-playbook" not in line and "ssh" not in line)


def test_failures_and_lost_hosts_are_in_full_and_the_end_says_what_to_type(screen: str) -> None:
    assert "FAILED on one: Say what to type next\nIt broke." in screen
    assert "UNREACHABLE: lost, in " in screen
    end = screen.partition("== The end\n")[2].splitlines()
    assert end == [
        "lost: unreachable", "one: failed", "two: ended well", "To go on, type:",
        f"  ansible-playbook usdx.rollback.resume -e run={RUN}",
    ]  # fmt: skip


def test_a_secret_stays_hidden_also_with_v(tmp_path: Path) -> None:
    screen = shown(tmp_path, "-vv")
    assert "hunter2" not in screen
    assert "It is ignored." in screen
    assert "ok: [two] Bookkeeping that nobody reads" in screen


def test_differences_are_shown_when_they_are_asked_for(tmp_path: Path) -> None:
    assert "+new words" in shown(tmp_path, "--check", "--diff")
    assert "new words" not in shown(tmp_path)
