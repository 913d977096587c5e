#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Messages to people."""

from __future__ import annotations

DOCUMENTATION = r"""
module: notify
short_description: Tell people, and keep what could not be delivered
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Sends messages to Slack, Teams, PagerDuty, e-mail, webhooks and many other services, through the library Apprise.
  - All notifiers are tried at once, each in a process of its own that is killed at the deadline. So the module takes no
    longer than O(timeout) and a moment, whatever a receiver does.
  - A message that could not be delivered is a warning, not a failure. It is kept in O(outbox), by the name of its
    notifier and without its URL, and O(state=kept_sent) sends it later.
  - Wrong input is a failure, in check mode too, for example a URL that Apprise cannot use.
  - Nothing that a service answers is shown, because it may hold tokens and addresses. It is only recognised.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to send the messages, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Sends nothing, and says which messages would be sent.
  diff_mode:
    support: none
    description: There is no diff; the result lists the messages.
  idempotent:
    support: none
    description: Every call with O(state=sent) sends the messages. O(state=kept_sent) delivers each kept message once.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Delegated to the controller, only that needs Apprise and the way out.
requirements:
  - apprise >= 2.3
options:
  state:
    description:
      - V(sent) sends O(messages).
      - V(kept_sent) sends what O(outbox) holds. A message leaves it when it was delivered, and says from
        when it is. Of two calls at once only one sends a message. One for a notifier that is not given stays.
    type: str
    choices: [sent, kept_sent]
    default: sent
  notifiers:
    description: Where messages go.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the notifier is called in results and in the outbox. No two have the same.
        type: str
        required: true
      url:
        description: The URL that Apprise wants, see U(https://appriseit.com/services/). It is a secret and never shown.
        type: str
        required: true
      audiences:
        description: Who reads there. A message goes to the notifiers of its audience.
        type: list
        elements: str
        choices: [team, users, stakeholders]
        default: [team]
  messages:
    description: What to send. An audience that no notifier has is told nothing.
    type: list
    elements: dict
    default: []
    suboptions:
      audience:
        description: For whom it is.
        type: str
        choices: [team, users, stakeholders]
        default: team
      subject:
        description: The subject, one line; cut after 200 characters.
        type: str
        required: true
      body:
        description: The text; cut after 8000 characters.
        type: str
        required: true
      severity:
        description: How bad it is. PagerDuty opens an incident, or resolves it with V(success).
        type: str
        choices: [info, success, warning, failure]
        default: info
  run_id:
    description:
      - Ties the messages of a run together. It stands in every subject; in e-mails also in the headers
        C(References) and C(In-Reply-To); for PagerDuty it is the deduplication key, unless the URL names one.
    type: str
    default: ""
  outbox:
    description:
      - A directory in which messages are kept that could not be delivered. It is made if need be, for its owner only.
      - When empty nothing is kept.
    type: path
    default: ""
  timeout:
    description: Limit in seconds for everything, at least 0.5.
    type: float
    default: 5
  retries:
    description: How often a delivery is tried again within O(timeout), 0 to 5.
    type: int
    default: 1
seealso:
  - module: usdx.rollback.status_page
  - module: usdx.rollback.project_command
"""

EXAMPLES = r"""
- name: Tell the team
  usdx.rollback.notify:
    notifiers:
      - name: slack
        url: "{{ vault_slack_url }}"
        audiences: [team]
      - name: mail
        url: "{{ vault_mail_url }}"
        audiences: [users, stakeholders]
    messages:
      - audience: team
        subject: Rolling back to v1.0.2
        body: Rolling back to v1.0.2 due to errors of the API
        severity: warning
    run_id: 20261124T160728Z-960a
    outbox: ~/.local/state/usdx-rollback/outbox/usdx-wexel
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: Send what could not be delivered
  usdx.rollback.notify:
    state: kept_sent
    notifiers: "{{ rollback_notifiers }}"
    outbox: ~/.local/state/usdx-rollback/outbox/usdx-wexel
    timeout: 30
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""

RETURN = r"""
messages:
  description: Every message for every notifier.
  type: list
  elements: dict
  returned: when options were accepted
  contains:
    notifier:
      description: Name of the notifier.
      type: str
    audience:
      description: For whom it is.
      type: str
    subject:
      description: Its subject.
      type: str
    state:
      description: C(sent), C(kept) in the outbox, C(failed) when it could not be kept either, C(planned) in check mode.
      type: str
    why:
      description: Why it was not delivered; empty when it was.
      type: str
    written:
      description: When it was first written, in UTC.
      type: str
outbox:
  description: Where messages are kept; empty in check mode.
  type: str
  returned: when options were accepted
busy:
  description: Whether another process was sending what O(outbox) holds, so that this one neither read nor sent it.
  type: bool
  returned: with O(state=kept_sent)
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.notification import AUDIENCES, SEVERITIES, notify

NOTIFIER = {
    "name": {"type": "str", "required": True},
    "url": {"type": "str", "required": True, "no_log": True},
    "audiences": {"type": "list", "elements": "str", "choices": list(AUDIENCES), "default": ["team"]},
}
MESSAGE = {
    "audience": {"type": "str", "choices": list(AUDIENCES), "default": "team"},
    "subject": {"type": "str", "required": True},
    "body": {"type": "str", "required": True},
    "severity": {"type": "str", "choices": list(SEVERITIES), "default": "info"},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["sent", "kept_sent"], "default": "sent"},
    "notifiers": {"type": "list", "elements": "dict", "default": [], "options": NOTIFIER},
    "messages": {"type": "list", "elements": "dict", "default": [], "options": MESSAGE},
    "run_id": {"type": "str", "default": ""},
    "outbox": {"type": "path", "default": ""},
    "timeout": {"type": "float", "default": 5},
    "retries": {"type": "int", "default": 1},
}


def main() -> None:
    """Send the messages and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: notify(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
