#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The lock of an environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Take, take over and release the lock of an environment, so that one run at a time works on it
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - The lock is the file C(lock.json) in O(state_directory) on the managed host. It says which run holds it, who started
    that run and what for, and in which process of which controller it is carried out.
  - The file is written whole or not at all, with mode 0600, in directories that belong to their owner only (mode 0700).
    Of two runs that ask in the same moment one gets it; C(lock.flock) beside it serves for that.
  - A lock outlives a run that was killed. Nothing takes it away by itself, since services may be down then. A run that
    finds it is refused, and told who holds it, whether that run is still at work, and what to type.
  - Whether the holder is at work is known where its process can be seen, on the managed host or on the controller that
    asks. Its process is V(gone) when it does not exist, has ended, or its number belongs to another one, and when its
    machine was started anew. Otherwise, for example for another controller, it is V(unknown), and the refusal says when
    the journal of that run was last written.
  - A holder whose journal says that the run is finished holds nothing any more, even when it was killed before it
    released the lock.
attributes:
  action:
    support: full
    description: A plugin on the controller fills in O(controller) and O(judged); what a task says there is ignored.
  async:
    support: none
    description: The plugin on the controller needs the answer.
  check_mode:
    support: full
    description: Writes nothing. Returns what would be done and refuses what would be refused.
  diff_mode:
    support: none
    description: RV(lock) and RV(taken_over) say what changed.
  idempotent:
    support: full
    description: A run that holds the lock already changes nothing, nor does releasing what is not held.
  platform:
    support: full
    platforms: posix
    description:
      Needs Python 3.9 or later. On a controller without C(/proc), such as macOS, only the process id is recorded, and
      whether it lives stays V(unknown).
options:
  state_directory:
    description: The directory of the lock and of all journals. It is made when it does not exist.
    type: path
    required: true
  run_id:
    description: The id of the run that wants the lock, for example C(20261124T150405Z-3f9a).
    type: str
    required: true
  state:
    description:
      - V(held) takes the lock, or fails when another run or another process of the same run holds it.
      - V(released) removes it if this run holds it in this process of the controller, and leaves any other.
    type: str
    choices: [held, released]
    default: held
  project:
    description: What the run works on, for those who find the lock.
    type: str
    default: ''
  scenario:
    description: What the run does, for those who find the lock.
    type: str
    default: ''
  reason:
    description: Why it is done, for those who find the lock. It must hold no secrets.
    type: str
    default: ''
  take_over:
    description:
      - The id of the run that shall lose the lock. Without it no lock is taken away.
      - It must name the run that holds the lock. V(unknown) names the holder of a damaged lock.
      - A run that is seen to be at work keeps its lock in any case.
      - Where nobody holds the lock, the option changes nothing.
    type: str
    default: ''
  controller:
    description: Who runs Ansible. Set by the action plugin.
    type: dict
    suboptions:
      user:
        description: The user of AWX who launched the job, or the one who is logged in on the controller.
        type: str
        default: ''
      host:
        description: The name of the controller.
        type: str
        default: ''
      boot_id:
        description: The id of the boot of its machine.
        type: str
        default: ''
      process_namespace:
        description: The process namespace, which is another one in each container.
        type: str
        default: ''
      machine_id:
        description: A digest of the id of the machine.
        type: str
        default: ''
      pid:
        description: The process id of C(ansible-playbook) in that namespace.
        type: int
        default: 0
      started:
        description: When that process started, in clock ticks since the boot.
        type: int
        default: 0
      job:
        description: The number of the AWX job, or empty.
        type: str
        default: ''
  judged:
    description:
      - Whether a holder lives whose process is seen on the controller that asks. Set by the action plugin.
      - It counts for that holder only. When the lock has another one meanwhile, it is passed over.
    type: dict
    suboptions:
      run_id:
        description: The run that was judged.
        type: str
        required: true
      pid:
        description: Its process.
        type: int
        required: true
      since:
        description: Since when it holds the lock.
        type: str
        required: true
      sign:
        description: Its sign of life.
        type: str
        choices: [alive, gone, unknown]
        required: true
      evidence:
        description: How that is known.
        type: str
        required: true
seealso:
  - module: usdx.rollback.run_journal
"""

EXAMPLES = r"""
- name: Let no other run work here
  usdx.rollback.run_lock:
    state_directory: /var/lib/usdx-rollback/shop
    run_id: 20261124T150405Z-3f9a
    project: shop
    scenario: application_bug
    reason: orders fail since 14:50

- name: Take the place of a run that was cut off
  usdx.rollback.run_lock:
    state_directory: /var/lib/usdx-rollback/shop
    run_id: 20261124T161207Z-90c1
    take_over: 20261124T150405Z-3f9a

- name: Let others work here
  usdx.rollback.run_lock:
    state_directory: /var/lib/usdx-rollback/shop
    run_id: 20261124T161207Z-90c1
    state: released
"""

RETURN = r"""
lock:
  description:
    - What stands in the lock now, or in check mode would stand there. Empty when there is none.
    - The RV(lock.run_id) of a damaged one is C(unknown).
  type: dict
  returned: success
  contains:
    run_id:
      description: The run that holds it.
      type: str
    project:
      description: What it works on.
      type: str
    scenario:
      description: What it does.
      type: str
    reason:
      description: Why.
      type: str
    since:
      description: When it took the lock, in UTC by the clock of the managed host.
      type: str
    journal_events:
      description: How many events its journal had then. An end that was written before is not the end of this holder.
      type: int
    controller:
      description: Who runs it, with the keys of O(controller).
      type: dict
taken_over:
  description:
    - The lock that was there before and was taken over, with the keys of RV(lock).
    - Empty when the environment was free. It is also set when the run before was finished and killed before it
      released the lock.
  type: dict
  returned: success
controller:
  description: Who runs Ansible, with the keys of O(controller).
  type: dict
  returned: success, or refused because of another holder
holder:
  description: Who holds the lock, with the keys of RV(lock).
  type: dict
  returned: refused because of another holder
step:
  description: The step that the holder started last, by its journal. Empty before the first one.
  type: str
  returned: refused because of another holder
sign:
  description: Whether the holder is at work, V(alive), V(gone) or V(unknown).
  type: str
  returned: refused because of another holder
evidence:
  description: How that is known, in words.
  type: str
  returned: refused because of another holder
path:
  description: The file that cannot be used.
  type: str
  returned: refused because a file or directory cannot be used
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.lock import lock_as_asked

TEXT = {"type": "str", "default": ""}
NUMBER = {"type": "int", "default": 0}
CONTROLLER = {
    "user": TEXT,
    "host": TEXT,
    "boot_id": TEXT,
    "process_namespace": TEXT,
    "machine_id": TEXT,
    "pid": NUMBER,
    "started": NUMBER,
    "job": TEXT,
}
JUDGED = {
    "run_id": {"type": "str", "required": True},
    "pid": {"type": "int", "required": True},
    "since": {"type": "str", "required": True},
    "sign": {"type": "str", "required": True, "choices": ["alive", "gone", "unknown"]},
    "evidence": {"type": "str", "required": True},
}
ARGUMENTS = {
    "state_directory": {"type": "path", "required": True},
    "run_id": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["held", "released"], "default": "held"},
    "project": TEXT,
    "scenario": TEXT,
    "reason": TEXT,
    "take_over": TEXT,
    "controller": {"type": "dict", "options": CONTROLLER},
    "judged": {"type": "dict", "options": JUDGED},
}


def main() -> None:
    """Take or release the lock and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: lock_as_asked(**module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
