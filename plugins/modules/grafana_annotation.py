#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A region in the graphs of Grafana."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grafana_annotation
short_description: Show in the graphs of Grafana when a run was at work
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Adds one annotation with a begin and an end, so that graphs show the time of a rollback as a region.
  - A Grafana that does not answer, or refuses, is a warning and the verdict C(inconclusive), never a failure. Wrong
    input is a failure, in check mode too.
  - Grafana is spoken as it documents it. This was tried against a server that takes the documented request, not against
    Grafana itself.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Sends nothing.
  diff_mode:
    support: none
    description: There is no diff.
  idempotent:
    support: none
    description: Every call adds an annotation.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Grafana is asked from the managed host.
extends_documentation_fragment: [usdx.rollback.monitoring_login]
options:
  url:
    description: URL of Grafana, below which C(/api/annotations) answers.
    type: str
    required: true
  begin:
    description: When it began, ISO 8601 with a time zone.
    type: str
    required: true
  end:
    description: When it ended, ISO 8601 with a time zone. Now when it is empty.
    type: str
    default: ""
  text:
    description: What is shown, in one line; cut after 500 characters.
    type: str
    required: true
  tags:
    description: Tags by which dashboards choose annotations, at most 20.
    type: list
    elements: str
    default: []
  dashboard_uid:
    description: The dashboard that shows it. When empty it belongs to the organisation, and is found by its tags.
    type: str
    default: ""
  timeout:
    description: Limit in seconds, at least 0.1.
    type: float
    default: 3
seealso:
  - module: usdx.rollback.alert_silence
  - name: Annotations HTTP API
    description: What Grafana documents.
    link: https://grafana.com/docs/grafana/latest/developers/http_api/annotations/
"""

EXAMPLES = r"""
- name: Show the rollback in the graphs
  usdx.rollback.grafana_annotation:
    url: https://grafana.example.com
    bearer_token: "{{ vault_grafana_token }}"
    begin: "2026-11-24T16:07:28Z"
    end: "2026-11-24T16:09:02Z"
    text: Rollback to v1.0.2, run 20261124T160728Z-960a
    tags: [rollback, shop]
"""

RETURN = r"""
verdict:
  description: C(passed) when Grafana took it, C(inconclusive) when not.
  type: str
  returned: when options were accepted
why:
  description: Why it was not taken; empty when it was.
  type: str
  returned: when options were accepted
annotation_id:
  description: Id of the annotation; none in check mode, and when it was not taken.
  type: int
  returned: when options were accepted
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.grafana_annotation import grafana_annotation
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import redacted
from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_server import LOGIN_ALONE, LOGIN_ARGUMENTS

ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "url": {"type": "str", "required": True},
    "begin": {"type": "str", "required": True},
    "end": {"type": "str", "default": ""},
    "text": {"type": "str", "required": True},
    "tags": {"type": "list", "elements": "str", "default": []},
    "dashboard_uid": {"type": "str", "default": ""},
    "timeout": {"type": "float", "default": 3},
}


def main() -> None:
    """Add the annotation and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=LOGIN_ALONE)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; the URL in it must not show a password.
    module.params["url"] = redacted(options["url"])
    carry_out(module, lambda: grafana_annotation(options, check=module.check_mode))


if __name__ == "__main__":
    main()
