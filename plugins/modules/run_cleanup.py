#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Drop what runs have kept, by age and number."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_cleanup
short_description: Drop what runs have kept, by age and number
version_added: 0.2.0
description:
  - Drops what earlier runs have left on a host. Names of the images that ran before a run, names of images of releases,
    references of saved commits and edits, journals, and private trees of runs that were killed.
  - The age of what a run has kept is the time in its run id. File times count for private trees only.
  - Nothing is dropped of the run that holds the lock, nor of the newest run unless its journal says that it succeeded,
    whatever the options say. What is not recognised stays.
  - A name of an image is taken away, never by force. The image itself goes only with its last name, and never while a
    container of the host has it, running or stopped.
  - Databases that runs have kept are dropped by M(usdx.rollback.pg_safe_restore).
author:
  - usdx.rollback contributors (@usdx)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: full
    description: Returns the names of everything that runs have kept, before and after.
  idempotent:
    support: full
    description: A second call with the same options finds nothing to drop, until more has become old enough.
  platform:
    support: full
    platforms: posix
    description: Where it runs.
requirements:
  - Docker SDK for Python (python3-docker) >= 5.0.0
  - git
options:
  path:
    description:
      - The Git checkout of the project. References are looked for in it and in the submodules that are checked out.
    type: path
    required: true
  project:
    description:
      - Name of the Compose project.
    type: str
    required: true
  state_directory:
    description:
      - Where runs keep their records. A folder that does not exist holds none.
    type: path
    required: true
  keep:
    description:
      - How many of the newest runs keep everything.
    type: int
    default: 3
  min_age_hours:
    description:
      - Nothing that is younger is dropped, in hours. A private tree is never dropped within its first hour.
    type: float
    default: 168
  keep_releases:
    description:
      - How many releases keep their images, so that a rollback to them builds nothing. They are those whose commits
        were used last, the one that is checked out among them. Runs that keep everything also keep the images of the
        releases that they came from and went to.
      - When a commit was used say the journals and the record of verified releases; where neither names it, the time
        counts at which its image was last given a name, or else made.
      - An image that a container of the project has keeps its names of releases in any case.
    type: int
    default: 5
  keep_journals_days:
    description:
      - How long journals are kept, in days. A run that keeps everything also keeps its journal.
    type: float
    default: 365
  docker_host:
    description:
      - URL of the Docker daemon; the environment variable C(DOCKER_HOST) or the local socket by default.
    type: str
seealso:
  - module: usdx.rollback.pg_safe_restore
  - module: usdx.rollback.release_info
"""

EXAMPLES = r"""
- name: Drop what runs have kept for more than a month, but for the last five of them
  usdx.rollback.run_cleanup:
    path: /opt/usdx-wexel
    project: usdx-wexel
    state_directory: /var/lib/usdx-rollback/usdx-wexel
    keep: 5
    min_age_hours: 720
"""

RETURN = r"""
dropped:
  description: The names of what was dropped; in check mode, of what would be.
  returned: always, once it was decided
  type: dict
  sample:
    images: ["usdx-rollback/usdx-wexel/webapp:before-20261124T150405Z-3f9a"]
    references: ["refs/rollback/20261124T150405Z-3f9a/before"]
    journals: []
    trees: ["/tmp/usdx-rollback-k2j4x_8a"]
left:
  description: How many of each stay.
  returned: always, once it was decided
  type: dict
  sample: {"images": 6, "references": 4, "journals": 12, "trees": 0}
in_use:
  description: Names that had to go, and stay because a container has their image and it has no other name.
  returned: always, once it was decided
  type: list
  elements: str
held:
  description: Runs of which nothing is dropped whatever the options say, the newest first.
  returned: always, once it was decided
  type: list
  elements: str
  sample: ["20261124T150405Z-3f9a"]
bytes:
  description:
    - What was freed. Of images it is an upper bound, because they share layers. Saved commits and edits take
      space in the repository until Git collects its garbage.
  returned: always, once it was decided
  type: dict
  sample: {"images": 210763776, "journals": 0, "trees": 4096}
failed_to_drop:
  description: The names of what could not be dropped. A warning says why of each.
  returned: always, once it was decided
  type: list
  elements: str
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.cleanup import run_cleanup
from ansible_collections.usdx.rollback.plugins.module_utils.process import run


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "project": {"type": "str", "required": True},
            "state_directory": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 3},
            "min_age_hours": {"type": "float", "default": 168},
            "keep_releases": {"type": "int", "default": 5},
            "keep_journals_days": {"type": "float", "default": 365},
            "docker_host": {"type": "str"},
        },
        supports_check_mode=True,
    )
    carry_out(module, lambda: run_cleanup(module.params, run, check=module.check_mode))


if __name__ == "__main__":
    main()
