#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Border of the module compose_start: argument spec, call, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_start
short_description: Have a release's images ready and start its services, without touching the others
version_added: 0.1.0
author:
  - usdx.rollback contributors (@usdx)
description:
  - With O(state=prepared) the images of a release exist afterwards, each kept under a name of its own, while the
    application goes on running and nothing that the current checkout uses points elsewhere.
  - With O(state=started) the services of the release run from these images, are healthy, and the services of O(keep)
    are the same containers as before. Nothing is built or pulled.
  - Calls C(docker compose) with argument lists. The state is read from the daemon before and after, never from the
    output of Compose.
  - A configuration that would mix two releases is refused, and so is a service of the release that is in no list.
requirements:
  - docker >= 5 (the Docker SDK for Python)
  - Docker Compose v2, as C(docker compose)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to start services, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run without changing anything and predict the result.
    details: Says for each service whether its image is reused, built or pulled, and what would be recreated.
  diff_mode:
    support: full
    description: Returns what changed, before and after.
    details: The image and the state of each service before and after.
  idempotent:
    support: full
    description: A second run with the same options changes nothing.
  platform:
    support: full
    description: Target operating systems.
    platforms: posix
options:
  state:
    description:
      - V(prepared) makes images ready and changes nothing that runs.
      - V(started) starts the services and waits until they are running and healthy.
    type: str
    choices: [prepared, started]
    default: started
  project:
    description:
      - Name of the Compose project, as C(docker compose ls --all) shows it.
    type: str
    required: true
  groups:
    description:
      - Groups of application services in start order. A group starts when the one before it runs, and is healthy where
        the release's C(depends_on) asks for it.
    type: list
    elements: list
    required: true
  keep:
    description:
      - Services that must go on running. They must run before, and must be the same containers afterwards.
    type: list
    elements: str
    default: []
  not_started:
    description:
      - Services of the release that are not to run, such as those that did not run before a run that is undone.
      - One that has a container and is named by O(images) gets a container of that image, which is not started.
        Others are left as they are.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  directory:
    description:
      - The project's own checkout on the managed host.
    type: path
    required: true
  tree:
    description:
      - Directory with the files of the release, laid out as in O(directory). For O(state=started) only in check mode.
      - Default is O(directory).
    type: path
  files:
    description:
      - Compose files, relative to O(directory).
      - Default are the files from which the newest application container was made, else those that Compose finds.
    type: list
    elements: str
    default: []
  env_files:
    description:
      - Files with variables for the Compose files, relative to O(directory). A file that O(tree) does not have is taken
        from O(directory).
      - Default are those from which the newest application container was made, else C(.env).
    type: list
    elements: str
    default: []
  environment:
    description:
      - Further variables for the Compose files.
    type: dict
    default: {}
  release:
    description:
      - Name of the release, for example V(v1.0.2).
    type: str
    default: ''
  commit:
    description:
      - Full id of the release's commit. An image is kept under its first 12 characters.
      - Without it an image that has the right name is taken as it is.
    type: str
    default: ''
  base_commit:
    description:
      - Full id of the commit of the release's tag, when O(commit) is that release with a patch on top.
      - An image that only carries the name of the release is then not taken for it, and is kept under this commit. An
        image of the release that is not built is refused, because the patch does not change it.
    type: str
    default: ''
    version_added: 0.2.0
  current_release:
    description:
      - Name of the release that is to be left. A configuration that still names it is refused.
    type: str
    default: ''
  images:
    description:
      - Image ids or names that decide, by service. For the way back, RV(services) of a former run holds them.
    type: dict
    default: {}
  pull:
    description:
      - What to do for a service without C(build) whose image is not on the host, with O(state=prepared).
    type: str
    choices: [missing, never]
    default: missing
  build_timeout:
    description:
      - Seconds for all builds together, and for all pulls together.
    type: int
    default: 1800
  timeout:
    description:
      - Seconds from the first start until all services must be running and healthy.
    type: int
    default: 120
  stable_for:
    description:
      - Seconds that a service without a health check must run without a restart.
    type: float
    default: 2
  one_shot:
    description:
      - Services that are expected to exit with code 0.
    type: list
    elements: str
    default: []
  rolling:
    description:
      - Services of O(groups) that may run twice for a moment, with O(state=started). Where one of them gets new
        containers while it runs, those are made beside the former ones and become ready before these are stopped and
        removed. When they do not become ready they are removed, and the former ones go on serving.
      - Whoever sends requests to the service must find both by its name, and try another address when one does not
        answer. Both releases work on the same data meanwhile.
      - A service that by its definition cannot run twice is stopped and started as without this option, with a warning
        that says why. Reasons are a C(container_name), a fixed published port, a fixed address, C(network_mode) of the
        host or of another container, an anonymous volume, and services that share its namespaces or volumes.
    type: list
    elements: str
    default: []
    version_added: 0.2.0
  reload:
    description:
      - A command that runs in the containers of a proxy once new containers are ready, and again when the former ones
        have gone. For proxies that look up addresses only when they start.
    type: dict
    version_added: 0.2.0
    suboptions:
      service:
        description: The service of the proxy.
        type: str
        required: true
      command:
        description: The command as a list of words.
        type: list
        elements: str
        required: true
  settle:
    description:
      - Seconds between the moment at which new containers of a service of O(rolling) are ready and the stop of the
        former ones. At least as long as a proxy remembers addresses.
    type: float
    default: 2
    version_added: 0.2.0
  grace_periods:
    description:
      - Seconds between the stop signal and SIGKILL for the former containers of a service of O(rolling), by service
        name. Without an entry the container's own C(stop_grace_period) counts, and without one 10 seconds.
      - One that had to be killed is a warning.
    type: dict
    default: {}
    version_added: 0.2.0
  log_lines:
    description:
      - Number of last lines of a log that a failure returns.
    type: int
    default: 40
  run_id:
    description:
      - Id of the run. The images that run now get a second name with it, so that the way back needs no build.
    type: str
    default: ''
  docker_host:
    description:
      - URL of the Docker daemon. Without it the environment variable E(DOCKER_HOST) decides, then the local socket.
    type: str
