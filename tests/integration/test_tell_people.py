# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles announce and communicate with receivers on loopback: good ones, dead ones, and no secret on the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from harness import free_port
from receivers import hanging_receiver, http_receiver, mail_server
from status_services import TOKEN, Service

ROOT = Path(__file__).resolve().parents[2]
RUN = "20261124T160728Z-960a"
SECRETS = ("s3cr3t", TOKEN, "boss@shop.example")
PLAY = """\
- hosts: shop
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.include_role:
        name: usdx.rollback.announce
        apply: {check_mode: true}
      vars: {announce_planning: true}
    - ansible.builtin.copy:
        content: "{{ announce_result.messages | to_json }}"
        dest: "{{ told }}/plan.json"
    - ansible.builtin.include_role:
        name: usdx.rollback.announce
    - ansible.builtin.copy:
        content: "{{ announce_result.messages | to_json }}"
        dest: "{{ told }}/announce.json"
    - ansible.builtin.include_role:
        name: usdx.rollback.communicate
    - ansible.builtin.copy:
        content: "{{ communicate_result | to_json }}"
        dest: "{{ told }}/communicate.json"
"""
SEND_KEPT = """\
- hosts: shop
  gather_facts: false
  tasks:
    - ansible.builtin.include_role:
        name: usdx.rollback.announce
        tasks_from: send_kept
"""

STEP = """\
- hosts: shop
  gather_facts: false
  vars:
    run_scenario: rollback
    run_next_step: stop_services
    run_undone: {}
    __run_silenced: false
    __run_plan: {steps: [stop_services], skipped: {}, done: []}
  tasks:
    - ansible.builtin.set_fact: {__run_events: [], __run_pending: []}
    - ansible.builtin.include_role:
        name: usdx.rollback.run
        tasks_from: step_acts
"""


def play(directory: Path, variables: dict[str, Any], text: str = PLAY, hosts: int = 1) -> tuple[int, str]:
    """Run a playbook at -vvv on hosts that are this machine; return its code and all that it showed."""
    told = {"rollback_project_directory": str(directory), "run_id": RUN, "run_reason": "the API answers 500",
            "run_release": {"name": "1.0.2", "tag": "v1.0.2"}, "told": str(directory),
            "rollback_controller_directory": str(directory / "controller"), "rollback_project_name": "shop",
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}  # fmt: skip
    inventory = {"shop": {"hosts": {f"shop-{number}": {} for number in range(hosts)}, "vars": told}}
    (directory / "hosts.json").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(text)
    program = Path(sys.executable).with_name("ansible-playbook")
    argv = [program, "-vvv", "-i", directory / "hosts.json", directory / "play.yml"]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{directory}/docker.sock"}  # no role here may need it
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, cwd=ROOT, stdin=subprocess.DEVNULL, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def notifier(name: str, port: int, *audiences: str) -> dict[str, Any]:
    url = f"json://s3cr3t-user:s3cr3t-word@127.0.0.1:{port}/s3cr3t-path?+X-Token=s3cr3t-header"
    return {"name": name, "url": url, "audiences": list(audiences)}


def read(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())


def test_everybody_is_told_once_and_no_secret_is_shown(tmp_path: Path) -> None:
    service = Service("statuspage")
    with http_receiver() as team, http_receiver(service.answer) as server, mail_server() as (port, mails):
        mail = f"mailto://127.0.0.1:{port}/?from=rollback@shop.example&to=boss@shop.example&mode=insecure"
        variables = {
            "rollback_notifiers": [
                notifier("hook", team.port, "team"),
                {"name": "mail", "url": mail, "audiences": ["users", "stakeholders"]},
            ],
            "rollback_status_page": {
                "provider": "statuspage", "page": "page1", "token": TOKEN,
                "api_url": f"http://127.0.0.1:{server.port}",
            },
            "rollback_messages": {"users_done": {"body": "All is well with {{ announce_version }}."}},
        }  # fmt: skip
        code, screen = play(tmp_path, variables, hosts=2)
    assert code == 0, screen
    assert [secret for secret in SECRETS if secret in screen] == []
    assert {one["state"] for one in read(tmp_path, "plan.json")} == {"planned"}
    assert [one["notifier"] for one in read(tmp_path, "announce.json")] == ["hook", "status page"]
    assert [request.body["title"] for request in team.requests] == [
        f"Rolling shop back to v1.0.2 [{RUN}]",
        f"Rollback of shop to v1.0.2 completed [{RUN}]",
    ]
    assert team.requests[0].body["message"] == "Rolling back to v1.0.2 due to the API answers 500"
    texts = [str(mail.get_payload(decode=True) or mail.as_string()) for mail in mails]
    assert len(mails) == 2
    assert "All is well with v1.0.2." in texts[0]
    assert RUN in texts[1]
    assert [state for state, _message in service.incidents[0]["updates"]] == ["investigating", "resolved"]
    assert service.incidents[0]["updates"][1][1] == "Rollback completed. Services restored to v1.0.2"
    done = read(tmp_path, "communicate.json")
    assert {one["state"] for one in done["messages"]} == {"sent"}
    assert {one["name"]: one["state"] for one in done["checklist"]} == {
        "Status page updated": "done",
        "Users notified": "done",
        "Team notified": "done",
        "Stakeholders updated": "done",
        "Post-mortem scheduled": "open",
    }


