# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment as AWX uses it: an image built by ansible-builder, jobs started in it by ansible-runner.

The jobs are those of a workflow with approvals: a plan in check mode, then the run that is bound to it. They get what
AWX injects and all answers of the survey, most of them empty, and reach the demo through SSH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.lookup.awx_parts import LookupModule
from ansible_collections.usdx.rollback.plugins.module_utils import awx
from harness import REPOSITORY, command
from ssh_server import running_ssh_server

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "usdx-rollback-ee:drill"
BIN = Path(sys.executable).parent
DEFINITION = REPOSITORY / "docs" / "execution_environment" / "execution-environment.yml"
DEMO = REPOSITORY / "tests" / "demo" / "demo.py"
INJECTED = {
    "awx_job_id": 42, "awx_job_template_name": "usdx rollback", "awx_user_name": "ann", "awx_workflow_job_id": 7,
    "awx_workflow_job_name": "usdx rollback, approved by team lead",
}  # fmt: skip


@dataclass(frozen=True)
class Runner:
    """A folder of ansible-runner, and the place of the demo."""

    folder: Path
    demo: Path
    ssh: Path

    def job(self, name: str, playbook: str, *options: str, **answers: Any) -> tuple[int, str, dict[str, Any]]:
        """Run a playbook in the image as a job of AWX; return exit code, screen, and what it hands over."""
        parts = LookupModule().run([])[0]
        survey = {one["variable"]: one["default"] for one in awx.survey(playbook, parts)["spec"]}
        # How fast the demo answers on a busy machine is no subject of this drill.
        told = {**survey, **INJECTED, "rollback_approvals": "required", "rollback_verify_p95": 0, **answers}
        (self.folder / "env" / "cmdline").write_text(" ".join(options), encoding="utf-8")
        (self.folder / "env" / "extravars").write_text(json.dumps(told), encoding="utf-8")
        argv = [str(BIN / "ansible-runner"), "run", str(self.folder), "-p", f"{playbook}.yml", "--ident", name]
        argv += ["--process-isolation", "--process-isolation-executable", "docker", "--container-image", IMAGE]
        argv += ["--container-option=--network=host", *[f"--container-volume-mount={self.demo}:{self.demo}"]]
        argv += [f"--container-volume-mount={self.ssh}:{self.ssh}"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        events = [
            json.loads(path.read_text(encoding="utf-8"))
            for path in (self.folder / "artifacts" / name / "job_events").glob("*.json")
        ]
        handed = [one["event_data"].get("artifact_data", {}) for one in events if one["event"] == "playbook_on_stats"]
        return done.returncode, " ".join((done.stdout + done.stderr).split()), handed[0] if handed else {}


def build(folder: Path) -> None:
    """Build the image from the shipped definition; on a machine with certificates of its own, with those too."""
    command(
        str(BIN / "ansible-galaxy"), "collection", "build", "--force", "--output-path", str(folder), str(REPOSITORY)
    )
    (archive,) = folder.glob("usdx-rollback-*.tar.gz")
    archive.rename(folder / "usdx-rollback.tar.gz")
    definition = yaml.safe_load(DEFINITION.read_text(encoding="utf-8"))
    certificates = os.environ.get("PIP_CERT")
    if certificates:
        shutil.copy(certificates, folder / "ca.crt")
        definition["additional_build_files"].append({"src": "ca.crt", "dest": "configs"})
        definition["additional_build_steps"]["prepend_base"][:0] = [
            "COPY _build/configs/ca.crt /etc/ssl/certs/build-ca.crt",
            "ENV PIP_CERT=/etc/ssl/certs/build-ca.crt",
        ]
    (folder / "ee.yml").write_text(yaml.safe_dump(definition), encoding="utf-8")
    command(str(BIN / "ansible-builder"), "create", "-f", "ee.yml", "-c", "context", cwd=folder)
    began = time.monotonic()
    command("docker", "build", "--quiet", "--network", "host", "--tag", IMAGE, str(folder / "context"))
    size = int(command("docker", "image", "inspect", "--format", "{{.Size}}", IMAGE))
    print(f"the image was built in {time.monotonic() - began:.0f} s, {size / 1e9:.2f} GB")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Give the image, a demo that runs its bad release, and a folder of ansible-runner that reaches it through SSH."""
    directory = REPOSITORY / ".cache" / "test-ee"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="usdx-ee-") as name:
        build(Path(name))
    demo = [sys.executable, str(DEMO)]
    try:
        command(*demo, "up", "--release=v1.0.3", "--project=usdx-ee", f"--directory={directory / 'demo'}")
        with tempfile.TemporaryDirectory(prefix="usdx-ssh-") as ssh, running_ssh_server(Path(ssh)) as server:
            folder = directory / "runner"
            (folder / "env").mkdir(parents=True)
            (folder / "inventory").mkdir()
            shutil.copytree(REPOSITORY / "docs" / "awx_project", folder / "project")
            shutil.copytree(REPOSITORY / "inventories" / "demo" / "group_vars", folder / "inventory" / "group_vars")
            host = {**server.variables, "ansible_python_interpreter": sys.executable}
            (folder / "inventory" / "hosts.json").write_text(
                json.dumps({"rollback_app": {"hosts": {"demo": host}}}), encoding="utf-8"
            )
            environment = {
                "USDX_DEMO_DIRECTORY": str(directory / "demo"),
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
            }
            (folder / "env" / "envvars").write_text(json.dumps(environment), encoding="utf-8")
            yield Runner(folder, directory / "demo", Path(ssh))
    finally:
        command(*demo, "down", f"--directory={directory / 'demo'}", check=False)
        command("docker", "image", "rm", IMAGE, check=False)
        shutil.rmtree(directory, ignore_errors=True)


def test_the_plan_that_was_approved_is_carried_out_and_no_other_one(runner: Runner) -> None:
    asked = {
        "version": "v1.0.2", "reason": "the API fails", "trigger": "critical_feature", "approved_by": "carol",
        "accept_data_loss": "true",
    }  # fmt: skip
    code, screen, handed = runner.job("plan", "rollback", "--check", **asked)
    assert code == 0, screen
    assert len(handed["approved_plan"]) == 12
    assert f"The plan is {handed['approved_plan']}" in screen

    code, screen, _nothing = runner.job("other", "rollback", **asked, approved_plan="000000000000")
    assert code != 0, screen
    assert "The plan changed since it was approved" in screen
    assert not list((runner.demo / "state").rglob("*.jsonl")), "a refused run leaves no journal"

    code, screen, outcome = runner.job("run", "rollback", **asked, **handed)
    assert code == 0, screen
    assert outcome["rollback_outcome"] == "succeeded"
    assert outcome["rollback_to"] == "v1.0.2"
    assert "Type" not in screen

    (folder,) = (runner.demo / "controller").glob("*/*/")
    events = [json.loads(line) for line in (folder / "demo.jsonl").read_text(encoding="utf-8").splitlines()]
    opened = events[0]["facts"]
    assert (opened["controller"]["user"], opened["controller"]["job"]) == ("ann", "42")
    assert opened["approval"]["approved_by"] == ["carol"]
    assert opened["approval"]["plan_sum"] == handed["approved_plan"]
    assert opened["approval"]["awx"]["workflow_job_id"] == 7
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert "AWX workflow job 7 says who approved its nodes" in report
    assert "by ann" in report
    assert "job 42" in report

    code, screen, _nothing = runner.job("runs", "runs")
    assert code == 0, screen
    assert f"{opened['plan']['run_id']} succeeded" in screen

    code, screen, outcome = runner.job("undo", "undo", approved_by="carol", accept_data_loss="true")
    assert code == 0, screen
    assert outcome["rollback_to"] == "v1.0.3"
