#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a backup that exists whole and verified, or not at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_safe_backup
short_description: Make a Postgres backup that exists whole and verified, or not at all
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Runs C(pg_dump) without a terminal, writes its output to a private file, reads that back to its end, and only then
    gives it its name, with a sidecar C(<backup>.meta.json) beside it. Nothing is overwritten.
  - Whatever fails or ends it before, no file appears under that name, and what was written so far is removed. After a
    kill that cannot be caught a hidden file C(.<name>.partial-*) stays; a later run removes it once it is a day old.
  - C(pg_dump) of the managed host is used if its major version is the server's, else the one in the server's container,
    else a newer one of the host. The password is never among its arguments and never in a file.
attributes:
  check_mode:
    support: full
    description: Checks login, directory, C(pg_dump) and free space, and says where the backup would be.
  diff_mode:
    support: full
    description: The path of the backup.
  idempotent:
    support: none
    description: Each call makes one more backup.
  platform:
    support: full
    platforms: posix
    description: Linux. Needs Python 3.9 or later and psycopg2 2.9 or later; Postgres 13 or later.
extends_documentation_fragment: [usdx.rollback.postgres]
options:
  directory:
    description: Where the backup is put, on the managed host. A directory that does not exist is made, with mode 0700.
    type: path
    required: true
  name:
    description:
      - Name of the file; C(.sql.gz) or C(.dump) is appended if it is missing. Without it the name is made of database
        and time in UTC, as in C(usdx_wexel_20241228_014500.sql.gz).
    type: str
    default: ''
  format:
    description: V(plain) is SQL in gzip; V(custom) is the archive of C(pg_dump --format=custom).
    type: str
    choices: [plain, custom]
    default: plain
  compression_level:
    description: From 0 (none, fast) to 9 (small, slow).
    type: int
    default: 6
  release:
    description: The release that runs, noted in the sidecar.
    type: str
    default: ''
  commit:
    description: Its commit, noted in the sidecar.
    type: str
    default: ''
  run_id:
    description: The run that this belongs to, noted in the sidecar.
    type: str
    default: ''
  timeout:
    description: How long C(pg_dump) may take, in seconds.
    type: float
    default: 3600
  min_free_ratio:
    description: Free space that the directory must have, as a multiple of the database's size.
    type: float
    default: 0.5
seealso:
  - module: usdx.rollback.pg_backup_info
  - module: usdx.rollback.pg_safe_restore
"""

EXAMPLES = r"""
- name: Make a safety backup before the rollback
  usdx.rollback.pg_safe_backup:
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel
    directory: /var/backups/usdx-wexel/postgres
    release: v1.0.3
"""

RETURN = r"""
path:
  description: The backup.
  type: str
  returned: success
sidecar:
  description: Its sidecar.
  type: str
  returned: success
format:
  description: V(plain) or V(custom).
  type: str
  returned: success
taken_at:
  description: When it was begun, by the clock of the server, ISO 8601 in UTC.
  type: str
  returned: success
server_version:
  description: Version of the server.
  type: str
  returned: success
pg_dump_version:
  description: Version of C(pg_dump).
  type: str
  returned: success
bytes:
  description: Size of the file.
  type: int
  returned: outside check mode
sha256:
  description: Its sum.
  type: str
  returned: outside check mode
tables:
  description: Rows per table, as read back from the file.
  type: dict
  returned: outside check mode
rows_total:
  description: Their sum.
  type: int
  returned: outside check mode
seconds:
  description: How long it took.
  type: float
  returned: outside check mode
next_step:
  description: What to type or to change next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import safe_backup
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import (
    LOGIN_ARGUMENTS,
    LOGIN_RULES,
    login_of,
)

ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "directory": {"type": "path", "required": True},
    "name": {"type": "str", "default": ""},
    "format": {"type": "str", "choices": ["plain", "custom"], "default": "plain"},
    "compression_level": {"type": "int", "default": 6},
    "release": {"type": "str", "default": ""},
    "commit": {"type": "str", "default": ""},
    "run_id": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 3600},
    "min_free_ratio": {"type": "float", "default": 0.5},
}


def main() -> None:
    """Make the backup and exit."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        **LOGIN_RULES,
        supports_check_mode=True,
    )
    carry_out(module, lambda: safe_backup.safe_backup(module.params, login_of, check=module.check_mode))


if __name__ == "__main__":
    main()
