# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebooks that lead to a request for approval, and to nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.usdx.rollback.plugins.lookup.awx_parts import LookupModule
from ansible_collections.usdx.rollback.plugins.module_utils import approval, awx

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Any] = LookupModule().run([])[0]
RULEBOOKS = ["alertmanager", "alertmanager_awx"]


def rulebook(name: str) -> dict[str, Any]:
    """Return the one ruleset of a rulebook."""
    (told,) = yaml.safe_load((ROOT / f"extensions/eda/rulebooks/{name}.yml").read_text(encoding="utf-8"))
    return dict(told)


@pytest.mark.parametrize("name", RULEBOOKS)
def test_the_rulebook_knows_the_triggers_of_the_matrix(name: str) -> None:
    for rule in rulebook(name)["rules"]:
        assert re.findall(r'"(\w+)"', rule["condition"].partition("rollback_trigger")[2]) == list(approval.CONDITIONS)
        assert 'event.status == "firing"' in rule["condition"]
        assert rule["throttle"] == {
            "once_within": "30 minutes",
            "group_by_attributes": ["event.labels.rollback_trigger"],
        }


def test_the_rulebooks_only_propose() -> None:
    assert sorted(path.stem for path in (ROOT / "extensions/eda/rulebooks").iterdir()) == RULEBOOKS
    actions = [[rule["action"] for rule in rulebook(name)["rules"]] for name in RULEBOOKS]
    assert [[next(iter(one)) for one in some] for some in actions] == [
        ["run_playbook", "debug"],
        ["run_job_template", "debug"],
    ]
    name = actions[0][0]["run_playbook"]["name"]
    assert name == "usdx.rollback.propose"
    assert (ROOT / "playbooks" / f"{name.rpartition('.')[2]}.yml").is_file()
    template = actions[1][0]["run_job_template"]
    settings = {"prefix": "usdx ", "organization": "Default", "project": "p", "inventory": "i"}
    names = [one["name"] for one in awx.awx_templates(PARTS, settings)]
    assert re.findall(r"default\('(.*)'\)", template["name"])[0] in names
    asked = {one["variable"] for one in awx.survey("propose", PARTS)["spec"]}
    assert set(template["job_args"]["extra_vars"]) <= asked
    assert template["include_events"] is False


@pytest.mark.parametrize("name", RULEBOOKS)
def test_what_an_alert_says_is_encoded_before_it_becomes_a_variable(name: str) -> None:
    """Ansible takes extra variables as templates; the trigger is one of the words of the rule."""
    (action,) = rulebook(name)["rules"][0]["action"].values()
    told = action.get("job_args", action)["extra_vars"]
    of_the_alert = {key: value for key, value in told.items() if "event." in value}
    assert of_the_alert.pop("trigger") == "{{ event.labels.rollback_trigger }}"
    assert of_the_alert
    assert all(value.endswith("| string | urlencode }}") for value in of_the_alert.values())


@pytest.mark.parametrize("name", RULEBOOKS)
def test_the_rulebook_listens_on_this_machine_and_wants_a_token(name: str) -> None:
    (source,) = rulebook(name)["sources"]
    options = source["eda.builtin.webhook"]
    assert "default('127.0.0.1')" in options["host"]
    assert options["token"] == "{{ ROLLBACK_EVENTS_TOKEN }}"  # noqa: S105 - a template
    assert source["filters"] == [{"eda.builtin.event_splitter": {"splitter_key": "payload.alerts"}}]
