#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Restart named services of a Compose project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_restart
short_description: Restart named services of a Compose project, and wait until they are healthy
version_added: 0.2.0
author:
  - usdx.rollback contributors (@usdx)
description:
  - Restarts the containers of the named services, one after the other in the order given, and waits until all of them
    run and are healthy. They stay the same containers, with their image, volumes and ports; a stopped one is started,
    a paused one goes on first.
  - Containers are found by their labels, never by a Compose file. Those of other services are not touched, and it fails
    when one of them changed meanwhile.
requirements:
  - docker >= 5 (the Docker SDK for Python)
attributes:
  check_mode:
    support: full
    description: Can run without changing anything and predict the result.
    details: Refuses a service that has no container, and says what would be restarted.
  diff_mode:
    support: full
    description: Returns what changed, before and after.
    details: The state of each service before, and that it is restarted.
  idempotent:
    support: none
    description: Every call restarts.
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
  services:
    description:
      - Services to restart, in this order.
    type: list
    elements: str
    required: true
  timeout:
    description:
      - Seconds from the last restart until all services must run and be healthy.
    type: float
    default: 120
  stable_for:
    description:
      - Seconds that a service without a health check must run without a restart.
    type: float
    default: 2
  log_lines:
    description:
      - Number of last lines of a log that a failure returns.
    type: int
    default: 40
  docker_host:
    description:
      - URL of the Docker daemon. Without it the environment variable E(DOCKER_HOST) decides, then the local socket.
    type: str
seealso:
  - module: usdx.rollback.compose_start
  - module: usdx.rollback.compose_stop
"""

EXAMPLES = r"""
- name: Restart a redis that refuses writes
  usdx.rollback.compose_restart:
    project: usdx-wexel
    services: [redis]
"""

RETURN = r"""
services:
  description: For each service its state C(before) and C(after), and its containers, with what they were before.
  returned: success
  type: dict
  sample: {"redis": {"before": "running (unhealthy)", "after": "running (healthy)", "containers": [
    {"name": "usdx-wexel-redis-1", "id": "3f2a91c0d4be", "restarts_before": 0, "exit_code_before": 0,
     "out_of_memory_before": false, "started_before": "2026-11-24T15:00:00Z", "started_at": "2026-11-24T16:00:00Z"}]}}
seconds:
  description: How long it took, in seconds.
  returned: success
  type: float
  sample: 4.1
unready:
  description: Health log and last lines of each service that did not become ready.
  returned: failure, of a service that is not ready in time
  type: dict
next_step:
  description: What to do next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.docker_client import connect
from ansible_collections.usdx.rollback.plugins.module_utils.restart import RestartRequest, restart_services

ARGUMENT_SPEC = {
    "project": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "float", "default": 120},
    "stable_for": {"type": "float", "default": 2},
    "log_lines": {"type": "int", "default": 40},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = dict(module.params)
    docker_host = options.pop("docker_host")
    carry_out(
        module,
        lambda: restart_services(connect(docker_host), RestartRequest(**options), check_mode=module.check_mode),
    )


if __name__ == "__main__":
    main()
