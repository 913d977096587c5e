#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look at backups without a server."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup_info
short_description: Say which Postgres backups are whole, when they were taken, and which is the newest
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Looks at outputs of C(pg_dump) on the managed host, without a server. Content, never a name, decides what it is.
  - A backup is whole when it decodes to its end, has pg_dump's proof of the end, and every COPY in it is closed; and
    when its sidecar, if it has one, agrees. The sidecar is the file C(<backup>.meta.json) that
    M(usdx.rollback.pg_safe_backup) writes.
  - File times are never used, because copying a file changes them. Memory does not grow with the backup.
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
    description: Needs Python 3.9 or later.
options:
  path:
    description:
      - A backup, or a directory whose backups are looked at. Directories inside it are not searched, but one that
        C(pg_dump --format=directory) made counts as a backup.
    type: path
    required: true
  pattern:
    description: A glob that the names in the directory must match. Names with a leading dot only match one that has it.
    type: str
    default: '*'
  file_time_zone:
    description:
      - Time zone of the times in file names, and of the times that dumps say of themselves, which are local times of
        the host that made them. A name with only a day counts as the end of that day.
    type: str
    default: UTC
  not_after:
    description:
      - Only backups that were taken at or before this moment are read and chosen. ISO 8601 with a time zone.
    type: str
  database:
    description: Leave backups out that say that they are of another database. A plain dump without sidecar says none.
    type: str
  read:
    description:
      - V(whole) reads backups to their end; V(newest) does so from the newest on, until one is whole; V(head) only
        looks at their beginnings and their sidecars, and so does not know whether they are whole.
    type: str
    choices: [whole, newest, head]
    default: whole
  limit:
    description: How many of the newest backups are read to their end.
    type: int
    default: 10
seealso:
  - module: usdx.rollback.pg_safe_backup
  - module: usdx.rollback.pg_safe_restore
"""

EXAMPLES = r"""
- name: Find the newest whole backup from before the deployment
  usdx.rollback.pg_backup_info:
    path: /var/backups/usdx-wexel/postgres
    database: usdx_wexel
    file_time_zone: Europe/Zurich
    not_after: "2024-12-28T01:45:00Z"
  register: found

- name: Show it
  ansible.builtin.debug:
    msg: "{{ found.newest.path if found.newest else found.reasons }}"
"""

RETURN = r"""
backups:
  description: What was found, the newest first, those of unknown time last.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Where it is.
      type: str
    format:
      description: V(plain), V(custom) or V(directory); empty when it is none of them.
      type: str
    compression:
      description: Of the file, or of the data inside.
      type: str
    bytes:
      description: Size on disk.
      type: int
    whole:
      description: Whether it is whole; null when it was not read or could not be.
      type: bool
    reason:
      description: Why it is not whole or was not read.
      type: str
    notes:
      description: What else is remarkable. These are also warnings of the module.
      type: list
      elements: str
    taken_at:
      description: When it was taken, ISO 8601 in UTC; null when that is not known.
      type: str
    taken_at_source:
      description: V(sidecar), V(archive header), V(dump header), V(file name) or V(unknown).
      type: str
    sha256:
      description: Sum of the file; empty when it was not read, and for a directory.
      type: str
    database:
      description: The database that was dumped, if the backup or its sidecar says it.
      type: str
    server_version:
      description: Version of the server that was dumped.
      type: str
    pg_dump_version:
      description: Version of pg_dump.
      type: str
    release:
      description: The release that ran, from the sidecar.
      type: str
    tables:
      description: Rows per table.
      type: dict
    rows_total:
      description: Their sum.
      type: int
    sidecar:
      description: Path of the sidecar; empty when there is none.
      type: str
newest:
  description: The newest whole backup, at or before O(not_after); null when there is none. The keys are those above.
  returned: success
  type: dict
reasons:
  description: Why each of the others was passed over.
  returned: success
  type: list
  elements: str
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.backup_info import backup_info

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "pattern": {"type": "str", "default": "*"},
    "file_time_zone": {"type": "str", "default": "UTC"},
    "not_after": {"type": "str"},
    "database": {"type": "str"},
    "read": {"type": "str", "choices": ["whole", "newest", "head"], "default": "whole"},
    "limit": {"type": "int", "default": 10},
}


def main() -> None:
    """Look and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: backup_info(module.params))


if __name__ == "__main__":
    main()
