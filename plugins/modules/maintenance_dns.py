#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Names of an application that lead to a maintenance host for a while."""

from __future__ import annotations

DOCUMENTATION = r"""
module: maintenance_dns
short_description: Lead DNS names to a maintenance host, and back
version_added: 0.1.0
author: usdx.rollback contributors (@usdx)
description:
  - Changes records at the primary name server of a zone by dynamic update (RFC 2136), all of them at once or none, and
    asks the server whether they are so.
  - What the records were before is written to O(record_file) before anything changes. O(state=restored) puts it back.
  - The server itself refuses the change when somebody else changes a record in the same moment. A record that somebody
    has changed since the switch is not put back.
  - Resolvers give the former answer until its time to live is over, so the page is needed at that address too.
  - Uses C(dig) and C(nsupdate) of BIND. The TSIG key reaches them in a private file, never as an argument.
attributes:
  check_mode:
    support: full
    description: Asks the server and changes nothing.
  diff_mode:
    support: full
    description: What each name leads to, before and after.
  idempotent:
    support: full
    description: Records that are as they must be are left alone.
  platform:
    support: full
    platforms: posix
    description: Needs Python 3.9 or later. Delegate it to a host that keeps the key, not to one that was broken into.
requirements:
  - dig and nsupdate of BIND 9.16 or later (bind9-dnsutils, bind-utils)
options:
  state:
    description:
      - V(switched) leads O(records) to the maintenance host.
      - V(restored) puts back all that O(record_file) holds, and removes the file. Without the file nothing is done.
      - V(status) says what the server holds. It changes nothing.
    type: str
    choices: [switched, restored, status]
    default: switched
  server:
    description: Address or name of the primary name server.
    type: str
    required: true
  port:
    description: Its port.
    type: int
    default: 53
  zone:
    description: The zone in which the records are.
    type: str
    required: true
  records:
    description: The records as they are during maintenance. Needed for O(state=switched).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The whole name, for example V(app.usdx-wexel.com).
        type: str
        required: true
      type:
        description: Its type. A name that is an alias (CNAME) cannot get an address, so switch the alias.
        type: str
        choices: [A, AAAA, CNAME]
        default: A
      value:
        description: The address, or for V(CNAME) the name, of the maintenance host.
        type: str
        required: true
  ttl:
    description: Time to live of the switched records in seconds, 1 to 86400.
    type: int
    default: 60
  record_file:
    description: File in which the former records are kept. Its directory is made if need be, for its owner only.
    type: path
    required: true
  key_file:
    description: TSIG key file as C(tsig-keygen) writes it. Only its owner may read it.
    type: path
    default: ""
  key:
    description: The TSIG key itself, instead of O(key_file).
    type: dict
    suboptions:
      name:
        description: Its name, as the server knows it.
        type: str
        required: true
      algorithm:
        description: Its algorithm.
        type: str
        choices: [hmac-sha256, hmac-sha384, hmac-sha512]
        default: hmac-sha256
      secret:
        description: The secret in base64. It is never shown.
        type: str
        required: true
  timeout:
    description: Limit in seconds for each question to the server, at least 0.5.
    type: float
    default: 5
seealso:
  - module: usdx.rollback.maintenance_page
  - name: RFC 2136
    description: Dynamic Updates in the Domain Name System.
    link: https://www.rfc-editor.org/rfc/rfc2136
"""

EXAMPLES = r"""
- name: Lead the application to the maintenance host
  usdx.rollback.maintenance_dns:
    server: ns1.usdx-wexel.com
    zone: usdx-wexel.com
    key_file: /etc/usdx-rollback/maintenance.key
    record_file: /var/lib/usdx-rollback/usdx-wexel/maintenance/dns.json
    records:
      - name: app.usdx-wexel.com
        value: 192.0.2.80
      - name: api.usdx-wexel.com
        value: 192.0.2.80

- name: Put back what was there before
  usdx.rollback.maintenance_dns:
    state: restored
    server: ns1.usdx-wexel.com
    zone: usdx-wexel.com
    key_file: /etc/usdx-rollback/maintenance.key
    record_file: /var/lib/usdx-rollback/usdx-wexel/maintenance/dns.json
"""

RETURN = r"""
switched:
  description: Whether every name leads to the maintenance host.
  type: bool
  returned: success
records:
  description: Each record, what the server holds now, and what it held before; RV(ignore:former) is null when that is
    not on record.
  type: list
  elements: dict
  returned: success
  sample:
    - {name: app.usdx-wexel.com., type: A, value: 192.0.2.80, now: [192.0.2.80], former: [198.51.100.7], switched: true}
longest_ttl:
  description: For so many seconds resolvers may still give the answers from before.
  type: int
  returned: success
rcode:
  description: What the server answered.
  type: str
  returned: when the server refuses a change
next_step:
  description: What to type or to change next.
  type: str
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.usdx.rollback.plugins.module_utils.border import carry_out
from ansible_collections.usdx.rollback.plugins.module_utils.dns_server import ALGORITHMS, TYPES
from ansible_collections.usdx.rollback.plugins.module_utils.maintenance_dns import STATES, maintenance_dns
from ansible_collections.usdx.rollback.plugins.module_utils.process import run

RECORD = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "choices": list(TYPES), "default": "A"},
    "value": {"type": "str", "required": True},
}
KEY = {
    "name": {"type": "str", "required": True},
    "algorithm": {"type": "str", "choices": list(ALGORITHMS), "default": "hmac-sha256"},
    "secret": {"type": "str", "required": True, "no_log": True},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": list(STATES), "default": "switched"},
    "server": {"type": "str", "required": True},
    "port": {"type": "int", "default": 53},
    "zone": {"type": "str", "required": True},
    "records": {"type": "list", "elements": "dict", "default": [], "options": RECORD},
    "ttl": {"type": "int", "default": 60},
    "record_file": {"type": "path", "required": True},
    "key_file": {"type": "path", "default": "", "no_log": False},
    "key": {"type": "dict", "options": KEY, "no_log": False},
    "timeout": {"type": "float", "default": 5},
}


def main() -> None:
    """Switch the records, put them back, or look at them, and exit."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    carry_out(module, lambda: maintenance_dns(run, module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
