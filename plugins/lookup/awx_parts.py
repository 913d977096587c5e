# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read what the job templates of AWX are made of: the playbooks, and what the roles take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.loader import module_loader
from ansible.plugins.lookup import LookupBase

COLLECTION = Path(__file__).parents[2]
MODULE = "awx.awx.job_template"


class LookupModule(LookupBase):
    """Read the files of the collection from which this is run."""

    def run(self, terms: list[str], variables: object = None, **_options: object) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return the parts, in a list as lookups do."""
        if terms:
            raise AnsibleError("The lookup usdx.rollback.awx_parts takes no terms.")
        specs = _by_role("meta/argument_specs.yml")
        return [
            {
                "playbooks": {path.stem: _read(path) for path in sorted(COLLECTION.glob("playbooks/*.yml"))},
                "specs": {role: spec["argument_specs"] for role, spec in specs.items()},
                "defaults": _by_role("defaults/main.yml"),
                "has_awx": bool(module_loader.find_plugin_with_context(MODULE).resolved),
            }
        ]


def _by_role(name: str) -> dict[str, Any]:
    """Return what a file of each role holds."""
    return {path.name: _read(path / name) for path in sorted(COLLECTION.glob("roles/*")) if (path / name).is_file()}


def _read(path: Path) -> Any:  # noqa: ANN401 - what a YAML file holds
    return yaml.safe_load(path.read_text(encoding="utf-8"))
