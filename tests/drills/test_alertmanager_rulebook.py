# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a fault to a request for approval: real Prometheus, Alertmanager and ansible-rulebook, on a stack that is bad.

An alert leads to one request, and whatever else arrives, to nothing: neither stack nor journals change.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import monitoring
import pytest
from drills.killed_controller import Drill, healthy
from harness import REPOSITORY, command, free_port
from receivers import Receiver, Request, http_receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "t0ken-of-the-rulebook"  # noqa: S105 - of this test
DEMO = [sys.executable, str(REPOSITORY / "tests/demo/demo.py")]
VENV = REPOSITORY / ".cache/ansible-rulebook"
PACKAGE = "ansible-rulebook==1.3.2"
EVIL = "{{ lookup('ansible.builtin.pipe', 'touch %s') }}"
SECONDS = 90


@dataclass
class Chain:
    """All that stands between a fault and the people who are asked."""

    stand: Drill
    watch: monitoring.Monitoring
    team: Receiver
    port: int
    log: Path
    before: dict[str, Any]

    def post(self, body: bytes, token: str = TOKEN) -> int:
        """Send a body as Alertmanager does; return the status."""
        return post(self.port, body, token)

    def unchanged(self) -> None:
        """Look at the stack and the records from outside."""
        assert self.stand.look() == self.before
        assert not list(self.stand.state_directory.glob("**/*"))


