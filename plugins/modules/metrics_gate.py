#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Metrics and alerts over a time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: metrics_gate
short_description: Watch metrics and alerts for a while and judge them
version_added: 0.2.0
author: usdx.rollback contributors (@usdx)
description:
  - Asks Prometheus for numbers and Alertmanager for alerts, every O(interval) seconds for O(window) seconds, and says
    for each check whether it C(passed), C(failed) or is C(inconclusive).
  - A check has failed at once when O(checks[].fail_after) samples in a row were beyond its limit; then the watch ends.
    It passes when it was good in every sample of the last O(stable_for) seconds and O(min_samples) samples said
    something.
  - A sample is C(inconclusive) when there is no number. The server does not answer, no series matches the query, the
    value is C(NaN) (as of 0/0), or the query gives several numbers. What is inconclusive never passes.
  - With O(release) it watches services and endpoints in the same rounds.
  - Each round is a line on the screen, also without C(-v).
  - It only reads. Answers are untrusted; of each at most one MiB is read.
attributes:
  action:
    support: full
    description: A plugin on the controller counts the rounds. When Ansible is ended, nothing goes on.
  async:
    support: none
    description: The plugin on the controller shows each round.
  check_mode:
    support: full
    description:
      - Asks once and waits for nothing. Refuses what a watch would refuse, and a query that Prometheus refuses. Fails
        for nothing else.
  diff_mode:
    support: N/A
    description: There is no diff, because nothing changes.
  idempotent:
    support: full
    description: Never changes anything.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Servers are asked from the managed host.
extends_documentation_fragment: [usdx.rollback.monitoring_login]
options:
  prometheus_url:
    description: URL of Prometheus, below which C(/api/v1/query) answers. Needed for O(checks).
    type: str
  alertmanager_url:
    description:
      - URL of Alertmanager, below which C(/api/v2/alerts) answers. Silenced and inhibited alerts do not count.
      - Without it the alerts are those of O(prometheus_url), which does not know of silences.
    type: str
  request_timeout:
    description: Limit of one answer, in seconds.
    type: float
    default: 5
  checks:
    description: Numbers to watch, at most 50. Each needs a limit.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How the check is named.
        type: str
        required: true
      query:
        description: PromQL that gives one number. Several series must be aggregated.
        type: str
        required: true
      max:
        description: A higher number is wrong.
        type: float
      min:
        description: A lower number is wrong.
        type: float
      changes:
        description: How often the number must change from one sample to the next, for what must keep moving.
        type: int
      max_ratio:
        description: A number is wrong when it is more than so many times that of O(checks[].baseline).
        type: float
      baseline:
        description: When the same query gives the number to compare with. One of both.
        type: dict
        suboptions:
          at:
            description: A moment, ISO 8601 with a time zone.
            type: str
          offset:
            description: So many seconds before the watch begins.
            type: float
      unit:
        description: Shown behind the number.
        type: str
      on_no_data:
        description:
          - What a sample without data is. V(pass) is for a service that may have no traffic at all.
          - A server that does not answer is V(inconclusive) in any case.
        type: str
        choices: [inconclusive, pass]
        default: inconclusive
      fail_after:
        description: So many samples in a row beyond the limit end the watch. V(0) judges at the end only.
        type: int
        default: 3
  alerts:
    description: Which alerts fail. Pending alerts never count.
    type: dict
    default: {}
    suboptions:
      watched:
        description: Whether alerts are watched at all.
        type: bool
        default: true
      ignore:
        description: Names of alerts that do not count.
        type: list
        elements: str
        default: [Watchdog, InfoInhibitor]
      labels:
        description: Labels that an alert must have to count, for servers that other applications share.
        type: dict
        default: {}
      baseline:
        description:
          - Fingerprints of alerts that fired before, of RV(alerts) of an earlier call. They do not fail; those that
            still fire are named.
        type: list
        elements: str
        default: []
      run_id:
        description:
          - The run whose own silence, of M(usdx.rollback.alert_silence), hides no alert from this watch. It should have
            ended before, and an Alertmanager that did not answer then may have kept it.
          - Needs O(alertmanager_url), and the right to read silences.
        type: str
        default: ""
      fail_after:
        description:
          - In so many samples in a row an alert must fire to end the watch. V(0) judges at the end only.
          - An alert that fires when the watch begins, as the outage may have made it, does not end the watch. It must
            have ended in the last O(stable_for) seconds.
        type: int
        default: 1
  release:
    description:
      - Options of M(usdx.rollback.version_verify), which is called once in each round. Each of its checks is judged
        like a metric that fails after three samples. Its own waiting (C(timeout), C(stable_for)) is left out.
    type: dict
  window:
    description: How long is watched and judged, in seconds.
    type: float
    required: true
  interval:
    description: From one round to the next, in seconds, at least 0.2. A window has at most 1000 rounds.
    type: float
    default: 15
  settle:
    description:
      - What is seen in so many seconds before O(window) is shown and not judged. A rate over one minute still holds the
        faults of before a restart for one minute.
    type: float
    default: 0
  stable_for:
    description: All samples of so many seconds at the end must be good. Half of O(window) by default.
    type: float
  min_samples:
    description: A check that has fewer samples with a verdict is C(inconclusive).
    type: int
    default: 3
  on_inconclusive:
    description: What a watch is that nothing has failed and that proves nothing.
    type: str
    choices: [fail, warn]
    default: fail
