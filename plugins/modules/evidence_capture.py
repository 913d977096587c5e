#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Border of the module evidence_capture: argument spec, call, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence_capture
short_description: Take evidence of a security incident before anything is changed, seal it, and verify it
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Takes what a Compose project and its host know of themselves into a private directory, what fades first is taken
    first. It writes nowhere else, and starts, stops, pauses and removes nothing. Containers may run or be stopped.
  - What is refused or missing is a finding, named with its reason in the result and in the manifest. It does not fail
    the module.
  - Everything is streamed, so memory does not grow with logs or files. Nothing begins on a disk that has too little
    room, and a capture stops before it fills one.
  - Environment files, inspections, command lines and sessions hold secrets. They stay in the directory; the result has
    counts, sizes, names and sums only.
  - At the end C(manifest.json) is written, with the sum of each file, what it is, when and how it was taken, and by
    whom; files get mode 0400 and directories 0500. The sum of the manifest is RV(manifest_sha256). Note it elsewhere.
  - A call that was killed is gone on with by the next one with the same directory. Nothing is overwritten; what was cut
    off stays, is taken again under another name, and the manifest says so.
  - Contents of volumes are not taken. For a database use M(usdx.rollback.pg_safe_backup), between a call with
    O(state=collected) and one with O(state=sealed).
attributes:
  check_mode:
    support: full
    description: Refuses what a real call would refuse, and says what would be taken and about how much room it needs.
  diff_mode:
    support: full
    description: The directory. Never what is in it.
  idempotent:
    support: full
    description: A second call for a sealed directory verifies its sums and changes nothing.
  platform:
    support: full
    platforms: posix
    description: Linux. Needs Python 3.9 or later; best run as root, because others may not read all of it.
requirements:
  - docker >= 5 (the Docker SDK for Python), for what Docker knows
  - psycopg2 >= 2.9, with O(database)
  - age or gpg, with O(encrypt)
