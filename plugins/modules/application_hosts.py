#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Refuse an inventory without application hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: application_hosts
short_description: Refuse an inventory without application hosts
version_added: 0.2.0
description:
  - Fails when no host is found. Ansible itself ends with success when a play matches no host, and a rollback that did
    nothing must not look like one that worked.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: The process of the task on the controller does all of it. No module is sent anywhere.
  check_mode:
    support: full
    description: Does the same in check mode, because it only looks.
  diff_mode:
    support: N/A
    description: There is no diff, because nothing changes.
  idempotent:
    support: full
    description: It changes nothing.
  platform:
    support: full
    platforms: posix
    description: The controller.
options:
  pattern:
    description: The pattern that application hosts match, for the message.
    type: str
    required: true
  hosts:
    description: The hosts of the inventory that match it.
    type: list
    elements: str
    required: true
seealso:
  - plugin: ansible.builtin.inventory_hostnames
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Find the application hosts
  usdx.rollback.application_hosts:
    pattern: rollback_app
    hosts: "{{ query('ansible.builtin.inventory_hostnames', 'rollback_app') }}"
"""

RETURN = r"""
hosts:
  description: The hosts.
  returned: success
  type: list
  elements: str
  sample: [app1.example, app2.example]
next_step:
  description: What to do about a failure.
  returned: failure
  type: str
"""
