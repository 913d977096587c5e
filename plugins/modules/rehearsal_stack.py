#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a private copy of a Compose project beside it, and remove it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearsal_stack
short_description: Make a private copy of a Compose project beside it, and remove it
version_added: 0.2.0
description:
  - Makes what a rollback can be rehearsed on. A checkout of the current commit in a private folder, and services from
    the images that run now, as a Compose project of their own with networks, volumes and addresses of their own.
  - Nothing is published, no name and no volume of production is used, and nothing of the copy starts by itself again.
    Without O(outbound) its networks lead nowhere; the host reaches the containers by their addresses.
  - Of production only containers, images and files are read. The copy is described whole from C(docker compose config),
    so what is not known to be safe is not in it. Services that would reach production or the host are refused.
  - Folders that production mounts for writing from outside of its checkout are empty in the copy, and RV(notes) says
    so.
  - What O(state=absent) removes carries the label C(usdx.rollback.rehearsal.of) with the name of O(project), or lies in
    a folder whose marker says so.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: none
    description: Returns what changed.
  idempotent:
    support: partial
    description: A copy that is there already is refused, for it may have been used; what is absent stays absent.
  platform:
    support: full
    platforms: linux
    description: The host reaches containers by their addresses, which Docker Desktop does not offer.
requirements:
  - docker (the Docker SDK for Python)
  - Docker Compose v2
  - git
options:
  project:
    description: The Compose project of production, label C(com.docker.compose.project).
    type: str
    required: true
  state:
    description:
      - V(present) makes the copy and starts its O(keep) services, fresh and empty.
      - V(started) starts its application services at the current release. Whether they are well is not waited for.
      - V(absent) removes the copy of O(run_id), or all copies of O(project), and looks whether anything is left.
    type: str
    choices: [present, started, absent]
    default: present
  run_id:
    description: The id of the rehearsal. Its last part is in the name of the copy.
    type: str
    default: ""
  directory:
    description: Git checkout of the project. It is read only.
    type: path
    default: ""
  application_services:
    description: Services that a rollback stops and starts, and those that do their work and exit.
    type: list
    elements: str
    default: []
  keep:
    description: Services that a rollback never stops, such as the database.
    type: list
    elements: str
    default: []
  leave_out:
    description: Services that the copy does not have.
    type: list
    elements: str
    default: []
  files:
    description: Compose files, relative to O(directory). Without them those from which the containers were made.
    type: list
    elements: str
    default: []
  env_files:
    description: Environment files of Compose, relative to O(directory).
    type: list
    elements: str
    default: []
  untracked:
    description: Patterns of files that Git does not track and that the copy needs.
    type: list
    elements: str
    default: [.env, .env.*, "*.env"]
  variables:
    description: Variables that name the release, for reading its Compose files.
    type: dict
    default: {}
  release_tree:
    description: A tree of the release, as M(usdx.rollback.release_checkout) with C(state=prepared) makes it.
    type: path
    default: ""
  remote:
    description: The remote whose address the copy gets, to compare tags with it.
    type: str
    default: origin
  places:
    description: Where endpoints are, as C(scheme://host:port). The services behind them get addresses that stay.
    type: list
    elements: str
    default: []
  hosts:
    description:
      - Names and addresses by which O(places) mean this host. Its own addresses, and names that lead to them, need not
        be here. What means another host is in RV(not_rehearsed), also where a port of the same number is published.
    type: list
    elements: str
    default: []
  outbound:
    description:
      - Whether the copy may reach other hosts. Then it may also reach the services that production uses there.
    type: bool
    default: false
  cpus:
    description: Limit of processors for each container of the copy; V(0) sets none. Production goes first in any case.
    type: float
    default: 0
  memory:
    description: Limit of memory for each container of the copy, such as V(512m); empty sets that of production.
    type: str
    default: ""
  environment:
    description: Variables that the application services of the copy get besides, such as one that turns webhooks off.
    type: dict
    default: {}
  keep_images:
    description:
      - With O(state=absent), images that were built for the copy get the names under which a rollback of production
        finds them. Otherwise they lose their names.
    type: bool
    default: false
  timeout:
    description: Seconds until the O(keep) services must run and be healthy.
    type: int
    default: 120
  docker_host:
    description: URL of the Docker daemon; without it the environment of the managed host decides.
    type: str
seealso:
  - module: usdx.rollback.rehearsal_report
"""

EXAMPLES = r"""
- name: Make a copy
  usdx.rollback.rehearsal_stack:
    project: shop
    run_id: 20261124T150405Z-3f9a
    directory: /srv/shop
    application_services: [web, worker]
    keep: [ledger]
    release_tree: "{{ prepared.tree }}"
    places: ["http://127.0.0.1:8080"]
  register: made

- name: Remove all copies
  usdx.rollback.rehearsal_stack:
    state: absent
    project: shop
"""

RETURN = r"""
stack:
  description: What a rollback of the copy has to know.
  returned: when O(state=present)
  type: dict
  contains:
    project:
      description: The name of its Compose project.
      type: str
    root:
      description: Its private folder.
      type: str
    directory:
      description: Its checkout.
      type: str
    state_directory:
      description: Where a rollback of it keeps its journal.
      type: str
    backup_directory:
      description: A place for a dump that is made for it.
      type: str
    current_file:
      description: Its Compose file at the current release.
      type: str
    release_file:
      description: Its Compose file at the release that is gone back to.
      type: str
    application_services:
      description: Its application services.
      type: list
    keep:
      description: Its keep services.
      type: list
    places:
      description: For each of O(places) that it answers for, host and port in the copy.
      type: dict
not_rehearsed:
  description: Those of O(places) that the copy does not answer for.
  returned: when O(state=present)
  type: list
  elements: str
notes:
  description: What differs from production.
  returned: when O(state=present)
  type: list
  elements: str
production:
  description: Id, state and start of each container of production, to see that none was touched.
  returned: when O(state=present) or O(state=absent)
  type: dict
removed:
  description: What was removed, or would be.
  returned: when O(state=absent)
  type: list
  elements: str
kept_images:
  description: Names under which images that were built for the copy stay.
  returned: when O(state=absent)
  type: list
  elements: str
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.docker_client import connect
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_stack import Request, rehearsal_stack

NAMES = {"type": "list", "elements": "str", "default": []}
ARGUMENT_SPEC = {
    "project": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "started", "absent"], "default": "present"},
    "run_id": {"type": "str", "default": ""},
    "directory": {"type": "path", "default": ""},
    "application_services": NAMES,
    "keep": NAMES,
    "leave_out": NAMES,
    "files": NAMES,
    "env_files": NAMES,
    "untracked": {"type": "list", "elements": "str", "default": [".env", ".env.*", "*.env"]},
    "variables": {"type": "dict", "default": {}},
    "release_tree": {"type": "path", "default": ""},
    "remote": {"type": "str", "default": "origin"},
    "places": NAMES,
    "hosts": NAMES,
    "outbound": {"type": "bool", "default": False},
    "cpus": {"type": "float", "default": 0},
    "memory": {"type": "str", "default": ""},
    "environment": {"type": "dict", "default": {}},
    "keep_images": {"type": "bool", "default": False},
    "timeout": {"type": "int", "default": 120},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = dict(module.params)
    docker_host = options.pop("docker_host")
    for name in ("variables", "environment"):
        options[name] = {key: "" if value is None else str(value) for key, value in options[name].items()}
    carry_out(
        module,
        lambda: rehearsal_stack(lambda: connect(docker_host), run, Request(**options), check_mode=module.check_mode),
    )


if __name__ == "__main__":
    main()
