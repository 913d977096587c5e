#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""New secrets for an application, on its servers and in its environment file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: credential_rotation
short_description: Rotate the secrets of an application on its servers and in its environment file, without a lock-out
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Makes new secrets for database roles, Redis users and variables of an environment file, gives them to the servers,
    writes the file, and proves that the new ones work and the old ones are refused.
  - Secrets are made on the managed host and never leave it. They are in no result, no message and no argument of a
    command. Postgres gets a SCRAM-SHA-256 verifier, not the password.
  - Before anything changes, old and new secrets are written to the file C(pending.json) in O(directory), mode 0600 in a
    directory of mode 0700. A call that was cut off is finished by the next one, which takes the secrets from there. The
    file is removed at the end, with O(state=finished) and with O(state=put_back).
  - The order is V(changed), a restart of RV(services) by M(usdx.rollback.compose_stop) and
    M(usdx.rollback.compose_start), V(finished). The role C(rotate_credentials) does that.
attributes:
  check_mode:
    support: full
    description: Looks at the servers and the file, refuses what would be refused, and says what would be rotated.
  diff_mode:
    support: full
    description: Names the credentials that change, never a value.
  idempotent:
    support: partial
    description: A credential that was rotated under the same O(rotation) is not rotated again. Without it each is.
  platform:
    support: full
    platforms: posix
    description:
      Linux. Needs Python 3.9 or later, the Docker SDK for Python, and for Postgres psycopg2 2.9 or later; Postgres 13
      or later, Redis 6.2 or later without TLS.
options:
  state:
    description:
      - V(changed) has new secrets on the servers and in the file.
      - V(finished) proves them, locks the role that is left and ends sessions that began with an old secret. A proof
        that fails is an error; then nothing is forgotten.
      - V(put_back) has the old secrets on the servers and in the file.
      - V(finished) and V(put_back) change nothing where no rotation is pending.
    type: str
    choices: [changed, finished, put_back]
    default: changed
  environment_file:
    description: The environment file. It is replaced at once, and readable by its owner only from then on.
    type: path
    required: true
  directory:
    description: The private directory for the notes of a rotation. It must outlive a reboot.
    type: path
    required: true
  rotation:
    description: What the rotation is called, best the run id.
    type: str
    default: ""
  project:
    description: The Compose project of the services and servers.
    type: str
    required: true
  docker_host:
    description: URL of the Docker daemon; without it the environment of the managed host decides.
    type: str
  postgres:
    description: How Postgres is reached; needed for the kind V(postgres).
    type: dict
    suboptions:
      db:
        description: The database to which the application connects; the proofs connect there.
        type: str
        required: true
      service:
        description: The Compose service of the server, in O(project). Not together with O(postgres.login_host).
        type: str
      login_host:
        description: Host of the server.
        type: str
      login_port:
        description: Port of the server.
        type: int
        default: 5432
      login_user:
        description:
          - The role that changes the others, a superuser or one with C(CREATEROLE). When it is itself among those that
            are rotated, its password is also looked for in the environment file and in the notes.
        type: str
        default: postgres
      login_password:
        description: Its password.
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
        description: A database that always exists.
        type: str
        default: postgres
  credentials:
    description: What is rotated.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: How it is called in plan and result. No two have the same.
        type: str
        required: true
      kind:
        description:
          - V(postgres) is the password of a role, or of two that take turns; V(redis) that of a user.
          - V(env) is a value that only the application knows, such as a key for sessions.
          - V(command) is a value that a command of yours gets from where it is issued.
          - V(manual) is an open item for a person.
        type: str
        required: true
        choices: [postgres, redis, env, command, manual]
      env_keys:
        description:
          - Variables of the environment file that hold the secret. In a URL only the password is changed, with
            percent-encoding.
        type: list
        elements: str
      services:
        description: Services that use it, and are restarted.
        type: list
        elements: str
      role:
        description: The login role, for the kind V(postgres).
        type: str
      roles:
        description:
          - Two login roles that take turns, instead of O(credentials[].role). The one that is not used gets the new
            password, the application goes over to it, then the other is locked. So there is no moment without a valid
            password. Both must be members of the same owner and have nothing of their own.
        type: list
        elements: str
      user_keys:
        description: Variables that hold the name of the role, where it is not in a URL.
        type: list
        elements: str
      service:
        description: The Compose service of Redis.
        type: str
      port:
        description: Its port in its container. 6379 where it is not given.
        type: int
      user:
        description: The user of Redis. C(default) where it is not given, the one of C(requirepass).
        type: str
      admin_key:
        description: For another user than C(default), the variable that holds the password of C(default).
        type: str
      length:
        description: Characters of a new secret, 16 to 512. 43 where it is not given, 256 bits with V(urlsafe).
        type: int
      alphabet:
        description: Characters of a new secret. V(urlsafe) where it is not given.
        type: str
        choices: [urlsafe, alphanumeric, hex]
      argv:
        description:
          - The command and its arguments, for the kind V(command). What it prints on standard output, one line of at
            most 4096 bytes, is the new value. It may run twice when a call was cut off while it ran.
        type: list
        elements: str
      chdir:
        description: The directory in which it runs.
        type: path
      timeout:
        description: Limit in seconds. 60 where it is not given.
        type: float
      note:
        description: What a person has to do; listed in RV(open_items).
        type: str
seealso:
  - module: usdx.rollback.pg_role_password
  - module: usdx.rollback.environment_file
  - module: usdx.rollback.compose_start
