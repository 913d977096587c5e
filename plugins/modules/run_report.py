#!/usr/bin/python
# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the report of a run from its journals."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_report
short_description: Write the report of a run from its journals
version_added: 0.2.0
description:
  - Reads the journals of one run, of one host or several, and writes four files beside them.
  - C(report.html) is one file that needs nothing else and can be sent, C(report.md) is the draft of a post-mortem,
    C(report.json) holds the same as data, C(junit.xml) is for CI servers.
  - Runs beside it, in directories named like them, are read to see whether one of them has undone it.
  - The files get the mode 0600. The same journals give the same bytes, so a second call changes nothing.
  - Whatever a journal quotes is untrusted and escaped. What is not on record is said to be unknown.
  - It works on the controller, where every run keeps copies of its journals, whatever the host of the task. Each run
    calls it at its end.
author:
  - usdx.rollback contributors (@usdx)
attributes:
  action:
    support: full
    description: The process of the task on the controller does all of it. No module is sent anywhere.
  check_mode:
    support: full
    description: Can run in check mode and tell what would change, without changing it.
  diff_mode:
    support: none
    description: Returns what changed.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
  platform:
    support: full
    platforms: posix
    description: The controller.
options:
  directory:
    description:
      - Where the journals are, each as C(HOST.jsonl). Its name is the id of the run.
    type: path
    required: true
seealso:
  - module: usdx.rollback.journal_copy
  - module: usdx.rollback.run_info
  - module: usdx.rollback.run_journal
"""

EXAMPLES = r"""
- name: Make the report of a run again
  usdx.rollback.run_report:
    directory: ~/.local/state/usdx-rollback/usdx-wexel/20261124T150405Z-3f9a
  run_once: true
"""

RETURN = r"""
files:
  description: The path of each file, by its name.
  returned: success
  type: dict
  sample: {"report.html": "~/.local/state/usdx-rollback/usdx-wexel/20261124T150405Z-3f9a/report.html"}
state:
  description: How the run stands; C(succeeded), C(failed), C(unfinished) or C(unreadable).
  returned: success
  type: str
  sample: succeeded
headline:
  description: The verdict in a sentence.
  returned: success
  type: str
  sample: "Succeeded: v1.0.2 is back; 13 of 13 checks passed"
next_step:
  description: What to do about a failure.
  returned: failure
  type: str
"""
