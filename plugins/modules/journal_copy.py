#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep a copy of the journal of a run on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: journal_copy
short_description: Keep a copy of the journal of a run on the controller
version_added: 0.2.0
description:
  - Writes the events of the journal of a host into a file on the controller, whatever the host of the task. The host
    may be lost next.
  - The file gets the mode 0600, and directories that are made the mode 0700.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: The process of the task on the controller does all of it. No module is sent anywhere.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: none
    description: Returns what changed.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
  platform:
    support: full
    platforms: posix
    description: The controller.
options:
  directory:
    description: Where the copies of the run are. It is made if need be.
    type: path
    required: true
  host:
    description: The host. The file is C(HOST.jsonl).
    type: str
    required: true
  events:
    description: What the journal holds.
    type: list
    elements: dict
    required: true
seealso:
  - module: usdx.rollback.run_report
  - module: usdx.rollback.run_journal
"""

EXAMPLES = r"""
- name: Read the journal
  usdx.rollback.run_info:
    run_id: 20261124T150405Z-3f9a
  register: told

- name: Keep a copy of it
  usdx.rollback.journal_copy:
    directory: ~/.local/state/usdx-rollback/usdx-wexel/20261124T150405Z-3f9a
    host: "{{ inventory_hostname }}"
    events: "{{ told.run.events }}"
"""

RETURN = r"""
path:
  description: The copy.
  returned: success
  type: str
  sample: ~/.local/state/usdx-rollback/usdx-wexel/20261124T150405Z-3f9a/app.jsonl
next_step:
  description: What to do about a failure.
  returned: failure
  type: str
"""
