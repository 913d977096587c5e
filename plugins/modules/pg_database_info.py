#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a database is, and how its schema differs from that of a backup."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_database_info
short_description: Say what a Postgres database was restored from, what is kept of it, and how it differs from a backup
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Tells which backup the live database was restored from by M(usdx.rollback.pg_safe_restore), and which databases of
    earlier runs stand beside it.
  - With O(backup) it compares the schemas, so that a rollback can tell whether the database must go back at all.
    Compared is what an application depends on, as C(pg_dump --schema-only) writes it. Owners, privileges, comments,
    rows and the order of columns are not.
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
    description: Linux. Needs Python 3.9 or later and psycopg2 2.9 or later; Postgres 13 or later.
extends_documentation_fragment: [usdx.rollback.postgres]
options:
  schema:
    description: Return RV(schema) also without O(backup). Needs C(pg_dump), on the host or in the server's container.
    type: bool
    default: false
  backup:
    description:
      - A backup on the managed host to compare with. It is read to its end.
      - Schemas are only comparable when the same major version of C(pg_dump) wrote them.
    type: path
  timeout:
    description: How long C(pg_dump --schema-only) may take, in seconds.
    type: float
    default: 120
seealso:
  - module: usdx.rollback.pg_backup_info
  - module: usdx.rollback.pg_safe_restore
"""

EXAMPLES = r"""
- name: Does the release's backup have the same schema?
  usdx.rollback.pg_database_info:
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel
    backup: /var/backups/usdx-wexel/postgres/usdx_wexel_20241228_014500.sql.gz
  register: found

- name: Show how they differ
  ansible.builtin.debug:
    var: found.comparison.differences
"""

RETURN = r"""
database:
  description: The live database.
  type: str
  returned: success
live_oid:
  description: Its object id.
  type: int
  returned: success
owner:
  description: Its owner.
  type: str
  returned: success
bytes:
  description: Its size on the disk of the server.
  type: int
  returned: success
kept:
  description: Former live databases that are kept, the newest first; C(name), C(oid), C(kind), C(at), C(run_id),
    C(backup).
  type: list
  elements: dict
  returned: success
side:
  description: Databases that were loaded beside it, with the same keys and C(state).
  type: list
  elements: dict
  returned: success
restored_from:
  description: The one of RV(kept) whose place it took; C(backup) there is what it was restored from. Empty when it was
    not restored.
  type: dict
  returned: success
schema:
  description: C(sha256) tells whether two schemas are equal; C(pg_dump_version) wrote it.
  type: dict
  returned: with O(schema) or O(backup)
comparison:
  description: C(comparable), C(equal), C(differences) as sentences, C(backup), C(backup_pg_dump_version),
    C(backup_sha256). When it is not comparable, C(equal) and C(differences) are left out.
  type: dict
  returned: with O(backup)
next_step:
  description: What to type or to change next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.database_info import database_info_as_asked
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import LOGIN_ARGUMENTS, LOGIN_RULES

ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "schema": {"type": "bool", "default": False},
    "backup": {"type": "path"},
    "timeout": {"type": "float", "default": 120},
}


def main() -> None:
    """Look and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, **LOGIN_RULES, supports_check_mode=True)
    carry_out(module, lambda: database_info_as_asked(module.params))


if __name__ == "__main__":
    main()
