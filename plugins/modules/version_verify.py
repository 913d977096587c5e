#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The release that answers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: version_verify
short_description: Prove which release answers
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Asks HTTP endpoints, running containers and a Git checkout whether they are of one release, until all say so or the
    deadline ends.
  - Each check is C(passed), C(failed) or C(inconclusive). A check is C(inconclusive) when it could not be asked, for
    example when the body of an endpoint is no JSON. The module succeeds only when every check passed, but for those of
    O(logs) without a limit, which are only shown.
  - When all else has passed, a sample of requests can be made (O(requests)). It is made once, because asking again
    until one is good would hide what fails at times. The logs of O(logs) are read last, in any case.
  - C(v1.0.2) and C(1.0.2) are names of the same release.
  - It only reads. Answers and logs are untrusted; of each answer at most one MiB is read, of the logs of a service
    16 MiB, for ten seconds.
attributes:
  action:
    support: full
    description: A plugin on the controller sends what is needed to look, and not the module, where it can.
  async:
    support: none
    description: It is not made for it.
  check_mode:
    support: full
    description: Does the same in check mode, because it only reads.
  diff_mode:
    support: N/A
    description: There is no diff, because nothing changes.
  idempotent:
    support: full
    description: Never changes anything.
  platform:
    support: full
    platforms: posix
    description: >-
      Needs Python 3.9 or later. O(images), O(services) and O(logs) need the Docker SDK for Python, O(path) needs git.
requirements:
  - docker >= 5 (only for O(images), O(services) and O(logs))
  - jmespath >= 0.9 (only for O(endpoints[].version_query))
