#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find out whether what an application depends on is at fault."""

from __future__ import annotations

DOCUMENTATION = r"""
module: infrastructure_diagnosis
short_description: Find out whether a rollback will help, or what an application depends on is at fault
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Looks at the host, the Docker daemon, the containers of a Compose project and everything that the project depends
    on, all at once, and says whether a rollback will help, what the root cause is, what shows it, and what to do.
  - A dependency is asked from the host, and from the network of each container that uses it, with the names that the
    container knows. In a container nothing is started. This needs root and C(nsenter); where it cannot be done, the
    probe is C(inconclusive) and says why, and what the host saw stands beside it.
  - What cannot be found out is C(inconclusive), never C(passed).
  - Connections are made directly, not through a proxy.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to look, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: It only reads, so it does the same.
  diff_mode:
    support: N/A
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
  platform:
    support: full
    platforms: posix
    description: Linux. Needs Python 3.9 or later; for containers the Docker SDK, for Postgres psycopg2 2.9 or later.
options:
  project:
    description: Name of the Compose project.
    type: str
    required: true
  application_services:
    description: Services of the application, which a rollback stops and starts. They must run.
    type: list
    elements: str
    default: []
  keep_services:
    description: Services that a rollback keeps, such as the database. They must run.
    type: list
    elements: str
    default: []
  one_shot_services:
    description: Services that do their work and end with 0.
    type: list
    elements: str
    default: []
  dependencies:
    description: What the application depends on. No two have the same name.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How it is called in results.
        type: str
        required: true
      kind:
        description:
          - C(rpc) is a node that speaks JSON-RPC as Ethereum does, C(postgres), C(redis) and C(http) what they say.
          - C(tcp) takes a connection, C(tls) shows a certificate, C(dns) is a name that must resolve.
        type: str
        required: true
        choices: [rpc, postgres, redis, http, tcp, dns, tls]
      url:
        description: URL of C(rpc) and C(http). Of other kinds host and port are taken from it.
        type: str
      host:
        description: Host, as the services call it. By default that of O(dependencies[].url), else
          O(dependencies[].service).
        type: str
      port:
        description: Port, by default that of O(dependencies[].url), 5432, 6379 or 443.
        type: int
      service:
        description:
          - The service of this project that provides it, if one does. From the host it is asked at the address of its
            container.
        type: str
      used_by:
        description:
          - Services that use it, from whose networks it is asked as well. By default, where a service of the project
            provides it, those whose Compose file says that they depend on that service.
        type: list
        elements: str
      env_key:
        description: Variable of the environment file that holds its URL. Returned with the action to switch.
        type: str
      backup_url:
        description: URL, or host and port, of a replacement. It is asked like the first one, so a switch is only
          proposed when it works.
        type: str
      reference_url:
        description: Another C(rpc) node, with whose height that of this one is compared, from the host only. The
          O(dependencies[].headers) are not sent to it.
        type: str
      chain_id:
        description: The chain that C(rpc) must be on, as a number.
        type: int
      method:
        description: For C(rpc), a call of your own instead of those about blocks. An answer without an error is good.
        type: str
      params:
        description: Parameters of that call.
        type: list
        elements: raw
      headers:
        description: Headers for C(rpc) and C(http), such as those with a token.
        type: dict
      login_user:
        description: User of C(postgres) or C(redis). Without it Postgres is not asked by SQL.
        type: str
      login_password:
        description: Its password, the one that the services use.
        type: str
      db:
        description: Database of C(postgres).
        type: str
      replica:
        description: It is meant to be a replica, and to be read-only.
        type: bool
        default: false
      tls:
        description: Redis is spoken to over TLS.
        type: bool
        default: false
      status:
        description: Statuses of C(http) that are good. By default 200 to 399; redirects are not followed.
        type: list
        elements: int
      contains:
        description: Text that must stand in the first MiB of the body of C(http).
        type: str
      validate_certs:
        description: Whether certificates must be trusted.
        type: bool
        default: true
      ca_path:
        description: File with the certificates of trusted authorities, on the managed host.
        type: path
      timeout:
        description: Limit of each question, in seconds, at most 60.
        type: float
        default: 5
      limits:
        description: Limits that differ from the defaults.
        type: dict
        suboptions:
          max_latency:
            description: Milliseconds until the answer; 3000 by default.
            type: float
          max_lag:
            description: Blocks behind O(dependencies[].reference_url), or behind what the node says; 20 by default.
            type: float
          max_block_age:
            description: Age of the newest block in seconds; 300 by default.
            type: float
          min_tls_days:
            description: Days that a certificate must last; 14 by default.
            type: float
          max_connections_percent:
            description: Share of the connections of Postgres that may be used; 90 by default.
            type: float
          max_lock_wait:
            description: Seconds that a session of Postgres may wait for a lock; 10 by default.
            type: float
          max_transaction_age:
            description: Age of the oldest transaction of Postgres in seconds, those of pg_dump apart; 300 by default.
            type: float
          max_replication_lag:
            description: Seconds that a replica may be behind; 60 by default.
            type: float
          max_memory_percent:
            description: Share of its C(maxmemory) that Redis may use when it can evict nothing; 95 by default.
            type: float
  endpoints:
    description:
      - What users ask, to see whether they suffer. Keys are C(url), C(status), C(contains), C(headers), C(timeout) in
        seconds, C(max_latency) in milliseconds, C(validate_certs). Others are left out.
    type: list
    elements: dict
    default: []
  paths:
    description:
      - Paths whose disks matter beside those of the system, of Docker, and of containers that run.
    type: list
    elements: path
    default: []
  time_url:
    description:
      - A URL whose HTTP Date the clock is compared with. Dependencies on other hosts are compared with as well.
    type: str
  limits:
    description: Limits of the host and of containers that differ from the defaults.
    type: dict
    suboptions:
      min_disk_free_percent:
        description: A disk with less free space, in percent, is nearly full; 5 by default.
        type: float
      min_disk_free_megabytes:
        description: No disk with more free space, in MB, is nearly full; 2000 by default.
        type: float
      min_inodes_free_percent:
        description: Free inodes in percent; 3 by default.
        type: float
      min_memory_free_percent:
        description: Available memory in percent; 5 by default.
        type: float
      max_cpu_pressure:
        description: Share of the last minute, in percent, in which something waited for a processor; 90 by default.
        type: float
      max_io_pressure:
        description: The same for all work that waited for disks; 60 by default.
        type: float
      max_memory_pressure:
        description: The same for all work that waited for memory; 20 by default.
        type: float
      max_clock_offset:
        description: Seconds that the clock may be off; 5 by default.
        type: float
      max_log_megabytes:
        description: Size of the log of a container in MB; 2000 by default.
        type: float
      max_container_memory_percent:
        description: Share of its limit that a container may use; 95 by default.
        type: float
      crash_restarts:
        description: A container with so many restarts that runs only shortly is in a crash loop; 2 by default.
        type: float
      crash_seconds:
        description: How long shortly is, in seconds; 300 by default.
        type: float
  release_changed_recently:
    description: Whether the release was deployed recently. By default the age of the application's containers tells.
    type: bool
  release_recent_hours:
    description: How young, in hours, containers are for a release that was deployed recently.
    type: float
    default: 24
  began_with_release:
    description: Whether the errors began with the release, if somebody knows.
    type: bool
  previous_release:
    description: The release to go back to, for the command that is proposed.
    type: str
  docker_host:
    description: URL of the Docker daemon; without it the environment of the managed host decides.
    type: str
seealso:
  - module: usdx.rollback.version_verify
  - module: usdx.rollback.metrics_gate
"""

