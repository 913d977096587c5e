# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is asked and what is refused before a plan is carried out: without a terminal, and with a real one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import at_terminal, flat

ROOT = Path(__file__).resolve().parents[2]
PLAN = ROOT / "tests/unit/data/failed_run.json"
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.set_fact:
        __run_plan: "{{ (lookup('file', '%s') | from_json).plan | combine({'host': inventory_hostname}) }}"
        __run_already_there: "{{ inventory_hostname in already_there | default([]) }}"
        run_inputs: "{{ dict(typed | zip(query('ansible.builtin.vars', *typed))) }}"
      vars:
        typed: "{{ query('ansible.builtin.varnames', '^(accept_data_loss|incident|observed|stage|trigger)$') }}"
    - ansible.builtin.include_role:
        name: usdx.rollback.run
        tasks_from: approve.yml
    - ansible.builtin.copy:
        content: "{{ __run_approval | default({}) | to_json }}"
        dest: "%s/{{ inventory_hostname }}.json"
        mode: "0600"
      check_mode: false
"""
VARIABLES = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    "rollback_approvers": {"on_call": ["Ann", "Bob"], "team_lead": ["Ann"]},
    "trigger": "error_rate",
}
NOBODY = ("AWX_ISOLATED_DATA_DIR", "AWX_HOST", "CI")


class Decision:
    """The tasks that weigh a decision, for two hosts, alone."""

    def __init__(self, directory: Path) -> None:
        """Write the playbook and its inventory."""
        self.directory = directory
        (directory / "play.yml").write_text(PLAYBOOK % (PLAN, directory), encoding="utf-8")
        inventory = {"all": {"hosts": {"one": None, "two": None}, "vars": VARIABLES}}
        (directory / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")

    def command(self, variables: dict[str, Any], *more: str) -> list[str]:
        """Return the command that weighs it."""
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        words = [program, "-i", str(self.directory / "hosts.yml"), str(self.directory / "play.yml")]
        return [*words, "-e", json.dumps(variables), *more]

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment in which somebody sits at the terminal."""
        kept = {key: value for key, value in os.environ.items() if key not in NOBODY}
        return kept | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "TERM": "dumb"} | more

    def weigh(self, *more: str, **variables: Any) -> tuple[int, str]:
        """Weigh it without a terminal."""
        done = subprocess.run(
            self.command(variables, *more), check=False, capture_output=True, text=True, cwd=ROOT,
            env=self.environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, flat(done.stdout + done.stderr)

    def weigh_at_terminal(
        self, question: str, answer: str, environment: dict[str, str] | None = None, **variables: Any
    ) -> tuple[int, str]:
        """Weigh it on a terminal of its own, where somebody types ``answer`` when ``question`` is on the screen."""
        return at_terminal(self.command(variables), self.environment(**(environment or {})), question, answer)

    def record(self, host: str = "one") -> dict[str, Any]:
        """Return what is kept for the journal of a host; empty when nothing is."""
        path = self.directory / f"{host}.json"
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return told


@pytest.fixture
def decision(tmp_path: Path) -> Decision:
    """Give a decision about a plan that a real run made."""
    return Decision(tmp_path)


def plan_sum(screen: str) -> str:
    """Return the sum that the screen tells."""
    found = re.search(r"The plan is ([0-9a-f]{12});", screen)
    assert found, screen
    return found[1]


def test_without_a_terminal_a_missing_approval_is_refused(decision: Decision) -> None:
    code, screen = decision.weigh(approved_by="bob")
    assert code != 0
    assert (
        "The decision is not approved; missing: team lead (Ann). Nobody could be asked: standard input is no" in screen
    )
    assert f"-e approved_plan={plan_sum(screen)} to bind it to this plan" in screen
    assert decision.record() == decision.record("two") == {}


def test_only_stages_of_a_security_incident_wait_for_nobody(decision: Decision) -> None:
    """Many an inventory has a variable that is called stage."""
    for variables, asks in (
        ({"stage": "production"}, True),
        ({"stage": "contain"}, True),
        ({"stage": "recover", "run_scenario": "security_incident"}, True),
        ({"stage": "contain", "run_scenario": "security_incident"}, False),
    ):
        code, screen = decision.weigh(approved_by="bob", **variables)
        assert (code != 0, "The decision is not approved" in screen) == (asks, asks), screen


def test_without_a_terminal_all_approvals_suffice_for_all_hosts(decision: Decision) -> None:
    code, screen = decision.weigh(approved_by=["ann", "bob"], incident="#inc-7")
    assert code == 0, screen
    told = decision.record()
    assert told == decision.record("two")
    assert told["granted"] == {"on_call": "Bob", "team_lead": "Ann"}
    assert (told["asked"], told["incident"], told["condition"]["name"]) == (False, "#inc-7", "error_rate")
    assert told["plan_sum"] == plan_sum(screen)


def test_an_approval_holds_for_its_plan_only(decision: Decision) -> None:
    screen = decision.weigh("--check")[1]
    total = plan_sum(screen)
    assert decision.weigh(approved_by="ann,bob", approved_plan=total)[0] == 0
    (decision.directory / "one.json").unlink()
    code, screen = decision.weigh(approved_by="ann,bob", approved_plan=total, accept_data_loss="4h")
    assert code != 0
    assert f"The plan changed since it was approved (approved {total}, now " in screen
    assert decision.record() == {}


def test_check_mode_shows_and_asks_nobody(decision: Decision) -> None:
    code, screen = decision.weigh("--check")
    assert code == 0, screen
    assert "MISSING on-call engineer (Ann or Bob); MISSING team lead (Ann)" in screen


@pytest.mark.parametrize("mode", [(), ("--check",)])
def test_an_unknown_trigger_is_refused(decision: Decision, mode: tuple[str, ...]) -> None:
    code, screen = decision.weigh(*mode, trigger="meteor")
    assert code != 0
    assert "trigger=meteor is no condition of the runbook. Give one of data_at_risk," in screen


def test_figures_are_taken_as_words(decision: Decision) -> None:
    code, screen = decision.weigh("-e", "observed=down_minutes=12", trigger="", approved_by="bob")
    assert code == 0, screen
    assert decision.record()["condition"]["name"] == "service_down"


def test_off_in_the_inventory_asks_nobody(decision: Decision) -> None:
    code, screen = decision.weigh(rollback_approvals=False)
    assert code == 0, screen
    assert "approvals: off in the inventory" in screen
    assert decision.record()["approvals"] == "off"


def test_a_host_that_runs_the_release_already_needs_no_approval(decision: Decision) -> None:
    both = decision.weigh("--check")[1]
    code, screen = decision.weigh(already_there=["one"])
    assert code != 0, "the first host has nothing to do, the second one has"
    assert plan_sum(screen) != plan_sum(both)
    code, screen = decision.weigh(already_there=["one", "two"])
    assert code == 0, screen
    assert "The plan is" not in screen


CONFIRM, NAMES = "Type yes to carry out this plan", "Type the names of who approved"


@pytest.mark.parametrize(
    ("given", "question", "answer", "refusal"),
    [
        ("ann,bob", CONFIRM, "yes", ""),
        ("ann,bob", CONFIRM, "no", "The plan was not confirmed"),
        ("ann,bob", CONFIRM, "", "The plan was not confirmed"),
        ("ann,bob", CONFIRM, "\x03", "The plan was not confirmed"),
        ("bob", NAMES, "ann", ""),
        ("", NAMES, "ann, bob", ""),
        ("bob", NAMES, "{{ 'ann' }}", "missing: team lead (Ann)"),
        ("bob", NAMES, "", "missing: team lead (Ann)"),
    ],
)
def test_a_person_at_a_terminal_is_asked(
    decision: Decision, given: str, question: str, answer: str, refusal: str
) -> None:
    code, screen = decision.weigh_at_terminal(question, answer, approved_by=given)
    assert question in screen
    if refusal:
        assert code != 0
        assert refusal in screen
        assert decision.record() == {}
    else:
        assert code == 0, screen
        told = decision.record("two")
        assert (told["asked"], told["granted"]) == (True, {"on_call": "Bob", "team_lead": "Ann"})


def test_an_approval_bound_to_the_plan_is_not_asked_again(decision: Decision) -> None:
    total = plan_sum(decision.weigh("--check")[1])
    code, screen = decision.weigh_at_terminal("", "", approved_by="ann,bob", approved_plan=total)
    assert code == 0, screen
    assert "Type yes" not in screen
    assert decision.record()["asked"] is False


@pytest.mark.parametrize("variable", NOBODY)
def test_a_terminal_at_which_nobody_sits_is_not_waited_for(decision: Decision, variable: str) -> None:
    """AWX and ansible-runner give Ansible a pseudo terminal: a question would hang there for ever."""
    code, screen = decision.weigh_at_terminal("", "", {variable: "true"}, approved_by="bob")
    assert code == 2, screen
    assert f"missing: team lead (Ann). Nobody could be asked: the environment sets {variable}." in screen
    assert "Type the names" not in screen


@pytest.mark.parametrize(("approvals", "code"), [("off", 0), ("required", 2)])
def test_only_a_plan_that_somebody_approved_binds_the_run_that_goes_on(
    decision: Decision, approvals: str, code: int
) -> None:
    """One host is done, so the plan of what is left is another one."""
    former = {"approval": {"approvals": approvals, "approved_by": ["Ann"], "plan_sum": "0" * 12}}
    seen, screen = decision.weigh(rollback_approvals=approvals, run_former=former, already_there=["one"])
    assert seen == code, screen
    assert ("The plan changed since it was approved" in screen) == bool(code)