options:
  version:
    description:
      - The release that must answer, for example C(v1.0.2).
      - May be left out with O(commit) or O(images), for a state that is no release. Tag, O(package_json) and versions
        of endpoints are not asked then.
    type: str
    default: ""
  endpoints:
    description: URLs to ask with GET. Up to five redirects are followed; headers stay with the host they are for.
    type: list
    elements: dict
    default: []
    suboptions:
      url:
        description: An C(http) or C(https) URL. A user name and password in it are used and never shown.
        type: str
        required: true
      name:
        description: How the check is named. Without it, by the URL.
        type: str
      status:
        description: Accepted HTTP status codes. A redirect named here is not followed.
        type: list
        elements: int
        default: [200]
      version_query:
        description: JMESPath of the version in the JSON body. When empty, this endpoint is not asked for the version.
        type: str
        default: ""
      contains:
        description: Text that must be in the body.
        type: str
        default: ""
      headers:
        description: Headers of the request. Their values are never shown.
        type: dict
        default: {}
      timeout:
        description: Limit of one whole answer, in seconds.
        type: float
        default: 5
      max_latency:
        description: A slower answer is wrong, in milliseconds. Without it only O(endpoints[].timeout) counts.
        type: float
      requests:
        description: O(requests) of this endpoint.
        type: int
      max_failed:
        description: O(max_failed) of this endpoint.
        type: float
      p95:
        description: O(p95) of this endpoint. V(0) sets no limit.
        type: float
      validate_certs:
        description: Whether the certificate of the other side must be valid.
        type: bool
        default: true
  requests:
    description:
      - How many requests are made to each endpoint when all else has passed, one after the other and at most 20 in a
        second, endpoints side by side. V(0) and V(1) make none.
      - A request that would not pass as a check of the endpoint has failed. Where one of 15 fails by turns, 15 find it.
        Where it fails by chance, 20 find it three times of four, 45 in 95 of 100.
    type: int
    default: 1
  requests_timeout:
    description:
      - Limit for the requests of an endpoint, in seconds. No request begins after it.
      - What was not asked by then makes the check C(inconclusive), unless what was asked is bad enough.
    type: float
    default: 30
  max_failed:
    description: The share of O(requests) that may fail, below 1. V(0.01) is one percent.
    type: float
    default: 0
  p95:
    description:
      - Limit of the 95th percentile of O(requests), in milliseconds. Of 20 requests one may be slower, of 100 five; of
        fewer than 20 none. A request without an answer counts as slower.
      - Where no sample is made it is not judged.
    type: float
  logs:
    description: Services whose logs are searched for lines that look like errors, since their containers started.
    type: dict
    suboptions:
      services:
        description: The services.
        type: list
        elements: str
        required: true
      errors:
        description:
          - Regular expressions of Python, without regard to case. A line in which one is found looks like an error.
            Of a line the first 2000 bytes count.
          - Without it a word that ends with C(error) or C(exception), and the words C(fatal), C(panic),
            C(traceback) and C(panicked).
        type: list
        elements: str
      noise:
        description: Regular expressions of lines that are known and do not count.
        type: list
        elements: str
        default: []
      limit:
        description:
          - So many of these lines may be in the logs of a service. With more its check fails.
          - Without it the check does not decide. It is C(inconclusive) when there are such lines, they are counted, up
            to three are quoted, and the module warns. Many applications log errors when they start, and only their
            owner knows how many are too many.
          - In a quote the values of passwords, tokens and the like are left out where their name stands before them.
            What else an application logs may be in it.
        type: int
  project:
    description: The Compose project of O(images), O(services) and O(logs).
    type: str
  images:
    description:
      - For each service the image id that it must run, C(sha256:) and 64 digits. Each running container of the service
        must run it, and at least one must run.
    type: dict
    default: {}
  services:
    description: Services of which every container must run, and be healthy where it has a healthcheck.
    type: list
    elements: str
    default: []
  version_label:
    description:
      - A label that names the release in the images of O(images) and O(services), for example
        C(org.opencontainers.image.version). A running container with this label and another release fails its check.
        A container without it is not judged by it.
      - Empty by default, because images inherit this label from base images.
    type: str
    default: ""
  path:
    description: A Git checkout on the managed host. A tag of the release must point at its HEAD.
    type: path
  commit:
    description: The commit that HEAD of O(path) must be, 7 to 64 hexadecimal digits.
    type: str
  package_json:
    description:
      - A C(package.json) below O(path) that must state the release.
      - Without this option it is C(package.json) at the top of O(path), when there is one. An empty string checks none.
    type: str
  timeout:
    description:
      - Deadline for all checks to pass, O(stable_for) included, in seconds. V(0) asks once. The sample of O(requests)
        and the logs come after it and have limits of their own.
      - No question begins after it; one that has begun may still take its own limit.
      - A wrong checkout ends the wait at once, because waiting cannot change it.
    type: float
    default: 60
  interval:
    description: Pause between two rounds of questions, in seconds, at least 0.1.
    type: float
    default: 1
  stable_for:
    description:
      - For so long all checks must pass without a break, in seconds. It is counted from the first round in which all
        pass. A round in which one does not pass ends the count, and the next good one begins it anew, until the
        deadline.
      - Less than O(timeout). V(0) is content with one good round.
    type: float
    default: 0
  docker_host:
    description: URL of the Docker daemon. Without it E(DOCKER_HOST) decides, else the local socket.
    type: str
seealso:
  - module: ansible.builtin.uri
  - module: ansible.builtin.wait_for
"""

EXAMPLES = r"""
- name: Prove that v1.0.2 answers and stays for ten seconds
  usdx.rollback.version_verify:
    version: v1.0.2
    endpoints:
      - url: http://127.0.0.1:8080/health
        version_query: version
        max_latency: 500
      - url: https://app.example.com/
        contains: <title>
    project: usdx-wexel
    services: [nginx, webapp, indexer]
    path: /opt/usdx-wexel
    stable_for: 10

- name: Find what fails at times, what is slow, and what the containers complain about
  usdx.rollback.version_verify:
    version: v1.0.2
    endpoints:
      - url: http://127.0.0.1:8080/health
        version_query: version
      - url: http://127.0.0.1:8080/reports
        p95: 2000
    requests: 45
    p95: 500
    project: usdx-wexel
    logs:
      services: [webapp, indexer]
      noise: [redis connection error, retrying]
      limit: 0

- name: Prove which images run
  usdx.rollback.version_verify:
    version: v1.0.2
    project: usdx-wexel
    images:
      webapp: sha256:4bcff63911fcb4448bd4fdacec207030997caf25e9bea4045fa6c8c44de311d1
"""

RETURN = r"""
version:
  description: The release that was asked for.
  type: str
  returned: when options were accepted
verdict:
  description: C(passed), C(failed) or C(inconclusive). The module fails unless it is C(passed).
  type: str
  returned: when options were accepted
