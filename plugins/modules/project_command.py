#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The project's own scripts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: project_command
short_description: Run the project's own scripts
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Runs scripts of the project, such as C(scripts/notify_rollback.sh), one after the other, without a shell and each
    within a time limit. All are run, also after one that failed.
  - A script that is missing or not executable, returns another code than 0 or does not end in time has failed. By
    default that is a warning, so that a notification that cannot be sent does not hold up a rollback.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to run the commands, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Runs no command, and says of each whether it could be run.
  diff_mode:
    support: none
    description: What a script of the project changes is not known.
  idempotent:
    support: none
    description: Every call runs the commands.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later and timeout of GNU coreutils.
options:
  commands:
    description: The commands, in their order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the command is for, in messages. Without it, the name of the file that it runs.
        type: str
      argv:
        description:
          - The command and its arguments. Nothing in them is expanded.
          - A relative command with a slash is below O(chdir); one without a slash is looked for in C(PATH).
        type: list
        elements: str
        required: true
      timeout:
        description: Limit in seconds. Without it, that of O(timeout).
        type: float
      on_failure:
        description: What a failure is. Without it, what O(on_failure) says.
        type: str
        choices: [warn, stop]
  chdir:
    description: The directory in which they run.
    type: path
  timeout:
    description: Limit in seconds, for each command. At its end the command and all processes of its group are ended.
    type: float
    default: 60
  on_failure:
    description: Whether a failure is a warning (V(warn)) or a failure of the module (V(stop)).
    type: str
    choices: [warn, stop]
    default: warn
  environment:
    description: Variables that are added to their environment. Their values are not shown. A secret belongs
        here, and not in O(commands).
    type: dict
    default: {}
seealso:
  - module: ansible.builtin.command
"""

EXAMPLES = r"""
- name: Tell the team
  usdx.rollback.project_command:
    commands:
      - argv: [./scripts/notify_rollback.sh, "Rolling back to v1.0.2"]
      - argv: [./scripts/update_status_page.sh, investigating]
        timeout: 30
    chdir: /opt/usdx-wexel

- name: Run the smoke tests
  usdx.rollback.project_command:
    commands:
      - name: smoke tests
        argv: [./scripts/test_deployment.sh, production]
    chdir: /opt/usdx-wexel
    timeout: 300
    on_failure: stop
"""

RETURN = r"""
results:
  description: What each command did, in the order of O(commands).
  type: list
  elements: dict
  returned: when options were accepted
  contains:
    name:
      description: What the command is for.
      type: str
    changed:
      description: Whether it ran, or in check mode whether it would.
      type: bool
    rc:
      description: What it returned; null when it did not run.
      type: int
    stdout:
      description: The last 4000 characters that it wrote to standard output.
      type: str
    stderr:
      description: The last 4000 characters that it wrote to standard error.
      type: str
    seconds:
      description: How long it ran, in seconds.
      type: float
    timed_out:
      description: Whether it was ended because of its limit.
      type: bool
    verdict:
      description: C(passed) or C(failed). In check mode, whether it could be run.
      type: str
    reason:
      description: Why it failed, in words; empty when it did not.
      type: str
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.project_command import project_command

COMMAND = {
    "name": {"type": "str"},
    "argv": {"type": "list", "elements": "str", "required": True},
    "timeout": {"type": "float"},
    "on_failure": {"type": "str", "choices": ["warn", "stop"]},
}
ARGUMENTS = {
    "commands": {"type": "list", "elements": "dict", "required": True, "options": COMMAND},
    "chdir": {"type": "path"},
    "timeout": {"type": "float", "default": 60},
    "on_failure": {"type": "str", "choices": ["warn", "stop"], "default": "warn"},
    "environment": {"type": "dict", "default": {}},
}


def main() -> None:
    """Run the commands and exit."""
    # no_log keeps the invocation out of syslog only: the environment may hold secrets.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; of the environment it shows the names.
    module.params["environment"] = dict.fromkeys(options["environment"], "not shown")
    carry_out(module, lambda: project_command(options, run, check=module.check_mode))


if __name__ == "__main__":
    main()
