#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the runs of a host from their journals."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_info
short_description: Read the runs of a host from their journals
version_added: 0.2.0
description:
  - Lists the runs that have left a journal below O(state_directory), the newest first, and says how each stands.
  - Chooses on request the run to go on with, or the run to undo, and refuses where the choice is not safe.
  - Torn lines and journals of earlier versions are read as far as they go. A journal that cannot be read is listed as
    such.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to read the journals, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: N/A
    description: Returns what changed; this module changes nothing.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
  platform:
    support: full
    platforms: posix
    description: Where it runs.
options:
  state_directory:
    description:
      - Where runs keep their records. A folder that does not exist holds none.
    type: path
    required: true
  run_id:
    description:
      - The id of a run, for example C(20261124T150405Z-3f9a). It is read even when it is older than O(limit) reaches.
    type: str
  purpose:
    description:
      - V(list) only reads.
      - V(resume) chooses the run to go on with, the one of O(run_id), else the newest that is unfinished or failed. It
        refuses one that has succeeded or is undone, and one behind which another run has changed something.
      - V(undo) chooses the run to undo, the one of O(run_id), else the newest that changed something and is not undone.
        It refuses one that changed nothing or is undone, and one behind which another run has changed something that is
        not undone. An undo is undone only when it is named.
      - Both refuse a run whose journal does not hold its plan.
    type: str
    choices:
      - list
      - resume
      - undo
    default: list
  limit:
    description:
      - How many runs are listed at most. Whatever it is, RV(incident) is that of all runs.
    type: int
    default: 20
seealso:
  - module: usdx.rollback.run_journal
"""

EXAMPLES = r"""
- name: See what runs there were
  usdx.rollback.run_info:
    state_directory: /var/lib/usdx-rollback/usdx-wexel
  register: found

- name: Find the run to go on with
  usdx.rollback.run_info:
    state_directory: /var/lib/usdx-rollback/usdx-wexel
    purpose: resume
  register: found
"""

RETURN = r"""
runs:
  description:
    - The runs, the newest first, without RV(run.plan), RV(run.events) and the facts of their steps. One whose journal
      cannot be read has the state unreadable, and C(why).
  returned: success
  type: list
  elements: dict
run:
  description: The run that was asked for or chosen; empty when none was.
  returned: success
  type: dict
  contains:
    run_id:
      description: Its id.
      type: str
    scenario:
      description: Its scenario, for example rollback.
      type: str
    project:
      description: The Compose project.
      type: str
    host:
      description: The host, as the inventory calls it.
      type: str
    reason:
      description: Why it was started.
      type: str
    version:
      description: The release to go to.
      type: str
    commit:
      description: The commit of that release.
      type: str
    patch:
      description: The patch on top of that release, with C(name), C(sha256) and C(base); empty without one.
      type: dict
    from:
      description: What was checked out before, for example with C(commit), C(branch), C(release) and C(describe).
      type: dict
    started:
      description: When it was started, in UTC; null when the journal is empty.
      type: str
    ended:
      description: When it ended, in UTC; null when it is unfinished.
      type: str
    seconds:
      description: From its start to its end, or to its last sign of life.
      type: float
    state:
      description:
        - succeeded, failed, unfinished, or unreadable. It is judged by what came after the run was last started or gone
          on with.
      type: str
    step:
      description: The step that failed or was under way; null when there is none.
      type: str
    steps:
      description:
        - Its steps in their order, each with C(name), C(state) (done, failed, skipped, running or open), C(start),
          C(end), C(seconds) and C(facts).
      type: list
      elements: dict
    inputs:
      description: What was asked for.
      type: dict
    approval:
      description: Who approved it.
      type: dict
    controller:
      description: Who carried it out last, from where.
      type: dict
    resumed:
      description: How often it was gone on with.
      type: int
    not_stopped:
      description: Services that the run let serve while it replaced them.
      type: list
      elements: str
    undo_of:
      description: The run that it undoes; null when it is no undo.
      type: str
    undone_by:
      description: The run that has undone it with success; null when it is not undone.
      type: str
    related:
      description:
        - The ids of this run, its undos, the undos of these, and what it undoes, the newest first. Only those that are
          on record.
      type: list
      elements: str
    acted:
      description: Whether it began a step that changes something.
      type: bool
    damaged_lines:
      description: How many lines of the journal could not be read.
      type: int
    path:
      description: The journal.
      type: str
    plan:
      description: What it would do, as it was shown.
      type: dict
    events:
      description: The events of the journal.
      type: list
      elements: dict
incident:
  description:
    - The security incident that is open here, of all runs. It begins with a run of the stage contain and ends with a
      run of the stage release that succeeded.
  returned: success
  type: dict
  contains:
    since:
      description: When it began, in UTC; empty when none is open.
      type: str
    stages:
      description:
        - The last run of each stage that was begun, with C(run_id), C(state), C(at), C(commit), and C(users), all
          who have started a run of that stage in this incident or gone on with one.
      type: dict
    unknown:
      description:
        - Journals that cannot be read, or that lost their first line, each with C(run_id), C(path) and C(why). Each may
          hide an incident, or a stage of it. A torn last line, as a crash leaves it, hides none.
      type: list
      elements: dict
rehearsals:
  description:
    - The rehearsals on record, the newest first, at most O(limit), each with C(run_id), C(state) (succeeded, failed),
      C(version), C(from), C(started), C(ended), C(seconds), C(steps), C(outage) and C(failure). They change nothing, so
      they are no runs.
  returned: success
  type: list
  elements: dict
lock:
  description:
    - Who holds the lock of the environment, with C(run_id), C(project), C(scenario), C(reason), C(since) and
      C(controller); empty when nobody does.
  returned: success
  type: dict
next_step:
  description: What to type or to change next.
  returned: failure
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.run_history import PURPOSES, run_info

ARGUMENTS = {
    "state_directory": {"type": "path", "required": True},
    "run_id": {"type": "str"},
    "purpose": {"type": "str", "choices": list(PURPOSES), "default": "list"},
    "limit": {"type": "int", "default": 20},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: run_info(module.params))


if __name__ == "__main__":
    main()
