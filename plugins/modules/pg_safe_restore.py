#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A backup becomes the live database, by a change of names."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_safe_restore
short_description: Restore a Postgres database beside the live one, prove it, and change the names
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Loads a backup into a new database beside the live one (the side database), with owner, privileges and settings of
    the live one, counts and verifies it, gathers statistics, and only then changes the names in one transaction. The
    former live database is kept, frozen, until V(cleaned).
  - The live database is never a work area. Whatever fails before the cutover, the side database is dropped and the live
    one is as it was. A run that was killed leaves at most a side database, which the next run drops.
  - Backups are outputs of C(pg_dump), plain SQL or the custom format, each also in gzip, or the directory format. What
    a file is decides its content. No C(psql) takes part and no meta-command of a dump is ever carried out.
  - A dump is SQL and runs with the rights of O(login_user). Restore only backups that you trust.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to restore, and not the module, where it can. For
      V(restored) and V(verified) it runs that as a job, shows its progress on the screen without C(-v), and finds a job
      again that a controller which was ended had begun.
  async:
    support: full
    description: With C(async) the module runs as any other, and nothing is shown.
  check_mode:
    support: full
    description: Reads the whole backup as a load would, looks at the server, and says what would be and which rows
      would be lost.
  diff_mode:
    support: full
    description: Rows per table before and after, and the names of databases. The rows of the live database are counted
      for it.
  idempotent:
    support: full
    description: Nothing changes when the live database was restored from this very backup, unless O(force).
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later and psycopg2 2.9 or later; Postgres 13 or later.
extends_documentation_fragment: [usdx.rollback.postgres]
options:
  state:
    description:
      - V(verified) loads and proves the side database and leaves it ready; V(restored) does the same, or takes the one
        that is ready, and changes the names.
      - V(copied) puts a copy of the live database into its place and keeps the live one, so that what comes next, such
        as a migration that is reverted, works on the copy and can be undone. Stop what uses the database before. A
        second call with the same O(run_id) does nothing; to begin anew with what was half done on the copy, undo it
        first, with that run in both O(undo_of) and O(run_id).
      - V(undone) changes the names back. The restored database is then the one that is kept. With O(undo_of) it undoes
        what that run changed and nothing else.
      - V(cleaned) drops databases that earlier runs left, by O(keep) and O(min_age_hours).
    type: str
    choices: [restored, verified, copied, undone, cleaned]
    default: restored
  backup:
    description: Path of the backup on the managed host. Needed for V(restored) and V(verified).
    type: path
  jobs:
    description: How many connections load rows and build indexes side by side.
    type: int
    default: 2
  verify_queries:
    description: Queries that the loaded backup must answer as expected. They run reading only.
    type: list
    elements: dict
    default: []
    suboptions:
      query:
        description: One SELECT; the first column of its first row counts.
        type: str
        required: true
      equals:
        description: What the answer must be, compared as text.
        type: raw
      minimum:
        description: The least number that the answer may be.
        type: float
      timeout:
        description: Limit in seconds.
        type: float
        default: 60
  expected_rows:
    description: How many rows tables of the backup must hold. Unlike O(verify_queries), check mode looks at it too.
    type: list
    elements: dict
    default: []
    suboptions:
      table:
        description: The table with its schema, as in RV(tables).
        type: str
        required: true
      equals:
        description: So many rows exactly.
        type: int
      minimum:
        description: At least so many rows.
        type: int
  min_rows_ratio:
    description:
      - The least share of the live database's rows that the backup must hold, from 0 (any) to 1. Check mode counts the
        live rows, a load takes the estimate of the last C(ANALYZE).
    type: float
    default: 0
  cutover:
    description:
      - V(catalog_lock) lets newcomers wait while the names change, so that nobody is refused; it needs a superuser.
        V(fence) refuses newcomers for some milliseconds; for some tenths of a second when autovacuum is at work on one
        of the two databases and the login is no superuser. V(auto) tries the first and falls back to the second.
    type: str
    choices: [auto, catalog_lock, fence]
    default: auto
  cutover_timeout:
    description: How long the sessions on the live database may take to end, in seconds. They are ended by the server.
    type: float
    default: 3
  min_free_ratio:
    description:
      - Free space that the disk of the live database must have, as a multiple of that database's size, or of the
        backup's if that is larger. While a load goes on, this disk and that of the server's log are watched, and the
        load is given up before one is full.
    type: float
    default: 1.2
  allow_newer_dump:
    description: Accept a dump of a newer major version of Postgres than the server's.
    type: bool
    default: false
  allow_other_tables:
    description: Accept a dump that has no table in common with the live database.
    type: bool
    default: false
  allow_replication_objects:
    description: Accept that replication slots and subscriptions of the live database stay with the kept one.
    type: bool
    default: false
  dumped_database:
    description: The name that an archive gives as its origin, when it is not O(db).
    type: str
    default: ''
  force:
    description: Restore although the live database was restored from this very backup before.
    type: bool
    default: false
  keep:
    description: How many of the newest kept databases V(cleaned) leaves.
    type: int
    default: 1
  min_age_hours:
    description: V(cleaned) drops only what is older, in hours.
    type: float
    default: 24
  run_id:
    description: The run that this belongs to, noted on the databases. V(cleaned) drops nothing of the same run.
    type: str
    default: ''
  undo_of:
    description:
      - Only with O(state=undone). The run, by its O(run_id), whose change is undone; the database that was live before
        it comes back. Without this option the newest kept database comes back, whichever run kept it.
      - An undo is undone by naming the O(run_id) that it had.
      - Nothing changes when this was done by an earlier call with the same O(run_id) (RV(already)), and when no
        database here was kept by that run, or its change was undone by another run (RV(nothing_to_undo)). A database
        that V(cleaned) has dropped cannot be known any more.
      - Refused when a later run changed the live database again; that one must be undone first.
    type: str
    default: ''
  progress_file:
    description:
      - File on the managed host to which a line of JSON is appended when a phase begins and ends, and once a second
        while it goes on. It is made with mode 0600.
      - The action plugin sets it, reads it and removes it. If you set it, the file is yours and nothing is shown on the
        screen.
    type: path