checks:
  description: Every check with what it expected and what it saw last.
  type: list
  elements: dict
  returned: when options were accepted
  contains:
    name:
      description: URL, service, path or the name that was given.
      type: str
    kind:
      description: >-
        C(endpoint), C(image), C(service), C(tag), C(commit), C(package_json), C(requests) or C(log).
      type: str
    expected:
      description: What a right answer is.
      type: str
    limit:
      description: The same as C(expected), by the name that checks of all steps of a run have.
      type: str
    seen:
      description: What the last answer was.
      type: str
    verdict:
      description: C(passed), C(failed) or C(inconclusive).
      type: str
    seconds:
      description: When it was decided, in seconds from the start. Of a passed check, when its unbroken passing began.
      type: float
    attempts:
      description: How often it was asked. A sample that was not made, because something else did not pass, has C(0).
      type: int
    decides:
      description: Whether the verdict on all depends on it.
      type: bool
    requests:
      description: Requests that were made; only with the kind C(requests).
      type: int
    failed:
      description: Requests that failed; only with the kind C(requests).
      type: int
    p95_ms:
      description: Their 95th percentile in milliseconds, none where it had no answer; only with the kind C(requests).
      type: float
    slowest_ms:
      description: The slowest in milliseconds, none where one had no answer; only with the kind C(requests).
      type: float
    lines:
      description: Lines that were read; only with the kind C(log).
      type: int
    errors:
      description: Lines that look like errors; only with the kind C(log).
      type: int
seconds:
  description: How long it took, in seconds.
  type: float
  returned: when options were accepted
attempts:
  description: Rounds of questions.
  type: int
  returned: when options were accepted
stable_seconds:
  description: For how long all checks have passed without a break at the end, in seconds.
  type: float
  returned: when options were accepted
breaks:
  description: How often all checks passed and then one did not.
  type: int
  returned: when options were accepted
release_asked:
  description: Whether a check asked which release runs. When none did, the module warns.
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
from ansible_collections.usdx.rollback.plugins.module_utils.process import run
from ansible_collections.usdx.rollback.plugins.module_utils.verify import verify

ENDPOINT = {
    "url": {"type": "str", "required": True},
    "name": {"type": "str"},
    "status": {"type": "list", "elements": "int", "default": [200]},
    "version_query": {"type": "str", "default": ""},
    "contains": {"type": "str", "default": ""},
    "headers": {"type": "dict", "default": {}, "no_log": True},
    "timeout": {"type": "float", "default": 5},
    "max_latency": {"type": "float"},
    "requests": {"type": "int"},
    "max_failed": {"type": "float"},
    "p95": {"type": "float"},
    "validate_certs": {"type": "bool", "default": True},
}
LOGS = {
    "services": {"type": "list", "elements": "str", "required": True},
    "errors": {"type": "list", "elements": "str"},
    "noise": {"type": "list", "elements": "str", "default": []},
    "limit": {"type": "int"},
}
ARGUMENTS = {
    "version": {"type": "str", "default": ""},
    "endpoints": {"type": "list", "elements": "dict", "default": [], "options": ENDPOINT},
    "requests": {"type": "int", "default": 1},
    "requests_timeout": {"type": "float", "default": 30},
    "max_failed": {"type": "float", "default": 0},
    "p95": {"type": "float"},
    "logs": {"type": "dict", "options": LOGS},
    "project": {"type": "str"},
    "images": {"type": "dict", "default": {}},
    "services": {"type": "list", "elements": "str", "default": []},
    "version_label": {"type": "str", "default": ""},
    "path": {"type": "path"},
    "commit": {"type": "str"},
    "package_json": {"type": "str"},
    "timeout": {"type": "float", "default": 60},
    "interval": {"type": "float", "default": 1},
    "stable_for": {"type": "float", "default": 0},
    "docker_host": {"type": "str"},
}


def main() -> None:
    """Verify the release and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params.copy()
    # Ansible returns module.params as the invocation; the URLs in it must not show a password.
    shown = [{**endpoint, "url": redacted(endpoint["url"])} for endpoint in options["endpoints"]]
    module.params["endpoints"] = shown
    carry_out(module, lambda: verify(options, run))


if __name__ == "__main__":
    main()