@pytest.mark.long
def test_with_all_dead_both_steps_end_well_in_time_and_what_was_kept_is_sent_later(tmp_path: Path) -> None:
    """Measured against the same playbook without anybody to tell."""
    began = time.monotonic()
    assert play(tmp_path, {})[0] == 0
    quiet = time.monotonic() - began
    with ExitStack() as stack:
        slow = stack.enter_context(hanging_receiver())
        everybody = ("team", "users", "stakeholders")
        variables = {
            "rollback_notifiers": [
                notifier("slow", slow, *everybody),
                notifier("down", free_port(), *everybody),
                notifier("slow too", stack.enter_context(hanging_receiver()), *everybody),
            ],
            "rollback_status_page": {
                "provider": "statuspage", "page": "page1", "token": TOKEN, "api_url": f"http://127.0.0.1:{slow}",
            },
        }  # fmt: skip
        began = time.monotonic()
        code, screen = play(tmp_path, variables)
        seconds = time.monotonic() - began
    assert code == 0, screen
    assert [secret for secret in SECRETS if secret in screen] == []
    # Two deadlines of 4 s, three of the page of 1 s each; the rest is what a busy machine may take.
    assert seconds - quiet < 20 + quiet
    done = read(tmp_path, "communicate.json")
    assert sorted({one["state"] for one in done["messages"]}) == ["failed", "kept"]
    assert {one["state"] for one in done["checklist"]} == {"open"}
    outbox = tmp_path / "controller" / "outbox" / "shop"
    assert len(list(outbox.iterdir())) == 12, "three notifiers, one message and three"
    with http_receiver() as up:
        variables["rollback_notifiers"] = [notifier("down", up.port, "team"), notifier("slow", up.port, "team")]
        assert play(tmp_path, variables, SEND_KEPT)[0] == 0
    assert len(up.requests) == 8
    assert len(list(outbox.iterdir())) == 4


def test_an_undo_speaks_of_an_undo_and_closes_no_incident(tmp_path: Path) -> None:
    with http_receiver() as hook:
        variables = {
            "rollback_notifiers": [notifier("hook", hook.port, "team", "users")],
            "rollback_status_page": {"provider": "file", "path": str(tmp_path / "www")},
            "run_undone": {"run_id": "20261124T150405Z-3f9a"},
            "rollback_communicate_commands": [{"argv": ["false"], "on_failure": "stop"}],
        }
        code, screen = play(tmp_path, variables)
    assert code == 0, screen
    assert [request.body["title"] for request in hook.requests] == [
        f"Undoing the rollback of shop [{RUN}]",
        f"Undo of the rollback of shop completed [{RUN}]",
    ]
    (incident,) = read(tmp_path, "www/status.json")["incidents"]
    assert (incident["title"], incident["state"]) == ("Emergency rollback [20261124T150405Z-3f9a]", "monitoring")


def test_the_page_is_moved_when_the_start_of_the_step_is_on_record_and_not_twice_when_the_step_is_cut_off(
    tmp_path: Path,
) -> None:
    """No Docker answers: the step ends after the page was moved, and is begun again as by a run that goes on."""
    variables = {
        "rollback_status_page": {"provider": "file", "path": str(tmp_path / "www")},
        "rollback_application_services": ["web"], "rollback_keep_services": ["db"],
        "rollback_state_directory": str(tmp_path / "state"),
    }  # fmt: skip
    state = tmp_path / "state"
    state.write_text("no journal can be here")
    code, screen = play(tmp_path, variables, STEP)
    assert code != 0
    assert "The journal" in screen
    assert not (tmp_path / "www").exists(), "nobody is told of a step that is not on record"

    state.unlink()
    for times in (1, 2):
        code, screen = play(tmp_path, variables, STEP)
        assert code != 0, "there is no Docker here"
        told = (state / "runs" / RUN / "journal.jsonl").read_text().splitlines()
        assert [(json.loads(line)["event"], json.loads(line)["step"]) for line in told] == [
            ("step_started", "stop_services")
        ] * times
        (incident,) = read(tmp_path, "www/status.json")["incidents"]
        assert [update["state"] for update in incident["updates"]] == ["identified"]


def test_what_cannot_be_told_is_refused_in_the_plan(tmp_path: Path) -> None:
    bad = {"name": "hook", "url": "telepathy://s3cr3t-user@x"}
    code, screen = play(tmp_path, {"rollback_notifiers": [bad]})
    assert code != 0
    assert "of the schema 'telepathy'" in screen
    assert "s3cr3t" not in screen
    code, screen = play(tmp_path, {"rollback_messages": {"user_done": {"body": "x"}}})
    assert code != 0
    assert "rollback_messages has user_done" in screen
    assert not (tmp_path / "plan.json").exists()
