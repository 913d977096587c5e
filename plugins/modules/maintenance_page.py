#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A maintenance page in the place of a stopped application."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_page
short_description: Serve a maintenance page on the ports of stopped services
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Starts one small container on the ports that stopped services of a Compose project publish, and takes it away again.
    The ports are read from the containers, so nobody types them.
  - The page answers every request, on every path and with every method, with status 503, C(Retry-After),
    C(Cache-Control) C(no-store), and one HTML page that loads nothing; or with JSON where a client asks for it.
  - The module asks each port itself, and fails unless the page answers. Its header C(X-Maintenance-Page) tells it from
    everything else that may say 503.
  - The page comes back after a restart of the daemon or of the host. Compose, M(usdx.rollback.compose_stop) and
    M(usdx.rollback.compose_start) do not see it, because it does not have the labels of the project.
  - The container has a read-only root file system, no capabilities and no way to new ones, a limit of memory and of
    processes, and is in no network of the project. It runs as nobody, or as the owner of the TLS key.
  - While the page holds a port, a service that wants it does not start; the daemon says that the port is allocated.
    Remove the page first.
attributes:
  check_mode:
    support: full
    description: Looks at everything, refuses what would be refused, and changes nothing.
  diff_mode:
    support: full
    description: The page before and after, with its words, ports and image.
  idempotent:
    support: full
    description: A page that is served with the same words, ports, image and certificate is left as it is.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later, on the host of the Docker daemon.
requirements:
  - docker >= 5 (the Docker SDK for Python)
options:
  state:
    description:
      - V(served) serves the page. An earlier one with other words or ports is replaced, and comes back when the new one
        does not answer.
      - V(removed) takes it away, and sees that its ports are free.
      - V(status) says what is served and how it answers. It changes nothing.
    type: str
    choices: [served, removed, status]
    default: served
  project:
    description: Name of the Compose project, as C(docker compose ls --all) shows it.
    type: str
    required: true
  services:
    description:
      - Services that users reach. They must be stopped. The page takes the TCP ports that their containers publish.
      - Needed for V(served), unless O(ports) is given.
    type: list
    elements: str
    default: []
  ports:
    description:
      - Ports of the host instead of those of O(services). For a service in the network of the host, for one whose
        ports the daemon chooses, and where no container is left.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port of the host.
        type: int
        required: true
      address:
        description: The IP address at which it listens. Without it, all.
        type: str
        default: ""
      tls:
        description: Whether TLS is spoken there.
        type: bool
        default: false
  tls_ports:
    description: Ports of the host at which the stopped services speak TLS, besides 443 and 8443.
    type: list
    elements: int
    default: []
  tls_certificate:
    description:
      - Certificate with its chain, in PEM form, on the host. It is mounted read-only, not copied.
      - A TLS port stays closed, with a warning, where no certificate is given. Plain ports are served all the same.
    type: path
    default: ""
  tls_key:
    description: The key of O(tls_certificate), without a passphrase. The page runs as its owner to read it.
    type: path
    default: ""
  title:
    description: Title of the page, one line of at most 150 characters.
    type: str
    default: We will be back soon
  text:
    description: What users read, at most 2000 characters. An empty line begins a new paragraph. HTML is shown as it is.
    type: str
    default: The service is down for maintenance. Please try again later.
  contact:
    description: One line under the text; an e-mail address or an http(s) link can be clicked.
    type: str
    default: ""
  language:
    description: Language of the words, for screen readers, such as V(en) or V(pt-BR).
    type: str
    default: en
  retry_after:
    description: Seconds after which clients may ask again, 1 to 604800.
    type: int
    default: 600
  image:
    description:
      - Image that serves the page. It must be on the host.
      - Without it the image of the first of O(services) whose container has nginx. Only the program is taken from
        it, with a configuration of our own.
    type: str
    default: ""
  command:
    description:
      - The command that serves, where O(image) has no nginx. It runs as an unprivileged user and may write only to
        C(/tmp). It listens at C($MAINTENANCE_PORT), and with a certificate at C($MAINTENANCE_TLS_PORT) too.
        It answers with C($MAINTENANCE_DIRECTORY/page.html), C(Retry-After) C($MAINTENANCE_RETRY_AFTER),
        C(Cache-Control) C(no-store) and C(X-Maintenance-Page) C($MAINTENANCE_MARKER).
    type: list
    elements: str
    default: []
  pull:
    description: Whether O(image) is pulled when it is not on the host.
    type: bool
    default: false
  memory:
    description: Limit of memory in MiB, 8 to 4096.
    type: int
    default: 64
  assume_stopped:
    description: In check mode, plan as if O(services) were stopped. For a plan in which that comes before.
    type: bool
    default: false
  timeout:
    description: Seconds until every port must answer, or be free again; at least 0.5.
    type: float
    default: 15
  docker_host:
    description:
      - URL of the Docker daemon of this host. Without it the environment variable E(DOCKER_HOST) decides, then the
        local socket.
    type: str