options:
  state:
    description:
      - V(sealed) takes O(items) and seals the directory.
      - V(collected) only takes them, so that more can be put into the directory before it is sealed.
      - V(verified) compares a sealed or encrypted capture with its sums, and fails with the names of files that are
        damaged, missing or not of it.
    type: str
    choices: [sealed, collected, verified]
    default: sealed
  project:
    description: Name of the Compose project, the label C(com.docker.compose.project). Needed for what Docker knows.
    type: str
  project_directory:
    description: Git checkout of the project. Without it V(repository) and V(project_files) have nothing to take.
    type: path
  docker_host:
    description: URL of the Docker daemon; without it the environment of the managed host decides.
    type: str
  directory:
    description:
      - Where the evidence is put, an absolute path on the managed host. It is made with mode 0700; one that exists must
        belong to the user of Ansible, must give nobody else a right, and must be empty or hold this capture.
      - When empty, C(evidence/RUN_ID) in O(state_directory). There no cleanup drops it.
    type: path
    default: ""
  state_directory:
    description: The state directory of the runs, for the default of O(directory).
    type: path
    default: /var/lib/usdx-rollback
  run_id:
    description: The run that takes it; noted in the manifest.
    type: str
    default: ""
  operator:
    description: Who takes it; noted in the manifest.
    type: str
    default: ""
  items:
    description:
      - What to take. All but V(file_systems) by default.
      - V(processes), those of the host and of each container; V(network), connections, interfaces, routes and packet
        filters of the host and of each container; V(database), see O(database).
      - V(containers), inspection and list of changed files of each container of the project, also stopped ones;
        V(docker), events as far as the daemon remembers, all containers, images, networks and volumes of the host.
      - V(logs), with times. Of a log that is longer than O(max_item_mb) beginning and end are kept, in parts.
      - V(changed_files), the files that each container has changed, as one archive with an index. V(file_systems), the
        whole file system of each container, as C(docker export) gives it; no image is made for that.
      - V(images), inspection and history. V(repository), what Git says; no program that its configuration names is
        run, so files of a filter such as Git LFS show as edited.
      - V(project_files), a list of all files, and those that Git does not hold, environment files and hooks among them.
      - V(host), logins, logins that failed, users, sudo, keys by fingerprint, cron, units, end of the logs.
    type: list
    elements: str
    choices: [processes, network, database, containers, docker, logs, changed_files, file_systems, images, repository,
      project_files, host]
    default: [processes, network, database, containers, docker, logs, changed_files, images, repository, project_files,
      host]
  events_hours:
    description: How far back events of Docker are asked for, in hours. The daemon remembers the last 256 only.
    type: float
    default: 24
  max_item_mb:
    description: Limit for one item, in MiB, at least 1. The rest of it is left, and the manifest says so.
    type: int
    default: 512
  max_total_mb:
    description: Limit for all items together, in MiB, at least 1. Items behind it are named as not taken.
    type: int
    default: 8192
  item_seconds:
    description: Limit in seconds for one item, at least 1; what was read until then is kept.
    type: float
    default: 600
  controller_time:
    description:
      - The time of the controller, ISO 8601, read just before the call. The manifest then says by how many seconds the
        clock of the host is ahead; the way to the host is part of that.
    type: str
    default: ""
  database:
    description:
      - A Postgres server whose roles, sessions, settings, rules of access, extensions and newest objects are taken. No
        superuser is needed; what the role may not read is named as refused. Each transaction is read-only.
    type: dict
    suboptions:
      db:
        description: The database.
        type: str
        required: true
      project:
        description: The Compose project of the server, with O(database.service). Not together with
          O(database.login_host).
        type: str
      service:
        description: The Compose service of the server; the address of its running container is used.
        type: str
      docker_host:
        description: URL of the Docker daemon; without it the environment of the managed host decides.
        type: str
      login_host:
        description: Host of the server, or the directory of its Unix socket.
        type: str
      login_port:
        description: Port of the server.
        type: int
        default: 5432
      login_user:
        description: The role that logs in.
        type: str
        default: postgres
      login_password:
        description: Its password. Without one, the password file of the user applies.
        type: str
      ssl_mode:
        description: The C(sslmode) of libpq.
        type: str
        choices: [allow, disable, prefer, require, verify-ca, verify-full]
        default: prefer
      ca_cert:
        description: File with the certificates of trusted authorities.
        type: path
      maintenance_db:
        description: A database that always exists; not used here, but accepted as in the other modules.
        type: str
        default: postgres
  brought:
    description: Files that others have put into the directory before it is sealed; one that is not there fails.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path below the directory.
        type: str
        required: true
      what:
        description: What it is.
        type: str
        required: true
      by:
        description: What made it.
        type: str
        default: ""
  encrypt:
    description:
      - Encrypts the sealed directory into one archive beside it, and removes the plain copy when the archive is whole
        on the disk. A receipt C(DIRECTORY.receipt.json) holds its sum. A tool or key that does not work is refused
        before anything is taken. About twice the room is needed.
    type: dict
    suboptions:
      tool:
        description: The program, on the managed host.
        type: str
        choices: [age, gpg]
        default: age
      public_key:
        description: File with the public key on the managed host; recipients of age, or an exported key of gpg.
        type: path
        required: true
  manifest_sha256:
    description: What the sum of the manifest must be, when a capture is verified. Without it the manifest is trusted.
    type: str
    default: ""
seealso:
  - module: usdx.rollback.pg_safe_backup
  - module: usdx.rollback.compose_stop
"""

EXAMPLES = r"""
- name: Take evidence and seal it, encrypted for the people who look into the incident
  usdx.rollback.evidence_capture:
    project: usdx-wexel
    project_directory: /opt/usdx-wexel
    state_directory: /var/lib/usdx-rollback/usdx-wexel
    run_id: 20261124T160728Z-960a
    operator: ann
    database:
      db: usdx_wexel
      project: usdx-wexel
      service: db
      login_user: usdx
      login_password: "{{ vault_database_password }}"
    encrypt:
      tool: age
      public_key: /etc/usdx-rollback/incident.pub
  register: evidence

- name: Is the evidence still what was sealed?
  usdx.rollback.evidence_capture:
    state: verified
    directory: /var/lib/usdx-rollback/usdx-wexel/evidence/20261124T160728Z-960a
    manifest_sha256: 7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730
"""

RETURN = r"""
state:
  description: C(planned), C(collected), C(sealed) or C(encrypted).
  type: str
  returned: success