seealso:
  - module: usdx.rollback.version_verify
  - module: usdx.rollback.alert_silence
"""

EXAMPLES = r"""
- name: Watch for half an hour
  usdx.rollback.metrics_gate:
    prometheus_url: http://prometheus.example.com:9090
    alertmanager_url: http://alertmanager.example.com:9093
    window: 1800
    settle: 60
    checks:
      - name: error rate
        query: >-
          100 * (sum(rate(http_requests_total{code=~"5.."}[1m])) or vector(0)) / sum(rate(http_requests_total[1m]))
        max: 0.1
        unit: "%"
      - name: p95
        query: 1000 * histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[1m])))
        max: 500
        max_ratio: 1.5
        baseline:
          offset: 86400
        unit: ms
      - name: blocks indexed
        query: max(indexer_last_block)
        changes: 1
    alerts:
      labels:
        service: shop
"""

RETURN = r"""
verdict:
  description: C(passed), C(failed) or C(inconclusive), of all checks together.
  type: str
  returned: when options were accepted
checks:
  description: Every check with its limit and what was seen.
  type: list
  elements: dict
  returned: when options were accepted
  contains:
    name:
      description: Name of the check, C(alerts), or kind and name of a check of the release.
      type: str
    verdict:
      description: C(passed), C(failed) or C(inconclusive).
      type: str
    seen:
      description: What was seen, in words.
      type: str
    limit:
      description: What is good, in words.
      type: str
    seconds:
      description: When the last sample was taken, in seconds from the start.
      type: float
    value:
      description: The last number, if there was one.
      type: float
    lowest:
      description: The lowest number.
      type: float
    highest:
      description: The highest number.
      type: float
    unit:
      description: Unit of the numbers.
      type: str
    samples:
      description: How many samples were judged.
      type: int
    passed:
      description: How many of them were good.
      type: int
    failed:
      description: How many of them were beyond the limit.
      type: int
    inconclusive:
      description: How many of them said nothing.
      type: int
samples:
  description: Every round with its moment and its numbers. A watch with very many numbers is thinned evenly.
  type: list
  elements: dict
  returned: when options were accepted
alerts:
  description: The alerts that fired in the last round and count, with C(name), C(fingerprint), C(labels), C(since).
  type: list
  elements: dict
  returned: when options were accepted
rounds:
  description: How often was asked.
  type: int
  returned: when options were accepted
seconds:
  description: How long it took, in seconds.
  type: float
  returned: when options were accepted
ended_early:
  description: Whether a check had clearly failed before the time was over.
  type: bool
  returned: when options were accepted
next_step:
  description: What to do next.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import redacted
from ansible_collections.usdx.rollback.plugins.module_utils.metrics import ask
from ansible_collections.usdx.rollback.plugins.module_utils.monitoring_server import LOGIN_ALONE, LOGIN_ARGUMENTS

BASELINE = {"at": {"type": "str"}, "offset": {"type": "float"}}
CHECK = {
    "name": {"type": "str", "required": True},
    "query": {"type": "str", "required": True},
    "max": {"type": "float"},
    "min": {"type": "float"},
    "changes": {"type": "int"},
    "max_ratio": {"type": "float"},
    "baseline": {"type": "dict", "options": BASELINE},
    "unit": {"type": "str"},
    "on_no_data": {"type": "str", "choices": ["inconclusive", "pass"], "default": "inconclusive"},
    "fail_after": {"type": "int", "default": 3},
}
ALERTS = {
    "watched": {"type": "bool", "default": True},
    "ignore": {"type": "list", "elements": "str", "default": ["Watchdog", "InfoInhibitor"]},
    "labels": {"type": "dict", "default": {}},
    "baseline": {"type": "list", "elements": "str", "default": []},
    "run_id": {"type": "str", "default": ""},
    "fail_after": {"type": "int", "default": 1},
}
ARGUMENTS = {
    **LOGIN_ARGUMENTS,
    "prometheus_url": {"type": "str"},
    "alertmanager_url": {"type": "str"},
    "request_timeout": {"type": "float", "default": 5},
    "checks": {"type": "list", "elements": "dict", "default": [], "options": CHECK},
    "alerts": {"type": "dict", "default": {}, "options": ALERTS},
    "release": {"type": "dict"},
    "window": {"type": "float", "required": True},
    "interval": {"type": "float", "default": 15},
    "settle": {"type": "float", "default": 0},
    "stable_for": {"type": "float"},
    "min_samples": {"type": "int", "default": 3},
    "on_inconclusive": {"type": "str", "choices": ["fail", "warn"], "default": "fail"},
}


def main() -> None:
    """Ask once and exit; the plugin on the controller asks again and judges."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, mutually_exclusive=LOGIN_ALONE)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; the URLs in it must not show a password.
    for name in ("prometheus_url", "alertmanager_url"):
        module.params[name] = redacted(options[name] or "")
    carry_out(module, lambda: ask(options))


if __name__ == "__main__":
    main()
