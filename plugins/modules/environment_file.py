#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Set variables of an environment file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_file
short_description: Set variables of an environment file
version_added: 0.1.0
description:
  - Sets variables of a file such as C(.env) by name, or takes them out. Every other line, the owner, the group and the
    mode stay.
  - The file is replaced at once by a complete new one, never written in place.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to set variables, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: full
    description: Returns what changed, only the named variables, because other lines may hold secrets.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
  platform:
    support: full
    platforms: posix
    description: Where it runs.
options:
  path:
    description:
      - The environment file. It must exist; a link is followed.
    type: path
    required: true
  variables:
    description:
      - Variables to set, by name. Values are written without quotes, so only letters, digits and the characters
        underscore, dot, comma, colon, slash, at, percent, plus, question mark, equals and minus are accepted.
      - A variable that is null is taken out of the file, with all lines that set it.
      - Not meant for secrets, the values before and after are returned.
    type: dict
    required: true
seealso:
  - module: ansible.builtin.lineinfile
  - module: usdx.rollback.release_checkout
"""

EXAMPLES = r"""
- name: Name the release that Compose shall run
  usdx.rollback.environment_file:
    path: /opt/usdx-wexel/.env
    variables:
      APP_VERSION: 1.0.2

- name: Put back what was before, also that a variable was not set
  usdx.rollback.environment_file:
    path: /opt/usdx-wexel/.env
    variables:
      APP_VERSION: 1.0.3
      APP_REGISTRY: null
"""

RETURN = r"""
before:
  description: The variables before, by name; null for one that was not set.
  returned: success
  type: dict
  sample: {"APP_VERSION": "1.0.3"}
after:
  description: The variables now, by name; null for one that is not set.
  returned: success
  type: dict
  sample: {"APP_VERSION": "1.0.2"}
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""


from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.environment_file import set_as_asked

ARGUMENTS = {
    "path": {"type": "path", "required": True},
    "variables": {"type": "dict", "required": True},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: set_as_asked(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