seealso:
  - module: usdx.rollback.pg_backup_info
  - module: usdx.rollback.pg_safe_backup
"""

EXAMPLES = r"""
- name: Load and prove the backup while the application serves
  usdx.rollback.pg_safe_restore:
    state: verified
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel
    backup: /var/backups/usdx-wexel/postgres/usdx_wexel_20241228_014500.sql.gz
    verify_queries:
      - query: SELECT count(*) FROM pools
        minimum: 1

- name: Change the names
  usdx.rollback.pg_safe_restore:
    state: restored
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel
    backup: /var/backups/usdx-wexel/postgres/usdx_wexel_20241228_014500.sql.gz

- name: Take it back
  usdx.rollback.pg_safe_restore:
    state: undone
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel

- name: Take back what one run changed, and only that
  usdx.rollback.pg_safe_restore:
    state: undone
    undo_of: 20261124T193000Z-4f2a
    run_id: 20261124T201500Z-91bc
    project: usdx-wexel
    service: db
    login_user: usdx
    login_password: "{{ vault_database_password }}"
    db: usdx_wexel
"""

RETURN = r"""
database:
  description: The live database.
  type: str
  returned: success
live_oid:
  description: Object id of the live database at the beginning.
  type: int
  returned: success
restored_oid:
  description: Object id of the database that took its place.
  type: int
  returned: when names were changed
old_database:
  description: The name under which the former live database is kept.
  type: str
  returned: when names were changed, or had been before
attached:
  description: That this is the result of a load which an earlier run with the same options had begun.
  type: bool
  returned: when its controller was ended before it
already:
  description: When the wanted state was reached by an earlier run.
  type: str
  returned: when nothing had to be done
nothing_to_undo:
  description: That the run O(undo_of) keeps no database here, so that there is nothing to bring back.
  type: bool
  returned: when it is so
undone_by:
  description: The run that has undone the run O(undo_of); empty for one without an id.
  type: str
  returned: when it was undone before
later_run:
  description: The run that changed the live database after the run O(undo_of).
  type: str
  returned: when it is refused because of that
databases:
  description: The databases that the run O(undo_of) and RV(later_run) keep.
  type: list
  elements: str
  returned: when it is refused because of that
