#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The password of a login role of Postgres."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_role_password
short_description: Give a Postgres login role a new password, or lock it, and prove that the old one is refused
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - No SQL statement holds the password. The module computes the SCRAM-SHA-256 verifier itself and sends that,
    with C(scram_iterations) of the server where it has that setting. As a superuser it also keeps the verifier out of
    the log and the statistics of the server.
  - Then it proves by new connections, from the same host to O(db), that the new password works and that O(old_password)
    is refused. Where the server lets anybody in, for example by C(trust) in C(pg_hba.conf), the proof is
    C(inconclusive), never C(passed).
  - When a proof fails, the old verifier is put back, if the login is a superuser and so could read it.
  - To change the credentials of a whole application use the role C(rotate_credentials).
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell whether the role would change; refuses what would be refused.
  diff_mode:
    support: full
    description: Says whether the role gets a new password or is locked, and shows no password and no verifier.
  idempotent:
    support: full
    description:
      Nothing is changed when the password is the present one. That is read from the stored verifier, and without a
      superuser seen from a login. Where such a login proves nothing, because any password opens, it is set again.
  platform:
    support: full
    platforms: posix
    description: Linux. Needs Python 3.9 or later and psycopg2 2.9 or later; Postgres 13 or later.
extends_documentation_fragment: [usdx.rollback.postgres]
options:
  role:
    description: The login role.
    type: str
    required: true
  state:
    description:
      - V(present) gives it O(password) and lets it log in.
      - V(locked) takes the right to log in away, and its password too.
    type: str
    choices: [present, locked]
    default: present
  password:
    description: The new password. Needed with O(state=present).
    type: str
  old_password:
    description: A password that must be refused afterwards. Without it that is not proved.
    type: str
  end_sessions:
    description:
      - End the sessions of the role that began before the change; with O(state=locked) all of them. A session goes on
        when its password was changed, also that of an intruder.
    type: bool
    default: false
seealso:
  - module: community.postgresql.postgresql_user
  - module: usdx.rollback.credential_rotation
"""

EXAMPLES = r"""
- name: Give the role of the application a new password
  usdx.rollback.pg_role_password:
    project: usdx-wexel
    service: db
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    db: usdx_wexel
    role: usdx
    password: "{{ vault_new_password }}"
    old_password: "{{ vault_old_password }}"
    end_sessions: true

- name: Lock a role that nothing uses any more
  usdx.rollback.pg_role_password:
    login_host: 127.0.0.1
    login_user: postgres
    login_password: "{{ vault_postgres_password }}"
    db: usdx_wexel
    role: app_a
    state: locked
    end_sessions: true
"""

RETURN = r"""
role:
  description: The role.
  type: str
  returned: success
iterations:
  description: Iterations of the new verifier.
  type: int
  returned: success
login_before:
  description: Whether the role was allowed to log in before.
  type: bool
  returned: success
sessions_ended:
  description: How many sessions were ended.
  type: int
  returned: success
works:
  description:
    C(verdict) is C(passed) when a new connection with the new password works and one with a wrong password does not,
    C(inconclusive) when any password opens; C(why) says why it did not pass. Empty in check mode and when locked.
  type: dict
  returned: when options were accepted
  sample: {verdict: passed, why: ""}
refused:
  description:
    C(verdict) is C(passed) when a new connection with O(old_password) is refused, C(inconclusive) when that is not
    known; C(why) says why. Empty in check mode.
  type: dict
  returned: when options were accepted
  sample: {verdict: inconclusive, why: the old password is not known}
next_step:
  description: What to type or to change next.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import role_password
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import (
    LOGIN_ARGUMENTS,
    LOGIN_RULES,
    login_of,
)


def main() -> None:
    """Change the password and exit."""
    module = AnsibleModule(
        argument_spec={
            **LOGIN_ARGUMENTS,
            "role": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "locked"], "default": "present"},
            "password": {"type": "str", "no_log": True},
            "old_password": {"type": "str", "no_log": True},
            "end_sessions": {"type": "bool", "default": False},
        },
        **LOGIN_RULES,
        required_if=[("state", "present", ["password"])],
        supports_check_mode=True,
    )
    options = module.params
    wanted = role_password.Wanted(
        options["role"],
        options["password"] if options["state"] == "present" else None,
        options["old_password"],
        options["end_sessions"],
    )
    carry_out(
        module,
        lambda: role_password.set_password(login_of(options)[0], options["db"], wanted, check=module.check_mode),
    )


if __name__ == "__main__":
    main()
