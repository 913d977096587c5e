#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A silence in Alertmanager for the time of a run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: alert_silence
short_description: Silence alerts for the time of a run
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Begins and ends one silence in Alertmanager that belongs to a run. It has an end from its beginning, so that it is
    over by itself when the run dies.
  - It is found again by its author C(usdx.rollback) and by O(run_id), which ends its comment in brackets. Silences of
    people, and of other runs, are left alone.
  - An Alertmanager that does not answer, or refuses, is a warning and the verdict C(inconclusive), never a failure.
    Wrong input is a failure, in check mode too.
  - Nobody hears of an alert that is silenced. End the silence before something is said about alerts;
    M(usdx.rollback.metrics_gate) sees through one of its own run.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Asks Alertmanager and changes nothing.
  diff_mode:
    support: none
    description: There is no diff; RV(silences) is what there is.
  idempotent:
    support: full
    description:
      - With V(present) a silence of the run with the same matchers that lasts for at least half of O(duration) is left
        as it is. One that ends sooner is made longer, one with other matchers is replaced.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Alertmanager is asked from the managed host.
extends_documentation_fragment: [usdx.rollback.monitoring_login]
options:
  state:
    description: V(present) begins the silence, or sees that it lasts. V(absent) ends it; one that has ended is fine.
    type: str
    choices: [present, absent]
    default: present
  alertmanager_url:
    description: URL of Alertmanager, below which C(/api/v2/silences) answers.
    type: str
    required: true
  run_id:
    description: What makes the silence known again. 1 to 60 printable characters without brackets.
    type: str
    required: true
  matchers:
    description:
      - Which alerts are silenced, those for which all matchers hold. 1 to 20, needed with V(present).
      - At least one must name something. Only negative ones, an empty value, and regular expressions that also fit
        made-up words, as C(.+) or C([a-z]+), are refused, because about every alert would be silent.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the label.
        type: str
        required: true
      value:
        description: Its value, or a regular expression for the whole of it.
        type: str
        required: true
      is_regex:
        description: Whether O(matchers[].value) is a regular expression.
        type: bool
        default: false
      is_equal:
        description: Whether the label must match, or must not.
        type: bool
        default: true
  duration:
    description: After so many seconds the silence is over by itself, 1 to 86400.
    type: float
    default: 3600
  comment:
    description: Why, in one line; cut after 300 characters. The run id is added.
    type: str
    default: ""
  timeout:
    description: Limit in seconds for all requests together, at least 0.1.
    type: float
    default: 3
seealso:
  - module: usdx.rollback.metrics_gate
  - module: usdx.rollback.grafana_annotation
"""

EXAMPLES = r"""
- name: Silence the alerts of the shop for an hour at most
  usdx.rollback.alert_silence:
    alertmanager_url: http://alertmanager.example.com:9093
    run_id: 20261124T160728Z-960a
    matchers:
      - name: service
        value: shop
      - name: alertname
        value: Backup.*
        is_regex: true
        is_equal: false
    duration: 3600
    comment: Rolling shop back to v1.0.2, the API answers 500

- name: Hear them again
  usdx.rollback.alert_silence:
    state: absent
    alertmanager_url: http://alertmanager.example.com:9093
    run_id: 20261124T160728Z-960a
"""

RETURN = r"""
verdict:
  description: C(passed) when it is as asked for, C(inconclusive) when that is not known.
  type: str
  returned: when options were accepted
why:
  description: Why it is not known; empty when it is.
  type: str
  returned: when options were accepted
matchers:
  description: The matchers as Alertmanager writes them.
  type: list
  elements: str
  returned: when options were accepted
silences:
  description: Silences of the run as they were last seen; with V(absent) also those that have ended.
  type: list
  elements: dict
  returned: when options were accepted
  contains:
    id:
      description: Id of the silence.
      type: str
    state:
      description: C(active), C(pending) or C(expired).
      type: str
    begins:
      description: When it begins, as Alertmanager says.
      type: str
    ends:
      description: When it ends or has ended, as Alertmanager says.
      type: str
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.alert_silence import alert_silence
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import redacted
from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_server import LOGIN_ALONE, LOGIN_ARGUMENTS

MATCHER = {
    "name": {"type": "str", "required": True},
    "value": {"type": "str", "required": True},
    "is_regex": {"type": "bool", "default": False},
    "is_equal": {"type": "bool", "default": True},
}
ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "alertmanager_url": {"type": "str", "required": True},
    "run_id": {"type": "str", "required": True},
    "matchers": {"type": "list", "elements": "dict", "default": [], "options": MATCHER},
    "duration": {"type": "float", "default": 3600},
    "comment": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 3},
}


def main() -> None:
    """Begin or end the silence and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=LOGIN_ALONE)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; the URL in it must not show a password.
    module.params["alertmanager_url"] = redacted(options["alertmanager_url"])
    carry_out(module, lambda: alert_silence(options, check=module.check_mode))


if __name__ == "__main__":
    main()