seealso:
  - module: usdx.rollback.compose_stop
  - module: usdx.rollback.maintenance_dns
"""

EXAMPLES = r"""
- name: Stop what users reach, and keep it stopped
  usdx.rollback.compose_stop:
    project: usdx-wexel
    groups: [[nginx, webapp, indexer]]
    keep: [db, redis]
    hold: true

- name: Tell users why
  usdx.rollback.maintenance_page:
    project: usdx-wexel
    services: [nginx]
    title: We will be back soon
    text: The service is paused while we look at a problem. Your funds are safe.
    contact: https://status.usdx-wexel.com
    tls_certificate: /etc/letsencrypt/live/app.usdx-wexel.com/fullchain.pem
    tls_key: /etc/letsencrypt/live/app.usdx-wexel.com/privkey.pem

- name: The proxy has no nginx, so say what serves
  usdx.rollback.maintenance_page:
    project: usdx-wexel
    ports:
      - port: 80
    image: registry.example.com/maintenance:3
    command: [/usr/local/bin/serve-maintenance]

- name: See whether it is served
  usdx.rollback.maintenance_page:
    state: status
    project: usdx-wexel

- name: Take it away
  usdx.rollback.maintenance_page:
    state: removed
    project: usdx-wexel
"""

RETURN = r"""
served:
  description: Whether the page is served and answers at each of its ports.
  type: bool
  returned: success
page:
  description: The words of the page, its ports and its image.
  type: dict
  returned: success
ports:
  description: The ports of the page; with V(removed), those that became free. An empty address is all of them.
  type: list
  elements: dict
  returned: success
  sample: [{address: 127.0.0.1, port: 8080, tls: false}]
closed:
  description: TLS ports that stay closed because there is no certificate.
  type: list
  elements: dict
  returned: success
answers:
  description: For each port the URL that was asked, and what is wrong with its answer; empty when nothing is.
  type: list
  elements: dict
  returned: success
  sample: [{url: 'http://127.0.0.1:8080/', wrong: ''}]
marker:
  description: Value of the header C(X-Maintenance-Page) by which this page is known.
  type: str
  returned: success
  sample: 4c1d1f0a8b7c2e95
container:
  description: Id, name, state and start of the container; empty when there is none.
  type: dict
  returned: success
html:
  description: The page itself.
  type: str
  returned: success with O(state=served)
state:
  description: The state that was asked for.
  type: str
  returned: success
seconds:
  description: How long it took.
  type: float
  returned: success
holders:
  description: Who holds which port.
  type: list
  elements: str
  returned: when ports are taken
next_step:
  description: What to type or to change next.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.docker_client import connect
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_page import STATES, maintenance_page
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_plan import PageRequest

PORT = {
    "port": {"type": "int", "required": True},
    "address": {"type": "str", "default": ""},
    "tls": {"type": "bool", "default": False},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": list(STATES), "default": "served"},
    "project": {"type": "str", "required": True},
    "services": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "default": [], "options": PORT},
    "tls_ports": {"type": "list", "elements": "int", "default": []},
    "tls_certificate": {"type": "path", "default": ""},
    "tls_key": {"type": "path", "default": "", "no_log": False},
    "title": {"type": "str", "default": "We will be back soon"},
    "text": {"type": "str", "default": "The service is down for maintenance. Please try again later."},
    "contact": {"type": "str", "default": ""},
    "language": {"type": "str", "default": "en"},
    "retry_after": {"type": "int", "default": 600},
    "image": {"type": "str", "default": ""},
    "command": {"type": "list", "elements": "str", "default": []},
    "pull": {"type": "bool", "default": False},
    "memory": {"type": "int", "default": 64},
    "assume_stopped": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 15},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Serve the page, take it away, or look at it, and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = dict(module.params)
    docker_host = options.pop("docker_host")
    carry_out(
        module,
        lambda: maintenance_page(connect(docker_host), PageRequest(**options), check_mode=module.check_mode),
    )


if __name__ == "__main__":
    main()
