#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Put a rehearsal on record, or write the report of one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rehearsal_report
short_description: Put a rehearsal on record, or write the report of one
version_added: 0.2.0
description:
  - With O(state_directory), on the host, it puts together what a rehearsal has measured, and adds it to the record from
    which plans take how long a rollback takes. The newest 200 are kept.
  - With O(directory), on the controller, it writes C(rehearsal.md), C(rehearsal.json) and C(junit.xml) from that
    record, with the mode 0600.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: none
    description: Returns what changed.
  idempotent:
    support: none
    description: Every call adds a record, or writes the files again.
  platform:
    support: full
    platforms: posix
    description: Where it runs.
options:
  state_directory:
    description: Where the runs of production keep their records.
    type: path
  rehearsal:
    description:
      - What is known of the rehearsal; with O(directory), the RV(record) that the first call returned.
    type: dict
    required: true
  run:
    description:
      - The rollback of the copy, the C(run) of M(usdx.rollback.run_info). Without one nothing was measured.
    type: dict
    default: {}
  directory:
    description: Where the files of the report are written. It is made when it does not exist.
    type: path
seealso:
  - module: usdx.rollback.rehearsal_stack
  - module: usdx.rollback.run_info
"""

EXAMPLES = r"""
- name: Put it on record
  usdx.rollback.rehearsal_report:
    state_directory: /var/lib/usdx-rollback/shop
    run: "{{ found.run }}"
    rehearsal:
      run_id: 20261124T150405Z-3f9a
      project: shop
      host: shop-1
      version: v1.0.2
      started: "2026-11-24T15:04:05.000+00:00"
      ended: "2026-11-24T15:06:05.000+00:00"
      untouched: true
  register: put

- name: Write the report
  usdx.rollback.rehearsal_report:
    directory: ~/.local/state/usdx-rollback/shop/rehearsals/20261124T150405Z-3f9a
    rehearsal: "{{ put.record }}"
  delegate_to: localhost
"""

RETURN = r"""
record:
  description:
    - What was measured and predicted; C(state) is succeeded or failed, C(outage) the seconds from the begin of the stop
      to the end of the start, null when that was not measured.
  returned: with O(state_directory)
  type: dict
path:
  description: The record of rehearsals.
  returned: with O(state_directory)
  type: str
files:
  description: The path of each file, by its name.
  returned: with O(directory)
  type: dict
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.rehearsal_record import recorded, reported


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "state_directory": {"type": "path"},
            "rehearsal": {"type": "dict", "required": True},
            "run": {"type": "dict", "default": {}},
            "directory": {"type": "path"},
        },
        required_one_of=[("state_directory", "directory")],
        mutually_exclusive=[("state_directory", "directory")],
        supports_check_mode=True,
    )
    state, told, run, directory = (module.params[name] for name in ("state_directory", "rehearsal", "run", "directory"))
    carry_out(
        module,
        lambda: (
            recorded(state, told, run, check=module.check_mode)
            if state
            else reported(directory, told, check=module.check_mode)
        ),
    )


if __name__ == "__main__":
    main()