seealso:
  - module: usdx.rollback.compose_stop
  - name: docker compose up
    description: What Compose does.
    link: https://docs.docker.com/reference/cli/docker/compose/up/
"""

EXAMPLES = r"""
- name: Have the images of v1.0.2 ready while v1.0.3 still serves
  usdx.rollback.compose_start:
    state: prepared
    project: usdx-wexel
    groups: [[webapp, indexer], [nginx]]
    keep: [db, redis]
    directory: /opt/usdx-wexel
    tree: /var/lib/usdx-rollback/tree
    release: v1.0.2
    commit: 0f3c9be4d3ab6ad8a1c6c7f8bfbf2ef8d5a0c4ce
    current_release: v1.0.3
    run_id: 20241228T014500Z-7f3a

- name: Start v1.0.2
  usdx.rollback.compose_start:
    project: usdx-wexel
    groups: [[webapp, indexer], [nginx]]
    keep: [db, redis]
    directory: /opt/usdx-wexel
    release: v1.0.2
    commit: 0f3c9be4d3ab6ad8a1c6c7f8bfbf2ef8d5a0c4ce

- name: Start v1.0.2 beside v1.0.3, which stops when v1.0.2 is healthy
  usdx.rollback.compose_start:
    project: usdx-wexel
    groups: [[webapp, indexer]]
    keep: [db, redis, nginx]
    directory: /opt/usdx-wexel
    release: v1.0.2
    commit: 0f3c9be4d3ab6ad8a1c6c7f8bfbf2ef8d5a0c4ce
    rolling: [webapp]
    reload: {service: nginx, command: [nginx, -s, reload]}
