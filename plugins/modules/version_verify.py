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
    example when the body of an endpoint is no JSON. The module succeeds only when every check passed.
  - C(v1.0.2) and C(1.0.2) are names of the same release.
  - It only reads. Answers are untrusted; of each at most one MiB is read.
attributes:
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
    description: Needs Python 3.9 or later. O(images) and O(services) need the Docker SDK for Python, O(path) needs git.
requirements:
  - docker >= 5 (only for O(images) and O(services))
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
      validate_certs:
        description: Whether the certificate of the other side must be valid.
        type: bool
        default: true
  project:
    description: The Compose project of O(images) and O(services).
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
      - Deadline for all checks to pass, O(stable_for) included, in seconds. V(0) asks once.
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
      description: C(endpoint), C(image), C(service), C(tag), C(commit) or C(package_json).
      type: str
    expected:
      description: What a right answer is.
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
      description: How often it was asked.
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
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out, command_runner
from ansible_collections.usdx.rollback.plugins.module_utils.http_probe import redacted
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
    "validate_certs": {"type": "bool", "default": True},
}
ARGUMENTS = {
    "version": {"type": "str", "default": ""},
    "endpoints": {"type": "list", "elements": "dict", "default": [], "options": ENDPOINT},
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
    carry_out(module, lambda: verify(options, command_runner(module)))


if __name__ == "__main__":
    main()
