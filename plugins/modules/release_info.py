#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List the releases that a project can be rolled back to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: List the releases that a project can be rolled back to
version_added: 0.1.0
description:
  - Reads the tags of the project's Git checkout, the images on the host, and the records of verified releases that
    earlier runs have left, and says for each release whether it is older, whether its images are at hand, and when it
    was last verified.
  - File times are never used.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to look, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: N/A
    description: Returns what changed; this module changes nothing.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
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
      - The Git checkout of the project.
    type: path
    required: true
  project:
    description:
      - Name of the Compose project.
    type: str
    required: true
  services:
    description:
      - Application services whose images are looked for.
    type: list
    elements: str
    required: true
  state_directory:
    description:
      - Where runs keep their records. A folder that does not exist holds none.
    type: path
    required: true
  limit:
    description:
      - How many releases are listed at most.
    type: int
    default: 20
  docker_host:
    description:
      - URL of the Docker daemon; the environment variable C(DOCKER_HOST) or the local socket by default.
    type: str
seealso:
  - module: usdx.rollback.release_checkout
"""

EXAMPLES = r"""
- name: See what can be rolled back to
  usdx.rollback.release_info:
    path: /opt/usdx-wexel
    project: usdx-wexel
    services: [webapp, indexer, nginx]
    state_directory: /var/lib/usdx-rollback/usdx-wexel
  register: candidates
"""

RETURN = r"""
current:
  description:
    - What is checked out now; C(since) when it was checked out, as far back as the reflog tells, or null. Of a release
      with a patch on top C(current.patch) has C(name), C(sha256), C(base) and C(files).
  returned: success
  type: dict
  sample: {"release": "v1.0.3", "commit": "5d41402abc4b2a76b9719d911017c592ae2f5a3c", "describe": "v1.0.3",
    "since": "2024-12-28T02:00:00+00:00"}
candidates:
  description:
    - The releases, newest commit first. C(relation) is older, current, newer or other; C(images_at_hand) is all, some
      or none; C(verified_at) is the time in UTC at which a run last verified it, or null.
  returned: success
  type: list
  elements: dict
suggestion:
  description: The newest older release, one that a run has verified if there is any; null if there is no older one.
  returned: success
  type: str
  sample: v1.0.2
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.release_candidates import release_info

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "project": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "str", "required": True},
    "state_directory": {"type": "path", "required": True},
    "limit": {"type": "int", "default": 20},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: release_info(module.params, run))


if __name__ == "__main__":
    main()
