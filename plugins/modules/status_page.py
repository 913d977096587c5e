#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The status page."""

from __future__ import annotations

DOCUMENTATION = r"""
module: status_page
short_description: Show on the status page how an incident stands
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Opens an incident on a status page, moves it through its states, and resolves it. It is found again by
    O(incident_key), which ends its title in brackets.
  - The same state and text again change nothing. V(resolved) with nothing open changes nothing and is no error.
  - A provider that does not answer, or answers with an error, is a warning unless O(on_failure=stop).
  - Statuspage, Instatus and Cachet are spoken as they document it. This was tried against servers that check the
    documented requests, not against the services themselves.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to move the incident, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Reads the page and changes nothing.
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: full
    description: Changes nothing when the incident is in this state with this text.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Delegate it to the controller, so that the token does not leave it.
options:
  provider:
    description: Who shows the page. V(file) writes C(index.html) and C(status.json) into O(path) for a web server.
    type: str
    choices: [statuspage, cachet, instatus, file]
    required: true
  state:
    description: How the incident stands. V(resolved) closes it.
    type: str
    choices: [investigating, identified, monitoring, resolved]
    required: true
  title:
    description: Title of the incident, one line. It counts when the incident is opened.
    type: str
    required: true
  body:
    description: What users read.
    type: str
    required: true
  incident_key:
    description: What makes the incident known again, for example the run id. 1 to 60 characters without brackets.
    type: str
    required: true
  components:
    description:
      - Components that are affected. Ids for the services, names for V(file).
      - They have a partial outage while the incident is investigated or identified, and are operational after that.
    type: list
    elements: str
    default: []
  page:
    description: Id of the page, for V(statuspage) and V(instatus). For V(file) its name.
    type: str
    default: ""
  token:
    description: The API key. It is never shown.
    type: str
    default: ""
  api_url:
    description: Where the API is, without its path. Required for V(cachet); the others have their own.
    type: str
    default: ""
  api_version:
    description: Version of Cachet.
    type: str
    choices: ["2", "3"]
    default: "3"
  path:
    description: Directory of the page, for V(file). It is made if need be.
    type: path
    default: ""
  validate_certs:
    description: Whether the certificate of the API must be valid.
    type: bool
    default: true
  timeout:
    description: Limit in seconds for all of it, at least 0.5.
    type: float
    default: 3
  on_failure:
    description: Whether a provider that cannot be reached is a warning (V(warn)) or a failure of the module (V(stop)).
    type: str
    choices: [warn, stop]
    default: warn
seealso:
  - module: usdx.rollback.notify
  - module: usdx.rollback.project_command
"""

EXAMPLES = r"""
- name: Say that a rollback begins
  usdx.rollback.status_page:
    provider: statuspage
    page: kctbh9vrtdwd
    token: "{{ vault_statuspage_token }}"
    state: investigating
    title: Emergency rollback
    body: Performing emergency rollback
    incident_key: 20261124T160728Z-960a
  delegate_to: localhost
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"

- name: Say that it is over, on a page of our own
  usdx.rollback.status_page:
    provider: file
    path: /srv/status
    state: resolved
    title: Emergency rollback
    body: Rollback completed. Services restored to v1.0.2
    incident_key: 20261124T160728Z-960a
"""

RETURN = r"""
delivered:
  description: Whether the page shows this state, or needs not. False in check mode where it would change.
  type: bool
  returned: when options were accepted
provider:
  description: Who shows the page.
  type: str
  returned: when options were accepted
state:
  description: The state that was asked for.
  type: str
  returned: when options were accepted
title:
  description: Title of the incident, with its key.
  type: str
  returned: when options were accepted
incident_id:
  description: Id of the incident; empty when there is none.
  type: str
  returned: when options were accepted
url:
  description: Where a person sees the incident, if the provider says so.
  type: str
  returned: when options were accepted
why:
  description: Why it was not delivered; empty when it was.
  type: str
  returned: when options were accepted
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.incident import STATES
from ansible_collections.usdx.rollback.plugins.module_utils.status_page import PROVIDERS, status_page

ARGUMENTS = {
    "provider": {"type": "str", "choices": list(PROVIDERS), "required": True},
    "state": {"type": "str", "choices": list(STATES), "required": True},
    "title": {"type": "str", "required": True},
    "body": {"type": "str", "required": True},
    "incident_key": {"type": "str", "required": True, "no_log": False},
    "components": {"type": "list", "elements": "str", "default": []},
    "page": {"type": "str", "default": ""},
    "token": {"type": "str", "default": "", "no_log": True},
    "api_url": {"type": "str", "default": ""},
    "api_version": {"type": "str", "choices": ["2", "3"], "default": "3"},
    "path": {"type": "path", "default": ""},
    "validate_certs": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 3},
    "on_failure": {"type": "str", "choices": ["warn", "stop"], "default": "warn"},
}


def main() -> None:
    """Move the incident and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: status_page(module.params, check=module.check_mode))


if __name__ == "__main__":
    main()