EXAMPLES = r"""
- name: Is it the release, or what it depends on?
  usdx.rollback.infrastructure_diagnosis:
    project: usdx-wexel
    application_services: [webapp, indexer, nginx]
    keep_services: [db, redis]
    paths: [/opt/usdx-wexel, /var/backups/usdx-wexel]
    endpoints:
      - url: https://api.usdx-wexel.com/health
    dependencies:
      - name: database
        kind: postgres
        service: db
        login_user: usdx
        login_password: "{{ vault_database_password }}"
        db: usdx_wexel
        used_by: [webapp, indexer]
      - name: redis
        kind: redis
        service: redis
        used_by: [webapp]
      - name: rpc
        kind: rpc
        url: "https://rpc.example.com/v2/{{ vault_rpc_key }}"
        chain_id: 1
        used_by: [indexer]
        env_key: RPC_URL
        backup_url: https://rpc-backup.example.com
        limits:
          max_block_age: 60
  register: found

- name: Show what was found
  ansible.builtin.debug:
    msg: "{{ found.verdict }}: {{ found.cause.summary | default('no cause found') }}"
"""

RETURN = r"""
verdict:
  description: C(rollback will help), C(rollback will not help) or C(cannot tell).
  type: str
  returned: success
cause:
  description:
    - The root cause. C(component) names it, C(fault) says in a word what is wrong, C(service) is its Compose service,
      C(summary) a sentence, C(explains) the components that only follow from it. Null when nothing was found.
  type: dict
  returned: success
causes:
  description: All root causes, the first one as RV(cause).
  type: list
  elements: dict
  returned: success
evidence:
  description: What shows it, a line each.
  type: list
  elements: str
  returned: success
unknown:
  description: What could not be found out and why, a line each.
  type: list
  elements: str
  returned: success
action:
  description:
    - What to do. C(kind) is C(restart_service), C(start_service), C(switch_dependency), C(free_disk), C(fix), C(wait),
      C(look), C(roll_back) or C(none). C(text) and C(command) are for a person; C(service), C(dependency) and
      C(env_key) name what is meant, or are empty.
  type: dict
  returned: success
probes:
  description: Everything that was looked at.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Component and kind.
      type: str
    component:
      description: What it is about, a dependency, a service, or a part of the host.
      type: str
    kind:
      description: What of it was looked at.
      type: str
    verdict:
      description: C(passed), C(failed) or C(inconclusive).
      type: str
    seen:
      description: What was seen, in words.
      type: str
    limit:
      description: What is good, in words.
      type: str
    fault:
      description: What is wrong, in a word; empty unless it failed.
      type: str
    from:
      description: Where from, C(host) or a service in whose network it was asked.
      type: str
    seconds:
      description: How long it took, in seconds.
      type: float
    affects:
      description: Services that cannot work without this part of the host; a star stands for all.
      type: list
      elements: str
    decides:
      description: False where only the host finds no way to something that its users reach.
      type: bool
counts:
  description: How many of the probes that decide C(passed), C(failed) or were C(inconclusive).
  type: dict
  returned: success
project:
  description: The Compose project.
  type: str
  returned: success
places:
  description: Where was looked from, C(host) and names of services.
  type: list
  elements: str
  returned: success
deployed_at:
  description: When the newest container of the application was made, in UTC; empty when there is none.
  type: str
  returned: success
seconds:
  description: How long it took, in seconds.
  type: float
  returned: success
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.diagnose import diagnose
from ansible_collections.usdx.rollback.plugins.module_utils.diagnosis.settings import (
    DEPENDENCY_LIMITS,
    HOST_LIMITS,
    KINDS,
    shown,
)

NAMES = {"type": "list", "elements": "str", "default": []}
DEPENDENCY = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
    "url": {"type": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "service": {"type": "str"},
    "used_by": {"type": "list", "elements": "str"},
    "env_key": {"type": "str", "no_log": False},
    "backup_url": {"type": "str"},
    "reference_url": {"type": "str"},
    "chain_id": {"type": "int"},
    "method": {"type": "str"},
    "params": {"type": "list", "elements": "raw"},
    "headers": {"type": "dict", "no_log": True},
    "login_user": {"type": "str"},
    "login_password": {"type": "str", "no_log": True},
    "db": {"type": "str"},
    "replica": {"type": "bool", "default": False},
    "tls": {"type": "bool", "default": False},
    "status": {"type": "list", "elements": "int"},
    "contains": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "float", "default": 5},
    "limits": {"type": "dict", "options": {name: {"type": "float"} for name in DEPENDENCY_LIMITS}},
}
ARGUMENTS = {
    "project": {"type": "str", "required": True},
    "application_services": NAMES,
    "keep_services": NAMES,
    "one_shot_services": NAMES,
    "dependencies": {"type": "list", "elements": "dict", "default": [], "options": DEPENDENCY},
    "endpoints": {"type": "list", "elements": "dict", "default": []},
    "paths": {"type": "list", "elements": "path", "default": []},
    "time_url": {"type": "str"},
    "limits": {"type": "dict", "options": {name: {"type": "float"} for name in HOST_LIMITS}},
    "release_changed_recently": {"type": "bool"},
    "release_recent_hours": {"type": "float", "default": 24},
    "began_with_release": {"type": "bool"},
    "previous_release": {"type": "str"},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Look and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; URLs and headers may hold tokens.
    module.params.update(shown(options))
    carry_out(module, lambda: diagnose(options))


if __name__ == "__main__":
    main()