directory:
  description: Where the evidence is, or was before it was encrypted.
  type: str
  returned: success
manifest:
  description: The manifest.
  type: str
  returned: when it is sealed and plain
manifest_sha256:
  description: Its sum. Note it where an intruder of this host cannot write.
  type: str
  returned: when it is sealed
files:
  description: How many files there are.
  type: int
  returned: success
bytes:
  description: Their size.
  type: int
  returned: success
groups:
  description: For each group of items, how many were tried, and how many files and bytes they became. In check mode
    C(bytes) is about what they take at most.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The group, as in O(items).
      type: str
    item_count:
      description: How many items it has.
      type: int
    files:
      description: How many files they became.
      type: int
    bytes:
      description: Their size.
      type: int
not_taken:
  description: What was refused, missing or cut, at most 50 of them; the manifest has all.
  type: list
  elements: dict
  returned: success
  contains:
    item:
      description: The file that it would have become.
      type: str
    what:
      description: What it is.
      type: str
    verdict:
      description: C(refused), C(missing), or C(cut) when a part of it was taken.
      type: str
    why:
      description: Why.
      type: str
not_taken_count:
  description: How many there are.
  type: int
  returned: when evidence was taken
attempts:
  description: How many calls took evidence into the directory.
  type: int
  returned: success
started:
  description: When the first began, in UTC.
  type: str
  returned: when it is sealed and plain
ended:
  description: When it was sealed, in UTC.
  type: str
  returned: when it is sealed and plain
needed_bytes:
  description: About how many bytes the items take at most; of a log whose size is not known, the limit.
  type: int
  returned: when evidence is taken or planned
free_bytes:
  description: Bytes that were free on that disk before.
  type: int
  returned: when evidence is taken or planned
encrypted:
  description: The encrypted archive, C(path), C(sha256), C(bytes) and C(tool).
  type: dict
  returned: with O(encrypt)
damaged:
  description: Files that are not as they were sealed.
  type: list
  elements: str
  returned: when a capture does not verify
missing:
  description: Files that are gone.
  type: list
  elements: str
  returned: when a capture does not verify
extra:
  description: Files that the manifest does not name.
  type: list
  elements: str
  returned: when a capture does not verify
next_step:
  description: What to type or to change next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.evidence.capture import (
    GROUPS,
    NOT_BY_DEFAULT,
    evidence_capture,
)
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import (
    LOGIN_ARGUMENTS,
    LOGIN_RULES,
    login_of,
)

BROUGHT = {
    "path": {"type": "str", "required": True},
    "what": {"type": "str", "required": True},
    "by": {"type": "str", "default": ""},
}
ENCRYPT = {
    "tool": {"type": "str", "choices": ["age", "gpg"], "default": "age"},
    "public_key": {"type": "path", "required": True, "no_log": False},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["sealed", "collected", "verified"], "default": "sealed"},
    "project": {"type": "str"},
    "project_directory": {"type": "path"},
    "docker_host": {"type": "str"},
    "directory": {"type": "path", "default": ""},
    "state_directory": {"type": "path", "default": "/var/lib/usdx-rollback"},
    "run_id": {"type": "str", "default": ""},
    "operator": {"type": "str", "default": ""},
    "items": {
        "type": "list",
        "elements": "str",
        "choices": list(GROUPS),
        "default": [one for one in GROUPS if one not in NOT_BY_DEFAULT],
    },
    "events_hours": {"type": "float", "default": 24},
    "max_item_mb": {"type": "int", "default": 512},
    "max_total_mb": {"type": "int", "default": 8192},
    "item_seconds": {"type": "float", "default": 600},
    "controller_time": {"type": "str", "default": ""},
    "database": {"type": "dict", "options": LOGIN_ARGUMENTS, **LOGIN_RULES},
    "brought": {"type": "list", "elements": "dict", "default": [], "options": BROUGHT},
    "encrypt": {"type": "dict", "options": ENCRYPT},
    "manifest_sha256": {"type": "str", "default": ""},
}


def main() -> None:
    """Take evidence, or verify it, and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: evidence_capture(module.params, login_of, check=module.check_mode))


if __name__ == "__main__":
    main()