"""

RETURN = r"""
services:
  description: For each application service of the release its image, how it comes about, and its containers.
  returned: success, and failures after the decision
  type: dict
  contains:
    action:
      description: One of V(reuse), V(build), V(pull).
      type: str
    reason:
      description: Why.
      type: str
    image:
      description: The name under which Compose looks for the image.
      type: str
    pin:
      description: The name under which the image is kept for this commit.
      type: str
    image_id:
      description: The id of the image. None when it is still to be built or pulled.
      type: str
    before:
      description: Image, image id and state before.
      type: dict
    containers:
      description: Name, id, state, health, image id, start time and exit code of each container.
      type: list
      elements: dict
images:
  description: The image id of each application service, as far as it is known.
  returned: success
  type: dict
left_as_is:
  description: Key paths in which the keep services, networks and volumes differ between current checkout and release.
    They are not put back. Values are left out, because they may be secrets. Only with O(tree).
  returned: success
  type: dict
  sample: {db: [command, environment.POSTGRES_INITDB_ARGS], network default: [labels.team]}
not_in_release:
  description: Application services that the release does not have. They are not started.
  returned: success
  type: list
  elements: str
not_started:
  description: Services of O(not_started) that have a container of the image that O(images) gives, not started.
  returned: success
  type: list
  elements: str
recreated:
  description: Services that got new containers.
  returned: success
  type: list
  elements: str
started:
  description: Services that were started or created.
  returned: success
  type: list
  elements: str
rolled:
  description: Services of O(rolling) that got new containers beside the former ones. They are in RV(recreated), too.
  returned: success
  type: list
  elements: str
  version_added: 0.2.0
not_rolled:
  description: Services of O(rolling) that serve and cannot run twice, with the reason. They are stopped and started.
  returned: success
  type: dict
  version_added: 0.2.0
config_files:
  description: The Compose files that were used.
  returned: success
  type: list
  elements: str
env_files:
  description: The environment files that were named to Compose. It reads a C(.env) beside its file by itself.
  returned: success
  type: list
  elements: str
seconds:
  description: How long it took.
  returned: success
  type: float
failed_services:
  description: The services whose image could not be built.
  returned: failed build
  type: list
  elements: str
output:
  description: The last lines of a build or a pull that failed.
  returned: failed build or pull
  type: str
unready:
  description: State, health log and last log lines of the containers of each service that did not come up.
  returned: failed start
  type: dict
states:
  description: What runs now, by service.
  returned: failed start
  type: dict
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.start import start_as_asked

ARGUMENTS = {
    "state": {"type": "str", "choices": ["prepared", "started"], "default": "started"},
    "project": {"type": "str", "required": True},
    "groups": {"type": "list", "elements": "list", "required": True},
    "keep": {"type": "list", "elements": "str", "default": []},
    "not_started": {"type": "list", "elements": "str", "default": []},
    "directory": {"type": "path", "required": True},
    "tree": {"type": "path"},
    "files": {"type": "list", "elements": "str", "default": []},
    "env_files": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "dict", "default": {}},
    "release": {"type": "str", "default": ""},
    "commit": {"type": "str", "default": ""},
    "base_commit": {"type": "str", "default": ""},
    "current_release": {"type": "str", "default": ""},
    "images": {"type": "dict", "default": {}},
    "pull": {"type": "str", "choices": ["missing", "never"], "default": "missing"},
    "build_timeout": {"type": "int", "default": 1800},
    "timeout": {"type": "int", "default": 120},
    "stable_for": {"type": "float", "default": 2},
    "one_shot": {"type": "list", "elements": "str", "default": []},
    "rolling": {"type": "list", "elements": "str", "default": []},
    "reload": {
        "type": "dict",
        "options": {
            "service": {"type": "str", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
        },
    },
    "settle": {"type": "float", "default": 2},
    "grace_periods": {"type": "dict", "default": {}},
    "log_lines": {"type": "int", "default": 40},
    "run_id": {"type": "str", "default": ""},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: start_as_asked(module.params, run, check=module.check_mode))


if __name__ == "__main__":
    main()