side_database:
  description: The database that was loaded beside the live one.
  type: str
  returned: for V(restored) and V(verified), outside check mode
reused:
  description: Whether a side database that an earlier run had verified was taken.
  type: bool
  returned: for V(restored) and V(verified)
sha256:
  description: Sum of the backup's file; of a directory, of its table of contents and the sizes of its files.
  type: str
  returned: for V(restored) and V(verified)
bytes:
  description: Size of the backup's file; for V(copied), of the live database.
  type: int
  returned: when it was loaded or copied
dump:
  description: What the dump says of itself.
  type: dict
  returned: when it was read
tables:
  description: Rows per table, as counted in the loaded database; in check mode, as counted in the dump.
  type: dict
  returned: for V(restored) and V(verified)
rows_total:
  description: Their sum.
  type: int
  returned: success
live_rows:
  description: Rows per table in the live database.
  type: dict
  returned: in check mode
lost_rows:
  description: By table, how many rows the live database has more than the backup; for V(undone), more than when it
    was restored.
  type: dict
  returned: in check mode; for V(undone) where one restore is undone whose rows were noted, in up to 200 tables
queries:
  description: The answers to O(verify_queries), each with C(query), C(value), C(verdict) and C(reason).
  type: list
  elements: dict
  returned: when it was loaded
lost:
  description: What could not be carried over from the live database; C(owners), C(grants), C(settings), each a list
    of sentences.
  type: dict
  returned: for V(restored) and V(verified), outside check mode
cutover:
  description: How the names were changed; C(variant), C(milliseconds) of the try that succeeded, C(sessions_ended).
  type: dict
  returned: when names were changed
phases_seconds:
  description: Seconds per phase.
  type: dict
  returned: success
dropped:
  description: The databases that were dropped, each with C(name), C(kind), C(at) and C(bytes).
  type: list
  elements: dict
  returned: for V(cleaned)
left:
  description: The databases that stay.
  type: list
  elements: str
  returned: for V(cleaned)
live_untouched:
  description: Whether the live database is as it was.
  type: bool
  returned: on failure
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.postgres import restore
from ansible_collections.usdx.rollback.plugins.module_utils.postgres.options import (
    LOGIN_ARGUMENTS,
    LOGIN_RULES,
)

ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "state": {"type": "str", "choices": ["restored", "verified", "copied", "undone", "cleaned"], "default": "restored"},
    "backup": {"type": "path"},
    "jobs": {"type": "int", "default": 2},
    "verify_queries": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "query": {"type": "str", "required": True},
            "equals": {"type": "raw"},
            "minimum": {"type": "float"},
            "timeout": {"type": "float", "default": 60},
        },
    },
    "expected_rows": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"table": {"type": "str", "required": True}, "equals": {"type": "int"}, "minimum": {"type": "int"}},
        "required_one_of": [("equals", "minimum")],
    },
    "min_rows_ratio": {"type": "float", "default": 0},
    "cutover": {"type": "str", "choices": ["auto", "catalog_lock", "fence"], "default": "auto"},
    "cutover_timeout": {"type": "float", "default": 3},
    "min_free_ratio": {"type": "float", "default": 1.2},
    "allow_newer_dump": {"type": "bool", "default": False},
    "allow_other_tables": {"type": "bool", "default": False},
    "allow_replication_objects": {"type": "bool", "default": False},
    "dumped_database": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
    "keep": {"type": "int", "default": 1},
    "min_age_hours": {"type": "float", "default": 24},
    "run_id": {"type": "str", "default": ""},
    "undo_of": {"type": "str", "default": ""},
    "progress_file": {"type": "path"},
}
RULES: dict[str, Any] = {
    **LOGIN_RULES,
    "required_if": [("state", state, ("backup",)) for state in ("restored", "verified")],
}


def main() -> None:
    """Bring the database into the wanted state and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, **RULES, supports_check_mode=True)
    check, diff = module.check_mode, module._diff  # noqa: SLF001 - Ansible has no public name for it
    carry_out(module, lambda: restore.restore_as_asked(module.params, check=check, diff=diff))


if __name__ == "__main__":
    main()