"""

EXAMPLES = r"""
- name: New secrets on servers and in the environment file
  usdx.rollback.credential_rotation:
    state: changed
    environment_file: /opt/usdx-wexel/.env
    directory: /var/lib/usdx-rollback/usdx-wexel/credentials
    rotation: 20261124T160728Z-960a
    project: usdx-wexel
    postgres:
      db: usdx_wexel
      service: db
      login_user: postgres
      login_password: "{{ vault_postgres_password }}"
    credentials:
      - name: database
        kind: postgres
        roles: [app_a, app_b]
        env_keys: [DATABASE_URL]
        services: [webapp, indexer]
      - name: cache
        kind: redis
        service: redis
        env_keys: [REDIS_URL]
        services: [webapp]
      - name: sessions
        kind: env
        env_keys: [SESSION_SECRET]
        services: [webapp]
      - name: RPC node
        kind: command
        argv: [./scripts/new_rpc_key.sh]
        chdir: /opt/usdx-wexel
        env_keys: [RPC_URL]
        services: [indexer]
      - name: mail provider
        kind: manual
        note: make a new key in its console, and remove the old one there

# restart webapp and indexer here

- name: Prove them, and lock what is old
  usdx.rollback.credential_rotation:
    state: finished
    environment_file: /opt/usdx-wexel/.env
    directory: /var/lib/usdx-rollback/usdx-wexel/credentials
    rotation: 20261124T160728Z-960a
    project: usdx-wexel
    credentials: "{{ rollback_credentials }}"
"""

RETURN = r"""
rotation:
  description: What the rotation is called.
  type: str
  returned: success
credentials:
  description: Each credential. None of it is secret.
  type: list
  elements: dict
  returned: success, and failures of a proof
  contains:
    name:
      description: Its name.
      type: str
    kind:
      description: Its kind.
      type: str
    action:
      description: C(rotate), C(go on) with a rotation that was cut off, C(rotated before), or C(by a person).
      type: str
    roles:
      description: Its roles.
      type: list
    variables:
      description: Variables of the environment file that change with it.
      type: list
    services:
      description: Services that use it.
      type: list
    gap:
      description: What the application sees, in words; C(without a gap) for two roles.
      type: str
    works:
      description: With O(state=finished), whether the new secret works, C(verdict) and C(why).
      type: dict
    refused:
      description: With O(state=finished), whether the old secret is refused, C(verdict) and C(why).
      type: dict
    worked_before:
      description: With O(state=finished), whether the old secret worked before the rotation.
      type: bool
    sessions_ended:
      description: With O(state=finished), how many sessions were ended.
      type: int
    gap_seconds:
      description: With O(state=finished), seconds from the change of the server to the proof; null without a gap.
      type: float
services:
  description: Services that use what is rotated.
  type: list
  elements: str
  returned: success
running:
  description: Those of them that run, with the id of their image.
  type: dict
  returned: success
not_running:
  description: Those of them that do not run. They take the new values when they are started.
  type: list
  elements: str
  returned: success
open_items:
  description: What is left to a person, in sentences.
  type: list
  elements: str
  returned: success
next_step:
  description: What to type or to change next.
  type: str
  returned: failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils import credential_rotation
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.credentials import KINDS, from_options
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import LOGIN_ARGUMENTS, login_of

_STRING = {"type": "str"}
_LIST = {"type": "list", "elements": "str"}
# The names of variables and their lengths are no secrets, whatever they are called.
_NAMES = {"type": "list", "elements": "str", "no_log": False}
CREDENTIAL = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
    "env_keys": _NAMES,
    "services": _LIST,
    "role": _STRING,
    "roles": _LIST,
    "user_keys": _NAMES,
    "service": _STRING,
    "port": {"type": "int"},
    "user": _STRING,
    "admin_key": {"type": "str", "no_log": False},
    "length": {"type": "int"},
    "alphabet": {"type": "str", "choices": ["urlsafe", "alphanumeric", "hex"]},
    "argv": _LIST,
    "chdir": {"type": "path"},
    "timeout": {"type": "float"},
    "note": _STRING,
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["changed", "finished", "put_back"], "default": "changed"},
    "environment_file": {"type": "path", "required": True},
    "directory": {"type": "path", "required": True},
    "rotation": {"type": "str", "default": ""},
    "project": {"type": "str", "required": True},
    "docker_host": _STRING,
    "postgres": {
        "type": "dict",
        "options": {name: spec for name, spec in LOGIN_ARGUMENTS.items() if name not in {"project", "docker_host"}},
        "mutually_exclusive": [("service", "login_host")],
        "required_one_of": [("service", "login_host")],
    },
    "credentials": {"type": "list", "elements": "dict", "required": True, "options": CREDENTIAL},
}


def request_of(options: dict[str, Any]) -> credential_rotation.Request:
    """Return the request that the options make."""
    postgres = dict(options["postgres"] or {})
    place = {"project": options["project"] if postgres.get("service") else None, "docker_host": options["docker_host"]}
    return credential_rotation.Request(
        credentials=from_options(options["credentials"], has_postgres=bool(postgres)),
        environment_file=options["environment_file"],
        directory=options["directory"],
        rotation=options["rotation"],
        project=options["project"],
        docker_host=options["docker_host"],
        database=postgres.get("db", ""),
        login_user=postgres.get("login_user", ""),
        login=lambda: login_of({**postgres, **place})[0],
    )


def main() -> None:
    """Rotate and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params
    carry_out(
        module, lambda: credential_rotation.rotate(request_of(options), options["state"], check=module.check_mode)
    )


if __name__ == "__main__":
    main()
