#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Border of the module compose_stop: argument spec, call, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_stop
short_description: Stop services of a Docker Compose project, in order, and nothing else
version_added: 0.1.0
author:
  - usdx.rollback contributors (@usdx)
description:
  - Stops the containers of the named services of a Compose project, group after group, and proves that the services
    that must go on running were not touched.
  - Finds containers by the labels that Compose gave them. It never reads a Compose file, because after a checkout
    the file may describe other services than those that run.
  - Never creates, recreates, builds, pulls or removes anything. A service without a container counts as stopped.
  - A paused container is unpaused first, so that it gets its grace period. A container in a crash loop is stopped.
    All containers of a scaled service are stopped. Containers of C(docker compose run) for a named service are
    stopped, too, and reported, because they write as well. Containers that exited, were only created, or are dead
    stay as they are.
requirements:
  - docker >= 5 (the Docker SDK for Python)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to stop services, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run without changing anything and predict the result.
    details: The result is computed from the state of the containers, by the same code.
  diff_mode:
    support: full
    description: Returns what changed, before and after.
    details: The state of each service before and after.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    support: full
    description: Target operating systems.
    platforms: posix
options:
  project:
    description:
      - Name of the Compose project, as C(docker compose ls --all) shows it.
    type: str
    required: true
  groups:
    description:
      - Groups of service names. One group is stopped after the other; the services of a group are stopped at the same
        time.
      - Put what takes requests first (nginx), what writes last.
    type: list
    elements: list
    required: true
  keep:
    description:
      - Services that must go on running. Each must run before anything is stopped, and afterwards each of their
        containers must have the same id and the same start time.
    type: list
    elements: str
    default: []
  grace_periods:
    description:
      - Seconds between the stop signal and SIGKILL, by service name.
      - Without an entry the container's own C(stop_grace_period) counts, and without one 10 seconds.
    type: dict
    default: {}
  on_kill:
    description:
      - What to do when a container did not stop within its grace period and got SIGKILL.
      - V(fail) fails after all groups have been stopped.
    type: str
    choices: [fail, warn, ignore]
    default: warn
  hold:
    description:
      - Also set the restart policy of the containers to V(no), so that neither a restart of the daemon nor a reboot
        starts them again. Containers that are stopped already are held, too.
      - M(usdx.rollback.compose_start) puts the policy of the Compose file back.
    type: bool
    default: false
  not_stopped:
    description:
      - Services of O(groups) that go on running, because they are replaced while they serve.
      - Their states are returned as those of the others are.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  docker_host:
    description:
      - URL of the Docker daemon. Without it the environment variable E(DOCKER_HOST) decides, then the local socket.
    type: str
seealso:
  - module: usdx.rollback.compose_start
  - name: docker stop
    description: Signals and grace periods.
    link: https://docs.docker.com/reference/cli/docker/container/stop/
"""

EXAMPLES = r"""
- name: Stop the application, leave database and redis running
  usdx.rollback.compose_stop:
    project: usdx-wexel
    groups:
      - [nginx]
      - [webapp, indexer]
    keep: [db, redis]
    grace_periods:
      indexer: 60

- name: Security incident, stop and stay stopped even after a reboot
  usdx.rollback.compose_stop:
    project: usdx-wexel
    groups: [[nginx, webapp, indexer]]
    keep: [db, redis]
    hold: true
"""

RETURN = r"""
services:
  description: What happened to each service of O(groups).
  returned: success, and failures after the first stop
  type: dict
  contains:
    before:
      description: State before. That of the liveliest container, or V(absent).
      type: str
    after:
      description: State after.
      type: str
    containers:
      description: Each container, with the seconds that its stop took and its exit code. RV(ignore:killed) is true
        when SIGKILL ended it after the grace period. RV(ignore:error) is there when the daemon refused.
      type: list
      elements: dict
  sample:
    webapp:
      before: running
      after: exited
      containers:
        - {name: usdx-wexel-webapp-1, id: 5f4f97c918c7, before: running, after: exited, exit_code: 0, killed: false,
           seconds: 0.41, one_off: false}
not_stopped:
  description: Services of O(not_stopped).
  returned: success
  type: list
  elements: str
  version_added: 0.2.0
order:
  description: The groups in the order in which they were stopped.
  returned: success
  type: list
  elements: list
  sample: [[nginx], [webapp, indexer]]
killed:
  description: Names of containers that SIGKILL ended after their grace period.
  returned: success
  type: list
  elements: str
absent:
  description: Services that have no container. They count as stopped.
  returned: success
  type: list
  elements: str
keep:
  description: Id and start time of each container of the O(keep) services. The same before and after.
  returned: success
  type: dict
  sample: {db: [{id: b332af34ac04, started_at: '2026-11-24T15:10:16.522945401Z'}]}
held:
  description: The former restart policy of each container whose policy was set to V(no).
  returned: success
  type: dict
  sample: {usdx-wexel-webapp-1: {Name: always, MaximumRetryCount: 0}}
seconds:
  description: How long it took.
  returned: success
  type: float
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.stop import stop_as_asked

ARGUMENTS = {
    "project": {"type": "str", "required": True},
    "groups": {"type": "list", "elements": "list", "required": True},
    "keep": {"type": "list", "elements": "str", "default": []},
    "grace_periods": {"type": "dict", "default": {}},
    "on_kill": {"type": "str", "choices": ["fail", "warn", "ignore"], "default": "warn"},
    "hold": {"type": "bool", "default": False},
    "not_stopped": {"type": "list", "elements": "str", "default": []},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: stop_as_asked(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