def post(port: int, body: bytes, token: str = TOKEN) -> int:
    """Send a body as Alertmanager does; return the status, 0 when nobody listens."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/alerts", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - 127.0.0.1
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def alert(trigger: str, status: str = "firing", name: str = "ErrorRate") -> bytes:
    """Return what Alertmanager sends of a group with an alert of each kind."""
    labels = {"alertname": name, "rollback_trigger": trigger}
    alerts = [{"status": status, "labels": labels, "annotations": {}}, {"status": "firing", "labels": {}}]
    return json.dumps({"status": status, "commonLabels": {}, "alerts": alerts}).encode()


def environment_of(stack: Path) -> dict[str, str]:
    """Return the environment of ansible-rulebook: the token, the Ansible of these tests, the demo."""
    told = {**os.environ, "ROLLBACK_EVENTS_TOKEN": TOKEN, "USDX_DEMO_DIRECTORY": str(stack)}
    path = f"{Path(sys.executable).parent}:{told['PATH']}"
    return {**told, "PATH": path, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg")}


def wait_for(holds: Callable[[], object], what: str, log: Path) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {SECONDS} s\n{log.read_text('utf-8')[-6000:]}"
        time.sleep(0.05)


def program() -> Path:
    """Return ansible-rulebook in a venv of its own. A drill that cannot be carried out fails."""
    assert shutil.which("java"), "Java is missing. Install it: apt-get install openjdk-17-jre-headless"
    if not (VENV / "bin/ansible-rulebook").is_file():
        command(sys.executable, "-m", "venv", "--clear", str(VENV))
        command(str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", PACKAGE)
    return VENV / "bin/ansible-rulebook"


def routing(port: int) -> dict[str, Any]:
    """Return the configuration of Alertmanager, as in docs/events.md; grouped, so that common labels hold nothing."""
    receiver = {
        "url": f"http://127.0.0.1:{port}/alerts",
        "send_resolved": True,
        "http_config": {"authorization": {"type": "Bearer", "credentials": TOKEN}},
    }
    return {
        "route": {"receiver": "rollback", "group_wait": "0s", "group_interval": "1s", "group_by": []},
        "receivers": [{"name": "rollback", "webhook_configs": [receiver]}],
    }


def inventory(directory: Path, port: int) -> Path:
    """Return the inventory of the demo, with people who are asked."""
    shutil.copytree(REPOSITORY / "inventories/demo", directory)
    told = {
        "rollback_notifiers": [{"name": "team", "url": f"json://127.0.0.1:{port}/", "audiences": ["team"]}],
        "rollback_approvals": "required",
        "rollback_approvers": {"on_call": ["ann"], "team_lead": ["bob"]},
    }
    (directory / "host_vars").mkdir()
    (directory / "host_vars/demo.yml").write_text(json.dumps(told), encoding="utf-8")
    return directory


@pytest.fixture(name="chain", scope="module")
def _chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    place = tmp_path_factory.mktemp("events")
    rulebook, port, stack = program(), free_port(), place / "demo"
    rules = [
        {"alert": "Watchdog", "expr": "vector(1)"},
        {"alert": "ErrorRate", "expr": "alerting > 0", "labels": {"rollback_trigger": "error_rate"}},
    ]
    argv = [str(rulebook), "-r", "usdx.rollback.alertmanager", "--env-vars", "ROLLBACK_EVENTS_TOKEN"]
    (place / "vars.yml").write_text(json.dumps({"rollback_events_port": port}), encoding="utf-8")
    log = place / "rulebook.log"
    try:
        command(*DEMO, "up", "--project", "usdx-drill-events", "--directory", str(stack))
        stand = Drill(stack, "rollback")
        healthy(stand)
        with (
            http_receiver() as team,
            monitoring.running(rules=rules, routing=routing(port)) as watch,
            log.open("w") as out,
        ):
            argv += ["-i", str(inventory(place / "inventory", team.port)), "--vars", str(place / "vars.yml")]
            child = subprocess.Popen(
                argv, env=environment_of(stack), cwd=REPOSITORY, stdout=out, stderr=subprocess.STDOUT
            )
            try:
                chain = Chain(stand, watch, team, port, log, stand.look())

                wait_for(lambda: chain.post(b"{}", "wrong") == 401, "ansible-rulebook listens", log)
                yield chain
            finally:
                child.terminate()
                child.wait(timeout=30)
    finally:
        command(*DEMO, "down", "--directory", str(stack))


def test_a_fault_leads_to_a_request_and_a_storm_to_nothing_more(chain: Chain) -> None:
    chain.watch.numbers.gauges["alerting"] = 1
    began = time.monotonic()
    wait_for(lambda: chain.team.requests, "a request", chain.log)
    print(f"from the fault to the request: {time.monotonic() - began:.1f} s")
    body = chain.team.requests[0].body
    assert body["title"].endswith("rollback to v1.0.2? Approval is asked for")
    assert "Alert: ErrorRate" in body["message"]
    assert "on-call engineer (ann); team lead (bob)" in body["message"]

    for _again in range(20):
        assert chain.post(alert("error_rate")) == 200
    assert chain.post(alert("service_down", status="resolved")) == 200
    assert chain.post(alert("service_down"), token="wrong") == 401  # noqa: S106
    assert chain.post(b"no JSON") == 400
    for strange in (b"{}", b"[1]", b'{"alerts": 5}', b'{"alerts": ["x", null]}'):
        assert chain.post(strange) in (200, 500)
    assert chain.post(alert("nonsense {{ 7*7 }}")) == 200
    # Events are worked off in their order: when the last one is answered, all are.
    wait_for(lambda: "which is no trigger of the" in chain.log.read_text("utf-8"), "the last event", chain.log)
    assert "nonsense%20%7B%7B" in chain.log.read_text("utf-8")
    assert len(chain.team.requests) == 1
    chain.unchanged()


def test_what_an_alert_says_is_never_carried_out(chain: Chain) -> None:
    target = chain.log.parent / "touched"
    seen = len(chain.team.requests)
    chain.post(alert("performance", name=EVIL % target))
    wait_for(lambda: len(chain.team.requests) > seen, "a request", chain.log)
    assert f"Alert: lookup('ansible.builtin.pipe', 'touch {target}')" in chain.team.requests[-1].body["message"]
    assert not target.exists()
    chain.unchanged()


def test_a_run_at_work_is_said_and_the_request_still_goes_out(chain: Chain) -> None:
    over = chain.log.parent / "over"
    lock = {
        "state_directory": str(chain.stand.state_directory),
        "run_id": "20261124T160728Z-960a",
        "project": "usdx-drill-events",
    }
    tasks: list[dict[str, Any]] = [
        {"usdx.rollback.run_lock": lock},
        {"ansible.builtin.wait_for": {"path": str(over)}},
        {"usdx.rollback.run_lock": {**lock, "state": "released"}},
    ]
    playbook = chain.log.parent / "run.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    seen = len(chain.team.requests)
    program = Path(sys.executable).with_name("ansible-playbook")
    with subprocess.Popen([program, playbook], cwd=REPOSITORY, stdout=subprocess.DEVNULL) as run:
        try:
            wait_for(lambda: list(chain.stand.state_directory.glob("**/*lock*")), "the lock", chain.log)
            chain.post(alert("critical_feature"))
            wait_for(lambda: len(chain.team.requests) > seen, "a request", chain.log)
        finally:
            over.touch()
    assert run.returncode == 0
    body = chain.team.requests[-1].body
    assert body["title"].endswith("critical_feature, no plan could be made")
    assert "20261124T160728Z-960a holds the lock" in body["message"]


def test_the_command_of_the_request_carries_out_the_plan_that_was_asked_for(chain: Chain) -> None:
    (line,) = [one for one in chain.team.requests[0].body["message"].splitlines() if "approved_plan=" in one]
    assert "-e approved_by=NAME,NAME" in line
    words = shlex.split(line.replace("NAME,NAME", "ann,bob").replace("INVENTORY", str(chain.log.parent / "inventory")))
    assert words.pop(0) == "ansible-playbook"
    done = chain.stand.play([*words, "-e", "rollback_monitor_seconds=0", "--check"])
    total = line.rpartition("approved_plan=")[2]
    assert done.code == 0, done.screen
    assert f"The plan is {total}" in " ".join(done.screen.split())
    assert "the plan changed" not in done.screen


def test_with_awx_the_template_of_the_proposal_is_launched_with_what_its_survey_asks(tmp_path: Path) -> None:
    """The four calls that ansible-rulebook makes, answered as the API of AWX documents them; no live AWX."""
    template = {
        "id": 7,
        "type": "job_template",
        "name": "usdx propose",
        "summary_fields": {"organization": {"name": "Default"}},
        "related": {"launch": "/api/v2/job_templates/7/launch/"},
        **{f"ask_{what}_on_launch": False for what in ("limit", "labels", "inventory", "variables")},
    }

    job = {
        "id": 9,
        "url": "/api/v2/jobs/9/",
        "status": "successful",
        "created": "2026-11-24T12:00:00Z",
        "artifacts": {},
    }

    def answer(request: Request) -> tuple[int, Any]:
        path = request.path.partition("?")[0]
        if path.endswith("/config/"):
            return 200, {"version": "24.6.1"}
        if path.endswith("/unified_job_templates/"):
            return 200, {"count": 1, "next": None, "results": [template]}
        if path.endswith("/launch/"):
            return 201, {**job, "status": "pending"}
        if path.endswith("/jobs/"):
            return 200, {"count": 1, "next": None, "results": [job]}
        return 200, {}

    port, log = free_port(), tmp_path / "rulebook.log"
    (tmp_path / "vars.yml").write_text(json.dumps({"rollback_events_port": port}), encoding="utf-8")
    with http_receiver(answer) as awx, log.open("w") as out:
        argv = [str(program()), "-r", "usdx.rollback.alertmanager_awx", "--env-vars", "ROLLBACK_EVENTS_TOKEN"]
        argv += ["--vars", str(tmp_path / "vars.yml"), "--controller-url", f"http://127.0.0.1:{awx.port}/api/"]
        argv += ["--controller-token", "t0ken-of-awx"]
        child = subprocess.Popen(argv, env=environment_of(tmp_path), cwd=REPOSITORY, stdout=out, stderr=out)
        try:
            wait_for(lambda: post(port, b"{}", "wrong") == 401, "ansible-rulebook listens", log)
            for _again in range(5):
                assert post(port, alert("error_rate", name="{{ evil }}")) == 200
            wait_for(lambda: any("/jobs/?" in one.path for one in awx.requests), "the job", log)
            post(port, alert("nonsense"))
            wait_for(lambda: "which is no trigger of the" in log.read_text("utf-8"), "the last event", log)
        finally:
            child.terminate()
            child.wait(timeout=30)
    (launched,) = [one for one in awx.requests if one.method == "POST"]
    assert launched.path == "/api/v2/job_templates/7/launch/"
    assert launched.headers["Authorization"] == "Bearer t0ken-of-awx"
    told = {"trigger": "error_rate", "alert": "%7B%7B%20evil%20%7D%7D", "alert_summary": "", "target": ""}
    assert launched.body["extra_vars"] == told
