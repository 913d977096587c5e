#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The journal of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_journal
short_description: Append events to the journal of a run
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Appends events to C(runs/<run_id>/journal.jsonl) below O(state_directory) on the managed host, one JSON object a
    line with the keys C(time), C(elapsed), C(event), C(step) and C(facts). All events of a call are written, or none.
  - Directories that are made belong to their owner only (mode 0700), so do the files (mode 0600). What is written is on
    the disk when the module returns.
  - A last line that a crash has torn is closed first; readers skip it. Several writers at once never mix their lines.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to append lines, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Writes nothing and returns the events that would be written.
  diff_mode:
    support: none
    description: RV(events) is what was added.
  idempotent:
    support: none
    description: Every call appends.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later.
options:
  state_directory:
    description: The directory of all journals. It is made when it does not exist.
    type: path
    required: true
  run_id:
    description: The id of the run, its UTC stamp and a short random part, for example C(20261124T150405Z-3f9a).
    type: str
    required: true
  events:
    description: What happened, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      event:
        description:
          - What it was. V(release_verified) needs a C(release) in its facts and is also appended to
            C(releases.jsonl) below O(state_directory), the record of releases that were seen to work here.
            V(follow_up) is what was noted after the end of a run.
            V(alerts_silenced) and V(silence_ended) are results of M(usdx.rollback.alert_silence).
        type: str
        required: true
        choices:
          - run_started
          - run_resumed
          - step_started
          - step_finished
          - step_failed
          - step_skipped
          - release_verified
          - run_finished
          - follow_up
          - alerts_silenced
          - silence_ended
      step:
        description: The name of the step. Needed by the events of a step.
        type: str
      facts:
        description: Evidence, of JSON values. It must hold no secrets.
        type: dict
        default: {}
seealso:
  - module: usdx.rollback.run_info
  - module: usdx.rollback.version_verify
"""

EXAMPLES = r"""
- name: Record that the services were stopped
  usdx.rollback.run_journal:
    state_directory: /var/lib/usdx-rollback
    run_id: 20261124T150405Z-3f9a
    events:
      - event: step_finished
        step: stop_services
        facts:
          stopped: [webapp, indexer, nginx]

- name: Record the release that was proved
  usdx.rollback.run_journal:
    state_directory: /var/lib/usdx-rollback
    run_id: 20261124T150405Z-3f9a
    events:
      - event: release_verified
        facts:
          release: v1.0.2
          commit: 3f9ac0ffee3f9ac0ffee3f9ac0ffee3f9ac0ffee
          images: {}
"""

RETURN = r"""
path:
  description: The journal of the run.
  type: str
  returned: always
events:
  description: The events as they were written, or in check mode as they would be.
  type: list
  elements: dict
  returned: success
  contains:
    time:
      description: When, in UTC with milliseconds, for example C(2026-11-24T15:04:05.123+00:00).
      type: str
    elapsed:
      description: Seconds since the first event of the run.
      type: float
    event:
      description: What happened.
      type: str
    step:
      description: The step, or null.
      type: str
    facts:
      description: Evidence.
      type: dict
elapsed:
  description: Seconds since the first event of the run.
  type: float
  returned: success
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.journal import EVENTS, record

EVENT = {
    "event": {"type": "str", "required": True, "choices": list(EVENTS)},
    "step": {"type": "str"},
    "facts": {"type": "dict", "default": {}},
}
ARGUMENTS = {
    "state_directory": {"type": "path", "required": True},
    "run_id": {"type": "str", "required": True},
    "events": {"type": "list", "elements": "dict", "required": True, "options": EVENT},
}


def main() -> None:
    """Write the events and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params
    carry_out(
        module,
        lambda: record(options["state_directory"], options["run_id"], options["events"], check=module.check_mode),
    )


if __name__ == "__main__":
    main()
