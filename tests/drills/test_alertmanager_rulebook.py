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
from receivers import Receiver, http_receiver

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
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/alerts", data=body, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - 127.0.0.1
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def alert(self, trigger: str, status: str = "firing", name: str = "ErrorRate") -> bytes:
        """Return what Alertmanager sends of a group with an alert of each kind."""
        labels = {"alertname": name, "rollback_trigger": trigger}
        alerts = [{"status": status, "labels": labels, "annotations": {}}, {"status": "firing", "labels": {}}]
        return json.dumps({"status": status, "commonLabels": {}, "alerts": alerts}).encode()

    def unchanged(self) -> None:
        """Look at the stack and the records from outside."""
        assert self.stand.look() == self.before
        assert not list(self.stand.state_directory.glob("**/*"))


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
    environment = {**os.environ, "ROLLBACK_EVENTS_TOKEN": TOKEN, "USDX_DEMO_DIRECTORY": str(stack)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["ANSIBLE_CONFIG"] = str(REPOSITORY / "ansible.cfg")
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
            child = subprocess.Popen(argv, env=environment, cwd=REPOSITORY, stdout=out, stderr=subprocess.STDOUT)
            try:
                chain = Chain(stand, watch, team, port, log, stand.look())

                def listens() -> bool:
                    try:
                        return chain.post(b"{}", "wrong") == 401
                    except OSError:
                        return False

                wait_for(listens, "ansible-rulebook listens", log)
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

    for _ in range(20):
        assert chain.post(chain.alert("error_rate")) == 200
    assert chain.post(chain.alert("service_down", status="resolved")) == 200
    assert chain.post(chain.alert("service_down"), token="wrong") == 401  # noqa: S106
    assert chain.post(b"no JSON") == 400
    for strange in (b"{}", b"[1]", b'{"alerts": 5}', b'{"alerts": ["x", null]}'):
        assert chain.post(strange) in (200, 500)
    assert chain.post(chain.alert("nonsense {{ 7*7 }}")) == 200
    # Events are worked off in their order: when the last one is answered, all are.
    wait_for(lambda: "which is no trigger of the" in chain.log.read_text("utf-8"), "the last event", chain.log)
    assert "nonsense%20%7B%7B" in chain.log.read_text("utf-8")
    assert len(chain.team.requests) == 1
    chain.unchanged()


def test_what_an_alert_says_is_never_carried_out(chain: Chain) -> None:
    target = chain.log.parent / "touched"
    seen = len(chain.team.requests)
    chain.post(chain.alert("performance", name=EVIL % target))
    wait_for(lambda: len(chain.team.requests) > seen, "a request", chain.log)
    assert f"Alert: lookup('ansible.builtin.pipe', 'touch {target}')" in chain.team.requests[-1].body["message"]
    assert not target.exists()
    chain.unchanged()


def test_a_run_at_work_is_said_and_the_request_still_goes_out(chain: Chain) -> None:
    lock = ["ansible", "localhost", "-m", "usdx.rollback.run_lock", "-a"]
    options = f"state_directory={chain.stand.state_directory} run_id=20261124T160728Z-960a project=usdx-drill-events"
    command(*lock, options)
    seen = len(chain.team.requests)
    chain.post(chain.alert("critical_feature"))
    wait_for(lambda: len(chain.team.requests) > seen, "a request", chain.log)
    body = chain.team.requests[-1].body
    assert body["title"].endswith("critical_feature, no plan could be made")
    assert "20261124T160728Z-960a holds the lock" in body["message"]
    command(*lock, f"{options} state=released")


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
